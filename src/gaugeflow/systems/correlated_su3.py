"""Correlated SU(3) ensembles: flow beta to beta + dbeta, reweight exactly, differentiate observables.

The main job of arXiv:2401.10874: source configurations at beta, a residual flow to a nearby coupling, exact weights,
and d<O>/dbeta by independent ensembles, reweighting, flows with finite steps, and the linearised flow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io, kernels
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import (
    Estimate,
    Series,
    derivative_central,
    derivative_linear,
    derivative_one_sided,
    difference_independent,
    ess,
    format_error,
    gamma_method,
    variance_per_site,
)
from gaugeflow.ensembles import CorrelatedEnsemble, Measurements, MemoryEnsemble, measure_images
from gaugeflow.flows import SmearedSweep
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables.flow_scales import flow_history
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath, configurations
from gaugeflow.systems import figures
from gaugeflow.systems.report import Progress, Report, Table, silent
from gaugeflow.training import Adam, Trained, cosine, fit_linear, log_variance, train
from gaugeflow.typing import Ensemble, Params

LINEAR_STEP = 1e-4
"""Step in beta of the central difference of observables along the linearised flow: its error is of order step^2."""


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are the demo's."""

    shape: tuple[int, ...] = (8, 8, 8, 8)
    n_colours: int = 3
    beta: float = 6.02
    steps: tuple[float, ...] = (0.01, 0.10)
    chains: int = 8
    blocks: int = 8
    burn_in: int = 100
    thin: int = 10
    overrelax: int = 4
    flow_time: float = 1.0
    flow_step: float = 0.1
    training_shape: tuple[int, ...] = (4, 4, 4, 4)
    training_chains: int = 64
    training_blocks: int = 3
    training_steps: int = 4
    training_rate: float = 0.02


QUICK = Settings(shape=(4, 4, 4, 4), burn_in=40, training_chains=32, training_steps=2)


@dataclass
class Clock:
    """Seconds by kind of work."""

    seconds: dict[str, float] = field(
        default_factory=lambda: {"source": 0.0, "training": 0.0, "flow": 0.0, "measurement": 0.0}
    )

    def time(self, kind: str, work: Callable[[], Any]) -> Any:
        """Result of ``work``, its time added to one kind."""
        start = time.perf_counter()
        result = work()
        self.seconds[kind] += time.perf_counter() - start
        return result


