"""CPU drivers of :mod:`gaugeflow.kernels.network`.

A convolution is a matrix product whose columns are lanes.  A tile of outputs by registers stays in registers while taps
and channels are summed; the numbers that taps read are used where they lie.  Sites are visited for a few lanes at a time, so
that a site is still in the second-level cache when the next tap reads it.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from gaugeflow.kernels.network import check_features, check_function
from gaugeflow.kernels.sums import sum_processes
from gaugeflow_numba._jit import parallel
from gaugeflow_numba.geometry import first, pieces
from gaugeflow_numba.memory import empty, empty_like
from gaugeflow_numba.tile import ROWS, add_products, add_scaled, add_sums, filled, tile, write, zeros

SUMS = 16
"""Parts of the sum over sites: a fixed number, so that sums do not depend on threads."""
NEAR, ROWS_READ = 1 << 19, 48
"""Bytes of features that stay in the second-level cache: lanes are cut so that this many sites' worth of them do."""
PANEL = 1 << 14
"""Bytes of cotangents that stay in the first-level cache while weights are summed."""


def _surrounded(lattice, x, taps):
    """Features at slots, those that taps read of other processes behind the own ones; and the taps into them."""
    slots = x.reshape(len(x), lattice.n_slots, -1)
    if lattice.domain is None:
        return slots, np.ascontiguousarray(taps, np.int64)
    there = np.unique(taps[taps >= lattice.n_slots])
    found = lattice.domain.take(lattice, slots, there)
    place = np.where(taps < lattice.n_slots, taps, lattice.n_slots + np.searchsorted(there, taps))
    return np.concatenate([slots, found], axis=1), np.ascontiguousarray(place, np.int64)


