"""Random fields made by NumPy alone, as conventional arrays: the same configurations for every fold."""

import numpy as np


def group_array(shape, n, batch, seed=0):
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


def algebra_array(shape, n, batch, seed=0):
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


def ordered(lattice, n, batch, seed=0):
    """Links near unity, exp(a / 5): sums of staples are far from singular."""
    values, vectors = np.linalg.eigh(-0.2j * algebra_array(lattice.shape, n, batch, seed))
    u = (vectors * np.exp(1j * values)[..., None, :]) @ np.conj(np.swapaxes(vectors, -1, -2))
    return lattice.pack(u, components=1)


def scalars(lattice, batch, seed=0):
    """Normal numbers on sites, ``(n_blocks, lanes)`` float64."""
    rng = np.random.default_rng([seed, batch, *lattice.shape])
    return lattice.pack(rng.normal(size=(batch, *lattice.shape)))


def rotation(lattice, n, batch, seed=0):
    """Random group elements on sites, ``(n_blocks, n, n, lanes)``."""
    return links(lattice, n, batch, seed + 1)[0]
