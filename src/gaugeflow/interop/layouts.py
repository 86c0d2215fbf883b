"""How other lattice programs order links and fermions in memory, as one table.

A layout is a list of links, or of sites, in the order in which a program stores them: that list is all that a conversion
needs.  Every matrix is stored row by row, and every spinor with colour running fastest, as in all of these programs.

Sources: ``qdp_scalar_layout.cc`` of QDP++ (lexicographic and cb2), ``field.py`` of PyQUDA, ``layout_hyper_prime.c`` of MILC,
``archive.c`` and ``sarchive.c`` of openQCD, ``unvectorizeToLexOrdArray`` of Grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gaugeflow.lattice import IntArray, Lattice

Spin = tuple[tuple[int, complex], ...]
"""Change of basis: spin component a of ours is that number of theirs, times a phase."""

OPENQCD_SPIN: Spin = ((3, -1j), (2, 1j), (1, 1j), (0, -1j))
"""openQCD has gamma_0 = -1 and gamma_k = -i sigma_k as upper right blocks (``doc/dirac.pdf`` there)."""


@dataclass(frozen=True)
class Layout:
    """One order of links and sites.

    Parameters
    ----------
    name
        By which conversions ask for it.
    programs
        Who stores fields so.
    site_major
        Whether the links of a site lie together; otherwise all links of a direction do.
    points
        ``"all"``: lexicographic.  ``"checkerboard"``: all even points, then all odd ones, lexicographic among themselves.
        ``"odd"``: the links at odd points, forwards and backwards in each direction, which are all links; fermions are
        lexicographic.
    directions
        Order of the directions; in more or fewer dimensions, of the last, the others and time alike.  Where it is ``"txyz"``, z
        runs fastest, and otherwise x does.
    spin
        Change of basis to the gamma matrices of DeGrand and Rossi, in four dimensions; empty where it is the same basis.
    """

    name: str
    programs: str
    site_major: bool
    points: Literal["all", "checkerboard", "odd"] = "all"
    directions: Literal["xyzt", "txyz", "tzyx"] = "xyzt"
    spin: Spin = ()

    def axes(self, ndim: int) -> tuple[int, ...]:
        """Our site axes in the order of this program, slowest first."""
        return (0, *range(ndim - 1, 0, -1)) if self.directions == "txyz" else tuple(range(ndim))

    def order(self, ndim: int) -> tuple[int, ...]:
        """Our directions in the order of this program."""
        return tuple(range(ndim - 1, -1, -1)) if self.directions == "xyzt" else self.axes(ndim)

    def links(self, lattice: Lattice) -> IntArray:
        """Number ``mu * volume + site`` of every link in memory order; the shape is that of the program's array.

        Raises
        ------
        ValueError
            If an extent is odd and the layout knows parities.
        """
        here = np.stack([mu * lattice.volume + self._sites(lattice) for mu in self.order(lattice.ndim)])
        if self.points == "odd":
            return self._around_odd(lattice, here)
        ordered = self._checkerboard(lattice, here) if self.points == "checkerboard" else here
        return np.moveaxis(ordered, 0, -1) if self.site_major else ordered

    def sites(self, lattice: Lattice) -> IntArray:
        """Lexicographic number of every site in memory order, in the shape of the program's array."""
        sites = self._sites(lattice)
        return self._checkerboard(lattice, sites[None])[0] if self.points == "checkerboard" else sites

    def _sites(self, lattice: Lattice) -> IntArray:
        number = np.arange(lattice.volume, dtype=np.int32).reshape(lattice.shape)
        return np.ascontiguousarray(number.transpose(self.axes(lattice.ndim)))

    def _parity(self, lattice: Lattice) -> npt.NDArray[np.bool_]:
        """Whether a site is odd, in this order of axes."""
        if any(extent % 2 for extent in lattice.shape):
            raise ValueError(f"layout {self.name!r}: expected even extents, got a lattice of shape {lattice.shape}")
        sums = sum(np.indices(lattice.shape, sparse=True)) % 2 == 1
        return np.transpose(sums, self.axes(lattice.ndim))

    def _checkerboard(self, lattice: Lattice, numbers: IntArray) -> IntArray:
        """``(k, *sites)`` to ``(k, 2, *sites)`` with half the last extent: of every pair along it one site is even."""
        odd = self._parity(lattice)
        shape = (numbers.shape[0], 2, *odd.shape[:-1], odd.shape[-1] // 2)
        return np.stack([numbers[:, ~odd], numbers[:, odd]], axis=1).reshape(shape)

    def _around_odd(self, lattice: Lattice, numbers: IntArray) -> IntArray:
        """``(odd points, ndim, 2)``: the links of every direction from an odd point, and to it."""
        odd = self._parity(lattice)
        places = [self.axes(lattice.ndim).index(mu) for mu in self.order(lattice.ndim)]
        behind = [np.roll(n, 1, axis=place) for n, place in zip(numbers, places, strict=True)]
        pairs = [np.stack([n[odd], b[odd]], axis=-1) for n, b in zip(numbers, behind, strict=True)]
        return np.stack(pairs, axis=1)


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("qdp", "QDP++ and Chroma with the default layout, QUDA's QDP order", False, "checkerboard"),
        Layout("qdp-lexicographic", "QDP++ with lexicographic layout, GPT (one array for each direction)", False),
        Layout("pyquda", "PyQUDA: LatticeGauge, LatticeFermion, LatticeStaggeredFermion", False, "checkerboard"),
        Layout("pyquda-lexicographic", "PyQUDA: what the method lexico returns", False),
        Layout("milc", "MILC in memory with layout_hyper_prime, QUDA's MILC order", True, "checkerboard"),
        Layout("openqcd", "openQCD: the order of exported fields", True, "odd", "txyz", OPENQCD_SPIN),
        Layout("grid", "Grid: lexicographic order, as by unvectorizeToLexOrdArray", True),
        Layout("gaugeflow", "conventional arrays of gaugeflow, as Lattice.pack takes them", False, "all", "tzyx"),
        Layout("ildg", "data of ILDG, SciDAC, NERSC and MILC files", True),
    )
}
"""Every layout by name.  Orders are those of one process; ``"qdp"`` and ``"pyquda"`` are the same order, by two names."""


