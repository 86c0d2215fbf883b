"""The free photon: a real gauge field in Feynman gauge without zero modes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng, normal


@dataclass(frozen=True)
class Photon:
    """A_mu(x) with density exp(-S), S = (1/2) sum_{x, mu, nu} (A_mu(x + nu) - A_mu(x))^2, and without zero modes.

    In momentum space the propagator is ``delta_{mu nu} / p_hat^2`` with ``p_hat^2 = sum_mu 4 sin^2(p_mu / 2)``, and 0 at p = 0.
    Quarks of charge q in units of e see ``exp(i e q A)``: :class:`gaugeflow.operators.HoppingOperator`.

    Parameters
    ----------
    lattice
        The lattice.
    """

    lattice: Lattice

    def _propagator(self, xp: Any) -> Array:
        """Its values on the momenta of a Fourier transform, in the lattice's shape."""
        total = xp.zeros(self.lattice.shape, dtype=xp.float64)
        for mu, extent in enumerate(self.lattice.shape):
            sines = xp.sin(xp.arange(extent, dtype=xp.float64) * (math.pi / extent))
            total = total + xp.reshape(4.0 * sines**2, (-1, *(1,) * (self.lattice.ndim - 1 - mu)))
        return xp.where(total > 0.0, 1.0 / xp.where(total > 0.0, total, 1.0), 0.0)

    @property
    def variance(self) -> float:
        """<A_mu(x)^2>: the propagator at distance 0."""
        found = self._propagator(array_namespace(self.lattice.coordinates))
        return float(found.sum()) / self.lattice.volume

    def sample(self, rng: Rng, batch: int, *, xp: Any = None) -> Array:
        """Fields ``(ndim, n_blocks, lanes)`` float64, of NumPy or of the namespace ``xp``."""
        options = {} if xp is None else {"xp": xp}
        noise = normal(rng, self.lattice, self.lattice.ndim, batch, **options)
        xp = array_namespace(noise)
        axes = tuple(range(2, 2 + self.lattice.ndim))
        modes = xp.fft.fftn(xp.astype(self.lattice.unpack(noise, 1), xp.complex128), axes=axes)
        return self.lattice.pack(xp.real(xp.fft.ifftn(modes * xp.sqrt(self._propagator(xp)), axes=axes)), 1)
