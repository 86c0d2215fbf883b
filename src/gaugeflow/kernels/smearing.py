"""Steps of smearing towards the group, and gradients of smeared plaquettes with first and second derivatives.

Every derivative that crosses sites is one of the sum of Re tr P over plaquettes, because staples are its gradient
(``docs/derivations/smeared.md``).  Cotangents are matrices x with dL = Re tr(x dV); directions are link-shaped, like
dV.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gaugeflow.backend import kernel
from gaugeflow.kernels.slots import Hops, all_slots, link_at, rows, slots_of, to_field, to_lanes
from gaugeflow.kernels.smear import _paths, _staple_sum
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.matrix import add, add_scaled, dag, zero_like
from gaugeflow.sites.numbers import Matrix
from gaugeflow.sites.smearing import (
    lower_along,
    lower_along_both,
    re_trace_plaquette_along,
    step,
    step_along,
    step_pull,
    step_pull_along,
    upper_along,
    upper_along_both,
)


def _variation(lattice: Lattice, weight: Array, nu: int, here: Array, *fields: Array) -> Matrix:
    """Change of the weighted sum of staples of links ``fields[0]``, direction nu, along ``fields[1]``; with three fields
    the change of that along ``fields[2]``."""
    functions: tuple[Callable[..., Matrix], ...] = (upper_along, lower_along)
    if len(fields) == 3:
        functions = (upper_along_both, lower_along_both)
    total = zero_like(link_at(lattice, fields[0], nu, here))
    for rho in range(lattice.ndim):
        if rho != nu:
            w = weight[nu * lattice.ndim + rho, ...]
            for function, path in zip(functions, _paths(nu, rho), strict=True):
                matrices = (link_at(lattice, field, mu, here, hops) for field in fields for mu, hops in path)
                total = add_scaled(total, w, function(*matrices))
    return total


@kernel("links")
def smear_step(lattice: Lattice, links: Array, eta: Any, kappa: float) -> tuple[Array, Array]:
    """One step of smearing towards the group, ``V = h(U + S + kappa U S^dagger U)``.

    S is the weighted sum of staples and ``h(g) = (3 g - g g^dagger g) / 2`` a Newton-Schulz step.

    Parameters
    ----------
    lattice, links
        The lattice and its links, which need not be group elements.
    eta
        ``(ndim * ndim,)`` or ``(ndim * ndim, batch)``: weight of staples in the plane (mu, nu), at ``mu * ndim + nu`` and
        at ``nu * ndim + mu``.
    kappa
        Weight of loop times link relative to the staples.

    Returns
    -------
    smeared, staples : Array
        The smeared links V, and S.
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    w = rows(lattice, eta, lattice.ndim**2, links, "eta")
    smeared, staples = [], []
    for nu in range(lattice.ndim):
        s = _staple_sum(lattice, links, w, nu, here)
        smeared.append(to_field(lattice, step(kappa, link_at(lattice, links, nu, here), s)))
        staples.append(to_field(lattice, s))
    return xp.stack(smeared), xp.stack(staples)


