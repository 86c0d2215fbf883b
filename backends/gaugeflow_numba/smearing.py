"""CPU drivers of :mod:`gaugeflow.kernels.smearing`."""

from __future__ import annotations

import numpy as np
from numba import prange

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
from gaugeflow_numba import sites as _known_sites  # noqa: F401
from gaugeflow_numba._jit import inline, parallel
from gaugeflow_numba.fields import Geometry, flat, rows
from gaugeflow_numba.geometry import blocks, first, first_lane, hop, link, pieces, put_result
from gaugeflow_numba.lanes import fence, load_real, store_real, zero_matrix
from gaugeflow_numba.memory import empty, empty_like, streamed
from gaugeflow_numba.smear import weighted_sum


@parallel
def _smear_step(links, weight, kappa, out, staples, past_caches, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            for nu in range(d):
                s = weighted_sum(links, weight, table, nu, (site, 0), d, sites, lanes, lane, g)
                put_result(staples, nu, site, sites, lanes, lane, g, s, past_caches)
                u = link(links, table, nu, (site, 0), sites, lanes, lane, g)
                put_result(out, nu, site, sites, lanes, lane, g, step(kappa, u, s), past_caches)
        fence()


def smear_step(lattice, links, eta, kappa):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    weight = rows(lattice, eta, lattice.ndim**2, links, "eta")
    out, staples = empty_like(links), empty_like(links)
    results = (flat(out), flat(staples), _past_caches(geometry, out, staples))
    _smear_step(geometry.around(links), weight, float(kappa), *results, *geometry.arguments)
    return out, staples


def _past_caches(geometry, *results):
    return all(streamed(result, geometry.width) for result in results)


# ---- changes along a direction ---------------------------------------------------------------------------------------
@inline
def _upper(links, along, table, nu, rho, x, f, sites, lanes, lane, g):
    """Change of the upper staple of the link (x, nu) in the plane (nu, rho); f is the place x + nu."""
    up = hop(table, x, rho, 0, g)
    return upper_along(
        link(links, table, rho, x, sites, lanes, lane, g),
        link(links, table, nu, up, sites, lanes, lane, g),
        link(links, table, rho, f, sites, lanes, lane, g),
        link(along, table, rho, x, sites, lanes, lane, g),
        link(along, table, nu, up, sites, lanes, lane, g),
        link(along, table, rho, f, sites, lanes, lane, g),
    )


@inline
def _lower(links, along, table, nu, rho, x, f, sites, lanes, lane, g):
    """Change of the lower staple."""
    down, f_down = hop(table, x, rho, 1, g), hop(table, f, rho, 1, g)
    return lower_along(
        link(links, table, rho, down, sites, lanes, lane, g),
        link(links, table, nu, down, sites, lanes, lane, g),
        link(links, table, rho, f_down, sites, lanes, lane, g),
        link(along, table, rho, down, sites, lanes, lane, g),
        link(along, table, nu, down, sites, lanes, lane, g),
        link(along, table, rho, f_down, sites, lanes, lane, g),
    )


@inline
def _variation(links, along, weight, table, nu, x, d, sites, lanes, lane, g):
    """Change of the weighted sum of staples; upper and lower ones in loops of their own, which halves the spills."""
    f = hop(table, x, nu, 0, g)
    total = zero_matrix(g)
    for rho in range(d):
        if rho != nu:
            part = _upper(links, along, table, nu, rho, x, f, sites, lanes, lane, g)
            total = add_scaled(total, load_real(weight[nu * d + rho], lane, g), part)
    for rho in range(d):
        if rho != nu:
            part = _lower(links, along, table, nu, rho, x, f, sites, lanes, lane, g)
            total = add_scaled(total, load_real(weight[nu * d + rho], lane, g), part)
    return total


@parallel
def _smear_step_along(links, staples, weight, kappa, along, out, staples_out, past_caches, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            x = (site, 0)
            for nu in range(d):
                s_t = _variation(links, along, weight, table, nu, x, d, sites, lanes, lane, g)
                put_result(staples_out, nu, site, sites, lanes, lane, g, s_t, past_caches)
                u = link(links, table, nu, x, sites, lanes, lane, g)
                s = link(staples, table, nu, x, sites, lanes, lane, g)
                u_t = link(along, table, nu, x, sites, lanes, lane, g)
                put_result(out, nu, site, sites, lanes, lane, g, step_along(kappa, u, s, u_t, s_t), past_caches)
        fence()


def smear_step_along(lattice, links, staples, eta, kappa, along):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    weight = rows(lattice, eta, lattice.ndim**2, links, "eta")
    out, staples_out = empty_like(links), empty_like(links)
    results = (flat(out), flat(staples_out), _past_caches(geometry, out, staples_out))
    fields = (geometry.around(links), flat(staples), weight, float(kappa), geometry.around(along))
    _smear_step_along(*fields, *results, *geometry.arguments)
    return out, staples_out


# ---- derivatives of a step at one link -------------------------------------------------------------------------------
@parallel
def _smear_step_pull(links, staples, kappa, bar, along, own, past_caches, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            x = (site, 0)
            for nu in range(d):
                u = link(links, table, nu, x, sites, lanes, lane, g)
                s = link(staples, table, nu, x, sites, lanes, lane, g)
                gradient = dag(link(bar, table, nu, x, sites, lanes, lane, g))
                by_staples, by_link = step_pull(kappa, u, s, gradient)
                put_result(along, nu, site, sites, lanes, lane, g, by_staples, past_caches)
                put_result(own, nu, site, sites, lanes, lane, g, dag(by_link), past_caches)
        fence()


def smear_step_pull(lattice, links, staples, kappa, bar):
    geometry = Geometry(lattice, links)
    along, own = empty_like(links), empty_like(links)
    results = (flat(along), flat(own), _past_caches(geometry, along, own))
    _smear_step_pull(flat(links), flat(staples), float(kappa), flat(bar), *results, *geometry.local_arguments)
    return along, own


@parallel
def _smear_step_pull_along(
    links,
    staples,
    kappa,
    bar,
    links_along,
    staples_along,
    bar_along,
    along,
    own,
    past_caches,
    table,
    d,
    sites,
    lanes,
    g,
):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            x = (site, 0)
            for nu in range(d):
                u = link(links, table, nu, x, sites, lanes, lane, g)
                s = link(staples, table, nu, x, sites, lanes, lane, g)
                gradient = dag(link(bar, table, nu, x, sites, lanes, lane, g))
                u_t = link(links_along, table, nu, x, sites, lanes, lane, g)
                s_t = link(staples_along, table, nu, x, sites, lanes, lane, g)
                gradient_t = dag(link(bar_along, table, nu, x, sites, lanes, lane, g))
                by_staples, by_link = step_pull_along(kappa, u, s, gradient, u_t, s_t, gradient_t)
                put_result(along, nu, site, sites, lanes, lane, g, by_staples, past_caches)
                put_result(own, nu, site, sites, lanes, lane, g, dag(by_link), past_caches)
        fence()


def smear_step_pull_along(lattice, links, staples, kappa, bar, links_along, staples_along, bar_along):
    geometry = Geometry(lattice, links)
    along, own = empty_like(links), empty_like(links)
    results = (flat(along), flat(own), _past_caches(geometry, along, own))
    fields = (flat(links), flat(staples), float(kappa), flat(bar))
    directions = (flat(links_along), flat(staples_along), flat(bar_along))
    _smear_step_pull_along(*fields, *directions, *results, *geometry.local_arguments)
    return along, own


# ---- the sum of Re tr P over plaquettes and its derivatives ----------------------------------------------------------
@parallel
def _plaquette_gradient(links, weight, total, out, past_caches, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            for nu in range(d):
                s = weighted_sum(links, weight, table, nu, (site, 0), d, sites, lanes, lane, g)
                before = link(total, table, nu, (site, 0), sites, lanes, lane, g)
                put_result(out, nu, site, sites, lanes, lane, g, add(before, dag(s)), past_caches)
        fence()


def plaquette_gradient(lattice, links, weight, total):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    w = rows(lattice, weight, lattice.ndim**2, links, "weight")
    out = empty_like(links)
    arguments = (flat(out), _past_caches(geometry, out), *geometry.arguments)
    _plaquette_gradient(geometry.around(links), w, flat(total), *arguments)
    return out


@parallel
def _plaquette_hessian(links, weight, along, total, begin, end, rows_of, out, past_caches, table, d, sites, lanes, g):
    count = len(rows_of)
    n = pieces(count)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for row in range(first(item % n, count), first(item % n + 1, count)):
            x = (rows_of[row], 0)
            for nu in range(begin, end):
                change = _variation(links, along, weight, table, nu, x, d, sites, lanes, lane, g)
                before = link(total, table, nu, x, sites, lanes, lane, g)
                put_result(out, nu - begin, row, count, lanes, lane, g, add(before, dag(change)), past_caches)
        fence()


def _hessian(lattice, links, weight, along, total, begin, end, sites):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim, tuple(range(begin, end))))
    w = rows(lattice, weight, lattice.ndim**2, links, "weight")
    out = empty((end - begin, len(sites), *links.shape[2:]), links.dtype)
    arguments = (begin, end, sites, flat(out), _past_caches(geometry, out))
    around = (geometry.around(links, sites), w, geometry.around(along, sites))
    _plaquette_hessian(*around, flat(total), *arguments, *geometry.arguments)
    return out


def plaquette_hessian(lattice, links, weight, along, total):
    everywhere = lattice.sites_of_colour([0] * lattice.ndim, 1, 0)
    return _hessian(lattice, links, weight, along, total, 0, lattice.ndim, everywhere)


def plaquette_hessian_active(lattice, links, weight, along, total, mu, sites):
    return _hessian(lattice, links, weight, along, total, mu, mu + 1, sites)[0]


@inline
def _upper_both(links, move, along, table, nu, rho, x, f, sites, lanes, lane, g):
    up = hop(table, x, rho, 0, g)
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


@inline
def _lower_both(links, move, along, table, nu, rho, x, f, sites, lanes, lane, g):
    down, f_down = hop(table, x, rho, 1, g), hop(table, f, rho, 1, g)
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


@parallel
def _plaquette_hessian_along(
    links, weight, move, along, along_move, total, out, past_caches, table, d, sites, lanes, g
):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            x = (site, 0)
            for nu in range(d):
                f = hop(table, x, nu, 0, g)
                change = _variation(links, along_move, weight, table, nu, x, d, sites, lanes, lane, g)
                for rho in range(d):
                    if rho != nu:
                        w = load_real(weight[nu * d + rho], lane, g)
                        part = _upper_both(links, move, along, table, nu, rho, x, f, sites, lanes, lane, g)
                        change = add_scaled(change, w, part)
                for rho in range(d):
                    if rho != nu:
                        w = load_real(weight[nu * d + rho], lane, g)
                        part = _lower_both(links, move, along, table, nu, rho, x, f, sites, lanes, lane, g)
                        change = add_scaled(change, w, part)
                before = link(total, table, nu, x, sites, lanes, lane, g)
                put_result(out, nu, site, sites, lanes, lane, g, add(before, dag(change)), past_caches)
        fence()


def plaquette_hessian_along(lattice, links, weight, move, along, along_move, total):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    w = rows(lattice, weight, lattice.ndim**2, links, "weight")
    out = empty_like(links)
    fields = (geometry.around(links), w, *(geometry.around(field) for field in (move, along, along_move)))
    _plaquette_hessian_along(*fields, flat(total), flat(out), _past_caches(geometry, out), *geometry.arguments)
    return out


@parallel
def _plaquette_traces_along(links, along, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n):
        for block in range(blocks(lanes, g)):
            lane = first_lane(block, lanes, g)
            for site in range(first(item, sites), first(item + 1, sites)):
                x = (site, 0)
                plane = 0
                for mu in range(d):
                    f = hop(table, x, mu, 0, g)
                    for nu in range(mu + 1, d):
                        up = hop(table, x, nu, 0, g)
                        trace = re_trace_plaquette_along(
                            link(links, table, mu, x, sites, lanes, lane, g),
                            link(links, table, nu, f, sites, lanes, lane, g),
                            link(links, table, nu, x, sites, lanes, lane, g),
                            link(links, table, mu, up, sites, lanes, lane, g),
                            link(along, table, mu, x, sites, lanes, lane, g),
                            link(along, table, nu, f, sites, lanes, lane, g),
                            link(along, table, nu, x, sites, lanes, lane, g),
                            link(along, table, mu, up, sites, lanes, lane, g),
                        )
                        store_real(out[plane, site], lane, wide(trace))
                        plane += 1


def plaquette_traces_along(lattice, links, along):
    geometry = Geometry(lattice, links, reads.plaquettes(lattice.ndim))
    out = empty((len(lattice.planes), lattice.n_blocks, geometry.lanes), np.float64)
    _plaquette_traces_along(geometry.around(links), geometry.around(along), out, *geometry.arguments)
    return out
