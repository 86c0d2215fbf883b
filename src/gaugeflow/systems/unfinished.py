"""What a run of a system has done so far: columns that stay in its folder, or a folder that is removed at the end."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gaugeflow import __version__, io
from gaugeflow.devices import to_device, to_host
from gaugeflow.ensembles import Measurements, MemoryEnsemble
from gaugeflow.io.ensemble import EnsembleFile
from gaugeflow.lattice import Array, Lattice
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath, HeatBathState
from gaugeflow.systems.correlated import Clock
from gaugeflow.typing import Batch

_RUN = "run.json"


def stored(file: Path, made_of: Mapping[str, object], find: Callable[[], dict[str, Array]]) -> dict[str, Array]:
    """Columns of a file that an interrupted run has left, or, where they were made of something else, found now.

    Parameters
    ----------
    file
        HDF5 file of the columns.
    made_of
        Attributes that tell what the columns depend on.
    find
        Function that makes the columns.
    """
    if file.exists():
        columns, attributes = io.read_table(file)
        if all(attributes.get(name) == value for name, value in {"gaugeflow_version": __version__, **made_of}.items()):
            return columns
    columns = find()
    io.write_table(file, columns, attributes=io.provenance(**made_of))
    return columns


@dataclass(frozen=True)
class Unfinished:
    """Pieces of work in files, and the seconds that they took.

    Parameters
    ----------
    folder
        Where they are.
    identity
        What the run must have in common with the one that left the folder.
    clock
        Seconds; those of earlier calls are added when the folder is opened.
    """

    folder: Path
    identity: dict[str, object]
    clock: Clock

    @classmethod
    @contextmanager
    def open(cls, folder: Path, clock: Clock, **identity: object) -> Iterator[Unfinished]:
        """Go on in a folder, or begin; the folder is removed at the end of the context, unless an exception leaves it.

        Raises
        ------
        ValueError
            If the folder belongs to a run with another identity or of another version.
        """
        described = {"version": __version__, **identity}
        if (folder / _RUN).exists():
            found = json.loads((folder / _RUN).read_text())
            if found["identity"] != described:
                raise ValueError(
                    f"{folder} was left by another run; remove it to start anew: expected {described}, "
                    f"found {found['identity']}"
                )
            clock.seconds.update({(kind, name): spent for kind, name, spent in found["seconds"]})
        folder.mkdir(parents=True, exist_ok=True)
        here = cls(folder, described, clock)
        here.save()
        yield here
        shutil.rmtree(folder)

    def save(self) -> None:
        """Keep the seconds spent so far."""
        seconds = [[*key, spent] for key, spent in self.clock.seconds.items()]
        temporary = self.folder / f"{_RUN}.tmp"
        temporary.write_text(json.dumps({"identity": self.identity, "seconds": seconds}))
        os.replace(temporary, self.folder / _RUN)

    def measurements(self, name: str) -> Measurements:
        """Measurements that were kept under a name; empty ones where there are none."""
        data = Measurements()
        path = self.folder / f"{name}.h5"
        if path.exists():
            columns, _ = io.read_table(path)
            data.add(columns.pop("id"), columns.pop("chain"), columns)
        return data

    def keep_measurements(self, name: str, data: Measurements) -> None:
        """Keep measurements under a name, in place of earlier ones."""
        io.write_table(self.folder / f"{name}.h5", data.columns())
        self.save()

    def count_blocks(self, name: str) -> int:
        """Number of blocks of configurations that were kept under a name."""
        path = self.folder / f"{name}.h5"
        if not path.exists():
            return 0
        with EnsembleFile.open(path) as file:
            return len(file) // _chains(file)

    def block(self, name: str, lattice: Lattice, number: int) -> Array:
        """One block of those that were kept under a name."""
        with EnsembleFile.open(self.folder / f"{name}.h5") as file:
            chains = _chains(file)
            return to_device(lattice.pack(file.read(number * chains, (number + 1) * chains).links, 1))

    def keep_block(self, name: str, lattice: Lattice, number: int, block: Array) -> None:
        """Keep one more block."""
        path, links = self.folder / f"{name}.h5", to_host(lattice.unpack(block, 1))
        if not path.exists():
            EnsembleFile.create(path, shape=lattice.shape, n_colours=links.shape[-1]).close()
        with EnsembleFile.open(path, append=True) as file:
            file.append(links, id=number, chain=range(len(links)))
        self.save()

    def drop_blocks(self, name: str) -> None:
        """Remove the blocks that were kept under a name."""
        (self.folder / f"{name}.h5").unlink(missing_ok=True)


class MeasuredChain:
    """Heat-bath chains that are measured as they go, and go on from the last row that was measured.

    Parameters
    ----------
    sampler
        What moves them.
    rng
        Random numbers; chains start from the stream ``start``.
    done
        Where states and the measurements ``measurements`` are kept.
    chains, burn_in, thin
        Number of chains, steps before the first row, and steps from one row to the next.
    """

    def __init__(self, sampler: HeatBath, rng: Rng, done: Unfinished, chains: int, burn_in: int, thin: int) -> None:
        self.sampler, self.rng, self.done = sampler, rng, done
        self.chains, self.burn_in, self.thin = chains, burn_in, thin
        self.data = done.measurements("measurements")

    @property
    def count(self) -> int:
        """Measured rows."""
        return len(self.data) // self.chains

    def state(self) -> HeatBathState:
        """The state of the last measured row, or that of chains of SU(3) after their burn-in."""
        if self.count:
            x = self.done.block(f"state {(self.count - 1) % 2}", self.sampler.lattice, 0)
            return HeatBathState(x, self.burn_in + self.count * self.thin)
        return self._advance(self.sampler.hot(self.rng.stream("start"), 3, self.chains), self.burn_in)

    def next(self, state: HeatBathState) -> HeatBathState:
        """The state of the next row."""
        return self._advance(state, self.thin)

    def _advance(self, state: HeatBathState, steps: int) -> HeatBathState:
        for _ in range(steps):
            state, _ = self.sampler.step(self.rng, state)
        return state

    def keep_state(self, state: HeatBathState, row: int) -> None:
        """Keep the state of a row; that of the row before stays until the measurements of this one are there."""
        self.done.drop_blocks(f"state {row % 2}")
        self.done.keep_block(f"state {row % 2}", self.sampler.lattice, 0, state.x)

    def add(self, row: int, columns: Mapping[str, Array]) -> None:
        """Add and keep the measurements of a row."""
        self.data.add(np.full(self.chains, row), np.arange(self.chains), columns)
        self.done.keep_measurements("measurements", self.data)


@dataclass(frozen=True)
class KeptEnsemble:
    """Configurations of an unfinished run, of which one block is in memory at a time.

    Parameters
    ----------
    done
        The run.
    name
        Under which blocks were kept.
    lattice
        The lattice; its fold need not be that of the lattice on which they were made.
    """

    done: Unfinished
    name: str
    lattice: Lattice

    def __len__(self) -> int:
        """Number of configurations."""
        return self.done.count_blocks(self.name) * self.chains

    @property
    def chains(self) -> int:
        """Number of chains, the configurations in a block."""
        with EnsembleFile.open(self.done.folder / f"{self.name}.h5") as file:
            return _chains(file)

    def block(self, number: int) -> MemoryEnsemble:
        """One block."""
        return MemoryEnsemble(self.lattice, (self.done.block(self.name, self.lattice, number),), (number,))

    def batches(self, size: int) -> Iterator[Batch]:
        """Batches of at most ``size`` configurations, block by block."""
        for number in range(self.done.count_blocks(self.name)):
            yield from self.block(number).batches(size)


def _chains(file: EnsembleFile) -> int:
    """Configurations of a block."""
    return int(file.chain.max(initial=0)) + 1
