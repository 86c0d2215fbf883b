"""GPU driver of :mod:`gaugeflow.kernels.sums`: a thread adds up the digits of some rows, others what those found."""

from __future__ import annotations

import math

import cupy as xp
import numpy as np
from numba import cuda

from gaugeflow.kernels.sums import BITS, DIGITS, HIGHEST, LOWEST
from gaugeflow.sites.digits import digits
from gaugeflow.sites.numbers import absolute, where
from gaugeflow_cupy._jit import device, kernel
from gaugeflow_cupy.device import constant, contiguous
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import load_real, store_real, zero

ROWS = 32
"""Numbers that a thread adds up: it reads them twice, the second time from caches."""
_BOUNDS = [0.0, *(2.0 ** (BITS * (power - 1) - 1.5) for power in range(LOWEST + 1, HIGHEST + 1))]
_ANCHORS = [math.ldexp(1.5, 52 + BITS * power) for power in range(LOWEST - DIGITS, HIGHEST)]
SCALES = np.array(_BOUNDS + _ANCHORS)
"""Smallest numbers that belong to each power, and the anchors of all digits: exact, unlike logarithms of a device."""
POWERS = len(_BOUNDS)


@device
def index_of(scales, largest):
    """Index of the power of 2^26 that is larger than twice a number; the highest one for what is not finite."""
    low, high = 0, POWERS - 1
    while low < high:
        middle = (low + high + 1) // 2
        if largest < load_real(scales, middle):
            high = middle - 1
        else:
            low = middle
    return low


@kernel
def _digit_sums(values, scales, out, lead, rows, pieces, batch):
    i = cuda.grid(1)
    if i >= lead * pieces * batch:
        return
    k, piece, lane = i // batch // pieces, i // batch % pieces, i % batch
    top, total = zero(), zero()
    for row in range(piece, rows, pieces):
        x = absolute(load_real(values, (k * rows + row) * batch + lane))
        top = where(x > top, x, top)
        total = total + x
    # a number that is no number is found by the sum alone
    index = index_of(scales, where(total >= 0.0, top, total))
    first = POWERS + DIGITS + index - 1
    one, two, three = load_real(scales, first), load_real(scales, first - 1), load_real(scales, first - 2)
    a, b, c = zero(), zero(), zero()
    for row in range(piece, rows, pieces):
        x, y, z = digits(load_real(values, (k * rows + row) * batch + lane), one, two, three)
        a, b, c = a + x, b + y, c + z
    size = lead * pieces * batch
    store_real(out, i, zero() + (index + LOWEST))
    store_real(out, size + i, a)
    store_real(out, 2 * size + i, b)
    store_real(out, 3 * size + i, c)


@kernel
def _add_digits(parts, out, lead, rows, pieces, batch):
    i = cuda.grid(1)
    if i >= lead * pieces * batch:
        return
    k, piece, lane = i // batch // pieces, i // batch % pieces, i % batch
    power = zero() + LOWEST
    for row in range(piece, rows, pieces):
        p = load_real(parts, (k * rows + row) * batch + lane)
        power = where(p > power, p, power)
    a, b, c = zero(), zero(), zero()
    size = lead * rows * batch
    for row in range(piece, rows, pieces):
        place = (k * rows + row) * batch + lane
        shift = power - load_real(parts, place)
        if shift < 1.0:
            a = a + load_real(parts, size + place)
            b = b + load_real(parts, 2 * size + place)
            c = c + load_real(parts, 3 * size + place)
        elif shift < 2.0:
            b = b + load_real(parts, size + place)
            c = c + load_real(parts, 2 * size + place)
        elif shift < 3.0:
            c = c + load_real(parts, size + place)
    size = lead * pieces * batch
    store_real(out, i, power)
    store_real(out, size + i, a)
    store_real(out, 2 * size + i, b)
    store_real(out, 3 * size + i, c)


def digit_sums(lattice, values):
    values = contiguous(values, "values").astype(np.float64, copy=False)
    shape, batch = values.shape[:-2], lattice.batch(values.shape[-1])
    lead, rows = math.prod(shape), values.shape[-2] * lattice.n_folds
    pieces = max(1, -(-rows // ROWS))
    parts = xp.empty((1 + DIGITS, lead, pieces, batch))
    launch(_digit_sums, lead * pieces * batch, values, constant(SCALES), parts, lead, rows, pieces, batch)
    while pieces > 1:
        rows, pieces = pieces, 1 if pieces <= 2 * ROWS else -(-pieces // ROWS)
        given, parts = parts, xp.empty((1 + DIGITS, lead, pieces, batch))
        launch(_add_digits, lead * pieces * batch, given, parts, lead, rows, pieces, batch)
    return parts.reshape(-1, *shape, batch)
