"""Two flavours of quarks in two dimensions by joint samplers of links and pseudofermions.

The system of arXiv:2207.08945: a flow of links, conditional flows of pseudofermions, weights without any determinant of the
Dirac operator.  Links come from the pure gauge theory, exactly or by a trivialising flow, and are corrected for the quarks by
weights of topological sectors and a potential of loops (:mod:`gaugeflow.systems.loop_correction`); pseudofermions come from
hopping series (:mod:`gaugeflow.systems.joint`).  All parameters are fitted in minutes; ``--quick`` loads installed ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io
from gaugeflow.actions import Hasenbusch, WilsonAction
from gaugeflow.determinants import log_det
from gaugeflow.flows import TrivialisingFlow, luescher_classes
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import LinkObservable, integer_charge, plaquette
from gaugeflow.operators import Wilson
from gaugeflow.priors import Haar
from gaugeflow.random import Rng, haar_links
from gaugeflow.samplers import HMC, Level
from gaugeflow.samplers import run as run_chain
from gaugeflow.systems import figures, trivialising
from gaugeflow.systems.joint import Factor, eigenvalues, factors
from gaugeflow.systems.loop_correction import fit_potential, follow
from gaugeflow.systems.pseudofermions_report import PUBLISHED, analyse, sizes, values
from gaugeflow.systems.report import Progress, Report, silent
from gaugeflow.systems.schwinger_prior import PlaquettePrior
from gaugeflow.systems.unfinished import stored
from gaugeflow.typing import Params

DATA = "data"
"""Folder of fitted parameters beside this module."""

PRECONDITIONERS = {"none": 1, "even-odd": 1, "Hasenbusch 1": 2, "Hasenbusch 2": 3, "Hasenbusch 3": 4}
"""Numbers of pseudofermion fields; all but the first are even-odd preconditioned."""


@dataclass(frozen=True)
class Case:
    """A theory: S = -(beta / N) sum Re tr P - 2 log det D(kappa) on a square lattice.

    Parameters
    ----------
    n_colours, extent, beta, kappa
        Group, lattice and couplings.
    prior_beta
        Coupling of the pure gauge theory that links come from before the correction.
    classes_order
        Order of Luescher's expansion whose classes of loops make the correction.
    fit_blocks, sample_blocks
        Batches for the correction, and batches that are sampled, where not those of the settings.
    """

    n_colours: int
    extent: int
    beta: float
    kappa: float
    prior_beta: float
    classes_order: int = 2
    fit_blocks: int | None = None
    sample_blocks: int | None = None

    @property
    def name(self) -> str:
        """Name of files and rows."""
        group = "u1" if self.n_colours == 1 else f"su{self.n_colours}"
        return f"{group}-{self.extent}-beta{self.beta:g}-kappa{self.kappa:g}"

    @property
    def lattice(self) -> Lattice:
        """The lattice."""
        return Lattice((self.extent, self.extent))

    @property
    def operator(self) -> Wilson:
        """D, antiperiodic in time."""
        return Wilson(lattice=self.lattice, kappa=self.kappa)


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are the demo's."""

    cases: tuple[Case, ...] = (
        Case(1, 8, 2.0, 0.25, 2.2),
        Case(1, 8, 2.0, 0.263, 2.25),
        Case(1, 8, 2.0, 0.276, 2.4),
        Case(3, 8, 5.0, 0.24, 5.0, 1, fit_blocks=6, sample_blocks=2),
    )
    models: tuple[tuple[str, int], ...] = (
        ("none", 2),
        ("even-odd", 2),
        ("Hasenbusch 1", 2),
        ("Hasenbusch 2", 2),
        ("Hasenbusch 3", 2),
        ("even-odd", 4),
        ("Hasenbusch 3", 4),
        ("Hasenbusch 3", 8),
    )
    """Preconditioner and order of the hopping series in M^dagger M; without preconditioning twice that in D^dagger D."""
    batch: int = 256
    fit_blocks: int = 16
    sample_blocks: int = 8
    chains: int = 32
    trajectories: int = 400
    burn_in: int = 100
    shipped: bool = False

    def made_of(self, case: Case, seed: int) -> dict[str, object]:
        """Attributes of files: all that parameters and blocks of samples of a case depend on."""
        own = replace(case, sample_blocks=None)
        return {"seed": seed, "settings": repr((own, self.models, self.batch, self.fit_blocks, self.shipped))}

    def largest_order(self, preconditioned: bool) -> int:
        """Of the series with, or without, even-odd preconditioning."""
        return max(
            order if preconditioned else 2 * order for name, order in self.models if preconditioned == (name != "none")
        )


