"""Places of a lattice as kernels see them: a site and the lane permutation through which its data is read."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba.core import types
from numba.extending import overload

from gaugeflow_numba._jit import apart, inline
from gaugeflow_numba.lanes import (
    GATHER,
    PLAIN,
    SHUFFLE,
    can_shuffle,
    colours,
    load,
    load_permuted,
    load_shuffled,
    mode,
    store,
    stream,
    widest,
    width,
)

CHUNKS = 256
"""Loops over sites are cut into at most this many pieces, which threads share."""


@lru_cache(maxsize=64)
def tables(lattice, lanes, bits, depth=0):
    """Neighbour tables and mode of reading for fields with this many lanes.

    Where the lattice is cut over processes, the tables know ``depth`` layers of sites around the own ones.

    Returns
    -------
    tuple, int, int
        ``(neighbour, crossing, composition, source, shuffle)``, the mode and the register width.  ``source[p, lane]`` is
        the lane read through permutation p; ``shuffle[p, block]`` holds, for shuffled reads, the 2 w indices of one
        register of interleaved pairs, and the last entry the first lane of that register.
    """
    batch = lattice.batch(lanes)
    source = (lattice.permutation[:, :, None] * batch + np.arange(batch, dtype=np.int32)).reshape(lattice.n_folds, -1)
    w = widest(lanes, bits)
    starts = np.minimum(np.arange(0, lanes, w), lanes - w)
    reads = source[:, starts[:, None] + np.arange(w)]
    low = reads.min(axis=2)
    inside = bool((reads.max(axis=2) - low < w).all())
    shuffle = np.zeros((lattice.n_folds, len(starts), 2 * w + 1), dtype=np.int64 if bits == 64 else np.int32)
    if lattice.n_folds == 1:
        mode = PLAIN
    elif inside and can_shuffle(w, bits):
        mode = SHUFFLE
        low = np.minimum(low, lanes - w)
        shuffle[..., :w] = 2 * (reads - low[..., None])
        shuffle[..., w : 2 * w] = shuffle[..., :w] + 1
        shuffle[..., 2 * w] = low
    else:
        mode = GATHER
    hops = lattice.hops(depth)
    return (hops.neighbour, hops.crossing, lattice.composition, source.astype(np.int32), shuffle), mode, w


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
def hop(table, place, mu, sign, g):
    """The place one hop away; sign 0 is forward, 1 backward."""
    site, permutation = place
    if mode(g) == PLAIN:
        return table[0][mu, sign, site], permutation
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


def row_of(field, table, mu, site, sites):
    """Memory and row in which the matrix of direction mu at a site lies.

    A field that is read at hops is a pair of addresses: of the own sites, and of the sites around them.
    """


@overload(row_of, jit_options={"forceinline": True})
def _(field, table, mu, site, sites):
    if not isinstance(field, types.BaseTuple):
        return lambda field, table, mu, site, sites: (field, mu * sites + site)

    def chosen(field, table, mu, site, sites):
        if site < sites:
            return field[0], mu * sites + site
        return field[1], mu * (table[0].shape[2] - sites) + (site - sites)

    return chosen


@inline
def link(pair, table, mu, place, sites, lanes, lane, g):
    """Matrix of direction mu at a place."""
    n = colours(g)
    site, permutation = place
    field, number = row_of(pair, table, mu, site, sites)
    offset = number * (2 * n * n * lanes)
    if mode(g) == PLAIN:
        return load(field, offset + 2 * lane, 2 * lanes, g)
    if mode(g) == SHUFFLE:
        w = width(g)
        block = (lane + w - 1) // w
        start = table[4][permutation, block, 2 * w]
        row = (permutation * table[4].shape[1] + block) * (2 * w + 1)
        return load_shuffled(field, offset + 2 * start, 2 * lanes, table[4], row, g)
    if permutation == 0:
        return load(field, offset + 2 * lane, 2 * lanes, g)
    return _permuted(field, offset, 2 * lanes, table[3], permutation, lane, g)


@inline
def put_link(field, mu, site, sites, lanes, lane, g, matrix):
    """Write the matrix of direction mu at a site."""
    n = colours(g)
    store(field, (mu * sites + site) * (2 * n * n * lanes) + 2 * lane, 2 * lanes, matrix)


@inline
def put_result(field, mu, site, sites, lanes, lane, g, matrix, past_caches):
    """As `put_link`, past the caches where the result is large; a kernel that does so ends its pieces with a `fence`."""
    n = colours(g)
    offset = (mu * sites + site) * (2 * n * n * lanes) + 2 * lane
    if past_caches:
        stream(field, offset, 2 * lanes, matrix)
    else:
        store(field, offset, 2 * lanes, matrix)
