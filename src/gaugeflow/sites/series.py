"""Power series of even functions of ad F, and what uses them as they stand: the Jacobian for N > 3.

Formulas for N = 1, 2, 3 are in :mod:`gaugeflow.sites.jacobian`.
"""

from __future__ import annotations

import math
from typing import Any

from gaugeflow.sites.adjoint import (
    adjoint_action,
    contract,
    determinant,
    dimension,
    product,
    symmetric_part,
    symmetric_product,
    symmetrise,
)
from gaugeflow.sites.matrix import add_scaled, mul, project, scale, size
from gaugeflow.sites.numbers import Matrix, Number, get, put

SINHC = tuple(0.25**k / math.factorial(2 * k + 1) for k in range(16))
"""Taylor coefficients in q of s(q) = sinh(sqrt(q) / 2) / (sqrt(q) / 2)."""
EVEN_PHI = tuple(1.0 / math.factorial(2 * k + 1) for k in range(16))
"""Of sinh(sqrt(q)) / sqrt(q), the even part of phi."""
ODD_PHI = tuple(1.0 / math.factorial(2 * k + 2) for k in range(16))
"""Of (cosh(sqrt(q)) - 1) / q, the odd part of phi divided by its argument."""


def _bernoulli(count: int) -> tuple[float, ...]:
    """From t s = c with the coefficients 1 / (4^k (2k)!) of c(q) = cosh(sqrt(q) / 2)."""
    t: list[float] = []
    for k in range(count):
        t.append(0.25**k / math.factorial(2 * k) - sum(t[j] * SINHC[k - j] for j in range(max(0, k - 15), k)))
    return tuple(t)


BERNOULLI = _bernoulli(19)
"""Of t(q) = (sqrt(q) / 2) coth(sqrt(q) / 2), which are B_2k / (2k)! and fall as (2 pi)^(-2k): to rounding where the roots of
ad F, differences of the eigenvalues of -iF, are below 2.5, and to 1e-12 at 3.  An F of norm below 1 has roots below 2."""


def even_series(coefficients: Any, f: Matrix, w: Matrix) -> Matrix:
    """sum_k coefficients[k] (ad f)^2k on w, both in the algebra."""
    total = scale(coefficients[len(coefficients) - 1], w)
    for k in range(len(coefficients) - 2, -1, -1):
        total = add_scaled(scale(4.0, project(mul(f, project(mul(f, total))))), coefficients[k], w)
    return total


def polynomial(memory: Any, coefficients: Any, q: int, to: int, spare: int, like: Matrix) -> None:
    """``memory[to:]`` = sum_k coefficients[k] Q^k of the symmetric Q at ``memory[q:]``."""
    dim = dimension(size(like))
    for i in range(dim * dim):
        put(memory, to + i, get(memory, q) * 0.0)
    for k in range(len(coefficients) - 1, -1, -1):
        symmetric_product(memory, to, q, spare, like)
        for i in range(dim * dim):
            put(memory, to + i, get(memory, spare + i))
        for i in range(dim):
            put(memory, to + (dim + 1) * i, get(memory, to + (dim + 1) * i) + coefficients[k])


def squared_action(memory: Any, f: Matrix) -> None:
    """ad f in the third square of memory, its square Q in the fourth."""
    square = dimension(size(f)) * dimension(size(f))
    adjoint_action(memory, 2 * square, f)
    symmetric_product(memory, 2 * square, 2 * square, 3 * square, f)


def fill_reduced_series(memory: Any, f: Matrix, w: Matrix) -> None:
    """:func:`gaugeflow.sites.jacobian.fill_reduced` for any N."""
    square = dimension(size(f)) * dimension(size(f))
    squared_action(memory, f)
    polynomial(memory, BERNOULLI, 3 * square, 4 * square, 6 * square, f)
    symmetric_part(memory, 0, w)
    for i in range(square):
        put(memory, i, get(memory, i) + get(memory, 4 * square + i))


def phi_determinant_series(memory: Any, f: Matrix) -> Number:
    """:func:`gaugeflow.sites.jacobian.phi_determinant` for any N."""
    square = dimension(size(f)) * dimension(size(f))
    squared_action(memory, f)
    polynomial(memory, SINHC, 3 * square, 4 * square, 6 * square, f)
    return determinant(memory, 4 * square, f)


def reduced_vjp_series(memory: Any, f: Matrix, log_det_bar: Number) -> Matrix:
    """:func:`gaugeflow.sites.jacobian.reduced_vjp` for any N; the cotangent of w goes its own way."""
    dim = dimension(size(f))
    square = dim * dim
    ad, q, t, dt, spare, other = 2 * square, 3 * square, 4 * square, 5 * square, 6 * square, 7 * square
    squared_action(memory, f)
    # the derivative of t(Q) along R, by Horner's rule for both
    for i in range(square):
        put(memory, t + i, get(memory, q) * 0.0)
        put(memory, dt + i, get(memory, q) * 0.0)
    for k in range(len(BERNOULLI) - 1, -1, -1):
        product(memory, dt, q, spare, f)
        product(memory, t, 0, other, f)
        for i in range(square):
            put(memory, dt + i, get(memory, spare + i) + get(memory, other + i))
        product(memory, t, q, spare, f)
        for i in range(square):
            put(memory, t + i, get(memory, spare + i))
        for i in range(dim):
            put(memory, t + (dim + 1) * i, get(memory, t + (dim + 1) * i) + BERNOULLI[k])
    # that of log det s(Q) is (t(Q) - 1) / (2 Q)
    polynomial(memory, BERNOULLI[1:], q, t, spare, f)
    for i in range(square):
        put(memory, dt + i, log_det_bar * (get(memory, dt + i) + 0.5 * get(memory, t + i)))
    # dQ = ad F d(ad F) + d(ad F) ad F
    product(memory, dt, ad, spare, f)
    symmetrise(memory, spare, 0.0 * log_det_bar - 4.0, -1.0, f)
    return contract(memory, spare, f)
