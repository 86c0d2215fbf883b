"""Element functions on numbers, here for arrays and Python scalars; back ends overload them for their own numbers."""

from __future__ import annotations

import math
from typing import Any

from gaugeflow.namespaces import namespace_or_none

Number = Any
Matrix = tuple[Any, ...]


def conj(z: Number) -> Number:
    """Complex conjugate."""
    xp = namespace_or_none(z)
    return z.conjugate() if xp is None else xp.conj(z)


def real(z: Number) -> Number:
    """Real part."""
    xp = namespace_or_none(z)
    return z.real if xp is None else xp.real(z)


def imag(z: Number) -> Number:
    """Imaginary part."""
    xp = namespace_or_none(z)
    return z.imag if xp is None else xp.imag(z)


def cplx(x: Number, y: Number) -> Number:
    """The complex number x + i y of two real ones."""
    xp = namespace_or_none(x)
    if xp is None:
        return x.with_imaginary(y) if hasattr(x, "with_imaginary") else complex(x, y)
    return x + y * 1j


def where(mask: Number, a: Number, b: Number) -> Number:
    """``a`` where the mask holds, else ``b``."""
    xp = namespace_or_none(mask)
    if xp is None:
        return a if mask else b
    return xp.where(mask, a, b)


def sqrt(x: Number) -> Number:
    """Square root of a non-negative real number."""
    xp = namespace_or_none(x)
    return math.sqrt(x) if xp is None else xp.sqrt(x)


def absolute(x: Number) -> Number:
    """Absolute value of a real number."""
    xp = namespace_or_none(x)
    return abs(x) if xp is None else xp.abs(x)


def floor(x: Number) -> Number:
    """Largest integer not above a real number, as a real number."""
    xp = namespace_or_none(x)
    return float(math.floor(x)) if xp is None else xp.floor(x)


def log(x: Number) -> Number:
    """Natural logarithm of a positive real number (once per determinant: not vectorised)."""
    xp = namespace_or_none(x)
    return math.log(x) if xp is None else xp.log(x)


def largest(x: Number) -> float:
    """The largest of all values held by a real number: one float for the whole register or array."""
    xp = namespace_or_none(x)
    return float(x) if xp is None else float(xp.max(x))


def wide(x: Number) -> Number:
    """A real number in double precision, for sums over sites."""
    xp = namespace_or_none(x)
    return float(x) if xp is None else xp.astype(x, xp.float64)


def get(memory: Any, index: int) -> Number:
    """Number at one place of a formula's scratch memory."""
    return memory[index]


def put(memory: Any, index: int, value: Number) -> None:
    """Store a number in a formula's scratch memory."""
    memory[index] = value


def exp(x: Number) -> Number:
    """Exponential of a real number (not vectorised, as :func:`log`)."""
    xp = namespace_or_none(x)
    return math.exp(x) if xp is None else xp.exp(x)


def sin(x: Number) -> Number:
    """Sine of a real number."""
    xp = namespace_or_none(x)
    return math.sin(x) if xp is None else xp.sin(x)


def cos(x: Number) -> Number:
    """Cosine of a real number."""
    xp = namespace_or_none(x)
    return math.cos(x) if xp is None else xp.cos(x)


def atan2(y: Number, x: Number) -> Number:
    """Angle of the point (x, y), in [-pi, pi]."""
    xp = namespace_or_none(y)
    return math.atan2(y, x) if xp is None else xp.atan2(y, x)
