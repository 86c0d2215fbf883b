"""Flow parameters: nested dicts of arrays in HDF5 files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from gaugeflow.io.datasets import (
    is_stored_group,
    new_file,
    new_group,
    opened,
    read_array,
    read_attributes,
    stored_group,
    write_array,
)
from gaugeflow.io.files import StrPath, mismatch

_KIND = "gaugeflow parameters 1"


def write_params(path: StrPath, params: Mapping[str, Any], *, attributes: Mapping[str, object] | None = None) -> None:
    """Write a nested dict of arrays, atomically.

    Parameters
    ----------
    path : path
        The file, which is replaced.
    params : mapping
        Values are arrays, numbers or mappings of the same kind, also empty ones. A key is one step of the HDF5 path of
        the array (``/params/layer/weight``); the arrays are stored in the order of their sorted keys.
    attributes : mapping, optional
        Anything that JSON can hold; usually `provenance`.

    Raises
    ------
    ValueError
        If a key is empty, a dot or has a slash, or a number is NaN or infinite.
    TypeError
        If a key is not text, or a value not numerical.
    """
    with new_file(path, _KIND, attributes) as file:
        _write(new_group(file, "params"), params)


def read_params(path: StrPath) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `write_params` stored.

    Returns
    -------
    params : dict
        Nested dict of arrays, keys sorted.
    attributes : dict
        What the file says about them.

    Raises
    ------
    FormatError
        If anything about the file is wrong, or a number is NaN or infinite.
    """
    with opened(path, _KIND) as file:
        params: dict[str, Any] = {}
        pending = [(stored_group(path, file, "params"), params)]
        seen: set[int] = set()
        while pending:
            group, values = pending.pop()
            address = h5py.h5o.get_info(group.id).addr
            if address in seen:
                raise mismatch(path, f"group {group.name}", "one path to it", "several")
            seen.add(address)
            for name in sorted(group):
                if is_stored_group(group, name):
                    values[name] = {}
                    pending.append((group[name], values[name]))
                else:
                    values[name] = read_array(path, group, name)
                    if not np.isfinite(values[name]).all():
                        raise mismatch(path, f"dataset {group.name}/{name}", "finite numbers", "NaN or infinity")
        return params, read_attributes(path, file)


def fingerprint(params: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits of the names, shapes, types and values of parameters, whenever they were made."""
    total = hashlib.sha256()

    def add(values: Mapping[str, Any], path: str) -> None:
        for name in sorted(values):
            value, here = values[name], f"{path}/{name}"
            if isinstance(value, Mapping):
                add(value, here)
            else:
                array = np.ascontiguousarray(value)
                total.update(f"{here} {array.dtype.str} {array.shape}".encode() + array.tobytes())

    add(params, "")
    return total.hexdigest()[:16]


def _write(group: h5py.Group, params: Mapping[str, Any]) -> None:
    for name in sorted(params):
        value = params[name]
        if isinstance(value, Mapping):
            _write(new_group(group, name), value)
        else:
            write_array(group, name, value)
            if not np.isfinite(value).all():
                raise ValueError(f"{group.name}/{name}: expected finite numbers, got NaN or infinity")
