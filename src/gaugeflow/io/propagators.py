"""Quark propagators in HDF5 files, one of one configuration in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaugeflow.io.datasets import new_file, opened, read_array, read_attributes, write_array
from gaugeflow.io.files import StrPath, mismatch

_KIND = "gaugeflow propagator 1"
_STATED = ("axes", "origin", "boundary", "norm")


class StoredPropagator(NamedTuple):
    """A propagator as a file holds it: the arguments of ``gaugeflow.hadrons.Propagator.from_array`` but for the lattice.

    ``array`` has shape ``(*shape, spin, N, spin', columns)``, source indices primed; ``attributes`` are those of the file.
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
    if not np.isfinite(array).all():
        raise ValueError("propagator: expected finite numbers")
    axes = [*(f"site {mu}" for mu in range(d)), "spin", "colour", "source spin", "source colour"]
    phases = [[complex(b).real, complex(b).imag] for b in boundary]
    stated = {"axes": axes, "origin": [int(x) for x in origin], "boundary": phases, "norm": float(norm)}
    with new_file(path, _KIND, {**(attributes or {}), **stated}) as file:
        write_array(file, "propagator", array)


def read_propagator(path: StrPath) -> StoredPropagator:
    """Read what `write_propagator` stored, in double precision.

    Raises
    ------
    FormatError
        If anything about the file is wrong.
    """
    with opened(path, _KIND) as file:
        array = read_array(path, file, "propagator")
        attributes = read_attributes(path, file)
        missing = [name for name in _STATED if name not in attributes]
        if missing or array.dtype.kind != "c" or len(attributes["origin"]) != array.ndim - 4:
            raise mismatch(path, "propagator", f"complex with {_STATED}", f"{array.dtype} {array.shape}, no {missing}")
        origin = tuple(int(x) for x in attributes["origin"])
        boundary = tuple(complex(*b) for b in attributes["boundary"])
        norm = float(attributes["norm"])
    return StoredPropagator(array.astype(np.complex128), origin, boundary, norm, attributes)
