"""Operators as dense matrices, one for every configuration: for small volumes, exact determinants and tests.

The components of one configuration are counted in the order of the field: row, spin, colour, and lane of the fold last.
"""

from __future__ import annotations

import math
from typing import Any

from gaugeflow.kernels.fermions import BOTH
from gaugeflow.lattice import Array, Lattice
from gaugeflow.lending import with_writable_links
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.hopping import HoppingOperator

STACK_BYTES = 2 << 20
"""Size of the stacks of unit vectors that operators are applied to: larger ones leave the caches."""


def count_components(operator: Any) -> int:
    """Rows of the matrix of an operator: components of a field of one configuration."""
    shape = operator.zeros().shape
    return math.prod(shape) // operator.lattice.batch(shape[-1])


def stack_length(operator: Any) -> int:
    """How many fields of an operator make a stack of about :data:`STACK_BYTES`."""
    zero = operator.zeros()
    size = math.prod(zero.shape) * (8 if zero.dtype == array_namespace(zero).complex64 else 16)
    return max(1, STACK_BYTES // size)


def unit_vectors(operator: Any, first: int, last: int) -> Array:
    """Unit vectors ``first ... last - 1`` as a stack ``(last - first, rows, spin, N, lanes)``, alike in all configurations."""
    zero = operator.zeros()
    xp = array_namespace(zero)
    n = count_components(operator)
    rows = xp.eye(last - first, n, k=first, dtype=zero.dtype)
    batch = operator.lattice.batch(zero.shape[-1])
    spread = xp.asarray(xp.broadcast_to(rows[:, :, None], (last - first, n, batch)), copy=True)
    return xp.reshape(spread, (last - first, *zero.shape))


def to_columns(lattice: Lattice, psi: Array) -> Array:
    """A stack ``(R, rows, spin, N, lanes)`` as vectors ``(batch, R, n)``."""
    xp = array_namespace(psi)
    batch = lattice.batch(psi.shape[-1])
    return xp.permute_dims(xp.reshape(psi, (psi.shape[0], -1, batch)), (2, 0, 1))


def from_columns(operator: Any, columns: Array) -> Array:
    """Inverse of :func:`to_columns`: vectors ``(batch, R, n)`` as a stack of fields of the operator."""
    xp = array_namespace(columns)
    lanes_last = xp.asarray(xp.permute_dims(columns, (1, 2, 0)), copy=True)
    return xp.reshape(lanes_last, (columns.shape[1], *operator.zeros().shape))


def transposed_matrix(operator: Any) -> Array:
    """Columns of the matrix of an operator one after the other: row r of ``(batch, n, n)`` is operator times unit vector r.

    That is the memory order in which LAPACK takes matrices.
    """
    zero = operator.zeros()
    xp = array_namespace(zero)
    lattice = operator.lattice
    lattice.check_whole(f"matrix of {operator.label}")
    n, step = count_components(operator), stack_length(operator)
    result = xp.empty((lattice.batch(zero.shape[-1]), n, n), dtype=zero.dtype)
    for first in range(0, n, step):
        last = min(first + step, n)
        result[:, first:last, :] = to_columns(lattice, operator.apply(unit_vectors(operator, first, last)))
    return result


@with_writable_links
def matrix(operator: Any) -> Array:
    """The matrix of an operator, or of a Schur complement, for every configuration.

    Parameters
    ----------
    operator
        A Dirac operator or Schur complement, bound to links.

    Returns
    -------
    Array
        ``(batch, n, n)``: 16 n^2 bytes a configuration in double precision.

    Raises
    ------
    ValueError
        If the lattice is cut over processes.
    """
    result = transposed_matrix(operator)
    return array_namespace(result).matrix_transpose(result)


def site_blocks(operator: HoppingOperator, parity: int = BOTH, inverse: bool = False) -> Array:
    """T of an operator D = T + K, or its inverse, as matrices on the sites of a parity: ``(rows, lanes, m, m)``, m = spin N."""
    rows, spin, n, lanes = operator.field_shape(parity)
    xp = array_namespace(operator.bound)
    m = spin * n
    unit = xp.reshape(xp.eye(m, dtype=operator.bound.dtype), (m, 1, spin, n, 1))
    ones = xp.asarray(xp.broadcast_to(unit, (m, rows, spin, n, lanes)), copy=True)
    columns = operator.diagonal_inverse(ones, parity) if inverse else operator.diagonal(ones, parity)
    return xp.permute_dims(xp.reshape(columns, (m, rows, m, lanes)), (1, 3, 2, 0))
