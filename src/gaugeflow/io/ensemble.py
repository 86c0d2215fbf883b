"""Many configurations in one HDF5 file that grows and survives a killed writer."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaugeflow.filesystem import named
from gaugeflow.io.config import ComplexArray, require_storable, verify_links
from gaugeflow.io.datasets import (
    LAYOUT,
    crc32,
    errors_named,
    is_kind,
    new_file,
    opened,
    read_attributes,
    require_fitting,
    stored_dataset,
)
from gaugeflow.io.files import StrPath, atomic_path, mismatch, require_equal
from gaugeflow.io.hdf5 import link_dtype, require_link_shape

_KIND = "gaugeflow ensemble 1"
_COPY_BYTES = 1 << 26
_SIEVE_BYTES = 1 << 16  # HDF5 writes that much beyond what it is told to, with what it found there
_INDEX = {"id": "<i8", "chain": "<i8", "log_weight": "<f8", "crc32": "<u4"}
_SIGNED = ("id", "chain", "log_weight")  # the columns that the checksum covers, before the links


class EnsembleSlice(NamedTuple):
    """Consecutive configurations of an ensemble.

    ``links`` has shape ``(n, d, *shape, N, N)`` in double precision, the others ``(n,)``.
    """

    links: ComplexArray
    id: NDArray[np.int64]
    chain: NDArray[np.int64]
    log_weight: NDArray[np.float64]


class EnsembleFile:
    """A growing file of many configurations of one lattice.

    Use `create` or `open`, in a ``with`` statement. A configuration counts only once it is complete on disk: the
    counter in the file is raised after the data have been flushed, so a killed writer loses only the append it was in.

    Attributes
    ----------
    shape : tuple of int
        Extents of the lattice.
    n_colours : int
    attributes : dict
        What `create` was given, usually `provenance`.

    Notes
    -----
    The datasets ``links`` (capacity, d, \\*shape, N, N), ``id``, ``chain``, ``log_weight`` and ``crc32`` (capacity,)
    are contiguous and allocated in advance (as a hole, which takes no space on disk), and ``count`` says how many
    entries are filled, with the complement in its upper half. Appending reserves the space on disk, so that a full one
    is met before HDF5 writes, overwrites bytes in place and changes no structure of the file. A full file is copied to
    twice the capacity and replaced atomically. HDF5's extensible datasets will not do here: killed while it updates
    their index, the library leaves files in which even old entries are lost (seen twice in 250 kills).
    """

    def __init__(self, path: StrPath, *, mode: str) -> None:
        self._path = os.fspath(path)
        self._mode = mode
        self._size = 0
        self._pairs: set[tuple[int, int]] = set()
        self._open()

    @classmethod
    def create(
        cls,
        path: StrPath,
        *,
        shape: Sequence[int],
        n_colours: int,
        precision: int = 64,
        capacity: int = 64,
        attributes: Mapping[str, object] | None = None,
    ) -> EnsembleFile:
        """Create an empty ensemble and open it for appending.

        Parameters
        ----------
        path : path
            Must not exist.
        shape : sequence of int
            Extents of the lattice, ``(t, z, y, x)`` in four dimensions.
        n_colours : int
        precision : {64, 32}
            Bits per real number in the file.
        capacity : int
            Number of configurations for which the file need not be copied to grow.
        attributes : mapping, optional
            Anything that JSON can hold; usually `provenance`.

        Raises
        ------
        FileExistsError
            If ``path`` exists.
        """
        if os.path.lexists(path):
            raise FileExistsError(f"{os.fspath(path)} exists: open it, or choose another name")
        item = (len(shape), *shape, n_colours, n_colours)
        if len(shape) < 2 or min(item) < 1 or capacity < 1:
            raise ValueError(
                f"expected two or more positive extents, n_colours and capacity, got {shape}, {n_colours}, {capacity}"
            )
        dtype = link_dtype(precision)
        with new_file(path, _KIND, attributes) as file:
            _allocate(file, capacity, item, dtype)
        return cls(path, mode="r+")

    @classmethod
    def open(cls, path: StrPath, *, append: bool = False) -> EnsembleFile:
        """Open an ensemble for reading, or for appending too.

        Raises
        ------
        FormatError
            If the file is damaged or something else.
        BlockingIOError
            If another process has it open for appending.
        """
        return cls(path, mode="r+" if append else "r")

    @staticmethod
    def recognises(path: StrPath) -> bool:
        """Whether a file is an ensemble, rather than a single configuration.

        Raises
        ------
        FormatError
            If the file is HDF5 and damaged.
        OSError
            If it cannot be read.
        """
        return is_kind(path, _KIND)

    def append(self, links: ComplexArray, *, id: ArrayLike, chain: ArrayLike = 0, log_weight: ArrayLike = 0.0) -> None:
        """Add configurations; when the call returns they are on disk.

        Parameters
        ----------
        links : ndarray, shape (n, d, \\*shape, N, N), complex
            The configurations.
        id : int or ndarray, shape (n,)
            Number of the configuration in its chain; correlated ensembles share it. A pair (chain, id) occurs once.
        chain : int or ndarray, shape (n,)
            Number of the chain.
        log_weight : float or ndarray, shape (n,)
            Logarithm of the reweighting factor.

        Raises
        ------
        ValueError
            If a shape does not fit, a number is not finite, a link is not in the group, or (chain, id) is taken.
        OSError
            If the disk is full; the file is as it was.
        """
        item = self._links.shape[1:]
        if links.shape[1:] != item:
            raise ValueError(f"links: expected shape (n, {', '.join(map(str, item))}), got {links.shape}")
        for configuration in links:
            require_storable(configuration)
        n = len(links)
        columns = {"id": id, "chain": chain, "log_weight": log_weight}
        rows = {name: np.broadcast_to(column, (n,)).astype(_INDEX[name]) for name, column in columns.items()}
        if not np.isfinite(rows["log_weight"]).all():
            raise ValueError(f"log_weight: expected finite numbers, got {log_weight!r}")
        pairs = list(zip(rows["chain"].tolist(), rows["id"].tolist(), strict=True))
        if len(self._pairs.union(pairs)) != len(self._pairs) + n:
            raise ValueError(f"(chain, id): expected pairs that are not in the file, got {pairs}")

        start, stop = self._size, self._size + n
        if stop > len(self._links):
            self._grow(max(stop, 2 * len(self._links)))
        data = np.ascontiguousarray(links, dtype=self._links.dtype)
        rows["crc32"] = _checksums(data, rows)
        _reserve(self._path, self._file, start, stop)
        self._links[start:stop] = data
        for name, row in rows.items():
            self._index[name][start:stop] = row
        self._sync()
        self._count[()] = _guarded(stop)
        self._sync()
        self._size = stop
        self._pairs.update(pairs)

    def __len__(self) -> int:
        return self._size

    @property
    def id(self) -> NDArray[np.int64]:
        """Numbers of all configurations, shape (n,)."""
        return self._read_index("id", 0, self._size)

    @property
    def chain(self) -> NDArray[np.int64]:
        """Chains of all configurations, shape (n,)."""
        return self._read_index("chain", 0, self._size)

    @property
    def log_weight(self) -> NDArray[np.float64]:
        """Logarithms of the reweighting factors of all configurations, shape (n,)."""
        return self._read_index("log_weight", 0, self._size)

    @property
    def checksum(self) -> NDArray[np.uint32]:
        """Checksums of all configurations, shape (n,); they cover links, number, chain and log-weight."""
        return self._read_index("crc32", 0, self._size)

    def read(self, start: int, stop: int) -> EnsembleSlice:
        """Read and verify the configurations ``start <= i < stop`` in the order of appending.

        Raises
        ------
        IndexError
            If the range is not within the ensemble.
        FormatError
            If a checksum is wrong, or a link is not in the group.
        """
        if not 0 <= start <= stop <= self._size:
            raise IndexError(f"expected 0 <= start <= stop <= {self._size}, got {start} and {stop}")
        rows = {name: self._read_index(name, start, stop) for name in _INDEX}
        with errors_named(self._path):
            data = self._links[start:stop]
        for i, found in enumerate(_checksums(data, rows)):
            require_equal(self._path, f"configuration {start + i} crc32", f"{rows['crc32'][i]:08x}", f"{found:08x}")
            verify_links(self._path, data[i], [], verify=True)
        return EnsembleSlice(data.astype(np.complex128), rows["id"], rows["chain"], rows["log_weight"])

    def batches(self, size: int) -> Iterator[EnsembleSlice]:
        """Stream the ensemble in slices of ``size`` configurations, the last one shorter."""
        for start in range(0, self._size, size):
            yield self.read(start, min(start + size, self._size))

    def close(self) -> None:
        """Close the file; harmless when it is closed already."""
        self._closing.close()

    def __enter__(self) -> EnsembleFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        path = self._path
        with ExitStack() as stack:
            self._file = stack.enter_context(opened(path, _KIND, self._mode))
            self._links = stored_dataset(path, self._file, "links")
            self._index = {name: stored_dataset(path, self._file, name) for name in _INDEX}
            self._count = stored_dataset(path, self._file, "count")
            self._size = self._check_structure()
            self.attributes: dict[str, Any] = read_attributes(path, self._file)
            self.shape: tuple[int, ...] = self._links.shape[2:-2]
            self.n_colours: int = self._links.shape[-1]
            self._pairs = set(zip(self.chain.tolist(), self.id.tolist(), strict=True))
            self._closing = stack.pop_all()

    def _check_structure(self) -> int:
        """Check that all datasets have the shapes and types of an ensemble; return the number of configurations."""
        require_link_shape(self._path, self._links.shape[1:], self._links.dtype)
        capacity = len(self._links)
        for name, dataset in self._index.items():
            if dataset.shape != (capacity,) or dataset.dtype != _INDEX[name]:
                raise mismatch(self._path, f"dataset /{name}", f"{_INDEX[name]} of shape ({capacity},)", str(dataset))
        if self._count.shape != () or self._count.dtype != np.uint64:
            raise mismatch(self._path, "dataset /count", "one unsigned integer", str(self._count))
        stored = int(self._count[()])
        size = stored & _HALF
        if stored != int(_guarded(size)):
            raise mismatch(self._path, "dataset /count", "a number and its complement", f"{stored:016x}")
        if size > capacity:
            raise mismatch(self._path, "dataset /count", f"0 to {capacity}", size)
        require_fitting(self._path, self._links, size * self._item_bytes)
        return size

    @property
    def _item_bytes(self) -> int:
        return int(math.prod(self._links.shape[1:]) * self._links.dtype.itemsize)

    def _read_index(self, name: str, start: int, stop: int) -> NDArray[Any]:
        with errors_named(self._path):
            values: NDArray[Any] = self._index[name][start:stop]
        if not np.isfinite(values).all():
            raise mismatch(self._path, f"dataset /{name}", "finite numbers", "NaN or infinity")
        return values

    def _grow(self, capacity: int) -> None:
        """Replace the file by a copy of the given capacity."""
        with atomic_path(self._path) as temporary:
            with new_file(temporary, _KIND, self.attributes) as file:
                _allocate(file, capacity, self._links.shape[1:], self._links.dtype)
            with h5py.File(temporary, "r+", libver=LAYOUT, locking=False) as file:  # nobody else knows it
                _reserve(self._path, file, 0, self._size)
                block = max(1, _COPY_BYTES // self._item_bytes)
                for start in range(0, self._size, block):
                    stop = min(start + block, self._size)
                    file["links"][start:stop] = self._links[start:stop]
                for name in _INDEX:
                    file[name][: self._size] = self._index[name][: self._size]
                file["count"][()] = _guarded(self._size)
        self.close()
        self._open()

    def _sync(self) -> None:
        with named(self._path):
            self._file.flush()
            os.fsync(self._file.id.get_vfd_handle())


_HALF = 0xFFFFFFFF


def _guarded(count: int) -> np.uint64:
    """The counter as it is stored: its complement in the upper half, so that no changed bit goes unseen, in one write."""
    return np.uint64((count ^ _HALF) << 32 | count)


def _reserve(path: StrPath, file: h5py.File, start: int, stop: int) -> None:
    """Have the file system find space for the entries ``start <= i < stop``, where it offers that (macOS does not)."""
    allocate = getattr(os, "posix_fallocate", None)
    if allocate is None or start == stop:
        return
    for name in ("links", *_INDEX):
        dataset = file[name]
        size = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
        first, last = start * size, min(stop * size + _SIEVE_BYTES, len(dataset) * size)
        try:
            allocate(file.id.get_vfd_handle(), dataset.id.get_offset() + first, last - first)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _allocate(file: h5py.File, capacity: int, item: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Create the datasets of an ensemble with all their space, without writing to it."""
    in_advance = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    in_advance.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    in_advance.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    file.create_dataset("count", data=_guarded(0))
    for name, column_dtype in _INDEX.items():
        file.create_dataset(name, (capacity,), column_dtype, dcpl=in_advance)
    file.create_dataset("links", (capacity, *item), dtype, dcpl=in_advance)


def _checksums(data: ComplexArray, rows: Mapping[str, NDArray[Any]]) -> NDArray[np.uint32]:
    """One crc32 per configuration, over its id, chain, log-weight and links as they are stored."""
    sums = np.zeros(len(data), np.uint32)
    for i, configuration in enumerate(data):
        checksum = 0
        for name in _SIGNED:
            checksum = crc32(rows[name][i], checksum)
        sums[i] = crc32(configuration, checksum)
    return sums
