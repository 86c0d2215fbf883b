"""Places, loads and sums of hops of fermion fields: what the drivers of Dirac operators share.

The hops of all directions are one straight-line function, put together for the number of dimensions and colours that the
types of its arguments tell: gamma matrices are only permutations and signs there.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba.core import types
from numba.extending import overload

from gaugeflow.kernels.fermions import BOTH, count_rows, other, sites_of
from gaugeflow.sites import dirac
from gaugeflow.sites.matrix import project
from gaugeflow_numba import sites as _known_sites  # noqa: F401
from gaugeflow_numba._jit import inline, known
from gaugeflow_numba.fields import PRECISION, Geometry
from gaugeflow_numba.geometry import entries_at, hop, link, numbers_at, put_link
from gaugeflow_numba.lanes import PLAIN, Lanes, barrier, load, zero_matrix


@lru_cache(maxsize=64)
def _rows(lattice, parity):
    """Block sites of a parity, and the row of every block site among the sites of its own parity."""
    targets = np.array(sites_of(lattice, parity), dtype=np.int32)
    row = np.arange(lattice.n_blocks, dtype=np.int32)
    if parity != BOTH:
        for p in (0, 1):
            own = lattice.sites_of_parity(p)
            row[own] = np.arange(len(own))
    return targets, row


@lru_cache(maxsize=64)
def _factors(factors, batch, dtype):
    """Codes, and the factors of every lane as reals ``(codes * 2 lanes)``, real and imaginary parts in turn."""
    values = np.repeat(factors.values, batch, axis=1).astype(np.complex128 if dtype == np.float64 else np.complex64)
    return factors.code, np.ascontiguousarray(values).reshape(-1).view(dtype)


class SpinorGeometry(Geometry):
    """Sizes of links and of fermion fields on them, and the arguments that end the signatures of their kernels."""

    def __init__(self, lattice, links, psi, parity=BOTH, factors=None):
        super().__init__(lattice, links)
        spin = psi.shape[-3]
        table, _, sites, lanes, g = self.arguments
        self.rows = count_rows(lattice, parity)
        self.fields = psi.shape[0] if psi.ndim == 5 else 1
        targets, row = _rows(lattice, parity)
        self.places = (targets, row, self.fields, self.rows, count_rows(lattice, other(parity)), 0)
        self.number = Lanes(g.w, 1, g.bits, PLAIN)
        self.vector = Lanes(g.w, g.n, g.bits, g.mode, g.n, spin)
        self.spinor = Lanes(g.w, g.n, g.bits, g.mode, spin * g.n, spin)
        self.own_spinor = Lanes(g.w, g.n, g.bits, PLAIN, spin * g.n, spin)
        self.block = Lanes(g.w, g.n, g.bits, PLAIN, dirac.packed(max(1, spin // 2) * g.n), spin)
        if factors is not None:
            codes = _factors(factors, lattice.batch(lanes), np.dtype(PRECISION[links.dtype]))
            self.hop_arguments = (
                self.places,
                *codes,
                table,
                sites,
                lanes,
                g,
                self.vector,
                self.number,
                self.own_spinor,
            )
            self.force_arguments = (self.fields, *codes, table, sites, lanes, g, self.number, self.spinor)

    @classmethod
    def of_spinors(cls, lattice, psi, parity):
        """Where there are no links."""
        n, lanes = psi.shape[-2:]
        return cls(
            lattice,
            np.broadcast_to(np.zeros((), psi.dtype), (lattice.ndim, lattice.n_blocks, n, n, lanes)),
            psi,
            parity,
        )


def wilson_hops(links, psi, start, row, code, values, table, site, sites, lanes, lane, c, again, g, v, o):
    """Sum of all hops to a site, as a tuple of rows of colour numbers.

    ``start`` is the first row of the field in a stack, c the sign of the gamma matrices, ``again`` is 0.
    """
    raise NotImplementedError("only in compiled code")


@overload(wilson_hops, jit_options={"forceinline": True}, strict=False)
def _(links, psi, start, row, code, values, table, site, sites, lanes, lane, c, again, g, v, o):
    """One row of the upper half after the other: what is summed then fits into 32 registers.

    Links are read once for each row; ``again``, of which the compiler does not know that it is 0, keeps it from holding them
    in between, for which there are no registers.
    """
    n, half = g.n, v.spin // 2
    d = 2 * v.spin.bit_length() - 2
    scope = {
        "zero_matrix": zero_matrix,
        "barrier": barrier,
        "hop": hop,
        "numbers_at": numbers_at,
        "factor": factor,
        "scaled": known(dirac.scaled(n)),
        "add": known(dirac.added(n)),
        "row_times": known(dirac.row_times(n)),
        "conj_row_times": known(dirac.conj_row_times(n)),
    }
    lines = [f"t{half + r} = zero_matrix(v)" for r in range(half)]
    lines += ["stride = 2 * lanes", f"spinor = {2 * half * n} * stride", f"matrix = {n * n} * stride"]
    for r in range(half):
        lines.append(f"t{r} = zero_matrix(v)")
        for mu in range(d):
            j = half + dirac.row_entering(d, mu, r)
            scope[f"project_{mu}_{r}"] = known(dirac.project_row(d, mu, r, n))
            scope[f"expand_{mu}_{r}"] = known(dirac.expand_row(d, mu, r, n))
            for sign, s in ((0, "-c"), (1, "c")):
                where, step = ("(site, 0)", n) if sign == 0 else ("f", 1)
                times = "row_times" if sign == 0 else "conj_row_times"
                lines += [
                    "barrier()",
                    f"f = hop(table, (site, 0), {mu}, {sign}, g)",
                    "p = (start + row[f[0]]) * spinor",
                    f"h = project_{mu}_{r}({s}, numbers_at(psi, table, p + {r * n} * stride, stride, f[1], lane, v), "
                    f"numbers_at(psi, table, p + {j * n} * stride, stride, f[1], lane, v))",
                    f"y = {where}",
                    f"m = ({mu} * sites + y[0]) * matrix + {r} * again",
                ]
                across = "stride" if sign == 0 else f"{n} * stride"
                rows = [
                    f"{times}(numbers_at(links, table, m + {a * step} * stride, {across}, y[1], lane, v), h)"
                    for a in range(n)
                ]
                lines += [
                    f"h = ({', '.join(rows)},)",
                    f"k = code[{mu}, {sign}, site]",
                    "if k != 0:",
                    "    h = scaled(factor(values, k, lanes, lane, o), h)",
                    f"t{r} = add(t{r}, h)",
                    f"t{j} = expand_{mu}_{r}(t{j}, {s}, h)",
                ]
    lines.append(f"return ({', '.join(f't{r}' for r in range(2 * half))},)")
    parameters = "links, psi, start, row, code, values, table, site, sites, lanes, lane, c, again, g, v, o"
    body = "".join(f"    {line}\n" for line in lines)
    exec(f"def call({parameters}):\n{body}", scope)
    return scope["call"]


@inline
def factor(values, k, lanes, lane, o):
    """One factor of a hop in all lanes of a register."""
    return load(values, 2 * (k * lanes + lane), 2 * lanes, o)[0]


def site_force(links, left, right, out, weight, fields, code, values, table, site, sites, lanes, lane, g, o, s):
    """Write the derivative of hops with respect to the links of all directions at a site; weight is -1/2 times the caller's."""
    raise NotImplementedError("only in compiled code")


