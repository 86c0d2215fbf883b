"""Places of a lattice as threads see them, loads and stores.

Arrays are flat: the matrix entry k of direction mu at a site lies at ``((mu * sites + site) * N^2 + k) * lanes + lane``, so
that the threads of a warp read consecutive numbers.  ``g`` is a tuple of N^2 zeros: its *type* says how large matrices
are.  ``table`` holds the neighbours alone, or those and the lane permutations of a fold; its type says which.

Whole lattices and cut ones have tables and fields of different types.  Kernels are compiled anew for the latter; those of
whole lattices pay nothing.
"""

from __future__ import annotations

from gaugeflow_cupy import sites as _known_sites  # noqa: F401
from gaugeflow_cupy._jit import TUPLE, compiled, device
from gaugeflow_cupy.memory import load, load_at, load_real_at, own, store


@device
def link_of(i, d, lanes):
    """Direction, site and lane of thread i: directions of a site are neighbours, so that their staples share caches."""
    j = i // lanes
    return j % d, j // d, i % lanes


def hop(table, place, mu, sign, sites):
    """The place one hop away; sign 0 is forward, 1 backward."""
    return _HOP[len(table)](table, place, mu, sign, sites)


def read_lane(table, permutation, lane, lanes):
    """The lane that is read through a permutation."""
    return lane if len(table) <= 2 else table[3][permutation * lanes + lane]


@device
def _hop(table, place, mu, sign, sites):
    return table[0][(2 * mu + sign) * sites + place[0]], place[1]


@device
def _hop_cut(table, place, mu, sign, sites):
    return table[0][(2 * mu + sign) * table[1] + place[0]], place[1]


@device
def _hop_folded(table, place, mu, sign, sites):
    row = (2 * mu + sign) * sites + place[0]
    crossing = table[1][row]
    if crossing == 0:
        return table[0][row], place[1]
    return table[0][row], table[2][place[1] * table[4] + crossing]


@device
def _hop_folded_cut(table, place, mu, sign, sites):
    row = (2 * mu + sign) * table[5] + place[0]
    crossing = table[1][row]
    if crossing == 0:
        return table[0][row], place[1]
    return table[0][row], table[2][place[1] * table[4] + crossing]


_HOP = {1: _hop, 2: _hop_cut, 5: _hop_folded, 6: _hop_folded_cut}
"""By the length of the table: on a cut lattice it ends with the number of places that it knows."""


@compiled(hop)
def _(table, place, mu, sign, sites):
    chosen = _HOP[len(table)]
    return lambda table, place, mu, sign, sites: chosen(table, place, mu, sign, sites)


@compiled(read_lane)
def _(table, permutation, lane, lanes):
    if len(table) <= 2:
        return lambda table, permutation, lane, lanes: lane
    return lambda table, permutation, lane, lanes: table[3][permutation * lanes + lane]


def around(field, k, count, position):
    """Place of row ``position`` of the k-th of fields of ``count`` own rows.

    On a cut lattice a field that is read at hops is a triple: own rows, those around them, and the number of these.  Then the
    place is a triple as well: a row of the former, one of the latter, and whether it is the former.
    """
    return (_around if isinstance(field, tuple) else _whole)(field, k, count, position)


@device
def _whole(field, k, count, position):
    return k * count + position


@device
def _around(field, k, count, position):
    return k * count + position, k * field[2] + (position - count), position < count


@compiled(around)
def _(field, k, count, position):
    chosen = _around if isinstance(field, TUPLE) else _whole
    return lambda field, k, count, position: chosen(field, k, count, position)


@device
def link(field, table, mu, place, sites, lanes, lane, g):
    """Matrix of direction mu at a place."""
    at = around(field, mu, sites, place[0])
    return load_at(field, at, len(g) * lanes, read_lane(table, place[1], lane, lanes), lanes, g)


@device
def real_at(field, table, place, sites, lanes, lane):
    """Real number of a field on sites at a place."""
    at = around(field, 0, sites, place[0])
    return load_real_at(field, at, lanes, read_lane(table, place[1], lane, lanes))


@device
def row(field, k, count, position, lanes, lane, g):
    """Matrix of this lane in row ``position`` of the k-th of fields of ``count`` rows."""
    return load(own(field), (k * count + position) * (len(g) * lanes) + lane, lanes, g)


@device
def put(field, k, count, position, lanes, lane, g, matrix):
    """Write the matrix of this lane in row ``position`` of the k-th of fields of ``count`` rows."""
    store(own(field), (k * count + position) * (len(g) * lanes) + lane, lanes, matrix)
