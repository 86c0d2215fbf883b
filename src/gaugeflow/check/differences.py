"""Finite differences along random tangent vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from gaugeflow.check.report import Report
from gaugeflow.groups import Manifold, manifold_of
from gaugeflow.lattice import Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Array

STEP = 2e-3
"""Step of the differences along unit directions: at 5e-3 a flow whose coefficients multiply 36 paths missed 1e-7."""
DIRECTIONS = 2
"""Random directions that a gradient is compared along; every component of it enters each of them."""
_STENCIL = ((1, 45.0 / 60.0), (2, -9.0 / 60.0), (3, 1.0 / 60.0))


class Normal(Protocol):
    """A source of random numbers."""

    def standard_normal(self, size: Any) -> Any:
        """Independent normal numbers of an array shape."""


def start(subject: object, lattice: Lattice, x: Array) -> tuple[Report, Manifold, int]:
    """Report, manifold and number of configurations; ``ValueError`` unless x is in double precision."""
    xp = array_namespace(x)
    if x.dtype not in (xp.float64, xp.complex128):
        raise ValueError(f"contracts are checked in double precision, got {x.dtype}")
    return Report(subject), manifold_of(lattice, x), lattice.batch(x.shape[-1])


def differentiate(function: Callable[[float], tuple[Array, ...]]) -> tuple[Array, ...]:
    """Derivatives at 0 of functions of one number, by central differences of sixth order."""
    samples = [(weight / STEP, function(k * STEP), function(-k * STEP)) for k, weight in _STENCIL]
    return tuple(sum(c * (a[i] - b[i]) for c, a, b in samples) for i in range(len(samples[0][1])))


def normal(rng: Normal, shape: tuple[int, ...], like: Array) -> Array:
    """Normal numbers as a float64 array of the library of ``like``."""
    xp = array_namespace(like)
    return xp.asarray(rng.standard_normal(tuple(shape)), dtype=xp.float64)


def tangents(manifold: Manifold, x: Array, rng: Normal, count: int) -> Iterator[Array]:
    """Tangent vectors at x with independent normal coordinates."""
    batch = manifold.lattice.batch(x.shape[-1])
    for _ in range(count):
        yield manifold.tangent(x, normal(rng, (manifold.dimension(x), batch), x))


def repeated(manifold: Manifold, x: Array, copies: int) -> Array:
    """A batch of equal configurations, the first one of x."""
    xp = array_namespace(x)
    one = manifold.lattice.unpack(x, manifold.components)[:1, ...]
    return manifold.lattice.pack(xp.broadcast_to(one, (copies, *one.shape[1:])), manifold.components)
