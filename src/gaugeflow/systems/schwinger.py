"""Schwinger model with two flavours and the exact determinant, up to criticality.

The system of arXiv:2202.11712: U(1) in two dimensions at beta = 2, kappa = 0.276 on 16 x 16, where det D changes its sign and
hybrid Monte Carlo stays in one topological sector.  The pure gauge theory is drawn exactly
(:mod:`gaugeflow.systems.schwinger_prior`); a stochastic flow with exact weights leads to light quarks
(:mod:`gaugeflow.systems.schwinger_path`), and its updates are a Markov chain of their own.  The shipped paths, which
``--quick`` loads, are the files ``path-*.h5`` of ``gaugeflow demo schwinger``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from gaugeflow import io
from gaugeflow.actions import Determinant, WilsonAction
from gaugeflow.analysis import Estimate, Series, ess, format_error, gamma_method, reweighted_mean
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import LinkObservable, integer_charge, plaquette
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng
from gaugeflow.samplers import HMC, Level, metropolis_chain
from gaugeflow.samplers import run as run_chain
from gaugeflow.systems import figures
from gaugeflow.systems.report import BRACKETS, ESS, TAU_INT, Progress, Report, Table, silent
from gaugeflow.systems.schwinger_layers import Layer, SliceUpdates
from gaugeflow.systems.schwinger_path import Path, learn, sample
from gaugeflow.systems.schwinger_prior import PlaquettePrior
from gaugeflow.systems.schwinger_slices import angles_of, condensate, log_det

BOUNDARY = (-1.0, 1.0)
PUBLISHED_SUSCEPTIBILITY = {(16, 0.276): (3.88e-3, 4e-5)}
"""<Q^2>/V with its error, arXiv:2202.11712."""


@dataclass(frozen=True)
class Target:
    """One lattice and mass.

    Parameters
    ----------
    extent, kappa
        Of the lattice and of the quarks.
    published
        Effective sample size of published flows with the exact determinant, where there is one.
    samples
        Weighted configurations of the flow.
    """

    extent: int
    kappa: float
    published: float | None = None
    samples: int = 128

    @property
    def name(self) -> str:
        """Name of files and streams."""
        return f"{self.extent}-{self.kappa:g}"


_SERIES = {
    0.25: {8: 0.786, 12: 0.797, 16: 0.692, 20: 0.565, 24: 0.440},
    0.263: {8: 0.527, 12: 0.555, 16: 0.488, 20: 0.361, 24: 0.237},
}


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are the demo's."""

    beta: float = 2.0
    targets: tuple[Target, ...] = (
        *(Target(extent, kappa, value) for kappa, row in _SERIES.items() for extent, value in row.items()),
        Target(16, 0.276, None, 384),
    )
    training_extent: int = 16
    training_chains: int = 64
    path_step: float = 0.005
    batch: int = 64
    chain: Target = Target(16, 0.276)
    lanes: int = 64
    sweeps: int = 1000
    burn_in: int = 50
    hmc_chains: int = 8
    hmc_trajectories: int = 100
    hmc_burn_in: int = 20
    hmc_steps: int = 6


