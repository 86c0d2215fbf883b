"""Adam with schedules and gradient clipping, on trees of arrays (arXiv:1412.6980)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from gaugeflow import tree
from gaugeflow.errors import require_finite
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Params

Schedule = Callable[[int], float]


def constant(rate: float) -> Schedule:
    """The same learning rate at every step."""
    return lambda step: rate


def cosine(rate: float, steps: int, *, warm_up: int = 0, final: float = 0.0) -> Schedule:
    """Linear rise over ``warm_up`` steps, then half a cosine from ``rate`` to ``final`` at step ``steps``."""

    def schedule(step: int) -> float:
        if step < warm_up:
            return rate * (step + 1) / warm_up
        phase = min(1.0, (step - warm_up) / max(1, steps - warm_up))
        return final + 0.5 * (rate - final) * (1.0 + math.cos(math.pi * phase))

    return schedule


def exponential(rate: float, half_life: float) -> Schedule:
    """A learning rate that halves every ``half_life`` steps."""
    return lambda step: rate * 0.5 ** (step / half_life)


class AdamState(NamedTuple):
    """Number of updates and the running moments of the gradient."""

    step: int
    mean: Params
    square: Params


@dataclass(frozen=True)
class Adam:
    """Adam optimiser.

    Parameters
    ----------
    schedule
        Learning rate as a function of the number of updates made.
    beta1, beta2, epsilon
        Decay rates of the moments, and the number that keeps the division finite.
    clip
        Largest norm of the whole gradient; longer ones are scaled back.
    """

    schedule: Schedule
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-12
    clip: float = math.inf

    def __post_init__(self) -> None:
        require_finite(self, "beta1", "beta2", "epsilon")
        require_finite(self, "clip", infinite=True)
        if not self.clip > 0.0:
            raise ValueError(f"Adam: clip must be positive, got {self.clip}")

    def init(self, params: Params) -> AdamState:
        """State before the first update."""
        zeros = tree.map(lambda p: p * 0.0, params)
        return AdamState(0, zeros, zeros)

    def update(self, state: AdamState, params: Params, gradient: Params) -> tuple[Params, AdamState]:
        """Parameters after one update, and the state.

        Raises
        ------
        ValueError
            If the gradient is not finite.
        """
        norm = math.sqrt(float(tree.dot(gradient, gradient)))
        if not math.isfinite(norm):
            raise ValueError(f"Adam: the gradient has norm {norm} at update {state.step}")
        factor = min(1.0, self.clip / norm) if norm > 0.0 else 1.0
        step = state.step + 1
        mean = tree.map(lambda m, g: self.beta1 * m + (1.0 - self.beta1) * factor * g, state.mean, gradient)
        square = tree.map(lambda v, g: self.beta2 * v + (1.0 - self.beta2) * (factor * g) ** 2, state.square, gradient)
        rate = self.schedule(state.step)
        bias1, bias2 = 1.0 - self.beta1**step, 1.0 - self.beta2**step

        def move(p: Any, m: Any, v: Any) -> Any:
            xp = array_namespace(v)
            return p - rate * (m / bias1) / (xp.sqrt(v / bias2) + self.epsilon)

        return tree.map(move, params, mean, square), AdamState(step, mean, square)
