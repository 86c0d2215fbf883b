"""Affine couplings of a scalar field and pseudofermions in one joint real field ``(volume, 2, lanes)``.

Component 0 is the scalar field, component 1 holds pseudofermions as :func:`gaugeflow.actions.with_pseudofermions` lays
them out.  A coupling changes some entries and leaves the others, which steer it: the same couplings, in different order,
make conditional densities of pseudofermions given the scalar field, of the scalar field given pseudofermions, and joint
ones.  Derivatives: ``docs/derivations/yukawa.md``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, NamedTuple

from gaugeflow.flows.evaluation import Evaluation, evaluate
from gaugeflow.lattice import Array, IntArray, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Flow, Params


class Steering(NamedTuple):
    """Log-scales and shifts of the active entries.

    Attributes
    ----------
    s, t
        ``(active, lanes)``.
    pull_back
        Takes cotangents of s and t to those of the parameters and of the frozen field ``(2 volume, lanes)``.
    """

    s: Array
    t: Array
    pull_back: Callable[[Array, Array], tuple[Params, Array]]


def check_joint(lattice: Lattice, x: Array) -> None:
    """Raise ``ValueError`` unless x is a joint field ``(volume, 2, lanes)`` of a lattice without folds."""
    if lattice.n_folds != 1 or len(x.shape) != 3 or tuple(x.shape[:2]) != (lattice.volume, 2):
        raise ValueError(
            f"joint field: expected shape ({lattice.volume}, 2, lanes) on a lattice without folds, got {tuple(x.shape)} "
            f"on {lattice}"
        )


@dataclass(frozen=True)
class JointCoupling(ABC):
    """y = exp(s) x + t on active entries of a joint field, y = x on frozen ones, which s and t are functions of.

    Who says which entries are active, and how they are steered, gets the flow.

    Parameters
    ----------
    lattice
        The lattice, not folded.
    """

    lattice: Lattice

    def __post_init__(self) -> None:
        self.lattice.check_whole(type(self).__name__)

    @abstractmethod
    def init(self, rng: Any) -> Params:
        """Parameters of the identity."""

    @property
    @abstractmethod
    def active(self) -> IntArray:
        """Active entries, numbers 2 site + component."""

    @abstractmethod
    def steer(self, params: Params, frozen: Array) -> Steering:
        """Scales and shifts from the field ``(2 volume, lanes)`` with zeros at active entries."""

    @cached_property
    def _tables(self) -> tuple[IntArray, IntArray, IntArray]:
        """Active entries, frozen ones, and where every entry is found in the two behind each other."""
        xp: Any = import_module("array_api_compat.numpy")
        active = xp.asarray(self.active, dtype=xp.int64)
        chosen = xp.zeros(2 * self.lattice.volume, dtype=xp.bool)
        chosen[active] = True
        frozen = xp.nonzero(~chosen)[0]
        return active, frozen, xp.argsort(xp.concat([active, frozen]))

    def _split(self, x: Array) -> tuple[Array, Array]:
        xp = array_namespace(x)
        flat = xp.reshape(x, (2 * self.lattice.volume, -1))
        active, frozen, _ = self._tables
        return xp.take(flat, xp.asarray(active), axis=0), xp.take(flat, xp.asarray(frozen), axis=0)

    def _join(self, active: Array, frozen: Array) -> Array:
        xp = array_namespace(active)
        return xp.take(xp.concat([active, frozen], axis=0), xp.asarray(self._tables[2]), axis=0)

    def _steered(self, params: Params, x: Array) -> tuple[Array, Array, Steering]:
        check_joint(self.lattice, x)
        active, frozen = self._split(x)
        return active, frozen, self.steer(params, self._join(array_namespace(x).zeros_like(active), frozen))

    def _field(self, active: Array, frozen: Array) -> Array:
        xp = array_namespace(active)
        return xp.reshape(self._join(active, frozen), (self.lattice.volume, 2, -1))

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        """``(y, log_det)``."""
        xp = array_namespace(x)
        active, frozen, (s, t, _) = self._steered(params, x)
        return self._field(xp.exp(s) * active + t, frozen), xp.sum(xp.astype(s, xp.float64), axis=0)

    def inverse(self, params: Params, y: Array) -> tuple[Array, Array]:
        """``(x, -log_det)``; exact."""
        xp = array_namespace(y)
        active, frozen, (s, t, _) = self._steered(params, y)
        return self._field((active - t) * xp.exp(-s), frozen), -xp.sum(xp.astype(s, xp.float64), axis=0)

    def evaluate(self, params: Params, x: Array) -> Evaluation:
        """As :func:`gaugeflow.flows.evaluate`; scales and shifts are computed once."""
        xp = array_namespace(x)
        active, frozen, (s, t, through) = self._steered(params, x)
        scale = xp.exp(s)

        def pull_back(y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
            active_bar, frozen_bar = self._split(y_bar)
            params_bar, more = through(active_bar * scale * active + xp.astype(log_det_bar, x.dtype), active_bar)
            return params_bar, self._field(active_bar * scale, frozen_bar + self._split(more)[1])

        def push_score(score: Array) -> Array:
            active_score, frozen_score = self._split(score)
            pushed = active_score / scale
            _, more = through(-active_score * active - 1.0, -pushed)
            return self._field(pushed, frozen_score + self._split(more)[1])

        log_det = xp.sum(xp.astype(s, xp.float64), axis=0)
        return Evaluation(self._field(scale * active + t, frozen), log_det, pull_back, push_score)

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
        """Cotangents of parameters and of x."""
        return self.evaluate(params, x).pull_back(y_bar, log_det_bar)

    def push_score(self, params: Params, x: Array, y: Array, score: Array) -> Array:
        """Gradient of the log-density of ``y = f(x)`` from that of x."""
        return self.evaluate(params, x).push_score(score)


@dataclass(frozen=True)
class OnScalar:
    """A flow of the scalar field that leaves pseudofermions alone.

    Parameters
    ----------
    lattice
        The lattice, not folded.
    flow
        A flow of fields ``(volume, lanes)``; parameters are its own.
    """

    lattice: Lattice
    flow: Flow

    def __post_init__(self) -> None:
        self.lattice.check_whole("OnScalar")

    def init(self, rng: Any = None) -> Params:
        """Parameters of the flow."""
        return self.flow.init(rng)

    def _both(self, phi: Array, chi: Array) -> Array:
        return array_namespace(phi).stack([phi, chi], axis=1)

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        """``(y, log_det)``."""
        check_joint(self.lattice, x)
        phi, log_det = self.flow.forward(params, x[:, 0, :])
        return self._both(phi, x[:, 1, :]), log_det

    def inverse(self, params: Params, y: Array) -> tuple[Array, Array]:
        """``(x, -log_det)``."""
        check_joint(self.lattice, y)
        phi, minus_log_det = self.flow.inverse(params, y[:, 0, :])
        return self._both(phi, y[:, 1, :]), minus_log_det

    def evaluate(self, params: Params, x: Array) -> Evaluation:
        """As :func:`gaugeflow.flows.evaluate`."""
        check_joint(self.lattice, x)
        at = evaluate(self.flow, params, x[:, 0, :])

        def pull_back(y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
            params_bar, phi_bar = at.pull_back(y_bar[:, 0, :], log_det_bar)
            return params_bar, self._both(phi_bar, y_bar[:, 1, :])

        def push_score(score: Array) -> Array:
            return self._both(at.push_score(score[:, 0, :]), score[:, 1, :])

        return Evaluation(self._both(at.y, x[:, 1, :]), at.log_det, pull_back, push_score)

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
        """Cotangents of parameters and of x."""
        return self.evaluate(params, x).pull_back(y_bar, log_det_bar)

    def push_score(self, params: Params, x: Array, y: Array, score: Array) -> Array:
        """Gradient of the log-density of ``y = f(x)`` from that of x."""
        return self.evaluate(params, x).push_score(score)
