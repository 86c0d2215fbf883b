"""Spinors at one site: gamma matrices of any even dimension, projected spinors, blocks of definite chirality.

All gamma matrices are chiral, gamma_mu = ((0, B_mu), (B_mu^dagger, 0)), and every row of B_mu holds one number, 1, -1, i or
-i.  A hop needs (1 + c gamma_mu) psi with c = 1 or -1; its upper half is h = u + c B_mu l for psi = (u, l), and its lower
half is c B_mu^dagger h, so that links multiply half a spinor only.  gamma_5 is 1 on upper halves and -1 on lower ones (in four
dimensions the product gamma_x gamma_y gamma_z gamma_t, as in Chroma).  A spinor is a tuple of spin x colour numbers, colour
fastest.  The functions are straight-line code, made for each dimension, direction and number of colours on first use.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from gaugeflow.sites.matrix import times_i
from gaugeflow.sites.numbers import conj, cplx, imag, real

Row = tuple[int, complex]
"""Column and value of the one number in a row of a matrix."""
SpinMatrix = tuple[Row, ...]


def spin_components(ndim: int) -> int:
    """Components of a Dirac spinor, 2^(ndim/2); ``ValueError`` in odd dimensions."""
    if ndim < 2 or ndim % 2:
        raise ValueError(f"Dirac spinors need an even number of dimensions, got {ndim}")
    return 1 << (ndim // 2)


@cache
def upper_blocks(ndim: int) -> tuple[SpinMatrix, ...]:
    """B_mu of every direction, direction 0 (time) first.

    Two dimensions: sigma_2 in time, sigma_1 in space.  Four dimensions (t, z, y, x): the basis of DeGrand and Rossi.  Six and
    more: B = 1 in time, i gamma_5 and i gamma_mu of two dimensions less.
    """
    spin_components(ndim)
    if ndim == 2:
        return ((0, -1j),), ((0, 1 + 0j),)
    if ndim == 4:
        return (
            ((0, 1 + 0j), (1, 1 + 0j)),
            ((0, 1j), (1, -1j)),
            ((1, -1 + 0j), (0, 1 + 0j)),
            ((1, 1j), (0, 1j)),
        )
    below = [gamma(ndim - 2, mu) for mu in range(ndim - 2)]
    half = spin_components(ndim - 2)
    unit = tuple((i, 1 + 0j) for i in range(half))
    chirality = tuple((i, 1j if i < half // 2 else -1j) for i in range(half))
    return unit, chirality, *(tuple((j, 1j * c) for j, c in b) for b in below)


@cache
def gamma(ndim: int, mu: int) -> SpinMatrix:
    """gamma_mu, row by row."""
    b = upper_blocks(ndim)[mu]
    half = len(b)
    upper = tuple((half + j, c) for j, c in b)
    return upper + _dagger(b)


def _dagger(matrix: SpinMatrix) -> SpinMatrix:
    rows: list[Row] = [(0, 0j)] * len(matrix)
    for i, (j, c) in enumerate(matrix):
        rows[j] = (i, c.conjugate())
    return tuple(rows)


def _product(a: SpinMatrix, b: SpinMatrix) -> SpinMatrix:
    return tuple((b[j][0], c * b[j][1]) for j, c in a)


@cache
def sigma(ndim: int, mu: int, nu: int) -> tuple[SpinMatrix, SpinMatrix]:
    """The two blocks of sigma_mu nu = (i/2) [gamma_mu, gamma_nu], mu != nu: upper and lower chirality."""
    a, b = upper_blocks(ndim)[mu], upper_blocks(ndim)[nu]
    upper, lower = _product(a, _dagger(b)), _product(_dagger(a), b)
    return tuple((j, 1j * c) for j, c in upper), tuple((j, 1j * c) for j, c in lower)


# ---- generated formulas ---------------------------------------------------------------------------------------------
_SCOPE = {"conj": conj, "real": real, "imag": imag, "cplx": cplx, "times_i": times_i}


def _made(name: str, parameters: str, expression: str) -> Callable[..., Any]:
    scope: dict[str, Any] = dict(_SCOPE)
    exec(compile(f"def {name}({parameters}):\n    return {expression}\n", f"<gaugeflow {name}>", "exec"), scope)
    return scope[name]


def _tuple(entries: list[str]) -> str:
    return "(" + ", ".join(entries) + ",)"


def _times(c: complex, number: str) -> tuple[str, str]:
    """Sign and text of c times a number."""
    c = complex(round(c.real), round(c.imag))
    if c.imag == 0:
        return ("+" if c.real > 0 else "-"), number
    return ("+" if c.imag > 0 else "-"), f"times_i({number})"


@cache
def project(ndim: int, mu: int, n: int) -> Callable[..., Any]:
    """Function (c, psi): upper half of (1 + c gamma_mu) psi for n colours."""
    b = upper_blocks(ndim)[mu]
    entries = []
    for i, (j, value) in enumerate(b):
        for a in range(n):
            sign, text = _times(value, f"p[{(len(b) + j) * n + a}]")
            entries.append(f"p[{i * n + a}] {sign} c*{text}")
    return _made(f"project_{ndim}_{mu}_{n}", "c, p", _tuple(entries))


@cache
def expand(ndim: int, mu: int, n: int) -> Callable[..., Any]:
    """Function (total, c, h): total + (h, c B_mu^dagger h)."""
    b = _dagger(upper_blocks(ndim)[mu])
    half = len(b)
    entries = [f"t[{k}] + h[{k}]" for k in range(half * n)]
    for i, (j, value) in enumerate(b):
        for a in range(n):
            sign, text = _times(value, f"h[{j * n + a}]")
            entries.append(f"t[{(half + i) * n + a}] {sign} c*{text}")
    return _made(f"expand_{ndim}_{mu}_{n}", "t, c, h", _tuple(entries))


@cache
def row_entering(ndim: int, mu: int, row: int) -> int:
    """Row of the lower half that enters a row of the upper half of (1 + c gamma_mu) psi; where it returns, too."""
    return upper_blocks(ndim)[mu][row][0]


@cache
def project_row(ndim: int, mu: int, row: int, n: int) -> Callable[..., Any]:
    """Function (c, u, l): one row of the upper half of (1 + c gamma_mu) psi, from a row of each half."""
    value = upper_blocks(ndim)[mu][row][1]
    entries = []
    for a in range(n):
        sign, text = _times(value, f"l[{a}]")
        entries.append(f"u[{a}] {sign} c*{text}")
    return _made(f"project_row_{ndim}_{mu}_{row}_{n}", "c, u, l", _tuple(entries))


@cache
def expand_row(ndim: int, mu: int, row: int, n: int) -> Callable[..., Any]:
    """Function (t, c, h): t plus what a row h of the upper half adds to the row of the lower half that it came from."""
    value = upper_blocks(ndim)[mu][row][1].conjugate()
    entries = []
    for a in range(n):
        sign, text = _times(value, f"h[{a}]")
        entries.append(f"t[{a}] {sign} c*{text}")
    return _made(f"expand_row_{ndim}_{mu}_{row}_{n}", "t, c, h", _tuple(entries))


@cache
def row_times(n: int) -> Callable[..., Any]:
    """Function (u, h): sum of the products of n numbers."""
    return _made(f"row_times_{n}", "u, h", " + ".join(f"u[{b}]*h[{b}]" for b in range(n)))


@cache
def conj_row_times(n: int) -> Callable[..., Any]:
    """Function (u, h): sum of the products of n numbers, u conjugated."""
    return _made(f"conj_row_times_{n}", "u, h", " + ".join(f"conj(u[{b}])*h[{b}]" for b in range(n)))


@cache
def colour_times(rows: int, n: int) -> Callable[..., Any]:
    """Function (u, h): the matrix u times each of ``rows`` colour vectors."""
    entries = [" + ".join(f"u[{n * a + b}]*h[{r * n + b}]" for b in range(n)) for r in range(rows) for a in range(n)]
    return _made(f"colour_times_{rows}_{n}", "u, h", _tuple(entries))


@cache
def colour_dag_times(rows: int, n: int) -> Callable[..., Any]:
    """Function (u, h): u^dagger times each of ``rows`` colour vectors."""
    entries = [
        " + ".join(f"conj(u[{n * b + a}])*h[{r * n + b}]" for b in range(n)) for r in range(rows) for a in range(n)
    ]
    return _made(f"colour_dag_times_{rows}_{n}", "u, h", _tuple(entries))


@cache
def scaled(count: int) -> Callable[..., Any]:
    """Function (c, h): c times ``count`` numbers, c real or complex."""
    return _made(f"scaled_{count}", "c, h", _tuple([f"c*h[{k}]" for k in range(count)]))


@cache
def scaled_i(count: int) -> Callable[..., Any]:
    """Function (c, h): i c times ``count`` numbers, c real."""
    return _made(f"scaled_i_{count}", "c, h", _tuple([f"c*times_i(h[{k}])" for k in range(count)]))


@cache
def combined(count: int) -> Callable[..., Any]:
    """Function (a, x, b, y): a x + b y of ``count`` numbers, a and b real."""
    return _made(f"combined_{count}", "a, x, b, y", _tuple([f"a*x[{k}] + b*y[{k}]" for k in range(count)]))


@cache
def chiral_scaled(count: int) -> Callable[..., Any]:
    """Function (a, b, x): (a + i b) x on the upper half of ``count`` numbers, (a - i b) x on the lower one."""
    return _made(f"chiral_scaled_{count}", "a, b, x", _tuple(_chiral(count, "x")))


@cache
def chiral_combined(count: int) -> Callable[..., Any]:
    """Function (a, b, x, c, d, y): (a +- i b) x + (c +- i d) y, upper sign on the upper half."""
    entries = [f"{p} + {q}" for p, q in zip(_chiral(count, "x"), _chiral(count, "y", "c", "d"), strict=True)]
    return _made(f"chiral_combined_{count}", "a, b, x, c, d, y", _tuple(entries))


def _chiral(count: int, x: str, a: str = "a", b: str = "b") -> list[str]:
    signs = ["+" if k < count // 2 else "-" for k in range(count)]
    return [f"{a}*{x}[{k}] {sign} {b}*times_i({x}[{k}])" for k, sign in enumerate(signs)]


@cache
def added(count: int) -> Callable[..., Any]:
    """Function (x, y): sum of ``count`` numbers."""
    return _made(f"added_{count}", "x, y", _tuple([f"x[{k}] + y[{k}]" for k in range(count)]))


@cache
def add_outer(rows: int, n: int) -> Callable[..., Any]:
    """Function (m, c, x, y): m + c sum over ``rows`` colour vectors of x y^dagger, an n x n matrix; c real."""
    entries = [
        f"m[{n * a + b}] + c*(" + " + ".join(f"x[{r * n + a}]*conj(y[{r * n + b}])" for r in range(rows)) + ")"
        for a in range(n)
        for b in range(n)
    ]
    return _made(f"add_outer_{rows}_{n}", "m, c, x, y", _tuple(entries))


# ---- Hermitian blocks of one chirality ------------------------------------------------------------------------------
def packed(m: int) -> int:
    """Numbers that hold a Hermitian m x m matrix: its lower triangle, row by row."""
    return m * (m + 1) // 2


def triangle(i: int, j: int) -> int:
    """Place of entry (i, j), i >= j, in that triangle."""
    return i * (i + 1) // 2 + j


def _rows_times(m: int, block: str, first: int) -> list[str]:
    """Entries of a packed Hermitian block times numbers ``first``, ..., ``first + m - 1`` of p."""
    entries = []
    for i in range(m):
        terms = []
        for j in range(m):
            number = f"p[{first + j}]"
            if j == i:
                terms.append(f"real({block}[{triangle(i, i)}])*{number}")
            elif j < i:
                terms.append(f"{block}[{triangle(i, j)}]*{number}")
            else:
                terms.append(f"conj({block}[{triangle(j, i)}])*{number}")
        entries.append(" + ".join(terms))
    return entries


@cache
def block_times(m: int) -> Callable[..., Any]:
    """Function (upper, lower, psi): packed Hermitian blocks of both chiralities times a spinor of 2 m numbers."""
    return _made(f"block_times_{m}", "u, l, p", _tuple(_rows_times(m, "u", 0) + _rows_times(m, "l", m)))


@cache
def half_block_times(m: int) -> Callable[..., Any]:
    """Function (block, half): a packed Hermitian block of one chirality times m numbers."""
    return _made(f"half_block_times_{m}", "t, p", _tuple(_rows_times(m, "t", 0)))


@cache
def add_sigma(ndim: int, mu: int, nu: int, n: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Functions (t, c, f): t + c sigma_mu nu i f on packed blocks, upper and lower chirality; f anti-Hermitian n x n."""
    made = []
    for name, block in zip(("upper", "lower"), sigma(ndim, mu, nu), strict=True):
        entries = []
        for i in range(len(block) * n):
            for j in range(i + 1):
                (s, a), (r, b) = divmod(i, n), divmod(j, n)
                column, value = block[s]
                text = f"t[{triangle(i, j)}]"
                if column == r:
                    sign, number = _times(1j * value, f"f[{n * a + b}]")
                    text += f" {sign} c*{number}"
                entries.append(text)
        made.append(_made(f"add_sigma_{name}_{ndim}_{mu}_{nu}_{n}", "t, c, f", _tuple(entries)))
    return made[0], made[1]


@cache
def sigma_times(ndim: int, mu: int, nu: int, n: int) -> Callable[..., Any]:
    """Function (psi): i sigma_mu nu psi."""
    entries = []
    for half, block in enumerate(sigma(ndim, mu, nu)):
        rows = len(block)
        for j, value in block:
            for a in range(n):
                sign, number = _times(1j * value, f"p[{(half * rows + j) * n + a}]")
                entries.append(number if sign == "+" else f"-{number}")
    return _made(f"sigma_times_{ndim}_{mu}_{nu}_{n}", "p", _tuple(entries))


def colours_of(count: int, ndim: int) -> int:
    """Colours of a spinor of ``count`` numbers."""
    return count // spin_components(ndim)


def block_size(count: int) -> int:
    """m of a packed Hermitian matrix of ``count`` numbers."""
    return (math.isqrt(8 * count + 1) - 1) // 2
