"""``gaugeflow measure``: observables of configurations in files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import click

from gaugeflow.cli.hadrons import NAMES, hadron_options
from gaugeflow.cli.input import file_options, read_configuration
from gaugeflow.cli.machine import compute_options
from gaugeflow.cli.output import (
    Failures,
    continues,
    figure_option,
    print_json,
    print_table,
    progress_bars,
    tell_written,
    write_json,
)

_AVERAGES = ("plaquette", "plaquette_spatial", "plaquette_temporal", "link_trace")
_FLOW = ("t", "e_clover_spatial", "e_clover_temporal", "t2_e", "q")


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--flow-time", type=float, default=0.0, help="Follow the gradient flow up to this time (a^2).")
@click.option("--step", type=float, default=0.02, show_default=True, help="Step of integrator and table (a^2).")
@click.option("--flow", type=click.Choice(["wilson", "symanzik"]), default="wilson", show_default=True)
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
    stop: bool,
    as_json: bool,
    shape: tuple[int, ...] | None,
    colours: int | None,
    force: bool,
    hadrons: bool,
    **options: Any,
) -> None:
    """Measure plaquettes, link trace and Polyakov loop of configurations, and energy and charge along the flow.

    Formats are detected from the content, and what a file states is verified; of an ensemble file, every configuration
    is measured. Loops are normalised by N, direction t being temporal. With --flow-time, E (clover, spatial and temporal
    planes), t^2 E and the charge Q follow at every step of a third-order Runge-Kutta integration.

    A file that fails is left out: the rest is measured, failures are listed at the end, and the exit status is 2.
    Lattices with open boundaries in time (openQCD) are measured as openQCD does: spatial plaquettes of the end slices count
    half, E is the mean over interior slices, and --json has every slice.

    With --hadrons, two-point functions of mesons and the nucleon are measured instead, and disconnected loops with
    --loops. Correlators, masses and the effective-mass figure go to the folder --out; interrupted, the same command
    goes on.
    """
    _require_hadrons(hadrons)
    failures = Failures(stop or click.get_current_context().find_root().params["debug"])
    if hadrons:
        _hadrons(files, options, (shape, colours, force), as_json, failures)
        return
    from gaugeflow.devices import to_device
    from gaugeflow.observables import measure as measure_links

    times = _times(flow_time, step)
    results: list[dict[str, Any]] = []
    try:
        with progress_bars() as progress:
            for count, file in enumerate(files, start=1):
                with failures.of(file):
                    for links, place in _configurations(file, shape, colours, force):
                        result = measure_links(file, to_device(links), flow_times=times, step=step, flow=flow)
                        results.append({**result, **place})
                progress("files", count, len(files))
    finally:  # what was measured before a file that stops the command, or an interrupt, is not lost
        if as_json:
            print_json(results)
        elif results:
            _print(results, flow)
    failures.report(len(files))


def _require_hadrons(hadrons: bool) -> None:
    """``ValueError`` for options that the chosen measurement does not have."""
    from click.core import ParameterSource

    context = click.get_current_context()
    others = ("flow_time", "step", "flow") if hadrons else (*NAMES, "figures")
    for name in others:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} does not go with --hadrons" if hadrons else f"{option} needs --hadrons")


def _hadrons(files: tuple[str, ...], options: dict[str, Any], given: Any, as_json: bool, failures: Failures) -> None:
    """Measure hadrons, analyse them, print."""
    from gaugeflow.cli.hadron_report import FIGURE, RESULT, print_report, report
    from gaugeflow.cli.hadrons import TABLE, fit_range, measure_hadrons

    folder = options["out"]
    with progress_bars() as progress, continues(folder):
        table = measure_hadrons(files, options, given, progress, failures)
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
    file: str, shape: tuple[int, ...] | None, colours: int | None, force: bool
) -> Iterator[tuple[Any, dict[str, int]]]:
    """Links of all configurations of a file; of an ensemble, with chain and number."""
    from gaugeflow.io import EnsembleFile

    if not EnsembleFile.recognises(file):
        yield read_configuration(file, shape, colours, force)[0].links, {}
        return
    with EnsembleFile.open(file) as ensemble:
        expected, found = (shape or ensemble.shape, colours or ensemble.n_colours), (ensemble.shape, ensemble.n_colours)
        if expected != found:
            raise ValueError(
                f"{file}: expected extents {expected[0]} and N = {expected[1]}, got {found[0]} and {found[1]}"
            )
        for part in ensemble.batches(1):
            yield part.links[0], {"chain": int(part.chain[0]), "id": int(part.id[0])}


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
    columns = ("file", "lattice", "N", *(name.replace("_", " ") for name in _AVERAGES), "Re P", "Im P")
    rows = [
        (
            _label(result),
            "x".join(map(str, result["shape"])),
            result["n_colours"],
            *(result[name] for name in _AVERAGES),
            *(result["polyakov_loop"] or (None, None)),
        )
        for result in results
    ]
    print_table("averages; P is the Polyakov loop", columns, rows)
    for result in results:
        if result["flow"]:
            rows = [tuple(entry[name] for name in _FLOW) for entry in result["flow"]]
            title = f"{_label(result)}: {flow} flow"
            print_table(title, ("t", "E spatial", "E temporal", "t^2 E", "Q"), rows)


def _label(result: dict[str, Any]) -> str:
    """File, and for an ensemble chain and number."""
    where = f", chain {result['chain']}, number {result['id']}" if "id" in result else ""
    return f"{result['file']}{where}{' (open in time)' if result.get('boundary') == 'open' else ''}"
