"""The linear fit with noisy tangents, where ordinary least squares is biased."""

import numpy as np
import pytest

from gaugeflow.training import fit_linear, fit_linear_noisy


def _data(groups=2, count=4000, noise=1.0):
    rng = np.random.default_rng(3)
    h = rng.normal(size=(3, count)) * np.asarray([1.0, 2.0, 0.5])[:, None]
    o = np.asarray([0.7, -0.2, 1.5]) @ h + 0.3 * rng.normal(size=count)
    blur = noise * np.asarray([0.8, 1.0, 0.4])[None, :, None]
    return h + blur * rng.normal(size=(groups, 3, count)), o + noise * 0.5 * rng.normal(size=(groups, count)), h, o


@pytest.mark.parametrize("groups", [2, 3])
def test_noise_does_not_bias_the_fit(groups):
    """4000 configurations: coefficients and variances of the exact numbers within 5 %; the ordinary fit is off by 15 %."""
    h, operator, exact_h, exact_o = _data(groups)
    found, exact = fit_linear_noisy(h, operator), fit_linear(exact_h, exact_o)
    np.testing.assert_allclose(found.coefficients, exact.coefficients, rtol=0.08)
    np.testing.assert_allclose(found.variance_plain, exact.variance_plain, rtol=0.05)
    np.testing.assert_allclose(found.variance_flow, exact.variance_flow, atol=0.05)
    biased = fit_linear(h.mean(axis=0), operator.mean(axis=0)).coefficients
    assert np.max(np.abs(biased / exact.coefficients - 1)) > 0.12


def test_without_noise_it_is_the_ordinary_fit():
    h, operator, exact_h, exact_o = _data(noise=0.0)
    found, exact = fit_linear_noisy(h, operator), fit_linear(exact_h, exact_o)
    np.testing.assert_allclose(found.coefficients, exact.coefficients, rtol=1e-10)
    np.testing.assert_allclose(found.variance_plain, exact.variance_plain, rtol=1e-10)


def test_wrong_shapes_are_named():
    h, operator, _, _ = _data(count=30)
    with pytest.raises(ValueError, match="two groups or more"):
        fit_linear_noisy(h[:1], operator[:1])
    with pytest.raises(ValueError, match="more than 4 configurations"):
        fit_linear_noisy(h[..., :4], operator[:, :4])
