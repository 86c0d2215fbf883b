"""Linear smearing of links, the convolution of flows, and its derivative.

The derivative uses that staples are gradients: the sum of Re tr(x_l S_l) over links l, with S_l the sum of staples, is
the variation of the sum of plaquettes when every link moves along x_l^dagger, and its gradient is the variation of the
staples themselves (``docs/derivations/smeared.md``).
"""

from __future__ import annotations

from typing import Any

from gaugeflow.backend import kernel
from gaugeflow.kernels.slots import all_slots, link_at, rows, site_sum, to_field
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.gauge import (
    convolve,
    convolve_bar_link,
    convolve_bar_sum,
    staple_down_along,
    staple_pair,
    staple_up_along,
)
from gaugeflow.sites.matrix import add, add_scaled, dag, re_trace_mul_dag, zero_like
from gaugeflow.sites.numbers import Matrix


def _paths(nu: int, rho: int) -> tuple[list[Any], list[Any]]:
    """Direction and hops of the three links of the upper and of the lower staple of a link of direction nu."""
    f, r, q = (nu, 0), (rho, 0), (rho, 1)
    return [(rho, ()), (nu, (r,)), (rho, (f,))], [(rho, (q,)), (nu, (q,)), (rho, (f, q))]


def _staples(lattice: Lattice, links: Array, nu: int, rho: int, here: Array) -> Matrix:
    """Upper and lower staple of the links of direction nu in one plane."""
    upper, lower = _paths(nu, rho)
    return staple_pair(*(link_at(lattice, links, mu, here, hops) for mu, hops in upper + lower))


def _staple_sum(lattice: Lattice, links: Array, weight: Any, nu: int, here: Array) -> Matrix:
    """Weighted sum of the staples of the links of direction nu."""
    total = zero_like(link_at(lattice, links, nu, here))
    for rho in range(lattice.ndim):
        if rho != nu:
            total = add_scaled(total, weight[nu * lattice.ndim + rho, ...], _staples(lattice, links, nu, rho, here))
    return total


@kernel("links")
def smear(lattice: Lattice, links: Array, eta: Any, kappa: float) -> Array:
    """Gauge-covariant convolution ``V = U + S + kappa U S^dagger U`` with S the weighted sum of staples.

    Parameters
    ----------
    lattice, links
        The lattice and its links, which need not be group elements.
    eta
        ``(ndim * ndim,)`` or ``(ndim * ndim, batch)``: weight of the staples of links of direction nu in the plane
        (nu, rho) at ``nu * ndim + rho``; entries with nu = rho are not used.
    kappa
        Weight of loop times link relative to the staples; -1 keeps V unitary to first order in eta.

    Returns
    -------
    Array
        Link-shaped matrices.
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    d = lattice.ndim
    weight = rows(lattice, eta, d * d, links, "eta")
    return xp.stack(
        [
            to_field(
                lattice,
                convolve(kappa, link_at(lattice, links, nu, here), _staple_sum(lattice, links, weight, nu, here)),
            )
            for nu in range(d)
        ]
    )


@kernel("links", "bar")
def smear_vjp(lattice: Lattice, links: Array, eta: Any, kappa: float, bar: Array) -> tuple[Array, Array]:
    """Cotangents of :func:`smear`.

    Parameters
    ----------
    lattice, links, eta, kappa
        Arguments of the forward function.
    bar
        Cotangent of its result: matrices x with dL = Re tr(x dV).

    Returns
    -------
    links_bar, eta_bar : Array
        Matrix cotangents of the links; cotangents of eta for each configuration, ``(ndim * ndim, batch)``.
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    weight = rows(lattice, eta, lattice.ndim**2, links, "eta")
    along = _along(lattice, links, kappa, bar)
    bars = [_link_bar(lattice, links, weight, kappa, bar, along, nu, here) for nu in range(lattice.ndim)]
    return xp.stack([x for x, _ in bars]), xp.concat([xp.stack(rows_bar) for _, rows_bar in bars])


def _along(lattice: Lattice, links: Array, kappa: float, bar: Array) -> Array:
    """Conjugate cotangents of the sums of staples: the direction in which links are to be moved."""
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    return xp.stack(
        [
            to_field(
                lattice,
                dag(convolve_bar_sum(kappa, link_at(lattice, links, nu, here), link_at(lattice, bar, nu, here))),
            )
            for nu in range(lattice.ndim)
        ]
    )


def _link_bar(
    lattice: Lattice, links: Array, weight: Array, kappa: float, bar: Array, along: Array, nu: int, here: Array
) -> tuple[Array, list[Array]]:
    """Cotangents of links of direction nu, and of the weights of their staples in each plane."""
    xp = array_namespace(links)
    d = lattice.ndim
    u = link_at(lattice, links, nu, here)
    along_here = link_at(lattice, along, nu, here)
    s = moved = zero_like(u)
    weight_bar = []
    for rho in range(d):
        if rho == nu:
            weight_bar.append(xp.zeros((lattice.batch(links.shape[-1]),), dtype=xp.float64))
            continue
        w_nu, w_rho = weight[nu * d + rho, ...], weight[rho * d + nu, ...]
        for variation, path in zip((staple_up_along, staple_down_along), _paths(nu, rho), strict=True):
            fields = (link_at(lattice, field, mu, here, hops) for field in (links, along) for mu, hops in path)
            moved = add(moved, variation(w_rho, w_nu, *fields))
        staples = _staples(lattice, links, nu, rho, here)
        s = add_scaled(s, w_nu, staples)
        weight_bar.append(site_sum(lattice, re_trace_mul_dag(staples, along_here)))
    own = convolve_bar_link(kappa, u, s, link_at(lattice, bar, nu, here))
    return to_field(lattice, add(own, dag(moved))), weight_bar
