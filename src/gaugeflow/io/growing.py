"""The datasets of a file that grows: allocated in advance, with a counter that no damage leaves unseen."""

from __future__ import annotations

import math
import os
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaugeflow.io.datasets import reserve
from gaugeflow.io.files import StrPath, mismatch

INDEX = {"id": "<i8", "chain": "<i8", "log_weight": "<f8", "crc32": "<u4"}
"""One number for each configuration in datasets of these names and types."""
_SIEVE_BYTES = 1 << 16  # HDF5 writes that much beyond what it is told to, with what it found there
_HALF = 0xFFFFFFFF


def column_of(name: str, column: ArrayLike, n: int) -> NDArray[Any]:
    """One number for each of n configurations, as they are stored.

    Raises
    ------
    ValueError
        If there is another number of them.
    TypeError
        If one that counts is no integer.
    """
    found, dtype = np.asarray(column), np.dtype(INDEX[name])
    if found.shape not in ((), (1,), (n,)):
        raise ValueError(f"{name}: expected a number, or one for each of {n} configurations, got shape {found.shape}")
    whole = found.dtype.kind == "i" or (found.dtype.kind == "u" and np.all(found <= np.iinfo(np.int64).max))
    if dtype.kind == "i" and found.size and not whole:
        raise TypeError(f"{name}: expected integers of 64 bits, got {column!r}")
    return np.broadcast_to(found, (n,)).astype(dtype)


def guarded(count: int) -> np.uint64:
    """The counter as it is stored: its complement in the upper half, so that no changed bit goes unseen, in one write."""
    return np.uint64((count ^ _HALF) << 32 | count)


def read_count(path: StrPath, dataset: h5py.Dataset) -> int:
    """The counter that `guarded` made.

    Raises
    ------
    FormatError
        If it is none.
    """
    if dataset.shape != () or dataset.dtype != np.uint64:
        raise mismatch(path, "dataset /count", "one unsigned integer", str(dataset))
    stored = int(dataset[()])
    size = stored & _HALF
    if stored != int(guarded(size)):
        raise mismatch(path, "dataset /count", "a number and its complement", f"{stored:016x}")
    return size


def allocate(file: h5py.File, capacity: int, item: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Create the datasets of an ensemble of so many links ``item`` with all their space, without writing to it."""
    file.create_dataset("count", data=guarded(0))
    for name, column_dtype in INDEX.items():
        reserve(file, name, (capacity,), np.dtype(column_dtype))
    reserve(file, "links", (capacity, *item), dtype)


def reserve_on_disk(path: StrPath, file: h5py.File, start: int, stop: int) -> None:
    """Have the file system find space for the entries ``start <= i < stop``, where it offers that (macOS does not)."""
    find_space = getattr(os, "posix_fallocate", None)
    if find_space is None or start == stop:
        return
    for name in ("links", *INDEX):
        dataset = file[name]
        size = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
        first, last = start * size, min(stop * size + _SIEVE_BYTES, len(dataset) * size)
        try:
            find_space(file.id.get_vfd_handle(), dataset.id.get_offset() + first, last - first)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
