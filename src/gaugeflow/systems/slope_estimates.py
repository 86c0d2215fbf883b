"""The slope k_1 of R = t_a / t_b in the lattice spacing a^2 / t_a at one coupling, by every estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gaugeflow.analysis import (
    Series,
    combined,
    cross_fit,
    derivative_linear,
    derive,
    stack,
)
from gaugeflow.ensembles import EPSILON, LINEAR, Measurements, estimators
from gaugeflow.observables import (
    flow_time_derivative,
    flow_time_derivative_gradient,
    flow_time_gradient,
    flow_time_where,
)
from gaugeflow.training import fit_linear

QUANTITIES = ("a^2/t_a", "R", "dt_a/dbeta", "dt_b/dbeta", "dR/dbeta", "k_1")
"""Components of :func:`slopes`."""
FITTED = f"{LINEAR}, fitted to k_1"
"""The estimator with the coefficients of :meth:`Point.slope_coefficients`."""

FloatArray = npt.NDArray[np.float64]


def column(t: float) -> str:
    """Name of the column of t^2 E at a flow time."""
    return f"t2_e({t:g})"


class Levels(NamedTuple):
    """The flow times at which t^2 E is known, and the values a < b that it reaches at t_a and t_b."""

    times: tuple[float, ...]
    low: float
    high: float

    @property
    def pair(self) -> tuple[float, float]:
        """a and b."""
        return self.low, self.high

    def scales(self, mean: FloatArray) -> FloatArray:
        """(t_a, t_b, dt_a/dbeta, dt_b/dbeta) from t^2 <E> and its derivatives, ``(2 n_times,)``."""
        y, d = (part.tolist() for part in np.split(mean, 2))
        found = [flow_time_where(y, self.times, c) for c in self.pair]
        return np.array(found + [flow_time_derivative(y, d, self.times, c) for c in self.pair])

    def scales_gradient(self, mean: FloatArray) -> FloatArray:
        """Derivatives of :meth:`scales`, ``(4, 2 n_times)``."""
        y, d = (part.tolist() for part in np.split(mean, 2))
        rows = [flow_time_gradient(y, self.times, c) + [0.0] * len(d) for c in self.pair]
        for c in self.pair:
            by_value, by_slope = flow_time_derivative_gradient(y, d, self.times, c)
            rows.append(by_value + by_slope)
        return np.array(rows)


def quantities(scales: FloatArray) -> FloatArray:
    """:data:`QUANTITIES` from (t_a, t_b, dt_a/dbeta, dt_b/dbeta); k_1 = (dR/dbeta) / (d(1/t_a)/dbeta)."""
    a, b, da, db = scales
    return np.array([1 / a, a / b, da, db, da / b - a * db / b**2, -(a**2) / b + a**3 * db / (b**2 * da)])


def quantities_gradient(scales: FloatArray) -> FloatArray:
    """Derivatives of :func:`quantities`, ``(6, 4)``."""
    a, b, da, db = scales
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


def slopes(energies: Series, derivatives: Series, levels: Levels) -> Series:
    """:data:`QUANTITIES` as one linearised series.

    Parameters
    ----------
    energies, derivatives
        t^2 E, and its linearised derivative by one of the estimators, on the same configurations, ``(n_times,)`` each.
    levels
        Their flow times, and a and b.
    """
    scales = derive(levels.scales, stack(energies, derivatives), levels.scales_gradient)
    return derive(quantities, scales, quantities_gradient)


@dataclass(frozen=True)
class Point:
    """Measurements at one coupling.

    Parameters
    ----------
    data
        Columns of :func:`gaugeflow.ensembles.along_fields`.
    fields
        Names of the vector fields.
    levels
        Flow times, a and b.
    """

    data: Measurements
    fields: Sequence[str]
    levels: Levels

    @property
    def energies(self) -> Series:
        """t^2 E at all flow times."""
        return self._energies(self.data)

    def _energies(self, data: Measurements, prefix: str = "") -> Series:
        return stack(*(data.series(f"{prefix}{column(t)}") for t in self.levels.times))

    def _along(self, coefficients: FloatArray) -> Series:
        """Derivatives of t^2 E along the field with the coefficients of every chain."""
        changes = combined(coefficients, [self._energies(self.data, f"{name}|") for name in self.fields])
        tangents = combined(coefficients, [self.data.series(f"{name}|h") for name in self.fields])
        return derivative_linear(changes, self.energies, tangents - self.data.series("operator"))

    def log_weight_coefficients(self) -> FloatArray:
        """For every chain the coefficients that make log-weights constant, fitted on the other chains."""
        tangents = [self.data.series(f"{name}|h") for name in self.fields]
        return cross_fit(self.data.series("operator") * -1.0, tangents)

    def slope_coefficients(self) -> FloatArray:
        """For every chain the coefficients that make the noise of k_1 small, fitted on the other chains.

        The linearisation of k_1 is taken at the means of all chains; that moves coefficients by less than their own
        errors, and never the mean of the estimator.
        """
        energies, first = self.energies, self._along(self.log_weight_coefficients())
        mean = np.concatenate([energies.mean, first.mean])
        scales = self.levels.scales(mean)
        weights = (quantities_gradient(scales) @ self.levels.scales_gradient(mean))[QUANTITIES.index("k_1")]
        by_energy, by_slope = np.split(weights, 2)
        observable = derive(lambda m: by_slope @ m, energies, lambda m: by_slope)
        direct = derive(lambda m: by_energy @ m, energies, lambda m: by_energy)
        wanted = derivative_linear(observable * 0.0, observable, self.data.series("operator") * -1.0) + direct
        controls = []
        for name in self.fields:
            change = derive(lambda m: by_slope @ m, self._energies(self.data, f"{name}|"), lambda m: by_slope)
            controls.append(derivative_linear(change, observable, self.data.series(f"{name}|h")))
        return cross_fit(wanted, controls)

    def fitted(self) -> dict[str, float]:
        """Coefficients by field that make the log-weights of all configurations constant, for flows of other ensembles."""
        columns = self.data.columns()
        fit = fit_linear(np.stack([columns[f"{name}|h"] for name in self.fields]), columns["operator"])
        return dict(zip(self.fields, fit.coefficients.tolist(), strict=True))

    def linearised(self) -> dict[str, Series]:
        """:data:`QUANTITIES` by the estimators without a finite step."""
        energies = self.energies
        plain = derivative_linear(energies * 0.0, energies, self.data.series("operator") * -1.0)
        found = {
            EPSILON: plain,
            LINEAR: self._along(self.log_weight_coefficients()),
            FITTED: self._along(self.slope_coefficients()),
        }
        return {name: slopes(energies, derivative, self.levels) for name, derivative in found.items()}

    def finite(self, images: Measurements, step: float) -> dict[str, Series]:
        """:data:`QUANTITIES` by weights and flows with a finite step, on the configurations of which there are images."""
        names = [column(t) for t in self.levels.times]
        found = estimators(images, names, step)
        return {label: slopes(self._energies(images), series, self.levels) for label, series in found.items()}
