"""Regions of a lattice, tables of hops, and the factors that hops are multiplied by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

LANES = {"cpu": 8, "cuda": 32}
"""Lanes that fill the widest vector registers (double precision), or a warp of threads."""

IntArray = npt.NDArray[np.int32]
"""Indices of sites, lanes and permutations."""


@dataclass(frozen=True)
class Box:
    """A rectangular region of a lattice, which may cross its boundaries.

    Parameters
    ----------
    origin
        First coordinates.
    extents
        Number of sites along each direction, at least 1; the extent of the lattice or more takes all.
    """

    origin: tuple[int, ...]
    extents: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.origin) != len(self.extents) or any(n < 1 for n in self.extents):
            raise ValueError(
                f"Box: expected origin and positive extents of equal length, got {self.origin} and {self.extents}"
            )


@dataclass(frozen=True, eq=False)
class HopFactors:
    """Numbers by which hops of a lattice fermion are multiplied: boundary phases, weights of directions, staggered phases.

    Most hops share few different factors, so that a kernel reads a code for each hop; code 0 says that the factor is 1.
    """

    code: IntArray
    """``(ndim, 2, n_blocks)``: which row of ``values`` a hop from this block site is multiplied by; sign 0 is forward."""
    values: npt.NDArray[np.complex128]
    """``(codes, n_folds)``: the factors of the sub-lattices; row 0 is 1."""


def coded_factors(forward: npt.NDArray[Any], backward: npt.NDArray[Any]) -> HopFactors:
    """Table of the factors of hops forward and backward from every slot, ``(ndim, n_blocks, n_folds)`` each."""
    ndim, n_blocks, n_folds = forward.shape
    rows = np.stack([forward, backward], axis=1).reshape(-1, n_folds)
    values, code = np.unique(np.concatenate([np.ones((1, n_folds)), rows]), axis=0, return_inverse=True)
    code = code.reshape(-1)
    order = np.argsort(np.arange(len(values)) != code[0], kind="stable")  # the row of ones first
    place = np.argsort(order)
    return HopFactors(place[code[1:]].reshape(ndim, 2, n_blocks).astype(np.int32), values[order])


class HopTable(NamedTuple):
    """Where hops lead on one sub-lattice and on the sites around it that other processes hold."""

    neighbour: IntArray
    """``(ndim, 2, n_blocks + n_halo)``: the place one hop ahead (0) or behind (1)."""
    crossing: IntArray
    """Lane permutation picked up by that hop, of the same shape; 0 is the identity."""
    coordinates: IntArray
    """``(ndim, n_halo)``: coordinates of the places behind the own ones, counted from the corner of the sub-lattice."""


def hop_table(extents: Sequence[int], fold: Sequence[int], cut: Sequence[bool], depth: int) -> HopTable:
    """Table of hops on a sub-lattice that is surrounded, where it is cut, by ``depth`` layers of places.

    Parameters
    ----------
    extents
        Of the sub-lattice.
    fold
        Number of sub-lattices per direction.
    cut
        In which directions the sites beyond the boundary are places of their own, instead of those of the next sub-lattice
        of a fold or of the opposite boundary.
    depth
        Number of layers; corners belong to them.

    Returns
    -------
    HopTable
        Own sites first, in lexicographic order, and then those around them in this order, side by side: what comes from one
        process lies together.  Places of the outermost layer lead to themselves where a hop would leave it.
    """
    ndim = len(extents)
    margin = np.array([depth if c else 0 for c in cut])
    wide = np.array(extents) + 2 * margin
    places = np.indices(tuple(wide)).reshape(ndim, -1)
    here = places - margin[:, None]
    bounds = np.array(extents)[:, None]
    inside = ((here >= 0) & (here < bounds)).all(axis=0)
    beyond = np.where(here < 0, 0, np.where(here >= bounds, 2, 1))
    side = np.ravel_multi_index(tuple(beyond), (3,) * ndim)
    order = np.lexsort((side * ~inside, ~inside))
    number = np.empty(len(order), dtype=np.int32)
    number[order] = np.arange(len(order), dtype=np.int32)
    neighbour = np.empty((ndim, 2, len(order)), dtype=np.int32)
    crossing = np.zeros((ndim, 2, len(order)), dtype=np.int32)
    for mu in range(ndim):
        stride = int(np.prod(fold[mu + 1 :]))
        for sign, step in enumerate((1, -1)):
            moved = places[:, order].copy()
            if cut[mu]:
                moved[mu] = np.clip(moved[mu] + step, 0, wide[mu] - 1)
            else:
                edge = extents[mu] - 1 if sign == 0 else 0
                crossing[mu, sign, moved[mu] == edge] = (step % fold[mu]) * stride
                moved[mu] = (moved[mu] + step) % extents[mu]
            neighbour[mu, sign] = number[np.ravel_multi_index(tuple(moved), tuple(wide))]
    return HopTable(neighbour, crossing, here[:, order[inside.sum() :]].astype(np.int32))


class Domain(Protocol):
    """The part of a lattice that a process holds, see :mod:`gaugeflow.domains`."""

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of processes per direction."""

    @property
    def place(self) -> tuple[int, ...]:
        """Coordinates of this process in the grid."""

    @property
    def comm(self) -> Any:
        """The mpi4py communicator of the processes."""

    def whole(self, lattice: Any, array: Any, axis: int) -> Any:
        """Array of the whole lattice from those of all processes, whose site axes begin with ``axis``."""

    def collected(self, lattice: Any, array: Any, axis: int) -> npt.NDArray[Any] | None:
        """As :meth:`whole`, on the first process alone."""

    def first(self, function: Callable[[], Any]) -> Any:
        """What the first process finds, or its error, for all."""

    def together(self, function: Callable[[], Any]) -> Any:
        """What each process finds; an error of one is an error of all."""

    def behind(self, lattice: Any, mu: int, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Numbers of slots at the sites one hop behind."""

    def reach(self, lattice: Any, slots: Any, hops: Any) -> Any:
        """Slots reached by hops; those of other processes are ``n_slots`` plus the global site."""

    def take(self, lattice: Any, values: Any, slots: Any, places: Any) -> Any:
        """Values of slots ``(k, rows, batch)`` at slots as :meth:`reach` gives them."""

    def rows(self, lattice: Any, sites: Any, depth: int) -> npt.NDArray[np.int32]:
        """Row of every place, also around the own ones, in a field on some block sites; -1 where there is none."""

    def halo(
        self, lattice: Any, field: Any, reads: Any, sites: Any = None, rows: Any = None, depth: int | None = None
    ) -> Any:
        """What a kernel reads of a field on the sites around those of this process, ``(lead, n_halo, ..., lanes)``."""

    def faces(self, lattice: Any, targets: Any) -> Any:
        """Hops from some block sites that end on sites of other processes."""

    def exchange(self, faces: Any, prepared: Any) -> Any:
        """What other processes have prepared for such hops."""

    def sweep(self, lattice: Any, masks: Any, reads: Any) -> Any:
        """What has to be fetched before each update of a sweep over masks of links, for :meth:`fetch`."""

    def fetch(self, lattice: Any, field: Any, layer: Any, into: Any = None) -> Any:
        """What a layer says of a field, as :meth:`halo` gives it; ``into`` is one of the same field to be completed."""

    def total(self, parts: Any) -> Any:
        """Parts of exact sums of all processes, added up: see ``gaugeflow.kernels.sums.sum_sites``."""

    def largest(self, values: Any) -> Any:
        """Largest of the values of all processes, entry by entry."""


def suggest_fold(shape: Sequence[int], width: int) -> tuple[int, ...]:
    """Fold that gives at least ``width`` lanes from factors of two while sub-lattice extents stay even, slowest first.

    Fewer lanes come back when the extents do not allow as many.
    """
    fold = [1] * len(shape)
    while int(np.prod(fold)) < width:
        room = [mu for mu, n in enumerate(shape) if n % (4 * fold[mu]) == 0]
        if not room:
            break
        best = max(room, key=lambda mu: (shape[mu] // fold[mu], -mu))
        fold[best] *= 2
    return tuple(fold)
