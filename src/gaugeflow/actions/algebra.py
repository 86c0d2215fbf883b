"""Actions made of actions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

from gaugeflow.errors import require_finite
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng
from gaugeflow.typing import Action, Array, Flow, Params


def refreshed(action: Action, rng: Rng, x: Array) -> Action:
    """The action with new pseudofermions, distributed as the field x wants them; itself where it has none.

    A sampler of an action with pseudofermions calls it before every trajectory.
    """
    refresh = getattr(action, "refreshed", None)
    return action if refresh is None else refresh(rng, x)


@dataclass(frozen=True)
class Sum:
    """S = S_1 + S_2 + ...

    Raises
    ------
    ValueError
        If there is no term.
    """

    terms: tuple[Action, ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("Sum: expected at least one action, got ()")

    def value(self, x: Array) -> Array:
        """Sum of the terms, ``(batch,)`` float64."""
        return reduce(add, (term.value(x) for term in self.terms))

    def grad(self, x: Array) -> Array:
        """Sum of the gradients."""
        return reduce(add, (term.grad(x) for term in self.terms))

    def refreshed(self, rng: Rng, x: Array) -> Sum:
        """The sum with new pseudofermions."""
        return Sum(tuple(refreshed(term, rng.stream(i), x) for i, term in enumerate(self.terms)))


@dataclass(frozen=True)
class Scaled:
    """S = factor S_1."""

    factor: float
    action: Action

    def __post_init__(self) -> None:
        require_finite(self, "factor")

    def value(self, x: Array) -> Array:
        """``factor S_1(x)``, ``(batch,)`` float64."""
        return self.factor * self.action.value(x)

    def grad(self, x: Array) -> Array:
        """``factor grad S_1(x)``."""
        return self.factor * self.action.grad(x)


@dataclass(frozen=True, eq=False)
class PulledBack:
    """S(f(x)) - log det f'(x): the action of x when f(x) has the action S.

    HMC on it is field-transformation HMC (Lüscher, arXiv:0907.5491); its difference from another action is minus the
    log-weight of the flow.

    Parameters
    ----------
    action
        S, on the fields that come out of the flow.
    flow, params
        f and its parameters.
    """

    action: Action
    flow: Flow
    params: Params

    def value(self, x: Array) -> Array:
        """``S(f(x)) - log_det``, ``(batch,)`` float64."""
        y, log_det = self.flow.forward(self.params, x)
        return self.action.value(y) - log_det

    def grad(self, x: Array) -> Array:
        """Gradient by the flow's ``vjp`` with the cotangents grad S(y) and -1."""
        y, log_det = self.flow.forward(self.params, x)
        minus_one: Any = -array_namespace(log_det).ones_like(log_det)
        _, x_bar = self.flow.vjp(self.params, x, y, self.action.grad(y), minus_one)
        return x_bar

    def refreshed(self, rng: Rng, x: Array) -> PulledBack:
        """The action with new pseudofermions for f(x)."""
        return replace(self, action=refreshed(self.action, rng, self.flow.forward(self.params, x)[0]))
