"""The protocols that the parts of gaugeflow meet each other through.

Implementations are frozen dataclasses of static configuration; parameters, states and random streams are arguments.
A field is one array whose last axis holds the lanes; see :class:`gaugeflow.lattice.Lattice`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

Array = Any
"""An array of any library that follows the Python array API standard."""

Params = Mapping[str, Any]
"""Nested dictionaries of arrays."""


@runtime_checkable
class Action(Protocol):
    """An action S: configurations weigh exp(-S)."""

    def value(self, x: Array) -> Array:
        """S of every configuration, ``(batch,)`` float64."""

    def grad(self, x: Array) -> Array:
        """Gradient in left coordinates: d/de S(exp(e w) x) = <grad, w>; for real fields the partial derivatives."""


@runtime_checkable
class Map(Protocol):
    """A map with its Jacobian, or an unbiased estimate of that: what correlated ensembles need of a flow."""

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        """``(f(x), log abs det f')`` with the log-determinant ``(batch,)`` in orthonormal left coordinates."""


@runtime_checkable
class Flow(Map, Protocol):
    """An invertible map with a tractable Jacobian."""

    def init(self, rng: Any) -> Params:
        """Parameters of the identity map."""

    def inverse(self, params: Params, y: Array) -> tuple[Array, Array]:
        """``(x, -log_det)`` with f(x) = y; ``ConvergenceError`` instead of a wrong answer."""

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Array) -> tuple[Params, Array]:
        """Pull cotangents back: d(<y_bar, w_y> + sum log_det_bar log_det) = <x_bar, w_x> + params_bar . dparams."""


@runtime_checkable
class VectorField(Protocol):
    """Fields X_k of a linearised flow: one sweep, :class:`gaugeflow.flows.SectorFields`, smeared forces with their noise."""

    def tangent(self, x: Array, force: Array) -> Array:
        """``div X_k - <X_k, force>``, ``(*shape, batch)``."""

    def linearised(self, coefficients: Any, x: Array, force: Array, step: float) -> tuple[Array, Array, Array]:
        """Links moved to both sides along X = sum_k c_k X_k, and div X - <X, force>, ``(batch,)``."""


@runtime_checkable
class Module(Protocol):
    """A piece of a network on features ``(C, n_blocks, lanes)``."""

    def init(self, rng: Any) -> Params:
        """Parameters to start from."""

    def forward(self, params: Params, x: Array) -> Array:
        """Features y = f(x)."""

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array) -> tuple[Params, Array]:
        """Pull cotangents back: y_bar . dy = x_bar . dx + params_bar . dparams."""


@runtime_checkable
class Prior(Protocol):
    """A distribution that can be sampled and evaluated."""

    def sample(self, rng: Any, batch: int) -> Array:
        """Independent configurations."""

    def log_prob(self, x: Array) -> Array:
        """Logarithm of the density, ``(batch,)``."""

    def score(self, x: Array) -> Array:
        """Gradient of ``log_prob`` in left coordinates."""


@runtime_checkable
class Sampler(Protocol):
    """A Markov chain: the state holds what the next step needs, the info what a user wants to watch."""

    def init(self, x: Array) -> Any:
        """State that starts from given configurations."""

    def step(self, rng: Any, state: Any) -> tuple[Any, Any]:
        """One step: ``(state, info)``."""


@runtime_checkable
class Observable(Protocol):
    """A named function of configurations."""

    name: str

    def __call__(self, x: Array) -> Array:
        """Values ``(batch,)`` or ``(k, batch)``."""


class Batch(NamedTuple):
    """Some configurations of an ensemble."""

    fields: Array
    log_weight: Array
    ids: Array
    chain: Array


@runtime_checkable
class Ensemble(Protocol):
    """Configurations that are streamed, never all in memory."""

    @property
    def lattice(self) -> Any:
        """The lattice of the fields."""

    def __len__(self) -> int:
        """Number of configurations."""

    def batches(self, size: int) -> Iterator[Batch]:
        """Consecutive batches of at most ``size`` configurations."""
