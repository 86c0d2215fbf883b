"""T-REX with quarks: replica exchange of the Schwinger model in kappa, with flows between neighbouring replicas.

Two flavours of Wilson quarks in 2D U(1), with exact determinants.  The first replica has kappa = 0: it is the pure gauge
theory, which is sampled independently, so that it hands fresh topology to the others.  The last replica is the theory of
interest, where hybrid Monte Carlo alone keeps the sign of det D, which cannot change but through zero.
Neighbours are brought closer by couplings beta that keep the plaquette the same along kappa, by weights of |Q| that keep the
shares of the sectors, and by flows of loop potentials from a linear fit.  Everything that is fitted comes from independent
configurations of the first replica, so that no chain is needed for it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io
from gaugeflow.analysis import Estimate, Series, ess, format_error, gamma_method, reweighted_mean, round_trip_times
from gaugeflow.flows import TrivialisingFlow, luescher_classes
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import integer_charge, plaquette
from gaugeflow.random import Rng
from gaugeflow.samplers import HMC, Chain, Exchange, IndependenceMetropolis, Level, Replica, ReplicaExchange
from gaugeflow.samplers import run as run_chain
from gaugeflow.systems import figures
from gaugeflow.systems.report import BRACKETS, TAU_INT, Progress, Report, Table, silent
from gaugeflow.systems.schwinger_prior import PlaquettePrior
from gaugeflow.systems.schwinger_replicas import (
    SECTORS,
    Coupling,
    Quarks,
    Sample,
    action,
    draw_sample,
    expected_rate,
    fit,
    gauge_action,
    matched,
)
from gaugeflow.systems.schwinger_slices import angles_of, log_det
from gaugeflow.systems.trex import CoreSeconds
from gaugeflow.typing import Params, Sampler

OBSERVABLES = ("plaquette", "Q", "Q^2", "sign")
"""What is measured on every replica after every step, in this order; the sign is that of det D of one flavour."""

MODES = ("fixed beta", "matched", "flows")
"""Exchange at one beta, with couplings that match plaquette and sectors, and with flows on top of these."""


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are the demo's.

    ``steps`` may grow: the run continues from its checkpoints.  A step is one trajectory of every replica but the first,
    which is drawn anew, and swaps of every other pair of neighbours.
    """

    extent: int = 16
    beta: float = 2.0
    kappas: tuple[float, ...] = (0.0, 0.263, 0.27, 0.276)
    modes: tuple[str, ...] = MODES
    chains: int = 8
    steps: int = 200
    burn_in: int = 20
    force_steps: int = 2
    prior_beta: float = 2.3
    training_extent: int = 8
    samples: int = 8192
    gradients: int = 1024
    classes_order: int = 2
    damping: float = 1e-3
    flow_steps: int = 2
    checkpoint_every: int = 20

    @property
    def lattice(self) -> Lattice:
        """The square lattice of the replicas."""
        return Lattice((self.extent, self.extent))


QUICK = Settings(extent=8, chains=8, steps=100, samples=4096, gradients=512)
"""A minute or two."""


# ---- what is fitted --------------------------------------------------------------------------------------------------
def fixed(settings: Settings) -> tuple[Coupling, ...]:
    """Couplings with one beta."""
    return tuple(Coupling(kappa, settings.beta) for kappa in settings.kappas)


def correction(settings: Settings, lattice: Lattice) -> TrivialisingFlow:
    """The flow from one replica to the next, without its coefficients."""
    classes = luescher_classes(2, 1, settings.classes_order)
    return TrivialisingFlow(lattice, 1, classes, knots=2, steps=settings.flow_steps)


def _sample(settings: Settings, extent: int, rng: Rng, progress: Progress = silent) -> Sample:
    return draw_sample(Lattice((extent, extent)), settings.prior_beta, settings.kappas, settings.samples, rng, progress)


