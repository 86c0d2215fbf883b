"""``gaugeflow demo``: a system from its first configuration to its result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gaugeflow.cli.machine import compute_options
from gaugeflow.cli.output import (
    continues,
    figure_option,
    lock_results,
    print_table,
    tell_written,
    write_json,
)
from gaugeflow.progress import progress_bars

if TYPE_CHECKING:
    from gaugeflow.systems import Report

REPORT = "report.json"


@click.command()
@click.argument("name", default="correlated-su3")
@click.option("--list", "list_", is_flag=True, help="List the systems.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder (default: gaugeflow-NAME, with -quick at the end for that)."
)
@click.option("--seed", type=click.IntRange(min=0), default=2401, show_default=True, help="Seed of all random numbers.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help=f"Results (default: {REPORT} in --out).")
@click.option("--quick", is_flag=True, help="A small lattice and short chains, for a first look.")
@figure_option
@compute_options
def demo(name: str, list_: bool, out: Path | None, seed: int, json_file: Path | None, quick: bool) -> None:
    """Run the system NAME: generate, train, flow, measure and report.

    Tables go to the terminal, the same numbers as JSON and figures as PNG to the folder --out. A run that was
    interrupted continues when the same command is given again.
    """
    from gaugeflow.systems import systems

    known = systems()
    if list_:
        print_table("systems", ("name", "what it shows"), [(s.name, s.summary) for s in known.values()])
        return
    if name not in known:
        raise ValueError(f"unknown system {name!r}: expected one of {', '.join(known)}")
    folder = out or Path(f"gaugeflow-{name}{'-quick' if quick else ''}")
    lock_results(folder, "demo.lock")
    with progress_bars() as progress, continues(folder):
        report = known[name].run(out=folder, seed=seed, quick=quick, progress=progress)
    print_report(report, json_file or folder / REPORT)


def print_report(report: Report, json_file: Path) -> None:
    """Tables, notes and names of files to stdout; the numbers to a JSON file."""
    for table in report.tables:
        print_table(table.title, table.columns, table.rows, table.notes)
    for note in report.notes:
        click.echo(note)
    write_json(json_file, report.json)
    for path in (json_file, *report.figures):
        tell_written(path)
