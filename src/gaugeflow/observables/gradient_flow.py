"""Integration of the gradient flow (Lüscher, arXiv:1006.4518), in equal steps or in steps that the error chooses.

dV/dt = -(grad S)(V) V in left coordinates with S the Wilson action at beta = 2 N, or an improved one: to first order
V changes by -t P(V A) with A the sum of staples.  At any beta this is -(2 N / beta) grad S, the flow of that paper.

The Zeuthen flow (Ramos and Sint, arXiv:1508.05552) follows (1 + a^2 D*_mu D_mu / 12) grad S with S the Symanzik action, each
component differentiated along its own direction.  It has no lattice artefacts of order a^2; those that remain in t^2 <E> come
from the action of the configurations and from the energy that is measured.  It is not the gradient of an action.

On lattices that end in time (links from the last slice on are zero and stay so) the Wilson flow is that of Lüscher and
Schaefer (arXiv:1206.2809, appendix B): spatial plaquettes on the two end slices have the weight 1/2 in S, and the derivative
with respect to the spatial links there is doubled.  Together, staples of spatial planes count once for these links, and the
staples that lead into the lattice twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from gaugeflow import kernels
from gaugeflow.errors import ConvergenceError, require_finite
from gaugeflow.kernels.sums import largest_of_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace


class Descent(NamedTuple):
    """What a flow follows: the gradient of an action with rectangles, and its second differences."""

    c1: float
    """Rectangle coefficient of the action."""
    differences: float = 0.0
    """Coefficient of D*_mu D_mu."""

    def largest_step(self, ndim: int) -> float:
        """Limit of stability of the integrator on smooth fields, in a^2; 0.157 for the Wilson flow in four dimensions.

        Of all waves the one with p_mu = 2 sin(k_mu / 2) = 2 in every direction decays fastest, with the rate
        4 d (1 - 8 c_1) (1 - 4 differences), and a third-order Runge-Kutta step grows beyond 2.5127 divided by the rate.
        """
        return 2.5127 / (4.0 * ndim * (1.0 - 8.0 * self.c1) * (1.0 - 4.0 * self.differences))


FLOWS = {
    "wilson": Descent(0.0),
    "symanzik": Descent(-1.0 / 12.0),
    "iwasaki": Descent(-0.331),
    "zeuthen": Descent(-1.0 / 12.0, 1.0 / 12.0),
}
"""The flows by name; coefficients of Lüscher and Weisz, of Iwasaki (arXiv:1111.7054), of Ramos and Sint.

