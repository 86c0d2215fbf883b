"""U(1) in two dimensions: flows from Haar links, independence Metropolis, exact values, and HMC beside it.

The system of arXiv:2003.06413, couplings beta = 1 ... 7, where local updates freeze the topological charge, and beyond.
Couplings of blocks with mixtures of projections are trained one by one (:mod:`gaugeflow.systems.decimation`).  The shipped
parameters, which ``--quick`` loads, are ``parameters.h5`` of ``gaugeflow demo u1 --seed 2003``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io, tree
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import Estimate, Series, ess, format_error, gamma_method, variance_per_site
from gaugeflow.flows import AngleFlow, ProjectionMixture, block_chain
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import LinkObservable, integer_charge, plaquette
from gaugeflow.priors import Haar
from gaugeflow.random import Rng, haar_links
from gaugeflow.samplers import HMC, IndependenceMetropolis, Level
from gaugeflow.samplers import run as run_chain
from gaugeflow.systems import exact_u1, figures
from gaugeflow.systems.decimation import pairs
from gaugeflow.systems.report import BRACKETS, ESS, PULL, VARIANCE, Progress, Report, Table, silent
from gaugeflow.typing import Params

SHIPPED = files("gaugeflow.systems") / "data" / "u1.h5"
PUBLISHED = (
    (2.0, 0.24, "arXiv:2101.08176"),
    (8.0, 0.34, "arXiv:2404.10819"),
    (12.0, 0.295, "arXiv:2404.10819"),
    (16.0, 0.276, "arXiv:2404.10819"),
)
"""Coupling and effective sample size of flows by others: a tutorial on 8 x 8, and multiscale flows (read off a figure)."""


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are the demo's."""

    extents: tuple[int, ...] = (8, 16)
    betas: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 12.0, 16.0)
    chains: int = 32
    steps: int = 400
    burn_in: int = 200
    parts: int = 6
    harmonics: int = 4
    training_extent: int = 16
    training_steps: int = 60


QUICK = Settings(extents=(8,), betas=(2.0, 4.0, 7.0), chains=16, steps=200, burn_in=50)


