"""QCD in four dimensions at strong coupling: SU(3) with two flavours of Wilson quarks on 4^4 and 8^4, sampled from Haar links.

The system of arXiv:2208.03832.  Links come from a trivialising flow (:mod:`gaugeflow.systems.trivialising`, installed with the
package) whose coupling is shifted by the leading effect of the quarks, 48 kappa^4 for each flavour; pseudofermions come from
the hopping series, whose Taylor coefficients need no fit at these masses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.actions import Hasenbusch, WilsonAction
from gaugeflow.analysis import Series, ess, format_error, gamma_method, reweighted_mean
from gaugeflow.determinants import log_det
from gaugeflow.flows import HoppingSeries
from gaugeflow.hadrons import point, propagator, two_point
from gaugeflow.kernels import fermion_dot
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import LinkObservable, clover_charge, plaquette, polyakov_loop
from gaugeflow.operators import Wilson, gaussian
from gaugeflow.priors import Haar
from gaugeflow.random import Rng, haar_links
from gaugeflow.samplers import HMC, Level, metropolis_chain
from gaugeflow.samplers import run as run_chain
from gaugeflow.solvers import cg
from gaugeflow.systems import trivialising
from gaugeflow.systems.report import BRACKETS, ESS, Progress, Report, Table, silent
from gaugeflow.systems.unfinished import stored

SHAPE = (4, 4, 4, 4)
COLOURS, FLAVOURS = 3, 2


@dataclass(frozen=True)
class Point:
    """Couplings, extent of the lattice, and how many configurations are drawn there.

    Parameters
    ----------
    beta, kappa
        Of the Wilson action and of the quarks.
    extent
        Of the lattice, in all directions.
    batch, blocks
        Configurations at a time, and how many times.
    """

    beta: float
    kappa: float
    extent: int = 4
    batch: int = 32
    blocks: int = 2


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the first point is compared with determinants and HMC."""

    points: tuple[Point, ...] = (
        Point(1.0, 0.10, blocks=8),
        Point(1.0, 0.13),
        Point(1.0, 0.15),
        Point(1.5, 0.13),
        Point(2.0, 0.10),
        *(Point(1.0, kappa, 8, 8, 2) for kappa in (0.13, 0.145, 0.155)),
    )
    order: int = 3
    chains: int = 16
    trajectories: int = 60
    burn_in: int = 20


QUICK = Settings(points=(Point(1.0, 0.10, blocks=1),), chains=8, trajectories=20, burn_in=10)


@dataclass(frozen=True)
class Coupling:
    """One pair of couplings on the lattice.

    Parameters
    ----------
    beta, kappa
        Of the Wilson action and of the quarks.
    order
        Of the hopping series, in double hops.
    extent
        Of the lattice, in all directions.
    """

    beta: float
    kappa: float
    order: int
    extent: int = 4

    @property
    def name(self) -> str:
        """Name of streams and progress; that of 4^4 goes without the lattice."""
        lattice = "" if self.extent == SHAPE[0] else f", {self.extent}^4"
        return f"beta {self.beta:g}, kappa {self.kappa:g}{lattice}"

    @property
    def file(self) -> str:
        """Part of names of files."""
        return f"{self.extent}-beta{self.beta:g}-kappa{self.kappa:g}"

    @property
    def lattice(self) -> Lattice:
        """The lattice."""
        return Lattice((self.extent,) * 4)

    @property
    def shift(self) -> float:
        """Leading change of beta by the quarks."""
        return FLAVOURS * 48.0 * self.kappa**4

    @property
    def operator(self) -> Wilson:
        """D, antiperiodic in time."""
        return Wilson(lattice=self.lattice, kappa=self.kappa)

    def links(self, rng: Rng, batch: int) -> tuple[Array, Array]:
        """Links of the trivialising flow at the shifted coupling, and log det.

        To leading order coefficients are proportional to the coupling: those of the installed flow are stretched.
        """
        target = trivialising.Target(COLOURS, self.beta, self.lattice.shape, SHAPE)
        learned = trivialising.shipped(target)
        params = {"c": learned.params["c"] * (1.0 + self.shift / self.beta)}
        return learned.flow.forward(params, Haar(self.lattice, COLOURS).sample(rng, batch))

    @property
    def series(self) -> HoppingSeries:
        """The conditional flow; its parameters are those of ``init``."""
        return HoppingSeries(self.operator, self.order)

    def pseudofermions(self, rng: Rng, links: Array) -> tuple[Array, Array]:
        """phi, and what depends on it in the log-weight, ``|eta|^2 - |M^-dagger phi|^2``."""
        flow = self.series
        m = flow.matrix(links)
        eta = gaussian(rng, m)
        phi = flow.apply(flow.init(), links, eta)
        x = cg(m, phi, tolerance=1e-8).x
        image = m.apply(x)
        value = 2.0 * fermion_dot(self.lattice, phi, x).real - fermion_dot(self.lattice, image, image).real
        return phi, fermion_dot(self.lattice, eta, eta).real - value

    def observables(self) -> list[Any]:
        """What is compared with HMC."""
        operator = self.operator

        def pion(lattice: Lattice, links: Array) -> Array:
            """Point-to-all correlator at zero momentum, ``(time, batch)``."""
            bound = operator.with_links(links)
            quark = propagator(bound, point(bound, (0,) * lattice.ndim), tolerance=1e-8)
            return np.asarray(two_point(quark, channels=("pion",)).values[0, 0, ...]).real

        def charge_squared(lattice: Lattice, links: Array) -> Array:
            return np.asarray(clover_charge(lattice, links) ** 2)

        def polyakov(lattice: Lattice, links: Array) -> Array:
            return np.asarray(polyakov_loop(lattice, links)).real

        def size(lattice: Lattice, links: Array) -> Array:
            return np.abs(np.asarray(polyakov_loop(lattice, links)))

        functions = {
            "plaquette": plaquette,
            "Re P": polyakov,
            "|P|": size,
            "Q": clover_charge,
            "Q^2": charge_squared,
            "pion": pion,
        }
        return [LinkObservable(name, self.lattice, function) for name, function in functions.items()]


