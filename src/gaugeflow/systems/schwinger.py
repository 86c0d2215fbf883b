"""Schwinger model with two flavours and the exact determinant, up to criticality.

The system of arXiv:2202.11712: U(1) in two dimensions at beta = 2, kappa = 0.276 on 16 x 16, where det D changes its sign and
hybrid Monte Carlo stays where it is positive.  The pure gauge theory is drawn exactly
(:mod:`gaugeflow.systems.schwinger_prior`); a stochastic flow with exact weights leads to light quarks
(:mod:`gaugeflow.systems.schwinger_path`), and its updates are a Markov chain of their own.  The shipped paths, which
``--quick`` loads, are the files ``schwinger-*.h5`` of ``gaugeflow demo schwinger``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from gaugeflow import io
from gaugeflow.actions import Determinant, WilsonAction
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import LinkObservable, integer_charge, plaquette
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng
from gaugeflow.samplers import HMC, Level
from gaugeflow.samplers import run as run_chain
from gaugeflow.systems import figures, schwinger_pion
from gaugeflow.systems.report import Progress, Report, silent
from gaugeflow.systems.schwinger_layers import Layer, SliceUpdates
from gaugeflow.systems.schwinger_path import Path, learn, sample
from gaugeflow.systems.schwinger_prior import PlaquettePrior
from gaugeflow.systems.schwinger_report import (
    PUBLISHED_PIONS,
    Target,
    chain_table,
    flow_table,
    history,
    pion_table,
    quality,
)
from gaugeflow.systems.schwinger_slices import angles_of, condensate, log_det
from gaugeflow.systems.unfinished import stored

BOUNDARY = (-1.0, 1.0)
_SERIES = {
    0.25: {8: 0.786, 12: 0.797, 16: 0.692, 20: 0.565, 24: 0.440},
    0.263: {8: 0.527, 12: 0.555, 16: 0.488, 20: 0.361, 24: 0.237},
}


_STEPS = {0.25: 0.0012, 0.263: 0.005}
CRITICAL = Target(16, 0.276, None, 384)


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are the demo's."""

    beta: float = 2.0
    targets: tuple[Target, ...] = (
        *(
            Target(extent, kappa, value, path_step=_STEPS[kappa])
            for kappa, row in _SERIES.items()
            for extent, value in row.items()
        ),
        CRITICAL,
    )
    training_extent: int = 16
    training_chains: int = 64
    batch: int = 64
    chain: Target = CRITICAL
    lanes: int = 64
    sweeps: int = 750
    runs: int = 2
    burn_in: int = 50
    hmc_chains: int = 16
    hmc_trajectories: int = 1200
    hmc_burn_in: int = 40
    hmc_steps: int = 4
    pions: tuple[Target, ...] = (Target(16, 0.25), Target(16, 0.263))
    pion_lanes: int = 32
    pion_measurements: int = 20
    pion_thin: int = 4
    pion_plateau: tuple[int, int] = (4, 7)


QUICK = Settings(
    targets=(Target(8, 0.25, 0.786, 64), Target(8, 0.263, 0.527, 64), Target(8, 0.276, None, 64)),
    chain=Target(8, 0.276),
    lanes=32,
    sweeps=60,
    runs=1,
    burn_in=10,
    hmc_chains=4,
    hmc_trajectories=30,
    hmc_burn_in=10,
    pions=(),
)


