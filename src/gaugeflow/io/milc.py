"""MILC version 5 lattice format: SU(3), single precision, either byte order.

A binary header (magic number 20103, extents nx ny nz nt, a 64-byte time stamp, site order), the checksums ``sum29`` and
``sum31``, then the links, sites in the order t, z, y, x (x fastest), directions x, y, z, t. Source:
``generic/io_lat4.c`` and ``include/file_types.h`` of milc-qcd/milc_qcd.
"""

from __future__ import annotations

import math

import numpy as np

from gaugeflow.io.checksums import rotated_xor
from gaugeflow.io.config import Config, from_site_major, to_site_major, verify_links
from gaugeflow.io.files import (
    StrPath,
    atomic_path,
    file_size,
    mismatch,
    read_array,
    require_equal,
    single_line,
)
from gaugeflow.io.formats import Format

_MAGIC = 20103
_NATURAL_ORDER = 0
_TIME_STAMP_BYTES = 64
_HEADER_BYTES = 96
_STARTS = {_MAGIC.to_bytes(4, "little"): "<", _MAGIC.to_bytes(4, "big"): ">"}


def read(
    path: StrPath, *, shape: tuple[int, ...] | None = None, n_colours: int | None = None, verify: bool = True
) -> Config:
    """Read a MILC version 5 configuration.

    Parameters
    ----------
    path : path
    shape, n_colours : optional
        What the caller expects; a file that says otherwise is an error.
    verify : bool
        Check both checksums, unitarity and determinant. The format states no averages.

    Returns
    -------
    Config
        Links in double precision; ``metadata["checksum"]`` is ``"sum29 sum31"``.

    Raises
    ------
    FormatError
        If anything about the file is wrong.
    """
    with open(path, "rb") as handle:
        start = handle.read(_HEADER_BYTES)
        order = _STARTS.get(start[:4])
        if order is None:
            raise mismatch(path, "magic number", f"{_MAGIC} in either byte order", start[:4])
        require_equal(path, "header length in bytes", _HEADER_BYTES, len(start))
        header = np.frombuffer(start, _header_type(order))[0]
        require_equal(path, "site order", _NATURAL_ORDER, int(header["order"]))
        lattice = tuple(int(extent) for extent in header["extents"][::-1])
        if min(lattice) < 1:
            raise mismatch(path, "lattice shape", "positive extents", lattice)
        require_equal(path, "lattice shape", shape, lattice)
        require_equal(path, "number of colours", n_colours, 3)
        payload = file_size(handle) - _HEADER_BYTES
        require_equal(path, "data length in bytes", math.prod(lattice) * 4 * 9 * 8, payload)
        words = read_array(handle, path, "data", order + "u4", payload // 4)

    checksum = rotated_xor(words)
    if verify:
        for name, stated, found in zip(("sum29", "sum31"), header["checksums"], checksum, strict=True):
            require_equal(path, name, f"{int(stated):08x}", f"{found:08x}")
    links = from_site_major(words.view(order + "c8").reshape(*lattice, 4, 3, 3))
    verify_links(path, links, [], verify)
    metadata: dict[str, object] = {
        "format": "milc",
        "precision": 32,
        "byte_order": "big" if order == ">" else "little",
        "checksum": f"{checksum[0]:08x} {checksum[1]:08x}",
        "creation_date": bytes(header["time_stamp"]).split(b"\0")[0].decode(errors="replace").strip(),
    }
    return Config(links, metadata)


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
    words = np.ascontiguousarray(to_site_major(config.links), dtype=order + "c8").reshape(-1).view(order + "u4")
    header = np.zeros(1, _header_type(order))
    header[0] = (_MAGIC, config.shape[::-1], time_stamp, _NATURAL_ORDER, rotated_xor(words))
    with atomic_path(path) as temporary, open(temporary, "xb") as handle:
        handle.write(header.tobytes())
        handle.write(words.view(np.uint8).data)


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


FORMAT = Format("milc", (".milc",), lambda start, size: start[:4] in _STARTS, read, write, precisions=(32,))
