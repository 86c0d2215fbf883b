"""Exact values of U(1) in two dimensions on a torus, S = -beta sum cos P, from the character expansion.

The partition function is ``Z(theta) = sum_n z(n + theta / 2 pi)^V`` with ``z(x) = (1 / 2 pi) int exp(beta cos p) cos(x p) dp``
over one turn and V the number of plaquettes; at integer x, z is the modified Bessel function I_x(beta).
"""

from __future__ import annotations

import math

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
    _check(beta, volume)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    p = math.pi * nodes
    density = weights * np.exp(beta * (np.cos(p) - 1.0))
    n = np.arange(-_TERMS, _TERMS + 1)[:, None]
    z = np.sum(density * np.cos(n * p), axis=1)
    first = -np.sum(density * p * np.sin(n * p), axis=1)
    second = -np.sum(density * p * p * np.cos(n * p), axis=1)
    z, first, second = (a / z.max() for a in (z, first, second))
    curvature = volume * (volume - 1) * z ** (volume - 2) * first**2 + volume * z ** (volume - 1) * second
    return float(-np.sum(curvature) / (4.0 * math.pi**2 * np.sum(z**volume)))


def _check(beta: float, volume: int) -> None:
    if not 0.0 < beta < 100.0:
        raise ValueError(f"beta: expected a number between 0 and 100, got {beta}")
    if volume < 2:
        raise ValueError(f"volume: expected at least 2 plaquettes, got {volume}")
