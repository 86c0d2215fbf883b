"""The gradient of the topological charge of plaquettes as a vector field in four dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gaugeflow import kernels
from gaugeflow.kernels.loops import Words
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace

_PAIRS = (((1, 2), (3, 4)), ((1, 3), (2, 4)), ((1, 4), (2, 3)))
_SIGNS = (1.0, -1.0, 1.0)


@dataclass(frozen=True)
class ChargeGradient:
    """X = grad Q with the charge of one plaquette for each plane, :func:`gaugeflow.observables.plaquette_charge`.

    Every term of Q is linear in eight different links, so that Q is an eigenfunction of the Laplacian: div X = -8 C_F Q with
    C_F = (N^2 - 1) / 2 N, and 1/2 for U(1).  The field is odd under parity, for observables that are.

    Parameters
    ----------
    lattice
        The lattice, in four dimensions.

    Raises
    ------
    ValueError
        If the lattice does not have four dimensions.
    """

    lattice: Lattice

    def __post_init__(self) -> None:
        if self.lattice.ndim != 4:
            raise ValueError(f"ChargeGradient: expected four dimensions, got {self.lattice}")

    @property
    def shape(self) -> tuple[int]:
        """Of coefficients: one field."""
        return (1,)

    def charge_and_gradient(self, x: Array) -> tuple[Array, Array]:
        """Q ``(batch,)``, and its gradient, an algebra field."""
        n, _ = self.lattice.check_links(x)
        xp = array_namespace(x)
        total: Any = 0.0
        words: list[tuple[int, ...]] = []
        weights = []
        for sign in (1, -1):
            here = _words(sign)
            traces = kernels.loop_traces(self.lattice, x, here)
            for k, orientation in enumerate(_SIGNS):
                a, b, together, against = (traces[4 * k + i, ...] for i in range(4))
                factor = -0.125 * orientation / math.pi**2
                product = 0.5 * xp.real(together - against)
                weight = xp.zeros_like(a)
                if n > 1:
                    product = product + xp.imag(a) * xp.imag(b) / n
                    weights += [-1j * factor / n * xp.imag(b), -1j * factor / n * xp.imag(a)]
                else:
                    weights += [weight, weight]
                weights += [weight + 0.5 * factor, weight - 0.5 * factor]
                total = total + factor * sum_sites(self.lattice, product)
            words += here
        stacked = xp.astype(xp.stack(weights), x.dtype)
        return total, kernels.loop_gradient(self.lattice, x, tuple(words), stacked)

    def _field(self, x: Array) -> tuple[Array, Array]:
        """X and its divergence."""
        n = int(x.shape[2])
        charge, gradient = self.charge_and_gradient(x)
        casimir = (n * n - 1.0) / (2.0 * n) if n > 1 else 0.5
        return gradient, -8.0 * casimir * charge

    def tangent(self, x: Array, force: Array) -> Array:
        """``div X - <X, force>``, ``(1, batch)``."""
        field, divergence = self._field(x)
        return (divergence - kernels.inner(self.lattice, field, force))[None, :]

    def linearised(self, coefficients: Any, x: Array, force: Array, step: float) -> tuple[Array, Array, Array]:
        """Links moved to both sides along c X, and its tangent; as for :class:`gaugeflow.flows.SectorFields`."""
        field, divergence = self._field(x)
        xp = array_namespace(x)
        c = float(xp.asarray(coefficients)[0])
        ahead, behind = (kernels.evolve(self.lattice, x, field, sign * step * c) for sign in (1.0, -1.0))
        return ahead, behind, c * (divergence - kernels.inner(self.lattice, field, force))


def _words(sign: int) -> Words:
    """Plaquettes A and B of three pairs of planes, A B and A B^dagger, from every site forward or backward."""
    words: list[tuple[int, ...]] = []
    for one, two in _PAIRS:
        a, b = (tuple(sign * s for s in (mu, nu, -mu, -nu)) for mu, nu in (one, two))
        words += [a, b, a + b, a + tuple(-step for step in reversed(b))]
    return tuple(words)
