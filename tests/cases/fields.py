"""Random fields made by NumPy alone, as conventional arrays: the same configurations for every fold.

Tests of kernels ask for the same few arrays thousands of times, so that the last ones are kept, read-only.
"""

from functools import lru_cache, wraps

import numpy as np


def kept(make):
    """The last arrays of ``make(shape, n, batch, seed)`` are kept."""

    @lru_cache(maxsize=64)
    def cached(shape, n, batch, seed):
        array = make(shape, n, batch, seed)
        array.setflags(write=False)
        return array

    @wraps(make)
    def arrays(shape, n, batch, seed=0):
        return cached(tuple(shape), n, batch, seed)

    return arrays


@kept
def group_array(shape, n, batch, seed):
    """Random SU(n) matrices (phases for n = 1), ``(batch, d, *shape, n, n)`` complex128."""
    rng = np.random.default_rng([seed, n, batch, *shape])
    size = (batch, len(shape), *shape, n, n)
    if n == 1:
        return np.exp(2j * np.pi * rng.uniform(size=size))
    q, r = np.linalg.qr(rng.normal(size=size) + 1j * rng.normal(size=size))
    diagonal = np.diagonal(r, axis1=-2, axis2=-1)
    q = q * (diagonal / abs(diagonal))[..., None, :]
    q[..., 0] /= np.linalg.det(q)[..., None]
    return q


@kept
def algebra_array(shape, n, batch, seed):
    """Random anti-Hermitian matrices, traceless for n > 1, in the layout of :func:`group_array`."""
    rng = np.random.default_rng([seed, n, batch, *shape])
    size = (batch, len(shape), *shape, n, n)
    m = rng.normal(size=size) + 1j * rng.normal(size=size)
    a = (m - np.conj(np.swapaxes(m, -1, -2))) / 2
    return a - (np.trace(a, axis1=-2, axis2=-1)[..., None, None] * np.eye(n) / n if n > 1 else 0.0)


def links(lattice, n, batch, seed=0):
    """:func:`group_array` as a field."""
    return lattice.pack(group_array(lattice.shape, n, batch, seed), components=1)


def algebra(lattice, n, batch, seed=0):
    """:func:`algebra_array` as a field."""
    return lattice.pack(algebra_array(lattice.shape, n, batch, seed), components=1)


@kept
def ordered_array(shape, n, batch, seed):
    """Links near unity, exp(a / 5), in the layout of :func:`group_array`."""
    values, vectors = np.linalg.eigh(-0.2j * algebra_array(shape, n, batch, seed))
    return (vectors * np.exp(1j * values)[..., None, :]) @ np.conj(np.swapaxes(vectors, -1, -2))


def ordered(lattice, n, batch, seed=0):
    """:func:`ordered_array` as a field: sums of staples are far from singular."""
    return lattice.pack(ordered_array(lattice.shape, n, batch, seed), components=1)


def scalars(lattice, batch, seed=0):
    """Normal numbers on sites, ``(n_blocks, lanes)`` float64."""
    rng = np.random.default_rng([seed, batch, *lattice.shape])
    return lattice.pack(rng.normal(size=(batch, *lattice.shape)))


def rotation(lattice, n, batch, seed=0):
    """Random group elements on sites, ``(n_blocks, n, n, lanes)``."""
    return links(lattice, n, batch, seed + 1)[0]
