"""Several samplers in turn: heat bath and HMC, flow and local updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from gaugeflow.lattice import Array
from gaugeflow.random import Rng
from gaugeflow.typing import Sampler


class CompositeState(NamedTuple):
    """Field, and the states of the parts, of which only the last to move holds this field."""

    x: Array
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Composite:
    """One step is one step of each part, in order; all must keep the same distribution.

    Parameters
    ----------
    parts
        Samplers whose states are named tuples with the field ``x``.

    Notes
    -----
    The info is a tuple of the infos of the parts.  A state that holds more about its field than the field, such as
    the log-weight of an independence sampler, is made anew by the part's ``init``: for such samplers a composite step
    costs an inverse flow.
    """

    parts: tuple[Sampler, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("Composite: expected at least one sampler, got ()")

    def init(self, x: Array) -> CompositeState:
        """State that starts from a field."""
        return CompositeState(x, tuple(part.init(x) for part in self.parts))

    def step(self, rng: Rng, state: CompositeState) -> tuple[CompositeState, tuple[Any, ...]]:
        """One step of each part, each with a random stream of its own."""
        x, parts, infos = state.x, list(state.parts), []
        for i, part in enumerate(self.parts):
            before = moved_to(part, parts[i], x)
            parts[i], info = part.step(rng.stream("composite").stream(i), before)
            x = parts[i].x
            infos.append(info)
        return CompositeState(x, tuple(parts)), tuple(infos)


def moved_to(sampler: Sampler, state: Any, x: Array) -> Any:
    """The state of a sampler with another field: step numbers and step sizes stay, weights are computed again."""
    if state.x is x:
        return state
    if hasattr(state, "log_weight"):
        return sampler.init(x)._replace(step=state.step)
    return state._replace(x=x)
