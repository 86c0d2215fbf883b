"""Flow scales t_c, their derivatives, and the slope k_1 of a ratio of two of them, as functions of measured t^2 E."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gaugeflow.analysis import Series, derive, stack
from gaugeflow.observables import (
    flow_time_derivative,
    flow_time_derivative_gradient,
    flow_time_gradient,
    flow_time_where,
)

QUANTITIES = ("a^2/t_a", "R", "dt_a/dbeta", "dt_b/dbeta", "dR/dbeta", "k_1")
"""Components of :func:`slopes`, for R = t_a / t_b."""

FloatArray = npt.NDArray[np.float64]


def column(t: float) -> str:
    """Name of the column of t^2 E at a flow time."""
    return f"t2_e({t:g})"


class Levels(NamedTuple):
    """The flow times at which t^2 E is known, and the values c that it reaches at t_c."""

    times: tuple[float, ...]
    values: tuple[float, ...]

    def scales(self, mean: FloatArray) -> FloatArray:
        """Every t_c, then every dt_c/dbeta, from t^2 <E> and its derivatives, ``(2 n_times,)``."""
        y, d = (part.tolist() for part in np.split(mean, 2))
        found = [flow_time_where(y, self.times, c) for c in self.values]
        return np.array(found + [flow_time_derivative(y, d, self.times, c) for c in self.values])

    def scales_gradient(self, mean: FloatArray) -> FloatArray:
        """Derivatives of :meth:`scales`, ``(2 n_values, 2 n_times)``."""
        y, d = (part.tolist() for part in np.split(mean, 2))
        rows = [flow_time_gradient(y, self.times, c) + [0.0] * len(d) for c in self.values]
        for c in self.values:
            by_value, by_slope = flow_time_derivative_gradient(y, d, self.times, c)
            rows.append(by_value + by_slope)
        return np.array(rows)


def quantities(found: FloatArray) -> FloatArray:
    """:data:`QUANTITIES` from (t_a, t_b, dt_a/dbeta, dt_b/dbeta); k_1 = (dR/dbeta) / (d(1/t_a)/dbeta)."""
    a, b, da, db = found
    return np.array([1 / a, a / b, da, db, da / b - a * db / b**2, -(a**2) / b + a**3 * db / (b**2 * da)])


def quantities_gradient(found: FloatArray) -> FloatArray:
    """Derivatives of :func:`quantities`, ``(6, 4)``."""
    a, b, da, db = found
    return np.array(
        [
            [-1 / a**2, 0.0, 0.0, 0.0],
            [1 / b, -a / b**2, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
            [-db / b**2, -da / b**2 + 2 * a * db / b**3, 1 / b, -a / b**2],
            [
                -2 * a / b + 3 * a**2 * db / (b**2 * da),
                a**2 / b**2 - 2 * a**3 * db / (b**3 * da),
                -(a**3) * db / (b**2 * da**2),
                a**3 / (b**2 * da),
            ],
        ]
    )


def scales(energies: Series, derivatives: Series, levels: Levels) -> Series:
    """Every t_c, then every dt_c/dbeta, as one linearised series ``(2 n_values,)``; arguments of :func:`slopes`."""
    return derive(levels.scales, stack(energies, derivatives), levels.scales_gradient)


def times_and_ratio(energies: Series, levels: Levels) -> tuple[Series, ...]:
    """Every t_c, and t_a / t_b where there are two, as linearised series."""

    def times(mean: FloatArray) -> FloatArray:
        return np.array([flow_time_where(mean.tolist(), levels.times, c) for c in levels.values])

    def gradient(mean: FloatArray) -> FloatArray:
        return np.array([flow_time_gradient(mean.tolist(), levels.times, c) for c in levels.values])

    found = derive(times, energies, gradient)
    if len(levels.values) == 1:
        return found.split()
    return (*found.split(), derive(lambda t: t[0] / t[1], found, lambda t: np.array([1 / t[1], -t[0] / t[1] ** 2])))


def slopes(energies: Series, derivatives: Series, levels: Levels) -> Series:
    """:data:`QUANTITIES` as one linearised series.

    Parameters
    ----------
    energies, derivatives
        t^2 E, and its linearised derivative by one of the estimators, on the same configurations, ``(n_times,)`` each.
    levels
        Their flow times, and the two values a < b.
    """
    return derive(quantities, scales(energies, derivatives, levels), quantities_gradient)
