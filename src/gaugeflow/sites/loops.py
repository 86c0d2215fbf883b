"""Walks along links, one step at a time, steps along algebra fields, and their derivatives."""

from __future__ import annotations

from gaugeflow.sites.exponential import SCALE, exp
from gaugeflow.sites.matrix import add, add_scaled, dag_mul, mul, mul_dag, project, scale, sub
from gaugeflow.sites.numbers import Matrix


def forward_along(path: Matrix, moved: Matrix, u: Matrix, y: Matrix) -> Matrix:
    """Derivative of ``path u`` where path moves by ``moved`` and u by ``y u``."""
    return mul(add(moved, mul(path, y)), u)


def backward_along(path: Matrix, moved: Matrix, u: Matrix, y: Matrix) -> Matrix:
    """Derivative of ``path u^dagger`` where path moves by ``moved`` and u by ``y u``."""
    return sub(mul_dag(moved, u), mul(mul_dag(path, u), y))


def product_along(a: Matrix, a_moved: Matrix, b: Matrix, b_moved: Matrix) -> Matrix:
    """Derivative of ``a b^dagger``."""
    return add(mul_dag(a_moved, b), mul_dag(a, b_moved))


def trace_gradient(loops: Matrix) -> Matrix:
    """Gradient of ``Re tr loops`` when the first link of the loops moves."""
    return scale(-0.5, project(loops))


def trace_gradient_bar(loops: Matrix, moved: Matrix, y: Matrix) -> Matrix:
    """Gradient of the derivative of ``Re tr loops`` along y, at fixed y.

    ``moved`` is the derivative of the loops along y, their first link included: that link moves by ``y u``, whose
    derivative along w is ``y w u`` and not ``w y u``, hence the commutator.
    """
    return scale(-0.5, project(add(moved, sub(mul(loops, y), mul(y, loops)))))


COMMUTATORS = 14
"""Terms of the series of :func:`exp_bar`: rounding for norms up to 2 after the division by 8."""


def exp_bar(x: Matrix, bar: Matrix) -> Matrix:
    """Cotangent of x in ``exp(x) u``: phi(-ad x) bar with phi(z) = (e^z - 1) / z.

    Series for x / 8, then three times phi(2 z) = phi(z) (1 + e^z) / 2; exp(-ad x) bar = exp(-x) bar exp(x).
    """
    y = scale(SCALE, x)
    total = bar
    for k in range(COMMUTATORS, 1, -1):
        total = add_scaled(bar, -1.0 / k, sub(mul(y, total), mul(total, y)))
    e = exp(y)
    for _ in range(2):
        total = scale(0.5, add(total, dag_mul(e, mul(total, e))))
        e = mul(e, e)
    return scale(0.5, add(total, dag_mul(e, mul(total, e))))


def transported_back(x: Matrix, bar: Matrix) -> Matrix:
    """Cotangent of u in ``exp(x) u``: exp(-x) bar exp(x)."""
    e = exp(x)
    return dag_mul(e, mul(bar, e))
