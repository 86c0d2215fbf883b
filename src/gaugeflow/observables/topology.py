"""Topological charge.

In four dimensions q = (1 / 32 pi^2) eps_{mu nu rho sigma} tr F_mu nu F_rho sigma with Hermitian F and eps_xyzt = +1, the sign
of MILC: a self-dual field, F_xy = F_zt and so on, has a positive charge.  openQCD's sign is opposite.

In two dimensions U(1) has an integer charge, the sum of the angles of plaquettes that turn from direction 0
(time) to direction 1 (x); SU(N) has none there, since its bundles over the torus are all trivial.
"""

from __future__ import annotations

import math

from gaugeflow import kernels
from gaugeflow.kernels.slots import all_slots, link_at, to_lanes
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace

LOOPS = ((1, 1), (2, 2), (1, 2), (1, 3), (3, 3))
"""Sides of the loops of the improved charge."""
C5 = 1.0 / 20.0
"""Coefficient of the 3 x 3 loops in the improvement by five loops: the value with small errors of the next order, too."""


def five_loop_coefficients(c5: float = C5) -> tuple[float, ...]:
    """c_1 ... c_5 of the five loops (de Forcrand, Garcia Perez and Stamatescu, hep-lat/9701012).

    With F_(m,n) the clover of m x n loops divided by m n, tree-level errors of sum_i c_i tr F_i F_i begin at a^6: the sums of
    c, c (m^2 + n^2), c (m^4 + n^4) and c m^2 n^2 are 1, 0, 0 and 0.  One coefficient is free: 0 leaves four loops, 1/20 is the
    choice with five.
    """
    return (
        (19.0 - 55.0 * c5) / 9.0,
        (1.0 - 64.0 * c5) / 9.0,
        (640.0 * c5 - 64.0) / 45.0,
        1.0 / 5.0 - 2.0 * c5,
        c5,
    )


def clover_charge(lattice: Lattice, links: Array) -> Array:
    """Q = sum_x q(x) with q = (1 / 32 pi^2) eps_{mu nu rho sigma} tr F F from the clover field strength.

    F is Hermitian, made of the mean of the four plaquettes around a site.  The sign is that of MILC, eps_xyzt = +1;
    openQCD's is opposite.  Q is near an integer only after the gradient flow, see
    :func:`gaugeflow.observables.flow_history`.

    Returns
    -------
    Array
        ``(batch,)`` float64.

    Raises
    ------
    ValueError
        If the lattice does not have four dimensions.
    """
    _require_four(lattice, "clover")
    return _sum(lattice, kernels.clover(lattice, links)[1])


def five_loop_densities(lattice: Lattice, links: Array) -> tuple[Array, Array]:
    """Energy and charge densities improved by five loops (hep-lat/9701012): errors of smooth fields are of order a^6.

    Parameters
    ----------
    lattice, links
        The lattice and its links.

    Returns
    -------
    energy : Array
        ``(n_planes, n_blocks, lanes)`` float64, the improved ``-tr G^2`` of each plane (a^-4); their sum is E.
    charge : Array
        ``(n_blocks, lanes)`` float64 with eps_xyzt = +1; zero unless the lattice has four dimensions.
    """
    two = kernels.extend(lattice, links, links)
    lines = {1: links, 2: two, 3: kernels.extend(lattice, links, two)}
    energy, charge = kernels.clover(lattice, links)
    c1, *rest = five_loop_coefficients()
    energy, charge = c1 * energy, c1 * charge
    for c, (m, n) in zip(rest, LOOPS[1:], strict=True):
        more_energy, more_charge = kernels.rectangle_clover(lattice, lines[m], lines[n], m, n)
        energy, charge = energy + c * more_energy, charge + c * more_charge
    return energy, charge


def five_loop_charge(lattice: Lattice, links: Array) -> Array:
    """The charge improved by five loops, of ``five_loop_densities``; sign as of :func:`clover_charge`.

    Returns
    -------
    Array
        ``(batch,)`` float64.

    Raises
    ------
    ValueError
        If the lattice does not have four dimensions.
    """
    _require_four(lattice, "five-loop")
    return _sum(lattice, five_loop_densities(lattice, links)[1])