def run(
    *,
    out: FilePath,
    seed: int = 2202,
    quick: bool = False,
    progress: Progress = silent,
    settings: Settings | None = None,
) -> Report:
    """Find (or load) the paths, sample with flows, with the chain of updates and with hybrid Monte Carlo, and report.

    Parameters
    ----------
    out
        Folder for figures, paths, samples and histories; what an interrupted run with the same seed and settings has left
        there is not done again.
    seed
        Seed of all random numbers.
    quick
        Shipped paths, an 8 x 8 lattice, short chains.
    progress
        Called as work goes on.
    settings
        Parameters other than the demo's; with ``quick``, of sampling from shipped paths.

    Returns
    -------
    Report
    """
    chosen = settings or (QUICK if quick else Settings())
    out.mkdir(parents=True, exist_ok=True)
    rng = Rng(seed)
    rows: list[dict[str, Any]] = []
    weights: dict[str, dict[str, Array]] = {}
    for target in chosen.targets:
        path = shipped(target.kappa) if quick else _learned(target, chosen, rng, out, progress)
        columns = _flow(target, path, chosen, rng.stream(f"flow {target.name}"), out, progress)
        rows.append(quality(target, path, columns, rng.stream(f"metropolis {target.name}")))
        panel = weights.setdefault(f"$L$ = {target.extent}", {})
        panel[rf"$\kappa$ = {target.kappa:g}"] = columns["log_weight"]
    chain = _chain(chosen, rng.stream(f"chain {chosen.chain.extent} {chosen.chain.kappa:g}"), out)
    local = _hmc(chosen, rng.stream("HMC"), out)
    histories = [history("slices", chosen.chain, chain), history("HMC", chosen.chain, local)]
    pions = [_pion(target, chosen, rng.stream(f"pion {target.name}"), out) for target in chosen.pions]
    pictures = (
        figures.weights(out / "log_weights.png", weights),
        figures.charges(
            out / "charge.png",
            {"slices": chain["charge"][:, 0], "HMC": local["charge"][:, 0]},
            rf"$L$ = {chosen.chain.extent}, $\kappa$ = {chosen.chain.kappa:g}",
        ),
    )
    shown = (flow_table(rows), chain_table(histories), *([pion_table(pions)] if pions else []))
    return Report(shown, [*rows, *histories, *pions], pictures)


# ---- paths -------------------------------------------------------------------------------------------------------
def _file(kappa: float) -> str:
    return f"schwinger-{kappa:g}.h5"


def shipped(kappa: float) -> Path:
    """The path to a hopping parameter that is installed with the package.

    Raises
    ------
    ValueError
        If there is none for this one.
    """
    place = files("gaugeflow.systems") / "data" / _file(kappa)
    if not place.is_file():
        raise ValueError(f"kappa: no path is installed for {kappa:g}")
    with as_file(place) as path:
        return Path(io.read_table(path)[0]["couplings"])


def _learned(target: Target, settings: Settings, rng: Rng, out: FilePath, progress: Progress) -> Path:
    """A path from its file in the folder, or from the training."""
    kappa, extent = target.kappa, settings.training_extent
    options: dict[str, Any] = {"batch": settings.training_chains, "step": target.path_step}

    def find() -> dict[str, Array]:
        start = time.process_time()
        stream = rng.stream(f"path {kappa:g}")
        path = learn(settings.beta, kappa, Lattice((extent, extent)), stream, **options, progress=progress)
        return {"couplings": path.couplings, "seconds": np.asarray([time.process_time() - start])}

    made_of = {"seed": rng.seed, "beta": settings.beta, "kappa": kappa, "extent": extent, **options}
    return Path(stored(out / _file(kappa), made_of, find)["couplings"])


