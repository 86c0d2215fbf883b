"""Reading and writing files safely: errors with a name, sizes checked first, atomic replacement."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gaugeflow.errors import FormatError

StrPath = str | os.PathLike[str]

_LONGEST_QUOTE = 80
_INTEGER = re.compile(r"[0-9]{1,18}")


def mismatch(path: StrPath, field: str, expected: object, found: object) -> FormatError:
    """Build the error that names the file, the field that failed, what was expected and what was found."""
    plain = isinstance(found, (int, float)) or (isinstance(found, str) and found.isprintable() and found)
    quoted = str(found) if plain else repr(found)
    if len(quoted) > _LONGEST_QUOTE:
        quoted = quoted[:_LONGEST_QUOTE] + "..."
    return FormatError(f"{os.fspath(path)}: {field}: expected {expected}, found {quoted}")


def parse_integer(path: StrPath, field: str, text: str, *, least: int = 0) -> int:
    """Convert decimal digits to an integer of at least ``least``; anything else is a `FormatError`."""
    if not _INTEGER.fullmatch(text) or int(text) < least:
        raise mismatch(path, field, f"an integer of at least {least}", text)
    return int(text)


def integer_or_text(text: str) -> int | str:
    """Convert plain decimal digits to an integer, leave any other text as it is."""
    return int(text) if _INTEGER.fullmatch(text) else text


def parse_number(path: StrPath, field: str, text: str) -> float:
    """Convert text to a float; anything else is a `FormatError`."""
    try:
        return float(text)
    except ValueError:
        raise mismatch(path, field, "a number", text) from None


def require_equal(path: StrPath, field: str, expected: object, found: object) -> None:
    """Raise a `FormatError` unless ``found`` equals ``expected``; ``None`` for ``expected`` means no expectation."""
    if expected is not None and found != expected:
        raise mismatch(path, field, expected, found)


def file_size(handle: BinaryIO) -> int:
    """Size in bytes of an open file."""
    return os.fstat(handle.fileno()).st_size


def read_array(handle: BinaryIO, path: StrPath, field: str, dtype: str, count: int) -> NDArray[Any]:
    """Read exactly ``count`` numbers at the current position.

    The caller has compared ``count`` with the size of the file, so nothing larger than the file is allocated.
    """
    array = np.fromfile(handle, dtype, count)
    require_equal(path, field + " length", count, array.size)
    return array


def single_line(metadata: Mapping[str, object], key: str, default: str = "") -> str:
    """Return a metadata value as text for a one-line header field.

    Raises
    ------
    ValueError
        If the text has control characters (a line break would forge further header fields).
    """
    text = str(metadata.get(key, default))
    if not text.isprintable():
        raise ValueError(f"metadata {key!r}: expected one printable line, got {text!r}")
    return text


@contextmanager
def atomic_path(path: StrPath) -> Iterator[Path]:
    """Yield a temporary path in the same folder that replaces ``path`` when the block succeeds.

    The temporary file is flushed to disk before the rename, so that ``path`` holds either the complete old or the
    complete new content whatever happens. When the block raises, the temporary file is removed and ``path`` stays.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