QUICK = Settings(cases=Settings().cases[1:2], sample_blocks=4, chains=16, trajectories=80, burn_in=40, shipped=True)
"""The Schwinger model on 8 x 8 at kappa = 0.263, with installed parameters."""


# ---- links -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Gauge:
    """A source of links, and a flow that corrects them for the quarks.

    Parameters
    ----------
    source
        Function of random numbers and a batch: links, and minus the logarithm of their density up to a constant.
    correction, params
        The flow.
    """

    source: Callable[[Rng, int], tuple[Array, Array]]
    correction: TrivialisingFlow
    params: Params

    def sample(self, rng: Rng, batch: int) -> tuple[Array, Array]:
        """Links, and minus the logarithm of their density up to a constant."""
        x, density = self.source(rng, batch)
        y, change = self.correction.forward(self.params, x)
        return y, density + change


def source(case: Case, log_sectors: Sequence[float] = ()) -> Callable[[Rng, int], tuple[Array, Array]]:
    """The pure gauge theory at ``prior_beta``: exact for U(1), with free weights of sectors; an installed flow for SU(3)."""
    if case.n_colours == 1:
        exact = PlaquettePrior(case.lattice, case.prior_beta, tuple(float(s) for s in log_sectors))

        def draw_exactly(rng: Rng, batch: int) -> tuple[Array, Array]:
            x = exact.sample(rng, batch)
            return x, -exact.log_prob(x)

        return draw_exactly
    learned = trivialising.shipped(trivialising.Target(case.n_colours, case.prior_beta)).on(case.lattice)

    def draw_by_flow(rng: Rng, batch: int) -> tuple[Array, Array]:
        return learned.flow.forward(learned.params, Haar(case.lattice, case.n_colours).sample(rng, batch))

    return draw_by_flow


def correction(case: Case) -> TrivialisingFlow:
    """The flow that adds the potential of loops."""
    classes = luescher_classes(2, case.n_colours, case.classes_order)
    return TrivialisingFlow(case.lattice, case.n_colours, classes, knots=2, steps=4)


def gauge(case: Case, params: Params) -> Gauge:
    """Source and flow of links with fitted parameters."""
    return Gauge(source(case, params.get("log_sectors", ())), correction(case), params["correction"])


def quark_weight(case: Case, links: Array) -> Array:
    """2 log det D."""
    return np.asarray(2.0 * log_det(case.operator.with_links(links)).log_abs)


# ---- fits ------------------------------------------------------------------------------------------------------------
def model(case: Case, preconditioner: str, order: int) -> tuple[Factor, ...]:
    """Factors with their conditional flows."""
    if preconditioner == "none":
        return factors(case.operator, 2 * order, 1, preconditioned=False)
    return factors(case.operator, order, PRECONDITIONERS[preconditioner])


def model_name(preconditioner: str, order: int) -> str:
    """Key of parameters and columns."""
    return f"{preconditioner}, order {order}"


