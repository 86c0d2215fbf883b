"""CPU drivers of :mod:`gaugeflow.kernels.smeared`."""

from __future__ import annotations

import numpy as np
from numba import prange

from gaugeflow.kernels.residual import _check_active
from gaugeflow.kernels.smeared import _check_paths
from gaugeflow.kernels.sums import largest_of_sites, sum_sites
from gaugeflow.sites.jacobian import memory_size
from gaugeflow.sites.matrix import dag_mul, mul, scale
from gaugeflow.sites.matrix import project as project_site
from gaugeflow.sites.numbers import wide
from gaugeflow.sites.residual import update
from gaugeflow.sites.smeared import (
    assemble,
    assemble_bar,
    generator,
    loops_determinant,
    loops_score,
    loops_tangent,
    loops_vjp,
    solve_loops,
    step_bound,
    tangent_direction,
)
from gaugeflow.sites.smearing import schulz, schulz_bar
from gaugeflow_numba import sites as _known_sites  # noqa: F401
from gaugeflow_numba._jit import inline, parallel
from gaugeflow_numba.fields import Geometry, flat, rows
from gaugeflow_numba.geometry import CHUNKS, blocks, first, first_lane, link, pieces, put_link
from gaugeflow_numba.lanes import load_real, store_real, width, zero
from gaugeflow_numba.memory import empty, empty_like
from gaugeflow_numba.residual import highest, log_sum


@parallel
def _newton_schulz(matrices, count, out, table, d, sites, lanes, g):
    n = pieces(count)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for row in range(first(item % n, count), first(item % n + 1, count)):
            v = link(matrices, table, 0, (row, 0), count, lanes, lane, g)
            put_link(out, 0, row, count, lanes, lane, g, schulz(v))


def newton_schulz(lattice, matrices):
    out = empty_like(matrices)
    _newton_schulz(flat(matrices), len(matrices), flat(out), *Geometry(lattice, matrices[None]).local_arguments)
    return out


@parallel
def _newton_schulz_vjp(matrices, count, bar, out, table, d, sites, lanes, g):
    n = pieces(count)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for row in range(first(item % n, count), first(item % n + 1, count)):
            v = link(matrices, table, 0, (row, 0), count, lanes, lane, g)
            s_bar = link(bar, table, 0, (row, 0), count, lanes, lane, g)
            put_link(out, 0, row, count, lanes, lane, g, schulz_bar(v, s_bar))


def newton_schulz_vjp(lattice, matrices, bar):
    if bar.shape != matrices.shape:
        raise ValueError(f"bar: expected shape {matrices.shape}, got {bar.shape}")
    out = empty_like(matrices)
    _newton_schulz_vjp(
        flat(matrices), len(matrices), flat(bar), flat(out), *Geometry(lattice, matrices[None]).local_arguments
    )
    return out


@inline
def _paths(paths, table, row, count, lanes, lane, g):
    """The seven matrices of one active link."""
    return (
        link(paths, table, 0, (row, 0), count, lanes, lane, g),
        link(paths, table, 1, (row, 0), count, lanes, lane, g),
        link(paths, table, 2, (row, 0), count, lanes, lane, g),
        link(paths, table, 3, (row, 0), count, lanes, lane, g),
        link(paths, table, 4, (row, 0), count, lanes, lane, g),
        link(paths, table, 5, (row, 0), count, lanes, lane, g),
        link(paths, table, 6, (row, 0), count, lanes, lane, g),
    )


@parallel
def _smeared_update(links, paths, mu, active_sites, size, out, det, norm, table, d, sites, lanes, g):
    count = len(active_sites)
    n = pieces(count)
    w = width(g)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        memory = (np.empty(size * w, links.dtype), g)
        worst = zero(g)
        for row in range(first(item % n, count), first(item % n + 1, count)):
            u = link(links, table, mu, (active_sites[row], 0), sites, lanes, lane, g)
            s_a, s_c, s_z, s_0, h, b_0, b_n = _paths(paths, table, row, count, lanes, lane, g)
            a, c, e, r, t = assemble(s_a, s_c, s_z, s_0, h, b_0, b_n)
            worst = highest(worst, wide(step_bound(a, c, e, t)))
            f = generator(u, a, c, e, r, t)
            put_link(out, 0, row, count, lanes, lane, g, update(u, f))
            store_real(det[row], lane, wide(loops_determinant(memory, f, u, a, c, e, r, t)))
        store_real(norm[item % n], lane, worst)


