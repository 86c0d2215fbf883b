"""CPU driver of :mod:`gaugeflow.kernels.sums`: three digits of every number, in registers."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from gaugeflow.sites.digits import BITS, DIGITS, HIGHEST, LOWEST, digits
from gaugeflow.sites.numbers import absolute, where
from gaugeflow_numba import sites as _known_sites  # noqa: F401
from gaugeflow_numba._jit import inline, parallel
from gaugeflow_numba.geometry import blocks, first_lane
from gaugeflow_numba.lanes import PLAIN, Lanes, load_real, store_real, widest, width, zero

ROWS = 256
"""Sites that a thread adds up at a time: they stay in its caches between the two passes."""


@inline
def _power(largest):
    if not (largest > 0.0):
        return float(LOWEST)
    if math.isinf(largest):
        return float(HIGHEST)
    return min(max(math.floor((math.log2(largest) + 1.5) / BITS) + 1.0, float(LOWEST)), float(HIGHEST))


@parallel
def _digit_sums(values, out, parts, batch, g):
    lead, sites, lanes = values.shape
    pieces = parts.shape[1]
    for item in prange(lead * pieces):
        k, piece = item // pieces, item % pieces
        own = parts[k, piece]
        begin, end = piece * ROWS, min((piece + 1) * ROWS, sites)
        for block in range(blocks(lanes, g)):
            lane = first_lane(block, lanes, g)
            top = zero(g)
            for site in range(begin, end):
                x = absolute(load_real(values[k, site], lane, g))
                top = where(x > top, x, top)
            store_real(own[0], lane, top)
            for i in range(lane, lane + width(g)):
                own[0, i] = _power(own[0, i])
                for j in range(DIGITS):
                    own[1 + j, i] = math.ldexp(1.5, 52 + BITS * (int(own[0, i]) - 1 - j))
            a, b, c = load_real(own[1], lane, g), load_real(own[2], lane, g), load_real(own[3], lane, g)
            first, second, third = zero(g), zero(g), zero(g)
            for site in range(begin, end):
                x, y, z = digits(load_real(values[k, site], lane, g), a, b, c)
                first, second, third = first + x, second + y, third + z
            store_real(own[1], lane, first)
            store_real(own[2], lane, second)
            store_real(own[3], lane, third)
            for i in range(lane, lane + width(g)):
                if math.isnan(own[1, i]):  # no comparison finds these; a higher power would drop their digits
                    own[0, i] = float(HIGHEST)
    for k in range(lead):
        for b in range(batch):
            power = float(LOWEST)
            for piece in range(pieces):
                for lane in range(b, lanes, batch):
                    power = max(power, parts[k, piece, 0, lane])
            out[0, k, b] = power
            for j in range(DIGITS):
                out[1 + j, k, b] = 0.0
            for piece in range(pieces):
                for lane in range(b, lanes, batch):
                    shift = int(power - parts[k, piece, 0, lane])
                    for j in range(DIGITS - shift):
                        out[1 + j + shift, k, b] += parts[k, piece, 1 + j, lane]


def digit_sums(lattice, values):
    values = np.ascontiguousarray(values, dtype=np.float64)
    lead, (sites, lanes) = values.shape[:-2], values.shape[-2:]
    flat = values.reshape(math.prod(lead), sites, lanes)  # also where this process has none of the sites
    batch = lattice.batch(lanes)
    out = np.empty((1 + DIGITS, len(flat), batch))
    parts = np.empty((len(flat), -(-sites // ROWS), 1 + DIGITS, lanes))
    _digit_sums(flat, out, parts, batch, Lanes(widest(lanes, 64), 1, 64, PLAIN))
    return out.reshape(-1, *lead, batch)
