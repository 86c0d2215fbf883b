"""NERSC archive format (``4D_SU3_GAUGE`` and relatives).

A text header between ``BEGIN_HEADER`` and ``END_HEADER``, then the links, sites in the order t, z, y, x (x fastest),
directions x, y, z, t. The Gauge Connection document (qcd.nersc.gov) defines two- and three-row SU(3). For other N the
type ``4D_SU{N}_GAUGE_{N}x{N}`` is Grid's; ``4D_SU{N}_GAUGE`` holds N - 1 rows (GLU) or N rows (QDP++): the size tells.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gaugeflow.io.checksums import word_sum
from gaugeflow.io.config import (
    Config,
    Stated,
    empty_links,
    link_trace,
    plaquette,
    put_sites,
    sites_of,
    verify_links,
)
from gaugeflow.io.files import (
    StrPath,
    empty_file,
    file_size,
    integer_or_text,
    mismatch,
    parse_integer,
    parse_number,
    require_equal,
    single_line,
)
from gaugeflow.io.formats import Format
from gaugeflow.io.part import Part
from gaugeflow.io.runs import Bytes, Piece, pieces, read_sites, shared_file, write_items
from gaugeflow.lattice import Lattice

_LONGEST_HEADER = 1 << 16
_BEGIN, _END = b"BEGIN_HEADER", b"END_HEADER"
_LINE_ENDS = (b"\n", b"\r\n")  # files that went through Windows have the second
_DATATYPE = re.compile(r"4D_SU([1-9][0-9]?)_GAUGE(?:_([1-9][0-9]?)x([1-9][0-9]?))?")
_FLOATING_POINT = re.compile(r"IEEE(32|64)(BIG|LITTLE)?")
_ORDERS = {"BIG": ">", "LITTLE": "<"}
_WORD = 0xFFFFFFFF
_NOT_YET = "0" * 8
_TEXT_FIELDS = (
    "ENSEMBLE_ID",
    "ENSEMBLE_LABEL",
    "SEQUENCE_NUMBER",
    "CREATOR",
    "CREATOR_HARDWARE",
    "CREATION_DATE",
    "ARCHIVE_DATE",
)


def read(
    path: StrPath,
    *,
    shape: tuple[int, ...] | None = None,
    n_colours: int | None = None,
    verify: bool = True,
    lattice: Lattice | None = None,
) -> Config:
    """Read a NERSC archive configuration.

    Parameters
    ----------
    path : path
    shape, n_colours : optional
        What the caller expects; a file that says otherwise is an error.
    verify : bool
        Check CHECKSUM, LINK_TRACE, PLAQUETTE (all three required then), unitarity and determinant.
    lattice : Lattice, optional
        Where it is cut over processes, each reads its own sites.

    Returns
    -------
    Config
        Links in double precision, whatever the precision of the file.

    Raises
    ------
    FormatError
        If anything about the file is wrong.

    Notes
    -----
    ``IEEE32`` and ``IEEE64`` without a byte order mean big endian to some programs and little endian to others: the
    order under which the checksum agrees is taken, big endian if neither does.
    """
    part = Part(lattice)
    with open(path, "rb") as handle:
        header, offset = _read_header(handle, path)
        extents = tuple(parse_integer(path, key, _field(path, header, key), least=1) for key in _dimension_keys(4))[
            ::-1
        ]
        require_equal(path, "lattice shape", shape, extents)
        precision, order = _parse_floating_point(path, header)
        payload = file_size(handle) - offset
        n, rows = _parse_datatype(path, header, payload, math.prod(extents) * 4 * 2 * precision // 8)
        require_equal(path, "number of colours", n_colours, n)
        checksum = _parse_checksum(path, header) if verify or "CHECKSUM" in header else None

        def sites() -> Iterator[tuple[Piece, Bytes]]:
            return read_sites(handle, path, "data", offset, extents, part, rows * n * precision)

        if order is None:
            little = sum(part.gather(sum(word_sum(data.view("<u4")) for _, data in sites())))
            order = "<" if little & _WORD == checksum else ">"
        links, own = empty_links(extents, n, part), 0
        for piece, data in sites():
            own += word_sum(data.view(order + "u4"))
            matrices = data.view(f"{order}c{precision // 4}").reshape(-1, 4, rows, n)
            put_sites(links, piece, matrices if rows == n else _complete_rows(matrices))
    found = sum(part.gather(own)) & _WORD
    if verify:
        require_equal(path, "CHECKSUM", f"{checksum:08x}", f"{found:08x}")

    metadata: dict[str, object] = {"format": "nersc", "precision": precision, "rows": rows, "checksum": f"{found:08x}"}
    metadata["byte_order"] = "big" if order == ">" else "little"
    metadata |= {key.lower(): header[key] for key in _TEXT_FIELDS if key in header}
    if "SEQUENCE_NUMBER" in header:
        metadata["sequence_number"] = integer_or_text(header["SEQUENCE_NUMBER"])
    stated = []
    for key, average in (("LINK_TRACE", link_trace), ("PLAQUETTE", plaquette)):
        if verify or key in header:
            value = parse_number(path, key, _field(path, header, key))
            metadata[key.lower()] = value
            stated.append(Stated(key, value, average))
    verify_links(path, links, stated, verify, part=part)
    return Config(links, metadata, lattice=lattice)


def write(
    path: StrPath, config: Config, *, precision: int = 64, byte_order: str = "big", rows: int | None = None
) -> None:
    """Write a four-dimensional SU(N) configuration in the NERSC archive format, atomically.

    Parameters
    ----------
    path : path
    config : Config
        ``sequence_number``, ``ensemble_id``, ``ensemble_label``, ``creator``, ``creator_hardware``, ``creation_date``
        and ``archive_date`` of its metadata go into the header.
    precision : {64, 32}
    byte_order : {"big", "little"}
    rows : int, optional
        Rows of each matrix to store: N (default) or N - 1.

    Raises
    ------
    ValueError
        If the field does not fit the format: not 4D, N < 2, an unknown option.
    """
    n = config.n_colours
    rows = n if rows is None else rows
    if len(config.shape) != 4 or not 2 <= n < 100:
        raise ValueError(f"NERSC format: expected a 4D SU(N) field, got shape {config.shape} and N = {n}")
    if precision not in (32, 64) or byte_order not in ("big", "little") or rows not in (n, n - 1):
        raise ValueError(
            f"NERSC format: expected precision 32 or 64, byte_order 'big' or 'little', rows {n - 1} or {n}, "
            f"got {precision!r}, {byte_order!r}, {rows!r}"
        )
    part, order = config.part, _ORDERS[byte_order.upper()]
    link_average, plaquette_average = link_trace(config.links, part), plaquette(config.links, part)
    header = {
        "HDR_VERSION": "1.0",
        "DATATYPE": f"4D_SU{n}_GAUGE" + (f"_{n}x{n}" if rows == n else ""),
        "STORAGE_FORMAT": "1.0",
        **{key: str(extent) for key, extent in zip(_dimension_keys(4), config.shape[::-1], strict=True)},
        "LINK_TRACE": f"{link_average:.12g}",
        "PLAQUETTE": f"{plaquette_average:.12g}",
        **{f"BOUNDARY_{i}": "PERIODIC" for i in range(1, 5)},
        "CHECKSUM": _NOT_YET,
        **{key: single_line(config.metadata, key.lower()) for key in _TEXT_FIELDS if key.lower() in config.metadata},
        "FLOATING_POINT": f"IEEE{precision}{byte_order.upper()}",
    }
    lines = "".join(f"{key} = {value}\n" for key, value in header.items())
    start = part.share(_BEGIN + b"\n" + lines.encode() + _END + b"\n")
    if len(start) > _LONGEST_HEADER:
        raise ValueError(
            f"NERSC format: expected metadata for a header of {_LONGEST_HEADER} bytes, got {len(start)} bytes"
        )
    site_bytes = rows * n * precision
    size, own = len(start) + math.prod(config.shape) * site_bytes, 0
    with shared_file(path, part, empty_file(size)) as handle:
        for piece in pieces(config.shape, part.box(config.shape), site_bytes):
            data = np.ascontiguousarray(sites_of(config.links, piece, f"{order}c{precision // 4}")[..., :rows, :])
            own += word_sum(data.reshape(-1).view(order + "u4"))
            write_items(handle, len(start), piece.places, data)
        checksum = sum(part.gather(own)) & _WORD
        if part.rank == 0:
            handle.seek(0)
            handle.write(start.replace(f"CHECKSUM = {_NOT_YET}".encode(), f"CHECKSUM = {checksum:08x}".encode(), 1))


def _read_header(handle: BinaryIO, path: StrPath) -> tuple[dict[str, str], int]:
    """Return the header's fields and the offset of the data."""
    start = handle.read(_LONGEST_HEADER)
    line_end = _line_end(start)
    if line_end is None:
        raise mismatch(path, "first line", "BEGIN_HEADER", start[:20])
    last = line_end + _END + line_end
    end = start.find(last)
    if end < 0:
        raise mismatch(path, "header", f"END_HEADER within {_LONGEST_HEADER} bytes", "none")
    header: dict[str, str] = {}
    for line in start[len(_BEGIN + line_end) : end].decode(errors="replace").split("\n"):
        key, equals, value = (part.strip() for part in line.partition("="))
        if line.strip() and not (key and equals):
            raise mismatch(path, "header line", "KEY = VALUE", line)
        if key in header:
            raise mismatch(path, f"header field {key}", "one value", [header[key], value])
        if key:
            header[key] = value
    return header, end + len(last)


