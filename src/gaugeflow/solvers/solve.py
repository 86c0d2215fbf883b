"""D x = b on all sites, by any of the methods, with even-odd preconditioning where the lattice has parities."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from gaugeflow.kernels import fermion_combine
from gaugeflow.lattice import Array
from gaugeflow.operators.even_odd import even_odd
from gaugeflow.operators.hopping import HoppingOperator
from gaugeflow.solvers.bicgstab import bicgstab
from gaugeflow.solvers.cg import cg
from gaugeflow.solvers.refined import refined_cg
from gaugeflow.solvers.solution import Solution, finish, norm2

METHODS = ("cg", "refined", "bicgstab")


def has_parities(operator: HoppingOperator) -> bool:
    """Whether the lattice of an operator splits into even and odd sites, the same ones in all lanes."""
    return all(n % 2 == 0 for n in operator.lattice.block_shape)


def solve(
    operator: HoppingOperator,
    b: Array,
    *,
    method: str = "cg",
    tolerance: float = 1e-10,
    max_iterations: int = 10000,
    strict: bool = True,
) -> Solution:
    """Solve ``D x = b`` for fields, or a stack, on all sites.

    Parameters
    ----------
    operator
        D, bound to links.
    b
        Right-hand sides.
    method
        ``"cg"``: conjugate gradients on the normal equations.  ``"refined"``: the same with single-precision iterations.
        ``"bicgstab"``.
    tolerance, max_iterations, strict
        As for :func:`gaugeflow.solvers.cg`; the residual is that of D x = b on all sites.

    Returns
    -------
    Solution
        With the true residual.

    Raises
    ------
    ConvergenceError
        Naming operator, residual and configuration.
    """
    if method not in METHODS:
        raise ValueError(f"method: expected one of {METHODS}, got {method!r}")
    xp = array_namespace(b)
    operator.check(b, name="b")
    lattice = operator.lattice
    split = has_parities(operator)
    small: Any = even_odd(operator) if split else operator
    size = norm2(lattice, b)
    safe = xp.where(size > 0.0, size, xp.ones_like(size))
    x = xp.zeros_like(b)
    used = xp.zeros(size.shape, dtype=xp.int64)
    r, residual = b, xp.where(size > 0.0, xp.ones_like(size), xp.zeros_like(size))
    inner = 0.3 * tolerance
    for _ in range(4):
        if bool(xp.all(residual <= tolerance)) or not bool(xp.all(xp.isfinite(residual))):
            break
        right = small.prepare(r) if split else r
        part = _solve(small, right, method, inner, max_iterations)
        used = used + part.iterations
        step = small.complete(part.x, r) if split else part.x
        x = fermion_combine(lattice, x, 1.0, step, 1.0)
        r = fermion_combine(lattice, b, 1.0, operator.apply(x), -1.0)
        before, residual = residual, xp.sqrt(norm2(lattice, r) / safe)
        if not bool(xp.any((residual > tolerance) & (residual < 0.5 * before))):
            break
        inner = 0.3 * tolerance / max(float(xp.max(residual)), tolerance)
    return finish(operator, "D x = b", x, used, residual, tolerance, strict)


def _solve(operator: Any, b: Array, method: str, tolerance: float, limit: int) -> Solution:
    if method == "bicgstab":
        return bicgstab(operator, b, tolerance=tolerance, max_iterations=limit, strict=False)
    # The residual of D x = b is D^-dagger times that of the normal equations: what it takes is measured, then repeated.
    normal = cg if method == "cg" else refined_cg
    return normal(operator, operator.adjoint(b), tolerance=tolerance, max_iterations=limit, strict=False)
