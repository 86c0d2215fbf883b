"""Fits against exact minima, their own derivatives and known distributions; quantities on independent ensembles."""

import math

import numpy as np
import pytest

from gaugeflow.analysis import Series, combine, covariance, derive, derive_independent, fit, gamma_method

X = np.arange(1.0, 7.0)


def exponential(x, p):
    return p[0] * np.exp(-p[1] * x)


def line(x, p):
    return p[0] + p[1] * x


@pytest.fixture(scope="module")
def values(ar1):
    """3 exp(-x/2) + 0.2 with correlated noise of a few per cent, shape (600, 6): not what an exponential describes."""
    u = ar1(np.random.default_rng(51), (6, 600), 0.5).T
    return 3 * np.exp(-0.5 * X) + 0.2 + 0.05 * (u + 0.5 * np.roll(u, 1, axis=1))


@pytest.mark.parametrize("correlated", [False, True])
def test_line_is_the_linear_solution(values, correlated):
    series = Series.from_chains([values])
    result = fit(line, X, series, [0.0, 0.0], correlated=correlated)
    c = covariance(series)
    w = np.linalg.inv(c if correlated else np.diag(np.diag(c)))
    design = np.column_stack((np.ones(6), X))
    response = np.linalg.solve(design.T @ w @ design, design.T @ w)
    residual = values.mean(axis=0) - design @ response @ values.mean(axis=0)
    np.testing.assert_allclose(result.values, response @ values.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(result.series[0].values[0], values @ response.T, rtol=1e-8)
    assert result.chi_squared == pytest.approx(residual @ w @ residual, rel=1e-9)
    assert result.dof == 4


@pytest.mark.parametrize("correlated", [False, True])
def test_response_is_the_derivative_of_the_minimum(values, correlated):
    """Shift one datum on all configurations, which leaves the weights alone, and fit again."""

    def minimum(shift):
        return fit(exponential, X, Series.from_chains([values + shift]), [1.0, 1.0], correlated=correlated)

    centre = minimum(0)
    assert centre.chi_squared > 20  # Far enough from the data for second derivatives of the model to count.
    delta = values - values.mean(axis=0)
    response, *_ = np.linalg.lstsq(delta, centre.series[0].fluctuations[0], rcond=None)
    for j in range(6):
        shift = 1e-4 * (np.arange(6) == j)
        slope = (8 * (minimum(shift).values - minimum(-shift).values)) / 12e-4
        slope -= (minimum(2 * shift).values - minimum(-2 * shift).values) / 12e-4
        np.testing.assert_allclose(response[j], slope, rtol=1e-6, atol=1e-7)


def test_without_degrees_of_freedom_the_fit_solves():
    rng = np.random.default_rng(52)
    y = np.array([2.0, 1.0]) + 0.01 * rng.normal(size=(50, 2))
    result = fit(exponential, np.array([1.0, 2.0]), Series.from_chains([y]), [1.0, 1.0])
    m = y.mean(axis=0)
    np.testing.assert_allclose(result.values, [m[0] ** 2 / m[1], np.log(m[0] / m[1])], rtol=1e-10)
    assert (result.dof, result.p_value) == (0, 1.0)
    rate = gamma_method(derive(lambda m: np.log(m[0] / m[1]), y))
    assert result.parameters[1].error == pytest.approx(rate.error, rel=1e-8)


def test_scales_and_starts_do_not_matter(values):
    """Parameters of size 1e6 and 1e-6, and starts far off, find the same minimum."""
    series = Series.from_chains([values])
    reference = fit(exponential, X, series, [3.0, 0.5])
    scaled = fit(lambda x, p: 1e-6 * p[0] * np.exp(-1e6 * p[1] * x), X, series, [1e6, 1e-6])
    far = fit(exponential, X, series, [100.0, 3.0])
    np.testing.assert_allclose(scaled.values * [1e-6, 1e6], reference.values, rtol=1e-9)
    np.testing.assert_allclose(far.values, reference.values, rtol=1e-9)
    np.testing.assert_allclose(scaled.errors * [1e-6, 1e6], reference.errors, rtol=1e-7)


def test_distribution_of_chi_squared_and_coverage(ar1):
    """200 correlated fits of a true line: flat p values, pulls of width one; 4 standard deviations."""
    rng = np.random.default_rng(53)
    mix = rng.normal(size=(6, 6)) / 3 + np.eye(6)
    p_values, pulls, ratios = [], [], []
    for u in ar1(rng, (200, 6, 1200), 0.3):
        series = Series.from_chains([line(X, [1.0, -0.2]) + u.T @ mix])
        result = fit(line, X, series, [0.0, 0.0], correlated=True)
        p_values.append(result.p_value)
        pulls.append((result.values - [1.0, -0.2]) / result.errors)
        loose = fit(line, X, series, [0.0, 0.0])
        ratios.append(loose.chi_squared / loose.expected_chi_squared)
    assert abs(np.mean(p_values) - 0.5) < 4 / math.sqrt(12 * 200)
    np.testing.assert_allclose(np.std(pulls, axis=0), 1, atol=4 / math.sqrt(400))
    assert abs(np.mean(ratios) - 1) < 4 * np.std(ratios) / math.sqrt(200)


def test_independent_ensembles_are_blocks(values):
    """Weights and errors of a line through three data of one ensemble and three of another, by linear algebra."""
    a, b = Series.from_chains([values[:, :3]]), Series.from_chains([values[:400, 3:]])
    result = fit(line, X, [a, b], [1.0, 0.0], correlated=True)
    c = covariance([a, b])
    np.testing.assert_allclose(c[:3, :3], covariance(a))
    np.testing.assert_allclose(c[3:, 3:], covariance(b))
    assert not c[:3, 3:].any()
    design, w = np.column_stack((np.ones(6), X)), np.linalg.inv(c)
    response = np.linalg.solve(design.T @ w @ design, design.T @ w)
    assert [part.n for part in result.parameters[0].parts] == [600, 400]
    squares = [
        gamma_method(values[:, :3] @ response[0, :3]).error,
        gamma_method(values[:400, 3:] @ response[0, 3:]).error,
    ]
    assert result.parameters[0].error == pytest.approx(math.hypot(*squares), rel=1e-7)


def test_a_prior_is_one_more_ensemble(values):
    prior = Series.from_chains([2.5 + 0.01 * np.random.default_rng(54).normal(size=100)])
    result = fit(lambda x, p: np.append(line(x, p), p[0]), X, [Series.from_chains([values]), prior], [1.0, 0.0])
    assert result.dof == 5
    assert abs(result.values[0] - 2.5) < 0.05 < abs(fit(line, X, Series.from_chains([values]), [1, 0]).values[0] - 2.5)


def test_band_of_a_line(values):
    result = fit(line, X, Series.from_chains([values]), [1.0, 0.0])
    value, error = result.band(np.array([0.0, 3.5]))
    assert value[0] == pytest.approx(result.values[0])
    assert error[0] == pytest.approx(result.errors[0])
    assert "chi^2/dof" in str(result)
    assert str(result.parameters[0]) in str(result)


def test_functions_of_fit_parameters_keep_correlations(values):
    """Intercept at the mean of x by the linearised parameters is the fit of the shifted line."""
    series = Series.from_chains([values])
    result = fit(line, X, series, [1.0, 0.0])
    shifted = fit(line, X - 3.0, series, [1.0, 0.0])
    combined = combine([derive(lambda p: p[0] + 3 * p[1], part) for part in result.series])
    assert combined.value == pytest.approx(shifted.values[0], rel=1e-9)
    assert combined.error == pytest.approx(shifted.errors[0], rel=1e-7)


def test_refusals(values):
    series = Series.from_chains([values])
    with pytest.raises(ValueError, match="at least as many data as parameters, got 6 data for 7"):
        fit(line, X, series, np.zeros(7))
    with pytest.raises(ValueError, match="expected a guess of shape"):
        fit(line, X, series, [np.nan, 0.0])
    with pytest.raises(TypeError, match="expected a Series or a sequence of Series"):
        fit(line, X, [values], [1.0, 0.0])
    with pytest.raises(ValueError, match=r"a model of shape \(6,\) for 6 data, got \(\)"):
        fit(lambda x, p: p[0], X, series, [1.0])
    with pytest.raises(ValueError, match=r"a jacobian of shape \(6, 2\)"):
        fit(line, X, series, [1.0, 0.0], jacobian=lambda x, p: x)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="model is not finite"):
        fit(lambda x, p: np.log(p[0] * x), X, series, [-1.0])
    constant = np.where(np.arange(6) == 2, 1.0, values)
    with pytest.raises(ValueError, match="datum 2 has no error"):
        fit(line, X, Series.from_chains([constant]), [1.0, 0.0])
    with pytest.raises(ValueError, match=r"covariance matrix of 6 data is singular .* 5 configurations"):
        fit(line, X, Series.from_chains([values[:5]]), [1.0, 0.0], correlated=True)
    with pytest.raises(ValueError, match="do not determine the parameters"):
        fit(lambda x, p: (p[0] + p[1]) * x, X, series, [1.0, 0.0])
    with pytest.raises(ValueError, match="do not determine the parameters"):
        fit(lambda x, p: p[0] * x + 0 * p[1], X, series, [1.0, 0.0])
    with pytest.raises(ValueError, match="do not determine the parameters"):  # Runs off to infinity.
        fit(lambda x, p: np.exp(-p[0]) + 10 + 0 * x, X, series, [1.0])
    with pytest.raises(ValueError, match="did not converge"):  # A minimum without second derivatives.
        fit(lambda x, p: p[0] ** 4 + 5 + 0 * x, X, series, [1.0])


def test_parts_of_different_quantities_are_refused():
    x = np.random.default_rng(55).normal(size=(2, 50))
    with pytest.raises(ValueError, match="same mean"):
        combine([Series.from_chains([x[0]]), Series.from_chains([x[1]])])
    with pytest.raises(ValueError, match="at least one ensemble"):
        combine([])


def test_a_product_of_independent_means():
    a, b = (Series.from_chains([m + np.random.default_rng(56 + m).normal(size=400)]) for m in (3, 5))
    combined = combine(derive_independent(lambda m, n: m * n, a, b))
    ea, eb = gamma_method(a), gamma_method(b)
    assert combined.value == pytest.approx(ea.value * eb.value)
    assert combined.error == pytest.approx(math.hypot(ea.error * eb.value, eb.error * ea.value), rel=1e-9)
