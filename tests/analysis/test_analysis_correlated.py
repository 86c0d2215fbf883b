"""Differences and derivatives between ensembles on exactly solvable Gaussian cases.

Source N(0, 1), S = x^2 / 2. Target "shift": S + e x = N(-e, 1) up to a constant, reached exactly by x - e. Target
"width": S + l x^2 / 2 = N(0, 1 / (1 + l)), reached exactly by x / sqrt(1 + l).
"""

import math

import numpy as np
import pytest

from gaugeflow.analysis import (
    Cost,
    Series,
    derivative_central,
    derivative_linear,
    derivative_one_sided,
    derive,
    difference_flow,
    difference_independent,
    ess,
    gain,
    gamma_method,
    stack,
)

SIGMAS = 4
REPETITIONS = 400


def shift_flow(x, e, size=1.0):
    """x - size e, with the log-weight of the target "shift"; exact for size 1."""
    y = x - size * e
    return y, -(y**2 / 2 + e * y) + x**2 / 2


def width_flow(x, l, scale=None):
    """scale x, with the log-weight of the target "width"; exact without scale."""
    scale = 1 / math.sqrt(1 + l) if scale is None else scale
    y = scale * x
    return y, -(1 + l) * y**2 / 2 + math.log(scale) + x**2 / 2


def assert_pull(estimates, exact):
    """Over all repetitions the pull has mean 0 and width 1."""
    pull = np.array([(e.value - exact) / e.error for e in estimates])
    assert abs(pull.mean()) < SIGMAS / math.sqrt(len(pull))
    assert abs(pull.std() - 1) < SIGMAS / math.sqrt(2 * len(pull))


def assert_unbiased_with_right_variance(estimates, exact, bias):
    """The mean is exact up to a bias of order 1/n, the mean square of the errors is the variance of the values.

    For estimators whose fluctuations are skewed: in a short run large values and large errors come together, which
    shifts the mean of the pull by O(1 / sqrt(n)), although both moments are right.
    """
    values = np.array([e.value for e in estimates])
    scatter = values.std(ddof=1)
    assert abs(values.mean() - exact) < SIGMAS * scatter / math.sqrt(len(values)) + bias
    rms_error = math.sqrt(np.mean([e.error**2 for e in estimates]))
    assert abs(rms_error / scatter - 1) < SIGMAS / math.sqrt(2 * len(values))


@pytest.fixture(scope="module")
def runs(ar1):
    """400 small runs of two chains of 400 source configurations, tau_int = 1.5."""
    return ar1(np.random.default_rng(31), (REPETITIONS, 2, 400), 0.5)


def test_exact_flow_has_weights_without_variance(ar1):
    x = ar1(np.random.default_rng(1), 1000, 0.5)
    for y, log_weight in (shift_flow(x, 0.3), width_flow(x, 0.3)):
        assert np.ptp(log_weight) < 1e-14
        assert ess(log_weight).value == pytest.approx(1, abs=1e-14)
        assert y is not x
    y, log_weight = shift_flow(x, 0.3)
    estimate = gamma_method(difference_flow(x, y, log_weight))
    assert estimate.value == pytest.approx(-0.3, abs=1e-14)
    assert estimate.error < 1e-15


def test_difference_is_the_difference_of_means_with_the_stated_fluctuations(ar1):
    x = list(ar1(np.random.default_rng(2), (2, 100), 0.5))
    y, log_weight = zip(*(shift_flow(v, 0.3, 0.5) for v in x), strict=True)
    series = difference_flow(x, list(y), list(log_weight))
    w, o, u = np.exp(np.concatenate(log_weight)), np.concatenate(y), np.concatenate(x)
    target = np.sum(w * o) / np.sum(w)
    assert series.mean == pytest.approx(target - u.mean(), rel=1e-12)
    np.testing.assert_allclose(
        np.concatenate(series.fluctuations), w / w.mean() * (o - target) - (u - u.mean()), atol=1e-13
    )


@pytest.mark.parametrize("size", [0.0, 0.7, 1.0])
def test_coverage_of_flow_differences(runs, size):
    """<x^2> changes by e^2; identity flow (reweighting), imperfect flow and exact flow.

    The fluctuations are e x^3 to first order: symmetric, so that the pull of a short run has mean zero.
    """
    e = 0.1
    estimates = []
    for x in runs:
        y, log_weight = shift_flow(x, e, size)
        estimates.append(gamma_method(difference_flow(list(x**2), list(y**2), list(log_weight))))
    assert_pull(estimates, e * e)


