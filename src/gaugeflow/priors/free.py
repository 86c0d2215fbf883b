"""The free scalar field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng, normal


@dataclass(frozen=True)
class FreeField:
    """A real field with density exp(-S), S = normalisation sum_x phi (-Laplace + mass_squared) phi.

    The propagator in momentum space is ``1 / (2 normalisation (p_hat^2 + mass_squared))`` with
    ``p_hat^2 = sum_mu 4 sin^2(p_mu / 2)``: a flow that starts here need not build correlations over long distances.

    Parameters
    ----------
    lattice
        The lattice.
    mass_squared
        Squared mass, positive.
    normalisation
        Factor of the action, as for :class:`gaugeflow.actions.ScalarAction`.

    Raises
    ------
    ValueError
        If a parameter is not positive.
    """

    lattice: Lattice
    mass_squared: float
    normalisation: float = 1.0

    def __post_init__(self) -> None:
        require_finite(self, "mass_squared", "normalisation")
        if not (self.mass_squared > 0.0 and self.normalisation > 0.0):
            raise ValueError(
                f"FreeField: expected mass_squared and normalisation > 0, got {self.mass_squared} and "
                f"{self.normalisation}"
            )

    def _inverse_propagator(self, xp: Any) -> Array:
        """``2 normalisation (p_hat^2 + mass_squared)`` on the momenta of a Fourier transform, in the lattice's shape."""
        total = xp.full(self.lattice.shape, self.mass_squared, dtype=xp.float64)
        for mu, extent in enumerate(self.lattice.shape):
            sines = xp.sin(xp.arange(extent, dtype=xp.float64) * (math.pi / extent))
            total = total + xp.reshape(4.0 * sines**2, (-1, *(1,) * (self.lattice.ndim - 1 - mu)))
        return 2.0 * self.normalisation * total

    def sample(self, rng: Rng, batch: int, *, xp: Any = None) -> Array:
        """Field ``(n_blocks, lanes)``, of NumPy or of the namespace ``xp``: white noise, coloured in momentum space."""
        options = {} if xp is None else {"xp": xp}
        noise = normal(rng, self.lattice, 1, batch, **options)[0, ...]
        xp = array_namespace(noise)
        axes = tuple(range(1, 1 + self.lattice.ndim))
        modes = xp.fft.fftn(xp.astype(self.lattice.unpack(noise), xp.complex128), axes=axes)
        return self.lattice.pack(xp.real(xp.fft.ifftn(modes / xp.sqrt(self._inverse_propagator(xp)), axes=axes)))

    def log_prob(self, x: Array) -> Array:
        """Logarithm of the density with respect to the product of dx, ``(batch,)`` float64."""
        xp = array_namespace(x)
        action = sum_sites(self.lattice, -0.5 * x * self.score(x))
        return float(0.5 * xp.sum(xp.log(self._inverse_propagator(xp) / (2.0 * math.pi)))) - action

    def score(self, x: Array) -> Array:
        """Gradient of ``log_prob``."""
        neighbours = kernels.neighbour_sum(self.lattice, x)
        diagonal = 2 * self.lattice.ndim + self.mass_squared
        return 2.0 * self.normalisation * (neighbours - diagonal * x)
