"""The cell of eigen-angles of SU(2) and SU(3): ordering, coordinates, and ratios of Haar measures.

Angles lie in the cell ``theta_1 >= ... >= theta_N >= theta_1 - 2 pi`` of sum zero; its walls are where two eigenvalues
meet.  Coordinates lie in [0, 1]: ``t = theta_1 / pi`` for SU(2); for SU(3) ``t = (theta_1 - theta_3) / 2 pi`` and ``r``,
the share of ``theta_1 - theta_2`` in it.  Formulas: ``docs/derivations/spectral.md``.
"""

from __future__ import annotations

import math

from gaugeflow.sites.numbers import Matrix, Number, cos, log, sin, where

PI = math.pi
PAIRS: dict[int, tuple[tuple[int, int], ...]] = {2: ((0, 1),), 3: ((0, 1), (1, 2), (0, 2))}
"""Pairs of eigenvalues, in the order of :func:`log_ratios`."""


def ordered(angles: Matrix, vectors: tuple[Matrix, ...]) -> tuple[Matrix, tuple[Matrix, ...]]:
    """Angles of sum 0 modulo 2 pi, each in [-pi, pi], brought to the cell, with what belongs to each."""
    n = len(angles)
    rows = [(angle, *vector) for angle, vector in zip(angles, vectors, strict=True)]
    for end in range(n - 1, 0, -1):
        for i in range(end):
            swap = rows[i + 1][0] > rows[i][0]
            pair = list(zip(rows[i], rows[i + 1], strict=True))
            rows[i] = tuple(where(swap, b, a) for a, b in pair)
            rows[i + 1] = tuple(where(swap, a, b) for a, b in pair)
    total = sum((row[0] for row in rows[1:]), start=rows[0][0])
    up, down = total > PI, total < -PI
    first, last = rows[0], rows[-1]
    lowered = [*rows[1:], (first[0] - 2.0 * PI, *first[1:])]
    raised = [(last[0] + 2.0 * PI, *last[1:]), *rows[:-1]]
    rows = [
        tuple(where(up, b, where(down, c, a)) for a, b, c in zip(*three, strict=True))
        for three in zip(rows, lowered, raised, strict=True)
    ]
    mean = sum((row[0] for row in rows[1:]), start=rows[0][0]) * (1.0 / n)
    return tuple(row[0] - mean for row in rows), tuple(row[1:] for row in rows)


def _unit(x: Number) -> Number:
    x = where(x > 0.0, x, x * 0.0)
    return where(x < 1.0, x, x * 0.0 + 1.0)


def coordinates(angles: Matrix) -> Matrix:
    """Coordinates of angles of the cell; r is 1/2 where all angles are equal."""
    t = _unit((angles[0] - angles[-1]) * (0.5 / PI))
    if len(angles) == 2:
        return (t,)
    first = (angles[0] - angles[1]) * (0.5 / PI)
    nowhere = t <= 0.0
    return t, _unit(where(nowhere, t * 0.0 + 0.5, first / where(nowhere, t * 0.0 + 1.0, t)))


def angles_at(place: Matrix) -> Matrix:
    """Inverse of :func:`coordinates`."""
    t = place[0]
    if len(place) == 1:
        return PI * t, -PI * t
    first, second = t * place[1], t * (1.0 - place[1])
    third = 2.0 * PI / 3.0
    return third * (2.0 * first + second), third * (second - first), -third * (first + 2.0 * second)


def angles_at_vjp(place: Matrix, bars: Matrix) -> Matrix:
    """Cotangents of coordinates from those of the angles."""
    if len(place) == 1:
        return (PI * (bars[0] - bars[1]),)
    t, r = place
    third = 2.0 * PI / 3.0
    first = third * (2.0 * bars[0] - bars[1] - bars[2])
    second = third * (bars[0] + bars[1] - 2.0 * bars[2])
    return r * first + (1.0 - r) * second, t * (first - second)


