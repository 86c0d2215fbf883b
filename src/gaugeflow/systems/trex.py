"""T-REX: replica exchange of SU(3) ensembles with flows between neighbouring couplings.

The second algorithm of the talk (arXiv:2404.11674): replicas at several beta move by heat bath and overrelaxation, and
neighbours exchange configurations through a flow and its inverse.  Without flows a swap of 12^4 lattices 0.05 apart in
beta is accepted once in 25000 times.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gaugeflow import io, kernels
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import Estimate, acceptance_gaussian, format_error, gamma_method, round_trip_times
from gaugeflow.flows import SmearedSweep
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import flow_history
from gaugeflow.random import Rng
from gaugeflow.samplers import (
    Chain,
    Exchange,
    HeatBath,
    OnReplicas,
    Replica,
    ReplicaExchange,
    configurations,
)
from gaugeflow.samplers import run as run_chain
from gaugeflow.systems import correlated_su3, figures
from gaugeflow.systems.report import Progress, Report, Table, silent
from gaugeflow.training import fit_linear
from gaugeflow.typing import Params

OBSERVABLES = ("Q", "Q^2", "t^2 E", "plaquette")
"""What is measured on every replica after every step, in this order."""


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are those of the talk, with the statistics of about an hour on two cores.

    ``steps`` may grow: the run continues from its checkpoints.  A step is ``local_steps`` heat-bath sweeps (with their
    overrelaxation) of every replica, then swaps of every other pair of neighbours.
    """

    shape: tuple[int, ...] = (12, 12, 12, 12)
    n_colours: int = 3
    betas: tuple[float, ...] = (5.95, 6.00, 6.05)
    chains: int = 8
    steps: int = 60
    local_steps: int = 2
    burn_in: int = 100
    overrelax: int = 4
    flow_time: float = 1.0
    flow_step: float = 0.125
    training_shape: tuple[int, ...] = (4, 4, 4, 4)
    training_chains: int = 32
    training_blocks: int = 6
    checkpoint_every: int = 2


QUICK = Settings(shape=(8, 8, 8, 8), steps=16, burn_in=40, training_blocks=3)
"""A few minutes on two cores."""


class _Measured:
    """Charge, its square, t^2 E and plaquette, ``(4, batch)``; knows when it ended."""

    name = "measured"

    def __init__(self, lattice: Lattice, settings: Settings) -> None:
        self.lattice, self.settings = lattice, settings
        self.ended = time.process_time()

    def __call__(self, x: Array) -> Array:
        plaquette = np.mean(kernels.plaquette(self.lattice, x), axis=0)
        history = flow_history(self.lattice, x, (self.settings.flow_time,), step=self.settings.flow_step)
        self.ended = time.process_time()
        return np.stack([history.q[0], history.q[0] ** 2, history.t2_e[0], plaquette])


class Ended(Protocol):
    """An observable that knows when it was measured last."""

    ended: float


class CoreSeconds:
    """Processor time of all threads since the last measurement ended: that of the steps before this call.

    Other programs on the machine change it less than the time on the clock.
    """

    name = "core_seconds"

    def __init__(self, measured: Ended) -> None:
        self.measured = measured

    def __call__(self, x: Any) -> Array:
        return np.asarray(time.process_time() - self.measured.ended)


