"""The update of one link by loops of smeared links and the determinant of its Jacobian, with derivatives by hand.

An active link U becomes ``exp(F) U`` with ``F = P(U A + U C U D) + R + U R' U^dagger``, where A, C, D are sums of open
paths of frozen links and R, R' lie in the algebra.  With ``Y = U R' U^dagger`` the derivative of F along a left
displacement w is ``M w = P(w (U A + U C U D) + U C w U D) + [w, Y]``, and the Jacobian in left coordinates is

    J = phi(ad F) (t(Q) + N),    N = M + ad F / 2 = sym + (U C . U D) + ad(R - Y) / 2

where sym is the symmetric part of ``w -> P(w W)`` for all of ``W = U A + U C U D``, and (X . Z) is ``w -> P(X w Z)``.
phi and t are those of :mod:`gaugeflow.sites.jacobian`; the derivation is in ``docs/derivations/smeared.md``.
"""

from __future__ import annotations

from typing import Any

from gaugeflow.sites.adjoint import (
    adjoint_action,
    contract,
    contract_around,
    contract_symmetric,
    determinant,
    dimension,
    invert,
    sandwich,
    symmetrise,
)
from gaugeflow.sites.exponential import exp
from gaugeflow.sites.jacobian import (
    COARSE,
    NEWTON,
    fill_reduced,
    inverse_jacobian,
    inverse_transposed,
    phi_determinant,
    phi_transposed,
    reduced_vjp,
)
from gaugeflow.sites.matrix import (
    add,
    add_scaled,
    dag,
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
    trace,
)
from gaugeflow.sites.numbers import Matrix, Number, get, largest, put, real, sqrt, where


# ---- frozen matrices of an active link -------------------------------------------------------------------------------
def assemble(
    s_a: Matrix, s_c: Matrix, s_z: Matrix, s_0: Matrix, g: Matrix, b_0: Matrix, b_n: Matrix
) -> tuple[Matrix, Matrix, Matrix, Matrix, Matrix]:
    """(A, C, D, R, R') from sums of staples s, the gradient g and smeared links b.

    R = (P(b_0 g) + P(b_n s_z^dagger)) / 2, and R' is the same with the order of factors exchanged.
    """
    z = dag(s_z)
    r = project(add(mul(b_0, g), mul(b_n, z)))
    t = project(add(mul(g, b_0), mul(z, b_n)))
    return dag(s_a), dag(s_c), dag(s_0), scale(0.5, r), scale(0.5, t)


def assemble_bar_product(left: Matrix, right: Matrix, r_bar: Matrix, t_bar: Matrix) -> tuple[Matrix, Matrix]:
    """Cotangents of left and right in R = P(left right) / 2, R' = P(right left) / 2."""
    p = scale(0.5, project(r_bar))
    q = scale(0.5, project(t_bar))
    return add(mul(right, p), mul(q, right)), add(mul(p, left), mul(left, q))


def assemble_bar(
    factor: float,
    s_z: Matrix,
    g: Matrix,
    b_0: Matrix,
    b_n: Matrix,
    a_bar: Matrix,
    c_bar: Matrix,
    d_bar: Matrix,
    r_bar: Matrix,
    t_bar: Matrix,
) -> tuple[Matrix, Matrix, Matrix, Matrix, Matrix, Matrix, Matrix]:
    """A multiple of the cotangents of the arguments of :func:`assemble`, in their order, from those of its results."""
    b_0_bar, g_bar = assemble_bar_product(b_0, g, r_bar, t_bar)
    b_n_bar, z_bar = assemble_bar_product(b_n, dag(s_z), r_bar, t_bar)
    return (
        scale(factor, dag(a_bar)),
        scale(factor, dag(c_bar)),
        scale(factor, dag(z_bar)),
        scale(factor, dag(d_bar)),
        scale(factor, g_bar),
        scale(factor, b_0_bar),
        scale(factor, b_n_bar),
    )


# ---- the update ------------------------------------------------------------------------------------------------------


def generator(u: Matrix, a: Matrix, c: Matrix, d: Matrix, r: Matrix, t: Matrix) -> Matrix:
    """F = P(U A + U C U D) + R + U R' U^dagger; ``t`` is R'."""
    loops = add(mul(u, a), mul(mul(u, c), mul(u, d)))
    return add(project(add(loops, mul_dag(mul(u, t), u))), r)


