"""What a correlated ensemble and its flow are worth: estimators of derivatives, their gains and costs, tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gaugeflow.analysis import (
    FEW,
    Cost,
    Estimate,
    Series,
    derivative_central,
    derivative_linear,
    derivative_one_sided,
    difference_independent,
    effective_configurations,
    ess,
    format_error,
    gain,
    gamma_method,
    variance_per_site,
)
from gaugeflow.ensembles import Measurements
from gaugeflow.lattice import Lattice
from gaugeflow.systems.report import BRACKETS, ESS, TAU_INT, VARIANCE, Table


@dataclass
class Clock:
    """Seconds by kind of work and by name of the map."""

    seconds: dict[tuple[str, str], float] = field(default_factory=dict)

    def time(self, kind: str, name: str, work: Callable[[], Any]) -> Any:
        """Result of ``work``, its time added to what ``kind`` and ``name`` spent."""
        start = time.perf_counter()
        result = work()
        self.seconds[kind, name] = self.spent(kind, name) + time.perf_counter() - start
        return result

    def spent(self, kind: str, name: str = "") -> float:
        """Seconds of one kind of work for one map."""
        return self.seconds.get((kind, name), 0.0)

    def totals(self) -> dict[str, float]:
        """Seconds by kind."""
        totals = dict.fromkeys(("source", "training", "flow", "measurement"), 0.0)
        for (kind, _), spent in self.seconds.items():
            totals[kind] += spent
        return totals


def estimates(data: Measurements, independent: Measurements, name: str, step: float) -> dict[str, Series]:
    """d<O>/dbeta by every estimator, as linearised series."""
    source = data.series(name)

    def image(kind: str, signed: float) -> tuple[Series, Series]:
        column = f"{kind}{signed:+g}"
        values = data.series(f"{column}|{name}") if kind == "flow" else source
        return values, data.series(f"{column}|log_weight")

    result = {"independent": difference_independent(source, independent.series(name)) * (1.0 / step)}
    for kind, label in (("plain", "reweighting"), ("flow", "flow")):
        result[label] = derivative_one_sided(source, *image(kind, step), step)
        result[f"{label}, central"] = derivative_central(*image(kind, step), *image(kind, -step), step)
    residual = data.series("linear|residual")
    result["linearised flow"] = derivative_linear(data.series(f"linear|{name}"), source, residual)
    return result


def maps_of(label: str, step: float) -> list[str]:
    """Columns of the maps that an estimator reweights: ``plain+0.01``, ``flow-0.01``; none without weights."""
    if label in ("independent", "linearised flow"):
        return []
    kind = "flow" if label.startswith("flow") else "plain"
    return [f"{kind}{sign * step:+g}" for sign in ((1, -1) if label.endswith("central") else (1,))]


def costs(clock: Clock, label: str, step: float) -> Cost:
    """Seconds that an estimator spent; an ensemble at the target costs what the source ensemble costs."""
    source, measurement = clock.spent("source"), clock.spent("measurement", "")
    if label == "independent":
        return Cost(2.0 * source, 2.0 * measurement)
    if label == "linearised flow":
        flow, images = clock.spent("flow", "linear"), clock.spent("measurement", "linear")
        return Cost(source, measurement + images, flow, clock.spent("training"))
    names = maps_of(label, step)
    flow = sum(clock.spent("flow", name) for name in names)
    images = sum(clock.spent("measurement", name) for name in names)
    return Cost(source, measurement + images, flow, clock.spent("training") if flow > 0.0 else 0.0)


def analyse(
    data: Measurements, independent: Measurements, lattice: Lattice, beta: float, step: float, clock: Clock
) -> dict[str, Any]:
    """The JSON object of one step."""

    def quality(kind: str) -> tuple[Estimate, Estimate]:
        weight = data.series(f"{kind}{step:+g}|log_weight")
        return ess(weight), variance_per_site(weight, lattice.volume).from_variance

    plain, flow = quality("plain"), quality("flow")
    derivatives = []
    for name in ("plaquette", "t2_e"):
        found = {label: gamma_method(x) for label, x in estimates(data, independent, name, step).items()}
        reference = found["independent"]
        for label, estimate in found.items():
            weights = [data.series(f"{column}|log_weight") for column in maps_of(label, step)]
            better = gain(reference, estimate, costs(clock, "independent", step), costs(clock, label, step))
            derivatives.append(
                {
                    "observable": name,
                    "estimator": label,
                    "step": step,
                    "value": estimate.value,
                    "error": estimate.error,
                    "tau_int": estimate.tau_int,
                    "n_effective": effective_configurations(*weights) if weights else None,
                    "gain_equal_statistics": better.equal_statistics,
                    "gain_equal_cost": better.equal_cost,
                    "gain_equal_cost_with_training": better.equal_cost_with_training,
                    "gain_relative_error": better.relative_error,
                }
            )
    return {
        "system": "correlated-su3",
        "lattice": list(lattice.shape),
        "source": {"action": "wilson", "beta": beta},
        "target": {"action": "wilson", "beta": beta + step},
        "dbeta": step,
        "n_configurations": len(data.columns()["id"]),
        "ess_plain": plain[0].value,
        "ess_plain_error": plain[0].error,
        "ess_flow": flow[0].value,
        "ess_flow_error": flow[0].error,
        "variance_per_site_plain": plain[1].value,
        "variance_per_site_plain_error": plain[1].error,
        "variance_per_site_flow": flow[1].value,
        "variance_per_site_flow_error": flow[1].error,
        "derivatives": derivatives,
        "seconds": clock.totals(),
    }


def weights_table(results: list[dict[str, Any]]) -> Table:
    """ESS and variance of the log-weights for each step."""
    rows = []
    for r in results:
        for kind, label in (("plain", "plain reweighting"), ("flow", "flow")):
            variance, error = r[f"variance_per_site_{kind}"], r[f"variance_per_site_{kind}_error"]
            rows.append(
                (
                    f"{r['source']['beta']:g} -> {r['target']['beta']:g}",
                    label,
                    format_error(r[f"ess_{kind}"], r[f"ess_{kind}_error"]),
                    f"{variance:.3g}",
                    format_error(variance / r["dbeta"] ** 2, error / r["dbeta"] ** 2),
                )
            )
    columns = ("beta", "map", "ESS", "variance / site", "variance / site / dbeta^2")
    return Table("Log-weights", columns, tuple(rows), (ESS, VARIANCE, BRACKETS))


def derivatives_table(results: list[dict[str, Any]]) -> Table:
    """Every derivative with its error, integrated autocorrelation time and gains over independent ensembles."""
    rows = [
        (
            d["observable"],
            f"{d['step']:g}",
            d["estimator"],
            format_error(d["value"], d["error"]),
            f"{d['tau_int']:.2f}",
            effective(d["n_effective"]),
            f"{d['gain_equal_statistics']:.3g}",
            f"{d['gain_equal_cost']:.3g}",
            f"{d['gain_equal_cost_with_training']:.3g}",
        )
        for r in results
        for d in r["derivatives"]
    ]
    columns = (
        "observable",
        "step in beta",
        "estimator",
        "d<O>/dbeta",
        "tau_int",
        "effective",
        "gain per configuration",
        "gain per second",
        "gain with training",
    )
    return Table("Derivatives of the mean of O with respect to beta", columns, tuple(rows), (*NOTES, GAIN_NOTE))


NOTES = (
    BRACKETS,
    TAU_INT,
    f"effective: number of configurations that the weights leave, ESS times all; an estimate from fewer than {FEW:g}, "
    "marked !, is biased towards the source, and its error is too small; empty without weights",
)
"""What the columns of derivatives mean."""
GAIN_NOTE = (
    "gain: variance of the difference of independent ensembles divided by that of the estimator, above 1 where the estimator "
    "wins; for equal numbers of configurations, for equal seconds without training, and for the seconds spent, with training"
)


def effective(number: float | None) -> str:
    """Effective configurations of an estimate, with a mark where they are too few."""
    if number is None:
        return ""
    return f"{number:.1f}{' !' if number < FEW else ''}"


def cost_table(seconds: Mapping[str, float]) -> Table:
    """Where the time went."""
    return Table("Seconds", ("work", "seconds"), tuple((kind, f"{value:.1f}") for kind, value in seconds.items()))