def run(
    *, out: Path, seed: int = 2404, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Fit flows, run the exchange and, beside it, the local updates alone at the largest coupling.

    Parameters
    ----------
    out
        Folder for figures, histories and checkpoints; an interrupted run continues there.
    seed
        Seed of all random numbers.
    quick
        An 8^4 lattice and few steps.
    progress
        Called as work goes on.
    settings
        Parameters other than the demo's.

    Returns
    -------
    Report
        Tables, one JSON object, the history plot.
    """
    chosen = settings or (QUICK if quick else Settings())
    out.mkdir(parents=True, exist_ok=True)
    rng = Rng(seed)
    lattice = Lattice(chosen.shape)
    correlated_su3.prepare(
        correlated_su3.Settings(shape=chosen.shape, n_colours=chosen.n_colours, chains=chosen.chains), progress
    )
    flow = SmearedSweep(lattice, chosen.n_colours)
    attributes = io.provenance(seed=seed, settings=repr(chosen))
    params = learned(chosen, rng.stream("training"), out / "flow.h5", progress)
    starts = tuple(thermalise(chosen, lattice, beta, rng, out, progress) for beta in chosen.betas)
    exchange = run_exchange(chosen, lattice, flow, params, starts, rng.stream("exchange"), out, progress)
    local = run_local(chosen, lattice, starts[-1], rng.stream("local"), out, progress)
    chains = {"exchange": exchange, "local": local}
    columns = {
        f"{kind}|{name.replace('/', '|')}": values
        for kind, chain in chains.items()
        for name, values in chain.records.items()
    }
    io.write_table(out / "history.h5", columns, attributes=attributes)
    result = analyse(chosen, lattice, exchange, local)
    picture = figures.replicas(
        out / "history.png",
        chosen.betas,
        exchange.records["measured"][:, :, 0],
        local.records["measured"][:, 0],
        exchange.records["walker"],
        chosen.local_steps,
    )
    return Report(tables(result), result, (picture,), notes(result))


def learn(settings: Settings, rng: Rng, progress: Progress) -> Params:
    """Coefficients per unit of beta of the linear fit on a small lattice at the middle of the couplings."""
    beta = 0.5 * (settings.betas[0] + settings.betas[-1])
    lattice = Lattice(settings.training_shape)
    flow, action = SmearedSweep(lattice, settings.n_colours), WilsonAction(lattice, beta)
    sampler = HeatBath(lattice, beta, settings.overrelax)
    state = sampler.hot(rng.stream("start"), settings.n_colours, settings.training_chains)
    tangents, operators = [], []
    for sample in configurations(
        sampler, rng.stream("chain"), state, 10 * settings.training_blocks, burn_in=60, thin=10
    ):
        x = sample.state.x
        tangents.append(flow.tangent(x, action.grad(x)).reshape(-1, settings.training_chains))
        operators.append(action.d_beta(x))
        progress("linear fit", len(operators), settings.training_blocks)
    fit = fit_linear(np.concatenate(tangents, axis=-1), np.concatenate(operators))
    return {"delta": fit.coefficients.reshape(flow.shape)}


def learned(settings: Settings, rng: Rng, path: Path, progress: Progress) -> Params:
    """:func:`learn`, or what an interrupted run has learned from the same: a run continues with its own flow."""
    names = ("n_colours", "betas", "overrelax", "training_shape", "training_chains", "training_blocks")
    attributes = {"seed": rng.seed, "training": repr({name: getattr(settings, name) for name in names})}
    if path.exists():
        params, found = io.read_params(path)
        if all(found.get(name) == value for name, value in attributes.items()):
            return params
    params = learn(settings, rng, progress)
    io.write_params(path, params, attributes=io.provenance(**attributes))
    return params


def thermalise(settings: Settings, lattice: Lattice, beta: float, rng: Rng, out: Path, progress: Progress) -> Array:
    """Configurations after burn-in."""
    sampler = HeatBath(lattice, beta, settings.overrelax)
    here = rng.stream(f"burn-in {beta}")
    start = sampler.hot(here.stream("start"), settings.n_colours, settings.chains)
    chain = run_chain(
        sampler,
        here,
        start,
        settings.burn_in,
        thin=max(1, settings.burn_in // 10),
        callback=lambda sample: progress(f"burn-in at {beta:g}", sample.step, settings.burn_in),
        progress=False,
        checkpoint=out / f"burn-in-{beta:g}.h5",
        checkpoint_every=max(1, settings.burn_in // 4),
    )
    return chain.state.x


def run_exchange(
    settings: Settings,
    lattice: Lattice,
    flow: SmearedSweep,
    params: Params,
    starts: tuple[Array, ...],
    rng: Rng,
    out: Path,
    progress: Progress,
) -> Chain:
    """All replicas, measured after every step."""
    betas = settings.betas
    replicas = tuple(
        Replica(WilsonAction(lattice, beta), HeatBath(lattice, beta, settings.overrelax)) for beta in betas
    )
    exchanges = tuple(Exchange(flow, {"delta": params["delta"] * (high - low)}) for low, high in pairwise(betas))
    sampler = ReplicaExchange(lattice, replicas, exchanges, settings.local_steps)
    measured = _Measured(lattice, settings)
    return run_chain(
        sampler,
        rng,
        sampler.init(starts),
        settings.steps,
        observe=(CoreSeconds(measured), OnReplicas(measured)),
        callback=lambda sample: progress("exchange", sample.step, settings.steps),
        progress=False,
        checkpoint=out / "exchange.h5",
        checkpoint_every=settings.checkpoint_every,
    )


def run_local(settings: Settings, lattice: Lattice, start: Array, rng: Rng, out: Path, progress: Progress) -> Chain:
    """Local updates alone at the largest coupling: as many as each replica gets, measured as often."""
    sampler = HeatBath(lattice, settings.betas[-1], settings.overrelax)
    measured = _Measured(lattice, settings)
    total = settings.steps * settings.local_steps
    return run_chain(
        sampler,
        rng,
        sampler.init(start),
        total,
        thin=settings.local_steps,
        observe=(CoreSeconds(measured), measured),
        callback=lambda sample: progress("local updates", sample.step, total),
        progress=False,
        checkpoint=out / "local.h5",
        checkpoint_every=settings.checkpoint_every * settings.local_steps,
    )


# ---- results -----------------------------------------------------------------------------------------------------
def _estimate(values: Array) -> Estimate:
    """Gamma method on ``(n, chains)``."""
    return gamma_method([values[:, chain] for chain in range(values.shape[1])])


def analyse(settings: Settings, lattice: Lattice, exchange: Chain, local: Chain) -> dict[str, Any]:
    """Swap rates, autocorrelations and costs, as the JSON of the demo."""
    measured = exchange.records["measured"]
    swaps = []
    for pair, (low, high) in enumerate(pairwise(settings.betas)):
        tried = exchange.records["attempted"][:, pair]
        flow = _estimate(exchange.records["probability"][tried, pair])
        # Swapped as they are, S = -beta V n_planes P: a Gaussian log-ratio of mean -gap, whose exponential has mean 1
        change = float(np.mean(measured[:, pair + 1, 3]) - np.mean(measured[:, pair, 3]))
        gap = (high - low) * lattice.volume * len(lattice.planes) * change
        swaps.append(
            {
                "betas": [low, high],
                "attempts": int(tried.sum()) * settings.chains,
                "rate": flow.value,
                "rate_error": flow.error,
                "rate_without_flow": acceptance_gaussian(max(gap, 0.0)),
            }
        )
    seconds = {
        "exchange_per_step": float(np.median(exchange.records["core_seconds"])) / settings.chains,
        "local_per_step": float(np.median(local.records["core_seconds"])) / settings.chains,
    }
    journeys = round_trip_times(exchange.records["walker"])
    rows = []
    for replica, beta in enumerate(settings.betas):
        for k, name in enumerate(OBSERVABLES):
            rows.append(_autocorrelation(settings, beta, name, "exchange", measured[:, replica, k], seconds))
    for k, name in enumerate(OBSERVABLES):
        values = local.records["measured"][:, k]
        rows.append(_autocorrelation(settings, settings.betas[-1], name, "local", values, seconds))
    return {
        "system": "trex",
        "lattice": list(settings.shape),
        "betas": list(settings.betas),
        "chains": settings.chains,
        "steps": settings.steps,
        "local_steps": settings.local_steps,
        "flow_time": settings.flow_time,
        "swaps": swaps,
        "round_trips": {"count": len(journeys), "mean_steps": float(np.mean(journeys)) if len(journeys) else None},
        "autocorrelations": rows,
        "gains": [_gain(rows, settings.betas[-1], name) for name in OBSERVABLES],
        "core_seconds": seconds,
    }


def _autocorrelation(
    settings: Settings, beta: float, name: str, algorithm: str, values: Array, seconds: dict[str, float]
) -> dict[str, Any]:
    """Mean and tau_int in local steps; core seconds for an independent configuration, all replicas and flows paid."""
    estimate = _estimate(values)
    return {
        "beta": beta,
        "observable": name,
        "algorithm": algorithm,
        "mean": estimate.value,
        "error": estimate.error,
        "tau_int": estimate.tau_int * settings.local_steps,
        "tau_int_error": estimate.tau_int_error * settings.local_steps,
        "core_seconds_per_independent": 2.0 * estimate.tau_int * seconds[f"{algorithm}_per_step"],
    }


def _gain(rows: Sequence[dict[str, Any]], beta: float, name: str) -> dict[str, Any]:
    """tau_int of local updates in units of that of the exchange, and the same for core seconds."""
    local, exchange = (
        next(r for r in rows if (r["beta"], r["observable"], r["algorithm"]) == (beta, name, algorithm))
        for algorithm in ("local", "exchange")
    )
    ratio = local["tau_int"] / exchange["tau_int"]
    spread = math.hypot(*(row["tau_int_error"] / row["tau_int"] for row in (local, exchange)))
    cost = exchange["core_seconds_per_independent"] / local["core_seconds_per_independent"]
    return {"observable": name, "tau_ratio": ratio, "tau_ratio_error": ratio * spread, "cost_ratio": cost}


def tables(result: dict[str, Any]) -> tuple[Table, ...]:
    """What the command prints."""
    swaps: Sequence[dict[str, Any]] = result["swaps"]
    return (
        Table(
            "swaps",
            ("beta", "attempts", "rate with flow", "without"),
            tuple(
                (
                    "{:g} - {:g}".format(*row["betas"]),
                    row["attempts"],
                    format_error(row["rate"], row["rate_error"]),
                    f"{row['rate_without_flow']:.1e}",
                )
                for row in swaps
            ),
        ),
        Table(
            f"autocorrelations, in steps of the heat bath (Q and t^2 E at flow time {result['flow_time']:g})",
            ("beta", "algorithm", "observable", "mean", "tau_int", "core seconds per independent configuration"),
            tuple(
                (
                    f"{row['beta']:g}",
                    row["algorithm"],
                    row["observable"],
                    format_error(row["mean"], row["error"]),
                    format_error(row["tau_int"], row["tau_int_error"]),
                    f"{row['core_seconds_per_independent']:.3g}",
                )
                for row in result["autocorrelations"]
            ),
        ),
        Table(
            f"exchange against local updates at beta = {result['betas'][-1]:g}",
            ("observable", "tau_int local / exchange", "core seconds exchange / local"),
            tuple(
                (row["observable"], format_error(row["tau_ratio"], row["tau_ratio_error"]), f"{row['cost_ratio']:.3g}")
                for row in result["gains"]
            ),
            ("above 1 in the first column and below 1 in the second, exchange is better",),
        ),
    )


def notes(result: dict[str, Any]) -> tuple[str, ...]:
    """Round trips and costs in words."""
    trips, seconds = result["round_trips"], result["core_seconds"]
    mean = "" if trips["mean_steps"] is None else f", {trips['mean_steps']:.3g} steps each"
    return (
        f"{trips['count']} round trips from {result['betas'][0]:g} to {result['betas'][-1]:g} and back{mean}",
        f"a step of all replicas takes {seconds['exchange_per_step']:.3g} core seconds for each chain, the local updates "
        f"of one replica {seconds['local_per_step']:.3g}",
    )
