"""Jackknife and bootstrap against exact errors and the Gamma method."""

import numpy as np
import pytest

from gaugeflow.analysis import Series, bootstrap, derive, gamma_method, jackknife


def test_jackknife_of_a_mean_is_the_standard_error():
    x = np.random.default_rng(1).normal(size=(50, 3))
    result = jackknife(x, 1)
    np.testing.assert_allclose(result.value, x.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(result.error, x.std(axis=0, ddof=1) / np.sqrt(50), rtol=1e-12)
    np.testing.assert_allclose(result.bias, 0, atol=1e-13)
    assert result.samples.shape == (50, 3)


def test_jackknife_removes_the_bias_of_a_square():
    """value - bias is the unbiased estimate mean^2 - var / n, exactly."""
    x = np.random.default_rng(2).normal(size=40)
    result = jackknife(x, 1, lambda m: m**2)
    assert result.value - result.bias == pytest.approx(x.mean() ** 2 - x.var(ddof=1) / 40, rel=1e-12)


@pytest.mark.parametrize("method", ["jackknife", "bootstrap"])
def test_binned_errors_agree_with_the_gamma_method(ar1, method):
    """200 bins of 20 tau: errors of the error 5 % (bins), 3 % (Gamma), 2 % (1000 samples); 4 standard deviations."""
    rng = np.random.default_rng(3)
    x, y = ar1(rng, (2, 2, 10_000), 0.6)
    series = Series.from_chains([np.column_stack((2 + a, 3 + a + b)) for a, b in zip(x, y, strict=True)])

    def function(m):
        return np.array([m[0] / m[1], m[0] * m[1]])

    result = jackknife(series, 100, function) if method == "jackknife" else bootstrap(rng, series, 100, 1000, function)
    for j, component in enumerate(derive(function, series).split()):
        estimate = gamma_method(component)
        assert result.value[j] == pytest.approx(estimate.value)
        assert result.error[j] == pytest.approx(estimate.error, rel=4 * np.hypot(0.05, 0.03))


def test_remainders_are_spread_and_nothing_is_dropped():
    x = np.arange(23.0)
    result = jackknife([x[:11], x[11:]], 5)
    assert len(result.samples) == 4
    assert result.value == 11
    np.testing.assert_allclose(result.samples[0], x[6:].mean())


def test_bootstrap_is_reproducible_and_needs_no_function():
    x = np.random.default_rng(4).normal(size=100)
    a, b = (bootstrap(np.random.default_rng(5), x, 2, 50) for _ in range(2))
    np.testing.assert_array_equal(a.samples, b.samples)
    assert a.value == pytest.approx(x.mean())


def test_constant_series_has_no_error():
    assert jackknife(np.full(10, 0.1), 2).error == pytest.approx(0, abs=1e-16)
    assert bootstrap(np.random.default_rng(1), np.full(10, 0.1), 2, 10).error == pytest.approx(0, abs=1e-16)


def test_refusals():
    rng = np.random.default_rng(1)
    with pytest.raises(ValueError, match="bin size of at least 1, got 0"):
        jackknife(np.zeros(9), 0)
    with pytest.raises(ValueError, match="bins of 6 do not fit into a chain of 5"):
        jackknife([np.zeros(9), np.zeros(5)], 6)
    with pytest.raises(ValueError, match="at least 2 bins, got 1"):
        jackknife(np.zeros(9), 5)
    with pytest.raises(ValueError, match="at least 2 bootstrap samples, got 1"):
        bootstrap(rng, np.zeros(9), 1, 1)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="not finite on a resampled mean"):
        jackknife(np.zeros(9), 1, lambda m: 1 / m)
