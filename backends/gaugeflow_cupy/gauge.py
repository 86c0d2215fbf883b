"""GPU drivers of :mod:`gaugeflow.kernels.gauge`: threads, neighbours, loads and stores; the formulas are site functions."""

from __future__ import annotations

import math

import cupy as xp
from numba import cuda

from gaugeflow.kernels import reads
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.sites.clover import leaves, wide_charge, wide_energy
from gaugeflow.sites.exponential import exp
from gaugeflow.sites.gauge import (
    around_ahead,
    around_ahead_below,
    around_behind,
    around_behind_below,
    re_trace_plaquette,
    re_trace_rectangle,
    staple_pair,
    tall_down,
    tall_up,
)
from gaugeflow.sites.matrix import add, add_scaled, mul, mul_dag, re_trace_mul, scale
from gaugeflow.sites.matrix import project as project_site
from gaugeflow.sites.numbers import wide
from gaugeflow.sites.unitary import reunitarise as reunitarise_site
from gaugeflow_cupy._jit import device, kernel
from gaugeflow_cupy.device import Geometry, contiguous, rows
from gaugeflow_cupy.geometry import hop, link, link_of, put, row
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import load_real, store_real, zero, zero_matrix


@kernel
def _plaquette_traces(links, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i >= sites * lanes:
        return
    site, lane = i // lanes, i % lanes
    x = (site, 0)
    plane = 0
    for mu in range(d):
        u = row(links, mu, sites, site, lanes, lane, g)
        for nu in range(mu + 1, d):
            trace = re_trace_plaquette(
                u,
                link(links, table, nu, hop(table, x, mu, 0, sites), sites, lanes, lane, g),
                row(links, nu, sites, site, lanes, lane, g),
                link(links, table, mu, hop(table, x, nu, 0, sites), sites, lanes, lane, g),
            )
            store_real(out, plane * sites * lanes + i, wide(trace))
            plane += 1


def plaquette_traces(lattice, links):
    geometry = Geometry(lattice, links, reads.plaquettes(lattice.ndim))
    out = xp.empty((len(lattice.planes), geometry.sites, geometry.lanes))
    launch(_plaquette_traces, geometry.threads, geometry.around(links, "links"), out, *geometry.arguments)
    return out


@kernel
def _rectangle(links, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i >= sites * lanes:
        return
    site, lane = i // lanes, i % lanes
    x = (site, 0)
    pair = 0
    for mu in range(d):
        f = hop(table, x, mu, 0, sites)
        u, u_f = row(links, mu, sites, site, lanes, lane, g), link(links, table, mu, f, sites, lanes, lane, g)
        for nu in range(d):
            if nu == mu:
                continue
            up = hop(table, x, nu, 0, sites)
            trace = re_trace_rectangle(
                u,
                u_f,
                link(links, table, nu, hop(table, f, mu, 0, sites), sites, lanes, lane, g),
                row(links, nu, sites, site, lanes, lane, g),
                link(links, table, mu, up, sites, lanes, lane, g),
                link(links, table, mu, hop(table, up, mu, 0, sites), sites, lanes, lane, g),
            )
            store_real(out, pair * sites * lanes + i, wide(trace))
            pair += 1


def rectangle(lattice, links):
    geometry = Geometry(lattice, links, reads.rectangles(lattice.ndim))
    out = xp.empty((lattice.ndim * (lattice.ndim - 1), geometry.sites, geometry.lanes))
    launch(_rectangle, geometry.threads, geometry.around(links, "links"), out, *geometry.arguments)
    return sum_sites(lattice, out) / (geometry.n * lattice.volume)


@device
def staples(links, table, mu, nu, x, f, sites, lanes, lane, g):
    """Upper and lower staple of the link (x, mu) in the plane (mu, nu); f is the place x + mu."""
    down = hop(table, x, nu, 1, sites)
    return staple_pair(
        link(links, table, nu, x, sites, lanes, lane, g),
        link(links, table, mu, hop(table, x, nu, 0, sites), sites, lanes, lane, g),
        link(links, table, nu, f, sites, lanes, lane, g),
        link(links, table, nu, down, sites, lanes, lane, g),
        link(links, table, mu, down, sites, lanes, lane, g),
        link(links, table, nu, hop(table, f, nu, 1, sites), sites, lanes, lane, g),
    )


@device
def staple_sum(links, weight, table, mu, site, d, sites, lanes, lane, g):
    """Sum of the staples of a link, those in the plane (mu, nu) weighted by row ``mu * d + nu`` of ``weight``."""
    f = hop(table, (site, 0), mu, 0, sites)
    total = zero_matrix(links, g)
    for nu in range(d):
        if nu != mu:
            c = load_real(weight, (mu * d + nu) * lanes + lane)
            total = add_scaled(total, c, staples(links, table, mu, nu, (site, 0), f, sites, lanes, lane, g))
    return total


@kernel
def _wilson_force(links, weight, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        mu, site, lane = link_of(i, d, lanes)
        a = staple_sum(links, weight, table, mu, site, d, sites, lanes, lane, g)
        u = row(links, mu, sites, site, lanes, lane, g)
        put(out, mu, sites, site, lanes, lane, g, project_site(mul_dag(u, a)))


def plane_weights(lattice, coupling, links, factor):
    """``factor * coupling`` of the plane (mu, nu) in row ``mu * ndim + nu``, from a coupling for each plane."""
    d, planes = lattice.ndim, lattice.planes
    plane = {pair: k for k, (mu, nu) in enumerate(planes) for pair in ((mu, nu), (nu, mu))}
    select = [plane.get((mu, nu), 0) for mu in range(d) for nu in range(d)]
    return rows(lattice, coupling, len(planes), links, "coupling", select, factor)


def wilson_force(lattice, links, coupling):
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    weight = plane_weights(lattice, coupling, links, 0.5 / geometry.n)
    out = xp.empty(links.shape, links.dtype)
    launch(_wilson_force, out.size // geometry.n**2, geometry.around(links, "links"), weight, out, *geometry.arguments)
    return out


@kernel
def _rectangle_force(links, weight, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i >= d * sites * lanes:
        return
    mu, site, lane = link_of(i, d, lanes)
    x = (site, 0)
    f, b = hop(table, x, mu, 0, sites), hop(table, x, mu, 1, sites)
    u_f, u_b = link(links, table, mu, f, sites, lanes, lane, g), link(links, table, mu, b, sites, lanes, lane, g)
    a = zero_matrix(links, g)
    for nu in range(d):
        if nu == mu:
            continue
        up, dn = hop(table, x, nu, 0, sites), hop(table, x, nu, 1, sites)
        f_up, f_dn = hop(table, f, nu, 0, sites), hop(table, f, nu, 1, sites)
        ff, dn2 = hop(table, f, mu, 0, sites), hop(table, dn, nu, 1, sites)
        n_x, n_f = link(links, table, nu, x, sites, lanes, lane, g), link(links, table, nu, f, sites, lanes, lane, g)
        n_dn = link(links, table, nu, dn, sites, lanes, lane, g)
        n_f_dn = link(links, table, nu, f_dn, sites, lanes, lane, g)
        above = tall_up(
            n_x,
            link(links, table, nu, up, sites, lanes, lane, g),
            link(links, table, mu, hop(table, up, nu, 0, sites), sites, lanes, lane, g),
            link(links, table, nu, f_up, sites, lanes, lane, g),
            n_f,
        )
        below = tall_down(
            n_dn,
            link(links, table, nu, dn2, sites, lanes, lane, g),
            link(links, table, mu, dn2, sites, lanes, lane, g),
            link(links, table, nu, hop(table, f_dn, nu, 1, sites), sites, lanes, lane, g),
            n_f_dn,
        )
        a = add_scaled(a, load_real(weight, (nu * d + mu) * lanes + lane), add(above, below))
        ahead = around_ahead(
            u_f,
            link(links, table, nu, ff, sites, lanes, lane, g),
            link(links, table, mu, f_up, sites, lanes, lane, g),
            link(links, table, mu, up, sites, lanes, lane, g),
            n_x,
        )
        behind = around_behind(
            u_b,
            link(links, table, nu, b, sites, lanes, lane, g),
            link(links, table, mu, hop(table, b, nu, 0, sites), sites, lanes, lane, g),
            link(links, table, mu, up, sites, lanes, lane, g),
            n_f,
        )
        c = load_real(weight, (mu * d + nu) * lanes + lane)
        a = add_scaled(a, c, add(ahead, behind))
        b_dn = hop(table, b, nu, 1, sites)
        ahead = around_ahead_below(
            u_f,
            link(links, table, nu, hop(table, ff, nu, 1, sites), sites, lanes, lane, g),
            link(links, table, mu, f_dn, sites, lanes, lane, g),
            link(links, table, mu, dn, sites, lanes, lane, g),
            n_dn,
        )
        behind = around_behind_below(
            u_b,
            link(links, table, nu, b_dn, sites, lanes, lane, g),
            link(links, table, mu, b_dn, sites, lanes, lane, g),
            link(links, table, mu, dn, sites, lanes, lane, g),
            n_f_dn,
        )
        a = add_scaled(a, c, add(ahead, behind))
    u = row(links, mu, sites, site, lanes, lane, g)
    put(out, mu, sites, site, lanes, lane, g, project_site(mul_dag(u, a)))


def rectangle_force(lattice, links, coupling):
    d = lattice.ndim
    geometry = Geometry(lattice, links, reads.rectangle_staples(d))
    pairs = [(mu, nu) for mu in range(d) for nu in range(d) if mu != nu]
    select = [pairs.index((mu, nu)) if mu != nu else 0 for mu in range(d) for nu in range(d)]
    weight = rows(lattice, coupling, len(pairs), links, "coupling", select, 0.5 / geometry.n)
    out = xp.empty(links.shape, links.dtype)
    launch(
        _rectangle_force, out.size // geometry.n**2, geometry.around(links, "links"), weight, out, *geometry.arguments
    )
    return out


@kernel
def _evolve(links, momentum, step, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        mu, site, lane = link_of(i, d, lanes)
        p = scale(step, row(momentum, mu, sites, site, lanes, lane, g))
        put(out, mu, sites, site, lanes, lane, g, mul(exp(p), row(links, mu, sites, site, lanes, lane, g)))


def each_link(formula, lattice, links, *arguments):
    """A field from a kernel that makes every link of it from the same links of other fields."""
    geometry = Geometry(lattice, links)
    out = xp.empty(links.shape, links.dtype)
    fields = [contiguous(a, "field") if hasattr(a, "dtype") else float(a) for a in (links, *arguments)]
    launch(formula, out.size // geometry.n**2, *fields, out, *geometry.arguments)
    return out


def evolve(lattice, links, momentum, step):
    return each_link(_evolve, lattice, links, momentum, float(step))


@kernel
def _flow_stage(links, force, previous, a, b, out, k_out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        mu, site, lane = link_of(i, d, lanes)
        k = scale(a, row(force, mu, sites, site, lanes, lane, g))
        k = add_scaled(k, b, row(previous, mu, sites, site, lanes, lane, g))
        put(k_out, mu, sites, site, lanes, lane, g, k)
        put(out, mu, sites, site, lanes, lane, g, mul(exp(k), row(links, mu, sites, site, lanes, lane, g)))


def flow_stage(lattice, links, force, previous, a, b):
    geometry = Geometry(lattice, links)
    out, k = (xp.empty(links.shape, links.dtype) for _ in range(2))
    fields = (contiguous(links, "links"), contiguous(force, "force"), contiguous(previous, "previous"))
    launch(_flow_stage, out.size // geometry.n**2, *fields, float(a), float(b), out, k, *geometry.arguments)
    return out, k


@kernel
def _project(matrices, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        mu, site, lane = link_of(i, d, lanes)
        m = row(matrices, mu, sites, site, lanes, lane, g)
        put(out, mu, sites, site, lanes, lane, g, project_site(m))


def project(lattice, matrices):
    return each_link(_project, lattice, matrices)


@kernel
def _reunitarise(links, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        mu, site, lane = link_of(i, d, lanes)
        m = row(links, mu, sites, site, lanes, lane, g)
        put(out, mu, sites, site, lanes, lane, g, reunitarise_site(m))


def reunitarise(lattice, links):
    return each_link(_reunitarise, lattice, links)


@kernel
def _inner(a, b, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < sites * lanes:
        site, lane = i // lanes, i % lanes
        total = zero()
        for mu in range(d):
            p = row(a, mu, sites, site, lanes, lane, g)
            total = total + wide(re_trace_mul(p, row(b, mu, sites, site, lanes, lane, g)))
        store_real(out, i, total)


def inner(lattice, a, b):
    geometry = Geometry(lattice, a)
    out = xp.empty((geometry.sites, geometry.lanes))
    launch(_inner, out.size, contiguous(a, "a"), contiguous(b, "b"), out, *geometry.arguments)
    return -2.0 * sum_sites(lattice, out)


@kernel
def _gauge_transform(links, rotation, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        mu, site, lane = link_of(i, d, lanes)
        u = mul(row(rotation, 0, sites, site, lanes, lane, g), row(links, mu, sites, site, lanes, lane, g))
        end = link(rotation, table, 0, hop(table, (site, 0), mu, 0, sites), sites, lanes, lane, g)
        put(out, mu, sites, site, lanes, lane, g, mul_dag(u, end))


def gauge_transform(lattice, links, rotation):
    if rotation.shape != links.shape[1:]:
        raise ValueError(f"rotation: expected shape {links.shape[1:]}, got {rotation.shape}")
    geometry = Geometry(lattice, links, reads.ahead_of_sites(lattice.ndim))
    out = xp.empty(links.shape, links.dtype)
    fields = (contiguous(links, "links"), geometry.around(rotation[None], "rotation"), out)
    launch(_gauge_transform, out.size // geometry.n**2, *fields, *geometry.arguments)
    return out


@device
def directions(plane, d):
    """The two directions of a plane."""
    mu, nu = 0, plane + 1
    while nu >= d:
        mu += 1
        nu += mu + 1 - d
    return mu, nu


@device
def leaf_sum(links, table, mu, nu, x, sites, lanes, lane, g):
    """Sum of the four plaquettes of a plane around a place."""
    f, up = hop(table, x, mu, 0, sites), hop(table, x, nu, 0, sites)
    b, dn = hop(table, x, mu, 1, sites), hop(table, x, nu, 1, sites)
    b_up, b_dn, f_dn = hop(table, up, mu, 1, sites), hop(table, dn, mu, 1, sites), hop(table, f, nu, 1, sites)
    m, n = link(links, table, mu, x, sites, lanes, lane, g), link(links, table, nu, x, sites, lanes, lane, g)
    m_b, n_b = link(links, table, mu, b, sites, lanes, lane, g), link(links, table, nu, b, sites, lanes, lane, g)
    m_dn, n_dn = link(links, table, mu, dn, sites, lanes, lane, g), link(links, table, nu, dn, sites, lanes, lane, g)
    m_b_dn = link(links, table, mu, b_dn, sites, lanes, lane, g)
    return leaves(
        (m, link(links, table, nu, f, sites, lanes, lane, g), link(links, table, mu, up, sites, lanes, lane, g), n),
        (n, link(links, table, mu, b_up, sites, lanes, lane, g), n_b, m_b),
        (m_b, link(links, table, nu, b_dn, sites, lanes, lane, g), m_b_dn, n_dn),
        (n_dn, m_dn, link(links, table, nu, f_dn, sites, lanes, lane, g), m),
    )


@kernel
def _clover_energy(links, strength, energy, table, d, sites, lanes, g):
    i = cuda.grid(1)
    planes = d * (d - 1) // 2
    if i < planes * sites * lanes:
        plane, site, lane = link_of(i, planes, lanes)
        mu, nu = directions(plane, d)
        field = project_site(scale(0.25, leaf_sum(links, table, mu, nu, (site, 0), sites, lanes, lane, g)))
        store_real(energy, (plane * sites + site) * lanes + lane, wide_energy(field))
        put(strength, plane, sites, site, lanes, lane, g, field)


@kernel
def _clover_charge(strength, charge, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < sites * lanes:
        site, lane = i // lanes, i % lanes
        q = wide_charge(
            row(strength, 0, sites, site, lanes, lane, g),
            row(strength, 1, sites, site, lanes, lane, g),
            row(strength, 2, sites, site, lanes, lane, g),
            row(strength, 3, sites, site, lanes, lane, g),
            row(strength, 4, sites, site, lanes, lane, g),
            row(strength, 5, sites, site, lanes, lane, g),
        )
        store_real(charge, i, q)


def clover(lattice, links):
    geometry = Geometry(lattice, links, reads.clover_leaves(lattice.ndim))
    planes = len(lattice.planes)
    strength = xp.empty((planes, *links.shape[1:]), links.dtype)
    energy = xp.empty((planes, geometry.sites, geometry.lanes))
    charge = xp.zeros((geometry.sites, geometry.lanes))
    launch(_clover_energy, energy.size, geometry.around(links, "links"), strength, energy, *geometry.arguments)
    if lattice.ndim == 4:
        launch(_clover_charge, charge.size, strength, charge, *Geometry(lattice, links).arguments)
    return energy, charge / (4.0 * math.pi**2)
