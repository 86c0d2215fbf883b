"""What the Feynman-Hellmann run says: masses and their derivatives by the chain rule, tables, the figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.analysis import Series, derive, difference_independent, effective_mass, format_error, gamma_method, stack
from gaugeflow.ensembles import EPSILON, FLOW, INDEPENDENT, LINEAR, Measurements, estimators
from gaugeflow.lattice import Lattice
from gaugeflow.plots import POINTS, colour, integer_ticks, marker, panels, save
from gaugeflow.systems.correlated import Clock, comparison, cost_table, derivatives_table, quality
from gaugeflow.systems.masses import Quantity, glueball_mass, mean_of, means_of, pion_mass
from gaugeflow.systems.report import BRACKETS, ESS, VARIANCE, Table

CENTRAL = (INDEPENDENT, EPSILON, f"{FLOW}, central", LINEAR)
"""Estimators without a bias of first order in the step; weights of a finite step without a flow leave no configurations."""


def analyse(
    data: Measurements,
    independent: Mapping[float, Measurements],
    *,
    lattice: Lattice,
    beta: float,
    step: float,
    kappa: float,
    window: tuple[int, int],
    clock: Clock,
) -> tuple[dict[str, Any], tuple[Table, ...]]:
    """The JSON object and the tables."""
    extent = lattice.shape[0]
    pion, fitted = pion_mass(data, window, extent)
    quantities = [pion, mean_of("t2_e_electric"), mean_of("t2_e_magnetic")]
    for name, vacuum in (("scalar", True), ("tensor", False)):
        glueball = glueball_mass(name, vacuum=vacuum)
        if _defined(glueball, (data, *independent.values())):
            quantities.append(glueball)
    rows, fractions = [], []
    mass = pion.series(data)
    for quantity in quantities:
        found = derivatives(quantity, data, independent, step)
        rows += comparison(found, data, quantity.name, step, clock, parameter="anisotropy")
        if quantity is pion:
            fractions = [_fraction(label, mass, series) for label, series in found.items()]
    whole = tuple(f"pion|{t}" for t in range(extent // 2 + 1))
    effective = effective_mass(means_of(data, whole), "cosh", period=extent)
    result = {
        "system": "feynman-hellmann",
        "lattice": list(lattice.shape),
        "source": {"action": "wilson", "beta": beta},
        "step": step,
        "kappa": kappa,
        "window": list(window),
        "n_configurations": len(data),
        "pion_mass": fitted.parameters[1].value,
        "pion_mass_error": fitted.parameters[1].error,
        "chi_squared": fitted.chi_squared,
        "dof": fitted.dof,
        "p_value": fitted.p_value,
        **quality(data, lattice, step),
        "derivatives": rows,
        "momentum_fraction": fractions,
        "effective_mass": _with_errors(effective.times.tolist(), effective.series.split()),
        "correlator_slopes": _slopes(data, independent, whole, step),
        "seconds": clock.totals(),
    }
    return result, (
        _weights_table(result),
        _mass_table(result),
        derivatives_table([result]),
        cost_table(clock.totals()),
    )


def derivatives(
    quantity: Quantity, data: Measurements, independent: Mapping[float, Measurements], step: float
) -> dict[str, Series]:
    """Derivative of a quantity by every estimator of :data:`CENTRAL`, as linearised series."""
    found = estimators(data, quantity.names, step)
    behind, ahead = (quantity.series(independent[signed]) for signed in (-step, step))
    result = {INDEPENDENT: difference_independent(behind, ahead) * (0.5 / step)}
    return result | {label: quantity.slope(data, found[label], step) for label in CENTRAL[1:]}


def _defined(quantity: Quantity, ensembles: tuple[Measurements, ...]) -> bool:
    """Whether a mass has a value on every ensemble: a correlator of few configurations may be negative at t = 1."""
    try:
        with np.errstate(invalid="ignore", divide="ignore"):
            return all(np.isfinite(quantity.series(data).mean) for data in ensembles)
    except ValueError:
        return False


def _fraction(label: str, mass: Series, slope: Series) -> dict[str, Any]:
    """<x>_g = -(2/3) (dM / d lambda) / M."""
    if label == INDEPENDENT:
        estimate = gamma_method(slope * (-2.0 / (3.0 * float(mass.mean))))  # the error of M is far smaller
    else:
        estimate = gamma_method(derive(lambda m: -2.0 * m[1] / (3.0 * m[0]), stack(mass, slope)))
    return {"estimator": label, "value": estimate.value, "error": estimate.error}


def _slopes(
    data: Measurements, independent: Mapping[float, Measurements], names: tuple[str, ...], step: float
) -> dict[str, Any]:
    """(dC / d lambda) / C at every time by every estimator."""
    found = estimators(data, names, step, independent=independent)
    mean = means_of(data, names).mean
    return {
        label: _with_errors(
            range(len(names)), [part * (1.0 / c) for part, c in zip(found[label].split(), mean, strict=True)]
        )
        for label in CENTRAL
    }


def _with_errors(times: Any, series: Any) -> list[dict[str, float]]:
    estimates = [gamma_method(part) for part in series]
    return [{"t": int(t), "value": e.value, "error": e.error} for t, e in zip(times, estimates, strict=True)]


def _weights_table(result: Mapping[str, Any]) -> Table:
    rows = []
    for kind, label in (("plain", "plain reweighting"), ("flow", "flow")):
        variance, error = result[f"variance_per_site_{kind}"], result[f"variance_per_site_{kind}_error"]
        square = result["step"] ** 2
        rows.append(
            (
                label,
                format_error(result[f"ess_{kind}"], result[f"ess_{kind}_error"]),
                f"{variance:.3g}",
                format_error(variance / square, error / square),
            )
        )
    names = ("map", "ESS", "variance / site", "variance / site / lambda^2")
    return Table(f"Log-weights, lambda = 0 -> {result['step']:g}", names, tuple(rows), (ESS, VARIANCE, BRACKETS))


def _mass_table(result: Mapping[str, Any]) -> Table:
    mass = format_error(result["pion_mass"], result["pion_mass_error"])
    rows = tuple((f["estimator"], format_error(f["value"], f["error"])) for f in result["momentum_fraction"])
    first, last = result["window"]
    note = (
        f"a M_pi = {mass} from a correlated fit to t = {first} ... {last}, chi^2/dof = {result['chi_squared']:.3g}/"
        f"{result['dof']}, p = {result['p_value']:.2g}; <x>_g = -(2/3) (dM_pi / d lambda) / M_pi, not renormalised"
    )
    return Table("Momentum fraction of the gluons in the pion", ("estimator", "<x>_g"), rows, (note, BRACKETS))


def figure(path: Path, result: Mapping[str, Any]) -> Path:
    """Effective mass, relative derivative of the correlator, and the derivative of the mass by every estimator."""
    drawing, axes = panels(1, 3)
    left, middle, right = axes[0]
    points = result["effective_mass"]
    left.errorbar(
        [p["t"] for p in points], [p["value"] for p in points], yerr=[p["error"] for p in points], fmt="o", **POINTS
    )
    mass, error = result["pion_mass"], result["pion_mass_error"]
    left.fill_between(result["window"], mass - error, mass + error, color="0.8", lw=0)
    for axis in (left, middle):
        integer_ticks(axis.xaxis, [p["t"] for p in points])
    left.set(xlabel="$t / a$", ylabel=r"$a M_\mathrm{eff}$", title="effective mass", ylim=(0.6 * mass, 2.0 * mass))
    for k, label in enumerate((EPSILON, f"{FLOW}, central", LINEAR)):
        values = result["correlator_slopes"][label]
        middle.errorbar(
            [p["t"] + 0.15 * (k - 1) for p in values],
            [p["value"] for p in values],
            yerr=[p["error"] for p in values],
            fmt=marker(k),
            color=colour(k),
            label=label,
            **POINTS,
        )
    middle.set(xlabel="$t / a$", ylabel=r"$C^{-1}\,\mathrm{d}C / \mathrm{d}\lambda$", title="pion correlator")
    middle.legend(fontsize=7)
    rows = [d for d in result["derivatives"] if d["observable"] == "M_pi"]
    for k, row in enumerate(rows):
        right.errorbar(row["value"], k, xerr=row["error"], fmt=marker(0), color=colour(0), **POINTS)
    right.set_yticks(range(len(rows)), [row["estimator"] for row in rows])
    right.set(
        xlabel=r"$\mathrm{d}M_\pi / \mathrm{d}\lambda$", ylim=(len(rows) - 0.5, -0.5), title="derivative of the mass"
    )
    right.grid(axis="x", lw=0.4, color="0.9")
    return save(drawing, path)
