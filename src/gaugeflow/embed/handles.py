"""Objects that a host program holds by number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import Lock
from typing import Any

from gaugeflow.errors import GaugeflowError
from gaugeflow.lattice import LANES, Domain, Lattice, suggest_fold


class HandleError(GaugeflowError):
    """A number that is no handle, was closed, or stands for another kind of object."""


Choice = Callable[[Sequence[int], int, Domain | None], Lattice]
"""The lattice, with its fold, on which fields of some extents, those of one process, are computed."""


def fastest_lattice(extents: Sequence[int], configurations: int, domain: Domain | None = None) -> Lattice:
    """A lattice folded so that the configurations fill the vector registers; ``extents`` are those of this process."""
    fold = suggest_fold(extents, -(-LANES["cpu"] // configurations))
    return Lattice(whole_extents(extents, domain), fold, domain)


def whole_extents(extents: Sequence[int], domain: Domain | None) -> tuple[int, ...]:
    """Extents of the lattice of which a process holds a part of these extents.

    Raises
    ------
    ValueError
        If the domain has another number of dimensions.
    """
    grid = (1,) * len(extents) if domain is None else domain.grid
    if len(grid) != len(extents):
        raise ValueError(
            f"field: expected {len(grid)} extents, one for each dimension of its domain, got {len(extents)}"
        )
    return tuple(n * p for n, p in zip(extents, grid, strict=True))


@dataclass(frozen=True, eq=False)
class Recipe:
    """An object that is made for every lattice on which a host needs it, and kept."""

    kind: str
    """What it is: ``"action"``, ``"flow"``, ``"operator"``, ``"domain"`` or ``"run"``."""
    make: Callable[[Lattice], Any]
    choose: Choice = fastest_lattice
    settings: Any = None
    """The run file of a run, the processes of a domain."""
    _made: dict[Lattice, Any] = field(default_factory=dict)

    def on(self, lattice: Lattice) -> Any:
        """The object for fields on a lattice."""
        if lattice not in self._made:
            self._made[lattice] = self.make(lattice)
        return self._made[lattice]


class Handles:
    """Recipes by number; a number is never used twice."""

    def __init__(self) -> None:
        self._held: dict[int, Recipe] = {}
        self._next = count(1)
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._held)

    def add(self, recipe: Recipe) -> int:
        """The number of a new object."""
        with self._lock:
            number = next(self._next)
            self._held[number] = recipe
        return number

    def get(self, number: int, kind: str) -> Recipe:
        """The object of a number.

        Raises
        ------
        HandleError
            If there is none, or it is of another kind.
        """
        found = self._held.get(number)
        if found is None:
            raise HandleError(f"handle of kind {kind}: expected an open one, got {number}")
        if found.kind != kind:
            raise HandleError(f"handle {number}: expected one of kind {kind}, got kind {found.kind}")
        return found

    def close(self, number: int) -> None:
        """Forget an object; what was made of it lives on.

        Raises
        ------
        HandleError
            If there is none of this number.
        """
        with self._lock:
            if self._held.pop(number, None) is None:
                raise HandleError(f"handle: expected an open one, got {number}")
