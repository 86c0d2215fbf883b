"""What every driver needs to know of its arguments: flat views, sizes, tables and the register width."""

from __future__ import annotations

import numpy as np

from gaugeflow.kernels.slots import rows as reference_rows
from gaugeflow_numba.geometry import CHUNKS, tables
from gaugeflow_numba.lanes import PLAIN, Lanes

PRECISION = {np.dtype(np.complex128): np.float64, np.dtype(np.complex64): np.float32}


class Geometry:
    """Sizes of a link field on a lattice and the arguments that end every kernel's signature.

    ``local_arguments`` are for kernels that never hop: they are compiled once for all folds.  Kernels that do say what they
    read (:class:`gaugeflow.lattice.reads.Reads`), and take a field as a pair, see :meth:`around`.
    """

    def __init__(self, lattice, links, reads=None):
        if links.dtype not in PRECISION:
            raise TypeError(f"links: expected complex128 or complex64, got {links.dtype}")
        self.n, self.lanes = links.shape[2], links.shape[4]
        self.pieces = min(lattice.n_blocks, CHUNKS)
        self.lattice, self.reads = lattice, reads
        self._kept = []  # memory whose addresses a kernel was told
        bits = 8 * PRECISION[links.dtype](0).itemsize
        table, mode, self.width = tables(lattice, self.lanes, bits, 0 if reads is None else reads.depth)
        sizes = (table, lattice.ndim, lattice.n_blocks, self.lanes)
        self.arguments = (*sizes, Lanes(self.width, self.n, bits, mode))
        self.local_arguments = (*sizes, Lanes(self.width, self.n, bits, PLAIN))

    def around(self, field, sites=None, rows=None, reads=None):
        """A field as kernels that hop take it: addresses of the own sites and of what they read of other processes.

        ``sites`` are those that the kernel computes, by default all; ``rows`` tell where the field holds sites, if not all
        of them; ``reads`` are those of this field if others are read elsewhere.
        """
        if self.lattice.domain is None:
            return self.pair(field)
        reads = self.reads if reads is None else reads
        return self.pair(field, self.lattice.domain.halo(self.lattice, field, reads, sites, rows, self.reads.depth))

    def pair(self, field, layer=None):
        """Addresses of a field and of the layer around it, if there is one."""
        arrays = [flat(array) for array in (field, field if layer is None else layer)]
        self._kept += arrays
        return arrays[0].ctypes.data, arrays[1].ctypes.data


def rows_of(lattice, sites, depth):
    """Row of every place in a field on some block sites, -1 where there is none; also on the layers around."""
    if lattice.domain is not None:
        return lattice.domain.rows(lattice, sites, depth)
    found = np.full(lattice.n_blocks, -1, dtype=np.int32)
    found[sites] = np.arange(len(sites), dtype=np.int32)
    return found


def flat(array):
    """Flat view of a complex field as reals (a contiguous copy where the caller gave a strided view)."""
    return np.ascontiguousarray(array).reshape(-1).view(PRECISION[array.dtype])


def rows(lattice, values, count, links, name):
    """Coefficients of every lane, ``(count, lanes)`` contiguous, in the precision of the links.

    Always a copy: a view of the caller's array would be read-only, which Numba compiles as another type.
    """
    given = reference_rows(lattice, values, count, links, name)
    batch = lattice.batch(links.shape[-1])
    return every_lane(lattice, given, count, batch, given.dtype)


def every_lane(lattice, given, count, batch, dtype):
    """A number, ``(batch,)`` or ``(count, batch)``, of which any may be 1, as a new array ``(count, lanes)``."""
    every = np.empty((count, lattice.n_folds, batch), dtype=dtype)
    every[...] = given[..., None, :] if given.ndim else given
    return every.reshape(count, -1)