@overload(site_force, jit_options={"forceinline": True}, strict=False)
def _(links, left, right, out, weight, fields, code, values, table, site, sites, lanes, lane, g, o, s):
    n, spin = g.n, s.spin
    staggered = spin == 1
    rows = 1 if staggered else spin // 2
    scope = {
        "zero_matrix": zero_matrix,
        "hop": hop,
        "at": entries_at,
        "put_link": put_link,
        "weighted_link": weighted_link,
        "algebra": project,
        "times": known(dirac.colour_times(rows, n)),
        "outer": known(dirac.add_outer(rows, n)),
    }
    lines = ["x = (site, 0)"]
    for mu in range(0 if staggered else 2 * spin.bit_length() - 2):
        scope[f"project_{mu}"] = known(dirac.project(2 * spin.bit_length() - 2, mu, n))
        lines += _force_lines(str(mu), lambda c, psi, mu=mu: f"project_{mu}({c}, {psi})", "-")
    if staggered:
        lines.append("for mu in range(code.shape[0]):")
        lines += [f"    {line}" for line in _force_lines("mu", lambda c, psi: psi, "")]
    parameters = "links, left, right, out, weight, fields, code, values, table, site, sites, lanes, lane, g, o, s"
    body = "".join(f"    {line}\n" for line in lines)
    exec(f"def call({parameters}):\n{body}", scope)
    return scope["call"]


