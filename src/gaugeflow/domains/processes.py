"""The part of a lattice that a process holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from gaugeflow.devices import to_host
from gaugeflow.domains.communicator import private
from gaugeflow.domains.exchange import Items, Plan, Traffic, recycled, takes_device_memory
from gaugeflow.domains.faces import Faces
from gaugeflow.errors import sendable, whole_numbers
from gaugeflow.kernels.sums import aligned
from gaugeflow.lattice import Array, Lattice
from gaugeflow.lattice.reads import Reads
from gaugeflow.namespaces import array_namespace


def empty(shape: tuple[int, ...], like: Array) -> Array:
    """Memory for a layer; a test fills it with nan."""
    return recycled(array_namespace(like), shape, like.dtype)


Value = TypeVar("Value")


class Processes:
    """A grid of processes that share a lattice, and the place of this one in it.

    Parameters
    ----------
    comm
        An mpi4py communicator, which belongs to the caller; messages travel in a duplicate of it.  All of its processes must
        call the same functions of the library with the same arguments, in the same order.
    grid
        Number of processes per direction; their product is the size of the communicator.  Ranks are counted like sites:
        the last direction runs fastest.
    device_memory
        Whether MPI takes addresses in the memory of a device; by default what it says of itself.  Where it does not, arrays
        of a device travel through memory of the host.

    Raises
    ------
    ValueError
        If the grid has another number of processes than the communicator.
    """

    def __init__(self, comm: Any, grid: Sequence[int], device_memory: bool | None = None) -> None:
        self.comm = private(comm)
        self.grid = whole_numbers("grid of processes", grid)
        if math.prod(self.grid) != comm.size or any(n < 1 for n in self.grid):
            raise ValueError(
                f"grid of processes: expected a product of {comm.size}, the communicator's, got {self.grid}"
            )
        self.place = tuple(int(k) for k in np.unravel_index(comm.rank, self.grid))
        self.device_memory = takes_device_memory() if device_memory is None else device_memory
        self.traffic = Traffic()
        self._plans: dict[Any, Any] = {}
        self._agreed_plans: list[Any] = []
        self._numbers: dict[Any, list[int]] = {}

    # ---- sums --------------------------------------------------------------------------------------------------
    def total(self, parts: Array) -> Array:
        """Digit sums of all processes added up, see ``digit_sums`` in ``gaugeflow.kernels.sums``."""
        if self.comm.size == 1:
            return parts
        own = np.ascontiguousarray(to_host(parts))
        power = np.empty_like(own[0])
        self.comm.Allreduce(own[0], power, op=self._operation("MAX"))
        digits = np.empty_like(own[1:])
        self.comm.Allreduce(np.ascontiguousarray(aligned(np, own, power)), digits, op=self._operation("SUM"))
        return _like(np.concatenate([power[None], digits]), parts)

    def largest(self, values: Array) -> Array:
        """Largest of the values of all processes, entry by entry; nan where one is."""
        if self.comm.size == 1:
            return values
        own = np.ascontiguousarray(to_host(values))
        found = np.empty((self.comm.size, *own.shape), dtype=own.dtype)
        self.comm.Allgather(own, found)
        return _like(found.max(axis=0), values)

    @staticmethod
    def _operation(name: str) -> Any:
        from mpi4py import MPI

        return getattr(MPI, name)

    def whole(self, lattice: Lattice, array: Array, axis: int) -> Array:
        """Array of the whole lattice, on every process, from those of all; site axes begin with ``axis``."""
        own = np.ascontiguousarray(to_host(array))
        parts = np.empty((self.comm.size, *own.shape), dtype=own.dtype)
        self.comm.Allgather(own, parts)
        return _like(self._joined(lattice, parts, axis), array)

    def collected(self, lattice: Lattice, array: Array, axis: int) -> npt.NDArray[Any] | None:
        """As :meth:`whole`, in the memory of the host, on the first process; None on the others."""
        own = np.ascontiguousarray(to_host(array))
        first = self.comm.rank == 0
        parts = np.empty((self.comm.size, *own.shape), dtype=own.dtype) if first else None
        self.comm.Gather(own, parts)
        return None if parts is None else self._joined(lattice, parts, axis)

    def _joined(self, lattice: Lattice, parts: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
        own = parts[0]
        lead, trail = own.shape[:axis], own.shape[axis + lattice.ndim :]
        result = np.empty((*lead, *lattice.shape, *trail), dtype=own.dtype)
        for rank, values in enumerate(parts):
            place = np.unravel_index(rank, self.grid)
            sites = [slice(int(k) * n, (int(k) + 1) * n) for k, n in zip(place, lattice.local_shape, strict=True)]
            result[(*[slice(None)] * axis, *sites)] = values
        return result

    # ---- one mind ----------------------------------------------------------------------------------------------
    def first(self, function: Callable[[], Any]) -> Any:
        """What the first process finds, for all; an error there is an error of all."""
        return found_by_first(self.comm, function)

    def together(self, function: Callable[[], Any]) -> Any:
        """What each process finds itself; an error of one is an error of all."""
        return found_together(self.comm, function)

    # ---- sites anywhere ----------------------------------------------------------------------------------------
    def reach(self, lattice: Lattice, slots: npt.NDArray[Any], hops: Sequence[tuple[int, int]]) -> Items:
        """Slots reached by hops ``(mu, sign)``; those of other processes are ``n_slots`` plus the global site."""
        slots = np.asarray(to_host(slots))
        own = lattice.coordinates.reshape(lattice.ndim, -1)
        there = slots >= lattice.n_slots
        places = np.empty((lattice.ndim, len(slots)), dtype=np.int64)
        places[:, ~there] = own[:, slots[~there]]
        places[:, there] = np.unravel_index(slots[there] - lattice.n_slots, lattice.shape)
        for mu, sign in hops:
            places[mu] = (places[mu] + (1 if sign == 0 else -1)) % lattice.shape[mu]
        inside = self.owner(lattice, places) == self.comm.rank
        return np.where(inside, lattice.slot_of(places), lattice.n_slots + lattice.site_of(places))

    def take(self, lattice: Lattice, values: Array, slots: Array, rows: Array | None = None) -> Array:
        """Values ``(k, n, batch)`` at slots as :meth:`reach` gives them: ``(k, slots, batch)``.

        ``rows[slot]`` is the row of ``values`` that holds a slot of this process, by default the slot itself.
        """
        xp = array_namespace(values)
        host = np.asarray(to_host(values))
        where = np.asarray(to_host(slots), dtype=np.int64)
        row_of = np.arange(lattice.n_slots) if rows is None else np.asarray(to_host(rows), dtype=np.int64)
        key = "take", lattice, where.tobytes(), row_of.tobytes()
        plan = self._agreed(key, lambda: self._plan_of_sites(lattice, where, row_of))
        count, _, batch = host.shape
        found = np.empty((count, len(where), batch), dtype=host.dtype)
        here = where < lattice.n_slots
        found[:, here] = host[:, row_of[where[here]]]
        source = np.ascontiguousarray(host).reshape(count, -1, 1, 1, batch)
        plan.move(source, found.reshape(count, -1, 1, 1, batch), self.traffic)
        return xp.asarray(found)

    def behind(self, lattice: Lattice, mu: int, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Numbers of slots, ``(n_slots,)``, of the sites one hop behind."""
        slots = self.reach(lattice, np.arange(lattice.n_slots), [(mu, 1)])
        return np.asarray(self.take(lattice, values[None, :, None], slots)[0, :, 0])

    def owner(self, lattice: Lattice, places: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Rank of the process that holds each of the sites ``(ndim, ...)``."""
        extents = np.array(lattice.local_shape).reshape(-1, *[1] * (places.ndim - 1))
        return np.asarray(np.ravel_multi_index(tuple(places // extents), self.grid), dtype=np.int64)

    def _plan(self, key: Any, make: Any) -> Any:
        if key not in self._plans:
            self._plans[key] = make()
        return self._plans[key]

    def _agreed(self, key: Any, make: Any) -> Any:
        """As :meth:`_plan` for keys that name sites of this process.

        Requests that differ can look alike to a process that has no, or the same, part in them.  All must take the same plan:
        the first that was made for what every process asks for now.
        """
        numbers = self._numbers.setdefault(key, [])
        fits = np.zeros(len(self._agreed_plans) // 8 + 1, dtype=np.uint8)
        for number in numbers:
            fits[number // 8] |= 1 << number % 8
        everywhere = np.empty_like(fits)
        self.comm.Allreduce(fits, everywhere, op=self._operation("BAND"))
        common = np.flatnonzero(np.unpackbits(everywhere, bitorder="little"))
        if len(common):
            return self._agreed_plans[int(common[0])]
        plan = make()
        numbers.append(len(self._agreed_plans))
        self._agreed_plans.append(plan)
        return plan

    def _plan_of_sites(self, lattice: Lattice, where: Items, row_of: Items) -> Plan:
        there = np.nonzero(where >= lattice.n_slots)[0]
        places = np.array(np.unravel_index(where[there] - lattice.n_slots, lattice.shape))
        plan = Plan(self.comm, self.owner(lattice, places), lattice.slot_of(places), there)
        plan.gives = {rank: row_of[slots] for rank, slots in plan.gives.items()}
        return plan

    # ---- layers around the own sites ---------------------------------------------------------------------------
    def rows(self, lattice: Lattice, sites: npt.NDArray[Any], depth: int) -> npt.NDArray[np.int32]:
        """Row of every place in a field on some block sites, -1 where there is none: ``(n_blocks + n_halo,)``.

        Rows of other processes are counted from ``len(sites)`` on, in the order of :meth:`gaugeflow.lattice.Lattice.hops`:
        those of the layer that :meth:`halo` gives.

        Raises
        ------
        ValueError
            If the sites differ between the sub-lattices of a fold.
        """
        chosen = np.asarray(sites)
        return np.asarray(
            self._agreed(("rows", lattice, chosen.tobytes(), depth), lambda: self._rows(lattice, chosen, depth))
        )

    def _rows(self, lattice: Lattice, sites: npt.NDArray[Any], depth: int) -> npt.NDArray[np.int32]:
        own = np.full(lattice.n_blocks, -1, dtype=np.int32)
        own[sites] = np.arange(len(sites), dtype=np.int32)
        present = np.zeros((1, lattice.n_blocks, lattice.n_folds))
        present[0, sites] = 1.0
        steps = product(range(-depth, depth + 1), repeat=lattice.ndim)
        around = self.halo(lattice, present, Reads(frozenset((-1, step) for step in steps)))[0]
        if not (around == around[:, :1]).all():
            raise ValueError(f"a region needs the same sites in all sub-lattices on {lattice}; do not fold")
        behind = len(sites) + np.arange(len(around), dtype=np.int32)
        return np.concatenate([own, np.where(around[:, 0] > 0.0, behind, -1).astype(np.int32)])

    def halo(
        self,
        lattice: Lattice,
        field: Array,
        reads: Reads,
        sites: npt.NDArray[Any] | None = None,
        rows: Any = None,
        depth: int | None = None,
    ) -> Array:
        """What a kernel reads of a field on the sites around those of this process.

        Parameters
        ----------
        lattice
            The lattice, cut over these processes.
        field
            Axes ``(lead, rows, ..., lanes)``.  If the reads name directions, these are numbers of the first axis, as for
            links ``(ndim, n_blocks, N, N, lanes)``; otherwise the whole of that axis is read.
        reads
            Around every site.
        sites
            Block sites for which the kernel reads; by default all.
        rows
            Row of the field that holds a block site, by default the block site itself.  With entries for the sites around,
            as :meth:`rows` gives them, nothing is fetched where those are negative.
        depth
            Number of layers, by default as many as the reads reach.

        Returns
        -------
        Array
            As the field, with ``n_halo`` rows in the order of :meth:`gaugeflow.lattice.Lattice.hops`.  Only what is read
            has been written.
        """
        depth = reads.depth if depth is None else depth
        chosen = [None if x is None else np.asarray(x).tobytes() for x in (sites, rows)]
        find = self._plan if sites is None and rows is None else self._agreed
        layer = find(("halo", lattice, reads, *chosen, depth), lambda: Layer(self, lattice, reads, sites, rows, depth))
        return self.fetch(lattice, field, layer)

    def sweep(
        self, lattice: Lattice, masks: Sequence[tuple[int, npt.NDArray[Any]]], reads: Sequence[Reads]
    ) -> list[Layer]:
        """What has to be fetched before each update of a sweep over masks of links ``(mu, sites)``, for :meth:`fetch`.

        What an update before has fetched and none has changed since is not fetched again.
        """
        depth, known, layers = max(r.depth for r in reads), _NONE, list[Layer]()
        for (mu, sites), r in zip(masks, reads, strict=True):
            layers.append(Layer(self, lattice, r, sites, None, depth, known))
            changed = np.nonzero(self.rows(lattice, sites, depth)[lattice.n_blocks :] >= 0)[0]
            known = np.setdiff1d(np.union1d(known, layers[-1].wanted), mu * layers[-1].count + changed)
        return layers

    def fetch(self, lattice: Lattice, field: Array, layer: Layer, into: Array = None) -> Array:
        """What a layer says of a field, as :meth:`halo` gives it; ``into`` is one of the same field to be completed."""
        xp = array_namespace(field)
        leads, links = field.shape[0], layer.links
        inner = math.prod(field.shape[2:-1])
        lanes = int(field.shape[-1])
        result = empty((leads, layer.count, *field.shape[2:]), field) if into is None else into
        groups = 1 if links else leads
        folds, last = (1, lanes) if layer.whole else (lattice.n_folds, lattice.batch(lanes))
        axes = (groups, -1, inner, folds, last)
        layer.plan.move(xp.reshape(field, axes), xp.reshape(result, axes), self.traffic)
        return result

    def faces(self, lattice: Lattice, targets: npt.NDArray[Any]) -> Faces:
        """Hops from some block sites that end on sites of other processes; made once."""
        return self._plan(("faces", lattice, targets.tobytes()), lambda: Faces(self, lattice, targets))

    def exchange(self, faces: Faces, prepared: Array) -> Array:
        """What other processes have prepared for these hops, see ``gaugeflow.domains.faces``."""
        return faces.exchange(prepared, self.traffic)


class Layer:
    """Which places around the own sites are read of a field, and the plan that fetches them."""

    def __init__(
        self,
        domain: Processes,
        lattice: Lattice,
        reads: Reads,
        sites: npt.NDArray[Any] | None,
        rows: Any,
        depth: int,
        known: Items | None = None,
    ) -> None:
        table = lattice.hops(depth)
        self.count = table.coordinates.shape[1]
        self.links = all(direction >= 0 for direction, _ in reads.entries)
        active = np.arange(lattice.n_blocks) if sites is None else np.asarray(sites)
        n = self.count
        found = [_NONE]
        for direction, displacement in reads.entries:
            there: npt.NDArray[Any] = active
            for mu, hops in enumerate(displacement):
                for _ in range(abs(hops)):
                    there = table.neighbour[mu, 0 if hops > 0 else 1][there]
            outside = np.unique(there[there >= lattice.n_blocks]) - lattice.n_blocks
            if rows is not None and len(rows) > lattice.n_blocks:
                outside = outside[np.asarray(rows)[lattice.n_blocks + outside] >= 0]
            found.append(max(direction, 0) * n + outside.astype(np.int64))
        self.wanted: Items = np.setdiff1d(np.concatenate(found), _NONE if known is None else known)
        """Rows that are fetched, in increasing order; those that are known are not."""
        layer, lead = self.wanted % max(n, 1), (self.wanted // max(n, 1))[:, None]
        places = lattice.coordinates_of(table.coordinates)[:, layer]  # (ndim, m, n_folds)
        owners, slots = domain.owner(lattice, places), lattice.slot_of(places)
        folds = np.broadcast_to(np.arange(lattice.n_folds), slots.shape)
        cut_and_folded = any(f > 1 and p > 1 for f, p in zip(lattice.fold, lattice.grid, strict=True))
        self.whole = not cut_and_folded
        """Whether all lanes of a row come from one row of one process."""
        if self.whole:
            owners, slots, folds = owners[:, :1], slots[:, :1], folds[:, :1]
        items = lead * lattice.n_slots + slots
        targets = self.wanted[:, None] if self.whole else self.wanted[:, None] * lattice.n_folds + folds
        self.plan = Plan(domain.comm, owners.reshape(-1), items.reshape(-1), targets.reshape(-1), domain.device_memory)
        length = lattice.n_blocks if rows is None else int(np.max(rows[: lattice.n_blocks])) + 1
        for rank, given in self.plan.gives.items():
            first, slot = given // lattice.n_slots, given % lattice.n_slots
            block, fold = slot // lattice.n_folds, slot % lattice.n_folds
            place = first * length + (block if rows is None else np.asarray(rows)[block])
            self.plan.gives[rank] = place if self.whole else place * lattice.n_folds + fold


def found_by_first(comm: Any, function: Callable[[], Value]) -> Value:
    """What the first process of a communicator finds, for all; an error there is an error of all."""
    outcome: tuple[Any, Exception | None] = None, None
    if comm.rank == 0:
        try:
            outcome = function(), None
        except Exception as error:
            outcome = None, sendable(error)
    value, failed = comm.bcast(outcome)
    if failed is not None:
        raise failed
    return cast(Value, value)


def found_together(comm: Any, function: Callable[[], Value]) -> Value:
    """What each process of a communicator finds itself; an error of one is an error of all."""
    value, failed = None, None
    try:
        value = function()
    except Exception as error:
        failed = error
    for one in (failed, *comm.allgather(sendable(failed))):
        if one is not None:
            raise one
    return cast(Value, value)


_NONE: Items = np.empty(0, dtype=np.int64)


def _like(host: npt.NDArray[Any], array: Array) -> Array:
    return array_namespace(array).asarray(host)
