"""Training with few parameters: damped Gauss-Newton steps on the variance of the log-weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from array_api_compat import array_namespace

from gaugeflow import tree
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
    floor: float = 0.0,
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
    dampings, floor
        See :func:`gaugeflow.training.fit_linear`.

    Returns
    -------
    GaussNewton

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
        trial = _moved(leaves, fit_linear(slopes, values, damping=damping, floor=floor).coefficients)
        after.append(variance(trial))
        if after[-1] < min([before, *after[:-1]]):
            best = trial
    return GaussNewton(best, before, tuple(after))


def _moved(leaves: dict[str, Array], coefficients: Array) -> Params:
    """Parameters minus a vector of all of them."""
    moved, place = {}, 0
    for name, leaf in leaves.items():
        part = coefficients[place : place + leaf.size]
        moved[name] = leaf - array_namespace(leaf).reshape(part, leaf.shape)
        place += leaf.size
    return tree.unflatten(moved)
