"""Yukawa model in 1 + 1 dimensions: four ways for flows to sample a theory with dynamical quarks, beside HMC.

The system of arXiv:2106.05934: a real scalar field with staggered quarks of two flavours, antiperiodic in time.  A flow
of the scalar field alone needs the exact determinant; with pseudofermions there are the Gibbs sampler, the autoregressive
and the joint flow.  All four are exact and are compared with HMC, with the determinant and with pseudofermions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io, tree
from gaugeflow.actions import Inversion, Pseudofermion
from gaugeflow.analysis import Estimate, ess, ess_from_target, gamma_method, variance_per_site
from gaugeflow.lattice import Array
from gaugeflow.random import Rng
from gaugeflow.samplers import HMC, IndependenceMetropolis, Level, ScalarMetropolis
from gaugeflow.samplers import Chain as Run
from gaugeflow.samplers import run as run_chain
from gaugeflow.systems import yukawa_report
from gaugeflow.systems.report import Progress, Report, silent
from gaugeflow.systems.yukawa_model import KINDS, Model, Point, train
from gaugeflow.systems.yukawa_samplers import Gibbs, Measured
from gaugeflow.training import Trained
from gaugeflow.typing import Action, Observable, Params, Sampler

SHIPPED = files("gaugeflow.systems") / "data" / "yukawa.h5"
"""Trained parameters of all samplers and points; ``gaugeflow demo yukawa`` trains them anew."""
HMC_KINDS = ("HMC, determinant", "HMC, pseudofermions")
THERMALISE = 200
"""Metropolis sweeps of the scalar theory before HMC, which far from equilibrium would accept nothing."""


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; m^2 = -4 and lambda = 8 everywhere."""

    points: tuple[Point, ...] = (
        Point(8, 0.5, 0.36, 1000),
        Point(8, 0.3, 0.52, 200),
        Point(8, 0.8, 0.2, 300),
        Point(16, 0.3, 0.72, 200),
        Point(16, 0.5, 0.32, 250),
    )
    layers: int = 8
    hidden: tuple[int, ...] = (8, 8)
    batch: int = 128
    share: tuple[float, ...] = (1.0, 0.4, 0.4, 0.4)
    """Updates of each kind of :data:`KINDS` in units of the point's."""
    chains: int = 32
    """Chains on 8^2; larger lattices get fewer, by the ratio of extents, and fewer trajectories, too."""
    proposals: int = 400
    trajectories: int = 400
    hmc_length: float = 2.0
    hmc_steps: int = 4
    """Of the force of quarks in a trajectory; three steps of the scalar force lie in each."""
    trained: bool = False


QUICK = Settings(trained=True, proposals=150, trajectories=100)
QUICK = replace(QUICK, points=QUICK.points[:1])