def test_coverage_of_independent_differences(ar1):
    """Ensembles of different length, spacing and autocorrelation."""
    rng = np.random.default_rng(32)
    estimates = []
    for a, b in zip(ar1(rng, (REPETITIONS, 600), 0.3), ar1(rng, (REPETITIONS, 2, 500), 0.6), strict=True):
        o_a = Series.from_chains([a], [np.arange(0, 6000, 10)])
        o_b = Series.from_chains(list(1 + 0.5 * b), [np.arange(0, 2500, 5)] * 2)
        estimates.append(gamma_method(difference_independent(o_a, o_b)))
    assert estimates[0].n == 1600
    assert_pull(estimates, 1.0)
    exact = math.sqrt(1.3 / 0.7 / 600 + 0.25 * 1.6 / 0.4 / 1000)
    assert np.mean([e.error for e in estimates]) == pytest.approx(exact, rel=0.03)


def test_coverage_of_the_central_derivative(runs):
    """d<x^2>/de = 0 at e = 0, with flows that shift by 0.6 of what is needed."""
    h = 0.1
    estimates = []
    for x in runs:
        (y_plus, w_plus), (y_minus, w_minus) = shift_flow(x, h, 0.6), shift_flow(x, -h, 0.6)
        central = derivative_central(list(y_plus**2), list(w_plus), list(y_minus**2), list(w_minus), h)
        estimates.append(gamma_method(central))
    assert_pull(estimates, 0.0)


def test_central_derivative_of_a_skewed_estimator(runs):
    """d<x^2>/dl = -1; the central difference with exact steps is -1 / (1 - h^2). Flow scales are 20 % too small."""
    h = 0.2
    estimates = []
    for x in runs:
        (y_plus, w_plus), (y_minus, w_minus) = width_flow(x, h, 1 - 0.4 * h), width_flow(x, -h, 1 + 0.4 * h)
        central = derivative_central(list(y_plus**2), list(w_plus), list(y_minus**2), list(w_minus), h)
        estimates.append(gamma_method(central))
    assert_unbiased_with_right_variance(estimates, -1 / (1 - h * h), bias=0.003)


@pytest.mark.parametrize("c", [0.0, 0.7, 1.0])
def test_coverage_of_the_linear_derivative(runs, c):
    """d<x^2>/de = 0 at e = 0 with X = -c: X.dA = -2 c x, div X - X.dS - O = (c - 1) x; c = 0 reweights."""
    estimates = [gamma_method(derivative_linear(list(-2 * c * x), list(x**2), list((c - 1) * x))) for x in runs]
    assert_pull(estimates, 0.0)


@pytest.mark.parametrize("c", [0.0, 0.7, 1.0])
def test_linear_derivative_of_a_skewed_estimator(runs, c):
    """d<x^4>/dl = -6 with X = -c x / 2: div X - X.dS - O = -c/2 + (c - 1) x^2 / 2; c = 1 is exact, c = 0 reweights."""
    estimates = []
    for x in runs:
        x_da, residual = -2 * c * x**4, -c / 2 + (c - 1) * x**2 / 2
        estimates.append(gamma_method(derivative_linear(list(x_da), list(x**4), list(residual))))
    assert_unbiased_with_right_variance(estimates, -6, bias=0.03)


def test_linear_derivative_is_the_limit_of_the_flow(ar1):
    """The step x -> x + h X gives the linear estimator as h -> 0, configuration by configuration."""
    x, h, c = ar1(np.random.default_rng(3), 200, 0.5), 1e-4, 0.7
    linear = derivative_linear(-c * x**2, x**2, -c / 2 + (c - 1) * x**2 / 2)
    pairs = [width_flow(x, step, 1 - c * step / 2) for step in (h, -h)]
    (y_plus, w_plus), (y_minus, w_minus) = pairs
    central = derivative_central(y_plus**2, w_plus, y_minus**2, w_minus, h)
    np.testing.assert_allclose(central.values[0], linear.values[0], atol=1e-6)
    one_sided = derivative_one_sided(x**2, y_plus**2, w_plus, h)
    np.testing.assert_allclose(one_sided.values[0], linear.values[0], atol=0.02)
    backward = derivative_one_sided(x**2, y_minus**2, w_minus, -h)
    np.testing.assert_allclose(0.5 * (one_sided + backward).values[0], central.values[0], atol=1e-9)


def test_linear_derivative_without_noise(ar1):
    """S -> S + l x, X = -1: r = div X - X.dS - O = 0 and X.dA = -1 for A = x, exactly -1 with no error."""
    x = ar1(np.random.default_rng(4), 300, 0.9)
    estimate = gamma_method(derivative_linear(np.full(300, -1.0), x, np.zeros(300)))
    assert (estimate.value, estimate.error) == (-1, 0)


