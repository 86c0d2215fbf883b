"""Effective masses on exact correlators."""

import numpy as np
import pytest

from gaugeflow.analysis import Series, effective_mass, fit, gamma_method

MASS = 0.37


def noisy(correlator, seed=61, n=400, size=1e-3):
    """A series whose mean is the given correlator to rounding."""
    noise = np.random.default_rng(seed).normal(size=(n, len(correlator)))
    return Series.from_chains([correlator * (1 + size * (noise - noise.mean(axis=0)))])


@pytest.mark.parametrize("extent", [12, 13])
@pytest.mark.parametrize(("kind", "function"), [("cosh", np.cosh), ("sinh", np.sinh)])
def test_periodic_correlators_have_one_mass(kind, function, extent):
    t = np.arange(extent)
    mass = effective_mass(noisy(function(MASS * (extent / 2 - t))), kind)
    np.testing.assert_allclose(mass.series.mean, MASS, rtol=1e-9)
    defined = [s for s in range(extent - 1) if s != (extent - 1) / 2]  # The two times around T/2 are equal there.
    if kind == "sinh" and extent == 12:
        defined = [s for s in defined if s not in (5, 6)]  # sinh vanishes at T/2.
    assert mass.times.tolist() == defined


def test_folded_correlator_needs_its_period():
    t = np.arange(7)
    mass = effective_mass(noisy(np.cosh(MASS * (6 - t))), "cosh", period=12)
    np.testing.assert_allclose(mass.series.mean, MASS, rtol=1e-9)
    assert mass.times.tolist() == list(range(6))
    with pytest.raises(ValueError, match="period of at least 6 for 7 times, got 5"):
        effective_mass(noisy(np.cosh(MASS * (6 - t))), "cosh", period=5)


def test_logarithm_of_an_exponential():
    mass = effective_mass(noisy(np.exp(-MASS * np.arange(8))))
    np.testing.assert_allclose(mass.series.mean, MASS, rtol=1e-9)
    assert mass.times.tolist() == list(range(7))


def test_arccosh():
    t = np.arange(12)
    mass = effective_mass(noisy(np.cosh(MASS * (6 - t))), "arccosh")
    np.testing.assert_allclose(mass.series.mean, MASS, rtol=1e-9)
    assert mass.times.tolist() == list(range(1, 11))


@pytest.mark.parametrize("mass", [1e-3, 5.0])
def test_light_and_heavy_masses(mass):
    for kind, function in (("cosh", np.cosh), ("sinh", np.sinh)):
        result = effective_mass(noisy(function(mass * (16 - np.arange(32))), size=1e-9), kind)
        np.testing.assert_allclose(result.series.mean, mass, rtol=1e-6)


@pytest.mark.parametrize("kind", ["log", "cosh", "sinh", "arccosh"])
def test_fluctuations_are_derivatives(kind):
    """The mass of a correlator shifted at one time, by fourth-order differences."""
    t = np.arange(12)
    centre = np.cosh(MASS * (6 - t)) if kind != "sinh" else np.sinh(MASS * (6.3 - t))
    series = noisy(centre)
    result = effective_mass(series, kind)
    delta = series.fluctuations[0]
    response, *_ = np.linalg.lstsq(delta, result.series.fluctuations[0], rcond=None)
    for j in range(12):
        step = 1e-4 * centre[j]
        shifted = [
            effective_mass(Series.from_chains([series.values[0] + k * step * (t == j)]), kind) for k in (-2, -1, 1, 2)
        ]
        common = [s for s in result.times if all(s in m.times for m in shifted)]
        assert len(common) >= 7
        low2, low, high, high2 = (m.series.mean[np.isin(m.times, common)] for m in shifted)
        slope = (8 * (high - low) - (high2 - low2)) / (12 * step)
        np.testing.assert_allclose(response[j, np.isin(result.times, common)], slope, rtol=1e-6, atol=1e-7)


def test_times_without_a_mass_are_left_out():
    correlator = np.array([8.0, 4.0, -0.1, 1.0, 0.5, 0.6])
    assert effective_mass(noisy(correlator), "log").times.tolist() == [0, 3, 4]
    assert effective_mass(noisy(correlator), "cosh").times.tolist() == [0, 4]  # T/2 = 3: rises after it, 3 does not.
    assert effective_mass(noisy(correlator), "arccosh").times.tolist() == [4]


def test_plateau_is_the_fit_of_a_constant():
    t = np.arange(10)
    mass = effective_mass(noisy(np.exp(-MASS * t) + 0.3 * np.exp(-3 * t)))
    plateau = mass.plateau(4, 7)
    values = Series.from_chains([mass.series.values[0][:, 4:8]])
    constant = fit(lambda x, p: p[0] + 0 * x, np.arange(4.0), values, [1.0])
    assert plateau.values == pytest.approx(constant.values, rel=1e-10)
    assert plateau.parameters[0].error == pytest.approx(constant.parameters[0].error, rel=1e-8)
    assert plateau.x.tolist() == [4, 5, 6, 7]
    assert abs(plateau.values[0] - MASS) < 1e-3
    assert mass.plateau(5, 5).values[0] == pytest.approx(gamma_method(mass.series.split()[5]).value)


def test_refusals():
    with pytest.raises(ValueError, match="at least 2 times"):
        effective_mass(Series.from_chains([np.ones(10)]))
    with pytest.raises(ValueError, match="at least 3 times"):
        effective_mass(noisy(np.ones(2)), "arccosh")
    with pytest.raises(ValueError, match="expected kind 'log'"):
        effective_mass(noisy(np.ones(4)), "exp")
    with pytest.raises(ValueError, match="there is none at any time"):
        effective_mass(noisy(np.array([1.0, -1.0, 1.0])))
    with pytest.raises(ValueError, match="no effective mass between t = 8 and 9"):
        effective_mass(noisy(np.exp(-MASS * np.arange(8)))).plateau(8, 9)
