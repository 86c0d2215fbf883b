"""Derivatives of expectation values from the measurements of :func:`gaugeflow.ensembles.measure_images`, by every estimator.

Columns are named by the map, ``plain`` or ``flow`` with the step behind it (``flow+0.01``, or ``flowbeta+0.01`` where the name
of the parameter stands between), and ``linear`` for what :func:`gaugeflow.ensembles.along_flow` measures; ``explicit`` is the
derivative of an observable that depends on the parameter itself, at fixed fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gaugeflow.analysis import (
    Series,
    derivative_central,
    derivative_linear,
    derivative_one_sided,
    difference_independent,
    stack,
)
from gaugeflow.ensembles.correlated import Measurements

INDEPENDENT = "independent"
"""The difference of two independent ensembles."""
REWEIGHTING = "reweighting"
"""Weights of a finite step without a flow; ``", central"`` follows where both sides are used."""
EPSILON = "epsilon-reweighting"
"""Reweighting in the limit of a small step: the connected correlation with minus the derivative of the action."""
FLOW = "flow"
"""A flow with the weights that it leaves; ``", central"`` follows where both sides are used."""
LINEAR = "linearised flow"
"""The flow in the limit of a small step."""

_KINDS = {REWEIGHTING: "plain", FLOW: "flow"}


def estimators(
    data: Measurements,
    names: str | Sequence[str],
    step: float,
    *,
    independent: Mapping[float, Measurements] | None = None,
    parameter: str = "",
) -> dict[str, Series]:
    """d<A>/d(parameter) by every estimator whose columns are there, as linearised series.

    Parameters
    ----------
    data
        Measurements on the source ensemble and its images.
    names
        The observable A, or the names of its components, ``(components,)``.
    step
        Of the parameter from the source to the target; it may be negative.
    independent
        Measurements on ensembles of their own by the step to their target.  With one at ``-step`` beside that at ``step``
        their difference is central, and otherwise it is taken to the source.
    parameter
        What stands before the step in names of columns.

    Returns
    -------
    dict
        Series by the name of the estimator:

        * ``independent``: difference of two independent ensembles;
        * ``reweighting``, ``flow``: weights of a finite step, without and with a flow, and the same with ``, central`` behind,
          where columns of the opposite step are there;
        * ``epsilon-reweighting``: reweighting in the limit of a small step, the connected correlation with -dS/d(parameter);
        * ``linearised flow``: the flow in the same limit.
    """
    columns = data.columns()

    def series(of: Measurements, before: str = "") -> Series:
        if isinstance(names, str):
            return of.series(before + names)
        return stack(*(of.series(before + name) for name in names))

    def image(kind: str, signed: float) -> tuple[Series, Series]:
        column = f"{kind}{parameter}{signed:+g}"
        values = series(data, f"{column}|") if f"{column}|{first}" in columns else source
        return values, data.series(f"{column}|log_weight")

    first = names if isinstance(names, str) else names[0]
    source = series(data)
    found: dict[str, Series] = {}
    others = independent or {}
    if step in others:
        ahead = series(others[step])
        if -step in others:
            found[INDEPENDENT] = difference_independent(series(others[-step]), ahead) * (0.5 / step)
        else:
            found[INDEPENDENT] = difference_independent(source, ahead) * (1.0 / step)
    for label, kind in _KINDS.items():
        ahead_there, behind_there = (f"{kind}{parameter}{signed:+g}|log_weight" in columns for signed in (step, -step))
        if ahead_there:
            found[label] = derivative_one_sided(source, *image(kind, step), step)
        if ahead_there and behind_there:
            found[f"{label}, central"] = derivative_central(*image(kind, step), *image(kind, -step), step)
    if "linear|operator" in columns:
        explicit = series(data, "explicit|") if f"explicit|{first}" in columns else source * 0.0
        found[EPSILON] = derivative_linear(explicit, source, data.series("linear|operator") * -1.0)
    if f"linear|{first}" in columns:
        found[LINEAR] = derivative_linear(series(data, "linear|"), source, data.series("linear|residual"))
    return found


def maps_of(label: str, step: float, parameter: str = "") -> list[str]:
    """Columns of the maps whose weights an estimator uses: ``plain+0.01``, ``flow-0.01``; none without weights."""
    kind = _KINDS.get(label.removesuffix(", central"))
    if kind is None:
        return []
    signs = (1, -1) if label.endswith("central") else (1,)
    return [f"{kind}{parameter}{sign * step:+g}" for sign in signs]
