"""Chains in which configurations are missing: equal to pyerrors (arXiv:2209.14371) on the same numbers, to rounding."""

import warnings

import numpy as np
import pytest

from gaugeflow.analysis import (
    Series,
    align,
    bootstrap,
    by_chain,
    combine,
    covariance,
    derivative_central,
    derive,
    derive_independent,
    difference_flow,
    difference_independent,
    effective_configurations,
    effective_mass,
    fit,
    fit_mass,
    gamma_method,
    jackknife,
    reweighted_mean,
    stack,
    susceptibility,
)
from gaugeflow.ensembles import Measurements

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # pyerrors imports scipy.odr.
    import pyerrors

TOLERANCE = 1e-10


def numbers(rng, n, spacing, kept=0.7, first=100):
    """Configuration numbers with gaps."""
    every = first + spacing * np.arange(n)
    chosen = rng.random(n) < kept
    chosen[:6] = True  # the smallest distance is the spacing
    return every[chosen]


def replica(ar1, spacings=(2, 2, 6), components=3, n=700):
    """Correlated chains with means near 2, 3, 0.5, ... and their numbers: gaps, and different spacings."""
    rng = np.random.default_rng(31)
    chains, ids = [], []
    for r, spacing in enumerate(spacings):
        i = numbers(rng, n + 91 * r, spacing, kept=1.0 if r == 1 else 0.7, first=50 * r)
        slots = i[-1] - i[0] + 1
        x = ar1(rng, (components, slots), 0.85)[:, i - i[0]]
        x[1] += 0.7 * x[0]
        chains.append((np.array([2.0, 3.0, 0.5, *[1.0] * (components - 3)])[:, None] + 0.1 * x).T)
        ids.append(i)
    return Series.from_chains(chains, ids, "x")


def observables(series):
    """Our fluctuations and means as observables of pyerrors, one for each component."""
    names = [f"ens|{r}" for r in range(series.chains)]
    result = []
    for component in series.split():
        mean = float(component.mean)
        observable = pyerrors.Obs(
            list(component.fluctuations), names, means=[mean] * len(names), idl=[i.tolist() for i in series.ids]
        )
        observable._value = mean
        result.append(observable)
    return result


def assert_equal(estimate, observable, tolerance=TOLERANCE, **options):
    observable.gamma_method(**options)
    (ensemble,) = observable.e_names
    expected = {
        "value": observable.value,
        "error": observable.dvalue,
        "error_of_error": observable.ddvalue,
        "tau_int": observable.e_tauint[ensemble],
        "tau_int_error": observable.e_dtauint[ensemble],
    }
    for name, number in expected.items():
        assert getattr(estimate, name) == pytest.approx(number, rel=tolerance), name
    assert estimate.window == observable.e_windowsize[ensemble]
    np.testing.assert_allclose(estimate.rho, observable.e_rho[ensemble], atol=tolerance)


IRREGULAR = {
    "one gap": [0, 2, 4, 6, 10, 12],
    "one long gap": [1, 2, 3, 4, 5, 6, 7, 8, 100, 101, 102, 103, 104],
    "distances that are no multiples": [3, 5, 7, 10, 14, 16, 19, 21, 23, 25, 30, 32, 34, 41],
    "five, large spacing": [0, 10, 20, 30, 41],
    "pairs": [0, 1, 10, 11, 20, 21, 30, 31, 40, 41, 50, 51],
    "two spacings": [*range(0, 40, 4), *range(48, 120, 8)],
}


@pytest.mark.parametrize("s_tau", [1.0, 2.0])
@pytest.mark.parametrize("name", IRREGULAR)
def test_irregular_numbers(ar1, name, s_tau):
    ids = np.array(IRREGULAR[name])
    x = 7 + ar1(np.random.default_rng(len(ids)), len(ids), 0.6)
    assert_equal(
        gamma_method(Series.from_chains([x], [ids]), s_tau=s_tau), pyerrors.Obs([x], ["e"], idl=[ids]), S=s_tau
    )


