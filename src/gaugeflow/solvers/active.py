"""Following many systems at once: those that have converged leave, and the others are packed densely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.hopping import select
from gaugeflow.solvers.solution import Linear

REGISTER = 16
"""Lanes that fill the widest registers in single precision."""


class Active:
    """The systems of a stack of fields and a batch of configurations that have not converged.

    Fields of a stack leave when all their configurations have converged; configurations leave, all fields of them, when
    those that are left fill at most half as many lanes, in whole registers.  Operators are cut down alike.

    Parameters
    ----------
    operators
        Operators of one lattice.
    results
        Full stacks into which the solutions of systems that leave are put.
    used
        Full array of iterations.
    """

    def __init__(self, operators: Sequence[Linear], results: Sequence[Array], used: Array) -> None:
        self.operators = list(operators)
        self.lattice = operators[0].lattice
        self.results = list(results)
        self.used = used
        self.fields = list(range(used.shape[0]))
        self.configurations = list(range(used.shape[1]))
        self._busy = -1

    def due(self, working: Array, again: bool = False) -> tuple[list[int], list[int]] | None:
        """Fields and configurations, among those that are left, that go on; None where all do, empty where none does.

        One number crosses from the device; more only when a system has converged since the last call, or ``again``.
        """
        xp = array_namespace(working)
        busy = int(xp.sum(xp.astype(working, xp.int64)))
        if busy == self._busy and not again:
            return None
        self._busy = busy
        if busy == 0:
            return [], []
        fields, batch = working.shape
        rows = [i for i in range(fields) if bool(xp.any(working[i, :]))]
        columns = [j for j in range(batch) if bool(xp.any(working[:, j]))]
        folds = self.lattice.n_folds
        fill = -(-len(columns) * folds // REGISTER) * REGISTER // folds if folds <= REGISTER else len(columns)
        if 2 * fill <= batch:
            idle = [j for j in range(batch) if j not in columns]
            columns = sorted(columns + idle[: fill - len(columns)])
        else:
            columns = list(range(batch))
        return None if len(rows) == fields and len(columns) == batch else (rows, columns)

    def keep(self, kept: tuple[list[int], list[int]], results: Sequence[Array], used: Array) -> None:
        """Put the solutions of all, and go on with some fields and configurations only."""
        rows, columns = kept
        self.results = [self._put(full, part) for full, part in zip(self.results, results, strict=True)]
        self.used = self._put(self.used, used)
        if len(columns) < len(self.configurations) and columns:
            self.operators = [operator.select(columns) for operator in self.operators]
        self.fields = [self.fields[i] for i in rows]
        self.configurations = [self.configurations[j] for j in columns]

    def cut(self, kept: tuple[list[int], list[int]], array: Array) -> Array:
        """Those fields and configurations of a stack, or of numbers ``(R, batch)``."""
        rows, columns = kept
        xp = array_namespace(array)
        if len(rows) < array.shape[0]:
            array = xp.take(array, xp.asarray(rows, dtype=xp.int64), axis=0)
        if array.ndim == 2:
            return xp.take(array, xp.asarray(columns, dtype=xp.int64), axis=1)
        narrow = len(columns) < self.lattice.batch(array.shape[-1])
        return select(self.lattice, array, columns) if narrow else array

    def _put(self, full: Array, part: Array) -> Array:
        """A full stack, or numbers, with the systems that are left replaced."""
        if tuple(full.shape) == tuple(part.shape):
            return part
        xp = array_namespace(full)
        fields, batch = self.used.shape
        rows = [self.fields.index(i) if i in self.fields else 0 for i in range(fields)]
        columns = [self.configurations.index(j) if j in self.configurations else 0 for j in range(batch)]
        present = xp.asarray(
            [[i in self.fields and j in self.configurations for j in range(batch)] for i in range(fields)]
        )
        part = xp.take(part, xp.asarray(rows, dtype=xp.int64), axis=0)
        if part.ndim == 2:
            return xp.where(present, xp.take(part, xp.asarray(columns, dtype=xp.int64), axis=1), full)
        present = self.lattice.spread_folds(present)[:, None, None, None, :]
        return xp.where(present, select(self.lattice, part, columns), full)


def ratio(numerator: Array, denominator: Array, where: Array) -> Array:
    """Quotient where that is wanted and the denominator does not vanish, else 0."""
    xp = array_namespace(denominator)
    good = where & (denominator != 0.0)
    return xp.where(
        good, numerator / xp.where(good, denominator, xp.ones_like(denominator)), xp.zeros_like(denominator)
    )


def stacked(psi: Array) -> Array:
    """A field as a stack of one."""
    return psi if len(psi.shape) == 5 else psi[None, ...]


def like(b: Array, *arrays: Any) -> list[Any]:
    """Stacks, or numbers ``(R, batch)``, as the right-hand side is: without their first axis where that is a field."""
    return list(arrays) if len(b.shape) == 5 else [array[0, ...] for array in arrays]
