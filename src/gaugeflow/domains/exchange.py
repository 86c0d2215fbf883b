"""Who sends what to whom: plans of exchanges, which are made once and run at every kernel.

A plan is made by all processes together.  Each says which items of which process it needs; from then on everybody knows
what to give.  MPI takes what is sent from where it lies in an array of the host, and puts what comes where it belongs: no
copies are made.

Arrays in the memory of a device are packed and unpacked there.  MPI gets the addresses of buffers where it can use them;
otherwise they travel through memory of the host.
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from gaugeflow.backend import backend_of, offered
from gaugeflow.devices import to_host
from gaugeflow.namespaces import array_namespace

Items = npt.NDArray[np.int64]


@dataclass
class Traffic:
    """What a process has sent so far to others."""

    exchanges: int = 0
    messages: int = 0
    bytes: int = 0

    def count(self, size: int) -> None:
        """One more message."""
        self.messages += 1
        self.bytes += size

    def reset(self) -> None:
        """Count from zero again."""
        self.exchanges = self.messages = self.bytes = 0


class Plan:
    """An exchange of items between the processes of a communicator.

    Fields are seen as arrays ``(groups, rows, inner, folds, last)``, and an item is a row of one fold in all groups; its number
    is ``row * folds + fold``.

    Parameters
    ----------
    comm
        An mpi4py communicator; all of its processes must make the plan together.
    owners
        ``(m,)``: the process that holds each item which this process needs.
    items
        ``(m,)``: its number there.
    places
        ``(m,)``: its number where it is received, by default the position in ``items``.
    direct
        Whether MPI takes addresses in the memory of a device.
    """

    def __init__(
        self,
        comm: Any,
        owners: npt.NDArray[Any],
        items: Items,
        places: Items | None = None,
        direct: bool = False,
    ) -> None:
        self.comm, self.direct = comm, direct
        order = np.argsort(owners, kind="stable")
        wanted = np.bincount(owners, minlength=comm.size).astype(np.int64)
        asked = np.empty_like(wanted)
        comm.Alltoall(wanted, asked)
        requests = np.ascontiguousarray(items[order], dtype=np.int64)
        given = np.empty(int(asked.sum()), dtype=np.int64)
        comm.Alltoallv([requests, (wanted, _starts(wanted))], [given, (asked, _starts(asked))])
        targets = np.split(order if places is None else places[order], np.cumsum(wanted)[:-1])
        gives = np.split(given, np.cumsum(asked)[:-1])
        self.takes = {rank: p for rank, p in enumerate(targets) if len(p)}
        """Where what every other process sends is received."""
        self.gives = {rank: g for rank, g in enumerate(gives) if len(g)}
        """Items that every other process needs."""
        self._types: dict[Any, Any] = {}
        self._indices: dict[Any, Any] = {}
        weakref.finalize(self, _free, self._types)

    def move(self, source: Any, target: Any, traffic: Traffic) -> None:
        """Exchange items of the fields of all processes: from ``source``, contiguous in memory, into ``target``.

        Both have five axes as above, and differ in the number of rows alone.
        """
        if isinstance(source, np.ndarray):
            self._move_on_host(source, target, traffic)
        else:
            self._move_on_device(source, target, traffic)

    def _move_on_host(self, source: npt.NDArray[Any], target: npt.NDArray[Any], traffic: Traffic) -> None:
        requests = [
            self.comm.Irecv(self._typed("take", rank, codes, target), source=rank, tag=_TAG)
            for rank, codes in self.takes.items()
        ]
        for rank in _from(self.comm.rank, self.gives, self.comm.size):
            codes = self.gives[rank]
            requests.append(self.comm.Isend(self._typed("give", rank, codes, source), dest=rank, tag=_TAG))
            traffic.count(len(codes) * source.shape[0] * source.shape[2] * source.shape[4] * source.itemsize)
        traffic.exchanges += 1
        _finish(requests)

    def _typed(self, side: str, rank: int, codes: Items, array: npt.NDArray[Any]) -> Any:
        """Some items of an array, for MPI: a description of where they lie in memory, which is made once."""
        key = side, rank, array.shape, array.itemsize
        if key not in self._types:
            self._types[key] = _items_type(codes, array.shape, array.itemsize)
        return [array.reshape(-1).view(np.uint8), 1, self._types[key]]

    def _move_on_device(self, source: Any, target: Any, traffic: Traffic) -> None:
        me, device = self.comm.rank, backend_of(source)
        to_device = offered(device, "to_device")
        packed = {rank: self._packed(source, codes) for rank, codes in self.gives.items()}
        arrived = {rank: self._room(source, codes) for rank, codes in self.takes.items() if rank != me}
        sent, memory = packed, arrived
        if self.direct:  # MPI knows nothing of the order of what the device is still doing
            _call(offered(device, "synchronize"))
        else:
            sent = {rank: to_host(buffer) for rank, buffer in packed.items() if rank != me}
            memory = {rank: np.empty(place.shape, place.dtype) for rank, place in arrived.items()}
        incoming = [self.comm.Irecv(_bytes(place), source=rank, tag=_TAG) for rank, place in memory.items()]
        outgoing = []
        for rank in _from(me, self.gives, self.comm.size):
            if rank != me:
                outgoing.append(self.comm.Isend(_bytes(sent[rank]), dest=rank, tag=_TAG))
                traffic.count(sent[rank].nbytes)
        traffic.exchanges += 1
        if me in self.takes:
            self._unpack(target, self.takes[me], packed[me])
        sources = list(memory)
        for rank in (sources[k] for k in _as_they_come(incoming)):
            if memory is not arrived:
                arrived[rank][...] = memory[rank] if to_device is None else to_device(memory[rank])
            self._unpack(target, self.takes[rank], arrived[rank])
        _finish(outgoing)

    def _index(self, array: Any, codes: Items) -> tuple[Any, Any]:
        """Rows, a slice where they follow each other, and folds of items, where the arrays of a library are; made once."""
        xp, folds = array_namespace(array), array.shape[3]
        key = id(xp), id(codes), folds
        if key not in self._indices:
            run = _run(codes) if folds == 1 else None
            self._indices[key] = xp.asarray(codes // folds) if run is None else run, xp.asarray(codes % folds)
        return cast(tuple[Any, Any], self._indices[key])

    def _room(self, array: Any, codes: Items) -> Any:
        groups, _, inner, folds, last = array.shape
        shape = (len(codes), groups, inner, last) if folds > 1 else (groups, len(codes), inner, last)
        return array_namespace(array).empty(shape, dtype=array.dtype)

    def _packed(self, array: Any, codes: Items) -> Any:
        row, fold = self._index(array, codes)
        found = array[:, row, :, fold, :] if array.shape[3] > 1 else array[:, :, :, 0, :][:, row, ...]
        return array_namespace(array).ascontiguousarray(found)

    def _unpack(self, array: Any, codes: Items, buffer: Any) -> None:
        row, fold = self._index(array, codes)
        if array.shape[3] > 1:
            array[:, row, :, fold, :] = buffer
        else:
            array[:, :, :, 0, :][:, row, ...] = buffer


def _items_type(codes: Items, shape: tuple[int, ...], size: int) -> Any:
    """MPI's description of some items of an array ``(groups, rows, inner, folds, last)``."""
    from mpi4py import MPI

    groups, rows, inner, folds, last = shape
    row, piece = inner * folds * last * size, last * size
    if folds == 1:
        first = np.nonzero(np.diff(codes, prepend=-2) != 1)[0]
        lengths, item = np.diff(first, append=len(codes)), MPI.BYTE.Create_contiguous(row)
    else:
        first = np.arange(len(codes))
        lengths, item = np.ones_like(first), MPI.BYTE.Create_hvector(inner, piece, folds * piece)
    starts = codes[first] // folds * row + codes[first] % folds * piece
    one = item.Create_hindexed(lengths.tolist(), starts.tolist())
    every = one.Create_hvector(groups, 1, rows * row).Commit()
    item.Free()
    one.Free()
    return every


