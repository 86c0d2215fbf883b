"""Link fields: SU(N) for N > 1, U(1) for N = 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from gaugeflow import kernels
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace


def algebra_basis(n: int, xp: Any, dtype: Any) -> Array:
    """Orthonormal basis of su(n), or of u(1) for n = 1: anti-Hermitian, tr T^a T^b = -delta_ab / 2.

    For n = 2 and 3 these are -i/2 times the Pauli and Gell-Mann matrices up to order and sign; u(1) is i / sqrt 2.

    Parameters
    ----------
    n
        Number of colours.
    xp
        Array namespace.
    dtype
        Complex type of the result.

    Returns
    -------
    Array
        ``(n_generators, n, n)``; n^2 - 1 generators, 1 for U(1).
    """
    if n == 1:
        return xp.asarray([[[1j / math.sqrt(2.0)]]], dtype=dtype)
    basis = []
    for i in range(n):
        for j in range(i + 1, n):
            real = [[0j] * n for _ in range(n)]
            real[i][j], real[j][i] = 0.5 + 0j, -0.5 + 0j
            imaginary = [[0j] * n for _ in range(n)]
            imaginary[i][j] = imaginary[j][i] = 0.5j
            basis += [real, imaginary]
    for k in range(1, n):
        norm = 1.0 / math.sqrt(2.0 * k * (k + 1))
        entries = [1j * norm] * k + [-1j * k * norm] + [0j] * (n - k - 1)
        basis.append([[entries[i] if i == j else 0j for j in range(n)] for i in range(n)])
    return xp.asarray(basis, dtype=dtype)


@dataclass(frozen=True)
class SU:
    """Links ``(ndim, n_blocks, N, N, lanes)`` of a lattice; see :class:`gaugeflow.groups.Manifold`."""

    lattice: Lattice
    components: ClassVar[int] = 1

    def dimension(self, x: Array) -> int:
        """Number of links times number of generators."""
        n = int(x.shape[2])
        return self.lattice.ndim * self.lattice.volume * (n * n - 1 if n > 1 else 1)

    def identity(self, like: Array) -> Array:
        """Unit links of the shape, type and device of a link field."""
        self.lattice.check_links(like)
        xp = array_namespace(like)
        unit = xp.eye(like.shape[2], dtype=like.dtype)[:, :, None]
        return xp.zeros_like(like) + unit

    def retract(self, x: Array, tangent: Array, step: float = 1.0) -> Array:
        """``exp(step * tangent) x``."""
        return kernels.evolve(self.lattice, x, tangent, step)

    def inner(self, a: Array, b: Array) -> Array:
        """-2 Re tr a b summed over links."""
        return kernels.inner(self.lattice, a, b)

    def project(self, ambient: Array) -> Array:
        """Anti-Hermitian, for N > 1 traceless part of every matrix."""
        return kernels.project(self.lattice, ambient)

    def velocity(self, change: Array, x: Array) -> Array:
        """Projection of ``change x^dagger``."""
        xp = array_namespace(x)
        product = _to_matrices(change) @ xp.conj(xp.matrix_transpose(_to_matrices(x)))
        return self.project(xp.permute_dims(product, (0, 1, 3, 4, 2)))

    def tangent(self, x: Array, coordinates: Array) -> Array:
        """``sum_a c^a T^a`` on every link; coordinates run over (direction, conventional site, generator)."""
        xp = array_namespace(x)
        n = x.shape[2]
        basis = algebra_basis(n, xp, x.dtype)
        batch = self.lattice.batch(x.shape[-1])
        c = xp.reshape(coordinates, (-1, basis.shape[0], batch))
        field = xp.tensordot(xp.astype(c, x.dtype), basis, axes=((1,), (0,)))
        field = xp.reshape(xp.permute_dims(field, (1, 0, 2, 3)), (batch, self.lattice.ndim, *self.lattice.shape, n, n))
        return self.lattice.pack(field, components=1)

    def coordinates(self, tangent: Array) -> Array:
        """``c^a = -2 tr T^a w`` of every link."""
        xp = array_namespace(tangent)
        n = tangent.shape[2]
        basis = algebra_basis(n, xp, tangent.dtype)
        field = self.lattice.unpack(tangent, components=1)
        batch = field.shape[0]
        c = -2.0 * xp.real(xp.tensordot(xp.reshape(field, (batch, -1, n, n)), basis, axes=((2, 3), (2, 1))))
        return xp.permute_dims(xp.reshape(c, (batch, -1)), (1, 0))


def _to_matrices(field: Array) -> Array:
    return array_namespace(field).permute_dims(field, (0, 1, 4, 2, 3))
