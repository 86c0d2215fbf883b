"""Modules made of modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gaugeflow import tree
from gaugeflow.lattice import Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.nn.activation import LeakyRelu
from gaugeflow.nn.linear import Convolution
from gaugeflow.nn.pull_back import PullBack, forward_and_pull_back
from gaugeflow.typing import Array, Module, Params


@dataclass(frozen=True)
class Sequential:
    """Modules one after another; parameters live under the keys ``"0"``, ``"1"``, ..."""

    modules: tuple[Module, ...]

    def __post_init__(self) -> None:
        if not self.modules:
            raise ValueError("Sequential: expected at least one module, got ()")

    def init(self, rng: Any) -> Params:
        """Parameters of all modules, each drawn from a stream of its own."""
        return {str(i): module.init(rng.stream(i)) for i, module in enumerate(self.modules)}

    def forward(self, params: Params, x: Array) -> Array:
        """Features after the last module."""
        for i, module in enumerate(self.modules):
            x = module.forward(params[str(i)], x)
        return x

    def forward_and_pull_back(self, params: Params, x: Array) -> tuple[Array, PullBack]:
        """As :func:`gaugeflow.nn.forward_and_pull_back`; keeps the features between modules."""
        pulls = []
        for i, module in enumerate(self.modules):
            x, pull = forward_and_pull_back(module, params[str(i)], x)
            pulls.append(pull)

        def pull_back(y_bar: Array) -> tuple[Params, Array]:
            bars: dict[str, Any] = {}
            for i in range(len(pulls) - 1, -1, -1):
                bars[str(i)], y_bar = pulls[i](y_bar)
            return bars, y_bar

        return x, pull_back

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array) -> tuple[Params, Array]:
        """Cotangents; the features in between are computed again."""
        return self.forward_and_pull_back(params, x)[1](y_bar)


@dataclass(frozen=True)
class Residual:
    """y = x + f(x) for a module f that keeps the number of channels."""

    module: Module

    def init(self, rng: Any) -> Params:
        """Parameters of f."""
        return self.module.init(rng)

    def forward(self, params: Params, x: Array) -> Array:
        """x + f(x)."""
        return x + self.module.forward(params, x)

    def forward_and_pull_back(self, params: Params, x: Array) -> tuple[Array, PullBack]:
        """As :func:`gaugeflow.nn.forward_and_pull_back`."""
        change, pull = forward_and_pull_back(self.module, params, x)

        def pull_back(y_bar: Array) -> tuple[Params, Array]:
            bars, x_bar = pull(y_bar)
            return bars, y_bar + x_bar

        return x + change, pull_back

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array) -> tuple[Params, Array]:
        """Cotangents."""
        return self.forward_and_pull_back(params, x)[1](y_bar)


@dataclass(frozen=True)
class SinglePrecision:
    """A module evaluated in single precision; parameters, features and cotangents outside keep their type.

    Optimisers and log-determinants then stay in double precision while the matrix products are twice as fast.
    """

    module: Module

    def init(self, rng: Any) -> Params:
        """Parameters of the module."""
        return self.module.init(rng)

    def forward(self, params: Params, x: Array) -> Array:
        """f(x), rounded to single precision inside."""
        xp = array_namespace(x)
        return xp.astype(self.module.forward(_rounded(params), xp.astype(x, xp.float32)), x.dtype)

    def forward_and_pull_back(self, params: Params, x: Array) -> tuple[Array, PullBack]:
        """As :func:`gaugeflow.nn.forward_and_pull_back`."""
        xp = array_namespace(x)
        y, pull = forward_and_pull_back(self.module, _rounded(params), xp.astype(x, xp.float32))

        def pull_back(y_bar: Array) -> tuple[Params, Array]:
            bars, x_bar = pull(xp.astype(y_bar, xp.float32))
            return tree.map(lambda bar, p: xp.astype(bar, p.dtype), bars, params), xp.astype(x_bar, x.dtype)

        return xp.astype(y, x.dtype), pull_back

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array) -> tuple[Params, Array]:
        """Cotangents."""
        return self.forward_and_pull_back(params, x)[1](y_bar)


def _rounded(params: Params) -> Params:
    return tree.map(lambda p: array_namespace(p).astype(p, array_namespace(p).float32), params)


def convolutional(
    lattice: Lattice,
    channels: Sequence[int],
    *,
    kernel: int | Sequence[int] = 3,
    dilations: Sequence[int] | None = None,
    activation: Module | None = None,
    last: Module | None = None,
    gain: float = 1.0,
    final_gain: float = 0.0,
) -> Sequential:
    """Convolutions with an activation between them.

    Parameters
    ----------
    lattice
        The lattice of the features.
    channels
        Channels of the input, of every hidden layer, and of the output.
    kernel
        Extent of all kernels.
    dilations
        Dilation of each convolution (default: 1).
    activation
        What follows every convolution but the last (default: :class:`LeakyRelu`).
    last
        What follows the last one (default: nothing).
    gain, final_gain
        Scale of the initial weights of the hidden convolutions and of the last one; the default 0 makes the network
        start as zero, and a flow that it steers as the identity.

    Raises
    ------
    ValueError
        If there are fewer than two numbers of channels, or not one dilation for each convolution.
    """
    count = len(channels) - 1
    if count < 1:
        raise ValueError(f"convolutional: expected channels of input and output, got {tuple(channels)}")
    steps = (1,) * count if dilations is None else tuple(dilations)
    if len(steps) != count:
        raise ValueError(f"convolutional: expected {count} dilations, got {steps}")
    modules: list[Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(channels)):
        scale = gain if i + 1 < count else final_gain
        modules.append(Convolution(lattice, inputs, outputs, kernel, steps[i], gain=scale))
        if i + 1 < count:
            modules.append(LeakyRelu() if activation is None else activation)
    return Sequential((*modules, last) if last is not None else tuple(modules))
