"""What a kernel reads of a field around a site."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

Displacement = tuple[int, ...]


@dataclass(frozen=True)
class Reads:
    """The places of a field that a kernel reads to compute one site: where a lattice is cut, these must be fetched.

    Parameters
    ----------
    entries
        Pairs of a direction and a displacement.  The direction is that of links; -1 stands for fields on sites.
    """

    entries: frozenset[tuple[int, Displacement]]

    @cached_property
    def depth(self) -> int:
        """Number of layers of sites around a part of the lattice that these reads can reach."""
        return max((max(map(abs, displacement)) for _, displacement in self.entries), default=0)

    @cached_property
    def _hash(self) -> int:
        return hash(self.entries)

    def __hash__(self) -> int:
        return self._hash

    def __or__(self, other: Reads) -> Reads:
        return Reads(self.entries | other.entries)


def step(ndim: int, *hops: int) -> Displacement:
    """Displacement by hops: mu is one forward along direction mu, ``~mu`` one backward."""
    total = [0] * ndim
    for hop in hops:
        total[hop if hop >= 0 else ~hop] += 1 if hop >= 0 else -1
    return tuple(total)
