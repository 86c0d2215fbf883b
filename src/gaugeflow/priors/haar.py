"""Links without an action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng, haar_links


@dataclass(frozen=True)
class Haar:
    """Independent Haar-distributed links of SU(N), or of U(1) for N = 1; densities refer to the normalised Haar measure."""

    lattice: Lattice
    n_colours: int = 3

    def sample(self, rng: Rng, batch: int, *, xp: Any = None) -> Array:
        """Links ``(ndim, n_blocks, N, N, lanes)``, of NumPy or of the namespace ``xp``."""
        options = {} if xp is None else {"xp": xp}
        return haar_links(rng, self.lattice, self.n_colours, batch, **options)

    def log_prob(self, x: Array) -> Array:
        """Zeros ``(batch,)``."""
        xp = array_namespace(x)
        return xp.zeros((self.lattice.batch(x.shape[-1]),), dtype=xp.float64)

    def score(self, x: Array) -> Array:
        """Zeros of the shape of x."""
        return array_namespace(x).zeros_like(x)
