"""What determinants return."""

from __future__ import annotations

from typing import NamedTuple

from gaugeflow.lattice import Array


class LogDet(NamedTuple):
    """The logarithm of a determinant, for every configuration."""

    log_abs: Array
    """``log |det D|``, ``(batch,)`` float64."""
    phase: Array
    """``det D / |det D|``, ``(batch,)`` complex128: the sign where gamma_5 D is Hermitian."""


class LogDetGradient(NamedTuple):
    """The logarithm of a determinant and its derivative with respect to links."""

    log_abs: Array
    """``log |det D|``, ``(batch,)`` float64."""
    phase: Array
    """``det D / |det D|``, ``(batch,)`` complex128."""
    gradient: Array
    """Algebra field F with ``d/de log |det D(exp(e w) U)| = <F, w>``, shaped like the links."""


class LogDetSecond(NamedTuple):
    """The logarithm of a determinant and its first two derivatives with respect to a parameter."""

    log_abs: Array
    """``log |det D|``, ``(batch,)`` float64."""
    phase: Array
    """``det D / |det D|``, ``(batch,)`` complex128."""
    first: Array
    """tr D^-1 D', ``(batch,)`` complex128."""
    second: Array
    """tr D^-1 D'' - tr D^-1 D' D^-1 D', ``(batch,)`` complex128."""


class LogDetDerivative(NamedTuple):
    """The logarithm of a determinant and its derivative with respect to a parameter."""

    log_abs: Array
    """``log |det D|``, ``(batch,)`` float64."""
    phase: Array
    """``det D / |det D|``, ``(batch,)`` complex128."""
    derivative: Array
    """tr D^-1 dD, ``(batch,)`` complex128; its real part is the derivative of ``log |det D|``, its
    imaginary part that of the phase."""
