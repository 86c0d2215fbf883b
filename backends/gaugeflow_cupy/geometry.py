"""Places of a lattice as threads see them, loads and stores.

Arrays are flat: the matrix entry k of direction mu at a site lies at ``((mu * sites + site) * N^2 + k) * lanes + lane``, so
that the threads of a warp read consecutive numbers.  ``g`` is a tuple of N^2 zeros: its *type* says how large matrices
are.  ``table`` holds the neighbours alone, or those and the lane permutations of a fold; its type says which.
"""

from __future__ import annotations

from gaugeflow_cupy import sites as _known_sites  # noqa: F401
from gaugeflow_cupy._jit import compiled, device
from gaugeflow_cupy.memory import load, store


@device
def link_of(i, d, lanes):
    """Direction, site and lane of thread i: directions of a site are neighbours, so that their staples share caches."""
    j = i // lanes
    return j % d, j // d, i % lanes


def hop(table, place, mu, sign, sites):
    """The place one hop away; sign 0 is forward, 1 backward."""
    return (_hop if len(table) == 1 else _hop_folded)(table, place, mu, sign, sites)


def read_lane(table, permutation, lane, lanes):
    """The lane that is read through a permutation."""
    return lane if len(table) == 1 else table[3][permutation * lanes + lane]


@device
def _hop(table, place, mu, sign, sites):
    return table[0][(2 * mu + sign) * sites + place[0]], place[1]


@device
def _hop_folded(table, place, mu, sign, sites):
    row = (2 * mu + sign) * sites + place[0]
    crossing = table[1][row]
    if crossing == 0:
        return table[0][row], place[1]
    return table[0][row], table[2][place[1] * table[4] + crossing]


@compiled(hop)
def _(table, place, mu, sign, sites):
    chosen = _hop if len(table) == 1 else _hop_folded
    return lambda table, place, mu, sign, sites: chosen(table, place, mu, sign, sites)


@compiled(read_lane)
def _(table, permutation, lane, lanes):
    if len(table) == 1:
        return lambda table, permutation, lane, lanes: lane
    return lambda table, permutation, lane, lanes: table[3][permutation * lanes + lane]


@device
def link(field, table, mu, place, sites, lanes, lane, g):
    """Matrix of direction mu at a place."""
    start = (mu * sites + place[0]) * (len(g) * lanes)
    return load(field, start + read_lane(table, place[1], lane, lanes), lanes, g)


@device
def row(field, k, count, position, lanes, lane, g):
    """Matrix of this lane in row ``position`` of the k-th of fields of ``count`` rows."""
    return load(field, (k * count + position) * (len(g) * lanes) + lane, lanes, g)


@device
def put(field, k, count, position, lanes, lane, g, matrix):
    """Write the matrix of this lane in row ``position`` of the k-th of fields of ``count`` rows."""
    store(field, (k * count + position) * (len(g) * lanes) + lane, lanes, matrix)
