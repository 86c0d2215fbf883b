"""Conjugate gradients on the normal equations, in double or single precision or in both."""

from __future__ import annotations

from typing import Any

from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.solvers.active import like, stacked
from gaugeflow.solvers.conjugate import conjugate_gradients
from gaugeflow.solvers.solution import Linear, Solution, finish, norm2, relative
from gaugeflow.solvers.starts import LowModes


def cg(
    operator: Linear,
    b: Array,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 10000,
    start: Array | None = None,
    shift: float = 0.0,
    deflation: LowModes | None = None,
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
    deflation
        Low modes of D^dagger D, along which the system is solved before the first iteration.
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
    return solve_normal(operator, None, b, tolerance, max_iterations, start, shift, deflation, strict)


def refined_cg(
    operator: Any,
    b: Array,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 10000,
    start: Array | None = None,
    shift: float = 0.0,
    deflation: LowModes | None = None,
    strict: bool = True,
) -> Solution:
    """Solve ``(D^dagger D + shift) x = b`` in double precision by iterations in single precision.

    Arguments, result and errors are those of :func:`cg`; ``operator`` must offer ``with_links``.  See
    ``gaugeflow.solvers.conjugate``.
    """
    return solve_normal(operator, single(operator, b), b, tolerance, max_iterations, start, shift, deflation, strict)


def single(operator: Any, b: Array) -> Any:
    """The operator in single precision; ``TypeError`` where b is not in double precision."""
    xp = array_namespace(b)
    if b.dtype != xp.complex128:
        raise TypeError(f"refined: expected a right-hand side in double precision, got {b.dtype}")
    return operator.with_links(xp.astype(operator.links, xp.complex64))


def solve_normal(
    operator: Linear,
    low: Linear | None,
    b: Array,
    tolerance: float,
    limit: int,
    start: Array | None,
    shift: float,
    deflation: LowModes | None,
    strict: bool,
) -> Solution:
    """Conjugate gradients with iterations of ``low``, or of ``operator`` where there is none."""
    if shift < 0.0:
        raise ValueError(f"shift: expected a non-negative number, got {shift}")
    if deflation is not None:
        start = deflation.improve(operator, b, start, shift)
    right = stacked(b)
    size = norm2(operator.lattice, right)
    x, used, rr = conjugate_gradients(
        operator, low, right, None if start is None else stacked(start), size * tolerance**2, limit, shift=shift
    )
    x, used, residual = like(b, x, used, relative(rr, size))
    equation = f"(D^dagger D + {shift:g}) x = b" if shift else "(D^dagger D) x = b"
    return finish(operator, equation, x, used, residual, tolerance, strict)
