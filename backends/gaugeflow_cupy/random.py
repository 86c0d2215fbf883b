"""GPU drivers of :mod:`gaugeflow.kernels.random`: the numbers of every other back end, bit for bit.

The key is read by the threads, not by the host.
"""

from __future__ import annotations

from functools import lru_cache

import cupy as xp
import numpy as np
from numba import cuda

from gaugeflow.kernels.random import check_key
from gaugeflow.sites.random import normal_pair, uniform_pair
from gaugeflow_cupy._jit import kernel
from gaugeflow_cupy.device import contiguous
from gaugeflow_cupy.geometry import link_of
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import gaussians, haar, momentum, store_pair, store_real


def lane_numbers(lattice, batch):
    """What makes up a global site, ``base[block site] + offset[lane]``, and the configuration of every lane; int64."""
    return _lane_numbers(lattice, batch, xp.cuda.Device().id)


@lru_cache(maxsize=64)
def _lane_numbers(lattice, batch, device):
    base = lattice.site[:, 0].astype(np.int64)
    offset = np.repeat(lattice.site[0].astype(np.int64) - base[0], batch)
    return tuple(xp.asarray(x) for x in (base, offset, np.tile(np.arange(batch, dtype=np.int64), lattice.n_folds)))


@kernel
def _uniform(out, base, offset, number, key, components, sites, lanes):
    i = cuda.grid(1)
    if i < (components + 1) // 2 * sites * lanes:
        lane, site, j = i % lanes, i // lanes % sites, i // lanes // sites
        x, y = uniform_pair(base[site] + offset[lane], number[lane] + key[3], key[2], j, key[0], key[1])
        store_real(out, (2 * j * sites + site) * lanes + lane, x)
        if 2 * j + 1 < components:
            store_real(out, ((2 * j + 1) * sites + site) * lanes + lane, y)


@kernel
def _normal(out, base, offset, number, key, components, sites, lanes):
    i = cuda.grid(1)
    if i < (components + 1) // 2 * sites * lanes:
        lane, site, j = i % lanes, i // lanes % sites, i // lanes // sites
        x, y = normal_pair(base[site] + offset[lane], number[lane] + key[3], key[2], j, key[0], key[1])
        store_real(out, (2 * j * sites + site) * lanes + lane, x)
        if 2 * j + 1 < components:
            store_real(out, ((2 * j + 1) * sites + site) * lanes + lane, y)


def _numbers(loop, lattice, key, components, batch):
    check_key(key, batch)
    sites, lanes = lattice.n_blocks, lattice.n_folds * batch
    out = xp.empty((components, sites, lanes))
    arguments = (*lane_numbers(lattice, batch), contiguous(key, "key"), components, sites, lanes)
    launch(loop, (components + 1) // 2 * sites * lanes, out, *arguments)
    return out


def uniform_field(lattice, key, components, batch):
    return _numbers(_uniform, lattice, key, components, batch)


def normal_field(lattice, key, components, batch):
    return _numbers(_normal, lattice, key, components, batch)


@kernel
def _haar(out, base, offset, number, key, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        mu, site, lane = link_of(i, d, lanes)
        place, configuration = base[site] + offset[lane], number[lane] + key[3]
        z = gaussians(g)
        for j in range(len(g)):
            block = mu * len(g) + j
            z[2 * j], z[2 * j + 1] = normal_pair(place, configuration, key[2], block, key[0], key[1])
        haar(z, g)
        for k in range(len(g)):
            store_pair(out, ((mu * sites + site) * len(g) + k) * lanes + lane, z[2 * k], z[2 * k + 1])


@kernel
def _momentum(out, base, offset, number, key, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        mu, site, lane = link_of(i, d, lanes)
        place, configuration = base[site] + offset[lane], number[lane] + key[3]
        z = gaussians(g)
        blocks = max(1, len(g) // 2)
        for j in range(blocks):
            block = mu * blocks + j
            z[2 * j], z[2 * j + 1] = normal_pair(place, configuration, key[2], block, key[0], key[1])
        momentum(z, g)
        for k in range(len(g)):
            store_pair(out, ((mu * sites + site) * len(g) + k) * lanes + lane, z[2 * k], z[2 * k + 1])


def _matrices(loop, lattice, key, directions, n, batch):
    check_key(key, batch)
    sites, lanes = lattice.n_blocks, lattice.n_folds * batch
    out = xp.empty((directions, sites, n, n, lanes), np.complex128)
    numbers = lane_numbers(lattice, batch)
    launch(
        loop, directions * sites * lanes, out, *numbers, contiguous(key, "key"), directions, sites, lanes, (0,) * n**2
    )
    return out


def haar_field(lattice, key, directions, n, batch):
    return _matrices(_haar, lattice, key, directions, n, batch)


def momentum_field(lattice, key, directions, n, batch):
    return _matrices(_momentum, lattice, key, directions, n, batch)
