"""GPU drivers of :mod:`gaugeflow.kernels.dirac`: a thread for each site, field of a stack and lane, or link and lane."""

from __future__ import annotations

import cupy as xp
from numba import cuda

from gaugeflow.kernels import reads
from gaugeflow.kernels.dirac import check_blocks, check_hop
from gaugeflow.kernels.fermions import BOTH, check_base, check_fermions, check_pair, other, stack
from gaugeflow.sites.dirac import spin_components
from gaugeflow.sites.matrix import mul, scale
from gaugeflow.sites.matrix import project as project_site
from gaugeflow_cupy._jit import device, kernel
from gaugeflow_cupy.device import around, contiguous
from gaugeflow_cupy.faces import spinor_ahead, spinor_behind, with_received
from gaugeflow_cupy.geometry import hop, link, link_of, put, row
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import zero_matrix
from gaugeflow_cupy.spinors import (
    SpinorGeometry,
    add_outer,
    added,
    chiral_scaled,
    colour_times,
    combined,
    half_block_times,
    lower_half,
    of_warp,
    outer_products,
    scaled,
    scaled_i,
    upper_half,
    weighted,
    weighted_link,
    whole_warps,
    wilson_hops,
)


@device
def place_of(i, fields, lanes):
    """Row, field and lane of thread i: the fields of a stack are neighbours, so that they share links in caches."""
    j = i // lanes
    return j // fields, j % fields, i % lanes


@kernel
def _wilson_hop(links, psi, base, out, c, br, bi, ar, ai, with_base, places, codes, table, sites, lanes, g, s):
    targets, row_of, fields, own, there = places
    i = cuda.grid(1)
    if i < own * fields * lanes:
        k, r, lane = place_of(i, fields, lanes)
        h = wilson_hops(links, psi, r, row_of, there, codes, table, targets[k], sites, lanes, lane, c, g, s)
        h = chiral_scaled(br, bi, h)
        if with_base:
            h = added(chiral_scaled(ar, ai, row(base, r, own, k, lanes, lane, s)), h)
        put(out, r, own, k, lanes, lane, s, h)


def _hop(formula, geometry, lattice, links, psi, base, factors, sign, *given):
    """Result of a kernel of hops; where there is no base, psi stands there and is not read."""
    out = xp.empty(geometry.shape, geometry.dtype)
    links, psi = contiguous(links, "links"), contiguous(psi, "psi")
    base = psi if base is None else contiguous(base, "base")
    codes = geometry.codes(lattice, factors)
    fields = (links, with_received(lattice, geometry, links, psi, sign), base, out)
    launch(formula, geometry.threads, *fields, *given, geometry.places, codes, *geometry.arguments)
    return out


def wilson_hop(lattice, links, psi, factors, sign, parity, beta, base, alpha):
    check_hop(lattice, links, psi, sign, parity, base)
    geometry = SpinorGeometry(lattice, psi, parity)
    beta, alpha = complex(beta), complex(alpha)
    numbers = (float(sign), beta.real, beta.imag, alpha.real, alpha.imag, int(base is not None))
    return _hop(_wilson_hop, geometry, lattice, links, psi, base, factors, sign, *numbers)


@device
def half_times(t, side, site, x, lanes, lane, h):
    """The block of one chirality of a site times half a spinor."""
    return half_block_times(row(t, 0, 0, 2 * site + side, lanes, lane, h), x)


@kernel
def _clover_hop(links, psi, base, out, t, h, v, c, beta, alpha, with_base, places, codes, table, sites, lanes, g, s):
    targets, row_of, fields, own, there = places
    i = cuda.grid(1)
    if i < own * fields * lanes:
        k, r, lane = place_of(i, fields, lanes)
        site, place = targets[k], 2 * (r * own + k)
        x = wilson_hops(links, psi, r, row_of, there, codes, table, site, sites, lanes, lane, c, g, s)
        upper, lower = upper_half(x), lower_half(x)
        if with_base:
            b = half_times(t, 0, site, row(base, 0, 0, place, lanes, lane, v), lanes, lane, h)
            put(out, 0, 0, place, lanes, lane, v, combined(alpha, b, beta, upper))
            b = half_times(t, 1, site, row(base, 0, 0, place + 1, lanes, lane, v), lanes, lane, h)
            put(out, 0, 0, place + 1, lanes, lane, v, combined(alpha, b, beta, lower))
        else:
            put(out, 0, 0, place, lanes, lane, v, scaled(beta, half_times(t, 0, site, upper, lanes, lane, h)))
            put(out, 0, 0, place + 1, lanes, lane, v, scaled(beta, half_times(t, 1, site, lower, lanes, lane, h)))


def clover_hop(lattice, links, psi, factors, sign, parity, beta, base, alpha, blocks):
    check_hop(lattice, links, psi, sign, parity, base)
    check_blocks(lattice, blocks, links)
    geometry = SpinorGeometry(lattice, psi, parity)
    numbers = (float(sign), float(beta), float(alpha), int(base is not None))
    given = (geometry.given(blocks, "blocks"), geometry.block, geometry.half, *numbers)
    return _hop(_clover_hop, geometry, lattice, links, psi, base, factors, sign, *given)


