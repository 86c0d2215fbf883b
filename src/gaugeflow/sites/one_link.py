"""Mean of one link in the field of its neighbours.

The link U has the density exp(Re tr U A^dagger), A the sum of its staples weighted by coupling / N.  For SU(3) the integral
over the group is a contour integral (Eriksson, Svartholm and Skagerstam, J. Math. Phys. 22 (1981) 2276; de Forcrand and
Roiesnel, Phys. Lett. B 151 (1985) 77), of which the trapezoidal rule on a circle converges faster than any power.
"""

from __future__ import annotations

from collections.abc import Callable

from gaugeflow.sites.elementary import sin_cos_turns
from gaugeflow.sites.heatbath import su2_part, u1_part
from gaugeflow.sites.matrix import add, add_scaled, dag, mul, re_trace_mul_dag, scale, size
from gaugeflow.sites.numbers import Matrix, Number, conj, cplx, floor, imag, largest, real, sqrt, where

MOST = 500.0
"""Terms of a series and points of a contour after which none are added."""


def whole(x: Number) -> Number:
    """The largest integer not above x, ``MOST`` at most."""
    return floor(where(x < MOST, x, 0.0 * x + MOST))


def steps(count: Number) -> int:
    """The largest of some counts.  Numbers with smaller counts sit out, so that none depends on what it is computed beside."""
    most = largest(count)
    return int(most) if most < MOST else int(MOST)


def bessel_ratio(order: int, z: Number) -> Number:
    """I_{order + 1}(z) / I_order(z) for z >= 0.

    r_k = z / (2 (k + 1) + z r_{k + 1}) from a large k on, where the bound of D. E. Amos, Math. Comp. 28 (1974) 239, starts.
    """
    last = whole(z + 40.0)
    ratio = z / (last + 1.0 + sqrt((last + 1.0) * (last + 1.0) + z * z))
    count = steps(last)
    for step in range(count - order):
        k = 1.0 * (count - step)
        ratio = where(last >= k, z / (2.0 * k + z * ratio), ratio)
    return ratio


def one_link_average_1(a: Matrix) -> Matrix:
    """:func:`one_link_average` for U(1): I_1(|a|) / I_0(|a|) times the phase of a."""
    norm, phase = u1_part(a[0])
    return (bessel_ratio(0, norm) * phase,)


def one_link_average_2(a: Matrix) -> Matrix:
    """:func:`one_link_average` for SU(2): with A = k V it is I_2(2 k) / I_1(2 k) V."""
    norm, va, vb = su2_part(a[0], a[1], a[2], a[3])
    mean = bessel_ratio(1, 2.0 * norm)
    return (mean * va, mean * vb, -mean * conj(vb), mean * conj(va))


def adjugate(m: Matrix) -> Matrix:
    """The 3 x 3 matrix with m adj(m) = det(m)."""
    return (
        m[4] * m[8] - m[5] * m[7],
        m[2] * m[7] - m[1] * m[8],
        m[1] * m[5] - m[2] * m[4],
        m[5] * m[6] - m[3] * m[8],
        m[0] * m[8] - m[2] * m[6],
        m[2] * m[3] - m[0] * m[5],
        m[3] * m[7] - m[4] * m[6],
        m[1] * m[6] - m[0] * m[7],
        m[0] * m[4] - m[1] * m[3],
    )


def exp_complex(y: Number) -> Number:
    """e^y of a complex number, by its series at y / 16 and four squarings."""
    small = 0.0625 * y
    result = 0.0 * y + 1.0
    for k in range(20):
        result = (1.0 / (20 - k)) * (small * result) + 1.0
    for _ in range(4):
        result = result * result
    return result


def one_link_average_3(a: Matrix) -> Matrix:
    """:func:`one_link_average` for SU(3).

    With J = A^dagger / 2, H = J J^dagger, X = tr H, Y = (X^2 - tr H^2) / 2, D = det J and w = 1/x + X + Y x + |D|^2 x^2,

        Z = contour integral dx / (2 pi i) exp(2 x Re D) g(w),   g(w) = sum_p w^p / (p! (p + 1)!),

    up to a factor, and the mean is the derivative of log Z with respect to J.  The circle has the radius 1 / (1 + X), near
    the saddle of an A proportional to a group element.
    """
    j = scale(0.5, dag(a))
    jd = scale(0.5, a)
    h = mul(j, jd)
    x2 = real(h[0]) + real(h[4]) + real(h[8])
    y2 = 0.5 * (x2 * x2 - re_trace_mul_dag(h, h))
    cofactors = adjugate(j)
    det = j[0] * cofactors[0] + j[1] * cofactors[3] + j[2] * cofactors[6]
    size2 = real(det) * real(det) + imag(det) * imag(det)
    radius = 1.0 / (1.0 + x2)
    size_of_terms = sqrt(3.0 * x2)
    points = whole(10.0 + 0.6 * size_of_terms)
    terms = whole(14.0 + 1.6 * size_of_terms)
    rows = steps(terms)
    total = 0.0 * x2
    by_x = 0.0 * x2
    by_y = 0.0 * x2
    by_size = 0.0 * x2
    by_det = 0.0 * x2
    for point in range(steps(points)):
        inside = points > 1.0 * point
        sine, cosine = sin_cos_turns(where(inside, (0.5 * point + 0.25) / points, 0.0 * x2))
        x = cplx(radius * cosine, radius * sine)
        w = cplx(cosine * (1.0 + x2), -sine * (1.0 + x2)) + x2 + x * (size2 * x + y2)
        g = 0.0 * x + 1.0
        slope = 0.0 * x + 1.0
        for step in range(rows):
            p = 1.0 * (rows - step)
            near = where(terms >= p, w, 0.0 * w)
            g = (1.0 / (p * (p + 1.0))) * (near * g) + 1.0
            slope = (1.0 / (p * (p + 2.0))) * (near * slope) + 1.0
        weight = where(inside, x * exp_complex(2.0 * real(det) * x), 0.0 * x)
        slope = 0.5 * (weight * slope)
        g = weight * g
        total = total + real(g)
        by_det = by_det + real(x * g)
        by_x = by_x + real(slope)
        by_y = by_y + real(x * slope)
        by_size = by_size + real(x * x * slope)
    plain = scale(by_x + by_y * x2, jd)
    loops = scale(by_y, mul(jd, h))
    rest = scale(by_size * conj(det) + by_det, cofactors)
    return scale(1.0 / total, add(add_scaled(plain, -1.0, loops), rest))


def one_link_average_of_size(n: int) -> Callable[[Matrix], Matrix]:
    """The form of :func:`one_link_average` for N = n."""
    if n > len(_SIZES):
        raise ValueError(f"mean of a link: known for N = 1, 2, 3, got N = {n}")
    return _SIZES[n - 1]


_SIZES = (one_link_average_1, one_link_average_2, one_link_average_3)


def one_link_average(a: Matrix) -> Matrix:
    """Mean of U with density exp(Re tr U A^dagger) over U(1), SU(2) or SU(3).

    For |A| up to 16 (of a link: A is 2 beta at most) the error is 1e-12 or less, also where A is far from any multiple of a
    group element.  Beyond, relative errors grow with exp of a third of |A| for the rare A that are close to a negative
    multiple of one, and stay at 1e-12 for those of smooth fields.

    Raises
    ------
    ValueError
        For N > 3.
    """
    return one_link_average_of_size(size(a))(a)


one_link_average.for_size = one_link_average_of_size  # type: ignore[attr-defined]
