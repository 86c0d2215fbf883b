"""CPU drivers of :mod:`gaugeflow.kernels.clover_term`."""

from __future__ import annotations

import numpy as np
from numba import prange

from gaugeflow.kernels import reads
from gaugeflow.kernels.clover_term import check_planes
from gaugeflow.kernels.fermions import BOTH, check_fermions, check_pair
from gaugeflow.sites import dirac
from gaugeflow.sites.clover import inserted_above, inserted_below, leaves
from gaugeflow.sites.matrix import add, add_scaled, dag, scale, sub
from gaugeflow.sites.matrix import project as project_site
from gaugeflow_numba._jit import inline, parallel
from gaugeflow_numba.fields import PRECISION, Geometry, flat
from gaugeflow_numba.geometry import blocks, first, first_lane, hop, link, pieces, put_link
from gaugeflow_numba.hops import lanes_of, notes, number_bytes, sites_and_lanes
from gaugeflow_numba.lanes import colours, entries, zero_matrix
from gaugeflow_numba.memory import empty, empty_like
from gaugeflow_numba.spinors import add_tensor, clear, put_antihermitian, put_blocks
from gaugeflow_numba.traced import address


@inline
def _leaves(links, table, mu, nu, x, sites, lanes, lane, g):
    f, up = hop(table, x, mu, 0, g), hop(table, x, nu, 0, g)
    b, dn = hop(table, x, mu, 1, g), hop(table, x, nu, 1, g)
    b_up, b_dn, f_dn = hop(table, up, mu, 1, g), hop(table, dn, mu, 1, g), hop(table, f, nu, 1, g)
    m = link(links, table, mu, x, sites, lanes, lane, g)
    n = link(links, table, nu, x, sites, lanes, lane, g)
    m_b = link(links, table, mu, b, sites, lanes, lane, g)
    n_dn = link(links, table, nu, dn, sites, lanes, lane, g)
    return leaves(
        (m, link(links, table, nu, f, sites, lanes, lane, g), link(links, table, mu, up, sites, lanes, lane, g), n),
        (n, link(links, table, mu, b_up, sites, lanes, lane, g), link(links, table, nu, b, sites, lanes, lane, g), m_b),
        (
            m_b,
            link(links, table, nu, b_dn, sites, lanes, lane, g),
            link(links, table, mu, b_dn, sites, lanes, lane, g),
            n_dn,
        ),
        (
            n_dn,
            link(links, table, mu, dn, sites, lanes, lane, g),
            link(links, table, nu, f_dn, sites, lanes, lane, g),
            m,
        ),
    )


def _near(lattice, geometry, field):
    """A field as kernels that hop take it; alone, where the lattice is whole: choosing between two costs a tenth here."""
    return flat(field) if lattice.domain is None else geometry.around(field)


