"""Measurements along several vector fields, from which the best linearised derivative is put together afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from gaugeflow.devices import to_host
from gaugeflow.ensembles.correlated import at_once
from gaugeflow.flows import ResidualSweep, SmearedSweep
from gaugeflow.lattice import Array
from gaugeflow.typing import Action

FIELD_STEP = 1e-7
"""Step of the one-sided difference of observables along a field: its bias and its rounding error are both of this order."""


def along_fields(
    fields: Mapping[str, tuple[ResidualSweep | SmearedSweep, Any]],
    source: Action,
    operator: Callable[[Array], Array],
    observables: Callable[[Array], Mapping[str, Array]],
    *,
    timed: Callable[[str, str, Callable[[], Any]], Any] = at_once,
) -> Callable[[Array], dict[str, Array]]:
    """Function of a field that measures observables A, and X.dA and h = div X - X.dS for every vector field X.

    One image of the links is measured for every field; with them :func:`gaugeflow.analysis.cross_fit` chooses coefficients
    for any observable at hand.

    Parameters
    ----------
    fields
        By name, a sweep and its coefficients ``sweep.shape``: X is its derivative at the identity along them.
    source
        Action S of the source.
    operator
        O = dS / d(parameter), ``(batch,)``.
    observables
        The observables A, smooth functions of the links in double precision: ``(batch,)`` by name.
    timed
        As for :func:`gaugeflow.ensembles.measure_images`.

    Returns
    -------
    callable
        Columns ``name`` for A, ``field|name`` for X.dA, ``field|h`` for h and ``operator`` for O.

    Raises
    ------
    ValueError
        When called with links in single precision, whose rounding errors are larger than the step.
    """

    def measure(x: Array) -> dict[str, Array]:
        if str(x.dtype).rpartition(".")[2] != "complex128":
            raise ValueError(f"along_fields: expected links in double precision (complex128), got {x.dtype}")
        here = timed("measurement", "", partial(observables, x))
        row = {name: np.asarray(to_host(value)) for name, value in here.items()}
        row["operator"] = to_host(operator(x))
        force = source.grad(x)
        for field, (sweep, coefficients) in fields.items():
            move = partial(sweep.linearised, coefficients, x, force, FIELD_STEP)
            ahead, _, tangent = timed("flow", field, move)
            there = timed("measurement", field, partial(observables, ahead))
            for name, value in there.items():
                row[f"{field}|{name}"] = (np.asarray(to_host(value)) - row[name]) / FIELD_STEP
            row[f"{field}|h"] = to_host(tangent)
        return row

    return measure
