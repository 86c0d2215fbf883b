"""The trivialising system: trained on the spot for 2D U(1), and as installed."""

import json

import numpy as np
import pytest
from scipy.special import iv

from gaugeflow import io
from gaugeflow.actions import WilsonAction
from gaugeflow.errors import FormatError
from gaugeflow.lattice import Lattice
from gaugeflow.priors import Haar
from gaugeflow.random import Rng
from gaugeflow.systems import systems
from gaugeflow.systems.trivialising import QUICK, Settings, Target, exact_plaquette, load, run, shipped


def test_u1(tmp_path):
    """U(1) at beta = 1 on 8 x 8, trained on 4 x 4: plaquette 0.4463899659 within 3.5 sigma (seed 4), ESS above 90 %."""
    target = Target(1, 1.0, (8, 8), (4, 4), n_classes=None, knots=3, steps=5)
    settings = Settings((target,), 64, 6, newton_blocks=3, held_out_blocks=1, sample_blocks=4)
    stages = []
    report = run(out=tmp_path, seed=4, settings=settings, progress=lambda stage, done, total: stages.append(stage))
    (row,) = report.json
    json.dumps(row)
    assert row["plaquette_exact"] == pytest.approx(0.4463899659, abs=1e-10)
    assert abs(row["pull"]) < 3.5
    assert row["ess"] > 0.9
    assert row["acceptance"] > 0.8
    assert row["step_error"] < 0.02
    assert row["parameters"] == 5 * 3
    assert {stage.split(": ")[1] for stage in stages} == {"linear fit", "Gauss-Newton", "sampling"}
    assert {path.name for path in report.figures} == {"ess.png", "log_weights.png"}
    assert all(path.stat().st_size > 1000 for path in report.figures)
    columns, attributes = io.read_table(tmp_path / f"samples-{target.name}.h5")
    assert len(columns["log_weight"]) == 256
    assert attributes["ess"] == row["ess"]
    again = run(out=tmp_path, seed=4, settings=settings)
    assert again.json[0]["ess"] == row["ess"]
    assert again.json[0]["seconds"]["training"] < row["seconds"]["training"]


FLOOR = {"u1-2d-beta2": 0.15, "su3-4d-beta2": 0.65}
"""ESS below which something is wrong, where the flows are not good; 0.9 elsewhere."""


@pytest.mark.slow
@pytest.mark.parametrize("target", QUICK.targets, ids=lambda target: target.name)
def test_shipped(target):
    """Variance of 64 log-weights of installed flows: below what their ESS (and the published one) allows (seed 6)."""
    learned = shipped(target)
    x = Haar(learned.flow.lattice, target.n_colours).sample(Rng(6), 64)
    y, log_det = learned.flow.forward(learned.params, x)
    log_weight = log_det - WilsonAction(learned.flow.lattice, target.beta).value(y)
    assert np.var(log_weight) < -np.log(target.published or FLOOR.get(target.name, 0.9))


def test_shipped_flows_are_complete():
    """Flows of all targets are there, with at most a few hundred parameters."""
    for target in Settings().targets:
        learned = shipped(target)
        assert learned.flow.n_colours == target.n_colours
        assert learned.flow.shape == learned.params["c"].shape
        assert learned.params["c"].size < 300


def test_exact_plaquettes():
    """Character expansions of SU(2) and SU(3), U(1) on a torus."""
    assert exact_plaquette(2, 2.2, 64) == pytest.approx(iv(2, 2.2) / iv(1, 2.2), abs=1e-12)
    assert exact_plaquette(3, 6.0, 64) == pytest.approx(0.4225317396, abs=1e-10)
    assert exact_plaquette(1, 7.0, 64) == pytest.approx(0.9257003644, abs=1e-10)
    assert exact_plaquette(1, 7.0, 256) == pytest.approx(0.9255322109, abs=1e-10)


def test_foreign_files(tmp_path):
    path = tmp_path / "x.h5"
    io.write_params(path, {"c": np.zeros((1, 2))})
    with pytest.raises(FormatError, match="not a trivialising flow"):
        load(path, Lattice((4, 4)))
    io.write_params(
        path, {"c": np.zeros((1, 2))}, attributes={"classes": "[[[[0, 0], [1, 2]]]]", "n_colours": 3, "steps": 1}
    )
    with pytest.raises(FormatError, match="not a trivialising flow"):
        load(path, Lattice((4, 4)))


def test_registered():
    assert "trivialising" in systems()
