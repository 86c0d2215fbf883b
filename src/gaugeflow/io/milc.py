"""MILC's lattice formats: SU(3), single precision, either byte order; written is version 5, read is version 1 as well.

Version 5 has a binary header (magic number 20103, extents nx ny nz nt, a 64-byte time stamp, site order), the checksums
``sum29`` and ``sum31``, then the links, sites in the order t, z, y, x (x fastest), directions x, y, z, t. Version 1, that of
the versions 1 to 4 of the code, has the magic number 59354, the extents, two couplings in single precision and the same
links; integers of 64 bits, big endian, in files from the T3D. Source: ``generic/io_lat4.c``, ``include/io_lat.h`` and
``include/file_types.h`` of milc-qcd/milc_qcd.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaugeflow.io.checksums import combined, rotated_xor
from gaugeflow.io.config import Config, empty_links, put_sites, sites_of, verify_links
from gaugeflow.io.files import StrPath, empty_file, file_size, mismatch, require_equal, single_line
from gaugeflow.io.formats import Format
from gaugeflow.io.part import Part
from gaugeflow.io.runs import Bytes, Piece, pieces, read_sites, shared_file, write_items
from gaugeflow.lattice import Lattice

_MAGIC = 20103
_NATURAL_ORDER = 0
_TIME_STAMP_BYTES = 64
_HEADER_BYTES = 96
_SITE_BYTES = 4 * 9 * 8
_STARTS = {_MAGIC.to_bytes(4, "little"): "<", _MAGIC.to_bytes(4, "big"): ">"}
_OLD_MAGIC = 59354
_OLD_INTEGERS = ("<i4", ">i4", ">i8")
_OLD_STARTS = {np.array(_OLD_MAGIC, integer).tobytes(): integer for integer in _OLD_INTEGERS}


def read(
    path: StrPath,
    *,
    shape: tuple[int, ...] | None = None,
    n_colours: int | None = None,
    verify: bool = True,
    lattice: Lattice | None = None,
) -> Config:
    """Read a MILC configuration of version 5 or 1.

    Parameters
    ----------
    path : path
    shape, n_colours : optional
        What the caller expects; a file that says otherwise is an error.
    verify : bool
        Check both checksums, which version 1 does not have, unitarity and determinant. The formats state no averages.
    lattice : Lattice, optional
        Where it is cut over processes, each reads its own sites.

    Returns
    -------
    Config
        Links in double precision; ``metadata["checksum"]`` is ``"sum29 sum31"``, and ``metadata["couplings"]`` of version 1
        the two numbers of its header.

    Raises
    ------
    FormatError
        If anything about the file is wrong.
    """
    part = Part(lattice)
    with open(path, "rb") as handle:
        start = handle.read(_HEADER_BYTES)
        old = next((integer for magic, integer in _OLD_STARTS.items() if start.startswith(magic)), None)
        if old is not None:
            return _read_old(path, handle, start, old, shape, n_colours, verify, part)
        order = _STARTS.get(start[:4])
        if order is None:
            raise mismatch(path, "magic number", f"{_MAGIC} or {_OLD_MAGIC} in either byte order", start[:4])
        require_equal(path, "header length in bytes", _HEADER_BYTES, len(start))
        header = np.frombuffer(start, _header_type(order))[0]
        require_equal(path, "site order", _NATURAL_ORDER, int(header["order"]))
        extents = _extents(path, header["extents"], shape, n_colours)
        sites = _read_links(path, handle, _HEADER_BYTES, extents, part)
        links, own = empty_links(extents, 3, part), []
        for piece, data in sites:
            own.append(rotated_xor(data.view(order + "u4"), piece.places))
            put_sites(links, piece, data.view(order + "c8").reshape(-1, 4, 3, 3))
    checksum = combined(part.gather(combined(own)))
    if verify:
        stated, found = ("{:08x} {:08x}".format(*map(int, sums)) for sums in (header["checksums"], checksum))
        require_equal(path, "checksums sum29 and sum31", stated, found)
    verify_links(path, links, [], verify, part=part)
    metadata: dict[str, object] = {
        "format": "milc",
        "precision": 32,
        "byte_order": "big" if order == ">" else "little",
        "checksum": f"{checksum[0]:08x} {checksum[1]:08x}",
        "creation_date": bytes(header["time_stamp"]).split(b"\0")[0].decode(errors="replace").strip(),
    }
    return Config(links, metadata, lattice=lattice)


def _read_old(
    path: StrPath,
    handle: BufferedReader,
    start: bytes,
    integer: str,
    shape: tuple[int, ...] | None,
    n_colours: int | None,
    verify: bool,
    part: Part,
) -> Config:
    """Read version 1, of which the first bytes are in ``start``; ``integer`` is the type of those in the header."""
    order = integer[0]
    header_type = np.dtype([("magic", integer), ("extents", integer, 4), ("couplings", order + "f4", 2)])
    if len(start) < header_type.itemsize:
        raise mismatch(path, "header length in bytes", header_type.itemsize, len(start))
    header = np.frombuffer(start, header_type, 1)[0]
    extents = _extents(path, header["extents"], shape, n_colours)
    sites = _read_links(path, handle, header_type.itemsize, extents, part)
    links = empty_links(extents, 3, part)
    for piece, data in sites:
        put_sites(links, piece, data.view(order + "c8").reshape(-1, 4, 3, 3))
    verify_links(path, links, [], verify, part=part)
    byte_order = "big" if order == ">" else "little"
    couplings = [float(coupling) for coupling in header["couplings"]]
    metadata: dict[str, object] = {
        "format": "milc",
        "precision": 32,
        "byte_order": byte_order,
        "couplings": couplings,
    }
    return Config(links, metadata, lattice=part.lattice)


def _extents(
    path: StrPath, extents: NDArray[Any], shape: tuple[int, ...] | None, n_colours: int | None
) -> tuple[int, ...]:
    """Extents ``(t, z, y, x)`` from those of a header, compared with what the caller expects."""
    found = tuple(int(extent) for extent in extents[::-1])
    if min(found) < 1:
        raise mismatch(path, "lattice shape", "positive extents", found)
    require_equal(path, "lattice shape", shape, found)
    require_equal(path, "number of colours", n_colours, 3)
    return found


def _read_links(
    path: StrPath, handle: BufferedReader, header_bytes: int, extents: tuple[int, ...], part: Part
) -> Iterator[tuple[Piece, Bytes]]:
    """The own sites of the data, which must be of the right size."""
    size = math.prod(extents) * _SITE_BYTES
    require_equal(path, "data length in bytes", size, file_size(handle) - header_bytes)
    return read_sites(handle, path, "data", header_bytes, extents, part, _SITE_BYTES)


def write(path: StrPath, config: Config, *, precision: int = 32, byte_order: str = "little") -> None:
    """Write a four-dimensional SU(3) configuration in MILC version 5 format, atomically.

    Parameters
    ----------
    path : path
    config : Config
        ``creation_date`` of its metadata becomes the time stamp.
    precision : {32}
        The format is single precision; ask for it in so many words.
    byte_order : {"little", "big"}

    Raises
    ------
    ValueError
        If the field does not fit the format.
    """
    if len(config.shape) != 4 or config.n_colours != 3:
        raise ValueError(f"MILC format: expected a 4D SU(3) field, got shape {config.shape} and N = {config.n_colours}")
    if precision != 32 or byte_order not in ("big", "little"):
        raise ValueError(
            f"MILC format: expected precision=32 (it has no other) and byte_order 'big' or 'little', "
            f"got {precision!r} and {byte_order!r}"
        )
    time_stamp = single_line(config.metadata, "creation_date").encode()
    if len(time_stamp) >= _TIME_STAMP_BYTES:
        raise ValueError(f"metadata 'creation_date': expected fewer than {_TIME_STAMP_BYTES} bytes, got {time_stamp!r}")
    order = ">" if byte_order == "big" else "<"
    part, own = config.part, []
    with shared_file(path, part, empty_file(_HEADER_BYTES + math.prod(config.shape) * _SITE_BYTES)) as handle:
        for piece in pieces(config.shape, part.box(config.shape), _SITE_BYTES):
            data = sites_of(config.links, piece, order + "c8")
            own.append(rotated_xor(data.reshape(len(data), -1).view(order + "u4"), piece.places))
            write_items(handle, _HEADER_BYTES, piece.places, data)
        checksum = combined(part.gather(combined(own)))
        if part.rank == 0:
            header = np.zeros(1, _header_type(order))
            header[0] = (_MAGIC, config.shape[::-1], time_stamp, _NATURAL_ORDER, checksum)
            handle.seek(0)
            handle.write(header.tobytes())


def _header_type(order: str) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("magic", order + "u4"),
            ("extents", order + "i4", 4),
            ("time_stamp", f"S{_TIME_STAMP_BYTES}"),
            ("order", order + "i4"),
            ("checksums", order + "u4", 2),
        ]
    )


def _matches(start: bytes, size: int) -> bool:
    return start[:4] in _STARTS or any(start.startswith(magic) for magic in _OLD_STARTS)


FORMAT = Format("milc", (".milc",), _matches, read, write, precisions=(32,), in_parts=True)
