"""Hops of lattice fermions, and their derivatives with respect to links."""

from __future__ import annotations

from functools import reduce
from typing import Any

from gaugeflow.backend import kernel
from gaugeflow.kernels.fermions import (
    BOTH,
    check_base,
    check_fermions,
    check_pair,
    components,
    other,
    sites_of,
    spinors,
    spinors_at,
    stack,
    to_fermions,
)
from gaugeflow.kernels.slots import all_slots, entries, link_at, reach, slots_of, split, take, to_field
from gaugeflow.lattice import Array, HopFactors, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites import dirac as sites
from gaugeflow.sites.matrix import project as project_site
from gaugeflow.sites.matrix import scale


def factor_at(lattice: Lattice, factors: HopFactors, mu: int, sign: int, slots: Array, like: Array) -> Array:
    """Factors of the hops from some slots, ``(slots, 1)`` complex of the precision of ``like``."""
    xp = array_namespace(like)
    rows = xp.asarray(factors.values[factors.code[mu, sign]].reshape(-1), dtype=like.dtype)
    return xp.take(rows, slots)[:, None]


def _hops(
    lattice: Lattice, links: Array, psi: Array, factors: HopFactors, sign: int, parity: int, here: Array
) -> tuple[Any, ...]:
    """H psi at some slots."""
    xp = array_namespace(links)
    d, n = lattice.ndim, links.shape[2]
    rows = sites.spin_components(d) // 2
    total: tuple[Any, ...] | None = None
    numbers = components(lattice, psi)
    for mu in range(d):
        project, expand = sites.project(d, mu, n), sites.expand(d, mu, n)
        back = reach(lattice, xp, here, [(mu, 1)])
        ahead = spinors_at(lattice, numbers, other(parity), reach(lattice, xp, here, [(mu, 0)]))
        behind = spinors_at(lattice, numbers, other(parity), back)
        u = entries(lattice, links[mu, ...])
        if total is None:
            total = tuple(0.0 * x for x in ahead)
        h = sites.colour_times(rows, n)(split(take(lattice, u, here)), project(-sign, ahead))
        h = sites.scaled(rows * n)(factor_at(lattice, factors, mu, 0, here, links), h)
        total = expand(total, -sign, h)
        h = sites.colour_dag_times(rows, n)(split(take(lattice, u, back)), project(sign, behind))
        h = sites.scaled(rows * n)(factor_at(lattice, factors, mu, 1, here, links), h)
        total = expand(total, sign, h)
    assert total is not None
    return total


