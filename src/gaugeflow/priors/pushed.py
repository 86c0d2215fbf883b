"""Distributions made of distributions: what a flow makes of a prior, and mixtures over a reflection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng, uniform
from gaugeflow.typing import Flow, Params, Prior

_NUMBERS = Lattice((2,))


@dataclass(frozen=True, eq=False)
class Pushed:
    """The distribution of f(z) with z from a prior; its density needs the inverse of the flow.

    Parameters
    ----------
    prior
        Distribution of z.
    flow, params
        f and its parameters; for the score the flow must offer ``push_score``.
    """

    prior: Prior
    flow: Flow
    params: Params

    @property
    def lattice(self) -> Lattice:
        """The lattice of the prior."""
        lattice: Lattice = self.prior.lattice  # type: ignore[attr-defined]
        return lattice

    def sample(self, rng: Rng, batch: int, *, xp: Any = None) -> Array:
        """Independent configurations."""
        options = {} if xp is None else {"xp": xp}
        return self.flow.forward(self.params, self.prior.sample(rng, batch, **options))[0]

    def log_prob(self, x: Array) -> Array:
        """Logarithm of the density, ``(batch,)`` float64."""
        z, minus_log_det = self.flow.inverse(self.params, x)
        return self.prior.log_prob(z) + minus_log_det

    def score(self, x: Array) -> Array:
        """Gradient of ``log_prob``."""
        z, _ = self.flow.inverse(self.params, x)
        return self.flow.push_score(self.params, z, x, self.prior.score(z))  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class Mirrored:
    """The even mixture (p(x) + p(-x)) / 2: a distribution that reached one of two modes reaches both.

    For a target that is even, its log-weights are exact like any others (arXiv:2107.00734, section on mixtures).
    """

    prior: Prior

    @property
    def lattice(self) -> Lattice:
        """The lattice of the distribution."""
        lattice: Lattice = self.prior.lattice  # type: ignore[attr-defined]
        return lattice

    def sample(self, rng: Rng, batch: int, *, xp: Any = None) -> Array:
        """Independent configurations, each with a random sign."""
        options = {} if xp is None else {"xp": xp}
        x = self.prior.sample(rng, batch, **options)
        xp = array_namespace(x)
        numbers = uniform(rng.stream("sign"), _NUMBERS, 1, batch, **options)[0, 0, :]
        signs = self.lattice.spread_folds(xp.where(numbers < 0.5, xp.asarray(-1.0), xp.asarray(1.0)))
        return x * xp.astype(signs, x.dtype)

    def log_prob(self, x: Array) -> Array:
        """Logarithm of the density, ``(batch,)`` float64."""
        here, there = self.prior.log_prob(x), self.prior.log_prob(-x)
        return array_namespace(x).logaddexp(here, there) - math.log(2.0)

    def score(self, x: Array) -> Array:
        """Gradient of ``log_prob``: the scores of both parts, weighted with their shares of the density."""
        xp = array_namespace(x)
        share = 1.0 / (1.0 + xp.exp(self.prior.log_prob(-x) - self.prior.log_prob(x)))
        here = xp.astype(self.lattice.spread_folds(share), x.dtype)
        return here * self.prior.score(x) - (1.0 - here) * self.prior.score(-x)
