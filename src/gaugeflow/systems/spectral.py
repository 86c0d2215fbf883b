"""SU(2) and SU(3) in two dimensions by spectral flows: loops are halved by functions of eigenvalues.

The system of arXiv:2008.05456, whose flows of about a million parameters have an ESS of 88, 75, 48 % for SU(3) on 16 x 16 at
beta = 4, 5, 6.  Here three couplings halve loops of eight plaquettes down to one; all larger loops stay Haar-distributed.
The shipped parameters, which ``--quick`` loads, are ``parameters.h5`` of ``gaugeflow demo spectral --seed 2008``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io, tree
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import Series, ess, format_error, gamma_method, variance_per_site
from gaugeflow.flows import Chain, HalfLoop, spectral_chain
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import LinkObservable, plaquette
from gaugeflow.priors import Haar
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath, IndependenceMetropolis
from gaugeflow.samplers import run as run_chain
from gaugeflow.systems import figures
from gaugeflow.systems.report import BRACKETS, ESS, PULL, VARIANCE, Progress, Report, Table, silent
from gaugeflow.systems.spectral_training import fit
from gaugeflow.systems.trivialising import exact_plaquette
from gaugeflow.typing import Params

SHIPPED = files("gaugeflow.systems") / "data" / "spectral.h5"


@dataclass(frozen=True)
class Target:
    """A Wilson action on a square lattice, and the ESS of arXiv:2008.05456 where it is given."""

    n_colours: int
    beta: float
    extent: int = 16
    published: float | None = None

    @property
    def name(self) -> str:
        """Name of rows and of parameters."""
        return f"su{self.n_colours} beta {self.beta:g}"


HALVES: Mapping[int, tuple[HalfLoop, ...]] = {
    2: (HalfLoop(2, (0.0, 1.0), 4), HalfLoop(2, (0.0, 1.0, 0.5)), HalfLoop(2, (0.5,))),
    3: (
        HalfLoop(3, (0.0, 1.0), 4, (8,), (0, 1)),
        HalfLoop(3, (0.0, 1.0, 0.5), 5, (8,), (0, 1)),
        HalfLoop(3, (0.5, 0.0, 1.0, 0.5), 5, (8,), (0, 1)),
    ),
}


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are the demo's.

    Parameters
    ----------
    targets
        Those of one group in a row: each starts from the parameters of the one before.
    halves
        Moves by number of colours, largest loops first.
    stages
        Of the training of the first target of a group, see :func:`gaugeflow.systems.spectral_training.fit`.
    further
        Stages for all others.
    held_out
        Pairs for the variance of each level.
    chains, steps, burn_in
        Of independence Metropolis and the heat bath.
    """

    targets: tuple[Target, ...] = (
        Target(3, 4.0, published=0.88),
        Target(3, 5.0, published=0.75),
        Target(3, 6.0, published=0.48),
        Target(2, 1.8),
        Target(2, 2.2),
        Target(2, 2.7),
    )
    halves: Mapping[int, tuple[HalfLoop, ...]] = field(default_factory=lambda: HALVES)
    stages: tuple[tuple[str, int, tuple[int, ...]], ...] = (
        ("divergence", 4096, (10, 20, 25)),
        ("Gauss-Newton", 8192, (3, 6, 16)),
        ("Gauss-Newton", 24576, (2, 5, 6)),
    )
    further: tuple[tuple[str, int, tuple[int, ...]], ...] = (
        ("Gauss-Newton", 8192, (3, 6, 6)),
        ("Gauss-Newton", 24576, (2, 5, 6)),
    )
    held_out: int = 16384
    chains: int = 64
    steps: int = 96
    burn_in: int = 6


QUICK = Settings(targets=Settings().targets[:3], chains=32, steps=20, burn_in=4)


