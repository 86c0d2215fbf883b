"""Susceptibilities as functions of series: algebra, errors of known distributions, bad input."""

import numpy as np
import pytest

from gaugeflow.analysis import (
    Series,
    derive,
    gamma_method,
    polyakov_susceptibility,
    stack,
    susceptibility,
    topological_susceptibility,
)


def test_equals_the_derived_function_of_means():
    """Values and errors are those of V (<m^2> - <m>^2) by linear propagation."""
    rng = np.random.default_rng(3)
    m = Series.from_lanes(rng.normal(2.0, 0.5, size=(200, 4)), name="m")
    square = Series(tuple(v**2 for v in m.values), m.ids)
    derived = gamma_method(derive(lambda a: 10 * (a[0] - a[1] ** 2), stack(square, m)))
    direct = gamma_method(susceptibility(m, 10))
    assert direct.value == pytest.approx(derived.value, rel=1e-10)
    assert direct.error == pytest.approx(derived.error, rel=1e-6)
    assert susceptibility(m, 10).name == "chi(m)"


def test_variance_of_a_gaussian(ar1):
    """chi = V sigma^2 of a correlated chain, within 3 sigma of an error near V sigma^2 sqrt(4 tau / n)."""
    chain = 5.0 + ar1(np.random.default_rng(4), (8, 20000), 0.6)
    chi = gamma_method(susceptibility(list(chain), 3.0))
    assert abs(chi.value - 3.0) < 3 * chi.error
    tau = (1 + 0.36) / (1 - 0.36) / 2  # of the square
    assert chi.error == pytest.approx(3.0 * np.sqrt(2 * 2 * tau / chain.size), rel=0.1)


def test_known_mean():
    q = np.array([1.0, -2.0, 0.0, 3.0, 1.0])
    assert float(topological_susceptibility(q, 50).mean) == pytest.approx(15 / 5 / 50, rel=1e-14)
    assert float(susceptibility(q, 2.0, mean=1.0).mean) == pytest.approx(2 * (0 + 9 + 1 + 4 + 0) / 5, rel=1e-14)


def test_modulus_of_the_polyakov_loop():
    p = np.array([[3.0, 4.0], [0.0, -5.0], [-1.0, 0.0], [0.6, 0.8]])
    modulus = np.array([5.0, 5.0, 1.0, 1.0])
    assert float(polyakov_susceptibility(p, 8).mean) == pytest.approx(8 * modulus.var(), rel=1e-14)


def test_errors():
    with pytest.raises(ValueError, match=r"expected real and imaginary part, got shape \(\)"):
        polyakov_susceptibility(np.ones(5), 8)
    with pytest.raises(ValueError, match="expected a scalar, got 2 components"):
        susceptibility(np.ones((5, 2)), 8)
    with pytest.raises(ValueError, match="volume: expected a positive number, got 0"):
        susceptibility(np.ones(5), 0)
