"""The command ``gaugeflow``: parses, calls the library, prints."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from gaugeflow import __version__
from gaugeflow.cli import bench, convert, demo, derive, embed, info, init, measure, sample, train
from gaugeflow.cli.output import error_line, where_results_go
from gaugeflow.cli.stopping import STOPPED, UNFINISHED, Stopped, UnfinishedError
from gaugeflow.errors import ConvergenceError, GaugeflowError, GaugeflowWarning

NUMERICAL_FAILURE, WRONG_INPUT, INTERRUPTED = 1, 2, 130


class _Program(click.Group):
    """A group whose commands end in one line on stderr where the library raises."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            with _printed_warnings():
                return super().invoke(ctx)
        except (ConvergenceError, ArithmeticError) as error:
            _fail(ctx, error, NUMERICAL_FAILURE)
        except UnfinishedError as unfinished:
            click.echo(f"gaugeflow: {unfinished}", err=True)
            sys.exit(UNFINISHED)
        except BrokenPipeError:  # the reader of our output has ended: nothing to tell it
            raise
        except (GaugeflowError, ValueError, TypeError, OSError) as error:
            _fail(ctx, error, WRONG_INPUT)
        except KeyboardInterrupt as interrupt:
            stopped = isinstance(interrupt, Stopped)
            what = "stopped" if stopped else "interrupted"
            click.echo(f"gaugeflow: {what}{f': {interrupt}' if str(interrupt) else ''}", err=True)
            sys.exit(STOPPED if stopped else INTERRUPTED)


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


def _fail(ctx: click.Context, error: Exception, status: int) -> NoReturn:
    """Print the error and exit; with ``--debug``, let it through."""
    if ctx.params["debug"]:
        raise error
    place = where_results_go(ctx) or "standard output" if isinstance(error, OSError) else ""
    click.echo(f"gaugeflow: {error_line(error, place)}", err=True)
    sys.exit(status)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="gaugeflow")
def main(debug: bool) -> None:
    """Flow-based sampling of lattice gauge theory and correlated ensembles.

    Exit status: 0 success, 1 numerical failure, 2 wrong input, 3 other processes
    still have parts, 75 stopped before a limit of time (give the
    command again to go on), 130 interrupted.
    """


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
