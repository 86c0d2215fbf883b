"""Multilevel averages: the inside of time slabs is averaged by a heat bath while the slices between them stay frozen.

The action couples a slab to nothing but the frozen slices around it.  Given these, slabs fluctuate independently, and the
expectation value of a product of functions of different slabs is that of the product of their means (Luescher and Weisz,
hep-lat/0108014).  A mean over any number of updates that begin with the given configuration is exact in this sense, because
the heat bath leaves the distribution of the inside as it is: there is nothing to be thermalised and no bias.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from gaugeflow.kernels import link_averages
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables.line_pairs import Ends, LinePairs, SlabCut, cut_links, pair_sums
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath

_TOGETHER = 16
"""Configurations whose pairs are summed by one product of matrices."""


@dataclass(frozen=True)
class Slabs:
    """Averages over the inside of time slabs, for the Wilson action of :class:`gaugeflow.samplers.HeatBath`.

    Parameters
    ----------
    lattice, coupling
        As of the heat bath; a lattice that is folded in space only, or with sub-lattices that are cut alike.
    thickness
        Slices from one frozen slice to the next; it divides the extent in time.
    updates
        Configurations in a mean.  The first one is the given one.
    n_overrelax
        Overrelaxation sweeps after each heat-bath sweep.
    first
        The first frozen slice, below the thickness.  Means of one configuration want the same; another one may take another.
    multihit
        Whether lines in time are made of means of links (:func:`gaugeflow.kernels.link_averages`), N = 1, 2, 3.
    """

    lattice: Lattice
    coupling: Any
    thickness: int
    updates: int
    n_overrelax: int = 1
    first: int = 0
    multihit: bool = True

    def __post_init__(self) -> None:
        if self.updates < 1:
            raise ValueError(f"Slabs: updates must be at least 1, got {self.updates}")
        _ = self.cut, self.sampler

    @property
    def cut(self) -> SlabCut:
        """Where the lattice is cut."""
        return SlabCut(self.lattice, self.thickness, self.first)

    @property
    def sampler(self) -> HeatBath:
        """What moves the inside of the slabs."""
        return HeatBath(self.lattice, self.coupling, self.n_overrelax, frozen=self.cut.slices)

    def configurations(self, rng: Rng, links: Array) -> Iterator[Array]:
        """The given links and those of ``updates - 1`` steps, all with the same spatial links on the frozen slices."""
        sampler = self.sampler
        state = sampler.init(links)
        yield state.x
        for _ in range(self.updates - 1):
            state, _ = sampler.step(rng, state)
            yield state.x

    def line_pairs(self, rng: Rng, links: Array, r_max: int) -> tuple[LinePairs, Array]:
        """Means of pairs of lines in time of all slabs.

        Parameters
        ----------
        rng
            Random numbers; another place of the tree of streams for every call.
        links
            A configuration (or a batch) in equilibrium.
        r_max
            Largest distance of the lines, at most half the spatial extents.

        Returns
        -------
        LinePairs
            The means.
        Array
            The configuration after the last update, which is in equilibrium as well: a chain may go on from there.

        Raises
        ------
        ValueError
            If ``r_max`` is out of range.
        """
        cut, shape = self.cut, self.lattice.shape
        if not 1 <= r_max <= min(shape[1:]) // 2:
            raise ValueError(f"r_max: expected 1 ... {min(shape[1:]) // 2} on a lattice of shape {shape}, got {r_max}")
        places = [(mu, r) for mu in range(1, self.lattice.ndim) for r in range(1, r_max + 1)]
        totals: dict[tuple[int, int], Array] = {}
        hits: list[Array] = []
        plain: list[Array] = []
        last = links
        for count, last in enumerate(self.configurations(rng, links), start=1):
            plain.append(cut.time_lines(last[0, ...]))
            hits.append(cut.time_lines(self._averages(last)) if self.multihit else plain[-1])
            if len(hits) == _TOGETHER or count == self.updates:
                for mu, r in places:
                    # Lines at distance 1 run along the same plaquettes, so that one of them has to be plain.
                    near = min(r, shape[mu] - r) == 1
                    part = pair_sums(hits, plain if near else hits, mu, r)
                    totals[mu, r] = totals[mu, r] + part if (mu, r) in totals else part
                hits, plain = [], []
        means = tuple(
            tuple(totals[mu, r] / self.updates for r in range(1, r_max + 1)) for mu in range(1, self.lattice.ndim)
        )
        return LinePairs(cut, means), last

    def wilson_loops(self, rng: Rng, links: Array, r_max: int, ends: Ends | None = None) -> tuple[Array, Array]:
        """Wilson loops whose extents in time are multiples of the thickness.

        Parameters
        ----------
        rng, links, r_max
            As of :meth:`line_pairs`.
        ends
            Smearing in space ``ends(lattice, links)`` for the ends of the loops, none by default.

        Returns
        -------
        Array
            ``(r_max, slabs, batch)`` float64; W(r, k thickness) at ``[r - 1, k - 1]``.
        Array
            The last configuration.

        Raises
        ------
        ValueError
            As :meth:`line_pairs`, or if ``ends`` mixes time slices.
        """
        pairs, last = self.line_pairs(rng, links, r_max)
        if ends is None:
            return pairs.wilson_loops(links), last
        smooth = ends(self.lattice, links)
        self._check_ends(smooth, ends(self.lattice, last))
        return pairs.wilson_loops(smooth), last

    def polyakov_pairs(self, rng: Rng, links: Array, r_max: int) -> tuple[Array, Array]:
        """Correlators of Polyakov loops, :meth:`LinePairs.polyakov_pairs`, and the last configuration."""
        pairs, last = self.line_pairs(rng, links, r_max)
        return pairs.polyakov_pairs(), last

    def slice_means(self, rng: Rng, links: Array, function: Callable[[Array], Array]) -> tuple[Array, Array]:
        """Means of a function of links, for instance of a slice observable that :func:`slab_correlator` correlates.

        Parameters
        ----------
        rng, links
            As of :meth:`line_pairs`.
        function
            From links to numbers, ``(..., batch)``.

        Returns
        -------
        Array
            The mean, of the shape that the function gives.
        Array
            The last configuration.
        """
        total, last = None, links
        for last in self.configurations(rng, links):
            value = function(last)
            total = value if total is None else total + value
        assert total is not None
        return total / self.updates, last

    def _averages(self, links: Array) -> Array:
        return link_averages(self.lattice, links, self.coupling, 0)

    def _check_ends(self, before: Array, after: Array) -> None:
        xp = array_namespace(before)
        change = cut_links(self.cut, before) - cut_links(self.cut, after)
        largest = float(xp.max(xp.abs(change)))
        if not largest <= float(xp.finfo(before.dtype).eps) ** 0.5:
            raise ValueError(
                "ends: expected links that depend on those of their own time slice alone, got some that changed by "
                f"{largest:.3g} while the slice was frozen; smear in space only"
            )
