"""From the pure gauge theory to light quarks: a path of couplings, and the stochastic flow that follows it.

Configurations of the prior are exact at kappa = 0.  Between two couplings of the path the log-weight grows by the change of
the action, and updates at the second one keep its distribution: weights are exact however few updates there are (annealed
importance sampling, Neal, physics/9803008; stochastic normalising flows, Wu, Koehler and Noe, 2002.06707, Caselle et al.,
2201.08862).  At light masses det D changes its sign in the space of fields, and a ratio of two determinants that vanish at
different places has no finite variance.  On the last part of the path the distance to the target is therefore a twisted
mass, whose determinant is positive and never smaller than the one at the end: there all ratios are bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gaugeflow.lattice import Array, Lattice
from gaugeflow.random import Rng
from gaugeflow.systems.report import Progress, silent
from gaugeflow.systems.schwinger_layers import Layer, State
from gaugeflow.systems.schwinger_prior import PlaquettePrior, generator
from gaugeflow.systems.schwinger_slices import log_det


@dataclass(frozen=True)
class Path:
    """Couplings from the prior, ``kappa = 0``, to the target, one row ``(beta, kappa, twist)`` for each.

    Raises
    ------
    ValueError
        If there are fewer than two rows of three, or the first is not that of a prior.
    """

    couplings: Array

    def __post_init__(self) -> None:
        shape = np.shape(self.couplings)
        if len(shape) != 2 or shape[0] < 2 or shape[1] != 3:
            raise ValueError(f"Path: expected couplings of shape (n, 3) with n >= 2, got {shape}")
        if np.any(self.couplings[0, 1:] != 0.0):
            raise ValueError(f"Path: expected kappa = twist = 0 in the first row, got {self.couplings[0, 1:].tolist()}")

    def layers(self) -> tuple[Layer, ...]:
        """Updates at every coupling but the first."""
        return tuple(Layer(float(b), float(k), float(t)) for b, k, t in self.couplings[1:])

    def prior(self, lattice: Lattice) -> PlaquettePrior:
        """The prior on a lattice."""
        return PlaquettePrior(lattice, float(self.couplings[0, 0]))


@dataclass(frozen=True)
class Sample:
    """Weighted configurations of the flow."""

    state: State
    log_weight: Array
    """``(batch,)``, as charges and mean plaquettes are."""
    charge: Array
    plaquette: Array


def sample(path: Path, lattice: Lattice, rng: Rng, batch: int) -> Sample:
    """Independent configurations with exact log-weights, up to a constant that is the same for all.

    Parameters
    ----------
    path
        Couplings.
    lattice
        The lattice.
    rng, batch
        Random numbers and how many configurations.
    """
    prior = path.prior(lattice)
    angles = prior.angles(rng, batch)
    source = generator(rng.stream("layers"))
    log_weight = -prior.log_prob_of(angles)
    layers = path.layers()
    for layer in layers[:-1]:
        state = layer.start(angles)
        log_weight = log_weight + layer.log_density(state)
        state, _ = layer.sweep(source, state)
        angles = state.angles
        log_weight = log_weight - layer.log_density(state)
    if angles.space.shape[1:] != tuple(lattice.shape):
        angles = angles.turned()  # not square, an odd number of sweeps
    state = layers[-1].start(angles)
    log_weight = log_weight + layers[-1].log_density(state)
    return Sample(state, log_weight, angles.charge(), np.mean(np.cos(angles.plaquettes()), axis=(1, 2)))


def learn(
    beta: float,
    kappa: float,
    lattice: Lattice,
    rng: Rng,
    *,
    batch: int = 64,
    step: float = 0.03,
    twist: float = 0.06,
    thermalisation: int = 40,
    sweeps: int = 3,
    progress: Progress = silent,
) -> Path:
    """The path to a target, found from its end.

    From configurations at one coupling the next one is as far away as the variance of the change of the log-weight
    allows, and beta changes so that this variance is smallest: the least-squares coefficient of sum cos P.

    Parameters
    ----------
    beta, kappa
        The target.
    lattice, rng
        Lattice and random numbers of the training.
    batch
        Chains.
    step
        Variance of one change.
    twist
        Twisted mass, coefficient of i gamma_5, where kappa begins to fall.
    thermalisation, sweeps
        Sweeps at the target, and at every coupling after it.
    progress
        Called as work goes on.
    """
    source = generator(rng.stream("path"))
    # beta 20 % above the target has about its plaquette: what a start needs
    angles = PlaquettePrior(lattice, 1.2 * beta).angles(rng.stream("start"), batch)
    place, value, count = 0.0, beta, thermalisation
    rows = [(beta, kappa, 0.0)]
    end = twist + kappa
    while place < end:
        here = Layer(value, *_at(place, kappa, twist))
        state = here.start(angles)
        for _ in range(count):
            state, _ = here.sweep(source, state)
        angles, count = state.angles, sweeps
        place, slope = _next(here, state, place, kappa, twist, step)
        value = value + slope
        rows.append((value, *_at(place, kappa, twist)))
        progress(f"path to kappa {kappa:g}", int(1000 * place / end), 1000)
    return Path(np.array(rows[::-1]))


def _at(place: float, kappa: float, twist: float) -> tuple[float, float]:
    """kappa and twist at a distance from the target: the twist grows first, then kappa falls; no twist at the prior."""
    if place >= twist + kappa:
        return 0.0, 0.0
    return (kappa, place) if place < twist else (kappa - (place - twist), twist)


def _next(here: Layer, state: State, place: float, kappa: float, twist: float, step: float) -> tuple[float, float]:
    """The farthest place whose log-weight has at most the variance ``step``, and the change of beta on the way."""
    energy = np.sum(np.cos(state.angles.plaquettes()), axis=(1, 2))
    energy = energy - np.mean(energy)

    def change(trial: float) -> tuple[float, float]:
        k, t = _at(trial, kappa, twist)
        log_abs = log_det(k, state.angles, t)[0] if k > 0.0 else np.zeros_like(state.log_abs)
        difference = 2.0 * (log_abs - state.log_abs)
        difference = difference - np.mean(difference)
        slope = -float(difference @ energy) / float(energy @ energy)
        return float(np.mean((difference + slope * energy) ** 2)), slope

    low, high = place, twist + kappa
    variance, slope = change(high)
    if variance <= step:
        return high, slope
    for _ in range(8):
        middle = 0.5 * (low + high)
        variance, _ = change(middle)
        low, high = (middle, high) if variance <= step else (low, middle)
    low = max(low, place + 1e-3 * (twist + kappa))
    return low, change(low)[1]
