"""Coefficients of fields, fitted on other chains."""

from __future__ import annotations

import numpy as np
import pytest

from gaugeflow.analysis import Series, combined, cross_fit, derivative_linear, gamma_method


def gaussian(chains: int = 20, length: int = 200):
    """x of unit variance in one dimension: S = x^2 / 2, O = x^2, A = x^4, and the fields X = x and X = x^3.

    d<A>/dlambda of S + lambda O is -cov(A, O) = -(E x^6 - E x^4 E x^2) = -12.
    """
    rng = np.random.default_rng(7)
    x = rng.normal(size=(chains, length))

    def series(values: np.ndarray, name: str) -> Series:
        return Series.from_chains(list(values), name=name)

    h = [series(1 - x**2, "h1"), series(3 * x**2 - x**4, "h3")]
    changes = [series(4 * x**4, "x1"), series(4 * x**6, "x3")]
    return series(x**4, "a"), series(x**2, "o"), h, changes


def test_field_that_solves_the_problem_leaves_no_weight():
    _, operator, h, _ = gaussian()
    coefficients = cross_fit(operator * -1.0, h)
    assert coefficients.shape == (20, 2)
    # O - <O> = x^2 - 1 = -h1: the residual h.c - O is constant
    np.testing.assert_allclose(coefficients, np.tile([-1.0, 0.0], (20, 1)), atol=1e-12)


def test_derivative_of_the_variance():
    _, operator, h, _ = gaussian()
    a = operator  # A = O = x^2: d<A>/dlambda = -2
    change = Series(tuple(2 * v for v in a.values), a.ids)
    plain = gamma_method(derivative_linear(a * 0.0, a, operator * -1.0))
    coefficients = cross_fit(operator * -1.0, h[:1])
    series = derivative_linear(combined(coefficients, [change]), a, combined(coefficients, h[:1]) - operator)
    flow = gamma_method(series)
    for estimate in (plain, flow):
        assert abs(estimate.value + 2.0) < 4 * estimate.error
    assert flow.error < 0.5 * plain.error


def test_coefficients_for_an_observable_are_better_there():
    a, operator, h, changes = gaussian(chains=40, length=1000)
    first = cross_fit(operator * -1.0, h)
    wanted = derivative_linear(a * 0.0, a, operator * -1.0)
    controls = [derivative_linear(change, a, tangent) for change, tangent in zip(changes, h, strict=True)]
    second = cross_fit(wanted, controls)
    flow, fitted = (
        gamma_method(derivative_linear(combined(c, changes), a, combined(c, h) - operator)) for c in (first, second)
    )
    for estimate in (flow, fitted):
        assert abs(estimate.value + 12.0) < 4 * estimate.error
    assert fitted.error < 0.9 * flow.error


def test_chains_do_not_see_their_own_configurations():
    _, operator, h, _ = gaussian(chains=4)
    changed = Series((operator.values[0] * 50.0, *operator.values[1:]), operator.ids)
    one, other = cross_fit(operator * -1.0, h), cross_fit(changed * -1.0, h)
    np.testing.assert_array_equal(one[0], other[0])
    assert np.abs(one[1] - other[1]).max() > 1.0


def test_errors_name_what_is_missing():
    a, operator, h, _ = gaussian(chains=2, length=3)
    single = Series(a.values[:1], a.ids[:1])
    with pytest.raises(ValueError, match="at least two chains"):
        cross_fit(single, [single])
    with pytest.raises(ValueError, match="expected more than 3 configurations beside chain 0"):
        cross_fit(operator, h)
    with pytest.raises(ValueError, match="at least one control"):
        cross_fit(operator, [])
    with pytest.raises(ValueError, match=r"coefficients of shape \(2, 2\)"):
        combined(np.ones((3, 2)), h)
