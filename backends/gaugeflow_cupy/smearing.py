"""GPU drivers of :mod:`gaugeflow.kernels.smearing`."""

from __future__ import annotations

import cupy as xp
import numpy as np
from numba import cuda

from gaugeflow.sites.matrix import add, add_scaled, dag
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
from gaugeflow_cupy.device import Geometry, contiguous, over_rows, rows, sites_on_device
from gaugeflow_cupy.gauge import accumulate, staple_sum
from gaugeflow_cupy.geometry import hop, link, link_of, put, row
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import load_real, zero_matrix


def _two_fields(loop, lattice, links, *given):
    """Two fields from a thread for each link."""
    geometry = Geometry(lattice, links)
    one, two = (xp.empty(links.shape, links.dtype) for _ in range(2))
    launch(loop, one.size // geometry.n**2, contiguous(links, "links"), *given, one, two, *geometry.arguments)
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
    return _two_fields(_smear_step, lattice, links, rows(lattice, eta, lattice.ndim**2, links, "eta"), float(kappa))


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
    weight = rows(lattice, eta, lattice.ndim**2, links, "eta")
    given = (contiguous(staples, "staples"), weight, float(kappa), contiguous(along, "along"))
    return _two_fields(_smear_step_along, lattice, links, *given)


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
    given = (contiguous(staples, "staples"), float(kappa), contiguous(bar, "bar"))
    return _two_fields(_smear_step_pull, lattice, links, *given)


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
    fields = (contiguous(staples, "staples"), float(kappa), contiguous(bar, "bar"))
    directions = (links_along, "links_along"), (staples_along, "staples_along"), (bar_along, "bar_along")
    return _two_fields(_smear_step_pull_along, lattice, links, *fields, *(contiguous(*pair) for pair in directions))


# ---- the sum of Re tr P over plaquettes and its derivatives ----------------------------------------------------------
@kernel
def _plaquette_gradient(links, weight, total, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        nu, site, lane = link_of(i, d, lanes)
        s = staple_sum(links, weight, table, nu, site, d, sites, lanes, lane, g)
        put(out, nu, sites, site, lanes, lane, g, add(row(total, nu, sites, site, lanes, lane, g), dag(s)))


def plaquette_gradient(lattice, links, weight, total):
    geometry = Geometry(lattice, links)
    w = rows(lattice, weight, lattice.ndim**2, links, "weight")
    out = xp.empty(links.shape, links.dtype)
    fields = (contiguous(links, "links"), w, contiguous(total, "total"), out)
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


def _hessian(lattice, links, weight, along, total, nus, active):
    geometry = Geometry(lattice, links)
    w = rows(lattice, weight, lattice.ndim**2, links, "weight")
    out = xp.empty((len(nus), active.size, *links.shape[2:]), links.dtype)
    fields = (contiguous(links, "links"), w, contiguous(along, "along"), contiguous(total, "total"))
    where = (sites_on_device(nus), active, active.size)
    launch(_plaquette_hessian, out.size // geometry.n**2, *fields, *where, out, *geometry.arguments)
    return out


def plaquette_hessian(lattice, links, weight, along, total):
    everywhere = sites_on_device(np.arange(lattice.n_blocks, dtype=np.int32))
    return _hessian(lattice, links, weight, along, total, range(lattice.ndim), everywhere)


def plaquette_hessian_active(lattice, links, weight, along, total, mu, sites):
    return _hessian(lattice, links, weight, along, total, [mu], sites_on_device(sites))[0]


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
    geometry = Geometry(lattice, links)
    w = rows(lattice, weight, lattice.ndim**2, links, "weight")
    out = xp.empty(links.shape, links.dtype)
    directions = (move, "move"), (along, "along"), (along_move, "along_move"), (total, "total")
    fields = (contiguous(links, "links"), w, *(contiguous(*pair) for pair in directions), out)
    launch(_plaquette_hessian_along, out.size // geometry.n**2, *fields, *geometry.arguments)
    return out


@kernel
def _plaquette_along(links, along, out, pieces, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i >= pieces * lanes:
        return
    piece, lane = i // lanes, i % lanes
    for site in range(piece, sites, pieces):
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
                accumulate(out, (plane * pieces + piece) * lanes + lane, trace, site == piece)
                plane += 1


def plaquette_along(lattice, links, along):
    geometry = Geometry(lattice, links)
    out = xp.empty((len(lattice.planes), geometry.pieces, geometry.lanes))
    fields = (contiguous(links, "links"), contiguous(along, "along"), out, geometry.pieces)
    launch(_plaquette_along, geometry.pieces * geometry.lanes, *fields, *geometry.arguments)
    return lattice.sum_folds(over_rows(out, axis=1))
