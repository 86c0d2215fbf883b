"""Means of single links in the field of their neighbours: the averages that multihit puts in place of links."""

from __future__ import annotations

from typing import Any

from gaugeflow.backend import kernel
from gaugeflow.errors import ConvergenceError
from gaugeflow.kernels.slots import all_slots, link_at, rows, to_field
from gaugeflow.kernels.sums import largest_entry
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.gauge import staple_pair
from gaugeflow.sites.matrix import add_scaled, scale
from gaugeflow.sites.one_link import one_link_average, one_link_average_of_size


@kernel("links")
def link_averages(lattice: Lattice, links: Array, coupling: Any, mu: int) -> Array:
    """Mean of every link of one direction with all other links held fixed, ``S = -sum_p (coupling_p / N) Re tr P_p``.

    In the expectation value of a product, links no two of which share a plaquette may be replaced by these means (Parisi,
    Petronzio and Rapuano, Phys. Lett. B 128 (1983) 418).

    Parameters
    ----------
    lattice, links
        The lattice and its links ``(ndim, n_blocks, N, N, lanes)``, N = 1, 2 or 3.
    coupling
        One number, ``(n_planes,)`` or ``(n_planes, batch)``: beta of each plane (and configuration).
    mu
        The direction.

    Returns
    -------
    Array
        ``(n_blocks, N, N, lanes)``: matrices that are inside the group, not on it.

    Raises
    ------
    ValueError
        If N is larger than 3 or there is no such direction.
    ConvergenceError
        If a mean is not finite: links or couplings are not, or beta is above about 100.
    """
    weight = start(lattice, links, coupling, mu)
    here = all_slots(lattice, array_namespace(links))

    def at(direction: int, *hops: tuple[int, int]) -> Any:
        return link_at(lattice, links, direction, here, hops)

    a = scale(0.0, at(mu))
    for nu in range(lattice.ndim):
        if nu != mu:
            f, up, dn = (mu, 0), (nu, 0), (nu, 1)
            pair = staple_pair(at(nu), at(mu, up), at(nu, f), at(nu, dn), at(mu, dn), at(nu, f, dn))
            a = add_scaled(a, weight[lattice.planes.index((min(mu, nu), max(mu, nu))), ...], pair)
    return checked(lattice, to_field(lattice, one_link_average(a)))


def start(lattice: Lattice, links: Array, coupling: Any, mu: int) -> Array:
    """Weights of staples by plane, ``(n_planes, 1 or batch)``; an error where there is no mean to compute."""
    lattice.check_direction(mu)
    n = links.shape[2]
    one_link_average_of_size(n)
    return rows(lattice, coupling, len(lattice.planes), links, "coupling") / n


def checked(lattice: Lattice, means: Array) -> Array:
    """The means, or ``ConvergenceError`` where one is not finite."""
    largest = largest_entry(lattice, means)
    if not largest < 2.0:
        raise ConvergenceError(
            f"link_averages: expected means inside the group, got an entry of size {largest:g}; "
            "are links and coupling finite, and beta below 100?"
        )
    return means
