"""One evaluation of a flow for value, cotangents and scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gaugeflow.typing import Array, Flow, Params


class Evaluation(NamedTuple):
    """A flow at some fields x.

    Attributes
    ----------
    y, log_det
        Result of ``forward``.
    pull_back
        Takes ``(y_bar, log_det_bar)`` to ``(params_bar, x_bar)``.
    push_score
        Takes the gradient of the log-density of x to that of y; raises ``TypeError`` for flows that do not offer it.
    """

    y: Array
    log_det: Array
    pull_back: Callable[[Array, Any], tuple[Params, Array]]
    push_score: Callable[[Array], Array]


def evaluate(flow: Flow, params: Params, x: Array) -> Evaluation:
    """Evaluate once and keep what cotangents and scores need.

    Flows that gain by it offer a method ``evaluate(params, x)``; for all others ``vjp`` and, where there is one,
    ``push_score`` evaluate again.
    """
    own = getattr(flow, "evaluate", None)
    if own is not None:
        result: Evaluation = own(params, x)
        return result
    y, log_det = flow.forward(params, x)

    def push_score(score: Array) -> Array:
        method = getattr(flow, "push_score", None)
        if method is None:
            raise TypeError(f"{type(flow).__name__} offers no push_score, which path gradients need")
        return method(params, x, y, score)

    return Evaluation(y, log_det, lambda y_bar, log_det_bar: flow.vjp(params, x, y, y_bar, log_det_bar), push_score)
