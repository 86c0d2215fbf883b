"""N-point functions with fields of sources: the fit, conventions of times, errors."""

import numpy as np
import pytest

from gaugeflow.analysis import (
    Series,
    contact,
    cross_fit_sources,
    fit_sources,
    gamma_method,
    improved,
    n_point_function,
    reflected,
    residual_share,
    two_point_function,
)


@pytest.fixture
def data(rng):
    """O_t of 7 slices that follows two tangents at neighbouring slices, three chains."""
    h = rng.normal(size=(2, 3, 40, 7))
    noise = 0.1 * rng.normal(size=(3, 40, 7))
    o = 5.0 - 0.5 * h[0] + 0.25 * np.roll(h[1], -1, axis=-1) - 0.125 * np.roll(h[1], 2, axis=-1) + noise
    return Series.from_chains(list(o), name="O"), [
        Series.from_chains(list(part), name=f"h{i}") for i, part in enumerate(h)
    ]


def least_squares(operator, tangents, radius, chains):
    """The same coefficients from the matrix of all configurations and slices."""
    o = np.concatenate([operator.values[r] for r in chains]) - operator.mean.mean()
    columns = []
    for series in tangents:
        values = np.concatenate([series.values[r] for r in chains]) - series.mean.mean()
        columns += [np.roll(values, -tau, axis=1).ravel() for tau in range(-radius, radius + 1)]
    found = np.linalg.lstsq(np.stack(columns, axis=1), -o.ravel(), rcond=None)[0]
    return found.reshape(len(tangents), -1)


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_fit_is_least_squares(data, radius):
    np.testing.assert_allclose(fit_sources(*data, radius), least_squares(*data, radius, range(3)), atol=1e-10)
    crossed = cross_fit_sources(*data, radius)
    for r in range(3):
        others = [k for k in range(3) if k != r]
        np.testing.assert_allclose(crossed[r], least_squares(*data, radius, others), atol=1e-10)


def test_coefficients_find_what_the_data_were_made_of(data):
    coefficients = fit_sources(*data, 2)
    expected = np.zeros((2, 5))
    expected[0, 2], expected[1, 3], expected[1, 0] = 0.5, -0.25, 0.125
    np.testing.assert_allclose(coefficients, expected, atol=0.03)
    left = improved(*data, expected)
    np.testing.assert_allclose(np.concatenate(left.values).mean(axis=0), 5.0, atol=0.1)
    share = gamma_method(residual_share(data[0], left))
    assert abs(share.value - 0.01 / (0.01 + 0.25 + 0.0625 + 0.015625)) < 4.0 * share.error


def test_equal_coefficients_for_all_chains_or_one_set_for_each(data, rng):
    one = rng.normal(size=(2, 3))
    each = np.stack([one] * 3)
    for a, b in zip(improved(*data, one).values, improved(*data, each).values, strict=True):
        np.testing.assert_array_equal(a, b)


def test_times(rng):
    """h_t = sum c_tau h(t + tau), X_0.dO_t = sum c_tau f(t - tau), <a_t b_0> with a later than b."""
    h = Series.from_chains([rng.normal(size=(5, 7))])
    zero = h * 0.0
    shift = np.zeros((1, 3))
    shift[0, 2] = 1.0
    np.testing.assert_allclose(improved(zero, [h], shift).values[0], np.roll(h.values[0], -1, axis=1))
    np.testing.assert_allclose(contact([h], shift).values[0], np.roll(h.values[0], 1, axis=1))
    np.testing.assert_allclose(reflected(h).values[0][:, [0, 1, 6]], h.values[0][:, [0, 6, 1]])
    later = Series((np.roll(h.values[0], 2, axis=1),), h.ids)
    correlator = two_point_function(later, h)
    assert int(np.argmax(correlator.mean)) == 2
    np.testing.assert_allclose(correlator.mean[2], np.mean((h.values[0] - h.mean.mean()) ** 2))


def test_error_of_a_three_point_function(rng):
    """Scatter of 500 samples of 200 skewed configurations: right within 0.08, where fixed means would give 1.14 to 1.18."""
    values, errors = [], []
    for _ in range(500):
        f = Series.from_chains([0.5 * rng.normal(size=(200, 3)) + rng.gamma(2.0, size=(200, 1)) + 10.0])
        estimate = gamma_method(n_point_function((f, f, f), (0, 1, 2)), s_tau=0.5)
        values.append(estimate.value)
        errors.append(estimate.error)
    assert abs(np.mean(values) - 4.0) < 4.0 * np.std(values) / np.sqrt(500) + 0.06  # third moment 4, bias 3 * 4 / 200
    assert abs(np.sqrt(np.mean(np.square(errors))) / np.std(values) - 1.0) < 0.08


def test_bad_input_is_refused(data):
    operator, tangents = data
    with pytest.raises(ValueError, match=r"radius: expected 0 \.\.\. 3 for 7 time slices"):
        fit_sources(operator, tangents, 4)
    with pytest.raises(ValueError, match="expected shape"):
        improved(operator, tangents, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="one number of time slices"):
        reflected(operator.split()[0])
