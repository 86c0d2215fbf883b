"""GPU drivers of :mod:`gaugeflow.kernels.scalar`."""

from __future__ import annotations

import cupy as xp
from numba import cuda

from gaugeflow.kernels import reads
from gaugeflow.kernels.scalar import check_scalar
from gaugeflow_cupy._jit import kernel
from gaugeflow_cupy.device import around, tables
from gaugeflow_cupy.geometry import hop, real_at
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import load_real, own, store_real


@kernel
def _neighbour_sum(field, out, table, d, sites, lanes):
    i = cuda.grid(1)
    if i < sites * lanes:
        site, lane = i // lanes, i % lanes
        total = load_real(own(field), i) * 0.0
        for mu in range(d):
            for sign in range(2):
                total = total + real_at(field, table, hop(table, (site, 0), mu, sign, sites), sites, lanes, lane)
        store_real(out, i, total)


def neighbour_sum(lattice, field):
    check_scalar(lattice, field)
    lanes = field.shape[1]
    out = xp.empty(field.shape, field.dtype)
    read = reads.around_sites(lattice.ndim)
    fields = (around(lattice, field[None], "field", read), out)
    sizes = (tables(lattice, lanes, read), lattice.ndim, lattice.n_blocks, lanes)
    launch(_neighbour_sum, out.size, *fields, *sizes)
    return out
