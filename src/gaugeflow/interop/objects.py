"""Gauge fields of PyQUDA, lyncs and GPT: their objects in, and results back into their objects.

Objects are known by what they can do, so that none of these packages is needed here:

* PyQUDA: ``data``, an array of the layout ``"pyquda"`` on any device, and ``latt_info``.  A phase or an anisotropy that was
  multiplied into the links (``setAntiPeriodicT``, ``setAnisotropy``) must be taken out before.
* lyncs (``lyncs_quda.GaugeField``): ``default_view()``, an array ``(2, 4, N, N, volume / 2)`` in the order of QUDA's fields.
* GPT: a list of ``gpt.lattice``, one for each of x, y, z, t, with ``grid``; points are taken and set by their coordinates.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gaugeflow.interop.convert import links_from, links_to
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace


def links_of(lattice: Lattice, field: Any) -> Array:
    """Links of an object of PyQUDA, lyncs or GPT.

    Parameters
    ----------
    lattice
        The lattice, folded as the links shall be.
    field
        The object.

    Returns
    -------
    Array
        ``(ndim, n_blocks, N, N, n_folds)``, where the object has its numbers: on the host or a device.

    Raises
    ------
    TypeError
        If this is none of these objects.
    ValueError
        If it does not fit the lattice.
    """
    if hasattr(field, "latt_info"):
        return links_from(lattice, field.data, "pyquda")
    if hasattr(field, "default_view"):
        return links_from(lattice, _lyncs_to_qdp(lattice, field.default_view()), "qdp")
    points = _gpt_points(lattice, field)
    links = np.stack([np.asarray(u[points]) for u in field])
    n = round((links.size // (len(field) * lattice.volume)) ** 0.5)
    return links_from(lattice, links.reshape(len(field), *lattice.shape, n, n), "qdp-lexicographic")


def put_links(lattice: Lattice, links: Array, field: Any) -> None:
    """Write links into an object of PyQUDA, lyncs or GPT.

    Parameters
    ----------
    lattice, links
        The lattice and the field of one configuration ``(ndim, n_blocks, N, N, n_folds)``.
    field
        The object, which is overwritten.

    Raises
    ------
    TypeError
        If this is none of these objects.
    ValueError
        If there are more configurations, or the object does not fit the lattice.
    """
    _, lanes = lattice.check_links(links)
    if lattice.batch(lanes) != 1:
        raise ValueError(f"links: expected one configuration, got {lattice.batch(lanes)}")
    if hasattr(field, "latt_info"):
        links_to(lattice, links, "pyquda", out=field.data[None, ...])
    elif hasattr(field, "default_view"):
        view = field.default_view()
        xp = array_namespace(links)
        array = links_to(lattice, links, "qdp")[0, ...]
        flat = xp.reshape(array, (lattice.ndim, 2, lattice.volume // 2, *array.shape[-2:]))
        _check_size("lyncs field", tuple(view.shape), (2, lattice.ndim, *array.shape[-2:], lattice.volume // 2))
        view[...] = xp.permute_dims(flat, (1, 0, 3, 4, 2))
    else:
        points = _gpt_points(lattice, field)
        array = links_to(lattice, links, "qdp-lexicographic")[0, ...]
        for u, along in zip(field, array, strict=True):
            u[points] = np.ascontiguousarray(along.reshape(lattice.volume, *along.shape[-2:]))


def _lyncs_to_qdp(lattice: Lattice, view: Array) -> Array:
    xp = array_namespace(view)
    n = view.shape[2]
    _check_size("lyncs field", tuple(view.shape), (2, lattice.ndim, n, n, lattice.volume // 2))
    return xp.reshape(xp.permute_dims(view, (1, 0, 4, 2, 3)), (lattice.ndim, 2, *_half(lattice), n, n))


def _half(lattice: Lattice) -> tuple[int, ...]:
    return (*lattice.shape[:-1], lattice.shape[-1] // 2)


def _gpt_points(lattice: Lattice, field: Any) -> Array:
    """Coordinates (x, y, z, t) of all sites, lexicographic with x fastest."""
    if not (isinstance(field, list | tuple) and field and all(hasattr(u, "grid") for u in field)):
        raise TypeError(
            "field: expected an object of PyQUDA (with latt_info), lyncs (with default_view) or a list of gpt.lattice (with "
            f"grid), got {type(field).__name__}"
        )
    expected = lattice.shape[::-1]
    found = tuple(int(n) for n in field[0].grid.fdimensions)
    if found != expected or len(field) != lattice.ndim:
        raise ValueError(
            f"GPT field: expected {lattice.ndim} lattices of extents {expected}, got {len(field)} of {found}"
        )
    return np.ascontiguousarray(np.indices(lattice.shape).reshape(lattice.ndim, -1)[::-1].T, dtype=np.int32)


def _check_size(what: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise ValueError(f"{what}: expected shape {expected}, got {found}")
