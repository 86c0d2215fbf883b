"""The variance of what is known up to noise."""

import numpy as np
import pytest

from gaugeflow.analysis import noisy_variance


def test_noise_averages_out():
    """20000 numbers of variance 4 with noise of variance 9 in each of three estimates: 4 within four errors, not 13."""
    rng = np.random.default_rng(5)
    exact = 2.0 * rng.normal(size=20000)
    values = noisy_variance(*(exact + 3.0 * rng.normal(size=20000) for _ in range(3))).values[0]
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - 4.0) < 4 * error
    assert error < 0.1


def test_one_estimate_is_exact():
    x = np.random.default_rng(5).normal(size=100)
    assert np.isclose(noisy_variance(x).mean, np.var(x, ddof=1))
    with pytest.raises(ValueError, match="at least one"):
        noisy_variance()
