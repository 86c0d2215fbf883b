"""Correlators of hadron files: selection, folding, fits of one state."""

import numpy as np
import pytest

from gaugeflow.analysis import Series, by_chain, correlator, fit, fit_mass, folded


def _noisy(exact, rng, n=200):
    """Measurements whose times fluctuate together and apart."""
    common = 1 + 0.03 * rng.normal(size=(n, 1))
    return Series.from_chains([exact * (common + 0.01 * rng.normal(size=(n, len(exact))))], name="pion")


@pytest.mark.parametrize(("kind", "back"), [("cosh", 1), ("sinh", -1), ("exp", 0)])
@pytest.mark.parametrize("correlated", [False, True])
def test_fit_mass(rng, kind, back, correlated):
    """Mass and amplitude within four errors; equal to a fit of the same model with numerical derivatives."""
    t, extent, mass, amplitude = np.arange(24), 24, 0.31, 2.5
    exact = amplitude * (np.exp(-mass * t) + back * np.exp(-mass * (extent - t)))
    data = _noisy(exact, rng)
    result = fit_mass(data, 3, 10, kind=kind, correlated=correlated)
    assert abs(result.values[0] - mass) < 4 * result.errors[0]
    assert abs(result.values[1] - amplitude) < 4 * result.errors[1]
    assert result.errors[0] < 0.01
    part = Series(tuple(v[:, 3:11] for v in data.values), data.ids, "part")
    again = fit(
        lambda x, p: p[1] * (np.exp(-p[0] * x) + back * np.exp(-p[0] * (extent - x))),
        t[3:11],
        part,
        [0.3, 2.0],
        correlated=correlated,
    )
    np.testing.assert_allclose(result.values, again.values, rtol=1e-7)
    np.testing.assert_allclose(result.errors, again.errors, rtol=1e-4)


def test_folded(rng):
    """Half of both sides, time 0 as it is; a partner with a sign; what a fit makes of it."""
    values = rng.normal(size=(7, 8))
    other = rng.normal(size=(7, 8))
    one, two = (Series.from_chains([v], name="C") for v in (values, other))
    found = folded(one, two, -1).values[0]
    assert found.shape == (7, 5)
    np.testing.assert_array_equal(found[:, 0], values[:, 0])
    for t in range(1, 5):
        np.testing.assert_allclose(found[:, t], (values[:, t] - other[:, 8 - t]) / 2, rtol=1e-15)
    np.testing.assert_array_equal(folded(one).values[0][:, 4], values[:, 4])
    with pytest.raises(ValueError, match="two correlators of one length"):
        folded(one, Series.from_chains([other[:, :6]]))


def test_selection_by_channel_and_momentum(rng):
    """Configurations come in any order and are put chain by chain; equal squares are averaged."""
    chain, id = np.array([1, 0, 1, 0]), np.array([5, 8, 3, 6])
    values = rng.normal(size=(4, 2, 3, 6)) + 1j * rng.normal(size=(4, 2, 3, 6))
    columns = {"correlators": values, "chain": chain, "id": id}
    attributes = {"labels": {"channel": ["pion", "rho"], "momentum": [[0], [1], [-1]]}}
    found = correlator((columns, attributes), "rho", n_squared=1)
    assert [i.tolist() for i in found.ids] == [[6, 8], [3, 5]]
    np.testing.assert_allclose(found.values[1][0], values[2, 1, 1:].mean(axis=0).real, rtol=1e-15)
    np.testing.assert_array_equal(by_chain(values[:, 0, 0, 0].real, chain, id).values[0], values[[3, 1], 0, 0, 0].real)
    with pytest.raises(ValueError, match=r"channel: expected one of \['pion', 'rho'\], got 'a0'"):
        correlator((columns, attributes), "a0")
    with pytest.raises(ValueError, match=r"n_squared: expected one of \[0, 1\], got 2"):
        correlator((columns, attributes), "pion", n_squared=2)


def test_bad_ranges(rng):
    data = _noisy(np.exp(-0.3 * np.arange(8)), rng)
    for first, last in ((3, 3), (-1, 4), (2, 8)):
        with pytest.raises(ValueError, match="expected 0 <= first < last < 8"):
            fit_mass(data, first, last)
    with pytest.raises(ValueError, match="expected kind"):
        fit_mass(data, 1, 4, kind="tanh")
    with pytest.raises(ValueError, match="no effective mass between"):
        fit_mass(_noisy(np.exp(-0.3 * np.abs(np.arange(8) - 5)), rng), 1, 4, kind="exp")
