"""Functions applied number by number; none has parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from gaugeflow.typing import Array, Params


class Activation(ABC):
    """A function of one number; a new one defines ``forward`` and ``slope``."""

    def init(self, rng: Any = None) -> Params:
        """No parameters."""
        return {}

    @abstractmethod
    def forward(self, params: Params, x: Array) -> Array:
        """y = f(x), of the shape and type of x."""

    @abstractmethod
    def slope(self, x: Array, y: Array) -> Array:
        """f'(x), from argument and value."""

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array) -> tuple[Params, Array]:
        """Cotangent of x."""
        return {}, y_bar * self.slope(x, y)


@dataclass(frozen=True)
class Tanh(Activation):
    """tanh x."""

    def forward(self, params: Params, x: Array) -> Array:
        """tanh x."""
        return array_namespace(x).tanh(x)

    def slope(self, x: Array, y: Array) -> Array:
        """1 - y^2."""
        return 1.0 - y * y


@dataclass(frozen=True)
class LeakyRelu(Activation):
    """x where positive, ``leak`` times x elsewhere (slope ``leak`` at 0)."""

    leak: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 <= self.leak < 1.0:
            raise ValueError(f"LeakyRelu: expected 0 <= leak < 1, got {self.leak}")

    def forward(self, params: Params, x: Array) -> Array:
        """max(x, leak x)."""
        return array_namespace(x).maximum(x, self.leak * x)

    def slope(self, x: Array, y: Array) -> Array:
        """1 or leak."""
        xp = array_namespace(x)
        return xp.astype(x > 0.0, x.dtype) * (1.0 - self.leak) + self.leak


@dataclass(frozen=True)
class Silu(Activation):
    """x / (1 + exp(-x)), a smooth relative of the rectifier (arXiv:1702.03118)."""

    def forward(self, params: Params, x: Array) -> Array:
        """x (1 + tanh(x / 2)) / 2."""
        return 0.5 * x * (1.0 + array_namespace(x).tanh(0.5 * x))

    def slope(self, x: Array, y: Array) -> Array:
        """s + y (1 - s) with s = 1 / (1 + exp(-x))."""
        sigmoid = 0.5 * (1.0 + array_namespace(x).tanh(0.5 * x))
        return sigmoid + y * (1.0 - sigmoid)
