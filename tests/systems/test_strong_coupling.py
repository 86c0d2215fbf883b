"""QCD at strong coupling: weights by pseudofermions against exact determinants, and HMC beside the flow."""

import json

import numpy as np
import pytest

from gaugeflow.systems import strong_coupling


def test_shift_of_beta():
    assert strong_coupling.Coupling(1.0, 0.1, 3).shift == pytest.approx(0.0096)


def test_small_run(tmp_path):
    """beta = 1, kappa = 0.1, seed 3: joint and marginal weights differ by 1e-2; plaquette within 4 sigma of HMC.

    The reference in a large volume without quarks is 0.06013; the quarks add 0.0096 / 18 to leading order.
    """
    settings = strong_coupling.Settings(points=((1.0, 0.1),), batch=16, blocks=1, chains=4, trajectories=12, burn_in=6)
    report = strong_coupling.run(out=tmp_path, seed=3, settings=settings)
    (row,) = report.json
    json.dumps(row)
    assert 0.0 < row["conditional_variance"] < 1e-3
    assert row["joint_ess"] > 0.9
    assert row["marginal_ess"] == pytest.approx(row["joint_ess"], abs=0.02)
    found = {one["name"]: one for one in row["observables"]}
    assert abs(found["plaquette"]["pull"]) < 4.0
    assert abs(found["plaquette"]["flow"] - 0.0607) < 4.0 * found["plaquette"]["flow_error"]
    assert abs(found["pion 0"]["flow"] / found["pion 0"]["hmc"] - 1.0) < 0.02
    assert found["pion 1"]["flow"] > found["pion 2"]["flow"] > 0.0
    assert np.isfinite([one["pull"] for one in row["observables"]]).all()
    assert len(report.tables[1].rows) == 9
