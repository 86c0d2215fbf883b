"""CPU drivers of :mod:`gaugeflow.kernels.gauge`: loops, neighbours, loads and stores; the formulas are site functions."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from gaugeflow.kernels import reads
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.sites.clover import leaves, wide_charge, wide_energy
from gaugeflow.sites.exponential import exp
from gaugeflow.sites.gauge import (
    around_ahead,
    around_ahead_below,
    around_behind,
    around_behind_below,
    re_trace_plaquette,
    re_trace_rectangle,
    staple_pair,
    tall_down,
    tall_up,
)
from gaugeflow.sites.matrix import add, add_scaled, mul, mul_dag, re_trace_mul, scale
from gaugeflow.sites.matrix import project as project_site
from gaugeflow.sites.numbers import wide
from gaugeflow.sites.unitary import reunitarise as reunitarise_site
from gaugeflow_numba import sites as _known_sites  # noqa: F401
from gaugeflow_numba._jit import inline, parallel
from gaugeflow_numba.fields import Geometry, flat, rows
from gaugeflow_numba.geometry import blocks, first, first_lane, hop, link, pieces, put_link, put_result
from gaugeflow_numba.lanes import fence, load_real, store_real, zero_matrix
from gaugeflow_numba.memory import empty, empty_like, streamed


@parallel
def _plaquette_traces(links, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n):
        for block in range(blocks(lanes, g)):
            lane = first_lane(block, lanes, g)
            for site in range(first(item, sites), first(item + 1, sites)):
                x = (site, 0)
                plane = 0
                for mu in range(d):
                    u = link(links, table, mu, x, sites, lanes, lane, g)
                    f = hop(table, x, mu, 0, g)
                    for nu in range(mu + 1, d):
                        trace = re_trace_plaquette(
                            u,
                            link(links, table, nu, f, sites, lanes, lane, g),
                            link(links, table, nu, x, sites, lanes, lane, g),
                            link(links, table, mu, hop(table, x, nu, 0, g), sites, lanes, lane, g),
                        )
                        store_real(out[plane, site], lane, wide(trace))
                        plane += 1


def plaquette_traces(lattice, links):
    geometry = Geometry(lattice, links, reads.plaquettes(lattice.ndim))
    out = empty((len(lattice.planes), lattice.n_blocks, geometry.lanes), np.float64)
    _plaquette_traces(geometry.around(links), out, *geometry.arguments)
    return out


@parallel
def _rectangle(links, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n):
        for block in range(blocks(lanes, g)):
            lane = first_lane(block, lanes, g)
            for site in range(first(item, sites), first(item + 1, sites)):
                x = (site, 0)
                pair = 0
                for mu in range(d):
                    u = link(links, table, mu, x, sites, lanes, lane, g)
                    f = hop(table, x, mu, 0, g)
                    u_f = link(links, table, mu, f, sites, lanes, lane, g)
                    for nu in range(d):
                        if nu == mu:
                            continue
                        up = hop(table, x, nu, 0, g)
                        trace = re_trace_rectangle(
                            u,
                            u_f,
                            link(links, table, nu, hop(table, f, mu, 0, g), sites, lanes, lane, g),
                            link(links, table, nu, x, sites, lanes, lane, g),
                            link(links, table, mu, up, sites, lanes, lane, g),
                            link(links, table, mu, hop(table, up, mu, 0, g), sites, lanes, lane, g),
                        )
                        store_real(out[pair, site], lane, wide(trace))
                        pair += 1


def rectangle(lattice, links):
    geometry = Geometry(lattice, links, reads.rectangles(lattice.ndim))
    out = empty((lattice.ndim * (lattice.ndim - 1), lattice.n_blocks, geometry.lanes), np.float64)
    _rectangle(geometry.around(links), out, *geometry.arguments)
    return sum_sites(lattice, out) / (geometry.n * lattice.volume)


@inline
def staples(links, table, mu, nu, x, f, sites, lanes, lane, g):
    """Upper and lower staple of the link (x, mu) in the plane (mu, nu); f is the place x + mu."""
    down = hop(table, x, nu, 1, g)
    return staple_pair(
        link(links, table, nu, x, sites, lanes, lane, g),
        link(links, table, mu, hop(table, x, nu, 0, g), sites, lanes, lane, g),
        link(links, table, nu, f, sites, lanes, lane, g),
        link(links, table, nu, down, sites, lanes, lane, g),
        link(links, table, mu, down, sites, lanes, lane, g),
        link(links, table, nu, hop(table, f, nu, 1, g), sites, lanes, lane, g),
    )


@parallel
def _wilson_force(links, weight, out, past_caches, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            x = (site, 0)
            for mu in range(d):
                f = hop(table, x, mu, 0, g)
                a = zero_matrix(g)
                for nu in range(d):
                    if nu != mu:
                        c = load_real(weight[mu, nu], lane, g)
                        a = add_scaled(a, c, staples(links, table, mu, nu, x, f, sites, lanes, lane, g))
                force = project_site(mul_dag(link(links, table, mu, x, sites, lanes, lane, g), a))
                put_result(out, mu, site, sites, lanes, lane, g, force, past_caches)
        fence()


def wilson_force(lattice, links, coupling):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    given = rows(lattice, coupling, len(lattice.planes), links, "coupling") / (2 * geometry.n)
    weight = np.zeros((lattice.ndim, lattice.ndim, geometry.lanes), dtype=given.dtype)
    for value, (mu, nu) in zip(given, lattice.planes, strict=True):
        weight[mu, nu] = weight[nu, mu] = value
    out = empty_like(links)
    arguments = (streamed(out, geometry.width), *geometry.arguments)
    _wilson_force(geometry.around(links), weight, flat(out), *arguments)
    return out


@parallel
def _rectangle_force(links, weight, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            x = (site, 0)
            for mu in range(d):
                f = hop(table, x, mu, 0, g)
                b = hop(table, x, mu, 1, g)
                u_f = link(links, table, mu, f, sites, lanes, lane, g)
                u_b = link(links, table, mu, b, sites, lanes, lane, g)
                a = zero_matrix(g)
                for nu in range(d):
                    if nu == mu:
                        continue
                    up, f_up = hop(table, x, nu, 0, g), hop(table, f, nu, 0, g)
                    dn, f_dn = hop(table, x, nu, 1, g), hop(table, f, nu, 1, g)
                    up2, dn2, f_dn2 = hop(table, up, nu, 0, g), hop(table, dn, nu, 1, g), hop(table, f_dn, nu, 1, g)
                    ff, b_up, b_dn = hop(table, f, mu, 0, g), hop(table, up, mu, 1, g), hop(table, dn, mu, 1, g)
                    n_x = link(links, table, nu, x, sites, lanes, lane, g)
                    n_f = link(links, table, nu, f, sites, lanes, lane, g)
                    n_dn = link(links, table, nu, dn, sites, lanes, lane, g)
                    n_f_dn = link(links, table, nu, f_dn, sites, lanes, lane, g)
                    m_up = link(links, table, mu, up, sites, lanes, lane, g)
                    m_dn = link(links, table, mu, dn, sites, lanes, lane, g)
                    tall = add(
                        tall_up(
                            n_x,
                            link(links, table, nu, up, sites, lanes, lane, g),
                            link(links, table, mu, up2, sites, lanes, lane, g),
                            link(links, table, nu, f_up, sites, lanes, lane, g),
                            n_f,
                        ),
                        tall_down(
                            n_dn,
                            link(links, table, nu, dn2, sites, lanes, lane, g),
                            link(links, table, mu, dn2, sites, lanes, lane, g),
                            link(links, table, nu, f_dn2, sites, lanes, lane, g),
                            n_f_dn,
                        ),
                    )
                    ahead = add(
                        around_ahead(
                            u_f,
                            link(links, table, nu, ff, sites, lanes, lane, g),
                            link(links, table, mu, f_up, sites, lanes, lane, g),
                            m_up,
                            n_x,
                        ),
                        around_ahead_below(
                            u_f,
                            link(links, table, nu, hop(table, ff, nu, 1, g), sites, lanes, lane, g),
                            link(links, table, mu, f_dn, sites, lanes, lane, g),
                            m_dn,
                            n_dn,
                        ),
                    )
                    behind = add(
                        around_behind(
                            u_b,
                            link(links, table, nu, b, sites, lanes, lane, g),
                            link(links, table, mu, b_up, sites, lanes, lane, g),
                            m_up,
                            n_f,
                        ),
                        around_behind_below(
                            u_b,
                            link(links, table, nu, b_dn, sites, lanes, lane, g),
                            link(links, table, mu, b_dn, sites, lanes, lane, g),
                            m_dn,
                            n_f_dn,
                        ),
                    )
                    a = add_scaled(a, load_real(weight[nu, mu], lane, g), tall)
                    a = add_scaled(a, load_real(weight[mu, nu], lane, g), add(ahead, behind))
                force = project_site(mul_dag(link(links, table, mu, x, sites, lanes, lane, g), a))
                put_link(out, mu, site, sites, lanes, lane, g, force)


def rectangle_force(lattice, links, coupling):
    d = lattice.ndim
    geometry = Geometry(lattice, links, reads.rectangle_staples(d))
    given = rows(lattice, coupling, d * (d - 1), links, "coupling") / (2 * geometry.n)
    weight = np.zeros((d, d, geometry.lanes), dtype=given.dtype)
    weight[~np.eye(d, dtype=bool)] = given
    out = empty_like(links)
    _rectangle_force(geometry.around(links), weight, flat(out), *geometry.arguments)
    return out


@parallel
def _evolve(links, momentum, step, out, past_caches, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for mu in range(d):
            for site in range(first(item % n, sites), first(item % n + 1, sites)):
                p = scale(step, link(momentum, table, mu, (site, 0), sites, lanes, lane, g))
                u = mul(exp(p), link(links, table, mu, (site, 0), sites, lanes, lane, g))
                put_result(out, mu, site, sites, lanes, lane, g, u, past_caches)
        fence()


def evolve(lattice, links, momentum, step):
    geometry = Geometry(lattice, links)
    out = empty_like(links)
    arguments = (streamed(out, geometry.width), *geometry.local_arguments)
    _evolve(flat(links), flat(momentum), float(step), flat(out), *arguments)
    return out


@parallel
def _flow_stage(links, force, previous, a, b, out, k_out, past_caches, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for mu in range(d):
            for site in range(first(item % n, sites), first(item % n + 1, sites)):
                x = (site, 0)
                k = scale(a, link(force, table, mu, x, sites, lanes, lane, g))
                k = add_scaled(k, b, link(previous, table, mu, x, sites, lanes, lane, g))
                put_result(k_out, mu, site, sites, lanes, lane, g, k, past_caches)
                u = mul(exp(k), link(links, table, mu, x, sites, lanes, lane, g))
                put_result(out, mu, site, sites, lanes, lane, g, u, past_caches)
        fence()


def flow_stage(lattice, links, force, previous, a, b):
    out, k = empty_like(links), empty_like(links)
    geometry = Geometry(lattice, links)
    past_caches = streamed(out, geometry.width) and streamed(k, geometry.width)
    arguments = (past_caches, *geometry.local_arguments)
    _flow_stage(flat(links), flat(force), flat(previous), float(a), float(b), flat(out), flat(k), *arguments)
    return out, k


@parallel
def _project(matrices, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for mu in range(d):
            for site in range(first(item % n, sites), first(item % n + 1, sites)):
                m = project_site(link(matrices, table, mu, (site, 0), sites, lanes, lane, g))
                put_link(out, mu, site, sites, lanes, lane, g, m)


def project(lattice, matrices):
    out = empty_like(matrices)
    _project(flat(matrices), flat(out), *Geometry(lattice, matrices).local_arguments)
    return out


@parallel
def _reunitarise(links, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for mu in range(d):
            for site in range(first(item % n, sites), first(item % n + 1, sites)):
                m = reunitarise_site(link(links, table, mu, (site, 0), sites, lanes, lane, g))
                put_link(out, mu, site, sites, lanes, lane, g, m)


def reunitarise(lattice, links):
    out = empty_like(links)
    _reunitarise(flat(links), flat(out), *Geometry(lattice, links).local_arguments)
    return out


@parallel
def _inner(a, b, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for mu in range(d):
            for site in range(first(item % n, sites), first(item % n + 1, sites)):
                p = link(a, table, mu, (site, 0), sites, lanes, lane, g)
                q = link(b, table, mu, (site, 0), sites, lanes, lane, g)
                product = wide(re_trace_mul(p, q))
                store_real(out[site], lane, product if mu == 0 else load_real(out[site], lane, g) + product)


def inner(lattice, a, b):
    geometry = Geometry(lattice, a)
    out = empty((lattice.n_blocks, geometry.lanes), np.float64)
    _inner(flat(a), flat(b), out, *geometry.local_arguments)
    return -2.0 * sum_sites(lattice, out)


@parallel
def _gauge_transform(links, rotation, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for mu in range(d):
            for site in range(first(item % n, sites), first(item % n + 1, sites)):
                x = (site, 0)
                u = mul(
                    link(rotation, table, 0, x, sites, lanes, lane, g),
                    link(links, table, mu, x, sites, lanes, lane, g),
                )
                end = link(rotation, table, 0, hop(table, x, mu, 0, g), sites, lanes, lane, g)
                put_link(out, mu, site, sites, lanes, lane, g, mul_dag(u, end))


def gauge_transform(lattice, links, rotation):
    if rotation.shape != links.shape[1:]:
        raise ValueError(f"rotation: expected shape {links.shape[1:]}, got {rotation.shape}")
    out = empty_like(links)
    geometry = Geometry(lattice, links, reads.ahead_of_sites(lattice.ndim))
    _gauge_transform(flat(links), geometry.around(rotation[None]), flat(out), *geometry.arguments)
    return out


@inline
def _field_strength(links, table, mu, nu, x, sites, lanes, lane, g):
    f, up = hop(table, x, mu, 0, g), hop(table, x, nu, 0, g)
    b, dn = hop(table, x, mu, 1, g), hop(table, x, nu, 1, g)
    b_up, b_dn, f_dn = hop(table, up, mu, 1, g), hop(table, dn, mu, 1, g), hop(table, f, nu, 1, g)
    m = link(links, table, mu, x, sites, lanes, lane, g)
    n = link(links, table, nu, x, sites, lanes, lane, g)
    m_b = link(links, table, mu, b, sites, lanes, lane, g)
    n_dn = link(links, table, nu, dn, sites, lanes, lane, g)
    total = leaves(
        (m, link(links, table, nu, f, sites, lanes, lane, g), link(links, table, mu, up, sites, lanes, lane, g), n),
        (n, link(links, table, mu, b_up, sites, lanes, lane, g), link(links, table, nu, b, sites, lanes, lane, g), m_b),
        (
            m_b,
            link(links, table, nu, b_dn, sites, lanes, lane, g),
            link(links, table, mu, b_dn, sites, lanes, lane, g),
            n_dn,
        ),
        (
            n_dn,
            link(links, table, mu, dn, sites, lanes, lane, g),
            link(links, table, nu, f_dn, sites, lanes, lane, g),
            m,
        ),
    )
    return project_site(scale(0.25, total))


@parallel
def _clover_energy(links, strength, energy, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            plane = 0
            for mu in range(d):
                for nu in range(mu + 1, d):
                    field = _field_strength(links, table, mu, nu, (site, 0), sites, lanes, lane, g)
                    store_real(energy[plane, site], lane, wide_energy(field))
                    put_link(strength, plane, site, sites, lanes, lane, g, field)
                    plane += 1


@parallel
def _clover_charge(strength, charge, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            x = (site, 0)
            q = wide_charge(
                link(strength, table, 0, x, sites, lanes, lane, g),
                link(strength, table, 1, x, sites, lanes, lane, g),
                link(strength, table, 2, x, sites, lanes, lane, g),
                link(strength, table, 3, x, sites, lanes, lane, g),
                link(strength, table, 4, x, sites, lanes, lane, g),
                link(strength, table, 5, x, sites, lanes, lane, g),
            )
            store_real(charge[site], lane, q)


def clover(lattice, links):
    geometry = Geometry(lattice, links, reads.clover_leaves(lattice.ndim))
    planes = len(lattice.planes)
    strength = empty((planes, *links.shape[1:]), links.dtype)
    energy = empty((planes, lattice.n_blocks, geometry.lanes), np.float64)
    charge = np.zeros((lattice.n_blocks, geometry.lanes))
    _clover_energy(geometry.around(links), flat(strength), energy, *geometry.arguments)
    if lattice.ndim == 4:
        _clover_charge(flat(strength), charge, *geometry.local_arguments)
    return energy, charge / (4.0 * math.pi**2)
