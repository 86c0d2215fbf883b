"""Processes that share configurations, and decide together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gaugeflow.runfile import RunFile

Value = TypeVar("Value")


@dataclass(frozen=True)
class Team:
    """Processes that share configurations.

    Parameters
    ----------
    comm
        Their mpi4py communicator; None for one process.
    number, count
        Which team this is, and how many there are.
    """

    comm: Any = None
    number: int = 0
    count: int = 1
    _domains: dict[tuple[int, ...], Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Number of members."""
        return 1 if self.comm is None else int(self.comm.size)

    @property
    def leads(self) -> bool:
        """Whether this process writes files for its team."""
        return self.comm is None or self.comm.rank == 0

    def first(self, function: Callable[[], Value]) -> Value:
        """What the first member finds, for all; an error there is an error of all."""
        if self.size == 1:
            return function()
        from gaugeflow.domains.processes import found_by_first

        return found_by_first(self.comm, function)

    def together(self, function: Callable[[], Value]) -> Value:
        """What each member finds itself; an error of one is an error of all."""
        if self.size == 1:
            return function()
        from gaugeflow.domains.processes import found_together

        return found_together(self.comm, function)

    def domain(self, run: RunFile) -> Any:
        """The part of the lattice of this process; None where it holds all of it."""
        return self.domain_of(run.lattice.shape, run.parallel.grid)

    def domain_of(self, shape: Sequence[int], grid: Sequence[int] | None = None) -> Any:
        """The part of a lattice of these extents; None where this process holds all of it."""
        if self.size == 1:
            return None
        from gaugeflow.domains import Processes, suggest_grid

        grid = tuple(grid or suggest_grid(shape, self.size))
        if grid not in self._domains:  # one for each grid: exchanges are planned once, and equal lattices are equal
            self._domains[grid] = Processes(self.comm, grid)
        return self._domains[grid]
