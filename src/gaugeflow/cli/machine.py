"""The options ``--threads``, ``--backend`` and ``--minutes``, which every command that computes has."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import click

from gaugeflow.backend import offered, use_backend
from gaugeflow.bench import DEFAULT_BACKEND
from gaugeflow.cli.launch import share_of_cores
from gaugeflow.cli.stopping import stopping
from gaugeflow.cli.world import enter_world

Command = Callable[..., Any]


def compute_options(command: Command) -> Command:
    """Give a command ``--threads``, ``--backend`` and ``--minutes``, and announce compilations of kernels.

    Where a launcher started it, it finds the other processes.
    """

    @click.option(
        "--threads",
        type=click.IntRange(min=1),
        help="CPU threads of the kernels (default: those of the job, or all cores).",
    )
    @click.option("--backend", help="Back end of the kernels, see `gaugeflow info` (default: by the type of arrays).")
    @click.option(
        "--minutes",
        type=click.FloatRange(min=0.0, min_open=True),
        help="Stop after this time, to go on later (default: two minutes before a job of SLURM ends).",
    )
    @functools.wraps(command)
    def computing(*args: Any, threads: int | None, backend: str | None, minutes: float | None, **options: Any) -> Any:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin slow everybody on a shared node
        world = enter_world()
        with use_backend(backend) if backend else nullcontext():
            name = backend or DEFAULT_BACKEND
            announce = offered(name, "announce_compilation")
            with announce(_Announcement()) if announce is not None else nullcontext():
                if threads is not None:
                    _set_threads(name, threads)
                elif (share := share_of_cores(world.sharing)) is not None and offered(name, "set_threads") is not None:
                    _set_threads(name, share)
                with stopping(minutes, None if world.comm is None else world.request):
                    return command(*args, **options)

    return computing


class _Announcement:
    """Says once that kernels are compiled, and on a terminal which one it is."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, folder: str) -> None:
        self._count += 1
        if self._count == 1:
            click.echo(f"compiling kernels (once; cached in {folder})", err=True)
        elif sys.stderr.isatty():
            click.echo(f"compiling kernel {self._count}", err=True)


def _set_threads(backend: str, count: int) -> None:
    set_threads = offered(backend, "set_threads")
    if set_threads is None:
        raise ValueError(f"--threads: back end {backend!r} has no threads to set")
    set_threads(count)
