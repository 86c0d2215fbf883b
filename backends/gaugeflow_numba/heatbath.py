"""CPU drivers of :mod:`gaugeflow.kernels.heatbath`."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import prange
from numba.extending import overload, register_jitable

from gaugeflow.kernels import reads
from gaugeflow.kernels.heatbath import check_accepted, first_block, masks
from gaugeflow.kernels.random import check_key
from gaugeflow.sites import heatbath as formulas
from gaugeflow.sites.matrix import add_scaled
from gaugeflow_numba._jit import inline, parallel, teach
from gaugeflow_numba.fields import Geometry, flat, rows
from gaugeflow_numba.gauge import staples
from gaugeflow_numba.geometry import blocks, first, first_lane, hop, link, pieces, put_link
from gaugeflow_numba.integers import load_integers, same_integer
from gaugeflow_numba.lanes import load_real, store_real, zero, zero_matrix
from gaugeflow_numba.memory import empty_like
from gaugeflow_numba.random import lane_numbers
from gaugeflow_numba.registers import VecType
from gaugeflow_numba.simd import narrow as narrow_register

_masks = lru_cache(maxsize=64)(lambda lattice, frozen: tuple(masks(lattice, frozen)))


@overload(formulas.narrow, jit_options={"forceinline": True})
def _(x, like):
    if isinstance(x, VecType):
        return lambda x, like: narrow_register(x, like)


for _function in (formulas.su2_cosine, formulas.u1_angle, formulas.direction):
    register_jitable(_function)  # called, not inlined: one copy for all subgroups
for _function in (
    formulas.su2_sample,
    formulas.su2_part,
    formulas.u1_part,
    formulas.heat_bath,
    formulas.overrelax,
):
    teach(_function)
heat_bath, overrelax_site = formulas.heat_bath, formulas.overrelax


@inline
def staple_sum(frozen, weight, mu, d, site, table, sites, lanes, lane, g):
    x = (site, 0)
    f = hop(table, x, mu, 0, g)
    a = zero_matrix(g)
    for nu in range(d):
        if nu != mu:
            pair = staples(frozen, table, mu, nu, x, f, sites, lanes, lane, g)
            a = add_scaled(a, load_real(weight[mu, nu], lane, g), pair)
    return a


@parallel
def _heatbath(links, frozen, out, weight, mu, active, numbers, block, key, failed, table, d, sites, lanes, g):
    # the active link is read from the input and frozen links from the output: overlapping registers agree
    n = pieces(active.size)
    base, offset, batch = numbers
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        count = zero(g)
        for position in range(first(item % n, active.size), first(item % n + 1, active.size)):
            site = active[position]
            a = staple_sum(frozen, weight, mu, d, site, table, sites, lanes, lane, g)
            u, bad = heat_bath(
                load_integers(offset, lane, g) + base[site],
                load_integers(batch, lane, g),
                same_integer(key[2], g),
                same_integer(block, g),
                key[0],
                key[1],
                a,
                link(links, table, mu, (site, 0), sites, lanes, lane, g),
            )
            count = count + bad
            put_link(out, mu, site, sites, lanes, lane, g, u)
        store_real(failed[item % n], lane, count)


@parallel
def _overrelax(links, frozen, out, weight, mu, active, table, d, sites, lanes, g):
    n = pieces(active.size)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for position in range(first(item % n, active.size), first(item % n + 1, active.size)):
            site = active[position]
            a = staple_sum(frozen, weight, mu, d, site, table, sites, lanes, lane, g)
            u = overrelax_site(a, link(links, table, mu, (site, 0), sites, lanes, lane, g))
            put_link(out, mu, site, sites, lanes, lane, g, u)


def _start(lattice, links, coupling):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    given = rows(lattice, coupling, len(lattice.planes), links, "coupling") / geometry.n
    weight = np.zeros((lattice.ndim, lattice.ndim, geometry.lanes), dtype=given.dtype)
    for value, (mu, nu) in zip(given, lattice.planes, strict=True):
        weight[mu, nu] = weight[nu, mu] = value
    out = empty_like(links)
    out[...] = links
    return geometry, weight, out


@lru_cache(maxsize=64)
def _layers(lattice, frozen):
    """What has to be fetched before the update of each mask; nothing where the lattice is whole."""
    if lattice.domain is None:
        return (None,) * len(_masks(lattice, frozen))
    order = _masks(lattice, frozen)
    return lattice.domain.sweep(lattice, order, [reads.staples(lattice.ndim, (mu,)) for mu, _ in order])


def _updates(geometry, out, frozen):
    """Direction, active sites, and the field whose staples are summed, with what masks before changed around it."""
    lattice, around = geometry.lattice, None
    for (mu, active), layer in zip(_masks(lattice, frozen), _layers(lattice, frozen), strict=True):
        if layer is not None:
            around = lattice.domain.fetch(lattice, out, layer, around)
        yield mu, active, geometry.pair(out, around)


def heatbath(lattice, links, coupling, key, frozen=()):
    geometry, weight, out = _start(lattice, links, coupling)
    batch = lattice.batch(geometry.lanes)
    check_key(key, batch)
    *words, start = (int(k) for k in key)
    numbers, words = lane_numbers(lattice, batch, start), tuple(words)
    failed = np.zeros((2 * lattice.ndim, geometry.pieces, geometry.lanes))
    given = flat(links)
    for (mu, active, around), bad in zip(_updates(geometry, out, frozen), failed, strict=True):
        block = first_block(mu, geometry.n)
        _heatbath(given, around, flat(out), weight, mu, active, numbers, block, words, bad, *geometry.arguments)
    check_accepted(lattice, failed.reshape(-1, geometry.lanes))
    return out


def overrelax(lattice, links, coupling, frozen=()):
    geometry, weight, out = _start(lattice, links, coupling)
    given = flat(links)
    for mu, active, around in _updates(geometry, out, frozen):
        _overrelax(given, around, flat(out), weight, mu, active, *geometry.arguments)
    return out
