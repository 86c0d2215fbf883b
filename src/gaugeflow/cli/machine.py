"""The options ``--threads`` and ``--backend``, which every command that computes has."""

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

Command = Callable[..., Any]


def compute_options(command: Command) -> Command:
    """Give a command ``--threads`` and ``--backend``, and announce compilations of kernels."""

    @click.option("--threads", type=click.IntRange(min=1), help="CPU threads of the kernels (default: all cores).")
    @click.option("--backend", help="Back end of the kernels, see `gaugeflow info` (default: by the type of arrays).")
    @functools.wraps(command)
    def computing(*args: Any, threads: int | None, backend: str | None, **options: Any) -> Any:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin slow everybody on a shared node
        with use_backend(backend) if backend else nullcontext():
            name = backend or DEFAULT_BACKEND
            announce = offered(name, "announce_compilation")
            with announce(_Announcement()) if announce is not None else nullcontext():
                if threads is not None:
                    _set_threads(name, threads)
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
