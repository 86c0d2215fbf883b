"""The command ``gaugeflow``: parses, calls the library, prints."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from gaugeflow import __version__
from gaugeflow.cli import bench, convert, demo, derive, embed, info, init, measure, sample, train
from gaugeflow.cli.launch import launch
from gaugeflow.cli.output import error_line, where_results_go
from gaugeflow.cli.stopping import INTERRUPTED, STOPPED, UNFINISHED, Stopped, UnfinishedError
from gaugeflow.cli.world import ElsewhereError, current
from gaugeflow.errors import ConvergenceError, GaugeflowError, GaugeflowWarning

NUMERICAL_FAILURE, WRONG_INPUT = 1, 2
TOGETHER = ("sample", "train", "derive", "measure")
"""Commands that several processes of one launcher do together."""


class _Program(click.Group):
    """A group whose commands end in one line on stderr where the library raises."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **options)
        except BrokenPipeError:
            raise
        except OSError as error:  # the text of --help or --version does not fit behind stdout
            _drop_output_that_fails()
            click.echo(f"gaugeflow: {error_line(error, 'standard output')}", err=True)
            sys.exit(WRONG_INPUT)

    def invoke(self, ctx: click.Context) -> object:
        try:
            with _printed_warnings():
                result = super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):  # click prints these
            raise
        except SystemExit as ended:  # a command that has printed its own lines
            sys.exit(current().end(ended.code if isinstance(ended.code, int) else NUMERICAL_FAILURE))
        except UnfinishedError as unfinished:
            sys.exit(current().end(UNFINISHED, str(unfinished)))
        except (GaugeflowError, ValueError, TypeError, OSError, ArithmeticError) as error:
            if isinstance(error, BrokenPipeError) and current().comm is None:
                raise  # the reader of our output has ended: nothing to tell it
            sys.exit(_failed(ctx, error))
        except KeyboardInterrupt as interrupt:
            stopped = isinstance(interrupt, Stopped)
            what = "stopped" if stopped else "interrupted"
            line = f"{what}{f': {interrupt}' if str(interrupt) else ''}"
            sys.exit(current().end(STOPPED if stopped else INTERRUPTED, line))
        except Exception as error:
            if current().comm is not None:  # the others would wait for ever
                traceback.print_exc(file=sys.__stderr__)
                current().end(NUMERICAL_FAILURE, f"{type(error).__name__}: {error_line(error)}")
            raise
        if status := current().end(0):
            sys.exit(status)
        return result


@contextmanager
def _printed_warnings() -> Iterator[None]:
    """Print each warning of the library as one line on stderr; others stay what they are."""
    with warnings.catch_warnings():
        show = warnings.showwarning
        warnings.filterwarnings("always", category=GaugeflowWarning)

        def print_line(message: Warning | str, category: type[Warning], *where: object, **more: object) -> None:
            if issubclass(category, GaugeflowWarning):
                click.echo(f"gaugeflow: warning: {message}", err=True)
            else:
                show(message, category, *where, **more)  # type: ignore[arg-type]

        warnings.showwarning = print_line
        yield


def _failed(ctx: click.Context, error: Exception) -> int:
    """Tell the error; the exit status.  With ``--debug``, let it through."""
    status = NUMERICAL_FAILURE if isinstance(error, (ConvergenceError, ArithmeticError)) else WRONG_INPUT
    if ctx.params["debug"]:
        if current().comm is None:
            raise error
        traceback.print_exc(file=sys.__stderr__)
    if isinstance(error, ElsewhereError):
        return current().end(status)
    place = ""
    if isinstance(error, OSError):
        place = where_results_go(ctx) or "standard output"
        _drop_output_that_fails()
    return current().end(status, error_line(error, place))


def _drop_output_that_fails() -> None:
    """What is left in the buffer of stdout would fail once more when Python ends, and change the exit status."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="gaugeflow")
@click.pass_context
def main(ctx: click.Context, debug: bool) -> None:
    """Flow-based sampling of lattice gauge theory and correlated ensembles.

    Exit status: 0 success, 1 numerical failure, 2 wrong input, 3 other processes
    still have parts, 75 stopped before a limit of time (give the
    command again to go on), 130 interrupted.
    """
    start = launch()
    if start is not None and ctx.invoked_subcommand not in TOGETHER:
        if start.rank > 0:
            sys.exit(WRONG_INPUT)
        raise ValueError(
            f"{ctx.invoked_subcommand}: this command runs in one process, and {start.by} started {start.size}; those that run "
            f"in several: {', '.join(TOGETHER)}"
        )


for _command in (
    demo.demo,
    init.init,
    sample.sample,
    train.train,
    derive.derive,
    measure.measure,
    convert.convert,
    info.info,
    bench.bench,
    embed.embed,
):
    main.add_command(_command)
