"""Removing rounding errors from group elements."""

from __future__ import annotations

import functools
from collections.abc import Callable

from gaugeflow.sites.matrix import size
from gaugeflow.sites.numbers import Matrix, Number, conj, cplx, imag, real, sqrt


def norm_squared(z: Number) -> Number:
    """|z|^2."""
    return real(z) * real(z) + imag(z) * imag(z)


@functools.cache
def reunitarise_of_size(n: int) -> Callable[[Matrix], Matrix]:
    """Gram-Schmidt on the rows for N = n, then the last row scaled so that the determinant is 1 (n > 1).

    Straight-line code is generated for each n; the determinant of a unitary matrix with a wrong phase is divided out
    of its last row, which keeps the rows orthonormal.
    """
    lines = [f"def reunitarise_{n}(a):"]
    for i in range(n):
        for j in range(n):
            lines.append(f"    r{i}{j} = a[{n * i + j}]")
        for k in range(i):
            overlap = " + ".join(f"conj(r{k}{j})*r{i}{j}" for j in range(n))
            lines.append(f"    o = {overlap}")
            lines.extend(f"    r{i}{j} = r{i}{j} - o*r{k}{j}" for j in range(n))
        norm = " + ".join(f"norm_squared(r{i}{j})" for j in range(n))
        lines.append(f"    s = 1.0/sqrt({norm})")
        lines.extend(f"    r{i}{j} = s*r{i}{j}" for j in range(n))
    if n > 1:
        lines.append(f"    d = conj({_determinant(list(range(n)), 0)})")
        lines.extend(f"    r{n - 1}{j} = d*r{n - 1}{j}" for j in range(n))
    lines.append("    return (" + ", ".join(f"r{i}{j}" for i in range(n) for j in range(n)) + ",)")
    scope = {"conj": conj, "sqrt": sqrt, "norm_squared": norm_squared, "cplx": cplx}
    exec(compile("\n".join(lines) + "\n", f"<gaugeflow reunitarise_{n}>", "exec"), scope)
    return scope[f"reunitarise_{n}"]  # type: ignore[return-value]


def _determinant(columns: list[int], row: int) -> str:
    if len(columns) == 1:
        return f"r{row}{columns[0]}"
    terms = []
    for i, c in enumerate(columns):
        minor = _determinant(columns[:i] + columns[i + 1 :], row + 1)
        terms.append(("-" if i % 2 else "+") + f" r{row}{c}*({minor})")
    return " ".join(terms).removeprefix("+ ")


def reunitarise(a: Matrix) -> Matrix:
    """The nearest convenient group element: orthonormal rows, determinant 1 for N > 1."""
    return reunitarise_of_size(size(a))(a)


reunitarise.for_size = reunitarise_of_size  # type: ignore[attr-defined]
