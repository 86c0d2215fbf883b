"""What ``gaugeflow measure --hadrons`` says about its table: masses with errors, loops, JSON, figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gaugeflow.cli.output import FEWEST, print_table

if TYPE_CHECKING:
    from gaugeflow.analysis import EffectiveMass, Fit, Series

RESULT, FIGURE = "hadrons.json", "effective_mass.png"
_DRAWN = ("pion", "rho", "a0", "nucleon")


def report(
    folder: Path,
    table: tuple[Mapping[str, Any], Mapping[str, Any]],
    fit_range: tuple[int, int],
    correlated: bool,
) -> dict[str, Any]:
    """Masses of all channels and momenta, traces of loops; the figure goes to the folder."""
    from gaugeflow import plots

    columns, attributes = table
    parameters = attributes["parameters"]
    squares = sorted({sum(k * k for k in n) for n in attributes["labels"]["momentum"]})
    hadrons, drawn, fits = [], {}, {}
    for channel in attributes["labels"]["channel"]:
        if channel == "nucleon_minus" and "nucleon" in attributes["labels"]["channel"]:
            continue  # part of the nucleon
        for n_squared in squares:
            row, mass, fitted = _hadron(table, channel, n_squared, fit_range, correlated)
            hadrons.append(row)
            if n_squared == 0 and mass is not None and (channel in _DRAWN or len(attributes["labels"]["channel"]) < 5):
                drawn[channel] = mass
                if fitted is not None:
                    fits[channel] = fitted
    plots.effective_masses(folder / FIGURE, drawn, fits)
    result: dict[str, Any] = {
        "shape": parameters["shape"],
        "n_colours": parameters["n_colours"],
        "configurations": len(columns["id"]),
        "parameters": parameters,
        "hadrons": hadrons,
        "loops": _loops(columns, parameters),
    }
    return result


def _hadron(
    table: Any, channel: str, n_squared: int, fit_range: tuple[int, int], correlated: bool
) -> tuple[dict[str, Any], EffectiveMass | None, Fit | None]:
    """One row of the result, the effective mass and the fit where there are any."""
    from gaugeflow.analysis import correlator, effective_mass, fit_mass, folded

    parameters = table[1]["parameters"]
    series = correlator(table, channel, n_squared=n_squared)
    extent = series.shape[0]
    kind: Any = "cosh"
    whole = folded(series)
    if channel.startswith("nucleon"):
        kind = "exp"
        whole = _nucleon(table, channel, n_squared, series, parameters)
    row: dict[str, Any] = {"channel": channel, "n_squared": n_squared, **_errors("correlator", whole)}
    try:
        mass = effective_mass(whole, "log" if kind == "exp" else "cosh", period=extent)
    except ValueError:
        mass = None
    row["effective_mass"] = []
    if mass is not None:
        with_errors = _errors("mass", mass.series)
        row["effective_mass"] = [
            {"t": int(t), "mass": m, "error": e}
            for t, m, e in zip(mass.times, with_errors["mass"], with_errors["error"], strict=True)
        ]
    first, last = fit_range
    row["fit"] = {"first": first, "last": last, "correlated": correlated, "mass": None, "error": None}
    fitted = None
    if min(map(len, series.values)) < FEWEST:
        row["fit"]["reason"] = f"fewer than {FEWEST} configurations in a chain"
    else:
        try:
            fitted = fit_mass(whole, first, last, kind=kind, period=extent, correlated=correlated)
        except ValueError as error:
            row["fit"]["reason"] = str(error)
        else:
            m = fitted.parameters[0]
            row["fit"] |= {"mass": m.value, "error": m.error, "amplitude": fitted.parameters[1].value}
            row["fit"] |= {"chi_squared": fitted.chi_squared, "dof": fitted.dof}
            row["fit"] |= {"expected_chi_squared": fitted.expected_chi_squared, "p_value": fitted.p_value}
    return row, mass, fitted


def _nucleon(table: Any, channel: str, n_squared: int, series: Series, parameters: Mapping[str, Any]) -> Series:
    """The nucleon folded with the backward one of the other projector, where that is there and the sign is real."""
    from gaugeflow.analysis import Series, correlator, folded

    names = table[1]["labels"]["channel"]
    phase = complex(*parameters["boundary"][0]) ** 3
    if {"nucleon", "nucleon_minus"} <= set(names) and abs(phase.imag) < 1e-12:
        other = correlator(table, "nucleon_minus" if channel == "nucleon" else "nucleon", n_squared=n_squared)
        return folded(series, other, round(phase.real))
    half = series.shape[0] // 2 + 1
    return Series(tuple(v[:, :half] for v in series.values), series.ids, series.name)


def _errors(name: str, series: Series) -> dict[str, Any]:
    """Means of all components and their errors, null where chains are too short."""
    from gaugeflow.analysis import gamma_method

    errors: list[float | None] = [None] * len(series.mean)
    if min(map(len, series.values)) >= FEWEST:
        errors = [gamma_method(component).error for component in series.split()]
    return {name: series.mean.tolist(), "error": errors}


def _loops(columns: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Condensate and dS/dkappa of one flavour, with errors."""
    if "loops" not in columns:
        return None
    from gaugeflow.analysis import by_chain

    shape, kappa = parameters["shape"], parameters["kappa"]
    volume = int(np.prod(shape))
    size = volume * 2 ** (len(shape) // 2) * parameters["n_colours"]
    trace = np.real(columns["loops"][:, 0].sum(axis=-1))  # (configuration, noise)
    of_noise = trace.std(axis=1, ddof=1).mean() / trace.shape[1] ** 0.5 if trace.shape[1] > 1 else None
    result: dict[str, Any] = {"noises": int(trace.shape[1])}
    for name, values, factor in (
        ("condensate", trace.mean(axis=1) * 2 * kappa / volume, 2 * kappa / volume),
        ("d_kappa_per_flavour", (trace.mean(axis=1) - size) / kappa, 1 / kappa),
    ):
        stated = _errors("value", by_chain(values[:, None], columns["chain"], columns["id"], name))
        noise = None if of_noise is None else float(of_noise * factor)
        result[name] = {"value": stated["value"][0], "error": stated["error"][0], "noise_of_one": noise}
    return result


def print_report(result: Mapping[str, Any]) -> None:
    """Tables for people."""
    from gaugeflow.analysis import format_error

    def shown(value: float | None, error: float | None) -> str | None:
        if value is None:
            return None
        return f"{value:.6g}" if error is None else format_error(value, error)

    rows = []
    for row in result["hadrons"]:
        fit = row["fit"]
        quality = None if fit["mass"] is None else f"{fit['chi_squared']:.3g}/{fit['dof']}"
        times = f"{fit['first']}-{fit['last']}"
        rows.append((row["channel"], row["n_squared"], shown(fit["mass"], fit["error"]), times, quality))
    title = f"{result['configurations']} configurations, {'x'.join(map(str, result['shape']))}"
    notes = (
        "n^2: squared momentum in units of (2 pi / L)^2; a E: energy in lattice units, the mass at n^2 = 0, with the error of "
        "the last two digits; times: range of the fit, in lattice units",
        *sorted({f"no fit: {row['fit']['reason']}" for row in result["hadrons"] if "reason" in row["fit"]}),
    )
    print_table(title, ("channel", "n^2", "a E", "times", "chi^2/dof"), rows, notes)
    if result["loops"]:
        loops = [
            (name.replace("_", " "), shown(entry["value"], entry["error"]), shown(entry["noise_of_one"], None))
            for name, entry in result["loops"].items()
            if name != "noises"
        ]
        note = (
            "per flavour, in lattice units; noise: the part of the fluctuations of one configuration that the "
            f"{result['loops']['noises']} noise vectors make"
        )
        print_table("loops", ("quantity", "value", "noise of one configuration"), loops, (note,))
