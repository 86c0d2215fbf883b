"""Metropolis sweeps of scalars and links, site by site of one parity at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from gaugeflow import kernels
from gaugeflow.actions import ScalarAction
from gaugeflow.errors import require_finite
from gaugeflow.kernels.scalar import check_scalar
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng, momenta, normal, uniform
from gaugeflow.samplers.accept import check_state


class MetropolisState(NamedTuple):
    """Field and number of sweeps that made it."""

    x: Array
    step: int


class MetropolisInfo(NamedTuple):
    """Share of accepted changes of every configuration, ``(batch,)``."""

    acceptance: Array


def _check(name: str, width: float, hits: int) -> None:
    if not width > 0.0:
        raise ValueError(f"{name}: width must be positive, got {width}")
    if hits < 1:
        raise ValueError(f"{name}: hits must be at least 1, got {hits}")


def _accepted(xp: Any, uniforms: Array, change: Array) -> Array:
    """Whether a change of the action is accepted, elementwise."""
    return uniforms < xp.exp(xp.where(change > 0.0, -change, xp.zeros_like(change)))


@dataclass(frozen=True)
class ScalarMetropolis:
    """Sweeps of phi -> phi + width z with normal z, even sites before odd ones.

    Parameters
    ----------
    action
        The phi^4 action; its lattice needs even extents.
    width
        Standard deviation of the proposed change.
    hits
        Proposals for every site in a sweep.
    """

    action: ScalarAction
    width: float = 0.5
    hits: int = 1

    def __post_init__(self) -> None:
        require_finite(self, "width")
        _check("ScalarMetropolis", self.width, self.hits)
        self.action.lattice.sites_of_parity(0)

    def init(self, x: Array) -> MetropolisState:
        """State that starts from a field ``(n_blocks, lanes)``."""
        check_scalar(self.action.lattice, x)
        return MetropolisState(x, 0)

    def step(self, rng: Rng, state: MetropolisState) -> tuple[MetropolisState, MetropolisInfo]:
        """One sweep; random numbers depend on ``rng`` and on ``state.step``."""
        check_state(state, MetropolisState)
        lattice, x = self.action.lattice, state.x
        xp = array_namespace(x)
        batch = lattice.batch(x.shape[-1])
        here = rng.stream("metropolis").stream(state.step)
        parities = xp.asarray(lattice.coordinates.sum(axis=0) % 2)[..., None]
        parities = xp.reshape(xp.broadcast_to(parities, (*parities.shape[:2], batch)), tuple(x.shape))
        total = xp.zeros((lattice.n_folds * batch,), dtype=xp.float64)
        for hit in range(self.hits):
            noise = normal(here, lattice, hit + 1, batch, xp=xp)[hit, ...]
            proposal = x + self.width * xp.astype(noise, x.dtype)
            numbers = uniform(here, lattice, hit + 1, batch, xp=xp)[hit, ...]
            for parity in (0, 1):
                neighbours = kernels.neighbour_sum(lattice, x)
                change = self.action.local(proposal, neighbours) - self.action.local(x, neighbours)
                accepted = xp.logical_and(parities == parity, _accepted(xp, numbers, change))
                x = xp.where(accepted, proposal, x)
                total = total + xp.sum(xp.astype(accepted, xp.float64), axis=0)
        acceptance = sum_sites(lattice, total[None, :]) / (lattice.volume * self.hits)
        return MetropolisState(x, state.step + 1), MetropolisInfo(acceptance)


@dataclass(frozen=True)
class LinkMetropolis:
    """Sweeps of U -> exp(width p) U with normal p in the algebra, for S = -sum_p (coupling_p / N) Re tr P_p.

    Links are visited by direction and parity, as in :class:`gaugeflow.samplers.HeatBath`.

    Parameters
    ----------
    lattice
        The lattice; even extents.
    coupling
        beta, or one number for each plane.
    width
        Standard deviation of every coordinate of the proposed change.
    hits
        Proposals for every link in a sweep.
    reunitarise_every
        Sweeps between removals of rounding errors.
    """

    lattice: Lattice
    coupling: float | tuple[float, ...]
    width: float = 0.3
    hits: int = 1
    reunitarise_every: int = 10

    def __post_init__(self) -> None:
        require_finite(self, "coupling", "width")
        _check("LinkMetropolis", self.width, self.hits)
        if self.reunitarise_every < 1:
            raise ValueError(f"LinkMetropolis: reunitarise_every must be at least 1, got {self.reunitarise_every}")
        planes = self.lattice.planes
        if isinstance(self.coupling, tuple) and len(self.coupling) != len(planes):
            raise ValueError(f"LinkMetropolis: expected {len(planes)} couplings, got {len(self.coupling)}")
        self.lattice.active_sites(0, 0)

    def _weight(self, mu: int) -> list[float]:
        """Couplings of the planes (mu, nu), 0 for nu = mu."""
        d, planes = self.lattice.ndim, self.lattice.planes
        couplings = self.coupling if isinstance(self.coupling, tuple) else (float(self.coupling),) * len(planes)
        return [0.0 if nu == mu else couplings[planes.index((min(mu, nu), max(mu, nu)))] for nu in range(d)]

    def init(self, x: Array) -> MetropolisState:
        """State that starts from links."""
        self.lattice.check_links(x)
        return MetropolisState(x, 0)

    def step(self, rng: Rng, state: MetropolisState) -> tuple[MetropolisState, MetropolisInfo]:
        """One sweep; random numbers depend on ``rng`` and on ``state.step``."""
        lattice = self.lattice
        check_state(state, MetropolisState)
        xp = array_namespace(state.x)
        n, lanes = lattice.check_links(state.x)
        batch = lattice.batch(lanes)
        x = xp.asarray(state.x, copy=True)
        total = xp.zeros((lanes,), dtype=xp.float64)
        for hit in range(self.hits):
            here = rng.stream("metropolis").stream(state.step).stream(hit)
            p = xp.astype(momenta(here, lattice, n, batch, xp=xp), x.dtype)
            numbers = uniform(here, lattice, lattice.ndim, batch, xp=xp)
            proposal = kernels.evolve(lattice, x, p, self.width)
            for mu in range(lattice.ndim):
                for parity in (0, 1):
                    sites = lattice.active_sites(mu, parity)
                    place = xp.asarray(sites, dtype=xp.int64)
                    staples = kernels.path_sum(lattice, x, mu, sites, self._weight(mu))
                    old, new = (xp.take(field[mu, ...], place, axis=0) for field in (x, proposal))
                    # staples lead from x to x + mu, as the link does: S = -Re tr U A^dagger / N + ...
                    change = -xp.sum(xp.real((new - old) * xp.conj(staples)), axis=(1, 2)) / n
                    accepted = _accepted(xp, xp.take(numbers[mu, ...], place, axis=0), change)
                    chosen = xp.where(accepted[:, None, None, :], new, old)
                    x = kernels.overwrite(lattice, x, mu, sites, chosen)
                    total = total + xp.sum(xp.astype(accepted, xp.float64), axis=0)
        count = state.step + 1
        if count % self.reunitarise_every == 0:
            x = kernels.reunitarise(lattice, x)
        acceptance = sum_sites(lattice, total[None, :]) / (lattice.ndim * lattice.volume * self.hits)
        return MetropolisState(x, count), MetropolisInfo(acceptance)