def sample(
    coupling: Coupling, batch: int, blocks: int, measure: bool, rng: Rng, out: Path, progress: Progress
) -> dict[str, Array]:
    """Log-weights with pseudofermions drawn twice, and, where wanted, with exact determinants, and observables.

    Every block of them is a file in the folder ``out``; what is there already is not drawn again.
    """
    action, operator = WilsonAction(coupling.lattice, coupling.beta), coupling.operator

    def block(k: int) -> dict[str, Array]:
        x, change = coupling.links(rng.stream("links").at(k), batch)
        own = change - action.value(x)
        found = {"gauge": own - action.value(x) * (coupling.shift / coupling.beta)}
        own = own + coupling.series.log_det(coupling.series.init(), x)
        for name, stream in (("joint", "pseudofermions"), ("joint again", "other pseudofermions")):
            found[name] = own + coupling.pseudofermions(rng.stream(stream).at(k), x)[1]
        if measure:
            exact = FLAVOURS * log_det(operator.with_links(x)).log_abs
            found["marginal"] = change - action.value(x) + exact
            for observable in coupling.observables():
                found |= _rows(observable.name, observable(x))
        return found

    made_of = {"seed": rng.seed, "coupling": repr(coupling), "batch": batch, "measure": measure}
    parts = []
    for k in range(blocks):
        parts.append(stored(out / f"samples-{coupling.file}-{k}.h5", made_of, lambda k=k: block(k)))  # type: ignore[misc]
        progress(f"{coupling.name}: sampling", k + 1, blocks)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _rows(name: str, value: Array) -> dict[str, Array]:
    """A column, or one for each row of an observable with several."""
    if value.ndim == 1:
        return {name: value}
    return {f"{name} {t}": value[t, ...] for t in range(value.shape[0])}


