"""CPU drivers of :mod:`gaugeflow.kernels.clover_term`."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numba import prange
from numba.extending import overload

from gaugeflow.kernels.clover_term import check_planes
from gaugeflow.kernels.fermions import BOTH, check_fermions
from gaugeflow.sites import dirac
from gaugeflow.sites.clover import inserted_above, inserted_below, leaves
from gaugeflow.sites.matrix import add, add_scaled, dag, scale, sub
from gaugeflow.sites.matrix import project as project_site
from gaugeflow_numba._jit import inline, known, parallel
from gaugeflow_numba.fields import Geometry, flat
from gaugeflow_numba.geometry import blocks, entries_at, first, first_lane, hop, link, pieces, put_entries, put_link
from gaugeflow_numba.lanes import zero_matrix
from gaugeflow_numba.memory import empty, empty_like
from gaugeflow_numba.spinors import SpinorGeometry


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


def put_blocks(strength, weights, diagonal, out, table, site, sites, lanes, lane, g, h):
    """Write both blocks of a site, made of the field strengths of all planes."""
    raise NotImplementedError("only in compiled code")


@overload(put_blocks, jit_options={"forceinline": True}, strict=False)
def _(strength, weights, diagonal, out, table, site, sites, lanes, lane, g, h):
    n, m = g.n, h.spin // 2 * g.n
    d = 2 * h.spin.bit_length() - 2
    scope = {"link": link, "put_entries": put_entries, "zero_matrix": zero_matrix, "plus": known(_plus_diagonal(m))}
    lines = []
    for side in (0, 1):
        lines.append("t = plus(diagonal, zero_matrix(h))")
        planes = [(mu, nu) for mu in range(d) for nu in range(mu + 1, d)]
        for p, (mu, nu) in enumerate(planes):
            scope[f"add_{p}_{side}"] = known(dirac.add_sigma(d, mu, nu, n)[side])
            lines += [
                f"f = link(strength, table, {p}, (site, 0), sites, lanes, lane, g)",
                f"t = add_{p}_{side}(t, weights[{p}], f)",
            ]
        lines.append(f"put_entries(out, 2 * site + {side}, lanes, lane, h, t)")
    parameters = "strength, weights, diagonal, out, table, site, sites, lanes, lane, g, h"
    body = "".join(f"    {line}\n" for line in lines)
    exec(f"def call({parameters}):\n{body}", scope)
    return scope["call"]


def _plus_diagonal(m):
    """Function (c, t): a packed matrix of m rows plus c times unity."""
    diagonal = {dirac.triangle(i, i) for i in range(m)}
    entries = ", ".join(f"t[{k}] + c" if k in diagonal else f"t[{k}]" for k in range(dirac.packed(m)))
    scope = {}
    exec(f"def plus_diagonal(c, t):\n    return ({entries},)\n", scope)
    return scope["plus_diagonal"]


@parallel
def _blocks(strength, weights, diagonal, out, table, sites, lanes, g, h):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            put_blocks(strength, weights, diagonal, out, table, site, sites, lanes, lane, g, h)


def clover_blocks(lattice, links, diagonal, weights):
    weights = np.array(check_planes(lattice, weights))
    spin = dirac.spin_components(lattice.ndim)
    psi = np.broadcast_to(np.zeros((), links.dtype), (lattice.n_blocks, spin, links.shape[2], links.shape[4]))
    geometry = SpinorGeometry(lattice, links, psi)
    strength = empty((len(lattice.planes), *links.shape[1:]), links.dtype)
    _strength(flat(links), flat(strength), *geometry.arguments)
    table, _, sites, lanes, g = geometry.local_arguments
    out = empty((lattice.n_blocks, 2, geometry.block.count, lanes), links.dtype)
    _blocks(flat(strength), weights, float(diagonal), flat(out), table, sites, lanes, g, geometry.block)
    return out


def put_tensor(left, right, weights, out, fields, table, site, sites, lanes, lane, g, s):
    """Write the tensor of a site for all planes."""
    raise NotImplementedError("only in compiled code")


@overload(put_tensor, jit_options={"forceinline": True}, strict=False)
def _(left, right, weights, out, fields, table, site, sites, lanes, lane, g, s):
    n, d = g.n, 2 * s.spin.bit_length() - 2
    scope = {
        "at": entries_at,
        "put_link": put_link,
        "zero_matrix": zero_matrix,
        "outer": known(dirac.add_outer(s.spin, n)),
        "sub": sub,
        "dag": dag,
    }
    lines = []
    for p, (mu, nu) in enumerate(combinations(range(d), 2)):
        scope[f"sigma_{p}"] = known(dirac.sigma_times(d, mu, nu, n))
        lines += [
            "t = zero_matrix(g)",
            "for r in range(fields):",
            "    row = r * sites + site",
            f"    x = sigma_{p}(at(right, table, row, 0, lanes, lane, s))",
            f"    t = outer(t, 0.125 * weights[{p}], x, at(left, table, row, 0, lanes, lane, s))",
            f"put_link(out, {p}, site, sites, lanes, lane, g, sub(t, dag(t)))",
        ]
    parameters = "left, right, weights, out, fields, table, site, sites, lanes, lane, g, s"
    body = "".join(f"    {line}\n" for line in lines)
    exec(f"def call({parameters}):\n{body}", scope)
    return scope["call"]


@parallel
def _tensor(left, right, weights, out, fields, table, sites, lanes, g, s):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            put_tensor(left, right, weights, out, fields, table, site, sites, lanes, lane, g, s)


def clover_tensor(lattice, left, right, weights):
    spin = dirac.spin_components(lattice.ndim)
    check_fermions(lattice, left, BOTH, None, "left", spin)
    check_fermions(lattice, right, BOTH, None, "right", spin)
    weights = np.array(check_planes(lattice, weights))
    geometry = SpinorGeometry.of_spinors(lattice, left, BOTH)
    table, _, sites, lanes, g = geometry.local_arguments
    out = empty((len(lattice.planes), sites, g.n, g.n, lanes), left.dtype)
    arguments = (geometry.fields, table, sites, lanes, g, geometry.own_spinor)
    _tensor(flat(left), flat(right), weights, flat(out), *arguments)
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
    arguments = Geometry(lattice, links).arguments
    _gradient(flat(links), flat(tensor), flat(out), *arguments)
    return out
