"""What commands print: tables and progress bars for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import click

_PLAIN_WIDTH = 240
"""Columns of a table that no terminal limits."""


class Advance(Protocol):
    """Moves a progress bar on."""

    def __call__(self, steps: int = 1) -> None:
        """By some steps."""


def print_json(value: Any) -> None:
    """Write JSON to stdout; NaN and infinity, which JSON does not have, raise ``ValueError``."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a file."""
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


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
def progress(description: str, total: int, done: int = 0) -> Iterator[Advance]:
    """A progress bar on stderr, silent when stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(description, total=total, completed=done)

        def advance(steps: int = 1) -> None:
            bar.advance(task, steps)

        yield advance


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
