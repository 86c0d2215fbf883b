"""Energy and charge along the gradient flow, and the scales that they set: t_c, t_0 and w_0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from array_api_compat import array_namespace

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables.gradient_flow import STEP, AdaptiveStep, flow_through


class FlowHistory(NamedTuple):
    """What was measured along the flow: flow times (a^2) and, for every configuration, ``(n_times, batch)`` float64."""

    t: tuple[float, ...]
    e_clover_spatial: Array
    """Part of E = -sum_{mu < nu} tr G^2 (a^-4, mean over sites) from planes without direction 0; MILC's ``Es``."""
    e_clover_temporal: Array
    """Part of E from planes that hold direction 0; MILC's ``Et``."""
    q: Array
    """Clover charge; zero unless the lattice has four dimensions."""
    e_plaquette_spatial: Array
    """Part of E = 2 sum_{mu < nu} Re tr(1 - P) (arXiv:1006.4518, section 3) from planes without direction 0."""
    e_plaquette_temporal: Array
    """Part of the same E from planes that hold direction 0."""

    @property
    def t2_e(self) -> Array:
        """t^2 E with E the spatial and temporal parts of the clover energy, ``(n_times, batch)``."""
        return self._times_t2(self.e_clover_spatial + self.e_clover_temporal)

    @property
    def t2_e_plaquette(self) -> Array:
        """t^2 E of the plaquette energy, ``(n_times, batch)``; other lattice artefacts than those of ``t2_e``."""
        return self._times_t2(self.e_plaquette_spatial + self.e_plaquette_temporal)

    def _times_t2(self, e: Array) -> Array:
        return array_namespace(e).asarray([t * t for t in self.t], dtype=e.dtype)[:, None] * e


def flow_history(
    lattice: Lattice,
    links: Array,
    times: Sequence[float],
    *,
    step: float | AdaptiveStep = STEP,
    flow: str = "wilson",
) -> FlowHistory:
    """Energy and charge at flow times.

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    times
        Flow times in a^2, increasing; 0 is the field itself.
    step
        Largest integration step, or an :class:`gaugeflow.observables.AdaptiveStep`.
    flow
        ``"wilson"`` or ``"symanzik"``.

    Returns
    -------
    FlowHistory
        Records at the times.

    Raises
    ------
    ValueError, ConvergenceError
        As :func:`gaugeflow.observables.flow_through`.
    """
    lattice.check_links(links)
    xp = array_namespace(links)
    temporal = sum(mu == 0 for mu, _ in lattice.planes)
    records = []
    for flowed in flow_through(lattice, links, times, step=step, flow=flow):
        energy, density = kernels.clover(lattice, flowed)
        clover = lattice.sum_folds(xp.sum(energy, axis=1)) / lattice.volume
        plaquette = 2.0 * links.shape[2] * (1.0 - kernels.plaquette(lattice, flowed))
        charge = lattice.sum_folds(xp.sum(density, axis=0))
        parts = [
            xp.sum(e[k, ...], axis=0) for e in (clover, plaquette) for k in (slice(temporal, None), slice(temporal))
        ]
        records.append((*parts[:2], charge, *parts[2:]))
    return FlowHistory(tuple(float(t) for t in times), *(xp.stack(column) for column in zip(*records, strict=True)))


def flow_time_where(t2_e: Sequence[float], t: Sequence[float], c: float) -> float:
    """The flow time t_c at which t^2 <E> first reaches c from below: t_0 for c = 0.3 (arXiv:1006.4518).

    t^2 E is interpolated linearly between the two times around the crossing; it is nearly linear there, so that the
    error, (t^2 E)'' dt^2 / (8 (t^2 E)') at most, is small for spacings dt of a few steps.

    Parameters
    ----------
    t2_e
        t^2 <E>, averaged over configurations, at the times ``t``.
    t
        Flow times, increasing.
    c
        The value to reach.

    Raises
    ------
    ValueError
        If the lengths differ, or c is not crossed between the first and the last time.

    Examples
    --------
    t_0 with its Gamma-method error, from a run that observed ``FlowedEnergy(lattice, times)``::

        t2_e = Series.from_lanes(chain.records["t2_e"])
        t_0 = gamma_method(derive(lambda mean: flow_time_where(mean, times, 0.3), t2_e))
    """
    pairs = [(float(a), float(b)) for a, b in zip(t, t2_e, strict=True)]
    for (t_low, low), (t_high, high) in pairwise(pairs):
        if low <= c <= high and low < high:
            return t_low + (t_high - t_low) * (c - low) / (high - low)
    reached = f"{min(v for _, v in pairs):.6g} ... {max(v for _, v in pairs):.6g}" if pairs else "nothing"
    raise ValueError(
        f"t^2 <E> does not cross {c}: it covers {reached}" + (f" up to t = {pairs[-1][0]}" if pairs else "")
    )


def w_0(t2_e: Sequence[float], t: Sequence[float], c: float = 0.3) -> float:
    """The length w_0 at whose square t d/dt(t^2 <E>) first reaches c from below (arXiv:1203.4469).

    The derivative is that of the parabola through three neighbouring times, exact to second order in their spacing, and
    is interpolated as in :func:`flow_time_where`.

    Parameters
    ----------
    t2_e
        t^2 <E>, averaged over configurations, at the times ``t``.
    t
        Flow times, increasing.
    c
        The value to reach.

    Returns
    -------
    float
        w_0 in lattice units.

    Raises
    ------
    ValueError
        If the lengths differ, or c is not crossed between the second and the last but one time.
    """
    points = [(float(a), float(b)) for a, b in zip(t, t2_e, strict=True)]
    slopes = [(y1 - y0) / (t1 - t0) for (t0, y0), (t1, y1) in pairwise(points)]
    inner = [x for x, _ in points[1:-1]]
    derivatives = []
    for k, x in enumerate(inner):
        before, after = x - points[k][0], points[k + 2][0] - x
        derivatives.append(x * (after * slopes[k] + before * slopes[k + 1]) / (before + after))
    try:
        return math.sqrt(flow_time_where(derivatives, inner, c))
    except ValueError as error:
        raise ValueError(f"w_0: the derivative t d/dt of t^2 <E> is meant below: {error}") from None


@dataclass(frozen=True)
class FlowedEnergy:
    """Observable t^2 E (clover) at flow times, ``(n_times, batch)``; arguments of :func:`flow_history`."""

    lattice: Lattice
    times: tuple[float, ...]
    step: float | AdaptiveStep = STEP
    flow: str = "wilson"
    name: str = "t2_e"

    def __post_init__(self) -> None:
        require_finite(self, "times")
        if not isinstance(self.step, AdaptiveStep):
            require_finite(self, "step")

    def __call__(self, x: Array) -> Array:
        """t^2 E of every configuration."""
        return flow_history(self.lattice, x, self.times, step=self.step, flow=self.flow).t2_e


@dataclass(frozen=True)
class FlowedCharge:
    """Observable clover charge Q at flow times, ``(n_times, batch)``; arguments of :func:`flow_history`."""

    lattice: Lattice
    times: tuple[float, ...]
    step: float | AdaptiveStep = STEP
    flow: str = "wilson"
    name: str = "q"

    def __post_init__(self) -> None:
        require_finite(self, "times")
        if not isinstance(self.step, AdaptiveStep):
            require_finite(self, "step")

    def __call__(self, x: Array) -> Array:
        """Q of every configuration."""
        return flow_history(self.lattice, x, self.times, step=self.step, flow=self.flow).q
