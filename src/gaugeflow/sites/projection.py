"""Mixtures of pairs of non-compact projections on angles: monotone maps of the circle, odd in x.

A projection of log-scale s is ``h(u) = 2 atan(exp(s) tan(u / 2))``, continued over all turns (arXiv:2002.02428), steep
at u = 0 where s > 0.  A pair has its centres at c and -c; the map is ``sum_i rho_i [h_i(x - c_i) + h_i(x + c_i)] / 2``.
With ``C, S = cos(u/2), sin(u/2)``, ``a = exp(-s/2) C`` and ``b = exp(s/2) S`` a projection has the slope
``g = 1 / (a^2 + b^2)``, and ``h - u`` is twice the angle of (a + i b)(C - i S), whose real part is positive: nothing
overflows, and no turns are counted.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from gaugeflow.sites.numbers import Matrix, Number, absolute, atan2, cos, exp, largest, log, sin, where

STEPS = 100
"""Most steps of the inverse; bisection alone needs 54 in double precision."""


class Half(NamedTuple):
    """C S, a, b and g of one projection, and the complex number of angle (h - u) / 2."""

    product: Number
    a: Number
    b: Number
    slope: Number
    real: Number
    imag: Number


def _half(c: Number, s: Number, root: Number) -> Half:
    a, b = c / root, s * root
    return Half(c * s, a, b, 1.0 / (a * a + b * b), c * a + s * b, c * b - s * a)


def _halves(c: Number, s: Number, root: Number, centre: Number) -> tuple[Half, Half]:
    """The projections at x - centre and at x + centre, from cos(x/2), sin(x/2) and exp(s/2)."""
    at_c, at_s = cos(0.5 * centre), sin(0.5 * centre)
    cc, ss, sc, cs = c * at_c, s * at_s, s * at_c, c * at_s
    return _half(cc + ss, sc - cs, root), _half(cc - ss, sc + cs, root)


def _turned(below: Half, above: Half) -> Number:
    """The value of a pair at x, less x."""
    return atan2(below.imag * above.real + below.real * above.imag, below.real * above.real - below.imag * above.imag)


def projections(x: Number, weights: Matrix, scales: Matrix, centres: Matrix) -> tuple[Number, Number]:
    """``(y, log dy/dx)`` at any angles x, for weights of sum 1, log-scales s and centres c."""
    y, slope = _sums(x, weights, scales, centres)
    return y, log(slope)


def _sums(x: Number, weights: Matrix, scales: Matrix, centres: Matrix) -> tuple[Number, Number]:
    c, s = cos(0.5 * x), sin(0.5 * x)
    y, slope = x, x * 0.0
    for weight, scale, centre in zip(weights, scales, centres, strict=True):
        below, above = _halves(c, s, exp(0.5 * scale), centre)
        y = y + weight * _turned(below, above)
        slope = slope + weight * (0.5 * (below.slope + above.slope))
    return y, slope


def projections_curvature(x: Number, weights: Matrix, scales: Matrix, centres: Matrix) -> Number:
    """Derivative of log dy/dx by x."""
    c, s = cos(0.5 * x), sin(0.5 * x)
    slope, second = x * 0.0, x * 0.0
    for weight, scale, centre in zip(weights, scales, centres, strict=True):
        bend = exp(-scale) - exp(scale)
        for half in _halves(c, s, exp(0.5 * scale), centre):
            slope = slope + weight * half.slope
            second = second + weight * bend * half.slope * half.slope * half.product
    return second / slope


def projections_inverse(
    y: Number, weights: Matrix, scales: Matrix, centres: Matrix, rounding: float
) -> tuple[Number, Number, float]:
    """``(x, log dy/dx, error)`` with the x that :func:`projections` takes to -pi <= y <= pi.

    Newton steps within a bracket that shrinks, bisection where a step leaves it or is not half of the last one: maps with
    steep and flat parts make Newton's method jump to and fro.

    Parameters
    ----------
    y, weights, scales, centres
        Angle and parameters.
    rounding
        Spacing of numbers near 1: iterations end when x, or y to first order, changes by less than four times that
        everywhere.

    Returns
    -------
    x, log dy/dx, error
        The last is the largest change in the last step, the smaller one of x and y, in units of ``rounding``.
    """
    low, high = y * 0.0 - math.pi, y * 0.0 + math.pi
    x, last = y, high - low
    error = math.inf
    for _ in range(STEPS):
        value, slope = _sums(x, weights, scales, centres)
        above = value > y
        low, high = where(above, low, x), where(above, x, high)
        new = x - (value - y) / slope
        short = where(2.0 * absolute(new - x) < last, new * 0.0 + 1.0, new * 0.0)
        inside = where(new > low, where(new < high, short, new * 0.0), new * 0.0)
        new = where(inside > 0.5, new, 0.5 * (low + high))
        last = absolute(new - x)
        x = new
        error = largest(where(slope < 1.0, slope * last, last)) / rounding
        if error <= 4.0:
            break
    return x, log(_sums(x, weights, scales, centres)[1]), error


def projections_vjp(
    x: Number, weights: Matrix, scales: Matrix, centres: Matrix, y_bar: Number, log_bar: Number
) -> tuple[Number, Matrix, Matrix, Matrix]:
    """Cotangents of x, weights, log-scales and centres from those of y and of log dy/dx."""
    c, s = cos(0.5 * x), sin(0.5 * x)
    pairs = [_halves(c, s, exp(0.5 * scale), centre) for scale, centre in zip(scales, centres, strict=True)]
    slopes = [0.5 * (below.slope + above.slope) for below, above in pairs]
    total = sum((w * g for w, g in zip(weights[1:], slopes[1:], strict=True)), start=weights[0] * slopes[0])
    slope_bar = log_bar / total
    x_bar = y_bar * total
    weights_bar, scales_bar, centres_bar = [], [], []
    for weight, scale, slope, (below, above) in zip(weights, scales, slopes, pairs, strict=True):
        bend = exp(-scale) - exp(scale)
        below_square, above_square = below.slope * below.slope, above.slope * above.slope
        below_second, above_second = bend * below_square * below.product, bend * above_square * above.product
        # Derivatives by the log-scale, twice those of the map: 2 g C S each of h, and g^2 (a^2 - b^2) of g.
        moved = 2.0 * (below.slope * below.product + above.slope * above.product)
        tilted = below_square * (below.a * below.a - below.b * below.b)
        tilted = tilted + above_square * (above.a * above.a - above.b * above.b)
        half = 0.5 * weight
        x_bar = x_bar + half * slope_bar * (below_second + above_second)
        weights_bar.append(y_bar * _turned(below, above) + slope_bar * slope)
        scales_bar.append(half * (y_bar * moved + slope_bar * tilted))
        centres_bar.append(half * (y_bar * (above.slope - below.slope) + slope_bar * (above_second - below_second)))
    return x_bar, tuple(weights_bar), tuple(scales_bar), tuple(centres_bar)
