"""Training of the moves of half loops, level by level, without a lattice.

A level is a pair (a, P): half and loop, both matrices.  Given P, the target wants a with density
``f_A(a) f_A(P a^dagger) / f_2A(P)``, all three known by the character expansion, so that the log-weight of a perfect level
is zero for every pair.  Levels share nothing but their loops: those of one are the halves that the level above it has made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve
from scipy.optimize import minimize

from gaugeflow import tree
from gaugeflow.flows import HalfLoop
from gaugeflow.flows.planar.spectral import Halved, spectrum
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng, haar_links
from gaugeflow.sites.matrix import add, dag_mul, mul, mul_dag
from gaugeflow.sites.numbers import Matrix
from gaugeflow.systems.loop_density import LoopDensity
from gaugeflow.typing import Params

Floats = npt.NDArray[np.float64]


def haar(rng: Rng, n: int, count: int) -> Matrix:
    """Haar-distributed matrices, entries ``(2, count / 2)``."""
    links = haar_links(rng, Lattice((2,)), n, count // 2)
    return tuple(links[0, :, i, j, :] for i in range(n) for j in range(n))


@dataclass(frozen=True)
class Level:
    """Pairs of Haar-distributed halves and given loops, and what the target wants of them.

    Parameters
    ----------
    half
        The moves.
    beta
        Coupling.
    area
        Area of the half.
    start, loops
        Matrices, entries of any common shape of two axes.
    """

    half: HalfLoop
    beta: float
    area: int
    start: Matrix
    loops: Matrix

    @cached_property
    def _known(self) -> Any:
        return spectrum(self.loops)

    @cached_property
    def _densities(self) -> tuple[LoopDensity, Floats]:
        """Density of the halves, and log-density of the loops."""
        n = self.half.n_colours
        return LoopDensity(n, self.beta, self.area), LoopDensity(n, self.beta, 2 * self.area).evaluate(self.loops)[0]

    def moved(self, params: Params) -> Halved:
        """The halves after their moves."""
        return self.half.evaluate(params, self.start, self.loops, self._known)

    def log_weight(self, params: Params) -> tuple[Floats, Halved, Matrix]:
        """Log-weights pair by pair, the moved halves and the gradient of the target with respect to them."""
        moved = self.moved(params)
        density, of_loops = self._densities
        other = mul_dag(self.loops, moved.half)
        (first, first_bar), (second, second_bar) = density.evaluate(moved.half), density.evaluate(other)
        through = dag_mul(other, mul(second_bar, other))  # w of a moves b = P a^dagger by -b w b^dagger
        gradient = add(first_bar, tuple(-entry for entry in through))
        return first + second - of_loops + moved.log_det, moved, gradient

    def divergence(self, params: Params) -> tuple[float, Params]:
        """Reverse Kullback-Leibler divergence, minus the mean of the log-weight, and its gradient."""
        weight, moved, gradient = self.log_weight(params)
        bar = np.full_like(weight, -1.0 / weight.size)
        return -float(np.mean(weight)), moved.pull_back(tuple(bar * g for g in gradient), bar)[0]

    def variance(self, params: Params) -> tuple[float, Params]:
        """Variance of the log-weight, and its gradient."""
        weight, moved, gradient = self.log_weight(params)
        deviation = weight - np.mean(weight)
        bar = deviation * (2.0 / (weight.size - 1))
        value = float(np.sum(deviation**2)) / (weight.size - 1)
        return value, moved.pull_back(tuple(bar * g for g in gradient), bar)[0]


def minimised(
    loss: Callable[[Params], tuple[float, Params]], params: Params, iterations: int, memory: int = 30
) -> dict[str, Any]:
    """Parameters after iterations of a quasi-Newton method (L-BFGS); the loss is a function, not an estimate."""

    def flat(values: Params) -> Floats:
        return np.concatenate([leaf.reshape(-1) for leaf in tree.flatten(values).values()])

    def function(vector: Floats) -> tuple[float, Floats]:
        value, gradient = loss(_parts(params, vector))
        return value, flat(gradient)

    options = {"maxiter": iterations, "maxcor": memory, "maxfun": 2 * iterations + 10}
    return _parts(params, minimize(function, flat(params), jac=True, method="L-BFGS-B", options=options).x)


def gauss_newton(level: Level, params: Params, iterations: int) -> dict[str, Any]:
    """Parameters after damped Gauss-Newton steps on the variance of the log-weight (Levenberg and Marquardt).

    The log-weight of every pair is linear in small changes of parameters; a step that does not lower the variance over the
    pairs is tried again with ten times the damping, at most six times.
    """
    pairs = replace(level, half=replace(level.half, by_site=True))
    now: dict[str, Any] = tree.map(lambda leaf: leaf, params)
    weight, moved, gradient = pairs.log_weight(now)
    damping = 1e-3
    for _ in range(iterations):
        bars = tree.flatten(moved.pull_back(gradient, np.ones_like(weight))[0])
        slopes = np.concatenate([bar.reshape(-1, weight.size) for bar in bars.values()])
        del bars
        slopes -= slopes.mean(axis=1, keepdims=True)
        matrix, rest = slopes @ slopes.T / weight.size, weight.reshape(-1) - np.mean(weight)
        vector = slopes @ rest / weight.size
        scale = np.diag(matrix) + 1e-12
        for _ in range(6):
            step = _parts(now, solve(matrix + np.diag(damping * scale + 1e-12), vector, assume_a="pos"))
            trial = tree.axpy(-1.0, step, now)
            new = pairs.log_weight(trial)
            if np.var(new[0]) < np.var(weight):
                now, (weight, moved, gradient), damping = trial, new, max(0.2 * damping, 1e-7)
                break
            damping *= 10.0
        else:
            break
    return now


def _parts(like: Params, vector: Floats) -> dict[str, Any]:
    """A vector of all numbers as a tree like another one."""
    place = 0

    def take(leaf: Any) -> Any:
        nonlocal place
        place += leaf.size
        return vector[place - leaf.size : place].reshape(leaf.shape)

    return tree.map(take, like)


class Fitted(NamedTuple):
    """Parameters of all levels, and for each the variance of its log-weight on pairs that it has not seen."""

    params: dict[str, Any]
    variances: tuple[float, ...]


def fit(
    halves: tuple[HalfLoop, ...],
    params: Params,
    beta: float,
    rng: Rng,
    stages: tuple[tuple[str, int, tuple[int, ...]], ...],
    held_out: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Fitted:
    """Train the levels of a chain, largest loops first.

    Parameters
    ----------
    halves, params
        Moves of all levels, of areas 2^(k - 1) ... 1, and their parameters, as for
        :func:`gaugeflow.flows.spectral_chain`.
    beta
        Coupling.
    rng
        Random numbers.
    stages
        Method, pairs, and for each level the number of iterations: a quasi-Newton method on the "divergence" or the
        "variance", or "Gauss-Newton" steps on the variance.
    held_out
        Pairs for the variances in the result.
    progress
        Called with the number of stages done and in all.
    """
    learned: dict[str, Any] = {str(i): params[str(i)] for i in range(len(halves))}
    variances = []

    def level(i: int, here: Rng, count: int) -> Level:
        n = halves[0].n_colours
        loops = haar(here.stream("loops"), n, count)
        for k in range(i):
            above = Level(halves[k], beta, 2 ** (len(halves) - 1 - k), haar(here.stream(k), n, count), loops)
            loops = above.moved(learned[str(k)]).half
        return Level(halves[i], beta, 2 ** (len(halves) - 1 - i), haar(here.stream(i), n, count), loops)

    for i in range(len(halves)):
        for k, (loss, count, iterations) in enumerate(stages):
            if iterations[i] > 0:
                pairs = level(i, rng.stream(f"stage {k}"), count)
                if loss == "Gauss-Newton":
                    learned[str(i)] = gauss_newton(pairs, learned[str(i)], iterations[i])
                else:
                    learned[str(i)] = minimised(getattr(pairs, loss), learned[str(i)], iterations[i])
            progress(i * len(stages) + k + 1, len(halves) * len(stages))
        weight, _, _ = level(i, rng.stream("held out"), held_out).log_weight(learned[str(i)])
        variances.append(float(np.var(weight)))
    return Fitted(learned, tuple(variances))
