"""Results of the glueball run by channel: what fields leave of the noise, correlators, effective masses, a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.analysis import (
    Series,
    effective_mass,
    folded,
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
from gaugeflow.systems.estimates import number, text
from gaugeflow.systems.report import BRACKETS, Table

PLAIN, ONE_SIDED, TWO_SIDED = "plain", "one-sided", "two-sided"
POLARISATION = (1.0, -1.0, 0.0)
"""That of the first tensor operator."""


@dataclass(frozen=True)
class Measured:
    """A channel: operators by name, two estimates of the tangents of its fields, coefficients of operators that have fields."""

    channel: str
    operators: dict[str, Series]
    tangents: tuple[Sequence[Series], Sequence[Series]]
    coefficients: dict[str, FloatArray]


def analyse(
    measured: Sequence[Measured], contact: Measurements, extent: int, clock: Clock
) -> tuple[dict[str, Any], tuple[Table, ...]]:
    """The JSON object of the run, and its tables.

    Parameters
    ----------
    measured
        The channels.
    contact
        Columns ``first|operator|t`` and ``second|operator|t`` of the operators that have fields.
    extent
        Number of time slices.
    clock
        Seconds of the ``source`` and of the ``flow``, and of ``contact`` by channel.
    """
    source = clock.spent("source")
    found, cost = {}, {}
    for channel in measured:
        for name, operator in channel.operators.items():
            terms = None
            if name in channel.coefficients:
                both = ("first", "second")
                terms = [stack(*(contact.series(f"{kind}|{name}|{t}") for t in range(extent))) for kind in both]
            found[name] = estimates(operator, *channel.tangents, channel.coefficients.get(name), terms)
        flow, more = clock.spent("flow"), clock.spent("contact", channel.channel)
        cost[channel.channel] = {ONE_SIDED: 1.0 + flow / source, TWO_SIDED: 1.0 + (flow + more) / source}
    seconds = {f"{kind} {name}".strip(): spent for (kind, name), spent in clock.seconds.items()}
    result = {"operators": found, "seconds": seconds, "cost": cost}
    tables = [_shares(found)]
    for channel in measured:
        own = [name for name in channel.operators if name in channel.coefficients]
        tables += [_correlator(name, found[name], cost[channel.channel]) for name in own]
        tables.append(_mass_table(channel.channel, {name: found[name] for name in channel.operators}))
    return result, tuple(tables)


def estimates(
    operator: Series,
    tangents: Sequence[Series],
    others: Sequence[Series],
    coefficients: FloatArray | None = None,
    contact: Sequence[Series] | None = None,
) -> dict[str, Any]:
    """Correlators and effective masses by all estimators, for a JSON object.

    Parameters
    ----------
    operator : Series (T,)
        O_t.
    tangents, others : sequence of Series (T,)
        Of every field, for the two factors of a product: two estimates where they have noise, the same twice where not.
    coefficients
        As for :func:`gaugeflow.analysis.improved`; None: no field serves this operator.
    contact : sequence of Series (T,)
        X_0.dO_t and, for the two-sided correlator, X_t.dh_0, on any configurations, at least five in each chain.
    """
    extent = operator.shape[0]
    row: dict[str, Any] = {}
    series = {PLAIN: (two_point_function(operator, operator), np.zeros(extent))}
    if coefficients is not None and contact is not None:
        pair = [improved(operator, h, coefficients) for h in (tangents, others)]
        better = (pair[0] + pair[1]) * 0.5
        row["residual_share"] = number(residual_share(operator, better))
        first = contact[0]
        row["contact"] = {"first": _rows(folded(first))}
        series[ONE_SIDED] = _shifted(two_point_function(operator, better), first)
        for second in contact[1:]:
            both = first + reflected(first) + second
            row["contact"]["two-sided"] = _rows(folded(both))
            series[TWO_SIDED] = _shifted(_symmetric(*pair), both)
    row["correlators"] = {kind: _rows(folded(c), errors) for kind, (c, errors) in series.items()}
    row["masses"] = {kind: _masses(folded(c), extent) for kind, (c, _) in series.items()}
    return row


def _symmetric(a: Series, b: Series) -> Series:
    """Two-point function of two series that differ in noise, which must not meet itself."""
    return (two_point_function(a, b) + two_point_function(b, a)) * 0.5


def _shifted(correlator: Series, terms: Series) -> tuple[Series, FloatArray]:
    """The correlator with the mean of terms that were measured on fewer configurations, and the errors of these means."""
    values = tuple(v + terms.mean for v in correlator.values)
    return Series(values, correlator.ids, correlator.name), np.array([gamma_method(c).error for c in terms.split()])


def _rows(correlator: Series, more: FloatArray | None = None) -> list[dict[str, float]]:
    extra = np.zeros(correlator.shape) if more is None else more
    return [number(c, float(extra[t])) for t, c in enumerate(correlator.split())]


def _masses(correlator: Series, extent: int) -> list[dict[str, float]]:
    """Effective masses at the times that have one."""
    try:
        masses = effective_mass(correlator, "cosh", period=extent)
    except ValueError:
        return []
    return [
        {"t": int(t), **number(one)} for t, one in zip(masses.times, stack(*masses.series.split()).split(), strict=True)
    ]


def _shares(found: dict[str, Any]) -> Table:
    rows = tuple((n, text(row["residual_share"])) for n, row in found.items() if "residual_share" in row)
    return Table(
        "What fields leave of the variance of O_t",
        ("operator, smearing steps", "rho"),
        rows,
        ("rho = Var R / Var O on configurations that were not used for the fit", BRACKETS),
    )


def _correlator(name: str, row: dict[str, Any], cost: dict[str, float]) -> Table:
    kinds = row["correlators"]
    rows = []
    for t in range(len(kinds[PLAIN])):
        errors = {kind: kinds[kind][t]["error"] for kind in kinds}
        gains = [(errors[PLAIN] / errors[kind]) ** 2 for kind in (ONE_SIDED, TWO_SIDED)]
        at_cost = [f"{g / cost[kind]:.3g}" for g, kind in zip(gains, (ONE_SIDED, TWO_SIDED), strict=True)]
        texts = [text(kinds[kind][t]) for kind in (PLAIN, ONE_SIDED, TWO_SIDED)]
        rows.append((t, *texts, text(row["contact"]["two-sided"][t]), *(f"{g:.3g}" for g in gains), *at_cost))
    columns = ("t", PLAIN, ONE_SIDED, TWO_SIDED, "contact terms", "one", "two", "one, per second", "two, per second")
    return Table(
        f"Correlator, {_label(name)}",
        columns,
        tuple(rows),
        (
            "one, two: variance of the plain estimator over that of the one-sided and of the two-sided one",
            "per second: the same at equal cost, without the configurations of the fit",
            "contact terms: part of the two-sided correlator that comes from terms where supports meet",
            BRACKETS,
        ),
    )


def _label(name: str) -> str:
    """Channel and number of smearing steps in words."""
    return f"{name} smearing steps"


def _mass_table(channel: str, found: dict[str, Any]) -> Table:
    entries = {
        (name, kind): {m["t"]: m for m in ms} for name, row in found.items() for kind, ms in row["masses"].items()
    }
    shown = {key: by for key, by in entries.items() if key[1] != ONE_SIDED}
    times = sorted({t for by in shown.values() for t in by})
    rows = tuple((t, *(text(by[t]) if t in by else "" for by in shown.values())) for t in times)
    return Table(
        f"Effective mass of the {channel} glueball",
        ("t", *(f"{name} steps, {kind}" for name, kind in shown)),
        rows,
        ("in lattice units, from C(t) and C(t + 1); empty where there is none", BRACKETS),
    )


def figure(path: Path, result: dict[str, Any]) -> Path:
    """Correlators relative to C(0) of the plain estimator, and effective masses: a row of panels for each channel.

    Parameters
    ----------
    path
        PNG file to write.
    result
        The JSON object of the run.
    """
    channels = list(dict.fromkeys(name.partition(",")[0] for name in result["operators"]))
    plot, axes = panels(len(channels), 2)
    for (left, right), channel in zip(axes, channels, strict=True):
        rows = {name: row for name, row in result["operators"].items() if name.partition(",")[0] == channel}
        curves = [(name, kind) for name, row in rows.items() for kind in row["correlators"] if kind != ONE_SIDED]
        for k, (name, kind) in enumerate(curves):
            row = rows[name]
            scale = row["correlators"][PLAIN][0]["value"]
            style: dict[str, Any] = {"color": colour(k), "fmt": marker(k), **POINTS}
            shift = 0.06 * (k - 0.5 * (len(curves) - 1))
            points = row["correlators"][kind][1:]
            left.errorbar(
                np.arange(1, len(points) + 1) + shift,
                [p["value"] / scale for p in points],
                yerr=[p["error"] / scale for p in points],
                label=f"{name.rpartition(' ')[2]} steps, {kind}",
                **style,
            )
            masses = [m for m in row["masses"][kind] if m["error"] < 0.5 * m["value"]]
            right.errorbar(
                [m["t"] + shift for m in masses],
                [m["value"] for m in masses],
                yerr=[m["error"] for m in masses],
                **style,
            )
        left.set(xlabel="$t$", ylabel="$C(t) / C(0)$", title=channel)
        left.set_yscale("symlog", linthresh=1e-2)
        left.legend(fontsize=7, frameon=False)
        right.set(xlabel="$t$", ylabel="effective mass", title=channel)
    plot.set_figheight(3.6 * len(channels))
    return save(plot, path)
