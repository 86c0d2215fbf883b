"""The source configurations of a run file: what ``sample`` made, in whatever form, or the user's files."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gaugeflow.cli.actions import require_action
from gaugeflow.cli.parts import parts_of_chains
from gaugeflow.devices import to_device
from gaugeflow.filesystem import named
from gaugeflow.io.ensemble import EnsembleFile
from gaugeflow.lattice import Lattice
from gaugeflow.runfile import RunFile
from gaugeflow.typing import Batch, Ensemble

ENSEMBLE = "ensemble.h5"
"""Name of the file of sampled configurations in the folder of results."""
SUFFIXES = {"nersc": "nersc", "ildg": "ildg", "scidac": "scidac", "hdf5": "h5"}
"""Endings of single files by format."""
_FINGERPRINT_BYTES = 1 << 16


@dataclass(frozen=True)
class Source:
    """Configurations in a fixed order, chain and number of each, and a checksum that tells one from another.

    Parameters
    ----------
    run
        The run file.
    id, chain, checksum
        ``(n,)`` integers.
    files
        The file of each configuration.
    row
        Where it is in an ensemble file, ``(n,)``; None for files of one configuration.
    """

    run: RunFile
    id: npt.NDArray[np.int64]
    chain: npt.NDArray[np.int64]
    checksum: npt.NDArray[np.int64]
    files: tuple[Path, ...]
    row: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Number of configurations."""
        return len(self.id)

    def name(self, row: int) -> str:
        """What a message calls a configuration."""
        return f"chain {self.chain[row]}, number {self.id[row]} of {self.files[row]}"

    def part(self, lattice: Lattice, rows: Sequence[int]) -> Ensemble:
        """Some configurations as an ensemble."""
        from gaugeflow.ensembles import FileEnsemble

        chosen = list(rows)
        paths = tuple(self.files[i] for i in chosen)
        if self.row is not None:
            return _StoredEnsemble(lattice, paths, tuple(self.row[chosen].tolist()))
        return FileEnsemble(lattice, paths, self.id[chosen].tolist(), self.chain[chosen].tolist(), self.run.group.n)

    def subset(self, rows: Sequence[int]) -> Source:
        """Some configurations."""
        chosen = list(rows)
        row = None if self.row is None else self.row[chosen]
        files = tuple(self.files[i] for i in chosen)
        return Source(self.run, self.id[chosen], self.chain[chosen], self.checksum[chosen], files, row)

    def spread(self, count: int) -> tuple[list[int], list[int]]:
        """Rows for training and held-out rows, a quarter of ``count``, from all over the source.

        They are equally spaced in the order of chains and numbers, and the held-out ones are the last of that order: other
        chains than the training ones where there are four or more, and otherwise the end of a chain.
        """
        order = np.lexsort((self.id, self.chain))[np.arange(count) * len(self) // count]
        held_out = count // 4
        return sorted(order[: count - held_out].tolist()), sorted(order[count - held_out :].tolist())


def find_source(run: RunFile) -> Source:
    """The source configurations that exist, from the first number on.

    Raises
    ------
    ValueError
        If there are none, they belong to another lattice or group, or an ensemble says that it was sampled with another
        action.
    """
    found = _found(run)
    kept = np.nonzero(found.id >= run.source.first)[0].tolist()
    if not kept:
        raise ValueError(
            f"{run.path}: [source] first: expected {found.id.max()} at most, the largest number of a configuration, "
            f"found {run.source.first}"
        )
    return found if len(kept) == len(found) else found.subset(kept)


def _found(run: RunFile) -> Source:
    if run.source.files:
        return find_files(run, run.source.files, "[source] files")
    if run.output.format != "ensemble":
        return _from_written(run)
    assert run.sampler is not None
    paths = [part.folder / ENSEMBLE for part in parts_of_chains(run, run.sampler.chains)]
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path} does not exist: run `gaugeflow sample {run.path}` first, or name [source] files")
    return _together([_from_ensemble(run, path) for path in paths])


def find_files(run: RunFile, pattern: str, key: str, changed: Mapping[str, float] | None = None) -> Source:
    """Configurations in the files that match a pattern: one in each, or an ensemble file, or those of all parts of a run.

    Numbers and chains of single files are those that their names state, gaps included.

    Parameters
    ----------
    run, pattern, key
        The run file, the pattern, and where it is written.
    changed
        Values of parameters of the action, in place of those of the source, that the configurations should have.

    Raises
    ------
    ValueError
        If nothing matches, or an ensemble belongs to another lattice, group or action or has chains of another.
    """
    from gaugeflow.ensembles import numbers_in_names

    files = _matching(run, pattern, key)
    if all(EnsembleFile.recognises(file) for file in files):
        found = _together([_from_ensemble(run, file, changed) for file in files])
        if len(set(zip(found.chain.tolist(), found.id.tolist(), strict=True))) < len(found):
            raise ValueError(
                f"{run.path}: {key}: expected the parts of one ensemble, with chains of their own, in {pattern!r}"
            )
        return found
    ids, chains = (np.asarray(column, dtype=np.int64) for column in numbers_in_names(files))
    return Source(run, ids, chains, _fingerprints(files), tuple(files))


