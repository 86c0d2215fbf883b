"""Periodic hypercubic lattices as tables of neighbours.

Kernels never see a dimension or a shape: they see a flat list of ``n_blocks`` sites and tables that say where a hop
leads.  A *fold* cuts the lattice into equal sub-lattices that become lanes of the last axis, so that one large
configuration fills the vector registers as well as a batch of small ones does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gaugeflow.errors import whole_numbers
from gaugeflow.lattice.packing import check_array, packed, unpacked
from gaugeflow.lattice.tables import (
    LANES,
    Box,
    Domain,
    HopFactors,
    HopTable,
    IntArray,
    coded_factors,
    hop_table,
    suggest_fold,
)
from gaugeflow.namespaces import array_namespace

Array = Any


@dataclass(frozen=True)
class Lattice:
    """A periodic lattice of any dimension, optionally folded.

    Parameters
    ----------
    shape
        Extents, slowest first: ``(t, z, y, x)`` in four dimensions.  Direction ``mu`` moves along axis ``mu``.
    fold
        Number of equal sub-lattices per direction (default: all 1).  Lanes are ordered fold major, batch minor.
    domain
        Where the lattice is cut over processes: the part of this one, see :func:`gaugeflow.domains.cut`.

    Notes
    -----
    A field has its site axis of length ``n_blocks = n_slots / n_folds`` and its last axis of ``n_folds * batch`` lanes.
    ``shape`` and ``volume``, coordinates and site numbers are those of the whole lattice; what counts the sites of arrays
    (``local_shape``, ``n_slots``, ``n_blocks``, ``block_shape``) counts those of this process.
    """

    shape: tuple[int, ...]
    fold: tuple[int, ...] = field(default=())
    domain: Domain | None = field(default=None, repr=False)

    def __init__(self, shape: Sequence[int], fold: Sequence[int] | None = None, domain: Domain | None = None) -> None:
        extents = whole_numbers("Lattice: shape", shape)
        folds = whole_numbers("Lattice: fold", fold) if fold else (1,) * len(extents)
        if not extents:
            raise ValueError("Lattice: shape needs at least one extent, got ()")
        if len(folds) != len(extents):
            raise ValueError(f"Lattice: fold needs {len(extents)} entries like shape {extents}, got {folds}")
        grid = (1,) * len(extents) if domain is None else domain.grid
        if len(grid) != len(extents):
            raise ValueError(
                f"Lattice: the grid of processes needs {len(extents)} entries like shape {extents}, got {grid}"
            )
        for mu, (whole, f, processes) in enumerate(zip(extents, folds, grid, strict=True)):
            if whole < 2:
                raise ValueError(f"Lattice: extent of direction {mu} must be at least 2, got {whole}")
            if whole % processes or whole // processes < 2:
                raise ValueError(
                    f"Lattice: {processes} processes cannot share direction {mu} of extent {whole} in equal parts of 2 "
                    f"sites or more; numbers that work: {[k for k in range(1, whole // 2 + 1) if whole % k == 0]}"
                )
            n = whole // processes
            if f < 1 or n % f or n // f < 2:
                works = [k for k in range(1, n // 2 + 1) if n % k == 0]
                raise ValueError(
                    f"Lattice: fold {f} cannot cut direction {mu} of extent {n} into sub-lattices of 2 sites or more; "
                    f"folds that work: {works}"
                )
        object.__setattr__(self, "shape", extents)
        object.__setattr__(self, "fold", folds)
        object.__setattr__(self, "domain", domain)

    # ---- sizes -------------------------------------------------------------------------------------------------
    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @cached_property
    def volume(self) -> int:
        """Number of sites of the whole lattice."""
        return math.prod(self.shape)

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of processes per direction."""
        return (1,) * self.ndim if self.domain is None else self.domain.grid

    @cached_property
    def local_shape(self) -> tuple[int, ...]:
        """Extents of the part that this process holds."""
        return tuple(n // p for n, p in zip(self.shape, self.grid, strict=True))

    @cached_property
    def origin(self) -> tuple[int, ...]:
        """Global coordinates of the first site of this process."""
        place = (0,) * self.ndim if self.domain is None else self.domain.place
        return tuple(n * k for n, k in zip(self.local_shape, place, strict=True))

    @cached_property
    def n_slots(self) -> int:
        """Number of sites that this process holds."""
        return math.prod(self.local_shape)

    @cached_property
    def local(self) -> Lattice:
        """The part of this process as a lattice of its own: for arrays of its sites, not for hops."""
        return self if self.domain is None else Lattice(self.local_shape, self.fold)

    def check_whole(self, what: str) -> None:
        """Raise ``ValueError`` where the lattice is cut over processes and ``what`` needs all of it in one."""
        if self.domain is not None:
            raise ValueError(f"{what}: needs a whole lattice in one process, got one cut over a grid {self.grid}")

    @cached_property
    def n_folds(self) -> int:
        """Number of sub-lattices, i.e. lanes per configuration."""
        return math.prod(self.fold)

    @cached_property
    def n_blocks(self) -> int:
        """Length of the site axis of fields: ``n_slots / n_folds``."""
        return self.n_slots // self.n_folds

    @property
    def block_shape(self) -> tuple[int, ...]:
        """Extents of one sub-lattice."""
        return tuple(n // f for n, f in zip(self.local_shape, self.fold, strict=True))

    @cached_property
    def planes(self) -> tuple[tuple[int, int], ...]:
        """Planes ``(mu, nu)`` with ``mu < nu`` in the order of every per-plane array; planes with mu = 0 are temporal."""
        return tuple((mu, nu) for mu in range(self.ndim) for nu in range(mu + 1, self.ndim))

    def batch(self, lanes: int) -> int:
        """Number of configurations in a field with this many lanes."""
        if lanes < 1 or lanes % self.n_folds:
            raise ValueError(f"lattice folded {self.fold} needs a multiple of {self.n_folds} lanes, got {lanes}")
        return lanes // self.n_folds

    # ---- tables ------------------------------------------------------------------------------------------------
    @cached_property
    def _block_coordinates(self) -> IntArray:
        return np.indices(self.block_shape).reshape(self.ndim, self.n_blocks).astype(np.int32)

    def hops(self, depth: int = 1) -> HopTable:
        """Where hops lead, also on ``depth`` layers of sites that other processes hold (``gaugeflow.lattice.tables``)."""
        return _hop_table(self.block_shape, self.fold, tuple(p > 1 for p in self.grid), depth)

    @property
    def neighbour(self) -> IntArray:
        """Block site reached by one hop, ``(ndim, 2, n_blocks)``; index 0 of axis 1 is forward, 1 backward."""
        self.check_whole("table of neighbours")
        return self.hops().neighbour

    @property
    def crossing(self) -> IntArray:
        """Lane permutation picked up by one hop, ``(ndim, 2, n_blocks)``; 0 is the identity."""
        self.check_whole("table of neighbours")
        return self.hops().crossing

    @cached_property
    def permutation(self) -> IntArray:
        """``permutation[p, f]``: the sub-lattice in which lane ``f`` finds its data after permutation ``p``."""
        shifts = np.indices(self.fold).reshape(self.ndim, self.n_folds)
        moved = (shifts[:, :, None] + shifts[:, None, :]) % np.array(self.fold)[:, None, None]
        return np.ravel_multi_index(tuple(moved), self.fold).astype(np.int32)

    @property
    def composition(self) -> IntArray:
        """``composition[p, q]``: permutation of a hop ``p`` followed by a hop ``q`` (a product of cyclic groups)."""
        return self.permutation

    @cached_property
    def slot_neighbour(self) -> IntArray:
        """Hops between slots ``block site * n_folds + fold``, ``(ndim, 2, volume)``: the tables in one, for arrays."""
        site = self.neighbour[..., None] * self.n_folds
        lane = self.permutation[self.crossing]
        return (site + lane).reshape(self.ndim, 2, self.n_slots).astype(np.int32)

    @cached_property
    def coordinates(self) -> IntArray:
        """Global coordinates of every slot, ``(ndim, n_blocks, n_folds)``."""
        return self.coordinates_of(self._block_coordinates)

    def coordinates_of(self, places: IntArray) -> IntArray:
        """Global coordinates, ``(ndim, places, n_folds)``, of places counted from the corner of every sub-lattice."""
        offsets = np.indices(self.fold).reshape(self.ndim, 1, self.n_folds)
        extent, origin, shape = (np.array(n).reshape(-1, 1, 1) for n in (self.block_shape, self.origin, self.shape))
        return ((places[:, :, None] + offsets * extent + origin) % shape).astype(np.int32)

    @cached_property
    def site(self) -> IntArray:
        """Global lexicographic index of every slot, ``(n_blocks, n_folds)``: what random numbers are keyed by."""
        return np.ravel_multi_index(tuple(self.coordinates), self.shape).astype(np.int32)

    def site_of(self, coordinates: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Global lexicographic index of sites ``(ndim, ...)``."""
        return np.asarray(np.ravel_multi_index(tuple(coordinates), self.shape), dtype=np.int64)

    def slot_of(self, coordinates: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Slots ``block site * n_folds + fold`` of sites ``(ndim, ...)`` on the process that holds them."""
        extents = np.array(self.local_shape).reshape(-1, *[1] * (np.ndim(coordinates) - 1))
        blocks = np.array(self.block_shape).reshape(extents.shape)
        own = np.asarray(coordinates) % extents
        block = np.ravel_multi_index(tuple(own % blocks), self.block_shape)
        fold = np.ravel_multi_index(tuple(own // blocks), self.fold)
        return np.asarray(block * self.n_folds + fold, dtype=np.int64)

    # ---- masks -------------------------------------------------------------------------------------------------
    def sites_of_colour(self, weights: Sequence[int], modulus: int, colour: int) -> IntArray:
        """Block sites whose coordinates obey ``sum_mu weights[mu] x_mu = colour`` modulo ``modulus``.

        Raises
        ------
        ValueError
            If an extent does not carry the colouring, or a fold makes colours differ between lanes.
        """
        if len(weights) != self.ndim:
            raise ValueError(f"colouring: expected {self.ndim} weights, got {tuple(weights)}")
        if modulus < 1 or not 0 <= colour < modulus:
            raise ValueError(f"colour: expected 0 ... {modulus - 1}, got {colour!r}")
        for mu, weight in enumerate(weights):
            step = modulus // math.gcd(weight, modulus)
            if self.shape[mu] % step:
                below = self.shape[mu] // step * step
                raise ValueError(
                    f"a colouring modulo {modulus} needs an extent that {step} divides: direction {mu} has extent "
                    f"{self.shape[mu]}; {below or step} or {below + step} would work"
                )
            if self.fold[mu] > 1 and self.block_shape[mu] % step:
                works = [k for k in range(1, self.shape[mu] // 2 + 1) if self.shape[mu] % (step * k) == 0]
                raise ValueError(
                    f"colours must be the same in all lanes: fold {self.fold[mu]} leaves a sub-lattice extent "
                    f"{self.block_shape[mu]}, not a multiple of {step}, in direction {mu} of extent {self.shape[mu]}; "
                    f"folds that work: {works}"
                )
        total = np.tensordot(np.array(weights), self._block_coordinates + np.array(self.origin)[:, None], axes=1)
        return np.nonzero(total % modulus == colour)[0].astype(np.int32)

    def sites_of_parity(self, parity: int, directions: Sequence[int] | None = None) -> IntArray:
        """Block sites whose coordinates along ``directions`` (default: all) sum to ``parity`` modulo 2.

        Raises
        ------
        ValueError
            If an extent is odd, or a fold makes parity differ between lanes.
        """
        chosen = range(self.ndim) if directions is None else directions
        return self.sites_of_colour([int(mu in chosen) for mu in range(self.ndim)], 2, parity)

    def active_sites(self, mu: int, parity: int) -> IntArray:
        """Sites of the active links of direction ``mu``: those whose *other* coordinates have the given parity.

        No plaquette holds two of them, and the ``2 ndim`` masks cover every link once.
        """
        self.check_direction(mu)
        return self.sites_of_parity(parity, [nu for nu in range(self.ndim) if nu != mu])

    def inside(self, box: Box) -> npt.NDArray[np.bool_]:
        """Whether every slot lies in a box, ``(n_blocks, n_folds)``.

        Raises
        ------
        ValueError
            If the box has another number of directions.
        """
        if len(box.origin) != self.ndim:
            raise ValueError(f"box: expected {self.ndim} coordinates for a lattice of shape {self.shape}, got {box}")
        origin, extents, shape = (np.array(v).reshape(self.ndim, 1, 1) for v in (box.origin, box.extents, self.shape))
        return np.asarray(((self.coordinates - origin) % shape < extents).all(axis=0))

    def restrict(self, sites: IntArray, box: Box | None) -> IntArray:
        """Those block sites that lie in a box; all of them where there is none.

        Raises
        ------
        ValueError
            If the lattice is folded and the box differs between sub-lattices.
        """
        if box is None:
            return sites
        inside = self.inside(box)
        mixed = np.array([float((inside != inside[:, :1]).any())])
        if (mixed if self.domain is None else self.domain.largest(mixed))[0]:
            raise ValueError(f"a region needs the same sites in all sub-lattices: {box} on {self}; do not fold")
        return sites[inside[sites, 0]]

    def check_direction(self, mu: int) -> None:
        """Raise ``ValueError`` unless ``mu`` is a direction of this lattice."""
        if not 0 <= mu < self.ndim:
            raise ValueError(f"direction must be in 0 ... {self.ndim - 1}, got {mu!r}")

    def boundary_phase(self, phases: Sequence[complex]) -> npt.NDArray[np.complex128]:
        """Factor that a forward hop picks up, ``(ndim, n_blocks, n_folds)``: ``phases[mu]`` across the boundary, else 1.

        Boundary conditions are data of the operator that hops; links are never multiplied.
        """
        if len(phases) != self.ndim:
            raise ValueError(f"boundary phases: expected {self.ndim} entries, got {len(phases)}")
        last = np.array(self.shape).reshape(-1, 1, 1) - 1
        factor = np.array(phases, dtype=np.complex128).reshape(-1, 1, 1)
        return np.where(self.coordinates == last, factor, 1.0)

    def hop_factors(self, forward: npt.NDArray[Any]) -> HopFactors:
        """Table of the factors of all hops from those of the forward ones, ``(ndim, n_blocks, n_folds)``.

        The hop back from x + mu to x has the complex conjugate of the factor from x to x + mu.
        """
        expected = (self.ndim, self.n_blocks, self.n_folds)
        if np.shape(forward) != expected:
            raise ValueError(f"hop factors: expected shape {expected}, got {np.shape(forward)}")
        ahead = np.asarray(forward, dtype=np.complex128)
        back = [self.behind(mu, f).conj() for mu, f in enumerate(ahead)]
        return coded_factors(ahead, np.reshape(back, expected))

    def behind(self, mu: int, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Numbers ``(n_blocks, n_folds)`` of the sites one hop behind."""
        flat = np.ascontiguousarray(values).reshape(-1)
        if self.domain is not None:
            return self.domain.behind(self, mu, flat).reshape(values.shape)
        return flat[self.slot_neighbour[mu, 1]].reshape(values.shape)

    # ---- fields ------------------------------------------------------------------------------------------------
    def check_links(self, links: Array, name: str = "links") -> tuple[int, int]:
        """Colours and lanes of a link or algebra field ``(ndim, n_blocks, N, N, B)``; an error if it is none."""
        check_array(links, name)
        found = tuple(links.shape)
        good = len(found) == 5 and found[:2] == (self.ndim, self.n_blocks) and found[2] == found[3]
        if not good:
            raise ValueError(
                f"{name}: expected shape ({self.ndim}, {self.n_blocks}, N, N, lanes) on {self}, got {found}"
            )
        self.batch(found[4])
        return found[2], found[4]

    def pack(self, array: Array, components: int = 0) -> Array:
        """Turn a conventional array into a field.

        Parameters
        ----------
        array
            ``(batch, *lead, *shape, *trail)`` with ``components`` axes in ``lead``; NumPy-like.  Links are
            ``(batch, d, *shape, N, N)`` with ``components=1``.  Where the lattice is cut, every process takes its own
            sites of the whole array; ``local.pack`` takes an array of these alone.
        components
            Number of axes before those of the sites.

        Returns
        -------
        Array
            ``(*lead, n_blocks, *trail, n_folds * batch)``, contiguous.
        """
        return packed(self.part(array, 1 + components), components, self.block_shape, self.fold)

    def part(self, array: Array, axis: int) -> Array:
        """The sites of this process of an array of the whole lattice, whose site axes begin with ``axis``; a view."""
        if self.domain is None:
            return array
        check_array(array, "array")
        found = tuple(array.shape)[axis : axis + self.ndim]
        if found != self.shape:
            raise ValueError(f"part: expected site axes {self.shape} from axis {axis} on, got {tuple(array.shape)}")
        own = [slice(first, first + n) for first, n in zip(self.origin, self.local_shape, strict=True)]
        return array[(*[slice(None)] * axis, *own, ...)]

    def unpack(self, field: Array, components: int = 0) -> Array:
        """Inverse of :meth:`pack`: ``(*lead, n_blocks, *trail, lanes)`` to ``(batch, *lead, *shape, *trail)``.

        Where the lattice is cut, every process gets the whole array; ``local.unpack`` gives its own sites alone.
        """
        own = unpacked(field, components, self.block_shape, self.fold)
        return own if self.domain is None else self.domain.whole(self, own, 1 + components)

    def suggest_fold(self, device: str = "cpu", batch: int = 1) -> tuple[int, ...]:
        """Fold of this shape that fills the device with ``batch`` configurations; sub-lattice extents stay even.

        Parameters
        ----------
        device
            ``"cpu"``: the widest vector registers, 8 lanes.  ``"cuda"``: a warp, 32 lanes, so that its threads read
            consecutive numbers.
        batch
            Configurations that share the lanes.

        Returns
        -------
        tuple of int
            See :func:`suggest_fold`; give it to ``Lattice(shape, fold)``.
        """
        if device not in LANES:
            raise ValueError(f"device: expected one of {sorted(LANES)}, got {device!r}")
        if batch < 1:
            raise ValueError(f"batch: expected a positive number, got {batch}")
        return suggest_fold(self.local_shape, -(-LANES[device] // batch))

    def spread_folds(self, values: Array) -> Array:
        """Repeat per-configuration values ``(..., batch)`` in every sub-lattice: ``(..., n_folds * batch)``."""
        if self.n_folds == 1:
            return values
        xp = array_namespace(values)
        lead = tuple(values.shape[:-1])
        wide = xp.broadcast_to(values[..., None, :], (*lead, self.n_folds, values.shape[-1]))
        return xp.reshape(wide, (*lead, self.n_folds * values.shape[-1]))


@lru_cache(maxsize=64)
def _hop_table(extents: tuple[int, ...], fold: tuple[int, ...], cut: tuple[bool, ...], depth: int) -> HopTable:
    return hop_table(extents, fold, cut, depth if any(cut) else 0)
