"""Pairs of lines in time that cross a slab: the two-link operators of the multilevel algorithm.

Slices ``first``, ``first + thickness``, ... cut the lattice into slabs.  L(x) is the product of the links of direction 0 from
one of these slices to the next, and a pair is the tensor conj(L(x))_il L(x + r)_jk.  Wilson loops and pairs of Polyakov loops
are made of such tensors, so that those of every slab may be averaged separately (Luescher and Weisz, hep-lat/0108014).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from gaugeflow.lattice import Array, Lattice


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

    def _from_cuts(self, matrices: Array) -> Array:
        """Matrices of sites as ``(batch, slabs, thickness, *space, N, N)``."""
        xp = array_namespace(matrices)
        x = xp.roll(self.lattice.unpack(matrices), -self.first, axis=1)
        return xp.reshape(x, (x.shape[0], -1, self.thickness, *x.shape[2:]))

    def time_lines(self, temporal: Array) -> Array:
        """L(x) of every slab.

        Parameters
        ----------
        temporal
            Links of direction 0 or their means, ``(n_blocks, N, N, lanes)``.

        Returns
        -------
        Array
            ``(batch, slabs, *space, N * N)``.
        """
        xp = array_namespace(temporal)
        links = self._from_cuts(temporal)
        line = links[:, :, 0, ...]
        for k in range(1, self.thickness):
            line = xp.matmul(line, links[:, :, k, ...])
        return xp.reshape(line, (*line.shape[:-2], -1))

    def space_lines(self, links: Array, mu: int, r_max: int) -> list[Array]:
        """Products of 1 ... r_max links of direction mu on the slices that cut, ``(batch, slabs, *space, N, N)`` each."""
        xp = array_namespace(links)
        first = self._from_cuts(links[mu, ...])[:, :, 0, ...]
        lines = [first]
        for _ in range(1, r_max):
            lines.append(xp.matmul(first, xp.roll(lines[-1], -1, axis=mu + 1)))
        return lines


def pair_sums(left: Sequence[Array], right: Sequence[Array], mu: int, r: int) -> Array:
    """Sum over some configurations of conj(L(x))_il L(x + r mu)_jk.

    Parameters
    ----------
    left, right
        Lines of each configuration, ``(batch, slabs, *space, N * N)``.
    mu, r
        Direction and distance.

    Returns
    -------
    Array
        ``(batch, slabs, *space, N * N, N * N)`` with rows (i l) and columns (j k).
    """
    xp = array_namespace(left[0])
    return xp.matmul(xp.conj(xp.stack(left, axis=-1)), xp.stack([xp.roll(b, -r, axis=mu + 1) for b in right], axis=-2))


@dataclass(frozen=True, eq=False)
class LinePairs:
    """Means of pairs of lines, slab by slab, for spatial directions and distances.

    Parameters
    ----------
    cut
        The slabs.
    means
        For each direction ``mu`` = 1, 2, ... and distance 1, 2, ... the tensor ``(batch, slabs, *space, N * N, N * N)`` with
        rows (i l) and columns (j k), see :func:`pair_sums`.
    """

    cut: SlabCut
    means: tuple[tuple[Array, ...], ...]

    def wilson_loops(self, ends: Array) -> Array:
        """Wilson loops W(r, t) of r steps in space on slices that cut, and t = thickness, 2 thickness, ... in time.

        Parameters
        ----------
        ends
            Links whose spatial ones on the slices that cut are the ends of the loops: those of the configuration, or smeared in
            space (:func:`gaugeflow.observables.stout`).

        Returns
        -------
        Array
            ``(r_max, slabs, batch)`` float64: Re tr W / N, averaged over places, directions and the slices where loops begin.
        """
        xp = array_namespace(ends)
        slabs, found = len(self.cut.slices), []
        for mu, pairs in enumerate(self.means, start=1):
            rows = []
            for line, pair in zip(self.cut.space_lines(ends, mu, len(pairs)), pairs, strict=True):
                n = line.shape[-1]
                end = xp.reshape(line, (*line.shape[:-2], 1, n * n))
                across, loop, row = _across(pair), end, []
                for _ in range(slabs):
                    loop = xp.roll(xp.matmul(loop, across), 1, axis=1)  # now at the slice where it arrived
                    trace = xp.real(xp.sum(loop * xp.conj(end), axis=-1)) / n
                    row.append(_mean(trace))
                rows.append(xp.stack(row))
            found.append(xp.stack(rows))
        return xp.mean(xp.stack(found), axis=0)

    def polyakov_pairs(self) -> Array:
        """Re [P(x)^* P(x + r)], P = tr L / N of the line around the lattice, averaged over places and directions.

        Returns
        -------
        Array
            ``(r_max, batch)`` float64.
        """
        xp = array_namespace(self.means[0][0])
        found = []
        for pairs in self.means:
            rows = []
            for pair in pairs:
                across = _across(pair)
                around = across[:, 0, ...]
                for k in range(1, across.shape[1]):
                    around = xp.matmul(around, across[:, k, ...])
                trace = sum(xp.real(around[..., k, k]) for k in range(around.shape[-1]))
                rows.append(_mean(trace) / around.shape[-1])  # N^2 is the size of the tensor
            found.append(xp.stack(rows))
        return xp.mean(xp.stack(found), axis=0)


def _across(pair: Array) -> Array:
    """The tensor with rows (i j) at the lower slice and columns (l k) at the upper one."""
    xp = array_namespace(pair)
    n = round(pair.shape[-1] ** 0.5)
    lead = tuple(pair.shape[:-2])
    axes = len(lead)
    x = xp.reshape(pair, (*lead, n, n, n, n))
    x = xp.permute_dims(x, (*range(axes), axes, axes + 2, axes + 1, axes + 3))
    return xp.reshape(x, (*lead, n * n, n * n))


def _mean(values: Array) -> Array:
    """Mean over all axes but the first, which is the batch."""
    xp = array_namespace(values)
    return xp.mean(xp.reshape(values, (values.shape[0], -1)), axis=1)


Ends = Callable[[Lattice, Array], Array]
"""Smearing of the ends of loops, ``ends(lattice, links)``."""


def cut_links(cut: SlabCut, links: Array) -> Any:
    """Spatial links on the slices that cut, ``(batch, ndim - 1, slabs, *space, N, N)``."""
    xp = array_namespace(links)
    x = xp.roll(cut.lattice.unpack(links[1:, ...], components=1), -cut.first, axis=2)
    return x[:, :, :: cut.thickness, ...]
