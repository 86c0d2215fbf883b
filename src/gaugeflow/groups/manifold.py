"""What algorithms that work on any field need of the manifold it lives on."""

from __future__ import annotations

from typing import Protocol

from gaugeflow.groups.euclidean import Euclidean
from gaugeflow.groups.su import SU
from gaugeflow.lattice import Array, Lattice, check_array
from gaugeflow.namespaces import array_namespace


class Manifold(Protocol):
    """Fields of one lattice on which left displacements act; tangent vectors have the shape of the field."""

    @property
    def lattice(self) -> Lattice:
        """The lattice."""

    @property
    def components(self) -> int:
        """Axes of a field before its site axis, as :meth:`gaugeflow.lattice.Lattice.pack` counts them."""

    def dimension(self, x: Array) -> int:
        """Real dimension of the manifold of one configuration."""

    def retract(self, x: Array, tangent: Array, step: float = 1.0) -> Array:
        """The field displaced by ``step * tangent``."""

    def inner(self, a: Array, b: Array) -> Array:
        """Scalar product of tangent vectors, ``(batch,)`` float64."""

    def project(self, ambient: Array) -> Array:
        """Nearest tangent vector of an array of the field's shape."""

    def velocity(self, change: Array, x: Array) -> Array:
        """Tangent vector, in left coordinates at ``x``, of a change of the field's entries."""

    def tangent(self, x: Array, coordinates: Array) -> Array:
        """Tangent vector with the given orthonormal coordinates.

        ``coordinates`` is ``(dimension, batch)`` real, sites in conventional order and components last.
        """

    def coordinates(self, tangent: Array) -> Array:
        """Inverse of :meth:`tangent`."""


def manifold_of(lattice: Lattice, x: Array) -> Manifold:
    """The manifold of a field, told from its shape: links and algebra fields have five axes and are complex."""
    check_array(x)
    xp = array_namespace(x)
    square = len(x.shape) == 5 and x.shape[0] == lattice.ndim and x.shape[1] == lattice.n_blocks
    if square and x.shape[2] == x.shape[3] and xp.isdtype(x.dtype, "complex floating"):
        return SU(lattice)
    return Euclidean(lattice)
