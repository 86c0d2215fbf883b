"""Equality with pyerrors (arXiv:2209.14371) on the same numbers, to rounding.

pyerrors takes fluctuations around the mean of each chain, this package around the mean of all. The two agree by
definition on one chain; replica are therefore compared with equal chain means, by handing pyerrors our fluctuations, or in
the printed digits of very long chains. On short ones ours covers the truth, see docs/scripts/error_coverage.py.
"""

import warnings

import numpy as np
import pytest

from gaugeflow.analysis import (
    Series,
    bootstrap,
    combine,
    derive,
    derive_independent,
    difference_independent,
    format_error,
    gamma_method,
    jackknife,
    reweighted_mean,
)

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


@pytest.mark.parametrize("reweighting", [False, True])
def test_printed_digits_of_replica(ar1, reweighting):
    """Plain replica through pyerrors' own mean, with its own fluctuations around each chain mean."""
    rng = np.random.default_rng(22)
    names = ["ens|0", "ens|1", "ens|2"]
    data = [0.3 * ar1(rng, (2, n), 0.5) for n in (40_000, 60_000, 50_000)]
    x, log_weight = [2 + u + v for u, v in data], [u for u, _ in data]
    observable = pyerrors.Obs(x, names)
    if reweighting:
        observable = pyerrors.reweight(pyerrors.Obs([np.exp(w) for w in log_weight], names), [observable])[0]
    observable.gamma_method()
    assert str(reweighted_mean(x, log_weight) if reweighting else gamma_method(x)) == str(observable)


def test_coverage_of_short_replica(ar1):
    """Eight chains of sixty, tau_int = 5: the truth is within one error in 0.69 of many cases, there in 0.52; 600 give 0.02."""
    rng = np.random.default_rng(24)
    names = [f"ens|{r}" for r in range(8)]
    within = np.zeros(2)
    for data in ar1(rng, (600, 8, 60), 9 / 11):
        ours, theirs = gamma_method(list(data)), pyerrors.Obs(list(data), names)
        theirs.gamma_method()
        around_each = gamma_method([x - x.mean() for x in data])
        assert around_each.error == pytest.approx(theirs.dvalue, rel=TOLERANCE)
        within += abs(ours.value) < ours.error, abs(theirs.value) < theirs.dvalue
    assert within / 600 == pytest.approx([0.69, 0.52], abs=0.06)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0.593721, 0.00018),
        (-12.345, 1.52),
        (12.345, 0.94),
        (1234.5, 17.3),
        (3e-4, 0.0123),
        (7.0, 0.05),
        (99999.4, 123.0),
    ],
)
def test_printed_form(value, error):
    """Except where the error rounds up to a third digit, which pyerrors keeps: 12.35(100) for 12.3(1.0)."""
    assert format_error(value, error) == pyerrors.obs._format_uncertainty(value, error)


@pytest.mark.parametrize("a", [0.0, 0.8])
def test_autocorrelation_function_with_errors(ar1, a):
    x = ar1(np.random.default_rng(23), 800, a)
    observable = pyerrors.Obs([x], ["ens"])
    observable.gamma_method()
    estimate = gamma_method(x)
    window = estimate.window
    np.testing.assert_allclose(estimate.running_tau_int, observable.e_n_tauint["ens"], rtol=TOLERANCE)
    np.testing.assert_allclose(estimate.running_tau_int_error, observable.e_n_dtauint["ens"], rtol=TOLERANCE)
    assert estimate.rho_error(window + 1)[window] == pytest.approx(observable.e_drho["ens"][window], rel=TOLERANCE)


def test_jackknife_samples(ar1):
    """Of a mean; and of a linearised ratio, which is what pyerrors exports."""
    (data,) = primaries(ar1, 1)
    x, y, _ = observables([data])
    series = Series.from_chains([data])
    ratio = derive(lambda m: m[0] / m[1], series)
    for ours, theirs in ((jackknife(data[:, 0], 1), x), (jackknife(ratio, 1), x / y)):
        np.testing.assert_allclose(ours.samples, theirs.export_jackknife()[1:], rtol=1e-12)
        imported = pyerrors.import_jackknife(np.concatenate(([ours.value], ours.samples)), "ens")
        imported.gamma_method(S=0)
        assert ours.error == pytest.approx(imported.dvalue, rel=TOLERANCE)


def test_bootstrap_samples(ar1):
    """With the same configurations drawn."""
    (data,) = primaries(ar1, 1)
    samples = 200
    ours = bootstrap(np.random.default_rng(5), data[:, 0], 1, samples)
    draws = np.random.default_rng(5).multinomial(len(data), np.full(len(data), 1 / len(data)), size=samples)
    drawn = np.array([np.repeat(np.arange(len(data)), row) for row in draws])
    theirs = pyerrors.Obs([data[:, 0]], ["ens"]).export_bootstrap(samples, random_numbers=drawn)
    assert ours.value == pytest.approx(theirs[0], rel=1e-12)
    np.testing.assert_allclose(ours.samples, theirs[1:], rtol=1e-12)
    assert ours.error == pytest.approx(theirs[1:].std(ddof=1), rel=1e-9)


def test_independent_ensembles(ar1):
    """One window for each ensemble, as in pyerrors, to rounding; one common window to 3 % of the error."""
    rng = np.random.default_rng(4)
    a, b = 1 + ar1(rng, 20_000, 0.8), 2 + 0.5 * ar1(rng, 30_000, 0.5)
    observable = pyerrors.Obs([b], ["b"]) - pyerrors.Obs([a], ["a"])
    observable.gamma_method()
    parts = derive_independent(lambda m, n: n - m, Series.from_chains([a]), Series.from_chains([b]))
    combined, common = combine(parts), gamma_method(difference_independent(a, b))
    assert combined.value == pytest.approx(observable.value, rel=TOLERANCE)
    assert combined.error == pytest.approx(observable.dvalue, rel=TOLERANCE)
    assert combined.error_of_error == pytest.approx(observable.ddvalue, rel=TOLERANCE)
    assert str(combined) == str(observable)
    assert [part.window for part in combined.parts] == [observable.e_windowsize[name] for name in ("a", "b")]
    assert common.value == pytest.approx(observable.value, rel=TOLERANCE)
    assert common.error == pytest.approx(observable.dvalue, rel=0.03)
