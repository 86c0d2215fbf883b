"""A communicator of the library's own beside that of the caller."""

from __future__ import annotations

from functools import cache
from typing import Any


def private(comm: Any) -> Any:
    """A duplicate of a communicator: messages of the library and of the caller never meet, whatever their tags.

    It is made at the first call, by all processes together, kept with the communicator, and freed with it.
    """
    key = _key()
    found = comm.Get_attr(key)
    if found is None:
        found = comm.Dup()
        comm.Set_attr(key, found)
        found.Set_attr(key, found)  # the duplicate is private already
    return found


@cache
def _key() -> int:
    from mpi4py import MPI

    return int(MPI.Comm.Create_keyval(delete_fn=_freed))


def _freed(comm: Any, key: int, duplicate: Any) -> None:
    if comm != duplicate:
        duplicate.Free()
