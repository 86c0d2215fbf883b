"""GPU drivers of :mod:`gaugeflow.kernels.fermions`: linear algebra on fermion fields, lane by lane.

Coefficients are read where they live, one for each field and configuration; numbers travel with the launch.
"""

from __future__ import annotations

import cupy as xp
import numpy as np
from numba import cuda

from gaugeflow.kernels.fermions import check_pair
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.sites.heatbath import narrow
from gaugeflow.sites.matrix import times_i
from gaugeflow.sites.numbers import imag, real, wide
from gaugeflow_cupy import sites as _known_sites  # noqa: F401
from gaugeflow_cupy._jit import compiled, device, kernel
from gaugeflow_cupy.device import PRECISION, constant, contiguous
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import load, load_real, store, store_real, zero

_ONE = (0,)
"""Tells the size of one number."""


def _sizes(x):
    """Fields of a stack, numbers of a field in each lane, and lanes."""
    if x.dtype not in PRECISION:
        raise TypeError(f"fermion field: expected complex128 or complex64, got {x.dtype}")
    fields, lanes = x.shape[0] if x.ndim == 5 else 1, x.shape[-1]
    return fields, x.size // (fields * lanes), lanes


@kernel
def _dot(x, y, out, rows, numbers, lanes, one):
    i = cuda.grid(1)
    if i < rows * lanes:
        row, lane = i // lanes, i % lanes
        re, im = zero(), zero()
        for k in range(numbers):
            place = (row * numbers + k) * lanes + lane
            a, b = load(x, place, 1, one)[0], load(y, place, 1, one)[0]
            re = re + (wide(real(a)) * wide(real(b)) + wide(imag(a)) * wide(imag(b)))
            im = im + (wide(real(a)) * wide(imag(b)) - wide(imag(a)) * wide(real(b)))
        store_real(out, i, re)
        store_real(out, rows * lanes + i, im)


def fermion_dot(lattice, x, y):
    check_pair(x, y, "fermion_dot")
    fields, _, lanes = _sizes(x)
    numbers = x.shape[-3] * x.shape[-2]
    out = xp.empty((2, fields, x.shape[-4], lanes))
    rows = fields * x.shape[-4]
    launch(_dot, rows * lanes, contiguous(x, "x"), contiguous(y, "y"), out, rows, numbers, lanes, _ONE)
    re, im = sum_sites(lattice, out)
    result = re + 1j * im
    return result if x.ndim == 5 else result[0]


def coefficient(a, r, lane, like):
    """Real and imaginary part of a coefficient of field r: a pair of numbers, or an array with what its indices are made of."""
    return (_number if len(a) == 2 else _complex if a[0].dtype.kind == "c" else _real)(a, r, lane, like)


@device
def _number(a, r, lane, like):
    return a[0], a[1]


@device
def _real(a, r, lane, like):
    return narrow(load_real(a[0], r * a[1] + lane % a[3] * a[2]), like), 0.0


@device
def _complex(a, r, lane, like):
    z = load(a[0], r * a[1] + lane % a[3] * a[2], 1, (0,))[0]
    return narrow(real(z), like), narrow(imag(z), like)


@compiled(coefficient)
def _(a, r, lane, like):
    if len(a) == 2:
        return lambda a, r, lane, like: _number(a, r, lane, like)
    chosen = _complex if a[0].dtype.bitwidth == 128 else _real
    return lambda a, r, lane, like: chosen(a, r, lane, like)


@kernel
def _combine(x, a, y, b, out, fields, numbers, lanes, one):
    i = cuda.grid(1)
    if i < fields * numbers * lanes:
        r, lane = i // lanes // numbers, i % lanes
        u, v = load(x, i, 1, one)[0], load(y, i, 1, one)[0]
        p, q = coefficient(a, r, lane, u), coefficient(b, r, lane, v)
        store(out, i, 1, (p[0] * u + p[1] * times_i(u) + (q[0] * v + q[1] * times_i(v)),))


def _coefficient(lattice, x, values, name):
    """What kernels take for a coefficient: two numbers, or an array and how to find the number of a field and lane."""
    if isinstance(values, np.ndarray) and values.ndim:
        raise TypeError(f"{name}: a NumPy array with fields on the GPU; move it with to_device")
    if not isinstance(values, xp.ndarray | list | tuple):
        number = complex(values)
        return number.real, number.imag
    if isinstance(values, xp.ndarray):
        given = contiguous(values, name)
        given = given.astype(np.complex128 if given.dtype.kind == "c" else np.float64, copy=False)
    else:
        given = constant(np.asarray(values, dtype=np.complex128))
    batch = lattice.batch(x.shape[-1])
    sizes = (x.shape[0] if x.ndim == 5 else 1, batch)
    if given.ndim > 2 or any(n not in (1, s) for n, s in zip(given.shape[::-1], sizes[::-1], strict=False)):
        raise ValueError(f"{name}: expected a number, ({batch},) or {sizes}, got shape {tuple(given.shape)}")
    rows, columns = (1, 1, *given.shape)[-2:]
    return given, columns if rows > 1 else 0, int(columns > 1), batch


def fermion_combine(lattice, x, a, y, b):
    check_pair(x, y, "fermion_combine")
    out = xp.empty(x.shape, x.dtype)
    left, right = _coefficient(lattice, x, a, "a"), _coefficient(lattice, x, b, "b")
    launch(_combine, out.size, contiguous(x, "x"), left, contiguous(y, "y"), right, out, *_sizes(x), _ONE)
    return out
