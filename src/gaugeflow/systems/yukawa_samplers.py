"""Gibbs sampler and observables of :mod:`gaugeflow.systems.yukawa`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from gaugeflow.actions import with_pseudofermions
from gaugeflow.lattice import Array, Lattice
from gaugeflow.operators import Yukawa, gaussian
from gaugeflow.random import Rng
from gaugeflow.samplers.accept import accept, choose
from gaugeflow.typing import Action, Flow, Params, Prior


class GibbsState(NamedTuple):
    """Scalar field and number of steps."""

    x: Array
    step: int


class GibbsInfo(NamedTuple):
    """What was accepted, and the logarithm of the Metropolis-Hastings ratio, both ``(batch,)``."""

    accepted: Array
    log_ratio: Array


@dataclass(frozen=True, eq=False)
class Gibbs:
    """Pseudofermions from their heat bath, chi = N^T eta, then a proposal for the scalar field given them.

    The proposal is f(z; chi) with z from a prior, accepted with min(1, w' / w), w = p(phi | chi) / q(phi | chi): both steps
    leave exp(-S(phi, chi)) as it is (arXiv:2106.05934).

    Parameters
    ----------
    lattice
        The lattice.
    action
        S of the joint field.
    operator
        N, unbound.
    prior
        Distribution of z.
    flow, params
        f, a flow of the joint field that does not change pseudofermions, and its parameters.
    """

    lattice: Lattice
    action: Action
    operator: Yukawa
    prior: Prior
    flow: Flow
    params: Params

    def init(self, x: Array) -> GibbsState:
        """State that starts from a scalar field."""
        return GibbsState(x, 0)

    def step(self, rng: Rng, state: GibbsState) -> tuple[GibbsState, GibbsInfo]:
        """New pseudofermions and one proposal for every chain."""
        here = rng.stream("gibbs").stream(state.step)
        bound = self.operator.with_links(state.x)
        chi = bound.adjoint(gaussian(here.stream("pseudofermions"), bound))
        old = with_pseudofermions(self.lattice, state.x, chi)
        z, inverse_log_det = self.flow.inverse(self.params, old)
        start = self.prior.sample(here, state.x.shape[-1])
        new, log_det = self.flow.forward(self.params, with_pseudofermions(self.lattice, start, chi))
        log_ratio = self.action.value(old) - self.action.value(new)
        log_ratio = log_ratio + self.prior.log_prob(z[:, 0, :]) + inverse_log_det - self.prior.log_prob(start) + log_det
        accepted, _ = accept(here, log_ratio)
        return GibbsState(choose(self.lattice, accepted, new[:, 0, :], state.x), state.step + 1), GibbsInfo(
            accepted, log_ratio
        )


class Measured:
    """Observables of the scalar field and of quarks in it, ``(k, batch)``; a joint field is measured by its scalar part.

    Attributes
    ----------
    names
        M, the mean field; abs M; chi_2 = V M^2; the condensate tr M^-1 / V times M, which is even in the field; the
        two-point function C(t) of the field summed over space for t = 0 ... T / 2; the quark propagator
        G(t) = (1 / V) sum M^-1(x, y) over sites with x_0 - y_0 = t, for odd t up to T / 2 (it is odd in phi for even t).
    """

    name = "measured"

    def __init__(self, operator: Yukawa) -> None:
        self.operator = operator
        extent = operator.lattice.shape[0]
        self.times = tuple(range(extent // 2 + 1))
        self.quark_times = tuple(t for t in self.times if t % 2)
        self.names = (
            "M",
            "abs M",
            "chi_2",
            "condensate M",
            *(f"C({t})" for t in self.times),
            *(f"G({t})" for t in self.quark_times),
        )

    @cached_property
    def _sources(self) -> Array:
        """D^-1 of sources that are one on a time slice, ``(volume, times)``: even sites, then odd ones."""
        lattice, p = self.operator.lattice, self.operator.propagator
        time = lattice.coordinates[0, :, 0]
        even, odd = (lattice.sites_of_parity(k) for k in (0, 1))
        slices = (time[:, None] == np.arange(lattice.shape[0])).astype(np.float64)
        result: Array = np.concatenate([-p.T @ slices[odd], p @ slices[even]])
        return result

    def __call__(self, x: Array) -> Array:
        phi = x[:, 0, :] if x.ndim == 3 else x
        lattice, g = self.operator.lattice, self.operator.coupling
        extent = lattice.shape[0]
        slices = phi.reshape(extent, -1, phi.shape[-1]).mean(axis=1)
        m = slices.mean(axis=0)
        scalar = [np.mean(slices * np.roll(slices, -t, axis=0), axis=0) * lattice.volume / extent for t in self.times]
        bound = self.operator.with_links(phi)
        even, odd = bound.halves()
        k, n = bound.dense()
        inverse = np.linalg.inv(n)
        p, half = bound.propagator, lattice.volume // 2
        trace = np.einsum("bij,bji->b", inverse, k) + np.einsum(
            "yx,yb,byx->b", p, odd, inverse @ p, optimize=["einsum_path", (0, 2), (0, 1)]
        )
        first, last = self._sources[:half], self._sources[half:]
        z_odd = inverse @ (last - g * p @ (even.T[:, :, None] * first))
        z_even = first + g * p.T @ (odd.T[:, :, None] * z_odd)
        z = np.empty((phi.shape[-1], lattice.volume, extent))
        z[:, lattice.sites_of_parity(0)], z[:, lattice.sites_of_parity(1)] = z_even, z_odd
        from_to = z.reshape(-1, extent, lattice.volume // extent, extent).mean(axis=2)  # (batch, sink, source)
        quark = []
        for t in self.quark_times:
            source = np.arange(extent)
            sign = np.where(source + t >= extent, -1.0, 1.0)  # antiperiodic
            quark.append(np.mean(sign * from_to[:, (source + t) % extent, source], axis=1))
        condensate = g * trace / lattice.volume
        return np.stack([m, np.abs(m), lattice.volume * m**2, condensate * m, *scalar, *quark])
