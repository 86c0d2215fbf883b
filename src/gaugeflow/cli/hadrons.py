"""``gaugeflow measure --hadrons``: two-point functions and loops of configurations, resumable, to HDF5."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import numpy as np

from gaugeflow.cli.output import WRITING_INTERVAL, Failures, as_stored, lock_results
from gaugeflow.cli.places import LOCK, Place, find_places, load, require_equal_places
from gaugeflow.cli.world import current
from gaugeflow.progress import Progress

if TYPE_CHECKING:
    from gaugeflow.cli.team import Team
    from gaugeflow.hadrons import Correlators, Gaussian, Propagator, Source
    from gaugeflow.lattice import Lattice
    from gaugeflow.operators import Wilson
    from gaugeflow.random import Rng

TABLE = "hadrons.h5"
SITES, LARGEST_BATCH = 8192, 64
"""Sites, and configurations, that are solved for together: 19 MB for twelve fields of SU(3)."""
_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--hadrons", is_flag=True, help="Measure hadron correlators with Wilson quarks."),
    click.option("--kappa", type=float, help="Hopping parameter of the quark."),
    click.option("--csw", type=float, default=0.0, show_default=True, help="Coefficient of the clover term."),
    click.option(
        "--boundary",
        default="antiperiodic",
        show_default=True,
        help="Phases of the quark: antiperiodic or periodic in time, or angles over pi of t,z,y,x such as 1,0,0,0.5.",
    ),
    click.option("--source", type=click.Choice(["point", "wall", "noise"]), default="point", show_default=True),
    click.option("--sources", type=click.IntRange(min=1), default=1, help="Source times, equally spaced (default: 1)."),
    click.option("--noise", type=click.Choice(["z2", "z4", "u1"]), default="z4", show_default=True),
    click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of all noise."),
    click.option("--smear", type=(float, int), metavar="WIDTH STEPS", help="Gaussian smearing of the source."),
    click.option("--smear-sink", is_flag=True, help="Smear the sink like the source."),
    click.option("--momenta", type=click.IntRange(min=0), default=0, help="Largest square of integer momenta."),
    click.option("--channels", help="Names separated by commas (default: all mesons, and the nucleon)."),
    click.option(
        "--loops", type=click.IntRange(min=0), default=0, help="Noises for disconnected loops (default: none)."
    ),
    click.option(
        "--dilution", default="time,spin", show_default=True, help="Of loops: time,spin,colour,parity or none."
    ),
    click.option("--solver", type=click.Choice(["cg", "refined", "bicgstab"]), default="cg", show_default=True),
    click.option("--tolerance", type=float, default=1e-10, show_default=True, help="Relative residual of D x = b."),
    click.option(
        "--propagators", type=click.Path(path_type=Path), help="Folder to keep propagators in, and to use them."
    ),
    click.option("--fit", type=(int, int), metavar="FIRST LAST", help="Times of the fits (default: T/4 to T/2)."),
    click.option("--correlated", is_flag=True, help="Fit with the covariance of times."),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        help="Folder of results (with --hadrons: hadrons by default; without: nothing is written by default).",
    ),
)
NAMES = (
    *("kappa", "csw", "boundary", "source", "sources", "noise", "seed", "smear", "smear_sink", "momenta", "channels"),
    *("loops", "dilution", "solver", "tolerance", "propagators", "fit", "correlated"),
)


def hadron_options(command: _Command) -> _Command:
    """Give a command the options of this module; they come as keyword arguments."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Setup:
    """What is measured: everything that two runs must agree on to go on with each other."""

    shape: tuple[int, ...]
    n_colours: int
    kappa: float
    csw: float
    boundary: tuple[tuple[float, float], ...]
    source: str
    sources: int
    noise: str
    seed: int
    smear: tuple[float, int] | None
    smear_sink: bool
    momenta: int
    channels: tuple[str, ...]
    loops: int
    dilution: tuple[str, ...]
    solver: str
    tolerance: float

    @property
    def times(self) -> list[int]:
        """Source times."""
        return [k * self.shape[0] // self.sources for k in range(self.sources)]

    @property
    def gaussian(self) -> Gaussian | None:
        """Smearing of the source."""
        from gaugeflow.hadrons import Gaussian

        return None if self.smear is None else Gaussian(*self.smear)

    def of_propagator(self, time: int) -> dict[str, Any]:
        """What a stored propagator depends on."""
        used: tuple[str, ...] = ("kappa", "csw", "boundary", "source", "smear", "solver", "tolerance")
        if self.source == "noise":
            used = (*used, "noise", "seed")
        return {"time": time, **as_stored({name: getattr(self, name) for name in used})}


def make_setup(options: dict[str, Any], shape: tuple[int, ...], n_colours: int) -> Setup:
    """Checked options for a lattice; ``ValueError`` where they make no sense."""
    from gaugeflow.hadrons import MESONS, NUCLEONS, Gaussian, meson_structures

    if options["kappa"] is None:
        raise ValueError("--hadrons needs --kappa")
    if not 0.0 < options["tolerance"] < 1.0:
        raise ValueError(f"--tolerance: expected a relative residual in 0 ... 1, got {options['tolerance']:g}")
    if options["smear"] is not None:
        Gaussian(*options["smear"])
    if options["smear_sink"] and options["smear"] is None:
        raise ValueError("--smear-sink needs --smear WIDTH STEPS")
    if options["source"] != "point" and options["momenta"]:
        raise ValueError(
            f"--momenta needs a point source: one {options['source']} source has correlators of zero momentum alone"
        )
    d = len(shape)
    if options["channels"] is None:
        nucleons = NUCLEONS if d == 4 and n_colours == 3 and options["source"] != "noise" else ()
        channels = (*(m for m in MESONS if m != "b1" or d > 2), *nucleons)
    else:
        channels = tuple(name.strip() for name in options["channels"].split(","))
        for name in channels:
            if name not in NUCLEONS:
                meson_structures(d, name)
            elif d != 4 or n_colours != 3 or options["source"] == "noise":
                raise ValueError(
                    f"--channels: {name} needs four dimensions, three colours and a point or wall source, "
                    f"got {d}, {n_colours} and {options['source']}"
                )
    if options["sources"] > shape[0]:
        raise ValueError(f"--sources: expected at most {shape[0]}, one for each time, got {options['sources']}")
    known = ("time", "spin", "colour", "parity")
    dilution = () if options["dilution"] == "none" else tuple(x.strip() for x in options["dilution"].split(","))
    if not set(dilution) <= set(known):
        raise ValueError(f"--dilution: expected some of {', '.join(known)} or none, got {options['dilution']!r}")
    phases = tuple((p.real, p.imag) for p in _phases(options["boundary"], d))
    chosen = {name: options[name] for name in Setup.__dataclass_fields__ if name in options}
    chosen |= {"shape": shape, "n_colours": n_colours, "boundary": phases, "channels": channels, "dilution": dilution}
    return Setup(**chosen)


def fit_range(given: tuple[int, int] | None, extent: int) -> tuple[int, int]:
    """Times of the fits, by default the second half of a folded correlator; ``ValueError`` where they are not within it."""
    half = extent // 2
    first, last = given or (max(min(1, half - 1), extent // 4), half)
    if not 0 <= first < last <= half:
        raise ValueError(
            f"--fit: expected 0 <= FIRST < LAST <= {half}, half the temporal extent, got {first} and {last}"
        )
    return first, last


def _phases(text: str, d: int) -> tuple[complex, ...]:
    """Boundary phases from their name, or from angles over pi."""
    from gaugeflow.operators import boundary_phases

    words = {"antiperiodic": (1.0, *(0.0,) * (d - 1)), "periodic": (0.0,) * d}
    try:
        angles = words[text] if text in words else tuple(float(word) for word in text.split(","))
    except ValueError:
        angles = ()
    if len(angles) != d or not all(map(math.isfinite, angles)):
        raise ValueError(f"--boundary: expected antiperiodic, periodic or {d} angles over pi, got {text!r}")
    return boundary_phases(angles)


# ---- measurement ----------------------------------------------------------------------------------------------------
def measure_hadrons(
    files: Sequence[str],
    options: dict[str, Any],
    given: tuple[tuple[int, ...] | None, int | None, bool],
    progress: Progress,
    failures: Failures,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure what is not in the table yet; the table is written as it grows, and when the work ends, however it does.

    Configurations that fail are left out; a later call tries them again, and puts them where they belong.

    Returns
    -------
    columns, attributes
        As `gaugeflow.io.read_table` gives them.

    Raises
    ------
    ValueError
        If there are no configurations, or options make no sense for them, or the folder holds other measurements.
    GaugeflowError
        If another run works in the folder, which is locked until the command ends.
    """
    from gaugeflow import io

    world = current()
    team = world.share(options["ranks"])
    places = find_places(files, failures)
    require_equal_places(places)
    first, trial = None, Failures(failures.stop)
    for place in places:
        with trial.of(place.label):
            first = load(place, *given)
            break
    if first is None:
        failures.lines.extend(trial.lines)
        failures.report(len(files))
        raise ValueError(f"there are no configurations in {', '.join(files)}")
    setup = make_setup(options, tuple(first.shape[1:-2]), int(first.shape[-1]))
    fit_range(options["fit"], setup.shape[0])
    folder: Path = options["out"]
    lock = lock_results(folder, LOCK)
    path = folder / TABLE
    columns, attributes, rows = _begin(path, setup, places)
    size = max(1, min(SITES // math.prod(setup.shape), LARGEST_BATCH))
    lattice = _lattice(setup.shape, size)
    waiting = sorted(set(range(len(places))) - set(rows))
    written, last = len(rows), time.monotonic()
    progress("configurations", len(rows), len(places))
    try:
        while waiting:
            whole = size * team.count
            now, waiting = waiting[:whole], waiting[whole:]
            found = {}
            told = Failures(failures.stop)
            for k in now[team.number * size : (team.number + 1) * size]:
                with told.of(places[k].label):
                    array = team.together(partial(load, places[k], setup.shape, setup.n_colours, given[2]))
                    if array.shape != first.shape:
                        raise ValueError(f"expected links {first.shape} like the first, got {array.shape}")
                    found[k] = array
            own: dict[str, Any] = {}
            if found:
                batch = [places[k] for k in found]
                own = _measure(setup, lattice, np.stack(list(found.values())), batch, options["propagators"], team)
            for lines, numbers, part in world.exchange((told.lines, list(found), own))[:: team.size]:
                failures.lines.extend(lines)
                rows = [*rows, *numbers]
                columns |= {
                    name: np.concatenate([columns[name], part[name]]) if name in columns else part[name]
                    for name in part
                }
            progress("configurations", len(places) - len(waiting), len(places))
            if time.monotonic() - last > WRITING_INTERVAL and written < len(rows):
                columns, rows = _in_order(columns, rows)
                lock.require_own()
                if world.leads:
                    io.write_table(path, columns, attributes=attributes)
                written, last = len(rows), time.monotonic()
    finally:
        columns, rows = _in_order(columns, rows)
        if written < len(rows):
            lock.require_own()
            if world.leads:
                io.write_table(path, columns, attributes=attributes)
    return columns, attributes


def _in_order(columns: dict[str, Any], rows: list[int]) -> tuple[dict[str, Any], list[int]]:
    """Columns in the order of the configurations that their rows belong to."""
    order = np.argsort(rows, kind="stable")
    return {name: column[order] for name, column in columns.items()}, [rows[k] for k in order]


def _lattice(shape: tuple[int, ...], batch: int) -> Lattice:
    """The lattice, folded so that a batch fills the vector registers, or a warp of a GPU."""
    from gaugeflow.devices import device
    from gaugeflow.lattice import Lattice

    plain = Lattice(shape)
    return Lattice(shape, plain.suggest_fold(device(), batch))


def _begin(path: Path, setup: Setup, places: Sequence[Place]) -> tuple[dict[str, Any], dict[str, Any], list[int]]:
    """What is measured already and the places of its rows; an empty table at first."""
    from gaugeflow import io
    from gaugeflow.hadrons import Correlators, momenta_up_to

    parameters = as_stored(asdict(setup))
    if not path.exists():
        axes = {"correlators": ["configuration", *Correlators.axes[:-1]]}
        labels = {
            "channel": setup.channels,
            "momentum": momenta_up_to(len(setup.shape), setup.momenta),
        }
        if setup.loops:
            axes["loops"] = ["configuration", "structure", "noise", "time"]
            labels["structure"] = _STRUCTURES
        attributes = as_stored(io.provenance(seed=setup.seed, parameters=parameters, axes=axes, labels=labels))
        return {"id": np.zeros(0, dtype=np.int64)}, attributes, []
    columns, attributes = io.read_table(path)
    if attributes.get("parameters") != parameters:
        different = [k for k, v in parameters.items() if attributes.get("parameters", {}).get(k) != v]
        raise ValueError(f"{path} was measured with other {', '.join(different)}: remove it, or choose another --out")
    found = list(zip(columns["chain"].tolist(), columns["id"].tolist(), columns["checksum"].tolist(), strict=True))
    if len(found) > len(places):
        raise ValueError(f"{path} holds {len(found)} configurations, more than the {len(places)} given")
    known = {(place.chain, place.id, place.checksum): k for k, place in enumerate(places)}
    for chain, id, checksum in found:
        if (chain, id, checksum) not in known:
            like = (place.label for place in places if (place.chain, place.id) == (chain, id))
            which = next(like, f"chain {chain}, number {id}")
            raise ValueError(f"{path} holds other configurations: {which} differs; remove it, or choose another --out")
    return columns, attributes, [known[row] for row in found]


_STRUCTURES = ("1", "g5")


def _measure(
    setup: Setup, lattice: Lattice, links: Any, batch: Sequence[Place], folder: Path | None, team: Team
) -> dict[str, Any]:
    """Columns of a batch of configurations; a team shares the right-hand sides."""
    from gaugeflow.devices import to_device, to_host
    from gaugeflow.hadrons import Dilution, loops, momenta_up_to, two_point
    from gaugeflow.operators import Clover, Wilson

    operator: Wilson = Wilson(
        lattice=lattice,
        links=to_device(lattice.pack(links, components=1)),
        boundary=tuple(complex(*b) for b in setup.boundary),
        kappa=setup.kappa,
    )
    if setup.csw:
        operator = Clover(
            lattice=lattice, links=operator.links, boundary=operator.boundary, kappa=setup.kappa, csw=setup.csw
        )
    momenta = momenta_up_to(len(setup.shape), setup.momenta)
    total: Any = 0.0
    for start in setup.times:
        quark = _propagator(setup, operator, start, batch, folder, team)
        if setup.smear_sink and setup.gaussian is not None:
            quark = quark.smeared(operator.bound, setup.gaussian)
        found: Correlators = two_point(quark, channels=setup.channels, momenta=momenta)
        total = total + to_host(found.values) / len(setup.times)
    columns = {
        "chain": np.array([p.chain for p in batch], dtype=np.int64),
        "id": np.array([p.id for p in batch], dtype=np.int64),
        "checksum": np.array([p.checksum for p in batch], dtype=np.int64),
        "correlators": np.moveaxis(total, -1, 0),
    }
    if setup.loops:
        streams = _streams(setup, batch, "loops")
        dilution = Dilution(**{name: name in setup.dilution for name in ("time", "spin", "colour", "parity")})
        options: dict[str, Any] = {
            "method": setup.solver,
            "tolerance": setup.tolerance,
            "kind": setup.noise,
            "comm": team.comm,
        }
        traces = loops(operator, streams, setup.loops, structures=_STRUCTURES, dilution=dilution, **options)
        columns["loops"] = np.moveaxis(to_host(traces.values), -1, 0)
    return columns


def _streams(setup: Setup, batch: Sequence[Place], name: str) -> list[Rng]:
    """Noise of every configuration: of seed, chain and number alone, so that neighbouring ensembles share it."""
    from gaugeflow.random import Rng

    return [Rng(setup.seed).stream(name).stream(p.chain).stream(p.id) for p in batch]


def _source(setup: Setup, operator: Wilson, start: int, batch: Sequence[Place]) -> Source:
    from gaugeflow.hadrons import noise, point, wall

    if setup.source == "point":
        return point(operator, (start, *(0,) * (len(setup.shape) - 1)), setup.gaussian)
    if setup.source == "wall":
        return wall(operator, start, setup.gaussian)
    streams = [stream.at(start) for stream in _streams(setup, batch, "source")]
    return noise(operator, streams, start, setup.gaussian, kind=setup.noise)


def _propagator(
    setup: Setup, operator: Wilson, start: int, batch: Sequence[Place], folder: Path | None, team: Team
) -> Propagator:
    """Propagators of a batch: from their files where all of them exist, else solved for, and stored if there is a folder."""
    from gaugeflow import io
    from gaugeflow.devices import to_device, to_host
    from gaugeflow.hadrons import Propagator, propagator

    paths = [] if folder is None else [folder / f"propagator-{p.chain}-{p.id:06d}-t{start}.h5" for p in batch]
    expected = [{**setup.of_propagator(start), "checksum": p.checksum} for p in batch]
    if team.first(lambda: bool(paths) and all(path.exists() for path in paths)):
        stored = []
        for path, wanted in zip(paths, expected, strict=True):
            stored.append(io.read_propagator(path))
            if stored[-1].attributes.get("parameters") != wanted:
                raise ValueError(f"{path} is of another quark, source or configuration: expected {wanted}")
        _, origin, boundary, norm, _ = stored[0]
        read = Propagator.from_array(operator.lattice, np.stack([s.array for s in stored]), origin, boundary, norm)
        return replace(read, field=to_device(read.field))
    source = _source(setup, operator, start, batch)
    solved = propagator(operator, source, method=setup.solver, tolerance=setup.tolerance, comm=team.comm)
    if paths and team.leads:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        for k, array in enumerate(_arrays(solved, to_host)):
            described = io.provenance(parameters=expected[k])
            stated: dict[str, Any] = {"origin": solved.origin, "boundary": solved.boundary, "norm": solved.norm}
            io.write_propagator(paths[k], array, attributes=described, **stated)
    return solved


def _arrays(solved: Propagator, to_host: Callable[[Any], Any]) -> Iterator[Any]:
    yield from replace(solved, field=to_host(solved.field)).array()