def learned(settings: Settings, rng: Rng, path: Path, progress: Progress) -> tuple[tuple[Coupling, ...], list[Params]]:
    """Matched couplings and flows, fitted now or read from what an interrupted run has fitted from the same."""
    names = ("extent", "beta", "kappas", "prior_beta", "training_extent", "samples", "gradients", "classes_order")
    attributes = {"seed": rng.seed, "fit": repr({name: getattr(settings, name) for name in (*names, "damping")})}
    size = len(settings.kappas)
    if path.exists():
        stored, found = io.read_params(path)
        if all(found.get(name) == value for name, value in attributes.items()):
            couplings = tuple(
                Coupling(kappa, float(beta), tuple(float(w) for w in sectors) if np.any(sectors) else ())
                for kappa, beta, sectors in zip(settings.kappas, stored["beta"], stored["sectors"], strict=True)
            )
            return couplings, [stored[str(k)] for k in range(size - 1)]
    small = _sample(settings, settings.training_extent, rng.stream("sample"), progress)
    equal = settings.extent == settings.training_extent
    large = small if equal else _sample(settings, settings.extent, rng.stream("sectors"), progress)
    couplings = matched(settings.beta, small, large)
    flows = fit(
        correction(settings, small.lattice),
        matched(settings.beta, small, small),
        small,
        rng.stream("fit"),
        count=settings.gradients,
        damping=settings.damping,
        progress=progress,
    )
    params: dict[str, Any] = {str(k): pair for k, pair in enumerate(flows)}
    params["beta"] = np.asarray([coupling.beta for coupling in couplings])
    params["sectors"] = np.asarray([coupling.log_sectors or (0.0,) * SECTORS for coupling in couplings])
    io.write_params(path, params, attributes=io.provenance(**attributes))
    return couplings, list(flows)


# ---- chains ----------------------------------------------------------------------------------------------------------
def local(settings: Settings, coupling: Coupling) -> Sampler:
    """Independent draws where there are no quarks, hybrid Monte Carlo with exact determinants elsewhere."""
    lattice, gauge = settings.lattice, gauge_action(settings.lattice, coupling)
    if coupling.kappa == 0.0:
        return IndependenceMetropolis(lattice, gauge, PlaquettePrior(lattice, coupling.beta, coupling.log_sectors))
    return HMC(lattice, (Level(Quarks(lattice, coupling.kappa), settings.force_steps), Level(gauge, 1)))


class _Measured:
    """The observables of every replica, ``(n_replicas, 4, batch)``; knows when it ended."""

    name = "measured"

    def __init__(self, lattice: Lattice, kappas: Sequence[float]) -> None:
        self.lattice, self.kappas = lattice, kappas
        self.ended = time.process_time()

    def __call__(self, x: Array | tuple[Array, ...]) -> Array:
        fields = x if isinstance(x, tuple) else (x,)
        rows = []
        for kappa, links in zip(self.kappas, fields, strict=True):
            charge = integer_charge(self.lattice, links)
            sign = np.rint(log_det(kappa, angles_of(self.lattice, links))[1])
            rows.append(np.stack([plaquette(self.lattice, links), charge, charge**2, sign]))
        self.ended = time.process_time()
        return np.stack(rows)


def replicas(settings: Settings, couplings: Sequence[Coupling], flows: Sequence[Params] = ()) -> ReplicaExchange:
    """The sampler: replicas with these couplings and, where given, flows between neighbours."""
    lattice = settings.lattice
    members = tuple(Replica(action(lattice, coupling), local(settings, coupling)) for coupling in couplings)
    flow = correction(settings, lattice) if flows else None
    exchanges = tuple(Exchange(flow, params) for params in flows) if flow is not None else ()
    return ReplicaExchange(lattice, members, exchanges)


def cold(lattice: Lattice, chains: int) -> Array:
    """Links 1, of charge 0."""
    return np.ones((2, lattice.volume, 1, 1, chains), dtype=np.complex128)


def run_exchange(
    settings: Settings, sampler: ReplicaExchange, mode: str, rng: Rng, out: Path, progress: Progress
) -> Chain:
    """All replicas from links 1, measured after every step."""
    measured = _Measured(settings.lattice, settings.kappas)
    return run_chain(
        sampler,
        rng,
        sampler.init(cold(settings.lattice, settings.chains)),
        settings.steps,
        burn_in=settings.burn_in,
        observe=(CoreSeconds(measured), measured),
        callback=lambda sample: progress(mode, sample.step - settings.burn_in, settings.steps),
        progress=False,
        checkpoint=out / f"{mode.replace(' ', '-')}.h5",
        checkpoint_every=settings.checkpoint_every,
    )


