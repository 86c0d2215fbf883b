"""Maps of the circle that a network steers, one for each site: any numbers in, a monotone periodic map out.

Angles lie in [-pi, pi]; parameters are channels ``(C, ...)`` of the shape of the angles.  Zeros make the identity.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gaugeflow.errors import ConvergenceError, require_finite
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites import projection, spline
from gaugeflow.sites.numbers import Matrix

TWO_PI = 2.0 * math.pi


class Moved(NamedTuple):
    """Images of angles (not reduced to one turn), log dy/dx, its derivative by x, and the pull-back.

    The pull-back takes ``(y_bar, log_bar)`` to the cotangents of the channels and of the angles.
    """

    y: Array
    log_slope: Array
    curvature: Callable[[], Array]
    pull_back: Callable[[Array, Array], tuple[Array, Array]]


class CircleMap(Protocol):
    """A family of maps of the circle."""

    @property
    def channels(self) -> int:
        """Numbers that steer one map."""

    def evaluate(self, raw: Array, x: Array) -> Moved:
        """The map at angles in [-pi, pi]."""

    def inverse(self, raw: Array, y: Array) -> tuple[Array, Array]:
        """Angles x in [-pi, pi] that the map takes to y, up to turns, and log dy/dx there."""


def wrap(angle: Array) -> Array:
    """The angle plus a multiple of 2 pi, in [-pi, pi]."""
    xp = array_namespace(angle)
    return angle - TWO_PI * xp.round(angle * (1.0 / TWO_PI))


def _channels(raw: Array, count: int) -> tuple[Array, ...]:
    if raw.shape[0] != count:
        raise ValueError(f"map of the circle: expected {count} channels, got an array of shape {tuple(raw.shape)}")
    return tuple(raw[k, ...] for k in range(count))


def _check_least(what: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"expected at least {least} {what}, got {value}")


@dataclass(frozen=True)
class CircularSpline:
    """Rational-quadratic spline with slopes of its own at every knot, then a rotation.

    The ``3 bins + 1`` channels are logits of widths, logits of heights, slopes, and the angle of the rotation.  The
    first knot is pi, where the target is usually small.

    Parameters
    ----------
    bins
        Number of knots, at least 2.
    floor
        Smallest share of a bin in the circle, along x and y, in units of ``1 / bins``.
    slope_floor
        Smallest slope at a knot.

    Notes
    -----
    Source: arXiv:2002.02428, section 2.2.
    """

    bins: int = 8
    floor: float = 1e-2
    slope_floor: float = 1e-3

    def __post_init__(self) -> None:
        require_finite(self, "floor", "slope_floor")
        _check_least("bins", self.bins, 2)
        if not (0.0 <= self.floor < 1.0 and 0.0 <= self.slope_floor < 1.0):
            raise ValueError(
                f"CircularSpline: expected floors from 0 to below 1, got {self.floor} and {self.slope_floor}"
            )

    @property
    def channels(self) -> int:
        """Numbers that steer one map."""
        return 3 * self.bins + 1

    def _knots(self, raw: Array) -> tuple[Matrix, Matrix, Matrix, Array]:
        n, numbers = self.bins, _channels(raw, self.channels)
        return (
            spline.shares(numbers[:n], self.floor / n),
            spline.shares(numbers[n : 2 * n], self.floor / n),
            tuple(spline.positive(z, self.slope_floor) for z in numbers[2 * n : 3 * n]),
            numbers[3 * n],
        )

    def evaluate(self, raw: Array, x: Array) -> Moved:
        """The map at angles in [-pi, pi]."""
        widths, heights, slopes, turn = self._knots(raw)
        place = x * (1.0 / TWO_PI) + 0.5
        passed, at = spline.locate(place, widths, heights, slopes)
        y, log_slope = spline.spline(place, at)

        def curvature() -> Array:
            return spline.spline_curvature(place, at) * (1.0 / TWO_PI)

        def pull_back(y_bar: Array, log_bar: Array) -> tuple[Array, Array]:
            xp = array_namespace(x)
            x_bar, *bars = spline.spline_vjp(place, passed, at, TWO_PI * y_bar, log_bar)
            floor = self.floor / self.bins
            raw_bar = (
                *spline.shares_vjp(widths, floor, bars[0]),
                *spline.shares_vjp(heights, floor, bars[1]),
                *(spline.positive_vjp(s, self.slope_floor, b) for s, b in zip(slopes, bars[2], strict=True)),
                y_bar,
            )
            return xp.stack(raw_bar), x_bar * (1.0 / TWO_PI)

        return Moved(x + (TWO_PI * (y - place) + turn), log_slope, curvature, pull_back)

    def inverse(self, raw: Array, y: Array) -> tuple[Array, Array]:
        """Angles x in [-pi, pi] that the map takes to y, up to turns, and log dy/dx there; closed form."""
        widths, heights, slopes, turn = self._knots(raw)
        place, log_slope = spline.spline_inverse(wrap(y - turn) * (1.0 / TWO_PI) + 0.5, widths, heights, slopes)
        return TWO_PI * (place - 0.5), log_slope


@dataclass(frozen=True)
class ProjectionMixture:
    """Weighted sum of pairs of non-compact projections; the map is odd.

    Channels are logits of the weights, log-scales, and logits of the centres.  Part i of n has the centres ``+-pi
    sigmoid(r_i + 6 (i + 1/2) / n - 3)`` of channel r_i, so that parts differ from the start, and a log-scale ``bound
    tanh(r_i / bound)``.  Where a map is steep the image of a uniform angle is rare: a density with maxima at 0 and at pi
    has a part between them, at a place that is the weight of the one at 0.

    Parameters
    ----------
    parts
        Number of pairs, at least 1.
    bound
        Largest log-scale; it keeps slopes within exp(+-bound).

    Notes
    -----
    Source: arXiv:2002.02428, section 2.3.
    """

    parts: int = 6
    bound: float = 16.0

    def __post_init__(self) -> None:
        require_finite(self, "bound")
        _check_least("parts", self.parts, 1)
        if not self.bound > 0.0:
            raise ValueError(f"ProjectionMixture: expected bound > 0, got {self.bound}")

    @property
    def channels(self) -> int:
        """Numbers that steer one map."""
        return 3 * self.parts

    def _numbers(self, raw: Array) -> tuple[Matrix, Matrix, Matrix]:
        """Weights, log-scales and centres."""
        n, numbers = self.parts, _channels(raw, self.channels)
        xp = array_namespace(raw)
        scales = tuple(self.bound * xp.tanh(r / self.bound) for r in numbers[n : 2 * n])
        start = (6.0 * (i + 0.5) / n - 3.0 for i in range(n))
        centres = tuple(
            0.5 * math.pi * (1.0 + xp.tanh(0.5 * (r + z))) for r, z in zip(numbers[2 * n :], start, strict=True)
        )
        return spline.shares(numbers[:n], 0.0), scales, centres

    def evaluate(self, raw: Array, x: Array) -> Moved:
        """The map at angles in [-pi, pi]."""
        weights, scales, centres = self._numbers(raw)
        y, log_slope = projection.projections(x, weights, scales, centres)

        def curvature() -> Array:
            return projection.projections_curvature(x, weights, scales, centres)

        def pull_back(y_bar: Array, log_bar: Array) -> tuple[Array, Array]:
            xp = array_namespace(x)
            x_bar, *bars = projection.projections_vjp(x, weights, scales, centres, y_bar, log_bar)
            raw_bar = (
                *spline.shares_vjp(weights, 0.0, bars[0]),
                *((1.0 - (s / self.bound) ** 2) * bar for s, bar in zip(scales, bars[1], strict=True)),
                *(c * (1.0 - c / math.pi) * bar for c, bar in zip(centres, bars[2], strict=True)),
            )
            return xp.stack(raw_bar), x_bar

        return Moved(y, log_slope, curvature, pull_back)

    def inverse(self, raw: Array, y: Array) -> tuple[Array, Array]:
        """Angles x in [-pi, pi] that the map takes to y, up to turns, and log dy/dx there.

        Raises
        ------
        ConvergenceError
            If the iteration does not reach rounding, which only numbers that are not finite can cause.
        """
        rounding = float(array_namespace(y).finfo(y.dtype).eps)
        x, log_slope, error = projection.projections_inverse(wrap(y), *self._numbers(raw), rounding)
        if not error <= 4.0:
            raise ConvergenceError(
                f"ProjectionMixture.inverse: expected steps of at most 4 roundings, got {error:.3g} after "
                f"{projection.STEPS} iterations"
            )
        return x, log_slope
