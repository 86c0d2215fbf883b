"""The residual update of one link and the determinant of its Jacobian, with derivatives by hand.

An active link U becomes ``exp(F) U`` with ``F = P(W)``, ``W = U A``, where A is a sum of open paths of frozen links.  With
``ad F`` the adjoint matrix of F, ``Q = (ad F)^2`` and ``H`` the symmetric part of the map ``w -> P(w W)``, the Jacobian in
left coordinates is

    J = phi(ad F) (t(Q) + H),    phi(z) = (e^z - 1) / z,    t(q) = (sqrt(q) / 2) coth(sqrt(q) / 2),

see :mod:`gaugeflow.sites.jacobian`.  Where the norm of A is below 1, t(Q) + H is positive.  The derivation, also of the
derivatives, is in ``docs/derivations/residual.md``.
"""

from __future__ import annotations

from typing import Any

from gaugeflow.sites.adjoint import contract_symmetric
from gaugeflow.sites.exponential import exp
from gaugeflow.sites.jacobian import (
    COARSE,
    NEWTON,
    inverse_jacobian,
    inverse_transposed,
    phi_determinant,
    phi_transposed,
    reduced_determinant,
    reduced_inverse,
    reduced_vjp,
)
from gaugeflow.sites.matrix import (
    add,
    add_scaled,
    dag_mul,
    mul,
    mul_dag,
    project,
    re_trace,
    re_trace_mul,
    re_trace_mul_dag,
    scale,
    size,
    sub,
)
from gaugeflow.sites.numbers import Matrix, Number, largest, real, sqrt, where


# ---- the determinant -------------------------------------------------------------------------------------------------
def jacobian_determinant(memory: Any, f: Matrix, w: Matrix) -> Number:
    """Determinant of the update of one link in left coordinates."""
    return phi_determinant(memory, f) * reduced_determinant(memory, f, w)


def tangent(w: Matrix, force: Matrix) -> Number:
    """div X - <X, force> of the field X = P(w) of one link, w linear in the link."""
    n = size(w)
    casimir = (n * n - 1.0) / n if n > 1 else 1.0
    return casimir * re_trace(w) + 2.0 * re_trace_mul(w, force)


def norm_bound(s: Matrix) -> Number:
    """tr (s^dagger s)^2, an upper bound on the fourth power of the operator norm."""
    h = dag_mul(s, s)
    return re_trace_mul_dag(h, h)


def update(u: Matrix, f: Matrix) -> Matrix:
    """exp(f) u."""
    return mul(exp(f), u)


def update_vjp(memory: Any, u: Matrix, a: Matrix, y_bar: Matrix, log_det_bar: Number) -> tuple[Matrix, Matrix]:
    """Cotangents of one updated link.

    Parameters
    ----------
    memory
        Scratch memory.
    u, a
        Active link and sum of paths.
    y_bar
        Cotangent of the new link, an algebra element in left coordinates.
    log_det_bar
        Cotangent of log det J.

    Returns
    -------
    x_bar, a_bar
        Cotangent of u (algebra element, left coordinates) and the matrix with dL = Re tr(a_bar da).
    """
    w = mul(u, a)
    f = project(w)
    reduced_inverse(memory, f, w)
    w_bar = scale(-2.0 * log_det_bar, contract_symmetric(memory, 0, w))
    f_bar = reduced_vjp(memory, log_det_bar, w_bar, f)
    by_f, by_u = phi_transposed(f, y_bar)
    w_bar = add(w_bar, sub(project(f_bar), scale(2.0, by_f)))
    return sub(by_u, scale(0.5, project(mul(w, w_bar)))), mul(w_bar, u)


def update_score(memory: Any, u: Matrix, a: Matrix, score: Matrix) -> tuple[Matrix, Matrix]:
    """Gradient of the log-density after the update, from the one before.

    With J the Jacobian of the active link, the new score is ``J^-T (score - grad log det)``.

    Returns
    -------
    new_score, a_bar
        Algebra element at the new link; matrix whose pull-back to frozen links is to be *subtracted* from their score.
    """
    one = 0.0 * real(u[0]) + 1.0
    gradient, _ = update_vjp(memory, u, a, scale(0.0, score), one)
    w = mul(u, a)
    f = project(w)
    reduced_inverse(memory, f, w)
    new_score = inverse_transposed(memory, f, sub(score, gradient))
    _, a_bar = update_vjp(memory, u, a, new_score, one)
    return new_score, a_bar


def solve(memory: Any, y: Matrix, a: Matrix, tolerance: float, limit: int) -> tuple[Matrix, Number]:
    """The link u whose update is y, and the square of its last change.

    The fixed point of ``F = P(exp(-F) y a)`` is a contraction with the norm of a, which also bounds the distance from the
    limit; near it Newton steps ``u <- exp(J^-1 log(y update(u)^-1)) u`` go on until one is not larger than ``tolerance``.
    Each squares the error, so that the last one leaves rounding only.  What has converged stays as it is while others in the
    same register or array go on: the result does not depend on who they are.

    Parameters
    ----------
    memory
        Scratch memory.
    y, a
        Updated link and sum of paths.
    tolerance
        Largest norm of the last Newton step.
    limit
        Iterations of the fixed point at most.
    """
    target = mul(y, a)
    f = project(target)
    change = re_trace_mul_dag(f, f)
    gap = 1.0 - sqrt(sqrt(norm_bound(a)))
    gap = gap * gap + 1e-12
    steps = 0
    while largest(change / gap) > COARSE * COARSE and steps < limit:
        far = change / gap > COARSE * COARSE
        d = sub(project(dag_mul(exp(f), target)), f)
        f = add_scaled(f, where(far, change * 0.0 + 1.0, change * 0.0), d)
        change = where(far, re_trace_mul_dag(d, d), change)
        steps += 1
    u = update(y, scale(-1.0, f))
    steps = 0
    change = change + 1.0
    while largest(change) > tolerance * tolerance and steps < NEWTON:
        w = mul(u, a)
        f = project(w)
        reduced_inverse(memory, f, w)
        far = change > tolerance * tolerance
        d = inverse_jacobian(memory, f, project(mul_dag(y, update(u, f))))
        u = add_scaled(u, where(far, change * 0.0 + 1.0, change * 0.0), sub(update(u, d), u))
        change = where(far, re_trace_mul_dag(d, d), change)
        steps += 1
    return u, change