@parallel
def _strength(links, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            plane = 0
            for mu in range(d):
                for nu in range(mu + 1, d):
                    q = _leaves(links, table, mu, nu, (site, 0), sites, lanes, lane, g)
                    put_link(out, plane, site, sites, lanes, lane, g, scale(0.125, sub(q, dag(q))))
                    plane += 1


@parallel
def _blocks(strength, weights, diagonal, out, sites, lanes, g):
    f, w, y = address(strength), address(weights), address(out)
    n, stride, matrix = pieces(sites), lanes * number_bytes(g), colours(g) * colours(g)
    half = entries(g) // 2
    for item in prange(n * blocks(lanes, g)):
        offset = first_lane(item // n, lanes, g) * number_bytes(g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            at, to = f + site * matrix * stride + offset, y + site * (half * (half + 1)) * stride + offset
            put_blocks(at, sites * matrix * stride, w, diagonal, to, stride, g)


def clover_blocks(lattice, links, diagonal, weights):
    weights = np.array(check_planes(lattice, weights))
    spin = dirac.spin_components(lattice.ndim)
    n, lanes = links.shape[2], links.shape[4]
    strength = empty((len(lattice.planes), *links.shape[1:]), links.dtype)
    geometry = Geometry(lattice, links, reads.clover_leaves(lattice.ndim))
    _strength(_near(lattice, geometry, links), flat(strength), *geometry.arguments)
    out = empty((lattice.n_blocks, 2, dirac.packed(spin // 2 * n), lanes), links.dtype)
    g = lanes_of(n, spin, lanes, 8 * PRECISION[links.dtype](0).itemsize)
    _blocks(flat(strength), weights, float(diagonal), flat(out), lattice.n_blocks, lanes, g)
    return out


@parallel
def _tensor(left, right, weights, out, fields, sites, lanes, g):
    one, two, y = address(left), address(right), address(out)
    n, stride, matrix = pieces(sites), lanes * number_bytes(g), colours(g) * colours(g)
    for item in prange(n * blocks(lanes, g)):
        note = notes(g)
        offset = first_lane(item // n, lanes, g) * number_bytes(g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            for plane in range(len(weights)):
                clear(note, g)
                for r in range(fields):
                    place = (r * sites + site) * (entries(g) * stride) + offset
                    add_tensor(note, one + place, two + place, stride, plane, g)
                to = y + (plane * sites + site) * matrix * stride + offset
                put_antihermitian(note, to, stride, 0.125 * weights[plane], g)


def clover_tensor(lattice, left, right, weights):
    spin = dirac.spin_components(lattice.ndim)
    check_fermions(lattice, left, BOTH, None, "left", spin)
    check_fermions(lattice, right, BOTH, None, "right", spin)
    check_pair(left, right, "left and right")
    weights = np.array(check_planes(lattice, weights))
    n, lanes = left.shape[-2:]
    out = empty((len(lattice.planes), lattice.n_blocks, n, n, lanes), left.dtype)
    _, _, g = sites_and_lanes(lattice, left, BOTH)
    fields = left.shape[0] if left.ndim == 5 else 1
    _tensor(flat(left), flat(right), weights, flat(out), fields, lattice.n_blocks, lanes, g)
    return out


@parallel
def _gradient(links, tensor, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            x = (site, 0)
            for mu in range(d):
                f = hop(table, x, mu, 0, g)
                u = link(links, table, mu, x, sites, lanes, lane, g)
                total = zero_matrix(g)
                for nu in range(d):
                    if nu == mu:
                        continue
                    low, high = min(mu, nu), max(mu, nu)
                    p = low * d - low * (low + 1) // 2 + high - low - 1
                    up, dn = hop(table, x, nu, 0, g), hop(table, x, nu, 1, g)
                    f_up, f_dn = hop(table, f, nu, 0, g), hop(table, f, nu, 1, g)
                    z_x = link(tensor, table, p, x, sites, lanes, lane, g)
                    z_f = link(tensor, table, p, f, sites, lanes, lane, g)
                    above = inserted_above(
                        u,
                        (
                            link(links, table, nu, f, sites, lanes, lane, g),
                            link(links, table, mu, up, sites, lanes, lane, g),
                            link(links, table, nu, x, sites, lanes, lane, g),
                        ),
                        (
                            z_x,
                            z_f,
                            link(tensor, table, p, f_up, sites, lanes, lane, g),
                            link(tensor, table, p, up, sites, lanes, lane, g),
                        ),
                    )
                    below = inserted_below(
                        u,
                        (
                            link(links, table, nu, dn, sites, lanes, lane, g),
                            link(links, table, mu, dn, sites, lanes, lane, g),
                            link(links, table, nu, f_dn, sites, lanes, lane, g),
                        ),
                        (
                            z_x,
                            link(tensor, table, p, dn, sites, lanes, lane, g),
                            link(tensor, table, p, f_dn, sites, lanes, lane, g),
                            z_f,
                        ),
                    )
                    total = add_scaled(total, -0.5 if mu < nu else 0.5, add(above, below))
                put_link(out, mu, site, sites, lanes, lane, g, project_site(total))


def clover_gradient(lattice, links, tensor):
    expected = (len(lattice.planes), *links.shape[1:])
    if tensor.shape != expected:
        raise ValueError(f"tensor: expected shape {expected}, got {tensor.shape}")
    out = empty_like(links)
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim))
    corners = Geometry(lattice, links, reads.corners(lattice.ndim))
    _gradient(_near(lattice, geometry, links), _near(lattice, corners, tensor), flat(out), *geometry.arguments)
    return out
