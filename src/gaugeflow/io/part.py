"""Which sites of a file a process reads and writes, and how all processes agree on what happened.

All communication is one kind of call, a gathering of small values that carries errors too: a process that fails tells the
others in place of what they wait for, wherever they are, and all of them raise its error. Planes of links that neighbours
exchange follow such a call directly, so that nobody waits for a process that has failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gaugeflow.errors import sendable
from gaugeflow.lattice import Lattice
from gaugeflow.lattice.tables import Box

T = TypeVar("T")

_TAG = 72


class _Heard(Exception):
    """The error of another process, on its way out of a block that must not take it for its own."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Part:
    """The part of a field that this process holds.

    Parameters
    ----------
    lattice : Lattice, optional
        The lattice of the field; where it is cut over processes, all of them call the same functions in the same order.
    """

    lattice: Lattice | None = None

    @property
    def comm(self) -> Any:
        """Communicator of the processes that share the field; None where one has it all."""
        return None if self.lattice is None or self.lattice.domain is None else self.lattice.domain.comm

    @property
    def rank(self) -> int:
        """Number of this process: 0 writes headers."""
        return 0 if self.comm is None else int(self.comm.rank)

    @property
    def size(self) -> int:
        """Number of processes, which have equally many sites."""
        return 1 if self.comm is None else int(self.comm.size)

    def box(self, shape: tuple[int, ...]) -> Box:
        """The sites of this process on a lattice of these extents."""
        if self.lattice is None or self.comm is None:
            return Box((0,) * len(shape), tuple(shape))
        return Box(self.lattice.origin, self.lattice.local_shape)

    def gather(self, value: T) -> list[T]:
        """What every process gives; an error instead where one has failed."""
        return [value] if self.comm is None else self._exchange(None, value)

    def share(self, value: T) -> T:
        """What the first process gives."""
        return self.gather(value)[0]

    def require_same(self, name: str, value: object) -> None:
        """Raise ``ValueError`` on all processes unless all of them give the same."""
        found = self.gather(value)
        if any(other != found[0] for other in found):
            raise ValueError(f"{name}: expected the same on all processes, got {found}")

    @contextmanager
    def together(self) -> Iterator[None]:
        """All processes leave the block in the same way: what one of them raises, every one raises."""
        if self.comm is None:
            yield
            return
        try:
            yield
            self.gather(None)
        except _Heard as heard:
            raise heard.error from None
        except Exception as error:
            try:
                self._exchange(error, None)
            except _Heard as first:
                raise first.error from error
            raise

    def layer(self, links: NDArray[Any], axis: int, *, ahead: bool = True) -> NDArray[Any]:
        """The plane next to the own sites along a site axis, which keeps its axis with extent 1.

        Parameters
        ----------
        links : ndarray, shape (k, \\*extents, N, N)
            The own sites.
        axis : int
            Site axis, counted from 0.
        ahead : bool
            The first plane of the sites ahead, or otherwise the last one of those behind.
        """
        n = links.shape[1 + axis]
        own = links[(slice(None),) * (1 + axis) + (slice(0, 1) if ahead else slice(n - 1, n),)]
        if self.lattice is None or self.lattice.domain is None or self.lattice.grid[axis] == 1:
            return own
        step = 1 if ahead else -1
        there = np.empty(own.shape, own.dtype)
        self.comm.Sendrecv(
            _bytes(np.ascontiguousarray(own)),
            dest=self._neighbour(axis, -step),
            sendtag=_TAG,
            recvbuf=_bytes(there),
            source=self._neighbour(axis, step),
            recvtag=_TAG,
        )
        return there

    def _neighbour(self, axis: int, step: int) -> int:
        assert self.lattice is not None
        assert self.lattice.domain is not None
        place = list(self.lattice.domain.place)
        place[axis] = (place[axis] + step) % self.lattice.grid[axis]
        return int(np.ravel_multi_index(place, self.lattice.grid))

    def _exchange(self, error: Exception | None, value: Any) -> list[Any]:
        found = self.comm.allgather((sendable(error), value))
        first = next((other for other, _ in found if other is not None), None)
        if first is not None:
            raise _Heard(first)
        return [item for _, item in found]


WHOLE = Part()
"""A field that one process holds."""


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)
