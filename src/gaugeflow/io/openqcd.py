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
from io import BufferedRandom, BufferedReader
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaugeflow.io.config import Config, Stated, empty_links, is_open_in_time, plaquette, verify_links
from gaugeflow.io.files import StrPath, empty_file, file_size, mismatch, require_equal
from gaugeflow.io.formats import Format
from gaugeflow.io.part import Part
from gaugeflow.io.runs import read_items, shared_file, write_items
from gaugeflow.lattice import Lattice

_HEADER = struct.Struct("<4id")
_TOLERANCE = 1e-10  # the average is stored in double precision, and takes the place of a checksum
_SITE_BYTES = 4 * 9 * 16
_POINT_BYTES = 2 * _SITE_BYTES
_SITE_AXES = (0, 3, 2, 1)  # (t, z, y, x) from (t, x, y, z), and back
_FILE_AXES = (0, 1, 4, 3, 2, 5, 6)  # of links, with those of sites in the order of the file, and back


def read(
    path: StrPath,
    *,
    shape: tuple[int, ...] | None = None,
    n_colours: int | None = None,
    verify: bool = True,
    lattice: Lattice | None = None,
) -> Config:
    """Read a configuration that openQCD exported.

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
        ``metadata["plaquette"]`` is what the file states divided by 3: 1 for the unit field on a periodic lattice.
        ``metadata["boundary"]`` is ``"open"`` where the lattice ends in time, and else absent.

    Raises
    ------
    FormatError
        If anything about the file is wrong. Fields with Schroedinger functional boundary conditions are refused because
        the stated average has plaquettes at a time slice that is not stored.
    """
    part = Part(lattice)
    with open(path, "rb") as handle:
        start = handle.read(_HEADER.size)
        require_equal(path, "header length in bytes", _HEADER.size, len(start))
        *extents, stated = _HEADER.unpack(start)
        if any(extent < 2 or extent % 2 for extent in extents):
            raise mismatch(path, "lattice shape (t, x, y, z)", "even extents of at least 2", tuple(extents))
        whole = tuple(extents[axis] for axis in _SITE_AXES)
        require_equal(path, "lattice shape", shape, whole)
        require_equal(path, "number of colours", n_colours, 3)
        require_equal(path, "data length in bytes", math.prod(whole) * _SITE_BYTES, file_size(handle) - _HEADER.size)
        links = empty_links(whole, 3, part)
        _read_points(handle, path, whole, part, links.transpose(_FILE_AXES))

    value = stated / 3
    is_open = is_open_in_time(links, part)
    stated_average = Stated("average plaquette / 3", value, plaquette, _TOLERANCE)
    verify_links(path, links, [stated_average], verify, open_in_time=is_open, part=part)
    metadata: dict[str, object] = {"format": "openqcd", "precision": 64, "byte_order": "little", "plaquette": value}
    if is_open:
        metadata["boundary"] = "open"
    return Config(links, metadata, lattice=lattice)


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
    part, extents = config.part, tuple(config.shape[axis] for axis in _SITE_AXES)
    average = plaquette(config.links, part)
    size = _HEADER.size + math.prod(extents) * _SITE_BYTES
    layers = [part.layer(config.links, axis, ahead=False).transpose(_FILE_AXES) for axis in _SITE_AXES]
    with shared_file(path, part, empty_file(size)) as handle:
        if part.rank == 0:
            handle.write(_HEADER.pack(*extents, 3 * average))
        _write_points(handle, config.shape, part, config.links.transpose(_FILE_AXES), layers)


def _read_points(
    handle: BufferedReader, path: StrPath, shape: tuple[int, ...], part: Part, links: NDArray[np.complex128]
) -> None:
    """Fill the own links, sites in the order of the file, from the odd points here and one step ahead."""
    own, whole = links.shape[1:5], tuple(shape[axis] for axis in _SITE_AXES)
    wide = tuple(n if n == extent else n + 1 for n, extent in zip(own, whole, strict=True))
    for t, x in np.ndindex(wide[:2]):
        points, places = _odd_points((t, x), wide, whole, part)
        beyond = (points >= np.array(own)[:, None]).sum(axis=0)
        order = np.argsort(places)[(beyond <= 1)[np.argsort(places)]]  # corners hold nothing of ours
        points, here = points[:, order], beyond[order] == 0
        data = read_items(handle, path, "data", _HEADER.size, places[order], _POINT_BYTES)
        matrices = data.view("<c16").reshape(-1, 8, 3, 3)
        for k, mu in enumerate(_SITE_AXES):
            links[(mu, *points[:, here])] = matrices[here, 2 * k]
            back = points.copy()
            back[k] -= 1
            if own[k] == whole[k]:
                back[k] %= own[k]
            ours = ((back >= 0) & (back < np.array(own)[:, None])).all(axis=0)
            links[(mu, *back[:, ours])] = matrices[ours, 2 * k + 1]


def _write_points(
    handle: BufferedRandom,
    shape: tuple[int, ...],
    part: Part,
    links: NDArray[Any],
    layers: list[NDArray[Any]],
) -> None:
    """Write the own odd points; ``layers`` are the links behind the own ones, sites in the order of the file."""
    own, whole = links.shape[1:5], tuple(shape[axis] for axis in _SITE_AXES)
    for t, x in np.ndindex(own[:2]):
        points, places = _odd_points((t, x), own, whole, part)
        data = np.empty((len(places), 8, 3, 3), "<c16")
        for k, mu in enumerate(_SITE_AXES):
            data[:, 2 * k] = links[(mu, *points)]
            back = points.copy()
            back[k] -= 1
            outside = back[k] < 0
            back[k, outside] = 0
            data[:, 2 * k + 1] = np.where(outside[:, None, None], layers[k][(mu, *_at(points, k))], links[(mu, *back)])
        write_items(handle, _HEADER.size, places, data)


def _at(points: NDArray[Any], k: int) -> NDArray[Any]:
    """Points of a layer of extent 1 along axis k."""
    found = points.copy()
    found[k] = 0
    return found


def _odd_points(
    start: tuple[int, int], extents: tuple[int, ...], whole: tuple[int, ...], part: Part
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Odd points at one t and x: coordinates ``(4, n)`` counted from the own corner, and numbers in the file.

    Axes are those of the file. A pair of neighbours along z has one odd point, so that its number is half of the site's.
    """
    points = np.indices((1, 1, *extents[2:])).reshape(4, -1)
    points[:2] += np.array(start)[:, None]
    origin = part.box(tuple(whole[axis] for axis in _SITE_AXES)).origin
    sites = (points + np.array([origin[axis] for axis in _SITE_AXES])[:, None]) % np.array(whole)[:, None]
    odd = sites.sum(axis=0) % 2 == 1
    return points[:, odd], np.ravel_multi_index(tuple(sites[:, odd]), whole) // 2


def _matches(start: bytes, size: int) -> bool:
    """There is no magic number: four even extents that explain the size of the file."""
    if len(start) < _HEADER.size:
        return False
    extents = _HEADER.unpack(start[: _HEADER.size])[:4]
    even = all(extent >= 2 and extent % 2 == 0 for extent in extents)
    return even and size == _HEADER.size + math.prod(extents) * _SITE_BYTES


FORMAT = Format(
    "openqcd", (".openqcd", ".oqcd"), _matches, read, write, precisions=(64,), open_in_time=True, in_parts=True
)
