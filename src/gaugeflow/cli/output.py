"""What commands print: tables and progress bars for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

_PLAIN_WIDTH = 240
"""Columns of a table that no terminal limits."""


Progress = Callable[[str, int, int], None]
"""``progress(stage, done, total)``, called as work goes on."""


def print_json(value: Any) -> None:
    """Write JSON to stdout; NaN and infinity, which JSON does not have, raise ``ValueError``."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a file."""
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def as_stored(value: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(value))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table to stdout: numbers to the right with ten digits, None as a dash."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for k, column in enumerate(columns):
        numeric = all(isinstance(row[k], (int, float, type(None))) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PLAIN_WIDTH)
    console.print(table)


def _cell(value: object) -> str:
    from rich.markup import escape

    if value is None:
        return "-"
    return f"{value:.10g}" if isinstance(value, float) else escape(str(value))


@contextmanager
def continues(folder: Path) -> Iterator[None]:
    """Tell who interrupts the block that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"give the same command again to go on from what is in {folder}") from None


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Progress bars on stderr, one for each stage; silent when stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    description, rest = TextColumn("{task.description}"), TextColumn("left")
    columns = (description, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), rest, TimeRemainingColumn())
    tasks: dict[str, Any] = {}
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done)

        yield show


class Extents(click.ParamType[tuple[int, ...]]):
    """Lattice extents on the command line: ``8x8x8x8`` to ``(8, 8, 8, 8)``."""

    name = "TxZxYxX"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Extents from text."""
        if isinstance(value, tuple):
            return value
        try:
            extents = tuple(int(extent) for extent in value.split("x"))
        except ValueError:
            extents = ()
        if not extents or min(extents) < 1:
            self.fail(f"expected extents like 8x8x8x8, got {value!r}", param, ctx)
        return extents
