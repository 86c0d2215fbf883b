"""Sweeps over gauge links: loops, forces, link updates, clover field strength."""

from __future__ import annotations

import math
from typing import Any

from gaugeflow.backend import kernel
from gaugeflow.kernels.slots import all_slots, link_at, matrix_at, rows, site_sum, to_field, to_lanes
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites import clover as clover_sites
from gaugeflow.sites.exponential import exp
from gaugeflow.sites.gauge import (
    re_trace_plaquette,
    re_trace_rectangle,
    rectangle_staples,
    staple_pair,
)
from gaugeflow.sites.matrix import add_scaled, mul, mul_dag, re_trace_mul, scale
from gaugeflow.sites.matrix import project as project_site
from gaugeflow.sites.unitary import reunitarise as reunitarise_site


@kernel("links")
def plaquette_traces(lattice: Lattice, links: Array) -> Array:
    """Re tr P of the plaquette that starts at each site, in every plane.

    Parameters
    ----------
    lattice
        The lattice.
    links
        ``(ndim, n_blocks, N, N, lanes)``.

    Returns
    -------
    Array
        ``(n_planes, n_blocks, lanes)`` float64, planes in the order of :attr:`gaugeflow.lattice.Lattice.planes`.
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    traces = []
    for mu, nu in lattice.planes:
        trace = re_trace_plaquette(
            link_at(lattice, links, mu, here),
            link_at(lattice, links, nu, here, [(mu, 0)]),
            link_at(lattice, links, nu, here),
            link_at(lattice, links, mu, here, [(nu, 0)]),
        )
        traces.append(to_lanes(lattice, xp.astype(trace, xp.float64)))
    return xp.stack(traces)


def plaquette(lattice: Lattice, links: Array) -> Array:
    """Mean plaquette Re tr P / N of every plane, ``(n_planes, batch)`` float64, from :func:`plaquette_traces`."""
    return sum_sites(lattice, plaquette_traces(lattice, links)) / (links.shape[2] * lattice.volume)


@kernel("links")
def rectangle(lattice: Lattice, links: Array) -> Array:
    """Mean planar six-link loop Re tr R / N, two steps along mu and one along nu.

    Returns
    -------
    Array
        ``(ndim (ndim - 1), batch)`` float64; ordered pairs (mu, nu) with mu major.
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    n = links.shape[2]
    sums = []
    for mu, nu in ordered_pairs(lattice):
        trace = re_trace_rectangle(
            link_at(lattice, links, mu, here),
            link_at(lattice, links, mu, here, [(mu, 0)]),
            link_at(lattice, links, nu, here, [(mu, 0), (mu, 0)]),
            link_at(lattice, links, nu, here),
            link_at(lattice, links, mu, here, [(nu, 0)]),
            link_at(lattice, links, mu, here, [(nu, 0), (mu, 0)]),
        )
        sums.append(site_sum(lattice, trace))
    return xp.stack(sums) / (n * lattice.volume)


def ordered_pairs(lattice: Lattice) -> list[tuple[int, int]]:
    """Ordered pairs of different directions, first one major."""
    return [(mu, nu) for mu in range(lattice.ndim) for nu in range(lattice.ndim) if mu != nu]


