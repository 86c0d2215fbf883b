"""Pure gauge theory of U(1) in two dimensions as a prior: plaquettes from any even density, and free weights of sectors.

In two dimensions the plaquettes of U(1) are independent but for their sum, a multiple of 2 pi, and holonomies are uniform.
All plaquettes but one are therefore drawn from their density f and the last one is what is missing to a multiple of 2 pi; a
configuration is kept with probability f(last) s(Q) over its maximum.  That is exact at any volume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gaugeflow.errors import require_finite
from gaugeflow.lattice import Array, Lattice
from gaugeflow.random import Rng, gauge_rotation
from gaugeflow.systems.schwinger_slices import Angles, angles_of, links_of


def generator(rng: Rng) -> np.random.Generator:
    """NumPy's generator at a place in the tree of random streams; batches that begin elsewhere have other numbers."""
    return np.random.Generator(np.random.Philox(key=[(rng.key[0] << 32) | rng.key[1], (rng.first << 32) | rng.draw]))


@dataclass(frozen=True)
class PlaquettePrior:
    """p proportional to exp(beta sum cos P) s(|Q|) on U(1) links in two dimensions, up to its normalisation.

    Parameters
    ----------
    lattice
        The lattice, in two dimensions.
    beta
        Coupling of the plaquettes, positive.
    log_sectors
        log s of |Q| = 0, 1, 2, ...; larger charges have that of the last one, and an empty tuple stands for 0.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    lattice: Lattice
    beta: float
    log_sectors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require_finite(self, "beta", "log_sectors")
        if self.lattice.ndim != 2:
            raise ValueError(f"PlaquettePrior: expected two dimensions, got {self.lattice.ndim}")
        if not self.beta > 0.0:
            raise ValueError(f"PlaquettePrior: beta must be positive, got {self.beta}")

    def log_sector(self, charge: Array) -> Array:
        """log s of charges."""
        table = np.asarray(self.log_sectors or (0.0,))
        found: Array = table[np.minimum(np.abs(charge).astype(np.int64), len(table) - 1)]
        return found

    def angles(self, rng: Rng, batch: int) -> Angles:
        """Independent configurations in temporal gauge, boundary phases of quarks included."""
        source = generator(rng.stream("plaquettes"))
        extent, width = self.lattice.shape
        table, kept, missing = np.asarray(self.log_sectors or (0.0,)), [], batch
        while missing > 0:
            plaquettes = source.vonmises(0.0, self.beta, (4 * missing + 16, extent * width))
            rest = np.sum(plaquettes[:, 1:], axis=1)
            charge = np.rint(rest / (2.0 * math.pi))
            plaquettes[:, 0] = 2.0 * math.pi * charge - rest
            chance = self.beta * (np.cos(plaquettes[:, 0]) - 1.0) + self.log_sector(charge) - np.max(table)
            kept.append(plaquettes[np.log(source.random(len(chance))) < chance][:missing])
            missing -= len(kept[-1])
        plaquettes = np.reshape(np.concatenate(kept), (batch, extent, width))
        first = source.uniform(0.0, 2.0 * math.pi, (batch, 2))
        space = np.zeros_like(plaquettes)
        space[:, 1:] = np.cumsum(plaquettes[:, :-1], axis=1)
        across = plaquettes[:, -1] + space[:, -1]
        time = np.zeros_like(across)
        time[:, 1:] = -np.cumsum(across, axis=1)[:, :-1]
        return Angles(space + first[:, :1, None] / width, time + first[:, 1:])

    def sample(self, rng: Rng, batch: int, *, xp: Any = None) -> Array:
        """Links ``(2, V, 1, 1, batch)`` in a random gauge."""
        links = links_of(self.lattice, self.angles(rng, batch))
        rotation = gauge_rotation(rng, self.lattice, 1, batch, xp=np)
        neighbours = [self.lattice.neighbour[mu, 0] for mu in range(2)]
        return np.stack([rotation * links[mu] * np.conj(rotation[neighbours[mu]]) for mu in range(2)])

    def log_prob(self, x: Array) -> Array:
        """log p up to its constant, ``(batch,)``."""
        return self.log_prob_of(angles_of(self.lattice, x))

    def log_prob_of(self, angles: Angles) -> Array:
        """log p up to its constant, ``(batch,)``, of angles."""
        value = self.beta * np.sum(np.cos(angles.plaquettes()), axis=(1, 2))
        return value + self.log_sector(angles.charge())

    def score(self, x: Array) -> Array:
        """Gradient of log p: that of the gauge action, since s is constant but for jumps."""
        from gaugeflow.actions import WilsonAction

        return -WilsonAction(self.lattice, self.beta).grad(x)
