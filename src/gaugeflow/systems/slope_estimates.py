"""The slope k_1 of R = t_a / t_b in the lattice spacing a^2 / t_a at one coupling, by every estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gaugeflow.analysis import Series, combined, cross_fit, derivative_linear, derive, stack
from gaugeflow.ensembles import EPSILON, LINEAR, Measurements, estimators
from gaugeflow.systems.scales import QUANTITIES, FloatArray, Levels, column, quantities_gradient, slopes
from gaugeflow.training import fit_linear

FITTED = f"{LINEAR}, fitted to k_1"
"""The estimator with the coefficients of :meth:`Point.slope_coefficients`."""


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