# ---- sampling ----------------------------------------------------------------------------------------------------
def _flow(
    target: Target, path: Path, settings: Settings, rng: Rng, out: FilePath, progress: Progress
) -> dict[str, Array]:
    """Weighted configurations of the flow, from files where batches are there."""
    lattice = Lattice((target.extent,) * 2)

    def batch(k: int) -> dict[str, Array]:
        start = time.process_time()
        found = sample(path, lattice, rng.at(k), settings.batch)
        return {
            "log_weight": found.log_weight,
            "charge": found.charge,
            "plaquette": found.plaquette,
            "sign": found.state.sign,
            "condensate": condensate(target.kappa, found.state.angles),
            "seconds": np.asarray([time.process_time() - start]),
        }

    # log-weights have a constant that belongs to the path
    made_of = {"seed": rng.seed, "extent": target.extent, "batch": settings.batch, "path": path.couplings.tolist()}
    parts = []
    count = -(-target.samples // settings.batch)
    for k in range(count):
        progress(f"flow, {target.extent} x {target.extent}, kappa {target.kappa:g}", k, count)
        parts.append(stored(out / f"flow-{target.name}-{k}.h5", made_of, lambda k=k: batch(k)))  # type: ignore[misc]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _chain(settings: Settings, rng: Rng, out: FilePath) -> dict[str, Array]:
    """Histories of sweeps of the slices, ``(sweeps, lanes)`` each, from several runs that can go side by side."""
    runs = [chain_run(settings, rng, out, number) for number in range(settings.runs)]
    found = {}
    for name, first in runs[0].items():
        parts = [run[name] for run in runs]
        found[name] = np.concatenate(parts, axis=1) if first.ndim > 1 else np.mean(parts, axis=0)
    return found


def chain_run(settings: Settings, rng: Rng, out: FilePath, number: int) -> dict[str, Array]:
    """One of the runs of the chain, which continues from its checkpoint in the folder."""
    target = settings.chain
    sampler = SliceUpdates(Layer(settings.beta, target.kappa))
    here = rng.stream(number) if number else rng
    # a start at the plaquette of light quarks: the gauge action 20 % above
    prior = PlaquettePrior(Lattice((target.extent,) * 2), 1.2 * settings.beta)
    found = run_chain(
        sampler,
        here.stream("chain"),
        sampler.init(prior.angles(here.stream("start"), settings.lanes)),
        settings.sweeps,
        burn_in=settings.burn_in,
        checkpoint=out / (f"chain-{target.name}-{number}.h5" if number else f"chain-{target.name}.h5"),
        progress=False,
    )
    return {name: np.asarray(values) for name, values in found.records.items()}


def _hmc(settings: Settings, rng: Rng, out: FilePath) -> dict[str, Array]:
    """Histories of hybrid Monte Carlo with the exact determinant, all chains started without charge."""
    target = settings.chain
    lattice = Lattice((target.extent,) * 2)
    operator = Wilson(lattice=lattice, kappa=target.kappa, boundary=BOUNDARY)

    def quarks(_: Lattice, links: Array) -> Array:
        angles = angles_of(lattice, links)
        return np.stack([log_det(target.kappa, angles)[1], condensate(target.kappa, angles)])

    observe: list[Any] = [
        LinkObservable("plaquette", lattice, plaquette),
        LinkObservable("charge", lattice, integer_charge),
        LinkObservable("quarks", lattice, quarks),
    ]
    action = Determinant(operator, 2.0, 32)
    sampler = HMC(
        lattice,
        (Level(action, settings.hmc_steps), Level(WilsonAction(lattice, settings.beta), 2)),
        tune=settings.hmc_burn_in // 2,
    )
    cold = np.ones((2, lattice.volume, 1, 1, settings.hmc_chains), dtype=np.complex128)
    found = run_chain(
        sampler,
        rng.stream("steps"),
        sampler.init(cold),
        settings.hmc_trajectories,
        burn_in=settings.hmc_burn_in,
        observe=observe,
        checkpoint=out / f"hmc-{target.name}.h5",
        progress=False,
    )
    records = {name: np.asarray(values) for name, values in found.records.items()}
    both = records.pop("quarks")
    return {**records, "sign": both[:, 0], "condensate": both[:, 1]}


def _pion(target: Target, settings: Settings, rng: Rng, out: FilePath) -> dict[str, Any]:
    """The JSON object of one mass of the pion."""
    options: dict[str, Any] = {
        "lanes": settings.pion_lanes,
        "measurements": settings.pion_measurements,
        "burn_in": settings.burn_in,
        "thin": settings.pion_thin,
    }
    beta, kappa, extent = settings.beta, target.kappa, target.extent

    def find() -> dict[str, Array]:
        return {"pion": schwinger_pion.correlators(Lattice((extent, extent)), beta, kappa, rng, **options)}

    made_of = {"seed": rng.seed, "beta": beta, "kappa": kappa, "extent": extent, **options}
    values = stored(out / f"pion-{target.name}.h5", made_of, find)["pion"]
    return {
        "system": "schwinger",
        "lattice": [target.extent, target.extent],
        "kappa": target.kappa,
        "n_configurations": values.shape[0] * values.shape[1],
        "pion": schwinger_pion.mass(values, *settings.pion_plateau),
        "published_pion": PUBLISHED_PIONS.get((target.extent, target.kappa)),
    }
