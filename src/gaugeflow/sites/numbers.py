"""Element functions on numbers, here for arrays and Python scalars; back ends overload them for their own numbers."""

from __future__ import annotations

import math
from typing import Any

from array_api_compat import array_namespace, is_array_api_obj

Number = Any
Matrix = tuple[Any, ...]


def conj(z: Number) -> Number:
    """Complex conjugate."""
    return array_namespace(z).conj(z) if is_array_api_obj(z) else z.conjugate()


def real(z: Number) -> Number:
    """Real part."""
    return array_namespace(z).real(z) if is_array_api_obj(z) else z.real


def imag(z: Number) -> Number:
    """Imaginary part."""
    return array_namespace(z).imag(z) if is_array_api_obj(z) else z.imag


def cplx(x: Number, y: Number) -> Number:
    """The complex number x + i y of two real ones."""
    if not is_array_api_obj(x):
        return x.with_imaginary(y) if hasattr(x, "with_imaginary") else complex(x, y)
    xp = array_namespace(x, y)
    dtype = xp.complex64 if x.dtype == xp.float32 else xp.complex128
    return xp.astype(x, dtype) + xp.astype(y, dtype) * 1j


def where(mask: Number, a: Number, b: Number) -> Number:
    """``a`` where the mask holds, else ``b``."""
    if not is_array_api_obj(mask):
        return a if mask else b
    return array_namespace(mask).where(mask, a, b)


def sqrt(x: Number) -> Number:
    """Square root of a non-negative real number."""
    return array_namespace(x).sqrt(x) if is_array_api_obj(x) else math.sqrt(x)


def absolute(x: Number) -> Number:
    """Absolute value of a real number."""
    return array_namespace(x).abs(x) if is_array_api_obj(x) else abs(x)


def floor(x: Number) -> Number:
    """Largest integer not above a real number, as a real number."""
    return array_namespace(x).floor(x) if is_array_api_obj(x) else float(math.floor(x))


def log(x: Number) -> Number:
    """Natural logarithm of a positive real number (once per determinant: not vectorised)."""
    return array_namespace(x).log(x) if is_array_api_obj(x) else math.log(x)


def largest(x: Number) -> float:
    """The largest of all values held by a real number: one float for the whole register or array."""
    return float(array_namespace(x).max(x)) if is_array_api_obj(x) else float(x)


def wide(x: Number) -> Number:
    """A real number in double precision, for sums over sites."""
    if not is_array_api_obj(x):
        return float(x)
    xp = array_namespace(x)
    return xp.astype(x, xp.float64)


def get(memory: Any, index: int) -> Number:
    """Number at one place of a formula's scratch memory."""
    return memory[index]


def put(memory: Any, index: int, value: Number) -> None:
    """Store a number in a formula's scratch memory."""
    memory[index] = value


def exp(x: Number) -> Number:
    """Exponential of a real number (not vectorised, as :func:`log`)."""
    return array_namespace(x).exp(x) if is_array_api_obj(x) else math.exp(x)


def sin(x: Number) -> Number:
    """Sine of a real number."""
    return array_namespace(x).sin(x) if is_array_api_obj(x) else math.sin(x)


def cos(x: Number) -> Number:
    """Cosine of a real number."""
    return array_namespace(x).cos(x) if is_array_api_obj(x) else math.cos(x)


def atan2(y: Number, x: Number) -> Number:
    """Angle of the point (x, y), in [-pi, pi]."""
    return array_namespace(y).atan2(y, x) if is_array_api_obj(y) else math.atan2(y, x)
