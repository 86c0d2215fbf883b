"""``gaugeflow measure``: observables of configurations in files."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gaugeflow.cli.hadrons import NAMES, hadron_options
from gaugeflow.cli.input import file_options, read_configuration
from gaugeflow.cli.machine import compute_options
from gaugeflow.cli.output import (
    FAILURES,
    Failures,
    continues,
    figure_option,
    print_json,
    print_table,
    tell_written,
    write_json,
)
from gaugeflow.cli.places import Place, find_places
from gaugeflow.cli.together import agree
from gaugeflow.cli.world import current

if TYPE_CHECKING:
    from gaugeflow.cli.measure_table import Table
    from gaugeflow.cli.team import Team
    from gaugeflow.io import EnsembleFile
    from gaugeflow.lattice import Lattice

_AVERAGES = ("plaquette", "plaquette_spatial", "plaquette_temporal", "link_trace")
_FLOW = {
    "t": "t",
    "e_clover_spatial": "E spatial",
    "e_clover_temporal": "E temporal",
    "t2_e": "t^2 E",
    "t2_e_five_loop": "t^2 E five-loop",
    "q": "Q",
    "q_plaquette": "Q plaquette",
    "q_five_loop": "Q five-loop",
}
"""Columns of the table along the flow; those that were not measured are left out."""


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--flow-time", type=float, default=0.0, help="Follow the gradient flow up to this time (a^2).")
@click.option("--step", type=float, default=0.02, show_default=True, help="Step of integrator and table (a^2).")
@click.option(
    "--flow", type=click.Choice(["wilson", "symanzik", "iwasaki", "zeuthen"]), default="wilson", show_default=True
)
@click.option(
    "--charge",
    "charges",
    type=click.Choice(["plaquette", "five-loop"]),
    multiple=True,
    help="A further definition of Q along the flow; five-loop has its own E, too. May be repeated.",
)
@click.option("--slices", is_flag=True, help="E and Q of every time slice along the flow, in --json and --out.")
@click.option("--average", is_flag=True, help="Average over all configurations, with errors; with a flow, t_0 and w_0.")
@click.option(
    "--level",
    "levels",
    type=float,
    multiple=True,
    default=(0.3,),
    show_default=True,
    help="c of the scales, with --average. May be repeated.",
)
@click.option(
    "--ranks",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes of mpirun that share a configuration; with --hadrons, the right-hand sides of each.",
)
@click.option("--stop", is_flag=True, help="Stop at the first file that fails.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@hadron_options
@figure_option
@file_options
@compute_options
def measure(
    files: tuple[str, ...],
    flow_time: float,
    step: float,
    flow: str,
    charges: tuple[str, ...],
    slices: bool,
    average: bool,
    levels: tuple[float, ...],
    ranks: int,
    stop: bool,
    as_json: bool,
    shape: tuple[int, ...] | None,
    colours: int | None,
    force: bool,
    hadrons: bool,
    out: Path | None,
    **options: Any,
) -> None:
    """Measure plaquettes, link trace and Polyakov loop of configurations, and energy and charge along the flow.

    Formats are detected from the content, and what a file states is verified; of an ensemble file, every configuration
    is measured. Loops are normalised by N, direction t being temporal. With --flow-time, E (clover, spatial and temporal
    planes), t^2 E and the charge Q follow at every step of a third-order Runge-Kutta integration.

    The charge is the clover one in four dimensions, with eps_xyzt = +1: a self-dual field (F_xy = F_zt) has Q > 0. This is
    MILC's sign; openQCD's is opposite. For U(1) in two dimensions Q is the integer sum of the angles of plaquettes over 2 pi,
    positive where they turn from t to x, and is measured without a flow, too. SU(N) in two dimensions, and other dimensions,
    have no charge.

    With --average, the plaquette, Q, Q^2/V, t_0 and w_0 are averaged over all configurations with Gamma-method errors.
    Configurations have the chains and numbers of the ensemble file, or those in the names of files, and numbers may be missing.

    With --out FOLDER, all numbers go to observables.h5 there; interrupted, the same command goes on. With --average, the
    averages and figures of t^2 <E> and Q go there as well.

    A file that fails is left out: the rest is measured, failures are listed at the end, and the exit status is 2.
    Lattices with open boundaries in time (openQCD) are measured as openQCD does: spatial plaquettes of the end slices count
    half, E is the mean over interior slices, and --json has every slice.

    Processes that mpirun has started measure configurations side by side. With --ranks N, each is cut over N of them; files
    that are no ensembles need --shape then.

    With --hadrons, two-point functions of mesons and the nucleon are measured instead, and disconnected loops with
    --loops. Correlators, masses and the effective-mass figure go to the folder --out; interrupted, the same command
    goes on.
    """
    _check_options(hadrons, average, out is not None, flow_time)
    if not all(0.0 < level < math.inf for level in levels):
        raise ValueError(f"--level: expected positive numbers, got {', '.join(f'{level:g}' for level in levels)}")
    agree()
    failures = Failures(stop or click.get_current_context().find_root().params["debug"])
    if hadrons:
        _hadrons(
            files, options | {"out": out or Path("hadrons"), "ranks": ranks}, (shape, colours, force), as_json, failures
        )
        return
    from gaugeflow.cli.measure_table import Table

    times = _times(flow_time, step)
    kind: dict[str, Any] = {"flow_times": times, "step": step, "flow": flow, "charges": charges, "slices": slices}
    table = Table(out, find_places(files, Failures(False)), kind) if average or out is not None else None
    results: list[dict[str, Any]] = []
    world = current()
    team = world.share(ranks)
    given = shape, colours, force
    try:
        with (
            continues(out) if out is not None else nullcontext(),
            world.progress() as progress,
            closing(_items(files, given, team, table, failures)) as items,  # it holds a file open
        ):
            for now in _turns(items, team.count):
                own = now[team.number] if team.number < len(now) else None
                outcomes = world.exchange(None if own is None else _outcome(own, table, kind))[:: team.size]
                for item, outcome in zip(now, outcomes, strict=False):
                    with failures.of(item.file):
                        if isinstance(outcome, Exception):
                            raise outcome
                        if item.place is not None and table is not None:
                            table.add(item.place, outcome)
                        results.append({**outcome, **(item.where if item.place is None else item.place.number)})
                progress("files", now[-1].number, len(files))
    finally:  # what was measured before a file that stops the command, or an interrupt, is not lost
        path = None if table is None else table.write()
        if not world.leads:
            pass
        elif results and table is not None and average:
            _averages(results, table, levels, out, as_json)
        elif as_json:
            print_json(results)
        elif results:
            _print(results, flow)
        if world.leads and path is not None and not as_json:
            tell_written(path)
    failures.report(len(files))


class _Item(NamedTuple):
    """A configuration that is to be measured."""

    number: int
    """Of its file, from 1."""
    file: str
    load: Callable[[], tuple[Any, Lattice | None]]
    """Its links, those of this process where several share it, and the lattice then."""
    where: dict[str, int]
    place: Place | None
    """In the table, if there is one."""
    checksum: int
    """Of the configuration in an ensemble; otherwise of the size, the beginning and the end of the file."""


def _items(
    files: tuple[str, ...], given: Any, team: Team, table: Table | None, failures: Failures
) -> Generator[_Item, None, None]:
    """All configurations, except those of files that fail."""
    for count, file in enumerate(files, start=1):
        with failures.of(file):
            for load, row, where, checksum in _configurations(file, given, team):
                yield _Item(count, file, load, where, None if table is None else table.place(file, row), checksum)


def _turns(items: Iterator[_Item], count: int) -> Iterator[list[_Item]]:
    """Configurations in turns, one for each team; all processes have found the same ones, or all raise ``GaugeflowError``."""
    world = current()
    while True:
        now = list(islice(items, count))
        world.require_equal({"list of configurations": [(x.file, *x.where.values(), x.checksum) for x in now]})
        if not now:
            return
        yield now


def _outcome(item: _Item, table: Table | None, kind: dict[str, Any]) -> dict[str, Any] | Exception:
    """Results of a configuration, found in the table or measured; or why there are none."""
    from gaugeflow.devices import to_device
    from gaugeflow.observables import measure as measure_links

    found = None if table is None or item.place is None else table.find(item.place)
    if found is not None:
        return found
    try:
        links, lattice = item.load()
        return measure_links(item.file, to_device(links), **kind, lattice=lattice)
    except FAILURES as error:
        return error


def _averages(
    results: list[dict[str, Any]], table: Table, levels: tuple[float, ...], out: Path | None, as_json: bool
) -> None:
    """Average, print, and write to the folder."""
    from gaugeflow.cli import averages

    columns = table.columns()
    found = averages.average(columns, table.parameters, levels)
    written = []
    if out is not None:
        write_json(out / averages.RESULT, found)
        written = [out / averages.RESULT, *averages.draw(out, columns, table.parameters, levels)]
    if as_json:
        print_json({"configurations": results, **found})
    else:
        averages.print_averages(found)
        for file in written:
            tell_written(file)


def _check_options(hadrons: bool, average: bool, out: bool, flow_time: float) -> None:
    """``ValueError`` for options that the chosen measurement does not have."""
    from click.core import ParameterSource

    context = click.get_current_context()

    def given(name: str) -> bool:
        return context.get_parameter_source(name) is ParameterSource.COMMANDLINE

    def spelled(name: str) -> str:
        return f"--{ {'charges': 'charge', 'levels': 'level'}.get(name, name).replace('_', '-') }"

    own = ("flow_time", "step", "flow", "charges", "slices", "average", "levels")
    for name in own if hadrons else NAMES:
        if given(name):
            raise ValueError(f"{spelled(name)} {'does not go with' if hadrons else 'needs'} --hadrons")
    if hadrons:
        return
    if given("figures") and not (average and out):
        raise ValueError("--figures needs --hadrons, or --average and --out")
    if given("levels") and not average:
        raise ValueError("--level needs --average")
    for name in ("charges", "slices"):
        if given(name) and flow_time == 0.0:
            raise ValueError(f"{spelled(name)} needs --flow-time")


def _hadrons(files: tuple[str, ...], options: dict[str, Any], given: Any, as_json: bool, failures: Failures) -> None:
    """Measure hadrons, analyse them, print."""
    from gaugeflow.cli.hadron_report import FIGURE, RESULT, print_report, report
    from gaugeflow.cli.hadrons import TABLE, fit_range, measure_hadrons

    folder = options["out"]
    with current().progress() as progress, continues(folder):
        table = measure_hadrons(files, options, given, progress, failures)
    if not current().leads:
        failures.report(len(files))
        return
    times = fit_range(options["fit"], table[1]["parameters"]["shape"][0])
    try:
        result = report(folder, table, times, options["correlated"])
    except ValueError:
        failures.show(len(files))
        raise
    write_json(folder / RESULT, result)
    if as_json:
        print_json(result)
    else:
        print_report(result)
        for name in (TABLE, RESULT, FIGURE):
            tell_written(folder / name)
    failures.report(len(files))


def _configurations(
    file: str, given: tuple[tuple[int, ...] | None, int | None, bool], team: Team
) -> Iterator[tuple[Callable[[], tuple[Any, Lattice | None]], int, dict[str, int], int]]:
    """How to read each configuration of a file, its row in an ensemble (-1 elsewhere), chain and number there, a checksum."""
    from gaugeflow.cli.source import fingerprint
    from gaugeflow.io import EnsembleFile

    shape, colours, force = given
    if not EnsembleFile.recognises(file):
        lattice = _cut(team, file, shape)

        def load() -> tuple[Any, Lattice | None]:
            return read_configuration(file, shape, colours, force, lattice)[0].links, lattice

        yield load, -1, {}, fingerprint(Path(file))
        return
    with EnsembleFile.open(file) as ensemble:
        expected, found = (shape or ensemble.shape, colours or ensemble.n_colours), (ensemble.shape, ensemble.n_colours)
        if expected != found:
            raise ValueError(
                f"{file}: expected extents {expected[0]} and N = {expected[1]}, got {found[0]} and {found[1]}"
            )
        stored = zip(ensemble.chain.tolist(), ensemble.id.tolist(), ensemble.checksum.tolist(), strict=True)
        lattice = _cut(team, file, ensemble.shape)
        with nullcontext(ensemble) if lattice is None else EnsembleFile.open(file, lattice=lattice) as shared:
            for k, (chain, id, checksum) in enumerate(stored):
                yield partial(_of_ensemble, shared, lattice, k), k, {"chain": chain, "id": id}, checksum


def _of_ensemble(ensemble: EnsembleFile, lattice: Lattice | None, k: int) -> tuple[Any, Lattice | None]:
    return ensemble.read(k, k + 1).links[0], lattice


def _cut(team: Team, file: str, shape: tuple[int, ...] | None) -> Lattice | None:
    """The lattice of a file, cut over the processes of a team, and folded as their parts allow; None for one process."""
    from gaugeflow.devices import device
    from gaugeflow.lattice import Lattice

    if team.size == 1:
        return None
    if shape is None:
        raise ValueError(f"{file}: --ranks needs --shape TxZxYxX")
    whole = Lattice(shape, None, team.domain_of(shape))
    return Lattice(shape, whole.suggest_fold(device()), whole.domain)


def _times(flow_time: float, step: float) -> list[float]:
    """0, step, 2 step, ... and the flow time itself; nothing without flow."""
    if not (0.0 <= flow_time < math.inf and 0.0 < step < math.inf):
        raise ValueError(f"expected --flow-time >= 0 and --step > 0, got {flow_time:g} and {step:g}")
    if flow_time == 0.0:
        return []
    whole = math.floor(flow_time / step * (1.0 + 1e-12))
    times = [round(k * step, 12) for k in range(whole + 1)]
    return times if math.isclose(times[-1], flow_time, rel_tol=1e-9) else [*times, flow_time]


def _print(results: list[dict[str, Any]], flow: str) -> None:
    columns = ["file", "lattice", "N", *(name.replace("_", " ") for name in _AVERAGES), "Re L", "Im L"]
    charged = any(result["q"] is not None for result in results)
    rows = [
        [
            _label(result),
            "x".join(map(str, result["shape"])),
            result["n_colours"],
            *(result[name] for name in _AVERAGES),
            *(result["polyakov_loop"] or (None, None)),
            *([result["q"]] if charged else []),
        ]
        for result in results
    ]
    title = "averages; L is the Polyakov loop" + (", Q the charge" if charged else "")
    print_table(title, [*columns, "Q"] if charged else columns, rows)
    for result in results:
        if result["flow"]:
            names = [name for name in _FLOW if name in result["flow"][0]]
            rows = [[entry[name] for name in names] for entry in result["flow"]]
            print_table(f"{_label(result)}: {flow} flow", [_FLOW[name] for name in names], rows)


def _label(result: dict[str, Any]) -> str:
    """File, and for an ensemble chain and number."""
    where = f", chain {result['chain']}, number {result['id']}" if "id" in result else ""
    return f"{result['file']}{where}{' (open in time)' if result.get('boundary') == 'open' else ''}"