def smeared_update(lattice, links, mu, sites, paths):
    _check_paths(lattice, links, sites, paths)
    geometry = Geometry(lattice, links)
    out = empty_like(paths[0])
    det = empty((len(sites), geometry.lanes), np.float64)
    norm = np.empty((min(len(sites), CHUNKS), geometry.lanes))
    size = memory_size(geometry.n)
    _smeared_update(flat(links), flat(paths), mu, sites, size, flat(out), det, norm, *geometry.local_arguments)
    return out, log_sum(lattice, det), largest_of_sites(lattice, norm)


@parallel
def _smeared_tangent(links, paths, force, mu, active_sites, out, table, d, sites, lanes, g):
    count = len(active_sites)
    n = pieces(count)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for row in range(first(item % n, count), first(item % n + 1, count)):
            x = (active_sites[row], 0)
            u = link(links, table, mu, x, sites, lanes, lane, g)
            s_a, s_c, s_z, s_0, h, b_0, b_n = _paths(paths, table, row, count, lanes, lane, g)
            a, c, e, r, t = assemble(s_a, s_c, s_z, s_0, h, b_0, b_n)
            change = wide(loops_tangent(u, a, c, e, r, t, link(force, table, mu, x, sites, lanes, lane, g)))
            store_real(out[row], lane, change)


def smeared_tangent(lattice, links, mu, sites, paths, force):
    _check_paths(lattice, links, sites, paths)
    geometry = Geometry(lattice, links)
    out = empty((len(sites), geometry.lanes), np.float64)
    _smeared_tangent(flat(links), flat(paths), flat(force), mu, sites, out, *geometry.local_arguments)
    return sum_sites(lattice, out)


@parallel
def _smeared_direction(links, filled, force, mu, active_sites, out, table, d, sites, lanes, g):
    count = len(active_sites)
    n = pieces(count)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for row in range(first(item % n, count), first(item % n + 1, count)):
            x = (active_sites[row], 0)
            u = link(links, table, mu, x, sites, lanes, lane, g)
            f = link(force, table, mu, x, sites, lanes, lane, g)
            b_0 = link(filled, table, 0, (row, 0), count, lanes, lane, g)
            put_link(out, 0, row, count, lanes, lane, g, tangent_direction(u, b_0, f))


def smeared_direction(lattice, links, mu, sites, filled, force):
    _check_active(lattice, links, sites, filled, "filled")
    out = empty_like(filled)
    arguments = (flat(filled), flat(force), mu, sites, flat(out))
    _smeared_direction(flat(links), *arguments, *Geometry(lattice, links).local_arguments)
    return out


@parallel
def _smeared_solve(links, paths, mu, active_sites, size, tolerance, limit, out, det, change, table, d, sites, lanes, g):
    count = len(active_sites)
    n = pieces(count)
    w = width(g)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        memory = (np.empty(size * w, links.dtype), g)
        worst = zero(g)
        for row in range(first(item % n, count), first(item % n + 1, count)):
            y = link(links, table, mu, (active_sites[row], 0), sites, lanes, lane, g)
            s_a, s_c, s_z, s_0, h, b_0, b_n = _paths(paths, table, row, count, lanes, lane, g)
            a, c, e, r, t = assemble(s_a, s_c, s_z, s_0, h, b_0, b_n)
            u, moved = solve_loops(memory, y, a, c, e, r, t, tolerance, limit)
            put_link(out, 0, row, count, lanes, lane, g, u)
            worst = highest(worst, wide(moved))
            f = generator(u, a, c, e, r, t)
            store_real(det[row], lane, wide(loops_determinant(memory, f, u, a, c, e, r, t)))
        store_real(change[item % n], lane, worst)


