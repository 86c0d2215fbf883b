"""Figures of reports: what is marked, what is compared, on which ticks and in which bins."""

import numpy as np
import pytest
from matplotlib.image import imread

from gaugeflow import plots
from gaugeflow.systems import figures, phi4_report

GREY = (153, 153, 153)


def pixels(path, colour):
    picture = np.rint(255 * imread(path)[..., :3]).astype(int)
    return int((picture == colour).all(axis=-1).sum())


@pytest.fixture
def drawn(monkeypatch):
    """Figures as they are saved."""
    found = []

    def save(figure, path):
        found.append(figure)
        return plots.save(figure, path)

    monkeypatch.setattr(figures, "save", save)
    return found


def row(estimator, value, error, few=False, step=0.1, **more):
    return {
        "observable": "plaquette",
        "parameter": "beta",
        "step": step,
        "estimator": estimator,
        "value": value,
        "error": error,
        "n_effective": 3.0 if few else 100.0,
        **more,
    }


def test_derivatives(tmp_path, drawn):
    good = [row("plain", 0.15, 0.02), row("flow", 0.16, 0.005), row("flow, central", 0.17, 0.007, n_effective=None)]
    few = [row("plain", 0.12, 0.001, few=True, step=-1.0), row("plain", -3.0, 0.5, few=True, step=2.0)]
    without = figures.derivatives(tmp_path / "good.png", good)
    path = figures.derivatives(tmp_path / "all.png", good + few)
    assert pixels(without, GREY) + 30 < pixels(path, GREY)
    (axis,) = drawn[1].axes
    assert axis.get_xlabel() == r"$\mathrm{d}\langle P \rangle / \mathrm{d}\beta$"
    assert axis.get_title() == "plaquette"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["plain", "flow", "flow, central"]
    low, high = axis.get_xlim()
    assert -0.5 < low < 0.13  # the estimate at -3 does not squeeze the others
    assert 0.177 < high < 0.5
    (band,) = axis.get_legend().get_texts()
    assert band.get_text() == "flow, central: 0.1700(70)"  # not the one-sided difference, whose bias is of first order
    (legend,) = drawn[1].legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["step -1", "step +0.1", "step +2", "fewer than 10 effective configurations"]
    edge = [mark for mark in axis.lines if mark.get_marker() == "<"]
    assert len(edge) == 1
    assert edge[0].get_xdata()[0] == low


def test_derivatives_all_doubtful(tmp_path):
    assert pixels(figures.derivatives(tmp_path / "few.png", [row("plain", 0.1, 0.01, few=True)]), GREY) > 30


def test_log_weights_have_common_bins(tmp_path, drawn):
    rng = np.random.default_rng(1)
    widths = {f"{kind}{i}": width for i in range(4) for kind, width in (("plain", 9), ("flow", 1))}
    columns = {f"{name}|log_weight": rng.normal(size=400) * width + 7 for name, width in widths.items()}
    figures.log_weights(tmp_path / "w.png", columns, {str(i): f"target {i}" for i in range(4)})
    narrow_and_wide = {"a": columns["plain0|log_weight"], "b": columns["flow0|log_weight"]}
    figures.weights(tmp_path / "v.png", {"one": narrow_and_wide, "two": narrow_and_wide})
    panels = [axis for figure in drawn for axis in figure.axes if axis.get_visible()]
    assert len(panels) == 6
    for axis in panels:
        one, two = (set(np.round(patch.get_xy()[:, 0], 9)) for patch in axis.patches)
        assert one == two
        assert np.median(np.diff(sorted(one))) < 1.0  # fine enough for the narrow one
        assert axis.get_xlabel()
        assert axis.get_ylabel() == "probability density"


def test_charges_on_integer_ticks(tmp_path, drawn):
    figures.charges(tmp_path / "c.png", {"flow": np.array([0, 1, 0, 1]), "HMC": np.array([0, 0, 0, 0])}, "x")
    charge = np.zeros((20, 3, 1)) + np.arange(3)[:, None]
    walker = np.tile(np.arange(3)[:, None], (20, 1, 1))
    figures.replicas(tmp_path / "r.png", [1.0, 1.5, 2.0], charge, charge[:, 0], walker, 2)
    for axis in [*drawn[0].axes, *drawn[1].axes[:2]]:
        ticks = axis.get_yticks()
        np.testing.assert_array_equal(ticks, np.rint(ticks))


