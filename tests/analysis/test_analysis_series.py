"""Series: construction, alignment, linear operations and every refusal."""

import subprocess
import sys

import numpy as np
import pytest

from gaugeflow.analysis import Series, align, gamma_method, stack


def test_means_and_fluctuations_weight_every_configuration_equally():
    series = Series.from_chains([np.array([1.0, 2.0, 3.0]), np.array([10.0])], name="x")
    assert (series.n, series.chains, series.shape) == (4, 2, ())
    assert series.mean == 4.0
    np.testing.assert_array_equal(series.chain_means, [2.0, 10.0])
    np.testing.assert_array_equal(np.concatenate(series.fluctuations), [-3, -2, -1, 6])


def test_lanes_are_chains():
    lanes = np.arange(24.0).reshape(4, 2, 3)
    series = Series.from_lanes(lanes, ids=np.arange(0, 40, 10))
    assert (series.chains, series.shape, series.spacing) == (3, (2,), 10)
    np.testing.assert_array_equal(series.values[1], lanes[:, :, 1])
    np.testing.assert_array_equal(Series.from_lanes(lanes[:, 0]).values[2], lanes[:, 0, 2])


def test_values_are_copied_and_read_only():
    values = np.arange(5.0)
    series = Series.from_chains([values])
    values[0] = 99
    assert series.values[0][0] == 0
    with pytest.raises(ValueError, match="read-only"):
        series.values[0][0] = 1


def test_split_and_stack_are_inverse():
    series = Series.from_chains([np.arange(6.0).reshape(3, 2), np.arange(4.0).reshape(2, 2)], name="c")
    again = stack(*series.split())
    assert [s.name for s in series.split()] == ["c[0]", "c[1]"]
    for a, b in zip(series.values, again.values, strict=True):
        np.testing.assert_array_equal(a, b)


def test_linear_operations():
    a, b = Series.from_chains([np.arange(5.0)], name="a"), Series.from_chains([np.arange(5.0) ** 2], name="b")
    np.testing.assert_array_equal((2 * a - b + a * 0.5).values[0], 2.5 * np.arange(5.0) - np.arange(5.0) ** 2)
    with pytest.raises(TypeError):
        a * b


def test_align_keeps_the_common_configurations():
    every = Series.from_chains([np.arange(10.0), np.arange(8.0)], name="every")
    third = Series.from_chains([np.arange(3.0), np.arange(2.0)], [np.array([1, 4, 7]), np.array([2, 5])], name="third")
    a, b = align(every, third)
    np.testing.assert_array_equal(a.values[0], [1, 4, 7])
    np.testing.assert_array_equal(b.values[1], third.values[1])
    assert a.spacing == 3
    with pytest.raises(ValueError, match=r"'every' and 'third' differ in the configurations of chain 0: 10 in 0..9"):
        every - third
    with pytest.raises(ValueError, match="numbers of chains"):
        align(every, Series.from_chains([np.arange(10.0)]))


@pytest.mark.parametrize(
    ("values", "ids", "error", "message"),
    [
        ([], None, ValueError, "no chain"),
        ([np.zeros(0)], None, ValueError, "chain 0: expected shape"),
        ([np.zeros((3, 2, 2))], None, ValueError, r"got \(3, 2, 2\)"),
        ([1.0, 2.0], None, ValueError, r"got \(\)"),
        ([np.zeros((3, 2)), np.zeros(3)], None, ValueError, r"chain 1: expected \(2,\) per configuration"),
        ([np.zeros(3), np.array([0, 1, np.nan])], None, ValueError, "chain 1, index 2 .configuration 2.: value nan"),
        ([np.array([[0, 0], [np.inf, 0]])], [np.array([5, 7])], ValueError, "chain 0, index 1 .configuration 7."),
        ([np.zeros(3) + 1j], None, TypeError, "chain 0: expected real values, got complex128"),
        (
            [np.zeros(4)],
            [np.array([0, 1, 1, 4])],
            ValueError,
            "increase, each once, but they repeat at index 2: 1 after 1",
        ),
        ([np.zeros(3)], [np.array([3, 2, 1])], ValueError, "they fall at index 1: 2 after 3"),
        ([np.zeros(3), np.zeros(3)], [np.arange(3), np.array([0, 2, 1])], ValueError, "chain 1: .* fall at index 2"),
        ([np.zeros(3)], [np.arange(4)], ValueError, "expected 3 ids"),
        ([np.zeros(3)], [np.arange(3), np.arange(3)], ValueError, "expected ids for 1 chains, got 2"),
        ([np.zeros(3)], [np.arange(3.0)], TypeError, "expected integer ids, got float64"),
    ],
)
def test_refusals(values, ids, error, message):
    with pytest.raises(error, match=message):
        Series.from_chains(values, ids, name="x")


def test_lanes_need_a_lane_axis():
    with pytest.raises(ValueError, match=r"expected shape \(n, B\)"):
        Series.from_lanes(np.zeros(5))


def test_series_spacing_does_not_change_the_error():
    values = np.random.default_rng(1).normal(size=100)
    spaced = Series.from_chains([values], [np.arange(500, 1500, 10)])
    assert gamma_method(spaced).error == gamma_method(values).error


def test_importing_the_package_leaves_analysis_alone():
    code = "import gaugeflow, sys; sys.exit('gaugeflow.analysis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
