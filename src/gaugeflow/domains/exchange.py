"""Who sends what to whom: plans of exchanges, which are made once and run at every kernel.

A plan is made by all processes together.  Each says which items of which process it needs; from then on everybody knows
what to give.  A run posts what it will receive, packs and sends what it gives, copies what it gives to itself, and unpacks
what has arrived, in the order in which it arrives.

Arrays in the memory of a device are packed and unpacked there.  MPI gets their addresses where it can use them; otherwise
they travel through memory of the host.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gaugeflow.backend import backend_of, offered
from gaugeflow.devices import to_host

Items = npt.NDArray[np.int64]


@dataclass
class Traffic:
    """What a process has sent so far to others."""

    exchanges: int = 0
    messages: int = 0
    bytes: int = 0

    def reset(self) -> None:
        """Count from zero again."""
        self.exchanges = self.messages = self.bytes = 0


class Plan:
    """An exchange of items between the processes of a communicator.

    Parameters
    ----------
    comm
        An mpi4py communicator; all of its processes must make the plan together.
    owners
        ``(m,)``: the process that holds each item which this process needs.
    items
        ``(m,)``: its number there.
    direct
        Whether MPI takes addresses in the memory of a device.
    """

    def __init__(self, comm: Any, owners: npt.NDArray[Any], items: Items, direct: bool = False) -> None:
        self.comm, self.direct = comm, direct
        self._placed: dict[tuple[str, int], tuple[Items, Any]] = {}
        order = np.argsort(owners, kind="stable")
        wanted = np.bincount(owners, minlength=comm.size).astype(np.int64)
        asked = np.empty_like(wanted)
        comm.Alltoall(wanted, asked)
        requests = np.ascontiguousarray(items[order], dtype=np.int64)
        given = np.empty(int(asked.sum()), dtype=np.int64)
        comm.Alltoallv([requests, (wanted, _starts(wanted))], [given, (asked, _starts(asked))])
        positions = np.split(order, np.cumsum(wanted)[:-1])
        gives = np.split(given, np.cumsum(asked)[:-1])
        self.takes = {rank: p for rank, p in enumerate(positions) if len(p)}
        """Positions among the own items of what every other process sends."""
        self.gives = {rank: g for rank, g in enumerate(gives) if len(g)}
        """Items that every other process needs."""

    def placed(self, xp: Any, name: str, items: Items, make: Callable[[Items], Items]) -> Any:
        """Indices ``make(items)`` where arrays of a library are; made once."""
        key = name, id(items)
        if key not in self._placed:
            self._placed[key] = items, xp.asarray(make(items))
        return self._placed[key][1]

    def run(
        self,
        pack: Callable[[Items], Any],
        room: Callable[[Items], Any],
        unpack: Callable[[Items, Any], None],
        traffic: Traffic,
    ) -> None:
        """Exchange: ``pack(items)`` is sent, ``unpack(positions, what came)`` receives into ``room(positions)``."""
        me = self.comm.rank
        sources = [rank for rank in self.takes if rank != me]
        goals = _from(me, self.gives, self.comm.size)
        arrived = {rank: room(self.takes[rank]) for rank in sources}
        packed = {rank: pack(self.gives[rank]) for rank in goals[:1]}
        device = _device_of([*arrived.values(), *packed.values()])
        memory = arrived
        to_device = _of_device(device, "to_device")
        if device is not None:  # MPI knows nothing of the order of what the device is still doing
            packed = {rank: pack(self.gives[rank]) for rank in goals}
            if self.direct:
                _of_device(device, "synchronize")()
            else:
                packed = {rank: to_host(buffer) for rank, buffer in packed.items()}
                memory = {rank: np.empty(place.shape, place.dtype) for rank, place in arrived.items()}
        incoming = [self.comm.Irecv(_bytes(memory[rank]), source=rank, tag=_TAG) for rank in sources]
        outgoing, sent = [], []
        for rank in goals:
            buffer = packed[rank] if rank in packed else pack(self.gives[rank])
            sent.append(buffer)
            outgoing.append(self.comm.Isend(_bytes(buffer), dest=rank, tag=_TAG))
            traffic.messages += 1
            traffic.bytes += buffer.nbytes
        traffic.exchanges += 1
        if me in self.takes:
            unpack(self.takes[me], pack(self.gives[me]))
        for _ in sources:
            rank = sources[_next(incoming)]
            if memory is not arrived:
                arrived[rank][...] = to_device(memory[rank])
            unpack(self.takes[rank], arrived[rank])
        for request in outgoing:
            request.Wait()


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


def _device_of(arrays: list[Any]) -> str | None:
    """Back end of arrays in the memory of a device; None for those of the host."""
    return next((backend_of(array) for array in arrays if not isinstance(array, np.ndarray)), None)


def _of_device(backend: str | None, name: str) -> Callable[..., Any]:
    """A function that the back end of a device offers; nothing is to be done on the host."""
    found = None if backend is None else offered(backend, name)
    return (lambda *arrays: arrays[0] if arrays else None) if found is None else found


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


def _next(requests: list[Any]) -> int:
    from mpi4py import MPI

    return int(MPI.Request.Waitany(requests))


def _starts(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate([[0], np.cumsum(counts)[:-1]])


def _from(me: int, gives: dict[int, Any], size: int) -> list[int]:
    """The others, each process beginning behind itself, so that not all send to the first."""
    return sorted((rank for rank in gives if rank != me), key=lambda rank: (rank - me) % size)
