"""Arrays and attributes in HDF5 files, verified on reading.

Foreign or damaged files must not reach the parts of the HDF5 library that trust their input (a damaged heap of
variable-length strings makes it loop forever). Hence: the 1.8 file layout, whose metadata carry checksums; only numbers
and strings of fixed length; attributes as one JSON text; no compression; a crc32 for every dataset.
"""

from __future__ import annotations

import errno
import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import reduce
from operator import xor
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaugeflow.errors import FormatError
from gaugeflow.filesystem import FileLock, HeldError, named, open_without_locks
from gaugeflow.io.checksums import PiecewiseCrc
from gaugeflow.io.files import SparseImage, StrPath, atomic_path, mismatch, require_equal
from gaugeflow.io.part import Part
from gaugeflow.io.runs import Bytes, Piece, pieces, runs, shared_file, write_items
from gaugeflow.lattice.tables import Box

SIGNATURE = b"\x89HDF\r\n\x1a\n"
LAYOUT = ("v108", "v108")
_APPENDING = "another process has it open for appending"
_ours: set[tuple[int, int]] = set()
"""Device and number of the files that this process, or the one that it is a fork of, has open for appending.

HDF5 hands out a file once more that its own process has open, and a fork has the locks of its parent: no lock keeps them apart.
"""
_NUMBERS = frozenset(np.dtype(code).name for code in "?bhilBHILfdFD")


@contextmanager
def new_file(path: StrPath, kind: str, attributes: Mapping[str, object] | None) -> Iterator[h5py.File]:
    """Create a file of the given kind that appears at ``path``, complete, when the block succeeds.

    Raises
    ------
    TypeError
        If an attribute is nothing that JSON can hold.
    OSError
        If the file cannot be written, for instance because the disk is full.

    Notes
    -----
    The file is built in memory, where space that is allocated and not written costs nothing.
    """
    image = SparseImage()
    with built(image, kind, attributes) as file:
        yield file
    with atomic_path(path) as temporary:
        image.save(temporary)


@contextmanager
def built(image: SparseImage, kind: str, attributes: Mapping[str, object] | None) -> Iterator[h5py.File]:
    """Create a file of the given kind in memory."""
    with h5py.File(image, "w", libver=LAYOUT) as file:
        _write_text(file, "format", kind)
        _write_text(file, "attributes", json.dumps(dict(attributes or {}), default=_json_value, indent=1))
        yield file


