"""``gaugeflow convert``: a configuration in another format."""

from __future__ import annotations

import click

from gaugeflow.cli.output import Extents


@click.command()
@click.argument("source", metavar="IN", type=click.Path())
@click.argument("target", metavar="OUT", type=click.Path())
@click.option("--format", "format_", metavar="NAME", help="Format of OUT, see `gaugeflow info` (default: by suffix).")
@click.option("--precision", type=click.Choice(["64", "32"]), help="Bits per real number of OUT (default: of IN).")
@click.option("--shape", type=Extents(), help="Extents t,z,y,x as TxZxYxX, where IN does not state them.")
@click.option("--colours", type=click.IntRange(min=1), help="Number of colours, where IN does not state it.")
def convert(
    source: str,
    target: str,
    format_: str | None,
    precision: str | None,
    shape: tuple[int, ...] | None,
    colours: int | None,
) -> None:
    """Read the configuration IN, verify everything that it states, and write it to OUT.

    The format of IN is detected from its content, that of OUT is chosen by its suffix: .nersc, .ildg, .lime, .scidac,
    .milc, .h5 or .hdf5.
    """
    from gaugeflow.io import read, write

    config = read(source, shape=shape, n_colours=colours)
    bits = config.metadata.get("precision", 64) if precision is None else precision
    write(target, config, format=format_, precision=int(str(bits)))
    extents = "x".join(map(str, config.shape))
    click.echo(f"{source} ({config.metadata['format']}, {extents}, N = {config.n_colours}) -> {target}")
