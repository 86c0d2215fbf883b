"""How far long work has come, on standard error: bars on a terminal, a line now and then in the log of a batch job."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TextIO

Progress = Callable[[str, int, int], None]
"""``progress(stage, done, total)``, called as work goes on."""


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


INTERVAL = 60.0
"""Seconds between two lines of a log."""


class ProgressLog:
    """Lines such as ``steps: 1200 of 5000, 0:14:10 passed, 0:44:52 left``, at most one in a while.

    Parameters
    ----------
    interval
        Least seconds between two lines; work that takes less leaves none.
    stream
        Where they go (default: standard error).
    clock
        Seconds that pass.
    """

    def __init__(
        self,
        interval: float = INTERVAL,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval, self._stream, self._clock = interval, stream, clock
        self._written = clock()
        self._begun: dict[str, tuple[float, int]] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note, and write a line if it is time."""
        now = self._clock()
        start, first = self._begun.setdefault(stage, (now, done))
        if now - self._written < self._interval:
            return
        self._written = now
        line = f"{stage}: {done} of {total}, {_time(now - start)} passed"
        if done > first:
            line += f", {_time((now - start) / (done - first) * (total - done))} left"
        print(line, file=self._stream or sys.stderr, flush=True)


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Progress bars on standard error, one for each stage; where that is not a terminal, a :class:`ProgressLog`."""
    if not sys.stderr.isatty():
        yield ProgressLog()
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
