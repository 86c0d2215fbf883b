"""Fields of sources for scalar theories: monomials of the field and of its smeared versions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gaugeflow import kernels
from gaugeflow.ensembles.sources import SlicedFields
from gaugeflow.errors import require_finite
from gaugeflow.kernels.scalar import check_scalar
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.observables.flow_scales import slice_sums


@dataclass(frozen=True)
class ScalarSources(SlicedFields):
    """X_k(x) = prod_j psi_j(x)^(p_kj), with psi_j = (1 + diffusion Laplace)^(n_j) phi a field smeared by the heat kernel.

    A monomial of even degree, such as the constant 1, serves observables that are odd in phi, and one of odd degree those
    that are even.  For a free field the constant alone makes sum_x phi free of noise.

    Parameters
    ----------
    lattice
        The lattice.
    powers
        Exponents p_kj, one row for each field and one entry for each of ``steps``.
    steps
        Numbers n_j of smearing steps.
    diffusion
        Weight of the Laplacian in a step; stable below 1 / (2 d).

    Raises
    ------
    ValueError
        If an exponent or a number of steps is negative, rows are not as long as ``steps``, or there is no field.

    Examples
    --------
    Two fields for O_t = sum_x phi, the constant and the square of a field smeared twice:

    >>> from gaugeflow.ensembles import ScalarSources
    >>> from gaugeflow.lattice import Lattice
    >>> ScalarSources(Lattice((16, 4)), ((0,), (2,)), (2,)).names
    ('1', 'psi2^2')
    """

    lattice: Lattice
    powers: tuple[tuple[int, ...], ...]
    steps: tuple[int, ...] = (0,)
    diffusion: float = 0.1

    def __post_init__(self) -> None:
        require_finite(self, "diffusion")
        if not self.powers or any(len(row) != len(self.steps) for row in self.powers):
            raise ValueError(
                f"powers: expected rows of {len(self.steps)} exponents, one for each of steps, got {self.powers}"
            )
        if any(p < 0 for row in self.powers for p in row) or any(n < 0 for n in self.steps):
            raise ValueError(f"expected exponents and steps of 0 or more, got {self.powers} and {self.steps}")

    @property
    def names(self) -> tuple[str, ...]:
        """Monomials: ``psi2^3`` is the third power of the field after two steps of smearing, ``phi`` the field itself."""
        bases = [f"psi{n}" if n else "phi" for n in self.steps]

        def name(row: tuple[int, ...]) -> str:
            factors = [base if p == 1 else f"{base}^{p}" for base, p in zip(bases, row, strict=True) if p]
            return " ".join(factors) or "1"

        return tuple(name(row) for row in self.powers)

    @cached_property
    def _kernel_at_0(self) -> tuple[float, ...]:
        """d psi_j(x) / d phi(x)."""
        point = np.zeros((self.lattice.n_blocks, self.lattice.n_folds))
        point[0, 0] = 1.0
        return tuple(float(psi[0, 0]) for psi in self._smeared(point))

    def _smeared(self, x: Array) -> list[Array]:
        levels = [x]
        for _ in range(max(self.steps)):
            psi = levels[-1]
            laplacian = kernels.neighbour_sum(self.lattice, psi) - 2.0 * self.lattice.ndim * psi
            levels.append(psi + self.diffusion * laplacian)
        return [levels[n] for n in self.steps]

    def vectors(self, x: Array) -> Array:
        """X_k, ``(n_fields, n_blocks, lanes)``."""
        check_scalar(self.lattice, x)
        psi = self._smeared(x)
        return array_namespace(x).stack([_monomial(psi, row) for row in self.powers])

    def densities(self, x: Array, force: Array) -> Array:
        """Residual densities h_k(x) = dX_k(x) / d phi(x) - X_k(x) force(x), ``(n_fields, n_blocks, lanes)``."""
        check_scalar(self.lattice, x)
        psi = self._smeared(x)
        found = []
        for row in self.powers:
            density = -_monomial(psi, row) * force
            for j, p in enumerate(row):
                if p:
                    lower = tuple(q - 1 if i == j else q for i, q in enumerate(row))
                    density = density + p * self._kernel_at_0[j] * _monomial(psi, lower)
            found.append(density)
        return array_namespace(x).stack(found)

    def tangents(self, x: Array, force: Array) -> Array:
        """Sums of the densities over time slices, ``(n_fields, T, batch)``."""
        densities = self.densities(x, force)
        xp = array_namespace(x)
        sums = [slice_sums(self.lattice, densities[k, ...], mean=False) for k in range(len(self.powers))]
        return xp.astype(xp.stack(sums), xp.float64)


def _monomial(psi: list[Array], powers: tuple[int, ...]) -> Array:
    result = array_namespace(psi[0]).ones_like(psi[0])
    for field, p in zip(psi, powers, strict=True):
        for _ in range(p):
            result = result * field
    return result
