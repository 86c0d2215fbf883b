"""Measurements of the configurations of a source: in pieces that are kept, and in parts that processes share."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.cli.output import as_stored
from gaugeflow.cli.parts import Part, parts_of_configurations, share
from gaugeflow.cli.source import Source
from gaugeflow.cli.world import current
from gaugeflow.ensembles import Measurements
from gaugeflow.io.hdf5 import read_table, write_table
from gaugeflow.lattice import Lattice
from gaugeflow.progress import Progress
from gaugeflow.runfile import RunFile
from gaugeflow.typing import Ensemble


def shared(
    run: RunFile,
    name: str,
    given: Source,
    lattice: Lattice,
    piece: int,
    described: dict[str, Any],
    work: Callable[[Ensemble, Callable[[int], None]], Measurements],
    progress: Progress,
) -> Measurements:
    """Measurements of all configurations, in parts that processes share where there are several; see :func:`in_pieces`."""
    current().require_equal({f"checksum of the configurations for {name}": zlib.crc32(given.checksum.tobytes())})
    parts = parts_of_configurations(run, len(given))
    if len(parts) == 1:
        data = in_pieces(run.folder / name, given, lattice, piece, described, work, progress)
        current().meet()
        return data

    def complete(part: Part) -> bool:
        if not (part.folder / name).exists():
            return False
        columns, attributes = read_table(part.folder / name)
        same = attributes.get("parameters") == described["parameters"]
        return same and columns["checksum"].tolist() == given.checksum[list(part.items)].tolist()

    def measure(part: Part) -> None:
        in_pieces(part.folder / name, given.subset(part.items), lattice, piece, described, work, progress)

    share(parts, complete, measure)
    tables = [read_table(part.folder / name)[0] for part in parts]
    order = np.argsort(np.concatenate([part.items for part in parts]))
    columns = {key: np.concatenate([table[key] for table in tables])[order] for key in tables[0]}
    if current().leads:
        write_table(run.folder / name, columns, attributes=described)
    data = Measurements()
    data.add(given.id, given.chain, {key: x for key, x in columns.items() if key not in ("id", "chain", "checksum")})
    return data


def in_pieces(
    path: Path,
    given: Source,
    lattice: Lattice,
    piece: int,
    described: dict[str, Any],
    work: Callable[[Ensemble, Callable[[int], None]], Measurements],
    progress: Progress,
) -> Measurements:
    """Measure what is not measured yet; every ``piece`` configurations they are written."""
    data = Measurements()
    team = current().team
    stored = team.first(lambda: read_table(path) if path.exists() else None)
    if stored is not None:
        columns, attributes = stored
        if attributes.get("parameters") != described["parameters"]:
            raise ValueError(f"{path} belongs to other parameters or flows: remove it to measure again")
        _require_beginning(path, columns.pop("checksum"), given)
        columns = {name: column for name, column in columns.items() if name not in ("id", "chain")}
        here = slice(
            len(next(iter(columns.values())))
        )  # numbers follow from all files: more of them can tell chains apart
        data.add(given.id[here], given.chain[here], columns)
    while (done := len(data)) < len(given):
        rows = range(done, min(done + piece, len(given)))

        def show(count: int, before: int = done) -> None:
            progress(f"{path.stem}: configurations", before + count, len(given))

        part = work(given.part(lattice, rows), show).columns()
        data.add(part.pop("id"), part.pop("chain"), part)
        if team.leads:
            write_table(path, {**data.columns(), "checksum": given.checksum[: len(data)]}, attributes=described)
    return data


def _require_beginning(path: Path, measured: Any, given: Source) -> None:
    """``ValueError`` unless the configurations that are measured are the first ones of the source."""
    differ = measured[: len(given)] != given.checksum[: len(measured)]
    if differ.any():
        where = given.name(int(differ.argmax()))
        raise ValueError(f"{path} holds measurements of another ensemble: {where}, differs; remove it to measure again")
    if len(measured) > len(given):
        raise ValueError(
            f"{path} holds {len(measured)} configurations, the source {len(given)}: remove it to measure again"
        )


def sections(run: RunFile, *names: str) -> Any:
    """What must agree for measurements to be continued."""
    return as_stored({name: asdict(getattr(run, name)) for name in names})
