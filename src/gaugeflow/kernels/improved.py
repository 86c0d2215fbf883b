"""What improvement in the lattice spacing needs besides plaquettes: clovers of larger loops, covariant differences."""

from __future__ import annotations

import math

from gaugeflow.backend import kernel
from gaugeflow.kernels.clover_term import corners
from gaugeflow.kernels.slots import all_slots, link_at, to_field, to_lanes
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.clover import leaves, wide_charge, wide_energy
from gaugeflow.sites.gauge import differ_along
from gaugeflow.sites.matrix import add, mul, scale
from gaugeflow.sites.matrix import project as project_site
from gaugeflow.sites.numbers import Matrix


@kernel("links", "lines")
def extend(lattice: Lattice, links: Array, lines: Array) -> Array:
    """Straight products of links, longer by one link at their beginning: ``U_mu(x) lines_mu(x + mu)``.

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    lines
        ``(ndim, n_blocks, N, N, lanes)``: products of k links from each site on; ``links`` themselves for k = 1.

    Returns
    -------
    Array
        Of the same shape, products of k + 1 links.
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    return xp.stack(
        [
            to_field(lattice, mul(link_at(lattice, links, mu, here), link_at(lattice, lines, mu, here, [(mu, 0)])))
            for mu in range(lattice.ndim)
        ]
    )


@kernel("lines", "others")
def rectangle_clover(lattice: Lattice, lines: Array, others: Array, m: int, n: int) -> tuple[Array, Array]:
    """Energy and topological charge densities from the clover of m x n loops.

    G_mu nu is the projection on the algebra of the mean of the loops that start and end at a site, divided by m n: four loops
    of m steps along mu and n along nu, one in each quadrant, and, unless m = n, four with m and n exchanged
    (hep-lat/9701012).

    Parameters
    ----------
    lattice
        The lattice.
    lines
        Link-shaped field of straight products of m links.
    others
        The same of n links.
    m, n
        Their lengths.

    Returns
    -------
    energy : Array
        ``(n_planes, n_blocks, lanes)`` float64, ``-tr G^2`` of each plane (units a^-4).
    charge : Array
        ``(n_blocks, lanes)`` float64, (1 / 32 pi^2) eps tr G G with eps_xyzt = +1; zero unless ndim = 4.
    """
    xp = array_namespace(lines)
    here = all_slots(lattice, xp)
    turns = [((lines, m), (others, n)), ((others, n), (lines, m))][: 1 if m == n else 2]
    strength = []
    for mu, nu in lattice.planes:
        total = _loops(lattice, here, {mu: turns[0][0], nu: turns[0][1]}, mu, nu)
        for one, two in turns[1:]:
            total = add(total, _loops(lattice, here, {mu: one, nu: two}, mu, nu))
        strength.append(project_site(scale(1.0 / (4 * len(turns) * m * n), total)))
    energy = xp.stack([to_lanes(lattice, wide_energy(g)) for g in strength])
    if lattice.ndim == 4:
        charge = to_lanes(lattice, wide_charge(*strength)) * (1.0 / (4.0 * math.pi**2))
    else:
        charge = xp.zeros_like(energy[0, ...])
    return energy, charge


def _loops(lattice: Lattice, here: Array, sides: dict[int, tuple[Array, int]], mu: int, nu: int) -> Matrix:
    """Sum of the four loops around every site whose sides are these lines, of these lengths, of each direction."""

    def at(direction: int, *hops: tuple[int, int]) -> Matrix:
        return link_at(lattice, sides[direction][0], direction, here, [h for h in hops for _ in range(sides[h[0]][1])])

    return leaves(*corners(at, mu, nu))


@kernel("links", "field")
def straighten(lattice: Lattice, links: Array, field: Array, weight: float) -> Array:
    """``field + weight D* D field``, each component differentiated along its own direction.

    D*_mu D_mu X_mu(x) = U_mu(x) X_mu(x + mu) U_mu(x)^dagger + U_mu(x - mu)^dagger X_mu(x - mu) U_mu(x - mu) - 2 X_mu(x): the
    operator that makes the Zeuthen flow of the gradient of the Symanzik action (arXiv:1508.05552).

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    field
        Algebra field.
    weight
        1/12 for the Zeuthen flow.

    Returns
    -------
    Array
        Algebra field.
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    result = []
    for mu in range(lattice.ndim):
        f, b = [(mu, 0)], [(mu, 1)]
        matrices = (
            link_at(lattice, links, mu, here),
            link_at(lattice, links, mu, here, b),
            link_at(lattice, field, mu, here, f),
            link_at(lattice, field, mu, here, b),
            link_at(lattice, field, mu, here),
        )
        result.append(to_field(lattice, differ_along(weight, *matrices)))
    return xp.stack(result)
