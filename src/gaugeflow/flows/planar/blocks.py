"""Gauge-equivariant couplings of U(1) in two dimensions: loops are updated, and the update is pushed into one link.

Source: arXiv:2003.06413.  The lattice is tiled by blocks; a block is a stack of equal *cells*, rectangles of plaquettes.
One link on the line between the first two cells of each block is active: a shift of it by d changes the loop around
one cell by d and that around the other by -d.  Frozen, and seen by the network, are the loop around both and those
around further cells of the block.  Blocks are the sites of the lattice that the network lives on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any

from gaugeflow import nn
from gaugeflow.flows.chain import Chain
from gaugeflow.flows.evaluation import Evaluation
from gaugeflow.flows.planar.angles import AngleFlow
from gaugeflow.flows.planar.circle import CircleMap, CircularSpline, Moved, wrap
from gaugeflow.lattice import Array, IntArray, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Module, Params


@dataclass(frozen=True)
class LoopCoupling:
    """One update of the loops of all blocks, a flow of angles ``(2, volume, batch)`` (see :class:`AngleFlow`).

    With loop angles a and b of the two cells beside the active link, p = a + b in [-pi, pi], the map of the circle acts
    on a - p/2: the angle of the active link relative to the sum of the two paths that close the loops, if cells are
    plaquettes.

    Parameters
    ----------
    lattice
        A lattice of two dimensions.
    net
        From :attr:`inputs` channels on :attr:`blocks` to the channels of ``circle``: cos k p/2, sin p if ``oriented``, and
        for every frozen cell cosine and sine of its loop.  One that is zero at first makes the identity.
    circle
        The map of the circle.
    direction
        Direction of active links; cells are stacked along the other one.
    cell
        Extents of a cell.
    frozen
        Further cells in a block.
    offset
        Coordinates of the first site of a block.
    harmonics
        Largest k of the cosines.
    oriented
        Whether the network sees the sign of p, which matters only beside other loops.

    Raises
    ------
    ValueError
        If the lattice has another dimension, blocks do not tile it, or there is no cosine.
    """

    lattice: Lattice
    net: Module
    circle: CircleMap = field(default_factory=CircularSpline)
    direction: int = 0
    cell: tuple[int, int] = (1, 1)
    frozen: int = 0
    offset: tuple[int, int] = (0, 0)
    harmonics: int = 2
    oriented: bool = True

    def __post_init__(self) -> None:
        block_lattice_shape(self.lattice, self.direction, self.cell, self.frozen)
        if self.harmonics < 1:
            raise ValueError(f"LoopCoupling: expected harmonics >= 1, got {self.harmonics}")

    @property
    def blocks(self) -> tuple[int, int]:
        """Number of blocks along each direction."""
        return block_lattice_shape(self.lattice, self.direction, self.cell, self.frozen)

    @property
    def inputs(self) -> int:
        """Channels that the network sees."""
        return loop_inputs(self.frozen, self.harmonics, self.oriented)

    @property
    def _sign(self) -> float:
        """How the loop of the second cell, counted from direction 0 to 1, changes with the active link."""
        return 1.0 - 2.0 * self.direction

    @cached_property
    def _tables(self) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        """Slots of the plaquettes of cells ``(cells, area, blocks)``; number ``cell * blocks + block`` of the cell that owns
        a slot; slots of active links; by slot, 0 or one plus the block whose active link starts there.
        """
        xp: Any = import_module("array_api_compat.numpy")
        stack = 1 - self.direction
        count = self.blocks[0] * self.blocks[1]

        def slots(y: int, x: int) -> IntArray:
            return block_slots(self.lattice, self.blocks, (self.offset[0] + y, self.offset[1] + x))

        cells = []
        for k in range(2 + self.frozen):
            for y in range(self.cell[0]):
                for x in range(self.cell[1]):
                    up = k * self.cell[stack]
                    cells.append(slots(y + up * (stack == 0), x + up * (stack == 1)))
        area = self.cell[0] * self.cell[1]
        table = xp.reshape(xp.stack(cells), (2 + self.frozen, area, count))
        number = xp.arange((2 + self.frozen) * count, dtype=xp.int64)
        owner = xp.reshape(xp.broadcast_to(xp.reshape(number, (-1, 1, count)), table.shape), (-1,))
        owner = xp.take(owner, xp.argsort(xp.reshape(table, (-1,))))
        active = slots(self.cell[0] * (stack == 0), self.cell[1] * (stack == 1))
        place = xp.zeros((self.lattice.volume,), dtype=xp.int64)
        place[active] = xp.arange(1, count + 1, dtype=xp.int64)
        return table, owner, active, place

    # ---- between links, loops and features -----------------------------------------------------------------------
    def _loops(self, angles: Array) -> Array:
        """Angles of the loops of all cells, ``(cells, blocks, batch)``."""
        xp = array_namespace(angles)
        table = self._tables[0]
        flat = xp.take(plaquette_angles(self.lattice, angles), xp.asarray(table.reshape(-1)), axis=0)
        return xp.sum(xp.reshape(flat, (*table.shape, -1)), axis=1)

    def _loops_vjp(self, bar: Array) -> Array:
        """Cotangents of angles from those of the loops of cells."""
        xp = array_namespace(bar)
        flat = xp.reshape(bar, (-1, bar.shape[-1]))
        return plaquette_angles_vjp(self.lattice, xp.take(flat, xp.asarray(self._tables[1]), axis=0))

    def features(self, loops: Array) -> tuple[Array, Array, Array]:
        """Angle a - p/2, angle p, and the channels of the network, from loops ``(cells, blocks, batch)``; a is the second."""
        xp = array_namespace(loops)
        pair = wrap(loops[0, ...] + loops[1, ...])
        channels = [xp.cos(0.5 * k * pair) for k in range(1, self.harmonics + 1)]
        channels += [xp.sin(pair)] if self.oriented else []
        for k in range(2, 2 + self.frozen):
            channels += [xp.cos(loops[k, ...]), xp.sin(loops[k, ...])]
        return wrap(loops[1, ...] - 0.5 * pair), pair, xp.stack(channels)

    def _features_vjp(self, loops: Array, pair: Array, x_bar: Array, bars: Array) -> Array:
        """Cotangents of the loops of cells."""
        xp = array_namespace(loops)
        pair_bar = -0.5 * x_bar
        for k in range(1, self.harmonics + 1):
            pair_bar = pair_bar - 0.5 * k * xp.sin(0.5 * k * pair) * bars[k - 1, ...]
        if self.oriented:
            pair_bar = pair_bar + xp.cos(pair) * bars[self.harmonics, ...]
        parts = [pair_bar, pair_bar + x_bar]
        first = self.harmonics + self.oriented
        for k in range(self.frozen):
            c, s = xp.cos(loops[2 + k, ...]), xp.sin(loops[2 + k, ...])
            parts.append(c * bars[first + 2 * k + 1, ...] - s * bars[first + 2 * k, ...])
        return xp.stack(parts)

    def _shifted(self, angles: Array, change: Array) -> Array:
        """Angles with ``change`` ``(blocks, batch)`` added to those of active links."""
        xp = array_namespace(angles)
        padded = xp.concat([xp.zeros((1, change.shape[-1]), dtype=change.dtype), change])
        spread = xp.take(padded, xp.asarray(self._tables[3]), axis=0)
        parts = [angles[mu, ...] + spread if mu == self.direction else angles[mu, ...] for mu in (0, 1)]
        return xp.stack(parts)

    def _active(self, angles: Array) -> Array:
        xp = array_namespace(angles)
        return xp.take(angles[self.direction, ...], xp.asarray(self._tables[2]), axis=0)

    # ---- the flow ------------------------------------------------------------------------------------------------
    def init(self, rng: Any) -> Params:
        """Parameters of the network."""
        return self.net.init(rng)

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        """``(y, log_det)``."""
        angle, _, features = self.features(self._loops(x))
        moved = self.circle.evaluate(self.net.forward(params, features), angle)
        return self._shifted(x, self._sign * (moved.y - angle)), _total(moved.log_slope)

    def inverse(self, params: Params, y: Array) -> tuple[Array, Array]:
        """``(x, -log_det)``."""
        angle, _, features = self.features(self._loops(y))
        before, log_slope = self.circle.inverse(self.net.forward(params, features), angle)
        return self._shifted(y, self._sign * (before - angle)), -_total(log_slope)

    def evaluate(self, params: Params, x: Array) -> Evaluation:
        """As :func:`gaugeflow.flows.evaluate`; the network is evaluated once (``docs/derivations/circle.md``)."""
        loops = self._loops(x)
        angle, pair, features = self.features(loops)
        raw, net_pull_back = nn.forward_and_pull_back(self.net, params, features)
        moved: Moved = self.circle.evaluate(raw, angle)

        def through(change_bar: Array, log_bar: Array) -> tuple[Params, Array]:
            """Cotangents of parameters and angles from those of the change of a loop and of log dy/dx."""
            raw_bar, angle_bar = moved.pull_back(change_bar, log_bar)
            params_bar, features_bar = net_pull_back(raw_bar)
            return params_bar, self._loops_vjp(self._features_vjp(loops, pair, angle_bar - change_bar, features_bar))

        def pull_back(y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
            log_bar = moved.log_slope * 0.0 + log_det_bar
            params_bar, more = through(self._sign * self._active(y_bar), log_bar)
            return params_bar, y_bar + more

        def push_score(score: Array) -> Array:
            xp = array_namespace(score)
            pushed = (self._active(score) - self._sign * moved.curvature()) / xp.exp(moved.log_slope)
            _, more = through(-self._sign * pushed, pushed * 0.0 - 1.0)
            total = score + more
            return self._shifted(total, pushed - self._active(total))

        y = self._shifted(x, self._sign * (moved.y - angle))
        return Evaluation(y, _total(moved.log_slope), pull_back, push_score)

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
        """Cotangents of parameters and of x."""
        return self.evaluate(params, x).pull_back(y_bar, log_det_bar)

    def push_score(self, params: Params, x: Array, y: Array, score: Array) -> Array:
        """Gradient of the log-density of ``y = f(x)`` from that of x."""
        return self.evaluate(params, x).push_score(score)


def _total(log_slope: Array) -> Array:
    xp = array_namespace(log_slope)
    return xp.sum(xp.astype(log_slope, xp.float64), axis=0)


def plaquette_angles(lattice: Lattice, angles: Array) -> Array:
    """Sum of the angles around every plaquette from direction 0 to 1, ``(volume, batch)``, not reduced to one turn."""
    xp = array_namespace(angles)
    ahead, above = (xp.asarray(lattice.slot_neighbour[mu, 0], dtype=xp.int64) for mu in (0, 1))
    first, second = angles[0, ...], angles[1, ...]
    return first - xp.take(first, above, axis=0) + xp.take(second, ahead, axis=0) - second


def plaquette_angles_vjp(lattice: Lattice, bar: Array) -> Array:
    """Cotangent of the angles of links in :func:`plaquette_angles`."""
    xp = array_namespace(bar)
    behind, below = (xp.asarray(lattice.slot_neighbour[mu, 1], dtype=xp.int64) for mu in (0, 1))
    return xp.stack([bar - xp.take(bar, below, axis=0), xp.take(bar, behind, axis=0) - bar])


def loop_inputs(frozen: int, harmonics: int = 2, oriented: bool = True) -> int:
    """Channels that the network of a :class:`LoopCoupling` sees."""
    return harmonics + oriented + 2 * frozen


def block_lattice_shape(lattice: Lattice, direction: int, cell: tuple[int, int], frozen: int) -> tuple[int, int]:
    """Number of blocks of ``2 + frozen`` cells, stacked across ``direction``, along each direction.

    Raises
    ------
    ValueError
        If the lattice does not have two dimensions, or blocks do not tile it.
    """
    lattice.check_whole("blocks of loops")
    if lattice.ndim != 2:
        raise ValueError(f"blocks of loops: expected a lattice of two dimensions, got shape {lattice.shape}")
    lattice.check_direction(direction)
    if frozen < 0 or min(cell) < 1:
        raise ValueError(
            f"blocks of loops: expected positive extents of cells and frozen >= 0, got {cell} and {frozen}"
        )
    block = [n * (2 + frozen if mu != direction else 1) for mu, n in enumerate(cell)]
    if any(n % m for n, m in zip(lattice.shape, block, strict=True)):
        raise ValueError(
            f"blocks of loops: blocks of extents {tuple(block)} do not tile a lattice of shape {lattice.shape}"
        )
    return lattice.shape[0] // block[0], lattice.shape[1] // block[1]


def block_slots(lattice: Lattice, blocks: tuple[int, int], offset: tuple[int, int]) -> IntArray:
    """Slots of one site of every block, block by block.

    Parameters
    ----------
    lattice, blocks
        The lattice, and the number of blocks along each direction.
    offset
        Coordinates of the site of the first block; beyond the lattice they start again.
    """
    xp: Any = import_module("array_api_compat.numpy")
    slot_of_site = xp.reshape(xp.argsort(xp.asarray(lattice.site.reshape(-1), dtype=xp.int64)), lattice.shape)
    y, x = (
        (xp.arange(count, dtype=xp.int64) * (n // count) + first) % n
        for count, n, first in zip(blocks, lattice.shape, offset, strict=True)
    )
    return xp.reshape(slot_of_site[y[:, None], x[None, :]], (-1,))


# ---- chains ------------------------------------------------------------------------------------------------------
def plaquette_chain(
    lattice: Lattice,
    sweeps: int = 1,
    hidden: Sequence[int] = (8, 8),
    *,
    circle: CircleMap | None = None,
    frozen: int = 2,
    kernel: int = 3,
    dilations: Sequence[int] | None = None,
    activation: Module | None = None,
    single_precision: bool = True,
) -> AngleFlow:
    """Couplings of plaquettes with convolutional networks; a sweep moves every link once, by default in 8 layers.

    The parameters do not depend on the lattice.

    Parameters
    ----------
    lattice
        Of two dimensions, with extents that ``2 + frozen`` divides at least twice.
    sweeps
        Number of sweeps; each has ``2 (2 + frozen)`` couplings.
    hidden, kernel, dilations, activation
        Channels between convolutions and the rest, as for :func:`gaugeflow.nn.convolutional` (default: Silu).
    circle
        The map of the circle (default: :class:`CircularSpline`).
    frozen
        Frozen plaquettes that each active one sees directly; with 0 half of the links of a direction move at once.
    single_precision
        Whether networks compute in single precision.

    Raises
    ------
    ValueError
        If the extents do not fit, or there is no sweep.
    """
    if sweeps < 1:
        raise ValueError(f"plaquette_chain: expected at least one sweep, got {sweeps}")
    chosen = CircularSpline() if circle is None else circle
    period = 2 + frozen
    order = sorted(range(period), key=lambda k: (k % 2, k))  # neighbours are not updated one after the other
    layers = []
    for _ in range(sweeps):
        for start in order:
            for mu in (0, 1):
                blocks = Lattice(block_lattice_shape(lattice, mu, (1, 1), frozen))
                net: Module = nn.convolutional(
                    blocks,
                    (loop_inputs(frozen), *hidden, chosen.channels),
                    kernel=kernel,
                    dilations=dilations,
                    activation=nn.Silu() if activation is None else activation,
                )
                if single_precision:
                    net = nn.SinglePrecision(net)
                offset = (0, start) if mu == 0 else (start, 0)
                layers.append(LoopCoupling(lattice, net, chosen, mu, (1, 1), frozen, offset))
    return AngleFlow(lattice, Chain(tuple(layers)))


def block_chain(lattice: Lattice, *, circle: CircleMap | None = None, harmonics: int = 4) -> AngleFlow:
    """Couplings from the largest loops to plaquettes: the lattice is halved again and again.

    In two dimensions the loop around half of a block, given that around the block, depends on nothing else, and not on
    the sign of that: the map of the circle is steered by a linear function of ``cos(k p / 2)``, polynomials of
    cos(p / 2).  With perfect maps the flow from Haar links is exact.  A step for blocks of one size is the same on all
    lattices; the chain of a smaller lattice is the end of that of a larger one.

    Parameters
    ----------
    lattice
        Of two dimensions, with extents that are equal powers of two or differ by a factor of two.
    circle
        The map of the circle (default: :class:`CircularSpline`).
    harmonics
        Largest k.

    Raises
    ------
    ValueError
        If an extent is no power of two.
    """
    if any(n & (n - 1) for n in lattice.shape):
        raise ValueError(f"block_chain: expected extents that are powers of two, got {lattice.shape}")
    chosen = CircularSpline() if circle is None else circle
    net = nn.ChannelMixing(None, harmonics, chosen.channels, gain=0.0)
    cell = list(lattice.shape)
    layers = []
    while max(cell) > 1:
        stack = 0 if cell[0] >= cell[1] else 1
        cell[stack] //= 2
        layers.append(
            LoopCoupling(lattice, net, chosen, 1 - stack, (cell[0], cell[1]), harmonics=harmonics, oriented=False)
        )
    return AngleFlow(lattice, Chain(tuple(layers)))
