"""GPU drivers of :mod:`gaugeflow.kernels.smear`."""

from __future__ import annotations

import cupy as xp
from numba import cuda

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
from gaugeflow_cupy._jit import device, kernel
from gaugeflow_cupy.device import Geometry, contiguous, rows
from gaugeflow_cupy.gauge import staple_sum, staples
from gaugeflow_cupy.geometry import hop, link, link_of, put, row
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import load_real, store_real, zero_matrix


@kernel
def _smear(links, weight, kappa, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        nu, site, lane = link_of(i, d, lanes)
        s = staple_sum(links, weight, table, nu, site, d, sites, lanes, lane, g)
        put(out, nu, sites, site, lanes, lane, g, convolve(kappa, row(links, nu, sites, site, lanes, lane, g), s))


def smear(lattice, links, eta, kappa):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    out = xp.empty(links.shape, links.dtype)
    fields = (geometry.around(links, "links"), rows(lattice, eta, lattice.ndim**2, links, "eta"), float(kappa), out)
    launch(_smear, out.size // geometry.n**2, *fields, *geometry.arguments)
    return out


@kernel
def _along(links, kappa, bar, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        nu, site, lane = link_of(i, d, lanes)
        u = row(links, nu, sites, site, lanes, lane, g)
        v_bar = row(bar, nu, sites, site, lanes, lane, g)
        put(out, nu, sites, site, lanes, lane, g, dag(convolve_bar_sum(kappa, u, v_bar)))


@device
def _upper(links, along, w_rho, w_nu, table, nu, rho, x, f, sites, lanes, lane, g):
    """Variation of the upper staple of the link (x, nu) in the plane (nu, rho); f is the place x + nu."""
    up = hop(table, x, rho, 0, sites)
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


@device
def _lower(links, along, w_rho, w_nu, table, nu, rho, x, f, sites, lanes, lane, g):
    """Variation of the lower staple."""
    down, f_down = hop(table, x, rho, 1, sites), hop(table, f, rho, 1, sites)
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


@kernel
def _links_bar(links, weight, kappa, bar, along, out, weight_bar, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i >= d * sites * lanes:
        return
    nu, site, lane = link_of(i, d, lanes)
    x = (site, 0)
    f = hop(table, x, nu, 0, sites)
    along_here = row(along, nu, sites, site, lanes, lane, g)
    s, moved = zero_matrix(links, g), zero_matrix(links, g)
    for rho in range(d):
        if rho == nu:
            continue
        own = nu * d + rho
        w_nu, w_rho = load_real(weight, own * lanes + lane), load_real(weight, (rho * d + nu) * lanes + lane)
        both = staples(links, table, nu, rho, x, f, sites, lanes, lane, g)
        s = add_scaled(s, w_nu, both)
        store_real(weight_bar, (own * sites + site) * lanes + lane, wide(re_trace_mul_dag(both, along_here)))
        moved = add(moved, _upper(links, along, w_rho, w_nu, table, nu, rho, x, f, sites, lanes, lane, g))
        moved = add(moved, _lower(links, along, w_rho, w_nu, table, nu, rho, x, f, sites, lanes, lane, g))
    u, v_bar = row(links, nu, sites, site, lanes, lane, g), row(bar, nu, sites, site, lanes, lane, g)
    put(out, nu, sites, site, lanes, lane, g, add(convolve_bar_link(kappa, u, s, v_bar), dag(moved)))


def smear_vjp(lattice, links, eta, kappa, bar):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    weight = rows(lattice, eta, lattice.ndim**2, links, "eta")
    along, out = (xp.empty(links.shape, links.dtype) for _ in range(2))
    threads = out.size // geometry.n**2
    fields = (contiguous(links, "links"), float(kappa), contiguous(bar, "bar"))
    launch(_along, threads, *fields, along, *Geometry(lattice, links).arguments)
    weight_bar = xp.zeros((lattice.ndim**2, geometry.sites, geometry.lanes))
    along = geometry.around(along, "along")
    given = (geometry.around(links, "links"), weight, *fields[1:], along, out, weight_bar)
    launch(_links_bar, threads, *given, *geometry.arguments)
    return out, sum_sites(lattice, weight_bar)
