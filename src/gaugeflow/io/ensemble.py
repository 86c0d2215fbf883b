"""Many configurations in one HDF5 file that grows and survives a killed writer."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import reduce
from operator import xor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaugeflow.filesystem import named
from gaugeflow.io.checksums import PiecewiseCrc
from gaugeflow.io.config import ComplexArray, require_storable, verify_links
from gaugeflow.io.datasets import (
    LAYOUT,
    FieldItems,
    crc_of_items,
    errors_named,
    is_kind,
    new_file,
    opened,
    read_attributes,
    require_fitting,
    stored_dataset,
)
from gaugeflow.io.files import StrPath, flush_to_disk, mismatch, require_equal
from gaugeflow.io.growing import INDEX, allocate, column_of, guarded, read_count, reserve_on_disk
from gaugeflow.io.hdf5 import link_dtype, require_link_shape
from gaugeflow.io.part import Part
from gaugeflow.io.runs import Bytes, Piece, read_items, shared_file, write_items
from gaugeflow.lattice import Lattice

_KIND = "gaugeflow ensemble 1"
_SIGNED = ("id", "chain", "log_weight")  # the columns that the checksum covers, before the links
_SIGNED_BYTES = 24


class EnsembleSlice(NamedTuple):
    """Consecutive configurations of an ensemble.

    ``links`` has shape ``(n, d, *shape, N, N)`` in double precision, the others ``(n,)``. Where the lattice is cut over
    processes, ``links`` are those of the sites of this one.
    """

    links: ComplexArray
    id: NDArray[np.int64]
    chain: NDArray[np.int64]
    log_weight: NDArray[np.float64]


class EnsembleFile:
    """A growing file of many configurations of one lattice.

    Use `create` or `open`, in a ``with`` statement. A configuration counts only once it is complete on disk: the
    counter in the file is raised after the data have been flushed, so a killed writer loses only the append it was in.
    Where the lattice is cut over processes, all of them call everything together, each with its own sites; the file is the
    same as that of one process.

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
    Links go to their places in the file directly, on every process; the first one alone has the rest, through HDF5.
    """

    def __init__(self, path: StrPath, *, mode: str, lattice: Lattice | None = None) -> None:
        self._path = os.fspath(path)
        self._mode = mode
        self._part = Part(lattice)
        self._size = 0
        self._pairs: set[tuple[int, int]] = set()
        with self._part.together():
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
        lattice: Lattice | None = None,
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
        lattice : Lattice, optional
            Of this ``shape``, where it is cut over processes: all of them call this.

        Raises
        ------
        FileExistsError
            If ``path`` exists.
        """
        part = Part(lattice)
        with part.together():
            item = (len(shape), *shape, n_colours, n_colours)
            if len(shape) < 2 or min(item) < 1 or capacity < 1:
                raise ValueError(
                    f"expected two or more positive extents, n_colours and capacity, got {shape}, {n_colours}, {capacity}"
                )
            if lattice is not None and tuple(shape) != lattice.shape:
                raise ValueError(f"expected the shape {lattice.shape} of the lattice, got {tuple(shape)}")
            dtype = link_dtype(precision)
            if part.rank == 0:
                if os.path.lexists(path):
                    raise FileExistsError(f"{os.fspath(path)} exists: open it, or choose another name")
                with new_file(path, _KIND, attributes) as file:
                    allocate(file, capacity, item, dtype)
        return cls(path, mode="r+", lattice=lattice)

    @classmethod
    def open(cls, path: StrPath, *, append: bool = False, lattice: Lattice | None = None) -> EnsembleFile:
        """Open an ensemble for reading, or for appending too.

        Parameters
        ----------
        path : path
            The file.
        append : bool
            Whether configurations are to be added.
        lattice : Lattice, optional
            The lattice that the file must have. Where it is cut over processes, all of them call this.

        Raises
        ------
        FormatError
            If the file is damaged or something else.
        BlockingIOError
            If another process has it open for appending.
        """
        return cls(path, mode="r+" if append else "r", lattice=lattice)

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
        TypeError
            If a number of a configuration or chain is no integer.
        OSError
            If the disk is full; the file is as it was.
        """
        with self._part.together():
            self._require_open(appending=True)
            self._append(links, {"id": id, "chain": chain, "log_weight": log_weight})

    def __len__(self) -> int:
        return self._size

    @property
    def id(self) -> NDArray[np.int64]:
        """Numbers of all configurations, shape (n,)."""
        return self._column("id")

    @property
    def chain(self) -> NDArray[np.int64]:
        """Chains of all configurations, shape (n,)."""
        return self._column("chain")

    @property
    def log_weight(self) -> NDArray[np.float64]:
        """Logarithms of the reweighting factors of all configurations, shape (n,)."""
        return self._column("log_weight")

    @property
    def checksum(self) -> NDArray[np.uint32]:
        """Checksums of all configurations, shape (n,); they cover links, number, chain and log-weight."""
        return self._column("crc32")

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
        links = np.empty((stop - start, *self._own_item), np.complex128)
        with self._part.together():
            self._require_open()
            rows = {name: self._read_index(name, start, stop) for name in INDEX}
            for i, configuration in enumerate(links):
                found = self._read_links(start + i, configuration, self._crc_of_columns(rows, i))
                require_equal(self._path, f"configuration {start + i} crc32", f"{rows['crc32'][i]:08x}", f"{found:08x}")
                verify_links(self._path, configuration, [], verify=True, part=self._part)
        return EnsembleSlice(links, rows["id"], rows["chain"], rows["log_weight"])

    def batches(self, size: int) -> Iterator[EnsembleSlice]:
        """Stream the ensemble in slices of ``size`` configurations, the last one shorter."""
        for start in range(0, self._size, size):
            yield self.read(start, min(start + size, self._size))

    def close(self) -> None:
        """Close the file; harmless when it is closed already."""
        self._is_open = False
        self._closing.close()

    def __enter__(self) -> EnsembleFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        path, part = self._path, self._part
        with ExitStack() as stack:
            found = None
            if part.rank == 0:
                self._file = stack.enter_context(opened(path, _KIND, self._mode))
                self._links = stored_dataset(path, self._file, "links")
                self._index = {name: stored_dataset(path, self._file, name) for name in INDEX}
                self._count = stored_dataset(path, self._file, "count")
                size = self._check_structure()
                place = self._links.id.get_offset()
                found = (self._links.shape, self._links.dtype, place, size, read_attributes(path, self._file))
            shape, dtype, self._offset, self._size, attributes = _given(part.share(found))
            self.attributes: dict[str, Any] = attributes
            self.shape: tuple[int, ...] = shape[2:-2]
            self.n_colours: int = shape[-1]
            if part.lattice is not None:
                require_equal(path, "lattice shape", part.lattice.shape, self.shape)
            extents = part.box(self.shape).extents
            self._capacity: int = shape[0]
            self._own_item = (len(extents), *extents, self.n_colours, self.n_colours)
            self._items = FieldItems(self._own_item, dtype, (1, 1 + len(extents)), part)
            self._handle: Any = stack.enter_context(open(path, "rb" if self._mode == "r" else "r+b"))
            self._pairs = set(
                zip(*(self._read_index(name, 0, self._size).tolist() for name in ("chain", "id")), strict=True)
            )
            self._closing = stack.pop_all()
            self._is_open = True

    def _require_open(self, *, appending: bool = False) -> None:
        if not self._is_open:
            raise ValueError(f"{self._path}: this ensemble has been closed")
        if appending and self._mode == "r":
            raise ValueError(f"{self._path}: this ensemble is open for reading; open it with append=True")

    def _check_structure(self) -> int:
        """Check that all datasets have the shapes and types of an ensemble; return the number of configurations."""
        require_link_shape(self._path, self._links.shape[1:], self._links.dtype)
        capacity = len(self._links)
        for name, dataset in self._index.items():
            if dataset.shape != (capacity,) or dataset.dtype != INDEX[name]:
                raise mismatch(self._path, f"dataset /{name}", f"{INDEX[name]} of shape ({capacity},)", str(dataset))
        size = read_count(self._path, self._count)
        if size > capacity:
            raise mismatch(self._path, "dataset /count", f"0 to {capacity}", size)
        require_fitting(self._path, self._links, size * math.prod(self._links.shape[1:]) * self._links.dtype.itemsize)
        if self._links.id.get_offset() is None:
            raise mismatch(self._path, "dataset /links", "one block in the file", "chunks, or nothing allocated")
        return size

    def _append(self, links: ComplexArray, columns: Mapping[str, ArrayLike]) -> None:
        part, n = self._part, len(links)
        if not all(part.gather(links.shape[1:] == self._own_item)):
            raise ValueError(f"links: expected shape (n, {', '.join(map(str, self._own_item))}), got {links.shape}")
        for configuration in links:
            require_storable(configuration, part=part)
        rows = {name: column_of(name, column, n) for name, column in columns.items()}
        part.require_same("id, chain and log_weight", [row.tolist() for row in rows.values()])
        if not np.isfinite(rows["log_weight"]).all():
            raise ValueError(f"log_weight: expected finite numbers, got {columns['log_weight']!r}")
        pairs = list(zip(rows["chain"].tolist(), rows["id"].tolist(), strict=True))
        if len(self._pairs.union(pairs)) != len(self._pairs) + n:
            raise ValueError(f"(chain, id): expected pairs that are not in the file, got {pairs}")

        start, stop = self._size, self._size + n
        if stop > self._capacity:
            self._grow(max(stop, 2 * self._capacity))
        if part.rank == 0:
            reserve_on_disk(self._path, self._file, start, stop)
        part.gather(None)
        with named(self._path):
            sums = [
                self._write_links(start + i, configuration, self._crc_of_columns(rows, i))
                for i, configuration in enumerate(links)
            ]
            flush_to_disk(self._handle)
        part.gather(None)  # all links are on disk
        if part.rank == 0:
            for name, row in {**rows, "crc32": np.array(sums, np.uint32)}.items():
                self._index[name][start:stop] = row
            self._sync()
            self._count[()] = guarded(stop)
            self._sync()
        part.gather(None)
        self._size = stop
        self._pairs.update(pairs)

    def _write_links(self, number: int, links: ComplexArray, crc: PiecewiseCrc) -> int:
        """Write the own sites of a configuration; the crc32 of all sites, behind what has been added."""
        for piece in self._items.pieces:
            data = self._items.bytes_of(links[piece.corner])
            crc_of_items(crc, _SIGNED_BYTES, piece.places, data)
            write_items(self._handle, self._offset + number * self._items.nbytes, piece.places, data)
        return self._checksum(crc)

    def _read_links(self, number: int, links: ComplexArray, crc: PiecewiseCrc) -> int:
        """Inverse of `_write_links`."""
        for piece in self._items.pieces:
            data = self._read_piece(number, piece)
            crc_of_items(crc, _SIGNED_BYTES, piece.places, data)
            own = links[piece.corner]
            with np.errstate(invalid="ignore"):  # casting a signalling NaN warns; verify_links looks for NaN
                own[...] = data.view(self._items.dtype).reshape(own.shape)
        return self._checksum(crc)

    def _read_piece(self, number: int, piece: Piece) -> Bytes:
        start, size = self._offset + number * self._items.nbytes, self._items.item_bytes
        return read_items(self._handle, self._path, "dataset /links", start, piece.places, size)

    def _crc_of_columns(self, rows: Mapping[str, NDArray[Any]], i: int) -> PiecewiseCrc:
        """The beginning of a checksum: id, chain and log-weight, on the first process."""
        crc = PiecewiseCrc()
        if self._part.rank == 0:
            crc.add(0, b"".join(rows[name][i].tobytes() for name in _SIGNED))
        return crc

    def _checksum(self, crc: PiecewiseCrc) -> int:
        """The crc32 of id, chain, log-weight and links as they are stored, from the part of every process."""
        return reduce(xor, self._part.gather(crc.total(_SIGNED_BYTES + self._items.nbytes)))

    def _column(self, name: str) -> NDArray[Any]:
        with self._part.together():
            self._require_open()
            return self._read_index(name, 0, self._size)

    def _read_index(self, name: str, start: int, stop: int) -> NDArray[Any]:
        values = None
        if self._part.rank == 0:
            with errors_named(self._path):
                values = self._index[name][start:stop]
        shared: NDArray[Any] = _given(self._part.share(values))
        if not np.isfinite(shared).all():
            raise mismatch(self._path, f"dataset /{name}", "finite numbers", "NaN or infinity")
        return shared

    def _grow(self, capacity: int) -> None:
        """Replace the file by a copy of the given capacity, to which every process copies its sites."""
        offset = None

        def create(temporary: Path) -> None:
            nonlocal offset
            with new_file(temporary, _KIND, self.attributes) as file:
                allocate(file, capacity, self._links.shape[1:], self._links.dtype)
            with h5py.File(temporary, "r+", libver=LAYOUT, locking=False) as file:  # nobody else knows it
                reserve_on_disk(self._path, file, 0, self._size)
                for name in INDEX:
                    file[name][: self._size] = self._index[name][: self._size]
                file["count"][()] = guarded(self._size)
                offset = file["links"].id.get_offset()

        with shared_file(self._path, self._part, create) as handle:
            place = _given(self._part.share(offset))
            for number in range(self._size):
                for piece in self._items.pieces:
                    data = self._read_piece(number, piece)
                    write_items(handle, place + number * self._items.nbytes, piece.places, data)
        self.close()
        self._open()

    def _sync(self) -> None:
        with named(self._path):
            self._file.flush()
            os.fsync(self._file.id.get_vfd_handle())


def _given(value: Any) -> Any:
    """What the first process has given the others."""
    assert value is not None
    return value
