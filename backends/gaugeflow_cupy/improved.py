"""GPU drivers of :mod:`gaugeflow.kernels.improved`."""

from __future__ import annotations

import math

import cupy as xp
from numba import cuda

from gaugeflow.kernels import reads
from gaugeflow.sites.clover import leaves, wide_energy
from gaugeflow.sites.gauge import differ_along
from gaugeflow.sites.matrix import add, mul, scale
from gaugeflow.sites.matrix import project as project_site
from gaugeflow_cupy._jit import device, kernel
from gaugeflow_cupy.device import Geometry, contiguous
from gaugeflow_cupy.gauge import _clover_charge, directions
from gaugeflow_cupy.geometry import hop, link, link_of, put, row
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import store_real, zero_matrix


@kernel
def _extend(links, lines, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        mu, site, lane = link_of(i, d, lanes)
        u = row(links, mu, sites, site, lanes, lane, g)
        rest = link(lines, table, mu, hop(table, (site, 0), mu, 0, sites), sites, lanes, lane, g)
        put(out, mu, sites, site, lanes, lane, g, mul(u, rest))


def extend(lattice, links, lines):
    geometry = Geometry(lattice, links, reads.ahead(lattice.ndim))
    return _each_link(geometry, _extend, links, contiguous(links, "links"), geometry.around(lines, "lines"))


def _each_link(geometry, formula, links, *given):
    """A field like the links."""
    out = xp.empty(links.shape, links.dtype)
    launch(formula, out.size // geometry.n**2, *given, out, *geometry.arguments)
    return out


@device
def far(table, place, mu, sign, steps, sites):
    """The place some hops away."""
    place = hop(table, place, mu, sign, sites)
    for _ in range(1, steps):
        place = hop(table, place, mu, sign, sites)
    return place


@device
def large_leaves(across, along, p, q, table, mu, nu, x, sites, lanes, lane, g):
    """Sum of the four loops around a place with sides of p links of direction mu and q of direction nu."""
    f, up = far(table, x, mu, 0, p, sites), far(table, x, nu, 0, q, sites)
    b, dn = far(table, x, mu, 1, p, sites), far(table, x, nu, 1, q, sites)
    b_up, b_dn, f_dn = far(table, up, mu, 1, p, sites), far(table, dn, mu, 1, p, sites), far(table, f, nu, 1, q, sites)
    m, n = link(across, table, mu, x, sites, lanes, lane, g), link(along, table, nu, x, sites, lanes, lane, g)
    m_b, n_b = link(across, table, mu, b, sites, lanes, lane, g), link(along, table, nu, b, sites, lanes, lane, g)
    m_dn, n_dn = link(across, table, mu, dn, sites, lanes, lane, g), link(along, table, nu, dn, sites, lanes, lane, g)
    m_b_dn = link(across, table, mu, b_dn, sites, lanes, lane, g)
    return leaves(
        (m, link(along, table, nu, f, sites, lanes, lane, g), link(across, table, mu, up, sites, lanes, lane, g), n),
        (n, link(across, table, mu, b_up, sites, lanes, lane, g), n_b, m_b),
        (m_b, link(along, table, nu, b_dn, sites, lanes, lane, g), m_b_dn, n_dn),
        (n_dn, m_dn, link(along, table, nu, f_dn, sites, lanes, lane, g), m),
    )


@kernel
def _rectangle_energy(lines, others, m, n, strength, energy, table, d, sites, lanes, g):
    i = cuda.grid(1)
    planes = d * (d - 1) // 2
    if i < planes * sites * lanes:
        plane, site, lane = link_of(i, planes, lanes)
        mu, nu = directions(plane, d)
        total = zero_matrix(lines, g)
        for turn in range(1 if m == n else 2):
            if turn == 0:
                part = large_leaves(lines, others, m, n, table, mu, nu, (site, 0), sites, lanes, lane, g)
            else:
                part = large_leaves(others, lines, n, m, table, mu, nu, (site, 0), sites, lanes, lane, g)
            total = add(total, part)
        field = project_site(scale((0.25 if m == n else 0.125) / (m * n), total))
        store_real(energy, (plane * sites + site) * lanes + lane, wide_energy(field))
        put(strength, plane, sites, site, lanes, lane, g, field)


def rectangle_clover(lattice, lines, others, m, n):
    across, along = (reads.large_leaves(lattice.ndim, int(a), int(b)) for a, b in ((m, n), (n, m)))
    geometry = Geometry(lattice, lines, across | along)
    planes = len(lattice.planes)
    strength = xp.empty((planes, *lines.shape[1:]), lines.dtype)
    energy = xp.empty((planes, geometry.sites, geometry.lanes))
    charge = xp.zeros((geometry.sites, geometry.lanes))
    fields = (geometry.around(lines, "lines", reads=across), geometry.around(others, "others", reads=along))
    launch(_rectangle_energy, energy.size, *fields, int(m), int(n), strength, energy, *geometry.arguments)
    if lattice.ndim == 4:
        launch(_clover_charge, charge.size, strength, charge, *Geometry(lattice, lines).arguments)
    return energy, charge / (4.0 * math.pi**2)


@kernel
def _straighten(links, field, weight, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i < d * sites * lanes:
        mu, site, lane = link_of(i, d, lanes)
        f, b = hop(table, (site, 0), mu, 0, sites), hop(table, (site, 0), mu, 1, sites)
        result = differ_along(
            weight,
            row(links, mu, sites, site, lanes, lane, g),
            link(links, table, mu, b, sites, lanes, lane, g),
            link(field, table, mu, f, sites, lanes, lane, g),
            link(field, table, mu, b, sites, lanes, lane, g),
            row(field, mu, sites, site, lanes, lane, g),
        )
        put(out, mu, sites, site, lanes, lane, g, result)


def straighten(lattice, links, field, weight):
    geometry = Geometry(lattice, links, reads.along(lattice.ndim))
    fields = (geometry.around(links, "links", reads=reads.behind(lattice.ndim)), geometry.around(field, "field"))
    return _each_link(geometry, _straighten, links, *fields, float(weight))