def find_layout(name: str) -> Layout:
    """The layout of a name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in LAYOUTS:
        raise ValueError(f"layout: expected one of {sorted(LAYOUTS)}, got {name!r}")
    return LAYOUTS[name]


@dataclass(frozen=True, eq=False)
class Places:
    """Where a program has what our fields hold."""

    shape: tuple[int, ...]
    """Of the program's array, without the axes of a matrix or spinor."""
    table: npt.NDArray[np.intp]
    """``(n_folds, items)``: place in memory of every link ``(ndim, n_blocks)``, or site, of every sub-lattice."""

    _elsewhere: dict[tuple[str, str, bool], Any] = field(default_factory=dict, repr=False)

    @cached_property
    def in_memory_order(self) -> tuple[IntArray, IntArray]:
        """Table ``(items, n_folds)`` whose first column increases, and the items ``(items,)`` in this order."""
        items = np.argsort(self.table[0]).astype(np.int32)
        return np.ascontiguousarray(self.table[:, items].T, dtype=np.int32), items

    def on(self, xp: Any, device: Any, inverse: bool) -> Any:
        """The table, or its inverse, in one dimension on a device; made once for each device."""
        key = (xp.__name__, str(getattr(device, "id", device)), inverse)  # not all devices can be hashed
        if key not in self._elsewhere:
            table = self.table.reshape(-1)
            self._elsewhere[key] = xp.asarray(np.argsort(table) if inverse else table, device=device)
        return self._elsewhere[key]


@lru_cache(maxsize=32)
def link_places(name: str, lattice: Lattice) -> Places:
    """Where in the program's memory the link of every slot is."""
    return _places(find_layout(name).links(lattice), lattice, lattice.ndim)


@lru_cache(maxsize=32)
def site_places(name: str, lattice: Lattice) -> Places:
    """Where in the program's memory the spinor of every slot is."""
    return _places(find_layout(name).sites(lattice), lattice, 1)


def _places(order: IntArray, lattice: Lattice, copies: int) -> Places:
    place = np.empty(copies * lattice.volume, dtype=np.intp)
    place[order.reshape(-1)] = np.arange(order.size)
    table = place.reshape(copies, lattice.volume)[:, lattice.site]  # (copies, n_blocks, n_folds)
    return Places(order.shape, np.ascontiguousarray(table.transpose(2, 0, 1)).reshape(lattice.n_folds, -1))