@kernel
def _blocks_times(psi, t, out, twist, targets, fields, own, lanes, h, v):
    i = cuda.grid(1)
    if i < own * fields * 2 * lanes:
        k, half, lane = place_of(i, 2 * fields, lanes)
        r, side = half // 2, half % 2
        place = 2 * (r * own + k) + side
        x = row(psi, 0, 0, place, lanes, lane, v)
        y = half_times(t, side, targets[k], x, lanes, lane, h)
        put(out, 0, 0, place, lanes, lane, v, added(y, scaled_i(twist if side == 0 else -twist, x)))


def blocks_times(lattice, psi, blocks, parity, twist):
    check_fermions(lattice, psi, parity)
    geometry = SpinorGeometry(lattice, psi, parity)
    out = xp.empty(psi.shape, psi.dtype)
    fields = (contiguous(psi, "psi"), geometry.given(blocks, "blocks"), out, float(twist))
    sizes = (geometry.places[0], geometry.fields, geometry.rows, geometry.lanes, geometry.block, geometry.half)
    launch(_blocks_times, 2 * geometry.threads, *fields, *sizes)
    return out


@kernel
def _hop_force(links, left, right, out, weight, fields, d, codes, table, sites, lanes, g, s):
    mu, item = of_warp(cuda.grid(1), d)
    if item < sites * lanes:
        site, lane = item // lanes, item % lanes
        t = outer_products(left, right, fields, table, mu, site, sites, lanes, lane, g, s)
        t = mul(weighted_link(links, codes, mu, site, sites, lanes, lane, g), t)
        put(out, mu, sites, site, lanes, lane, g, project_site(scale(weight, t)))


def _force(formula, lattice, links, left, right, factors, weight):
    check_pair(left, right, "left and right")
    geometry = SpinorGeometry(lattice, left)
    out = xp.empty(links.shape, links.dtype)
    ahead = reads.ahead_of_sites(lattice.ndim)
    fields = (contiguous(links, "links"), *(around(lattice, stack(x), "field", ahead) for x in (left, right)), out)
    given = (-0.5 * float(weight), geometry.fields, geometry.ndim, geometry.codes(lattice, factors))
    threads = whole_warps(geometry.sites * geometry.lanes, geometry.ndim)
    launch(formula, threads, *fields, *given, *geometry.arguments)
    return out


def hop_force(lattice, links, left, right, factors, weight):
    check_fermions(lattice, left, BOTH, links, "left", spin_components(lattice.ndim))
    check_fermions(lattice, right, BOTH, links, "right", spin_components(lattice.ndim))
    return _force(_hop_force, lattice, links, left, right, factors, weight)


@kernel
def _staggered_hop(links, psi, base, out, d, beta, alpha, with_base, places, codes, table, sites, lanes, g, s):
    targets, row_of, fields, own, there = places
    i = cuda.grid(1)
    if i < own * fields * lanes:
        k, r, lane = place_of(i, fields, lanes)
        x = (targets[k], 0)
        total = zero_matrix(psi, s)
        for mu in range(d):
            f, b = hop(table, x, mu, 0, sites), hop(table, x, mu, 1, sites)
            h = spinor_ahead(psi, r, row_of, there, table, mu, f, sites, lanes, lane, s)
            h = colour_times(row(links, mu, sites, x[0], lanes, lane, g), h)
            total = added(total, weighted(codes, 2 * mu * sites + x[0], lanes, lane, h))
            h = spinor_behind(links, psi, r, row_of, there, table, mu, b, sites, lanes, lane, g, s)
            total = combined(1.0, total, -1.0, weighted(codes, (2 * mu + 1) * sites + x[0], lanes, lane, h))
        total = scaled(beta, total)
        if with_base:
            total = combined(alpha, row(base, r, own, k, lanes, lane, s), 1.0, total)
        put(out, r, own, k, lanes, lane, s, total)


def staggered_hop(lattice, links, psi, factors, parity, beta, base, alpha):
    check_fermions(lattice, psi, other(parity), links, "psi", 1)
    if base is not None:
        check_base(lattice, psi, base, parity, links, 1)
    geometry = SpinorGeometry(lattice, psi, parity)
    numbers = (lattice.ndim, float(beta), float(alpha), int(base is not None))
    return _hop(_staggered_hop, geometry, lattice, links, psi, base, factors, 1, *numbers)


@kernel
def _staggered_force(links, left, right, out, weight, fields, d, codes, table, sites, lanes, g, s):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        mu, site, lane = link_of(i, d, lanes)
        x = (site, 0)
        f = hop(table, x, mu, 0, sites)
        t = zero_matrix(links, g)
        for r in range(fields):  # as for Wilson fermions, the second term conjugated
            ahead = link(right, table, r, f, sites, lanes, lane, s)
            t = add_outer(t, 1.0, ahead, row(left, r, sites, site, lanes, lane, s))
            ahead = link(left, table, r, f, sites, lanes, lane, s)
            t = add_outer(t, -1.0, ahead, row(right, r, sites, site, lanes, lane, s))
        t = mul(weighted_link(links, codes, mu, site, sites, lanes, lane, g), t)
        put(out, mu, sites, site, lanes, lane, g, project_site(scale(weight, t)))


def staggered_force(lattice, links, left, right, factors, weight):
    check_fermions(lattice, left, BOTH, links, "left", 1)
    check_fermions(lattice, right, BOTH, links, "right", 1)
    return _force(_staggered_force, lattice, links, left, right, factors, weight)
