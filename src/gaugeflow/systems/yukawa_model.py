"""Points, flows and training of :mod:`gaugeflow.systems.yukawa`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io, tree
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
from gaugeflow.training import Adam, Stage, Trained, anneal, cosine, reverse_kl_path
from gaugeflow.typing import Params, Prior

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

    def stage(self, kind: str, params: Params, begin: Params, rate: float, steps: int) -> tuple[Stage, Params]:
        """How one sampler's flow is trained, and from which parameters.

        Parameters
        ----------
        kind
            One of :data:`KINDS`.
        params
            Parameters of this point's samplers that are trained already, by kind.
        begin
            Parameters of this sampler at another point, or those of the identity.
        rate, steps
            Largest learning rate, and number of updates.
        """
        adam = Adam(cosine(rate, steps, warm_up=min(20, steps // 4)), clip=50.0)
        name = f"{self.point.name}-{kind}"
        if kind == "marginal":
            return Stage(name, self.flows[kind], self.prior, self.action, adam, steps), begin
        prior: Prior = self.joint_prior
        if kind == "Gibbs":
            source = Pushed(self.prior, self.flows["marginal"], params["marginal"])
            prior = WithHeatBath(self.prior, self.lattice, source, self.operator)
        known = {"0": params["marginal"]} if kind != "joint" else dict(params["autoregressive"])
        stage = Stage(name, self.flows[kind], prior, self.joint_action, adam, steps)
        return stage, {**begin, **known}


def train(
    models: Sequence[Model],
    rng: Rng,
    folder: Path,
    attributes: Mapping[str, object],
    progress: Callable[[str, int, int], None],
    *,
    batch: int,
    share: Mapping[str, float],
) -> tuple[dict[str, Any], dict[str, Trained]]:
    """Train all samplers of all points, each from the same sampler of the point before.

    Networks do not know the volume.  The marginal flow of the scalar field comes first; the autoregressive and the Gibbs
    sampler go on from it, and the joint one from the autoregressive one.  The parameters, in single precision, are written
    to ``yukawa.h5``: the file that ``--quick`` loads.

    Parameters
    ----------
    models
        The points in their order.
    rng
        Random numbers.
    folder
        Where checkpoints go, too; an interrupted training continues from them.
    attributes
        Provenance of the file.
    progress
        Called with the name of the stage, updates made and updates in all.
    batch
        Configurations of an update on 8^2; larger lattices get fewer, by the ratio of extents.
    share
        Updates of each sampler in units of those of the point.

    Returns
    -------
    params, history
        By point and kind; by stage.
    """
    params: dict[str, Any] = {}
    history: dict[str, Trained] = {}
    before: dict[str, Any] = {}
    for number, model in enumerate(models):
        point = model.point
        here: dict[str, Any] = {}
        for kind in KINDS:
            begin = before.get(kind) or model.flows[kind].init(rng.stream(kind))
            steps = max(1, round(share[kind] * point.steps))
            rate = 5e-3 if kind == "marginal" and number == 0 else 2e-3
            stage, begin = model.stage(kind, here, begin, rate, steps)
            (result,) = anneal(
                [stage],
                begin,
                rng=rng,
                loss=reverse_kl_path,
                batch=max(2, batch * 8 // point.extent),
                held_out=4 * batch,
                evaluate_every=max(1, steps // 5),
                folder=folder,
                progress=lambda name, step, ess, steps=steps: progress(f"training {name}", step, steps),  # type: ignore[misc]
            )
            here[kind], history[stage.name] = result.params, result
            if kind == "Gibbs":
                # p(chi) is not known, so that the held-out ESS tells nothing: the last parameters, not the best by it.
                here[kind] = io.read_params(folder / f"{stage.name}.h5")[0]["current"]
        params[point.name] = before = here
    rounded = tree.map(lambda p: np.asarray(p, dtype=np.float32), params)
    io.write_params(folder / "yukawa.h5", rounded, attributes=attributes)
    return tree.map(lambda p: np.asarray(p, dtype=np.float64), rounded), history
