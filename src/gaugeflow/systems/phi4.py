"""Two-dimensional phi^4: affine couplings against critical slowing down, and a broken phase of which no half is lost.

The system of arXiv:1904.12072: five volumes with couplings that keep the ratio of lattice to correlation length at four,
flows from a prior, independence Metropolis; beside it local Metropolis and HMC, whose autocorrelation times grow with the
volume.  Then a broken phase (arXiv:2107.00734): a flow that training by the reverse Kullback-Leibler divergence leads
into one mode, mirrored so that it samples both, and the check that notices the difference.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io, tree
from gaugeflow.actions import ScalarAction
from gaugeflow.analysis import Estimate, ess, ess_from_target, gamma_method, variance_per_site
from gaugeflow.flows import Chain, affine_chain
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import ising_energy, magnetisation, two_point_susceptibility
from gaugeflow.priors import FreeField, Mirrored, Pushed
from gaugeflow.random import Rng
from gaugeflow.samplers import HMC, OMELYAN2, IndependenceMetropolis, Level, ScalarMetropolis
from gaugeflow.samplers import Chain as Run
from gaugeflow.samplers import run as run_chain
from gaugeflow.systems import phi4_report
from gaugeflow.systems.report import Progress, Report, silent
from gaugeflow.training import Adam, Stage, Trained, anneal, cosine, reverse_kl_path
from gaugeflow.typing import Observable, Params, Prior, Sampler

OBSERVABLES = ("M", "chi_2", "E")
"""Magnetisation, two-point susceptibility and Ising energy: what is measured, in this order."""
SHIPPED = files("gaugeflow.systems") / "data" / "phi4.h5"
"""Trained parameters of the five volumes and of the broken phase; ``gaugeflow demo phi4`` trains them anew."""
BROKEN = "broken"
THERMALISE = 200
"""Metropolis sweeps before HMC in the broken phase."""


@dataclass(frozen=True)
class Point:
    """A lattice L^2 with the coupling in the papers' normalisation (no factors 1/2), and how its flow is trained."""

    extent: int
    coupling: float
    steps: int
    mass_squared: float = -4.0
    rate: float = 5e-3

    @property
    def name(self) -> str:
        """Name of its parameters and checkpoint."""
        return f"L{self.extent}"


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; couplings are those of arXiv:1904.12072, table I."""

    points: tuple[Point, ...] = (
        Point(6, 6.975, 800),
        Point(8, 6.008, 400, rate=3e-3),
        Point(10, 5.550, 300, rate=3e-3),
        Point(12, 5.276, 300, rate=3e-3),
        Point(14, 5.113, 300, rate=3e-3),
    )
    broken: Point = Point(8, 3.5, 500)
    layers: int = 8
    hidden: tuple[int, ...] = (8, 8)
    batch: int = 128
    chains: int = 64
    proposals: int = 400
    sweeps: int = 2000
    trajectories: int = 500
    metropolis_width: float = 0.6
    hmc_steps: int = 8
    trained: bool = False


QUICK = Settings(trained=True)
QUICK = replace(QUICK, points=QUICK.points[:3], chains=32, proposals=200, sweeps=1000, trajectories=250)


class _Measured:
    """Magnetisation, two-point susceptibility and Ising energy, ``(3, batch)``."""

    name = "measured"

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice

    def __call__(self, x: Array) -> Array:
        functions = (magnetisation, two_point_susceptibility, ising_energy)
        return np.stack([function(self.lattice, x) for function in functions])


@dataclass(frozen=True)
class Model:
    """Lattice, action, prior and flow of one point."""

    point: Point
    lattice: Lattice
    action: ScalarAction
    prior: FreeField
    flow: Chain


def model(settings: Settings, point: Point) -> Model:
    """The flow starts from free fields whose correlation length is a quarter of the lattice."""
    lattice = Lattice((point.extent, point.extent))
    return Model(
        point,
        lattice,
        ScalarAction(lattice, point.mass_squared, point.coupling),
        FreeField(lattice, (4.0 / point.extent) ** 2),
        affine_chain(lattice, settings.layers, settings.hidden, pointwise=True),
    )


def run(
    *, out: Path, seed: int = 1904, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Train or load the flows, sample with them and beside them, and compare.

    Parameters
    ----------
    out
        Folder for figures, measurements, trained parameters and checkpoints; an interrupted run continues there.
    seed
        Seed of all random numbers.
    quick
        Shipped parameters, three volumes, short chains.
    progress
        Called as work goes on.
    settings
        Parameters other than the demo's.

    Returns
    -------
    Report
        Tables, one JSON object, figures.
    """
    chosen = settings or (QUICK if quick else Settings())
    out.mkdir(parents=True, exist_ok=True)
    rng = Rng(seed)
    attributes = io.provenance(seed=seed, settings=repr(chosen))
    params, history = shipped() if chosen.trained else train(chosen, rng.stream("training"), out, attributes, progress)
    columns: dict[str, Array] = {}
    volumes, autocorrelations = [], []
    for point in chosen.points:
        here = model(chosen, point)
        runs, seconds = sample(chosen, here, params[point.name], rng.stream(point.name), out, progress)
        columns |= {f"{point.name}|{kind}|measured": chain.records["measured"] for kind, chain in runs.items()}
        columns[f"{point.name}|log_weight"] = runs["flow"].records["log_weight"]
        columns[f"{point.name}|log_weight of HMC"] = runs["HMC"].records["log_weight"]
        volumes.append(compare(here, runs, history.get(point.name)))
        for kind, chain in runs.items():
            autocorrelations += autocorrelation(point, kind, chain.records["measured"], seconds[kind])
    broken, more = both_modes(chosen, params[BROKEN], rng.stream(BROKEN), out, progress)
    columns |= more
    io.write_table(out / "measurements.h5", columns, attributes=attributes)
    result = {
        "system": "phi4",
        "parameters": "trained" if history else "shipped",
        "volumes": volumes,
        "autocorrelations": autocorrelations,
        "broken": broken,
    }
    pictures = (
        phi4_report.slowing_down(out / "slowing_down.png", volumes, autocorrelations),
        phi4_report.modes(out / "modes.png", columns, broken["rows"]),
    )
    return Report(phi4_report.tables(result), result, pictures, phi4_report.notes(result))


