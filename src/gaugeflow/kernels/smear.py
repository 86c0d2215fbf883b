"""Linear smearing of links, the convolution of residual flows, and its derivative."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from gaugeflow.backend import kernel
from gaugeflow.kernels.slots import all_slots, link_at, rows, to_field
from gaugeflow.lattice import Array, Lattice
from gaugeflow.sites.gauge import (
    convolve,
    convolve_bar_link,
    convolve_bar_sum,
    staple_down_bar_bottom,
    staple_down_bar_far,
    staple_down_bar_near,
    staple_pair,
    staple_up_bar_far,
    staple_up_bar_near,
    staple_up_bar_top,
)
from gaugeflow.sites.matrix import add, add_scaled, re_trace_mul, zero_like
from gaugeflow.sites.numbers import Matrix, wide


def _staple_sums(lattice: Lattice, links: Array, nu: int, here: Array) -> list[Matrix | None]:
    """Upper plus lower staples of the links of direction nu in the planes (nu, rho), None for rho = nu."""
    sums: list[Matrix | None] = []
    for rho in range(lattice.ndim):
        if rho == nu:
            sums.append(None)
            continue
        sums.append(
            staple_pair(
                link_at(lattice, links, rho, here),
                link_at(lattice, links, nu, here, [(rho, 0)]),
                link_at(lattice, links, rho, here, [(nu, 0)]),
                link_at(lattice, links, rho, here, [(rho, 1)]),
                link_at(lattice, links, nu, here, [(rho, 1)]),
                link_at(lattice, links, rho, here, [(nu, 0), (rho, 1)]),
            )
        )
    return sums


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
    result = []
    for nu in range(d):
        u = link_at(lattice, links, nu, here)
        s = zero_like(u)
        for rho, staples in enumerate(_staple_sums(lattice, links, nu, here)):
            if staples is not None:
                s = add_scaled(s, weight[nu * d + rho, ...], staples)
        result.append(to_field(lattice, convolve(kappa, u, s)))
    return xp.stack(result)


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
    d = lattice.ndim
    weight = rows(lattice, eta, d * d, links, "eta")
    sums_bar, direct = [], []
    for nu in range(d):
        u = link_at(lattice, links, nu, here)
        s = zero_like(u)
        for rho, staples in enumerate(_staple_sums(lattice, links, nu, here)):
            if staples is not None:
                s = add_scaled(s, weight[nu * d + rho, ...], staples)
        v_bar = link_at(lattice, bar, nu, here)
        sums_bar.append(to_field(lattice, convolve_bar_sum(kappa, u, v_bar)))
        direct.append(convolve_bar_link(kappa, u, s, v_bar))
    s_bar = xp.stack(sums_bar)
    eta_bar = [xp.zeros((lattice.batch(links.shape[-1]),), dtype=xp.float64) for _ in range(d * d)]
    result = []
    for nu in range(d):
        total = direct[nu]
        for rho in range(d):
            if rho == nu:
                continue

            def at(direction: int, *hops: tuple[int, int]) -> Matrix:
                return link_at(lattice, links, direction, here, hops)

            def sb(direction: int, *hops: tuple[int, int]) -> Matrix:
                return link_at(lattice, s_bar, direction, here, hops)

            f, r, q = (nu, 0), (rho, 0), (rho, 1)
            own = add(
                staple_up_bar_top(at(rho, q), at(rho, q, f), sb(nu, q)),
                staple_down_bar_bottom(at(rho), at(rho, f), sb(nu, r)),
            )
            side = add(
                add(
                    staple_up_bar_near(at(rho, f), at(nu, r), sb(rho)),
                    staple_down_bar_near(at(rho), at(nu, r), sb(rho, f)),
                ),
                add(
                    staple_up_bar_far(at(nu, q), at(rho, q, f), sb(rho, q)),
                    staple_down_bar_far(at(nu, q), at(rho, q), sb(rho, q, f)),
                ),
            )
            eta_bar[nu * d + rho] = xp.sum(wide(re_trace_mul(own, at(nu))), axis=0)
            total = add_scaled(total, weight[nu * d + rho, ...], own)
            total = add_scaled(total, weight[rho * d + nu, ...], side)
        result.append(to_field(lattice, total))
    return xp.stack(result), xp.stack(eta_bar)
