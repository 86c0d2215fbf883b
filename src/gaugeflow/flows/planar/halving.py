"""Gauge-equivariant couplings of SU(2) and SU(3) in two dimensions: a loop is halved, and one link moves the halves.

Blocks of two equal cells tile the lattice, as for U(1) in :mod:`gaugeflow.flows.planar.blocks`.  The active link of a
block starts the line between its cells; all loops start where it starts.  With U the link and U S the loop around the
second cell, a move of that loop to ``h`` is the move of the link to ``h S^dagger``; the loop around both cells does not
contain it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

from gaugeflow.flows.chain import Chain
from gaugeflow.flows.evaluation import Evaluation
from gaugeflow.flows.planar.blocks import block_lattice_shape, block_slots
from gaugeflow.flows.planar.paths import Path, as_field, by_slot, collected, collection_table, stacked, taken
from gaugeflow.flows.planar.spectral import HalfLoop
from gaugeflow.lattice import Array, IntArray, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.matrix import add, dag_mul, mul, mul_dag, sub
from gaugeflow.sites.numbers import Matrix, wide
from gaugeflow.typing import Params


@dataclass(frozen=True)
class SpectralCoupling:
    """One update of the halves of the loops around all blocks, by functions of eigenvalues (arXiv:2008.05456).

    Parameters
    ----------
    lattice
        A lattice of two dimensions.
    half
        The moves of a half; its parameters are those of the coupling.
    direction
        Direction of active links; the two cells of a block are stacked along the other one.
    cell
        Extents of a cell.
    offset
        Coordinates of the first site of a block.

    Raises
    ------
    ValueError
        If the lattice has another dimension, or blocks do not tile it.
    """

    lattice: Lattice
    half: HalfLoop
    direction: int = 0
    cell: tuple[int, int] = (1, 1)
    offset: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        block_lattice_shape(self.lattice, self.direction, self.cell, 0)

    @property
    def blocks(self) -> tuple[int, int]:
        """Number of blocks along each direction."""
        return block_lattice_shape(self.lattice, self.direction, self.cell, 0)

    @cached_property
    def _start(self) -> IntArray:
        """Slots where active links start, block by block."""
        first = list(self.offset)
        first[1 - self.direction] += self.cell[1 - self.direction]
        return block_slots(self.lattice, self.blocks, (first[0], first[1]))

    @cached_property
    def _paths(self) -> tuple[IntArray, Path, Path]:
        """Active links; paths that close the second cell and, from the start of the active link to its end, the first."""
        xp: Any = import_module("array_api_compat.numpy")
        mu, nu = self.direction, 1 - self.direction
        along, across = self.cell[mu], self.cell[nu]
        start = xp.asarray(self._start, dtype=xp.int64)
        end = xp.asarray(self.lattice.slot_neighbour[mu, 0], dtype=xp.int64)[start]
        rest = [(mu, 1)] * (along - 1)
        second = (*rest, *[(nu, 1)] * across, *[(mu, -1)] * along, *[(nu, -1)] * across)
        first = (*[(nu, -1)] * across, *[(mu, 1)] * along, *[(nu, 1)] * across, *[(mu, -1)] * (along - 1))
        active: IntArray = mu * self.lattice.volume + start
        return active, Path(self.lattice, end, second), Path(self.lattice, start, first)

    @cached_property
    def _tables(self) -> tuple[IntArray, IntArray]:
        """Tables of :func:`collection_table`: for active links, and for cotangents of both paths and of active links."""
        xp: Any = import_module("array_api_compat.numpy")
        active, second, first = self._paths
        size = 2 * self.lattice.volume
        owners = xp.concat([xp.reshape(second.links, (-1,)), xp.reshape(first.links, (-1,)), active])
        return collection_table(size, active), collection_table(size, owners)

    def _slots(self, x: Array) -> Array:
        slots = by_slot(self.lattice, x)
        if slots.shape[1] != self.half.n_colours:
            raise ValueError(f"SpectralCoupling: expected {self.half.n_colours} colours, got {slots.shape[1]}")
        return slots

    def _with_active(self, x: Array, links: Matrix) -> Array:
        """The field with other active links."""
        xp = array_namespace(x)
        table = self._tables[0]
        inside = xp.reshape(xp.asarray(table[0] > 0), (-1, 1, 1, 1))
        new = as_field(self.lattice, collected(table, stacked(links)))
        n = x.shape[2]
        mask = xp.broadcast_to(inside, (2 * self.lattice.volume, n, n, self.lattice.batch(x.shape[-1])))
        return xp.where(as_field(self.lattice, mask), new, x)

    def init(self, rng: Any) -> Params:
        """Parameters of the identity."""
        return self.half.init(rng)

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        """``(y, log_det)``."""
        at = self.evaluate(params, x)
        return at.y, at.log_det

    def inverse(self, params: Params, y: Array) -> tuple[Array, Array]:
        """``(x, -log_det)``."""
        slots = self._slots(y)
        active, second, first = self._paths
        closing, _ = second.product(slots)
        other, _ = first.product(slots)
        before, log_det = self.half.inverse(params, mul(taken(slots, active), closing), mul(other, closing))
        return self._with_active(y, mul_dag(before, closing)), -_total(log_det)

    def evaluate(self, params: Params, x: Array) -> Evaluation:
        """As :func:`gaugeflow.flows.evaluate`."""
        slots = self._slots(x)
        active, second, first = self._paths
        link = taken(slots, active)
        closing, second_carriers = second.product(slots)
        other, first_carriers = first.product(slots)
        moved = self.half.evaluate(params, mul(link, closing), mul(other, closing))
        new = mul_dag(moved.half, closing)

        def pull_back(y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
            xp = array_namespace(y_bar)
            bars = by_slot(self.lattice, y_bar)
            new_bar = taken(bars, active)
            params_bar, half_bar, loop_bar = moved.pull_back(new_bar, moved.log_det * 0.0 + log_det_bar)
            closing_bar = sub(dag_mul(link, mul(half_bar, link)), dag_mul(new, mul(new_bar, new)))
            closing_bar = add(closing_bar, dag_mul(other, mul(loop_bar, other)))
            parts = [
                *second.product_vjp(second_carriers, closing_bar),
                *first.product_vjp(first_carriers, loop_bar),
                sub(half_bar, new_bar),
            ]
            total = collected(self._tables[1], xp.concat([stacked(part) for part in parts]))
            return params_bar, y_bar + as_field(self.lattice, total)

        def push_score(score: Array) -> Array:
            xp = array_namespace(score)
            pushed = moved.push_score(taken(by_slot(self.lattice, score), active))
            only_active = self._with_active(xp.zeros_like(score), pushed)
            _, more = pull_back(only_active, 1.0)
            return self._with_active(score - more, pushed)

        return Evaluation(self._with_active(x, new), _total(moved.log_det), pull_back, push_score)

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
        """Cotangents of parameters and of x."""
        return self.evaluate(params, x).pull_back(y_bar, log_det_bar)

    def push_score(self, params: Params, x: Array, y: Array, score: Array) -> Array:
        """Gradient of the log-density of ``y = f(x)`` from that of x."""
        return self.evaluate(params, x).push_score(score)


def _total(log_det: Array) -> Array:
    return array_namespace(log_det).sum(wide(log_det), axis=0)


def spectral_chain(lattice: Lattice, halves: Sequence[HalfLoop]) -> Chain:
    """Couplings that halve blocks of ``2^k`` plaquettes, k the number of ``halves``, down to single plaquettes.

    Loops around the largest blocks, and all others that are not made of these, stay as they are: Haar-distributed ones
    should be close to what the target wants of them.  Parameters do not depend on the lattice.

    Parameters
    ----------
    lattice
        Of two dimensions.
    halves
        Moves for the largest blocks first.

    Raises
    ------
    ValueError
        If there are none, or blocks do not tile the lattice.
    """
    if not halves:
        raise ValueError("spectral_chain: expected at least one kind of half, got ()")
    count = len(halves)
    cell = [2 ** ((count + 1) // 2), 2 ** (count // 2)]
    layers = []
    for half in halves:
        stack = 0 if cell[0] > cell[1] else 1
        cell[stack] //= 2
        layers.append(SpectralCoupling(lattice, half, 1 - stack, (cell[0], cell[1])))
    return Chain(tuple(layers))