def plaquette_charge(lattice: Lattice, links: Array) -> Array:
    """The charge with one plaquette for each plane in place of the clover; sign as of :func:`clover_charge`.

    At every site the six plaquettes that start forward in both of their directions make one charge density, and those that
    start backward in both another one; q is the mean of the two, which a reflection of all axes exchanges.  The terms of
    order a, that one of them would have because its plaquettes lie around different points, cancel.  The mean over all
    sixteen choices of forward and backward would be the clover charge.

    Returns
    -------
    Array
        ``(batch,)`` float64.

    Raises
    ------
    ValueError
        If the lattice does not have four dimensions.
    """
    _require_four(lattice, "plaquette")
    n, _ = lattice.check_links(links)
    xp = array_namespace(links)
    total = 0.0
    for sign in (1, -1):
        words, signs = [], (1.0, -1.0, 1.0)
        for one, two in (((1, 2), (3, 4)), ((1, 3), (2, 4)), ((1, 4), (2, 3))):
            a, b = (tuple(sign * s for s in (mu, nu, -mu, -nu)) for mu, nu in (one, two))
            words += [a, b, a + b, a + tuple(-step for step in reversed(b))]
        traces = kernels.loop_traces(lattice, links, tuple(words))
        for k, orientation in enumerate(signs):
            a, b, together, against = (traces[4 * k + i, ...] for i in range(4))
            product = 0.5 * xp.real(together - against)  # tr P(A) P(B), P the projection on the algebra
            if n > 1:
                product = product + xp.imag(a) * xp.imag(b) / n
            total = total - 0.5 * orientation * _sum(lattice, product)
    return total / (4.0 * math.pi**2)


def angle_density(lattice: Lattice, links: Array) -> Array:
    """(1 / 2 pi) arg P(x) of U(1) links in two dimensions, arg in (-pi, pi], P from direction 0 to 1, at every site.

    Returns
    -------
    Array
        ``(n_blocks, lanes)`` float64; the sum over the lattice is the charge.

    Raises
    ------
    ValueError
        If the links are not those of U(1) in two dimensions.
    """
    _require_u1(lattice, links, "integer")
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    (u0,), (u1,) = (link_at(lattice, links, mu, here) for mu in (0, 1))
    (ahead,), (above,) = link_at(lattice, links, 1, here, [(0, 0)]), link_at(lattice, links, 0, here, [(1, 0)])
    loop = xp.astype(u0 * ahead * xp.conj(above * u1), xp.complex128)
    return to_lanes(lattice, xp.atan2(xp.imag(loop), xp.real(loop)) / (2.0 * math.pi))


def integer_charge(lattice: Lattice, links: Array) -> Array:
    """Q = (1 / 2 pi) sum_x arg P(x) of U(1) links in two dimensions, arg in (-pi, pi], P from direction 0 to 1.

    The sum of the angles is a multiple of 2 pi on the torus (Lüscher, hep-lat/9805009); it is rounded to it.  With time and x
    the directions 0 and 1, the charge is positive for plaquettes that turn from the time axis to the x axis.

    Returns
    -------
    Array
        ``(batch,)`` float64 of integer values.

    Raises
    ------
    ValueError
        If the links are not those of U(1) in two dimensions.
    """
    density = angle_density(lattice, links)
    return array_namespace(density).round(_sum(lattice, density)) + 0.0  # no negative zero


def sine_charge(lattice: Lattice, links: Array) -> Array:
    """Q_s = (1 / 2 pi) sum_x Im P(x) of U(1) links in two dimensions: a smooth function of the links, near Q for smooth fields.

    Returns
    -------
    Array
        ``(batch,)`` float64.

    Raises
    ------
    ValueError
        If the links are not those of U(1) in two dimensions.
    """
    _require_u1(lattice, links, "sine")
    xp = array_namespace(links)
    traces = kernels.loop_traces(lattice, links, ((1, 2, -1, -2),))
    return _sum(lattice, xp.astype(xp.imag(traces[0, ...]), xp.float64)) / (2.0 * math.pi)


def has_integer_charge(lattice: Lattice, links: Array) -> bool:
    """Whether the links are those of U(1) in two dimensions."""
    return lattice.ndim == 2 and links.shape[2] == 1


def _sum(lattice: Lattice, density: Array) -> Array:
    return sum_sites(lattice, density)


def _require_u1(lattice: Lattice, links: Array, name: str) -> None:
    n, _ = lattice.check_links(links)
    if lattice.ndim != 2 or n != 1:
        raise ValueError(f"the {name} charge needs U(1) links in two dimensions, got N = {n} in {lattice.ndim}")


def _require_four(lattice: Lattice, name: str) -> None:
    if lattice.ndim != 4:
        raise ValueError(f"the {name} charge needs four dimensions, got a lattice of shape {lattice.shape}")
