"""One evaluation for value and cotangents."""

from __future__ import annotations

from collections.abc import Callable

from gaugeflow.typing import Array, Module, Params

PullBack = Callable[[Array], tuple[Params, Array]]
"""Takes ``y_bar`` to ``(params_bar, x_bar)``."""


def forward_and_pull_back(module: Module, params: Params, x: Array) -> tuple[Array, PullBack]:
    """``f(x)``, and the function that pulls cotangents back through this evaluation.

    Modules made of modules offer a method of this name that keeps the features between their parts; for all others the
    pull-back is their ``vjp``.
    """
    own = getattr(module, "forward_and_pull_back", None)
    if own is not None:
        result: tuple[Array, PullBack] = own(params, x)
        return result
    y = module.forward(params, x)
    return y, lambda y_bar: module.vjp(params, x, y, y_bar)