def run(
    *, out: Path, seed: int = 2008, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Train (or load), sample by independence Metropolis and heat bath, compare with exact values and report.

    Parameters
    ----------
    out
        Folder for figures, histories and parameters (made if needed); targets found there, of an interrupted run with the
        same settings, are not trained again.
    seed
        Seed of all random numbers.
    quick
        Shipped parameters, SU(3) only, and short chains.
    progress
        Called as work goes on.
    settings
        Parameters other than the demo's; with ``quick``, of sampling from shipped parameters.

    Returns
    -------
    Report
        Tables, one JSON object for each target, figures.
    """
    chosen = settings or (QUICK if quick else Settings())
    out.mkdir(parents=True, exist_ok=True)
    rng = Rng(seed)
    attributes = io.provenance(seed=seed, settings=repr(chosen))
    learned: dict[str, Any]
    variances: dict[str, list[float]] = {}
    if quick:
        learned = shipped()
    else:
        learned, variances = learn_all(chosen, rng.stream("training"), out / "parameters.h5", attributes, progress)
    rows, columns = [], {}
    for i, target in enumerate(chosen.targets):
        progress("sampling", i, len(chosen.targets))
        row, histories = sample(chosen, target, learned[target.name], rng.stream(target.name))
        if target.name in variances:
            row["variance_of_levels"] = variances[target.name]
        rows.append(row)
        columns.update({f"{target.name}|{name}": values for name, values in histories.items()})
    progress("sampling", len(chosen.targets), len(chosen.targets))
    io.write_table(out / "histories.h5", columns, attributes=attributes)
    weights = {target.name: columns[f"{target.name}|flow log_weight"].reshape(-1) for target in chosen.targets}
    pictures = (
        figures.sample_sizes(out / "ess.png", rows),
        figures.weights(out / "log_weights.png", figures.by_theory(rows, weights)),
    )
    return Report(tables(rows), rows, pictures)


# ---- flows -------------------------------------------------------------------------------------------------------
def make_flow(lattice: Lattice, n_colours: int, settings: Settings) -> Chain:
    """The flow on a lattice, the same for all couplings of a group."""
    return spectral_chain(lattice, settings.halves[n_colours])


def _double(params: Params) -> dict[str, Any]:
    return tree.map(lambda p: p.astype(np.float64), params)


def shipped() -> dict[str, Any]:
    """Parameters that come with the package, one tree for each target, in double precision."""
    with as_file(SHIPPED) as path:
        return _double(io.read_params(path)[0])


def learn_all(
    settings: Settings, rng: Rng, path: Path, attributes: Mapping[str, Any], progress: Progress
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Parameters for every target, each from those of the one before, and the variances of their levels.

    All are rounded to single precision and kept in the file ``path``.
    """
    learned: dict[str, Any] = {}
    variances: dict[str, list[float]] = {}
    if path.exists():
        stored, found = io.read_params(path)
        if (found.get("settings"), found.get("seed")) == (attributes["settings"], attributes["seed"]):
            learned, variances = _double(stored), dict(found["variances"])
    before: dict[int, Params] = {}
    for target in settings.targets:
        n = target.n_colours
        if target.name not in learned:
            halves, stages = settings.halves[n], settings.further if n in before else settings.stages
            start = before.get(n) or {str(i): h.init(rng.stream(f"su{n}").stream(i)) for i, h in enumerate(halves)}

            def report(done: int, total: int, name: str = target.name) -> None:
                progress(f"{name}: training", done, total)

            fitted = fit(halves, start, target.beta, rng.stream(target.name), stages, settings.held_out, report)
            learned[target.name] = _double(tree.map(lambda p: p.astype(np.float32), fitted.params))
            variances[target.name] = list(fitted.variances)
            rounded = tree.map(lambda p: p.astype(np.float32), learned)
            io.write_params(path, rounded, attributes={**attributes, "variances": variances})
        before[n] = learned[target.name]
    return learned, variances


# ---- sampling ----------------------------------------------------------------------------------------------------
def sample(settings: Settings, target: Target, params: Params, rng: Rng) -> tuple[dict[str, Any], dict[str, Array]]:
    """Both chains of one target: the JSON object and the histories ``(steps, chains)``."""
    lattice, n = Lattice((target.extent, target.extent)), target.n_colours
    action, flow = WilsonAction(lattice, target.beta), make_flow(Lattice((target.extent, target.extent)), n, settings)
    observe: list[Any] = [LinkObservable("plaquette", lattice, plaquette)]
    observe_local: list[Any] = [LinkObservable("mean plaquette", lattice, plaquette)]  # the info has a plaquette, too
    independence = IndependenceMetropolis(lattice, action, Haar(lattice, n), flow, params)
    start = time.perf_counter()
    chain = run_chain(
        independence,
        rng.stream("flow"),
        independence.start(rng.stream("start"), settings.chains),
        settings.steps,
        burn_in=settings.burn_in,
        observe=observe,
        progress=False,
    )
    seconds = time.perf_counter() - start
    bath = HeatBath(lattice, target.beta)
    local = run_chain(
        bath,
        rng.stream("heat bath"),
        bath.hot(rng.stream("hot"), n, settings.chains),
        settings.steps,
        burn_in=settings.burn_in,
        observe=observe_local,
        progress=False,
    )
    weights = Series.from_lanes(chain.records["log_weight"], name="log_weight")
    quality, spread = ess(weights), variance_per_site(weights, lattice.volume).from_variance
    exact = exact_plaquette(n, target.beta, lattice.volume)
    row = {
        "system": "spectral",
        "target": target.name,
        "n_colours": n,
        "beta": target.beta,
        "lattice": list(lattice.shape),
        "parameters": sum(math.prod(leaf.shape) for leaf in tree.flatten(params).values()),
        "n_configurations": settings.steps * settings.chains,
        "seconds_per_configuration": seconds / ((settings.steps + settings.burn_in) * settings.chains),
        "ess": quality.value,
        "ess_error": quality.error,
        "ess_published": target.published,
        "variance_per_site": spread.value,
        "variance_per_site_error": spread.error,
        "acceptance": float(np.mean(chain.records["accepted"])),
        "plaquette_exact": exact,
        "flow": _measured(chain.records["plaquette"], exact),
        "heat bath": _measured(local.records["mean plaquette"], exact),
    }
    histories = {
        "flow plaquette": np.asarray(chain.records["plaquette"]),
        "flow log_weight": np.asarray(chain.records["log_weight"]),
        "heat bath plaquette": np.asarray(local.records["mean plaquette"]),
    }
    return row, histories


def _measured(lanes: Array, exact: float) -> dict[str, float]:
    estimate = gamma_method(Series.from_lanes(lanes, name="plaquette"))
    return {
        "value": estimate.value,
        "error": estimate.error,
        "tau_int": estimate.tau_int,
        "pull": (estimate.value - exact) / estimate.error,
    }


# ---- tables ------------------------------------------------------------------------------------------------------
def tables(rows: Sequence[Mapping[str, Any]]) -> tuple[Table, Table]:
    """Quality of the flow beside the published one, and plaquettes beside exact values."""
    quality = Table(
        "Spectral flow from Haar links, independence Metropolis",
        (
            "target",
            "lattice",
            "parameters",
            "ESS",
            "published",
            "variance / site",
            "acceptance",
            "tau_int",
            "heat bath",
        ),
        tuple(
            (
                row["target"],
                "x".join(map(str, row["lattice"])),
                row["parameters"],
                format_error(row["ess"], row["ess_error"]),
                "" if row["ess_published"] is None else f"{row['ess_published']:.2f}",
                f"{row['variance_per_site']:.2e}",
                f"{row['acceptance']:.3f}",
                f"{row['flow']['tau_int']:.2f}",
                f"{row['heat bath']['tau_int']:.2f}",
            )
            for row in rows
        ),
        (ESS, VARIANCE, "tau_int: integrated autocorrelation time in proposals of the flow and in heat-bath sweeps"),
    )
    values = Table(
        "Plaquettes",
        ("target", "flow", "pull", "heat bath", "pull", "exact"),
        tuple(
            (
                row["target"],
                format_error(row["flow"]["value"], row["flow"]["error"]),
                f"{row['flow']['pull']:+.1f}",
                format_error(row["heat bath"]["value"], row["heat bath"]["error"]),
                f"{row['heat bath']['pull']:+.1f}",
                f"{row['plaquette_exact']:.10f}",
            )
            for row in rows
        ),
        (BRACKETS, PULL),
    )
    return quality, values
