"""What solvers return, and how they follow many systems at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from gaugeflow import kernels
from gaugeflow.errors import ConvergenceError
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace


class Linear(Protocol):
    """What a solver needs of an operator."""

    @property
    def lattice(self) -> Lattice:
        """The lattice."""

    @property
    def label(self) -> str:
        """Name and parameters for messages."""

    def apply(self, psi: Array) -> Array:
        """D psi."""

    def adjoint(self, psi: Array) -> Array:
        """D^dagger psi."""

    def select(self, configurations: Sequence[int]) -> Any:
        """The operator on some configurations of the batch only."""


class Solution(NamedTuple):
    """Solution of linear systems, one for every configuration (and field of a stack)."""

    x: Array
    """Field, or stack, like the right-hand side."""
    iterations: Array
    """``(batch,)`` or ``(R, batch)`` int64: iterations until this system had converged."""
    residual: Array
    """Norm of right-hand side minus operator times x, computed anew, over that of the right-hand side; zero for zero."""
    converged: Array
    """Whether the residual is below the tolerance."""


def norm2(lattice: Lattice, x: Array) -> Array:
    """Squared norms, ``(batch,)`` or ``(R, batch)`` float64."""
    xp = array_namespace(x)
    return xp.real(kernels.fermion_dot(lattice, x, x))


def relative(rr: Array, size: Array) -> Array:
    """Residuals from their squared norms and those of the right-hand sides; of a right-hand side of zero, absolute."""
    xp = array_namespace(rr)
    return xp.sqrt(rr / xp.where(size == 0.0, xp.ones_like(size), size))


def finish(
    operator: Linear, equation: str, x: Array, iterations: Array, residual: Array, tolerance: float, strict: bool
) -> Solution:
    """The solution; ``ConvergenceError`` if it is asked for and a residual is too large, or not a number."""
    xp = array_namespace(x)
    converged = residual <= tolerance
    if strict and not bool(xp.all(converged)):
        worst = int(xp.argmax(xp.where(xp.isfinite(residual), residual, xp.full_like(residual, 1e308))))
        batch = residual.shape[-1]
        field = f", field {worst // batch} of the stack" if len(residual.shape) == 2 else ""
        raise ConvergenceError(
            f"{operator.label}: {equation} has residual {float(xp.reshape(residual, (-1,))[worst]):.3g} after "
            f"{int(xp.reshape(iterations, (-1,))[worst])} iterations in configuration {worst % batch}{field}; "
            f"expected at most {tolerance:.3g}"
        )
    return Solution(x, iterations, residual, converged)