def blocks_at(lattice: Lattice, blocks: Array, slots: Array) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Packed blocks of both chiralities at some slots."""
    v, _, count, lanes = blocks.shape
    xp = array_namespace(blocks)
    x = xp.reshape(blocks, (v, 2 * count, lattice.n_folds, lattice.batch(lanes)))
    x = xp.reshape(xp.permute_dims(x, (1, 0, 2, 3)), (2 * count, lattice.n_slots, -1))
    numbers = tuple(xp.take(x[k, ...], slots, axis=0) for k in range(2 * count))
    return numbers[:count], numbers[count:]


def check_blocks(lattice: Lattice, blocks: Array, links: Array) -> None:
    """Raise ``ValueError`` unless blocks are ``(n_blocks, 2, m (m + 1) / 2, lanes)`` for the colours and lanes of links."""
    m = sites.spin_components(lattice.ndim) // 2 * links.shape[2]
    expected = (lattice.n_blocks, 2, sites.packed(m), links.shape[4])
    if tuple(blocks.shape) != expected:
        raise ValueError(f"blocks: expected shape {expected}, got {tuple(blocks.shape)}")


def check_sign(sign: int) -> None:
    """Raise ``ValueError`` unless the sign is 1 or -1."""
    if sign not in (1, -1):
        raise ValueError(f"sign: expected 1 (the operator) or -1 (its adjoint), got {sign!r}")


@kernel("links")
def wilson_hop(
    lattice: Lattice,
    links: Array,
    psi: Array,
    factors: HopFactors,
    sign: int,
    parity: int,
    beta: complex,
    base: Array | None,
    alpha: complex,
) -> Array:
    """``alpha base + beta H psi`` with the hops H of Wilson fermions (Wilson, in Erice 1975).

    H psi(x) = sum_mu (1 - s gamma_mu) f U_mu(x) psi(x + mu) + (1 + s gamma_mu) f^* U_mu(x - mu)^dagger psi(x - mu), where f is
    the factor of the forward hop.

    Parameters
    ----------
    lattice
        The lattice, of an even number of dimensions.
    links
        ``(ndim, n_blocks, N, N, lanes)``.
    psi
        Fermion field or stack, on the parity opposite to ``parity``.
    factors
        Of all hops: see :meth:`gaugeflow.lattice.Lattice.hop_factors`.
    sign
        s: 1, or -1 for the adjoint of H.
    parity
        Sites on which the result lives: 0 (even), 1 (odd) or -1 (all).
    beta, alpha
        Coefficients; a number a + i b stands for a + i b gamma_5.
    base
        Field like the result, or None for nothing.

    Returns
    -------
    Array
        Fermion field or stack.
    """
    check_hop(lattice, links, psi, sign, parity, base)
    here = _slots(lattice, links, parity)
    count, n = psi.shape[-3] * psi.shape[-2], psi.shape[-2]
    result = []
    for k in range(stack(psi).shape[0]):
        field = _hops(lattice, links, stack(psi)[k, ...], factors, sign, parity, here)
        field = sites.chiral_scaled(count)(complex(beta).real, complex(beta).imag, field)
        if base is not None:
            own = spinors(lattice, stack(base)[k, ...], parity, here)
            a = complex(alpha)
            field = sites.added(count)(sites.chiral_scaled(count)(a.real, a.imag, own), field)
        result.append(to_fermions(lattice, field, n))
    return _like(psi, result)


def check_hop(lattice: Lattice, links: Array, psi: Array, sign: int, parity: int, base: Array | None) -> None:
    """Raise where arguments of a hop do not fit."""
    check_sign(sign)
    spin = sites.spin_components(lattice.ndim)
    check_fermions(lattice, psi, other(parity), links, "psi", spin)
    if base is not None:
        check_base(lattice, psi, base, parity, links, spin)


def _slots(lattice: Lattice, links: Array, parity: int) -> Array:
    xp = array_namespace(links)
    if parity == BOTH:
        return all_slots(lattice, xp)
    return slots_of(lattice, xp, xp.asarray(sites_of(lattice, parity), dtype=xp.int64))


def _like(psi: Array, fields: list[Array]) -> Array:
    xp = array_namespace(psi)
    return xp.stack(fields) if len(psi.shape) == 5 else fields[0]


@kernel("links")
def clover_hop(
    lattice: Lattice,
    links: Array,
    psi: Array,
    factors: HopFactors,
    sign: int,
    parity: int,
    beta: float,
    base: Array | None,
    alpha: float,
    blocks: Array,
) -> Array:
    """``alpha T base + beta H psi``, or ``beta T H psi`` where ``base`` is None, with a Hermitian matrix T at every site.

    Parameters
    ----------
    lattice, links, psi, factors, sign, parity, base
        As for :func:`wilson_hop`.
    beta, alpha
        Real coefficients.
    blocks
        T: lower triangles of its blocks of both chiralities, ``(n_blocks, 2, m (m + 1) / 2, lanes)`` with m = spin N / 2.

    Returns
    -------
    Array
        Fermion field or stack.
    """
    check_hop(lattice, links, psi, sign, parity, base)
    check_blocks(lattice, blocks, links)
    here = _slots(lattice, links, parity)
    count, n = psi.shape[-3] * psi.shape[-2], psi.shape[-2]
    times = sites.block_times(count // 2)
    upper, lower = blocks_at(lattice, blocks, here)
    result = []
    for k in range(stack(psi).shape[0]):
        field = _hops(lattice, links, stack(psi)[k, ...], factors, sign, parity, here)
        if base is None:
            field = sites.scaled(count)(beta, times(upper, lower, field))
        else:
            own = spinors(lattice, stack(base)[k, ...], parity, here)
            field = sites.combined(count)(alpha, times(upper, lower, own), beta, field)
        result.append(to_fermions(lattice, field, n))
    return _like(psi, result)


@kernel()
def blocks_times(lattice: Lattice, psi: Array, blocks: Array, parity: int, twist: float) -> Array:
    """``(T + i twist gamma_5) psi`` on the sites of a parity (-1: all); T as for :func:`clover_hop`."""
    xp = array_namespace(psi)
    check_fermions(lattice, psi, parity)
    here = _slots(lattice, psi, parity)
    count, n = psi.shape[-3] * psi.shape[-2], psi.shape[-2]
    upper, lower = blocks_at(lattice, blocks, here)
    result = []
    for k in range(stack(psi).shape[0]):
        own = spinors(lattice, stack(psi)[k, ...], parity, here)
        field = sites.block_times(count // 2)(upper, lower, own)
        field = sites.added(count)(field, sites.chiral_scaled(count)(0.0, float(twist), own))
        result.append(to_fermions(lattice, field, n))
    return xp.stack(result) if len(psi.shape) == 5 else result[0]


@kernel("links")
def hop_force(lattice: Lattice, links: Array, left: Array, right: Array, factors: HopFactors, weight: float) -> Array:
    """Derivative of ``weight sum_r Re <left_r, H right_r>`` with respect to links, H the hops of Wilson fermions.

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    left, right
        Fermion fields on all sites, or stacks of R, over which is summed.
    factors
        Of all hops.
    weight
        A real number.

    Returns
    -------
    Array
        Algebra field F with d/de (...)(exp(e w) U) = <F, w>: ``-weight / 2 P(X)`` with
        X = f U (1 - gamma) right(x + mu) left(x)^dagger - right(x) [f U (1 + gamma) left(x + mu)]^dagger, spins summed.
    """
    spin = sites.spin_components(lattice.ndim)
    check_fermions(lattice, left, BOTH, links, "left", spin)
    check_fermions(lattice, right, BOTH, links, "right", spin)
    check_pair(left, right, "left and right")
    xp = array_namespace(links)
    d, n = lattice.ndim, links.shape[2]
    rows = spin // 2
    here = all_slots(lattice, xp)
    outer, times = sites.add_outer(rows, n), sites.colour_times(rows, n)
    result = []
    for mu in range(d):
        project = sites.project(d, mu, n)
        u = scale(factor_at(lattice, factors, mu, 0, here, links), link_at(lattice, links, mu, here))
        total = scale(0.0, u)
        ahead = reach(lattice, xp, here, [(mu, 0)])
        for one, two in zip(_fields(left), _fields(right), strict=True):
            l_here, l_ahead = (spinors(lattice, one, BOTH, place) for place in (here, ahead))
            r_here, r_ahead = (spinors(lattice, two, BOTH, place) for place in (here, ahead))
            total = outer(total, -0.5 * weight, times(u, project(-1, r_ahead)), project(-1, l_here))
            total = outer(total, 0.5 * weight, project(1, r_here), times(u, project(1, l_ahead)))
        result.append(to_field(lattice, project_site(total)))
    return xp.stack(result)


def _fields(psi: Array) -> list[Array]:
    return [stack(psi)[k, ...] for k in range(stack(psi).shape[0])]


@kernel("links")
def staggered_hop(
    lattice: Lattice,
    links: Array,
    psi: Array,
    factors: HopFactors,
    parity: int,
    beta: float,
    base: Array | None,
    alpha: float,
) -> Array:
    """``alpha base + beta H psi`` with H psi(x) = sum_mu f U_mu(x) psi(x + mu) - f^* U_mu(x - mu)^dagger psi(x - mu).

    The staggered phases are part of the factors.  H is anti-Hermitian.

    Parameters
    ----------
    lattice, links
        The lattice, of any dimension, and its links.
    psi
        Fermion field ``(rows, 1, N, lanes)``, or stack, on the parity opposite to ``parity``.
    factors
        Of all hops.
    parity
        Sites on which the result lives: 0 (even), 1 (odd) or -1 (all).
    beta, alpha
        Real coefficients.
    base
        Field like the result, or None for nothing.

    Returns
    -------
    Array
        Fermion field or stack.
    """
    check_fermions(lattice, psi, other(parity), links, "psi", 1)
    if base is not None:
        check_base(lattice, psi, base, parity, links, 1)
    xp = array_namespace(links)
    n = links.shape[2]
    here = _slots(lattice, links, parity)
    times, dag_times, add = sites.colour_times(1, n), sites.colour_dag_times(1, n), sites.combined(n)
    result = []
    for k, field in enumerate(_fields(psi)):
        numbers, terms = components(lattice, field), []
        for mu in range(lattice.ndim):
            for side, sign in ((0, 1.0), (1, -1.0)):
                far = spinors_at(lattice, numbers, other(parity), reach(lattice, xp, here, [(mu, side)]))
                if side == 0:
                    h = times(link_at(lattice, links, mu, here), far)
                else:
                    h = dag_times(link_at(lattice, links, mu, here, [(mu, 1)]), far)
                c = factor_at(lattice, factors, mu, side, here, links) * sign
                terms.append(sites.scaled(n)(c, h))
        total = reduce(sites.added(n), terms)
        total = sites.scaled(n)(beta, total)
        if base is not None:
            total = add(alpha, spinors(lattice, stack(base)[k, ...], parity, here), 1.0, total)
        result.append(to_fermions(lattice, total, n))
    return _like(psi, result)


@kernel("links")
def staggered_force(
    lattice: Lattice, links: Array, left: Array, right: Array, factors: HopFactors, weight: float
) -> Array:
    """Derivative of ``weight sum_r Re <left_r, H right_r>`` with respect to links, H the hops of staggered fermions.

    Arguments as for :func:`hop_force`.

    Returns
    -------
    Array
        Algebra field ``-weight / 2 P(X)`` with X = f U right(x + mu) left(x)^dagger + right(x) [f U left(x + mu)]^dagger.
    """
    check_fermions(lattice, left, BOTH, links, "left", 1)
    check_fermions(lattice, right, BOTH, links, "right", 1)
    check_pair(left, right, "left and right")
    xp = array_namespace(links)
    n = links.shape[2]
    here = all_slots(lattice, xp)
    outer, times = sites.add_outer(1, n), sites.colour_times(1, n)
    result = []
    for mu in range(lattice.ndim):
        u = scale(factor_at(lattice, factors, mu, 0, here, links), link_at(lattice, links, mu, here))
        total = scale(0.0, u)
        ahead = reach(lattice, xp, here, [(mu, 0)])
        for one, two in zip(_fields(left), _fields(right), strict=True):
            l_here, l_ahead = (spinors(lattice, one, BOTH, place) for place in (here, ahead))
            r_here, r_ahead = (spinors(lattice, two, BOTH, place) for place in (here, ahead))
            total = outer(total, -0.5 * weight, times(u, r_ahead), l_here)
            total = outer(total, -0.5 * weight, r_here, times(u, l_ahead))
        result.append(to_field(lattice, project_site(total)))
    return xp.stack(result)
