"""Hybrid Monte Carlo for any action (Duane, Kennedy, Pendleton and Roweth, Phys. Lett. B195 (1987) 216)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from gaugeflow import kernels
from gaugeflow.actions import Sum, refreshed
from gaugeflow.errors import ConvergenceError, require_finite
from gaugeflow.groups import SU, Manifold, manifold_of
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng, momenta, normal
from gaugeflow.samplers.accept import accept, check_state, choose
from gaugeflow.samplers.integrators import Guard, Level, integrate
from gaugeflow.typing import Action

STEPS = 10
"""Steps of a trajectory where only an action is given."""


class Tuning(NamedTuple):
    """Progress of the search for a step size."""

    error: float
    """Running mean of target minus acceptance."""
    mean_log_step: float
    """Weighted mean of the logarithms of the steps tried."""


class HMCState(NamedTuple):
    """Field, number of trajectories so far, step size of the outermost level, and its search."""

    x: Array
    step: int
    step_size: float
    tuning: Tuning


class HMCInfo(NamedTuple):
    """Diagnostics of a trajectory; all but the last ``(batch,)``."""

    accepted: Array
    probability: Array
    """min(1, exp(-Delta H))."""
    delta_h: Array
    step_size: float


@dataclass(frozen=True)
class HMC:
    """Trajectories of fixed length with an accept-reject step for every configuration of the batch.

    Parameters
    ----------
    lattice
        The lattice.
    levels
        Time scales, the one with the largest step first; one :class:`Level` will do, and so will an action, which is taken
        as one level of ten steps.  The action is the sum of theirs;
        :class:`gaugeflow.actions.PulledBack` makes it field-transformation HMC.
    length
        Length of a trajectory.
    target
        Mean acceptance to which the step size of the first level is tuned.
    tune
        Number of trajectories, counted from the start of the chain, in which it is tuned.  They must belong to the
        burn-in: the chain is only a Markov chain after them.  0 keeps ``length / levels[0].steps``.
    reunitarise_every
        Trajectories between removals of rounding errors of links.

    Raises
    ------
    ValueError
        If a parameter is out of range or not finite.
    TypeError
        If a level is none.
    """

    lattice: Lattice
    levels: tuple[Level, ...]
    length: float = 1.0
    target: float = 0.8
    tune: int = 0
    reunitarise_every: int = 10

    def __post_init__(self) -> None:
        require_finite(self, "length", "target", single=True)
        if not isinstance(self.lattice, Lattice):
            raise TypeError(f"HMC: expected a Lattice first, got a {type(self.lattice).__name__}")
        object.__setattr__(self, "levels", _as_levels(self.levels))
        if not self.length > 0.0:
            raise ValueError(f"HMC: length must be positive, got {self.length}")
        if not 0.0 < self.target < 1.0:
            raise ValueError(f"HMC: target acceptance must lie between 0 and 1, got {self.target}")
        if self.tune < 0:
            raise ValueError(f"HMC: tune must be at least 0, got {self.tune}")
        if self.reunitarise_every < 1:
            raise ValueError(f"HMC: reunitarise_every must be at least 1, got {self.reunitarise_every}")

    @property
    def action(self) -> Any:
        """Sum of the actions of all levels."""
        return _sum(self.levels)

    def init(self, x: Array) -> HMCState:
        """State that starts from a given field; ``TypeError`` if that is no array, such as a state."""
        manifold_of(self.lattice, x)
        self.lattice.batch(x.shape[-1])
        step_size = self.length / self.levels[0].steps
        return HMCState(x, 0, step_size, Tuning(0.0, math.log(step_size)))

    def momentum(self, rng: Rng, x: Array) -> Array:
        """Momenta with density exp(-<p, p>/2), of the type of x."""
        xp = array_namespace(x)
        batch = self.lattice.batch(x.shape[-1])
        if isinstance(manifold_of(self.lattice, x), SU):
            p = momenta(rng, self.lattice, int(x.shape[2]), batch, xp=xp)
        else:
            if len(x.shape) != 2 or not xp.isdtype(x.dtype, "real floating"):
                raise ValueError(f"HMC: expected links or a real field (n_blocks, lanes), got shape {tuple(x.shape)}")
            p = normal(rng, self.lattice, 1, batch, xp=xp)[0, ...]
        return xp.astype(p, x.dtype)

    def refreshed(self, rng: Rng, x: Array) -> tuple[Level, ...]:
        """Levels with new pseudofermions for their actions."""
        here = rng.stream("pseudofermions")
        return tuple(
            replace(level, action=refreshed(level.action, here.stream(i), x)) for i, level in enumerate(self.levels)
        )

    def trajectory(self, x: Array, p: Array, step_size: float) -> tuple[Array, Array, Array]:
        """Field, momentum and change of energy ``(batch,)`` after one trajectory in equal steps of at most this size."""
        return self._trajectory(self.levels, x, p, step_size)

    def _trajectory(
        self, levels: tuple[Level, ...], x: Array, p: Array, step_size: float
    ) -> tuple[Array, Array, Array]:
        manifold = manifold_of(self.lattice, x)
        steps = max(1, math.ceil(self.length / step_size * (1.0 - 1e-12)))
        levels = (replace(levels[0], steps=steps), *levels[1:])
        action = _sum(levels)

        def moved(guard: Guard | None) -> tuple[Array, Array, Array]:
            new, p_new = integrate(manifold, levels, x, p, self.length, guard)
            if guard is not None:
                new, p_new = guard(new, p_new)
            kinetic = 0.5 * (manifold.inner(p_new, p_new) - manifold.inner(p, p))
            return new, p_new, kinetic + (action.value(new) - action.value(x))

        try:
            return moved(None)
        except (ConvergenceError, ValueError):  # solvers and determinants refuse fields of a trajectory that ran away
            lost = _Lost(self.lattice, manifold, x)
            new, p_new, delta_h = moved(lost)
            xp = array_namespace(delta_h)
            return new, p_new, xp.where(lost.found, xp.asarray(math.inf, dtype=delta_h.dtype), delta_h)

    def step(self, rng: Rng, state: HMCState) -> tuple[HMCState, HMCInfo]:
        """One trajectory.

        Random numbers depend on ``rng`` and on ``state.step``, so that a chain may use one ``rng`` for all its steps.
        A trajectory whose energy is not finite is rejected, and so is one that runs away to fields that its action
        refuses.  Pseudofermions are drawn anew for every trajectory.
        """
        check_state(state, HMCState)
        here = rng.stream("hmc").stream(state.step)
        levels = self.refreshed(here, state.x)
        new, _, delta_h = self._trajectory(levels, state.x, self.momentum(here, state.x), state.step_size)
        accepted, probability = accept(here, -delta_h)
        x = choose(self.lattice, accepted, new, state.x)
        count = state.step + 1
        if count % self.reunitarise_every == 0 and isinstance(manifold_of(self.lattice, x), SU):
            x = kernels.reunitarise(self.lattice, x)
        xp = array_namespace(probability)
        step_size, tuning = self._tuned(state, float(xp.mean(probability)))
        return HMCState(x, count, step_size, tuning), HMCInfo(accepted, probability, delta_h, state.step_size)

    def _tuned(self, state: HMCState, acceptance: float) -> tuple[float, Tuning]:
        """Step size of the next trajectory by dual averaging (Hoffman and Gelman, arXiv:1111.4246, section 3.2)."""
        count = state.step + 1
        if count > self.tune:
            return state.step_size, state.tuning
        error = state.tuning.error + (self.target - acceptance - state.tuning.error) / (count + 10.0)
        log_step = math.log(self.length / self.levels[0].steps) - math.sqrt(count) / 0.05 * error
        log_step = min(log_step, math.log(self.length))
        weight = count**-0.75
        mean = weight * log_step + (1.0 - weight) * state.tuning.mean_log_step
        tuning = Tuning(error, mean)
        return math.exp(mean if count == self.tune else log_step), tuning


RUNAWAY = 1e6
"""Mean square of momenta, 1 in equilibrium, from which on a trajectory has run away."""


class _Lost:
    """Guard that brings configurations whose trajectories ran away back to where they began, at rest.

    It sees the momenta at both ends and between any two kicks.  The reversed trajectory has the same ones up to their signs and
    is lost as well, so that detailed balance holds.
    """

    def __init__(self, lattice: Lattice, manifold: Manifold, start: Array) -> None:
        xp = array_namespace(start)
        self.lattice, self.manifold, self.start = lattice, manifold, start
        self.found = xp.zeros((lattice.batch(start.shape[-1]),), dtype=xp.bool)
        self._limit = RUNAWAY * math.prod(start.shape) * math.prod(lattice.grid) / self.found.shape[0]

    def __call__(self, x: Array, p: Array) -> tuple[Array, Array]:
        xp = array_namespace(x)
        calm = (self.manifold.inner(p, p) < self._limit) & xp.isfinite(self.manifold.inner(x, x))
        self.found = self.found | ~calm
        kept = ~self.found
        return choose(self.lattice, kept, x, self.start), choose(self.lattice, kept, p, xp.zeros_like(p))


def _as_levels(given: object) -> tuple[Level, ...]:
    """Levels from what users write for them."""
    if isinstance(given, Level):
        return (given,)
    if isinstance(given, Action):
        return (Level(given, STEPS),)
    if not isinstance(given, tuple | list):
        raise TypeError(f"HMC: expected an action, a Level or a tuple of them, got a {type(given).__name__}")
    if not given:
        raise ValueError("HMC: expected at least one level, got ()")
    for level in given:
        if not isinstance(level, Level):
            raise TypeError(
                f"HMC: expected a Level(action, steps) for each time scale, got a {type(level).__name__} among {len(given)}"
            )
    return tuple(given)


def _sum(levels: tuple[Level, ...]) -> Any:
    return levels[0].action if len(levels) == 1 else Sum(tuple(level.action for level in levels))
