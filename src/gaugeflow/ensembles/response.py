"""Responses to parameters whose operator is noisy or has jumps: the vector field serves the observable, not the operator.

d<A>/d(lambda) = -<A; O> for S -> S + lambda O is symmetric in A and O.  A field X_A that makes div X_A - X_A.dS follow A gives

    d<A>/d(lambda) = <X_A.dO> + <O r>,    r = div X_A - X_A.dS - A,

which is :func:`gaugeflow.analysis.derivative_linear` with A and O in each other's place.  A field costs the same for any number
of parameters, and what it needs of O is X_A.dO only: nothing, where X_A leaves O alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gaugeflow.analysis import Series, derivative_linear
from gaugeflow.devices import to_host
from gaugeflow.ensembles.correlated import Measurements, at_once
from gaugeflow.ensembles.derivatives import EPSILON, LINEAR
from gaugeflow.ensembles.linear import LINEAR_STEP
from gaugeflow.lattice import Array
from gaugeflow.typing import VectorField

Measured = Callable[[Array], Array]


class Improved(NamedTuple):
    """An observable, and the fields whose tangents follow it."""

    observable: Measured
    """A, ``(batch,)``."""
    flow: VectorField
    """Fields that make X_A."""
    coefficients: npt.NDArray[np.float64]
    """c, from :func:`gaugeflow.training.fit_linear` with A as the operator, on other configurations."""


def responses(
    observables: Mapping[str, Improved],
    operators: Mapping[str, Measured],
    force: Measured,
    *,
    unmoved: Collection[str] = (),
    timed: Callable[[str, str, Callable[[], Any]], Any] = at_once,
) -> Callable[[Array], Mapping[str, Array]]:
    """Function of a field that measures what :func:`response` needs.

    Parameters
    ----------
    observables
        Observables by name.
    operators
        O = dS / d(parameter), ``(batch,)``, by name of the parameter.
    force
        Gradient of the action S of the configurations.
    unmoved
        Operators that no field changes, as the topological charge under :class:`gaugeflow.flows.SectorFields`.
    timed
        As for :func:`gaugeflow.ensembles.measure_images`; names are those of observables and operators, ``A|O`` for what the
        images cost, and ``force``.

    Returns
    -------
    callable
        Columns by name of observables and operators, ``A|tangent`` for div X_A - X_A.dS, ``A|O`` for X_A.dO.
    """

    def measure(x: Array) -> Mapping[str, Array]:
        row = {name: to_host(timed("measurement", name, partial(operator, x))) for name, operator in operators.items()}
        gradient = timed("flow", "force", partial(force, x))
        for name, (observable, flow, coefficients) in observables.items():
            row[name] = to_host(timed("measurement", name, partial(observable, x)))
            work = partial(flow.linearised, coefficients, x, gradient, LINEAR_STEP)
            ahead, behind, tangent = timed("flow", name, work)
            row[f"{name}|tangent"] = to_host(tangent)
            for parameter, operator in operators.items():
                if parameter in unmoved:
                    row[f"{name}|{parameter}"] = np.zeros_like(row[name])
                    continue
                there, here = (
                    to_host(timed("measurement", f"{name}|{parameter}", partial(operator, y))) for y in (ahead, behind)
                )
                row[f"{name}|{parameter}"] = (there - here) / (2.0 * LINEAR_STEP)
        return row

    return measure


def response(data: Measurements, observable: str, parameter: str) -> dict[str, Series]:
    """d<A>/d(parameter) with and without the field, as linearised series.

    Parameters
    ----------
    data
        Measurements of :func:`responses`.
    observable, parameter
        Names.

    Returns
    -------
    dict
        ``epsilon-reweighting``: -<A; O>.  ``linearised flow``: the same with the field of the observable.
    """
    a, operator = data.series(observable), data.series(parameter)
    residual = data.series(f"{observable}|tangent") - a
    return {
        EPSILON: derivative_linear(operator * 0.0, operator, a * -1.0),
        LINEAR: derivative_linear(data.series(f"{observable}|{parameter}"), operator, residual),
    }
