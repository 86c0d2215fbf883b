"""Gamma method and derived quantities against processes with known autocorrelation and exact derivatives."""

import numpy as np
import pytest

from gaugeflow.analysis import Series, derive, format_error, gamma_method, stack
from gaugeflow.analysis.gamma import autocovariance

SIGMAS = 4  # Every statistical comparison below allows this many standard errors; seeds are fixed.


@pytest.mark.parametrize("a", [0.0, 0.5, 0.9, 0.98])
def test_tau_and_error_of_ar1(ar1, a):
    n, tau = 200_000, (1 + a) / (1 - a) / 2
    estimate = gamma_method(ar1(np.random.default_rng(7), n, a))
    assert abs(estimate.value) < SIGMAS * estimate.error
    assert abs(estimate.tau_int - tau) < SIGMAS * estimate.tau_int_error + 0.01 * tau  # 1 %: truncation at the window.
    assert abs(estimate.error - np.sqrt(2 * tau / n)) < SIGMAS * estimate.error_of_error + 0.005 * estimate.error
    assert estimate.n_independent == n / (2 * estimate.tau_int)
    assert (estimate.n, estimate.chains, estimate.consistency) == (n, 1, 1.0)
    np.testing.assert_allclose(estimate.rho[:3], [1, a, a * a], atol=SIGMAS * 2 * np.sqrt(tau / n))


def test_many_short_chains(ar1):
    """64 lanes of 300 steps: as good as one long chain, which needs fluctuations around the common mean."""
    a, tau = 0.8, 4.5
    lanes = ar1(np.random.default_rng(3), (64, 300), a).T
    estimate = gamma_method(Series.from_lanes(lanes))
    assert estimate.chains == 64
    assert abs(estimate.tau_int - tau) < SIGMAS * estimate.tau_int_error
    assert 0.01 < estimate.consistency < 0.99


def test_errors_of_the_mean_and_of_tau_are_right_on_average(ar1):
    """400 repetitions of 2 x 1000 configurations: the pull has mean 0 and width 1, tau scatters by its error."""
    repetitions, a, tau = 400, 0.6, 2.0
    runs = ar1(np.random.default_rng(11), (repetitions, 2, 1000), a)
    estimates = [gamma_method(list(run)) for run in runs]
    pull = np.array([e.value / e.error for e in estimates])
    assert abs(pull.mean()) < SIGMAS / np.sqrt(repetitions)
    assert abs(pull.std() - 1) < SIGMAS / np.sqrt(2 * repetitions)
    taus = np.array([e.tau_int for e in estimates])
    assert abs(taus.mean() - tau) < SIGMAS * taus.std() / np.sqrt(repetitions) + 0.02 * tau  # 2 %: window truncation.
    assert 0.7 < taus.std() / np.mean([e.tau_int_error for e in estimates]) < 1.3
    errors = np.array([e.error for e in estimates])
    assert 0.7 < errors.std() / np.mean([e.error_of_error for e in estimates]) < 1.5


def test_the_fft_sums_the_products():
    rng = np.random.default_rng(5)
    series = Series.from_chains([rng.normal(size=31), rng.normal(size=12), rng.normal(size=40)])
    gamma = autocovariance(series)
    assert len(gamma) == 20
    for t in range(20):
        pairs = [d[: len(d) - t] * d[t:] for d in series.fluctuations if len(d) > t]
        assert gamma[t] == pytest.approx(np.mean(np.concatenate(pairs)), abs=1e-14)


def test_chains_stuck_at_different_values_are_seen():
    rng = np.random.default_rng(6)
    chains = [rng.normal(size=500), 3 + rng.normal(size=500)]
    estimate = gamma_method(chains)
    assert estimate.error > 10 * gamma_method(chains[0]).error
    assert estimate.consistency < 0.2
    assert estimate.n_independent < 10


def test_tail_of_critical_slowing_down(ar1):
    """A small slow mode below the noise: the tail raises tau_int towards the truth, the window alone misses it."""
    rng = np.random.default_rng(8)
    slow = 0.99
    x = ar1(rng, 20_000, 0.0) + 0.15 * ar1(rng, 20_000, slow)
    variance = 1 + 0.15**2
    tau = 0.5 + 0.15**2 / variance * slow / (1 - slow)
    plain, tailed = gamma_method(x), gamma_method(x, tau_exp=-1 / np.log(slow))
    assert plain.tau_int + 3 * plain.tau_int_error < tau
    assert abs(tailed.tau_int - tau) < 3 * tailed.tau_int_error


@pytest.mark.parametrize("value", [0.0, 0.1, -1e300, 1 / 3])
def test_constant_series(value):
    estimate = gamma_method([np.full(7, value), np.full(10, value)])
    assert estimate.value == value
    assert (estimate.error, estimate.error_of_error, estimate.tau_int, estimate.tau_int_error) == (0, 0, 0.5, 0)
    assert estimate.consistency == 1.0