def run_local(settings: Settings, rng: Rng, out: Path, progress: Progress) -> Chain:
    """Hybrid Monte Carlo alone at the last kappa, from links 1: as many trajectories as all replicas together have."""
    sampler = local(settings, fixed(settings)[-1])
    measured = _Measured(settings.lattice, settings.kappas[-1:])
    thin = len(settings.kappas) - 1
    return run_chain(
        sampler,
        rng,
        sampler.init(cold(settings.lattice, settings.chains)),
        settings.steps * thin,
        burn_in=settings.burn_in * thin,
        thin=thin,
        observe=(CoreSeconds(measured), measured),
        callback=lambda sample: progress("HMC", sample.step // thin - settings.burn_in, settings.steps),
        progress=False,
        checkpoint=out / "HMC.h5",
        checkpoint_every=settings.checkpoint_every,
    )


def run(
    *, out: Path, seed: int = 2502, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Match couplings and fit flows, run the exchanges and hybrid Monte Carlo beside them, reweight the prior, report.

    Parameters
    ----------
    out
        Folder for figures, histories and checkpoints; an interrupted run continues there.
    seed
        Seed of all random numbers.
    quick
        An 8 x 8 lattice and fewer steps.
    progress
        Called as work goes on.
    settings
        Parameters other than the demo's.

    Returns
    -------
    Report
        Tables, one JSON object, histories of the charge.
    """
    chosen = settings or (QUICK if quick else Settings())
    out.mkdir(parents=True, exist_ok=True)
    rng = Rng(seed)
    couplings, flows = learned(chosen, rng.stream("training"), out / "fitted.h5", progress)
    chains = {}
    for mode in chosen.modes:
        own = fixed(chosen) if mode == "fixed beta" else couplings
        sampler = replicas(chosen, own, flows if mode == "flows" else ())
        chains[mode] = run_exchange(chosen, sampler, mode, rng.stream(mode), out, progress)
    chains["HMC"] = run_local(chosen, rng.stream("HMC"), out, progress)
    columns = {
        f"{mode}|{name.replace('/', '|')}": v for mode, chain in chains.items() for name, v in chain.records.items()
    }
    io.write_table(out / "histories.h5", columns, attributes=io.provenance(seed=seed, settings=repr(chosen)))
    reference = _sample(chosen, chosen.extent, rng.stream("reference"))
    result = analyse(chosen, couplings, chains, reference)
    result["expected"] = expected(chosen, couplings, flows, reference, rng.stream("expected"))
    histories = {mode: chain.records["measured"][:, -1, 1, 0] for mode, chain in chains.items()}
    picture = figures.charges(out / "charge.png", histories, rf"$\kappa$ = {chosen.kappas[-1]:g}")
    return Report(tables(result), result, (picture,), notes(result))


# ---- results ---------------------------------------------------------------------------------------------------------
def _estimate(values: Array) -> Estimate:
    """Gamma method on ``(n, chains)``."""
    return gamma_method(Series.from_lanes(values))


def visits(signs: Array) -> int:
    """How often chains came to a negative sign, from histories ``(n, chains)``: as many independent events at most."""
    negative = np.concatenate([np.zeros((1, signs.shape[1]), dtype=bool), signs < 0.0])
    return int(np.sum(negative[1:] & ~negative[:-1]))


def analyse(
    settings: Settings, couplings: Sequence[Coupling], chains: Mapping[str, Chain], reference: Sample
) -> dict[str, Any]:
    """Swap rates, means, autocorrelations and costs, as the JSON of the demo."""
    swaps, rows, journeys = [], [], {}
    for mode in settings.modes:
        records = chains[mode].records
        for pair, kappas in enumerate(pairwise(settings.kappas)):
            found = _estimate(records["probability"][records["attempted"][:, pair], pair])
            swaps.append({"mode": mode, "kappas": list(kappas), "rate": found.value, "rate_error": found.error})
        trips = round_trip_times(records["walker"])
        journeys[mode] = {"count": len(trips), "mean_steps": float(np.mean(trips)) if len(trips) else None}
    for mode, chain in chains.items():
        seconds = float(np.median(chain.records["core_seconds"])) / settings.chains
        for k, name in enumerate(OBSERVABLES):
            values = chain.records["measured"][:, -1, k]
            row: dict[str, Any] = {"mode": mode, "observable": name, "core_seconds_per_step": seconds}
            row["moves"] = float(np.mean(values[1:] != values[:-1]))
            if name == "sign":
                row["visits"] = visits(values)
            if np.ptp(values) > 0.0:
                found = _estimate(values)
                row |= {
                    "mean": found.value,
                    "error": found.error,
                    "tau_int": found.tau_int,
                    "tau_int_error": found.tau_int_error,
                    "core_seconds_per_independent": 2.0 * found.tau_int * seconds,
                }
            else:
                row |= {"mean": float(values[0, 0]), "error": None, "tau_int": None, "tau_int_error": None}
                row["core_seconds_per_independent"] = None
            rows.append(row)
    return {
        "system": "trex-schwinger",
        "lattice": list(settings.lattice.shape),
        "beta": settings.beta,
        "kappas": list(settings.kappas),
        "matched_betas": [coupling.beta for coupling in couplings],
        "log_sectors": [list(coupling.log_sectors) for coupling in couplings],
        "chains": settings.chains,
        "steps": settings.steps,
        "swaps": swaps,
        "round_trips": journeys,
        "autocorrelations": rows,
        "reweighted": _reweighted(settings, reference),
    }


def expected(
    settings: Settings, couplings: Sequence[Coupling], flows: Sequence[Params], sample: Sample, rng: Rng
) -> dict[str, list[float]]:
    """Swap rates of all pairs in equilibrium, by reweighting: what each of the means to bring neighbours closer is worth."""
    flow = correction(settings, sample.lattice)
    small = _sample(settings, settings.training_extent, rng.stream("sample"))
    options: dict[str, Any] = {"count": settings.gradients, "damping": settings.damping}
    alone = fit(correction(settings, small.lattice), fixed(settings), small, rng.stream("fit"), **options)
    choices: dict[str, tuple[Sequence[Coupling], Sequence[Params]]] = {
        "fixed beta": (fixed(settings), ()),
        "matched plaquettes": (tuple(replace(coupling, log_sectors=()) for coupling in couplings), ()),
        "matched plaquettes and sectors": (couplings, ()),
        "flows at fixed beta": (fixed(settings), alone),
        "flows and matched plaquettes and sectors": (couplings, flows),
    }
    return {
        name: [
            expected_rate(sample, own, k, rng.stream(k), settings.gradients, flow, params[k] if params else None)
            for k in range(len(own) - 1)
        ]
        for name, (own, params) in choices.items()
    }


def _reweighted(settings: Settings, sample: Sample) -> dict[str, Any]:
    """The observables at the last kappa from independent configurations of the pure gauge theory."""
    weight = sample.log_weight(fixed(settings)[-1], len(settings.kappas) - 1)
    values = (sample.plaquettes / sample.lattice.volume, sample.charges, sample.charges**2, sample.signs[-1])
    found = [reweighted_mean(value, weight) for value in values]
    return {
        "samples": settings.samples,
        "ess": ess(weight).value,
        **{name: [one.value, one.error] for name, one in zip(OBSERVABLES, found, strict=True)},
    }


def tables(result: dict[str, Any]) -> tuple[Table, ...]:
    """What the command prints."""
    modes = list(result["round_trips"])
    pairs = list(pairwise(result["kappas"]))
    rates = {
        (row["mode"], tuple(row["kappas"])): format_error(row["rate"], row["rate_error"]) for row in result["swaps"]
    }
    title = "L = {}, beta = {:g}, kappa = {:g}".format(result["lattice"][0], result["beta"], result["kappas"][-1])
    return (
        Table(
            "swap rates of neighbours in kappa",
            ("exchange", *("{:g} - {:g}".format(*pair) for pair in pairs), "round trips"),
            tuple(
                (mode, *(rates[mode, pair] for pair in pairs), result["round_trips"][mode]["count"]) for mode in modes
            ),
            (
                "matched: plaquette and sectors, beta " + ", ".join(f"{beta:.4f}" for beta in result["matched_betas"]),
                "flows: on top of matched couplings",
                BRACKETS,
            ),
        ),
        Table(
            f"swap rates expected in equilibrium, from {result['reweighted']['samples']} configurations of the prior",
            ("exchange", *("{:g} - {:g}".format(*pair) for pair in pairs)),
            tuple((name, *(f"{rate:.3f}" for rate in rates)) for name, rates in result["expected"].items()),
        ),
        Table(
            title,
            ("algorithm", "observable", "mean", "tau_int", "steps that change it", "core seconds per independent"),
            tuple(_cells(row) for row in result["autocorrelations"]),
            (
                "HMC: alone, from links 1; one step is as many trajectories as all replicas together have",
                TAU_INT + "; none where nothing ever changed",
            ),
        ),
    )


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    known = row["error"] is not None
    return (
        row["mode"],
        row["observable"],
        format_error(row["mean"], row["error"]) if known else f"{row['mean']:g}",
        format_error(row["tau_int"], row["tau_int_error"]) if known else "none",
        f"{row['moves']:.3f}",
        f"{row['core_seconds_per_independent']:.3g}" if known else "none",
    )


def notes(result: dict[str, Any]) -> tuple[str, ...]:
    """Visits to a negative sign, and the independent check, in words."""
    found = result["reweighted"]
    values = ", ".join(f"{name} {format_error(*found[name])}" for name in OBSERVABLES)
    counts = ", ".join(f"{row['mode']} {row['visits']}" for row in result["autocorrelations"] if "visits" in row)
    return (
        f"visits to a negative sign of det D: {counts}; an error of its mean from fewer than ten of them is a guess",
        f"{found['samples']} independent configurations of the pure gauge theory, reweighted (effective sample size "
        f"{found['ess']:.2g}): {values}",
    )
