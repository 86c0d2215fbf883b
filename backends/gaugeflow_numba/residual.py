"""CPU drivers of :mod:`gaugeflow.kernels.residual`."""

from __future__ import annotations

import numpy as np
from numba import prange

from gaugeflow.kernels import reads
from gaugeflow.kernels.sums import largest_of_sites, sum_sites
from gaugeflow.sites.gauge import (
    staple_down_bar_bottom,
    staple_down_bar_far,
    staple_down_bar_near,
    staple_up_bar_far,
    staple_up_bar_near,
    staple_up_bar_top,
)
from gaugeflow.sites.jacobian import memory_size
from gaugeflow.sites.matrix import add, add_scaled, dag, dag_mul, mul, mul_dag, re_trace_mul, scale
from gaugeflow.sites.matrix import project as project_site
from gaugeflow.sites.numbers import where, wide
from gaugeflow.sites.residual import (
    jacobian_determinant,
    norm_bound,
    solve,
    tangent,
    update,
    update_score,
    update_vjp,
)
from gaugeflow_numba import sites as _known_sites  # noqa: F401
from gaugeflow_numba._jit import inline, parallel
from gaugeflow_numba.fields import Geometry, flat, rows, rows_of
from gaugeflow_numba.gauge import staples
from gaugeflow_numba.geometry import CHUNKS, blocks, first, first_lane, hop, link, pieces, put_link
from gaugeflow_numba.lanes import load_real, store_real, width, zero, zero_matrix
from gaugeflow_numba.memory import empty, empty_like


def _check_active(links, active_sites, active, name):
    expected = (len(active_sites), *links.shape[2:])
    if active.shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, got {active.shape}")


@parallel
def _path_sum(links, weight, mu, active_sites, out, table, d, sites, lanes, g):
    count = len(active_sites)
    n = pieces(count)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for row in range(first(item % n, count), first(item % n + 1, count)):
            x = (active_sites[row], 0)
            f = hop(table, x, mu, 0, g)
            a = zero_matrix(g)
            for nu in range(d):
                if nu != mu:
                    c = load_real(weight[nu], lane, g)
                    a = add_scaled(a, c, staples(links, table, mu, nu, x, f, sites, lanes, lane, g))
            put_link(out, 0, row, count, lanes, lane, g, a)


def path_sum(lattice, links, mu, sites, weight):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim, (mu,)))
    delta = rows(lattice, weight, lattice.ndim, links, "weight")
    out = empty((len(sites), *links.shape[2:]), links.dtype)
    _path_sum(geometry.around(links, sites), delta, mu, sites, flat(out), *geometry.arguments)
    return out


@inline
def _active(bars, table, row_of, place, count, lanes, lane, g):
    """Active row at a place, zero where the link is not active."""
    row = row_of[place[0]]
    if row < 0:
        return zero_matrix(g)
    return link(bars, table, 0, (row, place[1]), count, lanes, lane, g)


