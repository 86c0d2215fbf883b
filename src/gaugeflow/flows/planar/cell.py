"""Maps of the cell of eigen-angles of SU(2) and SU(3): networks and splines, one coordinate after the other.

Formulas: ``gaugeflow.sites.cell`` and ``docs/derivations/spectral.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from gaugeflow import nn
from gaugeflow.errors import require_finite
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites import cell, spline
from gaugeflow.sites.numbers import Matrix
from gaugeflow.typing import Module, Params


class Moved(NamedTuple):
    """Image of coordinates of the cell.

    Attributes
    ----------
    place
        The coordinates.
    log_det
        Logarithm of the Jacobian with respect to the Haar measure, site by site.
    log_ratios
        As ``gaugeflow.sites.cell.log_ratios``.
    pull_back
        Takes the cotangents of ``place`` and ``log_det`` to those of the parameters, the context and the coordinates before.
    """

    place: Matrix
    log_det: Array
    log_ratios: Matrix
    pull_back: Callable[[Matrix, Array], tuple[Params, Array, Matrix]]


class _Step(NamedTuple):
    """One spline: its argument, bin and image, and how the network pulls back."""

    x: Array
    y: Array
    passed: Matrix
    at: spline.Bin
    shares: tuple[Matrix, Matrix, Matrix]
    ends: tuple[Array, Array]
    log_slope: Array
    pull_back: nn.PullBack


@dataclass(frozen=True)
class CellSpline:
    """Rational-quadratic splines of the coordinates of the cell, each steered by the other coordinate and a context.

    Walls stay walls and corners stay corners, so that a function of a matrix by its eigenvalues, which permutes with
    them, comes out.  Parameters of zero output make the identity.

    Parameters
    ----------
    n_colours
        2 or 3.
    context
        Channels of the context.
    bins
        Bins of each spline, at least 2.
    order
        Coordinates in the order in which they are moved; for SU(2) all are 0.
    hidden
        Channels between the layers of each network.
    floor, slope_floor
        As for :class:`gaugeflow.flows.CircularSpline`.
    by_site
        Whether cotangents of parameters are given site by site, as by :class:`gaugeflow.nn.ChannelMixing`.

    Notes
    -----
    Source: arXiv:2008.05456, where the cell is mapped to a box, too.
    """

    n_colours: int
    context: int
    bins: int = 6
    order: tuple[int, ...] = (0,)
    hidden: tuple[int, ...] = (8,)
    floor: float = 1e-2
    slope_floor: float = 1e-3
    by_site: bool = False

    def __post_init__(self) -> None:
        require_finite(self, "floor", "slope_floor")
        if self.n_colours not in (2, 3):
            raise ValueError(f"CellSpline: expected 2 or 3 colours, got {self.n_colours}")
        if self.bins < 2 or self.context < 1:
            raise ValueError(
                f"CellSpline: expected 2 bins and 1 channel of context at least, got {self.bins} and {self.context}"
            )
        if not self.order or not all(0 <= k < self.n_colours - 1 for k in self.order):
            raise ValueError(
                f"CellSpline: expected coordinates from 0 to {self.n_colours - 2} in their order, got {self.order}"
            )
        if not (0.0 <= self.floor < 1.0 and 0.0 <= self.slope_floor < 1.0):
            raise ValueError(f"CellSpline: expected floors from 0 to below 1, got {self.floor} and {self.slope_floor}")

    @cached_property
    def _net(self) -> Module:
        inputs = self.context + (2 if self.n_colours == 3 else 0)
        sizes = (inputs, *self.hidden, 3 * self.bins + 1)
        modules: list[Module] = []
        for i in range(len(sizes) - 1):
            last = i + 2 == len(sizes)
            gain = 0.0 if last else 1.0
            modules.append(nn.ChannelMixing(None, sizes[i], sizes[i + 1], gain=gain, by_site=self.by_site))
            modules += [] if last else [nn.Silu()]
        return nn.Sequential(tuple(modules))

    def init(self, rng: Any) -> Params:
        """Parameters of one network for every spline."""
        return {str(i): self._net.init(rng.stream(i)) for i in range(len(self.order))}

    def _inputs(self, context: Array, place: Matrix, moved: int) -> Array:
        """Channels of a network: the context, and two smooth functions of the coordinate that is not moved."""
        if self.n_colours == 2:
            return context
        xp = array_namespace(context)
        z = cell.PI * place[1 - moved]
        return xp.concat([context, xp.stack([xp.cos(z), xp.cos(2.0 * z)])])

    def _inputs_vjp(self, place: Matrix, moved: int, bars: Array) -> tuple[Array, Array | None]:
        """Cotangents of the context and of the coordinate that is not moved."""
        if self.n_colours == 2:
            return bars, None
        xp = array_namespace(bars)
        z = cell.PI * place[1 - moved]
        other = -cell.PI * (xp.sin(z) * bars[self.context, ...] + 2.0 * xp.sin(2.0 * z) * bars[self.context + 1, ...])
        return bars[: self.context, ...], other

    def _shares(self, raw: Array) -> tuple[Matrix, Matrix, Matrix]:
        n = self.bins
        numbers = tuple(raw[k, ...] for k in range(3 * n + 1))
        return (
            spline.shares(numbers[:n], self.floor / n),
            spline.shares(numbers[n : 2 * n], self.floor / n),
            tuple(spline.positive(z, self.slope_floor) for z in numbers[2 * n :]),
        )

    def _step(self, params: Params, context: Array, place: Matrix, moved: int) -> _Step:
        raw, pull_back = nn.forward_and_pull_back(self._net, params, self._inputs(context, place, moved))
        shares, x = self._shares(raw), place[moved]
        passed, at = spline.locate(x, *shares)
        y, log_slope = spline.spline(x, at)
        return _Step(x, y, passed, at, shares, spline.spline_ends(x, y, passed, at), log_slope, pull_back)

    def _step_vjp(
        self, step: _Step, y_bar: Array, log_bar: Array, low: Array, high: Array
    ) -> tuple[Params, Array, Array]:
        """Cotangents of parameters, inputs of the network and x."""
        xp = array_namespace(y_bar)
        x_bar, *bars = spline.spline_vjp(step.x, step.passed, step.at, y_bar, log_bar, (step.y, low, high))
        floor = self.floor / self.bins
        raw_bar = (
            *spline.shares_vjp(step.shares[0], floor, bars[0]),
            *spline.shares_vjp(step.shares[1], floor, bars[1]),
            *(spline.positive_vjp(s, self.slope_floor, b) for s, b in zip(step.shares[2], bars[2], strict=True)),
        )
        return *step.pull_back(xp.stack(raw_bar)), x_bar

    def evaluate(self, params: Params, context: Array, place: Matrix) -> Moved:
        """The map at coordinates; ``context`` holds the channels ``(context, ...)`` of the shape of a coordinate."""
        dimensions, zero = len(place), place[0] * 0.0
        now, low, high = list(place), [zero] * dimensions, [zero] * dimensions
        log_det, steps, places = zero, [], []
        for i, moved in enumerate(self.order):
            places.append(tuple(now))
            step = self._step(params[str(i)], context, tuple(now), moved)
            now[moved] = step.y
            low[moved], high[moved] = low[moved] + step.ends[0], high[moved] + step.ends[1]
            log_det = log_det + step.log_slope
            steps.append(step)
        after = tuple(now)
        ratios = cell.log_ratios(place, after, tuple(low), tuple(high))
        log_det = log_det + 2.0 * sum(ratios[1:], start=ratios[0])
        if dimensions == 2:  # the area of the cell is t dt dr
            log_det = log_det + low[0]

        def pull_back(after_bar: Matrix, log_bar: Array) -> tuple[Params, Array, Matrix]:
            first, last, low_bar, high_bar = cell.sum_of_log_ratios_vjp(place, after, 2.0 * log_bar)
            if dimensions == 2:
                low_bar = (low_bar[0] + log_bar, low_bar[1])
            bar = [a + b for a, b in zip(after_bar, last, strict=True)]
            params_bar: dict[str, Any] = {}
            context_bar = context * 0.0
            for i in range(len(steps) - 1, -1, -1):
                moved = self.order[i]
                params_bar[str(i)], inputs_bar, bar[moved] = self._step_vjp(
                    steps[i], bar[moved], log_bar, low_bar[moved], high_bar[moved]
                )
                more, other = self._inputs_vjp(places[i], moved, inputs_bar)
                context_bar = context_bar + more
                if other is not None:
                    bar[1 - moved] = bar[1 - moved] + other
            return params_bar, context_bar, tuple(a + b for a, b in zip(bar, first, strict=True))

        return Moved(after, log_det, ratios, pull_back)

    def inverse(self, params: Params, context: Array, place: Matrix) -> Matrix:
        """Coordinates that the map takes to ``place``; closed form."""
        now = list(place)
        for i in range(len(self.order) - 1, -1, -1):
            moved = self.order[i]
            raw = self._net.forward(params[str(i)], self._inputs(context, tuple(now), moved))
            now[moved] = spline.spline_inverse(now[moved], *self._shares(raw))[0]
        return tuple(now)
