"""The text format of Bridge++, which the Julia codes Gaugefields.jl and LatticeQCD.jl write too: SU(N) in any dimension.

Nothing but numbers, usually one a line: sites in the order t, z, y, x (x fastest), directions x, y, z, t, rows, columns, real
and imaginary part. Neither extents nor N are in the file; with the extents given, its length says what N is. Sources:
``FieldIO_Text`` with ``IO_Format::Gauge::ILDG`` of Bridge++ and ``src/output/bridge_format.jl`` of akio-tomiya/Gaugefields.jl
(whose comment has the direction outermost, unlike its code). Bridge++ built for other groups than SU(3) may write the
direction outermost: such files have links of the group, too, and nothing in them tells. The format is only read.
"""

from __future__ import annotations

import math
import re
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from gaugeflow.io.arguments import argument
from gaugeflow.io.config import Config, empty_links, put_sites, verify_links
from gaugeflow.io.files import StrPath, mismatch, readable
from gaugeflow.io.formats import Format
from gaugeflow.io.part import WHOLE
from gaugeflow.io.runs import pieces

_CHUNK = 1 << 20
_LONGEST_NUMBER = 64
_NUMBER = re.compile(rb"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_FEWEST = 4


def read(
    path: StrPath, *, shape: tuple[int, ...] | None = None, n_colours: int | None = None, verify: bool = True
) -> Config:
    """Read a configuration in the text format of Bridge++.

    Parameters
    ----------
    path : path
    shape : tuple of int
        Extents ``(t, z, y, x)``, which the file does not state.
    n_colours : int, optional
        Number of colours; by default what the number of numbers says.
    verify : bool
        Check unitarity and determinant; the format states nothing to check.

    Returns
    -------
    Config
        Links in double precision.

    Raises
    ------
    FormatError
        If the file holds anything but numbers or not the right number of them, or ``shape`` is missing.
    """
    with open(path, "rb") as handle:
        numbers = _read_numbers(path, handle)
    if shape is None:
        raise mismatch(path, "extents, which text files do not state", argument("shape"), "nothing")
    matrices = math.prod(shape) * len(shape)
    n = n_colours or math.isqrt(numbers.size // (2 * matrices))
    if n < 1 or numbers.size != 2 * matrices * n * n:
        wanted = f"{2 * matrices} N^2 for extents {shape}" + (f" with N = {n_colours}" if n_colours else "")
        raise mismatch(path, "number of numbers", wanted, numbers.size)
    links = empty_links(shape, n, WHOLE)
    sites = numbers.view(np.complex128).reshape(-1, len(shape), n, n)
    for piece in pieces(shape, WHOLE.box(shape), sites[0].nbytes):
        put_sites(links, piece, sites[piece.places])
    verify_links(path, links, [], verify)
    return Config(links, {"format": "bridge", "precision": 64})


def _read_numbers(path: StrPath, handle: BinaryIO) -> NDArray[np.float64]:
    """All numbers of a text file, piece by piece: as Python objects they need five times the space of the text."""
    pieces: list[NDArray[np.float64]] = []
    rest = b""
    while text := handle.read(_CHUNK):
        words = (rest + text).split()
        rest = words.pop() if words and not text[-1:].isspace() else b""
        if len(rest) > _LONGEST_NUMBER:
            raise mismatch(path, "text", "numbers", readable(rest))
        pieces.append(_convert(path, words))
    pieces.append(_convert(path, rest.split()))
    return np.concatenate(pieces)


def _convert(path: StrPath, words: list[bytes]) -> NDArray[np.float64]:
    try:
        return np.array([float(word) for word in words], np.float64)
    except ValueError as error:
        raise mismatch(path, "text", "numbers", str(error)) from None


def _matches(start: bytes, size: int) -> bool:
    """Four numbers and more and nothing else; the last one may be cut off where the file goes on."""
    words = start.split()
    if len(start) < size:
        words = words[:-1]
    return len(words) >= _FEWEST and all(_NUMBER.fullmatch(word) for word in words)


FORMAT = Format("bridge", (), _matches, read, precisions=(64,))
