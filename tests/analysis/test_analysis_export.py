"""What is handed to pyerrors has the value and the error that it has here; tables keep their columns in xarray."""

import numpy as np
import pytest

from gaugeflow.analysis import Series, derive, gamma_method, to_correlator, to_pyerrors, to_xarray
from gaugeflow.io import read_table, write_table


def _series(ar1, shape=(), gaps=False):
    rng = np.random.default_rng(4)
    size = int(np.prod(shape, dtype=int))
    chains = [2.0 + r * 0.05 + ar1(rng, (size, n), 0.6).T.reshape(n, *shape) for r, n in enumerate((400, 300))]
    ids = [np.arange(len(c)) * 2 + 7 for c in chains]
    if gaps:
        keep = [np.arange(len(c)) % 11 != 5 for c in chains]
        chains, ids = ([v[k] for v, k in zip(values, keep, strict=True)] for values in (chains, ids))
    return Series.from_chains(chains, ids, "x")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pyerrors imports scipy.odr
@pytest.mark.parametrize("gaps", [False, True])
def test_series_and_derivatives(ar1, gaps):
    """A mean and a function of means: value, error and autocorrelation time."""
    pytest.importorskip("pyerrors")
    pair = _series(ar1, (2,), gaps)
    ratio = derive(lambda m: m[0] / m[1], pair, name="ratio")
    for series in (*pair.split(), ratio):
        ours, theirs = gamma_method(series), to_pyerrors(series, "A")
        theirs.gamma_method(S=2.0)
        assert theirs.value == pytest.approx(ours.value, rel=1e-12)
        assert theirs.dvalue == pytest.approx(ours.error, rel=1e-9)
        assert theirs.e_tauint["A"] == pytest.approx(ours.tau_int, rel=1e-9)
        assert theirs.names == ["A|r0", "A|r1"]
        assert [list(theirs.idl[name]) for name in theirs.names] == [ids.tolist() for ids in series.ids]
    # correlations survive the way: their ratio of our means is our ratio
    first, second = to_pyerrors(pair, "A")
    there = first / second
    there.gamma_method(S=2.0)
    assert there.dvalue == pytest.approx(gamma_method(ratio).error, rel=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_correlator(ar1):
    pytest.importorskip("pyerrors")
    series = _series(ar1, (6,))
    correlator = to_correlator(series, "A")
    assert correlator.T == 6
    correlator.gamma_method(S=2.0)
    for t, component in enumerate(series.split()):
        assert correlator.content[t][0].dvalue == pytest.approx(gamma_method(component).error, rel=1e-9)
    with pytest.raises(ValueError, match=r"one component for each time, got shape \(\)"):
        to_correlator(_series(ar1), "A")
    with pytest.raises(ValueError, match=r"without '\|', got 'A\|1'"):
        to_pyerrors(series, "A|1")


def test_tables(tmp_path, rng):
    pytest.importorskip("xarray", reason="xarray is not installed")
    columns = {
        "chain": np.repeat([0, 1], 4),
        "id": np.tile(np.arange(4), 2),
        "c": rng.normal(size=(8, 3)),
        "t": np.ones(5),
    }
    write_table(tmp_path / "t.h5", columns, attributes={"beta": 6.0})
    data = to_xarray(read_table(tmp_path / "t.h5"))
    assert data["c"].dims == ("configuration", "c_1")
    assert data["t"].dims == ("t_0",)
    assert set(data.coords) == {"chain", "id"}
    assert (data["c"].where(data.chain == 1, drop=True).values == columns["c"][4:]).all()
    assert data.attrs["beta"] == 6.0
