"""Digits of numbers, whose sums are exact: the formula of :mod:`gaugeflow.kernels.sums`."""

from __future__ import annotations

from gaugeflow.sites.numbers import Number

BITS = 26
DIGITS = 3
LOWEST, HIGHEST = -36, 38
"""Powers of 2^26 between which the first digit may begin, so that no digit under- or overflows."""


def digits(x: Number, first: Number, second: Number, third: Number) -> tuple[Number, Number, Number]:
    """Three digits of a number, given their anchors.  Sums and differences of floating-point numbers: no algebra here."""
    a = (x + first) - first
    rest = x - a
    b = (rest + second) - second
    rest = rest - b
    return a, b, (rest + third) - third
