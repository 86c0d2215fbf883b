"""A gauge configuration in memory, and the numbers by which files are verified."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaugeflow.io.files import StrPath, mismatch

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

    Raises
    ------
    TypeError
        If ``links`` is not complex.
    ValueError
        If the shape of ``links`` is not that of a gauge field in at least two dimensions.
    """

    links: ComplexArray
    metadata: dict[str, object] = field(default_factory=dict)
    name: StrPath = ""

    def __repr__(self) -> str:
        """Name, extents and N, and the format that it was read from; never the array."""
        said = [f"shape={self.shape}", f"n_colours={self.n_colours}"]
        if self.name:
            said.insert(0, repr(os.fspath(self.name)))
        if "format" in self.metadata:
            said.append(f"format={self.metadata['format']!r}")
        return f"Config({', '.join(said)})"

    def __post_init__(self) -> None:
        if not np.iscomplexobj(self.links):
            raise TypeError(f"links: expected a complex array, got {type(self.links).__name__}")
        found = self.links.shape
        if len(found) < 5 or found[0] != len(found) - 3 or found[-1] != found[-2] or 0 in found:
            raise ValueError(f"links: expected shape (d, *shape, N, N) with d >= 2 site axes, got {found}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of the lattice, ``(t, z, y, x)`` in four dimensions."""
        return self.links.shape[1:-2]

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
    average: Callable[[ComplexArray], float]
    tolerance: float = TOLERANCE


def plaquette(links: ComplexArray) -> float:
    """Average plaquette ``<Re tr U_p> / N`` over all sites and planes.

    Parameters
    ----------
    links : ndarray, shape (d, \\*shape, N, N), complex

    Returns
    -------
    float
        1 for the unit field.
    """
    d, count = links.shape[0], math.prod(links.shape[:-1])  # count: N per link
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for mu in range(d):
            for nu in range(mu + 1, d):
                first = links[mu] @ np.roll(links[nu], -1, axis=mu)
                second = links[nu] @ np.roll(links[mu], -1, axis=nu)
                total += float(np.vdot(second, first).real)  # sum over sites of Re tr first second^dagger
    return float(total * 2 / ((d - 1) * count))


def link_trace(links: ComplexArray) -> float:
    """Average link trace ``<Re tr U> / N`` over all links, shape as in `plaquette`."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.einsum("...aa->...", links.real).mean(dtype=np.float64) / links.shape[-1])


def find_non_finite(links: ComplexArray) -> Defect | None:
    """Return the first link with a NaN or an infinity, if any."""
    for block in np.ndindex(links.shape[:2]):
        bad = np.logical_not(np.isfinite(links[block]).all(axis=(-2, -1)))
        if bad.any():
            return Defect(f"link {_first(block, bad)}", "finite numbers", "NaN or infinity")
    return None


def is_open_in_time(links: ComplexArray) -> bool:
    """Whether the links of direction 0 that would lead from the last time slice to the first are all zero.

    That is how openQCD stores open boundary conditions, and how loops around the end add nothing to a sum.
    """
    return not links[0, -1].any()


def find_outside_group(
    links: ComplexArray, tolerance: float = TOLERANCE, *, open_in_time: bool = False
) -> Defect | None:
    """Return the first link that is not unitary, or for N > 1 not of determinant one, within ``tolerance``.

    Where the lattice is ``open_in_time``, links from the last time slice to the first are not looked at.
    """
    n = links.shape[-1]
    for block in np.ndindex(links.shape[:2]):
        if open_in_time and block == (0, links.shape[1] - 1):
            continue
        matrix = links[block]
        with np.errstate(all="ignore"):
            deviation = np.abs(matrix @ matrix.conj().swapaxes(-1, -2) - np.eye(n)).max(axis=(-2, -1))
            determinant = np.abs(np.linalg.det(matrix) - 1) if n > 1 else np.zeros_like(deviation)
        for name, value in (("U U^dagger - 1", deviation), ("det U - 1", determinant)):
            bad = ~(value <= tolerance)  # true for NaN as well
            if bad.any():
                return Defect(f"link {_first(block, bad)}", f"{name} within {tolerance:g}", f"{value[bad][0]:.3g}")
    return None


def verify_links(
    path: StrPath, links: ComplexArray, stated: Iterable[Stated], verify: bool, *, open_in_time: bool = False
) -> None:
    """Check a field that was read against the group and against the averages that its file states.

    Parameters
    ----------
    path : path
        Named in errors.
    links : ndarray, shape (d, \\*shape, N, N), complex
    stated : iterable of Stated
        Averages that must agree with what the links give, within 1e-5 unless they say otherwise.
    verify : bool
        When false, only NaN and infinity are errors.
    open_in_time : bool
        Whether the links around the end of time are none, see `is_open_in_time`.

    Raises
    ------
    FormatError
        On the first disagreement.
    """
    defect = find_non_finite(links)
    if defect is None and verify:
        defect = find_outside_group(links, open_in_time=open_in_time)
    if defect is not None:
        raise mismatch(path, *defect)
    if verify:
        for name, value, average, tolerance in stated:
            computed = average(links)
            if not abs(value - computed) <= tolerance:
                raise mismatch(path, name, f"{computed:.10g} (computed from the links)", value)


def require_storable(links: ComplexArray, verify: bool = True, *, open_in_time: bool = False) -> None:
    """Refuse to write a field that no reader would accept; without ``verify``, only NaN and infinity.

    ``open_in_time`` says that the format holds lattices that end in time.

    Raises
    ------
    ValueError
        If a link is not finite or not in the group.
    """
    defect = find_non_finite(links)
    if defect is None and verify:
        is_open = is_open_in_time(links)
        if is_open and not open_in_time:
            raise ValueError(
                "links cannot be written: expected a periodic lattice, got one with open boundaries in time, which only the "
                "format openqcd holds"
            )
        defect = find_outside_group(links, open_in_time=is_open)
    if defect is not None:
        raise ValueError(f"links cannot be written: {defect.field}: expected {defect.expected}, got {defect.found}")


def from_site_major(data: NDArray[Any]) -> NDArray[np.complex128]:
    """Convert file order ``(*shape, d, N, N)`` with directions x first to ``(d, *shape, N, N)`` with t first."""
    d = data.ndim - 3
    with np.errstate(invalid="ignore"):  # casting a signalling NaN warns; the caller looks for NaN
        return np.ascontiguousarray(np.moveaxis(data, d, 0)[::-1], dtype=np.complex128)


def to_site_major(links: ComplexArray) -> ComplexArray:
    """Inverse of `from_site_major`, as a view."""
    return np.moveaxis(links[::-1], 0, links.shape[0])


def _first(block: tuple[int, ...], bad: NDArray[np.bool_]) -> str:
    """Index of the first bad link as ``(mu, t, z, y, x)``."""
    return str(tuple(int(i) for i in (*block, *np.argwhere(bad)[0])))
