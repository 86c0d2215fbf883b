"""Derivatives of flow times by the chain rule."""

from __future__ import annotations

import numpy as np
import pytest

from gaugeflow.observables import flow_time_derivative, flow_time_derivative_gradient, flow_time_where

TIMES = (0.5, 0.75, 1.0, 1.3, 1.6)
ENERGIES = np.array([0.11, 0.19, 0.26, 0.33, 0.41])
SLOPES = np.array([-0.3, -0.42, -0.55, -0.61, -0.7])


def test_derivative_is_that_of_the_scale():
    def scale(step: float) -> float:
        return flow_time_where(list(ENERGIES + step * SLOPES), TIMES, 0.3)

    h = 1e-3
    difference = (8 * (scale(h) - scale(-h)) - (scale(2 * h) - scale(-2 * h))) / (12 * h)
    assert flow_time_derivative(list(ENERGIES), list(SLOPES), TIMES, 0.3) == pytest.approx(difference, rel=1e-9)


def test_gradient_is_that_of_the_derivative():
    values = np.concatenate([ENERGIES, SLOPES])

    def function(v: np.ndarray) -> float:
        return flow_time_derivative(list(v[:5]), list(v[5:]), TIMES, 0.3)

    found = np.concatenate(flow_time_derivative_gradient(list(ENERGIES), list(SLOPES), TIMES, 0.3))
    for k in range(len(values)):
        unit = np.eye(len(values))[k] * 1e-4
        near, far = (
            function(values + unit) - function(values - unit),
            function(values + 2 * unit) - function(values - 2 * unit),
        )
        assert found[k] == pytest.approx((8 * near - far) / 12e-4, rel=1e-8, abs=1e-9)


def test_slopes_for_every_time():
    with pytest.raises(ValueError, match="expected 5 values, one for each flow time, got 4"):
        flow_time_derivative(list(ENERGIES), list(SLOPES[:4]), TIMES, 0.3)
