"""Training with few parameters: damped Gauss-Newton steps on the variance of the log-weight, and on sums of squares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from gaugeflow import tree
from gaugeflow.namespaces import array_namespace
from gaugeflow.training.least_squares import fit_linear
from gaugeflow.training.loss import log_weight
from gaugeflow.typing import Action, Array, Params

DAMPINGS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


class GaussNewton(NamedTuple):
    """New parameters; variance of the log-weight on held-out configurations before, and after with each damping."""

    params: Params
    before: float
    after: tuple[float, ...]


def gauss_newton(
    flow: Any,
    params: Params,
    source: Action,
    target: Action,
    batches: Iterable[Array],
    held_out: Sequence[Array],
    *,
    dampings: Sequence[float] = DAMPINGS,
) -> GaussNewton:
    """One step: the log-weight is linear in small changes of the parameters, and its variance quadratic.

    A step costs one forward and one VJP of every configuration, and replaces hundreds of steps of a gradient method
    where parameters are few and of very different importance.  Where combinations of parameters hardly matter, the
    undamped step is far too long: of several dampings that one is taken which is best on held-out configurations, or none.

    Parameters
    ----------
    flow, params
        A flow that offers ``vjp_by_configuration``, and its parameters.
    source, target
        Actions; configurations are distributed as exp(-source).
    batches
        Fields, more configurations than parameters.
    held_out
        Fields that decide.
    dampings
        See :func:`gaugeflow.training.fit_linear`.

    Returns
    -------
    GaussNewton
        The best parameters, and how the sum of squares fell.

    Raises
    ------
    ValueError
        If there are too few configurations.
    """
    leaves = tree.flatten(params)
    rows, weights = [], []
    for x in batches:
        y, weight = log_weight(flow, params, source, target, x)
        xp = array_namespace(weight)
        bars, _ = flow.vjp_by_configuration(params, x, y, -target.grad(y), xp.ones_like(weight))
        flat = tree.flatten(bars)
        rows.append(xp.concat([xp.reshape(flat[name], (-1, weight.shape[0])) for name in leaves]))
        weights.append(weight)
    if not rows or not held_out:
        raise ValueError("gauss_newton: expected at least one batch and one that is held out, got none")
    xp = array_namespace(weights[0])
    slopes, values = xp.concat(rows, axis=1), xp.concat(weights)

    def variance(trial: Params) -> float:
        found = xp.concat([log_weight(flow, trial, source, target, x)[1] for x in held_out])
        result = float(xp.mean((found - xp.mean(found)) ** 2))
        return result if result == result else float("inf")

    best, before = params, variance(params)
    after: list[float] = []
    for damping in dampings:
        trial = _moved(leaves, fit_linear(slopes, values, damping=damping).coefficients)
        after.append(variance(trial))
        if after[-1] < min([before, *after[:-1]]):
            best = trial
    return GaussNewton(best, before, tuple(after))


class Squares(NamedTuple):
    """Parameters at the end, and the sum of squares before the first and after each step that was taken."""

    params: Params
    sums: tuple[float, ...]


def levenberg_marquardt(
    function: Callable[[Params], tuple[Array, Callable[[], Params]]],
    params: Params,
    *,
    steps: int = 60,
    enough: float = 0.0,
    floor: float = 1e-2,
) -> Squares:
    """Minimise a sum of squares; the damping follows the ratio of the true gain to that of the linear model.

    Parameters
    ----------
    function
        Takes parameters to residuals ``(n,)`` and a function that gives their derivatives, shaped as the parameters with a
        last axis ``n``.
    params
        Where to start.
    steps
        Number of evaluations.
    enough
        Sum of squares below which nothing more is done.
    floor
        Steps are damped in units of the size of the derivatives by each parameter, taken to be no smaller than this
        times the largest: parameters that do nothing yet are not sent far away.

    Notes
    -----
    The rule for the damping is that of H. B. Nielsen (report IMM-REP-1999-05).
    """
    leaves, sums = tree.flatten(params), []
    residuals, derivatives = function(params)
    xp = array_namespace(residuals)
    sums.append(float(residuals @ residuals))
    damping, growth, stale = 1e-2, 2.0, True
    for _ in range(steps):
        if sums[-1] <= enough:
            break
        if stale:
            flat = tree.flatten(derivatives())
            rows = xp.concat([xp.reshape(flat[name], (-1, residuals.shape[0])) for name in leaves])
            size = xp.sqrt(xp.sum(rows**2, axis=1))
            size = xp.maximum(size, floor * xp.max(size))
            rows = rows / size[:, None]
            normal, slope = rows @ rows.T, rows @ residuals
        step = xp.linalg.solve(normal + damping * xp.eye(slope.shape[0]), slope)
        trial = _moved(tree.flatten(params), step / size)
        tried, tried_derivatives = function(trial)
        total = float(tried @ tried)
        stale = total < sums[-1]
        if stale:
            gain = (sums[-1] - total) / float(step @ (damping * step + slope))
            damping, growth = damping * max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3), 2.0
            params, residuals, derivatives = trial, tried, tried_derivatives
            sums.append(total)
        else:
            damping, growth = damping * growth, 2.0 * growth
    return Squares(params, tuple(sums))


def _moved(leaves: dict[str, Array], coefficients: Array) -> Params:
    """Parameters minus a vector of all of them."""
    moved, place = {}, 0
    for name, leaf in leaves.items():
        part = coefficients[place : place + leaf.size]
        moved[name] = leaf - array_namespace(leaf).reshape(part, leaf.shape)
        place += leaf.size
    return tree.unflatten(moved)
