"""Sweeps of the smeared layer: the update of active links by loops of smeared links, and its derivatives.

The active links are those of one direction ``mu`` at some block ``sites``.  What an update knows of the frozen links
are seven matrices for each active link, ``paths`` of shape ``(7, n_active, N, N, lanes)``: sums of staples S_A, S_C, S_Z
and S_0, a gradient G (a path from x + mu to x), and the links B_0 and B_n, as in
``gaugeflow.sites.smeared.assemble``.
Cotangents of matrices are matrices x with dL = Re tr(x dm).  Arguments named ``total`` are *consumed*.
"""

from __future__ import annotations

from typing import Any

from gaugeflow.backend import kernel
from gaugeflow.kernels.residual import _check_active, _log_det, _rows_to_numbers
from gaugeflow.kernels.slots import link_at, rows, site_sum, slots_of, to_field, to_lanes
from gaugeflow.kernels.sums import largest_of_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.jacobian import memory_size
from gaugeflow.sites.matrix import dag_mul, mul, project, scale
from gaugeflow.sites.numbers import Matrix, wide
from gaugeflow.sites.residual import update
from gaugeflow.sites.smeared import (
    assemble,
    assemble_bar,
    generator,
    loops_determinant,
    loops_score,
    loops_tangent,
    loops_vjp,
    solve_loops,
    step_bound,
    tangent_direction,
)
from gaugeflow.sites.smearing import schulz, schulz_bar

N_PATHS = 7
"""Matrices that an update needs for each active link."""


def _check_paths(lattice: Lattice, links: Array, sites: Array, paths: Array) -> None:
    expected = (N_PATHS, sites.shape[0], *links.shape[2:])
    if tuple(paths.shape) != expected:
        raise ValueError(f"paths: expected shape {expected}, got {tuple(paths.shape)}")


def _numbers(lattice: Lattice, paths: Array) -> list[Matrix]:
    return [_rows_to_numbers(lattice, paths[k, ...]) for k in range(N_PATHS)]


@kernel()
def newton_schulz(lattice: Lattice, matrices: Array) -> Array:
    """``(3 V - V V^dagger V) / 2`` of matrices ``(rows, N, N, lanes)``: one step towards their unitary factor."""
    return to_field(lattice, schulz(_rows_to_numbers(lattice, matrices)))


@kernel()
def newton_schulz_vjp(lattice: Lattice, matrices: Array, bar: Array) -> Array:
    """Cotangent of the argument of :func:`newton_schulz` from that of its result, ``bar``."""
    if tuple(bar.shape) != tuple(matrices.shape):
        raise ValueError(f"bar: expected shape {tuple(matrices.shape)}, got {tuple(bar.shape)}")
    return to_field(lattice, schulz_bar(_rows_to_numbers(lattice, matrices), _rows_to_numbers(lattice, bar)))


@kernel("links")
def smeared_update(lattice: Lattice, links: Array, mu: int, sites: Array, paths: Array) -> tuple[Array, Array, Array]:
    """Active links after ``U -> exp(P(U A + U C U D) + R + U R' U^dagger) U``.

    Returns
    -------
    active, log_det, norm : Array
        New active rows; log of the Jacobian's determinant ``(batch,)`` float64, nan where it is not positive; an upper
        bound on ``||A|| + 2 ||C|| ||D|| + 2 ||R'||``, ``(batch,)``, below 1 where the update is certainly invertible.
    """
    _check_paths(lattice, links, sites, paths)
    xp = array_namespace(links)
    u = link_at(lattice, links, mu, slots_of(lattice, xp, sites))
    a, c, d, r, t = assemble(*_numbers(lattice, paths))
    f = generator(u, a, c, d, r, t)
    det = loops_determinant([None] * memory_size(links.shape[2]), f, u, a, c, d, r, t)
    norm = largest_of_sites(lattice, to_lanes(lattice, wide(step_bound(a, c, d, t))))
    return to_field(lattice, update(u, f)), _log_det(lattice, det), norm


@kernel("links", "force")
def smeared_tangent(lattice: Lattice, links: Array, mu: int, sites: Array, paths: Array, force: Array) -> Array:
    """Change of the log-weight along the field of :func:`smeared_update`, ``div X - <X, force>``, ``(batch,)`` float64.

    Parameters
    ----------
    lattice, links, mu, sites, paths
        Arguments of :func:`smeared_update`.
    force
        Gradient of the action of the distribution that the links have.
    """
    _check_paths(lattice, links, sites, paths)
    xp = array_namespace(links)
    here = slots_of(lattice, xp, sites)
    u = link_at(lattice, links, mu, here)
    a, c, d, r, t = assemble(*_numbers(lattice, paths))
    return site_sum(lattice, loops_tangent(u, a, c, d, r, t, link_at(lattice, force, mu, here)))


