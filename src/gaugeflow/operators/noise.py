"""Gaussian fermion fields."""

from __future__ import annotations

import math
from typing import Any

from gaugeflow.kernels.fermions import rows_of
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng, normal


def gaussian(rng: Rng, operator: Any, fields: int = 0) -> Array:
    """Fermion field of an operator, or stack of ``fields``, with density ``exp(-|eta|^2)``.

    Every component has ``<|eta|^2> = 1``.

    Parameters
    ----------
    rng
        Random numbers; they depend on the sites, not on fold or parity.
    operator
        A Dirac operator or Schur complement, bound to links.
    fields
        Number of fields; 0 for one without the axis of a stack.

    Returns
    -------
    Array
        Shape and type of ``operator.zeros(fields)``.
    """
    zero = operator.zeros(fields)
    xp = array_namespace(zero)
    lattice = operator.lattice
    rows, spin, n, lanes = (int(k) for k in zero.shape[-4:])
    count = max(fields, 1)
    real = normal(rng, lattice, 2 * count * spin * n, lattice.batch(lanes), xp=xp)
    parts = xp.reshape(real, (2, count, spin, n, lattice.n_blocks, lanes))
    eta = xp.permute_dims(parts[0, ...] + 1j * parts[1, ...], (0, 3, 1, 2, 4)) * math.sqrt(0.5)
    if rows != lattice.n_blocks:
        eta = xp.take(eta, rows_of(lattice, 1, eta), axis=1)
    return xp.astype(xp.reshape(eta, tuple(zero.shape)), zero.dtype)
