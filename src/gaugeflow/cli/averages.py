"""Averages of ``gaugeflow measure --average``: plaquette, charge and scales of an ensemble with errors, and their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.cli.output import FEWEST, print_table

RESULT = "averages.json"
LEVEL = 0.3
"""c of t_0 and w_0."""
_CHARGES = {"flow_q": "clover", "flow_q_plaquette": "plaquette", "flow_q_five_loop": "five-loop"}
_ENERGIES = {"flow_t2_e": "clover", "flow_t2_e_plaquette": "plaquette", "flow_t2_e_five_loop": "five-loop"}


def average(columns: Mapping[str, Any], parameters: Mapping[str, Any], levels: Sequence[float]) -> dict[str, Any]:
    """Averages with Gamma-method errors.

    Parameters
    ----------
    columns, parameters
        Of a :class:`gaugeflow.cli.measure_table.Table`.
    levels
        c of t^2 <E> = c and of t d/dt t^2 <E> = c.

    Returns
    -------
    dict
        ``shape, n_colours, n_configurations, chains, flow`` and ``averages``, a list of ``quantity, definition, t, level,
        value, error, tau_int`` and, where there is no value or no error, ``reason``.  Quantities are ``plaquette``, ``q`` and
        ``chi_q`` (a^-4 in four dimensions) at the last flow time ``t``, ``t_c`` (a^2) and ``w_c`` (a) at each level.

    Raises
    ------
    ValueError
        If a configuration occurs twice.
    """
    from gaugeflow.analysis import topological_susceptibility

    times = parameters["flow_times"]
    volume = float(np.prod(parameters["shape"]))
    if parameters["boundary"] is not None:  # the charge is the sum over interior slices
        volume *= 1.0 - 2.0 / parameters["shape"][0]
    rows = [_row("plaquette", None, _series(columns, "plaquette"))]
    for definition, name, t in _charges(columns, times):
        charge = _series(columns, name, -1 if t is not None else None)
        rows.append(_row("q", definition, charge, t=t))
        rows.append(_row("chi_q", definition, topological_susceptibility(charge, volume), t=t))
    for name, definition in _ENERGIES.items():
        if name in columns:
            energy = _series(columns, name)
            rows += [_scale(q, definition, energy, times, c) for c in levels for q in ("t_c", "w_c")]
    return {
        "shape": parameters["shape"],
        "n_colours": parameters["n_colours"],
        "n_configurations": len(columns["id"]),
        "chains": len(np.unique(columns["chain"])),
        "flow": parameters["flow"],
        "averages": rows,
    }


def _charges(columns: Mapping[str, Any], times: Sequence[float]) -> list[tuple[str, str, float | None]]:
    """Definition, column and flow time of every charge."""
    integer = "q" in columns
    if not times:
        return [("integer", "q", None)] if integer else []
    names = _CHARGES | ({"flow_q": "integer"} if integer else {})
    return [(definition, name, times[-1]) for name, definition in names.items() if name in columns]


def _series(columns: Mapping[str, Any], name: str, time: int | None = None) -> Any:
    from gaugeflow.analysis import by_chain

    values = columns[name] if time is None else columns[name][:, time]
    return by_chain(values, columns["chain"], columns["id"], name)


def _row(quantity: str, definition: str | None, series: Any, **place: float | None) -> dict[str, Any]:
    """One line of the result, from a series whose mean it is."""
    from gaugeflow.analysis import gamma_method

    row = {"quantity": quantity, "definition": definition, "t": None, "level": None, **place}
    row |= {"value": float(series.mean), "error": None, "tau_int": None}
    if min(map(len, series.values)) < FEWEST:
        row["reason"] = f"no error: fewer than {FEWEST} configurations in a chain"
        return row
    estimate = gamma_method(series)
    return row | {"error": estimate.error, "tau_int": estimate.tau_int}


def _scale(quantity: str, definition: str, energy: Any, times: Sequence[float], c: float) -> dict[str, Any]:
    """t_c or w_c of one definition of the energy."""
    from gaugeflow.analysis import derive
    from gaugeflow.observables import flow_time_gradient, flow_time_where, w_0, w_0_gradient

    function, gradient = (flow_time_where, flow_time_gradient) if quantity == "t_c" else (w_0, w_0_gradient)
    try:
        series = derive(
            lambda y: function(y.tolist(), times, c),
            energy,
            lambda y: gradient(y.tolist(), times, c),
            f"{quantity}, c = {c}",
        )
    except ValueError as error:
        row = {"quantity": quantity, "definition": definition, "t": None, "level": c, "value": None, "error": None}
        return row | {"tau_int": None, "reason": str(error)}
    return _row(quantity, definition, series, level=c)


def name_of(row: Mapping[str, Any]) -> str:
    """What a line of the table is called: t_0 and w_0 at their level, t_c(c) and w_c(c) elsewhere."""
    names = {"q": "Q", "chi_q": "Q^2/V"}
    if row["level"] is None:
        return names.get(row["quantity"], row["quantity"])
    return f"{row['quantity'][0]}_0" if row["level"] == LEVEL else f"{row['quantity']}({row['level']:g})"


def print_averages(result: Mapping[str, Any]) -> None:
    """A table for people."""
    from gaugeflow.analysis import format_error

    rows: list[tuple[Any, ...]] = []
    reasons: dict[str, None] = {}
    for row in result["averages"]:
        shown = None
        if row["value"] is not None:
            shown = f"{row['value']:.6g}" if row["error"] is None else format_error(row["value"], row["error"])
        tau = None if row["tau_int"] is None else f"{row['tau_int']:.2g}"
        rows.append((name_of(row), row["definition"], row["t"], shown, tau))
        if "reason" in row:
            mark = "" if row["value"] is not None else f"{name_of(row)} ({row['definition']}): "
            reasons[mark + row["reason"]] = None
    extents = "x".join(map(str, result["shape"]))
    parts = [f"{n} {what}{'s' if n != 1 else ''}" for n, what in _counts(result)]
    notes = [
        "tau: integrated autocorrelation time in units of the spacing of the configurations, 0.5 without autocorrelation"
    ]
    if any(row["quantity"] == "q" for row in result["averages"]):
        notes.append("Q^2/V: topological susceptibility in lattice units; t: flow time of the charge in a^2")
    if any(row["level"] is not None for row in result["averages"]):
        notes.append(
            "t_c: flow time in a^2 at which t^2 <E> = c; w_c: length in a at whose square t d/dt (t^2 <E>) = c; c is 0.3 for "
            "t_0 and w_0; definition: of the energy E, or of the charge"
        )
    title = f"{', '.join(parts)}, {extents}, {result['flow']} flow"
    print_table(title, ("quantity", "definition", "t", "value", "tau"), rows, [*notes, *reasons])


def _counts(result: Mapping[str, Any]) -> tuple[tuple[int, str], ...]:
    return (result["n_configurations"], "configuration"), (result["chains"], "chain")


def draw(
    folder: Path, columns: Mapping[str, Any], parameters: Mapping[str, Any], levels: Sequence[float]
) -> list[Path]:
    """Figures of t^2 <E> along the flow and of the history of the charge; those that chains are long enough for."""
    from gaugeflow import plots
    from gaugeflow.analysis import gamma_method

    if min(np.unique(columns["chain"], return_counts=True)[1]) < FEWEST:
        return []
    made, times = [], parameters["flow_times"]
    energies = [name for name in _ENERGIES if name in columns]
    if energies:
        figure, ((axis,),) = plots.panels()
        for k, name in enumerate(energies):
            parts = [gamma_method(part) for part in _series(columns, name).split()]
            values, errors = np.array([p.value for p in parts]), np.array([p.error for p in parts])
            axis.plot(times, values, plots.line(k), color=plots.colour(k), lw=1.0, label=_ENERGIES[name])
            axis.fill_between(times, values - errors, values + errors, color=plots.colour(k), alpha=0.3, lw=0)
        for c in levels:
            axis.axhline(c, color="0.5", lw=0.8)
        axis.set(xlabel="$t/a^2$", ylabel=r"$t^2 \langle E\rangle$", title=f"{parameters['flow'].capitalize()} flow")
        axis.legend(title="energy")
        made.append(plots.save(figure, folder / "t2_e.png"))
    for _, name, t in _charges(columns, times)[:1]:
        charge = _series(columns, name, -1 if t is not None else None)
        label = "topological charge $Q$" + ("" if t is None else f" at $t = {t:g} a^2$")
        made.append(plots.history(folder / "charge.png", charge, label=label))
    return made
