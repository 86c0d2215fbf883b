"""Results of the continuum slope: estimates at every coupling, extrapolations, tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gaugeflow.analysis import (
    Combined,
    Cost,
    Fit,
    Series,
    combine,
    derive_independent,
    effective_configurations,
    fit,
    format_error,
    gain,
    gamma_method,
    stack,
)
from gaugeflow.ensembles import EPSILON, LINEAR, Measurements, maps_of
from gaugeflow.systems.correlated import NOTES, Clock, cost_table, effective
from gaugeflow.systems.estimates import text
from gaugeflow.systems.report import BRACKETS, Table
from gaugeflow.systems.scales import QUANTITIES, FloatArray
from gaugeflow.systems.slope_estimates import FITTED, Point

CONSTRAINTS = ("none", EPSILON, FITTED)
"""Estimators whose slopes constrain an extrapolation."""

Entry = tuple[float, tuple[int, ...], Point, Measurements | None]
"""Coupling, extents, measurements along fields, and those of images, if there are any."""


def analyse(points: Sequence[Entry], step: float, clock: Clock) -> dict[str, Any]:
    """The JSON object of the run."""
    linear = [point.linearised() for _, _, point, _ in points]
    limits = {}
    for name in CONSTRAINTS:
        with_slopes = name != "none"
        series = [_chosen(found[FITTED if name == "none" else name], with_slopes) for found in linear]
        limits[name] = _limit(extrapolate(series, with_slopes), len(points))
    levels = points[0][2].levels
    return {
        "system": "continuum-slope",
        "levels": list(levels.values),
        "step": step,
        "couplings": [
            {
                "beta": beta,
                "lattice": list(shape),
                "n_configurations": len(point.data),
                **_scales(found[FITTED]),
                "coefficients": {
                    "log-weight": _mean_coefficients(point, point.log_weight_coefficients()),
                    "k_1": _mean_coefficients(point, point.slope_coefficients()),
                },
                "estimates": _estimates((beta, shape, point, images), found, step, clock),
            }
            for (beta, shape, point, images), found in zip(points, linear, strict=True)
        ],
        "neighbours": [
            {"beta": [a[0], b[0]], **_number(neighbours(x[FITTED], y[FITTED]))}
            for a, b, x, y in zip(points, points[1:], linear, linear[1:], strict=False)
        ],
        "extrapolations": limits,
        "seconds": clock.totals(),
    }


def neighbours(a: Series, b: Series) -> Combined:
    """k_1 as the difference quotient of two independent ensembles, from their :data:`QUANTITIES`."""

    def quotient(x: FloatArray, y: FloatArray) -> float:
        return float((y[1] - x[1]) / (y[0] - x[0]))

    return combine(derive_independent(quotient, _chosen(a, False), _chosen(b, False), name="k_1"))


def extrapolate(ensembles: Sequence[Series], with_slopes: bool) -> Fit:
    """Linear fit R = R_0 + k u, u = a^2 / t_a, to the data of independent ensembles with their correlations.

    u carries an error, too: the true u of every ensemble is one more parameter.

    Parameters
    ----------
    ensembles
        For every coupling the series of (u, R), or of (u, R, k_1).
    with_slopes
        Whether k_1 is there; it is data for k.

    Returns
    -------
    Fit
        Parameters R_0, k, u_1, u_2, ...
    """

    def model(x: Any, p: FloatArray) -> FloatArray:
        rows = [np.array([u, p[0] + p[1] * u, p[1]][: 2 + with_slopes]) for u in p[2:]]
        return np.concatenate(rows)

    def jacobian(x: Any, p: FloatArray) -> FloatArray:
        rows = []
        for i, u in enumerate(p[2:]):
            block = np.zeros((2 + with_slopes, len(p)))
            block[0, 2 + i] = 1.0
            block[1, [0, 1, 2 + i]] = 1.0, u, p[1]
            if with_slopes:
                block[2, 1] = 1.0
            rows.append(block)
        return np.concatenate(rows)

    u, ratio = np.array([series.mean[:2] for series in ensembles]).T
    k, start = np.polyfit(u, ratio, 1)
    return fit(model, None, ensembles, [start, k, *u], correlated=True, jacobian=jacobian)


def band(limit: dict[str, Any], u: FloatArray) -> tuple[FloatArray, FloatArray]:
    """R_0 + k u and its error, from the JSON object of an extrapolation."""
    covariance = np.array(limit["covariance"])
    variance = covariance[0, 0] + 2 * u * covariance[0, 1] + u**2 * covariance[1, 1]
    return limit["R_0"] + limit["k"] * u, np.sqrt(variance)


def _chosen(series: Series, with_slopes: bool) -> Series:
    """(u, R), or (u, R, k_1), of :data:`QUANTITIES`."""
    parts = series.split()
    return stack(parts[0], parts[1], *parts[len(parts) - with_slopes :])


def _limit(found: Fit, count: int) -> dict[str, Any]:
    values, errors = found.values, found.errors
    return {
        "R_0": values[0],
        "R_0_error": errors[0],
        "k": values[1],
        "k_error": errors[1],
        "covariance": found.covariance[:2, :2].tolist(),
        "chi_squared": found.chi_squared,
        "dof": found.dof,
        "p_value": found.p_value,
    }


def _number(found: Any) -> dict[str, float]:
    return {"value": found.value, "error": found.error}


def _scales(series: Series) -> dict[str, Any]:
    u, ratio = (gamma_method(part) for part in series.split()[:2])
    return {"a^2/t_a": _number(u), "R": _number(ratio), "tau_int": {"a^2/t_a": u.tau_int, "R": ratio.tau_int}}


def _mean_coefficients(point: Point, coefficients: FloatArray) -> dict[str, float]:
    return dict(zip(point.fields, coefficients.mean(axis=0).tolist(), strict=True))


def _estimates(entry: Entry, linear: dict[str, Series], step: float, clock: Clock) -> list[dict[str, Any]]:
    _, _, point, images = entry
    found = {**linear, **(point.finite(images, step) if images else {})}
    reference = gamma_method(found[EPSILON].split()[-1])
    rows = []
    for label, series in found.items():
        numbers = [gamma_method(part) for part in series.split()]
        better = gain(reference, numbers[-1], _cost(entry, EPSILON, step, clock), _cost(entry, label, step, clock))
        weights = [images.series(f"{name}|log_weight") for name in maps_of(label, step)] if images else []
        rows.append(
            {
                "estimator": label,
                "n_configurations": numbers[-1].n,
                **{name: _number(number) for name, number in zip(QUANTITIES[2:], numbers[2:], strict=True)},
                "tau_int": numbers[-1].tau_int,
                "n_effective": effective_configurations(*weights) if weights else None,
                "gain_equal_statistics": better.equal_statistics,
                "gain_equal_cost": better.equal_cost,
                "gain_relative_error": better.relative_error,
            }
        )
    return rows


def _cost(entry: Entry, label: str, step: float, clock: Clock) -> Cost:
    """Seconds of an estimator; images were made on some of the configurations."""
    beta, _, point, images = entry
    key = f"{beta:g}|"
    source, here = clock.spent("source", f"{beta:g}"), clock.spent("measurement", key)
    if label in (LINEAR, FITTED):
        along = [clock.spent("measurement", f"{key}{name}") for name in point.fields]
        return Cost(source, here + sum(along), sum(clock.spent("flow", f"{key}{name}") for name in point.fields))
    if label == EPSILON or images is None:
        return Cost(source, here)
    part = len(images) / len(point.data)
    names = [f"{key}image{name}" for name in maps_of(label, step)]
    flow = sum(clock.spent("flow", name) for name in names)
    return Cost(source * part, here * part + sum(clock.spent("measurement", name) for name in names), flow)


def tables(result: dict[str, Any]) -> tuple[Table, ...]:
    """Scales, slopes, extrapolations, seconds."""
    a, b = result["levels"]
    t_a, t_b = f"t_{a:g}", f"t_{b:g}"

    scales = tuple(
        (
            f"{c['beta']:g}",
            " x ".join(map(str, c["lattice"])),
            c["n_configurations"],
            text(c["a^2/t_a"]),
            text(c["R"]),
            f"{c['tau_int']['a^2/t_a']:.2f}",
        )
        for c in result["couplings"]
    )
    rows = [
        (
            f"{c['beta']:g}",
            e["estimator"],
            e["n_configurations"],
            text(e["dt_a/dbeta"]),
            text(e["dR/dbeta"]),
            text(e["k_1"]),
            effective(e["n_effective"]),
            f"{e['gain_equal_statistics']:.3g}",
            f"{e['gain_equal_cost']:.3g}",
        )
        for c in result["couplings"]
        for e in c["estimates"]
    ]
    rows += [
        (f"{n['beta'][0]:g}, {n['beta'][1]:g}", "independent ensembles", "", "", "", text(n), "", "", "")
        for n in result["neighbours"]
    ]
    limits = tuple(
        (
            name,
            format_error(limit["R_0"], limit["R_0_error"]),
            format_error(limit["k"], limit["k_error"]),
            f"{limit['chi_squared']:.2f} / {limit['dof']}",
            f"{limit['p_value']:.2f}",
        )
        for name, limit in result["extrapolations"].items()
    )
    columns = ("beta", "estimator", "configurations", f"d{t_a}/dbeta", "dR/dbeta", "k_1", "effective")
    return (
        Table(
            f"Scales, R = {t_a} / {t_b}",
            ("beta", "lattice", "configurations", f"a^2 / {t_a}", "R", "tau_int"),
            scales,
            (BRACKETS,),
        ),
        Table(
            f"Derivatives, k_1 = dR / d(a^2 / {t_a})",
            (*columns, "gain per configuration", "gain per second"),
            tuple(rows),
            (NOTES[0], NOTES[2], _GAIN),
        ),
        Table("R = R_0 + k a^2 / " + t_a, ("slopes", "R_0", "k", "chi^2 / dof", "p"), limits, (_SLOPES,)),
        cost_table(result["seconds"]),
    )


_GAIN = (
    f"gain: variance of k_1 by {EPSILON} divided by that of the estimator, for equal numbers of configurations and for equal "
    "seconds"
)
_SLOPES = (
    "slopes: the estimator whose k_1 at every coupling is data of the fit, beside R and its abscissa; none: without"
)
