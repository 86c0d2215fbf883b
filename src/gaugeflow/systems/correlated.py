"""What a correlated ensemble and its flow are worth: estimators of derivatives, their gains and costs, tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gaugeflow.analysis import (
    FEW,
    Cost,
    Series,
    effective_configurations,
    ess,
    format_error,
    gain,
    gamma_method,
    variance_per_site,
)
from gaugeflow.ensembles import EPSILON, INDEPENDENT, LINEAR, Measurements, estimators, maps_of
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
            totals[kind] = totals.get(kind, 0.0) + spent
        return totals


def costs(clock: Clock, label: str, step: float) -> Cost:
    """Seconds that an estimator spent; an ensemble at the target costs what the source ensemble costs.

    Estimators without a finite step pay for forces and traces of the source action, where these have a clock of their own.
    """
    source, measurement = clock.spent("source"), clock.spent("measurement", "")
    if label == INDEPENDENT:
        return Cost(2.0 * source, 2.0 * measurement)
    if label in (LINEAR, EPSILON):
        measurement += clock.spent("source action")
    if label == LINEAR:
        flow, images = clock.spent("flow", "linear"), clock.spent("measurement", "linear")
        return Cost(source, measurement + images, flow, clock.spent("training"))
    names = maps_of(label, step)
    flow = sum(clock.spent("flow", name) for name in names)
    images = sum(clock.spent("measurement", name) for name in names)
    return Cost(source, measurement + images, flow, clock.spent("training") if flow > 0.0 else 0.0)


def comparison(
    found: Mapping[str, Series], data: Measurements, observable: str, step: float, clock: Clock, parameter: str = "beta"
) -> list[dict[str, Any]]:
    """One derivative by every estimator: value, error, and gains over independent ensembles and over epsilon-reweighting.

    Parameters
    ----------
    found
        The derivative by the name of the estimator: :func:`gaugeflow.ensembles.estimators`, or what follows from its series by
        the chain rule.  Each is one number for a configuration.
    data
        Measurements, whose log-weights say how many configurations are left.
    observable
        Its name.
    step
        Of the parameter; columns of the maps are ``plain+0.01``, ``flow+0.01``.
    clock
        Seconds of the run.
    parameter
        Name of the parameter.

    Returns
    -------
    list of dict
        ``gain_equal_statistics, gain_equal_cost, gain_equal_cost_with_training, gain_relative_error`` are
        :class:`gaugeflow.analysis.Gain` over independent ensembles, where there are any; with ``gain_over_epsilon`` in place of
        ``gain`` they are over epsilon-reweighting.
    """
    estimates = {label: gamma_method(series) for label, series in found.items()}
    rows = []
    for label, estimate in estimates.items():
        weights = [data.series(f"{column}|log_weight") for column in maps_of(label, step)]
        row = {
            "observable": observable,
            "parameter": parameter,
            "estimator": label,
            "step": step,
            "value": estimate.value,
            "error": estimate.error,
            "tau_int": estimate.tau_int,
            "n_effective": effective_configurations(*weights) if weights else None,
        }
        for prefix, reference in (("gain", INDEPENDENT), ("gain_over_epsilon", EPSILON)):
            if reference in estimates:
                better = gain(estimates[reference], estimate, costs(clock, reference, step), costs(clock, label, step))
                row.update({f"{prefix}_{key}": value for key, value in asdict(better).items()})
        rows.append(row)
    return rows


def quality(data: Measurements, lattice: Lattice, step: float) -> dict[str, float]:
    """ESS and variance per site of the log-weights of one step, with and without the flow."""
    found: dict[str, float] = {}
    for kind in ("plain", "flow"):
        weight = data.series(f"{kind}{step:+g}|log_weight")
        size, variance = ess(weight), variance_per_site(weight, lattice.volume).from_variance
        found |= {f"ess_{kind}": size.value, f"ess_{kind}_error": size.error}
        found |= {f"variance_per_site_{kind}": variance.value, f"variance_per_site_{kind}_error": variance.error}
    return found


def analyse(
    data: Measurements, independent: Measurements, lattice: Lattice, beta: float, step: float, clock: Clock
) -> dict[str, Any]:
    """The JSON object of one step."""
    derivatives = [
        row
        for name in ("plaquette", "t2_e")
        for row in comparison(estimators(data, name, step, independent={step: independent}), data, name, step, clock)
    ]
    return {
        "system": "correlated-su3",
        "lattice": list(lattice.shape),
        "source": {"action": "wilson", "beta": beta},
        "target": {"action": "wilson", "beta": beta + step},
        "dbeta": step,
        "n_configurations": len(data),
        **quality(data, lattice, step),
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
    """Every derivative with its error, integrated autocorrelation time and gains.

    Parameters
    ----------
    results
        Objects whose ``derivatives`` are rows of :func:`comparison`.
    """
    found = [d for r in results for d in r["derivatives"]]
    rows = [
        (
            d["observable"],
            f"{d['step']:g}",
            d["estimator"],
            format_error(d["value"], d["error"]),
            f"{d['tau_int']:.2f}",
            effective(d["n_effective"]),
            *(f"{d[name]:.3g}" if name in d else "" for name in GAINS),
        )
        for d in found
    ]
    parameter = found[0]["parameter"]
    columns = (
        "observable",
        f"step in {parameter}",
        "estimator",
        f"d<O>/d{parameter}",
        "tau_int",
        "effective",
        *GAINS.values(),
    )
    title = f"Derivatives of the mean of O with respect to {parameter}"
    return Table(title, columns, tuple(rows), (*NOTES, GAIN_NOTE))


GAINS = {
    "gain_equal_statistics": "gain per configuration",
    "gain_equal_cost": "gain per second",
    "gain_equal_cost_with_training": "gain with training",
    "gain_over_epsilon_equal_statistics": "over epsilon per configuration",
    "gain_over_epsilon_equal_cost_with_training": "over epsilon with training",
}
"""Keys of rows, and their columns in tables."""
NOTES = (
    BRACKETS,
    TAU_INT,
    f"effective: number of configurations that the weights leave, ESS times all; an estimate from fewer than {FEW:g}, "
    "marked !, is biased towards the source, and its error is too small; empty without weights",
)
"""What the columns of derivatives mean."""
GAIN_NOTE = (
    "gain: variance of the difference of independent ensembles divided by that of the estimator, above 1 where the estimator "
    "wins; for equal numbers of configurations, for equal seconds without training, and for the seconds spent, with training; "
    "over epsilon: the same with epsilon-reweighting, which needs neither flow nor other ensemble, in place of independent ones"
)


def effective(number: float | None) -> str:
    """Effective configurations of an estimate, with a mark where they are too few."""
    if number is None:
        return ""
    return f"{number:.1f}{' !' if number < FEW else ''}"


def cost_table(seconds: Mapping[str, float]) -> Table:
    """Where the time went."""
    return Table("Seconds", ("work", "seconds"), tuple((kind, f"{value:.1f}") for kind, value in seconds.items()))
