"""Loads, stores and scratch memory of a thread.

The Python functions here run in the simulator and say what is meant; kernels use those of
:mod:`gaugeflow_cupy.intrinsics`, of the same names and arguments.
"""

from __future__ import annotations

from gaugeflow.sites.jacobian import memory_size
from gaugeflow.sites.matrix import size
from gaugeflow.sites.random import haar_of_size, momentum_of_size
from gaugeflow_cupy._jit import SIMULATED


def own(field):
    """The own rows of a field, which on a cut lattice may come with those around them."""
    return field[0] if isinstance(field, tuple) else field


def load(field, place, stride, g):
    """Matrix whose entry k lies ``stride`` numbers after entry k - 1."""
    return tuple(field[place + k * stride] for k in range(len(g)))


def load_at(field, row, size, offset, stride, g):
    """Matrix that begins behind ``offset`` in a row of ``size`` numbers, as :func:`gaugeflow_cupy.geometry.around` tells it."""
    if isinstance(field, tuple):
        field, row = (field[0], row[0]) if row[2] else (field[1], row[1])
    return load(field, row * size + offset, stride, g)


def load_real_at(field, row, size, offset):
    """The same for a real number."""
    if isinstance(field, tuple):
        field, row = (field[0], row[0]) if row[2] else (field[1], row[1])
    return load_real(field, row * size + offset)


def store(field, place, stride, matrix):
    """Write a matrix."""
    for k, entry in enumerate(matrix):
        field[place + k * stride] = entry


def zero_matrix(field, g):
    """Matrix of zeros in the precision of a field."""
    return (own(field).dtype.type(0.0),) * len(g)


def settled(matrix):
    """The matrix itself, which the compiler must have at hand here: it may not put off the sums that make it."""
    return matrix


def load_real(array, place):
    """A real number."""
    return array[place]


def store_real(array, place, x):
    """Write a real number."""
    array[place] = x


def zero():
    """Zero in double precision: an accumulator."""
    return 0.0


def scratch(field, g):
    """Memory for the formulas of a Jacobian, in the precision of a field."""
    return [0.0] * memory_size(size(g))


def gaussians(g):
    """Memory for the random numbers of a matrix."""
    return [0.0] * (2 * len(g))


def haar(z, g):
    """The formula of :func:`gaugeflow.sites.random.haar_of_size` for the N of g."""
    haar_of_size(size(g))(z)


def momentum(z, g):
    """The formula of :func:`gaugeflow.sites.random.momentum_of_size` for the N of g."""
    momentum_of_size(size(g))(z)


def store_pair(field, place, x, y):
    """Write x + i y."""
    field[place] = complex(x, y)


if not SIMULATED:
    from gaugeflow_cupy.intrinsics import *  # noqa: F403  (what stands above, compiled)
