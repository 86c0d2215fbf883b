"""Hops between processes: spinors are projected, and multiplied by links, where these are; half spinors travel."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import prange

from gaugeflow.kernels.fermions import count_rows, other
from gaugeflow_numba._jit import parallel
from gaugeflow_numba.fields import PRECISION, flat
from gaugeflow_numba.geometry import blocks, first_lane
from gaugeflow_numba.hops import factor_table, lanes_of, number_bytes, parts, row_of_sites, targets_of
from gaugeflow_numba.lanes import colours, entries
from gaugeflow_numba.memory import empty
from gaugeflow_numba.spinors import put_prepared, put_received
from gaugeflow_numba.traced import address, integer_at

NOTHING = {bits: np.empty(0, bits) for bits in (np.float64, np.float32)}


@parallel
def _prepare(links, psi, out, table, sign, fields, there, rows, lanes, g):
    u, x, y, at = address(links), address(psi), address(out), address(table)
    n, stride = parts(rows), lanes * number_bytes(g)
    matrix = colours(g) * colours(g) * stride
    half = entries(g) if entries(g) == colours(g) else entries(g) // 2
    for item in prange(n * blocks(lanes, g)):
        offset = first_lane(item // n, lanes, g) * number_bytes(g)
        for k in range(item % n * rows // n, (item % n + 1) * rows // n):
            hop, row, link = integer_at(at, 3 * k), integer_at(at, 3 * k + 1), integer_at(at, 3 * k + 2)
            for r in range(fields):
                here = x + (r * there + row) * (entries(g) * stride) + offset
                put_prepared(
                    here,
                    u + link * matrix + offset,
                    y + (k * fields + r) * half * stride + offset,
                    stride,
                    sign,
                    hop,
                    g,
                )


@parallel
def _complete(links, out, table, values, fields, rows, lanes, g):
    u, y, at, factors = address(links), address(out), address(table), address(values)
    n, stride = parts(rows), lanes * number_bytes(g)
    matrix = colours(g) * colours(g) * stride
    half = entries(g) if entries(g) == colours(g) else entries(g) // 2
    for item in prange(n * blocks(lanes, g)):
        offset = first_lane(item // n, lanes, g) * number_bytes(g)
        for k in range(item % n * rows // n, (item % n + 1) * rows // n):
            hop, link, code = integer_at(at, 3 * k), integer_at(at, 3 * k + 1), integer_at(at, 3 * k + 2)
            factor = factors + code * stride + offset if code != 0 else 0
            if code != 0 or hop % 2 == 0:
                for r in range(fields):
                    put_received(
                        u + link * matrix + offset,
                        factor,
                        y + (k * fields + r) * half * stride + offset,
                        stride,
                        hop,
                        g,
                    )


@lru_cache(maxsize=256)
def _tables(lattice, faces, parity, factors, batch, dtype):
    """Hop, rows of spinor and link of what is given; hop, row of the link and code of the factor of what comes; factors."""
    hop, block = faces.sources.T
    given = np.stack([hop, row_of_sites(lattice, other(parity))[block], hop // 2 * lattice.n_blocks + block], axis=1)
    position, come = faces.hops.T
    target = targets_of(lattice, parity)[position]
    taken = np.stack([come, come // 2 * lattice.n_blocks + target, factors.code[come // 2, come % 2, target]], axis=1)
    contiguous = (np.ascontiguousarray(x, dtype=np.int32).reshape(-1) for x in (given, taken))
    return (*contiguous, factor_table(factors, batch, dtype))


def from_others(lattice, hops, links, psi, parity, factors, sign):
    """Results of hops from other processes, ``(hops, R, half spinor, lanes)`` flat; nothing where the lattice is whole."""
    dtype = PRECISION[psi.dtype]
    faces = hops.faces
    if faces is None or faces.none:
        return NOTHING[dtype]
    spin, n, lanes = psi.shape[-3:]
    fields = psi.shape[0] if psi.ndim == 5 else 1
    given, taken, values = _tables(lattice, faces, parity, factors, lattice.batch(lanes), np.dtype(dtype))
    g = lanes_of(n, spin, lanes, 8 * dtype(0).itemsize)
    prepared = empty((len(faces.sources), fields, max(1, spin // 2), n, lanes), psi.dtype)
    sizes = (count_rows(lattice, other(parity)), len(faces.sources), lanes, g)
    _prepare(flat(links), flat(psi), flat(prepared), given, float(sign), fields, *sizes)
    come = lattice.domain.exchange(faces, prepared)
    _complete(flat(links), flat(come), taken, values, fields, len(faces.hops), lanes, g)
    return flat(come)
