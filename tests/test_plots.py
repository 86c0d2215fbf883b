"""Plots of analyses: PNG files that show what they should, without a display and without global state."""

import subprocess
import sys

import numpy as np
import pytest

from gaugeflow import plots
from gaugeflow.analysis import Series, effective_mass, fit, gamma_method

BLUE, RED, GREEN = (0, 114, 178), (213, 94, 0), (0, 158, 115)


def pixels(path, colour):
    """Number of pixels of exactly one colour in a picture."""
    from matplotlib.image import imread

    picture = np.rint(255 * imread(path)[..., :3]).astype(int)
    assert picture.shape[0] > 300
    assert picture.shape[1] > 300
    return int((picture == colour).all(axis=-1).sum())


@pytest.fixture(scope="module")
def chains():
    rng = np.random.default_rng(71)
    return Series.from_chains([rng.normal(size=300) for _ in range(2)], name="plaquette")


@pytest.fixture(scope="module")
def mass():
    t = np.arange(12)
    noise = 1 + 1e-3 * np.random.default_rng(72).normal(size=(200, 12))
    return effective_mass(Series.from_chains([noise * (np.exp(-0.4 * t) + np.exp(-2 * t))]))


@pytest.fixture(scope="module")
def extrapolation():
    rng = np.random.default_rng(73)
    x = np.array([0.02, 0.05, 0.1])
    return fit(lambda x, p: p[0] + p[1] * x, x, [Series.from_chains([a + rng.normal(size=99)]) for a in x], [1.0, 0.0])


def test_history(tmp_path, chains):
    path = plots.history(tmp_path / "two.png", chains)
    one = plots.history(tmp_path / "one.png", Series.from_chains(chains.values[:1]), "P")
    assert plots.history(tmp_path / "constant.png", Series.from_chains([np.ones(20)])).stat().st_size > 0
    assert pixels(path, (153, 153, 153)) > 1000  # The distribution.
    assert pixels(one, (0, 0, 0)) > 1000
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_autocorrelation(tmp_path, chains):
    path = plots.autocorrelation(tmp_path / "a.png", gamma_method(chains))
    assert pixels(path, BLUE) > 100
    assert pixels(path, RED) > 100
    long = plots.autocorrelation(tmp_path / "b.png", gamma_method(chains), lags=10_000)  # As many as there are.
    assert pixels(long, BLUE) > 100


def test_effective_mass(tmp_path, mass):
    bare = plots.effective_mass(tmp_path / "bare.png", mass)
    fitted = plots.effective_mass(tmp_path / "fitted.png", mass, mass.plateau(5, 10))
    assert pixels(bare, RED) == 0 < 50 < pixels(fitted, RED)
    assert pixels(bare, BLUE) > 100


def test_continuum(tmp_path, extrapolation):
    path = plots.continuum(tmp_path / "c.png", extrapolation, ylabel="$r_0$")
    for colour in (BLUE, RED, GREEN):
        assert pixels(path, colour) > 50


def test_refusals(tmp_path, chains):
    path = tmp_path / "no.png"
    with pytest.raises(ValueError, match="at least 2 lags, got 1"):
        plots.autocorrelation(path, gamma_method(chains), lags=1)
    y = Series.from_chains([2 + np.random.default_rng(74).normal(size=(50, 2))])
    with pytest.raises(ValueError, match=r"abscissae of shape \(2,\), got \(1, 2\)"):
        plots.continuum(path, fit(lambda x, p: p[0] + 0 * x[0], np.ones((1, 2)), y, [1.0]))
    with pytest.raises(ValueError, match="not finite everywhere between x = 0 and"):
        plots.continuum(path, fit(lambda x, p: p[0] / x, np.array([1.0, 2.0]), y, [1.0]))
    assert not path.exists()


def test_gaps_interrupt_lines(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, path: drawn.append(figure))
    ids = np.array([0, 2, 4, 10, 12, 14])
    plots.history(tmp_path / "gap.png", Series.from_chains([np.array([0.0, 1, 0, 1, 2, 1])], [ids], "Q"))
    (track, side) = drawn[0].axes
    np.testing.assert_array_equal(track.lines[0].get_xdata(), [0, 2, 4, np.nan, 10, 12, 14])
    np.testing.assert_array_equal(track.get_yticks(), np.rint(track.get_yticks()))
    edges = sorted({y for patch in side.patches for y in (patch.get_y(), patch.get_y() + patch.get_height())})
    assert {-0.5, 0.5, 1.5, 2.5} <= set(edges)


def test_common_bins():
    rng = np.random.default_rng(75)
    wide, narrow = 10 * rng.normal(size=1000), rng.normal(size=1000)
    edges = plots.bin_edges([wide, narrow])
    assert edges[0] == wide.min()
    assert edges[-1] == wide.max()
    assert np.diff(edges)[0] < 0.4 < np.diff(plots.bin_edges([wide]))[0]
    np.testing.assert_array_equal(plots.bin_edges([np.array([2, -1]), np.array([0.0])]), [-1.5, -0.5, 0.5, 1.5, 2.5])
    np.testing.assert_array_equal(plots.bin_edges([np.full(9, 0.3)]), [-0.2, 0.8])


def test_vector_copies(tmp_path, extrapolation):
    """PDF beside PNG within the block and not after it: lines, no bitmaps, equal bytes for equal figures."""
    with plots.copies("pdf", "svg"):
        path = plots.continuum(tmp_path / "c.png", extrapolation)
        assert plots.written(path) == tuple(tmp_path / f"c.{form}" for form in ("png", "pdf", "svg"))
        plots.continuum(tmp_path / "d.png", extrapolation)
    plots.continuum(tmp_path / "e.png", extrapolation)
    pdf = (tmp_path / "c.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/Subtype /Image" not in pdf
    assert pdf == (tmp_path / "d.pdf").read_bytes()
    assert "<svg" in (tmp_path / "c.svg").read_text()
    assert not (tmp_path / "e.pdf").exists()
    with pytest.raises(ValueError, match=r"expected formats pdf or svg, got \['jpg'\]"), plots.copies("jpg"):
        pass


def test_matplotlib_is_loaded_by_drawing_only(tmp_path):
    code = (
        "import sys\n"
        "import numpy as np\n"
        "from gaugeflow import plots\n"
        "from gaugeflow.analysis import Series\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"plots.history({str(tmp_path / 'x.png')!r}, Series.from_chains([np.arange(9.0)]))\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