def run(
    *, out: Path, seed: int = 2003, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Train (or load), sample with both algorithms, compare with exact values and report.

    Parameters
    ----------
    out
        Folder for figures, histories and parameters (made if needed).
    seed
        Seed of all random numbers.
    quick
        Shipped parameters, an 8 x 8 lattice and short chains.
    progress
        Called as work goes on.
    settings
        Parameters other than the demo's; with ``quick``, of sampling from shipped parameters.

    Returns
    -------
    Report
        Tables, one JSON object for each lattice and coupling, figures.
    """
    chosen = settings or (QUICK if quick else Settings())
    out.mkdir(parents=True, exist_ok=True)
    rng = Rng(seed)
    attributes = io.provenance(seed=seed, settings=repr(chosen))
    if quick:
        learned = shipped()
    else:
        learned = learn(chosen, progress)
        io.write_params(out / "parameters.h5", learned, attributes=attributes)
    results, columns = [], {}
    work = [(extent, beta) for extent in chosen.extents for beta in chosen.betas]
    for i, (extent, beta) in enumerate(work):
        progress("sampling", i, len(work))
        result, histories = sample(chosen, extent, beta, learned[name_of(beta)], rng.stream(f"{extent} {beta}"))
        results.append(result)
        columns.update({f"{extent}|{beta:g}|{name}": values for name, values in histories.items()})
    progress("sampling", len(work), len(work))
    io.write_table(out / "histories.h5", columns, attributes=attributes)
    extent, beta = work[-1]
    pictures = (
        figures.qualities(out / "quality.png", results, PUBLISHED),
        figures.charges(
            out / "charge.png",
            {kind: columns[f"{extent}|{beta:g}|{kind} Q"][:, 0] for kind in ("flow", "HMC")},
            rf"$L$ = {extent}, $\beta$ = {beta:g}",
        ),
    )
    return Report(tables(results), results, pictures)


# ---- flows -------------------------------------------------------------------------------------------------------
def name_of(beta: float) -> str:
    """Key of the parameters of one coupling."""
    return f"beta {beta:g}"


def make_flow(extent: int, settings: Settings) -> AngleFlow:
    """The flow on a square lattice."""
    return block_chain(
        Lattice((extent, extent)), circle=ProjectionMixture(settings.parts), harmonics=settings.harmonics
    )


def shipped() -> dict[str, Any]:
    """Parameters that come with the package, one tree for each coupling, in double precision."""
    with as_file(SHIPPED) as path:
        stored, _ = io.read_params(path)
    return tree.map(lambda p: p.astype(np.float64), stored)


def carried(flow: AngleFlow, params: Params) -> dict[str, Any]:
    """Parameters of a chain of blocks for another lattice: couplings of equal blocks are equal.

    Blocks that the lattice of ``params`` does not have stay as they are.

    Parameters
    ----------
    flow
        The flow that needs parameters.
    params
        Those of a lattice of any size.
    """
    result = dict(flow.init(Rng(0)))
    shift = len(result) - len(params)
    return result | {str(i): params[str(i - shift)] for i in range(max(shift, 0), len(result))}


def plaquette_action(beta: float, angle: Array) -> Array:
    """-beta cos P."""
    return -beta * np.cos(angle)


def learn(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Parameters for every coupling, each from those of the one before; no random numbers."""
    flow = make_flow(settings.training_extent, settings)
    params: dict[str, Any] = dict(flow.init(Rng(0)))
    learned: dict[str, Any] = {}
    for i, beta in enumerate(settings.betas):
        progress("training", i, len(settings.betas))
        problems = pairs(flow, partial(plaquette_action, beta))
        params = {key: problem.train(params[key], settings.training_steps) for key, problem in problems.items()}
        learned[name_of(beta)] = tree.map(lambda p: p.astype(np.float32), params)
    progress("training", len(settings.betas), len(settings.betas))
    return tree.map(lambda p: p.astype(np.float64), learned)


# ---- sampling ----------------------------------------------------------------------------------------------------
def sample(
    settings: Settings, extent: int, beta: float, params: Params, rng: Rng
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Both chains at one coupling: the JSON object and the histories ``(steps, chains)``."""
    lattice = Lattice((extent, extent))
    action = WilsonAction(lattice, beta)
    observe: list[Any] = [
        LinkObservable("plaquette", lattice, plaquette),
        LinkObservable("Q", lattice, integer_charge),
    ]
    flow = make_flow(extent, settings)
    independence = IndependenceMetropolis(lattice, action, Haar(lattice, 1), flow, carried(flow, params))
    chain = run_chain(
        independence,
        rng.stream("flow"),
        independence.start(rng.stream("start"), settings.chains),
        settings.steps,
        burn_in=max(1, settings.burn_in // 10),
        observe=observe,
        progress=False,
    )
    hmc = HMC(lattice, (Level(action, 4),), tune=settings.burn_in // 2)
    hot = haar_links(rng.stream("hot"), lattice, 1, settings.chains)
    local = run_chain(
        hmc,
        rng.stream("HMC"),
        hmc.init(hot),
        settings.steps,
        burn_in=settings.burn_in,
        observe=observe,
        progress=False,
    )
    weights = Series.from_lanes(chain.records["log_weight"], name="log_weight")
    quality, spread = ess(weights), variance_per_site(weights, lattice.volume).from_variance
    exact = {
        "plaquette": exact_u1.plaquette(beta, lattice.volume),
        "Q^2": exact_u1.charge_squared(beta, lattice.volume),
    }
    result = {
        "system": "u1",
        "lattice": [extent, extent],
        "beta": beta,
        "steps": settings.steps,
        "n_configurations": settings.steps * settings.chains,
        "ess": quality.value,
        "ess_error": quality.error,
        "variance_per_site": spread.value,
        "variance_per_site_error": spread.error,
        "acceptance": float(np.mean(chain.records["accepted"])),
        "hmc_acceptance": float(np.mean(local.records["accepted"])),
        "exact": exact,
        "flow": _measured(chain.records, exact),
        "hmc": _measured(local.records, exact),
    }
    histories = {
        f"{kind} {name}": np.asarray(records[name])
        for kind, records in (("flow", chain.records), ("HMC", local.records))
        for name in ("plaquette", "Q")
    }
    return result, {**histories, "flow log_weight": np.asarray(chain.records["log_weight"])}


def _measured(records: Mapping[str, Array], exact: Mapping[str, float]) -> dict[str, Any]:
    """Estimates with pulls and autocorrelation times, in units of one proposal or trajectory."""
    values = {"plaquette": records["plaquette"], "Q^2": records["Q"] ** 2, "Q": records["Q"]}
    found: dict[str, Any] = {}
    for name, lanes in values.items():
        if np.ptp(lanes) == 0.0:  # frozen in all chains: no error can be told
            found[name] = {
                "value": float(lanes.flat[0]),
                "error": None,
                "tau_int": None,
                "tau_int_error": None,
                "pull": None,
            }
            continue
        estimate: Estimate = gamma_method(Series.from_lanes(lanes, name=name))
        pull = (estimate.value - exact.get(name, 0.0)) / estimate.error
        found[name] = {
            "value": estimate.value,
            "error": estimate.error,
            "tau_int": estimate.tau_int,
            "tau_int_error": estimate.tau_int_error,
            "pull": pull,
        }
    return found


# ---- tables ------------------------------------------------------------------------------------------------------
def _shown(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.6g}" if found["error"] is None else format_error(found["value"], found["error"])


def _rounded(value: float | None, digits: int) -> str:
    return "frozen" if value is None else f"{value:.{digits}f}"


def tables(results: Sequence[Mapping[str, Any]]) -> tuple[Table, Table]:
    """Quality of the flow with autocorrelation times, and observables beside exact values."""
    quality = Table(
        "Flow from Haar links, independence Metropolis",
        ("L", "beta", "ESS", "variance / site", "acceptance", "tau_int Q", "tau_int Q^2", "HMC tau_int Q", "HMC Q^2"),
        tuple(
            (
                r["lattice"][0],
                r["beta"],
                format_error(r["ess"], r["ess_error"]),
                f"{r['variance_per_site']:.2e}",
                f"{r['acceptance']:.3f}",
                _rounded(r["flow"]["Q"]["tau_int"], 2),
                _rounded(r["flow"]["Q^2"]["tau_int"], 2),
                _rounded(r["hmc"]["Q"]["tau_int"], 1),
                _rounded(r["hmc"]["Q^2"]["tau_int"], 1),
            )
            for r in results
        ),
        (ESS, VARIANCE, "tau_int: integrated autocorrelation time in proposals of the flow and in trajectories of HMC"),
    )
    values = Table(
        "Observables",
        ("L", "beta", "plaquette", "exact", "pull", "Q^2", "exact", "pull", "HMC Q^2", "pull"),
        tuple(
            (
                r["lattice"][0],
                r["beta"],
                _shown(r["flow"]["plaquette"]),
                f"{r['exact']['plaquette']:.6f}",
                _rounded(r["flow"]["plaquette"]["pull"], 1),
                _shown(r["flow"]["Q^2"]),
                f"{r['exact']['Q^2']:.5f}",
                _rounded(r["flow"]["Q^2"]["pull"], 1),
                _shown(r["hmc"]["Q^2"]),
                _rounded(r["hmc"]["Q^2"]["pull"], 1),
            )
            for r in results
        ),
        (BRACKETS, PULL),
    )
    return quality, values
