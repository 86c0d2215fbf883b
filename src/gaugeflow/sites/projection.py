"""Mixtures of non-compact projections: x -> sum_i rho_i 2 atan(exp(s_i) tan(k_i x / 2)) / k_i on angles.

Source: arXiv:2002.02428, where k = 1.  A part with k = 2 repeats after half a turn, which makes two maxima of a density
possible.  Every part keeps 0 and pi where they are, so that the sum of monotone maps is one, too.  With
``u = cos^2(k x/2)``, ``v = sin^2(k x/2)`` a part has the derivative ``g' = 1 / (exp(-s) u + exp(s) v)``; nothing overflows.
Angles k x / 2 within [-pi, pi] need no counting of turns, hence k is 1 or 2.
"""

from __future__ import annotations

import math

from gaugeflow.sites.numbers import Matrix, Number, absolute, atan2, cos, exp, largest, log, sin, where

STEPS = 100
"""Most steps of the inverse; bisection alone needs 54 in double precision."""


def projections(x: Number, weights: Matrix, scales: Matrix, single: int) -> tuple[Number, Number]:
    """``(y, log dy/dx)`` at -pi <= x <= pi, for weights of sum 1 and log-scales s; the first ``single`` parts have k = 1."""
    y, slope = _sums(x, weights, scales, single)
    return y, log(slope)


def _harmonics(x: Number) -> tuple[tuple[Number, Number], tuple[Number, Number]]:
    """cos and sin of x / 2, and of x."""
    c, q = cos(0.5 * x), sin(0.5 * x)
    return (c, q), ((c - q) * (c + q), 2.0 * c * q)


def _whole(b: Number, a: Number, x: Number) -> Number:
    """Angle of (a, b), of the sign of x near the ends, where x may lie a rounding beyond pi."""
    angle = atan2(b, a)
    above = where(angle < 0.0, angle + 2.0 * math.pi, angle)
    below = where(angle > 0.0, angle - 2.0 * math.pi, angle)
    return where(x > 2.0, above, where(x < -2.0, below, angle))


def _sums(x: Number, weights: Matrix, scales: Matrix, single: int) -> tuple[Number, Number]:
    halves = _harmonics(x)
    y, slope = x * 0.0, x * 0.0
    for i, (weight, s) in enumerate(zip(weights, scales, strict=True)):
        double = int(i >= single)
        c, q = halves[double]
        root = exp(0.5 * s)
        a, b = c / root, q * root
        y = y + weight * (_whole(b, a, x) if double else 2.0 * atan2(b, a))
        slope = slope + weight / (a * a + b * b)
    return y, slope


def projections_curvature(x: Number, weights: Matrix, scales: Matrix, single: int) -> Number:
    """Derivative of log dy/dx by x."""
    halves = _harmonics(x)
    slope, second = x * 0.0, x * 0.0
    for i, (weight, s) in enumerate(zip(weights, scales, strict=True)):
        double = int(i >= single)
        c, q = halves[double]
        part = 1.0 / (c * c * exp(-s) + q * q * exp(s))
        slope = slope + weight * part
        second = second - (1.0 + double) * weight * part * part * c * q * (exp(s) - exp(-s))
    return second / slope


def projections_inverse(
    y: Number, weights: Matrix, scales: Matrix, single: int, rounding: float
) -> tuple[Number, Number, float]:
    """``(x, log dy/dx, error)`` with the x that :func:`projections` takes to -pi <= y <= pi.

    Newton steps within a bracket that shrinks, bisection where a step leaves it.

    Parameters
    ----------
    y, weights, scales, single
        Angle and parameters.
    rounding
        Spacing of numbers near 1: iterations end when x changes by less than four times that everywhere.

    Returns
    -------
    x, log dy/dx, error
        The last is the largest change of x in the last step, in units of ``rounding``.
    """
    low, high = y * 0.0 - math.pi, y * 0.0 + math.pi
    x = y
    error = math.inf
    for _ in range(STEPS):
        value, slope = _sums(x, weights, scales, single)
        above = value > y
        low, high = where(above, low, x), where(above, x, high)
        new = x - (value - y) / slope
        inside = where(new > low, where(new < high, new * 0.0 + 1.0, new * 0.0), new * 0.0)
        new = where(inside > 0.5, new, 0.5 * (low + high))
        error = largest(absolute(new - x)) / rounding
        x = new
        if error <= 4.0:
            break
    return x, log(_sums(x, weights, scales, single)[1]), error


def projections_vjp(
    x: Number, weights: Matrix, scales: Matrix, single: int, y_bar: Number, log_bar: Number
) -> tuple[Number, Matrix, Matrix]:
    """Cotangents of x, weights and log-scales from those of y and of log dy/dx."""
    halves = _harmonics(x)
    values, slopes, tilts = [], [], []
    for i, s in enumerate(scales):
        c, q = halves[int(i >= single)]
        root = exp(0.5 * s)
        a, b = c / root, q * root
        values.append(_whole(b, a, x) if i >= single else 2.0 * atan2(b, a))
        slopes.append(1.0 / (a * a + b * b))
        tilts.append(b * b - a * a)  # exp(s) v - exp(-s) u
    total = sum((w * g for w, g in zip(weights[1:], slopes[1:], strict=True)), start=weights[0] * slopes[0])
    slope_bar = log_bar / total
    x_bar = y_bar * total
    weights_bar, scales_bar = [], []
    for i, (weight, s) in enumerate(zip(weights, scales, strict=True)):
        k = 1.0 + int(i >= single)
        c, q = halves[int(i >= single)]
        square = weight * slopes[i] * slopes[i]
        x_bar = x_bar - slope_bar * square * k * c * q * (exp(s) - exp(-s))
        weights_bar.append(y_bar * values[i] + slope_bar * slopes[i])
        scales_bar.append(weight * slopes[i] * y_bar * 2.0 * c * q / k - slope_bar * square * tilts[i])
    return x_bar, tuple(weights_bar), tuple(scales_bar)