def coordinates_vjp(place: Matrix, bars: Matrix) -> Matrix:
    """Cotangents of angles, of sum zero, from those of coordinates; what r gives is left out where all angles are equal."""
    t_bar = bars[0] * (0.5 / PI)
    if len(place) == 1:
        return t_bar, -t_bar
    t, r = place
    nowhere = t <= 0.0
    share = where(nowhere, t * 0.0, bars[1] / where(nowhere, t * 0.0 + 1.0, t)) * (0.5 / PI)
    t_bar = t_bar - r * share
    return t_bar + share, -share, -t_bar


# ---- the measure -------------------------------------------------------------------------------------------------
_SERIES = 1e-2
"""Below, the slope of log sinc is a series: its closed form is a difference of large numbers."""


def _shape(gap: Number) -> tuple[Number, Number]:
    """``log(sin(pi g) / (pi g (1 - g)))`` for 0 <= g <= 1, and its derivative."""
    far = gap > 0.5
    u = where(far, 1.0 - gap, gap)
    z = PI * u
    small = u < _SERIES
    safe = where(small, z * 0.0 + 1.0, z)
    square = z * z
    sinc = where(small, 1.0 - square / 6.0 * (1.0 - square / 20.0 * (1.0 - square / 42.0)), sin(safe) / safe)
    series = -z / 3.0 * (1.0 + square / 15.0 * (1.0 + square * (2.0 / 21.0)))
    slope = PI * where(small, series, cos(safe) / sin(safe) - 1.0 / safe) + 1.0 / (1.0 - u)
    return log(sinc / (1.0 - u)), where(far, -slope, slope)


def _rest(t: Number, r: Number) -> Number:
    """1 - t r from 1 - t and 1 - r; 1 where it vanishes."""
    rest = (1.0 - t) + t * (1.0 - r)
    return where(rest > 0.0, rest, rest * 0.0 + 1.0)


def log_ratios(before: Matrix, after: Matrix, low: Matrix, high: Matrix) -> Matrix:
    """Logarithms of ``sin(D' / 2) / sin(D / 2)`` for the differences D of all pairs of angles before and D' after a map.

    Parameters
    ----------
    before, after
        Coordinates.
    low, high
        For every coordinate x, mapped to y, ``log(y / x)`` and ``log((1 - y) / (1 - x))``.
    """
    if len(before) == 1:
        return (low[0] + high[0] + _shape(after[0])[0] - _shape(before[0])[0],)
    (t, r), (u, s) = before, after
    corner = log(_rest(u, s) / _rest(t, r))
    other = log(_rest(u, 1.0 - s) / _rest(t, 1.0 - r))
    return (
        low[0] + low[1] + corner + _shape(u * s)[0] - _shape(t * r)[0],
        low[0] + high[1] + other + _shape(u * (1.0 - s))[0] - _shape(t * (1.0 - r))[0],
        low[0] + high[0] + _shape(1.0 - u)[0] - _shape(1.0 - t)[0],
    )


def sum_of_log_ratios_vjp(before: Matrix, after: Matrix, bar: Number) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Cotangents of all arguments of :func:`log_ratios` from that of the sum of its results."""
    if len(before) == 1:
        return (-bar * _shape(before[0])[1],), (bar * _shape(after[0])[1],), (bar,), (bar,)
    ends = []
    for t, r in (before, after):
        first, second, third = _shape(t * r)[1], _shape(t * (1.0 - r))[1], _shape(1.0 - t)[1]
        corner, other = 1.0 / _rest(t, r), 1.0 / _rest(t, 1.0 - r)
        ends.append(
            (
                bar * (r * (first - corner) + (1.0 - r) * (second - other) - third),
                bar * t * (first - corner - second + other),
            )
        )
    (a, b), after_bar = ends
    return (-a, -b), after_bar, (3.0 * bar, bar), (bar, bar)
