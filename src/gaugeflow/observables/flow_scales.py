"""The gradient flow and the scales that it sets (Lüscher, arXiv:1006.4518).

dV/dt = -(grad S)(V) V in left coordinates with S the Wilson action at beta = 2 N, or the Symanzik one: to first order
V changes by -t P(V A) with A the sum of staples.  At any beta this is -(2 N / beta) grad S, the flow of that paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from array_api_compat import array_namespace

from gaugeflow import kernels
from gaugeflow.lattice import Array, Lattice

FLOWS = {"wilson": 0.0, "symanzik": -1.0 / 12.0}
"""Rectangle coefficient c_1 of the action that each flow descends."""
STEP = 0.02
"""Largest integration step in units of a^2; the error of t^2 E is of third order in it."""


class FlowHistory(NamedTuple):
    """What was measured along the flow: flow times (a^2) and, for every configuration, ``(n_times, batch)`` float64."""

    t: tuple[float, ...]
    e_clover_spatial: Array
    """Part of E = -sum_{mu < nu} tr G^2 (a^-4, mean over sites) from planes without direction 0; MILC's ``Es``."""
    e_clover_temporal: Array
    """Part of E from planes that hold direction 0; MILC's ``Et``."""
    q: Array
    """Clover charge; zero unless the lattice has four dimensions."""

    @property
    def t2_e(self) -> Array:
        """t^2 E with E = spatial + temporal part, ``(n_times, batch)``."""
        e = self.e_clover_spatial + self.e_clover_temporal
        return array_namespace(e).asarray([t * t for t in self.t], dtype=e.dtype)[:, None] * e


def flow_step(lattice: Lattice, links: Array, step: float, flow: str = "wilson") -> Array:
    """Links after one third-order Runge-Kutta step (arXiv:1006.4518, appendix C).

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    step
        Flow time to advance by, in a^2; negative steps go back but are unstable.
    flow
        ``"wilson"`` or ``"symanzik"``.

    Raises
    ------
    ValueError
        If the flow is unknown.
    """
    if flow not in FLOWS:
        raise ValueError(f"unknown gradient flow {flow!r}, expected one of {sorted(FLOWS)}")
    k = None
    # With Z_i = -step grad S: K_0 = Z_0 / 4, K_1 = 8/9 Z_1 - 17/9 K_0, K_2 = 3/4 Z_2 - K_1.
    for a, b in ((1.0 / 4.0, 0.0), (8.0 / 9.0, -17.0 / 9.0), (3.0 / 4.0, -1.0)):
        force = _gradient(lattice, links, FLOWS[flow])
        links, k = kernels.flow_stage(lattice, links, force, force if k is None else k, -a * step, b)
    return links


def _gradient(lattice: Lattice, links: Array, c1: float) -> Array:
    beta = 2.0 * links.shape[2]
    force = kernels.wilson_force(lattice, links, beta * (1.0 - 8.0 * c1))
    return force if c1 == 0.0 else force + kernels.rectangle_force(lattice, links, beta * c1)


def advance(lattice: Lattice, links: Array, time: float, *, step: float = STEP, flow: str = "wilson") -> Array:
    """Links after a flow time, in equal steps of at most ``step``."""
    if time < 0.0 or not step > 0.0:
        raise ValueError(f"gradient flow: expected time >= 0 and step > 0, got time {time} and step {step}")
    count = math.ceil(time / step - 1e-9)
    for _ in range(count):
        links = flow_step(lattice, links, time / count, flow)
    return links


def flow_history(
    lattice: Lattice, links: Array, times: Sequence[float], *, step: float = STEP, flow: str = "wilson"
) -> FlowHistory:
    """Energy and charge at flow times.

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    times
        Flow times in a^2, increasing; 0 is the field itself.
    step
        Largest integration step.
    flow
        ``"wilson"`` or ``"symanzik"``.

    Returns
    -------
    FlowHistory
        Records at the times.

    Raises
    ------
    ValueError
        If the times do not increase from 0 or later, or the step or the flow is unknown.
    """
    wanted = tuple(float(t) for t in times)
    if not wanted or wanted[0] < 0.0 or any(b <= a for a, b in pairwise(wanted)):
        raise ValueError(f"flow times must be non-negative and increase, got {wanted}")
    xp = array_namespace(links)
    temporal = sum(mu == 0 for mu, _ in lattice.planes)
    now = 0.0
    records = []
    for t in wanted:
        links, now = advance(lattice, links, t - now, step=step, flow=flow), t
        energy, density = kernels.clover(lattice, links)
        planes = lattice.sum_folds(xp.sum(energy, axis=1)) / lattice.volume
        parts = (xp.sum(planes[temporal:, ...], axis=0), xp.sum(planes[:temporal, ...], axis=0))
        records.append((*parts, lattice.sum_folds(xp.sum(density, axis=0))))
    spatial, timelike, charge = (xp.stack(column) for column in zip(*records, strict=True))
    return FlowHistory(wanted, spatial, timelike, charge)


def flow_time_where(t2_e: Sequence[float], t: Sequence[float], c: float) -> float:
    """The flow time t_c at which t^2 <E> first reaches c from below: t_0 for c = 0.3.

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
    """
    pairs = [(float(a), float(b)) for a, b in zip(t, t2_e, strict=True)]
    for (t_low, low), (t_high, high) in pairwise(pairs):
        if low <= c <= high and low < high:
            return t_low + (t_high - t_low) * (c - low) / (high - low)
    reached = f"{min(v for _, v in pairs):.6g} ... {max(v for _, v in pairs):.6g}" if pairs else "nothing"
    raise ValueError(
        f"t^2 <E> does not cross {c}: it covers {reached}" + (f" up to t = {pairs[-1][0]}" if pairs else "")
    )


@dataclass(frozen=True)
class FlowedEnergy:
    """Observable t^2 E (clover) at flow times, ``(n_times, batch)``; arguments of :func:`flow_history`."""

    lattice: Lattice
    times: tuple[float, ...]
    step: float = STEP
    flow: str = "wilson"
    name: str = "t2_e"

    def __call__(self, x: Array) -> Array:
        """t^2 E of every configuration."""
        return flow_history(self.lattice, x, self.times, step=self.step, flow=self.flow).t2_e


@dataclass(frozen=True)
class FlowedCharge:
    """Observable clover charge Q at flow times, ``(n_times, batch)``; arguments of :func:`flow_history`."""

    lattice: Lattice
    times: tuple[float, ...]
    step: float = STEP
    flow: str = "wilson"
    name: str = "q"

    def __call__(self, x: Array) -> Array:
        """Q of every configuration."""
        return flow_history(self.lattice, x, self.times, step=self.step, flow=self.flow).q
