"""The linearised flow: what :func:`gaugeflow.analysis.derivative_linear` needs, measured on source configurations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gaugeflow.devices import to_host
from gaugeflow.ensembles.correlated import at_once
from gaugeflow.lattice import Array
from gaugeflow.typing import Action, VectorField

LINEAR_STEP = 1e-4
"""Step of the central difference of observables along the linearised flow: its error is of order step^2."""


def along_flow(
    flow: VectorField,
    coefficients: npt.NDArray[np.float64],
    source: Action,
    operator: Callable[[Array], Array],
    observables: Callable[[Array], Mapping[str, Array]],
    *,
    timed: Callable[[str, str, Callable[[], Any]], Any] = at_once,
) -> Callable[[Array], Mapping[str, Array]]:
    """Function of a field that measures X.dA and r = div X - X.dS - O for the linearised flow X.

    The estimator made of them is exact for any coefficients; good ones make its error small.

    Parameters
    ----------
    flow
        One sweep, in the limit of a small step, or another set of fields.
    coefficients
        Those of X, per unit step of the parameter.
    source
        Action S of the source.
    operator
        O = dS / d(parameter), ``(batch,)``.
    observables
        The observables A, smooth functions of the field: ``(batch,)`` by name.
    timed
        As for :func:`gaugeflow.ensembles.measure_images`.

    Returns
    -------
    callable
        The argument ``source_only`` of :func:`gaugeflow.ensembles.measure_images`: columns ``linear|name`` for X.dA,
        ``linear|residual`` for r and ``linear|operator`` for O.
    """

    def measure(x: Array) -> Mapping[str, Array]:
        work = partial(flow.linearised, coefficients, x, source.grad(x), LINEAR_STEP)
        ahead, behind, tangent = timed("flow", "linear", work)
        images = [timed("measurement", "linear", partial(observables, y)) for y in (ahead, behind)]
        row = {f"linear|{name}": (images[0][name] - images[1][name]) / (2.0 * LINEAR_STEP) for name in images[0]}
        row["linear|operator"] = to_host(operator(x))
        row["linear|residual"] = to_host(tangent) - row["linear|operator"]
        return row

    return measure
