"""Points, flows and training of :mod:`gaugeflow.systems.yukawa`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gaugeflow.actions import (
    Inversion,
    OfScalar,
    ScalarAction,
    Sum,
    YukawaDeterminant,
    YukawaPseudofermions,
    with_pseudofermions,
)
from gaugeflow.flows import Chain, OnScalar, affine_chain, pseudofermion_chain, scalar_chain
from gaugeflow.lattice import Array, Lattice
from gaugeflow.operators import Yukawa, gaussian
from gaugeflow.priors import FreeField, Pushed
from gaugeflow.random import Rng
from gaugeflow.training import Adam, Stage, cosine
from gaugeflow.typing import Prior

MASS_SQUARED, SELF_COUPLING = -4.0, 8.0
"""m^2 and lambda of S = sum [phi (-Laplace) phi + m^2 phi^2 + lambda phi^4]."""
PARTITIONS = ("time", "checkerboard", "double time")
KINDS = ("marginal", "autoregressive", "joint", "Gibbs")
"""The four samplers of arXiv:2106.05934."""


@dataclass(frozen=True)
class Point:
    """A lattice L^2 with Yukawa coupling g, the squared mass of the free field it starts from, and updates of training."""

    extent: int
    coupling: float
    mass_squared: float
    steps: int = 300

    @property
    def name(self) -> str:
        """Name of its parameters and checkpoints."""
        return f"L{self.extent}-g{self.coupling:g}"


@dataclass(frozen=True)
class WithNoise:
    """A prior of the scalar field times Gaussian pseudofermions of density exp(-|chi|^2), the exact ones at g = 0."""

    prior: Prior
    lattice: Lattice

    def sample(self, rng: Rng, batch: int, *, xp: Any = None) -> Array:
        """Joint field ``(volume, 2, lanes)``."""
        phi = self.prior.sample(rng, batch)
        free = Yukawa(lattice=self.lattice, coupling=0.0, field=phi)
        return with_pseudofermions(self.lattice, phi, gaussian(rng.stream("pseudofermions"), free))

    def log_prob(self, x: Array) -> Array:
        """Logarithm of the density, ``(batch,)`` float64."""
        noise = np.sum(x[:, 1, :] ** 2, axis=0) + 0.5 * self.lattice.volume * math.log(math.pi)
        return self.prior.log_prob(x[:, 0, :]) - noise

    def score(self, x: Array) -> Array:
        """Gradient of ``log_prob``."""
        return np.stack([self.prior.score(x[:, 0, :]), -2.0 * x[:, 1, :]], axis=1)


@dataclass(frozen=True)
class WithHeatBath(WithNoise):
    """The same density of the scalar field with pseudofermions of the interacting theory, for training of p(phi | chi).

    Pseudofermions are drawn from the heat bath of a second scalar field, which has the distribution ``of``; the scalar
    field itself is that of the prior.  ``log_prob`` is that of :class:`WithNoise`, whose part of pseudofermions does not
    depend on what is trained.
    """

    of: Prior
    operator: Yukawa

    def sample(self, rng: Rng, batch: int, *, xp: Any = None) -> Array:
        """Joint field ``(volume, 2, lanes)``."""
        bound = self.operator.with_links(self.of.sample(rng.stream("source"), batch))
        chi = bound.adjoint(gaussian(rng.stream("pseudofermions"), bound))
        return with_pseudofermions(self.lattice, self.prior.sample(rng, batch), chi)


class Model:
    """Lattice, actions, priors and flows of one point.

    Parameters of the flows are nested: the scalar field's own flow comes first in all of them.
    """

    def __init__(self, point: Point, layers: int = 8, hidden: tuple[int, ...] = (8, 8)) -> None:
        self.point = point
        self.lattice = lattice = Lattice((point.extent, point.extent))
        self.operator = operator = Yukawa(lattice=lattice, coupling=point.coupling)
        self.scalar = ScalarAction(lattice, MASS_SQUARED, SELF_COUPLING)
        self.determinant = YukawaDeterminant(operator)
        self.action = Sum((self.scalar, self.determinant))
        self.pseudofermions = YukawaPseudofermions(operator, Inversion(1e-9, 1e-7))
        self.joint_action = Sum((OfScalar(self.scalar), self.pseudofermions))
        self.prior = FreeField(lattice, point.mass_squared)
        self.joint_prior = WithNoise(self.prior, lattice)
        partitions = [name for name in PARTITIONS if name == "time" or point.extent % 4 == 0]
        marginal = affine_chain(lattice, layers, hidden, pointwise=True)
        first = OnScalar(lattice, marginal)
        self.flows: dict[str, Any] = {
            "marginal": marginal,
            "autoregressive": Chain((first, pseudofermion_chain(operator, partitions))),
            "joint": Chain(
                (
                    first,
                    pseudofermion_chain(operator, partitions),
                    scalar_chain(operator, 2, hidden),
                    pseudofermion_chain(operator, ["time"]),
                )
            ),
            "Gibbs": Chain((first, scalar_chain(operator, 4, hidden))),
        }

    def stage(self, kind: str, params: dict[str, Any], rate: float, steps: int) -> Stage:
        """How one sampler's flow is trained; ``params`` are those of all flows that are trained already."""
        adam = Adam(cosine(rate, steps, warm_up=20), clip=50.0)
        name = f"{self.point.name}-{kind}"
        if kind == "marginal":
            return Stage(name, self.flows[kind], self.prior, self.action, adam, steps)
        prior: Prior = self.joint_prior
        if kind == "Gibbs":
            source = Pushed(self.prior, self.flows["marginal"], params["marginal"])
            prior = WithHeatBath(self.prior, self.lattice, source, self.operator)
        return Stage(name, self.flows[kind], prior, self.joint_action, adam, steps)

    def start(self, kind: str, params: dict[str, Any], rng: Rng) -> dict[str, Any]:
        """Parameters from which one sampler's flow is trained: those of simpler ones, and the identity for the rest."""
        begin = dict(self.flows[kind].init(rng))
        if kind in ("autoregressive", "Gibbs"):
            begin["0"] = params["marginal"]
        if kind == "joint":
            begin |= dict(params["autoregressive"])
        return begin
