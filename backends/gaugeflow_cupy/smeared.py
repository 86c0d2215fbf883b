"""GPU drivers of :mod:`gaugeflow.kernels.smeared`."""

from __future__ import annotations

import cupy as xp
from numba import cuda

from gaugeflow.kernels.residual import _check_active
from gaugeflow.kernels.smeared import _check_paths
from gaugeflow.kernels.sums import sum_sites
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
from gaugeflow_cupy._jit import device, kernel
from gaugeflow_cupy.device import Geometry, contiguous, largest, sites_on_device
from gaugeflow_cupy.geometry import put, row
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import load_real, scratch, store_real
from gaugeflow_cupy.residual import log_det_row, log_or_nan, per_link, sum_of_tangents


@kernel
def _newton_schulz(matrices, count, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        put(out, 0, count, position, lanes, lane, g, schulz(row(matrices, 0, count, position, lanes, lane, g)))


def newton_schulz(lattice, matrices):
    geometry = Geometry(lattice, matrices)
    out = xp.empty(matrices.shape, matrices.dtype)
    count = len(matrices)
    launch(_newton_schulz, count * geometry.lanes, contiguous(matrices, "matrices"), count, out, *geometry.arguments)
    return out


@kernel
def _newton_schulz_vjp(matrices, count, bar, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        v = row(matrices, 0, count, position, lanes, lane, g)
        v_bar = schulz_bar(v, row(bar, 0, count, position, lanes, lane, g))
        put(out, 0, count, position, lanes, lane, g, v_bar)


def newton_schulz_vjp(lattice, matrices, bar):
    if bar.shape != matrices.shape:
        raise ValueError(f"bar: expected shape {matrices.shape}, got {bar.shape}")
    geometry = Geometry(lattice, matrices)
    out = xp.empty(matrices.shape, matrices.dtype)
    count = len(matrices)
    given = (contiguous(matrices, "matrices"), count, contiguous(bar, "bar"), out)
    launch(_newton_schulz_vjp, count * geometry.lanes, *given, *geometry.arguments)
    return out


@device
def _frozen(paths, position, count, lanes, lane, g):
    """The seven matrices of one active link."""
    return (
        row(paths, 0, count, position, lanes, lane, g),
        row(paths, 1, count, position, lanes, lane, g),
        row(paths, 2, count, position, lanes, lane, g),
        row(paths, 3, count, position, lanes, lane, g),
        row(paths, 4, count, position, lanes, lane, g),
        row(paths, 5, count, position, lanes, lane, g),
        row(paths, 6, count, position, lanes, lane, g),
    )


@kernel
def _smeared_update(links, paths, mu, active, count, out, log_det, norm, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        u = row(links, mu, sites, active[position], lanes, lane, g)
        s_a, s_c, s_z, s_0, h, b_0, b_n = _frozen(paths, position, count, lanes, lane, g)
        a, c, e, r, t = assemble(s_a, s_c, s_z, s_0, h, b_0, b_n)
        store_real(norm, i, wide(step_bound(a, c, e, t)))
        f = generator(u, a, c, e, r, t)
        put(out, 0, count, position, lanes, lane, g, update(u, f))
        store_real(log_det, i, log_or_nan(loops_determinant(scratch(links, g), f, u, a, c, e, r, t)))


def smeared_update(lattice, links, mu, sites, paths):
    _check_paths(lattice, links, sites, paths)
    out, log_det, norm = per_link(lattice, _smeared_update, links, mu, sites, paths)
    return out, sum_sites(lattice, log_det), largest(lattice, norm)


@kernel
def _smeared_tangent(links, paths, force, mu, active, count, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        u = row(links, mu, sites, active[position], lanes, lane, g)
        s_a, s_c, s_z, s_0, h, b_0, b_n = _frozen(paths, position, count, lanes, lane, g)
        a, c, e, r, t = assemble(s_a, s_c, s_z, s_0, h, b_0, b_n)
        p = row(force, mu, sites, active[position], lanes, lane, g)
        store_real(out, i, wide(loops_tangent(u, a, c, e, r, t, p)))


def smeared_tangent(lattice, links, mu, sites, paths, force):
    _check_paths(lattice, links, sites, paths)
    return sum_of_tangents(lattice, _smeared_tangent, links, mu, sites, paths, force)


@kernel
def _smeared_direction(links, filled, force, mu, active, count, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        u = row(links, mu, sites, active[position], lanes, lane, g)
        f = row(force, mu, sites, active[position], lanes, lane, g)
        b_0 = row(filled, 0, count, position, lanes, lane, g)
        put(out, 0, count, position, lanes, lane, g, tangent_direction(u, b_0, f))


def smeared_direction(lattice, links, mu, sites, filled, force):
    _check_active(lattice, links, sites, filled, "filled")
    geometry = Geometry(lattice, links)
    active = sites_on_device(sites)
    out = xp.empty(filled.shape, filled.dtype)
    fields = (contiguous(links, "links"), contiguous(filled, "filled"), contiguous(force, "force"))
    threads = active.size * geometry.lanes
    launch(_smeared_direction, threads, *fields, mu, active, active.size, out, *geometry.arguments)
    return out


@kernel
def _smeared_solve(links, paths, mu, active, count, tolerance, limit, out, log_det, change, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        y = row(links, mu, sites, active[position], lanes, lane, g)
        s_a, s_c, s_z, s_0, h, b_0, b_n = _frozen(paths, position, count, lanes, lane, g)
        a, c, e, r, t = assemble(s_a, s_c, s_z, s_0, h, b_0, b_n)
        memory = scratch(links, g)
        u, moved = solve_loops(memory, y, a, c, e, r, t, tolerance, limit)
        put(out, 0, count, position, lanes, lane, g, u)
        store_real(change, i, wide(moved))
        f = generator(u, a, c, e, r, t)
        store_real(log_det, i, log_or_nan(loops_determinant(memory, f, u, a, c, e, r, t)))


def smeared_solve(lattice, links, mu, sites, paths, tolerance, limit):
    _check_paths(lattice, links, sites, paths)
    given = (float(tolerance), int(limit))
    out, log_det, change = per_link(lattice, _smeared_solve, links, mu, sites, paths, *given)
    return out, sum_sites(lattice, log_det), xp.sqrt(largest(lattice, change))


@device
def _put_paths(paths, count, position, lanes, lane, g, matrices):
    """Write the seven matrices of one active link."""
    put(paths, 0, count, position, lanes, lane, g, matrices[0])
    put(paths, 1, count, position, lanes, lane, g, matrices[1])
    put(paths, 2, count, position, lanes, lane, g, matrices[2])
    put(paths, 3, count, position, lanes, lane, g, matrices[3])
    put(paths, 4, count, position, lanes, lane, g, matrices[4])
    put(paths, 5, count, position, lanes, lane, g, matrices[5])
    put(paths, 6, count, position, lanes, lane, g, matrices[6])


@kernel
def _smeared_update_vjp(
    links, paths, mu, active, count, log_det_bar, total, active_bar, paths_bar, table, d, sites, lanes, g
):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        u = row(links, mu, sites, active[position], lanes, lane, g)
        s_a, s_c, s_z, s_0, h, b_0, b_n = _frozen(paths, position, count, lanes, lane, g)
        a, c, e, r, t = assemble(s_a, s_c, s_z, s_0, h, b_0, b_n)
        y = update(u, generator(u, a, c, e, r, t))
        y_bar = scale(-0.5, project_site(mul(y, row(total, mu, sites, active[position], lanes, lane, g))))
        bar = load_real(log_det_bar, lane)
        x_bar, a_bar, c_bar, e_bar, r_bar, t_bar = loops_vjp(scratch(links, g), u, a, c, e, r, t, y_bar, bar)
        put(active_bar, 0, count, position, lanes, lane, g, scale(-2.0, dag_mul(u, x_bar)))
        bars = assemble_bar(1.0, s_z, h, b_0, b_n, a_bar, c_bar, e_bar, r_bar, t_bar)
        _put_paths(paths_bar, count, position, lanes, lane, g, bars)


def smeared_update_vjp(lattice, links, mu, sites, paths, log_det_bar, total):
    _check_paths(lattice, links, sites, paths)
    geometry = Geometry(lattice, links)
    active = sites_on_device(sites)
    active_bar, paths_bar = xp.empty(paths.shape[1:], paths.dtype), xp.empty(paths.shape, paths.dtype)
    fields = (contiguous(links, "links"), contiguous(paths, "paths"), mu, active, active.size)
    bars = (log_det_row(lattice, log_det_bar, links), contiguous(total, "total"), active_bar, paths_bar)
    launch(_smeared_update_vjp, active.size * geometry.lanes, *fields, *bars, *geometry.arguments)
    return active_bar, paths_bar


@kernel
def _smeared_score(links, paths, mu, active, count, total, moved, paths_bar, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < count * lanes:
        position, lane = i // lanes, i % lanes
        u = row(links, mu, sites, active[position], lanes, lane, g)
        s_a, s_c, s_z, s_0, h, b_0, b_n = _frozen(paths, position, count, lanes, lane, g)
        a, c, e, r, t = assemble(s_a, s_c, s_z, s_0, h, b_0, b_n)
        score = scale(-0.5, project_site(mul(u, row(total, mu, sites, active[position], lanes, lane, g))))
        pushed, a_bar, c_bar, e_bar, r_bar, t_bar = loops_score(scratch(links, g), u, a, c, e, r, t, score)
        y = update(u, generator(u, a, c, e, r, t))
        put(moved, 0, count, position, lanes, lane, g, scale(-2.0, dag_mul(y, pushed)))
        bars = assemble_bar(-1.0, s_z, h, b_0, b_n, a_bar, c_bar, e_bar, r_bar, t_bar)
        _put_paths(paths_bar, count, position, lanes, lane, g, bars)


def smeared_score(lattice, links, mu, sites, paths, total):
    _check_paths(lattice, links, sites, paths)
    geometry = Geometry(lattice, links)
    active = sites_on_device(sites)
    moved, paths_bar = xp.empty(paths.shape[1:], paths.dtype), xp.empty(paths.shape, paths.dtype)
    fields = (contiguous(links, "links"), contiguous(paths, "paths"), mu, active, active.size)
    results = (contiguous(total, "total"), moved, paths_bar)
    launch(_smeared_score, active.size * geometry.lanes, *fields, *results, *geometry.arguments)
    return moved, paths_bar
