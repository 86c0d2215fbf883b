"""Losses of a flow on source configurations, with gradients by hand.

All of them see the log-weight ``log w = -S_target(f(x)) + log det f' + S_source(x)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gaugeflow.flows import evaluate
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Action, Array, Flow, Map, Params


class LossValue(NamedTuple):
    """Loss, its gradient with respect to the parameters, and the log-weights of the batch."""

    loss: float
    gradient: Params
    log_weight: Array


Loss = Callable[[Flow, Params, Action, Action, Array], LossValue]


def log_weight(flow: Map, params: Params, source: Action, target: Action, x: Array) -> tuple[Array, Array]:
    """``(f(x), log w)``; the log-weight has shape ``(batch,)``."""
    y, log_det = flow.forward(params, x)
    return y, source.value(x) - target.value(y) + log_det


def reverse_kl(flow: Flow, params: Params, source: Action, target: Action, x: Array) -> LossValue:
    """Reverse Kullback-Leibler divergence, minus the mean log-weight (up to a constant)."""
    at = evaluate(flow, params, x)
    weight = source.value(x) - target.value(at.y) + at.log_det
    batch = weight.shape[0]
    gradient, _ = at.pull_back(target.grad(at.y) * (1.0 / batch), weight * 0.0 - 1.0 / batch)
    xp = array_namespace(weight)
    return LossValue(-float(xp.mean(weight)), gradient, weight)


def reverse_kl_path(flow: Flow, params: Params, source: Action, target: Action, x: Array) -> LossValue:
    """Reverse Kullback-Leibler divergence with the path gradient (arXiv:2206.09016, 2403.15881).

    The gradient leaves out the score term, whose mean is zero, so that its noise vanishes with the loss: it is the
    parameter part of the VJP with ``y_bar = grad [S_target + log q](y)``, q the density of f(x).  The flow must offer
    ``push_score``.
    """
    at = evaluate(flow, params, x)
    weight = source.value(x) - target.value(at.y) + at.log_det
    batch = weight.shape[0]
    score = at.push_score(-source.grad(x))
    gradient, _ = at.pull_back((target.grad(at.y) + score) * (1.0 / batch), weight * 0.0)
    xp = array_namespace(weight)
    return LossValue(-float(xp.mean(weight)), gradient, weight)


def reverse_kl_reinforce(flow: Flow, params: Params, source: Action, target: Action, x: Array) -> LossValue:
    """Reverse Kullback-Leibler divergence with the gradient that needs no gradient of the target (arXiv:2202.01314).

    With ``l = -log w`` at fixed y, the gradient is the mean of ``(l - b) d log q(y)``; the control variate b, the mean
    of l over all *other* configurations of the batch, leaves it unbiased.  As q is the density of f(x),
    ``d log q(y) = -d log_det - grad log q(y) . dy``.  The flow must offer ``push_score``.
    """
    at = evaluate(flow, params, x)
    weight = source.value(x) - target.value(at.y) + at.log_det
    xp = array_namespace(weight)
    batch = _at_least_two("reverse_kl_reinforce", weight)
    factor = (weight - xp.mean(weight)) * (1.0 / (batch - 1))
    gradient, _ = at.pull_back(_times(at.push_score(-source.grad(x)), factor), factor)
    return LossValue(-float(xp.mean(weight)), gradient, weight)


def log_variance(flow: Flow, params: Params, source: Action, target: Action, x: Array) -> LossValue:
    """Variance of the log-weights over the batch: ``-log ESS`` to leading order."""
    at = evaluate(flow, params, x)
    weight = source.value(x) - target.value(at.y) + at.log_det
    xp = array_namespace(weight)
    batch = _at_least_two("log_variance", weight)
    deviation = weight - xp.mean(weight)
    bar = deviation * (2.0 / (batch - 1))
    gradient, _ = at.pull_back(_times(target.grad(at.y), -bar), bar)
    return LossValue(float(xp.sum(deviation**2)) / (batch - 1), gradient, weight)


def _at_least_two(loss: str, weight: Array) -> int:
    batch = int(weight.shape[0])
    if batch < 2:
        raise ValueError(f"{loss}: expected at least two configurations in a batch, got {batch}")
    return batch


def _times(field: Array, factor: Array) -> Array:
    """Field times one number per configuration; lanes are fold major, batch minor."""
    xp = array_namespace(field)
    lanes, batch = field.shape[-1], factor.shape[0]
    wide = xp.reshape(xp.broadcast_to(factor[None, :], (lanes // batch, batch)), (lanes,))
    return field * xp.astype(wide, xp.float32 if field.dtype in (xp.complex64, xp.float32) else xp.float64)
