"""Counter-based random numbers: Philox4x32-10, uniform and normal numbers, random matrices.

Source: Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC'11 (Random123).
Integers are signed 64-bit numbers or Python integers that hold 32-bit words: products may wrap, and the mask keeps the
right bits of them either way.  The random matrices spell out real and imaginary parts, because array libraries differ
in how they round complex products.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from gaugeflow.namespaces import namespace_or_none
from gaugeflow.sites.elementary import natural_log, sin_cos_turns
from gaugeflow.sites.numbers import Number, sqrt

WORD = 0xFFFFFFFF
Words = tuple[Any, Any, Any, Any]


def philox(c0: Number, c1: Number, c2: Number, c3: Number, k0: Number, k1: Number) -> Words:
    """Ten rounds of Philox4x32 on the counter (c0, c1, c2, c3) with the key (k0, k1): four 32-bit words."""
    for _ in range(10):
        p0 = c0 * 0xD2511F53
        p1 = c2 * 0xCD9E8D57
        c0 = ((p1 >> 32) & WORD) ^ c1 ^ k0
        c2 = ((p0 >> 32) & WORD) ^ c3 ^ k1
        c1 = p1 & WORD
        c3 = p0 & WORD
        k0 = (k0 + 0x9E3779B9) & WORD
        k1 = (k1 + 0xBB67AE85) & WORD
    return c0, c1, c2, c3


def to_real(k: Number) -> Number:
    """An integer number as a double-precision one."""
    xp = namespace_or_none(k)
    return float(k) if xp is None else xp.astype(k, xp.float64)


def uniform_pair(site: Number, batch: Number, draw: Number, block: Number, k0: Number, k1: Number) -> Any:
    """Two independent multiples of 2^-53 in [0, 1), from one Philox block."""
    a, b, c, d = philox(site, batch, draw, block, k0, k1)
    u = (to_real(a >> 5) * 67108864.0 + to_real(b >> 6)) * (1.0 / 9007199254740992.0)
    v = (to_real(c >> 5) * 67108864.0 + to_real(d >> 6)) * (1.0 / 9007199254740992.0)
    return u, v


def normal_pair(site: Number, batch: Number, draw: Number, block: Number, k0: Number, k1: Number) -> Any:
    """Two independent normal numbers of mean 0 and variance 1 (Box and Muller), from one Philox block."""
    u, v = uniform_pair(site, batch, draw, block, k0, k1)
    r = sqrt(-2.0 * natural_log(1.0 - u))
    s, c = sin_cos_turns(v)
    return r * c, r * s


def _compiled(name: str, lines: list[str]) -> Callable[[Any], None]:
    scope: dict[str, Any] = {"sqrt": sqrt}
    exec(
        compile("\n".join([f"def {name}(z):", *("    " + line for line in lines)]), f"<gaugeflow {name}>", "exec"),
        scope,
    )
    return scope[name]


@functools.cache
def haar_of_size(n: int) -> Callable[[Any], None]:
    """Turn 2 n^2 normal numbers ``z[2 (n i + j) + part]``, in place, into a Haar-distributed element of U(1) or SU(n).

    Gram-Schmidt on the rows with positive norms gives Haar measure on U(n) (Mezzadri, math-ph/0609050, section 5);
    dividing the last row by the determinant commutes with right multiplication by SU(n) and so gives Haar on SU(n).
    """
    lines = []
    for i in range(n):
        for k in (*range(i), *range(i)):  # twice is enough: rows may be almost parallel
            pairs = [(2 * (n * k + j), 2 * (n * i + j)) for j in range(n)]
            lines.append("p = " + " + ".join(f"z[{a}]*z[{b}] + z[{a + 1}]*z[{b + 1}]" for a, b in pairs))
            lines.append("q = " + " + ".join(f"z[{a}]*z[{b + 1}] - z[{a + 1}]*z[{b}]" for a, b in pairs))
            for a, b in pairs:
                lines.append(f"z[{b}] = z[{b}] - (p*z[{a}] - q*z[{a + 1}])")
                lines.append(f"z[{b + 1}] = z[{b + 1}] - (p*z[{a + 1}] + q*z[{a}])")
        row = range(2 * n * i, 2 * n * (i + 1))
        lines.append("s = 1.0/sqrt(" + " + ".join(f"z[{a}]*z[{a}]" for a in row) + ")")
        lines.extend(f"z[{a}] = s*z[{a}]" for a in row)
    if n > 1:
        code, (p, q) = _determinant(n, list(range(n)), 0)
        lines.extend(code)
        for a in range(2 * n * (n - 1), 2 * n * n, 2):
            lines.append(f"s = {p}*z[{a}] + {q}*z[{a + 1}]")
            lines.append(f"z[{a + 1}] = {p}*z[{a + 1}] - {q}*z[{a}]")
            lines.append(f"z[{a}] = s")
    return _compiled(f"haar_{n}", lines)


def _determinant(n: int, columns: list[int], row: int) -> tuple[list[str], tuple[str, str]]:
    """Code for the determinant of the rows from ``row`` on, restricted to some columns, and the names of its parts."""
    if len(columns) == 1:
        a = 2 * (n * row + columns[0])
        return [], (f"z[{a}]", f"z[{a + 1}]")
    code = []
    real, imag = [], []
    for i, c in enumerate(columns):
        lines, (p, q) = _determinant(n, columns[:i] + columns[i + 1 :], row + 1)
        code.extend(lines)
        a = 2 * (n * row + c)
        sign = "-" if i % 2 else "+"
        real.append(f"{sign} (z[{a}]*{p} - z[{a + 1}]*{q})")
        imag.append(f"{sign} (z[{a}]*{q} + z[{a + 1}]*{p})")
    name = f"{row}_" + "_".join(map(str, columns))
    code.append(f"p{name} = " + " ".join(real).removeprefix("+ "))
    code.append(f"q{name} = " + " ".join(imag).removeprefix("+ "))
    return code, (f"p{name}", f"q{name}")


@functools.cache
def momentum_of_size(n: int) -> Callable[[Any], None]:
    """Turn normal numbers ``z[0], z[1], ...``, in place, into an algebra element of density exp(-<p, p> / 2).

    There are n^2 - 1 of them (one for n = 1), the coordinates in a basis with tr T^a T^b = -delta / 2; the result is
    laid out as in :func:`haar_of_size`.
    """
    if n == 1:
        return _compiled("momentum_1", [f"z[1] = {0.5**0.5!r}*z[0]", "z[0] = 0.0*z[1]"])
    count = n * n - 1
    lines = [f"c{a} = z[{a}]" for a in range(count)]
    next_one = iter(range(count))
    for i in range(n):
        for j in range(i + 1, n):
            for part, mirrored in ((0, "-0.5"), (1, "0.5")):
                a = next(next_one)
                lines.append(f"z[{2 * (n * i + j) + part}] = 0.5*c{a}")
                lines.append(f"z[{2 * (n * j + i) + part}] = {mirrored}*c{a}")
    diagonal: list[list[str]] = [[] for _ in range(n)]
    for level in range(1, n):
        a = next(next_one)
        norm = (2.0 * level * (level + 1)) ** -0.5
        for i in range(level):
            diagonal[i].append(f"{norm!r}*c{a}")
        diagonal[level].append(f"{-norm * level!r}*c{a}")
    for i in range(n):
        lines.append(f"z[{2 * (n * i + i)}] = 0.0*c0")
        lines.append(f"z[{2 * (n * i + i) + 1}] = " + " + ".join(diagonal[i]))
    return _compiled(f"momentum_{n}", lines)
