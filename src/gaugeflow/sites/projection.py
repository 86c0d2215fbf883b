"""Mixtures of non-compact projections: x -> sum_i rho_i 2 atan(exp(s_i) tan(x / 2)) on angles (arXiv:2002.02428).

Every part keeps 0 and pi where they are, so that the sum of monotone maps is one, too.  With ``u = cos^2(x/2)``,
``v = sin^2(x/2)`` a part has the derivative ``g' = 1 / (exp(-s) u + exp(s) v)``; nothing overflows at x = pi.
"""

from __future__ import annotations

import math

from gaugeflow.sites.numbers import Matrix, Number, absolute, atan2, cos, exp, largest, log, sin, where

STEPS = 100
"""Most steps of the inverse; bisection alone needs 54 in double precision."""


def projections(x: Number, weights: Matrix, scales: Matrix) -> tuple[Number, Number]:
    """``(y, log dy/dx)`` at -pi <= x <= pi, for weights of sum 1 and log-scales s."""
    y, slope = _sums(x, weights, scales)
    return y, log(slope)


def _sums(x: Number, weights: Matrix, scales: Matrix) -> tuple[Number, Number]:
    c, q = cos(0.5 * x), sin(0.5 * x)
    y, slope = x * 0.0, x * 0.0
    for weight, s in zip(weights, scales, strict=True):
        root = exp(0.5 * s)
        a, b = c / root, q * root
        y = y + weight * 2.0 * atan2(b, a)
        slope = slope + weight / (a * a + b * b)
    return y, slope


def projections_curvature(x: Number, weights: Matrix, scales: Matrix) -> Number:
    """Derivative of log dy/dx by x."""
    c, q = cos(0.5 * x), sin(0.5 * x)
    slope, second = x * 0.0, x * 0.0
    for weight, s in zip(weights, scales, strict=True):
        part = 1.0 / (c * c * exp(-s) + q * q * exp(s))
        slope = slope + weight * part
        second = second - weight * part * part * c * q * (exp(s) - exp(-s))
    return second / slope


def projections_inverse(y: Number, weights: Matrix, scales: Matrix, rounding: float) -> tuple[Number, Number, float]:
    """``(x, log dy/dx, error)`` with the x that :func:`projections` takes to -pi <= y <= pi.

    Newton steps within a bracket that shrinks, bisection where a step leaves it.

    Parameters
    ----------
    y, weights, scales
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
        value, slope = _sums(x, weights, scales)
        above = value > y
        low, high = where(above, low, x), where(above, x, high)
        new = x - (value - y) / slope
        inside = where(new > low, where(new < high, new * 0.0 + 1.0, new * 0.0), new * 0.0)
        new = where(inside > 0.5, new, 0.5 * (low + high))
        error = largest(absolute(new - x)) / rounding
        x = new
        if error <= 4.0:
            break
    return x, log(_sums(x, weights, scales)[1]), error


def projections_vjp(
    x: Number, weights: Matrix, scales: Matrix, y_bar: Number, log_bar: Number
) -> tuple[Number, Matrix, Matrix]:
    """Cotangents of x, weights and log-scales from those of y and of log dy/dx."""
    c, q = cos(0.5 * x), sin(0.5 * x)
    sine = 2.0 * c * q
    values, slopes, ups, downs = [], [], [], []
    for s in scales:
        root = exp(0.5 * s)
        a, b = c / root, q * root
        values.append(2.0 * atan2(b, a))
        slopes.append(1.0 / (a * a + b * b))
        ups.append(b * b)  # exp(s) v
        downs.append(a * a)  # exp(-s) u
    total = sum((w * g for w, g in zip(weights[1:], slopes[1:], strict=True)), start=weights[0] * slopes[0])
    slope_bar = log_bar / total
    x_bar = y_bar * total
    weights_bar, scales_bar = [], []
    for weight, s, value, slope, up, down in zip(weights, scales, values, slopes, ups, downs, strict=True):
        square = weight * slope * slope
        x_bar = x_bar - slope_bar * square * sine * 0.5 * (exp(s) - exp(-s))
        weights_bar.append(y_bar * value + slope_bar * slope)
        scales_bar.append(weight * slope * y_bar * sine - slope_bar * square * (up - down))
    return x_bar, tuple(weights_bar), tuple(scales_bar)
