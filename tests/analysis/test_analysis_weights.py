"""Log-weights: exact Gaussian cases, repeated sampling, numerical safety, refusals."""

import math

import numpy as np
import pytest

from gaugeflow.analysis import (
    acceptance_gaussian,
    effective_configurations,
    ess,
    ess_gaussian,
    gamma_method,
    kl_gaussian,
    reweighted,
    reweighted_mean,
    variance_per_site,
)

SIGMAS = 4


@pytest.mark.parametrize("s", [0.01, 0.3, 1.0])
def test_ess_of_gaussian_weights(s):
    estimate = ess(math.sqrt(s) * np.random.default_rng(1).normal(size=100_000) + 1234)
    assert abs(estimate.value - ess_gaussian(s)) < SIGMAS * estimate.error


@pytest.mark.parametrize("a", [0.0, 0.7])
def test_ess_error_by_repeated_sampling(ar1, a):
    """300 repetitions of two chains of 1000: mean exact, scatter equal to the quoted error."""
    s, repetitions = 0.3, 300
    runs = math.sqrt(s) * ar1(np.random.default_rng(2), (repetitions, 2, 1000), a)
    estimates = [ess(list(run)) for run in runs]
    values = np.array([e.value for e in estimates])
    scatter = values.std(ddof=1)
    bias = 0.002  # Of order 1/n.
    assert abs(values.mean() - ess_gaussian(s)) < SIGMAS * scatter / math.sqrt(repetitions) + bias
    ratio = np.mean([e.error for e in estimates]) / scatter
    assert abs(ratio - 1) < SIGMAS / math.sqrt(2 * repetitions)


def test_ess_formula_and_range():
    log_weight = np.random.default_rng(3).normal(size=50)
    w = np.exp(log_weight)
    assert ess(log_weight).value == pytest.approx(w.mean() ** 2 / (w**2).mean(), rel=1e-13)
    for size in (1e-9, 1e-8, 1e-7):
        assert 0 < ess(size * log_weight).value <= 1


def test_equal_weights_have_ess_one_without_error():
    estimate = ess(np.full(20, -1e5))
    assert (estimate.value, estimate.error) == (1, 0)


def test_extreme_log_weights_neither_overflow_nor_underflow():
    log_weight = np.full(100, -5e4)
    log_weight[17] = 5e4
    assert ess(log_weight).value == pytest.approx(1 / 100)
    assert reweighted_mean(np.arange(100.0), log_weight).value == pytest.approx(17)


def test_variance_per_site(ar1):
    s, volume = 0.5, 256
    log_weight = math.sqrt(s) * ar1(np.random.default_rng(4), (2, 40_000), 0.5) - 3
    result = variance_per_site(list(log_weight), volume)
    assert abs(result.from_ess.value - s / volume) < SIGMAS * result.from_ess.error
    assert abs(result.from_variance.value - s / volume) < SIGMAS * result.from_variance.error
    # Squares of an AR(1) process with a are autocorrelated as a^2 = 1/4: Var = 2 s^2 (5/3) / n.
    exact = math.sqrt(2 * s**2 * (5 / 3) / 80_000) / volume
    assert abs(result.from_variance.error - exact) < SIGMAS * result.from_variance.error_of_error


def test_gaussian_identities_by_sampling():
    """Metropolis acceptance, ESS and KL between N(0, 1) proposals and the target N(m, 1), log w of variance m^2."""
    rng, m, n = np.random.default_rng(5), 1.1, 200_000
    s = m * m
    proposed, current = rng.normal(size=n), m + rng.normal(size=n)
    log_ratio = m * (proposed - current)
    accepted = gamma_method(np.exp(np.minimum(log_ratio, 0)))
    assert abs(accepted.value - acceptance_gaussian(s)) < SIGMAS * accepted.error
    divergence = gamma_method(-(m * proposed - s / 2))
    assert abs(divergence.value - kl_gaussian(s)) < SIGMAS * divergence.error
    assert (acceptance_gaussian(0), ess_gaussian(0), kl_gaussian(0)) == (1, 1, 0)


@pytest.mark.parametrize("function", [acceptance_gaussian, ess_gaussian, kl_gaussian])
@pytest.mark.parametrize("s", [-1.0, math.nan, math.inf])
def test_gaussian_identities_need_a_variance(function, s):
    with pytest.raises(ValueError, match="finite variance"):
        function(s)


def test_reweighting_to_a_shifted_gaussian(ar1):
    """N(0, 1) with weights exp(c x) is N(c, 1): <x> = c and <x^2> = 1 + c^2, together as a vector."""
    c = 0.4
    x = list(ar1(np.random.default_rng(6), (2, 50_000), 0.5))
    series = reweighted([np.column_stack((v, v**2)) for v in x], [c * v + 100 for v in x])
    for component, exact in zip(series.split(), (c, 1 + c * c), strict=True):
        estimate = gamma_method(component)
        assert abs(estimate.value - exact) < SIGMAS * estimate.error
    w = np.exp(c * np.concatenate(x))
    assert series.mean[1] == pytest.approx(np.sum(w * np.concatenate(x) ** 2) / np.sum(w), rel=1e-12)


def test_reweighting_a_constant_has_no_error():
    estimate = reweighted_mean(np.full(30, 0.7), np.random.default_rng(7).normal(size=30))
    assert (estimate.value, estimate.error) == (0.7, 0)


def test_refusals():
    log_weight = np.zeros(10)
    log_weight[3] = -np.inf
    for function in (ess, lambda w: variance_per_site(w, 16), lambda w: reweighted_mean(np.zeros(10), w)):
        with pytest.raises(ValueError, match="series 'log_weight', chain 0, index 3"):
            function(log_weight)
    with pytest.raises(ValueError, match="one log-weight per configuration"):
        ess(np.zeros((10, 2)))
    with pytest.raises(ValueError, match="volume of at least 1"):
        variance_per_site(np.zeros(10), 0)
    with pytest.raises(ValueError, match="differ in the configurations"):
        reweighted_mean(np.zeros(10), np.zeros(11))


def test_effective_configurations():
    """The smallest of several; n for equal weights, 1 where one weight is all."""
    one = np.full(8, -700.0)
    one[3] = 0.0
    assert effective_configurations(np.zeros(8)) == pytest.approx(8.0)
    assert effective_configurations(np.zeros(8), one) == pytest.approx(1.0)