@kernel("links", "force")
def smeared_direction(lattice: Lattice, links: Array, mu: int, sites: Array, filled: Array, force: Array) -> Array:
    """Cotangent of the gradients G in :func:`smeared_tangent`, the direction along which G contributes to it.

    Parameters
    ----------
    lattice, links, mu, sites, force
        Arguments of :func:`smeared_tangent`.
    filled
        Links B_0, ``(n_active, N, N, lanes)``.

    Returns
    -------
    Array
        ``f B_0 + B_0 U^dagger f U`` of every active link, with f its force.
    """
    _check_active(lattice, links, sites, filled, "filled")
    here = slots_of(lattice, array_namespace(links), sites)
    u, f = link_at(lattice, links, mu, here), link_at(lattice, force, mu, here)
    return to_field(lattice, tangent_direction(u, _rows_to_numbers(lattice, filled), f))


@kernel("links")
def smeared_solve(
    lattice: Lattice, links: Array, mu: int, sites: Array, paths: Array, tolerance: float, limit: int
) -> tuple[Array, Array, Array]:
    """Active links before the update that :func:`smeared_update` makes: a fixed point, then Newton steps for each link.

    Parameters
    ----------
    lattice, links, mu, sites
        The lattice and the updated links.
    paths
        Matrices of frozen links, hence the same before and after.
    tolerance, limit
        Largest norm of the last Newton step, which leaves its square; fixed-point iterations at most.

    Returns
    -------
    active, log_det, change : Array
        Old active rows; log-determinant of the *forward* update at them; norm of the largest last step, ``(batch,)``.
    """
    _check_paths(lattice, links, sites, paths)
    xp = array_namespace(links)
    y = link_at(lattice, links, mu, slots_of(lattice, xp, sites))
    a, c, d, r, t = assemble(*_numbers(lattice, paths))
    memory = [None] * memory_size(links.shape[2])
    u, change = solve_loops(memory, y, a, c, d, r, t, tolerance, limit)
    det = loops_determinant(memory, generator(u, a, c, d, r, t), u, a, c, d, r, t)
    worst = largest_of_sites(lattice, to_lanes(lattice, wide(change)))
    return to_field(lattice, u), _log_det(lattice, det), xp.sqrt(worst)


@kernel("links", "total")
def smeared_update_vjp(
    lattice: Lattice, links: Array, mu: int, sites: Array, paths: Array, log_det_bar: Any, total: Array
) -> tuple[Array, Array]:
    """Cotangents of :func:`smeared_update`.

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
        Cotangents of the active links (active rows) and of ``paths``.
    """
    _check_paths(lattice, links, sites, paths)
    xp = array_namespace(links)
    here = slots_of(lattice, xp, sites)
    u = link_at(lattice, links, mu, here)
    _, _, s_z, _, g, b_0, b_n = _numbers(lattice, paths)
    a, c, d, r, t = assemble(*_numbers(lattice, paths))
    bar = rows(lattice, xp.reshape(xp.asarray(log_det_bar), (1, -1)), 1, links, "log_det_bar")[0, ...]
    y = update(u, generator(u, a, c, d, r, t))
    y_bar = scale(-0.5, project(mul(y, link_at(lattice, total, mu, here))))
    memory = [None] * memory_size(links.shape[2])
    x_bar, a_bar, c_bar, d_bar, r_bar, t_bar = loops_vjp(memory, u, a, c, d, r, t, y_bar, bar + 0.0 * xp.real(u[0]))
    bars = assemble_bar(1.0, s_z, g, b_0, b_n, a_bar, c_bar, d_bar, r_bar, t_bar)
    return to_field(lattice, scale(-2.0, dag_mul(u, x_bar))), xp.stack([to_field(lattice, x) for x in bars])


@kernel("links", "total")
def smeared_score(
    lattice: Lattice, links: Array, mu: int, sites: Array, paths: Array, total: Array
) -> tuple[Array, Array]:
    """Gradient of the log-density of the links after :func:`smeared_update`.

    Parameters
    ----------
    lattice, links, mu, sites, paths
        Arguments of the update.
    total
        Matrix cotangents of ``links``, the gradient of the log-density before; only active links are read.

    Returns
    -------
    active, paths_bar : Array
        Active rows: gradient at the *new* links as matrix cotangents; cotangents of ``paths`` whose pull-back is to be
        added to the gradient at frozen links (the sign is already negative).
    """
    _check_paths(lattice, links, sites, paths)
    xp = array_namespace(links)
    here = slots_of(lattice, xp, sites)
    u = link_at(lattice, links, mu, here)
    _, _, s_z, _, g, b_0, b_n = _numbers(lattice, paths)
    a, c, d, r, t = assemble(*_numbers(lattice, paths))
    score = scale(-0.5, project(mul(u, link_at(lattice, total, mu, here))))
    new_score, *frozen = loops_score([None] * memory_size(links.shape[2]), u, a, c, d, r, t, score)
    y = update(u, generator(u, a, c, d, r, t))
    bars = assemble_bar(-1.0, s_z, g, b_0, b_n, *frozen)
    return to_field(lattice, scale(-2.0, dag_mul(y, new_score))), xp.stack([to_field(lattice, x) for x in bars])
