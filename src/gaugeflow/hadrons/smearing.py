"""Gaussian smearing of quark fields: covariant, within time slices (Guesken, Nucl. Phys. B Proc. Suppl. 17 (1990) 361)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.kernels.fermions import BOTH
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace


@dataclass(frozen=True)
class Gaussian:
    """(1 + width^2 / (4 steps) Laplacian)^steps with the covariant Laplacian of the spatial directions.

    That is Chroma's GAUGE_INV_GAUSSIAN (``wvf_param`` is the width, ``wvfIntPar`` the steps): on unit links, of many
    steps, a field at one site becomes exp(-x^2 / width^2).

    Parameters
    ----------
    width
        In lattice units, positive.
    steps
        Number of factors, positive.  More than 1.5 width^2, in three space dimensions, damp all waves; fewer amplify the
        shortest ones.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    width: float
    steps: int

    def __post_init__(self) -> None:
        require_finite(self, "width")
        if not self.width > 0.0:
            raise ValueError(f"Gaussian: expected a positive width, got {self.width}")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"Gaussian: expected a positive number of steps, got {self.steps!r}")

    def __call__(self, lattice: Lattice, links: Array, psi: Array, boundary: Sequence[complex] | None = None) -> Array:
        """The smeared field, or stack.

        Parameters
        ----------
        lattice, links
            The lattice and the links of the Laplacian (those of the operator, or smeared ones).
        psi
            Fermion field ``(n_blocks, spin, N, lanes)``, of any number of spin components, or a stack.
        boundary
            Phases of a quark, as of the operator (default: 1).  That of direction 0 does not matter.
        """
        xp = array_namespace(psi)
        stacked = len(psi.shape) == 5
        fields = psi if stacked else psi[None, ...]
        r, rows, spin, n, lanes = fields.shape
        # The spin components are so many fields of one component: the covariant hops are those of a staggered quark.
        flat = xp.reshape(xp.permute_dims(fields, (0, 2, 1, 3, 4)), (r * spin, rows, 1, n, lanes))
        flat = xp.asarray(flat, copy=True)
        phases = (1.0,) * lattice.ndim if boundary is None else tuple(boundary)
        weights = 1j * lattice.boundary_phase(phases)  # f U T - f^* (U T)^dagger with f = i is i times the sum of both
        weights[0] = 0.0
        factors = lattice.hop_factors(weights)
        step = self.width**2 / (4.0 * self.steps)
        here = 1.0 - 2.0 * (lattice.ndim - 1) * step
        for _ in range(self.steps):
            hops = kernels.staggered_hop(lattice, links, flat, factors, BOTH, step, None, 0.0)
            flat = here * flat - 1j * hops
        result = xp.permute_dims(xp.reshape(flat, (r, spin, rows, n, lanes)), (0, 2, 1, 3, 4))
        result = xp.asarray(result, copy=True)
        return result if stacked else result[0, ...]
