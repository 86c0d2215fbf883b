"""Smearing of the links around active ones towards the group, all of it polynomial, with first and second derivatives.

Active links are replaced by the mean of their staples, then ``steps`` times ``V <- h(V + S + kappa V S^dagger V)`` with
S = eta times the sum of staples and ``h(V) = (3 V - V V^dagger V) / 2``, a Newton-Schulz step towards unitary matrices:
for kappa = -1 these are stout steps with rho = 2 eta (hep-lat/0311018) up to higher orders.  The steps and all their
derivatives are those of :mod:`gaugeflow.kernels.smearing`; see ``docs/derivations/smeared.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace

Active = tuple[tuple[int, Any], ...]
"""Links that move together: direction and block sites of each set.  No plaquette holds two of them."""


Weights = list[list[float]]
"""For each gradient the weight of the plane (mu, nu) at ``mu * ndim + nu``."""


class Stages(NamedTuple):
    """Links V_0, V_1, ...; sums of staples of which each was made (None at index 0); means that fill V_0."""

    links: list[Array]
    staples: list[Array | None]
    means: list[Array]


class Gradient(NamedTuple):
    """Matrix cotangents of the active links of V_0, and of all links of V_1, ..., V_m, with conjugate cotangents of the
    staples of which those were made: None where there is none or none was kept, and at index 0."""

    active: list[Array]
    links: list[Array | None]
    staples: list[Array | None]


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
        result = Stages([first], [None], means)
        for k in range(1, max(self.steps, self.gradient_steps[-1]) + 1):
            smeared, staples = kernels.smear_step(lattice, result.links[-1], self.eta[k - 1], self.kappa)
            result.links.append(smeared)
            result.staples.append(staples)
        return result

    # ---- the gradient of the smeared plaquettes --------------------------------------------------------------------
    def gradient(
        self, lattice: Lattice, stages: Stages, weights: Weights, active: Active, keep: bool = False
    ) -> Gradient:
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
        keep
            Whether to return what :meth:`pull_back` needs, two link fields for each step, with the gradient.
        """
        top = self.gradient_steps[-1]
        links_bar: list[Array | None] = [None] * (top + 1)
        staples_bar: list[Array | None] = [None] * (top + 1)
        by_level = dict(zip(self.gradient_steps, weights, strict=True))
        bar = None
        for k in range(top, 0, -1):
            links = stages.links[k - 1]
            if any(by_level.get(k, ())):
                bar = kernels.plaquette_gradient(lattice, stages.links[k], by_level[k], _or_zeros(bar, links))
            if bar is None:
                continue
            along, own = kernels.smear_step_pull(lattice, links, stages.staples[k], self.kappa, bar)
            if keep:
                links_bar[k], staples_bar[k] = bar, along
            bar = kernels.plaquette_hessian(lattice, links, self.eta[k - 1], along, own) if k > 1 else own
        rows = []
        for mu, sites in active:
            row = 0.0 * active_rows(stages.links[0], mu, sites)
            if any(by_level.get(0, ())):
                weight = by_level[0][mu * lattice.ndim : (mu + 1) * lattice.ndim]
                row = _conjugate(kernels.path_sum(lattice, stages.links[0], mu, sites, weight))
            if bar is not None:
                arguments = (lattice, stages.links[0], self.eta[0], along, bar, mu, sites)
                row = row + kernels.plaquette_hessian_active(*arguments)
            rows.append(row)
        return Gradient(rows, links_bar, staples_bar)

    def along(self, lattice: Lattice, stages: Stages, direction: Array) -> Iterator[tuple[Array, Array | None]]:
        """Changes of V_k, k = 0, 1, ..., the last gradient's, and of the staples of which each was made, when V_0 moves
        along a direction."""
        links, staples = direction, None
        yield links, staples
        for k in range(1, self.gradient_steps[-1] + 1):
            before = (lattice, stages.links[k - 1], stages.staples[k], self.eta[k - 1], self.kappa)
            links, staples = kernels.smear_step_along(*before, links)
            yield links, staples

    def plaquettes_along(self, lattice: Lattice, stages: Stages, direction: Array) -> Array:
        """Changes of the sums of Re tr P(V_m) when V_0 moves along a direction, ``(n_levels, n_planes, batch)``."""
        xp = array_namespace(direction)
        changes = enumerate(self.along(lattice, stages, direction))
        levels = self.gradient_steps
        return xp.stack([kernels.plaquette_along(lattice, stages.links[k], v) for k, (v, _) in changes if k in levels])

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
        moves = list(self.along(lattice, stages, direction))
        plane_bar = [kernels.plaquette_along(lattice, stages.links[m], moves[m][0]) for m in levels]
        total = None
        for k in range(max(self.steps, top), -1, -1):
            if k == self.steps:
                total = bar if total is None else total + bar
            if any(by_level.get(k, ())):
                given = (lattice, stages.links[k], by_level[k], moves[k][0])
                total = kernels.plaquette_hessian(*given, _or_zeros(total, bar))
            if k == 0 or total is None:
                continue
            links, eta = stages.links[k - 1], self.eta[k - 1]
            pulled = (lattice, links, stages.staples[k], self.kappa)
            if k > top or gradient.links[k] is None:
                staples_bar, own = kernels.smear_step_pull(*pulled, total)
                total = kernels.plaquette_hessian(lattice, links, eta, staples_bar, own)
            else:
                move = moves[k - 1][0]
                along = (gradient.links[k], move, moves[k][1], total)
                staples_bar, own = kernels.smear_step_pull_along(*pulled, *along)
                along = (move, gradient.staples[k], staples_bar, own)
                total = kernels.plaquette_hessian_along(lattice, links, eta, *along)
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


def _or_zeros(field: Array | None, like: Array) -> Array:
    return array_namespace(like).zeros_like(like) if field is None else field


def _conjugate(rows: Array) -> Array:
    """Hermitian conjugates of matrices ``(rows, N, N, lanes)``."""
    xp = array_namespace(rows)
    return xp.conj(xp.permute_dims(rows, (0, 2, 1, 3)))
