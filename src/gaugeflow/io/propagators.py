"""Quark propagators in HDF5 files, one of one configuration in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaugeflow.io.datasets import opened, read_attributes, read_field, stored_dataset, write_field
from gaugeflow.io.files import StrPath, mismatch, require_equal
from gaugeflow.io.part import Part
from gaugeflow.lattice import Lattice

_KIND = "gaugeflow propagator 1"
_STATED = ("axes", "origin", "boundary", "norm")


class StoredPropagator(NamedTuple):
    """A propagator as a file holds it: the arguments of ``gaugeflow.hadrons.Propagator.from_array`` but for the lattice.

    ``array`` has shape ``(*shape, spin, N, spin', columns)``, source indices primed; where the lattice is cut, it holds the
    sites of this process. ``attributes`` are those of the file.
    """

    array: NDArray[np.complex128]
    origin: tuple[int, ...]
    boundary: tuple[complex, ...]
    norm: float
    attributes: dict[str, Any]


def write_propagator(
    path: StrPath,
    array: NDArray[np.complexfloating[Any, Any]],
    *,
    origin: Sequence[int],
    boundary: Sequence[complex],
    norm: float = 1.0,
    attributes: Mapping[str, object] | None = None,
    lattice: Lattice | None = None,
) -> None:
    """Write a propagator, atomically.

    Parameters
    ----------
    path : path
        The file, which is replaced.
    array : ndarray, shape (\\*shape, spin, N, spin', columns), complex
        Of one configuration; the precision is kept.
    origin : sequence of int
        Site of the source, time first.
    boundary : sequence of complex
        Phases of the quark.
    norm : float
        What meson correlators are multiplied by.
    attributes : mapping, optional
        Anything that JSON can hold, usually `provenance`; not ``axes``, ``origin``, ``boundary`` and ``norm``.
    lattice : Lattice, optional
        Where it is cut over processes, all of them call this, each with its sites.

    Raises
    ------
    ValueError
        If the shape is not that of a propagator, or a number is not finite.
    """
    d = array.ndim - 4
    if d < 1 or len(origin) != d or len(boundary) != d or array.dtype.kind != "c":
        raise ValueError(
            f"propagator: expected complex (*shape, spin, N, spin', columns), origin and boundary of {max(d, 1)} entries, "
            f"got {array.dtype} {array.shape}, {tuple(origin)} and {tuple(boundary)}"
        )
    part = Part(lattice)
    axes = [*(f"site {mu}" for mu in range(d)), "spin", "colour", "source spin", "source colour"]
    phases = [[complex(b).real, complex(b).imag] for b in boundary]
    stated = {"axes": axes, "origin": [int(x) for x in origin], "boundary": phases, "norm": float(norm)}
    with part.together():
        if not all(part.gather(bool(np.isfinite(array).all()))):
            raise ValueError("propagator: expected finite numbers")
        own = array.shape[:d] if lattice is None else lattice.local_shape
        if not all(part.gather(own == array.shape[:d])):
            raise ValueError(f"propagator: expected site axes {own}, got {array.shape}")
        write_field(path, _KIND, {**(attributes or {}), **stated}, "propagator", array, array.dtype, (0, d), part)


def read_propagator(path: StrPath, *, lattice: Lattice | None = None) -> StoredPropagator:
    """Read what `write_propagator` stored, in double precision.

    Parameters
    ----------
    path : path
        The file.
    lattice : Lattice, optional
        The lattice that the file must have. Where it is cut over processes, all of them call this, and each gets its sites.

    Raises
    ------
    FormatError
        If anything about the file is wrong.
    """
    part = Part(lattice)
    with part.together(), opened(path, _KIND) as file:
        dataset = stored_dataset(path, file, "propagator")
        attributes = read_attributes(path, file)
        missing, d = [name for name in _STATED if name not in attributes], dataset.ndim - 4
        if missing or dataset.dtype.kind != "c" or len(attributes["origin"]) != d:
            found = f"{dataset.dtype} {dataset.shape}, no {missing}"
            raise mismatch(path, "propagator", f"complex with {_STATED}", found)
        if lattice is not None:
            require_equal(path, "lattice shape", lattice.shape, dataset.shape[:d])
        array = read_field(path, dataset, (0, d), part)
        origin = tuple(int(x) for x in attributes["origin"])
        boundary = tuple(complex(*b) for b in attributes["boundary"])
        norm = float(attributes["norm"])
    return StoredPropagator(array, origin, boundary, norm, attributes)
