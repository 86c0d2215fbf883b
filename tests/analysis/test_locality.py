"""Choice of a radius: the bound on the bias against the bias of correlations that are known."""

import numpy as np
import pytest

from gaugeflow.analysis import Series, choose_radius, local_curve

MASS, EXTENT = 0.8, 24


def noisy_curve(noise, seed=3, mixture=((1.0, MASS),), n=400):
    """D(R) of a correlation by time slices with noise that grows as the number of slices, 400 configurations; and B(R)."""
    t = np.arange(EXTENT // 2 + 1)
    factor = np.where((t == 0) | (t == EXTENT // 2), 1.0, 2.0)
    c = factor * sum(a * (np.exp(-m * t) + np.exp(-m * (EXTENT - t))) for a, m in mixture)
    errors = noise * np.sqrt(factor * n) * np.random.default_rng(seed).normal(size=(n, len(t)))
    errors -= errors.mean(axis=0)  # the noise is known, the values are exact
    return Series.from_chains([np.cumsum(-c + errors, axis=1)]), -np.cumsum(c[::-1])[::-1] + c


@pytest.mark.parametrize("mixture", [((1.0, MASS),), ((0.3, MASS), (5.0, 1.9))])
def test_the_bound_holds_and_is_not_far(mixture):
    """At every radius beyond the reach, and within a factor of 5 where the lightest state is all there is."""
    curve, bias = noisy_curve(1e-6, mixture=mixture)
    found = choose_radius(curve, MASS, reach=1)
    beyond = slice(2, EXTENT // 2)
    assert (found.bounds[beyond] > np.abs(bias[beyond])).all()
    if len(mixture) == 1:
        assert (found.bounds[beyond][:6] < 5.0 * np.abs(bias[beyond][:6])).all()
    assert np.isinf(found.bounds[:2]).all()
    assert found.bounds[-1] == 0.0


def test_noise_moves_the_radius():
    """Ten times the noise makes the radius smaller by about log(10) / mass = 3, and the sum of squares decides."""
    radii = []
    for noise in (1e-3, 1e-2):
        found = choose_radius(noisy_curve(noise)[0], MASS, reach=1)
        errors = np.array([e.error for e in found.estimates])
        total = errors**2 + found.bounds**2
        assert found.radius == np.argmin(total)
        assert found.bias < 2.0 * errors[found.radius]
        assert len(found.changes) == EXTENT // 2 - found.radius
        radii.append(found.radius)
    assert 2 <= radii[0] - radii[1] <= 4


def test_weights_of_a_ball():
    """In four dimensions a term at s bounds the rest by sum (k / s)^(3/2) exp(-m (k - s))."""
    values = np.zeros((50, 8))
    values[:, 3:] = -1.0  # one term only, at 3
    found = choose_radius(Series.from_chains([values]), 1.0, reach=2, dimensions=4)
    k = np.arange(4, 200)
    assert found.bounds[3] == pytest.approx(np.sum((k / 3.0) ** 1.5 * np.exp(3.0 - k)), rel=1e-5)
    assert found.bounds[4] == 0.0  # the term at 4 is known to vanish


def test_bad_input_is_refused():
    curve = Series.from_chains([np.zeros((10, 4))])
    with pytest.raises(ValueError, match="mass: expected a number > 0, got 0"):
        choose_radius(curve, 0.0, reach=1)
    with pytest.raises(ValueError, match="dimensions: expected 1 or more, got 0"):
        choose_radius(curve, 1.0, reach=1, dimensions=0)
    with pytest.raises(ValueError, match=r"reach: expected 0 or more, and a shell beyond it, got 3"):
        choose_radius(curve, 1.0, reach=3)
    scalar = Series.from_chains([np.zeros(10)])
    with pytest.raises(ValueError, match="one entry of counts for every shell"):
        local_curve(scalar, curve, curve, np.array([1, 2, 3]))