def reserve(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> h5py.Dataset:
    """Create an array with all its space in the file, without writing to it."""
    in_advance = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    in_advance.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    in_advance.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return group.create_dataset(name, shape, dtype, dcpl=in_advance)


def write_field(
    path: StrPath,
    kind: str,
    attributes: Mapping[str, object] | None,
    name: str,
    field: NDArray[Any],
    dtype: np.dtype[Any],
    site_axes: tuple[int, int],
    part: Part,
    numbers: Mapping[str, float] | None = None,
) -> None:
    """Write a file with one field, atomically: every process writes its own sites.

    Parameters
    ----------
    path, kind, attributes
        As for `new_file`; those of the first process count.
    name : str
        Of the field, which `read_field` reads.
    field : ndarray, shape (\\*lead, \\*sites, \\*trail)
        The sites of ``part``.
    dtype : dtype
        Type of its numbers in the file.
    site_axes : (int, int)
        First and last (exclusive) of its axes that count sites.
    part : Part
    numbers : mapping, optional
        What `write_number` stores with the field.
    """
    items, crc = FieldItems(field.shape, dtype, site_axes, part), PiecewiseCrc()
    for piece in items.pieces:
        crc_of_items(crc, 0, piece.places, items.bytes_of(field[piece.corner]))
    checksum = reduce(xor, part.gather(crc.total(items.nbytes)))
    image, offset = SparseImage(), None
    if part.rank == 0:
        with built(image, kind, attributes) as file:
            dataset = reserve(file, name, items.shape, dtype)
            dataset.attrs["crc32"] = np.uint32(checksum)
            for key, value in (numbers or {}).items():
                write_number(dataset, key, value)
            offset = dataset.id.get_offset()
    with shared_file(path, part, image.save) as handle:
        start = part.share(offset)
        assert start is not None  # the first process has given it
        for piece in items.pieces:
            write_items(handle, start, piece.places, items.bytes_of(field[piece.corner]))


@contextmanager
def opened(path: StrPath, kind: str, mode: str = "r") -> Iterator[h5py.File]:
    """Open a file of the given kind; whatever HDF5 raises in the block becomes a `FormatError`."""
    with open(path, "rb") as handle:
        require_equal(path, "signature", SIGNATURE, handle.read(len(SIGNATURE)))
    with ExitStack() as stack:
        stack.enter_context(errors_named(path))
        file = stack.enter_context(_open(path, mode, stack))
        require_equal(path, "format", kind, _read_text(path, file, "format"))
        yield file


def _open(path: StrPath, mode: str, stack: ExitStack) -> h5py.File:
    """Open a file; without locks of the file system, one that is written to gets a lock of its own, which ``stack`` ends."""
    if mode != "r":
        stack.enter_context(_only_once(path))

    def opener(locking: str | bool) -> h5py.File:
        if locking is False and mode != "r":
            try:
                stack.enter_context(FileLock(f"{os.fspath(path)}.lock"))
            except HeldError as error:
                raise BlockingIOError(errno.EAGAIN, f"{_APPENDING}: {error.owner}", os.fspath(path)) from None
        return h5py.File(path, mode, libver=LAYOUT, locking=locking)

    return open_without_locks(path, opener)


@contextmanager
def _only_once(path: StrPath) -> Iterator[None]:
    """Refuse a file that this process has open for appending."""
    status = os.stat(path)
    file = (status.st_dev, status.st_ino)
    if file in _ours:
        raise BlockingIOError(errno.EAGAIN, "this process, or its parent, has it open for appending", os.fspath(path))
    _ours.add(file)
    try:
        yield
    finally:
        _ours.discard(file)


def is_kind(path: StrPath, kind: str) -> bool:
    """Whether a file says that it is of the given kind."""
    with open(path, "rb") as handle:
        if handle.read(len(SIGNATURE)) != SIGNATURE:
            return False
    with errors_named(path), ExitStack() as stack:
        file = stack.enter_context(_open(path, "r", stack))
        return _is_stored(file, "format", h5py.Dataset) and _read_text(path, file, "format") == kind


@contextmanager
def errors_named(path: StrPath) -> Iterator[None]:
    """Convert the many exceptions that h5py raises for a damaged file to `FormatError`."""
    try:
        with named(path, _APPENDING):
            yield
    except (FormatError, BlockingIOError, PermissionError):
        raise
    except (
        OSError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
        OverflowError,
        MemoryError,
    ) as error:
        raise mismatch(path, "HDF5 structure", "a readable file", f"{type(error).__name__}: {error}") from error


def read_attributes(path: StrPath, file: h5py.File) -> dict[str, Any]:
    """Attributes that `new_file` was given; tuples and arrays come back as lists."""
    attributes = json.loads(_read_text(path, file, "attributes"))
    if not isinstance(attributes, dict):
        raise mismatch(path, "attributes", "a JSON object", attributes)
    return attributes


def write_array(group: h5py.Group, name: str, array: ArrayLike) -> None:
    """Store a numerical array with its crc32.

    Raises
    ------
    ValueError
        If the name is empty, a dot or has a slash.
    TypeError
        If the type is not boolean, integer, or real or complex of single or double precision.
    """
    _require_name(group, name)
    data = np.asarray(array)
    if data.dtype.name not in _NUMBERS:
        raise TypeError(f"{name}: expected a numerical array, got dtype {data.dtype}")
    _store(group, name, data)


def read_array(path: StrPath, group: h5py.Group, name: str, *, verify: bool = True) -> NDArray[Any]:
    """Read an array that `write_array` stored and verify its crc32 unless told otherwise."""
    return _read(path, stored_dataset(path, group, name), verify)


def read_field(
    path: StrPath, dataset: h5py.Dataset, site_axes: tuple[int, int], part: Part, *, verify: bool = True
) -> NDArray[np.complex128]:
    """Read the own sites of a complex field that `write_field` stored, in double precision, and verify the crc32 of all.

    Parameters
    ----------
    path : path
        Named in errors.
    dataset : h5py.Dataset
    site_axes : (int, int)
        First and last (exclusive) of its axes that count sites.
    part : Part
    verify : bool
        Whether to look at the crc32.
    """
    require_fitting(path, dataset, dataset.nbytes)
    first, last = site_axes
    box = part.box(dataset.shape[first:last])
    shape = (*dataset.shape[:first], *box.extents, *dataset.shape[last:])
    items, crc = FieldItems(shape, dataset.dtype, site_axes, part), PiecewiseCrc()
    field = np.empty(shape, np.complex128)
    origin = (*(0,) * first, *box.origin)
    for piece in items.pieces:
        lead = tuple(o + i for o, i in zip(origin, piece.corner, strict=False))
        rest = zip(origin[len(lead) :], piece.extents, strict=True)
        data = np.asarray(dataset[(*lead, *(slice(o, o + n) for o, n in rest))])
        if verify:
            crc_of_items(crc, 0, piece.places, items.bytes_of(data))
        with np.errstate(invalid="ignore"):  # casting a signalling NaN warns; the caller looks for NaN
            field[piece.corner] = data
    if verify:
        found = reduce(xor, part.gather(crc.total(items.nbytes)))
        require_equal(path, f"{dataset.name} crc32", read_number(path, dataset, "crc32"), found)
    return field


def write_number(dataset: h5py.Dataset, name: str, value: float) -> None:
    """Store a number as an attribute of a dataset."""
    dataset.attrs[name] = np.float64(value)


def read_number(path: StrPath, dataset: h5py.Dataset, name: str) -> int | float:
    """Read an attribute of a dataset that is one real number."""
    if name not in dataset.attrs:
        raise mismatch(path, f"attribute {name} of {dataset.name}", "present", "absent")
    attribute = dataset.attrs.get_id(name)
    if attribute.shape != () or attribute.dtype.name not in _NUMBERS or attribute.dtype.kind == "c":
        raise mismatch(path, f"attribute {name} of {dataset.name}", "a real number", str(attribute.dtype))
    number: int | float = dataset.attrs[name].item()
    return number


def new_group(group: h5py.Group, name: str) -> h5py.Group:
    """Create a group; raises as `write_array` for a bad name."""
    _require_name(group, name)
    return group.create_group(name)


def is_stored_group(group: h5py.Group, name: str) -> bool:
    """Whether the name leads to a group in this very file."""
    return _is_stored(group, name, h5py.Group)


def stored_group(path: StrPath, group: h5py.Group, name: str) -> h5py.Group:
    """Return a group that is in this very file."""
    return _stored(path, group, name, h5py.Group)


def stored_dataset(path: StrPath, group: h5py.Group, name: str) -> h5py.Dataset:
    """Return a numerical dataset that is in this very file."""
    dataset = _stored(path, group, name, h5py.Dataset)
    if dataset.dtype.name not in _NUMBERS:
        raise mismatch(path, f"dataset {dataset.name} type", "a number", str(dataset.dtype))
    return dataset


def require_fitting(path: StrPath, dataset: h5py.Dataset, nbytes: int) -> None:
    """Refuse to allocate more than the file can hold: nothing is compressed."""
    size = os.path.getsize(path)
    if nbytes > size:
        raise mismatch(path, f"dataset {dataset.name} size in bytes", f"at most {size}, that of the file", nbytes)


def crc32(array: NDArray[Any], start: int = 0) -> int:
    """Checksum of the array's bytes in C order and its own byte order; ``start`` continues an earlier one."""
    return zlib.crc32(np.ascontiguousarray(array).data, start)


class FieldItems:
    """The items of a field in a file, one for each site and entry of the leading axes, and those of this process.

    Parameters
    ----------
    shape : tuple of int
        Of the own part of the field.
    dtype : dtype
        Type of its numbers in the file.
    site_axes : (int, int)
        First and last (exclusive) of its axes that count sites.
    part : Part

    Attributes
    ----------
    shape : tuple of int
        Of the whole field.
    item_bytes, nbytes : int
        Size of one item, and of all.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], site_axes: tuple[int, int], part: Part) -> None:
        first, last = site_axes
        sites = shape[first:last] if part.lattice is None or part.comm is None else part.lattice.shape
        own = part.box(tuple(sites))
        self.shape = (*shape[:first], *sites, *shape[last:])
        self.dtype = dtype
        self.item_bytes = math.prod(shape[last:]) * dtype.itemsize
        self.nbytes = math.prod(self.shape) * dtype.itemsize
        self._box = Box((*(0,) * first, *own.origin), (*shape[:first], *own.extents))
        self._count = last

    @property
    def pieces(self) -> Iterator[Piece]:
        """Own items, piece by piece."""
        return pieces(self.shape[: self._count], self._box, self.item_bytes)

    def bytes_of(self, data: NDArray[Any]) -> Bytes:
        """Numbers as the bytes of the file, one row for each item."""
        return np.ascontiguousarray(data, self.dtype).reshape(-1).view(np.uint8).reshape(-1, self.item_bytes)


def crc_of_items(crc: PiecewiseCrc, offset: int, places: NDArray[np.int64], data: Bytes) -> None:
    """Add items to a crc32 in which item 0 begins at an offset."""
    size, view = data.shape[1], data.reshape(-1).data
    for first, last in runs(places):
        crc.add(offset + int(places[first]) * size, view[first * size : last * size])


def _store(group: h5py.Group, name: str, data: NDArray[Any]) -> None:
    group.create_dataset(name, data=data).attrs["crc32"] = np.uint32(crc32(data))


def _read(path: StrPath, dataset: h5py.Dataset, verify: bool = True) -> NDArray[Any]:
    require_fitting(path, dataset, dataset.nbytes)
    data = np.asarray(dataset[()])
    if verify:
        require_equal(path, f"{dataset.name} crc32", read_number(path, dataset, "crc32"), crc32(data))
    return data


def _write_text(file: h5py.File, name: str, text: str) -> None:
    _store(file, name, np.asarray(text.encode("ascii")))


def _read_text(path: StrPath, file: h5py.File, name: str) -> str:
    dataset = _stored(path, file, name, h5py.Dataset)
    if dataset.dtype.kind != "S" or dataset.shape != ():
        raise mismatch(path, f"dataset {dataset.name} type", "text of fixed length", str(dataset.dtype))
    text: bytes = _read(path, dataset).item()
    return text.decode("ascii")


def _stored(path: StrPath, group: h5py.Group, name: str, kind: type) -> Any:
    if not _is_stored(group, name, kind):
        field = f"{kind.__name__.lower()} {group.name.rstrip('/')}/{name}"
        raise mismatch(path, field, "present in the file", "absent")
    item = group[name]
    if kind is h5py.Dataset and (item.external or item.is_virtual or item.shape is None):
        raise mismatch(path, f"dataset {item.name}", "stored in the file", "external, virtual or empty")
    return item


def _is_stored(group: h5py.Group, name: str, kind: type) -> bool:
    """Follow hard links only: soft and external links of a foreign file could lead anywhere."""
    return isinstance(group.get(name, getlink=True), h5py.HardLink) and isinstance(group[name], kind)


def _require_name(group: h5py.Group, name: str) -> None:
    if name in ("", ".") or "/" in name:
        raise ValueError(f"name under {group.name}: expected one without '/' that is not empty or '.', got {name!r}")


def _json_value(value: object) -> object:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"expected something that JSON can hold, got {type(value).__name__}")
