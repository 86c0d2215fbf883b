"""Double accuracy from single-precision iterations: iterative refinement (Clark et al., arXiv:0911.3191, section 4)."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from gaugeflow.kernels import fermion_combine
from gaugeflow.lattice import Array
from gaugeflow.solvers.cg import cg, normal
from gaugeflow.solvers.solution import Solution, finish, norm2

INNER = 1e-4
"""Residual to which every correction is solved in single precision."""


def refined_cg(
    operator: Any,
    b: Array,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 10000,
    start: Array | None = None,
    strict: bool = True,
) -> Solution:
    """Solve ``D^dagger D x = b`` in double precision by corrections that are found in single precision.

    Arguments, result and errors are those of :func:`gaugeflow.solvers.cg`; ``operator`` must offer ``with_links``.
    """
    xp = array_namespace(b)
    lattice = operator.lattice
    if b.dtype != xp.complex128:
        raise TypeError(f"refined_cg: expected a right-hand side in double precision, got {b.dtype}")
    low = operator.with_links(xp.astype(operator.links, xp.complex64))
    size = norm2(lattice, b)
    safe = xp.where(size > 0.0, size, xp.ones_like(size))
    x = xp.zeros_like(b) if start is None else start
    used = xp.zeros(size.shape, dtype=xp.int64)
    r = b if start is None else fermion_combine(lattice, b, 1.0, normal(operator, x), -1.0)
    rr = norm2(lattice, r)
    while bool(xp.any(rr > tolerance**2 * size)) and int(xp.max(used)) < max_iterations:
        # Scaled to norm 1, so that small residuals keep all bits; converged systems get a zero right-hand side.
        working = rr > tolerance**2 * size
        scale = xp.where(working, 1.0 / xp.sqrt(xp.where(rr > 0.0, rr, xp.ones_like(rr))), xp.zeros_like(rr))
        unit = fermion_combine(lattice, r, scale, r, 0.0)
        inner = max(
            INNER, 0.5 * tolerance * float(xp.min(xp.where(working, xp.sqrt(safe / rr), xp.ones_like(rr) * 1e300)))
        )
        step = cg(
            low,
            xp.astype(unit, xp.complex64),
            tolerance=min(inner, 0.1),
            max_iterations=max_iterations,
            strict=False,
        )
        back = xp.where(working, xp.sqrt(rr), xp.zeros_like(rr))
        x = fermion_combine(lattice, x, 1.0, xp.astype(step.x, xp.complex128), back)
        used = used + step.iterations
        r = fermion_combine(lattice, b, 1.0, normal(operator, x), -1.0)
        before, rr = rr, norm2(lattice, r)
        if not bool(xp.all(xp.isfinite(rr))) or bool(
            xp.any(working & (rr > 0.25 * before) & (rr > tolerance**2 * size))
        ):
            break  # single precision cannot improve it: let double precision finish
    residual = xp.sqrt(rr / safe)
    if bool(xp.all(residual <= tolerance)) or not bool(xp.all(xp.isfinite(rr))):
        return finish(operator, "(D^dagger D) x = b", x, used, residual, tolerance, strict)
    rest = cg(operator, b, tolerance=tolerance, max_iterations=max_iterations, start=x, strict=False)
    return finish(operator, "(D^dagger D) x = b", rest.x, used + rest.iterations, rest.residual, tolerance, strict)