def run(
    *, out: Path, seed: int = 2401, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Generate, train, flow, measure and report.

    Parameters
    ----------
    out
        Folder for figures, measurements and parameters (made if needed).
    seed
        Seed of all random numbers.
    quick
        A 4^4 lattice and short chains, for a first look.
    progress
        Called as work goes on.
    settings
        Parameters other than the demo's.

    Returns
    -------
    Report
        Tables, one JSON object for each step, figures.
    """
    chosen = settings or (QUICK if quick else Settings())
    out.mkdir(parents=True, exist_ok=True)
    rng = Rng(seed)
    clock = Clock()
    lattice = Lattice(chosen.shape)
    flow = make_flow(lattice, chosen.n_colours)
    source = WilsonAction(lattice, chosen.beta)
    trained, coefficients = learn(chosen, rng.stream("training"), clock, progress)
    io.write_params(
        out / "flow.h5",
        trained.params,
        attributes=io.provenance(seed=seed, settings=repr(chosen), dbeta=chosen.steps[-1]),
    )
    ensemble = clock.time(
        "source",
        lambda: generate(
            lattice, chosen, chosen.beta, rng.stream("source"), lambda i, n: progress("source ensemble", i, n)
        ),
    )
    data = measure(chosen, ensemble, flow, source, trained.params, coefficients, clock, progress)
    io.write_table(out / "measurements.h5", data.columns(), attributes=io.provenance(seed=seed, settings=repr(chosen)))
    independent = {
        step: independent_ensemble(chosen, lattice, step, rng.stream(f"independent {step}"), clock, progress)
        for step in chosen.steps
    }
    results = [analyse(chosen, lattice, data, independent[step], step, clock.seconds) for step in chosen.steps]
    pictures = (
        figures.log_weights(out / "log_weights.png", data.columns(), chosen.steps),
        figures.training(out / "training.png", trained.history),
        figures.derivatives(out / "derivatives.png", [row for r in results for row in r["derivatives"]]),
    )
    return Report((weights_table(results), derivatives_table(results), cost_table(clock.seconds)), results, pictures)


def make_flow(lattice: Lattice, n_colours: int) -> SmearedSweep:
    """The flow of this system."""
    return SmearedSweep(lattice, n_colours)


def generate(
    lattice: Lattice, settings: Settings, beta: float, rng: Rng, progress: Callable[[int, int], None]
) -> MemoryEnsemble:
    """Heat bath and overrelaxation: one block of configurations for each recorded step."""
    sampler = HeatBath(lattice, beta, settings.overrelax)
    state = sampler.hot(rng.stream("start"), settings.n_colours, settings.chains)
    total = settings.blocks * settings.thin
    blocks = []
    for sample in configurations(
        sampler, rng.stream("chain"), state, total, burn_in=settings.burn_in, thin=settings.thin
    ):
        blocks.append(sample.state.x)
        progress(len(blocks), settings.blocks)
    return MemoryEnsemble(lattice, tuple(blocks))


def learn(settings: Settings, rng: Rng, clock: Clock, progress: Progress) -> tuple[Trained, Params]:
    """Linear fit and training on the small volume; parameters do not depend on the volume.

    Returns
    -------
    trained : Trained
        Parameters for the largest step.
    coefficients : dict
        Parameters per unit step of the linearised flow.
    """

    def work() -> tuple[Trained, Params]:
        lattice = Lattice(settings.training_shape)
        small = replace(
            settings,
            chains=settings.training_chains,
            blocks=settings.training_blocks,
            burn_in=max(40, settings.burn_in // 2),
        )
        ensemble = generate(lattice, small, settings.beta, rng, lambda i, n: progress("training ensemble", i, n))
        flow = make_flow(lattice, settings.n_colours)
        source = WilsonAction(lattice, settings.beta)
        h = [flow.tangent(x, source.grad(x)) for x in ensemble.blocks]
        operator = np.concatenate([source.d_beta(x) for x in ensemble.blocks])
        tangents = np.concatenate(h, axis=-1)
        fit = fit_linear(tangents.reshape(-1, tangents.shape[-1]), operator)
        coefficients = {"delta": fit.coefficients.reshape(flow.shape)}
        step = settings.steps[-1]
        held_out = MemoryEnsemble(lattice, ensemble.blocks[:1])
        rest = MemoryEnsemble(lattice, ensemble.blocks[1:])
        scale = float(np.abs(coefficients["delta"]).max()) * step
        trained = train(
            flow,
            {"delta": coefficients["delta"] * step},
            source,
            WilsonAction(lattice, settings.beta + step),
            rest,
            held_out,
            loss=log_variance,
            optimiser=Adam(cosine(settings.training_rate * scale, settings.training_steps)),
            steps=settings.training_steps,
            batch=settings.training_chains,
            evaluate_every=max(1, settings.training_steps // 10),
            progress=lambda i, value: progress("training", i, settings.training_steps),
        )
        return trained, coefficients

    result: tuple[Trained, Params] = clock.time("training", work)
    return result


def observables(settings: Settings, lattice: Lattice) -> Callable[[Array], Mapping[str, Array]]:
    """Plaquette and t^2 E(t) of every configuration."""

    def measure_field(x: Array) -> Mapping[str, Array]:
        history = flow_history(lattice, x, (settings.flow_time,), step=settings.flow_step)
        return {"plaquette": np.mean(kernels.plaquette(lattice, x), axis=0), "t2_e": history.t2_e[0]}

    return measure_field


def measure(
    settings: Settings,
    ensemble: Ensemble,
    flow: SmearedSweep,
    source: WilsonAction,
    trained: Params,
    coefficients: Params,
    clock: Clock,
    progress: Progress,
) -> Measurements:
    """All measurements on the source ensemble, on its images, and along the linearised flow."""
    lattice = source.lattice
    maps: dict[str, CorrelatedEnsemble] = {}
    for size in settings.steps:
        for step in (size, -size):
            target = WilsonAction(lattice, source.beta + step)
            params = {"delta": trained["delta"] * (step / settings.steps[-1])}
            maps[f"plain{step:+g}"] = CorrelatedEnsemble(ensemble, source, target)
            maps[f"flow{step:+g}"] = CorrelatedEnsemble(ensemble, source, target, flow, params)
    one = observables(settings, lattice)

    def along_flow(x: Array) -> Mapping[str, Array]:
        """X.dA by a central difference along the flow, and r = div X - X.dS - O."""
        images = {}
        for sign in (1, -1):
            params = {"delta": coefficients["delta"] * (sign * LINEAR_STEP)}
            y, _ = clock.time("flow", partial(flow.forward, params, x))
            images[sign] = clock.time("measurement", partial(one, y))
        row = {f"linear|{name}": (images[1][name] - images[-1][name]) / (2.0 * LINEAR_STEP) for name in images[1]}
        h = clock.time("flow", lambda: flow.tangent(x, source.grad(x)))
        row["linear|residual"] = np.einsum("ij,ijb->b", coefficients["delta"], h) - source.d_beta(x)
        return row

    return measure_images(
        ensemble,
        maps,
        one,
        settings.chains,
        source_only=along_flow,
        timed=clock.time,
        progress=lambda count: progress("measurements", count, len(ensemble)),
    )


def independent_ensemble(
    settings: Settings, lattice: Lattice, step: float, rng: Rng, clock: Clock, progress: Progress
) -> Measurements:
    """Measurements on an ensemble of its own at the target coupling."""
    stage = f"independent ensemble {settings.beta + step:g}"
    ensemble = generate(lattice, settings, settings.beta + step, rng, lambda i, n: progress(stage, i, n))
    return measure_images(ensemble, {}, observables(settings, lattice), settings.chains)


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


def analyse(
    settings: Settings,
    lattice: Lattice,
    data: Measurements,
    independent: Measurements,
    step: float,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The JSON object of one step."""

    def quality(kind: str) -> tuple[Estimate, Estimate]:
        weight = data.series(f"{kind}{step:+g}|log_weight")
        return ess(weight), variance_per_site(weight, lattice.volume).from_variance

    plain, flow = quality("plain"), quality("flow")
    derivatives = []
    for name in ("plaquette", "t2_e"):
        for label, series in estimates(data, independent, name, step).items():
            estimate = gamma_method(series)
            derivatives.append(
                {
                    "observable": name,
                    "estimator": label,
                    "step": step,
                    "value": estimate.value,
                    "error": estimate.error,
                    "tau_int": estimate.tau_int,
                }
            )
    return {
        "system": "correlated-su3",
        "lattice": list(settings.shape),
        "source": {"action": "wilson", "beta": settings.beta},
        "target": {"action": "wilson", "beta": settings.beta + step},
        "dbeta": step,
        "n_configurations": settings.blocks * settings.chains,
        "ess_plain": plain[0].value,
        "ess_plain_error": plain[0].error,
        "ess_flow": flow[0].value,
        "ess_flow_error": flow[0].error,
        "variance_per_site_plain": plain[1].value,
        "variance_per_site_plain_error": plain[1].error,
        "variance_per_site_flow": flow[1].value,
        "variance_per_site_flow_error": flow[1].error,
        "derivatives": derivatives,
        "seconds": dict(seconds),
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
    columns = ("beta", "map", "ESS", "variance/site", "variance/site/dbeta^2")
    return Table("Log-weights", columns, tuple(rows))


def derivatives_table(results: list[dict[str, Any]]) -> Table:
    """Every derivative with its error, integrated autocorrelation time and gain over independent ensembles."""
    rows: list[tuple[Any, ...]] = []
    for r in results:
        reference = {d["observable"]: d["error"] for d in r["derivatives"] if d["estimator"] == "independent"}
        rows.extend(
            (
                d["observable"],
                f"{d['step']:g}",
                d["estimator"],
                format_error(d["value"], d["error"]),
                f"{d['tau_int']:.2f}",
                f"{(reference[d['observable']] / d['error']) ** 2:.1f}",
            )
            for d in r["derivatives"]
        )
    columns = ("observable", "step", "estimator", "d/dbeta", "tau_int", "variance gain")
    return Table("Derivatives (gain against independent ensembles, equal statistics)", columns, tuple(rows))


def cost_table(seconds: Mapping[str, float]) -> Table:
    """Where the time went."""
    return Table("Seconds", ("work", "seconds"), tuple((kind, f"{value:.1f}") for kind, value in seconds.items()))