def shipped() -> tuple[Params, dict[str, Any]]:
    """Parameters that come with the package, and no history of training."""
    with as_file(SHIPPED) as path:
        return tree.map(lambda p: np.asarray(p, dtype=np.float64), io.read_params(path)[0]), {}


def train(
    settings: Settings, rng: Rng, out: Path, attributes: dict[str, object], progress: Progress
) -> tuple[Params, dict[str, Any]]:
    """Train from the smallest lattice to the largest, each from the parameters of the one before; and the broken phase.

    Networks do not know the volume, and the prior brings the correlation length: what they learn carries over.  The
    parameters, in single precision, are written to ``phi4.h5``: the file that ``--quick`` loads.
    """
    stages = [_stage(settings, point, point.name) for point in settings.points]
    broken = _stage(settings, settings.broken, BROKEN)
    total = {stage.name: stage.steps for stage in (*stages, broken)}
    options: dict[str, Any] = {
        "rng": rng,
        "loss": reverse_kl_path,
        "batch": settings.batch,
        "folder": out,
        "progress": lambda name, step, ess: progress(f"training {name}", step, total[name]),
    }
    trained = anneal(stages, stages[0].flow.init(rng.stream("start")), **options)
    history = {stage.name: result for stage, result in zip(stages, trained, strict=True)}
    near = min(settings.points, key=lambda point: abs(point.extent - settings.broken.extent))
    history[BROKEN] = anneal([broken], history[near.name].params, **options)[0]
    rounded = {
        name: tree.map(lambda p: np.asarray(p, dtype=np.float32), result.params) for name, result in history.items()
    }
    io.write_params(out / "phi4.h5", rounded, attributes=attributes)
    return tree.map(lambda p: np.asarray(p, dtype=np.float64), rounded), history


def _stage(settings: Settings, point: Point, name: str) -> Stage:
    here = model(settings, point)
    adam = Adam(cosine(point.rate, point.steps, warm_up=20), clip=50.0)
    return Stage(name, here.flow, here.prior, here.action, adam, point.steps)