def hybrid(coupling: Coupling, settings: Settings, rng: Rng, out: Path, progress: Progress) -> dict[str, Array]:
    """Histories of HMC, ``(trajectories, chains)``, which continue from a checkpoint in the folder."""
    lattice = coupling.lattice
    levels = (Level(Hasenbusch(coupling.operator), 5), Level(WilsonAction(lattice, coupling.beta), 1))
    sampler = HMC(lattice, levels, tune=settings.burn_in // 2)
    chain = run_chain(
        sampler,
        rng.stream("chain"),
        sampler.init(haar_links(rng.stream("start"), lattice, COLOURS, settings.chains)),
        settings.trajectories,
        burn_in=settings.burn_in,
        observe=coupling.observables(),
        callback=lambda found: progress(f"{coupling.name}: HMC", found.step - settings.burn_in, settings.trajectories),
        progress=False,
        checkpoint=out / f"hmc-{coupling.file}.h5",
        checkpoint_every=10,
    )
    found: dict[str, Array] = {}
    for observable in coupling.observables():
        values = np.asarray(chain.records[observable.name])
        found |= {observable.name: values} if values.ndim == 2 else _rows(observable.name, np.moveaxis(values, 1, 0))
    return found


def analyse(
    coupling: Coupling, columns: Mapping[str, Array], local: Mapping[str, Array] | None, rng: Rng
) -> dict[str, Any]:
    """The JSON object of one pair of couplings."""
    row: dict[str, Any] = {
        "beta": coupling.beta,
        "kappa": coupling.kappa,
        "order": coupling.order,
        "lattice": list(coupling.lattice.shape),
        "configurations": len(columns["joint"]),
        "conditional_variance": 0.5 * float(np.mean((columns["joint"] - columns["joint again"]) ** 2)),
        "marginal_ess": None,
        "marginal_ess_error": None,
    }
    for name in ("gauge", "marginal", "joint"):
        if name not in columns:
            continue
        quality = ess(columns[name])
        row[f"{name}_ess"], row[f"{name}_ess_error"] = quality.value, quality.error
    _, accepted = metropolis_chain(rng, columns["joint"].reshape(-1, 4))
    row["acceptance"] = float(np.mean(accepted[1:]))
    row["observables"] = []
    for name, lanes in (local or {}).items():
        flow = reweighted_mean(columns[name], columns["joint"])
        hmc = gamma_method(Series.from_lanes(lanes, name=name))
        row["observables"].append(
            {
                "name": name,
                "flow": flow.value,
                "flow_error": flow.error,
                "hmc": hmc.value,
                "hmc_error": hmc.error,
                "pull": float((flow.value - hmc.value) / np.hypot(flow.error, hmc.error)),
            }
        )
    return row


def run(
    *, out: Path, seed: int = 2208, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Sample links and pseudofermions, compare with exact determinants and with HMC, and report.

    Parameters
    ----------
    out
        Folder for samples and chains; what an interrupted run with the same seed and settings has left there is not done
        again.
    seed
        Seed of all random numbers.
    quick
        The first couplings only, few configurations.
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
    rows = []
    for i, where in enumerate(chosen.points):
        coupling = Coupling(where.beta, where.kappa, chosen.order, where.extent)
        rng = Rng(seed).stream(coupling.name)
        columns = sample(coupling, where.batch, where.blocks, i == 0, rng.stream("sample"), out, progress)
        local = None if i else hybrid(coupling, chosen, rng.stream("hmc"), out, progress)
        rows.append(analyse(coupling, columns, local, rng.stream("metropolis")))
    return Report((_sizes(rows), _values(rows[0])), rows)


def _sizes(rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = [
        (
            f"{row['lattice'][0]}^4",
            f"{row['beta']:g}",
            f"{row['kappa']:g}",
            row["configurations"],
            format_error(row["gauge_ess"], row["gauge_ess_error"]),
            "" if row["marginal_ess"] is None else format_error(row["marginal_ess"], row["marginal_ess_error"]),
            format_error(row["joint_ess"], row["joint_ess_error"]),
            f"{row['conditional_variance']:.2e}",
            f"{row['acceptance']:.3f}",
        )
        for row in rows
    ]
    columns = (
        "lattice",
        "beta",
        "kappa",
        "configurations",
        "pure gauge",
        "marginal",
        "joint",
        "variance at fixed links",
        "acceptance",
    )
    notes = (
        ESS,
        BRACKETS,
        "pure gauge: towards the Wilson action at the shifted coupling; marginal: with exact determinants",
        "variance at fixed links: of the log-weight, from two sets of pseudofermions for each gauge field",
        "acceptance: of the joint sampler",
    )
    return Table("Effective sample sizes, two flavours", columns, tuple(cells), notes)


def _values(row: Mapping[str, Any]) -> Table:
    cells = [
        (
            found["name"],
            format_error(found["flow"], found["flow_error"]),
            format_error(found["hmc"], found["hmc_error"]),
            f"{found['pull']:.1f}",
        )
        for found in row["observables"]
    ]
    return Table(
        f"Observables at beta = {row['beta']:g}, kappa = {row['kappa']:g}",
        ("", "joint flow", "HMC", "pull"),
        tuple(cells),
        (BRACKETS, "P: Polyakov loop; Q: clover charge without smearing; pion: point correlator by time, kappa form"),
    )