@kernel("links", "staples", "along")
def smear_step_along(
    lattice: Lattice, links: Array, staples: Array, eta: Any, kappa: float, along: Array
) -> tuple[Array, Array]:
    """Changes of both results of :func:`smear_step` when the links move along a direction.

    ``staples`` is the second result of :func:`smear_step`.
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    w = rows(lattice, eta, lattice.ndim**2, links, "eta")
    smeared_along, staples_along = [], []
    for nu in range(lattice.ndim):
        u, s, u_t = (link_at(lattice, field, nu, here) for field in (links, staples, along))
        s_t = _variation(lattice, w, nu, here, links, along)
        smeared_along.append(to_field(lattice, step_along(kappa, u, s, u_t, s_t)))
        staples_along.append(to_field(lattice, s_t))
    return xp.stack(smeared_along), xp.stack(staples_along)


@kernel("links", "staples", "bar")
def smear_step_pull(lattice: Lattice, links: Array, staples: Array, kappa: float, bar: Array) -> tuple[Array, Array]:
    """What of the derivative of :func:`smear_step` needs no neighbours.

    Parameters
    ----------
    lattice, links, staples, kappa
        The lattice, the arguments of :func:`smear_step` and its second result.
    bar
        Cotangent of the smeared links.

    Returns
    -------
    along, own : Array
        Conjugate cotangent of the staples; cotangent of the links where they appear explicitly.  With these,
        ``plaquette_hessian(lattice, links, eta, along, own)`` is the cotangent of the links.
    """
    here = all_slots(lattice, array_namespace(links))
    fields = (links, staples)

    def pull(nu: int) -> tuple[Matrix, Matrix]:
        u, s = (link_at(lattice, field, nu, here) for field in fields)
        return step_pull(kappa, u, s, dag(link_at(lattice, bar, nu, here)))

    return _stack_pulled(lattice, [pull(nu) for nu in range(lattice.ndim)])


@kernel("links", "staples", "bar", "links_along", "staples_along", "bar_along")
def smear_step_pull_along(
    lattice: Lattice,
    links: Array,
    staples: Array,
    kappa: float,
    bar: Array,
    links_along: Array,
    staples_along: Array,
    bar_along: Array,
) -> tuple[Array, Array]:
    """Changes of both results of :func:`smear_step_pull` when its three fields move along the last three."""
    here = all_slots(lattice, array_namespace(links))

    def pull(nu: int) -> tuple[Matrix, Matrix]:
        u, s, u_t, s_t = (link_at(lattice, f, nu, here) for f in (links, staples, links_along, staples_along))
        x, x_t = (dag(link_at(lattice, f, nu, here)) for f in (bar, bar_along))
        return step_pull_along(kappa, u, s, x, u_t, s_t, x_t)

    return _stack_pulled(lattice, [pull(nu) for nu in range(lattice.ndim)])


def _stack_pulled(lattice: Lattice, pulled: list[tuple[Matrix, Matrix]]) -> tuple[Array, Array]:
    along = [to_field(lattice, a) for a, _ in pulled]
    own = [to_field(lattice, dag(b)) for _, b in pulled]
    xp = array_namespace(along[0])
    return xp.stack(along), xp.stack(own)


@kernel("links", "total")
def plaquette_gradient(lattice: Lattice, links: Array, weight: Any, total: Array) -> Array:
    """``total`` plus matrix cotangents of the weighted sum of Re tr P over plaquettes: conjugate staples of every link.

    Parameters
    ----------
    lattice, links
        The lattice and its links, which need not be group elements.
    weight
        ``(ndim * ndim,)`` or ``(ndim * ndim, batch)``: weight of the plane (mu, nu) at ``mu * ndim + nu`` and at
        ``nu * ndim + mu``.
    total
        Link-shaped matrices.

    Returns
    -------
    Array
        Link-shaped matrices x + total with dL = Re tr(x dU).
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    w = rows(lattice, weight, lattice.ndim**2, links, "weight")
    return total + xp.stack(
        [to_field(lattice, dag(_staple_sum(lattice, links, w, nu, here))) for nu in range(lattice.ndim)]
    )


@kernel("links", "along", "total")
def plaquette_hessian(lattice: Lattice, links: Array, weight: Any, along: Array, total: Array) -> Array:
    """``total`` plus the change of :func:`plaquette_gradient` when the links move along a direction."""
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    w = rows(lattice, weight, lattice.ndim**2, links, "weight")
    changes = [_variation(lattice, w, nu, here, links, along) for nu in range(lattice.ndim)]
    return total + xp.stack([to_field(lattice, dag(change)) for change in changes])


@kernel("links", "along", "total")
def plaquette_hessian_active(
    lattice: Lattice, links: Array, weight: Any, along: Array, total: Array, mu: int, sites: Array
) -> Array:
    """Rows ``(n_active, N, N, lanes)`` of :func:`plaquette_hessian`, of one direction at some block sites."""
    here = slots_of(lattice, array_namespace(links), sites)
    w = rows(lattice, weight, lattice.ndim**2, links, "weight")
    change = dag(_variation(lattice, w, mu, here, links, along))
    return to_field(lattice, add(link_at(lattice, total, mu, here), change))


@kernel("links", "move", "along", "along_move", "total")
def plaquette_hessian_along(
    lattice: Lattice, links: Array, weight: Any, move: Array, along: Array, along_move: Array, total: Array
) -> Array:
    """``total`` plus the change of :func:`plaquette_hessian` when the links move along ``move`` and ``along`` along
    ``along_move``."""
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    w = rows(lattice, weight, lattice.ndim**2, links, "weight")
    total = plaquette_hessian(lattice, links, weight, along_move, total)
    changes = [_variation(lattice, w, nu, here, links, move, along) for nu in range(lattice.ndim)]
    return total + xp.stack([to_field(lattice, dag(change)) for change in changes])


@kernel("links", "along")
def plaquette_traces_along(lattice: Lattice, links: Array, along: Array) -> Array:
    """Change of Re tr P at every site when links move along a direction, ``(n_planes, n_blocks, lanes)`` float64.

    See :func:`gaugeflow.kernels.plaquette_traces`.
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)

    def corners(field: Array, mu: int, nu: int) -> list[Matrix]:
        places: list[tuple[int, Hops]] = [(mu, ()), (nu, [(mu, 0)]), (nu, ()), (mu, [(nu, 0)])]
        return [link_at(lattice, field, direction, here, hops) for direction, hops in places]

    changes = (re_trace_plaquette_along(*corners(links, mu, nu), *corners(along, mu, nu)) for mu, nu in lattice.planes)
    return xp.stack([to_lanes(lattice, xp.astype(change, xp.float64)) for change in changes])


def plaquette_along(lattice: Lattice, links: Array, along: Array) -> Array:
    """Change of the sums of Re tr P in every plane when links move along a direction, ``(n_planes, batch)`` float64."""
    return sum_sites(lattice, plaquette_traces_along(lattice, links, along))
