"""What commands print: tables and progress bars for people, JSON for programs."""

from __future__ import annotations

import functools
import json
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from gaugeflow.cli.world import current
from gaugeflow.errors import GaugeflowError
from gaugeflow.filesystem import FileLock, HeldError, named

_PROSE = 100
"""Longest lines of titles and notes."""


FEWEST = 5
"""Configurations of a chain that an error needs."""
WRITING_INTERVAL = 10.0
"""Least seconds between two writings of the table."""


def print_json(value: Any) -> None:
    """Write JSON to stdout; NaN and infinity, which JSON does not have, raise ``ValueError``."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a file, which is replaced at once: two processes may put the same results together."""
    from gaugeflow.io.files import atomic_path

    with named(path), atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


SOME_FAILED = 2
"""Exit status where some files failed."""
_FOLDER = "gaugeflow.folder"


def results_in(folder: Path) -> None:
    """Make the folder of a command's results, and name it in errors of the operating system that name no file."""
    folder.mkdir(parents=True, exist_ok=True)
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_FOLDER] = str(folder)


def lock_results(folder: Path, name: str) -> FileLock:
    """Make the folder as `results_in` does, and keep other runs of a command out of it until this one ends.

    Of several processes of one launch, the first one locks it for all.

    Parameters
    ----------
    folder
        Folder of the results.
    name
        Of the lock file in it.

    Returns
    -------
    FileLock
        The lock; to be asked whether it is still held (`FileLock.require_own`) before a file is replaced.

    Raises
    ------
    GaugeflowError
        If another run works in the folder.
    """
    lock = FileLock(folder / name)

    def take() -> None:
        results_in(folder)
        try:
            click.get_current_context().with_resource(lock)
        except HeldError as error:
            raise GaugeflowError(f"{folder} is in use by another run: {error.owner}") from None

    current().first(take)
    return lock


def where_results_go(context: click.Context) -> str:
    """The folder of `results_in`; empty where there is none."""
    return str(context.meta.get(_FOLDER, ""))


def error_line(error: BaseException, file: str = "") -> str:
    """What an error says in one line; errors of the operating system begin with the file that they are about.

    Parameters
    ----------
    error
        The error.
    file
        File that was worked on, for errors that name none.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        path = file if error.filename is None else error.filename
        return f"{path}: {error.strerror}" if path else text
    return text if not file or file in text else f"{file}: {text}"


FAILURES = (GaugeflowError, ValueError, OSError)
"""Errors of a file, which is left out then."""


@dataclass(frozen=True)
class Failures:
    """Files that fail and are left out; or the first one ends everything.

    Parameters
    ----------
    stop
        Whether the first failure is raised.
    lines
        What is said about each of them.
    """

    stop: bool
    lines: list[str] = field(default_factory=list)

    @contextmanager
    def of(self, file: str) -> Iterator[None]:
        """Leave out the file if the block fails on it."""
        try:
            yield
        except FAILURES as error:
            if self.stop:
                raise
            self.lines.append(error_line(error, file))

    def report(self, count: int) -> None:
        """List the failures on stderr and end the program with status 2, if there are any of ``count`` files."""
        self.show(count)
        if self.lines:
            sys.exit(SOME_FAILED)

    def show(self, count: int) -> None:
        """List the failures on stderr."""
        if self.lines and count > 1:
            found = len(self.lines)  # an ensemble may have several
            click.echo(f"gaugeflow: {found} failure{'s' if found > 1 else ''} in {count} files:", err=True)
        for line in self.lines:
            click.echo(f"gaugeflow: {line}", err=True)


def as_stored(value: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(value))


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str] = ()
) -> None:
    """Write a table to stdout: numbers to the right with ten digits, None as a dash; notes follow below.

    A terminal that is too narrow gets headings of several lines, and if it is still too narrow, one block for each row.
    Files get the whole table, without colours, lines of blanks or anything that is not text.
    """
    width = _width()
    cells = [[_cell(value) for value in row] for row in rows]
    right = [bool(rows) and all(_is_number(row[k]) for row in rows) for k in range(len(columns))]
    lines = _grid([[column] for column in columns], cells, right)
    if width is not None and max(map(len, lines)) > width:
        lines = _grid([column.split() for column in columns], cells, right)
    if width is not None and max(map(len, lines)) > width:
        lines = _records(columns, cells)
    click.echo()
    for line in textwrap.wrap(title, width or _PROSE) or [""]:
        click.secho(line, bold=True)
    click.echo()
    for line in lines:
        click.echo(line)
    click.echo()
    for note in notes:
        click.echo(textwrap.fill(note, min(width or _PROSE, _PROSE), initial_indent="  ", subsequent_indent="    "))


def _width() -> int | None:
    """Columns of the terminal; None where stdout is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _grid(headings: Sequence[Sequence[str]], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Lines of a table; every heading is a list of lines, the last one next to the rule."""
    height = max(map(len, headings))
    head = [[*[""] * (height - len(h)), *h] for h in headings]
    widths = [max(map(len, [*head[k], *(row[k] for row in cells)])) for k in range(len(headings))]

    def line(parts: Sequence[str]) -> str:
        aligned = (
            part.rjust(width) if to_right else part.ljust(width)
            for part, width, to_right in zip(parts, widths, right, strict=True)
        )
        return ("  " + "   ".join(aligned)).rstrip()

    rule = "  " + "-" * (sum(widths) + 3 * (len(widths) - 1))
    return [*(line([h[i] for h in head]) for i in range(height)), rule, *map(line, cells)]


def _records(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """One block for each row, a line for each column."""
    widest = max(map(len, columns))
    blocks = [
        "\n".join(f"  {c.ljust(widest)}  {cell}".rstrip() for c, cell in zip(columns, row, strict=True))
        for row in cells
    ]
    return "\n\n".join(blocks).split("\n")


def _is_number(value: object) -> bool:
    """Whether a cell is a number, a number with its error, or empty."""
    if value is None or isinstance(value, (int, float)):
        return True
    return isinstance(value, str) and re.fullmatch(r"|[-+]?[0-9][-+0-9.()e]*( !)?", value) is not None


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def figure_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--figures``, which writes its figures as vector graphics, too."""

    @click.option(
        "--figures",
        type=click.Choice(["png", "pdf"]),
        default="png",
        show_default=True,
        help="Format of figures; with pdf, vector graphics are written beside the PNG files.",
    )
    @functools.wraps(command)
    def drawing(*args: Any, figures: str, **options: Any) -> Any:
        if figures == "png":
            return command(*args, **options)
        from gaugeflow.plots import copies

        with copies(figures):
            return command(*args, **options)

    return drawing


def tell_written(path: Path) -> None:
    """Name a file that a command wrote, and the copies of a figure."""
    from gaugeflow.plots import written

    for file in written(path) if path.suffix == ".png" else (path,):
        click.echo(f"wrote {file}")


@contextmanager
def continues(folder: Path) -> Iterator[None]:
    """Tell who interrupts the block that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise told(interrupt, f"give the same command again to go on from what is in {folder}") from None


def told(interrupt: KeyboardInterrupt, what: str) -> KeyboardInterrupt:
    """The same kind of interrupt, with its reason if it has one and a sentence more."""
    return type(interrupt)("; ".join(filter(None, (str(interrupt), what))))


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
