"""The registry of file formats, and reading and writing through it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from gaugeflow.errors import FormatError, whole_numbers
from gaugeflow.filesystem import named
from gaugeflow.io.arguments import argument
from gaugeflow.io.config import Config, require_storable
from gaugeflow.io.files import StrPath, file_size, readable
from gaugeflow.io.part import Part
from gaugeflow.lattice import Lattice

_GROUP = "gaugeflow.formats"
_BUILT_IN = {
    "nersc": "gaugeflow.io.nersc:FORMAT",
    "ildg": "gaugeflow.io.ildg:FORMAT",
    "scidac": "gaugeflow.io.ildg:SCIDAC_FORMAT",
    "milc": "gaugeflow.io.milc:FORMAT",
    "openqcd": "gaugeflow.io.openqcd:FORMAT",
    "hirep": "gaugeflow.io.hirep:FORMAT",
    "bridge": "gaugeflow.io.bridge:FORMAT",
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
        ``matches(start, size) -> bool``: whether a file of ``size`` bytes that begins with the (at most 256) bytes
        ``start`` is of this format. Built-in formats are asked first.
    read : callable
        ``read(path, *, shape, n_colours, verify) -> Config``; raises `FormatError` for a bad file.
    write : callable, optional
        ``write(path, config, *, precision, **options)``; raises ``ValueError`` for what the format cannot hold. It gets
        finite links only, in the group unless the caller of `write` insisted. None for a format that is only read.
    precisions : tuple of int
        Bits per real number that ``write`` knows.
    open_in_time : bool
        Whether ``write`` takes lattices that end in time, with links of zero around the end.
    in_parts : bool
        Whether many processes read and write a file together: ``read`` has the further argument ``lattice``, which is cut
        over them, and ``write`` looks at ``config.part``.
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes, int], bool]
    read: Callable[..., Config]
    write: Callable[..., None] | None = None
    precisions: tuple[int, ...] = (64, 32)
    open_in_time: bool = False
    in_parts: bool = False


def available_formats() -> list[str]:
    """Names of all formats, built in and from entry points."""
    return [entry.name for entry in _entries()]


def read(
    path: StrPath,
    *,
    format: str | None = None,
    shape: Sequence[int] | None = None,
    n_colours: int | None = None,
    verify: bool = True,
    lattice: Lattice | None = None,
) -> Config:
    """Read a gauge configuration.

    Parameters
    ----------
    path : path
        The file.
    format : str, optional
        Name of the format; by default it is detected from the content.
    shape : sequence of int, optional
        Lattice extents ``(t, z, y, x)``: needed for files that do not state them, otherwise an expectation to meet.
    n_colours : int, optional
        Number of colours, as ``shape``.
    verify : bool
        Check checksums, stated averages, unitarity and determinant. NaN and infinity are errors in any case.
    lattice : Lattice, optional
        The lattice that the file must have, in place of ``shape``. Where it is cut over processes, all of them call this and
        each reads what it holds: ``lattice.local.pack(config.links[None], 1)`` is its field. Checksums and averages are
        those of the whole file, and an error of one process is raised on all.

    Returns
    -------
    Config
        Links in double precision.

    Raises
    ------
    FormatError
        If the file is truncated, corrupted, inconsistent or of no known format.
    OSError
        If the file cannot be opened or read, with its name.
    ValueError
        If ``format`` is unknown, one process alone can read it but many are to, or ``shape`` is not that of ``lattice``.
    """
    extents = None if shape is None else whole_numbers("shape", shape)
    if lattice is not None:
        if extents not in (None, lattice.shape):
            raise ValueError(f"read: expected the shape {lattice.shape} of the lattice or none, got {extents}")
        extents = lattice.shape
    part = Part(lattice)
    with part.together(), named(path):
        chosen = _detect(path) if format is None else _find(format)
        if part.comm is None:
            return replace(chosen.read(path, shape=extents, n_colours=n_colours, verify=verify), name=path)
        _require_parts(chosen, part, path)
        config = chosen.read(path, shape=extents, n_colours=n_colours, verify=verify, lattice=lattice)
        return replace(config, name=path)


def write(
    path: StrPath,
    config: Config,
    *,
    format: str | None = None,
    precision: int = 64,
    verify: bool = True,
    **options: object,
) -> None:
    """Write a gauge configuration, atomically: the file appears complete or not at all.

    Parameters
    ----------
    path : path
        The file, which is replaced.
    config : Config
        Links and metadata. Where its lattice is cut over processes, all of them call this; the metadata of the first one are
        written.
    format : str, optional
        Name of the format; by default the suffix decides (.nersc, .ildg, .lime, .scidac, .milc, .openqcd, .oqcd, .h5,
        .hdf5).
    precision : {64, 32}
        Bits per real number.
    verify : bool
        Refuse links that are not in the group, as `read` does. NaN and infinity are errors in any case.
    **options
        Further options of the format, such as ``rows`` and ``byte_order``.

    Raises
    ------
    ValueError
        If no format fits, the format cannot hold the configuration, or a link is not finite or not in the group.
    """
    part = config.part
    with part.together(), named(path):
        chosen = find_format(path, format)
        assert chosen.write is not None  # find_format sees to it
        if part.comm is not None:
            _require_parts(chosen, part, path)
        require_storable(config.links, verify, open_in_time=chosen.open_in_time, part=part)
        chosen.write(path, config, precision=precision, **options)


def find_format(path: StrPath, name: str | None = None) -> Format:
    """Return the format of the given name, or the one that the suffix of a file to be written selects.

    Raises
    ------
    ValueError
        If there is none, or it is only read.
    """
    if name is not None:
        chosen = _find(name)
        if chosen.write is None:
            raise ValueError(f"format {name!r} is only read: expected {argument('format')}, one of {_written()}")
        return chosen
    suffix = Path(path).suffix.lower()
    for candidate in _formats():
        if suffix in candidate.suffixes and candidate.write is not None:
            return candidate
    raise ValueError(f"{path}: no format has the suffix {suffix!r}: pass {argument('format')}, one of {_written()}")


def _require_parts(chosen: Format, part: Part, path: StrPath) -> None:
    """Refuse a format that one process alone can read and write, and different calls on different processes."""
    part.require_same("file and format", (os.path.abspath(path), chosen.name))
    if not chosen.in_parts:
        raise ValueError(
            f"{os.fspath(path)}: expected a format that many processes read and write together, got {chosen.name!r}: let one "
            "process convert it"
        )


def _written() -> list[str]:
    return [candidate.name for candidate in _formats() if candidate.write is not None]


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
        start, size = handle.read(_DETECTION_BYTES), file_size(handle)
    for candidate in _formats():
        if candidate.matches(start, size):
            return candidate
    raise FormatError(
        f"{path}: format: expected one of {available_formats()}, found none of them: the file has {size} bytes and begins "
        f"with {readable(start)}. Links that you read yourself make a configuration: gaugeflow.io.Config(links), complex of "
        f"shape (d, *shape, N, N), direction and site axis 0 being time; gaugeflow.io.write stores it"
    )