def test_a_function_of_constants_is_constant():
    series = Series.from_chains([np.full((10, 2), 0.3)])
    estimate = gamma_method(derive(lambda m: m[0] / m[1] ** 2, series))
    assert estimate.error == 0
    assert estimate.value == pytest.approx(1 / 0.3)


def test_refusals(ar1):
    with pytest.raises(ValueError, match="chain 1: expected at least 5 configurations, got 4"):
        gamma_method([np.zeros(9), np.zeros(4)])
    with pytest.raises(ValueError, match="3 components: analyse each one of split"):
        gamma_method(np.zeros((9, 3)))
    with pytest.raises(ValueError, match="chain 0, index 4"):
        gamma_method(np.array([1, 2, 3, 4, np.nan]))
    with pytest.raises(ValueError, match="s_tau"):
        gamma_method(np.arange(9.0), s_tau=0)
    with pytest.raises(ValueError, match="tau_exp"):
        gamma_method(np.arange(9.0), tau_exp=-1)
    with pytest.raises(ValueError, match="at least 12 configurations"):
        gamma_method(np.arange(11.0), tau_exp=5)


def _pair(ar1, seed=9, n=4000):
    """Two correlated series with means 2 and 3, as two chains."""
    rng = np.random.default_rng(seed)
    x = ar1(rng, (2, n), 0.7)
    y = 0.8 * x + 0.6 * ar1(rng, (2, n), 0.3)
    return Series.from_chains([np.column_stack((2 + 0.3 * a, 3 + 0.5 * b)) for a, b in zip(x, y, strict=True)])


def test_numerical_gradient_equals_the_analytical_one(ar1):
    series = _pair(ar1)
    analytical = derive(
        lambda m: m[0] / m[1] + np.exp(m[0]),
        series,
        lambda m: np.array([1 / m[1] + np.exp(m[0]), -m[0] / m[1] ** 2]),
    )
    numerical = derive(lambda m: m[0] / m[1] + np.exp(m[0]), series)
    a, b = gamma_method(analytical), gamma_method(numerical)
    assert a.value == b.value
    assert b.error == pytest.approx(a.error, rel=1e-11)
    assert b.tau_int == pytest.approx(a.tau_int, rel=1e-11)


def test_correlations_cancel_in_a_ratio(ar1):
    """Y = X (1 + small noise): the ratio has the error of the noise alone."""
    rng = np.random.default_rng(10)
    x = 2 + 0.3 * ar1(rng, 5000, 0.8)
    noise = 0.01 * rng.normal(size=5000)
    estimate = gamma_method(derive(lambda m: m[0] / m[1], Series.from_chains([np.column_stack((x * (1 + noise), x))])))
    expected = 0.01 * np.sqrt(np.mean(x**2)) / np.mean(x) / np.sqrt(5000)
    assert abs(estimate.value - 1) < SIGMAS * estimate.error
    assert abs(estimate.error - expected) < SIGMAS * estimate.error_of_error


def test_vector_functions_and_composition(ar1):
    """Deriving in two steps equals deriving at once."""
    series = _pair(ar1)
    both = derive(lambda m: np.array([m[0] * m[1], m[0] - m[1]]), series)
    assert both.shape == (2,)
    twice = gamma_method(derive(lambda m: m[0] / m[1], both))
    once = gamma_method(derive(lambda m: m[0] * m[1] / (m[0] - m[1]), series))
    assert twice.value == pytest.approx(once.value, rel=1e-12)
    assert twice.error == pytest.approx(once.error, rel=1e-9)
    x, y = series.split()
    product = gamma_method(stack(x, y).split()[0])
    assert product.error == gamma_method(x).error


def test_derive_refusals():
    series = Series.from_chains([np.column_stack((np.arange(9.0) - 4, np.arange(9.0)))], name="xy")
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match="function of series 'xy' near its mean"):
        derive(lambda m: 1 / m[0], series)
    with pytest.raises(ValueError, match="gradient of series"):
        derive(lambda m: m[0], series, lambda m: np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match=r"expected a gradient of shape \(2,\), got \(3,\)"):
        derive(lambda m: m[0], series, lambda m: np.zeros(3))
    with pytest.raises(ValueError, match="expected a function with values"):
        derive(lambda m: np.zeros((2, 2)), series)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.593721, 0.000184, "0.59372(18)"),
        (12.34, 1.53, "12.3(1.5)"),
        (123.4, 15.3, "123(15)"),
        (-0.5, 0.0996, "-0.50(10)"),
        (1.2e-5, 3.1e-6, "1.20(31)e-05"),
        (-3.456e8, 2.1e5, "-3.4560(21)e+08"),
        (0.001, 0.5, "0.00(50)"),
        (1.0, 0.0, "1(0)"),
    ],
)
def test_format(value, error, text):
    assert format_error(value, error) == text


def test_estimate_prints_as_value_and_error():
    estimate = gamma_method(np.random.default_rng(1).normal(5, 1, size=10_000))
    assert str(estimate).startswith(("4.9", "5.0"))
    assert str(estimate).endswith(")")
