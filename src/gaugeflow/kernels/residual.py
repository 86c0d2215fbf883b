"""Sweeps of the residual layer: sums of paths of frozen links, the update of active links, and their derivatives.

The active links are those of one direction ``mu`` at some block ``sites``, such that no plaquette holds two of them.
Active rows have shape ``(n_active, N, N, lanes)``.  Cotangents of matrices are matrices x with dL = Re tr(x dm).
Arguments named ``total`` are *consumed*: the result may reuse their memory, so the caller must own them.
"""

from __future__ import annotations

from typing import Any

from gaugeflow.backend import kernel
from gaugeflow.kernels.slots import all_slots, link_at, replace_sites, rows, site_sum, slots_of, to_field, to_lanes
from gaugeflow.kernels.sums import largest_of_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.gauge import (
    staple_down_bar_bottom,
    staple_down_bar_far,
    staple_down_bar_near,
    staple_pair,
    staple_up_bar_far,
    staple_up_bar_near,
    staple_up_bar_top,
)
from gaugeflow.sites.jacobian import memory_size
from gaugeflow.sites.matrix import add, add_scaled, dag, dag_mul, mul, mul_dag, project, re_trace_mul, scale, zero_like
from gaugeflow.sites.numbers import Matrix, log, where, wide
from gaugeflow.sites.residual import (
    jacobian_determinant,
    norm_bound,
    solve,
    tangent,
    update,
    update_score,
    update_vjp,
)


def _rows_to_numbers(lattice: Lattice, active: Array) -> Matrix:
    """Active rows as a matrix of numbers over their slots."""
    xp = array_namespace(active)
    count, n = active.shape[:2]
    x = xp.reshape(active, (count, n * n, lattice.n_folds, lattice.batch(active.shape[-1])))
    x = xp.reshape(xp.permute_dims(x, (1, 0, 2, 3)), (n * n, count * lattice.n_folds, lattice.batch(active.shape[-1])))
    return tuple(x[k, ...] for k in range(n * n))


def _spread(lattice: Lattice, links: Array, sites: Array, active: Array) -> Array:
    """Active rows as a site field that is zero elsewhere."""
    return replace_sites(lattice, links[0, ...] * 0.0, sites, active)


def _check_active(lattice: Lattice, links: Array, sites: Array, active: Array, name: str) -> None:
    expected = (sites.shape[0], *links.shape[2:])
    if tuple(active.shape) != expected:
        raise ValueError(f"{name}: expected shape {expected}, got {tuple(active.shape)}")


@kernel("links")
def path_sum(lattice: Lattice, links: Array, mu: int, sites: Array, weight: Any) -> Array:
    """Sum of weighted staples of active links.

    Parameters
    ----------
    lattice, links
        The lattice and the links (or smeared links) of which the staples are made.
    mu, sites
        Direction and block sites of the active links.
    weight
        ``(ndim,)`` or ``(ndim, batch)``: weight of the staples in the planes (mu, nu); entry mu is not used.

    Returns
    -------
    Array
        Active rows: sum over nu of weight_nu (upper + lower staple), paths from x to x + mu.
    """
    xp = array_namespace(links)
    here = slots_of(lattice, xp, sites)
    delta = rows(lattice, weight, lattice.ndim, links, "weight")
    total = zero_like(link_at(lattice, links, mu, here))
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
        total = add_scaled(total, delta[nu, ...], staples)
    return to_field(lattice, total)


