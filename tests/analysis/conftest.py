"""Markov chains with known autocorrelation."""

import numpy as np
import pytest
from scipy.signal import lfilter


@pytest.fixture(scope="session")
def ar1():
    """Make stationary AR(1) chains of mean 0 and variance 1, time last: rho(t) = a^t, tau_int = (1 + a)/(1 - a)/2."""

    def make(rng, shape, a):
        noise = rng.normal(size=shape)
        noise[..., 1:] *= np.sqrt(1 - a * a)
        return lfilter([1.0], [1.0, -a], noise, axis=-1)

    return make