def _free(types: dict[Any, Any]) -> None:
    from mpi4py import MPI

    if not MPI.Is_finalized():
        for found in types.values():
            found.Free()


def _run(codes: Items) -> slice | None:
    """Items as a slice, where they follow each other."""
    whole = codes[-1] - codes[0] == len(codes) - 1 and bool((np.diff(codes) == 1).all())
    return slice(int(codes[0]), int(codes[-1]) + 1) if whole else None


_kept: dict[Any, list[npt.NDArray[Any]]] = {}
_KEPT = 4


def recycled(xp: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Memory for what is exchanged: an array of this shape that nobody holds any more, or a new one.

    Page faults of fresh memory cost more than the exchange.  Libraries other than NumPy have memory pools of their own.
    """
    if not isinstance(xp.empty((), dtype=dtype), np.ndarray):
        return xp.empty(shape, dtype=dtype)
    kept = _kept.setdefault((shape, np.dtype(dtype)), [])
    for array in kept:
        if sys.getrefcount(array) == 3:  # the list, the variable and the argument
            return array
    array = np.empty(shape, dtype)
    if len(kept) < _KEPT:
        kept.append(array)
    return array


_TAG = 71


@cache
def takes_device_memory() -> bool:
    """Whether MPI says that it takes addresses in the memory of a CUDA device."""
    from mpi4py import MPI

    library = ctypes.CDLL(MPI.__file__)
    if hasattr(library, "MPIX_Query_cuda_support"):  # Open MPI
        return bool(library.MPIX_Query_cuda_support())
    if hasattr(library, "MPIX_GPU_query_support"):  # MPICH; 0 stands for CUDA
        found = ctypes.c_int(0)
        library.MPIX_GPU_query_support(0, ctypes.byref(found))
        return bool(found.value)
    return any(os.environ.get(name) == "1" for name in ("MPICH_GPU_SUPPORT_ENABLED", "MV2_USE_CUDA"))


def _bytes(buffer: Any) -> Any:
    return buffer.reshape(-1).view(np.uint8)


def _as_they_come(requests: list[Any]) -> Iterator[int]:
    from mpi4py import MPI

    for _ in requests:
        yield int(MPI.Request.Waitany(requests))


def _finish(requests: list[Any]) -> None:
    from mpi4py import MPI

    MPI.Request.Waitall(requests)


def _call(function: Callable[[], Any] | None) -> None:
    if function is not None:
        function()


def _starts(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate([[0], np.cumsum(counts)[:-1]])


def _from(me: int, gives: dict[int, Any], size: int) -> list[int]:
    """Whom to send to, each process beginning behind itself, so that not all send to the first."""
    return sorted(gives, key=lambda rank: (rank - me - 1) % size)
