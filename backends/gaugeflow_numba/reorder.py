"""Memory orders of other programs: rows of numbers to and from fields whose last axis are the lanes."""

from __future__ import annotations

import numpy as np
from numba import prange

from gaugeflow_numba._jit import parallel
from gaugeflow_numba.geometry import first, pieces
from gaugeflow_numba.memory import empty


@parallel
def _gather(rows, table, out):
    batch, _, numbers = rows.shape
    folds, items = table.shape
    for piece in prange(pieces(items)):
        for item in range(first(piece, items), first(piece + 1, items)):
            for fold in range(folds):
                for b in range(batch):
                    row = rows[b, table[fold, item]]
                    for k in range(numbers):
                        out[item, k, fold * batch + b] = row[k]


@parallel
def _scatter(field, table, out):
    batch, _, numbers = out.shape
    folds, items = table.shape
    for piece in prange(pieces(items)):
        for item in range(first(piece, items), first(piece + 1, items)):
            for fold in range(folds):
                for b in range(batch):
                    row = out[b, table[fold, item]]
                    for k in range(numbers):
                        row[k] = field[item, k, fold * batch + b]


def gather_rows(rows, table):
    """Rows ``(batch, places, k)`` at ``table``, ``(folds, items)``, as ``(items, k, folds * batch)``."""
    rows = np.ascontiguousarray(rows)
    out = empty((table.shape[1], rows.shape[2], table.shape[0] * rows.shape[0]), rows.dtype)
    _gather(rows, table, out)
    return out


def scatter_rows(field, table, out):
    """Inverse of :func:`gather_rows`, into ``out``."""
    _scatter(np.ascontiguousarray(field), table, out)
