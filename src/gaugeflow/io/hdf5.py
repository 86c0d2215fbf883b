"""HDF5 files with one configuration, or with a table of measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaugeflow.io.config import FILE_KEYS, Config, Stated, link_trace, plaquette, verify_links
from gaugeflow.io.datasets import (
    SIGNATURE,
    new_file,
    new_group,
    opened,
    read_array,
    read_attributes,
    read_field,
    read_number,
    stored_dataset,
    stored_group,
    write_array,
    write_field,
)
from gaugeflow.io.files import StrPath, mismatch, require_equal
from gaugeflow.io.formats import Format
from gaugeflow.io.part import Part
from gaugeflow.lattice import Lattice

_CONFIG, _TABLE = "gaugeflow configuration 1", "gaugeflow table 1"
_AVERAGES = {"plaquette": plaquette, "link_trace": link_trace}


def read_config(
    path: StrPath,
    *,
    shape: tuple[int, ...] | None = None,
    n_colours: int | None = None,
    verify: bool = True,
    lattice: Lattice | None = None,
) -> Config:
    """Read a configuration that `write_config` stored.

    Parameters
    ----------
    path : path
    shape, n_colours : optional
        What the caller expects; a file that says otherwise is an error.
    verify : bool
        Check the crc32 of the links, the stated averages, unitarity and determinant.
    lattice : Lattice, optional
        Where it is cut over processes, each reads its own sites.

    Returns
    -------
    Config
        Links in double precision.

    Raises
    ------
    FormatError
        If anything about the file is wrong.
    """
    part = Part(lattice)
    with opened(path, _CONFIG) as file:
        dataset = stored_dataset(path, file, "links")
        require_link_shape(path, dataset.shape, dataset.dtype)
        require_equal(path, "lattice shape", shape, dataset.shape[1:-2])
        require_equal(path, "number of colours", n_colours, dataset.shape[-1])
        precision = dataset.dtype.itemsize * 4
        links = read_field(path, dataset, (1, dataset.ndim - 2), part, verify=verify)
        averages = {name: read_number(path, dataset, name) for name in _AVERAGES}
        checksum = read_number(path, dataset, "crc32")
        metadata: dict[str, object] = read_attributes(path, file)
    stated = [Stated(f"attribute {name}", averages[name], average) for name, average in _AVERAGES.items()]
    verify_links(path, links, stated, verify, part=part)
    metadata |= averages
    metadata |= {"format": "hdf5", "precision": precision, "checksum": f"{checksum:08x}"}
    return Config(links, metadata, lattice=lattice)


def write_config(path: StrPath, config: Config, *, precision: int = 64) -> None:
    """Write one configuration in any number of dimensions, atomically.

    Parameters
    ----------
    path : path
    config : Config
        Its metadata are stored too, except those that describe the file it was read from.
    precision : {64, 32}

    Raises
    ------
    ValueError
        If ``precision`` is unknown, or a link is not in the group.
    """
    dtype = link_dtype(precision)
    metadata = {key: value for key, value in config.metadata.items() if key not in FILE_KEYS}
    part, links = config.part, config.links
    averages = {name: average(links, part) for name, average in _AVERAGES.items()}
    write_field(path, _CONFIG, metadata, "links", links, dtype, (1, links.ndim - 2), part, averages)


def write_table(
    path: StrPath, columns: Mapping[str, ArrayLike], *, attributes: Mapping[str, object] | None = None
) -> None:
    """Write named numerical arrays, atomically.

    Parameters
    ----------
    path : path
        The file, which is replaced.
    columns : mapping of str to array
        Arrays of any shapes; NaN is allowed. Names must not contain ``/``.
    attributes : mapping, optional
        Anything that JSON can hold; usually `provenance`.

    Raises
    ------
    ValueError
        If a name is empty, a dot or has a slash.
    TypeError
        If an array is not numerical, or an attribute is nothing that JSON can hold.
    """
    with new_file(path, _TABLE, attributes) as file:
        group = new_group(file, "columns")
        for name, column in columns.items():
            write_array(group, name, column)


def read_table(path: StrPath) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `write_table` stored.

    Returns
    -------
    columns : dict of str to ndarray
        In the order of their names.
    attributes : dict
        What the file says about them.

    Raises
    ------
    FormatError
        If anything about the file is wrong.
    """
    with opened(path, _TABLE) as file:
        group = stored_group(path, file, "columns")
        return {name: read_array(path, group, name) for name in group}, read_attributes(path, file)


def link_dtype(precision: int) -> np.dtype[Any]:
    """Type of links in a file of the given precision in bits."""
    if precision not in (32, 64):
        raise ValueError(f"precision: expected 32 or 64, got {precision!r}")
    return np.dtype(f"<c{precision // 4}")


def require_link_shape(path: StrPath, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse a dataset that is not a complex array of shape ``(d, *shape, N, N)``."""
    if len(shape) < 5 or shape[0] != len(shape) - 3 or shape[-1] != shape[-2] or 0 in shape:
        raise mismatch(path, "dataset /links shape", "(d, *shape, N, N)", shape)
    if dtype.kind != "c":
        raise mismatch(path, "dataset /links type", "complex", str(dtype))


FORMAT = Format(
    "hdf5", (".h5", ".hdf5"), lambda start, size: start.startswith(SIGNATURE), read_config, write_config, in_parts=True
)