@pytest.mark.parametrize("spacing", [1, 2, 7])
@pytest.mark.parametrize("options", [{}, {"tau_exp": 9.0}])
def test_long_chain(ar1, spacing, options):
    rng = np.random.default_rng(32)
    ids = numbers(rng, 3000, spacing)
    x = ar1(rng, 3000, 0.9)[(ids - 100) // spacing]
    series = Series.from_chains([x], [ids])
    assert series.spacing == spacing
    assert_equal(gamma_method(series, **options), pyerrors.Obs([x], ["e"], idl=[ids]), **options)


@pytest.mark.parametrize("spacings", [(1, 1), (2, 2, 6), (5, 1), (3, 3, 3, 3)])
@pytest.mark.parametrize("options", [{}, {"tau_exp": 20.0}])
def test_replica_with_different_spacings_and_gaps(ar1, spacings, options):
    series = replica(ar1, spacings)
    for ours, theirs in zip(series.split(), observables(series), strict=True):
        assert_equal(gamma_method(ours, **options), theirs, **options)


def test_replica_with_their_own_means(ar1):
    """Chains of equal means, where the convention for the mean does not matter, as pyerrors reads them."""
    series = replica(ar1).split()[0]
    chains = [values - values.mean() + 2 for values in series.values]
    theirs = pyerrors.Obs(chains, ["e|0", "e|1", "e|2"], idl=[i.tolist() for i in series.ids])
    assert_equal(gamma_method(Series.from_chains(chains, series.ids)), theirs)


def test_derived_function(ar1):
    series = replica(ar1)
    x, y, z = observables(series)
    ours = gamma_method(derive(lambda m: np.exp(-m[0]) * np.log(m[1]) + m[2] ** 2 * m[0], series))
    assert_equal(ours, np.exp(-x) * np.log(y) + z**2 * x)


def test_linear_operations_and_components(ar1):
    a, b, _ = replica(ar1).split()
    x, y, _ = observables(replica(ar1))
    assert_equal(gamma_method(2 * a - b), 2 * x - y)
    assert_equal(gamma_method(derive(lambda m: m[0] / m[1], stack(a, b))), x / y)


def test_reweighting_and_correlated_differences(ar1):
    o, image, w = replica(ar1).split()
    w = 8 * w
    weight = Series(tuple(np.exp(v) for v in w.values), w.ids)
    moved = Series(tuple(a * b for a, b in zip(image.values, weight.values, strict=True)), w.ids)
    one, product, weights = observables(stack(o, moved, weight))
    assert_equal(reweighted_mean(image, w), product / weights)
    assert_equal(gamma_method(difference_flow(o, image, w)), product / weights - one)
    minus = Series(tuple(a / b for a, b in zip(o.values, weight.values, strict=True)), w.ids)
    inverse = Series(tuple(1 / v for v in weight.values), w.ids)
    product, weights, below, inverses = observables(stack(moved, weight, minus, inverse))
    central = derivative_central(image, w, o, -1 * w, 0.1)
    assert_equal(gamma_method(central), (product / weights - below / inverses) * 5.0)
    assert 0 < effective_configurations(w) < w.n


def test_pyerrors_own_reweighting(ar1):
    o, _, w = replica(ar1, (3,)).split()
    (x, v, i) = (*o.values, *(8 * w).values, *o.ids)
    theirs = pyerrors.reweight(pyerrors.Obs([np.exp(v)], ["e"], idl=[i]), [pyerrors.Obs([x], ["e"], idl=[i])])[0]
    assert_equal(reweighted_mean(o, 8 * w), theirs)


def test_independent_ensembles_of_different_spacings(ar1):
    a = replica(ar1, (3,)).split()[0]
    b = replica(ar1, (7,), n=2000).split()[1]
    theirs = pyerrors.Obs(b.values, ["b"], idl=b.ids) / pyerrors.Obs(a.values, ["a"], idl=a.ids)
    theirs.gamma_method()
    combined = combine(derive_independent(lambda m, n: n / m, a, b))
    assert combined.value == pytest.approx(theirs.value, rel=TOLERANCE)
    assert combined.error == pytest.approx(theirs.dvalue, rel=TOLERANCE)
    assert combined.error_of_error == pytest.approx(theirs.ddvalue, rel=TOLERANCE)
    assert [part.window for part in combined.parts] == [theirs.e_windowsize[name] for name in ("a", "b")]
    # Each ensemble in its own unit of Markov time: the union of two replica.
    difference = difference_independent(a, b)
    assert difference.spacing == 1
    (union,) = observables(difference)
    assert_equal(gamma_method(difference), union)
    np.testing.assert_array_equal(np.diff(difference.ids[0]), np.diff(a.ids[0]) // 3)


def test_covariance_and_fit(ar1):
    """On one chain, where the convention for replica does not matter."""
    x = np.arange(5.0)
    series = replica(ar1, (4,), components=5)
    series = Series(tuple(v + 0.3 * x for v in series.values), series.ids)
    theirs = [pyerrors.Obs([v], ["e"], idl=[series.ids[0]]) for v in series.values[0].T]
    for observable in theirs:
        observable.gamma_method()
    np.testing.assert_allclose(covariance(series), pyerrors.covariance(theirs), rtol=1e-9)
    for correlated in (False, True):
        ours = fit(lambda x, p: p[0] + p[1] * x, x, series, [1.0, 0.3], correlated=correlated)
        expected = pyerrors.least_squares(
            x, theirs, lambda p, x: p[0] + p[1] * x, silent=True, correlated_fit=correlated
        )
        assert ours.chi_squared == pytest.approx(expected.chisquare, rel=1e-7)
        for parameter, observable in zip(ours.parameters, expected.fit_parameters, strict=True):
            observable.gamma_method()
            assert parameter.value == pytest.approx(observable.value, rel=1e-7, abs=1e-6 * observable.dvalue)
            assert parameter.error == pytest.approx(observable.dvalue, rel=1e-7)


def test_effective_mass(ar1):
    rng = np.random.default_rng(33)
    t = np.arange(6)
    ids = numbers(rng, 400, 5)
    noise = 1 + 0.01 * ar1(rng, (6, 400), 0.8)[:, (ids - 100) // 5].T
    series = Series.from_chains([np.exp(-0.4 * t) * noise], [ids], "pion")
    correlator = pyerrors.Corr([pyerrors.Obs([c], ["e"], idl=[ids]) for c in series.values[0].T])
    correlator.gamma_method()
    theirs = correlator.m_eff("log")
    masses = effective_mass(series)
    for time, component in zip(masses.times, masses.series.split(), strict=True):
        assert_equal(gamma_method(component), theirs[int(time)])
    assert masses.plateau(0, 4).parameters[0].error > 0
    assert fit_mass(series, 0, 4, kind="exp").parameters[0].error > 0


def test_susceptibility(ar1):
    m = replica(ar1, (2, 4)).split()[0]
    chi = susceptibility(m, 100.0)
    squares = [100 * (v - float(m.mean)) ** 2 for v in m.values]
    assert_equal(gamma_method(chi), observables(Series.from_chains(squares, m.ids))[0])


def test_resampling(ar1):
    """Bins hold configurations that are there; one for each is what pyerrors exports."""
    series = replica(ar1, (3,)).split()[0]
    theirs = pyerrors.Obs(list(series.values), ["e"], idl=list(series.ids))
    np.testing.assert_allclose(jackknife(series, 1).samples, theirs.export_jackknife()[1:], rtol=1e-12)
    draws = np.random.default_rng(5).multinomial(series.n, np.full(series.n, 1 / series.n), size=50)
    drawn = np.array([np.repeat(np.arange(series.n), row) for row in draws])
    ours = bootstrap(np.random.default_rng(5), series, 1, 50)
    np.testing.assert_allclose(ours.samples, theirs.export_bootstrap(50, random_numbers=drawn)[1:], rtol=1e-12)


def test_autocorrelation_and_errors_of_known_chains(ar1):
    """AR(1) at a = 0.9, of which 30 % are missing at random: tau_int = 9.5 and sqrt(2 tau_int / N), to 5 sigma of each.

    The error of the mean is smaller, as there are fewer neighbours; bins of ten autocorrelation times find that one.
    """
    rng = np.random.default_rng(35)
    ids = numbers(rng, 60_000, 1)
    x = ar1(rng, 60_000, 0.9)[ids - 100]
    kept, dropped = gamma_method(Series.from_chains([x], [ids])), gamma_method(x)
    assert abs(kept.tau_int - 9.5) < 5 * kept.tau_int_error < 4
    assert abs(dropped.tau_int - 9.5) > 5 * dropped.tau_int_error
    assert abs(kept.error - np.sqrt(19 / len(ids))) < 5 * kept.error_of_error
    lags = np.arange(1, 300)
    present = np.isin(np.arange(60_000), ids - 100)
    pairs = np.array([np.sum(present[:-t] & present[t:]) for t in lags])
    true = np.sqrt((1 + 2 * np.sum(0.9**lags * pairs) / len(ids)) / len(ids))
    assert true < 0.9 * kept.error
    bins = len(ids) // 95
    assert jackknife(Series.from_chains([x], [ids]), 95).error == pytest.approx(true, rel=4 / np.sqrt(2 * bins) + 0.05)


def test_align_keeps_gaps():
    every = Series.from_chains([np.arange(20.0)], name="every")
    some = Series.from_chains([np.arange(6.0)], [np.array([1, 2, 3, 7, 8, 30])], name="some")
    a, b = align(every, some)
    np.testing.assert_array_equal(a.ids[0], [1, 2, 3, 7, 8])
    np.testing.assert_array_equal(a.values[0], [1, 2, 3, 7, 8])
    np.testing.assert_array_equal(b.values[0], np.arange(5.0))
    with pytest.raises(
        ValueError, match=r"chain 0: no configuration is in all series, which have 'every' 20 in 0..19, 'far'"
    ):
        align(every, Series.from_chains([np.zeros(3)], [np.arange(30, 33)], name="far"))


def test_tables_in_any_order_with_gaps(ar1):
    series = replica(ar1).split()[0]
    chain = np.concatenate([np.full(len(i), r) for r, i in enumerate(series.ids)])
    id, values = np.concatenate(series.ids), np.concatenate(series.values)
    mixed = np.random.default_rng(3).permutation(len(id))
    data = Measurements()
    for part in np.array_split(mixed, 7):
        data.add(id[part], chain[part], {"x": values[part]})
    for found in (by_chain(values[mixed], chain[mixed], id[mixed]), data.series("x")):
        assert gamma_method(found).error == gamma_method(series).error
    with pytest.raises(
        ValueError, match="chain 1: expected configuration numbers that increase, each once, but they repeat"
    ):
        by_chain(np.zeros(5), np.array([3, 3, 4, 4, 4]), np.array([0, 1, 0, 2, 2]))


def test_spacings_without_a_common_unit_are_refused():
    series = Series.from_chains([np.arange(6.0)] * 2, [2 * np.arange(6), 3 * np.arange(6)], "x")
    assert series.mean == 2.5
    with pytest.raises(ValueError, match=r"multiples of the smallest of all, got \[2, 3\]"):
        gamma_method(series)
    with pytest.raises(ValueError, match="are the numbers those of configurations"):
        gamma_method(Series.from_chains([np.arange(6.0)], [np.array([0, 1, 2, 3, 4, 10**15])]))


HUGE = np.array([1.6e308, -1.1e308, 1.7e308, 0.9e308, 1.5e308, 1.2e308])


@pytest.mark.parametrize(
    "analyse",
    [
        gamma_method,
        lambda x: Series.from_chains([x]).mean,
        lambda x: Series.from_chains([x]).fluctuations,
        lambda x: jackknife(x, 1),
        lambda x: bootstrap(np.random.default_rng(0), x, 1, 10),
        lambda x: covariance(Series.from_chains([np.column_stack((x, x[::-1]))])),
        lambda x: derive(lambda m: m, x),
        lambda x: susceptibility(x, 1.0),
        lambda x: reweighted_mean(x, np.zeros(6)),
        lambda x: Series.from_chains([x]) * 10,
    ],
)
def test_sums_that_overflow_raise(analyse):
    with pytest.raises(ValueError, match=r"overflow|not finite"):
        analyse(HUGE)


@pytest.mark.parametrize("unit", [1e-250, 1e200])
def test_squares_that_would_overflow_or_vanish_do_not(ar1, unit):
    x, y = 3 + ar1(np.random.default_rng(36), (2, 200), 0.5)
    assert gamma_method(unit * x).error == pytest.approx(unit * gamma_method(x).error, rel=1e-12, abs=0)
    assert gamma_method(unit * x).tau_int == pytest.approx(gamma_method(x).tau_int, rel=1e-12)
    assert jackknife(unit * x, 4).error == pytest.approx(unit * jackknife(x, 4).error, rel=1e-12, abs=0)
    ratio = derive(lambda m: m[0] / m[1], unit * np.column_stack((x, y)))
    expected = gamma_method(derive(lambda m: m[0] / m[1], np.column_stack((x, y))))
    assert gamma_method(ratio).error == pytest.approx(expected.error, rel=1e-8)
