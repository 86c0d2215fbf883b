"""Results of the glueball run: what fields leave of the noise, correlators, effective masses, tables and figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.analysis import (
    Series,
    effective_mass,
    folded,
    format_error,
    gamma_method,
    improved,
    reflected,
    residual_share,
    stack,
    two_point_function,
)
from gaugeflow.analysis.series import FloatArray
from gaugeflow.ensembles import Measurements
from gaugeflow.plots import POINTS, colour, marker, panels, save
from gaugeflow.systems.correlated import Clock
from gaugeflow.systems.report import BRACKETS, Table

PLAIN, ONE_SIDED, TWO_SIDED = "plain", "one-sided", "two-sided"


@dataclass(frozen=True)
class Measured:
    """Operators by number of smearing steps, tangents of all fields, coefficients of the operators that have fields."""

    operators: dict[int, Series]
    tangents: list[Series]
    coefficients: dict[int, FloatArray]


def analyse(
    measured: Measured,
    contact: Measurements,
    improved_operators: Sequence[int],
    operators: Sequence[int],
    extent: int,
    clock: Clock,
) -> tuple[dict[str, Any], tuple[Table, ...]]:
    """The JSON object of the run, and its tables."""
    seconds = {kind: clock.spent(kind) for kind in ("training", "source", "flow", "contact")}
    cost = {
        ONE_SIDED: 1.0 + seconds["flow"] / seconds["source"],
        TWO_SIDED: 1.0 + (seconds["flow"] + seconds["contact"]) / seconds["source"],
    }
    found = {}
    for n in operators:
        terms = None
        if n in improved_operators:
            terms = [stack(*(contact.series(f"{kind}|{n}|{t}") for t in range(extent))) for kind in ("first", "second")]
        found[str(n)] = estimates(measured.operators[n], measured.tangents, measured.coefficients.get(n), terms)
    result = {"operators": found, "seconds": seconds, "cost": cost}
    return result, (
        _shares(found),
        *(_correlator(n, found[str(n)], cost) for n in improved_operators),
        _mass_table(found),
    )


def estimates(
    operator: Series,
    tangents: Sequence[Series],
    coefficients: FloatArray | None = None,
    contact: Sequence[Series] | None = None,
) -> dict[str, Any]:
    """Correlators and effective masses by all estimators, for a JSON object.

    Parameters
    ----------
    operator : Series (T,)
        O_t.
    tangents : sequence of Series (T,)
        Of every field.
    coefficients
        As for :func:`gaugeflow.analysis.improved`; None: no field serves this operator.
    contact : sequence of Series (T,)
        X_0.dO_t and, for the two-sided correlator, X_t.dh_0, on any configurations, at least five in each chain.
    """
    extent = operator.shape[0]
    row: dict[str, Any] = {}
    series = {PLAIN: (two_point_function(operator, operator), np.zeros(extent))}
    if coefficients is not None and contact is not None:
        better = improved(operator, tangents, coefficients)
        row["residual_share"] = _numbers(residual_share(operator, better))
        first = contact[0]
        row["contact"] = {"first": _rows(folded(first))}
        series[ONE_SIDED] = _shifted(two_point_function(operator, better), first)
        for second in contact[1:]:
            both = first + reflected(first) + second
            row["contact"]["two-sided"] = _rows(folded(both))
            series[TWO_SIDED] = _shifted(two_point_function(better, better), both)
    row["correlators"] = {kind: _rows(folded(c), errors) for kind, (c, errors) in series.items()}
    row["masses"] = {kind: _masses(folded(c), extent) for kind, (c, _) in series.items()}
    return row


def _shifted(correlator: Series, terms: Series) -> tuple[Series, FloatArray]:
    """The correlator with the mean of terms that were measured on fewer configurations, and the errors of these means."""
    values = tuple(v + terms.mean for v in correlator.values)
    return Series(values, correlator.ids, correlator.name), np.array([gamma_method(c).error for c in terms.split()])


def _numbers(series: Series, more: float = 0.0) -> dict[str, float]:
    estimate = gamma_method(series)
    return {"value": estimate.value, "error": math.hypot(estimate.error, more), "tau_int": estimate.tau_int}


def _rows(correlator: Series, more: FloatArray | None = None) -> list[dict[str, float]]:
    extra = np.zeros(correlator.shape) if more is None else more
    return [_numbers(c, float(extra[t])) for t, c in enumerate(correlator.split())]


def _masses(correlator: Series, extent: int) -> list[dict[str, float]]:
    """Effective masses at the times that have one."""
    try:
        masses = effective_mass(correlator, "cosh", period=extent)
    except ValueError:
        return []
    return [
        {"t": int(t), **_numbers(one)}
        for t, one in zip(masses.times, stack(*masses.series.split()).split(), strict=True)
    ]


def _text(number: dict[str, float]) -> str:
    return format_error(number["value"], number["error"])


def _shares(found: dict[str, Any]) -> Table:
    rows = tuple((n, _text(row["residual_share"])) for n, row in found.items() if "residual_share" in row)
    return Table(
        "What fields leave of the variance of O_t",
        ("smearing steps", "rho"),
        rows,
        ("rho = Var R / Var O on configurations that were not used for the fit", BRACKETS),
    )


def _correlator(n: int, row: dict[str, Any], cost: dict[str, float]) -> Table:
    kinds = row["correlators"]
    rows = []
    for t in range(len(kinds[PLAIN])):
        errors = {kind: kinds[kind][t]["error"] for kind in kinds}
        gains = [(errors[PLAIN] / errors[kind]) ** 2 for kind in (ONE_SIDED, TWO_SIDED)]
        at_cost = [f"{g / cost[kind]:.3g}" for g, kind in zip(gains, (ONE_SIDED, TWO_SIDED), strict=True)]
        texts = [_text(kinds[kind][t]) for kind in (PLAIN, ONE_SIDED, TWO_SIDED)]
        rows.append((t, *texts, _text(row["contact"]["two-sided"][t]), *(f"{g:.3g}" for g in gains), *at_cost))
    columns = ("t", PLAIN, ONE_SIDED, TWO_SIDED, "contact terms", "one", "two", "one, per second", "two, per second")
    return Table(
        f"Correlator of plaquettes after {n} smearing steps",
        columns,
        tuple(rows),
        (
            "one, two: variance of the plain estimator over that of the one-sided and of the two-sided one",
            "per second: the same at equal cost, without the configurations of the fit",
            "contact terms: part of the two-sided correlator that comes from terms where supports meet",
            BRACKETS,
        ),
    )


def _mass_table(found: dict[str, Any]) -> Table:
    entries = {(n, kind): {m["t"]: m for m in ms} for n, row in found.items() for kind, ms in row["masses"].items()}
    shown = {key: by for key, by in entries.items() if key[1] != ONE_SIDED}
    times = sorted({t for by in shown.values() for t in by})
    rows = tuple((t, *(_text(by[t]) if t in by else "" for by in shown.values())) for t in times)
    return Table(
        "Effective mass of the scalar glueball",
        ("t", *(f"{n} steps, {kind}" for n, kind in shown)),
        rows,
        ("in lattice units, from C(t) and C(t + 1); empty where there is none", BRACKETS),
    )


def figure(path: Path, result: dict[str, Any]) -> Path:
    """Correlators relative to C(0) of the plain estimator, and effective masses.

    Parameters
    ----------
    path
        PNG file to write.
    result
        The JSON object of the run.
    """
    plot, axes = panels(1, 2)
    left, right = axes.ravel()
    curves = [(n, kind) for n, row in result["operators"].items() for kind in row["correlators"] if kind != ONE_SIDED]
    for k, (n, kind) in enumerate(curves):
        row = result["operators"][n]
        scale = row["correlators"][PLAIN][0]["value"]
        style: dict[str, Any] = {"color": colour(k), "fmt": marker(k), **POINTS}
        shift = 0.06 * (k - 0.5 * (len(curves) - 1))
        points = row["correlators"][kind][1:]
        left.errorbar(
            np.arange(1, len(points) + 1) + shift,
            [p["value"] / scale for p in points],
            yerr=[p["error"] / scale for p in points],
            label=f"{n} steps, {kind}",
            **style,
        )
        masses = [m for m in row["masses"][kind] if m["error"] < 0.5 * m["value"]]
        right.errorbar(
            [m["t"] + shift for m in masses], [m["value"] for m in masses], yerr=[m["error"] for m in masses], **style
        )
    left.set(xlabel="$t$", ylabel="$C(t) / C(0)$")
    left.set_yscale("symlog", linthresh=1e-2)
    right.set(xlabel="$t$", ylabel="effective mass")
    plot.set_figheight(4.0)
    plot.legend(fontsize=8, loc="outside lower center", ncols=3, frameon=False)
    return save(plot, path)