@parallel
def _path_sum_vjp(links, weight, mu, row_of, count, bars, total, out, weight_bar, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for nu in range(d):
            if nu == mu:
                continue
            for site in range(first(item % n, sites), first(item % n + 1, sites)):
                x = (site, 0)
                up, f, b = hop(table, x, nu, 0, g), hop(table, x, mu, 0, g), hop(table, x, mu, 1, g)
                b_up = hop(table, up, mu, 1, g)
                bar = zero_matrix(g)
                trace = zero(g)
                if row_of[site] >= 0 or row_of[up[0]] >= 0:
                    n_f = link(links, table, nu, f, sites, lanes, lane, g)
                    if row_of[site] >= 0:
                        m_up = link(links, table, mu, up, sites, lanes, lane, g)
                        s = _active(bars, table, row_of, x, count, lanes, lane, g)
                        bar = add(bar, staple_up_bar_near(m_up, n_f, s))
                    if row_of[up[0]] >= 0:
                        m = link(links, table, mu, x, sites, lanes, lane, g)
                        s = _active(bars, table, row_of, up, count, lanes, lane, g)
                        bar = add(bar, staple_down_bar_near(m, n_f, s))
                    trace = wide(re_trace_mul(bar, link(links, table, nu, x, sites, lanes, lane, g)))
                store_real(weight_bar[nu, site], lane, trace)
                if row_of[b[0]] >= 0 or row_of[b_up[0]] >= 0:
                    n_b = link(links, table, nu, b, sites, lanes, lane, g)
                    if row_of[b[0]] >= 0:
                        m_b_up = link(links, table, mu, b_up, sites, lanes, lane, g)
                        s = _active(bars, table, row_of, b, count, lanes, lane, g)
                        bar = add(bar, staple_up_bar_far(n_b, m_b_up, s))
                    if row_of[b_up[0]] >= 0:
                        m_b = link(links, table, mu, b, sites, lanes, lane, g)
                        s = _active(bars, table, row_of, b_up, count, lanes, lane, g)
                        bar = add(bar, staple_down_bar_far(n_b, m_b, s))
                old = link(total, table, nu, x, sites, lanes, lane, g)
                put_link(out, nu, site, sites, lanes, lane, g, add_scaled(old, load_real(weight[nu], lane, g), bar))
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            x = (site, 0)
            bar = link(total, table, mu, x, sites, lanes, lane, g)
            for nu in range(d):
                if nu == mu:
                    continue
                up, dn, f = hop(table, x, nu, 0, g), hop(table, x, nu, 1, g), hop(table, x, mu, 0, g)
                c = load_real(weight[nu], lane, g)
                if row_of[dn[0]] >= 0:
                    s = _active(bars, table, row_of, dn, count, lanes, lane, g)
                    n_dn = link(links, table, nu, dn, sites, lanes, lane, g)
                    n_f_dn = link(links, table, nu, hop(table, f, nu, 1, g), sites, lanes, lane, g)
                    bar = add_scaled(bar, c, staple_up_bar_top(n_dn, n_f_dn, s))
                if row_of[up[0]] >= 0:
                    s = _active(bars, table, row_of, up, count, lanes, lane, g)
                    n_x = link(links, table, nu, x, sites, lanes, lane, g)
                    n_f = link(links, table, nu, f, sites, lanes, lane, g)
                    bar = add_scaled(bar, c, staple_down_bar_bottom(n_x, n_f, s))
            put_link(out, mu, site, sites, lanes, lane, g, bar)


def path_sum_vjp(lattice, links, mu, sites, weight, paths_bar, total):
    _check_active(links, sites, paths_bar, "paths_bar")
    geometry = Geometry(lattice, links, reads.staple_bars(lattice.ndim, mu))
    delta = rows(lattice, weight, lattice.ndim, links, "weight")
    row_of = rows_of(lattice, sites, geometry.reads.depth)
    out = empty_like(total)
    weight_bar = empty((lattice.ndim, lattice.n_blocks, geometry.lanes), np.float64)
    weight_bar[mu] = 0.0
    _path_sum_vjp(
        geometry.around(links),
        delta,
        mu,
        row_of,
        len(sites),
        geometry.around(paths_bar[None], rows=row_of, reads=reads.active_bars(lattice.ndim, mu)),
        flat(total),
        flat(out),
        weight_bar,
        *geometry.arguments,
    )
    return out, sum_sites(lattice, weight_bar)


@inline
def highest(a, b):
    """Larger number of each lane."""
    return where(a < b, b, a)


def log_sum(lattice, determinants):
    """Sum over rows of the logarithms of determinants ``(rows, lanes)``; nan where one of them is not positive."""
    return sum_sites(lattice, np.log(np.where(determinants > 0.0, determinants, np.nan)))


@parallel
def _residual_update(links, paths, mu, active_sites, size, out, det, norm, table, d, sites, lanes, g):
    count = len(active_sites)
    n = pieces(count)
    w = width(g)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        memory = (np.empty(size * w, links.dtype), g)
        worst = zero(g)
        for row in range(first(item % n, count), first(item % n + 1, count)):
            u = link(links, table, mu, (active_sites[row], 0), sites, lanes, lane, g)
            s = link(paths, table, 0, (row, 0), count, lanes, lane, g)
            worst = highest(worst, wide(norm_bound(s)))
            m = mul_dag(u, s)
            f = project_site(m)
            put_link(out, 0, row, count, lanes, lane, g, update(u, f))
            store_real(det[row], lane, wide(jacobian_determinant(memory, f, m)))
        store_real(norm[item % n], lane, worst)


def residual_update(lattice, links, mu, sites, paths):
    _check_active(links, sites, paths, "paths")
    geometry = Geometry(lattice, links)
    out = empty_like(paths)
    det = empty((len(sites), geometry.lanes), np.float64)
    norm = np.empty((min(len(sites), CHUNKS), geometry.lanes))
    size = memory_size(geometry.n)
    _residual_update(flat(links), flat(paths), mu, sites, size, flat(out), det, norm, *geometry.local_arguments)
    return out, log_sum(lattice, det), largest_of_sites(lattice, norm) ** 0.25


@parallel
def _residual_solve(
    links, paths, mu, active_sites, size, tolerance, limit, out, det, change, table, d, sites, lanes, g
):
    count = len(active_sites)
    n = pieces(count)
    w = width(g)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        memory = (np.empty(size * w, links.dtype), g)
        worst = zero(g)
        for row in range(first(item % n, count), first(item % n + 1, count)):
            y = link(links, table, mu, (active_sites[row], 0), sites, lanes, lane, g)
            a = dag(link(paths, table, 0, (row, 0), count, lanes, lane, g))
            u, moved = solve(memory, y, a, tolerance, limit)
            put_link(out, 0, row, count, lanes, lane, g, u)
            worst = highest(worst, wide(moved))
            f = mul(u, a)
            store_real(det[row], lane, wide(jacobian_determinant(memory, project_site(f), f)))
        store_real(change[item % n], lane, worst)


def residual_solve(lattice, links, mu, sites, paths, tolerance, limit):
    _check_active(links, sites, paths, "paths")
    geometry = Geometry(lattice, links)
    out = empty_like(paths)
    det = empty((len(sites), geometry.lanes), np.float64)
    change = np.empty((min(len(sites), CHUNKS), geometry.lanes))
    _residual_solve(
        flat(links),
        flat(paths),
        mu,
        sites,
        memory_size(geometry.n),
        float(tolerance),
        int(limit),
        flat(out),
        det,
        change,
        *geometry.local_arguments,
    )
    return out, log_sum(lattice, det), np.sqrt(largest_of_sites(lattice, change))


@parallel
def _residual_update_vjp(
    links, paths, mu, active_sites, size, log_det_bar, total, active_bar, paths_bar, table, d, sites, lanes, g
):
    count = len(active_sites)
    n = pieces(count)
    w = width(g)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        memory = (np.empty(size * w, links.dtype), g)
        bar = load_real(log_det_bar[0], lane, g)
        for row in range(first(item % n, count), first(item % n + 1, count)):
            x = (active_sites[row], 0)
            u = link(links, table, mu, x, sites, lanes, lane, g)
            a = dag(link(paths, table, 0, (row, 0), count, lanes, lane, g))
            y = update(u, project_site(mul(u, a)))
            y_bar = scale(-0.5, project_site(mul(y, link(total, table, mu, x, sites, lanes, lane, g))))
            x_bar, a_bar = update_vjp(memory, u, a, y_bar, bar)
            put_link(active_bar, 0, row, count, lanes, lane, g, scale(-2.0, dag_mul(u, x_bar)))
            put_link(paths_bar, 0, row, count, lanes, lane, g, dag(a_bar))


def residual_update_vjp(lattice, links, mu, sites, paths, log_det_bar, total):
    _check_active(links, sites, paths, "paths")
    geometry = Geometry(lattice, links)
    bar = rows(lattice, np.reshape(log_det_bar, (1, -1)), 1, links, "log_det_bar")
    active_bar, paths_bar = empty_like(paths), empty_like(paths)
    _residual_update_vjp(
        flat(links),
        flat(paths),
        mu,
        sites,
        memory_size(geometry.n),
        bar,
        flat(total),
        flat(active_bar),
        flat(paths_bar),
        *geometry.local_arguments,
    )
    return active_bar, paths_bar


@parallel
def _residual_score(links, paths, mu, active_sites, size, total, active, paths_bar, table, d, sites, lanes, g):
    count = len(active_sites)
    n = pieces(count)
    w = width(g)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        memory = (np.empty(size * w, links.dtype), g)
        for row in range(first(item % n, count), first(item % n + 1, count)):
            x = (active_sites[row], 0)
            u = link(links, table, mu, x, sites, lanes, lane, g)
            a = dag(link(paths, table, 0, (row, 0), count, lanes, lane, g))
            score = scale(-0.5, project_site(mul(u, link(total, table, mu, x, sites, lanes, lane, g))))
            new_score, a_bar = update_score(memory, u, a, score)
            y = update(u, project_site(mul(u, a)))
            put_link(active, 0, row, count, lanes, lane, g, scale(-2.0, dag_mul(y, new_score)))
            put_link(paths_bar, 0, row, count, lanes, lane, g, scale(-1.0, dag(a_bar)))


def residual_score(lattice, links, mu, sites, paths, total):
    _check_active(links, sites, paths, "paths")
    geometry = Geometry(lattice, links)
    active, paths_bar = empty_like(paths), empty_like(paths)
    size = memory_size(geometry.n)
    _residual_score(
        flat(links), flat(paths), mu, sites, size, flat(total), flat(active), flat(paths_bar), *geometry.local_arguments
    )
    return active, paths_bar


def overwrite(lattice, total, mu, sites, active):
    _check_active(total, sites, active, "active")
    total[mu, sites] = active
    return total


@parallel
def _to_ambient(links, force, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for mu in range(d):
            for site in range(first(item % n, sites), first(item % n + 1, sites)):
                u = link(links, table, mu, (site, 0), sites, lanes, lane, g)
                x = scale(-2.0, dag_mul(u, link(force, table, mu, (site, 0), sites, lanes, lane, g)))
                put_link(out, mu, site, sites, lanes, lane, g, x)


def to_ambient(lattice, links, force):
    out = empty_like(links)
    _to_ambient(flat(links), flat(force), flat(out), *Geometry(lattice, links).local_arguments)
    return out


@parallel
def _from_ambient(links, bar, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for mu in range(d):
            for site in range(first(item % n, sites), first(item % n + 1, sites)):
                u = link(links, table, mu, (site, 0), sites, lanes, lane, g)
                x = mul(u, link(bar, table, mu, (site, 0), sites, lanes, lane, g))
                put_link(out, mu, site, sites, lanes, lane, g, scale(-0.5, project_site(x)))


def from_ambient(lattice, links, bar):
    out = empty_like(links)
    _from_ambient(flat(links), flat(bar), flat(out), *Geometry(lattice, links).local_arguments)
    return out


@parallel
def _residual_tangent(links, paths, force, mu, active_sites, out, table, d, sites, lanes, g):
    count = len(active_sites)
    n = pieces(count)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for row in range(first(item % n, count), first(item % n + 1, count)):
            x = (active_sites[row], 0)
            u = link(links, table, mu, x, sites, lanes, lane, g)
            w = mul_dag(u, link(paths, table, 0, (row, 0), count, lanes, lane, g))
            store_real(out[row], lane, wide(tangent(w, link(force, table, mu, x, sites, lanes, lane, g))))


def residual_tangent(lattice, links, mu, sites, paths, force):
    _check_active(links, sites, paths, "paths")
    geometry = Geometry(lattice, links)
    out = empty((len(sites), geometry.lanes), np.float64)
    _residual_tangent(flat(links), flat(paths), flat(force), mu, sites, out, *geometry.local_arguments)
    return sum_sites(lattice, out)
