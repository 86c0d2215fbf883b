"""Training with few parameters: Gauss-Newton steps on the variance of the log-weight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from array_api_compat import array_namespace

from gaugeflow import tree
from gaugeflow.training.least_squares import fit_linear
from gaugeflow.training.loss import log_weight
from gaugeflow.typing import Action, Array, Params


class GaussNewton(NamedTuple):
    """New parameters, the log-weights before, and the variance that the linear model expects after the step."""

    params: Params
    log_weight: Array
    expected_variance: float


def gauss_newton(
    flow: Any, params: Params, source: Action, target: Action, batches: Iterable[Array], *, cut: float = 1e-8
) -> GaussNewton:
    """One step: the log-weight is linear in small changes of the parameters, and its variance quadratic.

    A step costs one forward and one VJP of every configuration, and replaces hundreds of steps of a gradient method
    where parameters are few and of very different importance.

    Parameters
    ----------
    flow, params
        A flow that offers ``vjp_by_configuration``, and parameters near an optimum.
    source, target
        Actions; ``batches`` are distributed as exp(-source).
    batches
        Fields, more configurations than parameters.
    cut
        Directions in which the log-weight changes less than this, relative to the largest, are left alone.

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
    if not rows:
        raise ValueError("gauss_newton: expected at least one batch, got none")
    xp = array_namespace(weights[0])
    log_weights = xp.concat(weights)
    fit = fit_linear(xp.concat(rows, axis=1), log_weights, cut=cut)
    moved, place = {}, 0
    for name, leaf in leaves.items():
        part = fit.coefficients[place : place + leaf.size]
        moved[name] = leaf - xp.reshape(part, leaf.shape)
        place += leaf.size
    return GaussNewton(tree.unflatten(moved), log_weights, fit.variance_flow)
