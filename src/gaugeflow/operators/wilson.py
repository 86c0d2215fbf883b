"""The Wilson operator in any even number of dimensions, isotropic or not, with or without a twisted mass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.kernels.fermions import BOTH, count_sites
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.hopping import HoppingOperator
from gaugeflow.sites.dirac import spin_components


@dataclass(frozen=True, eq=False, kw_only=True)
class Wilson(HoppingOperator):
    """D = 1 - kappa sum_mu h_mu [(1 - gamma_mu) U_mu T_mu + (1 + gamma_mu) T_mu^dagger U_mu^dagger] + 2 i kappa mu gamma_5.

    That is the kappa form, used where ``kappa`` is given, for h = 1; other h add 2 kappa sum_mu (h_mu - 1).  Where ``mass`` is
    given, the operator is the same over 2 kappa: D = m + sum_mu h_mu - (1/2) sum_mu h_mu [...] + i mu gamma_5, with
    m + ndim = 1 / (2 kappa).

    Parameters
    ----------
    lattice, links, boundary, charge, potential
        As for every operator.
    kappa, mass
        One of the two.
    hopping
        h of every direction, default 1: ``(1, nu / xi, nu / xi, nu / xi)`` on an anisotropic lattice.
    twisted_mass
        mu, in units of the mass (tmLQCD's amu).

    Raises
    ------
    ValueError
        If not exactly one of ``kappa`` and ``mass`` is given, or the number of dimensions is odd.

    Notes
    -----
    On anisotropic lattices m = 1 / (2 kappa) - ndim too, as in Chroma, and the kappa form is 2 kappa times the mass form.
    Gamma matrices: ``gaugeflow.sites.dirac``.
    """

    kappa: float | None = None
    mass: float | None = None
    hopping: tuple[float, ...] = ()
    twisted_mass: float = 0.0

    def __post_init__(self) -> None:
        require_finite(self, "kappa", "mass", "twisted_mass", single=True)
        require_finite(self, "hopping")
        super().__post_init__()
        d = self.lattice.ndim
        spin_components(d)
        if (self.kappa is None) == (self.mass is None):
            raise ValueError(f"{type(self).__name__}: give kappa or mass, got kappa {self.kappa} and mass {self.mass}")
        if not self.hopping:
            object.__setattr__(self, "hopping", (1.0,) * d)
        object.__setattr__(self, "hopping", tuple(float(h) for h in self.hopping))
        if len(self.hopping) != d:
            raise ValueError(f"hopping: expected {d} weights, one for each direction, got {self.hopping}")

    @property
    def spin(self) -> int:
        """Components of a Dirac spinor."""
        return spin_components(self.lattice.ndim)

    @property
    def label(self) -> str:
        """Name and parameters for messages."""
        name = f"kappa {self.kappa}" if self.kappa is not None else f"mass {self.mass}"
        twist = f", twisted mass {self.twisted_mass}" if self.twisted_mass else ""
        return f"{type(self).__name__}({name}{twist})"

    @property
    def norm(self) -> float:
        """What the mass form is multiplied by: 1, or 2 kappa in the kappa form."""
        return 1.0 if self.kappa is None else 2.0 * self.kappa

    @property
    def diagonal_number(self) -> float:
        """The number on the diagonal, without clover term and twisted mass."""
        if self.mass is not None:
            return self.mass + sum(self.hopping)
        assert self.kappa is not None
        return 1.0 + 2.0 * self.kappa * (sum(self.hopping) - self.lattice.ndim)

    @property
    def twist(self) -> float:
        """Coefficient of i gamma_5."""
        return self.norm * self.twisted_mass

    @property
    def hop_weights(self) -> Any:
        """h of every direction."""
        weights = self.lattice.boundary_phase((1.0,) * self.lattice.ndim).real.copy()
        for mu, h in enumerate(self.hopping):
            weights[mu] = h
        return weights

    def _hop(
        self, psi: Array, parity: int, adjoint: bool, beta: complex, base: Array | None = None, alpha: complex = 0.0
    ) -> Array:
        sign = -1 if adjoint else 1
        return kernels.wilson_hop(self.lattice, self.bound, psi, self.factors, sign, parity, beta, base, alpha)

    def _diagonal(self, adjoint: bool) -> complex:
        """T as a number a + i b gamma_5."""
        return complex(self.diagonal_number, -self.twist if adjoint else self.twist)

    def _number_times(self, number: complex, psi: Array) -> Array:
        if number.imag == 0.0:
            return number.real * psi
        xp = array_namespace(psi)
        half = self.spin // 2
        return xp.concat([number * psi[..., :half, :, :], number.conjugate() * psi[..., half:, :, :]], axis=-3)

    def diagonal(self, psi: Array, parity: int = BOTH, adjoint: bool = False) -> Array:
        """T psi."""
        self.check(psi, parity)
        return self._number_times(self._diagonal(adjoint), psi)

    def diagonal_inverse(self, psi: Array, parity: int = BOTH, adjoint: bool = False) -> Array:
        """T^-1 psi."""
        self.check(psi, parity)
        return self._number_times(1.0 / self._diagonal(adjoint), psi)

    def diagonal_log_det(self, parity: int) -> Array:
        """log det T, ``(batch,)``: the same for all configurations."""
        xp = array_namespace(self.bound)
        _, spin, n, lanes = self.field_shape(parity)
        value = count_sites(self.lattice, parity) * spin * n * math.log(abs(self._diagonal(False)))
        return xp.full((self.lattice.batch(lanes),), value, dtype=xp.float64)

    def diagonal_log_det_force(self, parity: int) -> Array | None:
        """None: T does not depend on links."""
        return None

    def hops(self, psi: Array, parity: int = BOTH, adjoint: bool = False) -> Array:
        """K psi."""
        return self._hop(psi, parity, adjoint, -0.5 * self.norm)

    def apply(self, psi: Array) -> Array:
        """D psi."""
        return self._hop(psi, BOTH, False, -0.5 * self.norm, psi, self._diagonal(False))

    def adjoint(self, psi: Array) -> Array:
        """D^dagger psi."""
        return self._hop(psi, BOTH, True, -0.5 * self.norm, psi, self._diagonal(True))

    def eliminate(self, psi: Array, parity: int, adjoint: bool = False) -> Array:
        """T^-1 K psi."""
        return self._hop(psi, parity, adjoint, -0.5 * self.norm / self._diagonal(adjoint))

    def close(self, psi: Array, far: Array, parity: int, adjoint: bool = False) -> Array:
        """T psi - K far."""
        return self._hop(far, parity, adjoint, 0.5 * self.norm, psi, self._diagonal(adjoint))

    def force(self, left: Array, right: Array) -> Array:
        """Gradient of Re <left, D right>; see ``docs/derivations/fermions.md``."""
        return kernels.hop_force(self.lattice, self.bound, left, right, self.factors, -0.5 * self.norm)

    def d_kappa(self, psi: Array) -> Array:
        """Derivative of D psi with respect to kappa; only in the kappa form."""
        if self.kappa is None:
            raise ValueError(f"{self.label}: the derivative with respect to kappa needs the kappa form")
        shift = complex(2.0 * (sum(self.hopping) - self.lattice.ndim), 2.0 * self.twisted_mass)
        return self._hop(psi, BOTH, False, -1.0, psi, shift)


def anisotropic(xi: float, nu: float, ndim: int = 4) -> Sequence[float]:
    """Weights ``hopping`` of an anisotropic lattice: 1 in time, nu / xi in space (Chroma's AnisoParam)."""
    return (1.0, *(nu / xi,) * (ndim - 1))
