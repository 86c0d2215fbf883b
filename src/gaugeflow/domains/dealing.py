"""Work that is independent, dealt to processes that work side by side: replicas, right-hand sides, noise vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from gaugeflow.domains.communicator import private
from gaugeflow.errors import sendable

Value = TypeVar("Value")


def deal(comm: Any, count: int, work: Callable[[int], Value]) -> list[Value]:
    """``[work(0), ..., work(count - 1)]`` on every process, each number computed by one of them.

    Parameters
    ----------
    comm
        An mpi4py communicator, all of whose processes call this with the same numbers; None: one process does it all.
    count
        Number of pieces of work.  Piece i belongs to process ``i % comm.size``.
    work
        A function whose results can be pickled, arrays for instance.  They are sent as they are, bit for bit.

    Raises
    ------
    Exception
        What the first piece that failed has raised, on all processes.

    Notes
    -----
    Lattices that are cut over a communicator of their own may take part.  Where every n consecutive ranks share a lattice,
    processes that hold the same part work side by side: ``world.Split(color=world.rank % n, key=world.rank)``.
    """
    if comm is None or comm.size == 1:
        return [work(i) for i in range(count)]
    from mpi4py.util import pkl5

    comm = private(comm)
    found: dict[int, Value] = {}
    failed: tuple[int, Exception] | None = None
    for i in range(comm.rank, count, comm.size):
        try:
            found[i] = work(i)
        except Exception as error:
            failed = i, sendable(error)
            break
    failures = [one for one in comm.allgather(failed) if one is not None]
    if failures:
        raise min(failures, key=lambda one: one[0])[1]
    wide = pkl5.Intracomm(comm)  # arrays travel as they lie in memory, and may be larger than 2 GiB
    return [wide.bcast(found.get(i), root=i % comm.size) for i in range(count)]
