"""HiRep's own format: 4D SU(N) in double precision, big endian on every machine.

Five 32-bit integers N, T, X, Y, Z, the average plaquette (1 for the unit field), then for every site, ordered
lexicographically in (t, x, y, z) with z running fastest, the links in the directions t, x, y, z as N x N matrices, row by
row. For N = 2 a link may be the four real numbers of a quaternion instead, [q0 + i q3, -q2 + i q1; q2 + i q1, q0 - i q3]:
the size of the file tells. Sources: ``LibHR/IO/archive.c``, ``LibHR/IO/archive_su2quat.c`` and
``LibHR/Observables/avr_plaquette.c`` of claudiopica/HiRep. The format is only read.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaugeflow.io.config import Config, Stated, empty_links, plaquette, verify_links
from gaugeflow.io.files import StrPath, file_size, mismatch, require_equal
from gaugeflow.io.formats import Format
from gaugeflow.io.part import Part
from gaugeflow.io.runs import pieces, read_items
from gaugeflow.lattice import Lattice
from gaugeflow.lattice.tables import Box

_HEADER = struct.Struct(">5id")
_MOST_COLOURS = 99
_TOLERANCE = 1e-10  # stored in double precision, in the place of a checksum
_AXES = (0, 3, 2, 1)  # (t, z, y, x) from (t, x, y, z): of sites and of directions


def read(
    path: StrPath,
    *,
    shape: tuple[int, ...] | None = None,
    n_colours: int | None = None,
    verify: bool = True,
    lattice: Lattice | None = None,
) -> Config:
    """Read a configuration that HiRep wrote.

    Parameters
    ----------
    path : path
    shape, n_colours : optional
        What the caller expects; a file that says otherwise is an error.
    verify : bool
        Check the average plaquette, unitarity and determinant. The format has no checksum.
    lattice : Lattice, optional
        Where it is cut over processes, each reads its own sites.

    Returns
    -------
    Config
        Links in double precision.

    Raises
    ------
    FormatError
        If anything about the file is wrong, or its boundary conditions are not periodic (its average is another then).
    """
    part = Part(lattice)
    with open(path, "rb") as handle:
        start = handle.read(_HEADER.size)
        require_equal(path, "header length in bytes", _HEADER.size, len(start))
        n, *extents, stated = _HEADER.unpack(start)
        if not 2 <= n <= _MOST_COLOURS:
            raise mismatch(path, "number of colours", f"2 to {_MOST_COLOURS}", n)
        if min(extents) < 1:
            raise mismatch(path, "lattice shape (t, x, y, z)", "positive extents", tuple(extents))
        whole = tuple(extents[axis] for axis in _AXES)
        require_equal(path, "lattice shape", shape, whole)
        require_equal(path, "number of colours", n_colours, n)
        possible = _link_numbers(n)
        links_in_all = math.prod(extents) * 4
        payload = file_size(handle) - _HEADER.size
        numbers = next((count for count in possible if payload == links_in_all * count * 8), None)
        if numbers is None:
            sizes = " or ".join(str(links_in_all * count * 8) for count in possible)
            raise mismatch(path, "data length in bytes", f"{sizes} (from N and the extents)", payload)
        links = empty_links(whole, n, part)
        own = part.box(whole)
        box = Box(tuple(own.origin[axis] for axis in _AXES), tuple(own.extents[axis] for axis in _AXES))
        for piece in pieces(tuple(extents), box, 4 * numbers * 8):
            data = read_items(handle, path, "data", _HEADER.size, piece.places, 4 * numbers * 8)
            reals = data.view(">f8").reshape(*piece.extents, 4, numbers)
            plain = numbers == 2 * n * n
            matrices = reals.view(">c16").reshape(*piece.extents, 4, n, n) if plain else _from_quaternions(reals)
            for mu, axis in enumerate(_AXES):
                with np.errstate(invalid="ignore"):  # casting a signalling NaN warns; verify_links looks for NaN
                    links[axis].transpose(*_AXES, 4, 5)[piece.corner] = matrices[..., mu, :, :]
    verify_links(path, links, [Stated("average plaquette", stated, plaquette, _TOLERANCE)], verify, part=part)
    metadata: dict[str, object] = {"format": "hirep", "precision": 64, "byte_order": "big", "plaquette": stated}
    return Config(links, metadata, lattice=lattice)


def _link_numbers(n: int) -> tuple[int, ...]:
    """How many real numbers a link may have."""
    return (8, 4) if n == 2 else (2 * n * n,)


def _from_quaternions(data: NDArray[Any]) -> NDArray[np.complex128]:
    """SU(2) matrices ``(..., 2, 2)`` from quaternions ``(..., 4)``."""
    q0, q1, q2, q3 = np.moveaxis(data.astype(np.float64), -1, 0)
    rows = [np.stack([q0 + 1j * q3, -q2 + 1j * q1], axis=-1), np.stack([q2 + 1j * q1, q0 - 1j * q3], axis=-1)]
    return np.stack(rows, axis=-2)


def _matches(start: bytes, size: int) -> bool:
    """There is no magic number: N and four extents that explain the size of the file."""
    if len(start) < _HEADER.size:
        return False
    n, *extents, _ = _HEADER.unpack(start[: _HEADER.size])
    if not 2 <= n <= _MOST_COLOURS or min(extents) < 1:
        return False
    return any(size == _HEADER.size + math.prod(extents) * 32 * count for count in _link_numbers(n))


FORMAT = Format("hirep", (), _matches, read, precisions=(64,), in_parts=True)
