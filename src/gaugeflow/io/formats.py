"""The registry of file formats, and reading and writing through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from gaugeflow.io.config import Config
from gaugeflow.io.files import StrPath, mismatch

_GROUP = "gaugeflow.formats"
_BUILT_IN = {
    "nersc": "gaugeflow.io.nersc:FORMAT",
    "ildg": "gaugeflow.io.ildg:FORMAT",
    "scidac": "gaugeflow.io.ildg:SCIDAC_FORMAT",
    "milc": "gaugeflow.io.milc:FORMAT",
    "hdf5": "gaugeflow.io.hdf5:FORMAT",
}
_DETECTION_BYTES = 256


@dataclass(frozen=True)
class Format:
    """A file format for single configurations.

    Other packages add one by an entry point in the group ``gaugeflow.formats`` that names an instance.

    Parameters
    ----------
    name : str
        What ``format=`` selects; the name of the entry point must be the same.
    suffixes : tuple of str
        File name endings that select the format on writing, with the dot, in lower case.
    matches : callable
        Whether the first 256 bytes of a file belong to this format.
    read : callable
        ``read(path, *, shape, n_colours, verify) -> Config``; raises `FormatError` for a bad file.
    write : callable
        ``write(path, config, *, precision, **options)``.
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes], bool]
    read: Callable[..., Config]
    write: Callable[..., None]


def available_formats() -> list[str]:
    """Names of all formats, built in and from entry points."""
    return [entry.name for entry in _entries()]


def read(
    path: StrPath,
    *,
    format: str | None = None,
    shape: tuple[int, ...] | None = None,
    n_colours: int | None = None,
    verify: bool = True,
) -> Config:
    """Read a gauge configuration.

    Parameters
    ----------
    path : path
    format : str, optional
        Name of the format; by default it is detected from the content.
    shape : tuple of int, optional
        Lattice extents ``(t, z, y, x)``: needed for files that do not state them, otherwise an expectation to meet.
    n_colours : int, optional
        Number of colours, as ``shape``.
    verify : bool
        Check checksums, stated averages, unitarity and determinant. NaN and infinity are errors in any case.

    Returns
    -------
    Config
        Links in double precision.

    Raises
    ------
    FormatError
        If the file is truncated, corrupted, inconsistent or of no known format.
    OSError
        If the file cannot be opened.
    ValueError
        If ``format`` is unknown.
    """
    chosen = _detect(path) if format is None else _find(format)
    return chosen.read(path, shape=shape, n_colours=n_colours, verify=verify)


def write(path: StrPath, config: Config, *, format: str | None = None, precision: int = 64, **options: object) -> None:
    """Write a gauge configuration, atomically: the file appears complete or not at all.

    Parameters
    ----------
    path : path
    config : Config
    format : str, optional
        Name of the format; by default the suffix decides (.nersc, .ildg, .lime, .scidac, .milc, .h5, .hdf5).
    precision : {64, 32}
        Bits per real number.
    **options
        Further options of the format, such as ``rows`` and ``byte_order``.

    Raises
    ------
    ValueError
        If no format fits, or the format cannot hold the configuration.
    """
    if format is None:
        suffix = Path(path).suffix.lower()
        chosen = next((candidate for candidate in _formats() if suffix in candidate.suffixes), None)
        if chosen is None:
            raise ValueError(f"{path}: no format has the suffix {suffix!r}: pass one of format={available_formats()}")
    else:
        chosen = _find(format)
    chosen.write(path, config, precision=precision, **options)


def _entries() -> Iterator[EntryPoint]:
    """Built-in formats first: searching the installed packages for others takes milliseconds."""
    yield from (EntryPoint(name, value, _GROUP) for name, value in _BUILT_IN.items())
    yield from (entry for entry in entry_points(group=_GROUP) if entry.name not in _BUILT_IN)


def _formats() -> Iterator[Format]:
    """Load formats one by one, so that reading a NERSC file does not import h5py."""
    for entry in _entries():
        yield entry.load()


def _find(name: str) -> Format:
    for entry in _entries():
        if entry.name == name:
            found: Format = entry.load()
            return found
    raise ValueError(f"unknown format {name!r}: expected one of {available_formats()}")


def _detect(path: StrPath) -> Format:
    with open(path, "rb") as handle:
        start = handle.read(_DETECTION_BYTES)
    for candidate in _formats():
        if candidate.matches(start):
            return candidate
    raise mismatch(path, "format", f"one of {available_formats()}", start[:20])
