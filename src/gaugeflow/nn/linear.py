"""Layers that are one matrix product: periodic convolutions, mixing of channels, dense layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.kernels.network import check_features
from gaugeflow.kernels.slots import all_slots, reach
from gaugeflow.kernels.sums import sum_processes
from gaugeflow.lattice import Array, IntArray, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng, normal
from gaugeflow.typing import Params

_NUMBERS = Lattice((2,))
"""Where weights are drawn: they do not depend on the lattice of the features."""


def _weights(rng: Rng, rows: int, fan_in: int, gain: float) -> Array:
    """Normal numbers ``(rows, fan_in)`` of standard deviation gain / sqrt(fan_in)."""
    values = normal(rng.stream("weight"), _NUMBERS, rows, fan_in)[:, 0, :]
    return (gain / math.sqrt(fan_in)) * values


def _check_sizes(layer: str, inputs: int, outputs: int) -> None:
    if inputs < 1 or outputs < 1:
        raise ValueError(f"{layer}: expected at least one channel in and out, got {inputs} and {outputs}")


def _check_weight(layer: str, weight: Array, expected: tuple[int, ...], x: Array) -> None:
    if tuple(weight.shape) != expected:
        raise ValueError(f"{layer}: expected a weight of shape {expected}, got {tuple(weight.shape)}")
    if weight.dtype != x.dtype:
        raise TypeError(f"{layer}: the weight is {weight.dtype} and the features are {x.dtype}; expected one type")


@dataclass(frozen=True)
class Convolution:
    """y_o(s) = bias_o + sum over taps t and channels c of weight[t, o, c] x_c(s + dilation t), with periodic boundaries.

    A tap t has coordinates -(k - 1)/2 ... (k - 1)/2 in each direction; the last direction runs fastest in ``weight``.

    Parameters
    ----------
    lattice
        The lattice; parameters do not depend on it.
    inputs, outputs
        Channels.
    kernel
        Odd extent k of the kernel, one number or one for each direction.
    dilation
        Distance between neighbouring taps.
    bias
        Whether a constant is added.
    gain
        Scale of the weights that ``init`` draws, in units of 1 / sqrt(inputs * taps); 0 gives zeros.

    Raises
    ------
    ValueError
        If an extent is even or not positive, or the number of extents is wrong.
    """

    lattice: Lattice
    inputs: int
    outputs: int
    kernel: int | Sequence[int] = 3
    dilation: int = 1
    bias: bool = True
    gain: float = 1.0

    def __post_init__(self) -> None:
        require_finite(self, "gain")
        _check_sizes("Convolution", self.inputs, self.outputs)
        if len(self.extents) != self.lattice.ndim or any(k < 1 or k % 2 == 0 for k in self.extents):
            raise ValueError(
                f"Convolution: expected {self.lattice.ndim} odd positive extents of the kernel, got {self.kernel}"
            )
        if self.dilation < 1:
            raise ValueError(f"Convolution: expected dilation >= 1, got {self.dilation}")

    @property
    def extents(self) -> tuple[int, ...]:
        """Extent of the kernel in each direction."""
        return (self.kernel,) * self.lattice.ndim if isinstance(self.kernel, int) else tuple(self.kernel)

    @property
    def n_taps(self) -> int:
        """Sites that an output sees, T."""
        return math.prod(self.extents)

    @cached_property
    def taps(self) -> IntArray:
        """Slot that each tap reads, ``(T, n_slots)`` int64; reversed, the table of the opposite taps."""
        xp: Any = import_module("array_api_compat.numpy")
        rows = []
        for tap in itertools.product(*(range(-(k // 2), k // 2 + 1) for k in self.extents)):
            hops = [(mu, int(steps < 0)) for mu, steps in enumerate(tap) for _ in range(abs(steps) * self.dilation)]
            rows.append(reach(self.lattice, xp, all_slots(self.lattice, xp), hops))
        table: IntArray = xp.stack(rows)
        return table

    def init(self, rng: Rng) -> Params:
        """``weight`` (T, O, C), normal, and ``bias`` (O,), zero."""
        fan_in = self.inputs * self.n_taps
        drawn = _weights(rng, self.outputs, fan_in, self.gain)
        xp = array_namespace(drawn)
        taps_last = xp.reshape(drawn, (self.outputs, self.inputs, self.n_taps))
        weight = xp.asarray(xp.permute_dims(taps_last, (2, 0, 1)), order="C", copy=True)
        return {"weight": weight} | ({"bias": xp.zeros((self.outputs,), dtype=weight.dtype)} if self.bias else {})

    def _check(self, params: Params, x: Array) -> None:
        check_features(self.lattice, x, self.inputs)
        _check_weight("Convolution", params["weight"], (self.n_taps, self.outputs, self.inputs), x)

    def forward(self, params: Params, x: Array) -> Array:
        """``(inputs, n_blocks, lanes)`` to ``(outputs, n_blocks, lanes)``."""
        self._check(params, x)
        xp = array_namespace(x)
        bias = params["bias"] if self.bias else xp.zeros((self.outputs,), dtype=x.dtype)
        return kernels.convolve_features(self.lattice, x, params["weight"], bias, self.taps)

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array) -> tuple[Params, Array]:
        """Cotangents: a correlation for the weights, the convolution with opposite taps for x."""
        self._check(params, x)
        weight_bar, bias_bar = kernels.convolve_features_vjp(self.lattice, x, y_bar, self.taps)
        xp = array_namespace(x)
        nothing = xp.zeros((self.inputs,), dtype=x.dtype)
        transposed = xp.permute_dims(params["weight"], (0, 2, 1))
        x_bar = kernels.convolve_features(self.lattice, y_bar, transposed, nothing, self.taps[::-1])
        return {"weight": weight_bar} | ({"bias": bias_bar} if self.bias else {}), x_bar


def _summed(lattice: Lattice | None, values: Array) -> Array:
    """Sums over the sites of this process, over those of all."""
    return values if lattice is None else sum_processes(lattice, values)


def _bias_bar(lattice: Lattice | None, y_bar: Array) -> dict[str, Array]:
    xp = array_namespace(y_bar)
    total = _summed(lattice, xp.sum(xp.astype(y_bar, xp.float64), axis=(1, 2)))
    return {"bias": xp.astype(total, y_bar.dtype)}


@dataclass(frozen=True)
class ChannelMixing:
    """y_o(s) = bias_o + sum_c weight[o, c] x_c(s): the same dense layer on every site.

    Parameters are those of :class:`Convolution`; without a lattice (None) any number of sites is taken.  With ``by_site``
    cotangents of parameters are not summed: they have two more axes, sites and lanes.
    """

    lattice: Lattice | None
    inputs: int
    outputs: int
    bias: bool = True
    gain: float = 1.0
    by_site: bool = False

    def __post_init__(self) -> None:
        require_finite(self, "gain")
        _check_sizes("ChannelMixing", self.inputs, self.outputs)

    def init(self, rng: Rng) -> Params:
        """``weight`` (O, C), normal, and ``bias`` (O,), zero."""
        weight = _weights(rng, self.outputs, self.inputs, self.gain)
        xp = array_namespace(weight)
        return {"weight": weight} | ({"bias": xp.zeros((self.outputs,), dtype=weight.dtype)} if self.bias else {})

    def forward(self, params: Params, x: Array) -> Array:
        """``(inputs, n_blocks, lanes)`` to ``(outputs, n_blocks, lanes)``."""
        if self.lattice is not None:
            check_features(self.lattice, x, self.inputs)
        elif len(x.shape) != 3 or x.shape[0] != self.inputs:
            raise ValueError(f"x: expected shape ({self.inputs}, sites, lanes), got {tuple(x.shape)}")
        _check_weight("ChannelMixing", params["weight"], (self.outputs, self.inputs), x)
        xp = array_namespace(x)
        y = xp.reshape(params["weight"] @ xp.reshape(x, (self.inputs, -1)), (self.outputs, *x.shape[1:]))
        return y + params["bias"][:, None, None] if self.bias else y

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array) -> tuple[Params, Array]:
        """Cotangents."""
        xp = array_namespace(x)
        flat, bar = xp.reshape(x, (self.inputs, -1)), xp.reshape(y_bar, (self.outputs, -1))
        x_bar = xp.reshape(xp.matrix_transpose(params["weight"]) @ bar, x.shape)
        if self.by_site:
            return {"weight": y_bar[:, None, ...] * x[None, ...]} | ({"bias": y_bar} if self.bias else {}), x_bar
        weight_bar = _summed(self.lattice, bar @ xp.matrix_transpose(flat))
        return {"weight": weight_bar} | (_bias_bar(self.lattice, y_bar) if self.bias else {}), x_bar

    def vjp_by_configuration(self, params: Params, x: Array, y: Array, y_bar: Array) -> tuple[Params, Array]:
        """Cotangents, those of parameters ``(*shape, lanes)``: one for each configuration."""
        xp = array_namespace(x)
        _, x_bar = self.vjp(params, x, y, y_bar)
        bars = xp.permute_dims(y_bar, (2, 0, 1)) @ xp.permute_dims(x, (2, 1, 0))
        bias = {"bias": _summed(self.lattice, xp.sum(y_bar, axis=1))} if self.bias else {}
        return {"weight": _summed(self.lattice, xp.permute_dims(bars, (1, 2, 0)))} | bias, x_bar


@dataclass(frozen=True)
class Dense:
    """Every output sees all channels of all sites; translations are not respected, and the volume is fixed.

    ``weight`` is ``(O volume, C volume)`` and ``bias`` ``(O volume,)``, sites in slots ``block site * n_folds + fold``.
    Parameters are those of :class:`Convolution`.
    """

    lattice: Lattice
    inputs: int
    outputs: int
    bias: bool = True
    gain: float = 1.0

    def __post_init__(self) -> None:
        require_finite(self, "gain")
        _check_sizes("Dense", self.inputs, self.outputs)
        self.lattice.check_whole("Dense")

    @property
    def _shape(self) -> tuple[int, int]:
        return self.outputs * self.lattice.volume, self.inputs * self.lattice.volume

    def init(self, rng: Rng) -> Params:
        """Normal weights, zero bias."""
        weight = _weights(rng, *self._shape, self.gain)
        xp = array_namespace(weight)
        return {"weight": weight} | ({"bias": xp.zeros((self._shape[0],), dtype=weight.dtype)} if self.bias else {})

    def forward(self, params: Params, x: Array) -> Array:
        """``(inputs, n_blocks, lanes)`` to ``(outputs, n_blocks, lanes)``."""
        check_features(self.lattice, x, self.inputs)
        _check_weight("Dense", params["weight"], self._shape, x)
        xp = array_namespace(x)
        y = params["weight"] @ xp.reshape(x, (self._shape[1], -1))
        if self.bias:
            y = y + params["bias"][:, None]
        return xp.reshape(y, (self.outputs, *x.shape[1:]))

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array) -> tuple[Params, Array]:
        """Cotangents."""
        xp = array_namespace(x)
        flat, bar = xp.reshape(x, (self._shape[1], -1)), xp.reshape(y_bar, (self._shape[0], -1))
        x_bar = xp.reshape(xp.matrix_transpose(params["weight"]) @ bar, x.shape)
        params_bar = {"weight": bar @ xp.matrix_transpose(flat)}
        if self.bias:
            params_bar["bias"] = xp.astype(xp.sum(xp.astype(bar, xp.float64), axis=1), x.dtype)
        return params_bar, x_bar
