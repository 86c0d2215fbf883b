"""The assembly of T-REX on a 2D SU(2) lattice whose plaquettes are exact."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import iv

from gaugeflow.analysis import acceptance_gaussian
from gaugeflow.io import read_table
from gaugeflow.systems import systems
from gaugeflow.systems.trex import OBSERVABLES, Settings, run

BETAS = (1.8, 2.2, 2.6)
SETTINGS = Settings(
    shape=(8, 8),
    n_colours=2,
    betas=BETAS,
    chains=16,
    steps=60,
    burn_in=40,
    overrelax=1,
    flow_time=0.2,
    training_shape=(4, 4),
    training_blocks=4,
    checkpoint_every=30,
)


def plaquette(beta):
    return iv(2, beta) / iv(1, beta)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Report and folder of a run that was interrupted after half of its steps and continued."""
    folder = tmp_path_factory.mktemp("trex")
    calls = []

    def progress(stage, done, total):
        calls.append(stage)
        if stage == "exchange" and done == 37:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(out=folder, seed=5, settings=SETTINGS, progress=progress)
    assert calls.count("linear fit") == SETTINGS.training_blocks
    calls.clear()
    half = run(out=folder, seed=5, settings=replace(SETTINGS, steps=40), progress=lambda *stage: calls.append(stage[0]))
    assert "linear fit" not in calls
    assert half.json["steps"] == 40
    return run(out=folder, seed=5, settings=SETTINGS), folder


def test_every_replica_is_exact(finished):
    """2D SU(2), plaquette I2/I1 at each beta, with the exchange and without; 3.5 sigma, seed 5."""
    report, _ = finished
    found = {(r["beta"], r["algorithm"]): r for r in report.json["autocorrelations"] if r["observable"] == "plaquette"}
    assert set(found) == {*((beta, "exchange") for beta in BETAS), (BETAS[-1], "local")}
    for (beta, _), row in found.items():
        assert abs(row["mean"] - plaquette(beta)) < 3.5 * row["error"]
        assert row["error"] < 4e-3


def test_swaps(finished):
    """Flows raise the rate; without one it is that of a Gaussian whose mean follows from the exact plaquettes."""
    report, _ = finished
    for row, (low, high) in zip(report.json["swaps"], pairwise(BETAS), strict=True):
        gap = (high - low) * 64 * (plaquette(high) - plaquette(low))
        assert row["rate_without_flow"] == pytest.approx(acceptance_gaussian(gap), abs=0.03)
        assert row["rate"] > row["rate_without_flow"] + 5 * row["rate_error"]
        assert row["attempts"] == 30 * SETTINGS.chains


def test_report(finished):
    report, folder = finished
    json.dumps(report.json)
    assert [row["observable"] for row in report.json["gains"]] == list(OBSERVABLES)
    assert report.json["round_trips"]["count"] > 0
    assert len(report.tables) == 3
    assert report.figures[0].stat().st_size > 1000
    columns, attributes = read_table(folder / "history.h5")
    assert columns["exchange|measured"].shape == (60, 3, 4, 16)
    assert columns["local|measured"].shape == (60, 4, 16)
    np.testing.assert_array_equal(columns["exchange|measured"][:, :, 0], 0)  # no charge in two dimensions
    assert attributes["seed"] == 5
    assert "trex" in systems()


def test_interruptions_leave_no_trace(finished, tmp_path):
    _, folder = finished
    run(out=tmp_path, seed=5, settings=SETTINGS)
    first, second = (read_table(path / "history.h5")[0] for path in (folder, tmp_path))
    for name in first:
        if "core_seconds" not in name:
            np.testing.assert_array_equal(first[name], second[name])