QUICK = Settings(
    targets=(Target(8, 0.25, 0.786, 64), Target(8, 0.263, 0.527, 64), Target(8, 0.276, None, 64)),
    chain=Target(8, 0.276),
    lanes=32,
    sweeps=60,
    burn_in=10,
    hmc_chains=4,
    hmc_trajectories=30,
    hmc_burn_in=10,
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
        Folder for figures, paths, samples and histories; what an interrupted run has left there is not done again.
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
    rows, weights = [], {}
    for target in chosen.targets:
        path = shipped(target.kappa) if quick else _learned(target.kappa, chosen, rng, out, progress)
        columns = _flow(target, path, chosen, rng.stream(f"flow {target.name}"), out, progress)
        rows.append(_quality(target, path, columns, rng.stream(f"metropolis {target.name}")))
        weights[f"$L$ = {target.extent}, $\\kappa$ = {target.kappa:g}"] = columns["log_weight"]
    chain = _chain(chosen, rng.stream(f"chain {chosen.chain.extent} {chosen.chain.kappa:g}"), out)
    local = _hmc(chosen, rng.stream("HMC"), out)
    histories = [_history("slices", chosen.chain, chain), _history("HMC", chosen.chain, local)]
    last = {name: values for name, values in weights.items() if f"{chosen.chain.extent}," in name}
    pictures = (
        figures.weights(out / "log_weights.png", last or weights),
        figures.charges(
            out / "charge.png",
            {"slices": chain["charge"][:, 0], "HMC": local["charge"][:, 0]},
            rf"$L$ = {chosen.chain.extent}, $\kappa$ = {chosen.chain.kappa:g}",
        ),
    )
    return Report((_flow_table(rows), _chain_table(histories)), [*rows, *histories], pictures)


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


def _learned(kappa: float, settings: Settings, rng: Rng, out: FilePath, progress: Progress) -> Path:
    """A path from its file in the folder, or from the training."""
    file = out / _file(kappa)
    if file.exists():
        return Path(io.read_table(file)[0]["couplings"])
    lattice = Lattice((settings.training_extent,) * 2)
    start = time.process_time()
    path = learn(
        settings.beta,
        kappa,
        lattice,
        rng.stream(f"path {kappa:g}"),
        batch=settings.training_chains,
        step=settings.path_step,
        progress=progress,
    )
    attributes = io.provenance(seed=rng.seed, kappa=kappa, seconds=time.process_time() - start)
    io.write_table(file, {"couplings": path.couplings}, attributes=attributes)
    return path


# ---- sampling ----------------------------------------------------------------------------------------------------
def _flow(
    target: Target, path: Path, settings: Settings, rng: Rng, out: FilePath, progress: Progress
) -> dict[str, Array]:
    """Weighted configurations of the flow, from files where batches are there."""
    lattice = Lattice((target.extent,) * 2)
    parts = []
    count = -(-target.samples // settings.batch)
    for k in range(count):
        progress(f"flow, {target.extent} x {target.extent}, kappa {target.kappa:g}", k, count)
        file = out / f"flow-{target.name}-{k}.h5"
        if not file.exists():
            start = time.process_time()
            found = sample(path, lattice, rng.at(k), settings.batch)
            columns = {
                "log_weight": found.log_weight,
                "charge": found.charge,
                "plaquette": found.plaquette,
                "sign": found.state.sign,
                "condensate": condensate(target.kappa, found.state.angles),
                "seconds": np.asarray([time.process_time() - start]),
            }
            io.write_table(file, columns, attributes=io.provenance(seed=rng.seed, **asdict(target)))
        parts.append(io.read_table(file)[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _chain(settings: Settings, rng: Rng, out: FilePath) -> dict[str, Array]:
    """Histories of sweeps of the slices, ``(sweeps, lanes)`` each."""
    target = settings.chain
    sampler = SliceUpdates(Layer(settings.beta, target.kappa))
    # a start at the plaquette of light quarks: the gauge action 20 % above
    prior = PlaquettePrior(Lattice((target.extent,) * 2), 1.2 * settings.beta)
    found = run_chain(
        sampler,
        rng.stream("chain"),
        sampler.init(prior.angles(rng.stream("start"), settings.lanes)),
        settings.sweeps,
        burn_in=settings.burn_in,
        checkpoint=out / f"chain-{target.name}.h5",
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


# ---- analysis ----------------------------------------------------------------------------------------------------
def _pair(estimate: Estimate, factor: float = 1.0) -> dict[str, float]:
    return {
        "value": factor * estimate.value,
        "error": factor * estimate.error,
        "tau_int": estimate.tau_int,
        "tau_int_error": estimate.tau_int_error,
    }


def _quality(target: Target, path: Path, columns: Mapping[str, Array], rng: Rng) -> dict[str, Any]:
    """The JSON object of one flow: weights, reweighted means, and the Markov chain that its samples make."""
    weight = columns["log_weight"]
    quality = ess(weight)
    index, accepted = metropolis_chain(rng, weight[:, None])
    chain = {name: columns[name][index[:, 0]] for name in ("charge", "sign", "condensate")}
    volume = target.extent**2
    return {
        "system": "schwinger",
        "sampler": "flow",
        "lattice": [target.extent, target.extent],
        "kappa": target.kappa,
        "n_configurations": len(weight),
        "layers": len(path.couplings) - 1,
        "ess": quality.value,
        "ess_error": quality.error,
        "ess_published": target.published,
        "variance_per_site": float(np.var(weight)) / volume,
        "acceptance": float(np.mean(accepted[1:])),
        "milliseconds": 1e3 * float(np.sum(columns["seconds"])) / len(weight),
        "susceptibility": _pair(reweighted_mean(columns["charge"] ** 2, weight), 1.0 / volume),
        "plaquette": _pair(reweighted_mean(columns["plaquette"], weight)),
        "sign": _pair(reweighted_mean(columns["sign"], weight)),
        "condensate": _pair(reweighted_mean(columns["condensate"], weight)),
        "chain": {name: _measured(values[:, None]) for name, values in chain.items()},
    }


def _measured(lanes: Array) -> dict[str, Any]:
    """Mean, error and autocorrelation time; without errors where nothing moves."""
    if np.ptp(lanes) == 0.0:
        return {"value": float(lanes.flat[0]), "error": None, "tau_int": None, "tau_int_error": None}
    return dict(_pair(gamma_method(Series.from_lanes(lanes))))


def _history(name: str, target: Target, records: Mapping[str, Array]) -> dict[str, Any]:
    """The JSON object of one Markov chain."""
    volume = target.extent**2
    charge = records["charge"]
    susceptibility = _measured(charge**2)
    for key in ("value", "error"):
        susceptibility[key] = None if susceptibility[key] is None else susceptibility[key] / volume
    return {
        "system": "schwinger",
        "sampler": name,
        "lattice": [target.extent, target.extent],
        "kappa": target.kappa,
        "n_configurations": int(charge.size),
        "susceptibility": susceptibility,
        "streams": np.mean(charge**2, axis=0).tolist(),
        "charge": _measured(charge),
        **{key: _measured(records[key]) for key in ("plaquette", "sign", "condensate")},
        "acceptance": float(np.mean(records["accepted_links" if "accepted_links" in records else "accepted"])),
        "published_susceptibility": PUBLISHED_SUSCEPTIBILITY.get((target.extent, target.kappa)),
    }


# ---- tables ------------------------------------------------------------------------------------------------------
def _shown(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.6g}" if found["error"] is None else format_error(found["value"], found["error"])


def _tau(found: Mapping[str, Any]) -> str:
    return "frozen" if found["tau_int"] is None else f"{found['tau_int']:.2f}"


def _flow_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = tuple(
        (
            row["lattice"][0],
            row["kappa"],
            row["layers"],
            format_error(row["ess"], row["ess_error"]),
            "" if row["ess_published"] is None else row["ess_published"],
            f"{row['acceptance']:.2f}",
            _tau(row["chain"]["charge"]),
            _tau(row["chain"]["sign"]),
            _tau(row["chain"]["condensate"]),
            _shown(row["susceptibility"]),
            f"{row['milliseconds']:.1f}",
        )
        for row in rows
    )
    return Table(
        "Stochastic flow from the pure gauge theory, two flavours, beta = 2",
        (
            "L",
            "kappa",
            "layers",
            "ESS",
            "published",
            "acceptance",
            "tau Q",
            "tau sign",
            "tau condensate",
            "<Q^2>/V",
            "ms each",
        ),
        cells,
        (ESS, BRACKETS, f"tau of the chain of independence Metropolis; {TAU_INT}"),
    )


def _chain_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    def streams(row: Mapping[str, Any]) -> str:
        values = np.array(row["streams"]) / row["lattice"][0] ** 2
        return f"{np.min(values):.2e} ... {np.max(values):.2e}"

    def published(row: Mapping[str, Any]) -> str:
        known = row["published_susceptibility"]
        return "" if known is None else format_error(*known)

    cells = tuple(
        (
            row["sampler"],
            row["n_configurations"],
            f"{row['acceptance']:.2f}",
            _tau(row["charge"]),
            _tau(row["susceptibility"]),
            _tau(row["sign"]),
            _tau(row["condensate"]),
            _shown(row["sign"]),
            _shown(row["susceptibility"]),
            published(row),
            streams(row),
        )
        for row in rows
    )
    return Table(
        f"Markov chains, {rows[0]['lattice'][0]} x {rows[0]['lattice'][0]}, kappa = {rows[0]['kappa']:g}",
        (
            "sampler",
            "configurations",
            "acceptance",
            "tau Q",
            "tau Q^2",
            "tau sign",
            "tau condensate",
            "sign of det D",
            "<Q^2>/V",
            "published",
            "<Q^2>/V of single streams",
        ),
        cells,
        (BRACKETS, f"{TAU_INT}; one sweep of the slices, one trajectory of HMC"),
    )
