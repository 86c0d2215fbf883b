"""Topological charge."""

from __future__ import annotations

import math

from array_api_compat import array_namespace

from gaugeflow import kernels
from gaugeflow.kernels.slots import all_slots, link_at
from gaugeflow.lattice import Array, Lattice


def clover_charge(lattice: Lattice, links: Array) -> Array:
    """Q = sum_x q(x) with q = (1 / 32 pi^2) eps_{mu nu rho sigma} tr G G from the clover field strength.

    The sign is that of MILC, eps_xyzt = +1; openQCD's is opposite.  Q is near an integer only after the gradient flow,
    see :func:`gaugeflow.observables.flow_history`.

    Returns
    -------
    Array
        ``(batch,)`` float64.

    Raises
    ------
    ValueError
        If the lattice does not have four dimensions.
    """
    if lattice.ndim != 4:
        raise ValueError(f"the clover charge needs four dimensions, got a lattice of shape {lattice.shape}")
    _, density = kernels.clover(lattice, links)
    return lattice.sum_folds(array_namespace(density).sum(density, axis=0))


def integer_charge(lattice: Lattice, links: Array) -> Array:
    """Q = (1 / 2 pi) sum_x arg P(x) of U(1) links in two dimensions, arg in (-pi, pi], P from direction 0 to 1.

    The sum of the angles is a multiple of 2 pi on the torus (Lüscher, hep-lat/9805009); it is rounded to it.

    Returns
    -------
    Array
        ``(batch,)`` float64 of integer values.

    Raises
    ------
    ValueError
        If the links are not those of U(1) in two dimensions.
    """
    n, _ = lattice.check_links(links)
    if lattice.ndim != 2 or n != 1:
        raise ValueError(f"the integer charge needs U(1) links in two dimensions, got N = {n} in {lattice.ndim}")
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    (u0,), (u1,) = (link_at(lattice, links, mu, here) for mu in (0, 1))
    (ahead,), (above,) = link_at(lattice, links, 1, here, [(0, 0)]), link_at(lattice, links, 0, here, [(1, 0)])
    loop = xp.astype(u0 * ahead * xp.conj(above * u1), xp.complex128)
    angle = xp.atan2(xp.imag(loop), xp.real(loop))
    return xp.round(xp.sum(angle, axis=0) / (2.0 * math.pi))