@parallel
def _convolve(x, out, factors, bias, taps, sizes, g):
    blocks, rows, channels, outputs, lanes, step, span, reached = sizes
    n_taps, slots = taps.shape
    depth = n_taps * channels
    chunks = (lanes + step - 1) // step
    for item in prange((chunks + span - 1) // span * slots):
        part, slot = item // slots, item % slots
        for chunk in range(part * span, min((part + 1) * span, chunks)):
            lane = min(chunk * step, lanes - step)
            for block in range(blocks):
                tile = filled(bias, block * rows, g)
                k = block * depth * rows
                for t in range(n_taps):
                    at = taps[t, slot] * lanes + lane
                    for _ in range(channels):
                        tile = add_scaled(tile, x, at, factors, k, g)
                        at += reached * lanes
                        k += rows
                to = (block * rows * slots + slot) * lanes + lane
                write(out, to, slots * lanes, outputs - block * rows, tile, g)


def convolve_features(lattice, x, weight, bias, taps):
    n_taps, outputs, channels = weight.shape
    check_features(lattice, x, channels)
    x = np.ascontiguousarray(x)
    around, places = _surrounded(lattice, x, taps)
    lanes = lattice.batch(x.shape[-1])
    rows = ROWS if outputs > 2 else 2
    g = tile(lanes, rows, 2, 8 * x.itemsize)
    if g.columns * g.w > lanes:
        g.columns = 1
    blocks = -(-outputs // rows)
    padded = np.zeros((n_taps, channels, blocks * rows), x.dtype)
    padded[:, :, :outputs] = weight.transpose(0, 2, 1)
    factors = np.ascontiguousarray(padded.reshape(n_taps * channels, blocks, rows).transpose(1, 0, 2)).ravel()
    constants = np.zeros(blocks * rows, x.dtype)
    constants[:outputs] = bias
    out = empty((outputs, *x.shape[1:]), x.dtype)
    step = g.columns * g.w
    span = max(1, NEAR // (channels * step * x.itemsize * ROWS_READ))
    sizes = (blocks, rows, channels, outputs, lanes, step, span, around.shape[1])
    _convolve(around.reshape(-1), out.reshape(-1), factors, constants, places, sizes, g)
    return out


@parallel
def _convolve_vjp(x, y_bar, totals, sums, taps, sizes, g):
    rows, columns, channels, outputs, lanes, width, span, reached = sizes
    n_taps, slots = taps.shape
    items, wide = sums.shape
    whole = lanes // width * width
    for item in prange(items):
        panel = np.zeros(wide * span, x.dtype)
        starts = np.empty(columns, np.int64)
        total = totals[item]
        low, high = item * slots // items, (item + 1) * slots // items
        for begin in range(0, whole, span):
            count = min(span, whole - begin)
            for slot in range(low, high):
                for o in range(outputs):
                    at = (o * slots + slot) * lanes + begin
                    part = y_bar[at]
                    part -= part
                    for i in range(count):  # a loop of its own: with a store in it, its order would depend on addresses
                        part += y_bar[at + i]
                    sums[item, o] += part
                    for i in range(count):
                        panel[o * span + i] = y_bar[at + i]
                for block in range(0, wide, rows):
                    for t in range(n_taps):
                        for c in range(0, channels, columns):
                            for k in range(columns):
                                starts[k] = (min(c + k, channels - 1) * reached + taps[t, slot]) * lanes + begin
                            tile = zeros(g)
                            for lane in range(0, count, width):
                                tile = add_products(tile, panel, block * span + lane, span, x, starts, lane, g)
                            add_sums(total, (t * channels + c) * wide + block, wide, channels - c, tile, g)
        for slot in range(low, high):
            for lane in range(whole, lanes):
                for o in range(outputs):
                    value = y_bar[(o * slots + slot) * lanes + lane]
                    sums[item, o] += value
                    for t in range(n_taps):
                        for c in range(channels):
                            right = x[(c * reached + taps[t, slot]) * lanes + lane]
                            total[(t * channels + c) * wide + o] += value * right


def convolve_features_vjp(lattice, x, y_bar, taps):
    channels, outputs, n_taps = x.shape[0], y_bar.shape[0], taps.shape[0]
    check_features(lattice, x, channels)
    check_features(lattice, y_bar, outputs, "y_bar")
    x, y_bar = np.ascontiguousarray(x), np.ascontiguousarray(y_bar)
    around, places = _surrounded(lattice, x, taps)
    lanes = lattice.batch(x.shape[-1])
    rows, columns = (ROWS, 2) if outputs > 2 else (2, 4)
    g = tile(lanes, rows, 1 if channels == 1 else columns, 8 * x.itemsize)
    wide = -(-outputs // rows) * rows
    items = min(SUMS, lattice.n_slots)
    totals = np.zeros((items, n_taps * channels * wide))
    sums = np.zeros((items, wide))
    span = max(g.w, PANEL // (rows * x.itemsize) // g.w * g.w)
    sizes = (rows, g.columns, channels, outputs, lanes, g.w, span, around.shape[1])
    _convolve_vjp(around.reshape(-1), y_bar.reshape(-1), totals, sums, places, sizes, g)
    total = sum_processes(lattice, totals.sum(axis=0))
    weight_bar = total.reshape(n_taps, channels, wide)[:, :, :outputs].transpose(0, 2, 1)
    bias_bar = sum_processes(lattice, sums.sum(axis=0))[:outputs]
    return np.ascontiguousarray(weight_bar.astype(x.dtype)), bias_bar.astype(x.dtype)


@parallel
def _rectify(x, y, out, leak):
    n = pieces(x.size)
    for item in prange(n):
        for i in range(first(item, x.size), first(item + 1, x.size)):
            out[i] = y[i] if x[i] > 0 else leak * y[i]


def _rectified(x, y, leak):
    out = empty(x.shape, x.dtype)
    _rectify(
        np.ascontiguousarray(x).reshape(-1), np.ascontiguousarray(y).reshape(-1), out.reshape(-1), x.dtype.type(leak)
    )
    return out


def activate(lattice, x, function, leak):
    check_function(function)
    if function == "leaky relu":
        return _rectified(x, x, leak)
    if function == "tanh":
        return np.tanh(x, out=empty_like(x))
    out = np.multiply(x, 0.5, out=empty_like(x))
    np.tanh(out, out=out)
    out += 1.0
    out *= x
    out *= 0.5
    return out


def activate_vjp(lattice, x, y, y_bar, function, leak):
    check_function(function)
    if function == "leaky relu":
        return _rectified(x, y_bar, leak)
    out = empty_like(x)
    if function == "tanh":
        np.multiply(y, y, out=out)
        np.subtract(1.0, out, out=out)
        out *= y_bar
        return out
    np.multiply(x, 0.5, out=out)
    np.tanh(out, out=out)
    out += 1.0
    out *= 0.5  # s = 1 / (1 + exp(-x))
    rest = np.subtract(1.0, out, out=empty_like(x))
    rest *= y
    out += rest
    out *= y_bar
    return out
