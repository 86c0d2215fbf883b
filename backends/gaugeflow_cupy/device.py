"""Arrays on the device: what drivers know of their arguments, and tables that were copied there.

Results come from CuPy's memory pool.  Nothing here reads an array back; what is copied to the device are tables and
coefficients, once for each device.
"""

from __future__ import annotations

from functools import lru_cache

import cupy as xp
import numpy as np

from gaugeflow.errors import BackendError
from gaugeflow.kernels.sums import largest_of_sites

PRECISION = {np.dtype(np.complex128): np.float64, np.dtype(np.complex64): np.float32}


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
    """Sizes of fields of matrices on a lattice, and the arguments that end every kernel's signature.

    Kernels that hop say what they read (:class:`gaugeflow.lattice.reads.Reads`), and take fields as :meth:`around` gives them.
    """

    def __init__(self, lattice, matrices, reads=None):
        if matrices.dtype not in PRECISION:
            raise TypeError(f"links: expected complex128 or complex64, got {matrices.dtype}")
        self.n, self.lanes = matrices.shape[-2], matrices.shape[-1]
        self.lattice, self.reads, self.sites = lattice, reads, lattice.n_blocks
        self.threads = self.sites * self.lanes
        g = (0,) * self.n**2
        self.arguments = (tables(lattice, self.lanes, reads), lattice.ndim, self.sites, self.lanes, g)

    def around(self, field, name, sites=None, rows=None, reads=None):
        """A field for kernels that read it at hops: on a cut lattice with what they read of other processes.

        ``sites`` are those that the kernel computes, by default all; ``rows`` tell where the field holds sites, if not all
        of them; ``reads`` are those of this field if others are read elsewhere.
        """
        return around(self.lattice, field, name, self.reads, sites, rows, reads)


def around(lattice, field, name, deepest, sites=None, rows=None, reads=None):
    """See :meth:`Geometry.around`; ``deepest`` are all that a kernel reads."""
    own = contiguous(field, name)
    if lattice.domain is None:
        return own
    layer = lattice.domain.halo(lattice, own, deepest if reads is None else reads, sites, rows, deepest.depth)
    return own, contiguous(layer, name), layer.shape[1]


def tables(lattice, lanes, reads):
    """Neighbours on the device, with the lane permutations of a fold where there is one; alone where nothing is read.

    On a cut lattice the last entry is the number of places of which they tell.
    """
    return _tables(lattice, lanes, reads and reads.depth, xp.cuda.Device().id)


@lru_cache(maxsize=64)
def _tables(lattice, lanes, depth, device):
    hops = lattice.hops(depth or 0)
    neighbour = xp.asarray(hops.neighbour)
    if depth is None:
        return (neighbour,)
    places = () if lattice.domain is None else (hops.neighbour.shape[2],)
    if lattice.n_folds == 1:
        return (neighbour, *places)
    batch = lattice.batch(lanes)
    source = lattice.permutation[:, :, None] * batch + np.arange(batch, dtype=np.int32)
    permutations = (xp.asarray(t) for t in (hops.crossing, lattice.composition, source.astype(np.int32)))
    return (neighbour, *permutations, lattice.n_folds, *places)


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


def largest(lattice, values):
    """Largest of numbers of sites that are not negative, ``(sites, lanes)``: ``(batch,)``.

    In two stages, because a tall column is too much work for one block.
    """
    count = len(values)
    parts = min(count & -count, 1 << (count.bit_length() // 2))
    if parts > 1:
        values = values.reshape(parts, count // parts, -1).max(axis=1)
    return largest_of_sites(lattice, values)


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
