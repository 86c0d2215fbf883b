"""Equality with pyerrors (arXiv:2209.14371) on the same numbers, to rounding.

pyerrors takes fluctuations around the mean of each chain, this package around the mean of all. The two agree by
definition on one chain; replica are therefore compared either with equal chain means, or by handing pyerrors our
fluctuations.
"""

import warnings

import numpy as np
import pytest

from gaugeflow.analysis import Series, derive, difference_independent, gamma_method, reweighted_mean

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # pyerrors imports scipy.odr.
    import pyerrors

TOLERANCE = 1e-10


def assert_equal(estimate, observable):
    (ensemble,) = observable.e_names
    expected = {
        "value": observable.value,
        "error": observable.dvalue,
        "error_of_error": observable.ddvalue,
        "tau_int": observable.e_tauint[ensemble],
        "tau_int_error": observable.e_dtauint[ensemble],
    }
    for name, number in expected.items():
        assert getattr(estimate, name) == pytest.approx(number, rel=TOLERANCE, abs=1e-300), name
    assert estimate.window == observable.e_windowsize[ensemble]
    np.testing.assert_allclose(estimate.rho, observable.e_rho[ensemble], atol=TOLERANCE)


def primaries(ar1, chains):
    """Three correlated, autocorrelated series with means near 2, 3, 0.5 in chains of different lengths."""
    rng = np.random.default_rng(21)
    result = []
    for r in range(chains):
        x, y, z = ar1(rng, (3, 1000 + 137 * r), 0.8)
        result.append(np.column_stack((2 + 0.1 * x, 3 + 0.2 * x + 0.1 * y, 0.5 + 0.1 * z)))
    return result


def observables(chains):
    """Our fluctuations and means as pyerrors observables, one per component."""
    series = Series.from_chains(chains)
    names = [f"ens|{r}" for r in range(len(chains))]
    result = []
    for component in series.split():
        observable = pyerrors.Obs(list(component.fluctuations), names, means=[float(component.mean)] * len(names))
        observable._value = float(component.mean)
        result.append(observable)
    return result


@pytest.mark.parametrize("s_tau", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("a", [-0.4, 0.0, 0.5, 0.95])
@pytest.mark.parametrize("n", [5, 6, 17, 1000])
def test_plain_mean(ar1, n, a, s_tau):
    x = 7 + ar1(np.random.default_rng(n), n, a)
    observable = pyerrors.Obs([x], ["ens"])
    observable.gamma_method(S=s_tau)
    assert_equal(gamma_method(x, s_tau=s_tau), observable)


@pytest.mark.parametrize("n", [12, 13, 40, 2001])
@pytest.mark.parametrize("a", [0.0, 0.9])
def test_tail(ar1, n, a):
    x = 7 + ar1(np.random.default_rng(n), n, a)
    observable = pyerrors.Obs([x], ["ens"])
    observable.gamma_method(tau_exp=12.5)
    assert_equal(gamma_method(x, tau_exp=12.5), observable)


def test_replica_with_equal_means(ar1):
    chains = [c[:, 0] - c[:, 0].mean() + 2 for c in primaries(ar1, 3)]
    observable = pyerrors.Obs(chains, ["ens|0", "ens|1", "ens|2"])
    observable.gamma_method(S=1.5)
    assert_equal(gamma_method(chains, s_tau=1.5), observable)


def test_replica_around_the_common_mean(ar1):
    chains = primaries(ar1, 3)
    observable = observables(chains)[0]
    observable.gamma_method()
    assert_equal(gamma_method(Series.from_chains(chains).split()[0]), observable)


def test_equal_spacing(ar1):
    x = ar1(np.random.default_rng(2), 500, 0.7)
    ids = np.arange(100, 5100, 10)
    observable = pyerrors.Obs([x], ["ens"], idl=[ids])
    observable.gamma_method()
    assert_equal(gamma_method(Series.from_chains([x], [ids])), observable)


@pytest.mark.parametrize("chains", [1, 3])
@pytest.mark.parametrize("analytical", [True, False])
def test_ratio(ar1, chains, analytical):
    data = primaries(ar1, chains)
    x, y, _ = observables(data)
    observable = x / y
    observable.gamma_method()
    gradient = (lambda m: np.array([1 / m[1], -m[0] / m[1] ** 2, 0])) if analytical else None
    assert_equal(gamma_method(derive(lambda m: m[0] / m[1], Series.from_chains(data), gradient)), observable)


@pytest.mark.parametrize("chains", [1, 3])
def test_derived_function(ar1, chains):
    data = primaries(ar1, chains)
    x, y, z = observables(data)
    observable = np.exp(-x) * np.log(y) + z**2 * x - np.arctan(y * z)
    observable.gamma_method(S=2.5)
    series = derive(
        lambda m: np.exp(-m[0]) * np.log(m[1]) + m[2] ** 2 * m[0] - np.arctan(m[1] * m[2]), Series.from_chains(data)
    )
    assert_equal(gamma_method(series, s_tau=2.5), observable)


def test_reweighting(ar1):
    (data,) = primaries(ar1, 1)
    x, log_weight = data[:, 0], 8 * data[:, 2]
    observable = pyerrors.reweight(pyerrors.Obs([np.exp(log_weight)], ["ens"]), [pyerrors.Obs([x], ["ens"])])[0]
    observable.gamma_method()
    assert_equal(reweighted_mean(x, log_weight), observable)


def test_reweighting_of_replica(ar1):
    """The ratio <O w> / <w> through pyerrors' propagation, on fluctuations around the common means."""
    data = primaries(ar1, 3)
    x, log_weight = [c[:, 0] for c in data], [8 * c[:, 2] for c in data]
    w = [np.exp(values) for values in log_weight]
    product, weight = observables([np.column_stack((o * v, v)) for o, v in zip(x, w, strict=True)])
    observable = product / weight
    observable.gamma_method()
    assert_equal(reweighted_mean(x, log_weight), observable)


def test_independent_ensembles(ar1):
    """Values agree to rounding; the error to 3 %, as pyerrors has one window per ensemble, we a common one."""
    rng = np.random.default_rng(4)
    a, b = 1 + ar1(rng, 20_000, 0.8), 2 + 0.5 * ar1(rng, 30_000, 0.5)
    observable = pyerrors.Obs([b], ["b"]) - pyerrors.Obs([a], ["a"])
    observable.gamma_method()
    estimate = gamma_method(difference_independent(a, b))
    assert estimate.value == pytest.approx(observable.value, rel=TOLERANCE)
    assert estimate.error == pytest.approx(observable.dvalue, rel=0.03)
