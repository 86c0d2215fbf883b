"""Logarithm, sine and cosine from ``+ - * /`` and ``where``: the same bits from every back end and on every machine.

Math libraries differ in the last bit between processors, versions and vector widths; random fields must not.  Where
products and sums are neither fused nor reordered, each function here is one fixed sequence of correctly rounded
operations.
"""

from __future__ import annotations

from gaugeflow.sites.numbers import Number, floor, where

LN2_HIGH = 6.93147180369123816490e-01
"""ln 2 to 33 bits: its multiples by the exponent are exact."""
LN2_LOW = 1.90821492927058770002e-10
SQRT_TWO = 1.4142135623730951
TWO_PI = 6.283185307179586


def natural_log(x: Number) -> Number:
    """Natural logarithm for 2^-63 <= x < sqrt 2, to 1 unit in the last place.

    With x = 2^e (1 + f) and s = f / (2 + f) it is e ln 2 + f - (f^2/2 - s (f^2/2 + R)), where R is the tail of the
    series of 2 artanh(s) / s; the arrangement is that of fdlibm's ``e_log.c``.
    """
    e = x * 0.0
    for power, factor in (
        (32.0, 4294967296.0),
        (16.0, 65536.0),
        (8.0, 256.0),
        (4.0, 16.0),
        (2.0, 4.0),
        (1.0, 2.0),
    ):
        small = x * factor < SQRT_TWO
        x = where(small, x * factor, x)
        e = where(small, e - power, e)
    f = x - 1.0
    s = f / (2.0 + f)
    z = s * s
    r = z * (2.0 / 21.0) + 2.0 / 19.0
    for k in (
        2.0 / 17.0,
        2.0 / 15.0,
        2.0 / 13.0,
        2.0 / 11.0,
        2.0 / 9.0,
        2.0 / 7.0,
        2.0 / 5.0,
        2.0 / 3.0,
    ):
        r = r * z + k
    square = 0.5 * f * f
    return e * LN2_HIGH - ((square - (s * (square + r * z) + e * LN2_LOW)) - f)


def sin_cos_turns(u: Number) -> tuple[Number, Number]:
    """(sin 2 pi u, cos 2 pi u) for 0 <= u <= 1, each to 2 units in the last place of the larger one."""
    quarter = floor(4.0 * u + 0.5)
    t = (u - 0.25 * quarter) * TWO_PI
    z = t * t
    s = z * (1.0 / 355687428096000.0) - 1.0 / 1307674368000.0
    for k in (
        1.0 / 6227020800.0,
        -1.0 / 39916800.0,
        1.0 / 362880.0,
        -1.0 / 5040.0,
        1.0 / 120.0,
        -1.0 / 6.0,
    ):
        s = s * z + k
    s = t + t * (z * s)
    c = z * (1.0 / 20922789888000.0) - 1.0 / 87178291200.0
    for k in (
        1.0 / 479001600.0,
        -1.0 / 3628800.0,
        1.0 / 40320.0,
        -1.0 / 720.0,
        1.0 / 24.0,
    ):
        c = c * z + k
    c = 1.0 - (0.5 * z - z * (z * c))
    half = floor(0.5 * quarter)
    odd = quarter - 2.0 * half > 0.5
    sign = 1.0 - 2.0 * (half - 2.0 * floor(0.5 * half))
    return sign * where(odd, c, s), sign * where(odd, -s, c)
