"""Training of couplings of blocks in two dimensions, each on its own, on pairs of loops.

Integrating over the links inside a cell of A plaquettes leaves a weight f_A of the loop around it, for any action that is
a sum over plaquettes: ``f_2A(p)`` is the mean of ``f_A(a) f_A(p - a)`` over all a.  A coupling of
:func:`gaugeflow.flows.block_chain` that takes a uniform a to the distribution ``f_A(a) f_A(p - a) / f_2A(p)`` for every p
is exact, whatever other couplings do.  Its log-weight, which then vanishes, is a function of two angles; the sum of its
squares over a grid is minimised.  Derivation: ``docs/derivations/circle.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from gaugeflow.flows import AngleFlow, LoopCoupling
from gaugeflow.lattice import Array
from gaugeflow.training import levenberg_marquardt
from gaugeflow.typing import Params

POINTS = 1024
"""Points of the circle at which weights of loops are known."""


def loop_weights(action: Callable[[Array], Array], count: int) -> list[CubicSpline]:
    """log f_A for A = 1, 2, 4, ..., of mean 1 over the circle, as periodic functions.

    Parameters
    ----------
    action
        Of one plaquette, of its angles.
    count
        How many.

    Notes
    -----
    Sums of positive numbers keep the relative precision of tails, which Fourier series lose.
    """
    angles = 2.0 * math.pi / POINTS * np.arange(POINTS + 1)
    energy = np.asarray(action(angles))
    weight = np.exp(np.min(energy) - energy)[:-1]
    differences = np.subtract.outer(np.arange(POINTS), np.arange(POINTS)) % POINTS
    found = []
    for _ in range(count):
        weight = weight / np.mean(weight)
        found.append(CubicSpline(angles, np.log(np.append(weight, weight[0])), bc_type="periodic"))
        weight = weight[differences] @ weight
    return found


@dataclass(frozen=True)
class Pairs:
    """Log-weights of one coupling on a grid of 0 < p < pi and 0 < x < pi; both signs of each are equal.

    Parameters
    ----------
    layer
        A coupling without further loops, whose network offers ``vjp_by_configuration``.
    cell, block
        log f_A and log f_2A.
    points
        Numbers of p and x.
    spread
        Share of the weight in training that is the same for all p; the rest is f_2A, the distribution of p.
    """

    layer: LoopCoupling
    cell: CubicSpline
    block: CubicSpline
    points: tuple[int, int] = (32, 64)
    spread: float = 0.1

    def _grid(self) -> tuple[Array, Array, Array, Array]:
        """p and x ``(points,)``, the probability of p, and that of x.

        Nodes of x are those of Gauss in the root of pi - x: the tails of sharp distributions lie at x close to pi.
        """
        p = math.pi / self.points[0] * (np.arange(self.points[0]) + 0.5)
        nodes, shares = np.polynomial.legendre.leggauss(self.points[1])
        root = 0.5 * (1.0 + nodes)
        density = np.exp(self.block(p))
        grid = np.meshgrid(p, math.pi * (1.0 - root**2), indexing="ij")
        weights = np.meshgrid(density / np.sum(density), shares * root, indexing="ij")
        return tuple(a.reshape(-1) for a in (*grid, *weights))

    def log_weights(self, params: Params) -> tuple[Array, Callable[[], Params]]:
        """Log-weights on the grid, and a function that gives their derivatives by the parameters."""
        p, x, _, _ = self._grid()
        net: Any = self.layer.net
        angle, _, features = self.layer.features(np.stack([0.5 * p - x, 0.5 * p + x])[:, None, :])
        raw = net.forward(params, features)
        moved = self.layer.circle.evaluate(raw, angle)
        a, b = 0.5 * p + moved.y[0], 0.5 * p - moved.y[0]

        def derivatives() -> Params:
            force = self.cell(a, 1) - self.cell(b, 1)
            raw_bar, _ = moved.pull_back(force[None, :], np.ones_like(moved.y))
            bars: Params = net.vjp_by_configuration(params, features, raw, raw_bar)[0]
            return bars

        return self.cell(a) + self.cell(b) - self.block(p) + moved.log_slope[0], derivatives

    def train(self, params: Params, steps: int) -> Params:
        """Parameters that make log-weights small, from others."""
        _, _, density, share = self._grid()
        root = np.sqrt(((1.0 - self.spread) * density + self.spread / self.points[0]) * share)

        def residuals(trial: Params) -> tuple[Array, Callable[[], Params]]:
            values, derivatives = self.log_weights(trial)
            factor = np.exp(0.5 * values)
            return 2.0 * root * (factor - 1.0), lambda: {n: root * factor * bar for n, bar in derivatives().items()}

        return levenberg_marquardt(residuals, params, steps=steps, enough=1e-7).params

    def loss(self, params: Params) -> float:
        """Mean of (w - 1)^2 over blocks, p distributed as on a large lattice."""
        values, _ = self.log_weights(params)
        _, _, density, share = self._grid()
        return float(np.sum(density * share * np.expm1(values) ** 2))


def pairs(flow: AngleFlow, action: Callable[[Array], Array]) -> dict[str, Pairs]:
    """The problems of all couplings of a chain of blocks, under the keys of their parameters."""
    layers: Sequence[LoopCoupling] = flow.flow.flows  # type: ignore[attr-defined]
    weights = loop_weights(action, len(layers) + 1)
    areas = [math.prod(layer.cell).bit_length() - 1 for layer in layers]
    return {
        str(i): Pairs(layer, weights[k], weights[k + 1]) for i, (layer, k) in enumerate(zip(layers, areas, strict=True))
    }
