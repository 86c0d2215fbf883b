"""``gaugeflow convert``: a configuration in another format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gaugeflow.cli.input import SPELLING, file_options, read_configuration

if TYPE_CHECKING:
    from gaugeflow.io import Config, Format


@click.command()
@click.argument("source", metavar="IN", type=click.Path())
@click.argument("target", metavar="OUT", type=click.Path())
@click.option("--format", "format_", metavar="NAME", help="Format of OUT, see `gaugeflow info` (default: by suffix).")
@click.option("--precision", type=click.Choice(["64", "32"]), help="Bits per real number of OUT (default: of IN).")
@file_options
def convert(
    source: str,
    target: str,
    format_: str | None,
    precision: str | None,
    shape: tuple[int, ...] | None,
    colours: int | None,
    force: bool,
) -> None:
    """Read the configuration IN, verify everything that it states, and write it to OUT.

    The format of IN is detected from its content, that of OUT is chosen by its suffix: .nersc, .ildg, .lime, .scidac,
    .milc, .openqcd, .oqcd, .h5 or .hdf5.
    """
    from gaugeflow.io import Config, EnsembleFile, find_format, write
    from gaugeflow.io.arguments import spelled

    if EnsembleFile.recognises(source):
        raise ValueError(
            f"{source}: expected a single configuration, got an ensemble file: read its configurations by "
            "gaugeflow.io.EnsembleFile, or sample with a [output] format of single files"
        )
    with spelled(SPELLING):
        chosen = find_format(target, format_)
    config, verified = read_configuration(source, shape, colours, force)
    bits = int(precision) if precision else _precision(config, chosen)
    metadata = config.metadata
    if not verified:  # what programs logged about the field, its plaquette among it, may be what failed
        metadata = {key: value for key, value in metadata.items() if key != "xlf_info"}
    with spelled(SPELLING):
        write(target, Config(config.links, metadata), format=chosen.name, precision=bits, verify=verified)
    extents = "x".join(map(str, config.shape))
    click.echo(f"{source} ({metadata.get('format')}, {extents}, N = {config.n_colours}) -> {target}")


def _precision(config: Config, chosen: Format) -> int:
    """Bits of the file that was read where the other format has them, or more: rounding must be asked for."""
    bits, most = 32 if config.metadata.get("precision") == 32 else 64, max(chosen.precisions)
    if most < bits:
        raise ValueError(f"--precision: expected {most} for the format {chosen.name}, which rounds, got {bits} of IN")
    return min(p for p in chosen.precisions if p >= bits)
