"""The clover term of Wilson fermions: its blocks, and its derivative with respect to links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gaugeflow.backend import kernel
from gaugeflow.kernels.fermions import BOTH, check_fermions, check_pair, spinors, stack
from gaugeflow.kernels.slots import all_slots, link_at, matrix_at, to_field
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites import dirac as sites
from gaugeflow.sites.clover import inserted_above, inserted_below, leaves
from gaugeflow.sites.matrix import add, dag, scale, sub
from gaugeflow.sites.matrix import project as project_site


def corners(at: Any, mu: int, nu: int) -> tuple[Any, Any, Any, Any]:
    """Links of the four leaves of a plane, as :func:`gaugeflow.sites.clover.leaves` takes them."""
    f, b, nf, nb = (mu, 0), (mu, 1), (nu, 0), (nu, 1)
    return (
        (at(mu), at(nu, f), at(mu, nf), at(nu)),
        (at(nu), at(mu, b, nf), at(nu, b), at(mu, b)),
        (at(mu, b), at(nu, b, nb), at(mu, b, nb), at(nu, nb)),
        (at(nu, nb), at(mu, nb), at(nu, f, nb), at(mu)),
    )


def check_planes(lattice: Lattice, weights: Sequence[float]) -> tuple[float, ...]:
    """One real number for each plane; ``ValueError`` otherwise."""
    found = tuple(float(w) for w in weights)
    if len(found) != len(lattice.planes):
        raise ValueError(f"weights: expected {len(lattice.planes)}, one for each plane, got {len(found)}")
    return found


@kernel("links")
def clover_blocks(lattice: Lattice, links: Array, diagonal: float, weights: Sequence[float]) -> Array:
    """``diagonal + sum_(mu < nu) weights_mu nu sigma_mu nu i F_mu nu`` with F = (Q - Q^dagger) / 8, Q the four leaves.

    sigma = (i/2) [gamma_mu, gamma_nu] (Sheikholeslami and Wohlert, Nucl. Phys. B259 (1985) 572).  The trace of F is kept, as
    Chroma does.

    Parameters
    ----------
    lattice, links
        The lattice, of an even number of dimensions, and its links.
    diagonal
        A real number.
    weights
        One for each of :attr:`gaugeflow.lattice.Lattice.planes`.

    Returns
    -------
    Array
        Lower triangles of the Hermitian blocks of both chiralities, ``(n_blocks, 2, m (m + 1) / 2, lanes)``, m = spin N / 2.
    """
    xp = array_namespace(links)
    d, n = lattice.ndim, links.shape[2]
    weights = check_planes(lattice, weights)
    m = sites.spin_components(d) // 2 * n
    here = all_slots(lattice, xp)

    def at(direction: int, *hops: tuple[int, int]) -> Any:
        return link_at(lattice, links, direction, here, hops)

    zero = 0.0 * at(0)[0]
    unit = tuple(zero + diagonal if i == j else zero for i in range(m) for j in range(i + 1))
    upper, lower = unit, unit
    for weight, (mu, nu) in zip(weights, lattice.planes, strict=True):
        q = leaves(*corners(at, mu, nu))
        f = scale(0.125, sub(q, dag(q)))
        add_upper, add_lower = sites.add_sigma(d, mu, nu, n)
        upper, lower = add_upper(upper, weight, f), add_lower(lower, weight, f)
    x = xp.reshape(xp.stack(upper + lower), (2, len(upper), lattice.n_blocks, links.shape[4]))
    return xp.permute_dims(x, (2, 0, 1, 3))


@kernel()
def clover_tensor(lattice: Lattice, left: Array, right: Array, weights: Sequence[float]) -> Array:
    """Cotangents of the sums of leaves: Z with d Re sum_r <left_r, T right_r> = sum over sites and planes of Re tr dQ Z.

    Parameters
    ----------
    lattice
        The lattice.
    left, right
        Fermion fields on all sites, or stacks of R, over which is summed.
    weights
        Of the planes, as T of :func:`clover_blocks` has them.

    Returns
    -------
    Array
        ``(n_planes, n_blocks, N, N, lanes)`` anti-Hermitian: ``weights / 8 (M - M^dagger)``, M = i sigma right left^dagger with
        spins summed.
    """
    spin = sites.spin_components(lattice.ndim)
    check_fermions(lattice, left, BOTH, None, "left", spin)
    check_fermions(lattice, right, BOTH, None, "right", spin)
    check_pair(left, right, "left and right")
    xp = array_namespace(left)
    weights = check_planes(lattice, weights)
    n = left.shape[-2]
    here = all_slots(lattice, xp)
    outer = sites.add_outer(spin, n)
    zero = tuple(0.0 * x for x in spinors(lattice, stack(left)[0, ...], BOTH, here)[:1]) * (n * n)
    result = [zero] * len(lattice.planes)
    for k in range(stack(left).shape[0]):
        one, two = (spinors(lattice, stack(f)[k, ...], BOTH, here) for f in (left, right))
        for p, (mu, nu) in enumerate(lattice.planes):
            result[p] = outer(result[p], 0.125 * weights[p], sites.sigma_times(lattice.ndim, mu, nu, n)(two), one)
    return xp.stack([to_field(lattice, sub(z, dag(z))) for z in result])


@kernel("links")
def clover_gradient(lattice: Lattice, links: Array, tensor: Array) -> Array:
    """Algebra field F with <F, w> = sum over sites and planes of Re tr dQ Z, dQ the change of the four leaves along w.

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    tensor
        Z, ``(n_planes, n_blocks, N, N, lanes)`` anti-Hermitian.

    Returns
    -------
    Array
        Algebra field.
    """
    xp = array_namespace(links)
    expected = (len(lattice.planes), *links.shape[1:])
    if tuple(tensor.shape) != expected:
        raise ValueError(f"tensor: expected shape {expected}, got {tuple(tensor.shape)}")
    here = all_slots(lattice, xp)
    result = []
    for mu in range(lattice.ndim):
        u = link_at(lattice, links, mu, here)
        total = scale(0.0, u)
        for nu in range(lattice.ndim):
            if nu == mu:
                continue
            z = tensor[lattice.planes.index((min(mu, nu), max(mu, nu))), ...]
            f, nf, nb = (mu, 0), (nu, 0), (nu, 1)

            def link(direction: int, *hops: tuple[int, int]) -> Any:
                return link_at(lattice, links, direction, here, hops)

            def corner(*hops: tuple[int, int], z: Array = z) -> Any:
                return matrix_at(lattice, z, here, hops)

            above = inserted_above(
                u,
                (link(nu, f), link(mu, nf), link(nu)),
                (corner(), corner(f), corner(f, nf), corner(nf)),
            )
            below = inserted_below(
                u,
                (link(nu, nb), link(mu, nb), link(nu, f, nb)),
                (corner(), corner(nb), corner(f, nb), corner(f)),
            )
            part = add(above, below)
            total = add(total, scale(-0.5 if mu < nu else 0.5, part))
        result.append(to_field(lattice, project_site(total)))
    return xp.stack(result)
