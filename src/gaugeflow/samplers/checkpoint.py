"""Checkpoints: one HDF5 file that is replaced atomically and belongs to one run at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

from array_api_compat import array_namespace, is_array_api_obj, to_device

from gaugeflow.errors import FormatError, GaugeflowError
from gaugeflow.filesystem import FileLock, HeldError, open_without_locks, sync_folder

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


class Checkpoint:
    """A checkpoint file, locked while the object is used as a context.

    The lock is a :class:`gaugeflow.filesystem.FileLock` on ``<path>.lock``, which names the owner for the message: where the
    file system has locks, that of a killed run is stale at once.

    Parameters
    ----------
    path
        The file.  ``<path>.tmp`` and ``<path>.lock`` beside it are used as well, and ``<path>.lock.owner`` where the file
        system has no locks.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = FileLock(self.path.with_name(self.path.name + ".lock"))

    def __enter__(self) -> Checkpoint:
        """Take the lock; ``GaugeflowError`` if another run holds it."""
        try:
            self._lock.__enter__()
        except HeldError as error:
            raise GaugeflowError(f"checkpoint {self.path} is in use by another run: {error.owner}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        self._lock.__exit__(kind, error, trace)

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
        import h5py

        self._lock.require_own()
        image = BytesIO()
        with h5py.File(image, "w") as file:
            file.attrs["run"] = json.dumps(run)
            file.attrs["step"] = step
            for name, value in leaves(trees):
                file[name] = to_device(value, "cpu") if is_array_api_obj(value) else value
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
        import h5py

        try:
            with open_without_locks(self.path, lambda locking: h5py.File(self.path, "r", locking=locking)) as file:
                found = json.loads(file.attrs["run"])
                for name, value in run.items():
                    if found.get(name) != value:
                        raise ValueError(
                            f"checkpoint {self.path} belongs to another run: {name} is {found.get(name)}, got {value}"
                        )

                def read(name: str, like: Any) -> Any:
                    value = file[f"state/{name}"][()]
                    if not is_array_api_obj(like):
                        return type(like)(value)
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
