"""The reference driver: fields as tuples of whole arrays over slots, so that site formulas apply to all sites at once.

A slot is a pair (block site, sub-lattice), numbered ``site * n_folds + fold``; an array over slots has shape
``(slots, batch)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from array_api_compat import device

from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.numbers import Matrix

Hops = Sequence[tuple[int, int]]


def all_slots(lattice: Lattice, xp: Any) -> Array:
    """Indices of every slot."""
    return xp.arange(lattice.n_slots, dtype=xp.int64)


def slots_of(lattice: Lattice, xp: Any, sites: Array) -> Array:
    """Indices of the slots of some block sites."""
    first = xp.asarray(sites, dtype=xp.int64)[:, None] * lattice.n_folds
    return xp.reshape(first + xp.arange(lattice.n_folds, dtype=xp.int64)[None, :], (-1,))


def reach(lattice: Lattice, xp: Any, slots: Array, hops: Hops) -> Array:
    """Slots reached by hops ``(mu, sign)``, sign 0 forward and 1 backward; see :func:`take`."""
    if lattice.domain is not None:
        return xp.asarray(lattice.domain.reach(lattice, slots, hops), dtype=xp.int64)
    for mu, sign in hops:
        slots = xp.take(_neighbours(lattice, xp, str(device(slots)), mu, sign), slots)
    return slots


@lru_cache(maxsize=128)
def _neighbours(lattice: Lattice, xp: Any, place: str, mu: int, sign: int) -> Array:
    """The slot that one hop reaches from every slot, kept where fields are: copying it takes as long as the hop."""
    return xp.asarray(lattice.slot_neighbour[mu, sign], dtype=xp.int64)


def take(lattice: Lattice, numbers: Array, slots: Array, rows: Array | None = None) -> Array:
    """Numbers ``(k, n, batch)`` of the slots that :func:`reach` gave: ``(k, slots, batch)``.

    ``rows[slot]`` is the place of a slot among the n, by default the slot itself.  Where the lattice is cut, slots of other
    processes are fetched from there.
    """
    if lattice.domain is not None:
        return lattice.domain.take(lattice, numbers, slots, rows)
    xp = array_namespace(numbers)
    return xp.take(numbers, slots if rows is None else xp.take(rows, slots), axis=1)


def entries(lattice: Lattice, site_field: Array) -> Array:
    """``(n_blocks, N, N, lanes)`` as ``(N * N, slots, batch)``."""
    xp = array_namespace(site_field)
    v, n, _, lanes = site_field.shape
    x = xp.reshape(site_field, (v, n * n, lattice.n_folds, lattice.batch(lanes)))
    return xp.reshape(xp.permute_dims(x, (1, 0, 2, 3)), (n * n, lattice.n_slots, -1))


def matrix_at(lattice: Lattice, site_field: Array, slots: Array, hops: Hops = ()) -> Matrix:
    """Matrices of a site field ``(n_blocks, N, N, lanes)`` at the slots reached by hops."""
    xp = array_namespace(site_field)
    return split(take(lattice, entries(lattice, site_field), reach(lattice, xp, slots, hops)))


def split(numbers: Array) -> Matrix:
    """``(k, slots, batch)`` as k arrays."""
    return tuple(numbers[k, ...] for k in range(numbers.shape[0]))


def link_at(lattice: Lattice, links: Array, mu: int, slots: Array, hops: Hops = ()) -> Matrix:
    """Links of direction mu at the slots reached by hops."""
    return matrix_at(lattice, links[mu, ...], slots, hops)


def to_field(lattice: Lattice, matrix: Matrix) -> Array:
    """Matrices at some block sites, in slot order, as ``(sites, N, N, lanes)``."""
    xp = array_namespace(matrix[0])
    n = round(len(matrix) ** 0.5)
    slots, batch = matrix[0].shape
    x = xp.reshape(xp.stack(matrix), (n, n, slots // lattice.n_folds, lattice.n_folds * batch))
    return xp.permute_dims(x, (2, 0, 1, 3))


def to_lanes(lattice: Lattice, number: Array) -> Array:
    """Numbers at some block sites, in slot order, as ``(sites, lanes)``."""
    xp = array_namespace(number)
    slots, batch = number.shape
    return xp.reshape(number, (slots // lattice.n_folds, lattice.n_folds * batch))


def replace_sites(lattice: Lattice, site_field: Array, sites: Array, values: Array) -> Array:
    """Copy of ``(n_blocks, ...)`` with the rows of some sites replaced by ``values``."""
    xp = array_namespace(site_field)
    n_active = values.shape[0]
    position = [n_active + x for x in range(lattice.n_blocks)]
    for row, x in enumerate(sites):
        position[int(x)] = row
    return xp.take(xp.concat([values, site_field]), xp.asarray(position, dtype=xp.int64), axis=0)


def site_sum(lattice: Lattice, number: Array) -> Array:
    """Sum over all sites in double precision: ``(slots, batch)`` of this process to ``(batch,)``."""
    return sum_sites(lattice, to_lanes(lattice, number))


def rows(lattice: Lattice, values: Any, count: int, like: Array, name: str) -> Array:
    """Coefficients as ``(count, 1 or batch)`` reals of the precision of ``like``.

    ``values`` is a scalar, ``(count,)`` or ``(count, batch)``; anything else raises ``ValueError``.
    """
    xp = array_namespace(like)
    batch = lattice.batch(like.shape[-1])
    x = xp.asarray(values, dtype=xp.float32 if like.dtype == xp.complex64 else xp.float64)
    if x.ndim == 0:
        return xp.broadcast_to(xp.reshape(x, (1, 1)), (count, 1))
    if tuple(x.shape) == (count,):
        return x[:, None]
    if tuple(x.shape) in ((count, batch), (count, 1)):
        return x
    raise ValueError(f"{name}: expected a scalar, ({count},) or ({count}, {batch}), got shape {tuple(x.shape)}")
