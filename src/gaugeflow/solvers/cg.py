"""Conjugate gradients on the normal equations (Hestenes and Stiefel, J. Res. NBS 49 (1952) 409)."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from gaugeflow.kernels import fermion_combine, fermion_dot
from gaugeflow.lattice import Array
from gaugeflow.solvers.solution import (
    Active,
    Linear,
    Solution,
    finish,
    norm2,
    put,
    put_numbers,
    take_numbers,
)


def normal(operator: Linear, psi: Array, shift: float = 0.0) -> Array:
    """(D^dagger D + shift) psi."""
    result = operator.adjoint(operator.apply(psi))
    return fermion_combine(operator.lattice, result, 1.0, psi, shift) if shift else result


def cg(
    operator: Linear,
    b: Array,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 10000,
    start: Array | None = None,
    shift: float = 0.0,
    strict: bool = True,
) -> Solution:
    """Solve ``(D^dagger D + shift) x = b``, every configuration and field of a stack on its own.

    Parameters
    ----------
    operator
        D, bound to links.
    b
        Right-hand sides, a fermion field or a stack.
    tolerance
        Largest residual, relative to the norm of b.
    max_iterations
        After which the solver gives up.
    start
        First guess (default: zero).
    shift
        A non-negative number.
    strict
        Raise where a system has not converged; else return what there is.

    Returns
    -------
    Solution
        With the true residual.

    Raises
    ------
    ConvergenceError
        Naming operator, residual and configuration.

    Notes
    -----
    The residual of the recursion drifts away from the true one.  The solver therefore starts again from its own solution
    until the true residual is small enough or does not fall any more.
    """
    xp = array_namespace(b)
    stacked = len(b.shape) == 5
    right = b if stacked else b[None, ...]
    lattice = operator.lattice
    size = norm2(lattice, right)
    x = xp.zeros_like(right) if start is None else (start if stacked else start[None, ...])
    iterations = xp.zeros(size.shape, dtype=xp.int64)
    residual = xp.ones(size.shape, dtype=xp.float64)
    goal = size * tolerance**2
    for attempt in range(6):
        if attempt == 0 and start is None:
            r, rr = right, size
        else:
            r = fermion_combine(lattice, right, 1.0, normal(operator, x, shift), -1.0)
            rr = norm2(lattice, r)
        before, residual = residual, xp.sqrt(rr / xp.where(size > 0.0, size, xp.ones_like(size)))
        working = ~(rr <= goal)
        stalled = attempt > 1 and bool(xp.all(residual[working] > 0.5 * before[working]))
        left = max_iterations - int(xp.max(iterations))
        if not bool(xp.any(working)) or left <= 0 or stalled or not bool(xp.all(xp.isfinite(rr))):
            break
        # The recursion is driven a little below the goal, which rounding may cost.
        x, used = _recursion(operator, x, r, rr, 0.8 * goal, working, left, shift)
        iterations = iterations + used
    result = finish(operator, "(D^dagger D) x = b", x, iterations, residual, tolerance, strict)
    if stacked:
        return result
    return Solution(x[0, ...], *(v[0, ...] for v in result[1:]))


def _recursion(
    operator: Linear, x: Array, r: Array, rr: Array, goal: Array, working: Array, limit: int, shift: float
) -> tuple[Array, Array]:
    """Iterate until the residual of the recursion is below the goal; x and iterations of every system."""
    xp = array_namespace(x)
    lattice = operator.lattice
    active = Active(operator, *rr.shape)
    full_x, used = x, xp.zeros(rr.shape, dtype=xp.int64)
    own_used = used
    p = r
    for _ in range(limit):
        rows = _lists(xp, working)
        if not any(any(row) for row in rows):
            break
        kept = active.keep(rows)
        if kept is not None:
            full_x = put(lattice, full_x, x, active.fields, active.configurations)
            used = put_numbers(used, own_used, active.fields, active.configurations)
            active.narrow(*kept)
            x, r, p = (active.cut(f, *kept) for f in (x, r, p))
            rr, goal, working, own_used = (take_numbers(v, *kept) for v in (rr, goal, working, own_used))
        q = normal(active.operator, p, shift)
        pq = xp.real(fermion_dot(lattice, p, q))
        good = working & (pq > 0.0)
        alpha = xp.where(good, rr / xp.where(good, pq, xp.ones_like(pq)), xp.zeros_like(pq))
        x = fermion_combine(lattice, x, 1.0, p, alpha)
        r = fermion_combine(lattice, r, 1.0, q, -alpha)
        new = norm2(lattice, r)
        own_used = own_used + xp.astype(working, xp.int64)
        beta = xp.where(good, new / xp.where(good, rr, xp.ones_like(rr)), xp.zeros_like(rr))
        p = fermion_combine(lattice, r, 1.0, p, beta)
        rr = xp.where(good, new, rr)
        working = good & (rr > goal)
    full_x = put(lattice, full_x, x, active.fields, active.configurations)
    return full_x, put_numbers(used, own_used, active.fields, active.configurations)


def _lists(xp: Any, mask: Array) -> list[list[bool]]:
    """A mask ``(R, batch)`` on the host."""
    return [[bool(mask[i, j]) for j in range(mask.shape[1])] for i in range(mask.shape[0])]
