"""The Jacobian of an update ``U -> exp(F) U`` of one link, and even functions of ad F, with derivatives by hand.

Where dF = M w for a displacement w of the link, the Jacobian in left coordinates is

    J = phi(ad F) (t(Q) + N),    N = M + ad F / 2,    Q = (ad F)^2,

    phi(z) = (e^z - 1) / z,    1 / phi(-z) = t(z^2) + z / 2,    t(q) = (sqrt(q) / 2) coth(sqrt(q) / 2).

A function f of Q is, for SU(3), linear in F and F^2 but for a rank of two (``docs/derivations/residual.md``):

    f(Q) w = P(G w) + X <F, w> + Y <E, w>,    E = P(-i F^2),

where the Hermitian G and the algebra elements X, Y are combinations of 1, F, E whose coefficients are polynomials in the
invariants of F.  SU(2) needs no E, and for U(1) Q is zero.  Other N use power series (:mod:`gaugeflow.sites.series`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gaugeflow.sites.adjoint import (
    add_dyads,
    apply_to,
    determinant,
    dimension,
    invert,
    positive_determinant,
    positive_inverse,
    symmetric_part,
)
from gaugeflow.sites.matrix import (
    add,
    add_identity,
    add_scaled,
    dag,
    im_trace_mul,
    mul,
    project,
    re_trace,
    re_trace_mul,
    scale,
    size,
    sub,
    times_i,
    zero_like,
)
from gaugeflow.sites.numbers import Matrix, Number, conj, cplx, imag, real
from gaugeflow.sites.series import (
    BERNOULLI,
    EVEN_PHI,
    ODD_PHI,
    SINHC,
    even_series,
    fill_reduced_series,
    phi_determinant_series,
    reduced_vjp_series,
)

COARSE = 1e-2
"""Distance from its limit at which the fixed-point iteration of an inverse hands over to Newton steps."""
NEWTON = 20
"""Newton steps at most; each squares the error."""


def memory_size(n: int) -> int:
    """Numbers of scratch memory that the functions of this module need for N = n, first of all for t(Q) + N.

    Users of the module have the second square of dimension N^2 - 1 to themselves, and N > 3 needs six more.
    """
    return (2 if n <= 3 else 8) * dimension(n) * dimension(n)


# ---- polynomials modulo the characteristic one -----------------------------------------------------------------------
def root_squared(f: Matrix) -> Number:
    """Square of the root of ad f for SU(2), i.e. of the difference of the eigenvalues of -i f."""
    a = imag(f[0])
    return 4.0 * (a * a + real(f[1]) * real(f[1]) + imag(f[1]) * imag(f[1]))


def invariants_3(f: Matrix) -> tuple[Number, Number, Matrix]:
    """Half the sum of squares P and the product D of the eigenvalues of -i f for SU(3), and E = P(-i f^2)."""
    a = imag(f[0])
    b = imag(f[4])
    c = imag(f[8])
    nu = real(f[1]) * real(f[1]) + imag(f[1]) * imag(f[1])
    nv = real(f[2]) * real(f[2]) + imag(f[2]) * imag(f[2])
    nw = real(f[5]) * real(f[5]) + imag(f[5]) * imag(f[5])
    uw = f[1] * f[5]
    triple = imag(f[2]) * real(uw) - real(f[2]) * imag(uw)
    p = 0.5 * (a * a + b * b + c * c) + nu + nv + nw
    d = a * b * c - a * nw - b * nv - c * nu - 2.0 * triple
    u = times_i(f[2] * conj(f[5])) - c * f[1]
    v = -times_i(uw) - b * f[2]
    w = times_i(conj(f[1]) * f[2]) - a * f[5]
    mean = (2.0 / 3.0) * p
    e = (
        cplx(0.0 * a, a * a + nu + nv - mean),
        u,
        v,
        -conj(u),
        cplx(0.0 * a, b * b + nu + nw - mean),
        w,
        -conj(v),
        -conj(w),
        cplx(0.0 * a, c * c + nv + nw - mean),
    )
    return p, d, e


def remainder_2(series: Any, s: Number) -> tuple[Number, Number]:
    """sum_k series[k] q^(k - 1) without its first term at q = -s, and its derivative with respect to s."""
    r = s * 0.0 + series[len(series) - 1]
    slope = s * 0.0
    for k in range(len(series) - 2, 0, -1):
        slope = -r - s * slope
        r = series[k] - s * r
    return r, slope


def remainder_3(series: Any, p: Number, d: Number) -> tuple[Number, Number, Number]:
    """sum_k series[k] q^(k - 1) without its first term, for q = 3 x^2 - 4 p modulo x^3 - p x - d: coefficients of 1, x, x^2."""
    r0, r1, r2 = p * 0.0 + series[len(series) - 1], p * 0.0, p * 0.0
    three = 3.0 * d
    four = 4.0 * p
    for k in range(len(series) - 2, 0, -1):
        r0, r1, r2 = series[k] + three * r1 - four * r0, three * r2 - p * r1, 3.0 * r0 - p * r2
    return r0, r1, r2


def remainder_slopes_3(series: Any, p: Number, d: Number) -> tuple[Any, Any, Any]:
    """The coefficients of :func:`remainder_3`, their derivatives with respect to p, and those with respect to d."""
    z = p * 0.0
    r0, r1, r2 = z + series[len(series) - 1], z, z
    p0, p1, p2 = z, z, z
    d0, d1, d2 = z, z, z
    three = 3.0 * d
    four = 4.0 * p
    for k in range(len(series) - 2, 0, -1):
        p0, p1, p2 = three * p1 - four * p0 - 4.0 * r0, three * p2 - p * p1 - r1, 3.0 * p0 - p * p2 - r2
        d0, d1, d2 = three * d1 - four * d0 + 3.0 * r1, three * d2 - p * d1 + 3.0 * r2, 3.0 * d0 - p * d2
        r0, r1, r2 = series[k] + three * r1 - four * r0, three * r2 - p * r1, 3.0 * r0 - p * r2
    return (r0, r1, r2), (p0, p1, p2), (d0, d1, d2)


# ---- even functions of ad F ------------------------------------------------------------------------------------------
def even_parts_1(series: Any, f: Matrix) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """U(1): Q = 0."""
    zero = zero_like(f)
    return add_identity(series[0], zero), zero, zero, zero


def even_parts_2(series: Any, f: Matrix) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """SU(2): Q = -root^2 + |F> <F|."""
    zero = zero_like(f)
    s = root_squared(f)
    r = remainder_2(series, s)[0]
    return add_identity(series[0] - s * r, zero), zero, scale(r, f), zero


def even_parts_3(series: Any, f: Matrix) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """SU(3)."""
    p, d, e = invariants_3(f)
    r0, r1, r2 = remainder_3(series, p, d)
    zero = 0.0 * p
    g = add(scale(cplx(zero, 6.0 * d * r2 - 2.0 * p * r1), f), scale(cplx(zero, 6.0 * r0 - 2.0 * p * r2), e))
    g = add_identity(series[0] - 2.0 * p * r0 + 3.0 * d * r1 - (2.0 / 3.0) * p * p * r2, g)
    half = 0.5 * r1
    return g, e, sub(scale(r0, f), scale(half, e)), sub(scale(r2, e), scale(half, f))


def even_parts_of_size(n: int) -> Callable[..., Any]:
    """The form of :func:`even_parts` for N = n."""
    return {1: even_parts_1, 2: even_parts_2, 3: even_parts_3}[n]


def even_parts(series: Any, f: Matrix) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """G, E, X, Y of the even function with these Taylor coefficients, N < 4."""
    return even_parts_of_size(size(f))(series, f)


even_parts.for_size = even_parts_of_size  # type: ignore[attr-defined]


def even_closed(series: Any, f: Matrix, w: Matrix) -> Matrix:
    """N < 4."""
    g, e, x, y = even_parts(series, f)
    z = add_scaled(project(mul(g, w)), -2.0 * re_trace_mul(f, w), x)
    return add_scaled(z, -2.0 * re_trace_mul(e, w), y)


def even_of_size(n: int) -> Callable[[Any, Matrix, Matrix], Matrix]:
    """The form of :func:`even` for N = n."""
    return even_closed if n <= 3 else even_series


def even(series: Any, f: Matrix, w: Matrix) -> Matrix:
    """The function with these Taylor coefficients of Q = (ad f)^2 on w, both in the algebra."""
    return even_of_size(size(f))(series, f, w)


even.for_size = even_of_size  # type: ignore[attr-defined]


def commutator(f: Matrix, w: Matrix) -> Matrix:
    """ad f on w, both in the algebra."""
    return scale(2.0, project(mul(f, w)))


def phi_transposed(f: Matrix, w: Matrix) -> tuple[Matrix, Matrix]:
    """phi(-ad f) w and exp(-ad f) w = exp(-f) w exp(f)."""
    turned = sub(even(EVEN_PHI, f, w), commutator(f, even(ODD_PHI, f, w)))
    return turned, sub(w, commutator(f, turned))


def inverse_phi(f: Matrix, w: Matrix) -> Matrix:
    """phi(ad f)^-1 w = (t(Q) - ad f / 2) w; that of -f is the inverse of the transposed."""
    return sub(even(BERNOULLI, f, w), project(mul(f, w)))


def phi_determinant_1(memory: Any, f: Matrix) -> Number:
    """U(1)."""
    return 0.0 * imag(f[0]) + 1.0


def phi_determinant_2(memory: Any, f: Matrix) -> Number:
    """SU(2): two equal eigenvalues of s and one that is 1."""
    s = root_squared(f)
    x = 1.0 - s * remainder_2(SINHC, s)[0]
    return x * x


def phi_determinant_3(memory: Any, f: Matrix) -> Number:
    """SU(3): the square of the norm of s as an element of the field extended by x."""
    p, d, _ = invariants_3(f)
    r0, r1, r2 = remainder_3(SINHC, p, d)
    # times q = 3 x^2 - 4 p, plus 1
    a, b, c = 1.0 + 3.0 * d * r1 - 4.0 * p * r0, 3.0 * d * r2 - p * r1, 3.0 * r0 - p * r2
    e = a + p * c
    norm = a * (e * e - b * (p * b + d * c)) - d * c * (b * e - c * (p * b + d * c)) + d * b * (b * b - c * e)
    return norm * norm


def phi_determinant_of_size(n: int) -> Callable[[Any, Matrix], Number]:
    """The form of :func:`phi_determinant` for N = n."""
    return {1: phi_determinant_1, 2: phi_determinant_2, 3: phi_determinant_3}.get(n, phi_determinant_series)


def phi_determinant(memory: Any, f: Matrix) -> Number:
    """det phi(ad f) = det s(Q), s(q) = sinh(sqrt(q) / 2) / (sqrt(q) / 2).  N > 3 uses all but the first two squares."""
    return phi_determinant_of_size(size(f))(memory, f)


phi_determinant.for_size = phi_determinant_of_size  # type: ignore[attr-defined]


# ---- the reduced Jacobian t(Q) + N -----------------------------------------------------------------------------------
def fill_reduced_closed(memory: Any, f: Matrix, w: Matrix) -> None:
    """N < 4."""
    g, e, x, y = even_parts(BERNOULLI, f)
    symmetric_part(memory, 0, add(w, g))
    add_dyads(memory, 0, x, f, y, e)


def fill_reduced_of_size(n: int) -> Callable[[Any, Matrix, Matrix], None]:
    """The form of :func:`fill_reduced` for N = n."""
    return fill_reduced_closed if n <= 3 else fill_reduced_series


def fill_reduced(memory: Any, f: Matrix, w: Matrix) -> None:
    """``memory[0:]`` = t(Q) + the symmetric part of the map v -> P(v w)."""
    fill_reduced_of_size(size(f))(memory, f, w)


fill_reduced.for_size = fill_reduced_of_size  # type: ignore[attr-defined]


def reduced_determinant_closed(memory: Any, f: Matrix, w: Matrix) -> Number:
    """N < 4: without memory."""
    g, e, x, y = even_parts(BERNOULLI, f)
    return positive_determinant(x, f, y, e, add(w, g))


def reduced_determinant_series(memory: Any, f: Matrix, w: Matrix) -> Number:
    """Other N."""
    fill_reduced_series(memory, f, w)
    return determinant(memory, 0, f)


def reduced_determinant_of_size(n: int) -> Callable[[Any, Matrix, Matrix], Number]:
    """The form of :func:`reduced_determinant` for N = n."""
    return reduced_determinant_closed if n <= 3 else reduced_determinant_series


def reduced_determinant(memory: Any, f: Matrix, w: Matrix) -> Number:
    """Determinant of what :func:`fill_reduced` writes, where that is positive."""
    return reduced_determinant_of_size(size(f))(memory, f, w)


reduced_determinant.for_size = reduced_determinant_of_size  # type: ignore[attr-defined]


def reduced_inverse_closed(memory: Any, f: Matrix, w: Matrix) -> None:
    """N < 4."""
    g, e, x, y = even_parts(BERNOULLI, f)
    positive_inverse(memory, 0, x, f, y, e, add(w, g))


def reduced_inverse_series(memory: Any, f: Matrix, w: Matrix) -> None:
    """Other N."""
    fill_reduced_series(memory, f, w)
    invert(memory, 0, f)


def reduced_inverse_of_size(n: int) -> Callable[[Any, Matrix, Matrix], None]:
    """The form of :func:`reduced_inverse` for N = n."""
    return reduced_inverse_closed if n <= 3 else reduced_inverse_series


def reduced_inverse(memory: Any, f: Matrix, w: Matrix) -> None:
    """``memory[0:]`` = inverse of what :func:`fill_reduced` writes, where that is positive."""
    reduced_inverse_of_size(size(f))(memory, f, w)


reduced_inverse.for_size = reduced_inverse_of_size  # type: ignore[attr-defined]


def reduced_vjp_1(memory: Any, log_det_bar: Number, w_bar: Matrix, f: Matrix) -> Matrix:
    """U(1): t = 1."""
    return zero_like(f)


def reduced_vjp_2(memory: Any, log_det_bar: Number, w_bar: Matrix, f: Matrix) -> Matrix:
    """SU(2): t(Q) = 1 - s r + r |F><F| with s = root^2, ds = -4 Re tr(F dF)."""
    s = root_squared(f)
    r, slope = remainder_2(BERNOULLI, s)
    u = apply_to(memory, 0, 3, 1, f)
    by_r = log_det_bar * -2.0 * re_trace_mul(f, u) - s * re_trace(w_bar)
    by_s = by_r * slope - r * re_trace(w_bar)
    return sub(scale(4.0 * (log_det_bar * r - by_s), f), scale(4.0 * log_det_bar * r, u))


def reduced_vjp_3(memory: Any, log_det_bar: Number, w_bar: Matrix, f: Matrix) -> Matrix:
    """SU(3): dP = -Re tr(F dF), dD = -Re tr(E dF), dE = P(-i (F dF + dF F))."""
    p, d, e = invariants_3(f)
    r, by_p, by_d = remainder_slopes_3(BERNOULLI, p, d)
    u = apply_to(memory, 0, 8, 1, f)
    v = apply_to(memory, 0, 8, 1, e)
    # cotangents of the coefficients, through G and through the dyads
    double = -2.0 * log_det_bar
    b0, b1, b2 = re_trace(w_bar), im_trace_mul(w_bar, f), im_trace_mul(w_bar, e)
    bar0 = double * re_trace_mul(f, u) - 2.0 * p * b0 - 6.0 * b2
    bar1 = 3.0 * d * b0 + 2.0 * p * b1 - double * re_trace_mul(f, v)
    bar2 = double * re_trace_mul(e, v) - (2.0 / 3.0) * p * p * b0 - 6.0 * d * b1 + 2.0 * p * b2
    p_bar = 2.0 * (r[1] * b1 + r[2] * b2 - r[0] * b0) - (4.0 / 3.0) * p * r[2] * b0
    p_bar = p_bar + by_p[0] * bar0 + by_p[1] * bar1 + by_p[2] * bar2
    d_bar = 3.0 * r[1] * b0 - 6.0 * r[2] * b1 + by_d[0] * bar0 + by_d[1] * bar1 + by_d[2] * bar2
    # those of F and E where they stand; log det s(Q) gives the last of each
    zero = 0.0 * p
    f_bar = add(scale(cplx(zero, 6.0 * d * r[2] - 2.0 * p * r[1]), w_bar), scale(double * 2.0 * r[0], u))
    f_bar = sub(f_bar, scale(double * r[1], v))
    f_bar = add_scaled(f_bar, log_det_bar * (6.0 * r[0] + 2.0 * p * r[2]) - p_bar, f)
    f_bar = add_scaled(f_bar, -6.0 * log_det_bar * r[1] - d_bar, e)
    e_bar = add(scale(cplx(zero, 6.0 * r[0] - 2.0 * p * r[2]), w_bar), scale(double * 2.0 * r[2], v))
    e_bar = project(sub(e_bar, scale(double * r[1], u)))
    m = mul(f, e_bar)
    return add(f_bar, scale(cplx(zero, zero - 1.0), add(m, dag(m))))


def reduced_vjp_n(memory: Any, log_det_bar: Number, w_bar: Matrix, f: Matrix) -> Matrix:
    """Other N."""
    return reduced_vjp_series(memory, f, log_det_bar)


def reduced_vjp_of_size(n: int) -> Callable[[Any, Number, Matrix, Matrix], Matrix]:
    """The form of :func:`reduced_vjp` for N = n."""
    return {1: reduced_vjp_1, 2: reduced_vjp_2, 3: reduced_vjp_3}.get(n, reduced_vjp_n)


def reduced_vjp(memory: Any, log_det_bar: Number, w_bar: Matrix, f: Matrix) -> Matrix:
    """Matrix x with dL = Re tr(x dF) for L = log_det_bar (log det s(Q) + tr R t(Q)).

    ``memory[0:]`` is the symmetric part of the inverse R of t(Q) + N, and ``w_bar`` the cotangent that this gives to W in
    the symmetric part of v -> P(v W).
    """
    return reduced_vjp_of_size(size(f))(memory, log_det_bar, w_bar, f)


reduced_vjp.for_size = reduced_vjp_of_size  # type: ignore[attr-defined]


def inverse_jacobian(memory: Any, f: Matrix, x: Matrix) -> Matrix:
    """J^-1 x: the displacement of the old link that moves the new one by x.

    ``memory[0:]`` is the inverse of t(Q) + N.
    """
    return apply_to(memory, 0, dimension(size(x)), 1, inverse_phi(f, x))


def inverse_transposed(memory: Any, f: Matrix, x: Matrix) -> Matrix:
    """J^-T x for an algebra element x at the old link: an algebra element at the new one.  Memory as above."""
    return inverse_phi(scale(-1.0, f), apply_to(memory, 0, 1, dimension(size(x)), x))
