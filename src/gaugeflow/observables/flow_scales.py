"""Energy and charge along the gradient flow, and the scales that they set: t_c, t_0 and w_0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.kernels.sums import sum_sites, sum_slices
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.observables.gradient_flow import STEP, AdaptiveStep, flow_through
from gaugeflow.observables.topology import angle_density, five_loop_densities, has_integer_charge, plaquette_charge

CHARGES = ("plaquette", "five-loop")
"""Definitions of the topological charge beside the clover one."""


class SliceHistory(NamedTuple):
    """Energy and charge of every time slice along the flow; T is the extent of direction 0.

    ``e_clover_spatial`` and ``e_clover_temporal`` ``(n_times, T, batch)`` are means over the sites of a slice in a^-4, so that
    the mean over slices is that over the lattice; ``q`` is the sum over the sites of a slice, so that the sum over slices is
    the charge.
    """

    t: tuple[float, ...]
    e_clover_spatial: Array
    e_clover_temporal: Array
    q: Array


class FlowHistory(NamedTuple):
    """What was measured along the flow: flow times (a^2) and, for every configuration, ``(n_times, batch)`` float64."""

    t: tuple[float, ...]
    e_clover_spatial: Array
    """Part of E = -sum_{mu < nu} tr G^2 (a^-4, mean over sites) from planes without direction 0; MILC's ``Es``."""
    e_clover_temporal: Array
    """Part of E from planes that hold direction 0; MILC's ``Et``."""
    q: Array
    """Clover charge in four dimensions, integer charge of U(1) in two, zero elsewhere."""
    e_plaquette_spatial: Array
    """Part of E = 2 sum_{mu < nu} Re tr(1 - P) (arXiv:1006.4518, section 3) from planes without direction 0."""
    e_plaquette_temporal: Array
    """Part of the same E from planes that hold direction 0."""
    q_plaquette: Array | None = None
    """Charge from single plaquettes, if asked for."""
    q_five_loop: Array | None = None
    """Improved charge, if asked for."""
    e_five_loop: Array | None = None
    """Improved energy E, all planes together, measured with the improved charge."""
    slices: SliceHistory | None = None
    """E and Q of every time slice, if asked for."""

    @property
    def t2_e(self) -> Array:
        """t^2 E with E the spatial and temporal parts of the clover energy, ``(n_times, batch)``."""
        return self._times_t2(self.e_clover_spatial + self.e_clover_temporal)

    @property
    def t2_e_plaquette(self) -> Array:
        """t^2 E of the plaquette energy, ``(n_times, batch)``; other lattice artefacts than those of ``t2_e``."""
        return self._times_t2(self.e_plaquette_spatial + self.e_plaquette_temporal)

    @property
    def t2_e_five_loop(self) -> Array | None:
        """t^2 E of the improved energy, ``(n_times, batch)``, where it was measured."""
        return None if self.e_five_loop is None else self._times_t2(self.e_five_loop)

    def _times_t2(self, e: Array) -> Array:
        return array_namespace(e).asarray([t * t for t in self.t], dtype=e.dtype)[:, None] * e