def _force_lines(mu, project, sign):
    """Text of the force of one link, given how spinors are projected and the sign of its second term."""
    return [
        f"f = hop(table, x, {mu}, 0, g)",
        f"u = weighted_link(links, code, values, table, {mu}, site, sites, lanes, lane, g, o)",
        "total = zero_matrix(g)",
        "for r in range(fields):",
        "    row, ahead = r * sites + site, r * sites + f[0]",
        f"    x1 = times(u, {project('-1.0', 'at(right, table, ahead, f[1], lanes, lane, s)')})",
        f"    total = outer(total, weight, x1, {project('-1.0', 'at(left, table, row, 0, lanes, lane, s)')})",
        f"    x2 = times(u, {project('1.0', 'at(left, table, ahead, f[1], lanes, lane, s)')})",
        f"    total = outer(total, {sign}weight, {project('1.0', 'at(right, table, row, 0, lanes, lane, s)')}, x2)",
        f"put_link(out, {mu}, site, sites, lanes, lane, g, algebra(total))",
    ]


@inline
def weighted_link(links, code, values, table, mu, site, sites, lanes, lane, g, o):
    """The link of a forward hop times the factor of the hop."""
    u = link(links, table, mu, (site, 0), sites, lanes, lane, g)
    k = code[mu, 0, site]
    if k != 0:
        u = scaled(factor(values, k, lanes, lane, o), u)
    return u


def joined(rows):
    """Rows of colour numbers as one tuple."""


@overload(joined, jit_options={"forceinline": True}, strict=False)
def _(rows):
    entries = ", ".join(f"rows[{r}][{a}]" for r in range(rows.count) for a in range(rows.dtype.count))
    scope = {}
    exec(f"def call(rows):\n    return ({entries},)\n", scope)
    return scope["call"]


def by_count(function, make):
    """Let kernels call a family of formulas: ``make(count)`` for the entries of the last argument."""

    @overload(function, jit_options={"forceinline": True}, strict=False)
    def _(*args):
        if not isinstance(args[-1], types.BaseTuple):
            return None
        names = ", ".join(f"a{i}" for i in range(len(args)))
        scope = {"chosen": known(make(args[-1].count))}
        exec(f"def call({names}):\n    return chosen({names})\n", scope)
        return scope["call"]


def scaled(c, x):
    """``c x`` for a real or complex number c."""


def combined(a, x, b, y):
    """``a x + b y`` for real a, b."""


def chiral_scaled(a, b, x):
    """``(a + i b gamma_5) x``."""


def chiral_combined(a, b, x, c, d, y):
    """``(a + i b gamma_5) x + (c + i d gamma_5) y``."""


def added(x, y):
    """``x + y``."""


def block_times(upper, lower, x):
    """Packed Hermitian blocks of both chiralities times a spinor."""


def colour_times(u, h):
    """Matrix times one colour vector."""


def colour_dag_times(u, h):
    """Adjoint of a matrix times one colour vector."""


by_count(colour_times, lambda count: dirac.colour_times(1, count))
by_count(colour_dag_times, lambda count: dirac.colour_dag_times(1, count))
by_count(scaled, dirac.scaled)
by_count(combined, dirac.combined)
by_count(chiral_scaled, dirac.chiral_scaled)
by_count(chiral_combined, dirac.chiral_combined)
by_count(added, dirac.added)
by_count(block_times, lambda count: dirac.block_times(count // 2))
