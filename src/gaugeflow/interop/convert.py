"""Fields from and to the layouts of other programs, on arrays of any library.

A conversion reads every number once and writes it once.  NumPy arrays are reordered by the compiled back end where it serves
them, and by NumPy itself, piece by piece through the caches, where not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from array_api_compat import device, is_numpy_array

from gaugeflow.backend import backend_of, offered
from gaugeflow.interop.layouts import Places, Spin, find_layout, link_places, site_places
from gaugeflow.lattice import Array, Lattice, check_array
from gaugeflow.namespaces import array_namespace

_PIECE = 128
"""Matrices of every lane that are reordered at a time: what the caches hold."""


def links_from(lattice: Lattice, array: Array, layout: str) -> Array:
    """Field of links from the array of another program.

    Parameters
    ----------
    lattice
        The lattice, of which the fold says how the field is stored here.
    array
        ``(*layout shape, N, N)``, or ``(batch, *layout shape, N, N)`` for many configurations; the layout shape is that of
        ``LAYOUTS[layout].links(lattice)``.  Momenta and forces are converted in the same way.
    layout
        A name of ``LAYOUTS``.

    Returns
    -------
    Array
        ``(ndim, n_blocks, N, N, n_folds * batch)``, a new array of the same library.

    Raises
    ------
    ValueError
        If the layout is unknown, or does not fit the array.
    """
    check_array(array, "array")
    xp = array_namespace(array)
    places = link_places(layout, lattice)
    n = _matrix_size(array, places.shape, f"links in layout {layout!r}")
    field = _gather(xp.reshape(array, (-1, places.table.size, n * n)), places)
    return xp.reshape(field, (lattice.ndim, lattice.n_blocks, n, n, -1))


def links_to(lattice: Lattice, links: Array, layout: str, *, out: Array | None = None) -> Array:
    """Array of another program from a field of links, an algebra field or a momentum.

    Parameters
    ----------
    lattice, links
        The lattice and the field ``(ndim, n_blocks, N, N, n_folds * batch)``.
    layout
        A name of ``LAYOUTS``.
    out
        Contiguous array of the result's shape that is overwritten and returned; default: a new one.

    Returns
    -------
    Array
        ``(batch, *layout shape, N, N)``, contiguous, of the same library.

    Raises
    ------
    ValueError
        If the layout is unknown, this is no field of links, or ``out`` has another shape.
    """
    n, lanes = lattice.check_links(links)
    xp = array_namespace(links)
    places = link_places(layout, lattice)
    return _scatter(xp.reshape(links, (-1, n * n, lanes)), places, (lattice.batch(lanes), *places.shape, n, n), out)


def fermions_from(lattice: Lattice, array: Array, layout: str) -> Array:
    """Fermion field from the array of another program.

    Parameters
    ----------
    lattice
        The lattice.
    array
        ``(*layout shape, spin, colour)``, or ``(*layout shape, colour)`` of staggered fermions, with or without a leading
        axis of the batch; the layout shape is that of ``LAYOUTS[layout].sites(lattice)``.
    layout
        A name of ``LAYOUTS``.

    Returns
    -------
    Array
        ``(n_blocks, spin, colour, n_folds * batch)`` in the basis of DeGrand and Rossi, a new array of the same library.

    Raises
    ------
    ValueError
        If the layout is unknown, or does not fit the array.
    """
    check_array(array, "array")
    xp = array_namespace(array)
    found, spin_basis = tuple(array.shape), find_layout(layout).spin
    places = site_places(layout, lattice)
    shape = places.shape
    for lead in (0, 1):
        inner = found[lead + len(shape) :]
        if found[lead : lead + len(shape)] == shape and len(inner) in (1, 2):
            spin, colours = (1, *inner)[-2:]
            field = _gather(xp.reshape(array, (-1, places.table.size, spin * colours)), places)
            psi = xp.reshape(field, (lattice.n_blocks, spin, colours, -1))
            return _rotated(psi, spin_basis, inverse=False) if spin > 1 else psi
    raise ValueError(
        f"fermions in layout {layout!r}: expected shape ({', '.join(map(str, shape))}, spin, colour) or without spin, and "
        f"perhaps a batch in front, got {found}"
    )


def fermions_to(lattice: Lattice, psi: Array, layout: str, *, out: Array | None = None) -> Array:
    """Array of another program from a fermion field.

    Parameters
    ----------
    lattice, psi
        The lattice and the field ``(n_blocks, spin, colour, n_folds * batch)``.
    layout
        A name of ``LAYOUTS``.
    out
        Contiguous array of the result's shape that is overwritten and returned; default: a new one.

    Returns
    -------
    Array
        ``(batch, *layout shape, spin, colour)``, without the axis of spin where it is 1, of the same library.

    Raises
    ------
    ValueError
        If the layout is unknown, this is no fermion field, or ``out`` has another shape.
    """
    check_array(psi, "psi")
    found = tuple(psi.shape)
    if len(found) != 4 or found[0] != lattice.n_blocks:
        raise ValueError(f"psi: expected shape ({lattice.n_blocks}, spin, colour, lanes) on {lattice}, got {found}")
    lattice.batch(found[3])
    xp = array_namespace(psi)
    spin_basis = find_layout(layout).spin
    places = site_places(layout, lattice)
    theirs = _rotated(psi, spin_basis, inverse=True) if found[1] > 1 else psi
    trail = found[1:3] if found[1] > 1 else found[2:3]
    shape = (lattice.batch(found[3]), *places.shape, *trail)
    return _scatter(xp.reshape(theirs, (found[0], -1, found[3])), places, shape, out)


def _matrix_size(array: Array, shape: tuple[int, ...], what: str) -> int:
    """N of an array ``(*shape, N, N)`` with or without a batch in front."""
    found = tuple(array.shape)
    lead = len(found) - len(shape) - 2
    if lead not in (0, 1) or found[lead:-2] != shape or found[-1] != found[-2]:
        raise ValueError(
            f"{what}: expected shape ({', '.join(map(str, shape))}, N, N), perhaps with a batch in front, got {found}"
        )
    return int(found[-1])


def _gather(rows: Array, places: Places) -> Array:
    """``(batch, items, k)`` in memory order to ``(items per fold * k, lanes)``, folds slow and configurations fast."""
    xp = array_namespace(rows)
    (batch, _, k), (folds, items) = rows.shape, places.table.shape
    if not is_numpy_array(rows):
        taken = xp.take(rows, places.on(xp, device(rows), inverse=False), axis=1)
        lanes_last = xp.permute_dims(xp.reshape(taken, (batch, folds, items * k)), (2, 1, 0))
        return xp.reshape(lanes_last, (items * k, folds * batch))
    native = _native("gather_rows", rows)
    if native is not None:
        return native(rows, *places.in_memory_order).reshape(items * k, folds * batch)
    out = np.empty((items * k, folds, batch), rows.dtype)
    for start in range(0, items, _PIECE):
        piece = places.table[:, start : start + _PIECE]
        taken = rows.take(piece.reshape(-1), axis=1, mode="clip")  # the table is in range: no check for each index
        out[start * k : (start + piece.shape[1]) * k] = taken.reshape(batch, folds, -1).transpose(2, 1, 0)
    return out.reshape(items * k, folds * batch)


def _scatter(field: Array, places: Places, shape: tuple[int, ...], out: Array | None) -> Array:
    """Inverse of :func:`_gather`: ``(items per fold, k, lanes)`` to memory order, in the shape of the program's array."""
    xp = array_namespace(field)
    (items, k, lanes), folds = field.shape, places.table.shape[0]
    batch = lanes // folds
    if out is not None and tuple(out.shape) != shape:
        raise ValueError(f"out: expected shape {shape}, got {tuple(out.shape)}")
    if not is_numpy_array(field):
        split = xp.permute_dims(xp.reshape(field, (items, k, folds, batch)), (3, 2, 0, 1))
        rows = xp.reshape(split, (batch, folds * items, k))
        result = xp.reshape(xp.take(rows, places.on(xp, device(field), inverse=True), axis=1), shape)
        if out is None:
            return result
        out[...] = result
        return out
    if out is not None:
        if not (out.flags.c_contiguous and out.flags.writeable):
            raise ValueError(f"out: expected a contiguous array that can be written, got strides {out.strides}")
        if not np.can_cast(field.dtype, out.dtype, "same_kind"):
            raise ValueError(f"out: expected numbers like those of the field, {field.dtype}, got {out.dtype}")
        field = field.astype(out.dtype, copy=False)
    native = _native("scatter_rows", field)
    if native is not None:
        return native(field, *places.in_memory_order, out, shape)
    if out is None:
        out = np.empty(shape, field.dtype)
    memory = out.reshape(batch, folds * items, k)
    for start in range(0, items, _PIECE):
        piece = places.table[:, start : start + _PIECE]
        part = field[start : start + _PIECE].reshape(-1, k, folds, batch).transpose(3, 2, 0, 1)
        memory[:, piece.reshape(-1)] = part.reshape(batch, -1, k)
    return out


def _native(name: str, array: Array) -> Callable[..., Any] | None:
    """What the back end of NumPy arrays offers for this, if it computes on numbers of this type here and now."""
    if backend_of(array) != "numba" or array.dtype not in (np.complex128, np.complex64):
        return None
    return _offer(name)


@cache
def _offer(name: str) -> Callable[..., Any] | None:
    return offered("numba", name)


def _rotated(psi: Array, spin: Spin, inverse: bool) -> Array:
    """Spinors in our basis from theirs, or back."""
    if not spin:
        return psi
    if psi.shape[1] != len(spin):
        raise ValueError(f"change of basis: expected {len(spin)} spin components, got {psi.shape[1]}")
    xp = array_namespace(psi)
    rows: list[Any] = [None] * len(spin)
    for ours, (theirs, phase) in enumerate(spin):
        if inverse:
            rows[theirs] = complex(phase).conjugate() * psi[:, ours, ...]
        else:
            rows[ours] = phase * psi[:, theirs, ...]
    return xp.stack(rows, axis=1)
