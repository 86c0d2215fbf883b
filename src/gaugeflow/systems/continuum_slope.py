"""The slope of a ratio of flow scales towards the continuum, from derivatives with respect to beta at three couplings.

R = t_0.3 / t_0.35 of SU(3) has a continuum limit that is approached linearly in a^2 / t_0.3.  Its slope at each coupling,
k_1 = (dR/dbeta) / (d(1/t_0.3)/dbeta), needs derivatives with respect to beta only, on one ensemble, and constrains the
extrapolation beside the values of R (arXiv:2401.10874, and the talk that goes with it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io, kernels
from gaugeflow.actions import WilsonAction
from gaugeflow.devices import device, to_device
from gaugeflow.ensembles import CorrelatedEnsemble, Measurements, MemoryEnsemble, along_fields, measure_images
from gaugeflow.flows import SmearedSweep, Smearing
from gaugeflow.io.ensemble import EnsembleFile
from gaugeflow.lattice import LANES, Array, Lattice, suggest_fold
from gaugeflow.observables import flow_history
from gaugeflow.random import Rng
from gaugeflow.systems import correlated_su3, slope_figure, slope_report
from gaugeflow.systems.correlated import Clock
from gaugeflow.systems.report import Progress, Report, silent
from gaugeflow.systems.scales import Levels, column
from gaugeflow.systems.slope_estimates import Point
from gaugeflow.systems.unfinished import Unfinished


@dataclass(frozen=True)
class Coupling:
    """One ensemble: beta, extents t, z, y, x, and the longest flow time, beyond the larger of the two scales.

    With ``images``, flows with a finite step are measured here, too.
    """

    beta: float
    shape: tuple[int, ...]
    longest: float
    images: bool = False


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are the demo's.

    The volumes are about (2.4 r_0)^4: extents are multiples of 4, as the masks of the flow want them.
    """

    couplings: tuple[Coupling, ...] = (
        Coupling(5.96, (12, 12, 12, 12), 3.8, images=True),
        Coupling(6.02, (16, 16, 12, 12), 4.8),
        Coupling(6.1, (16, 16, 16, 16), 6.2),
    )
    levels: tuple[float, float] = (0.3, 0.35)
    step: float = 0.01
    chains: int = 8
    blocks: int = 5
    burn_in: int = 100
    thin: int = 10
    overrelax: int = 4
    flow_step: float = 0.1
    recorded: float = 0.2


QUICK = Settings(
    couplings=tuple(
        Coupling(beta, (8, 8, 8, 8), longest, images=True) for beta, longest in ((5.7, 1.4), (5.75, 1.8), (5.8, 2.2))
    ),
    burn_in=60,
)


