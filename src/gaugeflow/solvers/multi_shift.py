"""Conjugate gradients for many shifts at once (Jegerlehner, hep-lat/9612014)."""

from __future__ import annotations

from collections.abc import Sequence

from array_api_compat import array_namespace

from gaugeflow.kernels import fermion_combine, fermion_dot
from gaugeflow.lattice import Array
from gaugeflow.solvers.cg import cg, normal
from gaugeflow.solvers.solution import Linear, Solution, finish, norm2


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
        Right-hand side, a fermion field (no stack).
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
    The largest shifts converge first and are not updated any more.  True residuals are computed at the end; a system that
    misses its tolerance by rounding is finished by :func:`gaugeflow.solvers.cg` from where it is.
    """
    if len(b.shape) != 4:
        raise ValueError(f"multi_shift_cg: expected one fermion field, got shape {tuple(b.shape)}")
    if not shifts or min(shifts) < 0.0:
        raise ValueError(f"shifts: expected non-negative numbers, at least one, got {list(shifts)}")
    tolerances = [tolerance] * len(shifts) if isinstance(tolerance, int | float) else list(tolerance)
    if len(tolerances) != len(shifts):
        raise ValueError(f"tolerance: expected one number or {len(shifts)}, got {len(tolerances)}")
    order = sorted(range(len(shifts)), key=lambda i: shifts[i])
    found, used = _recursion(
        operator, b, [float(shifts[i]) for i in order], [tolerances[i] for i in order], max_iterations
    )
    result: list[Solution | None] = [None] * len(shifts)
    for i, x, count in zip(order, found, used, strict=True):
        result[i] = _checked(operator, b, float(shifts[i]), x, count, tolerances[i], max_iterations, strict)
    return [s for s in result if s is not None]


def _checked(
    operator: Linear, b: Array, shift: float, x: Array, used: Array, tolerance: float, limit: int, strict: bool
) -> Solution:
    xp = array_namespace(b)
    size = norm2(operator.lattice, b)
    r = fermion_combine(operator.lattice, b, 1.0, normal(operator, x, shift), -1.0)
    residual = xp.sqrt(norm2(operator.lattice, r) / xp.where(size > 0.0, size, xp.ones_like(size)))
    equation = f"(D^dagger D + {shift:g}) x = b"
    if bool(xp.all(residual <= tolerance)):
        return finish(operator, equation, x, used, residual, tolerance, strict)
    more = cg(operator, b, tolerance=tolerance, max_iterations=limit, start=x, shift=shift, strict=False)
    return finish(operator, equation, more.x, used + more.iterations, more.residual, tolerance, strict)


def _recursion(
    operator: Linear, b: Array, shifts: list[float], tolerances: list[float], limit: int
) -> tuple[list[Array], list[Array]]:
    """Solutions and iterations of shifts in increasing order, by the recursion on the smallest one."""
    xp = array_namespace(b)
    lattice = operator.lattice
    rr = norm2(lattice, b)
    one = xp.ones_like(rr)
    goals = [0.8 * t**2 * rr for t in tolerances]
    x = [xp.zeros_like(b) for _ in shifts]
    p = [b for _ in shifts]
    r = b
    zeta, zeta_before = [one] * len(shifts), [one] * len(shifts)
    alpha_before, beta_before = one, 0.0 * one
    used = [xp.zeros(rr.shape, dtype=xp.int64) for _ in shifts]
    working = [rr > g for g in goals]
    busy = len(shifts)
    while busy:
        if int(xp.max(used[0])) >= limit:
            break
        q = normal(operator, p[0], shifts[0])
        pq = xp.real(fermion_dot(lattice, p[0], q))
        good = (pq > 0.0) & (rr > 0.0)
        if not bool(xp.any(good)):
            break
        alpha = xp.where(good, rr / xp.where(good, pq, one), 0.0 * one)
        r = fermion_combine(lattice, r, 1.0, q, -alpha)
        new = norm2(lattice, r)
        beta = xp.where(good, new / xp.where(good, rr, one), 0.0 * one)
        for k in range(busy):
            if k == 0:
                x[0] = fermion_combine(lattice, x[0], 1.0, p[0], alpha)
                p[0] = fermion_combine(lattice, r, 1.0, p[0], beta)
                size = new
            else:
                shift = shifts[k] - shifts[0]
                # zeta_(n+1) of Jegerlehner's equation (2.44), in terms of positive alpha
                below = alpha * beta_before * (zeta_before[k] - zeta[k]) + zeta_before[k] * alpha_before * (
                    1.0 + shift * alpha
                )
                after = zeta[k] * zeta_before[k] * alpha_before / xp.where(below != 0.0, below, one)
                ratio = xp.where(zeta[k] != 0.0, after / xp.where(zeta[k] != 0.0, zeta[k], one), 0.0 * one)
                x[k] = fermion_combine(lattice, x[k], 1.0, p[k], alpha * ratio)
                p[k] = fermion_combine(lattice, r, after, p[k], beta * ratio**2)
                zeta_before[k], zeta[k] = zeta[k], after
                size = after**2 * new
            used[k] = used[k] + xp.astype(working[k], xp.int64)
            working[k] = working[k] & (size > goals[k])
        while busy and not bool(xp.any(working[busy - 1])):
            busy -= 1
        alpha_before, beta_before, rr = xp.where(good, alpha, one), beta, new
    return x, used
