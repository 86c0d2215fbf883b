"""Reading and writing files safely: errors with a name, sizes checked first, atomic replacement."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from gaugeflow.errors import FormatError
from gaugeflow.filesystem import require_replaceable, sync_folder

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


def readable(start: bytes) -> str:
    """The first bytes of a file for a message: as text where they are text, and otherwise as hexadecimal numbers."""
    text = start[: _LONGEST_QUOTE // 2].decode("ascii", errors="replace")
    if (
        text
        and all(letter.isprintable() or letter in "\t\r\n" for letter in text)
        and "\N{REPLACEMENT CHARACTER}" not in text
    ):
        return f"the text {text!r}"
    return f"the bytes {start[: _LONGEST_QUOTE // 4].hex(' ')}" if start else "nothing: the file is empty"


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


class SparseImage:
    """The content of a file in memory, as written piece by piece: holes take no space.

    Offers what HDF5 needs of a file object.  HDF5 does not survive a disk that fills up while it writes: closing fails,
    and the process crashes when it ends.  What this collects is written by `save`, whose errors are those of Python.
    """

    def __init__(self) -> None:
        self._pieces: list[tuple[int, bytes]] = []
        self._size = 0
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset from the start, the position or the end."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        """Position."""
        return self._position

    def write(self, data: Any) -> int:
        """Keep a copy of a piece."""
        piece = bytes(data)
        self._pieces.append((self._position, piece))
        self._position += len(piece)
        self._size = max(self._size, self._position)
        return len(piece)

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what was written last at each place, and zeros in holes."""
        view = memoryview(buffer).cast("B")
        start = self._position
        count = max(0, min(len(view), self._size - start))
        view[:count] = bytes(count)
        for offset, piece in self._pieces:
            low, high = max(offset, start), min(offset + len(piece), start + count)
            if low < high:
                view[low - start : high - start] = piece[low - offset : high - offset]
        self._position += count
        return count

    def read(self, size: int = -1) -> bytes:
        """Bytes from the position on, as `readinto`."""
        buffer = bytearray(max(0, self._size - self._position) if size < 0 else size)
        return bytes(buffer[: self.readinto(buffer)])

    def truncate(self, size: int) -> int:
        """Set the size; HDF5 does not shrink files."""
        self._size = size
        return size

    def flush(self) -> None:
        """Nothing waits to be written."""

    def save(self, path: StrPath) -> None:
        """Write the file; its holes are holes of the file system.

        Raises
        ------
        FileExistsError
            If ``path`` exists.
        OSError
            If it cannot be written.
        """
        with open(path, "xb") as handle:
            handle.truncate(self._size)
            for offset, piece in self._pieces:
                handle.seek(offset)
                handle.write(piece)


def file_size(handle: BinaryIO) -> int:
    """Size in bytes of an open file."""
    return os.fstat(handle.fileno()).st_size


def empty_file(size: int) -> Callable[[Path], None]:
    """What creates a file of a size that holds nothing."""

    def create(path: Path) -> None:
        with open(path, "xb") as handle:
            handle.truncate(size)

    return create


def flush_to_disk(handle: BinaryIO) -> None:
    """Have the file system keep what was written to an open file."""
    handle.flush()
    os.fsync(handle.fileno())


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
    complete new content whatever happens. When the block raises, the temporary file is removed and ``path`` stays; an
    ``OSError`` of the temporary file, for instance of a full disk, names ``path``.

    Raises
    ------
    FileExistsError
        If ``path`` is a device, a pipe or a socket.
    """
    require_replaceable(path)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if error.errno is None or error.filename not in (None, temporary, os.fspath(temporary)):
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)
