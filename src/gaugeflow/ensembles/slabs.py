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

from gaugeflow.kernels import link_averages
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.observables.slab_loops import SlabCut, SlabLoops
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath

Ends = Callable[[Lattice, Array], Array]
"""Smearing of the ends of loops, ``ends(lattice, links)``."""


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

    def wilson_loops(
        self, rng: Rng, links: Array, r_max: int, t_max: int, ends: Ends | None = None
    ) -> tuple[Array, Array]:
        """Wilson loops W(r, t) whose pieces in different slabs were averaged separately.

        Parameters
        ----------
        rng
            Random numbers; another place of the tree of streams for every call.
        links
            A configuration (or a batch) in equilibrium.
        r_max
            Largest extent in space, at most half the extents of the lattice.
        t_max
            Largest extent in time.
        ends
            Smearing in space ``ends(lattice, links)`` for the ends of the loops, none by default.

        Returns
        -------
        Array
            ``(r_max, t_max, batch)`` float64; W(r, t) at ``[r - 1, t - 1]``, averaged over places, directions, and those
            positions in time whose ends are farthest from frozen slices.
        Array
            The configuration after the last update, which is in equilibrium as well: a chain may go on from there.

        Raises
        ------
        ValueError
            If an extent is out of range, or ``ends`` mixes time slices.
        """
        loops = SlabLoops(self.cut, r_max, t_max)
        last = first = smooth = links
        for count, last in enumerate(self.configurations(rng, links)):
            smooth = last if ends is None else ends(self.lattice, last)
            first = smooth if count == 0 else first
            loops.add(last, self._averages(last), smooth)
        if ends is not None:
            self._check_ends(first, smooth)
        return loops.wilson_loops(), last

    def polyakov_pairs(self, rng: Rng, links: Array, r_max: int) -> tuple[Array, Array]:
        """Correlators of Polyakov loops, ``(r_max, batch)``, and the last configuration.

        The correlators are those of :meth:`gaugeflow.observables.SlabLoops.polyakov_pairs`.

        Parameters are those of :meth:`wilson_loops`.
        """
        loops, last = SlabLoops(self.cut, r_max, pairs=True), links
        for last in self.configurations(rng, links):
            loops.add(last, self._averages(last), last)
        return loops.polyakov_pairs(), last

    def slice_means(self, rng: Rng, links: Array, function: Callable[[Array], Array]) -> tuple[Array, Array]:
        """Means of a function of links, for instance of what :func:`gaugeflow.analysis.slab_correlator` correlates.

        Parameters
        ----------
        rng, links
            As of :meth:`wilson_loops`.
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

    def _averages(self, links: Array) -> Array | None:
        return link_averages(self.lattice, links, self.coupling, 0) if self.multihit else None

    def _check_ends(self, before: Array, after: Array) -> None:
        xp = array_namespace(before)
        largest = 0.0
        for mu in range(1, self.lattice.ndim):
            change = self.cut.by_slab(before[mu, ...])[0, ...] - self.cut.by_slab(after[mu, ...])[0, ...]
            largest = max(largest, float(xp.max(xp.abs(change))))
        if not largest <= float(xp.finfo(before.dtype).eps) ** 0.5:
            raise ValueError(
                "ends: expected links that depend on those of their own time slice alone, got some that changed by "
                f"{largest:.3g} while the slice was frozen; smear in space only"
            )
