"""Conjugate gradients for many shifts at once (Jegerlehner, hep-lat/9612014)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from gaugeflow.kernels import fermion_combine
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.solvers.active import Active, like, ratio, stacked
from gaugeflow.solvers.cg import cg
from gaugeflow.solvers.conjugate import residual_field
from gaugeflow.solvers.solution import Linear, Solution, finish, norm2, relative


def multi_shift_cg(
    operator: Linear,
    b: Array,
    shifts: Sequence[float],
    *,
    tolerance: float | Sequence[float] = 1e-10,
    max_iterations: int = 10000,
    strict: bool = True,
) -> list[Solution]:
    """Solve ``(D^dagger D + shift) x = b`` for every shift, at the cost of the smallest one.

    Parameters
    ----------
    operator
        D, bound to links.
    b
        Right-hand sides, a fermion field or a stack.
    shifts
        Non-negative numbers.
    tolerance
        Largest residual relative to the norm of b: one number, or one for each shift.
    max_iterations
        After which the solver gives up.
    strict
        Raise where a system has not converged.

    Returns
    -------
    list of Solution
        One for each shift, with true residuals.

    Raises
    ------
    ConvergenceError
        Naming operator, shift, residual and configuration.

    Notes
    -----
    The largest shifts converge first and are not updated any more; systems leave when all their shifts have converged.
    True residuals are computed at the end; a system that misses its tolerance by rounding is finished by
    :func:`gaugeflow.solvers.cg` from where it is.
    """
    if not shifts or min(shifts) < 0.0:
        raise ValueError(f"shifts: expected non-negative numbers, at least one, got {list(shifts)}")
    tolerances = [tolerance] * len(shifts) if isinstance(tolerance, int | float) else list(tolerance)
    if len(tolerances) != len(shifts):
        raise ValueError(f"tolerance: expected one number or {len(shifts)}, got {len(tolerances)}")
    order = sorted(range(len(shifts)), key=lambda i: shifts[i])
    size = norm2(operator.lattice, stacked(b))
    found, used = _recursion(
        operator, stacked(b), size, [float(shifts[i]) for i in order], [tolerances[i] for i in order], max_iterations
    )
    result = {}
    for place, i in enumerate(order):
        result[i] = _checked(
            operator, b, size, float(shifts[i]), found[place], used[place], tolerances[i], max_iterations, strict
        )
    return [result[i] for i in range(len(shifts))]


def _checked(
    operator: Linear,
    b: Array,
    size: Array,
    shift: float,
    x: Array,
    used: Array,
    tolerance: float,
    limit: int,
    strict: bool,
) -> Solution:
    xp = array_namespace(b)
    rr = norm2(operator.lattice, residual_field(operator, stacked(b), x, shift))
    equation = f"(D^dagger D + {shift:g}) x = b"
    x, used, residual = like(b, x, used, relative(rr, size))
    left = limit - int(xp.max(used))
    if left > 0 and not bool(xp.all((residual <= tolerance) | ~xp.isfinite(residual))):
        more = cg(operator, b, tolerance=tolerance, max_iterations=left, start=x, shift=shift, strict=False)
        x, used, residual = more.x, used + more.iterations, more.residual
    return finish(operator, equation, x, used, residual, tolerance, strict)


@dataclass
class _State:
    """Fields and numbers of the systems that are left; lists and stacks of numbers run over shifts, smallest first."""

    x: list[Array]
    p: list[Array]
    r: Array
    rr: Array
    alpha: Array
    beta: Array
    """Those of the last iteration."""
    zeta: list[Array]
    zeta_before: list[Array]
    goals: list[Array]
    working: list[Array]
    used: list[Array]


def _recursion(
    operator: Linear, b: Array, size: Array, shifts: list[float], tolerances: list[float], limit: int
) -> tuple[list[Array], list[Array]]:
    """Solutions and iterations of shifts in increasing order, by the recursion on the smallest one."""
    xp = array_namespace(b)
    count = len(shifts)
    one = xp.ones_like(size)
    goals = [0.8 * t**2 * size for t in tolerances]
    q = _State(
        x=[xp.zeros_like(b) for _ in shifts],
        p=[b] * count,
        r=b,
        rr=size,
        alpha=one,
        beta=0.0 * one,
        zeta=[one] * count,
        zeta_before=[one] * count,
        goals=goals,
        working=[(size > goal) & xp.isfinite(size) for goal in goals],
        used=[xp.zeros(size.shape, dtype=xp.int64)] * count,
    )
    active = Active([operator], [*q.x, *q.used[1:]], q.used[0])
    busy = count
    for _ in range(limit):
        working = q.working[0]
        for other in q.working[1:busy]:
            working = working | other
        kept = active.due(working)
        if kept is not None:
            active.keep(kept, [*q.x, *q.used[1:]], q.used[0])
            if not kept[0]:
                break
            for part in fields(q):
                value = getattr(q, part.name)
                many = isinstance(value, list)
                setattr(q, part.name, [active.cut(kept, v) for v in value] if many else active.cut(kept, value))
        while busy > 1 and not bool(xp.any(q.working[busy - 1])):
            busy -= 1
        _iterate(active.operators[0], q, shifts, busy, working)
    else:
        active.keep(([], []), [*q.x, *q.used[1:]], q.used[0])
    return active.results[:count], [active.used, *active.results[count:]]


def _iterate(operator: Linear, q: _State, shifts: list[float], busy: int, working: Array) -> None:
    """One step of the first ``busy`` shifts."""
    xp = array_namespace(q.r)
    lattice = operator.lattice
    one = xp.ones_like(q.rr)
    image = operator.apply(q.p[0])
    curvature = norm2(lattice, image)
    back = operator.adjoint(image)
    if shifts[0]:
        curvature = curvature + shifts[0] * norm2(lattice, q.p[0])
        back = fermion_combine(lattice, back, 1.0, q.p[0], shifts[0])
    good = (curvature > 0.0) & (q.rr > 0.0)
    alpha = ratio(q.rr, curvature, good)
    q.r = fermion_combine(lattice, q.r, 1.0, back, -alpha)
    new = norm2(lattice, q.r)
    beta = ratio(new, q.rr, good)
    for k in range(busy):
        # zeta_(n+1) of Jegerlehner's equation (2.44), in terms of positive alpha
        above = q.zeta[k] * q.zeta_before[k] * q.alpha
        below = alpha * q.beta * (q.zeta_before[k] - q.zeta[k])
        below = below + q.zeta_before[k] * q.alpha * (1.0 + (shifts[k] - shifts[0]) * alpha)
        after = ratio(above, below, good)
        share = ratio(after, q.zeta[k], good)
        q.x[k] = fermion_combine(lattice, q.x[k], 1.0, q.p[k], alpha * share)
        q.p[k] = fermion_combine(lattice, q.r, after, q.p[k], beta * share**2)
        q.zeta_before[k], q.zeta[k] = q.zeta[k], after
        q.used[k] = q.used[k] + xp.astype(q.working[k], xp.int64)
        q.working[k] = q.working[k] & good & (after**2 * new > q.goals[k])
    q.alpha, q.beta, q.rr = xp.where(good, alpha, one), beta, new
