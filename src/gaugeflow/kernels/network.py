"""Layers of networks on features ``(C, n_blocks, lanes)``.

A convolution is a weighted sum over taps, and a tap is a table of sites to read from.
"""

from __future__ import annotations

from gaugeflow.backend import kernel
from gaugeflow.kernels.slots import take
from gaugeflow.kernels.sums import sum_processes
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace

_BUFFER = 1 << 18
"""Gathered numbers for one matrix product: half of a second-level cache in single precision."""


def check_features(lattice: Lattice, x: Array, channels: int, name: str = "x") -> None:
    """Raise ``ValueError`` unless ``x`` is ``(channels, n_blocks, lanes)``."""
    if len(x.shape) != 3 or tuple(x.shape[:2]) != (channels, lattice.n_blocks):
        raise ValueError(f"{name}: expected shape ({channels}, {lattice.n_blocks}, lanes), got {tuple(x.shape)}")
    lattice.batch(x.shape[-1])


@kernel()
def convolve_features(lattice: Lattice, x: Array, weight: Array, bias: Array, taps: Array) -> Array:
    """y_o(s) = bias_o + sum over taps t and channels c of ``weight[t, o, c] x_c(taps[t, s])``.

    Parameters
    ----------
    lattice
        The lattice.
    x
        Features ``(C, n_blocks, lanes)``.
    weight
        ``(T, O, C)`` of the type of x.
    bias
        ``(O,)`` of the type of x.
    taps
        ``(T, n_slots)``: the slot that each tap reads at each slot, as ``gaugeflow.kernels.slots.reach`` gives it.

    Returns
    -------
    Array
        Features ``(O, n_blocks, lanes)``.
    """
    xp = array_namespace(x)
    n_taps, outputs, channels = weight.shape
    check_features(lattice, x, channels)
    batch = lattice.batch(x.shape[-1])
    slots = xp.reshape(x, (channels, lattice.n_slots, batch))
    matrix = xp.reshape(xp.permute_dims(weight, (1, 2, 0)), (outputs, channels * n_taps))
    parts = []
    for rows in _chunks(lattice.n_slots, channels * n_taps * batch):
        parts.append(matrix @ _gathered(lattice, slots, taps[:, rows]))
    y = xp.reshape(xp.concat(parts, axis=1) if len(parts) > 1 else parts[0], (outputs, *x.shape[1:]))
    return y + bias[:, None, None]


@kernel()
def convolve_features_vjp(lattice: Lattice, x: Array, y_bar: Array, taps: Array) -> tuple[Array, Array]:
    """Cotangents of ``weight`` and ``bias`` in :func:`convolve_features`, summed over lanes in double precision.

    They are the sums over slots s and lanes of ``y_bar_o(s) x_c(taps[t, s])`` and of ``y_bar_o(s)``; the cotangent of x
    is the convolution of ``y_bar`` with opposite taps and transposed weights.
    """
    xp = array_namespace(x)
    n_taps, channels, outputs = taps.shape[0], x.shape[0], y_bar.shape[0]
    batch = lattice.batch(x.shape[-1])
    slots = xp.reshape(x, (channels, lattice.n_slots, batch))
    bars = xp.reshape(y_bar, (outputs, lattice.n_slots, batch))
    total = xp.zeros((outputs, channels * n_taps), dtype=xp.float64)
    for rows in _chunks(lattice.n_slots, channels * n_taps * batch):
        bar = xp.reshape(bars[:, rows, :], (outputs, -1))
        total += xp.astype(bar @ xp.matrix_transpose(_gathered(lattice, slots, taps[:, rows])), xp.float64)
    total = xp.permute_dims(xp.reshape(total, (outputs, channels, n_taps)), (2, 0, 1))
    bias_bar = xp.sum(xp.astype(y_bar, xp.float64), axis=(1, 2))
    total, bias_bar = sum_processes(lattice, total), sum_processes(lattice, bias_bar)
    return xp.astype(total, x.dtype), xp.astype(bias_bar, x.dtype)


@kernel()
def activate(lattice: Lattice, x: Array, function: str, leak: float) -> Array:
    """A function applied to every number.

    Parameters
    ----------
    lattice
        Plays no part.
    x
        An array of any shape.
    function
        ``"tanh"``; ``"silu"``, x / (1 + exp(-x)); ``"leaky relu"``, x where positive and ``leak`` times x elsewhere.
    leak
        Of the last function, from 0 to below 1.
    """
    check_function(function)
    xp = array_namespace(x)
    if function == "tanh":
        return xp.tanh(x)
    return 0.5 * x * (1.0 + xp.tanh(0.5 * x)) if function == "silu" else xp.maximum(x, leak * x)


@kernel()
def activate_vjp(lattice: Lattice, x: Array, y: Array, y_bar: Array, function: str, leak: float) -> Array:
    """Cotangent of x in :func:`activate`: y_bar times the slope, which is ``leak`` at zero for the last function."""
    check_function(function)
    xp = array_namespace(x)
    if function == "tanh":
        return y_bar * (1.0 - y * y)
    if function == "silu":
        sigmoid = 0.5 * (1.0 + xp.tanh(0.5 * x))
        return y_bar * (sigmoid + y * (1.0 - sigmoid))
    return xp.where(x > 0.0, y_bar, leak * y_bar)


FUNCTIONS = ("leaky relu", "silu", "tanh")


def check_function(function: str) -> None:
    """Raise ``ValueError`` unless the function is known."""
    if function not in FUNCTIONS:
        raise ValueError(f"activation: expected one of {', '.join(FUNCTIONS)}, got {function!r}")


def _chunks(volume: int, numbers_per_slot: int) -> list[slice]:
    size = max(1, min(volume, _BUFFER // numbers_per_slot))
    return [slice(first, min(first + size, volume)) for first in range(0, volume, size)]


def _gathered(lattice: Lattice, slots: Array, taps: Array) -> Array:
    """``(C * T, slots * batch)``: what each tap reads, channel by channel."""
    xp = array_namespace(slots)
    flat = xp.reshape(xp.asarray(taps, dtype=xp.int64), (-1,))
    return xp.reshape(take(lattice, slots, flat), (slots.shape[0] * taps.shape[0], -1))
