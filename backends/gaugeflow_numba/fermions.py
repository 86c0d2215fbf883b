"""CPU drivers of :mod:`gaugeflow.kernels.fermions`: linear algebra on fermion fields, lane by lane."""

from __future__ import annotations

import numpy as np
from numba import prange

from gaugeflow.kernels.fermions import check_pair, check_per_field
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.sites.numbers import imag, real, wide
from gaugeflow_numba import sites as _known_sites  # noqa: F401
from gaugeflow_numba._jit import parallel
from gaugeflow_numba.fields import PRECISION, every_lane, flat
from gaugeflow_numba.geometry import blocks, first, first_lane, pieces
from gaugeflow_numba.lanes import PLAIN, Lanes, load, store, store_real, widest, zero
from gaugeflow_numba.memory import empty


def _sizes(x):
    """Fields, numbers of a field in each lane, lanes, and what tells the width of registers."""
    fields = x.shape[0] if x.ndim == 5 else 1
    lanes = x.shape[-1]
    bits = 8 * PRECISION[x.dtype](0).itemsize
    return fields, x.size // (fields * lanes), lanes, Lanes(widest(lanes, bits), 1, bits, PLAIN)


@parallel
def _dot(x, y, out, fields, rows, inner, lanes, g):
    n = pieces(rows)
    parts = out.shape[0]
    for item in prange(n * fields):
        piece, r = item % n, item // n
        for block in range(blocks(lanes, g)):
            lane = first_lane(block, lanes, g)
            for row in range(first(piece, rows), first(piece + 1, rows)):
                re, im = zero(g), zero(g)
                for k in range(inner):
                    place = 2 * (((r * rows + row) * inner + k) * lanes + lane)
                    a, b = load(x, place, 2 * lanes, g)[0], load(y, place, 2 * lanes, g)[0]
                    re = re + wide(real(a)) * wide(real(b)) + wide(imag(a)) * wide(imag(b))
                    if parts == 2:
                        im = im + wide(real(a)) * wide(imag(b)) - wide(imag(a)) * wide(real(b))
                store_real(out[0, r, row], lane, re)
                if parts == 2:
                    store_real(out[1, r, row], lane, im)


def fermion_dot(lattice, x, y):
    check_pair(x, y, "fermion_dot")
    fields, numbers, lanes, g = _sizes(x)
    rows = x.shape[-4]
    out = empty((1 if x is y else 2, fields, rows, lanes), np.float64)
    _dot(flat(x), flat(y), out, fields, rows, numbers // max(rows, 1), lanes, g)
    total = sum_sites(lattice, out)
    result = total[0].astype(np.complex128)
    if x is not y:
        result.imag = total[1]
    return result if x.ndim == 5 else result[0]


@parallel
def _combine(x, a, y, b, out, fields, numbers, lanes, g):
    n = pieces(numbers)
    for item in prange(n * fields):
        piece, r = item % n, item // n
        for block in range(blocks(lanes, g)):
            lane = first_lane(block, lanes, g)
            at = 2 * (r * lanes + lane)
            p, q = load(a, at, 2 * lanes, g)[0], load(b, at, 2 * lanes, g)[0]
            for k in range(first(piece, numbers), first(piece + 1, numbers)):
                place = 2 * ((r * numbers + k) * lanes + lane)
                z = p * load(x, place, 2 * lanes, g)[0] + q * load(y, place, 2 * lanes, g)[0]
                store(out, place, 2 * lanes, (z,))


def fermion_combine(lattice, x, a, y, b):
    check_pair(x, y, "fermion_combine")
    fields, numbers, lanes, g = _sizes(x)

    def spread(values, name):
        given = check_per_field(lattice, x, np.asarray(values), name)
        return flat(every_lane(lattice, given, fields, lanes // lattice.n_folds, x.dtype))

    out = empty(x.shape, x.dtype)
    _combine(flat(x), spread(a, "a"), flat(y), spread(b, "b"), flat(out), fields, numbers, lanes, g)
    return out
