"""Fields of plain numbers: scalars, fermions, network features."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace


@dataclass(frozen=True)
class Euclidean:
    """Real or complex fields ``(*lead, n_blocks, ..., lanes)``; see :class:`gaugeflow.groups.Manifold`.

    A complex number counts as two coordinates, real and imaginary part, with scalar product Re sum conj(a) b.

    Parameters
    ----------
    lattice
        The lattice.
    components
        Number of axes in ``lead``: 0 for scalars and fermions, 1 for features ``(C, n_blocks, lanes)``.
    """

    lattice: Lattice
    components: int = 0

    def dimension(self, x: Array) -> int:
        """Number of real numbers of one configuration."""
        count = 2 if array_namespace(x).isdtype(x.dtype, "complex floating") else 1
        for extent in x.shape[:-1]:
            count *= int(extent)
        return count * self.lattice.n_folds * math.prod(self.lattice.grid)

    def retract(self, x: Array, tangent: Array, step: float = 1.0) -> Array:
        """``x + step * tangent``."""
        return x + step * tangent

    def inner(self, a: Array, b: Array) -> Array:
        """Re sum conj(a) b over everything but the batch."""
        xp = array_namespace(a)
        product = xp.real(xp.conj(a) * b) if xp.isdtype(a.dtype, "complex floating") else a * b
        return sum_sites(self.lattice, xp.reshape(product, (-1, a.shape[-1])))

    def project(self, ambient: Array) -> Array:
        """Every array is a tangent vector."""
        return ambient

    def velocity(self, change: Array, x: Array) -> Array:
        """The change itself."""
        return change

    def tangent(self, x: Array, coordinates: Array) -> Array:
        """The field whose entries are the coordinates; imaginary parts follow all real parts."""
        xp = array_namespace(x)
        batch = self.lattice.batch(x.shape[-1])
        values = coordinates
        if xp.isdtype(x.dtype, "complex floating"):
            half = coordinates.shape[0] // 2
            values = coordinates[:half, ...] + 1j * coordinates[half:, ...]
        field = xp.permute_dims(xp.astype(values, x.dtype), (1, 0))
        lead, trail = x.shape[: self.components], x.shape[self.components + 1 : -1]
        field = xp.reshape(field, (batch, *lead, *self.lattice.shape, *trail))
        return self.lattice.pack(field, self.components)

    def coordinates(self, tangent: Array) -> Array:
        """Inverse of :meth:`tangent`."""
        xp = array_namespace(tangent)
        field = self.lattice.unpack(tangent, self.components)
        flat = xp.permute_dims(xp.reshape(field, (field.shape[0], -1)), (1, 0))
        if xp.isdtype(tangent.dtype, "complex floating"):
            return xp.concat([xp.real(flat), xp.imag(flat)])
        return flat
