"""Maps of the circle: derivatives, inverses, cotangents one site at a time, in double and single precision."""

import math

import numpy as np
import pytest

from gaugeflow.errors import ConvergenceError
from gaugeflow.flows.planar.circle import TWO_PI, CircularSpline, ProjectionMixture, wrap

MAPS = {
    "spline": CircularSpline(5),
    "spline of two bins": CircularSpline(2, floor=2e-3, slope_floor=0.0),
    "projections": ProjectionMixture(3),
    "one projection": ProjectionMixture(1, bound=2.0),
}
every_map = pytest.mark.parametrize("name", MAPS)
STEP = 1e-3


def numbers(circle, count, size=1.0, seed=7):
    """Channels and angles, also at both ends of the circle."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-np.pi, np.pi, count)
    x[:2] = -np.pi, np.pi
    return size * rng.normal(size=(circle.channels, count)), x


def difference(function):
    """Sixth-order central difference of a function of one number at 0."""
    return sum(
        weight / STEP * (function(k * STEP) - function(-k * STEP)) for k, weight in ((1, 0.75), (2, -0.15), (3, 1 / 60))
    )


def away_from_knots(circle, raw, x):
    """Sites at which no knot lies within the reach of differences: between knots maps are smooth."""
    if isinstance(circle, ProjectionMixture):
        return np.ones(x.shape, bool)
    widths = np.stack(circle._knots(raw)[0])
    knots = np.cumsum(np.concatenate([0.0 * widths[:1], widths]), axis=0)
    return (np.abs(knots - (x / TWO_PI + 0.5)) > 5e-3).all(axis=0)


@every_map
def test_derivatives_of_one_site(name):
    """Slope, and cotangents of angle and channels with that of the log-slope, to 1e-9 of their size."""
    circle = MAPS[name]
    raw, x = numbers(circle, 60)
    good = away_from_knots(circle, raw, x)
    assert good.sum() > 20
    raw, x = raw[:, good], x[good]
    moved = circle.evaluate(raw, x)
    np.testing.assert_allclose(
        np.exp(moved.log_slope), difference(lambda e: circle.evaluate(raw, x + e).y), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        moved.curvature(), difference(lambda e: circle.evaluate(raw, x + e).log_slope), rtol=1e-9, atol=1e-9
    )
    rng = np.random.default_rng(8)
    y_bar, log_bar = rng.normal(size=(2, len(x)))
    raw_bar, x_bar = moved.pull_back(y_bar, log_bar)
    assert raw_bar.shape == raw.shape

    def slope(d_raw, d_x):
        def value(e):
            found = circle.evaluate(raw + e * d_raw, x + e * d_x)
            return y_bar * found.y + log_bar * found.log_slope

        return difference(value)

    size = 1.0 + np.abs(x_bar)
    assert (np.abs(slope(0.0, 1.0) - x_bar) / size).max() < 1e-9
    for k in range(circle.channels):
        unit = np.zeros((circle.channels, 1))
        unit[k] = 1.0
        assert (np.abs(slope(unit, 0.0) - raw_bar[k]) / (1.0 + np.abs(raw_bar[k]))).max() < 1e-9, k


@every_map
def test_one_turn_is_mapped_onto_one_turn(name):
    """Monotone, once around, and as steep at the end of the circle as at its beginning."""
    circle = MAPS[name]
    raw, _ = numbers(circle, 40)
    x = np.linspace(-np.pi, np.pi, 401)[:, None] + np.zeros((1, 40))
    moved = circle.evaluate(np.broadcast_to(raw[:, None, :], (circle.channels, *x.shape)), x)
    assert (np.diff(moved.y, axis=0) > 0.0).all()
    np.testing.assert_allclose(moved.y[-1] - moved.y[0], TWO_PI, rtol=1e-13)
    np.testing.assert_allclose(moved.log_slope[-1], moved.log_slope[0], atol=1e-11)


@every_map
def test_zeros_make_the_identity(name):
    circle = MAPS[name]
    raw, x = numbers(circle, 50, size=0.0)
    moved = circle.evaluate(raw, x)
    np.testing.assert_allclose(moved.y, x, atol=2e-15)
    np.testing.assert_allclose(moved.log_slope, 0.0, atol=2e-15)


@every_map
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [0.5, 3.0])
def test_inverse_is_stable(name, dtype, size):
    """The inverse belongs to an angle within roundings of y: y lies between the images of x +- delta, +- delta."""
    circle = MAPS[name]
    raw, y = (a.astype(dtype) for a in numbers(circle, 4000, size))
    x, log_slope = circle.inverse(raw, y)
    assert x.dtype == log_slope.dtype == dtype
    assert (np.abs(x) <= np.float32(np.pi)).all()
    assert np.isfinite(log_slope).all()
    delta = 16 * float(np.finfo(dtype).eps)
    low, high = (wrap(circle.evaluate(raw, wrap(x + dtype(e))).y - y) for e in (-delta, delta))
    slack = delta * (4.0 if size < 1.0 else 100.0)
    assert (low <= slack).all()
    assert (high >= -slack).all()
    if size < 1.0:
        at = circle.evaluate(raw, x)
        np.testing.assert_allclose(log_slope, at.log_slope, atol=400 * np.finfo(dtype).eps)


def test_one_pair_is_two_projections():
    """Half the sum of 2 atan(e^s tan((x -+ c) / 2)), counted over turns; the map is odd and keeps pi."""
    circle = ProjectionMixture(1, bound=1e6)
    x = np.linspace(-3.1, 3.1, 9)
    s, c = 0.7, math.pi / (1.0 + math.exp(-0.4))
    raw = np.stack([0.0 * x, s + 0.0 * x, 0.4 + 0.0 * x])

    def projected(u):
        return 2.0 * np.arctan(math.exp(s) * np.tan(u / 2)) + TWO_PI * np.round(u / TWO_PI)

    np.testing.assert_allclose(circle.evaluate(raw, x).y, 0.5 * (projected(x - c) + projected(x + c)), atol=1e-9)
    np.testing.assert_allclose(circle.evaluate(raw, -x).y, -circle.evaluate(raw, x).y, atol=1e-14)
    ends = circle.evaluate(raw[:, :2], np.array([-np.pi, np.pi])).y
    np.testing.assert_allclose(ends, [-np.pi, np.pi], atol=1e-14)


def test_two_unequal_maxima():
    """A steep pair between flat ends: three quarters of all angles go near 0, the rest near pi."""
    x = np.linspace(-np.pi, np.pi, 4001)[:-1]
    raw = np.stack([0.0 * x, 6.0 + 0.0 * x, math.log(3.0) + 0.0 * x])
    y = ProjectionMixture(1, bound=1e6).evaluate(raw, x).y
    assert np.mean(np.abs(y) < 0.3) == pytest.approx(0.72, abs=0.03)
    assert np.mean(np.abs(y) > np.pi - 0.3) == pytest.approx(0.22, abs=0.03)


def test_bad_input():
    with pytest.raises(ValueError, match="expected at least 2 bins, got 1"):
        CircularSpline(1)
    with pytest.raises(ValueError, match="floors from 0 to below 1, got 1"):
        CircularSpline(4, floor=1.0)
    with pytest.raises(ValueError, match="expected at least 1 parts, got 0"):
        ProjectionMixture(0)
    with pytest.raises(ValueError, match="expected bound > 0, got 0"):
        ProjectionMixture(2, bound=0.0)
    with pytest.raises(ValueError, match="expected 13 channels, got an array of shape"):
        CircularSpline(4).evaluate(np.zeros((12, 3)), np.zeros(3))
    with pytest.raises(ConvergenceError, match="expected steps of at most 4 roundings"):
        ProjectionMixture(2).inverse(np.zeros((6, 1)), np.array([np.nan]))