def measured(tau, value=1.0, error=0.1):
    """What a chain says about its charge; a frozen one has neither memory nor error."""
    return {"Q": {"tau_int": tau, "tau_int_error": 0.1 if tau else None}, "Q^2": {"value": value, "error": error}}


def test_qualities_compare_with_exact_and_published_values(tmp_path, drawn):
    common = {"lattice": [8], "steps": 400, "ess": 0.5, "ess_error": 0.1, "exact": {"Q^2": 0.5}}
    frozen = measured(None, 0.0, None)
    rows = [{**common, "beta": b, "flow": measured(2.0, 0.6), "hmc": frozen} for b in (1, 2)]
    figures.qualities(tmp_path / "q.png", rows, [(2.0, 0.24, "a"), (3.0, 0.34, "b")])
    quality, times, charge = drawn[0].axes
    assert times.get_ylabel() == r"$\tau_\mathrm{int}(Q)$ (proposals or trajectories)"
    assert quality.get_ylabel() == "ESS per configuration"
    found = {line.get_label(): line for line in quality.lines}
    assert found["a"].get_ydata()[0] == 0.24
    assert found["b"].get_xdata()[0] == 3.0
    quarter, half = (
        line.get_ydata()[0] for line in times.lines if line.get_label() in ("a quarter of a chain", "independent")
    )
    assert (quarter, half) == (100.0, 0.5)
    flow, hmc = (container[0].get_xydata() for container in charge.containers)
    np.testing.assert_allclose(flow, [[1, 1.2], [2, 1.2]])  # in units of the exact value
    assert len(hmc) == 0


def test_sample_sizes_name_theory_and_coupling(tmp_path, drawn):
    rows = [
        {
            "target": "a",
            "n_colours": 3,
            "lattice": [16, 16],
            "beta": 4.0,
            "ess": 0.5,
            "ess_error": 0.1,
            "ess_published": 0.4,
        },
        {
            "target": "b",
            "n_colours": 1,
            "lattice": [8, 4],
            "beta": 2.0,
            "ess": 0.6,
            "ess_error": 0.1,
            "ess_published": None,
        },
    ]
    figures.sample_sizes(tmp_path / "s.png", rows)
    (axis,) = drawn[0].axes
    assert axis.get_xlabel() == "effective sample size per configuration"
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == [r"SU(3), $16^2$, $\beta$ = 4", r"U(1), $8 \times 4$, $\beta$ = 2"]
    (published,) = (line for line in axis.lines if line.get_label() == "published")
    assert (published.get_xdata()[0], published.get_ydata()[0]) == (0.4, 0)
    assert figures.by_theory(rows, {"a": 1, "b": 2}) == {
        "SU(3), $16^2$": {r"$\beta$ = 4": 1},
        r"U(1), $8 \times 4$": {r"$\beta$ = 2": 2},
    }


def test_phi4_says_what_is_exact(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(phi4_report, "save", lambda figure, path: found.append(figure))
    number = {"value": 0.5, "error": 0.1}
    volumes = [{"extent": e, "ess": number, "ess_from_hmc": number, "acceptance": 0.6} for e in (6, 8)]
    names = ("M", "chi_2", "E")
    rows = [
        {"extent": e, "algorithm": a, "observable": o, "tau_int": 2.0, "tau_int_error": 0.1}
        for e in (6, 8)
        for a in ("flow", "HMC")
        for o in names
    ]
    phi4_report.slowing_down(tmp_path / "s.png", volumes, rows)
    columns = {"broken|HMC|measured": np.linspace(-1, 1, 24).reshape(4, 3, 2)}
    phi4_report.modes(tmp_path / "m.png", columns, [{"sampler": "HMC", "positive": number}])
    labels = [text.get_text() for text in found[0].legends[0].get_texts()]
    assert labels == ["independent", "flow (proposals)", "HMC (trajectories)"]
    assert all(axis.get_xlabel() == "extent $L / a$" for axis in found[0].axes)
    labels = [text.get_text() for text in found[1].axes[0].get_legend().get_texts()]
    assert labels == ["HMC: 0.50(10) at $M > 0$", "exact: 1/2 on either side"]
