"""The command ``gaugeflow``: parses, calls the library, prints."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from gaugeflow import __version__
from gaugeflow.cli import bench, convert, demo, derive, info, measure, sample, train
from gaugeflow.errors import ConvergenceError, GaugeflowError

NUMERICAL_FAILURE, WRONG_INPUT, INTERRUPTED = 1, 2, 130


class _Program(click.Group):
    """A group whose commands end in one line on stderr where the library raises."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (ConvergenceError, ArithmeticError) as error:
            _fail(ctx, error, NUMERICAL_FAILURE)
        except (GaugeflowError, ValueError, TypeError, OSError) as error:
            _fail(ctx, error, WRONG_INPUT)
        except KeyboardInterrupt as interrupt:
            click.echo(f"gaugeflow: interrupted{f': {interrupt}' if str(interrupt) else ''}", err=True)
            sys.exit(INTERRUPTED)


def _fail(ctx: click.Context, error: Exception, status: int) -> NoReturn:
    """Print the error and exit; with ``--debug``, let it through."""
    if ctx.params["debug"]:
        raise error
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    click.echo(f"gaugeflow: {text}", err=True)
    sys.exit(status)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="gaugeflow")
def main(debug: bool) -> None:
    """Flow-based sampling of lattice gauge theory and correlated ensembles.

    Exit status: 0 success, 1 numerical failure, 2 wrong input, 130 interrupted.
    """


for _command in (
    demo.demo,
    sample.sample,
    train.train,
    derive.derive,
    measure.measure,
    convert.convert,
    info.info,
    bench.bench,
):
    main.add_command(_command)
