"""Crossings between the memory of the host and that of a device: the only ones, and always explicit.

Kernels compute where their arrays live and never move them.  A back end for a device offers ``device`` (``"cuda"``),
``namespace`` (its array library), ``to_device`` and ``to_host``; for others everything here hands arrays through unchanged.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from gaugeflow import tree
from gaugeflow.backend import REFERENCE, backend_of, chosen_backend, offered
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Array


@functools.cache
def _offer(backend: str, name: str) -> Any:
    return None if backend == REFERENCE else offered(backend, name)


def namespace() -> Any:
    """Array library of the back end chosen by :func:`gaugeflow.backend.use_backend`; NumPy where none is."""
    chosen = chosen_backend()
    found = None if chosen is None else _offer(chosen, "namespace")
    return import_module("numpy") if found is None else found


def device() -> str:
    """Kind of device of the chosen back end, as :meth:`gaugeflow.lattice.Lattice.suggest_fold` takes it."""
    chosen = chosen_backend()
    return (None if chosen is None else _offer(chosen, "device")) or "cpu"


def to_device(arrays: Any) -> Any:
    """Host arrays, or nested dictionaries of them, copied to the device of the chosen back end if it has one."""
    return _each(arrays, "to_device")


def to_host(arrays: Any) -> Any:
    """Arrays, or nested dictionaries of them, copied to NumPy arrays if they live on a device."""
    return _each(arrays, "to_host")


def follow(array: Array, like: Array) -> Array:
    """The array where ``like`` lives: copied to the host if the types differ, else unchanged."""
    return array if type(array) is type(like) else to_host(array)


def require_beside(name: str, array: Array, field: Array) -> None:
    """``TypeError`` unless an array of parameters is one of the library of the field that it acts on."""
    if array_namespace(array) is not array_namespace(field):
        raise TypeError(f"{name}: expected an array of the library of the field, {type(field)}, got {type(array)}")


def _each(arrays: Any, crossing: str) -> Any:
    if isinstance(arrays, Mapping):
        return tree.map(lambda array: _each(array, crossing), arrays)
    move = _offer(backend_of(arrays), crossing)
    return arrays if move is None else move(arrays)
