"""BiCGStab (van der Vorst, SIAM J. Sci. Stat. Comput. 13 (1992) 631) for D x = b, without normal equations."""

from __future__ import annotations

from dataclasses import dataclass, fields

from gaugeflow.kernels import fermion_combine, fermion_dot
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.solvers.active import Active, like, ratio, stacked
from gaugeflow.solvers.conjugate import residual_field
from gaugeflow.solvers.solution import Linear, Solution, finish, norm2, relative

GROWTH = 1e8
"""Squared residual over the smallest one so far, beyond which a system has got lost."""


def bicgstab(
    operator: Linear,
    b: Array,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 10000,
    start: Array | None = None,
    strict: bool = True,
) -> Solution:
    """Solve ``D x = b``, every configuration and field of a stack on its own.

    An iteration applies D twice and never its adjoint.  The method may break down where D has eigenvalues on both sides of
    the imaginary axis, as light quarks on coarse lattices have; it then says so, and :func:`gaugeflow.solvers.solve` with
    conjugate gradients still converges.  Arguments, result and errors are those of :func:`gaugeflow.solvers.cg`.
    """
    right = stacked(b)
    size = norm2(operator.lattice, right)
    first = None if start is None else stacked(start)
    x, used, rr = stabilised(operator, right, first, size * tolerance**2, max_iterations)
    x, used, residual = like(b, x, used, relative(rr, size))
    return finish(operator, "D x = b by BiCGStab", x, used, residual, tolerance, strict)


@dataclass
class _State:
    """Fields and numbers of the systems that are left."""

    x: Array
    r: Array
    p: Array
    shadow: Array
    rho: Array
    best: Array
    goal: Array
    working: Array
    used: Array


def stabilised(operator: Linear, b: Array, start: Array | None, goal: Array, limit: int) -> tuple[Array, Array, Array]:
    """Stack x, iterations and true squared residuals; arguments as for :func:`.conjugate.conjugate_gradients`."""
    xp = array_namespace(b)
    lattice = operator.lattice
    used = xp.zeros(goal.shape, dtype=xp.int64)
    if start is None:
        x, r = xp.zeros_like(b), b
    else:
        x, r = start, residual_field(operator, b, start, squares=True)
    rr = norm2(lattice, r)
    working = (rr > goal) & xp.isfinite(rr)
    for _ in range(4):  # a shadow residual that has become orthogonal is cured by a new one
        if limit <= 0 or not bool(xp.any(working)):
            break
        x, more = _descend(operator, x, r, rr, goal, working, limit)
        used, limit = used + more, limit - int(xp.max(more))
        r = residual_field(operator, b, x, squares=True)
        rr = norm2(lattice, r)
        working = (rr > goal) & xp.isfinite(rr)
    return x, used, rr


def _descend(
    operator: Linear, x: Array, r: Array, rr: Array, goal: Array, working: Array, limit: int
) -> tuple[Array, Array]:
    xp = array_namespace(x)
    used = xp.zeros(goal.shape, dtype=xp.int64)
    active = Active([operator], [x], used)
    q = _State(x, r, r, r, fermion_dot(operator.lattice, r, r), rr, 0.5 * goal, working, used)
    for _ in range(limit):
        kept = active.due(q.working)
        if kept is not None:
            active.keep(kept, [q.x], q.used)
            if not kept[0]:
                return active.results[0], active.used
            for part in fields(q):
                setattr(q, part.name, active.cut(kept, getattr(q, part.name)))
        _iterate(active.operators[0], q)
    active.keep(([], []), [q.x], q.used)
    return active.results[0], active.used


def _iterate(operator: Linear, q: _State) -> None:
    """One step of all systems; those that do not work, and those that break down, stay where they are."""
    xp = array_namespace(q.x)
    lattice = operator.lattice
    v = operator.apply(q.p)
    alpha = ratio(q.rho, fermion_dot(lattice, q.shadow, v), q.working)
    s = fermion_combine(lattice, q.r, 1.0, v, -alpha)
    t = operator.apply(s)
    omega = ratio(fermion_dot(lattice, t, s), norm2(lattice, t) + 0j, q.working)
    q.x = fermion_combine(lattice, fermion_combine(lattice, q.x, 1.0, q.p, alpha), 1.0, s, omega)
    q.r = fermion_combine(lattice, s, 1.0, t, -omega)
    new = fermion_dot(lattice, q.shadow, q.r)
    beta = ratio(new * alpha, q.rho * omega, q.working)
    q.p = fermion_combine(lattice, fermion_combine(lattice, q.p, 1.0, v, -omega), beta, q.r, 1.0)
    q.rho = new
    rr = norm2(lattice, q.r)
    q.best = xp.where(rr < q.best, rr, q.best)
    lost = (rr > GROWTH * q.best) | ~xp.isfinite(rr) | (alpha == 0.0) | (omega == 0.0)
    q.used = q.used + xp.astype(q.working, xp.int64)
    q.working = q.working & (rr > q.goal) & ~lost
