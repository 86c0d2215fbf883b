"""GPU drivers of :mod:`gaugeflow.kernels.heatbath`."""

from __future__ import annotations

from functools import lru_cache

import cupy as xp
from numba import cuda

from gaugeflow.kernels import reads
from gaugeflow.kernels.heatbath import check_accepted, first_block, masks
from gaugeflow.sites.heatbath import heat_bath
from gaugeflow.sites.heatbath import overrelax as overrelax_site
from gaugeflow_cupy._jit import kernel
from gaugeflow_cupy.device import Geometry, contiguous, sites_on_device
from gaugeflow_cupy.gauge import plane_weights, staple_sum
from gaugeflow_cupy.geometry import put, row
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import load_real, store_real
from gaugeflow_cupy.random import lane_numbers


@kernel
def _heatbath(out, weight, mu, active, count, base, offset, number, key, block, failed, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        site, lane = active[i // lanes], i % lanes
        a = staple_sum(out, weight, table, mu, site, d, sites, lanes, lane, g)
        old = row(out, mu, sites, site, lanes, lane, g)
        place = base[site] + offset[lane]
        u, bad = heat_bath(place, number[lane] + key[3], key[2], block, key[0], key[1], a, old)
        put(out, mu, sites, site, lanes, lane, g, u)
        store_real(failed, site * lanes + lane, load_real(failed, site * lanes + lane) + bad)


@kernel
def _overrelax(out, weight, mu, active, count, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        site, lane = active[i // lanes], i % lanes
        a = staple_sum(out, weight, table, mu, site, d, sites, lanes, lane, g)
        u = overrelax_site(a, row(out, mu, sites, site, lanes, lane, g))
        put(out, mu, sites, site, lanes, lane, g, u)


_masks = lru_cache(maxsize=64)(lambda lattice, frozen: tuple(masks(lattice, frozen)))


def _start(lattice, links, coupling):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    weight = plane_weights(lattice, coupling, links, 1.0 / geometry.n)
    return geometry, weight, contiguous(links, "links").copy()


def _frozen(geometry, out, mu, sites):
    """The links as the last masks left them; on a cut lattice what these changed around this process comes anew."""
    return geometry.around(out, "links", sites, reads=reads.staples(geometry.lattice.ndim, (mu,)))


def heatbath(lattice, links, coupling, key, frozen=()):
    geometry, weight, out = _start(lattice, links, coupling)
    numbers = (*lane_numbers(lattice, lattice.batch(geometry.lanes)), contiguous(key, "key"))
    failed = xp.zeros((geometry.sites, geometry.lanes))
    for mu, sites in _masks(lattice, frozen):
        active = sites_on_device(sites)
        frozen = _frozen(geometry, out, mu, sites)
        given = (frozen, weight, mu, active, active.size, *numbers, first_block(mu, geometry.n), failed)
        launch(_heatbath, active.size * geometry.lanes, *given, *geometry.arguments)
    check_accepted(lattice, failed)  # the sweep's only word to the host
    return out


def overrelax(lattice, links, coupling, frozen=()):
    geometry, weight, out = _start(lattice, links, coupling)
    for mu, sites in _masks(lattice, frozen):
        active = sites_on_device(sites)
        given = (_frozen(geometry, out, mu, sites), weight, mu, active, active.size)
        launch(_overrelax, active.size * geometry.lanes, *given, *geometry.arguments)
    return out
