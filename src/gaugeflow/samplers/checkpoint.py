"""Checkpoints: one HDF5 file that is replaced atomically and belongs to one run at a time.

Fields are stored site by site as conventional arrays, ``(batch, *lead, *shape, *trail)``: a chain may be continued with
another fold, or by another number of processes, than that which wrote the file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

from array_api_compat import is_array_api_obj, to_device

from gaugeflow.domains.processes import found_by_first
from gaugeflow.errors import FormatError, GaugeflowError
from gaugeflow.filesystem import FileLock, HeldError, open_without_locks, require_replaceable, sync_folder
from gaugeflow.lattice import Lattice
from gaugeflow.namespaces import array_namespace

Tree = Any
"""Arrays and numbers in named tuples, dataclasses, mappings, tuples and lists."""


def children(tree: Tree) -> list[tuple[str, Tree]] | None:
    """Named parts of a tree, None for a leaf."""
    if isinstance(tree, Mapping):
        return sorted(tree.items())
    if hasattr(tree, "_fields"):
        return [(name, getattr(tree, name)) for name in tree._fields]
    if is_dataclass(tree) and not isinstance(tree, type):
        return [(f.name, getattr(tree, f.name)) for f in fields(tree)]
    if isinstance(tree, (tuple, list)):
        return [(str(i), value) for i, value in enumerate(tree)]
    return None


def leaves(tree: Tree, name: str = "") -> Iterator[tuple[str, Any]]:
    """Names, parts joined by ``/``, and values of all arrays and numbers of a tree."""
    parts = children(tree)
    if parts is None:
        yield name, tree
    else:
        for part, value in parts:
            yield from leaves(value, f"{name}/{part}" if name else part)


def rebuild(template: Tree, read: Callable[[str, Any], Any], name: str = "") -> Tree:
    """A tree like ``template`` whose leaves are ``read(name, leaf)``."""
    parts = children(template)
    if parts is None:
        return read(name, template)
    new = {part: rebuild(value, read, f"{name}/{part}" if name else part) for part, value in parts}
    if isinstance(template, Mapping):
        return new
    if hasattr(template, "_fields") or is_dataclass(template):
        return type(template)(**new)
    return type(template)(new.values())


def lattice_of(sampler: Any) -> Lattice | None:
    """The lattice of a sampler: the first one among its parts."""
    if isinstance(sampler, Lattice):
        return sampler
    found = (lattice_of(value) for _, value in children(sampler) or ())
    return next((lattice for lattice in found if lattice is not None), None)


def identifying(text: Any) -> Any:
    """The description of a sampler without the folds of its lattices, and without frozen slices where there are none.

    Chains do not depend on folds, and checkpoints of versions that knew no frozen slices do not mention them.
    """
    return re.sub(r", fold=\([0-9, ]*\)|, frozen=\(\)", "", text) if isinstance(text, str) else text


class Checkpoint:
    """A checkpoint file, locked while the object is used as a context.

    The lock is a :class:`gaugeflow.filesystem.FileLock` on ``<path>.lock``, which names the owner for the message: where the
    file system has locks, that of a killed run is stale at once.

    Parameters
    ----------
    path
        The file.  ``<path>.tmp`` and ``<path>.lock`` beside it are used as well, and ``<path>.lock.owner`` where the file
        system has no locks.
    lattice
        That of the fields.  Where it is cut over processes, all of them must call the methods together; the first one
        writes.  Without a lattice fields are stored as they lie in memory.
    comm
        Processes that have the same state, as of a replica exchange: the first one writes.
    """

    def __init__(self, path: str | os.PathLike[str], lattice: Lattice | None = None, comm: Any = None) -> None:
        self.path, self.lattice, self._comm = Path(path), lattice, comm
        self._domain = None if lattice is None else lattice.domain
        self._lock = FileLock(self.path.with_name(self.path.name + ".lock"))

    def first(self, function: Callable[[], Any]) -> Any:
        """What the first process finds, or its error, for all."""
        domain = self._domain
        of_team = function if domain is None else lambda: domain.first(function)
        return of_team() if self._comm is None else found_by_first(self._comm, of_team)

    @property
    def exists(self) -> bool:
        """Whether there is a file."""
        return bool(self.first(self.path.exists))

    def __enter__(self) -> Checkpoint:
        """Take the lock; ``GaugeflowError`` if another run holds it."""

        def take() -> None:
            try:
                self._lock.__enter__()
            except HeldError as error:
                raise GaugeflowError(f"checkpoint {self.path} is in use by another run: {error.owner}") from None

        self.first(take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        if self._leads:
            self._lock.__exit__(kind, error, trace)

    @property
    def _leads(self) -> bool:
        return (self._domain is None or not any(self._domain.place)) and (self._comm is None or self._comm.rank == 0)

    def _site_axis(self, name: str, value: Any) -> int | None:
        """The axis before which a field of the state has its sites, None for what is no field."""
        lattice = self.lattice
        if lattice is None or not is_array_api_obj(value) or not name.startswith("state/"):
            return None
        if not array_namespace(value).isdtype(value.dtype, ("real floating", "complex floating")):
            return None
        components = {2: 0, 3: 1, 4: 0, 5: 1}.get(value.ndim)
        fits = components is not None and value.shape[components] == lattice.n_blocks
        return components if fits and value.shape[-1] % lattice.n_folds == 0 else None

    def _stored(self, name: str, value: Any) -> Any:
        """What is written of a leaf: on the first process, the whole field."""
        components = self._site_axis(name, value)
        if components is not None and self.lattice is not None:
            if self._domain is None:
                value = self.lattice.unpack(value, components)
            else:
                own = self.lattice.local.unpack(value, components)
                return self._domain.collected(self.lattice, own, 1 + components)
        return to_device(value, "cpu") if is_array_api_obj(value) else value

    def save(self, run: Mapping[str, Any], step: int, trees: Mapping[str, Tree]) -> None:
        """Replace the file: written to ``<path>.tmp``, synchronised, renamed; a crash leaves the old or the new one.

        HDF5 builds the file in memory: the library does not survive a disk that fills up while it writes.

        Raises
        ------
        OSError
            If the file cannot be written, for instance because the disk is full; the old one stays.
        GaugeflowError
            If another run took this one for dead, see :meth:`gaugeflow.filesystem.FileLock.require_own`.
        """
        stored = {name: self._stored(name, value) for name, value in leaves(trees)}
        self.first(lambda: self._write(run, step, stored))

    def _write(self, run: Mapping[str, Any], step: int, stored: Mapping[str, Any]) -> None:
        import h5py

        self._lock.require_own()
        require_replaceable(self.path)
        image = BytesIO()
        with h5py.File(image, "w") as file:
            file.attrs["run"] = json.dumps(run)
            file.attrs["step"] = step
            file.attrs["layout"] = "memory" if self.lattice is None else "sites"
            for name, value in stored.items():
                file[name] = value
        temporary = self.path.with_name(self.path.name + ".tmp")
        try:
            with open(temporary, "wb") as written:
                written.write(image.getbuffer())
                written.flush()
                os.fsync(written.fileno())
            os.replace(temporary, self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.errno is None:
                raise
            raise OSError(error.errno, os.strerror(error.errno), str(self.path)) from error
        sync_folder(self.path.parent)

    def load(self, run: Mapping[str, Any], state: Tree, records: str) -> tuple[int, Tree, dict[str, Any]]:
        """Step, state and all arrays of the group ``records`` of the file.

        Raises
        ------
        FormatError
            If the file is damaged, or its state does not have the form of ``state``.
        ValueError
            If the file was written by a different run.
        """
        if self._domain is None:
            return self._read(run, state, records)
        found: tuple[int, Tree, dict[str, Any]] = self._domain.together(lambda: self._read(run, state, records))
        return found

    def _read(self, run: Mapping[str, Any], state: Tree, records: str) -> tuple[int, Tree, dict[str, Any]]:
        import h5py

        try:
            with open_without_locks(self.path, lambda locking: h5py.File(self.path, "r", locking=locking)) as file:
                found = json.loads(file.attrs["run"])
                by_sites = file.attrs.get("layout", "memory") == "sites"
                for name, value in run.items():
                    if identifying(found.get(name)) != identifying(value):
                        raise ValueError(
                            f"checkpoint {self.path} belongs to another run: {name} is {found.get(name)}, got {value}"
                        )

                def read(name: str, like: Any) -> Any:
                    data = file[f"state/{name}"]
                    if not is_array_api_obj(like):
                        return type(like)(data[()])
                    axis = self._site_axis(f"state/{name}", like) if by_sites else None
                    value = data[()] if axis is None else self._own_sites(name, data, axis, like)
                    if value.shape != tuple(like.shape):
                        raise FormatError(
                            f"checkpoint {self.path}: {name} has shape {value.shape}, expected {tuple(like.shape)}"
                        )
                    return array_namespace(like).asarray(value, dtype=like.dtype)

                columns: dict[str, Any] = {}

                def collect(name: str, item: Any) -> None:
                    if isinstance(item, h5py.Dataset):
                        columns[name] = item[()]

                if records in file:
                    file[records].visititems(collect)
                return int(file.attrs["step"]), rebuild(state, read), columns
        except (OSError, KeyError) as error:
            raise FormatError(f"checkpoint {self.path} cannot be read: {error}") from error

    def _own_sites(self, name: str, data: Any, axis: int, like: Any) -> Any:
        """A field as it lies in memory here, of the whole one in the file, of which only the own sites are read."""
        lattice = self.lattice
        assert lattice is not None
        shape = tuple(like.shape)
        expected = (lattice.batch(shape[-1]), *shape[:axis], *lattice.shape, *shape[axis + 1 : -1])
        if data.shape != expected:
            raise FormatError(f"checkpoint {self.path}: {name} has shape {data.shape}, expected {expected}")
        return lattice.local.pack(lattice.part(data, 1 + axis)[...], axis)