def fill_loops(memory: Any, f: Matrix, u: Matrix, a: Matrix, c: Matrix, d: Matrix, r: Matrix, t: Matrix) -> None:
    """``memory[0:]`` = t(Q) + N."""
    square = dimension(size(u)) * dimension(size(u))
    x = mul(u, c)
    z = mul(u, d)
    fill_reduced(memory, f, add(mul(u, a), mul(x, z)))
    sandwich(memory, 0, x, z)
    adjoint_action(memory, square, scale(0.5, sub(r, mul_dag(mul(u, t), u))))
    for i in range(square):
        put(memory, i, get(memory, i) + get(memory, square + i))


def loops_determinant(
    memory: Any, f: Matrix, u: Matrix, a: Matrix, c: Matrix, d: Matrix, r: Matrix, t: Matrix
) -> Number:
    """Determinant of the update of one link in left coordinates."""
    phi = phi_determinant(memory, f)
    fill_loops(memory, f, u, a, c, d, r, t)
    return phi * determinant(memory, 0, u)


def loops_tangent(u: Matrix, a: Matrix, c: Matrix, d: Matrix, r: Matrix, t: Matrix, force: Matrix) -> Number:
    """div X - <X, force> of the field X = F of one link.

    P(U A) has the divergence (N^2 - 1)/N Re tr U A and P(U C U D) (N - 2/N) Re tr U C U D + Re(tr U C tr U D) (for U(1)
    both and twice the real part); terms with R have none.
    """
    n = size(u)
    x = mul(u, c)
    z = mul(u, d)
    w = mul(u, a)
    both = mul(x, z)
    single = (n * n - 1.0) / n if n > 1 else 1.0
    double = n - 2.0 / n if n > 1 else 1.0
    divergence = single * re_trace(w) + double * re_trace(both) + real(trace(x) * trace(z))
    return divergence + 2.0 * re_trace_mul(generator(u, a, c, d, r, t), force)


def tangent_direction(u: Matrix, b_0: Matrix, force: Matrix) -> Matrix:
    """Cotangent of g in :func:`loops_tangent`, where R = P(b_0 g) / 2 and R' = P(g b_0) / 2."""
    return add(mul(force, b_0), mul(b_0, mul(dag_mul(u, force), u)))


def norm(s: Matrix) -> Number:
    """Square root of tr (s^dagger s)^2, an upper bound on the square of the operator norm."""
    h = dag_mul(s, s)
    return sqrt(re_trace_mul_dag(h, h))


def step_bound(a: Matrix, c: Matrix, d: Matrix, t: Matrix) -> Number:
    """Upper bound on ||A|| + 2 ||C|| ||D|| + 2 ||R'||: below 1 the update is certainly invertible."""
    return sqrt(norm(a)) + 2.0 * sqrt(norm(c) * norm(d)) + 2.0 * sqrt(norm(t))


