"""Splines: monotone maps of a circle of circumference 1, or of [0, 1], onto itself, and what makes their knots from numbers.

Rational quadratics between knots (Gregory and Delbourgo, IMA J. Numer. Anal. 2 (1982) 123; as flows arXiv:1906.04032,
on circles arXiv:2002.02428).  Formulas and cotangents: ``docs/derivations/circle.md``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from gaugeflow.sites.numbers import Matrix, Number, absolute, exp, log, sqrt, where

# ---- knots -------------------------------------------------------------------------------------------------------


def shares(logits: Matrix, floor: float) -> Matrix:
    """Positive numbers of sum 1, none below ``floor``; equal logits make equal shares."""
    top = logits[0]
    for logit in logits[1:]:
        top = where(logit > top, logit, top)
    weights = tuple(exp(logit - top) for logit in logits)
    scale = (1.0 - len(logits) * floor) / sum(weights[1:], start=weights[0])
    return tuple(floor + scale * weight for weight in weights)


def shares_vjp(found: Matrix, floor: float, bars: Matrix) -> Matrix:
    """Cotangents of the logits, from the shares and their cotangents."""
    room = 1.0 - len(found) * floor
    excess = tuple(share - floor for share in found)
    mean = sum((e * bar for e, bar in zip(excess[1:], bars[1:], strict=True)), start=excess[0] * bars[0]) / room
    return tuple(e * (bar - mean) for e, bar in zip(excess, bars, strict=True))


def positive(raw: Number, floor: float) -> Number:
    """``floor + log(1 + exp(raw + c))``, with the constant c that takes 0 to 1."""
    z = raw + math.log(math.expm1(1.0 - floor))
    return floor + where(z > 0.0, z, z * 0.0) + log(1.0 + exp(-absolute(z)))


def positive_vjp(found: Number, floor: float, bar: Number) -> Number:
    """Cotangent of ``raw``: the slope of log(1 + exp z) is 1 - exp(-log(1 + exp z))."""
    return bar * (1.0 - exp(floor - found))


# ---- the spline --------------------------------------------------------------------------------------------------


class Bin(NamedTuple):
    """Where a number lies: lower knot, extent along x and y, slopes at both ends."""

    x: Number
    y: Number
    width: Number
    height: Number
    low: Number
    high: Number


class _Parts(NamedTuple):
    """xi and 1 - xi, the mean slope s, and the numerators and denominator of ``docs/derivations/circle.md``."""

    xi: Number
    rest: Number
    product: Number
    mean: Number
    value: Number
    denominator: Number
    slope: Number


def _passed(x: Number, extents: Matrix) -> Matrix:
    """Whether x has passed the inner knots 1 ... n - 1."""
    knot = extents[0]
    found = [x >= knot]
    for extent in extents[1:-1]:
        knot = knot + extent
        found.append(x >= knot)
    return tuple(found)


def _bin(passed: Matrix, widths: Matrix, heights: Matrix, slopes: Matrix) -> Bin:
    """The bin behind the last knot passed; the slope of the last knot is that of the first."""
    x, y = widths[0] * 0.0, heights[0] * 0.0
    at = Bin(x, y, widths[0], heights[0], slopes[0], slopes[1 % len(slopes)])
    for k, beyond in enumerate(passed, start=1):
        x, y = x + widths[k - 1], y + heights[k - 1]
        new = Bin(x, y, widths[k], heights[k], slopes[k], slopes[(k + 1) % len(slopes)])
        at = Bin(*(where(beyond, b, a) for a, b in zip(at, new, strict=True)))
    return at


def _parts(at: Bin, xi: Number) -> _Parts:
    xi = where(xi > 0.0, xi, xi * 0.0)
    xi = where(xi < 1.0, xi, xi * 0.0 + 1.0)
    rest = 1.0 - xi
    product, mean = xi * rest, at.height / at.width
    value = mean * xi * xi + at.low * product
    denominator = mean + (at.low + at.high - 2.0 * mean) * product
    slope = at.high * xi * xi + 2.0 * mean * product + at.low * rest * rest
    return _Parts(xi, rest, product, mean, value, denominator, slope)


def _log_slope(p: _Parts) -> Number:
    return 2.0 * log(p.mean / p.denominator) + log(p.slope)


def locate(x: Number, widths: Matrix, heights: Matrix, slopes: Matrix) -> tuple[Matrix, Bin]:
    """Whether x has passed each inner knot, and its bin.

    Parameters
    ----------
    x
        Place on the circle, 0 <= x <= 1.
    widths, heights
        Distances of the n >= 2 knots along x and y, each of sum 1.
    slopes
        dy/dx at the n knots, the first of which is 0 = 1; of an interval at the n + 1 knots, 0 and 1 among them.
    """
    passed = _passed(x, widths)
    return passed, _bin(passed, widths, heights, slopes)


def spline(x: Number, at: Bin) -> tuple[Number, Number]:
    """``(y, log dy/dx)`` at x in the bin ``at`` of :func:`locate`."""
    p = _parts(at, (x - at.x) / at.width)
    return at.y + at.height * p.value / p.denominator, _log_slope(p)


def spline_ends(x: Number, y: Number, passed: Matrix, at: Bin) -> tuple[Number, Number]:
    """``log(y / x)`` and ``log((1 - y) / (1 - x))``, finite at both ends of the interval."""
    p = _parts(at, (x - at.x) / at.width)
    one = x * 0.0 + 1.0
    inner, outer = passed[0], passed[-1]
    near_low, near_high = _near_ends(p, at)
    low = where(inner, y / where(inner, x, one), p.mean * near_low / p.denominator)
    high = where(outer, p.mean * near_high / p.denominator, (1.0 - y) / where(outer, one, 1.0 - x))
    return log(low), log(high)


def _near_ends(p: _Parts, at: Bin) -> Matrix:
    """y / x in the first bin and (1 - y) / (1 - x) in the last one are these times s / D."""
    return p.mean * p.xi + at.low * p.rest, p.mean * p.rest + at.high * p.xi


def spline_curvature(x: Number, at: Bin) -> Number:
    """Derivative of log dy/dx by x."""
    p = _parts(at, (x - at.x) / at.width)
    tilt = 1.0 - 2.0 * p.xi
    bend = at.low + at.high - 2.0 * p.mean
    slope = 2.0 * (at.high * p.xi + p.mean * tilt - at.low * p.rest)
    return (slope / p.slope - 2.0 * bend * tilt / p.denominator) / at.width


def spline_inverse(y: Number, widths: Matrix, heights: Matrix, slopes: Matrix) -> tuple[Number, Number]:
    """``(x, log dy/dx)`` at the x that the spline takes to 0 <= y <= 1.

    Of the two roots of the quadratic equation the one in the bin is 2 c / (b + sqrt(b^2 + 4 a c)), in which nothing
    cancels.
    """
    at = _bin(_passed(y, heights), widths, heights, slopes)
    mean = at.height / at.width
    up = y - at.y
    curvature = up * (at.low + at.high - 2.0 * mean)
    a = at.height * (mean - at.low) + curvature
    b = at.height * at.low - curvature
    c = mean * up
    square = b * b + 4.0 * a * c
    root = sqrt(where(square > 0.0, square, square * 0.0))
    p = _parts(at, 2.0 * c / (b + root))
    return at.x + at.width * p.xi, _log_slope(p)


def spline_vjp(
    x: Number,
    passed: Matrix,
    at: Bin,
    y_bar: Number,
    log_bar: Number,
    ends: tuple[Number, Number, Number] | None = None,
) -> tuple[Number, Matrix, Matrix, Matrix]:
    """Cotangents of x, widths, heights and slopes from those of y and of log dy/dx; the rest is that of :func:`locate`.

    For an interval, ``ends`` holds y and the cotangents of both numbers of :func:`spline_ends`.
    """
    p = _parts(at, (x - at.x) / at.width)
    nothing = p.xi * 0.0
    low_mean = low_near = high_mean = high_near = more_x = nothing
    if ends is not None:
        y, low, high = ends
        inner, outer = passed[0], passed[-1]
        one = nothing + 1.0
        below, above = where(inner, x, one), where(outer, one, 1.0 - x)
        y_bar = y_bar + where(inner, low / where(inner, y, one), nothing)
        y_bar = y_bar - where(outer, nothing, high / where(outer, one, 1.0 - y))
        more_x = where(outer, nothing, high / above) - where(inner, low / below, nothing)
        near_low, near_high = _near_ends(p, at)
        low_mean, high_mean = where(inner, nothing, low), where(outer, high, nothing)
        low_near, high_near = low_mean / near_low, high_mean / near_high
    bend = at.low + at.high - 2.0 * p.mean
    tilt = 1.0 - 2.0 * p.xi
    value_bar = y_bar * at.height / p.denominator
    denominator_bar = -(value_bar * p.value + 2.0 * log_bar + low_mean + high_mean) / p.denominator
    slope_bar = log_bar / p.slope
    mean_bar = (
        2.0 * log_bar / p.mean
        + value_bar * p.xi * p.xi
        + denominator_bar * (1.0 - 2.0 * p.product)
        + slope_bar * 2.0 * p.product
        + (low_mean + high_mean) / p.mean
        + low_near * p.xi
        + high_near * p.rest
    )
    low_bar = (value_bar + denominator_bar) * p.product + slope_bar * p.rest * p.rest + low_near * p.rest
    high_bar = denominator_bar * p.product + slope_bar * p.xi * p.xi + high_near * p.xi
    xi_bar = (
        value_bar * (2.0 * p.mean * p.xi + at.low * tilt)
        + denominator_bar * bend * tilt
        + slope_bar * 2.0 * (at.high * p.xi + p.mean * tilt - at.low * p.rest)
        + low_near * (p.mean - at.low)
        + high_near * (at.high - p.mean)
    )
    x_bar = xi_bar / at.width
    width_bar = -(x_bar * p.xi + mean_bar * p.mean / at.width)
    height_bar = y_bar * p.value / p.denominator + mean_bar / at.width
    count = len(passed) + 1
    widths_bar = tuple(_chosen(passed, k, -x_bar, width_bar, nothing) for k in range(count))
    heights_bar = tuple(_chosen(passed, k, y_bar, height_bar, nothing) for k in range(count))
    slopes_bar = [nothing] * (count if ends is None else count + 1)
    for k in range(count):
        slopes_bar[k] = slopes_bar[k] + _chosen(passed, k, nothing, low_bar, nothing)
        after = (k + 1) % len(slopes_bar)
        slopes_bar[after] = slopes_bar[after] + _chosen(passed, k, nothing, high_bar, nothing)
    return x_bar + more_x, widths_bar, heights_bar, tuple(slopes_bar)


def _chosen(passed: Matrix, k: int, below: Number, here: Number, above: Number) -> Number:
    """What bin k gets: ``below`` where x lies beyond it, ``here`` where x lies in it, else ``above``."""
    if k > 0:
        here = where(passed[k - 1], here, above)
    return where(passed[k], below, here) if k < len(passed) else here
