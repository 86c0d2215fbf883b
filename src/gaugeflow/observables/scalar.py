"""Observables of real fields ``(n_blocks, lanes)``, per configuration ``(batch,)`` float64."""

from __future__ import annotations

from array_api_compat import array_namespace

from gaugeflow import kernels
from gaugeflow.lattice import Array, Lattice


def magnetisation(lattice: Lattice, x: Array) -> Array:
    """Mean of the field over the lattice."""
    xp = array_namespace(x)
    return lattice.sum_folds(xp.sum(xp.astype(x, xp.float64), axis=0)) / lattice.volume


def two_point_susceptibility(lattice: Lattice, x: Array) -> Array:
    """chi_2 = V M^2: the two-point function summed over distances, where <M> = 0 (arXiv:1904.12072, equation 24)."""
    return lattice.volume * magnetisation(lattice, x) ** 2


def ising_energy(lattice: Lattice, x: Array) -> Array:
    """Mean of phi(x) phi(x + mu) over sites and directions (arXiv:1904.12072, equation 25)."""
    xp = array_namespace(x)
    products = x * kernels.neighbour_sum(lattice, x)
    return lattice.sum_folds(xp.sum(xp.astype(products, xp.float64), axis=0)) / (2 * lattice.ndim * lattice.volume)
