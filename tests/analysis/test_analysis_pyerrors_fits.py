"""Fits and effective masses equal pyerrors (arXiv:2209.14371) on the same numbers, at least in all printed digits."""

import warnings

import numpy as np
import pytest

from gaugeflow.analysis import (
    Series,
    combine,
    covariance,
    derive_independent,
    effective_mass,
    fit,
    format_error,
    gamma_method,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # pyerrors imports scipy.odr.
    import autograd.numpy
    import pyerrors

TIMES = np.arange(1.0, 9.0)


def as_observables(values, ensemble):
    """The columns of an array (n, k) as pyerrors observables with errors."""
    result = [pyerrors.Obs([column], [ensemble]) for column in values.T]
    for observable in result:
        observable.gamma_method()
    return result


def assert_equal(ours, observable, tolerance):
    observable.gamma_method()
    assert ours.value == pytest.approx(observable.value, rel=tolerance, abs=tolerance * observable.dvalue)
    assert ours.error == pytest.approx(observable.dvalue, rel=tolerance)
    assert ours.error_of_error == pytest.approx(observable.ddvalue, rel=tolerance)
    assert str(ours) == format_error(observable.value, observable.dvalue)


def assert_equal_fits(ours, theirs, tolerance=1e-7):
    assert len(ours.parameters) == len(theirs.fit_parameters)
    for parameter, observable in zip(ours.parameters, theirs.fit_parameters, strict=True):
        assert_equal(parameter, observable, tolerance)
    assert ours.chi_squared == pytest.approx(theirs.chisquare, rel=tolerance, abs=1e-12)
    assert ours.dof == theirs.dof
    assert ours.p_value == pytest.approx(theirs.p_value, rel=1e-6, abs=1e-14)


@pytest.fixture(scope="module")
def decay(ar1):
    """2 exp(-0.4 t) with noise that is correlated over t and in Markov time, shape (2000, 8)."""
    rng = np.random.default_rng(41)
    noise = ar1(rng, (len(TIMES), 2000), 0.7)
    smooth = np.array([noise[i] + 0.9 * noise[i - 1] if i else 1.3 * noise[0] for i in range(len(TIMES))])
    return (2 * np.exp(-0.4 * TIMES)[:, None] * (1 + 0.05 * smooth)).T


def exponential(x, p):
    return p[0] * np.exp(-p[1] * x)


def slopes_of_exponential(x, p):
    return np.column_stack((np.exp(-p[1] * x), -x * p[0] * np.exp(-p[1] * x)))


def their_exponential(p, x):
    return p[0] * autograd.numpy.exp(-p[1] * x)


@pytest.mark.parametrize("jacobian", [None, slopes_of_exponential])
@pytest.mark.parametrize("correlated", [False, True])
def test_fit_of_an_exponential(decay, correlated, jacobian):
    series = Series.from_chains([decay])
    ours = fit(exponential, TIMES, series, [1.0, 1.0], correlated=correlated, jacobian=jacobian)
    theirs = pyerrors.least_squares(
        TIMES, as_observables(decay, "e"), their_exponential, silent=True, correlated_fit=correlated
    )
    assert_equal_fits(ours, theirs)


@pytest.mark.parametrize("jacobian", [None, slopes_of_exponential])
@pytest.mark.parametrize("correlated", [False, True])
def test_fit_of_a_wrong_model(decay, correlated, jacobian):
    """Residuals of many standard deviations, where the second derivatives of the model change the errors."""
    wrong = decay + 0.02 * np.sin(2 * TIMES)
    ours = fit(exponential, TIMES, Series.from_chains([wrong]), [1.0, 1.0], correlated=correlated, jacobian=jacobian)
    theirs = pyerrors.least_squares(
        TIMES, as_observables(wrong, "e"), their_exponential, silent=True, correlated_fit=correlated
    )
    assert ours.chi_squared > 100
    assert_equal_fits(ours, theirs)


def test_expected_chi_squared(decay):
    ours = fit(exponential, TIMES, Series.from_chains([decay]), [1.0, 1.0])
    theirs = pyerrors.least_squares(
        TIMES, as_observables(decay, "e"), their_exponential, silent=True, expected_chisquare=True
    )
    assert ours.chi_squared / ours.expected_chi_squared == pytest.approx(
        theirs.chisquare_by_expected_chisquare, rel=1e-7
    )
    assert fit(exponential, TIMES, Series.from_chains([decay]), [1, 1], correlated=True).expected_chi_squared == (
        pytest.approx(6)
    )


def test_covariance_and_band(decay):
    observables = as_observables(decay, "e")
    np.testing.assert_allclose(covariance(Series.from_chains([decay])), pyerrors.covariance(observables), rtol=1e-9)
    theirs = pyerrors.least_squares(TIMES, observables, their_exponential, silent=True)
    theirs.gamma_method()
    x = np.linspace(0, 12, 7)
    value, error = fit(exponential, TIMES, Series.from_chains([decay]), [1, 1]).band(x)
    np.testing.assert_allclose(error, pyerrors.fits.error_band(x, their_exponential, theirs.fit_parameters), rtol=1e-6)
    np.testing.assert_allclose(value, their_exponential([p.value for p in theirs.fit_parameters], x), rtol=1e-8)


def test_fit_of_replica(ar1):
    """Fluctuations are around the mean of all chains here and of each chain there: equal in the printed digits."""
    rng = np.random.default_rng(42)
    chains = [3 - 0.5 * TIMES + 0.1 * ar1(rng, (len(TIMES), n), 0.3).T for n in (20_000, 30_000)]
    observables = [pyerrors.Obs([c[:, i] for c in chains], ["e|0", "e|1"]) for i in range(len(TIMES))]
    pyerrors.gamma_method(observables)
    for correlated in (False, True):
        ours = fit(lambda x, p: p[0] + p[1] * x, TIMES, Series.from_chains(chains), [1, 1], correlated=correlated)
        theirs = pyerrors.least_squares(
            TIMES, observables, lambda p, x: p[0] + p[1] * x, silent=True, correlated_fit=correlated
        )
        theirs.gamma_method()
        assert [str(p) for p in ours.parameters] == [str(p) for p in theirs.fit_parameters]
        assert ours.chi_squared == pytest.approx(theirs.chisquare, rel=0.01)


@pytest.mark.parametrize("correlated", [False, True])
def test_continuum_extrapolation(ar1, correlated):
    """Four ensembles with two observables each, of different length and autocorrelation, one common limit."""
    rng = np.random.default_rng(43)
    x = np.repeat([0.04, 0.09, 0.16, 0.25], 2)
    kind = np.tile([0.0, 1.0], 4)
    ensembles = []
    for e, (n, a) in enumerate(((400, 0.9), (700, 0.8), (900, 0.5), (1200, 0.0))):
        u, v = ar1(rng, (2, n), a)
        centre = 1.5 + x[2 * e] * np.array([0.8, -0.5]) + 0.3 * x[2 * e] ** 2
        ensembles.append(centre + 0.01 * np.column_stack((u + v, u - 0.3 * v)))
    ours = fit(
        lambda z, p: p[0] + p[1] * z[0] * (1 - z[1]) + p[2] * z[0] * z[1],
        (x, kind),
        [Series.from_chains([values]) for values in ensembles],
        [1.0, 0.0, 0.0],
        correlated=correlated,
    )
    observables = [o for e, values in enumerate(ensembles) for o in as_observables(values, f"ens{e}")]
    theirs = pyerrors.least_squares(
        np.array([x, kind]),
        observables,
        lambda p, z: p[0] + p[1] * z[0] * (1 - z[1]) + p[2] * z[0] * z[1],
        silent=True,
        correlated_fit=correlated,
    )
    assert_equal_fits(ours, theirs)


def test_function_of_independent_ensembles(ar1):
    rng = np.random.default_rng(44)
    a, b = 2 + 0.1 * ar1(rng, (2, 500), 0.8).T, 3 + 0.2 * ar1(rng, 900, 0.5)
    (x, y), (z,) = as_observables(a, "a"), as_observables(b[:, None], "b")
    parts = derive_independent(lambda m, n: np.sin(m[0]) * n / m[1], Series.from_chains([a]), Series.from_chains([b]))
    assert_equal(combine(parts), np.sin(x) * z / y, 1e-9)


@pytest.fixture(scope="module")
def correlator(ar1):
    """A noisy cosh with a small excited state on a lattice of 16 times, shape (1500, 16)."""
    rng = np.random.default_rng(45)
    t = np.arange(16)
    noise = np.cumsum(ar1(rng, (16, 1500), 0.6), axis=0).T
    return (np.cosh(0.35 * (t - 8)) + 0.02 * np.cosh(1.1 * (t - 8))) * (1 + 2e-3 * noise)


@pytest.mark.parametrize("kind", ["log", "cosh", "arccosh"])
def test_effective_mass(correlator, kind):
    """Where pyerrors finds a solution; its root finder stops at 1e-8."""
    mass = effective_mass(Series.from_chains([correlator]), kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Its search fails where there is no solution.
        theirs = pyerrors.Corr(as_observables(correlator, "e")).m_eff(kind)
    assert {2, 3, 4, 5, 9, 10, 11, 12} <= set(mass.times.tolist())
    for t, component in zip(mass.times, mass.series.split(), strict=True):
        assert_equal(gamma_method(component), theirs.content[t][0], 1e-7)


def test_effective_mass_of_an_antiperiodic_correlator(correlator):
    t = np.arange(16)
    values = correlator * np.tanh(0.35 * (8 - t)) + 1e-3 * (t == 8)
    mass = effective_mass(Series.from_chains([values]), "sinh")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        theirs = pyerrors.Corr(as_observables(values, "e")).m_eff("sinh")
    assert {2, 3, 4, 5, 6, 9, 10, 11, 12} <= set(mass.times.tolist())
    for t, component in zip(mass.times, mass.series.split(), strict=True):
        assert_equal(gamma_method(component), theirs.content[t][0], 1e-7)


@pytest.mark.parametrize("correlated", [False, True])
def test_plateau(correlator, correlated):
    ours = effective_mass(Series.from_chains([correlator]), "log").plateau(3, 6, correlated=correlated)
    theirs = pyerrors.Corr(as_observables(correlator, "e")).m_eff("log")
    theirs.gamma_method()
    result = theirs.fit(lambda p, t: p[0] + 0 * t, [3, 6], silent=True, correlated_fit=correlated)
    assert_equal_fits(ours, result)
