"""What the Feynman-Hellmann run says: masses and their derivatives by the chain rule, tables, the figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize

from gaugeflow.analysis import (
    Fit,
    Series,
    covariance,
    derive,
    difference_independent,
    effective_mass,
    fit,
    format_error,
    gamma_method,
    stack,
)
from gaugeflow.analysis.series import FloatArray
from gaugeflow.ensembles import EPSILON, FLOW, INDEPENDENT, LINEAR, Measurements, estimators
from gaugeflow.lattice import Array, Lattice
from gaugeflow.plots import POINTS, colour, marker, panels, save
from gaugeflow.systems.correlated import Clock, comparison, cost_table, derivatives_table, quality
from gaugeflow.systems.report import BRACKETS, ESS, VARIANCE, Table

CENTRAL = (INDEPENDENT, EPSILON, f"{FLOW}, central", LINEAR)
"""Estimators without a bias of first order in the step; weights of a finite step without a flow leave no configurations."""

_WIDTH = 0.05
"""Of the central differences of the chain rule, in steps of lambda."""


def columns(name: str, values: Array) -> dict[str, Array]:
    """Columns ``name|0``, ``name|1``, ... of ``(times, batch)``."""
    return {f"{name}|{t}": values[t, ...] for t in range(values.shape[0])}


@dataclass(frozen=True)
class Quantity:
    """A function of means whose derivative is wanted.

    Parameters
    ----------
    name
        For tables.
    names
        Columns of the means.
    function
        Of the means, to a number.
    """

    name: str
    names: tuple[str, ...]
    function: Callable[[FloatArray], float]

    def series(self, data: Measurements) -> Series:
        """Its linearised series on one ensemble."""
        return derive(self.function, _means(data, self.names), name=self.name)

    def derivatives(
        self, data: Measurements, independent: Mapping[float, Measurements], step: float
    ) -> dict[str, Series]:
        """Its derivative by every estimator of :data:`CENTRAL`, as linearised series.

        The chain rule is a central difference of the function along the derivatives of the means, a part of the step wide.
        """
        found = estimators(data, self.names, step)
        means = _means(data, self.names)
        result = {
            INDEPENDENT: difference_independent(self.series(independent[-step]), self.series(independent[step]))
            * (0.5 / step)
        }
        for label in CENTRAL[1:]:
            size = _WIDTH * step
            ahead, behind = (derive(self.function, means + found[label] * signed) for signed in (size, -size))
            result[label] = (ahead - behind) * (0.5 / size)
        return result


def _means(data: Measurements, names: tuple[str, ...]) -> Series:
    return stack(*(data.series(name) for name in names))


def mean_of(name: str) -> Quantity:
    """The mean of one column."""
    return Quantity(name, (name,), lambda means: float(means[0]))


def ground_state(t: FloatArray, p: FloatArray, extent: int) -> FloatArray:
    """p_0 cosh(p_1 (t - extent / 2)) / cosh(p_1 extent / 2)."""
    return np.asarray(p[0] * np.cosh(p[1] * (t - extent / 2)) / np.cosh(p[1] * extent / 2))


def pion_mass(data: Measurements, window: tuple[int, int], extent: int) -> tuple[Quantity, Fit]:
    """Mass of a correlated fit to the correlator of the source ensemble, and as a function of any correlator.

    The weights of the fit are those of the source for every correlator, so that the mass is a smooth function of the means.
    """
    times = np.arange(window[0], window[1] + 1)
    names = tuple(f"pion|{t}" for t in times)
    correlator = _means(data, names)
    start = effective_mass(stack(*(data.series(f"pion|{t}") for t in range(extent // 2 + 1))), "cosh", period=extent)
    guess = float(start.series.mean[np.flatnonzero(start.times >= window[0])[0]])
    scale = float(correlator.mean[0] / ground_state(times[:1], np.array([1.0, guess]), extent)[0])
    found = fit(lambda t, p: ground_state(t, p, extent), times, correlator, [scale, guess], correlated=True)
    root = np.linalg.inv(np.linalg.cholesky(covariance(correlator)))
    mass = float(found.values[1])

    return Quantity("M_pi", names, lambda means: _lightest(root, times, means, extent, mass)), found


def _lightest(root: FloatArray, times: FloatArray, means: FloatArray, extent: int, guess: float) -> float:
    """Mass of the least-squares fit with the weights ``root^T root`` whose minimum is next to ``guess``.

    Raises
    ------
    ValueError
        If there is none within a factor of two.
    """

    tau, half = times - extent / 2, extent / 2

    def slope(m: float) -> float:
        """Of chi^2 with the best amplitude, up to a positive factor."""
        shape = np.cosh(m * tau) / np.cosh(m * half)
        change = tau * np.sinh(m * tau) / np.cosh(m * half) - half * np.tanh(m * half) * shape
        s, ds, y = root @ shape, root @ change, root @ means
        return float((s @ y) * ((s @ y) * (ds @ s) - (ds @ y) * (s @ s)))

    for factor in (1.001, 1.005, 1.02, 1.1, 1.4, 2.0):
        if slope(guess / factor) < 0.0 < slope(guess * factor):
            return float(scipy.optimize.brentq(slope, guess / factor, guess * factor, xtol=1e-14, rtol=1e-14))
    raise ValueError(
        f"M_pi: expected a minimum of chi^2 between {guess / 2.0:g} and {guess * 2.0:g}, found none: C = {means}"
    )


def glueball_mass(name: str, *, vacuum: bool) -> Quantity:
    """ln(C(0) / C(1)) of a glueball, with the vacuum taken off where the operator has a mean."""
    names = (f"{name}|0", f"{name}|1", *((name,) if vacuum else ()))

    def mass(means: FloatArray) -> float:
        below = means[2] ** 2 if vacuum else 0.0
        return float(np.log((means[0] - below) / (means[1] - below)))

    return Quantity(f"M_{name}", names, mass)


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
        found = quantity.derivatives(data, independent, step)
        rows += comparison(found, data, quantity.name, step, clock, parameter="anisotropy")
        if quantity is pion:
            fractions = [_fraction(label, mass, series) for label, series in found.items()]
    whole = tuple(f"pion|{t}" for t in range(extent // 2 + 1))
    effective = effective_mass(_means(data, whole), "cosh", period=extent)
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
    mean = _means(data, names).mean
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
