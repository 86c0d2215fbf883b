"""Functions applied number by number; none has parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.lattice import Lattice
from gaugeflow.typing import Array, Params

_ANY = Lattice((2,))
"""Kernels start with a lattice; these look at none."""


class Activation:
    """A function that the kernel :func:`gaugeflow.kernels.activate` knows."""

    function: ClassVar[str]
    leak: float = 0.0

    def init(self, rng: Any = None) -> Params:
        """No parameters."""
        return {}

    def forward(self, params: Params, x: Array) -> Array:
        """y = f(x), of the shape and type of x."""
        return kernels.activate(_ANY, x, self.function, self.leak)

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array) -> tuple[Params, Array]:
        """Cotangent of x."""
        return {}, kernels.activate_vjp(_ANY, x, y, y_bar, self.function, self.leak)


@dataclass(frozen=True)
class Tanh(Activation):
    """tanh x."""

    function: ClassVar[str] = "tanh"


@dataclass(frozen=True)
class LeakyRelu(Activation):
    """x where positive, ``leak`` times x elsewhere (slope ``leak`` at 0)."""

    leak: float = 0.01
    function: ClassVar[str] = "leaky relu"

    def __post_init__(self) -> None:
        require_finite(self, "leak")
        if not 0.0 <= self.leak < 1.0:
            raise ValueError(f"LeakyRelu: expected 0 <= leak < 1, got {self.leak}")


@dataclass(frozen=True)
class Silu(Activation):
    """x / (1 + exp(-x)), a smooth relative of the rectifier (arXiv:1702.03118)."""

    function: ClassVar[str] = "silu"
