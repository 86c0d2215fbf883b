"""The staggered operator (Kogut and Susskind, Phys. Rev. D11 (1975) 395) in any number of dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.kernels.fermions import BOTH, count_sites
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.hopping import HoppingOperator


@dataclass(frozen=True, eq=False, kw_only=True)
class Staggered(HoppingOperator):
    """D = m + (1/2) sum_mu h_mu eta_mu(x) [U_mu(x) T_mu - T_mu^dagger U_mu^dagger], eta_mu(x) = (-1)^(x_0 + ... + x_(mu-1)).

    Parameters
    ----------
    lattice, links, boundary, charge, potential
        As for every operator.
    mass
        m; the determinant of the Schur complement needs it not to vanish.
    hopping
        h of every direction, default 1.
    """

    mass: float = 0.0
    hopping: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require_finite(self, "mass", single=True)
        require_finite(self, "hopping")
        super().__post_init__()
        d = self.lattice.ndim
        weights = tuple(float(h) for h in self.hopping) or (1.0,) * d
        if len(weights) != d:
            raise ValueError(f"hopping: expected {d} weights, one for each direction, got {self.hopping}")
        object.__setattr__(self, "hopping", weights)

    @property
    def spin(self) -> int:
        """One component."""
        return 1

    @property
    def label(self) -> str:
        """Name and parameters for messages."""
        return f"Staggered(mass {self.mass})"

    @property
    def hop_weights(self) -> Any:
        """h times eta."""
        x = self.lattice.coordinates
        weights = self.lattice.boundary_phase((1.0,) * self.lattice.ndim).real.copy()
        for mu, h in enumerate(self.hopping):
            weights[mu] = h * (1 - 2 * (x[:mu].sum(axis=0) % 2))
        return weights

    def _hop(self, psi: Array, parity: int, beta: float, base: Array | None = None, alpha: float = 0.0) -> Array:
        return kernels.staggered_hop(self.lattice, self.bound, psi, self.factors, parity, beta, base, alpha)

    def diagonal(self, psi: Array, parity: int = BOTH, adjoint: bool = False) -> Array:
        """m psi."""
        self.check(psi, parity)
        return self.mass * psi

    def diagonal_inverse(self, psi: Array, parity: int = BOTH, adjoint: bool = False) -> Array:
        """psi / m."""
        self.check(psi, parity)
        return psi / self._nonzero_mass

    @property
    def _nonzero_mass(self) -> float:
        if self.mass == 0.0:
            raise ValueError("Staggered: the Schur complement divides by the mass, got mass 0")
        return self.mass

    def diagonal_log_det(self, parity: int) -> Array:
        """log m^(sites N), ``(batch,)``."""
        xp = array_namespace(self.bound)
        _, _, n, lanes = self.field_shape(parity)
        count = count_sites(self.lattice, parity) * n
        value = count * math.log(abs(self._nonzero_mass))
        return xp.full((self.lattice.batch(lanes),), value, dtype=xp.float64)

    def diagonal_phase(self, parity: int) -> Array:
        """Sign of m^(sites N), ``(batch,)``."""
        _, _, n, _ = self.field_shape(parity)
        count = count_sites(self.lattice, parity) * n
        return super().diagonal_phase(parity) * (-1.0 if self.mass < 0.0 and count % 2 else 1.0)

    def diagonal_log_det_force(self, parity: int) -> Array | None:
        """None: T does not depend on links."""
        return None

    @property
    def has_diagonal_inverse(self) -> bool:
        """Whether there is a mass to divide by."""
        return self.mass != 0.0

    def hops(self, psi: Array, parity: int = BOTH, adjoint: bool = False) -> Array:
        """K psi; K is anti-Hermitian."""
        return self._hop(psi, parity, -0.5 if adjoint else 0.5)

    def apply(self, psi: Array) -> Array:
        """D psi."""
        return self._hop(psi, BOTH, 0.5, psi, self.mass)

    def adjoint(self, psi: Array) -> Array:
        """D^dagger psi."""
        return self._hop(psi, BOTH, -0.5, psi, self.mass)

    def eliminate(self, psi: Array, parity: int, adjoint: bool = False) -> Array:
        """K psi / m."""
        return self._hop(psi, parity, (-0.5 if adjoint else 0.5) / self._nonzero_mass)

    def close(self, psi: Array, far: Array, parity: int, adjoint: bool = False) -> Array:
        """m psi - K far."""
        return self._hop(far, parity, 0.5 if adjoint else -0.5, psi, self.mass)

    def force(self, left: Array, right: Array) -> Array:
        """Gradient of Re <left, D right>."""
        return kernels.staggered_force(self.lattice, self.bound, left, right, self.factors, 0.5)
