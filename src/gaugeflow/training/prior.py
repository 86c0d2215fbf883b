"""Priors seen as actions and as ensembles, so that training from a prior is training from an ensemble."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gaugeflow.random import Rng
from gaugeflow.typing import Array, Batch, Prior


@dataclass(frozen=True)
class PriorAction:
    """S = -log p of a prior."""

    prior: Prior

    def value(self, x: Array) -> Array:
        """-log p, ``(batch,)``."""
        return -self.prior.log_prob(x)

    def grad(self, x: Array) -> Array:
        """Minus the score."""
        return -self.prior.score(x)


@dataclass(frozen=True)
class PriorEnsemble:
    """Independent configurations of a prior, drawn when they are asked for.

    Parameters
    ----------
    prior
        The prior, with its lattice.
    rng
        Batch k is drawn at ``rng.at(k)``: the numbers depend on the size of batches, but not on where one starts.
    count
        Number of configurations.
    """

    prior: Prior
    rng: Rng
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"PriorEnsemble: expected a positive number of configurations, got {self.count}")

    @property
    def lattice(self) -> Any:
        """The lattice of the prior."""
        return self.prior.lattice  # type: ignore[attr-defined]

    def __len__(self) -> int:
        """Number of configurations."""
        return self.count

    def batches(self, size: int, first: int = 0) -> Iterator[Batch]:
        """Batches of at most ``size`` configurations, from batch number ``first`` on."""
        if size < 1:
            raise ValueError(f"batches: expected a positive size, got {size}")
        for k, start in enumerate(range(first * size, self.count, size), start=first):
            n = min(size, self.count - start)
            fields = self.prior.sample(self.rng.at(k), n)
            yield Batch(fields, np.zeros(n), np.arange(start, start + n), np.zeros(n, dtype=np.int64))