def smeared_solve(lattice, links, mu, sites, paths, tolerance, limit):
    _check_paths(lattice, links, sites, paths)
    geometry = Geometry(lattice, links)
    out = empty_like(paths[0])
    det = empty((len(sites), geometry.lanes), np.float64)
    change = np.empty((min(len(sites), CHUNKS), geometry.lanes))
    _smeared_solve(
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


@inline
def _put_paths(paths, row, count, lanes, lane, g, matrices):
    """Write the seven matrices of one active link."""
    put_link(paths, 0, row, count, lanes, lane, g, matrices[0])
    put_link(paths, 1, row, count, lanes, lane, g, matrices[1])
    put_link(paths, 2, row, count, lanes, lane, g, matrices[2])
    put_link(paths, 3, row, count, lanes, lane, g, matrices[3])
    put_link(paths, 4, row, count, lanes, lane, g, matrices[4])
    put_link(paths, 5, row, count, lanes, lane, g, matrices[5])
    put_link(paths, 6, row, count, lanes, lane, g, matrices[6])


@parallel
def _smeared_update_vjp(
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
            s_a, s_c, s_z, s_0, h, b_0, b_n = _paths(paths, table, row, count, lanes, lane, g)
            a, c, e, r, t = assemble(s_a, s_c, s_z, s_0, h, b_0, b_n)
            y = update(u, generator(u, a, c, e, r, t))
            y_bar = scale(-0.5, project_site(mul(y, link(total, table, mu, x, sites, lanes, lane, g))))
            x_bar, a_bar, c_bar, e_bar, r_bar, t_bar = loops_vjp(memory, u, a, c, e, r, t, y_bar, bar)
            put_link(active_bar, 0, row, count, lanes, lane, g, scale(-2.0, dag_mul(u, x_bar)))
            bars = assemble_bar(1.0, s_z, h, b_0, b_n, a_bar, c_bar, e_bar, r_bar, t_bar)
            _put_paths(paths_bar, row, count, lanes, lane, g, bars)


def smeared_update_vjp(lattice, links, mu, sites, paths, log_det_bar, total):
    _check_paths(lattice, links, sites, paths)
    geometry = Geometry(lattice, links)
    bar = rows(lattice, np.reshape(log_det_bar, (1, -1)), 1, links, "log_det_bar")
    active_bar, paths_bar = empty_like(paths[0]), empty_like(paths)
    _smeared_update_vjp(
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
def _smeared_score(links, paths, mu, active_sites, size, total, active, paths_bar, table, d, sites, lanes, g):
    count = len(active_sites)
    n = pieces(count)
    w = width(g)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        memory = (np.empty(size * w, links.dtype), g)
        for row in range(first(item % n, count), first(item % n + 1, count)):
            x = (active_sites[row], 0)
            u = link(links, table, mu, x, sites, lanes, lane, g)
            s_a, s_c, s_z, s_0, h, b_0, b_n = _paths(paths, table, row, count, lanes, lane, g)
            a, c, e, r, t = assemble(s_a, s_c, s_z, s_0, h, b_0, b_n)
            score = scale(-0.5, project_site(mul(u, link(total, table, mu, x, sites, lanes, lane, g))))
            new_score, a_bar, c_bar, e_bar, r_bar, t_bar = loops_score(memory, u, a, c, e, r, t, score)
            y = update(u, generator(u, a, c, e, r, t))
            put_link(active, 0, row, count, lanes, lane, g, scale(-2.0, dag_mul(y, new_score)))
            bars = assemble_bar(-1.0, s_z, h, b_0, b_n, a_bar, c_bar, e_bar, r_bar, t_bar)
            _put_paths(paths_bar, row, count, lanes, lane, g, bars)


def smeared_score(lattice, links, mu, sites, paths, total):
    _check_paths(lattice, links, sites, paths)
    geometry = Geometry(lattice, links)
    active, paths_bar = empty_like(paths[0]), empty_like(paths)
    size = memory_size(geometry.n)
    arguments = (flat(links), flat(paths), mu, sites, size, flat(total), flat(active), flat(paths_bar))
    _smeared_score(*arguments, *geometry.local_arguments)
    return active, paths_bar
