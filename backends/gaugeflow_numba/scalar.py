"""CPU drivers of :mod:`gaugeflow.kernels.scalar`: sums of reals over lanes, which the compiler turns into registers."""

from __future__ import annotations

import numpy as np
from numba import prange

from gaugeflow.kernels.scalar import check_scalar
from gaugeflow_numba._jit import parallel
from gaugeflow_numba.geometry import tables


@parallel
def _neighbour_sum(field, out, neighbour, crossing, source):
    d, signs, sites = neighbour.shape
    lanes = field.shape[1]
    for site in prange(sites):
        to = out[site]
        for lane in range(lanes):
            to[lane] = 0.0
        for mu in range(d):
            for sign in range(signs):
                row = field[neighbour[mu, sign, site]]
                permutation = crossing[mu, sign, site]
                if permutation == 0:
                    for lane in range(lanes):
                        to[lane] += row[lane]
                else:
                    for lane in range(lanes):
                        to[lane] += row[source[permutation, lane]]


def neighbour_sum(lattice, field):
    check_scalar(lattice, field)
    field = np.ascontiguousarray(field)
    (neighbour, crossing, _, source, _), _, _ = tables(lattice, field.shape[1], 8 * field.itemsize)
    out = np.empty_like(field)
    _neighbour_sum(field, out, neighbour, crossing, source)
    return out