@kernel("links")
def wilson_force(lattice: Lattice, links: Array, coupling: Any) -> Array:
    """Gradient of ``S = -sum_p (coupling_p / N) Re tr P_p`` in left coordinates.

    Parameters
    ----------
    lattice, links
        The lattice and its links ``(ndim, n_blocks, N, N, lanes)``.
    coupling
        One number, ``(n_planes,)`` or ``(n_planes, batch)``: beta of each plane (and configuration).

    Returns
    -------
    Array
        Algebra field F with d/de S(exp(e w) U) = <F, w>: ``coupling / (2 N) P(U A)``, A the sum of staples.
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    n = links.shape[2]
    weight = rows(lattice, coupling, len(lattice.planes), links, "coupling") / (2 * n)
    result = []
    for mu in range(lattice.ndim):
        u = link_at(lattice, links, mu, here)
        force = scale(0.0, u)
        for nu in range(lattice.ndim):
            if nu == mu:
                continue
            staples = staple_pair(
                link_at(lattice, links, nu, here),
                link_at(lattice, links, mu, here, [(nu, 0)]),
                link_at(lattice, links, nu, here, [(mu, 0)]),
                link_at(lattice, links, nu, here, [(nu, 1)]),
                link_at(lattice, links, mu, here, [(nu, 1)]),
                link_at(lattice, links, nu, here, [(mu, 0), (nu, 1)]),
            )
            force = add_scaled(force, weight[lattice.planes.index((min(mu, nu), max(mu, nu))), ...], staples)
        result.append(to_field(lattice, project_site(mul_dag(u, force))))
    return xp.stack(result)


@kernel("links")
def rectangle_force(lattice: Lattice, links: Array, coupling: Any) -> Array:
    """Gradient of ``S = -sum_r (coupling_r / N) Re tr R_r`` over the loops of :func:`rectangle`.

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    coupling
        One number, ``(ndim (ndim - 1),)`` or ``(ndim (ndim - 1), batch)``, in the order of :func:`rectangle`.

    Returns
    -------
    Array
        Algebra field.
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    n = links.shape[2]
    pairs = ordered_pairs(lattice)
    weight = rows(lattice, coupling, len(pairs), links, "coupling") / (2 * n)
    result = []
    for mu in range(lattice.ndim):
        u = link_at(lattice, links, mu, here)
        force = scale(0.0, u)
        for nu in range(lattice.ndim):
            if nu == mu:
                continue

            def at(direction: int, *hops: tuple[int, int]) -> Any:
                return link_at(lattice, links, direction, here, hops)

            f, b, nf, nb = (mu, 0), (mu, 1), (nu, 0), (nu, 1)
            tall, wide = rectangle_staples(
                (at(nu), at(nu, nf), at(mu, nf, nf), at(nu, f, nf), at(nu, f)),
                (at(nu, nb), at(nu, nb, nb), at(mu, nb, nb), at(nu, f, nb, nb), at(nu, f, nb)),
                (at(mu, f), at(nu, f, f), at(mu, nf, f), at(mu, nf), at(nu)),
                (at(mu, f), at(nu, f, f, nb), at(mu, f, nb), at(mu, nb), at(nu, nb)),
                (at(mu, b), at(nu, b), at(mu, nf, b), at(mu, nf), at(nu, f)),
                (at(mu, b), at(nu, b, nb), at(mu, b, nb), at(mu, nb), at(nu, f, nb)),
            )
            force = add_scaled(force, weight[pairs.index((nu, mu)), ...], tall)
            force = add_scaled(force, weight[pairs.index((mu, nu)), ...], wide)
        result.append(to_field(lattice, project_site(mul_dag(u, force))))
    return xp.stack(result)


def _each_link(lattice: Lattice, first: Array, formula: Any, *others: Array) -> Array:
    xp = array_namespace(first)
    here = all_slots(lattice, xp)
    fields = (first, *others)
    return xp.stack(
        [to_field(lattice, formula(*(link_at(lattice, f, mu, here) for f in fields))) for mu in range(lattice.ndim)]
    )


@kernel("links", "momentum")
def evolve(lattice: Lattice, links: Array, momentum: Array, step: float) -> Array:
    """Move links along an algebra field: ``exp(step * momentum) links``."""
    return _each_link(lattice, links, lambda u, p: mul(exp(scale(step, p)), u), momentum)


@kernel("links", "force", "previous")
def flow_stage(
    lattice: Lattice, links: Array, force: Array, previous: Array, a: float, b: float
) -> tuple[Array, Array]:
    """One stage of a low-storage Lie-group integrator: ``K = a force + b previous``, links to ``exp(K) links``.

    Returns
    -------
    tuple of Array
        The new links and K.
    """
    k = _each_link(lattice, force, lambda f, q: add_scaled(scale(a, f), b, q), previous)
    return _each_link(lattice, links, lambda u, x: mul(exp(x), u), k), k


