"""CPU drivers of :mod:`gaugeflow.kernels.random`: plain scalars."""

from __future__ import annotations

import numpy as np
from numba import prange
from numba.extending import overload, register_jitable

from gaugeflow.kernels.random import check_key
from gaugeflow.sites.random import haar_of_size, momentum_of_size, normal_pair, uniform_pair
from gaugeflow_numba import integers as _known_integers  # noqa: F401
from gaugeflow_numba._jit import parallel
from gaugeflow_numba.geometry import first, pieces
from gaugeflow_numba.lanes import PLAIN, Lanes, LanesType
from gaugeflow_numba.memory import empty


def lane_numbers(lattice, batch, start=0):
    """What makes up a global site, ``base[block site] + offset[lane]``, and the configuration of every lane; int64."""
    base = lattice.site[:, 0].astype(np.int64)
    offset = np.repeat(lattice.site[0].astype(np.int64) - base[0], batch)
    return base, offset, np.tile(np.arange(start, start + batch, dtype=np.int64), lattice.n_folds)


@parallel
def _uniform(out, base, offset, number, k0, k1, draw):
    sites, lanes = out.shape[1], out.shape[2]
    n = pieces(sites)
    for item in prange(n):
        spare = np.empty(lanes)
        for j in range((out.shape[0] + 1) // 2):
            for site in range(first(item, sites), first(item + 1, sites)):
                one = out[2 * j, site]
                two = out[2 * j + 1, site] if 2 * j + 1 < out.shape[0] else spare
                for lane in range(lanes):
                    one[lane], two[lane] = uniform_pair(base[site] + offset[lane], number[lane], draw, j, k0, k1)


@parallel
def _normal(out, base, offset, number, k0, k1, draw):
    sites, lanes = out.shape[1], out.shape[2]
    n = pieces(sites)
    for item in prange(n):
        spare = np.empty(lanes)
        for j in range((out.shape[0] + 1) // 2):
            for site in range(first(item, sites), first(item + 1, sites)):
                one = out[2 * j, site]
                two = out[2 * j + 1, site] if 2 * j + 1 < out.shape[0] else spare
                for lane in range(lanes):
                    one[lane], two[lane] = normal_pair(base[site] + offset[lane], number[lane], draw, j, k0, k1)


def _numbers(loop, lattice, key, components, batch):
    check_key(key, batch)
    out = empty((components, lattice.n_blocks, lattice.n_folds * batch), np.float64)
    *words, start = (int(k) for k in key)
    loop(out, *lane_numbers(lattice, batch, start), *words)
    return out


def uniform_field(lattice, key, components, batch):
    return _numbers(_uniform, lattice, key, components, batch)


def normal_field(lattice, key, components, batch):
    return _numbers(_normal, lattice, key, components, batch)


def _haar(z, g):
    """``haar_of_size`` for the n of g."""


def _momentum(z, g):
    """``momentum_of_size`` for the n of g."""


def _for_size(function, of_size):
    @overload(function, jit_options={"forceinline": True})
    def _(z, g):
        if isinstance(g, LanesType):
            chosen = register_jitable(forceinline=True)(of_size(g.n))
            return lambda z, g: chosen(z)


_for_size(_haar, haar_of_size)
_for_size(_momentum, momentum_of_size)


@register_jitable(forceinline=True)
def _gaussians(z, blocks, mu, site, base, offset, number, k0, k1, draw):
    for j in range(blocks):
        one, two = z[2 * j], z[2 * j + 1]
        for lane in range(z.shape[1]):
            place = base[site] + offset[lane]
            one[lane], two[lane] = normal_pair(place, number[lane], draw, mu * blocks + j, k0, k1)


@register_jitable(forceinline=True)
def _deposit(z, out):
    for k in range(out.shape[0]):
        for lane in range(out.shape[1]):
            out[k, lane] = complex(z[2 * k, lane], z[2 * k + 1, lane])


@parallel
def _haar_matrices(out, blocks, base, offset, number, k0, k1, draw, g):
    sites = out.shape[1]
    n = pieces(sites)
    for item in prange(n):
        z = np.empty((2 * out.shape[2], out.shape[3]))
        for mu in range(out.shape[0]):
            for site in range(first(item, sites), first(item + 1, sites)):
                _gaussians(z, blocks, mu, site, base, offset, number, k0, k1, draw)
                for lane in range(z.shape[1]):
                    _haar(z[:, lane], g)
                _deposit(z, out[mu, site])


@parallel
def _momentum_matrices(out, blocks, base, offset, number, k0, k1, draw, g):
    sites = out.shape[1]
    n = pieces(sites)
    for item in prange(n):
        z = np.empty((2 * out.shape[2], out.shape[3]))
        for mu in range(out.shape[0]):
            for site in range(first(item, sites), first(item + 1, sites)):
                _gaussians(z, blocks, mu, site, base, offset, number, k0, k1, draw)
                for lane in range(z.shape[1]):
                    _momentum(z[:, lane], g)
                _deposit(z, out[mu, site])


def _matrices(loop, lattice, key, directions, n, batch, blocks):
    check_key(key, batch)
    lanes = lattice.n_folds * batch
    out = empty((directions, lattice.n_blocks, n, n, lanes), np.complex128)
    flat = out.reshape(directions, lattice.n_blocks, n * n, lanes)
    *words, start = (int(k) for k in key)
    loop(flat, blocks, *lane_numbers(lattice, batch, start), *words, Lanes(1, n, 64, PLAIN))
    return out


def haar_field(lattice, key, directions, n, batch):
    return _matrices(_haar_matrices, lattice, key, directions, n, batch, n * n)


def momentum_field(lattice, key, directions, n, batch):
    return _matrices(_momentum_matrices, lattice, key, directions, n, batch, max(1, n * n // 2))
