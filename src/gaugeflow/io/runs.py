"""Reading and writing items of a file at their places, run by run: whole sites of one process or of many.

A piece is as much of a process's sites as is in memory in the form of the file at one time. Its items are numbered as in the
file, so that a checksum which knows their numbers is the same however the sites are dealt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedIOBase, BufferedRandom
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaugeflow.filesystem import named
from gaugeflow.io.files import StrPath, atomic_path, flush_to_disk, mismatch
from gaugeflow.io.part import Part
from gaugeflow.lattice.tables import Box

PIECE_BYTES = 1 << 24

Bytes = NDArray[np.uint8]


class Piece(NamedTuple):
    """Items of a box in the order of the file.

    ``corner`` are the leading coordinates, counted from the corner of the box, ``extents`` those of the axes that are left, and
    ``places`` the numbers of the items in the file, in one dimension and ascending.
    """

    corner: tuple[int, ...]
    extents: tuple[int, ...]
    places: NDArray[np.int64]


def pieces(shape: tuple[int, ...], box: Box, item_bytes: int) -> Iterator[Piece]:
    """Cut a box of a file's items into pieces of at most 16 MiB (or one item).

    Parameters
    ----------
    shape : tuple of int
        Extents of all items, slowest first.
    box : Box
        Those of this process; it does not cross the boundaries.
    item_bytes : int
        Size of one.
    """
    extents = box.extents
    lead = next(
        k for k in range(len(extents) + 1) if item_bytes * math.prod(extents[k:]) <= PIECE_BYTES or k == len(extents)
    )
    inner = numbers(shape[lead:], [o + np.arange(n) for o, n in zip(box.origin[lead:], extents[lead:], strict=True)])
    stride = math.prod(shape[lead:])
    for index in np.ndindex(*extents[:lead]):
        first = 0
        for i, origin, n in zip(index, box.origin, shape, strict=False):
            first = first * n + origin + i
        yield Piece(index, extents[lead:], first * stride + inner)


def numbers(shape: tuple[int, ...], coordinates: list[NDArray[Any]]) -> NDArray[np.int64]:
    """Lexicographic numbers of the product of lists of coordinates, in one dimension."""
    found = np.zeros(1, np.int64)
    for n, here in zip(shape, coordinates, strict=True):
        found = (found[:, None] * n + here).reshape(-1)
    return found


def runs(places: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """First and last index (exclusive) of consecutive places."""
    ends = np.flatnonzero(np.diff(places) != 1) + 1
    yield from zip([0, *ends.tolist()], [*ends.tolist(), len(places)], strict=True)


def read_items(
    handle: BufferedIOBase, path: StrPath, field: str, offset: int, places: NDArray[np.int64], item_bytes: int
) -> Bytes:
    """Read items of a file.

    Parameters
    ----------
    handle : binary file
    path, field : path, str
        Named in errors.
    offset : int
        Where item 0 begins.
    places : ndarray, shape (n,), ascending
    item_bytes : int

    Returns
    -------
    ndarray, shape (n, item_bytes), of uint8

    Raises
    ------
    FormatError
        If the file ends before.
    """
    data = np.empty((len(places), item_bytes), np.uint8)
    view = data.reshape(-1).data
    for first, last in runs(places) if len(places) else ():
        handle.seek(offset + int(places[first]) * item_bytes)
        expected = (last - first) * item_bytes
        found = handle.readinto(view[first * item_bytes : last * item_bytes])
        if found != expected:
            raise mismatch(path, f"{field} length in bytes", f"{expected} from item {places[first]} on", found)
    return data


def write_items(handle: BufferedIOBase, offset: int, places: NDArray[np.int64], data: NDArray[Any]) -> None:
    """Write items ``(n, ...)`` at their places, see `read_items`."""
    flat = np.ascontiguousarray(data).reshape(len(places), -1).view(np.uint8)
    item_bytes, view = flat.shape[1], flat.reshape(-1).data
    for first, last in runs(places) if len(places) else ():
        handle.seek(offset + int(places[first]) * item_bytes)
        handle.write(view[first * item_bytes : last * item_bytes])


def read_sites(
    handle: BufferedIOBase,
    path: StrPath,
    field: str,
    offset: int,
    shape: tuple[int, ...],
    part: Part,
    site_bytes: int,
) -> Iterator[tuple[Piece, Bytes]]:
    """Read the own sites of a site-major record, piece by piece, see `read_items`."""
    for piece in pieces(shape, part.box(shape), site_bytes):
        yield piece, read_items(handle, path, field, offset, piece.places, site_bytes)


@contextmanager
def shared_file(path: StrPath, part: Part, create: Callable[[Path], None]) -> Iterator[BufferedRandom]:
    """Yield a new file, open for writing on all processes, that replaces ``path`` when all of them succeed.

    Parameters
    ----------
    path : path
    part : Part
        The first process creates the file and renames it.
    create : callable
        Gives the new path a file; called on the first process.
    """
    with named(path), ExitStack() as stack:
        temporary = None
        if part.rank == 0:
            temporary = stack.enter_context(atomic_path(path))
            create(temporary)
        temporary = part.share(temporary)
        assert temporary is not None
        with open(temporary, "r+b") as handle:
            yield handle
            handle.flush()
            if part.rank > 0:
                flush_to_disk(handle)
        part.gather(None)
