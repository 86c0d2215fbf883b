"""Random fields.  Every number is a function of the key, the global site, the configuration and the component alone.

``key`` is a vector of four int64 (two 32-bit words of Philox key, the draw, and the number of the first configuration) of the
array library in which the field is wanted; :class:`gaugeflow.random.Rng` makes it.
"""

from __future__ import annotations

from typing import Any

from gaugeflow.backend import kernel
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.numbers import cplx
from gaugeflow.sites.random import haar_of_size, momentum_of_size, normal_pair, uniform_pair


def check_key(key: Array, batch: int) -> None:
    """Raise ``ValueError`` unless ``key`` is a vector of four and ``batch`` positive."""
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    if tuple(key.shape) != (4,):
        raise ValueError(f"key: expected four integers (k0, k1, draw, first), got shape {tuple(key.shape)}")


def _pairs(formula: Any, lattice: Lattice, key: Array, batch: int, blocks: int, first: int = 0) -> list[Array]:
    """Two fields ``(n_blocks, lanes)`` from each of some blocks."""
    check_key(key, batch)
    xp = array_namespace(key)
    site = xp.asarray(lattice.site, dtype=xp.int64)[..., None]
    k0, k1, draw, start = (int(key[i]) for i in range(4))
    number = xp.arange(start, start + batch, dtype=xp.int64)[None, None, :]
    pairs = [x for j in range(first, first + blocks) for x in formula(site, number, draw, j, k0, k1)]
    return [xp.reshape(x, (lattice.n_blocks, lattice.n_folds * batch)) for x in pairs]


@kernel()
def uniform_field(lattice: Lattice, key: Array, components: int, batch: int) -> Array:
    """Independent multiples of 2^-53 in [0, 1), ``(components, n_blocks, lanes)`` float64.

    Component c is half ``c % 2`` of the Philox block with the counter (site, configuration, draw, c // 2).
    """
    pairs = _pairs(uniform_pair, lattice, key, batch, (components + 1) // 2)
    return array_namespace(key).stack(pairs[:components])


@kernel()
def normal_field(lattice: Lattice, key: Array, components: int, batch: int) -> Array:
    """Normal numbers, ``(components, n_blocks, lanes)`` float64, with the blocks of :func:`uniform_field`."""
    pairs = _pairs(normal_pair, lattice, key, batch, (components + 1) // 2)
    return array_namespace(key).stack(pairs[:components])


def _matrices(lattice: Lattice, key: Array, directions: int, n: int, batch: int, blocks: int, formula: Any) -> Array:
    xp = array_namespace(key)
    result = []
    for mu in range(directions):
        z = _pairs(normal_pair, lattice, key, batch, blocks, mu * blocks)
        z += [0.0] * (2 * n * n - len(z))
        formula(z)
        entries = xp.stack([cplx(z[2 * k], z[2 * k + 1]) for k in range(n * n)], axis=1)
        result.append(xp.reshape(entries, (lattice.n_blocks, n, n, -1)))
    return xp.stack(result)


@kernel()
def haar_field(lattice: Lattice, key: Array, directions: int, n: int, batch: int) -> Array:
    """Matrices with Haar distribution on U(1) (n = 1) or SU(n), ``(directions, n_blocks, n, n, lanes)`` complex128.

    Entry k of direction mu is made from the normal pair of block ``mu n^2 + k``; see
    ``gaugeflow.sites.random.haar_of_size``.
    """
    return _matrices(lattice, key, directions, n, batch, n * n, haar_of_size(n))


@kernel()
def momentum_field(lattice: Lattice, key: Array, directions: int, n: int, batch: int) -> Array:
    """Algebra field of density exp(-<p, p> / 2), ``(directions, n_blocks, n, n, lanes)`` complex128.

    Each direction uses ``max(1, n^2 // 2)`` blocks; see ``gaugeflow.sites.random.momentum_of_size``.
    """
    return _matrices(lattice, key, directions, n, batch, max(1, n * n // 2), momentum_of_size(n))
