"""Independent normal numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gaugeflow.errors import require_finite
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng, normal


@dataclass(frozen=True)
class Normal:
    """A real field of independent normal numbers with mean 0 and standard deviation ``width``."""

    lattice: Lattice
    width: float = 1.0

    def __post_init__(self) -> None:
        require_finite(self, "width")
        if not self.width > 0.0:
            raise ValueError(f"Normal: expected width > 0, got {self.width}")

    def sample(self, rng: Rng, batch: int, *, xp: Any = None) -> Array:
        """Field ``(n_blocks, lanes)``, of NumPy or of the namespace ``xp``."""
        options = {} if xp is None else {"xp": xp}
        return self.width * normal(rng, self.lattice, 1, batch, **options)[0, ...]

    def log_prob(self, x: Array) -> Array:
        """Logarithm of the density with respect to the product of dx, ``(batch,)`` float64."""
        xp = array_namespace(x)
        squares = sum_sites(self.lattice, xp.astype(x, xp.float64) ** 2)
        constant = 0.5 * math.log(2.0 * math.pi * self.width**2) * self.lattice.volume
        return -0.5 * squares / self.width**2 - constant

    def score(self, x: Array) -> Array:
        """Gradient of ``log_prob``."""
        return -x / self.width**2