def run(
    *, out: Path, seed: int = 2106, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Train or load the flows, sample with them and with HMC, and compare.

    Parameters
    ----------
    out
        Folder for figures, measurements, trained parameters and checkpoints; an interrupted run continues there.
    seed
        Seed of all random numbers.
    quick
        Shipped parameters, one point, short chains.
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
    models = [Model(point, chosen.layers, chosen.hidden) for point in chosen.points]
    history: Mapping[str, Trained] = {}
    if chosen.trained:
        params = shipped()
    else:
        share = dict(zip(KINDS, chosen.share, strict=True))
        stream = rng.stream("training")
        params, history = train(models, stream, out, attributes, progress, batch=chosen.batch, share=share)
    points, columns = [], {}
    for model in models:
        runs, seconds = sample(chosen, model, params[model.point.name], rng.stream(model.point.name), out, progress)
        for kind, chain in runs.items():
            for record in ("measured", "log_weight", "accepted"):
                if record in chain.records:
                    columns[f"{model.point.name}|{kind}|{record}"] = chain.records[record]
        points.append(compare(model, runs, seconds, history))
    io.write_table(out / "measurements.h5", columns, attributes=attributes)
    result = {"system": "yukawa", "parameters": "trained" if history else "shipped", "points": points}
    pictures = (
        yukawa_report.costs(out / "costs.png", points),
        yukawa_report.propagators(out / "propagators.png", points),
    )
    return Report(yukawa_report.tables(result), result, pictures, yukawa_report.notes(result))


def shipped() -> Params:
    """Parameters that come with the package."""
    with as_file(SHIPPED) as path:
        return tree.map(lambda p: np.asarray(p, dtype=np.float64), io.read_params(path)[0])


def samplers(settings: Settings, model: Model, params: Params) -> dict[str, Sampler]:
    """The four samplers of a point and HMC with both actions of quarks, by name."""
    lattice, flows = model.lattice, model.flows
    pseudofermions = Pseudofermion(model.operator, inversion=Inversion(1e-9, 1e-7))
    actions: tuple[Action, ...] = (model.determinant, pseudofermions)
    quarks = dict(zip(HMC_KINDS, actions, strict=True))
    return {
        "marginal": IndependenceMetropolis(lattice, model.action, model.prior, flows["marginal"], params["marginal"]),
        **{
            kind: IndependenceMetropolis(lattice, model.joint_action, model.joint_prior, flows[kind], params[kind])
            for kind in ("autoregressive", "joint")
        },
        "Gibbs": Gibbs(lattice, model.joint_action, model.operator, model.prior, flows["Gibbs"], params["Gibbs"]),
        **{
            kind: HMC(lattice, (Level(action, settings.hmc_steps), Level(model.scalar, 3)), length=settings.hmc_length)
            for kind, action in quarks.items()
        },
    }


def sample(
    settings: Settings, model: Model, params: Params, rng: Rng, out: Path, progress: Progress
) -> tuple[dict[str, Run], dict[str, float]]:
    """Chains of all samplers, and the seconds that one step of one chain of each takes."""
    every = samplers(settings, model, params)
    chains = max(2, settings.chains * 8 // model.point.extent)
    marginal = every["marginal"]
    assert isinstance(marginal, IndependenceMetropolis)
    local = ScalarMetropolis(model.scalar, 0.6)
    begin = local.init(model.prior.sample(rng.stream("start"), chains))
    thermal = run_chain(local, rng.stream("thermalise"), begin, THERMALISE, progress=False).state.x
    runs: dict[str, Run] = {}
    seconds: dict[str, float] = {}
    for kind, sampler in every.items():
        state: Any
        if isinstance(sampler, IndependenceMetropolis):
            state = sampler.start(rng.stream(kind), chains)
        elif isinstance(sampler, Gibbs):  # configurations of the theory, so that no slow mode has to be found
            state = sampler.init(runs["marginal"].state.x)
        else:
            state = sampler.init(thermal)
        trajectories = max(2, settings.trajectories * 8 // model.point.extent)
        steps = trajectories if kind in HMC_KINDS else settings.proposals
        more = (_LogWeight(marginal),) if kind == HMC_KINDS[0] else ()
        path = out / f"chain-{model.point.name}-{kind.replace(', ', '-')}.h5"
        runs[kind] = _chain(sampler, state, steps, rng.stream(kind), model, path, more, progress)
        seconds[kind] = _seconds(sampler, rng, runs[kind].state) / chains
    return runs, seconds


class _LogWeight:
    """Log-weight that the marginal flow gives to a configuration, by its inverse, ``(batch,)``."""

    name = "log_weight"

    def __init__(self, proposals: IndependenceMetropolis) -> None:
        self.proposals = proposals

    def __call__(self, x: Array) -> Array:
        return self.proposals.init(x).log_weight


def _seconds(sampler: Sampler, rng: Rng, state: Any) -> float:
    """Median processor time of a step, which other programs on the machine hardly change."""
    times = []
    for _ in range(5):
        begin = time.process_time()
        sampler.step(rng, state)
        times.append(time.process_time() - begin)
    return float(np.median(times))


def _chain(
    sampler: Sampler,
    state: Any,
    steps: int,
    rng: Rng,
    model: Model,
    checkpoint: Path,
    more: tuple[Observable, ...],
    progress: Progress,
) -> Run:
    """A chain, a fifth of its length burnt in first, with checkpoints."""
    burn_in = steps // 5
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
        observe=(Measured(model.operator), *more),
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


def compare(
    model: Model, runs: Mapping[str, Run], seconds: Mapping[str, float], history: Mapping[str, Trained]
) -> dict[str, Any]:
    """Quality and means of all samplers of a point."""
    names = Measured(model.operator).names
    found = {
        kind: {name: estimate(chain.records["measured"][:, k]) for k, name in enumerate(names)}
        for kind, chain in runs.items()
    }
    reference = found[HMC_KINDS[0]]
    rows = []
    for kind, chain in runs.items():
        values = found[kind]
        m, chi = values["M"], values["chi_2"]
        stage = history.get(f"{model.point.name}-{kind}")
        proposals = chain.records["log_weight"].ravel() if kind in ("marginal", "autoregressive", "joint") else None
        rows.append(
            {
                "sampler": kind,
                "acceptance": float(np.mean(chain.records["accepted"])),
                "ess": None if proposals is None else number(ess(proposals)),
                "variance_per_site": None
                if proposals is None
                else number(variance_per_site(proposals, model.lattice.volume).from_ess),
                "tau_int": {"M": _tau(m), "chi_2": _tau(chi)},
                "seconds_per_step": seconds[kind],
                "seconds_per_independent": {
                    "M": 2.0 * m.tau_int * seconds[kind],
                    "chi_2": 2.0 * chi.tau_int * seconds[kind],
                },
                "means": {name: number(value) for name, value in values.items()},
                "pulls": {name: _pull(value, reference[name]) for name, value in values.items()},
                "training_seconds": None if stage is None else stage.history.seconds[-1],
            }
        )
    weights = runs[HMC_KINDS[0]].records["log_weight"]
    return {
        "extent": model.point.extent,
        "coupling": model.point.coupling,
        "ess_from_hmc": number(ess_from_target([weights[:, c] for c in range(weights.shape[1])])),
        "samplers": rows,
    }


def _tau(value: Estimate) -> dict[str, float]:
    return {"value": value.tau_int, "error": value.tau_int_error}


def _pull(a: Estimate, b: Estimate) -> float:
    """Difference in units of its error; 0 for a sampler beside itself."""
    return 0.0 if a is b else (a.value - b.value) / math.hypot(a.error, b.error)
