"""Stochastic layers: updates that keep the distribution of the Schwinger model, slice by slice with exact determinants.

All but one slice are joined to an environment; a proposal on that slice then costs the determinant of a matrix of twice
the spatial extent.  In temporal gauge the links along space of one slice are independent of each other but for the
determinant, so that many of them are drawn at once from their heat bath and accepted with the ratio of determinants.
Turning the lattice by a right angle between sweeps reaches all links.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gaugeflow.errors import require_finite
from gaugeflow.lattice import Array
from gaugeflow.random import Rng
from gaugeflow.systems.schwinger_prior import generator
from gaugeflow.systems.schwinger_slices import Angles, Chain, closed_by_holonomy, condensate, joined, log_det, slices


class State(NamedTuple):
    """Angles with log abs det D and its sign, ``(batch,)`` each, at the kappa of the layer; a twist takes the sign away."""

    angles: Angles
    log_abs: Array
    sign: Array


@dataclass(frozen=True)
class Layer:
    """Updates at one kappa, with two flavours.

    Parameters
    ----------
    beta, kappa
        Couplings; beta is not negative.
    twist
        Twisted mass, coefficient of i gamma_5, with opposite signs for the two flavours.
    parts
        Links of a slice are drawn in so many groups.
    shifts
        Values of the temporal holonomy among which the heat bath of the holonomy chooses.

    Raises
    ------
    ValueError
        If a parameter is out of range or not finite.
    """

    beta: float
    kappa: float
    twist: float = 0.0
    parts: int = 1
    shifts: int = 16

    def __post_init__(self) -> None:
        require_finite(self, "beta", "kappa", "twist")
        if self.beta < 0.0:
            raise ValueError(f"Layer: expected a beta of at least 0, got {self.beta}")
        for name in ("parts", "shifts"):
            if getattr(self, name) < 1:
                raise ValueError(f"Layer: {name} must be at least 1, got {getattr(self, name)}")

    def start(self, angles: Angles) -> State:
        """State of given angles."""
        return State(angles, *log_det(self.kappa, angles, self.twist))

    def sweep(self, source: np.random.Generator, state: State) -> tuple[State, dict[str, float]]:
        """One update of everything, the lattice turned at the end; with shares of accepted proposals.

        Where the lattice is not square its extents have changed places after an odd number of sweeps.
        """
        state, chain, links = self._links(source, state)
        state = self._holonomy(source, state, chain)
        state, charge = self._charge(source, state)
        return state._replace(angles=state.angles.turned()), {"links": links, "charge": charge}

    def _holonomy(self, source: np.random.Generator, state: State, chain: Chain) -> State:
        """Heat bath of the temporal holonomy among equidistant values, the present one included."""
        angles = state.angles
        shifts = 2.0 * math.pi / self.shifts * np.arange(self.shifts)
        log_abs, sign = closed_by_holonomy(chain, angles.time, shifts)
        chosen = draw(source, 2.0 * log_abs)
        rows = np.arange(len(chosen))
        moved = angles._replace(time=angles.time + shifts[chosen][:, None])
        return State(moved, log_abs[rows, chosen], sign[rows, chosen])

    def _charge(self, source: np.random.Generator, state: State) -> tuple[State, float]:
        """Metropolis step that adds the field of one unit of charge, spread evenly, at random holonomies."""
        angles = state.angles
        batch, extent, width = angles.space.shape
        unit = source.choice([-1.0, 1.0], batch)[:, None]
        first = source.uniform(0.0, 2.0 * math.pi, (batch, 2))
        slope = 2.0 * math.pi / (extent * width) * unit
        space = angles.space + (slope * np.arange(extent))[:, :, None] + first[:, :1, None] / width
        time = angles.time - slope * extent * np.arange(width) + first[:, 1:]
        new = self.start(Angles(space, time))
        change = self._gauge(new.angles) - self._gauge(angles) + 2.0 * (new.log_abs - state.log_abs)
        accepted = np.log(source.random(batch)) < change
        return _either(accepted, new, state), float(np.mean(accepted))

    def log_density(self, state: State) -> Array:
        """Logarithm of the density that is kept, up to a constant, ``(batch,)``."""
        return self._gauge(state.angles) + 2.0 * state.log_abs

    def _gauge(self, angles: Angles) -> Array:
        return self.beta * np.sum(np.cos(angles.plaquettes()), axis=(1, 2))

    def _links(self, source: np.random.Generator, state: State) -> tuple[State, Chain, float]:
        """Heat bath of links along space, slice by slice, accepted with the square of the ratio of determinants.

        Returns the state, the chain of all its slices, and the share of accepted proposals.
        """
        space, time = state.angles.space.copy(), state.angles.time
        log_abs, sign = state.log_abs.copy(), state.sign.copy()
        batch, extent, width = space.shape
        ends = np.exp(1j * time)
        every = slices(self.kappa, space, self.twist)
        each = [every.at((slice(None), t)) for t in range(extent)]
        after: list[Chain | None] = [None] * extent
        for t in reversed(range(extent - 1)):
            ahead = each[t + 1].followed_by(ends) if t + 1 == extent - 1 else each[t + 1]
            after[t] = _ahead(ahead, after[t + 1])
        before: Chain | None = None
        total = 0.0
        across = time - np.roll(time, -1, axis=-1)
        for t in range(extent):
            environment = _ahead(after[t], before)
            assert environment is not None
            matrix = environment.matrix
            above = space[:, (t + 1) % extent] + (across if t == extent - 1 else 0.0)
            below = space[:, t - 1] - (0.0 if t else across)
            for part in source.permutation(self.parts):
                places = np.arange(part, width, self.parts)
                proposal = space[:, t].copy()
                proposal[:, places] = self._heat_bath(source, above[:, places], below[:, places])
                new = slices(self.kappa, proposal, self.twist)
                linked = new.followed_by(ends) if t == extent - 1 else new
                own_sign, own = np.linalg.slogdet(np.eye(2 * width) - matrix @ linked.matrix)
                value = own + new.log_abs + environment.log_abs
                accepted = np.log(source.random(batch)) < 2.0 * (value - log_abs)
                space[accepted, t] = proposal[accepted]
                log_abs = np.where(accepted, value, log_abs)
                sign = np.where(accepted, np.sign(np.real(own_sign * new.sign * environment.sign)), sign)
                each[t] = new.where(accepted, each[t])
                total += float(np.mean(accepted))
            before = _ahead(before, each[t])
        assert before is not None
        return State(Angles(space, time), log_abs, sign), before, total / (extent * self.parts)

    def _heat_bath(self, source: np.random.Generator, above: Array, below: Array) -> Array:
        """Links with density exp(beta [cos(a - above) + cos(a - below)])."""
        half = 0.5 * (above - below)
        centre = 0.5 * (above + below) + np.where(np.cos(half) < 0.0, math.pi, 0.0)
        return centre + source.vonmises(0.0, 2.0 * self.beta * np.abs(np.cos(half)))


class Info(NamedTuple):
    """What a sweep measures, ``(batch,)`` each but for the shares of accepted proposals."""

    charge: Array
    plaquette: Array
    log_abs: Array
    sign: Array
    condensate: Array
    accepted_links: Array
    accepted_charge: Array


@dataclass(frozen=True)
class SliceUpdates:
    """Sweeps of a layer as a Markov chain; its state holds angles in place of links.

    A step is one sweep, or two where the lattice is not square, so that extents are in their places after every step.
    """

    layer: Layer

    def init(self, angles: Angles) -> State:
        """State that starts from any angles."""
        return self.layer.start(angles)

    def step(self, rng: Rng, state: State) -> tuple[State, Info]:
        """One step; random numbers depend on ``rng`` and its draw, shares of accepted proposals are those of its last sweep."""
        source = generator(rng.stream("sweep"))
        _, extent, width = state.angles.space.shape
        for _ in range(1 if extent == width else 2):
            state, accepted = self.layer.sweep(source, state)
        angles = state.angles
        return state, Info(
            angles.charge(),
            np.mean(np.cos(angles.plaquettes()), axis=(1, 2)),
            state.log_abs,
            state.sign,
            condensate(self.layer.kappa, angles),
            np.asarray(accepted["links"]),
            np.asarray(accepted["charge"]),
        )


def draw(source: np.random.Generator, log_weights: Array) -> Array:
    """Indices ``(batch,)`` with probabilities proportional to exp of ``(batch, n)``, by the largest of Gumbel numbers."""
    return np.argmax(log_weights + source.gumbel(size=log_weights.shape), axis=1)


def _ahead(first: Chain | None, second: Chain | None) -> Chain | None:
    if first is None or second is None:
        return second if first is None else first
    return joined(first, second)


def _either(chosen: Array, new: State, old: State) -> State:
    return State(
        new.angles.select(chosen, old.angles),
        np.where(chosen, new.log_abs, old.log_abs),
        np.where(chosen, new.sign, old.sign),
    )