def learn(case: Case, settings: Settings, rng: Rng, progress: Progress) -> dict[str, Any]:
    """Correction of links, then the coefficients of all conditional flows."""
    draw, flow, blocks = source(case), correction(case), case.fit_blocks or settings.fit_blocks
    features, weights = [], []
    for k in range(blocks):
        x, density = draw(rng.stream("potential").at(k), settings.batch)
        features.append(np.concatenate([flow.potential.values(x), *_sectors(case, x)]))
        weights.append(density - WilsonAction(case.lattice, case.beta).value(x) + quark_weight(case, x))
        progress(f"{case.name}: determinants", k + 1, blocks)
    found = fit_potential(np.concatenate(features, axis=1), np.concatenate(weights))
    count = len(flow.classes)
    params: dict[str, Any] = {}
    if case.n_colours == 1:
        params["log_sectors"] = np.concatenate([np.zeros(1), found[count:]])
    start = source(case, params.get("log_sectors", ()))
    drawn = [start(rng.stream("follow").at(k), settings.batch) for k in range(max(1, blocks // 2))]
    batches = [x for x, _ in drawn]
    if case.n_colours == 1:
        towards = np.zeros(len(batches) * settings.batch)
    else:
        before = WilsonAction(case.lattice, case.prior_beta)
        towards = np.concatenate([density - before.value(x) for x, density in drawn])
    params["correction"] = follow(flow, case.prior_beta, found[:count], batches, towards)
    x, change = gauge(case, params).sample(rng.stream("conditional"), settings.batch)
    log_weight = change - WilsonAction(case.lattice, case.beta).value(x) + quark_weight(case, x)
    shares = np.exp(log_weight - np.max(log_weight))
    spectra: dict[bool, Array] = {}
    for k, (preconditioner, order) in enumerate(settings.models):
        chosen = model(case, preconditioner, order)
        flow_of = chosen[0].flow
        if flow_of.preconditioned not in spectra:
            spectra[flow_of.preconditioned] = eigenvalues(flow_of, x)
        params[model_name(preconditioner, order)] = {
            str(i): factor.fit(spectra[flow_of.preconditioned], shares) for i, factor in enumerate(chosen)
        }
        progress(f"{case.name}: hopping series", k + 1, len(settings.models))
    return params


def _sectors(case: Case, links: Array) -> list[Array]:
    """Rows that tell topological sectors of U(1) apart: |Q| = 1, and more."""
    if case.n_colours > 1:
        return []
    charge = np.abs(integer_charge(case.lattice, links))
    return [np.stack([np.where(charge == 1.0, 1.0, 0.0), np.where(charge > 1.0, 1.0, 0.0)])]


def shipped(case: Case) -> dict[str, Any]:
    """Parameters that are installed with the package."""
    with as_file(files("gaugeflow.systems") / DATA / f"pseudofermions-{case.name}.h5") as path:
        return io.read_params(path)[0]


def _learned(case: Case, settings: Settings, seed: int, out: Path, progress: Progress) -> dict[str, Any]:
    """Parameters from the package, from the folder of an interrupted run, or fitted now."""
    if settings.shipped:
        return shipped(case)
    path = out / f"pseudofermions-{case.name}.h5"
    made_of = settings.made_of(case, seed)
    if path.exists():
        params, found = io.read_params(path)
        if all(found.get(name) == value for name, value in made_of.items()):
            return params
    params = learn(case, settings, Rng(seed).stream(case.name).stream("fit"), progress)
    io.write_params(path, params, attributes=io.provenance(**made_of))
    return params


# ---- sampling --------------------------------------------------------------------------------------------------------
def sample(case: Case, settings: Settings, params: Params, rng: Rng, out: Path, progress: Progress) -> dict[str, Array]:
    """Log-weights, of the marginal sampler with exact determinants and of all joint ones, and observables of the links.

    Every block of them is a file in the folder ``out``; what is there already is not drawn again.
    """
    links, action = gauge(case, params), WilsonAction(case.lattice, case.beta)

    def block(k: int) -> dict[str, Array]:
        x, change = links.sample(rng.stream("links").at(k), settings.batch)
        own = change - action.value(x)
        found = {"marginal": own + quark_weight(case, x)}
        traces: dict[bool, Array] = {}
        for preconditioner, order in settings.models:
            name, total = model_name(preconditioner, order), own
            for i, factor in enumerate(model(case, preconditioner, order)):
                key = factor.flow.preconditioned
                if key not in traces:
                    traces[key] = replace(factor.flow, order=settings.largest_order(key)).traces(x)
                here = rng.stream(name).stream(i).at(k)
                total = total + factor.draw(here, params[name][str(i)], x, traces[key])[1]
            found[name] = total
        return found | {observable.name: observable(x) for observable in observables(case)}

    blocks = case.sample_blocks or settings.sample_blocks
    parts = []
    for k in range(blocks):
        file = out / f"samples-{case.name}-{k}.h5"
        parts.append(stored(file, settings.made_of(case, rng.seed), lambda k=k: block(k)))  # type: ignore[misc]
        progress(f"{case.name}: sampling", k + 1, blocks)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def observables(case: Case) -> list[Any]:
    """What is compared with HMC: the plaquette, and Q^2 for U(1)."""
    lattice = case.lattice
    found = [LinkObservable("plaquette", lattice, plaquette)]
    if case.n_colours == 1:
        found.append(LinkObservable("Q^2", lattice, lambda on, x: integer_charge(on, x) ** 2))
    return found


def hybrid(case: Case, settings: Settings, rng: Rng, out: Path, progress: Progress) -> dict[str, Array]:
    """Histories of HMC, ``(trajectories, chains)``, with pseudofermions of its own, from random links.

    Steps are tuned to an acceptance of 0.85: trajectories that follow the exact determinant accurately hardly cross its
    zeros, and links of the pure gauge theory have charges that would then stay.  The chains continue from a checkpoint.
    """
    lattice = case.lattice
    quarks = Hasenbusch(case.operator, (replace(case.operator, kappa=0.9 * case.kappa),))
    levels = (Level(quarks, 6), Level(WilsonAction(lattice, case.beta), 1))
    sampler = HMC(lattice, levels, target=0.85, tune=settings.burn_in // 2)
    chain = run_chain(
        sampler,
        rng.stream("chain"),
        sampler.init(haar_links(rng.stream("start"), lattice, case.n_colours, settings.chains)),
        settings.trajectories,
        burn_in=settings.burn_in,
        observe=observables(case),
        callback=lambda found: progress(f"{case.name}: HMC", found.step - settings.burn_in, settings.trajectories),
        progress=False,
        checkpoint=out / f"hmc-{case.name}.h5",
    )
    return {name: np.asarray(chain.records[name]) for name in (*[o.name for o in observables(case)], "accepted")}


def summary(case: Case, settings: Settings, columns: Mapping[str, Array], local: Mapping[str, Array], rng: Rng) -> Any:
    """The JSON object of one case."""
    names = [model_name(*model) for model in settings.models]
    return {
        "case": case.name,
        "n_colours": case.n_colours,
        "lattice": [case.extent, case.extent],
        "beta": case.beta,
        "kappa": case.kappa,
        **analyse(names, [observable.name for observable in observables(case)], columns, local, rng),
    }


def run(
    *, out: Path, seed: int = 2207, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Fit (or load) all flows, sample with them and with HMC, and compare.

    Parameters
    ----------
    out
        Folder for figures, samples, parameters and chains; what an interrupted run with the same seed and settings has left
        there is not done again.
    seed
        Seed of all random numbers.
    quick
        Installed parameters, one lattice and short chains.
    progress
        Called as work goes on.
    settings
        Parameters other than the demo's.

    Returns
    -------
    Report
    """
    chosen = settings or (QUICK if quick else Settings())
    out.mkdir(parents=True, exist_ok=True)
    results = []
    for case in chosen.cases:
        rng = Rng(seed).stream(case.name)
        params = _learned(case, chosen, seed, out, progress)
        columns = sample(case, chosen, params, rng.stream("sample"), out, progress)
        local = hybrid(case, chosen, rng.stream("hmc"), out, progress)
        results.append(summary(case, chosen, columns, local, rng.stream("metropolis")))
    picture = figures.joint_sizes(out / "ess.png", results, PUBLISHED)
    return Report((sizes(results), values(results)), results, (picture,))