def loops_vjp(
    memory: Any,
    u: Matrix,
    a: Matrix,
    c: Matrix,
    d: Matrix,
    r: Matrix,
    t: Matrix,
    y_bar: Matrix,
    log_det_bar: Number,
) -> tuple[Matrix, Matrix, Matrix, Matrix, Matrix, Matrix]:
    """Cotangents of one updated link.

    Parameters
    ----------
    memory
        Scratch memory.
    u, a, c, d, r, t
        Active link and its frozen matrices.
    y_bar
        Cotangent of the new link, an algebra element in left coordinates.
    log_det_bar
        Cotangent of log det J.

    Returns
    -------
    x_bar, a_bar, c_bar, d_bar, r_bar, t_bar
        Cotangent of u (algebra element, left coordinates), then matrices with dL = Re tr(a_bar da) and so on.
    """
    dim = dimension(size(u))
    square = dim * dim
    f = generator(u, a, c, d, r, t)
    fill_loops(memory, f, u, a, c, d, r, t)
    invert(memory, 0, u)
    x = mul(u, c)
    z = mul(u, d)
    y = mul_dag(mul(u, t), u)
    x_bar = scale(-2.0 * log_det_bar, contract_around(memory, 0, dim, 1, z))
    z_bar = scale(-2.0 * log_det_bar, contract_around(memory, 0, 1, dim, x))
    for i in range(square):
        put(memory, square + i, get(memory, i))
    symmetrise(memory, square, -log_det_bar, -1.0, u)
    turn = project(contract(memory, square, u))
    symmetrise(memory, 0, 0.0 * log_det_bar + 0.5, 1.0, u)
    w_bar = scale(-2.0 * log_det_bar, contract_symmetric(memory, 0, u))
    f_bar = reduced_vjp(memory, log_det_bar, w_bar, f)
    by_f, by_u = phi_transposed(f, y_bar)
    f_bar = sub(f_bar, scale(2.0, by_f))
    # F = P(U A + X Z) + R + Y
    f_bar = project(f_bar)
    w_bar = add(w_bar, f_bar)
    x_bar = add(x_bar, mul(z, w_bar))
    z_bar = add(z_bar, mul(w_bar, x))
    turned_bar = sub(f_bar, turn)
    own = add(mul(mul(u, a), w_bar), add(mul(x, x_bar), mul(z, z_bar)))
    own = add(own, sub(mul(y, turned_bar), mul(turned_bar, y)))
    u_bar = sub(by_u, scale(0.5, project(own)))
    t_bar = mul(dag_mul(u, turned_bar), u)
    return u_bar, mul(w_bar, u), mul(x_bar, u), mul(z_bar, u), add(f_bar, turn), t_bar


def loops_score(
    memory: Any, u: Matrix, a: Matrix, c: Matrix, d: Matrix, r: Matrix, t: Matrix, score: Matrix
) -> tuple[Matrix, Matrix, Matrix, Matrix, Matrix, Matrix]:
    """Gradient of the log-density after the update of one link, from the one before.

    As for :func:`gaugeflow.sites.residual.update_score`: ``J^-T (score - grad log det)``.

    Returns
    -------
    new_score, a_bar, c_bar, d_bar, r_bar, t_bar
        Algebra element at the new link; matrices whose pull-back to frozen links is to be *subtracted* from their
        score.
    """
    one = 0.0 * real(u[0]) + 1.0
    gradient = loops_vjp(memory, u, a, c, d, r, t, scale(0.0, score), one)[0]
    f = generator(u, a, c, d, r, t)
    fill_loops(memory, f, u, a, c, d, r, t)
    invert(memory, 0, u)
    new_score = inverse_transposed(memory, f, sub(score, gradient))
    _, a_bar, c_bar, d_bar, r_bar, t_bar = loops_vjp(memory, u, a, c, d, r, t, new_score, one)
    return new_score, a_bar, c_bar, d_bar, r_bar, t_bar


def solve_loops(
    memory: Any,
    v: Matrix,
    a: Matrix,
    c: Matrix,
    d: Matrix,
    r: Matrix,
    t: Matrix,
    tolerance: float,
    limit: int,
) -> tuple[Matrix, Number]:
    """The link u whose update is v, and the square of its last change: :func:`gaugeflow.sites.residual.solve` with the
    iteration ``F <- F(exp(-F) v)``."""
    f = generator(v, a, c, d, r, t)
    change = re_trace_mul_dag(f, f)
    gap = 1.0 - step_bound(a, c, d, t)
    gap = gap * gap + 1e-12
    steps = 0
    while largest(change / gap) > COARSE * COARSE and steps < limit:
        far = change / gap > COARSE * COARSE
        e = sub(generator(dag_mul(exp(f), v), a, c, d, r, t), f)
        f = add_scaled(f, where(far, change * 0.0 + 1.0, change * 0.0), e)
        change = where(far, re_trace_mul_dag(e, e), change)
        steps += 1
    u = dag_mul(exp(f), v)
    steps = 0
    change = change + 1.0
    while largest(change) > tolerance * tolerance and steps < NEWTON:
        f = generator(u, a, c, d, r, t)
        fill_loops(memory, f, u, a, c, d, r, t)
        invert(memory, 0, u)
        far = change > tolerance * tolerance
        e = inverse_jacobian(memory, f, project(mul_dag(v, mul(exp(f), u))))
        u = add_scaled(u, where(far, change * 0.0 + 1.0, change * 0.0), sub(mul(exp(e), u), u))
        change = where(far, re_trace_mul_dag(e, e), change)
        steps += 1
    return u, change
