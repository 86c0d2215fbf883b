"""The configurations of files that a command is given: which there are, and their links."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gaugeflow.cli.input import read_configuration
from gaugeflow.cli.output import Failures
from gaugeflow.cli.world import current

LOCK = "measure.lock"
"""File in the folder of results by which ``measure`` keeps other runs out while it works there."""


class Place(NamedTuple):
    """Where a configuration is, and which one it is."""

    file: str
    row: int
    """In an ensemble file; -1 for a file of one configuration."""
    chain: int
    id: int
    checksum: int

    @property
    def number(self) -> dict[str, int]:
        """Chain, and number of the configuration in it."""
        return {"chain": self.chain, "id": self.id}

    @property
    def label(self) -> str:
        """For messages."""
        return self.file if self.row < 0 else f"{self.file}, chain {self.chain}, number {self.id}"


def find_places(files: Sequence[str], failures: Failures) -> list[Place]:
    """All configurations: files of one have the numbers and chains of their names, every ensemble brings chains of its own.

    A file that cannot be read counts as one configuration, so that the others keep their numbers when it can.

    Raises
    ------
    ValueError
        If a file is given twice, under one name or two: its configurations would count twice in averages.
    """
    from gaugeflow.cli.source import fingerprint
    from gaugeflow.ensembles import numbers_in_names
    from gaugeflow.io import EnsembleFile

    names: dict[str, str] = {}
    for file in files:
        path = os.path.realpath(file)
        if path in names:
            also = "" if names[path] == file else f", as {names[path]}, too"
            raise ValueError(f"{file} is given more than once{also}")
        names[path] = file
    stored: dict[str, tuple[list[int], list[int], list[int]]] = {}
    sums: dict[str, int] = {}
    for file in files:
        with failures.of(file):
            if EnsembleFile.recognises(file):
                with EnsembleFile.open(file) as ensemble:
                    stored[file] = ensemble.chain.tolist(), ensemble.id.tolist(), ensemble.checksum.tolist()
            else:
                sums[file] = fingerprint(Path(file))
    singles = iter(zip(*numbers_in_names([file for file in files if file not in stored]), strict=True))
    places: list[Place] = []
    next_chain, of_singles = 0, dict[int, int]()
    for file in files:
        if file in stored:
            chains = stored[file][0]
            offset = next_chain - min(chains, default=0)
            places += [Place(file, k, c + offset, i, s) for k, (c, i, s) in enumerate(zip(*stored[file], strict=True))]
            next_chain = max([next_chain, *(c + offset + 1 for c in chains)])
            continue
        number, chain = next(singles)
        if chain not in of_singles:
            of_singles[chain], next_chain = next_chain, next_chain + 1
        if file in sums:
            places.append(Place(file, -1, of_singles[chain], number, sums[file]))
    return places


def require_equal_places(places: Sequence[Place]) -> None:
    """``GaugeflowError`` that names the processes, unless all have found the same configurations."""
    checksum = zlib.crc32(repr([place[1:] for place in places]).encode())
    current().require_equal({"number of configurations": len(places), "checksum of the configurations": checksum})


def load(place: Place, shape: tuple[int, ...] | None, colours: int | None, force: bool) -> Any:
    """Links of a configuration ``(d, *shape, N, N)``.

    Raises
    ------
    ValueError
        If its lattice ends in time.
    """
    from gaugeflow.io import EnsembleFile
    from gaugeflow.io.config import is_open_in_time

    if place.row < 0:
        config = read_configuration(place.file, shape, colours, force)[0]
        if is_open_in_time(config.links):
            raise ValueError(
                f"{place.file}: --hadrons expects a periodic lattice, got one with open boundaries in time"
            )
        return config.links
    with EnsembleFile.open(place.file) as ensemble:
        return ensemble.read(place.row, place.row + 1).links[0]
