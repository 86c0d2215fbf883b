"""CPU drivers of :mod:`gaugeflow.kernels.smear`."""

from __future__ import annotations

import numpy as np
from numba import prange

from gaugeflow.sites.gauge import (
    convolve,
    convolve_bar_link,
    convolve_bar_sum,
    staple_down_bar_bottom,
    staple_down_bar_far,
    staple_down_bar_near,
    staple_up_bar_far,
    staple_up_bar_near,
    staple_up_bar_top,
)
from gaugeflow.sites.matrix import add, add_scaled, re_trace_mul
from gaugeflow.sites.numbers import wide
from gaugeflow_numba import sites as _known_sites  # noqa: F401
from gaugeflow_numba._jit import inline, parallel
from gaugeflow_numba.fields import Geometry, flat, rows
from gaugeflow_numba.gauge import staples
from gaugeflow_numba.geometry import blocks, first, first_lane, hop, link, pieces, put_link
from gaugeflow_numba.lanes import load_real, store_real, zero, zero_matrix
from gaugeflow_numba.memory import empty_like


@inline
def _weighted_sum(links, weight, table, nu, x, d, sites, lanes, lane, g):
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
                s = _weighted_sum(links, weight, table, nu, (site, 0), d, sites, lanes, lane, g)
                u = link(links, table, nu, (site, 0), sites, lanes, lane, g)
                put_link(out, nu, site, sites, lanes, lane, g, convolve(kappa, u, s))


def smear(lattice, links, eta, kappa):
    weight = rows(lattice, eta, lattice.ndim**2, links, "eta")
    out = empty_like(links)
    _smear(flat(links), weight, float(kappa), flat(out), *Geometry(lattice, links).arguments)
    return out


@parallel
def _smear_bar_local(links, weight, kappa, bar, s_bar, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            for nu in range(d):
                s = _weighted_sum(links, weight, table, nu, (site, 0), d, sites, lanes, lane, g)
                u = link(links, table, nu, (site, 0), sites, lanes, lane, g)
                v_bar = link(bar, table, nu, (site, 0), sites, lanes, lane, g)
                put_link(s_bar, nu, site, sites, lanes, lane, g, convolve_bar_sum(kappa, u, v_bar))
                put_link(out, nu, site, sites, lanes, lane, g, convolve_bar_link(kappa, u, s, v_bar))


@parallel
def _smear_bar_staples(links, weight, s_bar, local, out, eta_bar, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n):  # one thread per row of sums: overlapping registers must not meet there
        for block in range(blocks(lanes, g)):
            lane = first_lane(block, lanes, g)
            for k in range(d * d):
                store_real(eta_bar[item, k], lane, zero(g))
            for site in range(first(item, sites), first(item + 1, sites)):
                x = (site, 0)
                for nu in range(d):
                    f = hop(table, x, nu, 0, g)
                    total = link(local, table, nu, x, sites, lanes, lane, g)
                    for rho in range(d):
                        if rho == nu:
                            continue
                        up, dn, f_dn = hop(table, x, rho, 0, g), hop(table, x, rho, 1, g), hop(table, f, rho, 1, g)
                        r_x = link(links, table, rho, x, sites, lanes, lane, g)
                        r_f = link(links, table, rho, f, sites, lanes, lane, g)
                        r_dn = link(links, table, rho, dn, sites, lanes, lane, g)
                        r_f_dn = link(links, table, rho, f_dn, sites, lanes, lane, g)
                        own = add(
                            staple_up_bar_top(r_dn, r_f_dn, link(s_bar, table, nu, dn, sites, lanes, lane, g)),
                            staple_down_bar_bottom(r_x, r_f, link(s_bar, table, nu, up, sites, lanes, lane, g)),
                        )
                        n_up = link(links, table, nu, up, sites, lanes, lane, g)
                        n_dn = link(links, table, nu, dn, sites, lanes, lane, g)
                        side = staple_up_bar_near(r_f, n_up, link(s_bar, table, rho, x, sites, lanes, lane, g))
                        side = add(
                            side, staple_down_bar_near(r_x, n_up, link(s_bar, table, rho, f, sites, lanes, lane, g))
                        )
                        side = add(
                            side, staple_up_bar_far(n_dn, r_f_dn, link(s_bar, table, rho, dn, sites, lanes, lane, g))
                        )
                        s = link(s_bar, table, rho, f_dn, sites, lanes, lane, g)
                        side = add(side, staple_down_bar_far(n_dn, r_dn, s))
                        trace = wide(re_trace_mul(own, link(links, table, nu, x, sites, lanes, lane, g)))
                        row = eta_bar[item, nu * d + rho]
                        store_real(row, lane, load_real(row, lane, g) + trace)
                        total = add_scaled(total, load_real(weight[nu * d + rho], lane, g), own)
                        total = add_scaled(total, load_real(weight[rho * d + nu], lane, g), side)
                    put_link(out, nu, site, sites, lanes, lane, g, total)


def smear_vjp(lattice, links, eta, kappa, bar):
    geometry = Geometry(lattice, links)
    d = lattice.ndim
    weight = rows(lattice, eta, d * d, links, "eta")
    s_bar, local, out = empty_like(links), empty_like(links), empty_like(links)
    eta_bar = np.empty((geometry.pieces, d * d, geometry.lanes))
    arguments = geometry.arguments
    _smear_bar_local(flat(links), weight, float(kappa), flat(bar), flat(s_bar), flat(local), *arguments)
    _smear_bar_staples(flat(links), weight, flat(s_bar), flat(local), flat(out), eta_bar, *arguments)
    return out, lattice.sum_folds(eta_bar.sum(axis=0))
