"""openQCD's export format: 4D SU(3) in double precision, little endian on every machine.

Four 32-bit integers N0, N1, N2, N3 (t, x, y, z), the average plaquette, that is the sum of Re tr over all plaquettes
divided by 6 N0 N1 N2 N3 (3 for the unit field), then for every odd point the eight links at it in the directions +0, -0,
+1, -1, ..., -3, as 3 x 3 matrices, row by row. Points are ordered lexicographically, x3 running fastest; a point is odd
if the sum of its coordinates is, and "-mu" is the link from its neighbour in direction -mu to it. Sources:
``export_cnfg`` in ``modules/archive/archive.c`` and ``main/README.io`` of openQCD; the assignment of N1, N2, N3 to x,
y, z is that of Chroma (``CERN`` format) and Grid (``OpenQcdIO.h``). Only lattices of even extents can be stored so. Open
boundary conditions are links of zero in direction 0 from the last time slice on; the average of such a file is that of the
plaquettes that exist, still divided by 6 N0 N1 N2 N3.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

from gaugeflow.interop import LAYOUTS
from gaugeflow.io.config import Config, Stated, is_open_in_time, plaquette, verify_links
from gaugeflow.io.files import StrPath, atomic_path, file_size, mismatch, read_array, require_equal
from gaugeflow.io.formats import Format
from gaugeflow.lattice import Lattice

_HEADER = struct.Struct("<4id")
_TOLERANCE = 1e-10  # the average is stored in double precision, and takes the place of a checksum
_SITE_BYTES = 4 * 9 * 16
_SITE_AXES = (0, 3, 2, 1)  # (t, z, y, x) from (t, x, y, z), and back


def read(
    path: StrPath, *, shape: tuple[int, ...] | None = None, n_colours: int | None = None, verify: bool = True
) -> Config:
    """Read a configuration that openQCD exported.

    Parameters
    ----------
    path : path
    shape, n_colours : optional
        What the caller expects; a file that says otherwise is an error.
    verify : bool
        Check the average plaquette, unitarity and determinant. The format has no checksum.

    Returns
    -------
    Config
        ``metadata["plaquette"]`` is what the file states divided by 3: 1 for the unit field on a periodic lattice.
        ``metadata["boundary"]`` is ``"open"`` where the lattice ends in time, and else absent.

    Raises
    ------
    FormatError
        If anything about the file is wrong. Fields with Schroedinger functional boundary conditions are refused because
        the stated average has plaquettes at a time slice that is not stored.
    """
    with open(path, "rb") as handle:
        start = handle.read(_HEADER.size)
        require_equal(path, "header length in bytes", _HEADER.size, len(start))
        *extents, stated = _HEADER.unpack(start)
        if any(extent < 2 or extent % 2 for extent in extents):
            raise mismatch(path, "lattice shape (t, x, y, z)", "even extents of at least 2", tuple(extents))
        lattice = tuple(extents[axis] for axis in _SITE_AXES)
        require_equal(path, "lattice shape", shape, lattice)
        require_equal(path, "number of colours", n_colours, 3)
        length = math.prod(extents) * _SITE_BYTES
        require_equal(path, "data length in bytes", length, file_size(handle) - _HEADER.size)
        data = read_array(handle, path, "data", "<c16", length // 16)

    links = np.empty((4, *lattice, 3, 3), np.complex128)
    links.reshape(-1, 3, 3)[_order(lattice)] = data.reshape(-1, 3, 3)
    value = stated / 3
    is_open = is_open_in_time(links)
    stated_average = Stated("average plaquette / 3", value, plaquette, _TOLERANCE)
    verify_links(path, links, [stated_average], verify, open_in_time=is_open)
    metadata: dict[str, object] = {"format": "openqcd", "precision": 64, "byte_order": "little", "plaquette": value}
    if is_open:
        metadata["boundary"] = "open"
    return Config(links, metadata)


def write(path: StrPath, config: Config, *, precision: int = 64) -> None:
    """Write a four-dimensional SU(3) configuration as openQCD does, atomically.

    Parameters
    ----------
    path : path
    config : Config
        None of its metadata can be stored. Links may be zero where open boundary conditions have none.
    precision : {64}

    Raises
    ------
    ValueError
        If the field does not fit the format.
    """
    if len(config.shape) != 4 or config.n_colours != 3 or any(extent % 2 for extent in config.shape):
        raise ValueError(
            f"openQCD format: expected a 4D SU(3) field of even extents, "
            f"got shape {config.shape} and N = {config.n_colours}"
        )
    if precision != 64:
        raise ValueError(f"openQCD format: expected precision=64 (it has no other), got {precision!r}")
    extents = tuple(config.shape[axis] for axis in _SITE_AXES)
    data = np.ascontiguousarray(config.links.reshape(-1, 3, 3)[_order(config.shape)], dtype="<c16")
    with atomic_path(path) as temporary, open(temporary, "xb") as handle:
        handle.write(_HEADER.pack(*extents, 3 * plaquette(config.links)))
        handle.write(data.reshape(-1).view(np.uint8).data)


def _order(shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Numbers of our links in the order of the file."""
    return LAYOUTS["openqcd"].links(Lattice(shape)).reshape(-1)


def _matches(start: bytes, size: int) -> bool:
    """There is no magic number: four even extents that explain the size of the file."""
    if len(start) < _HEADER.size:
        return False
    extents = _HEADER.unpack(start[: _HEADER.size])[:4]
    even = all(extent >= 2 and extent % 2 == 0 for extent in extents)
    return even and size == _HEADER.size + math.prod(extents) * _SITE_BYTES


FORMAT = Format("openqcd", (".openqcd", ".oqcd"), _matches, read, write, precisions=(64,), open_in_time=True)
