"""What every driver needs to know of its arguments: flat views, sizes, tables and the register width."""

from __future__ import annotations

import numpy as np

from gaugeflow.kernels.slots import rows as reference_rows
from gaugeflow_numba.geometry import CHUNKS, tables
from gaugeflow_numba.lanes import PLAIN, Lanes

PRECISION = {np.dtype(np.complex128): np.float64, np.dtype(np.complex64): np.float32}


class Geometry:
    """Sizes of a link field on a lattice and the arguments that end every kernel's signature.

    ``local_arguments`` are for kernels that never hop: they are compiled once for all folds.
    """

    def __init__(self, lattice, links):
        if links.dtype not in PRECISION:
            raise TypeError(f"links: expected complex128 or complex64, got {links.dtype}")
        self.n, self.lanes = links.shape[2], links.shape[4]
        self.pieces = min(lattice.n_blocks, CHUNKS)
        bits = 8 * PRECISION[links.dtype](0).itemsize
        table, mode, self.width = tables(lattice, self.lanes, bits)
        sizes = (table, lattice.ndim, lattice.n_blocks, self.lanes)
        self.arguments = (*sizes, Lanes(self.width, self.n, bits, mode))
        self.local_arguments = (*sizes, Lanes(self.width, self.n, bits, PLAIN))


def flat(array):
    """Flat view of a complex field as reals (a contiguous copy where the caller gave a strided view)."""
    return np.ascontiguousarray(array).reshape(-1).view(PRECISION[array.dtype])


def rows(lattice, values, count, links, name):
    """Coefficients of every lane, ``(count, lanes)`` contiguous, in the precision of the links.

    Always a copy: a view of the caller's array would be read-only, which Numba compiles as another type.
    """
    given = reference_rows(lattice, values, count, links, name)
    batch = lattice.batch(links.shape[-1])
    return np.array(lattice.spread_folds(np.broadcast_to(given, (count, batch))), order="C")