@kernel("matrices")
def project(lattice: Lattice, matrices: Array) -> Array:
    """Projection of link-shaped matrices on the algebra: anti-Hermitian, traceless for N > 1."""
    return _each_link(lattice, matrices, project_site)


@kernel("links")
def reunitarise(lattice: Lattice, links: Array) -> Array:
    """The links with rounding errors removed: rows orthonormal by Gram-Schmidt, determinant 1 for N > 1."""
    return _each_link(lattice, links, reunitarise_site)


@kernel("a", "b")
def inner(lattice: Lattice, a: Array, b: Array) -> Array:
    """Scalar product ``<a, b> = -2 Re tr a b`` of algebra fields summed over all links: ``(batch,)`` float64."""
    xp = array_namespace(a)
    here = all_slots(lattice, xp)
    sums = [
        site_sum(lattice, re_trace_mul(link_at(lattice, a, mu, here), link_at(lattice, b, mu, here)))
        for mu in range(lattice.ndim)
    ]
    return -2.0 * xp.sum(xp.stack(sums), axis=0)


@kernel("links")
def gauge_transform(lattice: Lattice, links: Array, rotation: Array) -> Array:
    """Links after the rotation ``g(x) U_mu(x) g(x + mu)^dagger``; ``rotation`` is ``(n_blocks, N, N, lanes)``."""
    xp = array_namespace(links)
    if tuple(rotation.shape) != tuple(links.shape[1:]):
        raise ValueError(f"rotation: expected shape {tuple(links.shape[1:])}, got {tuple(rotation.shape)}")
    here = all_slots(lattice, xp)
    g = matrix_at(lattice, rotation, here)
    result = []
    for mu in range(lattice.ndim):
        g_mu = matrix_at(lattice, rotation, here, [(mu, 0)])
        result.append(to_field(lattice, mul_dag(mul(g, link_at(lattice, links, mu, here)), g_mu)))
    return xp.stack(result)


@kernel("links")
def clover(lattice: Lattice, links: Array) -> tuple[Array, Array]:
    """Energy and topological charge densities from the clover field strength.

    G_mu nu is the projection on the algebra of the mean of the four plaquettes around a site.

    Returns
    -------
    energy : Array
        ``(n_planes, n_blocks, lanes)`` float64, ``-tr G^2`` of each plane (units a^-4); their sum is E.
    charge : Array
        ``(n_blocks, lanes)`` float64, q = -(1 / 32 pi^2) eps tr G G with eps_xyzt = +1; zero unless ndim = 4.  (The
        minus sign belongs to the anti-Hermitian G; with F = -i G it is the usual (1 / 32 pi^2) eps tr F F.)
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    strength = []
    for mu, nu in lattice.planes:

        def at(direction: int, *hops: tuple[int, int]) -> Any:
            return link_at(lattice, links, direction, here, hops)

        f, b, nf, nb = (mu, 0), (mu, 1), (nu, 0), (nu, 1)
        leaves = clover_sites.leaves(
            (at(mu), at(nu, f), at(mu, nf), at(nu)),
            (at(nu), at(mu, b, nf), at(nu, b), at(mu, b)),
            (at(mu, b), at(nu, b, nb), at(mu, b, nb), at(nu, nb)),
            (at(nu, nb), at(mu, nb), at(nu, f, nb), at(mu)),
        )
        strength.append(project_site(scale(0.25, leaves)))
    energy = xp.stack([to_lanes(lattice, clover_sites.wide_energy(g)) for g in strength])
    if lattice.ndim == 4:
        charge = to_lanes(lattice, clover_sites.wide_charge(*strength)) * (1.0 / (4.0 * math.pi**2))
    else:
        charge = xp.zeros_like(energy[0, ...])
    return energy, charge
