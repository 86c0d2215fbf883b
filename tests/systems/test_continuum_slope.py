"""The continuum slope on lattices too small for physics: estimators agree, a killed run goes on to the same numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gaugeflow.analysis import Series, gamma_method, stack
from gaugeflow.systems import continuum_slope, systems
from gaugeflow.systems.continuum_slope import Coupling, Settings, layout, run
from gaugeflow.systems.scales import QUANTITIES, Levels, quantities, quantities_gradient, slopes, times_and_ratio
from gaugeflow.systems.slope_report import extrapolate, neighbours

TINY = Settings(
    couplings=tuple(Coupling(beta, (4, 4, 4, 4), 0.6, images=beta == 5.6) for beta in (5.58, 5.6, 5.62)),
    levels=(0.1, 0.12),
    burn_in=20,
    thin=2,
    recorded=0.1,
)


def test_run(tmp_path, monkeypatch):
    stopped = []

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("measurements 5.6", 16) and not stopped:
            stopped.append(stage)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(out=tmp_path, seed=3, settings=TINY, progress=stop)
    report = run(out=tmp_path, seed=3, settings=TINY)
    assert stopped
    assert not (tmp_path / "unfinished").exists()
    json.dumps(report.json)
    found = {c["beta"]: {e["estimator"]: e for e in c["estimates"]} for c in report.json["couplings"]}
    linear = {"epsilon-reweighting", "linearised flow", "linearised flow, fitted to k_1"}
    finite = {"reweighting", "reweighting, central", "flow", "flow, central"}
    assert set(found[5.58]) == set(found[5.62]) == linear
    assert set(found[5.6]) == linear | finite
    best = found[5.6]["linearised flow"]["dt_a/dbeta"]
    for label in linear | finite:
        other = found[5.6][label]["dt_a/dbeta"]
        assert abs(other["value"] - best["value"]) < 4 * max(other["error"], best["error"]), label
    assert set(report.json["extrapolations"]) == {"none", "epsilon-reweighting", "linearised flow, fitted to k_1"}
    assert all(path.stat().st_size > 0 for path in report.figures)
    assert len(report.tables[1].rows) == 3 + 7 + 3 + 2


def test_it_is_a_system():
    assert systems()["continuum-slope"].module == continuum_slope.__name__


def test_quantities_have_their_gradient():
    at = np.array([2.8, 3.3, 9.0, 11.5])
    for j, step in enumerate(1e-3 * at):
        unit = np.eye(4)[j] * step
        near = quantities(at + unit) - quantities(at - unit)
        far = quantities(at + 2 * unit) - quantities(at - 2 * unit)
        np.testing.assert_allclose(quantities_gradient(at)[:, j], (8 * near - far) / (12 * step), rtol=1e-8, atol=1e-10)


def ensemble(u: float, seed: int) -> Series:
    """t^2 E = 0.1 t + 0.004 t^2 u, nearly, at six flow times, and its derivative with du/dbeta = -1."""
    times = np.linspace(2.0, 4.5, 6)
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(8, 50, 1)) * 1e-3 + rng.normal(size=(8, 50, 6)) * 1e-4
    slope = rng.normal(size=(8, 50, 6)) * 1e-3
    energies = Series.from_chains(list(0.1 * times + 0.004 * u * times**2 + noise))
    derivatives = Series.from_chains(list(-0.004 * times**2 + slope))
    return slopes(energies, derivatives, Levels(tuple(times.tolist()), (0.3, 0.35)))


def exact(u: float) -> tuple[float, float]:
    """1 / t_0.3 and t_0.3 / t_0.35, from the quadratic equation."""
    a, b = (2 * c / (0.1 + np.sqrt(0.01 + 0.016 * u * c)) for c in (0.3, 0.35))
    return 1 / a, a / b


def test_slope_is_that_of_the_ratio():
    h = 1e-4
    (u_up, r_up), (u_down, r_down) = exact(0.5 + h), exact(0.5 - h)
    found = dict(zip(QUANTITIES, ensemble(0.5, 1).split(), strict=True))
    estimate = gamma_method(found["k_1"])
    assert abs(estimate.value - (r_up - r_down) / (u_up - u_down)) < 4 * estimate.error + 2e-3  # linear interpolation


def test_extrapolation_with_slopes_is_sharper():
    ensembles = [ensemble(u, seed) for seed, u in enumerate((0.3, 0.5, 0.7))]
    values = [stack(*e.split()[:2]) for e in ensembles]
    with_slopes = [stack(*e.split()[:2], e.split()[-1]) for e in ensembles]
    alone, constrained = extrapolate(values, False), extrapolate(with_slopes, True)
    assert (alone.dof, constrained.dof) == (1, 4)
    assert constrained.errors[0] < alone.errors[0]
    quotient = neighbours(*ensembles[:2])
    assert quotient.value == pytest.approx(
        (values[1].mean[1] - values[0].mean[1]) / (values[1].mean[0] - values[0].mean[0])
    )


def test_times_and_ratio_are_those_of_the_means():
    times = (1.0, 1.5, 2.0)
    series = Series.from_chains([np.array([[0.1, 0.2, 0.3], [0.12, 0.21, 0.32], [0.1, 0.19, 0.3]])])
    a, b, ratio = times_and_ratio(series, Levels(times, (0.15, 0.25)))
    assert ratio.mean == pytest.approx(a.mean / b.mean)
    assert float(a.mean) == pytest.approx(1.0 + 0.5 * (0.15 - series.mean[0]) / (series.mean[1] - series.mean[0]))


@pytest.mark.parametrize(
    ("shape", "size", "lanes"), [((16, 16, 16, 16), 1, 8), ((16, 16, 12, 12), 2, 8), ((12, 12, 12, 12), 4, 4)]
)
def test_layout_fills_the_registers(shape, size, lanes):
    lattice, found = layout(shape, 8)
    assert found == size
    assert lattice.n_folds * found == lanes
