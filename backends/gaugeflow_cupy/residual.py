"""GPU drivers of :mod:`gaugeflow.kernels.residual`: a thread for each active link."""

from __future__ import annotations

import math

import cupy as xp
import numpy as np
from numba import cuda

from gaugeflow.kernels import reads
from gaugeflow.kernels.residual import _check_active
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.sites.gauge import (
    staple_down_bar_bottom,
    staple_down_bar_far,
    staple_down_bar_near,
    staple_up_bar_far,
    staple_up_bar_near,
    staple_up_bar_top,
)
from gaugeflow.sites.matrix import add, add_scaled, dag, dag_mul, mul, mul_dag, re_trace_mul, scale
from gaugeflow.sites.matrix import project as project_site
from gaugeflow.sites.numbers import log, where, wide
from gaugeflow.sites.residual import (
    jacobian_determinant,
    norm_bound,
    solve,
    tangent,
    update,
    update_score,
    update_vjp,
)
from gaugeflow_cupy._jit import device, kernel
from gaugeflow_cupy.device import Geometry, constant, contiguous, largest, rows, sites_on_device
from gaugeflow_cupy.gauge import each_link, staple_sum
from gaugeflow_cupy.geometry import hop, link, link_of, put, row
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import load_real, scratch, store_real, zero, zero_matrix


