"""Hops between processes: spinors are projected, and multiplied by links, where these are; half spinors travel.

A hop that ends on a place of another process finds there what its owner has prepared: of a hop forward the projected spinor,
of a hop backward also the product with the link.  The arithmetic is that of a whole lattice.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache

import cupy as xp
import numpy as np
from numba import cuda

from gaugeflow.kernels.fermions import BOTH, other, sites_of
from gaugeflow.sites import dirac
from gaugeflow_cupy._jit import TUPLE, compiled, device, kernel
from gaugeflow_cupy.device import contiguous
from gaugeflow_cupy.geometry import link, put, row
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import own
from gaugeflow_cupy.spinors import assembled, colour_dag_times, dimension, family, known, received


# ---- spinors of one component ----------------------------------------------------------------------------------------
def spinor_ahead(psi, r, row_of, there, table, mu, f, sites, lanes, lane, s):
    """The colour vector one hop ahead."""
    return (_ahead_cut if isinstance(psi, tuple) else _ahead)(
        psi, r, row_of, there, table, mu, f, sites, lanes, lane, s
    )


@device
def _ahead(psi, r, row_of, there, table, mu, f, sites, lanes, lane, s):
    return link(psi, table, r, (row_of[f[0]], f[1]), there, lanes, lane, s)


@device
def _ahead_cut(psi, r, row_of, there, table, mu, f, sites, lanes, lane, s):
    if f[0] < sites:
        return link(own(psi), table, r, (row_of[f[0]], f[1]), there, lanes, lane, s)
    return received(psi, 2 * mu, f[0] - sites, r, lanes, lane, s)


@compiled(spinor_ahead)
def _(psi, r, row_of, there, table, mu, f, sites, lanes, lane, s):
    chosen = _ahead_cut if isinstance(psi, TUPLE) else _ahead
    return lambda psi, r, row_of, there, table, mu, f, sites, lanes, lane, s: chosen(
        psi, r, row_of, there, table, mu, f, sites, lanes, lane, s
    )


def spinor_behind(links, psi, r, row_of, there, table, mu, b, sites, lanes, lane, g, s):
    """The colour vector one hop behind times the conjugate of the link there."""
    chosen = _behind_cut if isinstance(psi, tuple) else _behind
    return chosen(links, psi, r, row_of, there, table, mu, b, sites, lanes, lane, g, s)


@device
def _behind(links, psi, r, row_of, there, table, mu, b, sites, lanes, lane, g, s):
    h = link(psi, table, r, (row_of[b[0]], b[1]), there, lanes, lane, s)
    return colour_dag_times(link(links, table, mu, b, sites, lanes, lane, g), h)


@device
def _behind_cut(links, psi, r, row_of, there, table, mu, b, sites, lanes, lane, g, s):
    if b[0] < sites:
        return _behind(links, own(psi), r, row_of, there, table, mu, b, sites, lanes, lane, g, s)
    return received(psi, 2 * mu + 1, b[0] - sites, r, lanes, lane, s)


@compiled(spinor_behind)
def _(links, psi, r, row_of, there, table, mu, b, sites, lanes, lane, g, s):
    chosen = _behind_cut if isinstance(psi, TUPLE) else _behind
    return lambda links, psi, r, row_of, there, table, mu, b, sites, lanes, lane, g, s: chosen(
        links, psi, r, row_of, there, table, mu, b, sites, lanes, lane, g, s
    )


# ---- what is prepared for others -------------------------------------------------------------------------------------
@cache
def _prepared(n, numbers):
    if numbers == n:
        lines = ["if code % 2 == 0:", "    return x", "return dag_times(u, x)"]
        return assembled(f"prepared_{n}", _PREPARED, lines, {"dag_times": colour_dag_times})
    scope, lines, ndim = {"dag_times": colour_dag_times}, [], dimension(numbers, n * n)
    for mu in range(ndim):
        scope[f"project_{mu}"] = known(dirac.project(ndim, mu, n))
        lines += [f"if code == {2 * mu}:", f"    return project_{mu}(-c, x)"]
        lines += [f"if code == {2 * mu + 1}:", f"    return dag_times(u, project_{mu}(c, x))"]
    del lines[-2]
    lines[-1] = lines[-1].strip()
    return assembled(f"prepared_{ndim}_{n}", _PREPARED, lines, scope)


_PREPARED = "code, c, x, u"
prepared = family(lambda *sizes: _prepared(math.isqrt(sizes[3]), sizes[2]))
"""What another process needs of a spinor x, and of the link u of its site, for a hop."""


@kernel
def _prepare(links, psi, out, hops, c, rows, fields, there, sites, lanes, g, s, h):
    i = cuda.grid(1)
    if i < rows * fields * lanes:
        k, r, lane = i // lanes // fields, i // lanes % fields, i % lanes
        code, position, site = hops[3 * k], hops[3 * k + 1], hops[3 * k + 2]
        x = row(psi, r, there, position, lanes, lane, s)
        u = row(links, code // 2, sites, site, lanes, lane, g)
        put(out, 0, 0, i // lanes, lanes, lane, h, prepared(code, c, x, u))


@lru_cache(maxsize=64)
def _tables(lattice, parity, device):
    """Faces; hop, row of the spinor and site of what is given; the row of what comes, by hop and place; number of places."""
    targets = np.array(sites_of(lattice, parity), dtype=np.int32)
    faces = lattice.domain.faces(lattice, targets)
    hop, block = faces.sources.T
    row = np.arange(lattice.n_blocks)
    if parity != BOTH:
        sources = sites_of(lattice, other(parity))
        row[sources] = np.arange(len(sources))
    given = np.stack([hop, row[block], block], axis=1).astype(np.int32)
    position, code = faces.hops.T
    table = lattice.hops()
    places = table.coordinates.shape[1]
    came = np.zeros((2 * lattice.ndim, places), dtype=np.int32)
    far = table.neighbour[code // 2, code % 2, targets[position]] - lattice.n_blocks
    came[code, far] = np.arange(len(code))
    return faces, xp.asarray(given), xp.asarray(came), places


def with_received(lattice, geometry, links, psi, sign):
    """Psi as kernels of hops take it: on a cut lattice with what other processes have prepared."""
    if lattice.domain is None:
        return psi
    faces, hops, came, places = _tables(lattice, geometry.parity, xp.cuda.Device().id)
    numbers = geometry.s if psi.shape[-3] == 1 else geometry.half
    rows, fields, lanes = len(faces.sources), geometry.fields, geometry.lanes
    out = xp.empty((rows, fields, len(numbers), lanes), psi.dtype)
    sizes = (rows, fields, geometry.places[-1], geometry.sites, lanes, geometry.g, geometry.s, numbers)
    launch(_prepare, rows * fields * lanes, links, psi, out, hops, float(sign), *sizes)
    return psi, contiguous(lattice.domain.exchange(faces, out), "psi"), came, places, fields
