"""GPU drivers of :mod:`gaugeflow.kernels.smearing`."""

from __future__ import annotations

import cupy as xp
import numpy as np
from numba import cuda

from gaugeflow.kernels import reads
from gaugeflow.sites.matrix import add, add_scaled, dag
from gaugeflow.sites.numbers import wide
from gaugeflow.sites.smearing import (
    lower_along,
    lower_along_both,
    re_trace_plaquette_along,
    step,
    step_along,
    step_pull,
    step_pull_along,
    upper_along,
    upper_along_both,
)
from gaugeflow_cupy._jit import device, kernel
from gaugeflow_cupy.device import Geometry, contiguous, rows, sites_on_device
from gaugeflow_cupy.gauge import staple_sum
from gaugeflow_cupy.geometry import hop, link, link_of, put, row
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import load_real, store_real, zero_matrix


def _two_fields(loop, geometry, links, *given):
    """Two fields from a thread for each link."""
    one, two = (xp.empty(links.shape, links.dtype) for _ in range(2))
    launch(loop, one.size // geometry.n**2, *given, one, two, *geometry.arguments)
    return one, two


@kernel
def _smear_step(links, weight, kappa, out, staples, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        nu, site, lane = link_of(i, d, lanes)
        s = staple_sum(links, weight, table, nu, site, d, sites, lanes, lane, g)
        put(staples, nu, sites, site, lanes, lane, g, s)
        put(out, nu, sites, site, lanes, lane, g, step(kappa, row(links, nu, sites, site, lanes, lane, g), s))


def smear_step(lattice, links, eta, kappa):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    weight = rows(lattice, eta, lattice.ndim**2, links, "eta")
    return _two_fields(_smear_step, geometry, links, geometry.around(links, "links"), weight, float(kappa))


# ---- changes along a direction ---------------------------------------------------------------------------------------
@device
def _upper(links, along, table, nu, rho, x, f, sites, lanes, lane, g):
    """Change of the upper staple of the link (x, nu) in the plane (nu, rho); f is the place x + nu."""
    up = hop(table, x, rho, 0, sites)
    return upper_along(
        link(links, table, rho, x, sites, lanes, lane, g),
        link(links, table, nu, up, sites, lanes, lane, g),
        link(links, table, rho, f, sites, lanes, lane, g),
        link(along, table, rho, x, sites, lanes, lane, g),
        link(along, table, nu, up, sites, lanes, lane, g),
        link(along, table, rho, f, sites, lanes, lane, g),
    )


@device
def _lower(links, along, table, nu, rho, x, f, sites, lanes, lane, g):
    """Change of the lower staple."""
    down, f_down = hop(table, x, rho, 1, sites), hop(table, f, rho, 1, sites)
    return lower_along(
        link(links, table, rho, down, sites, lanes, lane, g),
        link(links, table, nu, down, sites, lanes, lane, g),
        link(links, table, rho, f_down, sites, lanes, lane, g),
        link(along, table, rho, down, sites, lanes, lane, g),
        link(along, table, nu, down, sites, lanes, lane, g),
        link(along, table, rho, f_down, sites, lanes, lane, g),
    )


@device
def _variation(links, along, weight, table, nu, x, d, sites, lanes, lane, g):
    """Change of the weighted sum of staples."""
    f = hop(table, x, nu, 0, sites)
    total = zero_matrix(links, g)
    for rho in range(d):
        if rho != nu:
            w = load_real(weight, (nu * d + rho) * lanes + lane)
            total = add_scaled(total, w, _upper(links, along, table, nu, rho, x, f, sites, lanes, lane, g))
            total = add_scaled(total, w, _lower(links, along, table, nu, rho, x, f, sites, lanes, lane, g))
    return total


@kernel
def _smear_step_along(links, staples, weight, kappa, along, out, staples_out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        nu, site, lane = link_of(i, d, lanes)
        s_t = _variation(links, along, weight, table, nu, (site, 0), d, sites, lanes, lane, g)
        put(staples_out, nu, sites, site, lanes, lane, g, s_t)
        u = row(links, nu, sites, site, lanes, lane, g)
        s = row(staples, nu, sites, site, lanes, lane, g)
        u_t = row(along, nu, sites, site, lanes, lane, g)
        put(out, nu, sites, site, lanes, lane, g, step_along(kappa, u, s, u_t, s_t))


def smear_step_along(lattice, links, staples, eta, kappa, along):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    weight = rows(lattice, eta, lattice.ndim**2, links, "eta")
    given = (contiguous(staples, "staples"), weight, float(kappa), geometry.around(along, "along"))
    return _two_fields(_smear_step_along, geometry, links, geometry.around(links, "links"), *given)


# ---- derivatives of a step at one link -------------------------------------------------------------------------------
@kernel
def _smear_step_pull(links, staples, kappa, bar, along, own, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        nu, site, lane = link_of(i, d, lanes)
        u = row(links, nu, sites, site, lanes, lane, g)
        s = row(staples, nu, sites, site, lanes, lane, g)
        by_staples, by_link = step_pull(kappa, u, s, dag(row(bar, nu, sites, site, lanes, lane, g)))
        put(along, nu, sites, site, lanes, lane, g, by_staples)
        put(own, nu, sites, site, lanes, lane, g, dag(by_link))


def smear_step_pull(lattice, links, staples, kappa, bar):
    given = (contiguous(links, "links"), contiguous(staples, "staples"), float(kappa), contiguous(bar, "bar"))
    return _two_fields(_smear_step_pull, Geometry(lattice, links), links, *given)


@kernel
def _smear_step_pull_along(
    links, staples, kappa, bar, links_along, staples_along, bar_along, along, own, table, d, sites, lanes, g
):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        nu, site, lane = link_of(i, d, lanes)
        u = row(links, nu, sites, site, lanes, lane, g)
        s = row(staples, nu, sites, site, lanes, lane, g)
        gradient = dag(row(bar, nu, sites, site, lanes, lane, g))
        u_t = row(links_along, nu, sites, site, lanes, lane, g)
        s_t = row(staples_along, nu, sites, site, lanes, lane, g)
        gradient_t = dag(row(bar_along, nu, sites, site, lanes, lane, g))
        by_staples, by_link = step_pull_along(kappa, u, s, gradient, u_t, s_t, gradient_t)
        put(along, nu, sites, site, lanes, lane, g, by_staples)
        put(own, nu, sites, site, lanes, lane, g, dag(by_link))


def smear_step_pull_along(lattice, links, staples, kappa, bar, links_along, staples_along, bar_along):
    fields = (contiguous(links, "links"), contiguous(staples, "staples"), float(kappa), contiguous(bar, "bar"))
    directions = (links_along, "links_along"), (staples_along, "staples_along"), (bar_along, "bar_along")
    given = (*fields, *(contiguous(*pair) for pair in directions))
    return _two_fields(_smear_step_pull_along, Geometry(lattice, links), links, *given)


# ---- the sum of Re tr P over plaquettes and its derivatives ----------------------------------------------------------
@kernel
def _plaquette_gradient(links, weight, total, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        nu, site, lane = link_of(i, d, lanes)
        s = staple_sum(links, weight, table, nu, site, d, sites, lanes, lane, g)
        put(out, nu, sites, site, lanes, lane, g, add(row(total, nu, sites, site, lanes, lane, g), dag(s)))


def plaquette_gradient(lattice, links, weight, total):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    w = rows(lattice, weight, lattice.ndim**2, links, "weight")
    out = xp.empty(links.shape, links.dtype)
    fields = (geometry.around(links, "links"), w, contiguous(total, "total"), out)
    launch(_plaquette_gradient, out.size // geometry.n**2, *fields, *geometry.arguments)
    return out


@kernel
def _plaquette_hessian(links, weight, along, total, nus, active, count, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < nus.size * count * lanes:
        k, position, lane = link_of(i, nus.size, lanes)
        nu, site = nus[k], active[position]
        change = _variation(links, along, weight, table, nu, (site, 0), d, sites, lanes, lane, g)
        before = row(total, nu, sites, site, lanes, lane, g)
        put(out, k, count, position, lanes, lane, g, add(before, dag(change)))


def _hessian(lattice, links, weight, along, total, nus, sites):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim, tuple(nus)))
    active = sites_on_device(sites)
    w = rows(lattice, weight, lattice.ndim**2, links, "weight")
    out = xp.empty((len(nus), active.size, *links.shape[2:]), links.dtype)
    around = (geometry.around(links, "links", sites), w, geometry.around(along, "along", sites))
    fields = (*around, contiguous(total, "total"))
    where = (sites_on_device(nus), active, active.size)
    launch(_plaquette_hessian, out.size // geometry.n**2, *fields, *where, out, *geometry.arguments)
    return out


def plaquette_hessian(lattice, links, weight, along, total):
    everywhere = np.arange(lattice.n_blocks, dtype=np.int32)
    return _hessian(lattice, links, weight, along, total, range(lattice.ndim), everywhere)


def plaquette_hessian_active(lattice, links, weight, along, total, mu, sites):
    return _hessian(lattice, links, weight, along, total, [mu], sites)[0]


@device
def _upper_both(links, move, along, table, nu, rho, x, f, sites, lanes, lane, g):
    up = hop(table, x, rho, 0, sites)
    return upper_along_both(
        link(links, table, rho, x, sites, lanes, lane, g),
        link(links, table, nu, up, sites, lanes, lane, g),
        link(links, table, rho, f, sites, lanes, lane, g),
        link(move, table, rho, x, sites, lanes, lane, g),
        link(move, table, nu, up, sites, lanes, lane, g),
        link(move, table, rho, f, sites, lanes, lane, g),
        link(along, table, rho, x, sites, lanes, lane, g),
        link(along, table, nu, up, sites, lanes, lane, g),
        link(along, table, rho, f, sites, lanes, lane, g),
    )


@device
def _lower_both(links, move, along, table, nu, rho, x, f, sites, lanes, lane, g):
    down, f_down = hop(table, x, rho, 1, sites), hop(table, f, rho, 1, sites)
    return lower_along_both(
        link(links, table, rho, down, sites, lanes, lane, g),
        link(links, table, nu, down, sites, lanes, lane, g),
        link(links, table, rho, f_down, sites, lanes, lane, g),
        link(move, table, rho, down, sites, lanes, lane, g),
        link(move, table, nu, down, sites, lanes, lane, g),
        link(move, table, rho, f_down, sites, lanes, lane, g),
        link(along, table, rho, down, sites, lanes, lane, g),
        link(along, table, nu, down, sites, lanes, lane, g),
        link(along, table, rho, f_down, sites, lanes, lane, g),
    )


@kernel
def _plaquette_hessian_along(links, weight, move, along, along_move, total, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i >= d * sites * lanes:
        return
    nu, site, lane = link_of(i, d, lanes)
    x = (site, 0)
    f = hop(table, x, nu, 0, sites)
    change = _variation(links, along_move, weight, table, nu, x, d, sites, lanes, lane, g)
    for rho in range(d):
        if rho != nu:
            w = load_real(weight, (nu * d + rho) * lanes + lane)
            part = _upper_both(links, move, along, table, nu, rho, x, f, sites, lanes, lane, g)
            change = add_scaled(change, w, part)
    for rho in range(d):
        if rho != nu:
            w = load_real(weight, (nu * d + rho) * lanes + lane)
            part = _lower_both(links, move, along, table, nu, rho, x, f, sites, lanes, lane, g)
            change = add_scaled(change, w, part)
    put(out, nu, sites, site, lanes, lane, g, add(row(total, nu, sites, site, lanes, lane, g), dag(change)))


def plaquette_hessian_along(lattice, links, weight, move, along, along_move, total):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    w = rows(lattice, weight, lattice.ndim**2, links, "weight")
    out = xp.empty(links.shape, links.dtype)
    directions = (move, "move"), (along, "along"), (along_move, "along_move")
    around = (geometry.around(links, "links"), w, *(geometry.around(*pair) for pair in directions))
    fields = (*around, contiguous(total, "total"), out)
    launch(_plaquette_hessian_along, out.size // geometry.n**2, *fields, *geometry.arguments)
    return out


@kernel
def _plaquette_traces_along(links, along, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i >= sites * lanes:
        return
    site, lane = i // lanes, i % lanes
    x = (site, 0)
    plane = 0
    for mu in range(d):
        f = hop(table, x, mu, 0, sites)
        for nu in range(mu + 1, d):
            up = hop(table, x, nu, 0, sites)
            trace = re_trace_plaquette_along(
                row(links, mu, sites, site, lanes, lane, g),
                link(links, table, nu, f, sites, lanes, lane, g),
                row(links, nu, sites, site, lanes, lane, g),
                link(links, table, mu, up, sites, lanes, lane, g),
                row(along, mu, sites, site, lanes, lane, g),
                link(along, table, nu, f, sites, lanes, lane, g),
                row(along, nu, sites, site, lanes, lane, g),
                link(along, table, mu, up, sites, lanes, lane, g),
            )
            store_real(out, plane * sites * lanes + i, wide(trace))
            plane += 1


def plaquette_traces_along(lattice, links, along):
    geometry = Geometry(lattice, links, reads.plaquettes(lattice.ndim))
    out = xp.empty((len(lattice.planes), geometry.sites, geometry.lanes))
    fields = (geometry.around(links, "links"), geometry.around(along, "along"), out)
    launch(_plaquette_traces_along, geometry.threads, *fields, *geometry.arguments)
    return out
