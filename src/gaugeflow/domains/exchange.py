"""Who sends what to whom: plans of exchanges, which are made once and run at every kernel.

A plan is made by all processes together.  Each says which items of which process it needs; from then on everybody knows
what to give.  A run posts what it will receive, packs and sends what it gives, copies what it gives to itself, and unpacks
what has arrived, in the order in which it arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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
    """

    def __init__(self, comm: Any, owners: npt.NDArray[Any], items: Items) -> None:
        self.comm = comm
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
        arrived = {rank: room(self.takes[rank]) for rank in sources}
        incoming = [self.comm.Irecv(_bytes(arrived[rank]), source=rank, tag=_TAG) for rank in sources]
        outgoing, sent = [], []
        for rank in _from(me, self.gives, self.comm.size):
            buffer = pack(self.gives[rank])
            sent.append(buffer)
            outgoing.append(self.comm.Isend(_bytes(buffer), dest=rank, tag=_TAG))
            traffic.messages += 1
            traffic.bytes += buffer.nbytes
        traffic.exchanges += 1
        if me in self.takes:
            unpack(self.takes[me], pack(self.gives[me]))
        for _ in sources:
            rank = sources[_next(incoming)]
            unpack(self.takes[rank], arrived[rank])
        for request in outgoing:
            request.Wait()


_TAG = 71


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
