"""Places of a lattice as kernels see them: a site and the lane permutation through which its data is read."""

from __future__ import annotations

import numpy as np

from gaugeflow_numba._jit import apart, inline
from gaugeflow_numba.lanes import colours, load, load_permuted, store, width

CHUNKS = 256
"""Loops over sites are cut into at most this many pieces: a fixed number, so that sums do not depend on threads."""


def tables(lattice, lanes):
    """Neighbour tables as kernels take them: (neighbour, crossing, composition, source lane of each permutation)."""
    batch = lattice.batch(lanes)
    source = (lattice.permutation[:, :, None] * batch + np.arange(batch, dtype=np.int32)).reshape(lattice.n_folds, -1)
    return lattice.neighbour, lattice.crossing, lattice.composition, source.astype(np.int32)


@inline
def pieces(sites):
    """Number of chunks for a list of sites."""
    return min(sites, CHUNKS)


@inline
def first(piece, sites):
    """First position of a chunk."""
    return piece * sites // min(sites, CHUNKS)


@inline
def blocks(lanes, g):
    """Number of register blocks that cover the lanes; the last one may overlap its neighbour."""
    return (lanes + width(g) - 1) // width(g)


@inline
def first_lane(block, lanes, g):
    """First lane of a block.  Overlapping blocks compute some lanes twice, with equal results: kernels are pure."""
    return min(block * width(g), lanes - width(g))


@inline
def hop(table, place, mu, sign):
    """The place one hop away; sign 0 is forward, 1 backward."""
    site, permutation = place
    return table[0][mu, sign, site], table[2][permutation, table[1][mu, sign, site]]


@apart
def _permuted(field, offset, stride, source, permutation, lane, g):
    w = width(g)
    start = source[permutation, lane]
    contiguous = True
    for i in range(1, w):
        contiguous = contiguous and source[permutation, lane + i] == start + i
    if contiguous:
        return load(field, offset + 2 * start, stride, g)
    return load_permuted(field, offset, stride, source, permutation * source.shape[1] + lane, g)


@inline
def link(field, table, mu, place, sites, lanes, lane, g):
    """Matrix of direction mu at a place."""
    n = colours(g)
    site, permutation = place
    offset = (mu * sites + site) * (2 * n * n * lanes)
    if permutation == 0:
        return load(field, offset + 2 * lane, 2 * lanes, g)
    return _permuted(field, offset, 2 * lanes, table[3], permutation, lane, g)


@inline
def put_link(field, mu, site, sites, lanes, lane, g, matrix):
    """Write the matrix of direction mu at a site."""
    n = colours(g)
    store(field, (mu * sites + site) * (2 * n * n * lanes) + 2 * lane, 2 * lanes, matrix)
