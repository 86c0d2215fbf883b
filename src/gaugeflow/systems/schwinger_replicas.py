"""Replicas of the Schwinger model at several kappa: their actions, couplings that bring neighbours closer, fits of flows.

All is found by reweighting independent configurations of the pure gauge theory with exact determinants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from gaugeflow.actions import Determinant, Sum, WilsonAction
from gaugeflow.flows import TrivialisingFlow
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import integer_charge, plaquette
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng
from gaugeflow.systems.report import Progress, silent
from gaugeflow.systems.schwinger_prior import PlaquettePrior, generator
from gaugeflow.systems.schwinger_slices import angles_of, log_det
from gaugeflow.training import fit_linear
from gaugeflow.typing import Params

SECTORS = 3
"""Sectors |Q| = 0, 1 and all others have weights of their own."""


# ---- the theory ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Coupling:
    """Of a replica: hopping parameter, coupling of the plaquettes, log-weights of |Q| = 0, 1, ..."""

    kappa: float
    beta: float
    log_sectors: tuple[float, ...] = ()


@dataclass(frozen=True)
class SectorWeights:
    """S = -log s(|Q|): constant but for jumps, where hybrid Monte Carlo accepts or rejects without a force."""

    lattice: Lattice
    log_sectors: tuple[float, ...]

    def value(self, x: Array) -> Array:
        """S of every configuration, ``(batch,)``."""
        prior = PlaquettePrior(self.lattice, 1.0, self.log_sectors)
        return -prior.log_sector(integer_charge(self.lattice, x))

    def grad(self, x: Array) -> Array:
        """Zero."""
        return np.zeros_like(x)


@dataclass(frozen=True, eq=False)
class Quarks:
    """S = -2 log abs det D of U(1) in two dimensions, two flavours, antiperiodic in time.

    Values are determinants of joined slices; gradients come from dense matrices in single precision, which costs hybrid Monte
    Carlo nothing of its exactness.
    """

    lattice: Lattice
    kappa: float

    def value(self, x: Array) -> Array:
        """S of every configuration, ``(batch,)``."""
        return -2.0 * log_det(self.kappa, angles_of(self.lattice, x))[0]

    def grad(self, x: Array) -> Array:
        """Gradient in left coordinates."""
        operator = Wilson(lattice=self.lattice, kappa=self.kappa)
        return Determinant(operator, force_precision=32).grad(x)


def gauge_action(lattice: Lattice, coupling: Coupling) -> WilsonAction | Sum:
    """S without quarks."""
    wilson = WilsonAction(lattice, coupling.beta)
    return Sum((wilson, SectorWeights(lattice, coupling.log_sectors))) if coupling.log_sectors else wilson


def action(lattice: Lattice, coupling: Coupling) -> WilsonAction | Sum:
    """S of a replica."""
    gauge = gauge_action(lattice, coupling)
    return gauge if coupling.kappa == 0.0 else Sum((gauge, Quarks(lattice, coupling.kappa)))


# ---- what is fitted --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Sample:
    """Independent configurations of the pure gauge theory with what reweights them to every replica."""

    lattice: Lattice
    beta: float
    kappas: tuple[float, ...]
    links: Array
    plaquettes: Array
    """Sums of cos P, ``(n,)``."""
    quarks: Array
    """2 log abs det D, ``(n_kappas, n)``."""
    signs: Array
    charges: Array

    def log_weight(self, coupling: Coupling, index: int) -> Array:
        """Towards a coupling whose kappa is the one of this index, up to a constant."""
        prior = PlaquettePrior(self.lattice, coupling.beta, coupling.log_sectors)
        found: Array = (coupling.beta - self.beta) * self.plaquettes + self.quarks[index]
        return found + prior.log_sector(self.charges)


def draw_sample(
    lattice: Lattice, beta: float, kappas: tuple[float, ...], count: int, rng: Rng, progress: Progress = silent
) -> Sample:
    """So many configurations of the pure gauge theory at beta, and determinants at all kappas."""
    links = PlaquettePrior(lattice, beta).sample(rng, count)
    quarks, signs = [], []
    for i, kappa in enumerate(kappas):
        parts = [log_det(kappa, angles_of(lattice, links[..., first : first + 512])) for first in range(0, count, 512)]
        quarks.append(2.0 * np.concatenate([part[0] for part in parts]))
        signs.append(np.rint(np.concatenate([part[1] for part in parts])))
        progress("determinants", i + 1, len(kappas))
    total = lattice.volume * plaquette(lattice, links)
    charges = integer_charge(lattice, links)
    return Sample(lattice, beta, kappas, links, total, np.stack(quarks), np.stack(signs), charges)


def matched(beta: float, plaquettes: Sample, sectors: Sample) -> tuple[Coupling, ...]:
    """Couplings with which all replicas have the plaquette and the shares of sectors of the last one, by reweighting.

    Parameters
    ----------
    beta
        Of the last replica, whose sectors have no weights.
    plaquettes, sectors
        Samples from which beta is found, which depends little on the volume, and weights of sectors, which do.
    """
    kappas = plaquettes.kappas

    def mean(coupling: float, index: int) -> float:
        shares = _shares(plaquettes.log_weight(Coupling(kappas[index], coupling), index))
        return float(shares @ plaquettes.plaquettes)

    last = Coupling(kappas[-1], beta)
    wanted = mean(beta, len(kappas) - 1)
    aim = _log_shares(sectors, last, len(kappas) - 1)
    found = []
    for k, kappa in enumerate(kappas[:-1]):
        near = float(brentq(lambda b, k=k: mean(b, k) - wanted, beta - 0.5, beta + 1.0, xtol=1e-6))
        weights = aim - _log_shares(sectors, Coupling(kappa, near), k)
        found.append(Coupling(kappa, near, tuple(float(w - weights[0]) for w in weights)))
    return (*found, last)


def _shares(log_weight: Array) -> Array:
    weights = np.exp(log_weight - np.max(log_weight))
    return weights / np.sum(weights)


def _log_shares(sample: Sample, coupling: Coupling, index: int) -> Array:
    """Logarithms of the shares of sectors, one configuration added to each so that none is empty."""
    shares = _shares(sample.log_weight(coupling, index))
    count = 1.0 / float(shares @ shares)
    sector = np.minimum(np.abs(sample.charges), SECTORS - 1)
    return np.log([count * float(np.sum(shares[sector == q])) + 1.0 for q in range(SECTORS)])


def fit(
    flow: TrivialisingFlow,
    couplings: Sequence[Coupling],
    sample: Sample,
    rng: Rng,
    *,
    count: int,
    damping: float,
    progress: Progress = silent,
) -> list[dict[str, Array]]:
    """Parameters of the flow, for every pair of neighbours.

    On the way from S_0 to S_1, S_t = S_0 + t (S_1 - S_0).  The field of a flow at t = 0 and at t = 1 is the one that leaves the
    least variance of ``S_1 - S_0 - (div X - <X, grad S_t>)`` on configurations of S_0 and of S_1, which are drawn from the
    sample in proportion to their weights.

    Parameters
    ----------
    flow
        With two knots, on the lattice of the sample.
    couplings
        Of all replicas, with the kappas of the sample.
    sample
        Configurations to draw from.
    rng
        Random numbers.
    count
        How many are drawn for each replica.
    damping
        As for :func:`gaugeflow.training.fit_linear`.
    progress
        Called for each replica.
    """
    size = len(couplings)
    ends: list[list[Array]] = [[] for _ in range(size - 1)]
    for k, coupling in enumerate(couplings):
        chosen = resampled(rng.stream(k), sample.log_weight(coupling, k), count)
        tangents = []
        for first in range(0, count, 128):
            x = np.ascontiguousarray(sample.links[..., chosen[first : first + 128]])
            tangents.append(flow.tangent(x, action(sample.lattice, coupling).grad(x)))
        h = np.concatenate(tangents, axis=-1)
        for pair in (k - 1, k):
            if 0 <= pair < size - 1:
                change = sample.log_weight(couplings[pair], pair) - sample.log_weight(couplings[pair + 1], pair + 1)
                ends[pair].append(fit_linear(h, change[chosen], damping=damping).coefficients)
        progress("linear fits", k + 1, size)
    return [{"c": flow.interpolated(np.stack(pair, axis=1))["c"]} for pair in ends]


def resampled(rng: Rng, log_weight: Array, count: int) -> Array:
    """Indices drawn in proportion to weights, by equidistant numbers."""
    share = np.cumsum(_shares(log_weight))
    places = (np.arange(count) + generator(rng).random()) / count
    return np.minimum(np.searchsorted(share / share[-1], places), len(share) - 1)


def expected_rate(
    sample: Sample,
    couplings: Sequence[Coupling],
    pair: int,
    rng: Rng,
    count: int,
    flow: TrivialisingFlow | None = None,
    params: Params | None = None,
) -> float:
    """Mean probability of a swap between replicas ``pair`` and ``pair + 1`` in equilibrium, without any chain.

    Parameters
    ----------
    sample
        Configurations from which so many are drawn for each of the two replicas in proportion to their weights.
    couplings
        Of all replicas.
    pair
        Index of the first of the two.
    rng
        Random numbers.
    count
        Number of pairs of configurations.
    flow, params
        The flow between the two on the lattice of the sample; default: none.
    """
    ends = couplings[pair : pair + 2]
    low, high = (action(sample.lattice, coupling) for coupling in ends)
    drawn = [resampled(rng.stream(k), sample.log_weight(ends[k], pair + k), count) for k in range(2)]
    second = generator(rng.stream("order")).permutation(drawn[1])
    first, second = (np.ascontiguousarray(sample.links[..., index]) for index in (drawn[0], second))
    log_ratio = low.value(first) + high.value(second)
    if flow is None or params is None:
        log_ratio = log_ratio - low.value(second) - high.value(first)
    else:
        (ahead, up), (back, down) = flow.forward(params, first), flow.inverse(params, second)
        log_ratio = log_ratio + up + down - low.value(back) - high.value(ahead)
    return float(np.mean(np.exp(np.minimum(log_ratio, 0.0))))