def sample(
    settings: Settings, here: Model, params: Params, rng: Rng, out: Path, progress: Progress
) -> tuple[dict[str, Run], dict[str, float]]:
    """Independence Metropolis with the flow, local Metropolis and HMC, whose configurations also go through the inverse.

    Returns
    -------
    runs
        By name of the algorithm.
    seconds
        For one step of one chain.
    """
    flow = IndependenceMetropolis(here.lattice, here.action, here.prior, here.flow, params)
    local = ScalarMetropolis(here.action, settings.metropolis_width)
    hmc = HMC(here.lattice, (Level(here.action, settings.hmc_steps, OMELYAN2),))
    start = here.prior.sample(rng.stream("start"), settings.chains)
    plans: dict[str, tuple[Sampler, int, tuple[Observable, ...]]] = {
        "flow": (flow, settings.proposals, ()),
        "Metropolis": (local, settings.sweeps, ()),
        "HMC": (hmc, settings.trajectories, (_LogWeight(flow),)),
    }
    runs: dict[str, Run] = {}
    seconds = {}
    for kind, (sampler, steps, more) in plans.items():
        path = out / f"{here.point.name}-{kind}.h5"
        if kind == "flow":
            state: Any = flow.start(rng, settings.chains)
        else:  # far from equilibrium the quartic force is so strong that HMC would accept nothing, for ever
            state = sampler.init(start if kind == "Metropolis" else runs["Metropolis"].state.x)
        runs[kind] = _chain(sampler, state, steps, rng.stream(kind), here.lattice, path, more, progress)
        seconds[kind] = _seconds(sampler, rng, runs[kind].state) / settings.chains
    return runs, seconds


def _seconds(sampler: Sampler, rng: Rng, state: Any) -> float:
    """Median time of a step."""
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        sampler.step(rng, state)
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


class _LogWeight:
    """Log-weight that a flow gives to a configuration, by its inverse, ``(batch,)``."""

    def __init__(self, proposals: IndependenceMetropolis, name: str = "log_weight") -> None:
        self.proposals, self.name = proposals, name

    def __call__(self, x: Array) -> Array:
        return self.proposals.init(x).log_weight