def written_file(run: RunFile, chain: int, number: int) -> Path:
    """Name of the file of a sampled configuration, where each has its own."""
    return run.folder / f"{run.path.stem}-{chain}-{number:06d}.{SUFFIXES[run.output.format]}"


def _from_ensemble(run: RunFile, path: Path, changed: Mapping[str, float] | None = None) -> Source:
    with EnsembleFile.open(path) as file:
        if file.shape != run.lattice.shape or file.n_colours != run.group.n:
            raise ValueError(
                f"{path}: expected {run.lattice.shape} and n = {run.group.n} as in {run.path}, "
                f"got {file.shape} and n = {file.n_colours}"
            )
        if not len(file):
            raise ValueError(f"{path} holds no configurations yet: run `gaugeflow sample` to its end")
        require_action(run, path, file.attributes.get("parameters"), changed or {})
        rows = np.arange(len(file))
        return Source(run, file.id, file.chain, file.checksum.astype(np.int64), (path,) * len(file), rows)


def _together(parts: Sequence[Source]) -> Source:
    """The ensembles of all parts in the order of one: numbers of which chains are missing are not there yet."""
    if len(parts) == 1:
        return parts[0]
    first = min(int(part.id.max()) for part in parts)
    columns = [
        np.concatenate(column) for column in zip(*((p.id, p.chain, p.checksum, p.row) for p in parts), strict=True)
    ]
    files = [file for part in parts for file in part.files]
    order = [i for i in np.lexsort((columns[1], columns[0])).tolist() if columns[0][i] <= first]
    id, chain, checksum, row = (column[order] for column in columns)
    return Source(parts[0].run, id, chain, checksum, tuple(files[i] for i in order), row)


def _from_written(run: RunFile) -> Source:
    """Files that ``sample`` wrote, in the order of writing; numbers of which chains are missing are not there yet."""
    assert run.sampler is not None
    chains = range(run.sampler.chains)
    rows = []
    for number in range(run.sampler.configurations):
        files = [written_file(run, chain, number) for chain in chains]
        if not all(file.exists() for file in files):
            break
        rows += [(number, chain, file) for chain, file in zip(chains, files, strict=True)]
    if not rows:
        raise ValueError(
            f"{written_file(run, 0, 0)} does not exist: run `gaugeflow sample {run.path}` first, or name [source] files"
        )
    written = tuple(file for _, _, file in rows)
    id, chain = np.asarray([row[:2] for row in rows], dtype=np.int64).T
    return Source(run, id, chain, _fingerprints(written), written)


def _matching(run: RunFile, wanted: str, key: str) -> list[Path]:
    """Files that match a pattern; numbers in names count as numbers, c.80 before c.100."""
    pattern = Path(wanted)
    root = Path(pattern.anchor) if pattern.is_absolute() else run.path.parent
    found = sorted(root.glob(str(pattern.relative_to(root) if pattern.is_absolute() else pattern)), key=_natural)
    if not found:
        raise ValueError(f"{run.path}: {key}: nothing matches {wanted!r} in {root.resolve()}")
    return found


def _natural(path: Path) -> list[Any]:
    """Text and numbers of a name in turn."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", str(path)))]


def _fingerprints(files: Sequence[Path]) -> npt.NDArray[np.int64]:
    return np.asarray([fingerprint(file) for file in files], dtype=np.int64)


def fingerprint(file: Path) -> int:
    """Checksum of the size, the beginning and the end of a file, by which configurations differ anywhere."""
    with named(file), open(file, "rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(0)
        total = zlib.crc32(handle.read(_FINGERPRINT_BYTES), size & 0xFFFFFFFF)
        handle.seek(max(0, size - _FINGERPRINT_BYTES))
        return zlib.crc32(handle.read(_FINGERPRINT_BYTES), total)


@dataclass(frozen=True)
class _StoredEnsemble:
    """Some configurations of ensemble files."""

    lattice: Lattice
    paths: tuple[Path, ...]
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, size: int) -> Iterator[Batch]:
        """Consecutive batches of at most ``size`` configurations."""
        with ExitStack() as stack:
            files = {
                path: stack.enter_context(EnsembleFile.open(path, lattice=self.lattice))
                for path in dict.fromkeys(self.paths)  # the same order on all processes
            }
            places = list(zip(self.paths, self.rows, strict=True))
            for start in range(0, len(places), size):
                parts = [files[path].read(i, i + 1) for path, i in places[start : start + size]]
                links, id, chain, log_weight = (np.concatenate(column) for column in zip(*parts, strict=True))
                yield Batch(to_device(self.lattice.local.pack(links, 1)), log_weight, id, chain)
