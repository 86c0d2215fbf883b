"""Gauge-covariant convolution of the links around active ones: smearing that never sees an active link."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace


@dataclass(frozen=True)
class Convolution:
    """``steps`` applications of ``V = U + S + kappa U S^dagger U`` (S = eta times the sum of staples), normalised.

    Parameters
    ----------
    steps
        Number of applications; 0 leaves the links as they are.
    eta, kappa
        Weight of a staple, and of loop times link relative to it (-1 is the linearised stout step).  A flow can take them
        as parameters.
    fill
        Replace active links by the mean of their staples first, so that all planes can be smeared; otherwise only
        planes without the active direction are.

    Notes
    -----
    Source: the convolved links of arXiv 2401.10874.  The result depends on frozen links only; entries of active links
    mean nothing.
    """

    steps: int = 0
    eta: float = 0.125
    kappa: float = -1.0
    fill: bool = True

    def __post_init__(self) -> None:
        require_finite(self, "eta", "kappa")
        if self.steps < 0:
            raise ValueError(f"steps: expected a non-negative integer, got {self.steps}")

    @property
    def plain(self) -> bool:
        """Whether the links are left as they are."""
        return self.steps == 0

    def _weights(self, lattice: Lattice, mu: int) -> list[float]:
        d = lattice.ndim
        pairs = [(nu, rho) for nu in range(d) for rho in range(d)]
        return [self.eta if nu != rho and (self.fill or mu not in (nu, rho)) else 0.0 for nu, rho in pairs]

    def _fill_weight(self, lattice: Lattice) -> list[float]:
        return [1.0 / (2 * (lattice.ndim - 1))] * lattice.ndim

    def _stages(self, lattice: Lattice, links: Array, mu: int, sites: Any) -> list[Array]:
        """The links with active ones filled, and after each application."""
        start = links
        if self.fill:
            xp = array_namespace(links)
            rows = kernels.path_sum(lattice, links, mu, sites, self._fill_weight(lattice))
            start = kernels.overwrite(lattice, xp.asarray(links, copy=True), mu, sites, rows)
        stages = [start]
        for _ in range(self.steps):
            stages.append(kernels.smear(lattice, stages[-1], self._weights(lattice, mu), self.kappa))
        return stages

    def forward(self, lattice: Lattice, links: Array, mu: int, sites: Any) -> Array:
        """Smeared links of the same shape; ``links`` themselves without steps."""
        return links if self.plain else self._stages(lattice, links, mu, sites)[-1]

    def vjp(
        self, lattice: Lattice, links: Array, mu: int, sites: Any, bar: Array, total: Array
    ) -> tuple[Array, Array, Array]:
        """Pull back the matrix cotangents ``bar`` of the smeared links.

        Returns
        -------
        total, eta_bar, kappa_bar : Array
            ``total`` plus the cotangents of ``links``; cotangents of eta and of kappa, ``(batch,)`` float64.
        """
        xp = array_namespace(links)
        eta_bar = kappa_bar = xp.zeros((lattice.batch(links.shape[-1]),), dtype=xp.float64)
        if self.plain:
            return total + bar, eta_bar, kappa_bar
        stages = self._stages(lattice, links, mu, sites)
        weights = self._weights(lattice, mu)
        for before, after in reversed(list(pairwise(stages))):
            loops = kernels.smear(lattice, before, weights, self.kappa + 1.0) - after  # V is linear in kappa
            kappa_bar = kappa_bar - 0.5 * kernels.inner(lattice, bar, loops)  # Re tr(bar loops)
            bar, plane_bar = kernels.smear_vjp(lattice, before, weights, self.kappa, bar)
            for k, weight in enumerate(weights):
                if weight != 0.0:
                    eta_bar = eta_bar + plane_bar[k, ...]
        if self.fill:
            xp = array_namespace(links)
            rows_bar = xp.take(bar[mu, ...], xp.asarray(sites, dtype=xp.int64), axis=0)
            bar = kernels.overwrite(lattice, bar, mu, sites, rows_bar * 0.0)
            total, _ = kernels.path_sum_vjp(lattice, links, mu, sites, self._fill_weight(lattice), rows_bar, total)
        return total + bar, eta_bar, kappa_bar
