"""A gauge configuration in memory, and the numbers by which files are verified."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaugeflow.io.files import StrPath, mismatch
from gaugeflow.io.part import WHOLE, Part
from gaugeflow.io.runs import PIECE_BYTES, Piece
from gaugeflow.lattice import Lattice

ComplexArray = NDArray[np.complexfloating[Any, Any]]

# Archives hold fields that were single precision at some time even where the file is double (deviations from SU(3) of
# 5e-7 are common), and averages that their writers summed in single precision: one tolerance, that of QDP++ and Grid.
TOLERANCE = 1e-5

#: Metadata that describes one file rather than the configuration: never copied into another file.
FILE_KEYS = frozenset({"format", "precision", "byte_order", "rows", "checksum", "plaquette", "link_trace"})


@dataclass(frozen=True, eq=False, repr=False)
class Config:
    """A gauge configuration and what its file said about it.

    Parameters
    ----------
    links : ndarray, shape (d, \\*shape, N, N), complex
        Link matrices. Site axes are ``(t, z, y, x)`` in four dimensions; direction ``mu`` moves along site axis ``mu``.
    metadata : dict
        What the file said. Common keys: ``format`` (name), ``precision`` (32 or 64), ``byte_order``, ``checksum``
        (hexadecimal, as the format defines it), ``plaquette`` and ``link_trace`` (normalised by N),
        ``sequence_number``, ``ensemble_id``, ``ensemble_label``, ``creator``, ``creation_date``, ``lfn``, ``xlf_info``,
        ``file_xml``, ``record_xml``; ``boundary`` is ``"open"`` where the lattice ends in time.
    name : path
        Where it comes from: the file that `read` was given.
    lattice : Lattice, optional
        The lattice, if it is cut over processes; ``lattice.local.pack(links[None], 1)`` is the field.

    Raises
    ------
    TypeError
        If ``links`` is not complex, or not an array of NumPy.
    ValueError
        If the shape of ``links`` is not that of a gauge field in at least two dimensions, or not that of ``lattice``.
    """

    links: ComplexArray
    metadata: dict[str, object] = field(default_factory=dict)
    name: StrPath = ""
    lattice: Lattice | None = None

    def __repr__(self) -> str:
        """Name, extents and N, and the format that it was read from; never the array."""
        said = [f"shape={self.shape}", f"n_colours={self.n_colours}"]
        if self.name:
            said.insert(0, repr(os.fspath(self.name)))
        if "format" in self.metadata:
            said.append(f"format={self.metadata['format']!r}")
        return f"Config({', '.join(said)})"

    def __post_init__(self) -> None:
        if not isinstance(self.links, np.ndarray):
            raise TypeError(
                f"links: expected an array of NumPy, got {type(self.links).__name__}; numpy.from_dlpack makes one of an "
                "array on the host"
            )
        if not np.iscomplexobj(self.links):
            raise TypeError(f"links: expected a complex array, got {type(self.links).__name__}")
        found = self.links.shape
        if len(found) < 5 or found[0] != len(found) - 3 or found[-1] != found[-2] or 0 in found:
            raise ValueError(f"links: expected shape (d, *shape, N, N) with d >= 2 site axes, got {found}")
        if self.lattice is not None and found[1:-2] != self.lattice.local_shape:
            raise ValueError(
                f"links: expected site axes {self.lattice.local_shape}, those of this process on {self.lattice}, got {found}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of the whole lattice, ``(t, z, y, x)`` in four dimensions."""
        return self.links.shape[1:-2] if self.lattice is None else self.lattice.shape

    @property
    def part(self) -> Part:
        """The part of the lattice that ``links`` are, for `Format`."""
        return Part(self.lattice)

    @property
    def n_colours(self) -> int:
        """Number of colours N."""
        return int(self.links.shape[-1])


class Defect(NamedTuple):
    """Why a link field is not one of SU(N) or U(1) matrices."""

    field: str
    expected: str
    found: str


class Stated(NamedTuple):
    """An average that a file states: field name, value, the function of the links that it should equal, and how well."""

    field: str
    value: float
    average: Callable[[ComplexArray, Part], float]
    tolerance: float = TOLERANCE


def plaquette(links: ComplexArray, part: Part = WHOLE) -> float:
    """Average plaquette ``<Re tr U_p> / N`` over all sites and planes.

    Parameters
    ----------
    links : ndarray, shape (d, \\*shape, N, N), complex
        The sites of ``part``; the average is over all sites of all processes.

    Returns
    -------
    float
        1 for the unit field. The sum is exact, so that the last digit does not depend on how the sites are dealt.
    """
    d, t = links.shape[:2]
    part.gather(None)  # nobody has failed: neighbours will be there
    layers = [part.layer(links, axis) for axis in range(d)]
    step = max(1, PIECE_BYTES * t // links.nbytes)
    total: int | float = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, t, step):
            stop = min(start + step, t)
            for mu in range(d):
                for nu in range(mu + 1, d):
                    first = links[mu, start:stop] @ _ahead(links[nu], layers[mu][nu], mu, start, stop)
                    second = links[nu, start:stop] @ _ahead(links[mu], layers[nu][mu], nu, start, stop)
                    total += _exact_sum(_real_trace(first, second))
    count = d * (d - 1) // 2 * math.prod(links.shape[1:-1])  # N for each plaquette
    return _average(total, count, part)


