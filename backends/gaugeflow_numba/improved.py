"""CPU drivers of :mod:`gaugeflow.kernels.improved`."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from gaugeflow.kernels import reads
from gaugeflow.sites.clover import leaves, wide_energy
from gaugeflow.sites.gauge import differ_along
from gaugeflow.sites.matrix import add, mul, scale
from gaugeflow.sites.matrix import project as project_site
from gaugeflow_numba import sites as _known_sites  # noqa: F401
from gaugeflow_numba._jit import inline, parallel
from gaugeflow_numba.fields import Geometry, flat
from gaugeflow_numba.gauge import _clover_charge
from gaugeflow_numba.geometry import blocks, first, first_lane, hop, link, pieces, put_link
from gaugeflow_numba.lanes import store_real
from gaugeflow_numba.memory import empty, empty_like


@parallel
def _extend(links, lines, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for mu in range(d):
            for site in range(first(item % n, sites), first(item % n + 1, sites)):
                x = (site, 0)
                u = link(links, table, mu, x, sites, lanes, lane, g)
                rest = link(lines, table, mu, hop(table, x, mu, 0, g), sites, lanes, lane, g)
                put_link(out, mu, site, sites, lanes, lane, g, mul(u, rest))


def extend(lattice, links, lines):
    out = empty_like(links)
    geometry = Geometry(lattice, links, reads.ahead(lattice.ndim))
    _extend(flat(links), geometry.around(lines), flat(out), *geometry.arguments)
    return out


@inline
def _far(table, place, mu, sign, steps, g):
    """The place some hops away."""
    place = hop(table, place, mu, sign, g)
    for _ in range(1, steps):
        place = hop(table, place, mu, sign, g)
    return place


@inline
def _leaves(across, along, p, q, table, mu, nu, x, sites, lanes, lane, g):
    """Sum of the four loops around a site with sides of p links of direction mu and q of direction nu."""
    f, up = _far(table, x, mu, 0, p, g), _far(table, x, nu, 0, q, g)
    b, dn = _far(table, x, mu, 1, p, g), _far(table, x, nu, 1, q, g)
    b_up, b_dn, f_dn = _far(table, up, mu, 1, p, g), _far(table, dn, mu, 1, p, g), _far(table, f, nu, 1, q, g)
    m = link(across, table, mu, x, sites, lanes, lane, g)
    n = link(along, table, nu, x, sites, lanes, lane, g)
    m_b = link(across, table, mu, b, sites, lanes, lane, g)
    n_dn = link(along, table, nu, dn, sites, lanes, lane, g)
    return leaves(
        (m, link(along, table, nu, f, sites, lanes, lane, g), link(across, table, mu, up, sites, lanes, lane, g), n),
        (
            n,
            link(across, table, mu, b_up, sites, lanes, lane, g),
            link(along, table, nu, b, sites, lanes, lane, g),
            m_b,
        ),
        (
            m_b,
            link(along, table, nu, b_dn, sites, lanes, lane, g),
            link(across, table, mu, b_dn, sites, lanes, lane, g),
            n_dn,
        ),
        (
            n_dn,
            link(across, table, mu, dn, sites, lanes, lane, g),
            link(along, table, nu, f_dn, sites, lanes, lane, g),
            m,
        ),
    )


@parallel
def _square_energy(lines, others, m, n, strength, energy, table, d, sites, lanes, g):
    count = pieces(sites)
    for item in prange(count * blocks(lanes, g)):
        lane = first_lane(item // count, lanes, g)
        for site in range(first(item % count, sites), first(item % count + 1, sites)):
            plane = 0
            for mu in range(d):
                for nu in range(mu + 1, d):
                    x = (site, 0)
                    total = _leaves(lines, others, m, n, table, mu, nu, x, sites, lanes, lane, g)
                    field = project_site(scale(0.25 / (m * n), total))
                    store_real(energy[plane, site], lane, wide_energy(field))
                    put_link(strength, plane, site, sites, lanes, lane, g, field)
                    plane += 1


@parallel
def _rectangle_energy(lines, others, m, n, strength, energy, table, d, sites, lanes, g):
    count = pieces(sites)
    for item in prange(count * blocks(lanes, g)):
        lane = first_lane(item // count, lanes, g)
        for site in range(first(item % count, sites), first(item % count + 1, sites)):
            plane = 0
            for mu in range(d):
                for nu in range(mu + 1, d):
                    x = (site, 0)
                    total = _leaves(lines, others, m, n, table, mu, nu, x, sites, lanes, lane, g)
                    total = add(total, _leaves(others, lines, n, m, table, mu, nu, x, sites, lanes, lane, g))
                    field = project_site(scale(0.125 / (m * n), total))
                    store_real(energy[plane, site], lane, wide_energy(field))
                    put_link(strength, plane, site, sites, lanes, lane, g, field)
                    plane += 1


def rectangle_clover(lattice, lines, others, m, n):
    across, along = (reads.large_leaves(lattice.ndim, int(a), int(b)) for a, b in ((m, n), (n, m)))
    geometry = Geometry(lattice, lines, across | along)
    planes = len(lattice.planes)
    strength = empty((planes, *lines.shape[1:]), lines.dtype)
    energy = empty((planes, lattice.n_blocks, geometry.lanes), np.float64)
    charge = np.zeros((lattice.n_blocks, geometry.lanes))
    formula = _square_energy if m == n else _rectangle_energy
    fields = (flat(lines), flat(others))
    if lattice.domain is not None:  # choosing between two memories for two fields costs a third of the time
        fields = (geometry.around(lines, reads=across), geometry.around(others, reads=along))
    formula(*fields, int(m), int(n), flat(strength), energy, *geometry.arguments)
    if lattice.ndim == 4:
        _clover_charge(flat(strength), charge, *geometry.local_arguments)
    return energy, charge / (4.0 * math.pi**2)


@parallel
def _straighten(links, field, weight, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for mu in range(d):
            for site in range(first(item % n, sites), first(item % n + 1, sites)):
                x = (site, 0)
                f, b = hop(table, x, mu, 0, g), hop(table, x, mu, 1, g)
                result = differ_along(
                    weight,
                    link(links, table, mu, x, sites, lanes, lane, g),
                    link(links, table, mu, b, sites, lanes, lane, g),
                    link(field, table, mu, f, sites, lanes, lane, g),
                    link(field, table, mu, b, sites, lanes, lane, g),
                    link(field, table, mu, x, sites, lanes, lane, g),
                )
                put_link(out, mu, site, sites, lanes, lane, g, result)


def straighten(lattice, links, field, weight):
    out = empty_like(links)
    geometry = Geometry(lattice, links, reads.along(lattice.ndim))
    fields = (geometry.around(links, reads=reads.behind(lattice.ndim)), geometry.around(field))
    _straighten(*fields, float(weight), flat(out), *geometry.arguments)
    return out
