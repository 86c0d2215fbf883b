"""Spinors as threads see them: formulas chosen by the sizes of tuples, hops put together for a dimension, tables of rows.

A spinor is a tuple of spin x colour numbers and lies in memory as a matrix does: number k of a row follows number k - 1 after
``lanes`` numbers.  ``s`` is a tuple of as many zeros: with ``g`` its *type* tells dimension and colours, and so which gamma
matrices, permutations and signs, become part of the code.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache

import cupy as xp
import numpy as np

from gaugeflow.kernels import reads
from gaugeflow.kernels.fermions import BOTH, count_rows, other, sites_of
from gaugeflow.sites import dirac
from gaugeflow_cupy._jit import SIMULATED, compiled, device, jitable
from gaugeflow_cupy.device import PRECISION, contiguous, tables
from gaugeflow_cupy.geometry import hop, link, row
from gaugeflow_cupy.memory import load, own, settled, zero_matrix

WARP = 32
"""Threads that run in step."""


# ---- formulas by the sizes of their arguments ------------------------------------------------------------------------
def known(function):
    """A Python function that compiled code may call."""
    return function if SIMULATED else jitable(function, {"forceinline": True})


def family(choose):
    """A function for kernels: ``choose`` gets the length of every argument, None of what is no tuple, and returns a formula."""

    def function(*args):
        return choose(*(len(a) if isinstance(a, tuple) else None for a in args))(*args)

    @compiled(function)
    def _(*args):
        names = ", ".join(f"a{i}" for i in range(len(args)))
        scope = {"chosen": known(choose(*(getattr(a, "count", None) for a in args)))}
        exec(f"def call({names}):\n    return chosen({names})\n", scope)
        return scope["call"]

    return function


scaled = family(lambda c, x: dirac.scaled(x))
scaled_i = family(lambda c, x: dirac.scaled_i(x))
combined = family(lambda a, x, b, y: dirac.combined(x))
chiral_scaled = family(lambda a, b, x: dirac.chiral_scaled(x))
added = family(lambda x, y: dirac.added(x))
half_block_times = family(lambda t, x: dirac.half_block_times(x))
colour_times = family(lambda u, h: dirac.colour_times(h // math.isqrt(u), math.isqrt(u)))
colour_dag_times = family(lambda u, h: dirac.colour_dag_times(h // math.isqrt(u), math.isqrt(u)))
add_outer = family(lambda m, c, x, y: dirac.add_outer(x // math.isqrt(m), math.isqrt(m)))


@cache
def _half(count, side):
    entries = ", ".join(f"x[{count // 2 * side + k}]" for k in range(count // 2))
    return assembled(f"half_{side}_of_{count}", "x", [f"return ({entries},)"], {})


upper_half, lower_half = family(lambda x: _half(x, 0)), family(lambda x: _half(x, 1))


def assembled(name, parameters, lines, scope):
    """A function made of lines of text."""
    body = "".join(f"    {line}\n" for line in lines)
    exec(compile(f"def {name}({parameters}):\n{body}", f"<gaugeflow {name}>", "exec"), scope)
    return scope[name]


def dimension(s, g):
    """Dimensions of a lattice whose spinors have s numbers, matrices g."""
    return 2 * (s // math.isqrt(g)).bit_length() - 2


@device
def weighted(codes, place, lanes, lane, x):
    """Numbers times the factor of a hop; most hops have the factor 1, of code 0.

    A branch also keeps the loads of one hop behind those of the last one, which saves a quarter of the registers.
    """
    k = codes[0][place]
    return scaled(load(codes[1], k * lanes + lane, lanes, (0,))[0], x) if k != 0 else x


@device
def received(psi, direction, place, r, lanes, lane, s):
    """What another process has prepared of field r for a hop that ends on place ``place`` of the layer.

    The triple of psi holds the own rows, rows ``(hops, fields)`` of what came, and the tables of
    :class:`gaugeflow_cupy.faces.Received`.
    """
    k = psi[2][direction * psi[3] + place]
    return load(psi[1], (k * psi[4] + r) * (len(s) * lanes) + lane, lanes, s)


@cache
def _hops(ndim, n, cut):
    scope = {
        "hop": hop,
        "link": link,
        "received": received,
        "weighted": weighted,
        "settled": settled,
        "own": own,
        "upper_half": upper_half,
        "zero_matrix": zero_matrix,
        "times": colour_times,
        "dag_times": colour_dag_times,
    }
    lines = ["x = (site, 0)", "t = zero_matrix(psi, s)"]
    for mu in range(ndim):
        scope[f"project_{mu}"], scope[f"expand_{mu}"] = (known(f(ndim, mu, n)) for f in (dirac.project, dirac.expand))
        for sign, c, times in ((0, "-c", "times"), (1, "c", "dag_times")):
            spinor = "link(own(psi), table, r, (row_of[f[0]], f[1]), there, lanes, lane, s)"
            lines += [
                f"f = hop(table, x, {mu}, {sign}, sites)",
                *_half_spinor(f"project_{mu}({c}, {spinor})", mu, sign, times, cut),
                f"t = settled(expand_{mu}(t, {c}, weighted(codes, {2 * mu + sign} * sites + site, lanes, lane, h)))",
            ]
    lines.append("return t")
    return assembled(f"hops_{ndim}_{n}" + "_cut" * cut, _HOPS, lines, scope)


def _half_spinor(projected, mu, sign, times, cut):
    """Lines for the half spinor of a hop, multiplied by the link; on a cut lattice its owner may have prepared it."""
    start = "f" if sign else "x"
    product = f"h = {times}(link(links, table, {mu}, {start}, sites, lanes, lane, g), h)"
    if not cut:
        return [f"h = {projected}", product]
    came = f"h = received(psi, {2 * mu + sign}, f[0] - sites, r, lanes, lane, upper_half(s))"
    if sign:
        return ["if f[0] < sites:", f"    h = {projected}", f"    {product}", "else:", f"    {came}"]
    return ["if f[0] < sites:", f"    h = {projected}", "else:", f"    {came}", product]


_HOPS = "links, psi, r, row_of, there, codes, table, site, sites, lanes, lane, c, g, s"
wilson_hops = family(lambda *sizes: _hops(dimension(sizes[-1], sizes[-2]), math.isqrt(sizes[-2]), sizes[1] is not None))
"""Sum of all hops of Wilson fermions to a site, of field r of a stack; c is the sign of the gamma matrices."""


@cache
def _outer_products(ndim, n):
    scope = {"row": row, "link": link, "hop": hop, "zero_matrix": zero_matrix, "outer": add_outer}
    lines = ["f = hop(table, (site, 0), mu, 0, sites)", "t = zero_matrix(left, g)"]
    for mu in range(ndim):
        scope[f"project_{mu}"] = known(dirac.project(ndim, mu, n))
        lines += [f"if mu == {mu}:", "    for r in range(fields):"]
        for c, far, near in (("-1.0", "right", "left"), ("1.0", "left", "right")):
            lines += [
                f"        h = project_{mu}({c}, link({far}, table, r, f, sites, lanes, lane, s))",
                f"        t = outer(t, 1.0, h, project_{mu}({c}, row({near}, r, sites, site, lanes, lane, s)))",
            ]
    lines.append("return t")
    return assembled(f"outer_products_{ndim}_{n}", _OUTER, lines, scope)


_OUTER = "left, right, fields, table, mu, site, sites, lanes, lane, g, s"
outer_products = family(lambda *sizes: _outer_products(dimension(sizes[-1], sizes[-2]), math.isqrt(sizes[-2])))
"""S with the force of a link in f U S: sum over a stack of (1 - gamma) right(x + mu) left(x)^dagger
+ (1 + gamma) left(x + mu) right(x)^dagger, spins summed.  The second term is that of the contract but for a Hermitian
conjugation, which the projection on the algebra turns into a sign: so links are multiplied once, not once for each field.
All threads of a warp share the direction."""


@device
def weighted_link(links, codes, mu, site, sites, lanes, lane, g):
    """The link of a forward hop times the factor of the hop."""
    return weighted(codes, 2 * mu * sites + site, lanes, lane, row(links, mu, sites, site, lanes, lane, g))


# ---- threads ---------------------------------------------------------------------------------------------------------
@device
def of_warp(i, parts):
    """Part and item of thread i: one part for all threads of a warp, and all parts of an item side by side."""
    warp = i // WARP
    return warp % parts, warp // parts * WARP + i % WARP


def whole_warps(items, parts):
    """Threads that :func:`of_warp` needs."""
    return -(-items // WARP) * WARP * parts


# ---- sizes and tables ------------------------------------------------------------------------------------------------
class SpinorGeometry:
    """Sizes of fermion fields on the sites of a parity, and what ends the signatures of their kernels."""

    def __init__(self, lattice, psi, parity=BOTH):
        if psi.dtype not in PRECISION:
            raise TypeError(f"fermion field: expected complex128 or complex64, got {psi.dtype}")
        spin, n, self.lanes = psi.shape[-3:]
        self.ndim, self.sites, self.dtype = lattice.ndim, lattice.n_blocks, psi.dtype
        self.fields = psi.shape[0] if psi.ndim == 5 else 1
        self.rows = count_rows(lattice, parity)
        self.shape = (*psi.shape[:-4], self.rows, *psi.shape[-3:])
        self.places = (*_rows(lattice, parity, _here()), self.fields, self.rows, count_rows(lattice, other(parity)))
        self.parity = parity
        self.table = tables(lattice, self.lanes, reads.around_sites(lattice.ndim))
        self.g, self.s = (0,) * n**2, (0,) * (spin * n)
        self.half = (0,) * (spin * n // 2)
        self.block = (0,) * dirac.packed(spin * n // 2)
        self.arguments = (self.table, self.sites, self.lanes, self.g, self.s)
        self.threads = self.rows * self.fields * self.lanes

    def codes(self, lattice, factors):
        """Codes and factors of hops, on the device."""
        return _factors(factors, lattice.batch(self.lanes), self.dtype, _here())

    def given(self, psi, name):
        """A fermion field, or blocks, in the precision of the others."""
        return contiguous(psi, name).astype(self.dtype, copy=False)


def _here():
    return xp.cuda.Device().id


@lru_cache(maxsize=64)
def _rows(lattice, parity, device):
    """Block sites of a parity, and the row of every block site among those of its own parity."""
    targets = np.array(sites_of(lattice, parity), dtype=np.int32)
    row = np.arange(lattice.n_blocks, dtype=np.int32)
    if parity != BOTH:
        for p in (0, 1):
            own = sites_of(lattice, p)
            row[own] = np.arange(len(own))
    return xp.asarray(targets), xp.asarray(row)


@lru_cache(maxsize=16)
def _factors(factors, batch, dtype, device):
    """Codes of all hops, and the factors of every lane."""
    values = np.repeat(factors.values, batch, axis=1).astype(dtype)
    return xp.asarray(factors.code), xp.asarray(values)
