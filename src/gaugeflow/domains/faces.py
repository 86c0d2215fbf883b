"""What hops of fields between processes carry: numbers that their owner has prepared, one row for each hop.

A process that sends a spinor can project it first, and multiply it by its own links: half of the numbers travel, and no
links do.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gaugeflow.domains.exchange import Plan, Traffic, recycled
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace


class Faces:
    """Hops from some sites of this process that end on others, and those from there that end here.

    Parameters
    ----------
    domain
        The processes; all of them must make this together.
    lattice
        The lattice, cut over them.
    targets
        Block sites from which hops start, in increasing order; the other processes have theirs.
    """

    def __init__(self, domain: Any, lattice: Lattice, targets: npt.NDArray[Any]) -> None:
        table = lattice.hops()
        n, folds = lattice.n_blocks, lattice.n_folds
        rows = []
        for mu in range(lattice.ndim):
            for side in (0, 1):
                far = table.neighbour[mu, side, targets]
                outside = np.nonzero(far >= n)[0]
                code = np.full(len(outside), 2 * mu + side)
                rows.append(np.stack([outside, code, far[outside] - n], axis=1))
        hops = np.concatenate(rows)
        places = lattice.coordinates_of(table.coordinates)[:, hops[:, 2]]  # (ndim, hops, n_folds)
        owners, slots = domain.owner(lattice, places), lattice.slot_of(places)
        items = hops[:, 1:2] * lattice.n_slots + slots
        self.whole = not any(f > 1 and p > 1 for f, p in zip(lattice.fold, lattice.grid, strict=True))
        """Whether all lanes of a hop come from one process."""
        self.folds = 1 if self.whole else folds
        owners, items = owners[:, : self.folds], items[:, : self.folds]
        order = np.argsort(owners[:, 0], kind="stable")  # what one process sends lies together
        self.hops = hops[order, :2]
        """``(hops, 2)``: position among the targets, and 2 mu, or 2 mu + 1 for a hop backward; in the order of rows."""
        plan = Plan(domain.comm, owners[order].reshape(-1), items[order].reshape(-1), direct=domain.device_memory)
        given = np.concatenate([np.empty(0, dtype=np.int64), *plan.gives.values()])
        block = given // lattice.n_slots * n + given % lattice.n_slots // folds
        first = np.unique(block, return_index=True)[1]
        sources = block[np.sort(first)]
        self.sources = np.stack([sources // n, sources % n], axis=1)
        """``(rows, 2)``: the hop, as in :attr:`hops`, that ends here, and the block site on which it does."""
        row = {int(s): k for k, s in enumerate(sources)}
        for rank, asked in plan.gives.items():
            place = asked // lattice.n_slots * n + asked % lattice.n_slots // folds
            where = np.array([row[int(p)] for p in place], dtype=np.int64)
            plan.gives[rank] = where if self.whole else where * folds + asked % folds
        self.plan = plan
        self.none = not len(self.hops) and not len(self.sources)
        """Whether this process neither gives nor takes."""

    def exchange(self, prepared: Array, traffic: Traffic) -> Array:
        """Rows ``(len(sources), ..., lanes)`` to rows ``(len(hops), ..., lanes)``."""
        xp = array_namespace(prepared)
        result = recycled(xp, (len(self.hops), *prepared.shape[1:]), prepared.dtype)
        inner, batch = math.prod(prepared.shape[1:-1]), prepared.shape[-1] // self.folds
        axes = (1, -1, inner, self.folds, batch)
        self.plan.move(xp.reshape(prepared, axes), xp.reshape(result, axes), traffic)
        return result
