"""``gaugeflow bench``: is this installation fast?"""

from __future__ import annotations

from typing import Any

import click

from gaugeflow.cli.machine import compute_options
from gaugeflow.cli.output import Extents, print_json, print_table
from gaugeflow.progress import progress_bars

_VOLUMES = ((8, 8, 8, 8), (16, 16, 16, 16))
_Volumes = tuple[tuple[int, ...], ...]
_COLUMNS = ("kernel", "lattice", "batch", "fold", "threads", "ms", "GF/s", "GB/s", "share of peak")


@click.command()
@click.option("--volumes", type=Extents(), multiple=True, help="Lattices, one or more (default: 8^4 and 16^4).")
@click.argument("more_volumes", type=Extents(), nargs=-1, metavar="")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Configurations at a time.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@compute_options
def bench(volumes: _Volumes, more_volumes: _Volumes, batch: int, as_json: bool) -> None:
    """Time the SU(3) kernels beside the multiply-add and triad rates of this machine.

    The share of peak refers to the nearer of the two limits; it is low on a machine that others use as well. Kernels
    that move little more than they compute exceed one on lattices that fit in a cache.
    """
    import numpy as np

    from gaugeflow.backend import backend_of
    from gaugeflow.bench import machine, names, time_kernel

    shapes = (*volumes, *more_volumes) or _VOLUMES
    backend = backend_of(np.empty(0))
    peaks = machine(backend)
    rows: list[dict[str, Any]] = []
    total = sum(len(names(len(shape))) for shape in shapes)
    with progress_bars() as progress:
        for shape in shapes:
            for kernel in names(len(shape)):
                rows.append(time_kernel(kernel, shape, batch, 3, backend, peaks))
                progress("kernels", len(rows), total)
    if as_json:
        print_json({"machine": peaks, "kernels": rows})
        return
    title = f"SU(3) kernels, back end {backend}"
    print_table(title, _COLUMNS, [_row(row) for row in rows])
    if peaks["fma_gflops"] is not None:
        fma, triad = peaks["fma_gflops"], peaks["triad_gbytes_per_second"]
        click.echo(f"this machine, {peaks['threads']} threads: {fma:.0f} GF/s multiply-add, {triad:.1f} GB/s triad")


def _row(result: dict[str, Any]) -> list[object]:
    def rounded(key: str, digits: int) -> float | None:
        return None if result[key] is None else round(result[key], digits)

    return [
        result["kernel"],
        "x".join(map(str, result["shape"])),
        result["batch"],
        "x".join(map(str, result["fold"])),
        result["threads"],
        round(1e3 * result["seconds"], 3),
        rounded("gflops", 1),
        rounded("gbytes_per_second", 1),
        rounded("share_of_peak", 2),
    ]
