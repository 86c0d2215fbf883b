"""Memory for results, recycled.

A fresh array of a few MiB is a fresh mapping, and the kernel's page faults cost as much as a sweep over it; results are
therefore allocated from blocks that dead results gave back.  At most ``LIMIT`` bytes lie idle.  Blocks begin with a
cache line, so that no vector register straddles two.
"""

from __future__ import annotations

import math
from threading import Lock

import numpy as np

from gaugeflow_numba.lanes import LINE

LIMIT = 1 << 30
SMALL = 1 << 18
ALIGNMENT = 2 * LINE
"""Of blocks, in bytes: what a pair of the widest registers, real and imaginary parts, needs to be streamed."""
CACHED = 1 << 24
"""Results of more bytes than this are written past the caches: they would not stay there until they are read."""

_idle: dict[int, list[_Block]] = {}
_idle_bytes = 0
_lock = Lock()


class _Block:
    """Memory of some size that begins where a pair of registers may."""

    __slots__ = ("_memory", "address", "size")

    def __init__(self, size):
        self._memory, self.size = np.empty(size + ALIGNMENT, np.uint8), size
        start = self._memory.ctypes.data
        self.address = start + -start % ALIGNMENT


class _Lease:
    """Owner of a block for as long as an array or a view of it lives."""

    __slots__ = ("__array_interface__", "_block")

    def __init__(self, block, shape, dtype):
        self._block = block
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (block.address, False)}

    def __del__(self):
        global _idle_bytes
        with _lock:
            if _idle_bytes + self._block.size <= LIMIT:
                _idle.setdefault(self._block.size, []).append(self._block)
                _idle_bytes += self._block.size


def empty(shape, dtype):
    """Uninitialised C-ordered array."""
    global _idle_bytes
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    with _lock:
        waiting = _idle.get(size)
        block = waiting.pop() if waiting else None
        if block is not None:
            _idle_bytes -= size
    if block is None:
        block = _Block(size)
    return np.asarray(_Lease(block, tuple(shape), dtype))


def empty_like(array):
    """Uninitialised C-ordered array of the same shape and type."""
    return empty(array.shape, array.dtype)


def streamed(result, width):
    """Whether to write a field past the caches: too large for them, and of registers that fill whole cache lines."""
    if result.nbytes <= CACHED or width * result.itemsize % LINE:
        return False
    return result.ctypes.data % ALIGNMENT == 0 and result.shape[-1] % width == 0
