"""Products of links along paths, one for each of some sites, and their derivatives.

A hop is (direction, +1 or -1); slots are ``block site * n_folds + fold``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

from gaugeflow.lattice import Array, IntArray, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.matrix import dag_mul, mul, mul_dag
from gaugeflow.sites.numbers import Matrix

Hop = tuple[int, int]


def by_slot(lattice: Lattice, links: Array) -> Array:
    """Links ``(ndim, n_blocks, N, N, lanes)`` as ``(ndim * volume, N, N, batch)``."""
    xp = array_namespace(links)
    n, lanes = lattice.check_links(links)
    batch = lattice.batch(lanes)
    split = xp.reshape(links, (lattice.ndim, lattice.n_blocks, n, n, lattice.n_folds, batch))
    return xp.reshape(xp.permute_dims(split, (0, 1, 4, 2, 3, 5)), (lattice.ndim * lattice.volume, n, n, batch))


def as_field(lattice: Lattice, slots: Array) -> Array:
    """Inverse of :func:`by_slot`."""
    xp = array_namespace(slots)
    _, n, _, batch = slots.shape
    split = xp.reshape(slots, (lattice.ndim, lattice.n_blocks, lattice.n_folds, n, n, batch))
    return xp.reshape(
        xp.permute_dims(split, (0, 1, 3, 4, 2, 5)),
        (lattice.ndim, lattice.n_blocks, n, n, lattice.n_folds * batch),
    )


def taken(slots: Array, index: IntArray) -> Matrix:
    """Matrices of some links, entries ``(len(index), batch)``."""
    xp = array_namespace(slots)
    found = xp.take(slots, xp.asarray(index), axis=0)
    n = slots.shape[1]
    return tuple(found[:, i, j, :] for i in range(n) for j in range(n))


def stacked(matrix: Matrix) -> Array:
    """A matrix as one array ``(sites, N, N, batch)``."""
    xp = array_namespace(matrix[0])
    n = int(len(matrix) ** 0.5)
    return xp.stack([xp.stack(matrix[n * i : n * (i + 1)], axis=1) for i in range(n)], axis=1)


@dataclass(frozen=True)
class Path:
    """A path that starts at each of some sites.

    Parameters
    ----------
    lattice
        The lattice.
    start
        Slots where the paths start.
    hops
        At least one.
    """

    lattice: Lattice
    start: IntArray
    hops: tuple[Hop, ...]

    @cached_property
    def links(self) -> IntArray:
        """``direction * volume + slot`` of every link, ``(hops, paths)``."""
        xp: Any = import_module("array_api_compat.numpy")
        here, rows = xp.asarray(self.start, dtype=xp.int64), []
        for mu, sign in self.hops:
            there = xp.asarray(self.lattice.slot_neighbour[mu, 0 if sign > 0 else 1], dtype=xp.int64)[here]
            rows.append(mu * self.lattice.volume + (here if sign > 0 else there))
            here = there
        table: IntArray = xp.stack(rows)
        return table

    def product(self, slots: Array) -> tuple[Matrix, list[Matrix]]:
        """The product of the links ``slots`` of :func:`by_slot`, and what :meth:`product_vjp` needs."""
        result: Matrix | None = None
        carriers: list[Matrix] = []
        for (_, sign), index in zip(self.hops, self.links, strict=True):
            link = taken(slots, index)
            before = result
            if before is None:
                xp = array_namespace(slots)
                unit = xp.eye(slots.shape[1], dtype=slots.dtype)
                before = tuple(unit[i, j] + 0.0 * link[0] for i in range(slots.shape[1]) for j in range(slots.shape[1]))
            result = mul(before, link) if sign > 0 else mul_dag(before, link)
            carriers.append(before if sign > 0 else result)
        assert result is not None
        return result, carriers

    def product_vjp(self, carriers: Sequence[Matrix], bar: Matrix) -> list[Matrix]:
        """Cotangents of the links of all hops: a displacement w of link k moves the product by +-M w M^dagger.

        M is the product of the links before a link that is followed forwards, and includes one that is followed backwards.
        """
        result = []
        for (_, sign), carrier in zip(self.hops, carriers, strict=True):
            moved = dag_mul(carrier, mul(bar, carrier))
            result.append(moved if sign > 0 else tuple(-entry for entry in moved))
        return result


def collection_table(size: int, owners: IntArray) -> IntArray:
    """Where the contributions to each of ``size`` links stand among ``owners``: ``(most, size)``, one plus the number, or 0."""
    xp: Any = import_module("array_api_compat.numpy")
    order = xp.argsort(owners, stable=True)
    sorted_owners = owners[order]
    rank = xp.arange(len(owners)) - xp.searchsorted(sorted_owners, sorted_owners)
    table: IntArray = xp.zeros((int(rank.max()) + 1, size), dtype=xp.int64)
    table[rank, sorted_owners] = order + 1
    return table


def collected(table: IntArray, parts: Array) -> Array:
    """Sums of contributions ``(count, N, N, batch)`` to every link."""
    xp = array_namespace(parts)
    padded = xp.concat([xp.zeros((1, *parts.shape[1:]), dtype=parts.dtype), parts])
    total = xp.take(padded, xp.asarray(table[0]), axis=0)
    for row in table[1:]:
        total = total + xp.take(padded, xp.asarray(row), axis=0)
    return total