@kernel("links", "total")
def path_sum_vjp(
    lattice: Lattice, links: Array, mu: int, sites: Array, weight: Any, paths_bar: Array, total: Array
) -> tuple[Array, Array]:
    """Cotangents of :func:`path_sum`.

    Parameters
    ----------
    lattice, links, mu, sites, weight
        Arguments of the forward function.
    paths_bar
        Cotangent of its result, active rows.
    total
        Cotangents of ``links`` so far (consumed).

    Returns
    -------
    total, weight_bar : Array
        ``total`` plus the contribution of the paths; cotangent of the weights of each configuration, ``(ndim, batch)``.
    """
    _check_active(lattice, links, sites, paths_bar, "paths_bar")
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    delta = rows(lattice, weight, lattice.ndim, links, "weight")
    bars = _spread(lattice, links, sites, paths_bar)[None, ...]
    weight_bar = []
    along = zero_like(link_at(lattice, links, mu, here))
    result: list[Array] = [total[nu, ...] for nu in range(lattice.ndim)]
    for nu in range(lattice.ndim):
        if nu == mu:
            weight_bar.append(xp.zeros((lattice.batch(links.shape[-1]),), dtype=xp.float64))
            continue

        def at(direction: int, *hops: tuple[int, int]) -> Matrix:
            return link_at(lattice, links, direction, here, hops)

        def bar(*hops: tuple[int, int]) -> Matrix:
            return link_at(lattice, bars, 0, here, hops)

        f, b, nf, nb = (mu, 0), (mu, 1), (nu, 0), (nu, 1)
        near = add(
            staple_up_bar_near(at(mu, nf), at(nu, f), bar()),
            staple_down_bar_near(at(mu), at(nu, f), bar(nf)),
        )
        far = add(
            staple_up_bar_far(at(nu, b), at(mu, b, nf), bar(b)),
            staple_down_bar_far(at(nu, b), at(mu, b), bar(b, nf)),
        )
        rungs = add(
            staple_up_bar_top(at(nu, nb), at(nu, nb, f), bar(nb)),
            staple_down_bar_bottom(at(nu), at(nu, f), bar(nf)),
        )
        weight_bar.append(site_sum(lattice, re_trace_mul(near, at(nu))))
        result[nu] = result[nu] + to_field(lattice, scale(delta[nu, ...], add(near, far)))
        along = add_scaled(along, delta[nu, ...], rungs)
    result[mu] = result[mu] + to_field(lattice, along)
    return xp.stack(result), xp.stack(weight_bar)


def _log_det(lattice: Lattice, det: Array) -> Array:
    xp = array_namespace(det)
    positive = det > 0.0
    value = where(positive, log(where(positive, wide(det), 1.0 + 0.0 * wide(det))), 0.0 * wide(det) + xp.nan)
    return site_sum(lattice, value)


@kernel("links")
def residual_update(lattice: Lattice, links: Array, mu: int, sites: Array, paths: Array) -> tuple[Array, Array, Array]:
    """Active links after ``U -> exp(P(U S^dagger)) U`` with S the sum of paths.

    Returns
    -------
    active, log_det, norm : Array
        New active rows; log of the Jacobian's determinant ``(batch,)`` float64, nan where it is not positive; an upper
        bound on the operator norms of the sums of paths ``(batch,)``, below 1 where the update is certainly invertible.
    """
    _check_active(lattice, links, sites, paths, "paths")
    xp = array_namespace(links)
    u = link_at(lattice, links, mu, slots_of(lattice, xp, sites))
    s = _rows_to_numbers(lattice, paths)
    w = mul_dag(u, s)
    f = project(w)
    det = jacobian_determinant([None] * memory_size(links.shape[2]), f, w)
    norm = largest_of_sites(lattice, to_lanes(lattice, wide(norm_bound(s)))) ** 0.25
    return to_field(lattice, update(u, f)), _log_det(lattice, det), norm


@kernel("links", "force")
def residual_tangent(lattice: Lattice, links: Array, mu: int, sites: Array, paths: Array, force: Array) -> Array:
    """Change of the log-weight along the vector field X = P(U S^dagger): ``div X - <X, force>``, ``(batch,)`` float64.

    The divergence is exact: (N^2 - 1)/N Re tr(U S^dagger) per active link (Re W for U(1)).

    Parameters
    ----------
    lattice, links, mu, sites, paths
        Arguments of :func:`residual_update`.
    force
        Gradient of the action of the distribution that the links have.
    """
    _check_active(lattice, links, sites, paths, "paths")
    xp = array_namespace(links)
    here = slots_of(lattice, xp, sites)
    w = mul_dag(link_at(lattice, links, mu, here), _rows_to_numbers(lattice, paths))
    return site_sum(lattice, tangent(w, link_at(lattice, force, mu, here)))


@kernel("links")
def residual_solve(
    lattice: Lattice, links: Array, mu: int, sites: Array, paths: Array, tolerance: float, limit: int
) -> tuple[Array, Array, Array]:
    """Active links before the update that :func:`residual_update` makes: a fixed point, then Newton steps for each link.

    Parameters
    ----------
    lattice, links, mu, sites
        The lattice and the updated links.
    paths
        Sums of paths (of frozen links, hence the same before and after).
    tolerance, limit
        Largest norm of the last Newton step, which leaves its square; fixed-point iterations at most.

    Returns
    -------
    active, log_det, change : Array
        Old active rows; log-determinant of the *forward* update at them; norm of the largest last step, ``(batch,)``.
    """
    _check_active(lattice, links, sites, paths, "paths")
    xp = array_namespace(links)
    y = link_at(lattice, links, mu, slots_of(lattice, xp, sites))
    a = dag(_rows_to_numbers(lattice, paths))
    memory = [None] * memory_size(links.shape[2])
    u, change = solve(memory, y, a, tolerance, limit)
    w = mul(u, a)
    det = jacobian_determinant(memory, project(w), w)
    worst = largest_of_sites(lattice, to_lanes(lattice, wide(change)))
    return to_field(lattice, u), _log_det(lattice, det), xp.sqrt(worst)


