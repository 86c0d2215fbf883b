"""Joint samplers of links and pseudofermions: factors of det(D)^2, their conditional flows, log-weights and fits.

The log-weight of a joint sample is that of the links alone, for a target without quarks, plus ``|eta|^2 - S + log det C`` for
every factor.  With another map C weights fluctuate more, but their mean over eta is always the determinant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gaugeflow.determinants import log_det
from gaugeflow.errors import ConvergenceError
from gaugeflow.flows import HoppingSeries
from gaugeflow.kernels import fermion_dot
from gaugeflow.lattice import Array
from gaugeflow.operators import Wilson, gaussian
from gaugeflow.random import Rng
from gaugeflow.solvers import cg
from gaugeflow.training import levenberg_marquardt
from gaugeflow.typing import Params


@dataclass(frozen=True)
class Walks:
    """Traces of powers of K = kappa^2 H_oe H_eo, ``(order + 1, batch)``, of some links."""

    kappa: float
    values: Array


def count_walks(operator: Wilson, order: int, links: Array) -> Walks:
    """Traces for all series of at most this order in double hops."""
    return Walks(_kappa(operator), HoppingSeries(operator, order).traces(links))


def _kappa(operator: Any) -> float:
    if not isinstance(operator, Wilson) or operator.kappa is None:
        raise ValueError(f"expected a Wilson operator in the kappa form, got {operator.label}")
    return operator.kappa


@dataclass(frozen=True)
class Factor:
    """det(M)^2, or det(M / M_heavy)^2, as pseudofermions with S = |M^-dagger M_heavy^dagger phi|^2, and their conditional flow.

    Parameters
    ----------
    flow
        The conditional flow: its operator is D.
    heavy
        The heavier operator of a ratio.
    tolerance
        Residual of solutions; S has its square as an error.
    """

    flow: HoppingSeries
    heavy: Wilson | None = None
    tolerance: float = 1e-7

    def _both(self, links: Array) -> tuple[Any, Any]:
        heavy = None if self.heavy is None else replace(self.flow, operator=self.heavy).matrix(links)
        return self.flow.matrix(links), heavy

    def action(self, links: Array, phi: Array) -> Array:
        """S, ``(batch,)``."""
        light, heavy = self._both(links)
        b = phi if heavy is None else heavy.adjoint(phi)
        x = cg(light, b, tolerance=self.tolerance).x
        image = light.apply(x)
        lattice = self.flow.lattice
        return np.asarray(2.0 * fermion_dot(lattice, b, x).real - fermion_dot(lattice, image, image).real)

    def traces(self, walks: Walks) -> Array:
        """Re tr K^k of the flow, ``(order + 1, batch)``: hops of all factors are the same up to kappa.

        Without preconditioning odd powers have no closed walks, and even ones count those of either parity.
        """
        flow = self.flow
        ratio = (_kappa(flow.operator) / walks.kappa) ** 2
        count = flow.order if flow.preconditioned else flow.order // 2
        rows = np.stack([walks.values[k] * ratio**k for k in range(count + 1)])
        if flow.preconditioned:
            return rows
        every = np.zeros((flow.order + 1, rows.shape[1]))
        every[::2] = 2.0 * rows
        return every

    def draw(self, rng: Rng, params: Params, links: Array, walks: Walks) -> tuple[Array, Array]:
        """Pseudofermions and their part of the log-weight, ``|eta|^2 - S + log det C``."""
        eta = gaussian(rng, self.flow.matrix(links))
        phi = self.flow.apply(params, links, eta)
        value = self.action(links, phi)
        change = 2.0 * params["c"] @ self.traces(walks)
        return phi, fermion_dot(self.flow.lattice, eta, eta).real - value + change

    def exact(self, links: Array) -> Array:
        """What the mean of exp of that part is the exponential of: log of the factor of the weight, ``(batch,)``."""
        light = log_det(self.flow.operator.with_links(links)).log_abs
        if self.heavy is not None:
            light = light - log_det(self.heavy.with_links(links)).log_abs
        return np.asarray(2.0 * light)

    def fit(self, rng: Rng, links: Array, weights: Array, walks: Walks, draws: int = 2, steps: int = 12) -> Params:
        """Coefficients of the flow for which weights at fixed links are nearly equal.

        Parameters
        ----------
        rng
            For the noise.
        links, weights
            Configurations and their shares in the target distribution.
        walks
            Closed walks of these links.
        draws, steps
            Noise fields of every configuration; steps of the method of Levenberg and Marquardt from the Taylor series.

        Notes
        -----
        Minimised is the mean of ``4 (exp(x / 2) - 1)^2`` with x the logarithm of the weight over the exact factor.  Near
        perfection that is the variance of x, and it is bounded where a mode of a configuration is out of reach.  M, M_heavy and
        C are functions of the same hops: S = |C z|^2 with z = M^-dagger M_heavy^dagger eta needs one solution only.
        """
        exact, traces = self.exact(links), self.traces(walks)
        lattice = self.flow.lattice
        light, heavy = self._both(links)
        etas = [gaussian(rng.at(k), light) for k in range(draws)]
        images = []
        for eta in etas:
            b = eta if heavy is None else heavy.adjoint(eta)
            images.append(light.apply(cg(light, b, tolerance=self.tolerance).x))
        root = np.sqrt(np.tile(weights / (draws * np.sum(weights)), draws))

        def residuals(trial: Params) -> tuple[Array, Callable[[], Params]]:
            logs, rows = [], []
            for eta, image in zip(etas, images, strict=True):
                try:
                    moved = self.flow.apply(trial, links, image)
                except ConvergenceError:  # a step far too long, which is not taken
                    return np.full(root.shape, 1e100), dict
                value = fermion_dot(lattice, moved, moved).real
                change = 2.0 * trial["c"] @ traces
                logs.append(fermion_dot(lattice, eta, eta).real - value + change - exact)
                rows.append(2.0 * (traces - self.flow.by_coefficients(links, moved, moved)))
            factor = np.exp(0.5 * np.minimum(np.concatenate(logs), 20.0))
            slopes = root * factor * np.concatenate(rows, axis=1)
            return 2.0 * root * (factor - 1.0), lambda: {"c": slopes}

        return levenberg_marquardt(residuals, self.flow.init(), steps=steps).params


def hasenbusch(operator: Wilson, order: int, count: int) -> tuple[Factor, ...]:
    """Even-odd preconditioned factors of det(D)^2 that share the first neglected term of the hopping series equally.

    Parameters
    ----------
    operator
        D in the kappa form.
    order
        Of all series.
    count
        Number of factors: one is plain even-odd preconditioning, two have one heavier operator.
    """
    shares = [(1.0 - j / count) ** (0.5 / (order + 1)) for j in range(count)]
    chain = [replace(operator, kappa=_kappa(operator) * share) for share in shares]
    heavier: Sequence[Wilson | None] = (*chain[1:], None)
    return tuple(Factor(HoppingSeries(one, order), other) for one, other in zip(chain, heavier, strict=True))


def plain(operator: Wilson, order: int) -> tuple[Factor, ...]:
    """det(D)^2 without preconditioning; the same number of hops as ``hasenbusch`` at this order."""
    return (Factor(HoppingSeries(operator, 2 * order, preconditioned=False)),)