def link_trace(links: ComplexArray, part: Part = WHOLE) -> float:
    """Average link trace ``<Re tr U> / N`` over all links of all processes, as `plaquette`."""
    total: int | float = 0
    for block in np.ndindex(links.shape[:2]):
        for a in range(links.shape[-1]):
            total += _exact_sum(links[block][..., a, a].real)
    return _average(total, math.prod(links.shape[:-1]), part)


def find_non_finite(links: ComplexArray, part: Part = WHOLE) -> Defect | None:
    """Return the first link of all processes with a NaN or an infinity, if any."""
    return _first_defect(part, _non_finite(links, part))


def is_open_in_time(links: ComplexArray, part: Part = WHOLE) -> bool:
    """Whether the links of direction 0 that would lead from the last time slice to the first are all zero.

    That is how openQCD stores open boundary conditions, and how loops around the end add nothing to a sum.
    """
    return all(part.gather(not _has_end(links, part) or not links[0, -1].any()))


def find_outside_group(
    links: ComplexArray, tolerance: float = TOLERANCE, *, open_in_time: bool = False, part: Part = WHOLE
) -> Defect | None:
    """Return the first link of all processes that is not unitary, or for N > 1 not of determinant one, within ``tolerance``.

    Where the lattice is ``open_in_time``, links from the last time slice to the first are not looked at.
    """
    return _first_defect(part, _outside_group(links, tolerance, open_in_time, part))


def verify_links(
    path: StrPath,
    links: ComplexArray,
    stated: Iterable[Stated],
    verify: bool,
    *,
    open_in_time: bool = False,
    part: Part = WHOLE,
) -> None:
    """Check a field that was read against the group and against the averages that its file states.

    Parameters
    ----------
    path : path
        Named in errors.
    links : ndarray, shape (d, \\*shape, N, N), complex
        The sites of ``part``.
    stated : iterable of Stated
        Averages that must agree with what the links give, within 1e-5 unless they say otherwise.
    verify : bool
        When false, only NaN and infinity are errors.
    open_in_time : bool
        Whether the links around the end of time are none, see `is_open_in_time`.

    Raises
    ------
    FormatError
        On the first disagreement, on all processes.
    """
    defect = find_non_finite(links, part)
    if defect is None and verify:
        defect = find_outside_group(links, open_in_time=open_in_time, part=part)
    if defect is not None:
        raise mismatch(path, *defect)
    if verify:
        for name, value, average, tolerance in stated:
            computed = average(links, part)
            if not abs(value - computed) <= tolerance:
                raise mismatch(path, name, f"{computed:.10g} (computed from the links)", value)


def require_storable(
    links: ComplexArray, verify: bool = True, *, open_in_time: bool = False, part: Part = WHOLE
) -> None:
    """Refuse to write a field that no reader would accept; without ``verify``, only NaN and infinity.

    ``open_in_time`` says that the format holds lattices that end in time.

    Raises
    ------
    ValueError
        If a link is not finite or not in the group, on all processes.
    """
    defect = find_non_finite(links, part)
    if defect is None and verify:
        is_open = is_open_in_time(links, part)
        if is_open and not open_in_time:
            raise ValueError(
                "links cannot be written: expected a periodic lattice, got one with open boundaries in time, which only the "
                "format openqcd holds"
            )
        defect = find_outside_group(links, open_in_time=is_open, part=part)
    if defect is not None:
        raise ValueError(f"links cannot be written: {defect.field}: expected {defect.expected}, got {defect.found}")


def empty_links(shape: tuple[int, ...], n: int, part: Part) -> NDArray[np.complex128]:
    """Room for the links of ``part``, ``(d, *extents, N, N)``, on a lattice of these extents."""
    return np.empty((len(shape), *part.box(shape).extents, n, n), np.complex128)


def put_sites(links: NDArray[np.complex128], piece: Piece, data: NDArray[Any]) -> None:
    """Take sites in the order of most files, ``(sites, d, N, N)`` with directions x first, into links with t first."""
    sites = data.reshape(*piece.extents, *data.shape[1:])
    with np.errstate(invalid="ignore"):  # casting a signalling NaN warns; the caller looks for NaN
        links[_every_direction(piece)] = np.moveaxis(sites, -3, 0)[::-1]


