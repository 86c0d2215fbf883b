"""Densities of Wilson loops of SU(2) and SU(3) in two dimensions, by the character expansion.

In the plane the matrix of a loop of area A has the density ``f_A(W) = sum_r d_r u_r^A chi_r(W)`` with respect to the Haar
measure, u_r the mean of chi_r / d_r over one plaquette; on a torus so do loops whose area is small beside the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gaugeflow.sites.matrix import project, trace
from gaugeflow.sites.numbers import Matrix

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]


def torus(n: int, points: int = 96) -> tuple[Floats, Floats]:
    """Equidistant eigen-angles ``(n, points, ...)`` of SU(n), and their Haar measure up to a factor."""
    line = np.arange(points) * (2.0 * np.pi / points)
    angles = np.stack(np.meshgrid(*[line] * (n - 1), indexing="ij"))
    angles = np.concatenate([angles, -angles.sum(axis=0, keepdims=True)])
    measure = np.ones(angles.shape[1:])
    for i in range(n):
        for j in range(i):
            measure = measure * np.abs(np.exp(1j * angles[i]) - np.exp(1j * angles[j])) ** 2
    return angles, measure


@dataclass(frozen=True)
class LoopDensity:
    """The density f_A.

    Parameters
    ----------
    n_colours
        2 or 3.
    beta
        Coupling of the Wilson action.
    area
        A, in plaquettes.
    boxes
        Representations of which that of SU(2) has at most as many boxes, those of SU(3) as many columns.
    """

    n_colours: int
    beta: float
    area: int
    boxes: int = 14

    @cached_property
    def _terms(self) -> list[tuple[tuple[int, ...], float]]:
        """Labels and d_r u_r^A."""
        angles, measure = torus(self.n_colours)
        z = np.exp(1j * angles).sum(axis=0)
        weight = measure * np.exp(self.beta * (z.real / self.n_colours - 1.0))
        weight = weight / weight.sum()
        symmetric, _ = self._symmetric(z)
        terms = []
        for label in self._labels():
            d = self._dimension(label)
            u = float(np.sum(weight * self._character(label, symmetric).real)) / d
            if abs(d * d * u**self.area) > 1e-15:
                terms.append((label, d * u**self.area))
        return terms

    def _labels(self) -> list[tuple[int, ...]]:
        if self.n_colours == 2:
            return [(j,) for j in range(self.boxes + 1)]
        return [(i, j) for i in range(self.boxes + 1) for j in range(i + 1)]

    def _dimension(self, label: tuple[int, ...]) -> int:
        if self.n_colours == 2:
            return label[0] + 1
        p, q = label[0] - label[1], label[1]
        return (p + 1) * (q + 1) * (p + q + 2) // 2

    def _symmetric(self, z: Complexes) -> tuple[list[Complexes], list[Complexes]]:
        """Characters h_k of the symmetric representations, k = 0 ... boxes + 1, and their derivatives by tr W.

        h_k = z h_(k-1) - h_(k-2) for SU(2) and z h_(k-1) - conj(z) h_(k-2) + h_(k-3) for SU(3); in the derivative of the
        latter conj(z) is another variable.
        """
        h, slope = [z * 0.0 + 1.0], [z * 0.0]
        other = z * 0.0 + 1.0 if self.n_colours == 2 else z.conj()
        for k in range(1, self.boxes + 2):
            new, d = z * h[k - 1], h[k - 1] + z * slope[k - 1]
            if k > 1:
                new, d = new - other * h[k - 2], d - other * slope[k - 2]
            if k > 2 and self.n_colours == 3:
                new, d = new + h[k - 3], d + slope[k - 3]
            h.append(new)
            slope.append(d)
        return h, slope

    def _character(self, label: tuple[int, ...], h: list[Complexes]) -> Complexes:
        """Jacobi and Trudi: h_i h_j - h_(i+1) h_(j-1) for rows of i and j boxes."""
        if self.n_colours == 2:
            return h[label[0]]
        i, j = label
        return h[i] * h[j] - (h[i + 1] * h[j - 1] if j > 0 else 0.0)

    def _slope(self, label: tuple[int, ...], h: list[Complexes], d: list[Complexes]) -> Complexes:
        if self.n_colours == 2:
            return d[label[0]]
        i, j = label
        first = d[i] * h[j] + h[i] * d[j]
        return first - (d[i + 1] * h[j - 1] + h[i + 1] * d[j - 1] if j > 0 else 0.0)

    def evaluate(self, loop: Matrix) -> tuple[Floats, Matrix]:
        """``log f_A`` and its gradient in left coordinates, site by site.

        Raises
        ------
        ValueError
            If representations that are left out make the density negative.
        """
        z = np.asarray(trace(loop))
        if self.n_colours == 2:
            z = z.real + 0.0j
        h, d = self._symmetric(z)
        density = sum(c * self._character(label, h).real for label, c in self._terms)
        slope = sum(c * self._slope(label, h, d) for label, c in self._terms)
        if not np.min(density) > 0.0:
            raise ValueError(f"density of loops: expected positive numbers, got {np.min(density):.3g}")
        # real f of z and conj(z): df = 2 Re(f_z dz); one variable for SU(2): df = f_z dz
        factor = slope / density * (0.5 if self.n_colours == 2 else 1.0)
        return np.log(density), project(tuple(-factor * entry for entry in loop))
