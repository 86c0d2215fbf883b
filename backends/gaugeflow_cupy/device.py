"""Arrays on the device: what drivers know of their arguments, and tables that were copied there.

Results come from CuPy's memory pool.  Nothing here reads an array back; what is copied to the device are tables and
coefficients, once for each device.
"""

from __future__ import annotations

from functools import lru_cache

import cupy as xp
import numpy as np

from gaugeflow.errors import BackendError

PRECISION = {np.dtype(np.complex128): np.float64, np.dtype(np.complex64): np.float32}
PIECES = 4096
"""Sums over sites are made of at most this many partial sums: a fixed number, so that they do not depend on the device."""


def contiguous(array, name):
    """The array itself, or a contiguous copy of a strided view.

    Raises
    ------
    TypeError
        If it is no CuPy array.
    BackendError
        If it lives on another device than the current one.
    """
    if not isinstance(array, xp.ndarray):
        raise TypeError(f"{name}: expected a CuPy array like the other fields, got {type(array)}; see to_device")
    here = xp.cuda.Device().id
    if array.device.id != here:
        raise BackendError(f"{name} is on device {array.device.id}, the current device is {here}: use one device")
    if not array.flags.c_contiguous:
        array = xp.ascontiguousarray(array)  # not always: it would turn a number into an array of one
    return array if array.data.ptr % array.dtype.itemsize == 0 else array.copy()


class Geometry:
    """Sizes of fields of matrices on a lattice, and the arguments that end every kernel's signature."""

    def __init__(self, lattice, matrices):
        if matrices.dtype not in PRECISION:
            raise TypeError(f"links: expected complex128 or complex64, got {matrices.dtype}")
        self.n, self.lanes = matrices.shape[-2], matrices.shape[-1]
        self.sites, self.pieces = lattice.n_blocks, min(lattice.n_blocks, PIECES)
        self.threads = self.sites * self.lanes
        g = (0,) * self.n**2
        self.arguments = (tables(lattice, self.lanes), lattice.ndim, self.sites, self.lanes, g)


def tables(lattice, lanes):
    """Neighbours on the device, with the lane permutations of a fold where there is one."""
    return _tables(lattice, lanes, xp.cuda.Device().id)


@lru_cache(maxsize=64)
def _tables(lattice, lanes, device):
    neighbour = xp.asarray(lattice.neighbour)
    if lattice.n_folds == 1:
        return (neighbour,)
    batch = lattice.batch(lanes)
    source = lattice.permutation[:, :, None] * batch + np.arange(batch, dtype=np.int32)
    permutations = (xp.asarray(t) for t in (lattice.crossing, lattice.composition, source.astype(np.int32)))
    return (neighbour, *permutations, lattice.n_folds)


def sites_on_device(sites):
    """A list of block sites on the device; equal lists are copied once."""
    if isinstance(sites, xp.ndarray):
        return contiguous(sites, "sites").astype(xp.int32, copy=False)
    return constant(np.asarray(sites, dtype=np.int32))


def constant(host):
    """A small NumPy array on the device; equal ones are copied once."""
    return _list(host.tobytes(), host.dtype.str, host.shape, xp.cuda.Device().id)


@lru_cache(maxsize=512)
def _list(data, dtype, shape, device):
    return xp.asarray(np.frombuffer(data, dtype=dtype).reshape(shape))


def rows(lattice, values, count, links, name, select=None, factor=1.0):
    """Coefficients of every lane, ``(count, lanes)`` contiguous, in the precision of the links.

    Numbers, and lists of them, are copied to the device once; arrays must be there already.  With ``select``, those rows
    of them in that order; all of them times a factor.
    """
    dtype = np.dtype(PRECISION[links.dtype])
    batch = lattice.batch(links.shape[-1])
    if isinstance(values, np.ndarray) and values.ndim:
        raise TypeError(f"{name}: a NumPy array with links on the GPU; move it with to_device")
    here = isinstance(values, xp.ndarray)
    x = contiguous(values, name).astype(dtype, copy=False) if here else np.asarray(values, dtype=dtype)
    shape = tuple(x.shape)
    if shape not in ((), (count,), (count, 1), (count, batch)):
        raise ValueError(f"{name}: expected a scalar, ({count},) or ({count}, {batch}), got shape {shape}")
    if shape == (count,):
        x = x[:, None]
    library = xp if here else np
    x = library.broadcast_to(x, (count, batch))
    if select is not None:
        x = x[sites_on_device(select) if here else list(select)]
    x = library.ascontiguousarray(lattice.spread_folds(x if factor == 1.0 else x * dtype.type(factor)))
    return x if here else constant(x)


def over_rows(values, operation="sum", axis=0):
    """Sum, or ``"max"``, over an axis before the last, in two stages: a tall column is too much work for one block."""
    count = values.shape[axis]
    parts = min(count & -count, 1 << (count.bit_length() // 2))
    if parts > 1:
        split = values.reshape(*values.shape[:axis], parts, count // parts, *values.shape[axis + 1 :])
        values = getattr(split, operation)(axis=axis + 1)
    return getattr(values, operation)(axis=axis)


def to_device(array):
    """Copy a NumPy array to the current device; arrays that are there are returned as they are."""
    return xp.asarray(array)


def to_host(array):
    """Copy a CuPy array to the host."""
    return xp.asnumpy(array)


def status():
    """What ``gaugeflow info`` prints of this back end."""
    properties = xp.cuda.runtime.getDeviceProperties(xp.cuda.Device().id)
    return {
        "version": xp.__version__,
        "device": properties["name"].decode(),
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "memory_gib": round(properties["totalGlobalMem"] / 2**30, 1),
    }