def _chain(
    sampler: Sampler,
    state: Any,
    steps: int,
    rng: Rng,
    lattice: Lattice,
    checkpoint: Path,
    more: tuple[Observable, ...],
    progress: Progress,
) -> Run:
    """A chain, a tenth of its length burnt in first, with checkpoints."""
    burn_in = steps // 10
    every = max(1, steps // 20)

    def report(done: Any) -> None:
        if done.step % every == 0:
            progress(checkpoint.stem, done.step, burn_in + steps)

    return run_chain(
        sampler,
        rng,
        state,
        steps,
        burn_in=burn_in,
        observe=(_Measured(lattice), *more),
        callback=report,
        progress=False,
        checkpoint=checkpoint,
        checkpoint_every=max(1, steps // 4),
    )


# ---- results -----------------------------------------------------------------------------------------------------
def estimate(values: Array) -> Estimate:
    """Gamma method on ``(n, chains)``."""
    return gamma_method([values[:, chain] for chain in range(values.shape[1])])


def number(value: Estimate) -> dict[str, float]:
    """A mean and its error for JSON."""
    return {"value": value.value, "error": value.error}


def compare(here: Model, runs: dict[str, Run], history: Trained | None) -> dict[str, Any]:
    """Quality of the flow, and its means beside those of HMC, as one row of the report."""
    point = here.point
    proposals = runs["flow"].records["log_weight"].ravel()
    from_hmc = runs["HMC"].records["log_weight"]
    textbook = here.action.with_normalisation(0.5)
    means = {
        kind: {name: estimate(chain.records["measured"][:, k]) for k, name in enumerate(OBSERVABLES)}
        for kind, chain in runs.items()
    }
    row: dict[str, Any] = {
        "extent": point.extent,
        "mass_squared": point.mass_squared,
        "coupling": point.coupling,
        "coupling_with_halves": textbook.coupling,
        "ess": number(ess(proposals)),
        "ess_from_hmc": number(ess_from_target([from_hmc[:, c] for c in range(from_hmc.shape[1])])),
        "variance_per_site": number(variance_per_site(proposals, here.lattice.volume).from_ess),
        "acceptance": float(np.mean(runs["flow"].records["accepted"])),
        "metropolis_acceptance": float(np.mean(runs["Metropolis"].records["acceptance"])),
        "hmc_acceptance": float(np.mean(runs["HMC"].records["accepted"])),
        "training_seconds": None if history is None else history.history.seconds[-1],
        "training_steps": point.steps,
    }
    for name in OBSERVABLES[1:]:
        row[name] = {kind: number(values[name]) for kind, values in means.items()}
        flow, hmc = means["flow"][name], means["HMC"][name]
        row[f"{name} pull"] = (flow.value - hmc.value) / math.hypot(flow.error, hmc.error)
    return row


def autocorrelation(point: Point, algorithm: str, measured: Array, seconds: float) -> list[dict[str, Any]]:
    """Integrated autocorrelation times in steps of the algorithm, and the seconds for an independent configuration."""
    rows = []
    for k, name in enumerate(OBSERVABLES):
        found = estimate(measured[:, k])
        rows.append(
            {
                "extent": point.extent,
                "algorithm": algorithm,
                "observable": name,
                "tau_int": found.tau_int,
                "tau_int_error": found.tau_int_error,
                "seconds_per_independent": 2.0 * found.tau_int * seconds,
            }
        )
    return rows


def both_modes(
    settings: Settings, params: Params, rng: Rng, out: Path, progress: Progress
) -> tuple[dict[str, Any], dict[str, Array]]:
    """The broken phase: the flow as trained, its mirrored mixture, and HMC from starts of both signs in equal number.

    The magnetisation is odd, so its mean is exactly zero and it is positive for exactly half of the configurations.
    """
    here = model(settings, settings.broken)
    plain: Prior = Pushed(here.prior, here.flow, params)
    proposals = {
        "flow": IndependenceMetropolis(here.lattice, here.action, here.prior, here.flow, params),
        "mirrored flow": IndependenceMetropolis(here.lattice, here.action, Mirrored(plain)),
    }
    local = ScalarMetropolis(here.action, settings.metropolis_width)
    start = local.init(here.prior.sample(rng.stream("start"), settings.chains // 2))
    start = run_chain(local, rng.stream("thermalise"), start, THERMALISE, progress=False).state.x
    hmc = HMC(here.lattice, (Level(here.action, settings.hmc_steps, OMELYAN2),))
    state = hmc.init(here.lattice.pack(np.concatenate([sign * here.lattice.unpack(start) for sign in (1.0, -1.0)])))
    weights = tuple(_LogWeight(sampler, f"log_weight of {name}") for name, sampler in proposals.items())
    path = out / "broken-HMC.h5"
    chain = _chain(hmc, state, settings.trajectories, rng.stream("HMC"), here.lattice, path, weights, progress)
    rows = [_mode_row("HMC", chain, None, None)]
    columns = {"broken|HMC|measured": chain.records["measured"]}
    for name, sampler in proposals.items():
        begin = sampler.start(rng.stream(name), settings.chains)
        path = out / f"broken-{name.replace(' ', '-')}.h5"
        run = _chain(sampler, begin, settings.proposals, rng.stream(name), here.lattice, path, (), progress)
        seen = chain.records[f"log_weight of {name}"]
        rows.append(_mode_row(name, run, run.records["log_weight"].ravel(), seen))
        columns |= {
            f"broken|{name}|measured": run.records["measured"],
            f"broken|{name}|log_weight": run.records["log_weight"],
            f"broken|{name}|log_weight of HMC": seen,
        }
    point = settings.broken
    result = {"extent": point.extent, "mass_squared": point.mass_squared, "coupling": point.coupling, "rows": rows}
    return result, columns


def _mode_row(name: str, chain: Run, own: Array | None, seen: Array | None) -> dict[str, Any]:
    m, _, energy = (chain.records["measured"][:, k] for k in range(len(OBSERVABLES)))
    return {
        "sampler": name,
        "positive": number(estimate((m > 0.0).astype(np.float64))),
        "abs_M": number(estimate(np.abs(m))),
        "E": number(estimate(energy)),
        "acceptance": float(np.mean(chain.records["accepted"])),
        "ess": None if own is None else number(ess(own)),
        "ess_from_hmc": None if seen is None else number(ess_from_target([seen[:, c] for c in range(seen.shape[1])])),
    }
