"""BiCGStab (van der Vorst, SIAM J. Sci. Stat. Comput. 13 (1992) 631) for D x = b, without normal equations."""

from __future__ import annotations

from array_api_compat import array_namespace

from gaugeflow.kernels import fermion_combine, fermion_dot
from gaugeflow.lattice import Array
from gaugeflow.solvers.solution import Linear, Solution, finish, norm2


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
    xp = array_namespace(b)
    lattice = operator.lattice
    size = norm2(lattice, b)
    one, nought = xp.ones_like(size), xp.zeros_like(size)
    x = xp.zeros_like(b) if start is None else start
    used = xp.zeros(size.shape, dtype=xp.int64)
    goal = size * tolerance**2

    def true_residual(x: Array) -> Array:
        return fermion_combine(lattice, b, 1.0, operator.apply(x), -1.0)

    def ratio(a: Array, c: Array, where: Array) -> Array:
        """a / c where that is wanted and defined, else 0."""
        good = where & (xp.abs(c) > 0.0)
        return xp.where(good, a / xp.where(good, c, xp.ones_like(c)), xp.zeros_like(a))

    r = b if start is None else true_residual(x)
    for _ in range(4):
        rr = norm2(lattice, r)
        working = ~(rr <= goal)
        if not bool(xp.any(working)) or int(xp.max(used)) >= max_iterations:
            break
        shadow, p, rho = r, r, fermion_dot(lattice, r, r)
        best = rr
        while bool(xp.any(working)) and int(xp.max(used)) < max_iterations:
            v = operator.apply(p)
            alpha = ratio(rho, fermion_dot(lattice, shadow, v), working)
            s = fermion_combine(lattice, r, 1.0, v, -alpha)
            t = operator.apply(s)
            omega = ratio(fermion_dot(lattice, t, s), fermion_dot(lattice, t, t) + 0j * one, working)
            x = fermion_combine(lattice, fermion_combine(lattice, x, 1.0, p, alpha), 1.0, s, omega)
            r = fermion_combine(lattice, s, 1.0, t, -omega)
            new = fermion_dot(lattice, shadow, r)
            beta = ratio(new * alpha, rho * xp.where(omega == 0.0, one + 0j, omega), working & (omega != 0.0))
            p = fermion_combine(lattice, fermion_combine(lattice, p, 1.0, v, -omega), beta, r, 1.0)
            rho = new
            used = used + xp.astype(working, xp.int64)
            rr = norm2(lattice, r)
            best = xp.where(rr < best, rr, best)
            lost = (rr > 1e8 * best) | ~xp.isfinite(rr) | (alpha == 0.0) | (omega == 0.0)
            working = working & (rr > 0.5 * goal) & ~lost
        r = true_residual(x)
    residual = xp.sqrt(norm2(lattice, r) / xp.where(size > 0.0, size, one)) + nought
    return finish(operator, "D x = b by BiCGStab", x, used, residual, tolerance, strict)