def _line_end(start: bytes) -> bytes | None:
    """How lines of the header end; None where the file does not begin with one."""
    return next((line_end for line_end in _LINE_ENDS if start.startswith(_BEGIN + line_end)), None)


def _field(path: StrPath, header: dict[str, str], key: str) -> str:
    if key not in header:
        raise mismatch(path, f"header field {key}", "present", "absent")
    return header[key]


def _dimension_keys(d: int) -> list[str]:
    return [f"DIMENSION_{i}" for i in range(1, d + 1)]


def _parse_floating_point(path: StrPath, header: dict[str, str]) -> tuple[int, str | None]:
    """Precision in bits, and the byte order ``>`` or ``<`` if it is stated."""
    text = _field(path, header, "FLOATING_POINT")
    match = _FLOATING_POINT.fullmatch(text)
    if not match:
        raise mismatch(path, "FLOATING_POINT", "IEEE32 or IEEE64, with BIG, LITTLE or nothing", text)
    return int(match[1]), _ORDERS[match[2]] if match[2] else None


def _parse_datatype(path: StrPath, header: dict[str, str], payload: int, bytes_per_entry: int) -> tuple[int, int]:
    """Number of colours and stored rows; ``bytes_per_entry`` is the size of one matrix entry of all links."""
    text = _field(path, header, "DATATYPE")
    match = _DATATYPE.fullmatch(text)
    if not match or int(match[1]) < 2 or match[2] not in (None, match[1]) or match[3] not in (None, match[1]):
        raise mismatch(path, "DATATYPE", "4D_SU{N}_GAUGE or 4D_SU{N}_GAUGE_{N}x{N} with N > 1", text)
    n = int(match[1])
    possible = [n] if match[2] else [n - 1] if n == 3 else [n - 1, n]
    for rows in possible:
        if payload == bytes_per_entry * n * rows:
            return n, rows
    sizes = " or ".join(str(bytes_per_entry * n * rows) for rows in possible)
    raise mismatch(path, "data length in bytes", f"{sizes} (from DATATYPE, DIMENSION_i, FLOATING_POINT)", payload)


def _parse_checksum(path: StrPath, header: dict[str, str]) -> int:
    text = _field(path, header, "CHECKSUM")
    if not re.fullmatch(r"(?:0x)?[0-9a-fA-F]{1,8}", text):
        raise mismatch(path, "CHECKSUM", "up to 8 hexadecimal digits", text)
    return int(text, 16)


def _complete_rows(data: NDArray[Any]) -> NDArray[np.complex128]:
    """Append the last row of SU(N) matrices, the conjugate of the generalised cross product of the others."""
    n = data.shape[-1]
    with np.errstate(over="ignore", invalid="ignore"):
        rows = data.astype(np.complex128)
        if n == 3:
            last = np.cross(rows[..., 0, :], rows[..., 1, :])
        else:
            minors = [np.linalg.det(np.delete(rows, j, axis=-1)) * (-1) ** (n - 1 + j) for j in range(n)]
            last = np.stack(minors, axis=-1)
        return np.concatenate([rows, last.conj()[..., None, :]], axis=-2)


FORMAT = Format("nersc", (".nersc",), lambda start, size: _line_end(start) is not None, read, write, in_parts=True)
