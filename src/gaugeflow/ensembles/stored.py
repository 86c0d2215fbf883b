"""Ensembles of configurations: in memory, and in files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io
from gaugeflow.devices import to_device
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Batch

_FEWEST = 5
"""Configurations of a chain that an error needs."""


def numbers_in_names(paths: Sequence[str | Path]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Configuration numbers and chains of files, as their names state them.

    The number is the last one in the path that is not the same in all paths; what differs besides tells chains apart:
    ``r1/c.100``, ``r1/c.120``, ``r2/c.100`` are two chains. Numbers that are missing are gaps. Where that leaves several
    chains and one of them with fewer than five files, an earlier number is tried; where no number does, or names differ in how
    many numbers they have, the files are one chain and their numbers 0, 1, ... in the order given.

    Returns
    -------
    ids, chains : tuple of int
        For each file. Chains are counted in the order of their first file.
    """
    parts = [re.split(r"([0-9]+)", str(path)) for path in paths]
    in_order = tuple(range(len(parts))), (0,) * len(parts)
    if len({len(part) for part in parts}) != 1:
        return in_order
    for column in reversed(range(1, len(parts[0]), 2)):
        ids = tuple(int(part[column]) for part in parts)
        if len(set(ids)) == 1:
            continue
        labels = [(*part[:column], *part[column + 1 :]) for part in parts]
        order = list(dict.fromkeys(labels))
        chains = tuple(order.index(label) for label in labels)
        if len(order) > 1 and min(map(chains.count, range(len(order)))) < _FEWEST:
            continue
        if len(set(zip(ids, chains, strict=True))) == len(ids):  # c.1 and c.01 are two files with one number
            return ids, chains
    return in_order


@dataclass(frozen=True)
class MemoryEnsemble:
    """Blocks of configurations, for instance one block of lanes for each recorded step of a Markov chain.

    Parameters
    ----------
    lattice
        The lattice of the fields.
    blocks
        Fields ``(ndim, n_blocks, N, N, lanes)``; every block has the same lanes, each lane is a chain.
    ids
        Configuration number of each block (default: 0, 1, ...).
    """

    lattice: Lattice
    blocks: tuple[Array, ...]
    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError("MemoryEnsemble: expected at least one block of configurations, got none")
        sizes = {self.lattice.check_links(block, f"block {i}") for i, block in enumerate(self.blocks)}
        if len(sizes) > 1:
            raise ValueError(f"MemoryEnsemble: blocks differ in (colours, lanes): {sorted(sizes)}")
        if self.ids and len(self.ids) != len(self.blocks):
            raise ValueError(f"MemoryEnsemble: expected {len(self.blocks)} ids, got {len(self.ids)}")

    @property
    def chains(self) -> int:
        """Number of chains, the configurations in a block."""
        return self.lattice.batch(self.blocks[0].shape[-1])

    def __len__(self) -> int:
        """Number of configurations."""
        return len(self.blocks) * self.chains

    def batches(self, size: int) -> Iterator[Batch]:
        """Batches of at most ``size`` configurations, block by block (chains split, blocks never joined)."""
        if size < 1:
            raise ValueError(f"batches: expected a positive size, got {size}")
        ids = self.ids or tuple(range(len(self.blocks)))
        for number, block in zip(ids, self.blocks, strict=True):
            for start in range(0, self.chains, size):
                chosen = np.arange(start, min(start + size, self.chains))
                fields = block if len(chosen) == self.chains else _take(self.lattice, block, chosen)
                yield Batch(fields, np.zeros(len(chosen)), np.full(len(chosen), number), chosen)


def _take(lattice: Lattice, field: Array, chosen: Any) -> Array:
    """Some configurations of a field."""
    batch = lattice.batch(field.shape[-1])
    lanes = (np.arange(lattice.n_folds)[:, None] * batch + chosen[None, :]).ravel()
    xp = array_namespace(field)
    return xp.take(field, xp.asarray(lanes), axis=-1)


@dataclass(frozen=True)
class FileEnsemble:
    """Configurations in files that :func:`gaugeflow.io.read` understands, one configuration each.

    Parameters
    ----------
    lattice
        The lattice; its fold is how configurations are laid out in lanes. Where it is cut over processes, each reads its own
        sites, and all of them take the same batches.
    paths
        Files in Markov-chain order.
    ids, chains
        Number of each configuration in its chain, and the chain; both as the names state them by default, see
        :func:`numbers_in_names`, with one chain if ids are given alone.
    n_colours
        N that all files must have (default: whatever they have).
    """

    lattice: Lattice
    paths: tuple[Path, ...]
    ids: Sequence[int] = ()
    chains: Sequence[int] = ()
    n_colours: int | None = None

    def __post_init__(self) -> None:
        for name in ("ids", "chains"):
            given = getattr(self, name)
            if len(given) not in (0, len(self.paths)):
                raise ValueError(f"FileEnsemble: expected {len(self.paths)} {name}, got {len(given)}")

    @classmethod
    def open(cls, paths: Sequence[str | Path], fold: Sequence[int] | None = None) -> FileEnsemble:
        """Ensemble of these files on the lattice of the first one.

        Raises
        ------
        ValueError
            If there are no files.
        """
        if not paths:
            raise ValueError("FileEnsemble: expected at least one file, got none")
        shape = io.read(paths[0]).shape
        return cls(Lattice(shape, fold), tuple(Path(p) for p in paths))

    def __len__(self) -> int:
        """Number of configurations."""
        return len(self.paths)

    def batches(self, size: int) -> Iterator[Batch]:
        """Batches of at most ``size`` configurations in the order of the files.

        Raises
        ------
        FormatError
            If a file is damaged, or has another lattice or number of colours.
        ValueError
            If a file has open boundaries in time.
        """
        if size < 1:
            raise ValueError(f"batches: expected a positive size, got {size}")
        named, labelled = numbers_in_names(self.paths)
        ids = np.asarray(self.ids if len(self.ids) else named, dtype=np.int64)
        chains = np.asarray(
            self.chains if len(self.chains) else (0 * ids if len(self.ids) else labelled), dtype=np.int64
        )
        for start in range(0, len(self.paths), size):
            chosen = self.paths[start : start + size]
            configs = [io.read(path, lattice=self.lattice, n_colours=self.n_colours) for path in chosen]
            for path, config in zip(chosen, configs, strict=True):
                if config.metadata.get("boundary") == "open":
                    raise ValueError(f"{path}: expected a periodic lattice, got one with open boundaries in time")
            fields = to_device(self.lattice.local.pack(np.stack([config.links for config in configs]), 1))
            here = slice(start, start + len(chosen))
            yield Batch(fields, np.zeros(len(chosen)), ids[here], chains[here])
