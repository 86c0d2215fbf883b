"""CPU drivers of :mod:`gaugeflow.kernels.smear`."""

from __future__ import annotations

import numpy as np
from numba import prange

from gaugeflow.kernels import reads
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.sites.gauge import (
    convolve,
    convolve_bar_link,
    convolve_bar_sum,
    staple_down_along,
    staple_up_along,
)
from gaugeflow.sites.matrix import add, add_scaled, dag, re_trace_mul_dag
from gaugeflow.sites.numbers import wide
from gaugeflow_numba import sites as _known_sites  # noqa: F401
from gaugeflow_numba._jit import inline, parallel
from gaugeflow_numba.fields import Geometry, flat, rows
from gaugeflow_numba.gauge import staples
from gaugeflow_numba.geometry import blocks, first, first_lane, hop, link, pieces, put_link
from gaugeflow_numba.lanes import load_real, store_real, zero_matrix
from gaugeflow_numba.memory import empty, empty_like


@inline
def weighted_sum(links, weight, table, nu, x, d, sites, lanes, lane, g):
    f = hop(table, x, nu, 0, g)
    s = zero_matrix(g)
    for rho in range(d):
        if rho != nu:
            c = load_real(weight[nu * d + rho], lane, g)
            s = add_scaled(s, c, staples(links, table, nu, rho, x, f, sites, lanes, lane, g))
    return s


@parallel
def _smear(links, weight, kappa, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            for nu in range(d):
                s = weighted_sum(links, weight, table, nu, (site, 0), d, sites, lanes, lane, g)
                u = link(links, table, nu, (site, 0), sites, lanes, lane, g)
                put_link(out, nu, site, sites, lanes, lane, g, convolve(kappa, u, s))


def smear(lattice, links, eta, kappa):
    weight = rows(lattice, eta, lattice.ndim**2, links, "eta")
    out = empty_like(links)
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    _smear(geometry.around(links), weight, float(kappa), flat(out), *geometry.arguments)
    return out


@parallel
def _along(links, kappa, bar, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            for nu in range(d):
                u = link(links, table, nu, (site, 0), sites, lanes, lane, g)
                v_bar = link(bar, table, nu, (site, 0), sites, lanes, lane, g)
                put_link(out, nu, site, sites, lanes, lane, g, dag(convolve_bar_sum(kappa, u, v_bar)))


@inline
def _upper(links, along, w_rho, w_nu, table, nu, rho, x, f, sites, lanes, lane, g):
    """Variation of the upper staple of the link (x, nu) in the plane (nu, rho); f is the place x + nu."""
    up = hop(table, x, rho, 0, g)
    return staple_up_along(
        w_rho,
        w_nu,
        link(links, table, rho, x, sites, lanes, lane, g),
        link(links, table, nu, up, sites, lanes, lane, g),
        link(links, table, rho, f, sites, lanes, lane, g),
        link(along, table, rho, x, sites, lanes, lane, g),
        link(along, table, nu, up, sites, lanes, lane, g),
        link(along, table, rho, f, sites, lanes, lane, g),
    )


@inline
def _lower(links, along, w_rho, w_nu, table, nu, rho, x, f, sites, lanes, lane, g):
    """Variation of the lower staple."""
    down, f_down = hop(table, x, rho, 1, g), hop(table, f, rho, 1, g)
    return staple_down_along(
        w_rho,
        w_nu,
        link(links, table, rho, down, sites, lanes, lane, g),
        link(links, table, nu, down, sites, lanes, lane, g),
        link(links, table, rho, f_down, sites, lanes, lane, g),
        link(along, table, rho, down, sites, lanes, lane, g),
        link(along, table, nu, down, sites, lanes, lane, g),
        link(along, table, rho, f_down, sites, lanes, lane, g),
    )


@parallel
def _links_bar(links, weight, kappa, bar, along, out, weight_bar, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n):
        for block in range(blocks(lanes, g)):
            lane = first_lane(block, lanes, g)
            for site in range(first(item, sites), first(item + 1, sites)):
                x = (site, 0)
                for nu in range(d):
                    f = hop(table, x, nu, 0, g)
                    s = zero_matrix(g)
                    for rho in range(d):
                        if rho != nu:
                            both = staples(links, table, nu, rho, x, f, sites, lanes, lane, g)
                            s = add_scaled(s, load_real(weight[nu * d + rho], lane, g), both)
                            trace = wide(re_trace_mul_dag(both, link(along, table, nu, x, sites, lanes, lane, g)))
                            store_real(weight_bar[nu * d + rho, site], lane, trace)
                    # upper and lower staples in loops of their own: a body with both has twice the spills
                    moved = zero_matrix(g)
                    for rho in range(d):
                        if rho != nu:
                            w_rho = load_real(weight[rho * d + nu], lane, g)
                            w_nu = load_real(weight[nu * d + rho], lane, g)
                            part = _upper(links, along, w_rho, w_nu, table, nu, rho, x, f, sites, lanes, lane, g)
                            moved = add(moved, part)
                    for rho in range(d):
                        if rho != nu:
                            w_rho = load_real(weight[rho * d + nu], lane, g)
                            w_nu = load_real(weight[nu * d + rho], lane, g)
                            part = _lower(links, along, w_rho, w_nu, table, nu, rho, x, f, sites, lanes, lane, g)
                            moved = add(moved, part)
                    u = link(links, table, nu, x, sites, lanes, lane, g)
                    v_bar = link(bar, table, nu, x, sites, lanes, lane, g)
                    direct = convolve_bar_link(kappa, u, s, v_bar)
                    put_link(out, nu, site, sites, lanes, lane, g, add(direct, dag(moved)))


def smear_vjp(lattice, links, eta, kappa, bar):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    weight = rows(lattice, eta, lattice.ndim**2, links, "eta")
    along, out = empty_like(links), empty_like(links)
    _along(flat(links), float(kappa), flat(bar), flat(along), *geometry.local_arguments)
    weight_bar = empty((lattice.ndim**2, lattice.n_blocks, geometry.lanes), np.float64)
    weight_bar[:: lattice.ndim + 1] = 0.0
    arguments = (flat(bar), geometry.around(along), flat(out), weight_bar)
    _links_bar(geometry.around(links), weight, float(kappa), *arguments, *geometry.arguments)
    return out, sum_sites(lattice, weight_bar)
