"""CPU drivers of :mod:`gaugeflow.kernels.scalar`: sums of reals over lanes, which the compiler turns into registers."""

from __future__ import annotations

import numpy as np
from numba import prange

from gaugeflow.kernels import reads
from gaugeflow.kernels.scalar import check_scalar
from gaugeflow_numba._jit import parallel
from gaugeflow_numba.geometry import tables


@parallel
def _neighbour_sum(field, layer, out, neighbour, crossing, source):
    d, signs, _ = neighbour.shape
    sites, lanes = field.shape
    for site in prange(sites):
        to = out[site]
        for lane in range(lanes):
            to[lane] = 0.0
        for mu in range(d):
            for sign in range(signs):
                place = neighbour[mu, sign, site]
                row = field[place] if place < sites else layer[place - sites]
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
    around = reads.around_sites(lattice.ndim)
    (neighbour, crossing, _, source, _), _, _ = tables(lattice, field.shape[1], 8 * field.itemsize, around.depth)
    layer = field[:0] if lattice.domain is None else lattice.domain.halo(lattice, field[None], around)[0]
    out = np.empty_like(field)
    _neighbour_sum(field, layer, out, neighbour, crossing, source)
    return out