def test_vector_observables_equal_their_components(ar1):
    x = ar1(np.random.default_rng(5), 500, 0.5)
    y, log_weight = width_flow(x, 0.2, 0.95)
    both = difference_flow(np.column_stack((x**2, x**4)), np.column_stack((y**2, y**4)), log_weight)
    single = gamma_method(difference_flow(x**4, y**4, log_weight))
    assert gamma_method(both.split()[1]).error == pytest.approx(single.error, rel=1e-12)
    linear = derivative_linear(np.column_stack((-(x**2), -2 * x**4)), np.column_stack((x**2, x**4)), 0 * x)
    assert gamma_method(linear.split()[0]).value == pytest.approx(-np.mean(x**2), rel=1e-12)


def test_ratio_of_correlated_differences(runs):
    """Slope of <x^4> against <x^2> between source and target "width", l = 0.2: (3/1.44 - 3) / (1/1.2 - 1) = 5.5."""
    l = 0.2
    estimates = []
    for x in runs:
        y, log_weight = width_flow(x, l, 0.93)
        d2 = difference_flow(list(x**2), list(y**2), list(log_weight))
        d4 = difference_flow(list(x**4), list(y**4), list(log_weight))
        slope = derive(lambda d: d[1] / d[0], stack(d2, d4), lambda d: np.array([-d[1] / d[0] ** 2, 1 / d[0]]))
        estimates.append(gamma_method(slope))
    assert_unbiased_with_right_variance(estimates, 5.5, bias=0.05)


def test_derived_function_on_independent_ensembles(ar1):
    """Ratios are derived on each ensemble and then subtracted; a ratio of two such differences keeps correlations."""
    rng = np.random.default_rng(6)
    u, v = 0.1 * ar1(rng, (2, 1000), 0.5)
    a, b = (
        Series.from_chains([np.column_stack((1 + u, 2 + u))]),
        Series.from_chains([np.column_stack((3 + v, 2 + v))]),
    )
    slope = difference_independent(*(derive(lambda m: m[0] / m[1], ensemble) for ensemble in (a, b)))
    exact_error = math.sqrt(0.1**2 * 3 / 1000 * (0.25**2 + 0.25**2))  # d(m0/m1) is u (1/2 - 1/4) and v (1/2 - 3/4).
    estimate = gamma_method(slope)
    assert abs(estimate.value - 1) < SIGMAS * estimate.error
    assert abs(estimate.error - exact_error) < SIGMAS * estimate.error_of_error
    ratio = gamma_method(derive(lambda d: d[1] / d[0], stack(slope, 2 * slope)))
    assert ratio.value == pytest.approx(2)
    assert ratio.error < 1e-13


def test_gain(ar1):
    """A flow with 1/10 of the error^2 at twice the running cost wins a factor 5, less with training."""
    x = ar1(np.random.default_rng(7), 1000, 0.0)
    reference, new = gamma_method(x), gamma_method(x * math.sqrt(0.1))
    result = gain(reference, new, Cost(source=10, measurement=2), Cost(source=10, measurement=4, flow=10, training=24))
    assert result.equal_statistics == pytest.approx(10)
    assert result.equal_cost == pytest.approx(5)
    assert result.equal_cost_with_training == pytest.approx(2.5)
    assert result.relative_error == pytest.approx(2 * math.sqrt(2) * reference.error_of_error / reference.error)


def test_gain_counts_configurations(ar1):
    rng = np.random.default_rng(8)
    short, long = gamma_method(ar1(rng, 2000, 0.0)), gamma_method(ar1(rng, 20_000, 0.0))
    result = gain(short, long, Cost(1, 0), Cost(10, 0))
    assert abs(result.equal_statistics - 1) < SIGMAS * result.relative_error
    assert result.equal_statistics == pytest.approx(result.equal_cost)


def test_refusals():
    x, other = np.arange(10.0), np.arange(11.0)
    for call in (
        lambda: difference_flow(x, x, other),
        lambda: difference_flow(x, other, other),
        lambda: derivative_central(x, x, other, other, 0.1),
        lambda: derivative_linear(x, x, other),
    ):
        with pytest.raises(ValueError, match="differ in the configurations of chain 0"):
            call()
    with pytest.raises(ValueError, match="series 'o_flowed', chain 0, index 2"):
        difference_flow(x, np.where(x == 2, np.nan, x), x)
    with pytest.raises(ValueError, match="finite step other than 0"):
        derivative_one_sided(x, x, x, 0.0)
    with pytest.raises(ValueError, match="same shape per configuration"):
        difference_independent(x, np.zeros((10, 2)))
    with pytest.raises(ValueError, match="scalar residual"):
        derivative_linear(np.zeros((10, 2)), np.zeros((10, 2)), np.zeros((10, 2)))
    estimate, constant = gamma_method(x), gamma_method(np.ones(9))
    with pytest.raises(ValueError, match="has error 0"):
        gain(estimate, constant, Cost(1, 1), Cost(1, 1))
    with pytest.raises(ValueError, match="positive cost"):
        gain(estimate, estimate, Cost(1, 1), Cost(0, 0, training=3))