def run(
    *, out: Path, seed: int = 2401, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Generate, measure along fields and images of flows, and extrapolate.

    A run that is interrupted or killed leaves the folder ``unfinished`` and goes on from there, to the same numbers.

    Parameters
    ----------
    out
        Folder for figures and measurements (made if needed).
    seed
        Seed of all random numbers.
    quick
        Lattices of 8^4 at stronger coupling, for a first look.
    progress
        Called as work goes on.
    settings
        Parameters other than the demo's.

    Returns
    -------
    Report
        Tables, one JSON object, figure.

    Raises
    ------
    ValueError
        If ``out`` holds an unfinished run with another seed or other settings, or if t^2 E does not reach the levels.
    """
    chosen = settings or (QUICK if quick else Settings())
    out.mkdir(parents=True, exist_ok=True)
    rng, clock = Rng(seed), Clock()
    with Unfinished.open(out / "unfinished", clock, seed=seed, settings=repr(chosen)) as done:
        points = []
        for coupling in chosen.couplings:
            generate(chosen, coupling, rng.stream(f"source {coupling.beta:g}"), done, progress)
            data = measure(chosen, coupling, done, progress)
            points.append(Point(data, FIELDS, levels(chosen, coupling)))
        images = [
            flowed(chosen, coupling, [p for p in points if p is not point], done, progress) if coupling.images else None
            for coupling, point in zip(chosen.couplings, points, strict=True)
        ]
        described = io.provenance(seed=seed, settings=repr(chosen))
        entries = []
        for coupling, point, moved in zip(chosen.couplings, points, images, strict=True):
            io.write_table(out / f"measurements-{coupling.beta:g}.h5", point.data.columns(), attributes=described)
            if moved is not None:
                io.write_table(out / f"images-{coupling.beta:g}.h5", moved.columns(), attributes=described)
            entries.append((coupling.beta, coupling.shape, point, moved))
        result = slope_report.analyse(entries, chosen.step, clock)
    picture = slope_figure.extrapolation(out / "continuum_slope.png", result)
    return Report(slope_report.tables(result), result, (picture,))


def levels(settings: Settings, coupling: Coupling) -> Levels:
    """Flow times at which t^2 E is recorded, and the values that it is to reach."""
    count = round(coupling.longest / settings.recorded)
    first = math.floor(_EARLIEST * count)
    times = tuple(round(k * settings.recorded, 10) for k in range(max(first, 1), count + 1))
    return Levels(times, settings.levels)


_EARLIEST = 0.6
"""First recorded flow time, in units of the longest."""


def layout(shape: tuple[int, ...], chains: int) -> tuple[Lattice, int]:
    """A lattice and the number of configurations at a time that together fill the vector registers.

    Fields hold the links of a little more than 16^4 at most; folded sub-lattices keep extents that are multiples of 4.
    """
    size = 1
    while 2 * size <= min(chains, _MOST_SITES // int(np.prod(shape))):
        size *= 2
    fold = suggest_fold(tuple(n // 2 for n in shape), -(-LANES[device()] // size))
    return Lattice(shape, fold), size


_MOST_SITES = 4 * 12**4


def generate(settings: Settings, coupling: Coupling, rng: Rng, done: Unfinished, progress: Progress) -> None:
    """The source ensemble, kept in the folder of the unfinished run."""
    name = _name("source", coupling)
    correlated_su3.generate_kept(
        Lattice(coupling.shape),
        _chain(settings),
        coupling.beta,
        rng,
        lambda i, n: progress(name, i, n),
        done=(done, name),
        timed=partial(done.clock.time, "source", f"{coupling.beta:g}"),
    )


def _chain(settings: Settings) -> correlated_su3.Settings:
    return correlated_su3.Settings(
        chains=settings.chains,
        blocks=settings.blocks,
        burn_in=settings.burn_in,
        thin=settings.thin,
        overrelax=settings.overrelax,
    )


def _name(kind: str, coupling: Coupling) -> str:
    return f"{kind} {coupling.beta:g}"


def _batches(
    done: Unfinished, coupling: Coupling, lattice: Lattice, size: int, rows: range
) -> Iterator[tuple[Array, Any, Any]]:
    """Links, ids and chains of stored configurations."""
    with EnsembleFile.open(done.folder / f"{_name('source', coupling)}.h5") as file:
        for start in rows[::size]:
            part = file.read(start, min(start + size, rows.stop))
            yield to_device(lattice.pack(part.links, 1)), part.id, part.chain


def observables(settings: Settings, coupling: Coupling, lattice: Lattice) -> Callable[[Array], Mapping[str, Array]]:
    """Plaquette and t^2 E of every configuration at the flow times."""
    times = levels(settings, coupling).times

    def measure_field(x: Array) -> Mapping[str, Array]:
        history = flow_history(lattice, x, times, step=settings.flow_step).t2_e
        energies = {column(t): history[k, ...] for k, t in enumerate(times)}
        return {"plaquette": np.mean(kernels.plaquette(lattice, x), axis=0), **energies}

    return measure_field


def make_fields(lattice: Lattice) -> dict[str, tuple[SmearedSweep, Any]]:
    """:data:`FIELDS` by name, each as a sweep that smears no further than it needs."""
    fields = {}
    for name in FIELDS:
        levels = (int(name[1:]),) if name.startswith("G") else (1,)
        sweep = SmearedSweep(lattice, smearing=Smearing.with_gradients(levels))
        delta = sweep.init()["delta"]
        delta[sweep.fields.index(name), 0] = 1.0
        fields[name] = (sweep, delta)
    return fields


FIELDS = ("A", "Z", "G2", "G4")
"""Fields of :class:`gaugeflow.flows.SmearedSweep` along which observables are differentiated."""


def measure(settings: Settings, coupling: Coupling, done: Unfinished, progress: Progress) -> Measurements:
    """t^2 E and its derivatives along every field, on all configurations."""
    lattice, size = layout(coupling.shape, settings.chains)
    source = WilsonAction(lattice, coupling.beta)

    def timed(kind: str, name: str, work: Callable[[], Any]) -> Any:
        return done.clock.time(kind, f"{coupling.beta:g}|{name}", work)

    one = observables(settings, coupling, lattice)
    along = along_fields(make_fields(lattice), source, source.d_beta, one, timed=timed)
    name, total = _name("measurements", coupling), settings.chains * settings.blocks
    data = done.measurements(name)
    for links, ids, chains in _batches(done, coupling, lattice, size, range(len(data), total)):
        data.add(ids, chains, along(links))
        done.keep_measurements(name, data)
        progress(name, len(data), total)
    return data


def flowed(
    settings: Settings, coupling: Coupling, others: Sequence[Point], done: Unfinished, progress: Progress
) -> Measurements:
    """t^2 E on images under flows with a finite step.

    Coefficients are the means of those that fit the ensembles at the other couplings, from which they differ little: weights
    and observables here know nothing of them.
    """
    lattice, size = layout(coupling.shape, settings.chains)
    source = WilsonAction(lattice, coupling.beta)
    flow = SmearedSweep(lattice)
    per_unit = flow.init()["delta"]
    for point in others:
        for name, value in point.fitted().items():
            per_unit[flow.fields.index(name), 0] += value / len(others)
    one = observables(settings, coupling, lattice)
    name, total = _name("images", coupling), settings.chains * settings.blocks
    data = done.measurements(name)
    for links, ids, chains in _batches(done, coupling, lattice, size, range(len(data), total)):
        block = MemoryEnsemble(lattice, (links,))
        maps = {}
        for step in (settings.step, -settings.step):
            target = WilsonAction(lattice, coupling.beta + step)
            maps[f"plain{step:+g}"] = CorrelatedEnsemble(block, source, target)
            maps[f"flow{step:+g}"] = CorrelatedEnsemble(block, source, target, flow, {"delta": per_unit * step})

        def timed(kind: str, name: str, work: Callable[[], Any]) -> Any:
            return done.clock.time(kind, f"{coupling.beta:g}|image{name}", work)

        part = measure_images(block, maps, one, size, timed=timed).columns()
        data.add(ids, chains, {key: value for key, value in part.items() if key not in ("id", "chain")})
        done.keep_measurements(name, data)
        progress(name, len(data), total)
    return data
