"""N x N matrix algebra for any N from one generator.

The functions below describe their result entry by entry as text; :func:`unrolled` turns that into straight-line code
for each N on first use.  Straight-line code is what makes the same formula fast for vector registers, GPU threads and
whole arrays alike.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

from gaugeflow.sites.numbers import Matrix, Number, conj, cplx, imag, real


def size(matrix: Matrix) -> int:
    """N of a row-major tuple of N * N numbers."""
    return math.isqrt(len(matrix))


def unrolled(describe: Callable[[int], tuple[str, str]]) -> Callable[..., Any]:
    """Make a site function from a description ``n -> (parameters, expression)``; the last argument is a matrix.

    ``function.for_size(n)`` is the straight-line Python function for N = n, which back ends compile.
    """

    @functools.cache
    def for_size(n: int) -> Callable[..., Any]:
        parameters, expression = describe(n)
        name = f"{describe.__name__}_{n}"
        scope: dict[str, Any] = {"conj": conj, "real": real, "imag": imag, "cplx": cplx}
        exec(compile(f"def {name}({parameters}):\n    return {expression}\n", f"<gaugeflow {name}>", "exec"), scope)
        return scope[name]

    @functools.wraps(describe)
    def function(*args: Any) -> Any:
        return for_size(size(args[-1]))(*args)

    function.for_size = for_size  # type: ignore[attr-defined]
    del function.__wrapped__
    return function


def _entries(n: int, entry: Callable[[int, int], str]) -> str:
    return "(" + ", ".join(entry(i, j) for i in range(n) for j in range(n)) + ",)"


def _sum(terms: Iterable[str]) -> str:
    return " + ".join(terms)


@unrolled
def mul(n: int) -> tuple[str, str]:
    """Product a b."""
    return "a, b", _entries(n, lambda i, j: _sum(f"a[{n * i + k}]*b[{n * k + j}]" for k in range(n)))


@unrolled
def mul_dag(n: int) -> tuple[str, str]:
    """Product a b^dagger."""
    return "a, b", _entries(n, lambda i, j: _sum(f"a[{n * i + k}]*conj(b[{n * j + k}])" for k in range(n)))


@unrolled
def dag_mul(n: int) -> tuple[str, str]:
    """Product a^dagger b."""
    return "a, b", _entries(n, lambda i, j: _sum(f"conj(a[{n * k + i}])*b[{n * k + j}]" for k in range(n)))


@unrolled
def dag(n: int) -> tuple[str, str]:
    """Hermitian conjugate."""
    return "a", _entries(n, lambda i, j: f"conj(a[{n * j + i}])")


@unrolled
def add(n: int) -> tuple[str, str]:
    """Sum a + b."""
    return "a, b", _entries(n, lambda i, j: f"a[{n * i + j}] + b[{n * i + j}]")


@unrolled
def sub(n: int) -> tuple[str, str]:
    """Difference a - b."""
    return "a, b", _entries(n, lambda i, j: f"a[{n * i + j}] - b[{n * i + j}]")


@unrolled
def scale(n: int) -> tuple[str, str]:
    """Multiple c a of a matrix by a real or complex number."""
    return "c, a", _entries(n, lambda i, j: f"c*a[{n * i + j}]")


@unrolled
def add_scaled(n: int) -> tuple[str, str]:
    """a + c b."""
    return "a, c, b", _entries(n, lambda i, j: f"a[{n * i + j}] + c*b[{n * i + j}]")


@unrolled
def zero_like(n: int) -> tuple[str, str]:
    """Matrix of zeros."""
    return "a", _entries(n, lambda i, j: f"a[{n * i + j}]*0.0")


@unrolled
def add_identity(n: int) -> tuple[str, str]:
    """a + c 1 for a real number c."""
    return "c, a", _entries(n, lambda i, j: f"a[{n * i + j}] + c" if i == j else f"a[{n * i + j}]")


@unrolled
def trace(n: int) -> tuple[str, str]:
    """Trace."""
    return "a", _sum(f"a[{n * i + i}]" for i in range(n))


@unrolled
def re_trace(n: int) -> tuple[str, str]:
    """Real part of the trace."""
    return "a", _sum(f"real(a[{n * i + i}])" for i in range(n))


@unrolled
def im_trace(n: int) -> tuple[str, str]:
    """Imaginary part of the trace."""
    return "a", _sum(f"imag(a[{n * i + i}])" for i in range(n))


@unrolled
def re_trace_mul(n: int) -> tuple[str, str]:
    """Re tr(a b)."""
    terms = ((n * i + k, n * k + i) for i in range(n) for k in range(n))
    return "a, b", _sum(f"(real(a[{p}])*real(b[{q}]) - imag(a[{p}])*imag(b[{q}]))" for p, q in terms)


@unrolled
def im_trace_mul(n: int) -> tuple[str, str]:
    """Im tr(a b)."""
    terms = ((n * i + k, n * k + i) for i in range(n) for k in range(n))
    return "a, b", _sum(f"(real(a[{p}])*imag(b[{q}]) + imag(a[{p}])*real(b[{q}]))" for p, q in terms)


@unrolled
def re_trace_mul_dag(n: int) -> tuple[str, str]:
    """Re tr(a b^dagger), the real scalar product of two matrices."""
    return "a, b", _sum(f"(real(a[{k}])*real(b[{k}]) + imag(a[{k}])*imag(b[{k}]))" for k in range(n * n))


@unrolled
def project(n: int) -> tuple[str, str]:
    """Projection on the algebra: the anti-Hermitian part, traceless for N > 1."""

    def entry(i: int, j: int) -> str:
        p, q = n * i + j, n * j + i
        if i != j:
            return f"0.5*(a[{p}] - conj(a[{q}]))"
        if n == 1:
            return "cplx(imag(a[0])*0.0, imag(a[0]))"
        mean = "(" + _sum(f"imag(a[{n * k + k}])" for k in range(n)) + f")*{1.0 / n!r}"
        return f"cplx(imag(a[{p}])*0.0, imag(a[{p}]) - {mean})"

    return "a", _entries(n, entry)


def times_i(z: Number) -> Number:
    """The number i z."""
    return cplx(-imag(z), real(z))
