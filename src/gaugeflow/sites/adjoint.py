"""Dense matrices in the adjoint representation, kept in a formula's scratch memory.

An orthonormal basis T_a of the algebra (anti-Hermitian, tr T_a T_b = -delta_ab / 2) turns linear maps of the algebra into
real matrices of dimension N^2 - 1 (1 for U(1)).  Matrices live in ``memory`` from a given offset on, row major; all
functions end with a link-sized matrix, whose size says what N is.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from gaugeflow.sites.matrix import size
from gaugeflow.sites.numbers import Matrix, Number, cplx, get, imag, put, real


@functools.cache
def generators(n: int) -> tuple[tuple[tuple[complex, ...], ...], ...]:
    """Orthonormal basis of the algebra for N = n, as nested tuples ``[a][i][j]``."""
    if n == 1:
        return (((1j / math.sqrt(2.0),),),)
    basis = []
    for i in range(n):
        for j in range(i + 1, n):
            for upper, lower in ((0.5, -0.5), (0.5j, 0.5j)):
                entries = {(i, j): upper, (j, i): lower}
                basis.append(tuple(tuple(entries.get((r, c), 0.0) for c in range(n)) for r in range(n)))
    for k in range(1, n):
        scale = 1j / math.sqrt(2.0 * k * (k + 1))
        diagonal = [scale] * k + [-k * scale] + [0.0] * (n - k - 1)
        basis.append(tuple(tuple(diagonal[r] if r == c else 0.0 for c in range(n)) for r in range(n)))
    return tuple(basis)


@functools.cache
def _products(n: int) -> tuple[tuple[list[list[complex]], ...], ...]:
    t = generators(n)
    r = range(n)
    return tuple(tuple([[sum((x[i][k] * y[k][j] for k in r), 0j) for j in r] for i in r] for y in t) for x in t)


def _real_trace(x: Any, n: int, name: str) -> str:
    """Source text of Re tr(x m) for constant x and a matrix called ``name``; at least one term."""
    terms = []
    for i in range(n):
        for j in range(n):
            if abs(x[i][j].real) > 1e-15:
                terms.append(f"({x[i][j].real!r})*real({name}[{n * j + i}])")
            if abs(x[i][j].imag) > 1e-15:
                terms.append(f"({-x[i][j].imag!r})*imag({name}[{n * j + i}])")
    return " + ".join(terms) or f"0.0*real({name}[0])"


def dimension(n: int) -> int:
    """Dimension of the algebra."""
    return n * n - 1 if n > 1 else 1


def generated(describe: Callable[[int], tuple[str, list[str]]]) -> Callable[..., Any]:
    """Site function from a description ``n -> (parameters, lines of the body)``; the last argument is a matrix."""

    @functools.cache
    def for_size(n: int) -> Callable[..., Any]:
        parameters, lines = describe(n)
        name = f"{describe.__name__}_{n}"
        scope: dict[str, Any] = {"get": get, "put": put, "real": real, "imag": imag, "cplx": cplx}
        body = "\n".join("    " + line for line in lines)
        exec(compile(f"def {name}({parameters}):\n{body}\n", f"<gaugeflow {name}>", "exec"), scope)
        return scope[name]

    @functools.wraps(describe)
    def function(*args: Any) -> Any:
        return for_size(math.isqrt(len(args[-1])))(*args)

    function.for_size = for_size  # type: ignore[attr-defined]
    function.large = True  # type: ignore[attr-defined]
    del function.__wrapped__
    return function


@generated
def symmetric_part(n: int) -> tuple[str, list[str]]:
    """``memory[at:]`` = symmetric part of the map w -> P(w m), i.e. -Re tr({T_a, T_b} m)."""
    dim, products = dimension(n), _products(n)
    lines = []
    for a in range(dim):
        for b in range(a, dim):
            x = [[-(products[a][b][i][j] + products[b][a][i][j]) for j in range(n)] for i in range(n)]
            lines.append(f"x = {_real_trace(x, n, 'm')}")
            lines.append(f"put(memory, at + {dim * a + b}, x)")
            if a != b:
                lines.append(f"put(memory, at + {dim * b + a}, x)")
    return "memory, at, m", lines


@generated
def adjoint_action(n: int) -> tuple[str, list[str]]:
    """``memory[at:]`` = ad f, the map w -> [f, w] for f in the algebra: 4 Re tr(T_a T_b f), antisymmetric."""
    dim, products = dimension(n), _products(n)
    lines = []
    for a in range(dim):
        lines.append(f"put(memory, at + {dim * a + a}, 0.0*real(f[0]))")
        for b in range(a + 1, dim):
            x = [[2.0 * (products[a][b][i][j] - products[b][a][i][j]) for j in range(n)] for i in range(n)]
            lines.append(f"x = {_real_trace(x, n, 'f')}")
            lines.append(f"put(memory, at + {dim * a + b}, x)")
            lines.append(f"put(memory, at + {dim * b + a}, -x)")
    return "memory, at, f", lines


@generated
def contract(n: int) -> tuple[str, list[str]]:
    """The link-sized matrix sum_ab k_ab T_a T_b of an adjoint matrix k at ``memory[at:]``."""
    dim, products = dimension(n), _products(n)
    lines = [f"k{a}_{b} = get(memory, at + {dim * a + b})" for a in range(dim) for b in range(dim)]
    for i in range(n):
        for j in range(n):
            for part, symbol in ((0, "r"), (1, "i")):
                terms = []
                for a in range(dim):
                    for b in range(dim):
                        z = products[a][b][i][j]
                        value = z.imag if part else z.real
                        if abs(value) > 1e-15:
                            terms.append(f"({value!r})*k{a}_{b}")
                lines.append(f"{symbol}{i}{j} = " + (" + ".join(terms) or "0.0*k0_0"))
    lines.append("return (" + ", ".join(f"cplx(r{i}{j}, i{i}{j})" for i in range(n) for j in range(n)) + ",)")
    return "memory, at, like", lines


@generated
def contract_symmetric(n: int) -> tuple[str, list[str]]:
    """As :func:`contract` for a symmetric matrix, of which the upper triangle is read; the result is Hermitian."""
    dim, products = dimension(n), _products(n)
    lines = [f"k{a}_{b} = get(memory, at + {dim * a + b})" for a in range(dim) for b in range(a, dim)]
    for i in range(n):
        for j in range(i, n):
            for part, symbol in ((0, "r"), (1, "i")):
                terms = []
                for a in range(dim):
                    for b in range(a, dim):
                        z = products[a][b][i][j] + (products[b][a][i][j] if a != b else 0.0)
                        value = z.imag if part else z.real
                        if abs(value) > 1e-15:
                            terms.append(f"({value!r})*k{a}_{b}")
                lines.append(f"{symbol}{i}{j} = " + (" + ".join(terms) or "0.0*k0_0"))
    entries = [f"cplx(r{i}{j}, i{i}{j})" if i <= j else f"cplx(r{j}{i}, -i{j}{i})" for i in range(n) for j in range(n)]
    lines.append("return (" + ", ".join(entries) + ",)")
    return "memory, at, like", lines


def _combined_lines(n: int) -> list[str]:
    """Source text that returns the algebra element of coordinates v0, v1, ..."""
    basis, lines = generators(n), []
    for i in range(n):
        for j in range(n):
            for part, symbol in ((0, "r"), (1, "i")):
                terms = []
                for a, t in enumerate(basis):
                    value = complex(t[i][j]).imag if part else complex(t[i][j]).real
                    if value:
                        terms.append(f"({value!r})*v{a}")
                lines.append(f"{symbol}{i}{j} = " + (" + ".join(terms) or "0.0*v0"))
    return [*lines, "return (" + ", ".join(f"cplx(r{i}{j}, i{i}{j})" for i in range(n) for j in range(n)) + ",)"]


@generated
def product(n: int) -> tuple[str, list[str]]:
    """``memory[to:]`` = a b of the matrices at ``memory[a:]`` and ``memory[b:]``; ``to`` must be a third place."""
    dim = dimension(n)
    pair = 2 if dim % 2 == 0 else 1
    lines = [f"for row in range(0, {dim * dim}, {pair * dim}):"]
    for p in range(pair):
        lines.extend(f"    a{p}_{k} = get(memory, a + row + {p * dim + k})" for k in range(dim))
    for j in range(dim):
        lines.append(f"    x = get(memory, b + {j})")
        lines.extend(f"    s{p} = a{p}_0*x" for p in range(pair))
        for k in range(1, dim):
            lines.append(f"    x = get(memory, b + {k * dim + j})")
            lines.extend(f"    s{p} = s{p} + a{p}_{k}*x" for p in range(pair))
        lines.extend(f"    put(memory, to + row + {p * dim + j}, s{p})" for p in range(pair))
    return "memory, a, b, to, like", lines


@generated
def symmetric_product(n: int) -> tuple[str, list[str]]:
    """As :func:`product`, for a product that is symmetric: its upper triangle is computed."""
    dim = dimension(n)
    pair = 2 if dim % 2 == 0 else 1
    lines = [f"for row in range(0, {dim}, {pair}):"]
    for p in range(pair):
        lines.extend(f"    a{p}_{k} = get(memory, a + {dim}*row + {p * dim + k})" for k in range(dim))
    lines.append(f"    for j in range(row, {dim}):")
    for k in range(dim):
        lines.append(f"        x = get(memory, b + j + {k * dim})")
        lines.extend(f"        s{p} = " + (f"s{p} + " if k else "") + f"a{p}_{k}*x" for p in range(pair))
    for p in range(pair):
        lines.append(f"        put(memory, to + {dim}*row + {p * dim} + j, s{p})")
        lines.append(f"        put(memory, to + {dim}*j + row + {p}, s{p})")
    return "memory, a, b, to, like", lines


@generated
def determinant(n: int) -> tuple[str, list[str]]:
    """Determinant of the matrix at ``memory[at:]`` by elimination without pivoting; the matrix is overwritten."""
    dim = dimension(n)
    lines = ["det = get(memory, at)"]
    if dim > 1:
        lines += [
            f"for k in range({dim - 1}):",
            f"    inverse = 1.0/get(memory, at + {dim + 1}*k)",
            f"    for i in range(k + 1, {dim}):",
            f"        f = get(memory, at + {dim}*i + k)*inverse",
            f"        for j in range(k + 1, {dim}):",
            f"            x = get(memory, at + {dim}*i + j) - f*get(memory, at + {dim}*k + j)",
            f"            put(memory, at + {dim}*i + j, x)",
            f"    det = det*get(memory, at + {dim + 1}*(k + 1))",
        ]
    return "memory, at, like", [*lines, "return det"]


@generated
def invert(n: int) -> tuple[str, list[str]]:
    """Inverse in place of the matrix at ``memory[at:]``, Gauss-Jordan without pivoting."""
    dim = dimension(n)
    return "memory, at, like", [
        f"for k in range({dim}):",
        f"    p = 1.0/get(memory, at + {dim + 1}*k)",
        f"    put(memory, at + {dim + 1}*k, p)",
        f"    for j in range({dim}):",
        "        if j != k:",
        f"            put(memory, at + {dim}*k + j, p*get(memory, at + {dim}*k + j))",
        f"    for i in range({dim}):",
        "        if i != k:",
        f"            f = get(memory, at + {dim}*i + k)",
        f"            for j in range({dim}):",
        "                if j != k:",
        f"                    x = get(memory, at + {dim}*i + j) - f*get(memory, at + {dim}*k + j)",
        f"                    put(memory, at + {dim}*i + j, x)",
        f"            put(memory, at + {dim}*i + k, -(f*p))",
    ]


def _coordinate_lines(n: int, symbol: str, name: str) -> list[str]:
    """Source text of the coordinates of the algebra part of a matrix."""
    r, lines = range(n), []
    for a, t in enumerate(generators(n)):
        x = [[-2.0 * complex(t[i][j]) for j in r] for i in r]
        lines.append(f"{symbol}{a} = {_real_trace(x, n, name)}")
    return lines


@generated
def add_dyads(n: int) -> tuple[str, list[str]]:
    """Add x f^T + y e^T, in coordinates of algebra elements, to the matrix at ``memory[at:]``."""
    dim = dimension(n)
    lines = [line for name in "xfye" for line in _coordinate_lines(n, name + "_", name)]
    for a in range(dim):
        for b in range(dim):
            at = f"at + {dim * a + b}"
            lines.append(f"put(memory, {at}, get(memory, {at}) + x_{a}*f_{b} + y_{a}*e_{b})")
    return "memory, at, x, f, y, e", lines


@generated
def apply_to(n: int) -> tuple[str, list[str]]:
    """The map with elements ``memory[at + rows a + columns b]`` on an algebra element x: an algebra element."""
    dim = dimension(n)
    lines = _coordinate_lines(n, "x_", "x")
    for a in range(dim):
        terms = (f"get(memory, at + rows*{a} + columns*{b})*x_{b}" for b in range(dim))
        lines.append(f"v{a} = " + " + ".join(terms))
    return "memory, at, rows, columns, x", [*lines, *_combined_lines(n)]


def _upper_lines(n: int) -> list[str]:
    """Source text of the upper triangle m0_0, m0_1, ... of the symmetric part of v -> P(v w) plus x f^T + y e^T."""
    dim, products = dimension(n), _products(n)
    lines = [line for name in "xfye" for line in _coordinate_lines(n, name + "_", name)]
    for a in range(dim):
        for b in range(a, dim):
            z = [[-(products[a][b][i][j] + products[b][a][i][j]) for j in range(n)] for i in range(n)]
            lines.append(f"m{a}_{b} = {_real_trace(z, n, 'w')} + x_{a}*f_{b} + y_{a}*e_{b}")
    return lines


@generated
def positive_determinant(n: int) -> tuple[str, list[str]]:
    """Determinant of the symmetric part of v -> P(v w) plus x f^T + y e^T, symmetric and positive, in coordinates."""
    dim = dimension(n)
    lines = [*_upper_lines(n), "det = m0_0"]
    for k in range(dim - 1):
        lines.append(f"p = 1.0/m{k}_{k}")
        for i in range(k + 1, dim):
            lines.append(f"q = m{k}_{i}*p")
            lines.extend(f"m{i}_{j} = m{i}_{j} - q*m{k}_{j}" for j in range(i, dim))
        lines.append(f"det = det*m{k + 1}_{k + 1}")
    return "x, f, y, e, w", [*lines, "return det"]


@generated
def positive_inverse(n: int) -> tuple[str, list[str]]:
    """``memory[at:]`` = inverse of the matrix of :func:`positive_determinant`, by sweeps over its upper triangle."""
    dim = dimension(n)
    upper = [(i, j) for i in range(dim) for j in range(i, dim)]

    def entry(i: int, j: int) -> str:
        return f"m{min(i, j)}_{max(i, j)}"

    lines = _upper_lines(n)
    for k in range(dim):
        others = [i for i in range(dim) if i != k]
        lines.append(f"p = 1.0/{entry(k, k)}")
        lines.extend(f"q{i} = p*{entry(i, k)}" for i in others)
        lines.extend(f"{entry(i, j)} = {entry(i, j)} - q{i}*{entry(j, k)}" for i, j in upper if k not in (i, j))
        lines.extend(f"{entry(i, k)} = q{i}" for i in others)
        lines.append(f"{entry(k, k)} = -p")
    for i, j in upper:
        lines.append(f"put(memory, at + {dim * i + j}, -{entry(i, j)})")
        if i != j:
            lines.append(f"put(memory, at + {dim * j + i}, -{entry(i, j)})")
    return "memory, at, x, f, y, e, w", lines


def symmetrise(memory: Any, at: int, factor: Number, sign: float, like: Matrix) -> None:
    """Replace the matrix x at ``memory[at:]`` by factor (x + sign x^T)."""
    dim = dimension(size(like))
    for i in range(dim):
        for j in range(i, dim):
            x = get(memory, at + dim * i + j)
            y = get(memory, at + dim * j + i)
            put(memory, at + dim * i + j, factor * (x + sign * y))
            put(memory, at + dim * j + i, factor * (y + sign * x))


def _phase(t: tuple[tuple[complex, ...], ...]) -> complex:
    """1 or i such that t / phase is real: every element of the basis has real or imaginary entries only."""
    return 1j if any(complex(z).imag for row in t for z in row) else 1.0 + 0j


@generated
def sandwich(n: int) -> tuple[str, list[str]]:
    """Add to ``memory[at:]`` the map w -> P(x w m), i.e. -2 Re tr(T_a x T_b m)."""
    dim, basis = dimension(n), generators(n)
    r = range(n)
    lines = []
    for b, t in enumerate(basis):
        phase = _phase(t)
        real_entries = [(i, j, (complex(t[i][j]) / phase).real) for i in r for j in r if t[i][j]]
        for k in r:
            for q in r:
                terms = [f"({c!r})*(x[{n * k + i}]*m[{n * j + q}])" for i, j, c in real_entries]
                lines.append(f"y{k}{q} = " + " + ".join(terms))
        lines.append("y = (" + ", ".join(f"y{k}{q}" for k in r for q in r) + ",)")
        for a, s in enumerate(basis):
            left = [[-2.0 * phase * complex(s[i][j]) for j in r] for i in r]
            lines.append(f"z = get(memory, at + {dim * a + b}) + {_real_trace(left, n, 'y')}")
            lines.append(f"put(memory, at + {dim * a + b}, z)")
    return "memory, at, x, m", lines


@generated
def contract_around(n: int) -> tuple[str, list[str]]:
    """The matrix sum_ab k_ab T_a m T_b with k_ab at ``memory[at + rows a + columns b]``."""
    dim, basis = dimension(n), generators(n)
    r = range(n)
    lines = [f"r{i}{q} = 0.0*m[{n * i + q}]" for i in r for q in r]
    for b, t in enumerate(basis):
        phase = _phase(t)
        lines.extend(f"k{a} = get(memory, at + rows*{a} + columns*{b})" for a in range(dim))
        for i in r:
            for j in r:
                for part, symbol in ((0, "x"), (1, "y")):
                    terms = []
                    for a, s in enumerate(basis):
                        z = phase * complex(s[i][j])
                        value = z.imag if part else z.real
                        if value:
                            terms.append(f"({value!r})*k{a}")
                    lines.append(f"{symbol} = " + (" + ".join(terms) or "0.0*k0"))
                lines.append(f"h{i}{j} = cplx(x, y)")
        for i in r:
            for k in r:
                lines.append(f"p{i}{k} = " + " + ".join(f"h{i}{j}*m[{n * j + k}]" for j in r))
                for q in r:
                    value = (complex(t[k][q]) / phase).real
                    if value:
                        lines.append(f"r{i}{q} = r{i}{q} + ({value!r})*p{i}{k}")
    lines.append("return (" + ", ".join(f"r{i}{q}" for i in r for q in r) + ",)")
    return "memory, at, rows, columns, m", lines
