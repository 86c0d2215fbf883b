"""Observables of real fields ``(n_blocks, lanes)``, per configuration ``(batch,)`` float64."""

from __future__ import annotations

from gaugeflow import kernels
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice


def magnetisation(lattice: Lattice, x: Array) -> Array:
    """Mean of the field over the lattice."""
    return sum_sites(lattice, x) / lattice.volume


def two_point_susceptibility(lattice: Lattice, x: Array) -> Array:
    """chi_2 = V M^2: the two-point function summed over distances, where <M> = 0 (arXiv:1904.12072, equation 24)."""
    return lattice.volume * magnetisation(lattice, x) ** 2


def ising_energy(lattice: Lattice, x: Array) -> Array:
    """Mean of phi(x) phi(x + mu) over sites and directions (arXiv:1904.12072, equation 25)."""
    return sum_sites(lattice, x * kernels.neighbour_sum(lattice, x)) / (2 * lattice.ndim * lattice.volume)