@kernel
def _path_sum(links, weight, mu, active, count, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        a = staple_sum(links, weight, table, mu, active[position], d, sites, lanes, lane, g)
        put(out, 0, count, position, lanes, lane, g, a)


def path_sum(lattice, links, mu, sites, weight):
    d = lattice.ndim
    geometry = Geometry(lattice, links, reads.staples(d, (mu,)))
    weights = rows(lattice, weight, d, links, "weight", [k % d for k in range(d * d)])
    active = sites_on_device(sites)
    out = xp.empty((active.size, *links.shape[2:]), links.dtype)
    given = (geometry.around(links, "links", sites), weights, mu, active, active.size, out)
    launch(_path_sum, active.size * geometry.lanes, *given, *geometry.arguments)
    return out


@device
def _active(bars, table, row_of, place, count, lanes, lane, g):
    """Active row at a place, zero where the link is not active."""
    position = row_of[place[0]]
    if position < 0:
        return zero_matrix(bars, g)
    return link(bars, table, 0, (position, place[1]), count, lanes, lane, g)


@device
def _own_bar(links, weight, mu, row_of, count, bars, bar, table, x, d, sites, lanes, lane, g):
    """``bar`` plus the cotangent of a link of the direction of active links."""
    f = hop(table, x, mu, 0, sites)
    for nu in range(d):
        if nu == mu:
            continue
        up, dn = hop(table, x, nu, 0, sites), hop(table, x, nu, 1, sites)
        c = load_real(weight, nu * lanes + lane)
        if row_of[dn[0]] >= 0:
            s = _active(bars, table, row_of, dn, count, lanes, lane, g)
            n_dn = link(links, table, nu, dn, sites, lanes, lane, g)
            n_f_dn = link(links, table, nu, hop(table, f, nu, 1, sites), sites, lanes, lane, g)
            bar = add_scaled(bar, c, staple_up_bar_top(n_dn, n_f_dn, s))
        if row_of[up[0]] >= 0:
            s = _active(bars, table, row_of, up, count, lanes, lane, g)
            n_x = link(links, table, nu, x, sites, lanes, lane, g)
            n_f = link(links, table, nu, f, sites, lanes, lane, g)
            bar = add_scaled(bar, c, staple_down_bar_bottom(n_x, n_f, s))
    return bar


@device
def _near_bar(links, mu, nu, row_of, count, bars, table, x, sites, lanes, lane, g):
    """Cotangent of n(x) in the staples of the links at x and x + nu that begin with it."""
    up = hop(table, x, nu, 0, sites)
    n_f = link(links, table, nu, hop(table, x, mu, 0, sites), sites, lanes, lane, g)
    upper = _active(bars, table, row_of, x, count, lanes, lane, g)
    bar = staple_up_bar_near(link(links, table, mu, up, sites, lanes, lane, g), n_f, upper)
    lower = _active(bars, table, row_of, up, count, lanes, lane, g)
    return add(bar, staple_down_bar_near(link(links, table, mu, x, sites, lanes, lane, g), n_f, lower))


@device
def _far_bar(links, mu, nu, row_of, count, bars, table, x, sites, lanes, lane, g):
    """Cotangent of n(x) in the staples of the links at x - mu and x - mu + nu that end with it."""
    b = hop(table, x, mu, 1, sites)
    b_up = hop(table, hop(table, x, nu, 0, sites), mu, 1, sites)
    n_b = link(links, table, nu, b, sites, lanes, lane, g)
    upper = _active(bars, table, row_of, b, count, lanes, lane, g)
    bar = staple_up_bar_far(n_b, link(links, table, mu, b_up, sites, lanes, lane, g), upper)
    lower = _active(bars, table, row_of, b_up, count, lanes, lane, g)
    return add(bar, staple_down_bar_far(n_b, link(links, table, mu, b, sites, lanes, lane, g), lower))


@kernel
def _path_sum_vjp(links, weight, mu, row_of, count, bars, total, out, weight_bar, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i >= d * sites * lanes:
        return
    nu, site, lane = link_of(i, d, lanes)
    x = (site, 0)
    old = row(total, nu, sites, site, lanes, lane, g)
    trace = zero()
    if nu == mu:
        old = _own_bar(links, weight, mu, row_of, count, bars, old, table, x, d, sites, lanes, lane, g)
    else:
        near = _near_bar(links, mu, nu, row_of, count, bars, table, x, sites, lanes, lane, g)
        trace = trace + wide(re_trace_mul(near, row(links, nu, sites, site, lanes, lane, g)))
        far = _far_bar(links, mu, nu, row_of, count, bars, table, x, sites, lanes, lane, g)
        old = add_scaled(old, load_real(weight, nu * lanes + lane), add(near, far))
    put(out, nu, sites, site, lanes, lane, g, old)
    store_real(weight_bar, (nu * sites + site) * lanes + lane, trace)


def rows_of(lattice, sites, depth):
    """Row of every place in a field on some block sites, -1 where there is none, on the host and here.

    On a cut lattice also of places on the layers around; on a whole one nothing is known on the host.
    """
    if lattice.domain is not None:
        around = lattice.domain.rows(
            lattice, np.asarray(sites, dtype=np.int32), depth
        )  # all processes find them together
        return around, constant(around)
    active = sites_on_device(sites)
    here = xp.full(lattice.n_blocks, -1, dtype=xp.int32)
    here[active] = xp.arange(active.size, dtype=xp.int32)
    return None, here


def path_sum_vjp(lattice, links, mu, sites, weight, paths_bar, total):
    _check_active(lattice, links, sites, paths_bar, "paths_bar")
    geometry = Geometry(lattice, links, reads.staple_bars(lattice.ndim, mu))
    delta = rows(lattice, weight, lattice.ndim, links, "weight")
    row_of, rows_here = rows_of(lattice, sites, geometry.reads.depth)
    active = reads.active_bars(lattice.ndim, mu)
    out = xp.empty(total.shape, total.dtype)
    weight_bar = xp.empty((lattice.ndim, geometry.sites, geometry.lanes))
    paths_bar = geometry.around(paths_bar[None], "paths_bar", rows=row_of, reads=active)
    bars = (paths_bar, contiguous(total, "total"), out, weight_bar)
    given = (geometry.around(links, "links"), delta, mu, rows_here, len(sites), *bars)
    launch(_path_sum_vjp, weight_bar.size, *given, *geometry.arguments)
    return out, sum_sites(lattice, weight_bar)


@device
def log_or_nan(det):
    """Logarithm of a determinant in double precision; nan where it is not positive."""
    x = wide(det)
    return where(x > 0.0, log(where(x > 0.0, x, 1.0)), math.nan)


@kernel
def _residual_update(links, paths, mu, active, count, out, log_det, norm, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        u = row(links, mu, sites, active[position], lanes, lane, g)
        s = row(paths, 0, count, position, lanes, lane, g)
        store_real(norm, i, wide(norm_bound(s)))
        w = mul_dag(u, s)
        f = project_site(w)
        put(out, 0, count, position, lanes, lane, g, update(u, f))
        store_real(log_det, i, log_or_nan(jacobian_determinant(scratch(links, g), f, w)))


def per_link(lattice, loop, links, mu, sites, paths, *given):
    """New rows of active links and two double-precision numbers for each of them."""
    geometry = Geometry(lattice, links)
    active = sites_on_device(sites)
    out = xp.empty(paths.shape[-4:], paths.dtype)
    one, two = (xp.empty((active.size, geometry.lanes)) for _ in range(2))
    fields = (contiguous(links, "links"), contiguous(paths, "paths"))
    launch(loop, one.size, *fields, mu, active, active.size, *given, out, one, two, *geometry.arguments)
    return out, one, two


def residual_update(lattice, links, mu, sites, paths):
    _check_active(lattice, links, sites, paths, "paths")
    out, log_det, norm = per_link(lattice, _residual_update, links, mu, sites, paths)
    return out, sum_sites(lattice, log_det), largest(lattice, norm) ** 0.25


@kernel
def _residual_solve(links, paths, mu, active, count, tolerance, limit, out, log_det, change, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        y = row(links, mu, sites, active[position], lanes, lane, g)
        a = dag(row(paths, 0, count, position, lanes, lane, g))
        memory = scratch(links, g)
        u, moved = solve(memory, y, a, tolerance, limit)
        put(out, 0, count, position, lanes, lane, g, u)
        store_real(change, i, wide(moved))
        w = mul(u, a)
        store_real(log_det, i, log_or_nan(jacobian_determinant(memory, project_site(w), w)))


def residual_solve(lattice, links, mu, sites, paths, tolerance, limit):
    _check_active(lattice, links, sites, paths, "paths")
    given = (float(tolerance), int(limit))
    out, log_det, change = per_link(lattice, _residual_solve, links, mu, sites, paths, *given)
    return out, sum_sites(lattice, log_det), xp.sqrt(largest(lattice, change))


@kernel
def _residual_update_vjp(
    links, paths, mu, active, count, log_det_bar, total, active_bar, paths_bar, table, d, sites, lanes, g
):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        u = row(links, mu, sites, active[position], lanes, lane, g)
        a = dag(row(paths, 0, count, position, lanes, lane, g))
        y = update(u, project_site(mul(u, a)))
        y_bar = scale(-0.5, project_site(mul(y, row(total, mu, sites, active[position], lanes, lane, g))))
        x_bar, a_bar = update_vjp(scratch(links, g), u, a, y_bar, load_real(log_det_bar, lane))
        put(active_bar, 0, count, position, lanes, lane, g, scale(-2.0, dag_mul(u, x_bar)))
        put(paths_bar, 0, count, position, lanes, lane, g, dag(a_bar))


def log_det_row(lattice, log_det_bar, links):
    """The cotangent of ``log_det`` for every lane."""
    one = xp.reshape(log_det_bar, (1, -1)) if isinstance(log_det_bar, xp.ndarray) else log_det_bar
    return rows(lattice, one, 1, links, "log_det_bar")


def residual_update_vjp(lattice, links, mu, sites, paths, log_det_bar, total):
    _check_active(lattice, links, sites, paths, "paths")
    geometry = Geometry(lattice, links)
    active = sites_on_device(sites)
    active_bar, paths_bar = (xp.empty(paths.shape, paths.dtype) for _ in range(2))
    fields = (contiguous(links, "links"), contiguous(paths, "paths"), mu, active, active.size)
    bars = (log_det_row(lattice, log_det_bar, links), contiguous(total, "total"), active_bar, paths_bar)
    launch(_residual_update_vjp, active.size * geometry.lanes, *fields, *bars, *geometry.arguments)
    return active_bar, paths_bar


@kernel
def _residual_score(links, paths, mu, active, count, total, new, paths_bar, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        u = row(links, mu, sites, active[position], lanes, lane, g)
        a = dag(row(paths, 0, count, position, lanes, lane, g))
        score = scale(-0.5, project_site(mul(u, row(total, mu, sites, active[position], lanes, lane, g))))
        new_score, a_bar = update_score(scratch(links, g), u, a, score)
        y = update(u, project_site(mul(u, a)))
        put(new, 0, count, position, lanes, lane, g, scale(-2.0, dag_mul(y, new_score)))
        put(paths_bar, 0, count, position, lanes, lane, g, scale(-1.0, dag(a_bar)))


def residual_score(lattice, links, mu, sites, paths, total):
    _check_active(lattice, links, sites, paths, "paths")
    geometry = Geometry(lattice, links)
    active = sites_on_device(sites)
    new, paths_bar = (xp.empty(paths.shape, paths.dtype) for _ in range(2))
    fields = (contiguous(links, "links"), contiguous(paths, "paths"), mu, active, active.size)
    bars = (contiguous(total, "total"), new, paths_bar)
    launch(_residual_score, active.size * geometry.lanes, *fields, *bars, *geometry.arguments)
    return new, paths_bar


@kernel
def _overwrite(total, mu, active, count, new, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        put(total, mu, sites, active[position], lanes, lane, g, row(new, 0, count, position, lanes, lane, g))


def overwrite(lattice, total, mu, sites, active):
    _check_active(lattice, total, sites, active, "active")
    geometry = Geometry(lattice, total)
    total, here = contiguous(total, "total"), sites_on_device(sites)
    new = contiguous(active, "active").astype(total.dtype, copy=False)
    launch(_overwrite, here.size * geometry.lanes, total, mu, here, here.size, new, *geometry.arguments)
    return total


@kernel
def _to_ambient(links, force, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        mu, site, lane = link_of(i, d, lanes)
        u = row(links, mu, sites, site, lanes, lane, g)
        put(out, mu, sites, site, lanes, lane, g, scale(-2.0, dag_mul(u, row(force, mu, sites, site, lanes, lane, g))))


def to_ambient(lattice, links, force):
    return each_link(_to_ambient, lattice, links, force)


@kernel
def _from_ambient(links, bar, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        mu, site, lane = link_of(i, d, lanes)
        x = mul(row(links, mu, sites, site, lanes, lane, g), row(bar, mu, sites, site, lanes, lane, g))
        put(out, mu, sites, site, lanes, lane, g, scale(-0.5, project_site(x)))


def from_ambient(lattice, links, bar):
    return each_link(_from_ambient, lattice, links, bar)


@kernel
def _residual_tangent(links, paths, force, mu, active, count, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        u = row(links, mu, sites, active[position], lanes, lane, g)
        w = mul_dag(u, row(paths, 0, count, position, lanes, lane, g))
        store_real(out, i, wide(tangent(w, row(force, mu, sites, active[position], lanes, lane, g))))


def sum_of_tangents(lattice, loop, links, mu, sites, paths, force):
    """Sum of a number for each active link."""
    geometry = Geometry(lattice, links)
    active = sites_on_device(sites)
    out = xp.empty((active.size, geometry.lanes))
    fields = (contiguous(links, "links"), contiguous(paths, "paths"), contiguous(force, "force"))
    launch(loop, out.size, *fields, mu, active, active.size, out, *geometry.arguments)
    return sum_sites(lattice, out)


def residual_tangent(lattice, links, mu, sites, paths, force):
    _check_active(lattice, links, sites, paths, "paths")
    return sum_of_tangents(lattice, _residual_tangent, links, mu, sites, paths, force)
