"""The exponential of the algebra: branch-free, without trigonometry, to rounding for matrices of norm up to about 8.

Source: Cayley-Hamilton reduction of the power series with scaling by 1/8 and three squarings; compare Morningstar and
Peardon, hep-lat/0311018, section III, whose closed form needs trigonometric functions and a branch.
"""

from __future__ import annotations

from collections.abc import Callable

from gaugeflow.sites.matrix import add_identity, mul, scale, size
from gaugeflow.sites.numbers import Matrix, Number, conj, cplx, imag, real

SCALE = 0.125
INVERSE_FACTORIALS = (
    1.0 / 479001600.0,
    1.0 / 39916800.0,
    1.0 / 3628800.0,
    1.0 / 362880.0,
    1.0 / 40320.0,
    1.0 / 5040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
)
LAST_FACTORIAL = 1.0 / 6227020800.0


def exp_1(x: Matrix) -> Matrix:
    """exp of an imaginary number: x^2 = p."""
    a = imag(x[0])
    c, s = even_odd_series(-(a * a))
    return (cplx(c, s * a),)


def exp_2(x: Matrix) -> Matrix:
    """exp of a traceless anti-Hermitian 2 x 2 matrix: x^2 = p 1."""
    a = imag(x[0])
    u = x[1]
    c, s = even_odd_series(-(a * a) - real(u) * real(u) - imag(u) * imag(u))
    return (cplx(c, s * a), s * u, -(s * conj(u)), cplx(c, -(s * a)))


def even_odd_series(p: Number) -> tuple[Number, Number]:
    """(cosh(sqrt p), sinh(sqrt p)/sqrt p) for p <= 0, by series in p/64 and three doublings."""
    q = p * (SCALE * SCALE)
    c = q * 0.0 + 1.0 / 20922789888000.0
    s = q * 0.0 + 1.0 / 355687428096000.0
    for k in (
        1.0 / 87178291200.0,
        1.0 / 479001600.0,
        1.0 / 3628800.0,
        1.0 / 40320.0,
        1.0 / 720.0,
        1.0 / 24.0,
        0.5,
        1.0,
    ):
        c = k + q * c
    for k in (
        1.0 / 1307674368000.0,
        1.0 / 6227020800.0,
        1.0 / 39916800.0,
        1.0 / 362880.0,
        1.0 / 5040.0,
        1.0 / 120.0,
        1.0 / 6.0,
        1.0,
    ):
        s = k + q * s
    s = SCALE * s
    for _ in range(3):
        c, s = c * c + p * (s * s), 2.0 * (c * s)
    return c, s


def exp_3(x: Matrix) -> Matrix:
    """exp of a traceless anti-Hermitian 3 x 3 matrix: x^3 = p x + i d, so the series lives in (1, x, x^2)."""
    a = imag(x[0])
    b = imag(x[4])
    c = imag(x[8])
    u = x[1]
    v = x[2]
    w = x[5]
    nu = real(u) * real(u) + imag(u) * imag(u)
    nv = real(v) * real(v) + imag(v) * imag(v)
    nw = real(w) * real(w) + imag(w) * imag(w)
    p = (SCALE * SCALE) * (-(nu + nv + nw) - 0.5 * (a * a + b * b + c * c))
    d = (SCALE * SCALE * SCALE) * (a * nw + b * nv + c * nu - a * b * c + 2.0 * imag(v * conj(u * w)))
    # Horner's rule on q0 + q1 x + q2 x^2 with q = r + i m
    zero = p * 0.0
    r0 = zero + LAST_FACTORIAL
    r1 = zero
    r2 = zero
    m0 = zero
    m1 = zero
    m2 = zero
    for k in INVERSE_FACTORIALS:
        r0, r1, r2, m0, m1, m2 = k - d * m2, r0 + p * r2, r1, d * r2, m0 + p * m2, m1
    q0 = cplx(r0, m0)
    q1 = cplx(r1, m1)
    q2 = cplx(r2, m2)
    e = cplx(zero, d)
    for _ in range(3):
        g = q1 * q2 * 2.0
        h = q2 * q2
        q0, q1, q2 = q0 * q0 + g * e, q0 * q1 * 2.0 + g * p + h * e, q1 * q1 + q0 * q2 * 2.0 + h * p
    q1 = SCALE * q1
    q2 = (SCALE * SCALE) * q2
    # x^2 is Hermitian
    y00 = -(a * a + nu + nv)
    y11 = -(b * b + nu + nw)
    y22 = -(c * c + nv + nw)
    y01 = u * cplx(zero, a + b) - v * conj(w)
    y02 = v * cplx(zero, a + c) + u * w
    y12 = w * cplx(zero, b + c) - conj(u) * v
    return (
        q0 + q1 * cplx(zero, a) + q2 * y00,
        q1 * u + q2 * y01,
        q1 * v + q2 * y02,
        q2 * conj(y01) - q1 * conj(u),
        q0 + q1 * cplx(zero, b) + q2 * y11,
        q1 * w + q2 * y12,
        q2 * conj(y02) - q1 * conj(v),
        q2 * conj(y12) - q1 * conj(w),
        q0 + q1 * cplx(zero, c) + q2 * y22,
    )


def exp_n(x: Matrix) -> Matrix:
    """exp of any N x N matrix: Taylor series of x/8 to order 13, then three squarings."""
    y = scale(SCALE, x)
    e = scale(1.0 / 13.0, y)
    for k in (12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0):
        e = scale(1.0 / k, mul(y, add_identity(1.0, e)))
    e = add_identity(1.0, e)
    for _ in range(3):
        e = mul(e, e)
    return e


def exp(x: Matrix) -> Matrix:
    """exp of an algebra element given as a row-major tuple."""
    return exp_of_size(size(x))(x)


def exp_of_size(n: int) -> Callable[[Matrix], Matrix]:
    """The form of :func:`exp` for N = n."""
    return {1: exp_1, 2: exp_2, 3: exp_3}.get(n, exp_n)


exp.for_size = exp_of_size  # type: ignore[attr-defined]
