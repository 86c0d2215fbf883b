"""Exceptions of gaugeflow.

Bad arguments raise the built-in ``ValueError`` or ``TypeError``; the classes here are for conditions that a caller may
want to catch separately. Warnings are for what a caller should know and need not act upon.  :func:`require_finite` is how
constructors refuse numbers that are none.
"""

import cmath
import operator
import pickle
from typing import Any


class GaugeflowError(Exception):
    """Base class of every exception that is specific to gaugeflow."""


class FormatError(GaugeflowError):
    """A file is truncated, corrupted, inconsistent with its own metadata, or not in a known format."""


class ConvergenceError(GaugeflowError):
    """An iteration (flow inverse, solver, rejection loop) did not reach its tolerance, or left its domain."""


class BackendError(GaugeflowError):
    """A back end is unknown, cannot be loaded, or cannot serve the arrays that it was given."""


class GaugeflowWarning(UserWarning):
    """Base class of the warnings of gaugeflow, which its command prints as one line each."""


class FormatWarning(GaugeflowWarning):
    """A file leaves out what its format demands, and what it leaves out follows from the rest."""


class LockWarning(GaugeflowWarning):
    """A file system cannot lock files, and something weaker keeps two runs apart."""


class CacheWarning(GaugeflowWarning):
    """Compiled kernels cannot be kept on disk, so that every process compiles them anew."""


def whole_numbers(where: str, values: Any) -> tuple[int, ...]:
    """The values as integers; ``TypeError`` that begins with ``where`` if one of them is none, as 4.5 and "4" are none."""
    try:
        return tuple(operator.index(value) for value in values)
    except TypeError:
        raise TypeError(f"{where}: expected integers, got {values!r}") from None


def require_finite(
    owner: object, *names: str, infinite: bool = False, imaginary: bool = False, single: bool = False
) -> None:
    """Refuse attributes that are not finite real numbers; what every constructor that takes numbers begins with.

    Parameters
    ----------
    owner
        The object under construction.
    *names
        Attributes: numbers, nested sequences of them or arrays.  None passes.
    infinite
        Whether an infinite number is allowed, so that only nan is refused.
    imaginary
        Whether a number may have an imaginary part.
    single
        Whether an attribute must be one number, no sequence or array.

    Raises
    ------
    ValueError
        If a number is nan, infinite or complex.
    TypeError
        If it is no number, or more than the single one that is expected.
    """
    for name in names:
        value = getattr(owner, name)
        where = f"{type(owner).__name__}: {name}"
        if single and (isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0):
            raise TypeError(f"{where}: expected one number, got {value!r}")
        expected = "other than nan" if infinite else "that is finite"
        for number in _numbers(where, value):
            if cmath.isnan(number) or not (infinite or cmath.isfinite(number)):
                raise ValueError(f"{where}: expected a number {expected}, got {value}")
            if number.imag != 0.0 and not imaginary:
                raise ValueError(f"{where}: expected a real number, got {value}")


def sendable(value: Any) -> Any:
    """The value; in place of an error that cannot be sent to other processes, one that says the same."""
    if not isinstance(value, Exception):
        return value
    try:
        pickle.loads(pickle.dumps(value))
    except Exception:
        return GaugeflowError(f"{type(value).__name__}: {value}")
    return value


def _numbers(where: str, value: Any) -> list[complex]:
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [number for item in value for number in _numbers(where, item)]
    if getattr(value, "ndim", 0) > 0:
        return [number for i in range(value.shape[0]) for number in _numbers(where, value[i, ...])]
    try:
        if isinstance(value, str):
            raise TypeError
        return [complex(value)]
    except (TypeError, ValueError):
        raise TypeError(f"{where}: expected a number, got {value!r} of type {type(value).__name__}") from None