@kernel("links", "total")
def residual_update_vjp(
    lattice: Lattice, links: Array, mu: int, sites: Array, paths: Array, log_det_bar: Any, total: Array
) -> tuple[Array, Array]:
    """Cotangents of :func:`residual_update`.

    Parameters
    ----------
    lattice, links, mu, sites, paths
        Arguments of the forward function.
    log_det_bar
        One number or ``(batch,)``: cotangent of ``log_det``.
    total
        Link-shaped cotangents of the *new* links; only rows of active links are read.

    Returns
    -------
    active_bar, paths_bar : Array
        Active rows: cotangents of the active links and of the sums of paths.
    """
    _check_active(lattice, links, sites, paths, "paths")
    xp = array_namespace(links)
    here = slots_of(lattice, xp, sites)
    u = link_at(lattice, links, mu, here)
    a = dag(_rows_to_numbers(lattice, paths))
    bar = rows(lattice, xp.reshape(xp.asarray(log_det_bar), (1, -1)), 1, links, "log_det_bar")[0, ...]
    y = update(u, project(mul(u, a)))
    y_bar = scale(-0.5, project(mul(y, link_at(lattice, total, mu, here))))
    log_det_numbers = bar + 0.0 * xp.real(u[0])
    x_bar, a_bar = update_vjp([None] * memory_size(links.shape[2]), u, a, y_bar, log_det_numbers)
    return to_field(lattice, scale(-2.0, dag_mul(u, x_bar))), to_field(lattice, dag(a_bar))


@kernel("links", "total")
def residual_score(
    lattice: Lattice, links: Array, mu: int, sites: Array, paths: Array, total: Array
) -> tuple[Array, Array]:
    """Gradient of the log-density of the links after :func:`residual_update`.

    Parameters
    ----------
    lattice, links, mu, sites, paths
        Arguments of the update.
    total
        Matrix cotangents of ``links``, the gradient of the log-density before; only active links are read.

    Returns
    -------
    active, paths_bar : Array
        Active rows: gradient at the *new* links as matrix cotangents; what :func:`path_sum_vjp` has to add for the
        frozen links (the sign is already negative).
    """
    _check_active(lattice, links, sites, paths, "paths")
    xp = array_namespace(links)
    here = slots_of(lattice, xp, sites)
    u = link_at(lattice, links, mu, here)
    a = dag(_rows_to_numbers(lattice, paths))
    score = scale(-0.5, project(mul(u, link_at(lattice, total, mu, here))))
    new_score, a_bar = update_score([None] * memory_size(links.shape[2]), u, a, score)
    y = update(u, project(mul(u, a)))
    return to_field(lattice, scale(-2.0, dag_mul(y, new_score))), to_field(lattice, scale(-1.0, dag(a_bar)))


@kernel("total")
def overwrite(lattice: Lattice, total: Array, mu: int, sites: Array, active: Array) -> Array:
    """``total`` (consumed) with the rows of active links replaced."""
    _check_active(lattice, total, sites, active, "active")
    xp = array_namespace(total)
    parts = [total[nu, ...] for nu in range(lattice.ndim)]
    parts[mu] = replace_sites(lattice, parts[mu], sites, active)
    return xp.stack(parts)


@kernel("links", "force")
def to_ambient(lattice: Lattice, links: Array, force: Array) -> Array:
    """Matrix cotangents of links from an algebra field: ``-2 U^dagger F``, so that Re tr(x w U) = <F, w>."""
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    return xp.stack(
        [
            to_field(
                lattice, scale(-2.0, dag_mul(link_at(lattice, links, mu, here), link_at(lattice, force, mu, here)))
            )
            for mu in range(lattice.ndim)
        ]
    )


@kernel("links", "bar")
def from_ambient(lattice: Lattice, links: Array, bar: Array) -> Array:
    """Algebra cotangent in left coordinates of matrix cotangents: ``-P(U x) / 2``."""
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    return xp.stack(
        [
            to_field(
                lattice, scale(-0.5, project(mul(link_at(lattice, links, mu, here), link_at(lattice, bar, mu, here))))
            )
            for mu in range(lattice.ndim)
        ]
    )
