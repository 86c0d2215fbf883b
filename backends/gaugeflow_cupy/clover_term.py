"""GPU drivers of :mod:`gaugeflow.kernels.clover_term`."""

from __future__ import annotations

import math
from functools import cache
from itertools import combinations

import cupy as xp
from numba import cuda

from gaugeflow.kernels import reads
from gaugeflow.kernels.clover_term import check_planes
from gaugeflow.kernels.fermions import BOTH, check_fermions, check_pair
from gaugeflow.sites import dirac
from gaugeflow.sites.clover import inserted_above, inserted_below
from gaugeflow.sites.matrix import add_scaled, dag, scale, sub
from gaugeflow.sites.matrix import project as project_site
from gaugeflow_cupy._jit import device, kernel
from gaugeflow_cupy.device import Geometry, contiguous
from gaugeflow_cupy.gauge import directions, leaf_sum
from gaugeflow_cupy.geometry import hop, link, link_of, put, row
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import zero_matrix
from gaugeflow_cupy.spinors import SpinorGeometry, add_outer, assembled, dimension, family, known, of_warp, whole_warps


@kernel
def _strength(links, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    planes = d * (d - 1) // 2
    if i < planes * sites * lanes:
        plane, site, lane = link_of(i, planes, lanes)
        mu, nu = directions(plane, d)
        q = leaf_sum(links, table, mu, nu, (site, 0), sites, lanes, lane, g)
        put(out, plane, sites, site, lanes, lane, g, scale(0.125, sub(q, dag(q))))


def _plus_diagonal(m):
    """Function (c, t): a packed matrix of m rows plus c times unity."""
    diagonal = {dirac.triangle(i, i) for i in range(m)}
    entries = ", ".join(f"t[{k}] + c" if k in diagonal else f"t[{k}]" for k in range(dirac.packed(m)))
    return assembled(f"plus_diagonal_{m}", "c, t", [f"return ({entries},)"], {})


@cache
def _block(ndim, n):
    """Packed block of one chirality, which all threads of a warp share."""
    plus = _plus_diagonal(dirac.spin_components(ndim) // 2 * n)
    scope = {"row": row, "zero_matrix": zero_matrix, "plus": known(plus)}
    lines = ["t = plus(diagonal, zero_matrix(strength, h))"]
    for side in (0, 1):
        lines.append(f"if side == {side}:")
        for p, (mu, nu) in enumerate(combinations(range(ndim), 2)):
            scope[f"add_{p}_{side}"] = known(dirac.add_sigma(ndim, mu, nu, n)[side])
            lines.append(f"    t = add_{p}_{side}(t, weights[{p}], row(strength, {p}, sites, site, lanes, lane, g))")
    lines.append("return t")
    return assembled(f"block_{ndim}_{n}", _BLOCK, lines, scope)


_BLOCK = "strength, weights, diagonal, side, site, sites, lanes, lane, h, g, s"
block = family(lambda *sizes: _block(dimension(sizes[-1], sizes[-2]), math.isqrt(sizes[-2])))
"""Packed block of one chirality of a site, made of the field strengths of all planes."""


@kernel
def _blocks(strength, weights, diagonal, out, sites, lanes, h, g, s):
    side, item = of_warp(cuda.grid(1), 2)
    if item < sites * lanes:
        site, lane = item // lanes, item % lanes
        t = block(strength, weights, diagonal, side, site, sites, lanes, lane, h, g, s)
        put(out, 0, 0, 2 * site + side, lanes, lane, h, t)


def clover_blocks(lattice, links, diagonal, weights):
    weights = check_planes(lattice, weights)
    geometry = Geometry(lattice, links, reads.clover_leaves(lattice.ndim))
    strength = xp.empty((len(weights), *links.shape[1:]), links.dtype)
    launch(_strength, strength.size // geometry.n**2, geometry.around(links, "links"), strength, *geometry.arguments)
    spin = dirac.spin_components(lattice.ndim)
    count = dirac.packed(spin // 2 * geometry.n)
    out = xp.empty((lattice.n_blocks, 2, count, geometry.lanes), links.dtype)
    sizes = (geometry.sites, geometry.lanes, (0,) * count, geometry.arguments[-1], (0,) * (spin * geometry.n))
    threads = whole_warps(geometry.sites * geometry.lanes, 2)
    launch(_blocks, threads, strength, weights, float(diagonal), out, *sizes)
    return out


@cache
def _tensor_of(ndim, n):
    """Tensor of one plane, which all threads of a warp share."""
    scope = {"row": row, "zero_matrix": zero_matrix, "outer": add_outer}
    lines = ["t = zero_matrix(left, g)"]
    for p, (mu, nu) in enumerate(combinations(range(ndim), 2)):
        scope[f"sigma_{p}"] = known(dirac.sigma_times(ndim, mu, nu, n))
        lines += [
            f"if plane == {p}:",
            "    for r in range(fields):",
            f"        x = sigma_{p}(row(right, r, sites, site, lanes, lane, s))",
            f"        t = outer(t, 0.125 * weights[{p}], x, row(left, r, sites, site, lanes, lane, s))",
        ]
    lines.append("return t")
    return assembled(f"tensor_{ndim}_{n}", _TENSOR, lines, scope)


_TENSOR = "left, right, weights, fields, plane, site, sites, lanes, lane, g, s"
tensor_of = family(lambda *sizes: _tensor_of(dimension(sizes[-1], sizes[-2]), math.isqrt(sizes[-2])))
"""Weighted sum over a stack of i sigma right left^dagger, spins summed, of one plane."""


@kernel
def _tensor(left, right, weights, out, fields, planes, sites, lanes, g, s):
    plane, item = of_warp(cuda.grid(1), planes)
    if item < sites * lanes:
        site, lane = item // lanes, item % lanes
        t = tensor_of(left, right, weights, fields, plane, site, sites, lanes, lane, g, s)
        put(out, plane, sites, site, lanes, lane, g, sub(t, dag(t)))


def clover_tensor(lattice, left, right, weights):
    spin = dirac.spin_components(lattice.ndim)
    check_fermions(lattice, left, BOTH, None, "left", spin)
    check_fermions(lattice, right, BOTH, None, "right", spin)
    check_pair(left, right, "left and right")
    weights = check_planes(lattice, weights)
    geometry = SpinorGeometry(lattice, left)
    n, planes, sites, lanes = left.shape[-2], len(weights), geometry.sites, geometry.lanes
    out = xp.empty((planes, sites, n, n, lanes), left.dtype)
    given = (contiguous(left, "left"), contiguous(right, "right"), weights, out, geometry.fields, planes)
    launch(_tensor, whole_warps(sites * lanes, planes), *given, sites, lanes, geometry.g, geometry.s)
    return out


@device
def plane_of(mu, nu, d):
    """Number of the plane of two directions."""
    low, high = min(mu, nu), max(mu, nu)
    return low * d - low * (low + 1) // 2 + high - low - 1


@kernel
def _gradient(links, tensor, out, table, d, sites, lanes, g):
    i = cuda.grid(1)
    if i >= d * sites * lanes:
        return
    mu, site, lane = link_of(i, d, lanes)
    x = (site, 0)
    f = hop(table, x, mu, 0, sites)
    u = row(links, mu, sites, site, lanes, lane, g)
    total = zero_matrix(links, g)
    for nu in range(d):
        if nu == mu:
            continue
        p = plane_of(mu, nu, d)
        sign = -0.5 if mu < nu else 0.5
        up, f_up = hop(table, x, nu, 0, sites), hop(table, f, nu, 0, sites)
        above = inserted_above(
            u,
            (
                link(links, table, nu, f, sites, lanes, lane, g),
                link(links, table, mu, up, sites, lanes, lane, g),
                row(links, nu, sites, site, lanes, lane, g),
            ),
            (
                row(tensor, p, sites, site, lanes, lane, g),
                link(tensor, table, p, f, sites, lanes, lane, g),
                link(tensor, table, p, f_up, sites, lanes, lane, g),
                link(tensor, table, p, up, sites, lanes, lane, g),
            ),
        )
        total = add_scaled(total, sign, above)
    for nu in range(d):
        if nu == mu:
            continue
        p = plane_of(mu, nu, d)
        sign = -0.5 if mu < nu else 0.5
        dn, f_dn = hop(table, x, nu, 1, sites), hop(table, f, nu, 1, sites)
        below = inserted_below(
            u,
            (
                link(links, table, nu, dn, sites, lanes, lane, g),
                link(links, table, mu, dn, sites, lanes, lane, g),
                link(links, table, nu, f_dn, sites, lanes, lane, g),
            ),
            (
                row(tensor, p, sites, site, lanes, lane, g),
                link(tensor, table, p, dn, sites, lanes, lane, g),
                link(tensor, table, p, f_dn, sites, lanes, lane, g),
                link(tensor, table, p, f, sites, lanes, lane, g),
            ),
        )
        total = add_scaled(total, sign, below)
    put(out, mu, sites, site, lanes, lane, g, project_site(total))


def clover_gradient(lattice, links, tensor):
    expected = (len(lattice.planes), *links.shape[1:])
    if tuple(tensor.shape) != expected:
        raise ValueError(f"tensor: expected shape {expected}, got {tuple(tensor.shape)}")
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim) | reads.corners(lattice.ndim))
    out = xp.empty(links.shape, links.dtype)
    tensor = contiguous(tensor, "tensor").astype(links.dtype, copy=False)
    around = (
        geometry.around(links, "links", reads=reads.staples(lattice.ndim)),
        geometry.around(tensor, "tensor", reads=reads.corners(lattice.ndim)),
    )
    launch(_gradient, out.size // geometry.n**2, *around, out, *geometry.arguments)
    return out
