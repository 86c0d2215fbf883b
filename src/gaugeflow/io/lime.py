"""LIME records, the container of ILDG and SciDAC files.

A file is a sequence of records: a header of 144 bytes (big endian: magic number, version, flags, length, type name) and
the data, padded to a multiple of eight bytes. Writers set the message-begin and message-end flags differently, so
reading ignores them. Source: the LIME documentation of usqcd-software/c-lime.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaugeflow.io.files import StrPath, file_size, mismatch, require_equal

MAGIC = 0x456789AB
_VERSION = 1
_BEGIN, _END = 0x8000, 0x4000
_HEADER = struct.Struct(">IHHQ128s")
_LONGEST_TEXT = 1 << 24


class Record(NamedTuple):
    """Type name of a record, and where its data are in the file (both in bytes)."""

    kind: str
    offset: int
    length: int


def scan(handle: BinaryIO, path: StrPath) -> list[Record]:
    """List all records of a LIME file without reading their data.

    Raises
    ------
    FormatError
        If the file is not a complete sequence of records.
    """
    size = file_size(handle)
    records: list[Record] = []
    position = 0
    while position < size:
        name = f"LIME record {len(records)}"
        handle.seek(position)
        start = handle.read(_HEADER.size)
        require_equal(path, f"{name} header length in bytes", _HEADER.size, len(start))
        magic, version, _, length, kind = _HEADER.unpack(start)
        require_equal(path, f"{name} magic number", f"{MAGIC:08x}", f"{magic:08x}")
        require_equal(path, f"{name} version", _VERSION, version)
        text = kind.split(b"\0")[0]
        if not text or not text.isascii():
            raise mismatch(path, f"{name} type", "an ASCII name", text)
        offset = position + _HEADER.size
        position = offset + _padded(length)
        if position > size:
            raise mismatch(path, f"{name} ({text.decode()}) length in bytes", f"at most {size - offset}", length)
        records.append(Record(text.decode(), offset, length))
    return records


def read_text(handle: BinaryIO, path: StrPath, record: Record) -> str:
    """Read a record of text, without the NUL that many writers append; undecodable bytes are replaced.

    Raises
    ------
    FormatError
        If it is longer than 16 MiB.
    """
    if record.length > _LONGEST_TEXT:
        raise mismatch(path, f"{record.kind} length in bytes", f"at most {_LONGEST_TEXT}", record.length)
    handle.seek(record.offset)
    return handle.read(record.length).rstrip(b"\0").decode(errors="replace")


def require_readable(records: Sequence[tuple[str, bytes | NDArray[Any] | int]]) -> None:
    """``ValueError`` where a record of text is longer than `read_text` reads."""
    for kind, data in records:
        if isinstance(data, bytes) and len(data) > _LONGEST_TEXT:
            raise ValueError(f"text of the record {kind}: expected at most {_LONGEST_TEXT} bytes, got {len(data)}")


def write_message(handle: BinaryIO, records: Sequence[tuple[str, bytes | NDArray[Any] | int]]) -> list[int]:
    """Write one message: records of which the first has the begin flag and the last the end flag.

    Parameters
    ----------
    handle : binary file
    records : sequence of (type name, data)
        A number in place of the data leaves so many bytes to be written later.

    Returns
    -------
    list of int
        Where the data of each record begin.
    """
    offsets = []
    for i, (kind, data) in enumerate(records):
        if isinstance(data, int):
            content, length = None, data
        else:
            content = memoryview(data) if isinstance(data, bytes) else data.reshape(-1).view(np.uint8).data
            length = content.nbytes
        flags = (_BEGIN if i == 0 else 0) | (_END if i == len(records) - 1 else 0)
        handle.write(_HEADER.pack(MAGIC, _VERSION, flags, length, kind.encode()))
        offsets.append(handle.tell())
        if content is None:
            handle.seek(length, os.SEEK_CUR)
        else:
            handle.write(content)
        handle.write(bytes(_padded(length) - length))
    return offsets


def _padded(length: int) -> int:
    return (length + 7) // 8 * 8
