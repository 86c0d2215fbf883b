"""Exact values of U(1) in two dimensions on a torus, S = -beta sum cos P, from the character expansion.

The partition function is ``Z(theta) = sum_n z(n + theta / 2 pi)^V`` with ``z(x) = (1 / 2 pi) int exp(beta cos p) cos(x p) dp``
over one turn and V the number of plaquettes; at integer x, z is the modified Bessel function I_x(beta).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import ive

_TERMS = 64
"""Representations -64 ... 64: beyond, I_n / I_0 is below rounding for all beta < 100."""


def plaquette(beta: float, volume: int) -> float:
    """<cos P> = sum_n I_n^(V - 1) I_n' / sum_n I_n^V."""
    _check(beta, volume)
    n = np.arange(-_TERMS, _TERMS + 1)
    z, slope = ive(n, beta), 0.5 * (ive(n - 1, beta) + ive(n + 1, beta))
    weight = (z / z.max()) ** (volume - 1)
    return float(np.sum(weight * slope) / np.sum(weight * z))


def charge_squared(beta: float, volume: int) -> float:
    """<Q^2> = -Z''(0) / Z(0), derivatives under the integral, which is a sum over Gauss-Legendre nodes."""
    z, first, second = _integrals(beta, volume, 1.0)
    curvature = volume * (volume - 1) * z ** (volume - 2) * first**2 + volume * z ** (volume - 1) * second
    return float(-np.sum(curvature) / np.sum(z**volume))


def plaquette_at(theta: float, beta: float, volume: int) -> float:
    """<cos P> at an angle theta, by :func:`theta_curvature`'s formula."""
    z, _, _ = _integrals(beta, volume, 1.0, theta)
    c, _, _ = _integrals(beta, volume, np.cos, theta)
    return float(np.sum(z ** (volume - 1) * c) / np.sum(z**volume))


def theta_curvature(beta: float, volume: int) -> float:
    """d^2 <cos P> / d theta^2 at theta = 0, of the mean plaquette: -<cos P Q^2> + <cos P> <Q^2>.

    <cos P>(theta) = sum_n z^(V - 1) c / Z(theta) with c the integral z with cos p under it.
    """
    z, z1, z2 = _integrals(beta, volume, 1.0)
    c, c1, c2 = _integrals(beta, volume, np.cos)
    k = volume - 1
    numerator = k * (k - 1) * z ** (k - 2) * z1**2 * c + k * z ** (k - 1) * (z2 * c + 2.0 * z1 * c1) + z**k * c2
    return float(np.sum(numerator) / np.sum(z**volume)) + plaquette(beta, volume) * charge_squared(beta, volume)


def sine_charge(beta: float, volume: int) -> float:
    """<Q sum sin P> / 2 pi = -i d<Q_s> / d theta at theta = 0 of the charge Q_s = sum sin P / 2 pi."""
    z, z1, _ = _integrals(beta, volume, 1.0)
    s, s1, _ = _integrals(beta, volume, np.sin)
    value = np.sum((volume - 1) * z ** (volume - 2) * z1 * s + z ** (volume - 1) * s1)
    return float(volume * value / (2.0 * math.pi * np.sum(z**volume)))


def _integrals(beta: float, volume: int, factor: Any, theta: float = 0.0) -> tuple[Any, Any, Any]:
    """(1 / 2 pi) int exp(beta (cos p - 1)) f(p) exp(i x p) dp at x = n + theta / 2 pi, and its derivatives by theta.

    The real part for even f and the imaginary part for odd f, the other one being zero; all over the largest integral with
    f = 1, whose powers would overflow.
    """
    _check(beta, volume)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    p = math.pi * nodes
    density = 0.5 * weights * np.exp(beta * (np.cos(p) - 1.0))
    wave = np.exp(1j * (np.arange(-_TERMS, _TERMS + 1)[:, None] + theta / (2.0 * math.pi)) * p)
    unit = np.max(np.abs(np.exp(1j * theta / (2.0 * math.pi) * p) @ density))
    f = density * (factor(p) if callable(factor) else factor)
    part = np.imag if factor is np.sin else np.real
    turn = 1j * p / (2.0 * math.pi)
    value, first, second = (part(wave @ (f * turn**k)) / unit for k in range(3))
    return value, first, second


def _check(beta: float, volume: int) -> None:
    if not 0.0 < beta < 100.0:
        raise ValueError(f"beta: expected a number between 0 and 100, got {beta}")
    if volume < 2:
        raise ValueError(f"volume: expected at least 2 plaquettes, got {volume}")
