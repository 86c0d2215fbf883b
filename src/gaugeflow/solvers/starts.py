"""First guesses: from earlier solutions (chronological), and from low modes (deflation)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gaugeflow.kernels import fermion_combine, fermion_dot
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.solvers.conjugate import normal, residual_field
from gaugeflow.solvers.solution import Linear

DEPENDENT = 1e3
"""A solution of which others leave less than so many units of rounding is a combination of them."""


@dataclass
class Chronology:
    """Solutions of similar systems, the latest first, and the guess that minimises the residual among their combinations.

    Brower, Ivanenko, Levi and Orginos, hep-lat/9509012.  A molecular dynamics trajectory that uses it is reversible as far
    as solutions are exact, so that tolerances must be small; each trajectory must begin with an empty one.

    Parameters
    ----------
    depth
        Number of solutions that are kept; 0 for none.
    solutions
        The solutions, to which :meth:`add` adds.
    """

    depth: int = 5
    solutions: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise ValueError(f"Chronology: depth must be at least 0, got {self.depth}")

    def guess(self, operator: Linear, b: Array, shift: float = 0.0) -> Array | None:
        """Combination x of the solutions that minimises <x, A x> - 2 Re <x, b>, A = D^dagger D + shift; None without any."""
        if not self.solutions:
            return None
        lattice = operator.lattice
        basis: list[Array] = []
        for v in self.solutions:  # orthonormal, twice: similar solutions are nearly parallel
            xp = array_namespace(v)
            whole = xp.sqrt(xp.real(fermion_dot(lattice, v, v)))
            for _ in range(2):
                for w in basis:
                    v = fermion_combine(lattice, v, 1.0, w, -fermion_dot(lattice, w, v))
            norm = xp.sqrt(xp.real(fermion_dot(lattice, v, v)))
            left = norm > DEPENDENT * float(xp.finfo(v.dtype).eps) * whole  # else only rounding is left
            inverse = xp.where(left, 1.0 / xp.where(left, norm, xp.ones_like(norm)), 0.0 * norm)
            basis.append(fermion_combine(lattice, v, inverse, v, 0.0))
        images = [normal(operator, v, shift) for v in basis]
        xp = array_namespace(b)
        gram = xp.stack([xp.stack([fermion_dot(lattice, v, w) for w in images], axis=-1) for v in basis], axis=-2)
        right = xp.stack([fermion_dot(lattice, v, b) for v in basis], axis=-1)
        # Vectors that vanished leave rows of zeros: they get a unit on the diagonal.
        diagonal = xp.real(xp.stack([gram[..., i, i] for i in range(len(basis))], axis=-1))
        empty = xp.astype(xp.where(diagonal > 0.0, xp.zeros_like(diagonal), xp.ones_like(diagonal)), gram.dtype)
        gram = gram + empty[..., :, None] * xp.eye(len(basis), dtype=gram.dtype)
        factors = xp.linalg.solve(gram, right[..., None])[..., 0]
        x = fermion_combine(lattice, basis[0], factors[..., 0], basis[0], 0.0)
        for k in range(1, len(basis)):
            x = fermion_combine(lattice, x, 1.0, basis[k], factors[..., k])
        return x

    def add(self, x: Array) -> None:
        """Remember a solution."""
        self.solutions = [x, *self.solutions][: self.depth]


@dataclass(frozen=True, eq=False)
class LowModes:
    """Eigenvectors of D^dagger D with the smallest eigenvalues, and the guess that solves the system among them."""

    vectors: Array
    """``(modes, rows, spin, colour, lanes)``, orthonormal in every configuration."""
    values: Array
    """Eigenvalues ``(modes, batch)``."""

    def guess(self, operator: Linear, b: Array, shift: float = 0.0) -> Array:
        """sum_k v_k <v_k, b> / (lambda_k + shift)."""
        lattice = operator.lattice
        xp = array_namespace(b)
        x: Array = xp.zeros_like(b)
        for k in range(self.vectors.shape[0]):
            v = self.vectors[k, ...]
            v = v if len(b.shape) == 4 else xp.asarray(xp.broadcast_to(v, b.shape), copy=True)
            factor = fermion_dot(lattice, v, b) / (self.values[k, ...] + shift)
            x = fermion_combine(lattice, x, 1.0, v, factor)
        return x

    def improve(self, operator: Linear, b: Array, start: Array | None, shift: float = 0.0) -> Array:
        """A first guess whose residual has no part along the modes."""
        if start is None:
            return self.guess(operator, b, shift)
        more = self.guess(operator, residual_field(operator, b, start, shift), shift)
        return fermion_combine(operator.lattice, start, 1.0, more, 1.0)


def low_modes(operator: Any, count: int, *, tolerance: float = 1e-8, seed: int = 1) -> LowModes:
    """The lowest modes of D^dagger D on every configuration, by SciPy's (ARPACK) or CuPy's Lanczos eigensolver.

    Parameters
    ----------
    operator
        D, bound to links.
    count
        Number of modes.
    tolerance
        Relative accuracy of the eigenvalues.
    seed
        Of the starting vector.
    """
    from gaugeflow.solvers.adapters import eigenpairs

    return LowModes(*eigenpairs(operator, count, tolerance, seed))
