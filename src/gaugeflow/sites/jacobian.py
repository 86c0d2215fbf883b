"""Polynomials of adjoint matrices in the Jacobian of an update ``U -> exp(F) U``, with derivatives by hand.

With ``ad F`` the adjoint matrix of F and ``Q = (ad F)^2``, Jacobians in left coordinates have determinants of

    K = c(Q) + s(Q) H,    c(q) = cosh(sqrt(q) / 2),    s(q) = sinh(sqrt(q) / 2) / (sqrt(q) / 2),

where H is a matrix that an update puts together.  Both functions are polynomials in Q by Cayley-Hamilton, of degree 1
for SU(2) and 3 for SU(3); other N use the power series.  The derivation is in ``docs/derivations/residual.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gaugeflow.sites.adjoint import (
    adjoint_action,
    apply,
    combine,
    contract,
    coordinates,
    dimension,
    product,
    symmetric_product,
)
from gaugeflow.sites.matrix import add, mul, scale, size
from gaugeflow.sites.numbers import Matrix, Number, cplx, get, imag, put, real

COARSE = 1e-2
"""Distance from its limit at which the fixed-point iteration of an inverse hands over to Newton steps."""
NEWTON = 20
"""Newton steps at most; each squares the error."""

# Taylor coefficients of c and s in q after the constant term 1
COSH = tuple(0.25**k / math.factorial(2 * k) for k in range(1, 15))
SINHC = tuple(0.25**k / math.factorial(2 * k + 1) for k in range(1, 15))


def powers(n: int) -> int:
    """Number of powers of Q that enter c and s for N = n."""
    if n == 1:
        return 0
    if n == 2:
        return 1
    if n == 3:
        return 3
    return 12


def memory_size(n: int) -> int:
    """Numbers of scratch memory that the functions of this module need for N = n.

    Layout in units of dim^2: Q, Q^2, ...; c(Q); s(Q); H; K = c + s H; ad F; two spare; one V per power; then the
    coefficients of c and s and four vectors.
    """
    dim = dimension(n)
    return (2 * powers(n) + 7) * dim * dim + 4 * powers(n) + 4 * dim


# ---- the polynomials c and s -----------------------------------------------------------------------------------------
def remainder_1(series: Any, s1: Number) -> tuple[Number, Number]:
    """sum_k series[k] x^k at x = -s1 and its derivative with respect to s1."""
    r = s1 * 0.0 + series[13]
    d = s1 * 0.0
    for k in range(12, -1, -1):
        d = -r - s1 * d
        r = series[k] - s1 * r
    return r, d


def remainder_3(series: Any, s1: Number, s3: Number) -> tuple[Any, Any, Any]:
    """sum_k series[k] x^k modulo x^3 + s1 x^2 + s1^2 x / 4 + s3: its coefficients of 1, x, x^2.

    Returns the values and their derivatives with respect to s1 and to s3.
    """
    z = s1 * 0.0
    half = 0.5 * s1
    s2 = half * half
    r0, r1, r2 = z + series[13], z, z
    d0, d1, d2 = z, z, z
    e0, e1, e2 = z, z, z
    for k in range(12, -1, -1):
        d0, d1, d2 = -(s3 * d2), d0 - s2 * d2 - half * r2, d1 - s1 * d2 - r2
        e0, e1, e2 = -(s3 * e2) - r2, e0 - s2 * e2, e1 - s1 * e2
        r0, r1, r2 = series[k] - s3 * r2, r0 - s2 * r2, r1 - s1 * r2
    return (r0, r1, r2), (d0, d1, d2), (e0, e1, e2)


def root_squared(f: Matrix) -> Number:
    """Square of the root of ad f for SU(2), i.e. of the difference of the eigenvalues of -i f."""
    a = imag(f[0])
    return 4.0 * (a * a + real(f[1]) * real(f[1]) + imag(f[1]) * imag(f[1]))


def invariants_3(f: Matrix) -> tuple[Number, Number]:
    """Half the sum of squares P and the product D of the eigenvalues of -i f for SU(3)."""
    a = imag(f[0])
    b = imag(f[4])
    c = imag(f[8])
    nu = real(f[1]) * real(f[1]) + imag(f[1]) * imag(f[1])
    nv = real(f[2]) * real(f[2]) + imag(f[2]) * imag(f[2])
    nw = real(f[5]) * real(f[5]) + imag(f[5]) * imag(f[5])
    uw = f[1] * f[5]
    triple = imag(f[2]) * real(uw) - real(f[2]) * imag(uw)
    return 0.5 * (a * a + b * b + c * c) + nu + nv + nw, a * b * c - a * nw - b * nv - c * nu - 2.0 * triple


def coefficients_1(memory: Any, at: int, f: Matrix) -> None:
    """U(1): Q = 0, nothing to store."""


def coefficients_2(memory: Any, at: int, f: Matrix) -> None:
    """SU(2): Q = -root^2 on the rest of the algebra."""
    s1 = root_squared(f)
    put(memory, at, remainder_1(COSH, s1)[0])
    put(memory, at + 1, remainder_1(SINHC, s1)[0])


def coefficients_3(memory: Any, at: int, f: Matrix) -> None:
    """SU(3): the squared roots solve x^3 + s1 x^2 + (s1 / 2)^2 x + s3 = 0 with s1 = 6 P, s3 = 4 P^3 - 27 D^2."""
    p, d = invariants_3(f)
    s3 = 4.0 * p * p * p - 27.0 * d * d
    c = remainder_3(COSH, 6.0 * p, s3)[0]
    s = remainder_3(SINHC, 6.0 * p, s3)[0]
    put(memory, at, c[0])
    put(memory, at + 1, c[1])
    put(memory, at + 2, c[2])
    put(memory, at + 3, s[0])
    put(memory, at + 4, s[1])
    put(memory, at + 5, s[2])


def coefficients_n(memory: Any, at: int, f: Matrix) -> None:
    """Other N: the power series."""
    zero = 0.0 * real(f[0])
    for k in range(12):
        put(memory, at + k, zero + COSH[k])
        put(memory, at + 12 + k, zero + SINHC[k])


def coefficients_of_size(n: int) -> Callable[[Any, int, Matrix], None]:
    """The form of :func:`coefficients` for N = n."""
    return {1: coefficients_1, 2: coefficients_2, 3: coefficients_3}.get(n, coefficients_n)


def coefficients(memory: Any, at: int, f: Matrix) -> None:
    """``memory[at:]`` = coefficients of Q, Q^2, ... in c, then in s."""
    coefficients_of_size(size(f))(memory, at, f)


coefficients.for_size = coefficients_of_size  # type: ignore[attr-defined]


def coefficients_vjp_0(memory: Any, at: int, f: Matrix) -> Matrix:
    """Constant coefficients."""
    return scale(0.0, f)


def coefficients_vjp_2(memory: Any, at: int, f: Matrix) -> Matrix:
    """SU(2): d root^2 = -4 Re tr(f df) / 2 for both signs of the eigenvalue."""
    s1 = root_squared(f)
    bar = get(memory, at) * remainder_1(COSH, s1)[1] + get(memory, at + 1) * remainder_1(SINHC, s1)[1]
    return scale(-4.0 * bar, f)


def coefficients_vjp_3(memory: Any, at: int, f: Matrix) -> Matrix:
    """SU(3): dP = -Re tr(f df), dD = Re tr(i f^2 df)."""
    p, d = invariants_3(f)
    s3 = 4.0 * p * p * p - 27.0 * d * d
    _, c1, c3 = remainder_3(COSH, 6.0 * p, s3)
    _, t1, t3 = remainder_3(SINHC, 6.0 * p, s3)
    bar1 = get(memory, at) * c1[0] + get(memory, at + 1) * c1[1] + get(memory, at + 2) * c1[2]
    bar1 = bar1 + get(memory, at + 3) * t1[0] + get(memory, at + 4) * t1[1] + get(memory, at + 5) * t1[2]
    bar3 = get(memory, at) * c3[0] + get(memory, at + 1) * c3[1] + get(memory, at + 2) * c3[2]
    bar3 = bar3 + get(memory, at + 3) * t3[0] + get(memory, at + 4) * t3[1] + get(memory, at + 5) * t3[2]
    p_bar = 6.0 * bar1 + 12.0 * p * p * bar3
    d_bar = -54.0 * d * bar3
    return add(scale(-p_bar, f), scale(cplx(0.0 * d_bar, d_bar), mul(f, f)))


def coefficients_vjp_of_size(n: int) -> Callable[[Any, int, Matrix], Matrix]:
    """The form of :func:`coefficients_vjp` for N = n."""
    return {2: coefficients_vjp_2, 3: coefficients_vjp_3}.get(n, coefficients_vjp_0)


def coefficients_vjp(memory: Any, at: int, f: Matrix) -> Matrix:
    """Matrix x with dL = Re tr(x df) from the cotangents of the coefficients at ``memory[at:]``."""
    return coefficients_vjp_of_size(size(f))(memory, at, f)


coefficients_vjp.for_size = coefficients_vjp_of_size  # type: ignore[attr-defined]


# ---- matrices --------------------------------------------------------------------------------------------------------
def fill_around(memory: Any, f: Matrix) -> None:
    """Q powers, c, s, K = c + s H, ad F and the coefficients, for the H that lies in its place in memory."""
    n = size(f)
    dim = dimension(n)
    count = powers(n)
    square = dim * dim
    c, s, h, k, a = (
        count * square,
        (count + 1) * square,
        (count + 2) * square,
        (count + 3) * square,
        (count + 4) * square,
    )
    table = (2 * count + 7) * square
    coefficients(memory, table, f)
    adjoint_action(memory, a, f)
    if count > 0:
        symmetric_product(memory, a, a, 0, f)
    for m in range(1, count):
        symmetric_product(memory, 0, (m - 1) * square, m * square, f)
    for i in range(dim):
        for j in range(i, dim):
            x = get(memory, h) * 0.0 + (1.0 if i == j else 0.0)
            y = x
            for m in range(count):
                q = get(memory, m * square + dim * i + j)
                x = x + get(memory, table + m) * q
                y = y + get(memory, table + count + m) * q
            put(memory, c + dim * i + j, x)
            put(memory, c + dim * j + i, x)
            put(memory, s + dim * i + j, y)
            put(memory, s + dim * j + i, y)
    product(memory, s, h, k, f)
    for i in range(square):
        put(memory, k + i, get(memory, k + i) + get(memory, c + i))


def symmetrise(memory: Any, at: int, factor: Number, sign: float, like: Matrix) -> None:
    """Replace the matrix x at ``memory[at:]`` by factor (x + sign x^T)."""
    dim = dimension(size(like))
    for i in range(dim):
        for j in range(i, dim):
            x = get(memory, at + dim * i + j)
            y = get(memory, at + dim * j + i)
            put(memory, at + dim * i + j, factor * (x + sign * y))
            put(memory, at + dim * j + i, factor * (y + sign * x))


def link_vjp(memory: Any, y_bar: Matrix) -> Matrix:
    """Matrix x with dL = Re tr(x dF) from the cotangent of the new link, phi(-ad F) = (c - (ad F) s / 2) s on y_bar.

    Needs the memory as :func:`fill_around` leaves it.
    """
    n = size(y_bar)
    dim = dimension(n)
    count = powers(n)
    square = dim * dim
    c, s, ad = count * square, (count + 1) * square, (count + 4) * square
    vectors = (2 * count + 7) * square + 4 * count
    coordinates(memory, vectors, y_bar)
    apply(memory, s, vectors, vectors + dim, y_bar)
    apply(memory, s, vectors + dim, vectors + 2 * dim, y_bar)
    apply(memory, ad, vectors + 2 * dim, vectors + 3 * dim, y_bar)
    apply(memory, c, vectors + dim, vectors, y_bar)
    for i in range(dim):
        put(memory, vectors + i, get(memory, vectors + i) - 0.5 * get(memory, vectors + 3 * dim + i))
    return scale(-2.0, combine(memory, vectors, y_bar))


def inverse_transposed(memory: Any, x: Matrix) -> Matrix:
    """J^-T x = (c + (ad F) s / 2) K^-T x, for an algebra element x at the old link: an algebra element at the new one.

    Needs the memory as :func:`fill_around` leaves it, but with K inverted.
    """
    n = size(x)
    dim = dimension(n)
    count = powers(n)
    square = dim * dim
    k = (count + 3) * square
    vectors = (2 * count + 7) * square + 4 * count
    coordinates(memory, vectors, x)
    for j in range(dim):
        y = get(memory, k + j) * get(memory, vectors)
        for i in range(1, dim):
            y = y + get(memory, k + dim * i + j) * get(memory, vectors + i)
        put(memory, vectors + dim + j, y)
    half_turn(memory, 0.5, x)
    return combine(memory, vectors, x)


def inverse_jacobian(memory: Any, x: Matrix) -> Matrix:
    """J^-1 x = K^-1 (c - (ad F) s / 2) x: the displacement of the old link that moves the new one by x.

    Needs the memory as :func:`fill_around` leaves it, but with K inverted.
    """
    n = size(x)
    dim = dimension(n)
    count = powers(n)
    square = dim * dim
    vectors = (2 * count + 7) * square + 4 * count
    coordinates(memory, vectors + dim, x)
    half_turn(memory, -0.5, x)
    apply(memory, (count + 3) * square, vectors, vectors + dim, x)
    return combine(memory, vectors + dim, x)


def half_turn(memory: Any, sign: float, like: Matrix) -> None:
    """Vector 0 = (c + sign (ad F) s) applied to vector 1: exp(+-ad F / 2) for sign = +-1/2.  Uses all four vectors."""
    n = size(like)
    dim = dimension(n)
    count = powers(n)
    square = dim * dim
    vectors = (2 * count + 7) * square + 4 * count
    apply(memory, (count + 1) * square, vectors + dim, vectors + 2 * dim, like)
    apply(memory, (count + 4) * square, vectors + 2 * dim, vectors + 3 * dim, like)
    apply(memory, count * square, vectors + dim, vectors, like)
    for i in range(dim):
        put(memory, vectors + i, get(memory, vectors + i) + sign * get(memory, vectors + 3 * dim + i))


def polynomials_vjp(memory: Any, f: Matrix, log_det_bar: Number) -> Matrix:
    """Matrix x with dL = Re tr(x dF) for L = log_det_bar tr K^-1 (dc + ds H).

    Needs the memory as :func:`fill_around` leaves it, but with K inverted; H and the spare places are used up, K too.
    """
    n = size(f)
    dim = dimension(n)
    count = powers(n)
    square = dim * dim
    h, k, ad = (count + 2) * square, (count + 3) * square, (count + 4) * square
    spare, other, v = (count + 5) * square, (count + 6) * square, (count + 7) * square
    table = (2 * count + 7) * square
    bars = table + 2 * count
    product(memory, h, k, spare, f)
    symmetrise(memory, spare, 0.5 * log_det_bar, 1.0, f)
    symmetrise(memory, k, 0.5 * log_det_bar, 1.0, f)
    for m in range(count):
        x = get(memory, k) * get(memory, m * square)
        y = get(memory, spare) * get(memory, m * square)
        for i in range(1, square):
            q = get(memory, m * square + i)
            x = x + get(memory, k + i) * q
            y = y + get(memory, spare + i) * q
        put(memory, bars + m, x)
        put(memory, bars + count + m, y)
    f_bar = coefficients_vjp(memory, bars, f)
    # Q_bar = sum_k sum_{j < k} Q^j g_k Q^(k - 1 - j), g_k = c_k K_bar + s_k S_bar, by Horner from both sides
    for m in range(count - 1, -1, -1):
        for i in range(square):
            x = get(memory, table + m) * get(memory, k + i)
            put(memory, v + m * square + i, x + get(memory, table + count + m) * get(memory, spare + i))
        if m < count - 1:
            product(memory, v + (m + 1) * square, 0, other, f)
            for i in range(square):
                put(memory, v + m * square + i, get(memory, v + m * square + i) + get(memory, other + i))
    for m in range(count - 2, -1, -1):
        product(memory, 0, v + (m + 1) * square, other, f)
        for i in range(square):
            put(memory, v + m * square + i, get(memory, v + m * square + i) + get(memory, other + i))
    # dQ = ad F d(ad F) + d(ad F) ad F
    product(memory, v, ad, other, f)
    symmetrise(memory, other, 0.0 * log_det_bar - 4.0, -1.0, f)
    return add(f_bar, contract(memory, other, f))
