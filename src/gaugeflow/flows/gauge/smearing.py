"""Smearing of the links around active ones towards the group, all of it polynomial, with first and second derivatives.

Active links are replaced by the mean of their staples, then ``steps`` times ``V <- h(V + S + kappa V S^dagger V)`` with
S = eta times the sum of staples and ``h(V) = (3 V - V V^dagger V) / 2``, a Newton-Schulz step towards unitary matrices:
for kappa = -1 these are stout steps with rho = 2 eta (hep-lat/0311018) up to higher orders.  Derivatives of gradients
are slopes of polynomials, taken exactly from a few of their values; see ``docs/derivations/smeared.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from array_api_compat import array_namespace

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.lattice import Array, Lattice

# Weights of f(k h) - f(-k h), k = 1, 2, ..., in h f'(0): exact for polynomials of degree 2, 4 and 6
_STENCILS = {2: (1.0 / 2.0,), 4: (8.0 / 12.0, -1.0 / 12.0), 6: (45.0 / 60.0, -9.0 / 60.0, 1.0 / 60.0)}


Active = tuple[tuple[int, Any], ...]
"""Links that move together: direction and block sites of each set.  No plaquette holds two of them."""


Weights = list[list[float]]
"""For each gradient the weight of the plane (mu, nu) at ``mu * ndim + nu``."""


class Stages(NamedTuple):
    """Links V_0, V_1, ...; the same before their Newton-Schulz step (index 0 is not used); means that fill V_0."""

    links: list[Array]
    raw: list[Array]
    means: list[Array]


class Gradient(NamedTuple):
    """Matrix cotangents of the active links of V_0, and of all links of V_1, ..., V_m after and before their
    Newton-Schulz step (index 0 of the last two is not used)."""

    active: list[Array]
    links: list[Array]
    raw: list[Array]


def slope(function: Callable[[Array], Array], at: Array, along: Array, degree: int) -> Array:
    """Derivative at 0 of ``function(at + e along)``, a polynomial in e of at most this degree (2, 4 or 6)."""
    xp = array_namespace(at)
    size = 2.0 * float(xp.max(xp.abs(along)))
    if size == 0.0:
        return 0.0 * function(at)
    unit = along / size
    total = None
    for k, weight in enumerate(_STENCILS[degree], start=1):
        part = (function(at + k * unit) - function(at - k * unit)) * (weight * size)
        total = part if total is None else total + part
    return total


@dataclass(frozen=True)
class Smearing:
    """Smeared links of which the loops of a layer are made.

    Parameters
    ----------
    eta
        Weight of a staple in each step.
    steps
        Steps n of the smeared links V_n in staples and loops.
    gradient_steps
        The gradients are those of the plaquettes of V_m for each of these m, in increasing order.
    kappa
        Weight of loop times link relative to the staples.
    mean_staple
        Size of a staple by which the mean that fills an active link is divided.
    """

    eta: tuple[float, ...] = (0.055,) * 4
    steps: int = 3
    gradient_steps: tuple[int, ...] = (2, 4)
    kappa: float = -1.0
    mean_staple: float = 0.7

    def __post_init__(self) -> None:
        require_finite(self, "eta", "kappa", "mean_staple")
        most = len(self.eta)
        if not 0 <= self.steps <= most:
            raise ValueError(f"steps: expected 0 ... {most}, the number of eta, got {self.steps}")
        levels = self.gradient_steps
        if not levels or levels[0] < 0 or levels[-1] > most or any(a >= b for a, b in pairwise(levels)):
            raise ValueError(
                f"gradient_steps: expected increasing numbers 0 ... {most}, the number of eta, got {levels}"
            )
        if self.mean_staple <= 0.0:
            raise ValueError(f"mean_staple: expected a positive number, got {self.mean_staple}")

    @classmethod
    def with_gradients(cls, gradient_steps: tuple[int, ...]) -> Smearing:
        """The default, but with gradients of these numbers of smearing steps; cost grows in proportion to the last."""
        own = cls()
        most = max(own.steps, *gradient_steps)
        return cls(eta=own.eta[:1] * most, gradient_steps=gradient_steps)

    def _fill_weight(self, lattice: Lattice) -> float:
        return 1.0 / (2.0 * max(lattice.ndim - 1, 1) * self.mean_staple)

    def stages(self, lattice: Lattice, links: Array, active: Active) -> Stages:
        """The links of every stage; they depend on frozen links only."""
        xp = array_namespace(links)
        first = xp.asarray(links, copy=True)
        means = []
        for mu, sites in active:
            means.append(kernels.path_sum(lattice, links, mu, sites, self._fill_weight(lattice)))
            first = kernels.overwrite(lattice, first, mu, sites, kernels.newton_schulz(lattice, means[-1]))
        result = Stages([first], [first], means)
        for k in range(1, max(self.steps, self.gradient_steps[-1]) + 1):
            result.raw.append(self._smear(lattice, k, result.links[-1]))
            result.links.append(_unitarise(lattice, result.raw[-1]))
        return result

    def _smear(self, lattice: Lattice, k: int, links: Array) -> Array:
        """V_k before its Newton-Schulz step from V_(k-1)."""
        return kernels.smear(lattice, links, self.eta[k - 1], self.kappa)

    def _smear_vjp(self, lattice: Lattice, k: int, links: Array, bar: Array) -> Array:
        return kernels.smear_vjp(lattice, links, self.eta[k - 1], self.kappa, bar)[0]

    # ---- the gradient of the smeared plaquettes --------------------------------------------------------------------
    def gradient(self, lattice: Lattice, stages: Stages, weights: Weights, active: Active) -> Gradient:
        """Gradient of the sum of Re tr P(V_m) over plaquettes and levels m.

        Parameters
        ----------
        lattice, stages
            The lattice and what :meth:`stages` gave.
        weights
            For each of ``gradient_steps`` those of ``kernels.plaquette_gradient``; levels above the last that has a
            weight cost nothing.
        active
            Links with respect to which the gradient is wanted.
        """
        xp = array_namespace(stages.links[0])
        top = self.gradient_steps[-1]
        nought = xp.zeros_like(stages.links[0])
        links_bar, raw_bar = [nought] * (top + 1), [nought] * (top + 1)
        by_level = dict(zip(self.gradient_steps, weights, strict=True))
        for k in range(top, -1, -1):
            if any(by_level.get(k, ())):
                part = kernels.plaquette_gradient(lattice, stages.links[k], by_level[k])
                links_bar[k] = part if links_bar[k] is nought else links_bar[k] + part
            if k > 0 and links_bar[k] is not nought:
                raw_bar[k] = _unitarise_vjp(lattice, stages.raw[k], links_bar[k])
                if k > 1:
                    links_bar[k - 1] = self._smear_vjp(lattice, k, stages.links[k - 1], raw_bar[k])
        rows = [active_rows(links_bar[0], mu, sites) for mu, sites in active]
        if top > 0 and raw_bar[1] is not nought:
            arguments = (lattice, stages.links[0], self.eta[0], self.kappa, raw_bar[1])
            pulled = [kernels.smear_vjp_active(*arguments, mu, sites) for mu, sites in active]
            rows = [row + part for row, part in zip(rows, pulled, strict=True)]
        return Gradient(rows, links_bar, raw_bar)

    def pull_back(
        self, lattice: Lattice, stages: Stages, weights: Weights, gradient: Gradient, direction: Array, bar: Array
    ) -> tuple[Array, Array]:
        """Cotangent of V_0 from those of V_n and of the gradient.

        Parameters
        ----------
        lattice, stages, weights, gradient
            What :meth:`stages` and :meth:`gradient` were given and gave.
        direction
            Cotangents of ``gradient.active``, link-shaped and zero at frozen links.
        bar
            Cotangents of V_n, n = ``steps``.

        Returns
        -------
        links_bar, plane_bar : Array
            Cotangents of V_0, and of the weight of each level and plane, ``(n_levels, n_planes, batch)``.
        """
        xp = array_namespace(bar)
        levels, top = self.gradient_steps, self.gradient_steps[-1]
        by_level = dict(zip(levels, weights, strict=True))
        # Along V_0 + e direction: the derivatives of every stage
        along, raw_along = [direction], [direction]
        for k in range(1, top + 1):
            move = slope(partial(self._smear, lattice, k), stages.links[k - 1], along[-1], 6)
            raw_along.append(move)
            along.append(slope(lambda v: _unitarise(lattice, v), stages.raw[k], move, 4))
        plane_bar = [slope(lambda v: _plaquette_sums(lattice, v), stages.links[m], along[m], 4) for m in levels]
        total = xp.zeros_like(bar)
        for k in range(max(self.steps, top), -1, -1):
            if k == self.steps:
                total = total + bar
            if any(by_level.get(k, ())):
                pull = partial(kernels.plaquette_gradient, lattice, weight=by_level[k])
                total = total + slope(pull, stages.links[k], along[k], 4)
            if k == 0:
                break
            raw_bar = _unitarise_vjp(lattice, stages.raw[k], total)
            if k <= top:
                pull = partial(_unitarise_vjp, lattice, bar=gradient.links[k])
                raw_bar = raw_bar + slope(pull, stages.raw[k], raw_along[k], 2)
            total = self._smear_vjp(lattice, k, stages.links[k - 1], raw_bar)
            if k <= top:
                pull = partial(self._smear_vjp, lattice, k, bar=gradient.raw[k])
                total = total + slope(pull, stages.links[k - 1], along[k - 1], 4)
        return total, xp.stack(plane_bar)

    def fill_vjp(
        self, lattice: Lattice, links: Array, active: Active, stages: Stages, bar: Array, total: Array
    ) -> Array:
        """``total`` (consumed) plus the cotangents of links that follow from those of V_0, ``bar`` (consumed)."""
        means_bar = []
        for (mu, sites), mean in zip(active, stages.means, strict=True):
            filled_bar = active_rows(bar, mu, sites)
            means_bar.append(kernels.newton_schulz_vjp(lattice, mean, filled_bar))
            bar = kernels.overwrite(lattice, bar, mu, sites, 0.0 * filled_bar)
        total = total + bar
        for (mu, sites), mean_bar in zip(active, means_bar, strict=True):
            total, _ = kernels.path_sum_vjp(lattice, links, mu, sites, self._fill_weight(lattice), mean_bar, total)
        return total


def active_rows(field: Array, mu: int, sites: Any) -> Array:
    """Rows of a link-shaped field, ``(n_active, N, N, lanes)``."""
    xp = array_namespace(field)
    return xp.take(field[mu, ...], xp.asarray(sites, dtype=xp.int64), axis=0)


def _unitarise(lattice: Lattice, links: Array) -> Array:
    xp = array_namespace(links)
    d, v, *rest = links.shape
    return xp.reshape(kernels.newton_schulz(lattice, xp.reshape(links, (d * v, *rest))), links.shape)


def _unitarise_vjp(lattice: Lattice, links: Array, bar: Array) -> Array:
    xp = array_namespace(links)
    d, v, *rest = links.shape
    flat = (d * v, *rest)
    return xp.reshape(kernels.newton_schulz_vjp(lattice, xp.reshape(links, flat), xp.reshape(bar, flat)), links.shape)


def _plaquette_sums(lattice: Lattice, links: Array) -> Array:
    return kernels.plaquette(lattice, links) * (links.shape[2] * lattice.volume)