def flow_history(
    lattice: Lattice,
    links: Array,
    times: Sequence[float],
    *,
    step: float | AdaptiveStep = STEP,
    flow: str = "wilson",
    charges: Sequence[str] = (),
    slices: bool = False,
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
        ``"wilson"``, ``"symanzik"``, ``"iwasaki"`` or ``"zeuthen"``.
    charges
        Further definitions of the charge, some of ``"plaquette"``, ``"five-loop"``.  The latter, with the
        energy that goes with it, costs 2.7 steps of the Wilson flow of SU(3).
    slices
        Whether to record time slices as well.

    Returns
    -------
    FlowHistory
        Records at the times.

    Raises
    ------
    ValueError, ConvergenceError
        As :func:`gaugeflow.observables.flow_through`; ``ValueError`` for unknown charges, or further ones in other than four
        dimensions.
    """
    lattice.check_links(links)
    _check_charges(lattice, charges)
    xp = array_namespace(links)
    temporal = sum(mu == 0 for mu, _ in lattice.planes)
    records: dict[str, list[Array]] = {}
    parts = []
    for flowed in flow_through(lattice, links, times, step=step, flow=flow):
        densities = _densities(lattice, flowed)
        e_spatial, e_temporal, charge = (sum_sites(lattice, density) for density in densities)
        plaquette = 2.0 * links.shape[2] * (1.0 - kernels.plaquette(lattice, flowed))
        found = {
            "e_clover_spatial": e_spatial / lattice.volume,
            "e_clover_temporal": e_temporal / lattice.volume,
            "q": xp.round(charge) + 0.0 if has_integer_charge(lattice, links) else charge,  # no negative zero
            "e_plaquette_spatial": xp.sum(plaquette[temporal:, ...], axis=0),
            "e_plaquette_temporal": xp.sum(plaquette[:temporal, ...], axis=0),
        }
        if "plaquette" in charges:
            found["q_plaquette"] = plaquette_charge(lattice, flowed)
        if "five-loop" in charges:
            energy, density = five_loop_densities(lattice, flowed)
            found["q_five_loop"] = sum_sites(lattice, density)
            found["e_five_loop"] = xp.sum(sum_sites(lattice, energy), axis=0) / lattice.volume
        for name, value in found.items():
            records.setdefault(name, []).append(value)
        if slices:
            parts.append(_of_slices(lattice, densities))
    t = tuple(float(x) for x in times)
    return FlowHistory(
        t,
        **{name: xp.stack(column) for name, column in records.items()},
        slices=SliceHistory(t, *(xp.stack(x) for x in zip(*parts, strict=True))) if slices else None,
    )


def flow_slices(
    lattice: Lattice,
    links: Array,
    times: Sequence[float],
    *,
    step: float | AdaptiveStep = STEP,
    flow: str = "wilson",
    open_in_time: bool = False,
) -> SliceHistory:
    """Energy and charge of every time slice at flow times.

    Parameters
    ----------
    lattice, links, times, step, flow
        As of :func:`flow_history`.
    open_in_time
        Whether the lattice ends in time, see :func:`gaugeflow.observables.flow_through`; slices at the ends are then not
        meaningful, see :func:`gaugeflow.observables.open_flow_history`.

    Raises
    ------
    ValueError, ConvergenceError
        As :func:`gaugeflow.observables.flow_through`.
    """
    xp = array_namespace(links)
    flowed = flow_through(lattice, links, times, step=step, flow=flow, open_in_time=open_in_time)
    records = [_of_slices(lattice, _densities(lattice, x)) for x in flowed]
    return SliceHistory(tuple(float(t) for t in times), *(xp.stack(x) for x in zip(*records, strict=True)))


def _check_charges(lattice: Lattice, charges: Sequence[str]) -> None:
    unknown = sorted(set(charges) - set(CHARGES))
    if isinstance(charges, str) or unknown:
        raise ValueError(f"charges: expected some of {list(CHARGES)}, got {charges!r}")
    if charges and lattice.ndim != 4:
        raise ValueError(f"charges: {', '.join(charges)} needs four dimensions, got a lattice of shape {lattice.shape}")


def _densities(lattice: Lattice, links: Array) -> tuple[Array, Array, Array]:
    """Spatial and temporal clover energy and the charge of every site, ``(n_blocks, lanes)``."""
    xp = array_namespace(links)
    temporal = sum(mu == 0 for mu, _ in lattice.planes)
    energy, charge = kernels.clover(lattice, links)
    if has_integer_charge(lattice, links):
        charge = angle_density(lattice, links)
    return xp.sum(energy[temporal:, ...], axis=0), xp.sum(energy[:temporal, ...], axis=0), charge


def _of_slices(lattice: Lattice, densities: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    spatial, temporal, charge = densities
    return (
        slice_sums(lattice, spatial, mean=True),
        slice_sums(lattice, temporal, mean=True),
        slice_sums(lattice, charge, mean=False),
    )


def slice_sums(lattice: Lattice, sites: Array, *, mean: bool) -> Array:
    """Sums, or means, of ``(n_blocks, lanes)`` over the sites of every time slice: ``(T, batch)``."""
    sums = sum_slices(lattice, sites)
    return sums / (lattice.volume // lattice.shape[0]) if mean else sums


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
        If the lengths differ, the times do not increase, or c is not crossed between the first and the last time.

    Examples
    --------
    t_0 with its Gamma-method error, from a run that observed ``FlowedEnergy(lattice, times)``::

        t2_e = Series.from_lanes(chain.records["t2_e"])
        by_values = lambda mean: flow_time_gradient(mean, times, 0.3)
        t_0 = gamma_method(derive(lambda mean: flow_time_where(mean, times, 0.3), t2_e, by_values))
    """
    _check_times(t2_e, t)
    return _crossing(t2_e, t, c)[1]


def flow_time_gradient(t2_e: Sequence[float], t: Sequence[float], c: float) -> list[float]:
    """Derivatives of :func:`flow_time_where` with respect to every t^2 <E>; all but two are zero.

    Exact, where differences would be spoilt by crossings that move to the next interval.  Arguments and errors are those of
    :func:`flow_time_where`.
    """
    _check_times(t2_e, t)
    low, _, slopes = _crossing(t2_e, t, c)
    result = [0.0] * len(t2_e)
    result[low], result[low + 1] = slopes
    return result


def _check_times(t2_e: Sequence[float], t: Sequence[float]) -> None:
    if len(t2_e) != len(t):
        raise ValueError(f"t^2 <E>: expected {len(t)} values, one for each flow time, got {len(t2_e)}")
    for before, after in pairwise(t):
        if not before < after:
            raise ValueError(f"flow times must increase, got {before} before {after}")


def _crossing(
    y: Sequence[float], t: Sequence[float], c: float, what: str = "t^2 <E>"
) -> tuple[int, float, tuple[float, float]]:
    """Number of the time before the crossing, the time of the crossing, and its derivatives by the values around it."""
    pairs = [(float(a), float(b)) for a, b in zip(t, y, strict=True)]
    for k, ((t_low, low), (t_high, high)) in enumerate(pairwise(pairs)):
        if low <= c <= high and low < high:
            rise, part = (high - low) / (t_high - t_low), (c - low) / (high - low)
            return k, t_low + (t_high - t_low) * part, ((part - 1.0) / rise, -part / rise)
    reached = f"{min(v for _, v in pairs):.6g} ... {max(v for _, v in pairs):.6g}" if pairs else "nothing"
    raise ValueError(
        f"{what} does not cross {c}: it covers {reached}" + (f" up to t = {pairs[-1][0]}" if pairs else "")
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
        If the lengths differ, the times do not increase, or c is not crossed between the second and the last but one time.
    """
    _check_times(t2_e, t)
    inner, rows = _slope_rows(t)
    return math.sqrt(_crossing(_slopes(t2_e, rows), inner, c, _SLOPE)[1])


def w_0_gradient(t2_e: Sequence[float], t: Sequence[float], c: float = 0.3) -> list[float]:
    """Derivatives of :func:`w_0` with respect to every t^2 <E>; arguments and errors are those of :func:`w_0`."""
    _check_times(t2_e, t)
    inner, rows = _slope_rows(t)
    low, time, slopes = _crossing(_slopes(t2_e, rows), inner, c, _SLOPE)
    result = [0.0] * len(t2_e)
    for k, slope in zip((low, low + 1), slopes, strict=True):
        for j, weight in enumerate(rows[k]):
            result[k + j] += slope * weight / (2.0 * math.sqrt(time))
    return result


_SLOPE = "t d/dt (t^2 <E>)"


def _slope_rows(t: Sequence[float]) -> tuple[list[float], list[tuple[float, float, float]]]:
    """Inner times, and the weights of three neighbouring values in t d/dt there."""
    times = [float(x) for x in t]
    rows = []
    for t0, t1, t2 in zip(times, times[1:], times[2:], strict=False):
        before, after = t1 - t0, t2 - t1
        one, two = t1 * after / (before * (before + after)), t1 * before / (after * (before + after))
        rows.append((-one, one - two, two))
    return times[1:-1], rows


def _slopes(y: Sequence[float], rows: list[tuple[float, float, float]]) -> list[float]:
    values = [float(x) for x in y]
    return [sum(w * values[k + j] for j, w in enumerate(row)) for k, row in enumerate(rows)]


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
    """Observable Q (see ``FlowHistory.q``) at flow times, ``(n_times, batch)``; arguments of :func:`flow_history`."""

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
