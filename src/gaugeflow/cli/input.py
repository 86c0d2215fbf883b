"""Configuration files that commands are given: what they may be told about them, and how strict they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gaugeflow.cli.output import Extents

if TYPE_CHECKING:
    from gaugeflow.io import Config
    from gaugeflow.lattice import Lattice

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--shape", type=Extents(), help="Extents t,z,y,x as TxZxYxX, where a file does not state them."),
    click.option("--colours", type=click.IntRange(min=1), help="Number of colours, where a file does not state it."),
    click.option("--force", is_flag=True, help="Only warn where a file fails its checksum, averages or group."),
)


SPELLING = {
    "shape": "--shape TxZxYxX",
    "n_colours": "--colours N",
    "format": "--format NAME",
    "precision": "--precision BITS",
}
"""What messages about files call the arguments of reading and writing."""


def file_options(command: _Command) -> _Command:
    """Give a command the options ``--shape``, ``--colours`` and ``--force``, arguments of `read_configuration`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_configuration(
    path: str, shape: tuple[int, ...] | None, colours: int | None, force: bool, lattice: Lattice | None = None
) -> tuple[Config, bool]:
    """Read a file, or what this process holds of a lattice, and verify what the file states about itself.

    Returns
    -------
    config : Config
    verified : bool
        False where a check failed that ``force`` turned into a warning on stderr, which names both values.

    Raises
    ------
    FormatError
        If a check fails and ``force`` is not given, or the file cannot be read at all.
    """
    from gaugeflow.errors import FormatError
    from gaugeflow.io import read
    from gaugeflow.io.arguments import spelled

    try:
        with spelled(SPELLING):
            return read(path, shape=shape, n_colours=colours, lattice=lattice), True
    except FormatError as error:
        if not force:
            raise
        with spelled(SPELLING):
            config = read(path, shape=shape, n_colours=colours, verify=False, lattice=lattice)
        click.echo(f"gaugeflow: warning: {error}; going on, as --force says", err=True)
        return config, False
