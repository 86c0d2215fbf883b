"""Work on many processes: a lattice that is cut over them, or pieces of work side by side.

The communicator belongs to the caller; nothing here is called where a lattice is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gaugeflow.domains.dealing import deal
from gaugeflow.domains.exchange import Traffic
from gaugeflow.domains.processes import Processes
from gaugeflow.lattice import Lattice

__all__ = ["Processes", "Traffic", "cut", "deal", "suggest_grid"]


def cut(
    shape: Sequence[int],
    comm: Any,
    grid: Sequence[int] | None = None,
    fold: Sequence[int] | None = None,
    device_memory: bool | None = None,
) -> Lattice:
    """A lattice that is cut over the processes of an mpi4py communicator.

    Parameters
    ----------
    shape
        Extents of the whole lattice.
    comm
        The communicator; it belongs to the caller, and all of its processes must call this.
    grid
        Number of processes per direction (default: :func:`suggest_grid`).
    fold
        Number of sub-lattices, per direction, of the part of each process (default: all 1).
    device_memory
        Whether MPI takes addresses in the memory of a device (default: what it says of itself).

    Returns
    -------
    Lattice
        What every kernel, flow, action and sampler takes in place of a whole lattice.  Fields hold the sites of this
        process; sums are over all of them.

    Raises
    ------
    ValueError
        If the processes cannot share the lattice in equal parts.
    """
    chosen = tuple(grid) if grid is not None else suggest_grid(shape, comm.size)
    return Lattice(shape, fold, Processes(comm, chosen, device_memory))


def suggest_grid(shape: Sequence[int], size: int) -> tuple[int, ...]:
    """Grid of ``size`` processes with the smallest surface of equal parts; even parts where there are some.

    Raises
    ------
    ValueError
        If no grid divides the extents into equal parts of 2 sites or more.
    """
    found = _grids(tuple(shape), size)
    if not found:
        fewer = next(n for n in range(size - 1, 0, -1) if _grids(tuple(shape), n))
        raise ValueError(
            f"{size} processes cannot share a lattice of shape {tuple(shape)} in equal parts of 2 sites or more; the largest "
            f"number below that works: {fewer}"
        )

    def cost(grid: tuple[int, ...]) -> tuple[bool, float, tuple[int, ...]]:
        parts = [n // p for n, p in zip(shape, grid, strict=True)]
        surface = sum(1.0 / n for n, p in zip(parts, grid, strict=True) if p > 1)
        return any(n % 2 for n in parts), surface, tuple(-p for p in grid)

    return min(found, key=cost)


def _grids(shape: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    if not shape:
        return [()] if size == 1 else []
    first = [p for p in range(1, size + 1) if size % p == 0 and shape[0] % p == 0 and shape[0] // p >= 2]
    return [(p, *rest) for p in first for rest in _grids(shape[1:], size // p)]
