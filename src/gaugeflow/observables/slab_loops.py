"""Wilson loops and pairs of Polyakov loops from averages over the inside of time slabs.

Slices ``first``, ``first + thickness``, ... cut the lattice into slabs.  A Wilson loop that crosses cuts is a product of pieces
with open colour indices, one in each slab: a bottom, pairs of lines in time across whole slabs, and a top.  Given the links on
the cuts the pieces fluctuate independently, so that each of them may be averaged for itself (Luescher and Weisz,
hep-lat/0108014).  The formulas are those of ``docs/derivations/multilevel.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.matrix import dag_mul, mul, mul_dag
from gaugeflow.sites.numbers import Matrix

_TOGETHER = 16
"""Configurations whose pairs of lines are summed by one product of matrices."""


@dataclass(frozen=True)
class SlabCut:
    """How time slices cut a lattice into slabs.

    Parameters
    ----------
    lattice
        The lattice, whole.
    thickness
        Slices from one cut to the next; it divides the extent.
    first
        The first cut, below the thickness.
    """

    lattice: Lattice
    thickness: int
    first: int = 0

    def __post_init__(self) -> None:
        extent = self.lattice.shape[0]
        if self.thickness < 1 or extent % self.thickness:
            raise ValueError(f"thickness: expected a divisor of the extent {extent} in time, got {self.thickness}")
        if not 0 <= self.first < self.thickness:
            raise ValueError(f"first: expected a slice below the thickness {self.thickness}, got {self.first}")
        self.lattice.check_whole("slabs")

    @property
    def slices(self) -> tuple[int, ...]:
        """The slices that cut."""
        return tuple(range(self.first, self.lattice.shape[0], self.thickness))

    def ways(self, t: int) -> tuple[tuple[int, int, int], ...]:
        """How loops of extent t are cut: ``(below, slabs, above)`` with t = below + slabs * thickness + above.

        ``below`` and ``above`` count slices from an end of the loop to the nearest cut that the loop crosses.  Of all
        ways those are taken whose ends are farthest from any cut, because links near a cut are averaged least.

        Raises
        ------
        ValueError
            If there is none.
        """
        d, found = self.thickness, []
        for below in range(min(d, t + 1)):
            slabs, above = divmod(t - below, d)
            if slabs + (below > 0) + (above > 0) <= len(self.slices):
                found.append((min(below, d - below) + min(above, d - above), (below, slabs, above)))
        if t < 1 or not found:
            raise ValueError(
                f"t: no loop of extent {t} has its ends in different slabs of thickness {d} of {self.lattice}"
            )
        deepest = max(depth for depth, _ in found)
        return tuple(way for depth, way in found if depth == deepest)

    def by_slab(self, matrices: Array) -> Array:
        """Matrices of sites, ``(n_blocks, N, N, lanes)``, from the cuts on: ``(thickness, N * N, batch, slabs, *space)``."""
        xp = array_namespace(matrices)
        x = xp.roll(self.lattice.unpack(matrices), -self.first, axis=1)
        n, ndim = x.shape[-1], self.lattice.ndim
        x = xp.reshape(x, (x.shape[0], len(self.slices), self.thickness, *self.lattice.shape[1:], n * n))
        return xp.permute_dims(x, (2, ndim + 2, 0, 1, *range(3, ndim + 2)))


def _rows(x: Array) -> Matrix:
    return tuple(x[k, ...] for k in range(x.shape[0]))


def _product(lines: Sequence[Array]) -> Array:
    """Product of matrices ``(N * N, ...)`` in order."""
    xp, found = array_namespace(lines[0]), lines[0]
    for line in lines[1:]:
        found = xp.stack(mul(_rows(found), _rows(line)))
    return found


def _shifted(x: Array, mu: int, r: int) -> Array:
    """``(N * N, batch, slabs, *space)`` at the places r steps ahead."""
    return array_namespace(x).roll(x, -r, axis=mu + 2)


def _up(x: Array) -> Array:
    """Numbers of the slab above each cut as numbers of the cut at its upper side."""
    return array_namespace(x).roll(x, 1, axis=2)


class SlabLoops:
    """Sums of the pieces of loops over configurations that differ inside the slabs.

    Parameters
    ----------
    cut
        The slabs.
    r_max
        Largest distance in space, at most half the extents.
    t_max
        Largest extent in time of Wilson loops, 0 for none.
    pairs
        Whether pairs of lines are summed even where no Wilson loop needs them: for Polyakov loops.

    Raises
    ------
    ValueError
        If an extent is out of range.
    """

    def __init__(self, cut: SlabCut, r_max: int, t_max: int = 0, *, pairs: bool = False) -> None:
        shape = cut.lattice.shape
        largest = min(shape[1:]) // 2
        if not 1 <= r_max <= largest:
            raise ValueError(f"r_max: expected 1 ... {largest} on a lattice of shape {shape}, got {r_max}")
        if not 0 <= t_max <= shape[0]:
            raise ValueError(f"t_max: expected 0 ... {shape[0]} on a lattice of shape {shape}, got {t_max}")
        self.cut, self.r_max, self.t_max = cut, r_max, t_max
        self.count = 0
        self._ways = [cut.ways(t) for t in range(1, t_max + 1)]
        ways = [way for found in self._ways for way in found]
        self._needs_pairs = pairs or any(slabs for _, slabs, _ in ways)
        self._bottoms = sorted({below for below, _, _ in ways})
        self._tops = sorted({above for _, _, above in ways})
        self._places = [(mu, r) for mu in range(1, cut.lattice.ndim) for r in range(1, r_max + 1)]
        self._sums: dict[tuple[Any, ...], Array] = {}
        self._lines: list[tuple[Array, Array]] = []

    def add(self, links: Array, averaged: Array | None, ends: Array) -> None:
        """Add the pieces of a configuration.

        Parameters
        ----------
        links
            The configuration.
        averaged
            Means of its links of direction 0 (:func:`gaugeflow.kernels.link_averages`), None for the links themselves.  Where
            lines run along the same plaquettes, at distance 1, one of them is made of links all the same.
        ends
            Links whose spatial ones the ends of loops are made of: those of the configuration, or smeared in space.
        """
        cut, d = self.cut, self.cut.thickness
        plain = cut.by_slab(links[0, ...])
        hits = plain if averaged is None else cut.by_slab(averaged)
        self.count += 1
        if self._needs_pairs:
            self._lines.append((_product(_rows(hits)), _product(_rows(plain))))
            if len(self._lines) == _TOGETHER:
                self._sum_pairs()
        if not self.t_max:
            return
        below = {h: tuple(_up(_product(_rows(x[d - h :, ...]))) for x in (hits, plain)) for h in self._bottoms if h}
        above = {h: tuple(_product(_rows(x[:h, ...])) for x in (hits, plain)) for h in self._tops if h}
        for mu in range(1, cut.lattice.ndim):
            space = cut.by_slab(ends[mu, ...])
            lines = {h: space[h, ...] for h in {0, *(d - h for h in self._bottoms if h), *self._tops}}
            single = dict(lines)
            for r in range(1, self.r_max + 1):
                if r > 1:
                    lines = {h: _product([single[h], _shifted(lines[h], mu, 1)]) for h in lines}
                side = int(self._near(mu, r))
                for h in self._bottoms:
                    piece = _bottom(below[h][0], _shifted(below[h][side], mu, r), _up(lines[d - h])) if h else lines[0]
                    self._keep(piece, "bottom", mu, r, h)
                for h in self._tops:
                    piece = _top(above[h][0], _shifted(above[h][side], mu, r), lines[h]) if h else lines[0]
                    self._keep(piece, "top", mu, r, h)

    def _near(self, mu: int, r: int) -> bool:
        """Whether two lines run along the same plaquettes."""
        return min(r, self.cut.lattice.shape[mu] - r) == 1

    def _keep(self, value: Array, *place: Any) -> None:
        self._sums[place] = self._sums[place] + value if place in self._sums else value

    def _sum_pairs(self) -> None:
        """Sum conj(L(x))_il L(x + r)_jk over the lines that wait, ``(batch, slabs, *space, N * N, N * N)``."""
        if not self._lines:
            return
        xp = array_namespace(self._lines[0][0])
        last = len(self._lines[0][0].shape)
        left = xp.conj(xp.stack([hit for hit, _ in self._lines], axis=last))  # (N * N, batch, slabs, *space, lines)
        left = xp.asarray(xp.permute_dims(left, (*range(1, last), 0, last)), copy=True)
        rights = []
        for x in zip(*self._lines, strict=True):
            rights.append(xp.asarray(xp.permute_dims(xp.stack(x, axis=last), (*range(1, last + 1), 0)), copy=True))
        for mu, r in self._places:
            right = rights[int(self._near(mu, r))]
            self._keep(xp.matmul(left, xp.roll(right, -r, axis=mu + 1)), "pair", mu, r)
        self._lines = []

    def _across(self, mu: int, r: int) -> Array:
        """Mean of pairs with rows (i j) at the lower cut and columns (l k) at the upper one."""
        self._sum_pairs()
        pair = self._sums["pair", mu, r] / self.count
        xp = array_namespace(pair)
        n = round(pair.shape[-1] ** 0.5)
        lead = tuple(pair.shape[:-2])
        axes = len(lead)
        x = xp.reshape(pair, (*lead, n, n, n, n))
        x = xp.permute_dims(x, (*range(axes), axes, axes + 2, axes + 1, axes + 3))
        return xp.reshape(x, (*lead, n * n, n * n))

    def wilson_loops(self) -> Array:
        """Re tr W / N of r steps in space and t in time, averaged over places, directions and :meth:`SlabCut.ways`.

        Returns
        -------
        Array
            ``(r_max, t_max, batch)`` float64; W(r, t) at ``[r - 1, t - 1]``.

        Raises
        ------
        ValueError
            If nothing was added, or ``t_max`` is 0.
        """
        if not self.count or not self.t_max:
            raise ValueError(f"Wilson loops: {self.count} configurations were added, with t_max = {self.t_max}")
        table: list[list[list[Array]]] = [[[] for _ in self._ways] for _ in range(self.r_max)]
        deepest = max(slabs for found in self._ways for _, slabs, _ in found)
        for mu, r in self._places:
            across = self._across(mu, r) if deepest else None
            tops = {h: self._sums["top", mu, r, h] / self.count for h in self._tops}
            xp = array_namespace(tops[self._tops[0]])
            for below in self._bottoms:
                piece = self._sums["bottom", mu, r, below] / self.count
                for slabs in range(deepest + 1):
                    if slabs:
                        row = xp.moveaxis(piece, 0, -1)[..., None, :]
                        piece = _up(xp.moveaxis(xp.matmul(row, across)[..., 0, :], -1, 0))
                    for t, ways in enumerate(self._ways):
                        for above in (a for b, s, a in ways if (b, s) == (below, slabs)):
                            trace = xp.sum(xp.real(piece * xp.conj(tops[above])), axis=0)
                            table[r - 1][t].append(_mean(trace) / piece.shape[0] ** 0.5)
        return xp.stack([xp.stack([sum(found) / len(found) for found in row]) for row in table])

    def polyakov_pairs(self) -> Array:
        """Re [P(x)^* P(x + r)], P = tr L / N of the line around the lattice, averaged over places and directions.

        Returns
        -------
        Array
            ``(r_max, batch)`` float64.

        Raises
        ------
        ValueError
            If nothing was added, or pairs were not summed.
        """
        if not self.count or not self._needs_pairs:
            raise ValueError(
                f"Polyakov loops: {self.count} configurations were added, with pairs = {self._needs_pairs}"
            )
        rows: list[list[Array]] = [[] for _ in range(self.r_max)]
        for mu, r in self._places:
            across = self._across(mu, r)
            xp = array_namespace(across)
            around = across[:, 0, ...]
            for k in range(1, across.shape[1]):
                around = xp.matmul(around, across[:, k, ...])
            size = around.shape[-1]  # N^2
            rows[r - 1].append(_mean(sum(xp.real(around[..., k, k]) for k in range(size))) / size)
        return xp.stack([sum(found) / len(found) for found in rows])


def _bottom(left: Array, right: Array, line: Array) -> Array:
    """L(x)^dagger S L(x + r) from a line S in space up to a cut."""
    return array_namespace(line).stack(mul(dag_mul(_rows(left), _rows(line)), _rows(right)))


def _top(left: Array, right: Array, line: Array) -> Array:
    """L(x) S L(x + r)^dagger from a line S in space down to a cut."""
    return array_namespace(line).stack(mul_dag(mul(_rows(left), _rows(line)), _rows(right)))


def _mean(values: Array) -> Array:
    """Mean over all axes but the first, which is the batch."""
    xp = array_namespace(values)
    return xp.mean(xp.reshape(values, (values.shape[0], -1)), axis=1)
