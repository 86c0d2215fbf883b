"""The phi^4 action in any dimension."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.kernels.scalar import check_scalar
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice


@dataclass(frozen=True)
class ScalarAction:
    """S = sum_x [normalisation (phi (-Laplace) phi + m^2 phi^2) + lambda phi^4] for a real field ``(n_blocks, lanes)``.

    The Laplacian is the sum over all 2 d neighbours minus 2 d phi.  The default normalisation, 1, is that of the flow
    papers (arXiv:1904.12072, equation 20); 1/2 is that of textbooks.

    Parameters
    ----------
    lattice
        The lattice.
    mass_squared
        m^2; negative values are allowed where ``coupling`` is positive.
    coupling
        lambda, not negative.
    normalisation
        Factor of the quadratic terms.

    Raises
    ------
    ValueError
        If the action is not bounded from below: ``coupling`` negative, or zero with ``mass_squared`` not positive.
    """

    lattice: Lattice
    mass_squared: float
    coupling: float = 0.0
    normalisation: float = 1.0

    def __post_init__(self) -> None:
        require_finite(self, "mass_squared", "coupling", "normalisation", single=True)
        if self.coupling < 0.0 or (self.coupling == 0.0 and self.mass_squared <= 0.0):
            raise ValueError(
                f"ScalarAction: expected coupling > 0, or coupling = 0 and mass_squared > 0, got coupling "
                f"{self.coupling} and mass_squared {self.mass_squared}"
            )
        if not self.normalisation > 0.0:
            raise ValueError(f"ScalarAction: expected normalisation > 0, got {self.normalisation}")

    def with_normalisation(self, normalisation: float) -> ScalarAction:
        """The same theory of the field ``sqrt(self.normalisation / normalisation) phi``.

        From 1, the papers' convention, to 1/2, the textbooks': the field grows by sqrt 2 and lambda falls to lambda / 4
        (lambda phi^4 is g phi^4 / 4! with g = 6 times the lambda of the papers).
        """
        scale = normalisation / self.normalisation
        return replace(self, coupling=self.coupling * scale**2, normalisation=normalisation)

    @property
    def _square(self) -> float:
        """Factor of phi^2 once the Laplacian is split into neighbours and the site itself."""
        return self.normalisation * (2 * self.lattice.ndim + self.mass_squared)

    def value(self, x: Array) -> Array:
        """S of every configuration, ``(batch,)`` float64."""
        check_scalar(self.lattice, x)
        neighbours = kernels.neighbour_sum(self.lattice, x)
        square = x * x
        density = square * (self._square + self.coupling * square) - self.normalisation * x * neighbours
        return sum_sites(self.lattice, density)

    def grad(self, x: Array) -> Array:
        """Partial derivatives, ``(n_blocks, lanes)``."""
        neighbours = kernels.neighbour_sum(self.lattice, x)
        return x * (2.0 * self._square + 4.0 * self.coupling * x * x) - 2.0 * self.normalisation * neighbours

    def local(self, phi: Array, neighbours: Array) -> Array:
        """Part of S that depends on the field of one site, from it and the sum of its neighbours (elementwise)."""
        square = phi * phi
        return square * (self._square + self.coupling * square) - 2.0 * self.normalisation * phi * neighbours