def sites_of(links: ComplexArray, piece: Piece, dtype: str) -> ComplexArray:
    """Inverse of `put_sites`: the sites of a piece as most files have them, ``(sites, d, N, N)``."""
    own = np.moveaxis(links[_every_direction(piece)][::-1], 0, -3)
    return np.ascontiguousarray(own, dtype=dtype).reshape(-1, *own.shape[-3:])


def _every_direction(piece: Piece) -> tuple[slice | int, ...]:
    return (slice(None), *piece.corner)


def _ahead(links: ComplexArray, layer: ComplexArray, axis: int, start: int, stop: int) -> ComplexArray:
    """Links of one direction, one site ahead of those at the times ``start <= t < stop``."""
    if axis == 0:
        last = links[stop : stop + 1] if stop < len(links) else layer
        return np.concatenate([links[start + 1 : stop], last])
    own = links[start:stop]
    return np.concatenate([own[(slice(None),) * axis + (slice(1, None),)], layer[start:stop]], axis=axis)


def _real_trace(first: ComplexArray, second: ComplexArray) -> NDArray[np.float64]:
    """``Re tr first second^dagger`` of every pair, added up in the same order wherever the pair is."""
    n = first.shape[-1]
    total = np.zeros(first.shape[:-2])
    for a in range(n):
        for b in range(n):
            x, y = first[..., a, b], second[..., a, b]
            total += x.real * y.real + x.imag * y.imag
    return total


_UNIT = 1200  # all numbers in double precision are integers in units of 2**-1200
_HALF_BITS = 27


def _exact_sum(values: NDArray[np.floating[Any]]) -> int | float:
    """Sum of fewer than 2**26 numbers as an integer in units of 2**-1200; nan where one is not finite."""
    if not np.isfinite(values).all():
        return math.nan
    mantissa, exponent = np.frexp(values.astype(np.float64).reshape(-1))
    lowest = int(exponent.min())
    high, low = np.divmod((mantissa * 2.0**53).astype(np.int64), 1 << _HALF_BITS)
    total = 0
    for half, shift in ((high, _HALF_BITS), (low, 0)):  # sums below 2**53 are exact
        for k, number in enumerate(np.bincount(exponent - lowest, weights=half).tolist()):
            total += int(number) << (lowest + k - 53 + shift + _UNIT)
    return total


def _average(total: int | float, count: int, part: Part) -> float:
    """Mean of numbers of all processes from the exact sum of the own ones."""
    totals = part.gather(total)
    if any(isinstance(value, float) for value in totals):
        return math.nan
    return float(Fraction(sum(int(value) for value in totals), count * part.size << _UNIT))


def _has_end(links: ComplexArray, part: Part) -> bool:
    """Whether the last time slice of the lattice is here."""
    lattice = part.lattice
    return lattice is None or lattice.origin[0] + links.shape[1] == lattice.shape[0]


_Found = tuple[tuple[int, ...], Defect]
"""A defect, and what orders it among those of all processes."""


def _first_defect(part: Part, found: _Found | None) -> Defect | None:
    all_found = [item for item in part.gather(found) if item is not None]
    return min(all_found)[1] if all_found else None


def _non_finite(links: ComplexArray, part: Part) -> _Found | None:
    for block in np.ndindex(links.shape[:2]):
        bad = np.logical_not(np.isfinite(links[block]).all(axis=(-2, -1)))
        if bad.any():
            where = _first(block, bad, part)
            return where, Defect(f"link {where}", "finite numbers", "NaN or infinity")
    return None


def _outside_group(links: ComplexArray, tolerance: float, open_in_time: bool, part: Part) -> _Found | None:
    n = links.shape[-1]
    for block in np.ndindex(links.shape[:2]):
        if open_in_time and block == (0, links.shape[1] - 1) and _has_end(links, part):
            continue
        matrix = links[block]
        with np.errstate(all="ignore"):
            deviation = np.abs(matrix @ matrix.conj().swapaxes(-1, -2) - np.eye(n)).max(axis=(-2, -1))
            determinant = np.abs(np.linalg.det(matrix) - 1) if n > 1 else np.zeros_like(deviation)
        for test, (name, value) in enumerate((("U U^dagger - 1", deviation), ("det U - 1", determinant))):
            bad = ~(value <= tolerance)  # true for NaN as well
            if bad.any():
                where = _first(block, bad, part)
                defect = Defect(f"link {where}", f"{name} within {tolerance:g}", f"{value[bad][0]:.3g}")
                return (*where[:2], test, *where[2:]), defect
    return None


def _first(block: tuple[int, ...], bad: NDArray[np.bool_], part: Part) -> tuple[int, ...]:
    """The first bad link as ``(mu, t, z, y, x)``."""
    own = tuple(int(i) for i in (*block, *np.argwhere(bad)[0]))
    origin = part.lattice.origin if part.lattice is not None else (0,) * (len(own) - 1)
    return own[0], *(o + x for o, x in zip(origin, own[1:], strict=True))
