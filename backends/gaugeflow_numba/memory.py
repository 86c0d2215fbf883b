"""Memory for results, recycled.

A fresh array of a few MiB is a fresh mapping, and the kernel's page faults cost as much as a sweep over it; results are
therefore allocated from blocks that dead results gave back.  At most ``LIMIT`` bytes lie idle.
"""

from __future__ import annotations

from threading import Lock

import numpy as np

LIMIT = 1 << 30
SMALL = 1 << 18

_idle: dict[int, list[np.ndarray]] = {}
_idle_bytes = 0
_lock = Lock()


class _Lease:
    """Owner of a block for as long as an array or a view of it lives."""

    __slots__ = ("__array_interface__", "_block")

    def __init__(self, block, shape, dtype):
        self._block = block
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (block.ctypes.data, False),
        }

    def __del__(self):
        global _idle_bytes
        with _lock:
            if _idle_bytes + self._block.nbytes <= LIMIT:
                _idle.setdefault(self._block.nbytes, []).append(self._block)
                _idle_bytes += self._block.nbytes


def empty(shape, dtype):
    """Uninitialised C-ordered array."""
    global _idle_bytes
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    with _lock:
        waiting = _idle.get(size)
        block = waiting.pop() if waiting else None
        if block is not None:
            _idle_bytes -= size
    if block is None:
        block = np.empty(size, np.uint8)
    return np.asarray(_Lease(block, tuple(shape), dtype))


def empty_like(array):
    """Uninitialised C-ordered array of the same shape and type."""
    return empty(array.shape, array.dtype)
