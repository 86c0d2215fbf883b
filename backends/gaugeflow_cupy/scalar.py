"""GPU drivers of :mod:`gaugeflow.kernels.scalar`."""

from __future__ import annotations

import cupy as xp
from numba import cuda

from gaugeflow.kernels.scalar import check_scalar
from gaugeflow_cupy._jit import kernel
from gaugeflow_cupy.device import contiguous, tables
from gaugeflow_cupy.geometry import hop, read_lane
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import load_real, store_real


@kernel
def _neighbour_sum(field, out, table, d, sites, lanes):
    i = cuda.grid(1)
    if i < sites * lanes:
        site, lane = i // lanes, i % lanes
        total = load_real(field, i) * 0.0
        for mu in range(d):
            for sign in range(2):
                there, permutation = hop(table, (site, 0), mu, sign, sites)
                total = total + load_real(field, there * lanes + read_lane(table, permutation, lane, lanes))
        store_real(out, i, total)


def neighbour_sum(lattice, field):
    check_scalar(lattice, field)
    lanes = field.shape[1]
    out = xp.empty(field.shape, field.dtype)
    sizes = (lattice.ndim, lattice.n_blocks, lanes)
    launch(_neighbour_sum, out.size, contiguous(field, "field"), out, tables(lattice, lanes), *sizes)
    return out