With SU(3) on 8^4 and one thread, a step of the improved flows costs 4.2 to 4.5 steps of the Wilson flow.
"""
STEP = 0.02
"""Largest integration step in units of a^2; the error of t^2 E is of third order in it."""
_SMALLEST_STEP = 1e-6
_MOST_STEPS = 1e9
"""More would not end, and a host program in C cannot interrupt them."""


@dataclass(frozen=True)
class AdaptiveStep:
    """Step sizes h that keep the error of every step below a tolerance, for every configuration by itself.

    The error is the largest (tr D^dagger D)^(1/2) / N^2 over all links, D the difference between the third-order step and
    the second-order one exp(-Z_0 + 2 Z_1) that its first two stages give; it does not depend on the gauge.  A step with a
    larger error is repeated; the next one is h' = 0.95 h (tolerance / error)^(1/3), within a factor of 5 down and 2 up
    (arXiv:1301.4388; compare arXiv:2101.05320).  Steps grow as the field becomes smooth: at beta = 6 and the default
    tolerance from 0.012 to 0.18 at t = 3, with an error of t^2 E of 2e-6.

    Parameters
    ----------
    tolerance
        Largest error of a step; that of the third-order result is far smaller.
    first
        Step to try first, in a^2.
    """

    tolerance: float = 1e-5
    first: float = 0.02

    def __post_init__(self) -> None:
        require_finite(self, "tolerance", "first")
        for name, value in (("tolerance", self.tolerance), ("first", self.first)):
            if not value > 0.0:
                raise ValueError(f"AdaptiveStep: expected {name} > 0, got {value}")


Gradient = Callable[[Array], Array]
"""Gradient of the action that a flow descends, as a function of the links."""


def flow_step(lattice: Lattice, links: Array, step: float, flow: str = "wilson") -> Array:
    """Links after one third-order Runge-Kutta step (arXiv:1006.4518, appendix C).

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    step
        Flow time to advance by, in a^2; negative steps go back but are unstable.
    flow
        One of ``"wilson"``, ``"symanzik"``, ``"iwasaki"`` or ``"zeuthen"``.

    Raises
    ------
    ValueError
        If the flow is unknown, or the step is not finite.
    """
    if not math.isfinite(step):
        raise ValueError(f"gradient flow: expected a finite step, got {step}")
    return _runge_kutta(lattice, links, step, _gradient_of(lattice, flow))[0]


def advance(
    lattice: Lattice, links: Array, time: float, *, step: float | AdaptiveStep = STEP, flow: str = "wilson"
) -> Array:
    """Links after a flow time, in equal steps of at most ``step`` or in adaptive ones; see :func:`flow_through`."""
    return next(flow_through(lattice, links, (time,), step=step, flow=flow))


def flow_through(
    lattice: Lattice,
    links: Array,
    times: Sequence[float],
    *,
    step: float | AdaptiveStep = STEP,
    flow: str = "wilson",
    open_in_time: bool = False,
) -> Iterator[Array]:
    """Links at one flow time after the other.

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    times
        Flow times in a^2, increasing; 0 is the field itself.
    step
        Largest integration step, of which equal ones fill the interval between two times; or an :class:`AdaptiveStep`.
        Smooth fields are unstable for steps above ``Descent.largest_step``.
    flow
        One of ``"wilson"``, ``"symanzik"``, ``"iwasaki"`` or ``"zeuthen"``.
    open_in_time
        Whether the lattice ends in time, as the links say by being zero there; for the Wilson flow only.

    Raises
    ------
    ValueError
        If the times are not finite or do not increase from 0 or later, the step is not positive, more than a milliard of
        steps would be needed, or the flow is unknown.
    ConvergenceError
        If adaptive steps shrink below 1e-6: the links are not finite, or the tolerance is below rounding errors.
    """
    wanted = tuple(float(t) for t in times)
    if not (wanted and wanted[0] >= 0.0 and wanted[-1] < math.inf and all(a < b for a, b in pairwise(wanted))):
        raise ValueError(f"flow times must be finite, non-negative and increase, got {wanted}")
    gradient = _gradient_of(lattice, flow, open_in_time)
    if isinstance(step, AdaptiveStep):
        return _adaptive(lattice, links, wanted, step, gradient)
    if not 0.0 < step < math.inf:
        raise ValueError(f"gradient flow: expected a finite step > 0, got {step}")
    if wanted[-1] > _MOST_STEPS * step:
        raise ValueError(f"gradient flow: expected at most {_MOST_STEPS:g} steps of {step}, got the time {wanted[-1]}")
    return _equal(lattice, links, wanted, step, gradient)


def _gradient_of(lattice: Lattice, flow: str, open_in_time: bool = False) -> Gradient:
    if flow not in FLOWS:
        raise ValueError(f"unknown gradient flow {flow!r}, expected one of {sorted(FLOWS)}")
    if open_in_time:
        if flow != "wilson":
            raise ValueError(f"gradient flow: expected 'wilson' on a lattice that is open in time, got {flow!r}")
        return lambda links: _open_gradient(lattice, links)
    return lambda links: _gradient(lattice, links, FLOWS[flow])


def _equal(
    lattice: Lattice, links: Array, times: tuple[float, ...], step: float, gradient: Gradient
) -> Iterator[Array]:
    now = 0.0
    for t in times:
        count = max(math.ceil((t - now) / step - 1e-9), int(t > now))
        for _ in range(count):
            links, _ = _runge_kutta(lattice, links, (t - now) / count, gradient)
        now = t
        yield links


def _adaptive(
    lattice: Lattice, links: Array, times: tuple[float, ...], control: AdaptiveStep, gradient: Gradient
) -> Iterator[Array]:
    """Every configuration has its own time ``now`` and step ``size``; one that is there waits with steps of size 0."""
    _, lanes = lattice.check_links(links)
    xp = array_namespace(links)
    batch = lattice.batch(lanes)
    size = xp.full((batch,), control.first, dtype=xp.float64)
    now = xp.zeros((batch,), dtype=xp.float64)
    for t in times:
        while bool(xp.any(now < t)):
            left = t - now
            last = size >= left
            taken = xp.where(last, left, size)
            new, error = _embedded(lattice, links, taken, gradient)
            accepted = error <= control.tolerance
            finite = xp.isfinite(error)
            ratio = control.tolerance / xp.where(finite & (error > 0.0), error, xp.ones_like(error) * 1e-300)
            factor = xp.where(finite, xp.clip(0.95 * ratio ** (1.0 / 3.0), 0.2, 2.0), 0.2 * xp.ones_like(error))
            proposed = taken * factor
            # A step that only filled the interval says nothing against longer ones.
            size = xp.where(accepted & last & (size > proposed), size, proposed)
            links = xp.where(lattice.spread_folds(accepted), new, links)
            now = xp.where(accepted, xp.where(last, xp.full_like(now, t), now + taken), now)
            if float(xp.min(size)) < _SMALLEST_STEP:
                raise ConvergenceError(
                    f"gradient flow: adaptive steps fell below {_SMALLEST_STEP} at t = {float(xp.min(now)):.6g}; links "
                    f"are not finite, or the tolerance {control.tolerance} is below rounding errors"
                )
        yield links


def _embedded(lattice: Lattice, links: Array, size: Array, gradient: Gradient) -> tuple[Array, Array]:
    """Links after one step of a size for each configuration, and the error of its second-order companion, ``(batch,)``."""
    xp = array_namespace(links)
    lanes = xp.astype(lattice.spread_folds(size), xp.real(links[0, 0, 0, 0, :]).dtype)
    new, (z0, z1) = _runge_kutta(lattice, links, 1.0, gradient, lanes)
    companion = kernels.evolve(lattice, links, 2.0 * z1 - z0, -1.0)
    squares = xp.sum(xp.abs(new - companion) ** 2, axis=(2, 3))
    worst = largest_of_sites(lattice, xp.reshape(xp.astype(squares, xp.float64), (-1, squares.shape[-1])))
    return new, xp.sqrt(worst) / links.shape[2] ** 2


def _runge_kutta(
    lattice: Lattice, links: Array, step: float, gradient: Gradient, lanes: Array | None = None
) -> tuple[Array, tuple[Array, Array]]:
    """Links after one step, ``step`` times the number of each lane, and the first two forces times that number."""
    k, forces = None, []
    # With Z_i = -step grad S: K_0 = Z_0 / 4, K_1 = 8/9 Z_1 - 17/9 K_0, K_2 = 3/4 Z_2 - K_1.
    for a, b in ((1.0 / 4.0, 0.0), (8.0 / 9.0, -17.0 / 9.0), (3.0 / 4.0, -1.0)):
        force = gradient(links)
        forces.append(force if lanes is None else force * lanes)
        links, k = kernels.flow_stage(lattice, links, forces[-1], forces[-1] if k is None else k, -a * step, b)
    return links, (forces[0], forces[1])


def _gradient(lattice: Lattice, links: Array, descent: Descent) -> Array:
    beta, c1 = 2.0 * links.shape[2], descent.c1
    force = kernels.wilson_force(lattice, links, beta * (1.0 - 8.0 * c1))
    if c1 != 0.0:
        force = force + kernels.rectangle_force(lattice, links, beta * c1)
    return kernels.straighten(lattice, links, force, descent.differences) if descent.differences else force


def _open_gradient(lattice: Lattice, links: Array) -> Array:
    """Right-hand side of the Wilson flow on a lattice that ends in time; see the head of this module."""
    xp = array_namespace(links)
    beta = 2.0 * links.shape[2]
    temporal = xp.asarray([beta if mu == 0 else 0.0 for mu, _ in lattice.planes])
    inward = kernels.wilson_force(lattice, links, temporal)
    last = lattice.shape[0] - 1
    time = xp.asarray(lattice.coordinates[0])  # (n_blocks, n_folds)
    end = xp.astype((time == 0) | (time == last), links.dtype)
    batch = lattice.batch(links.shape[-1])
    end = xp.reshape(xp.broadcast_to(end[:, :, None], (*end.shape, batch)), (lattice.n_blocks, links.shape[-1]))
    spatial = xp.asarray([0.0] + [1.0] * (lattice.ndim - 1), dtype=links.dtype)
    weight = spatial[:, None, None, None, None] * end[None, :, None, None, :]
    return kernels.wilson_force(lattice, links, beta) + weight * inward
