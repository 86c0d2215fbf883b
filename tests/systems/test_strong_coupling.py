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
    point = strong_coupling.Point(1.0, 0.1, batch=4, blocks=2)
    settings = strong_coupling.Settings(points=(point,), chains=4, trajectories=12, burn_in=6)
    done = []

    def stop(name, step, total):
        done.append((name.split()[-1], step))
        if len(done) in (1, 7):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            strong_coupling.run(out=tmp_path, seed=3, settings=settings, progress=stop)
    assert done[-1] == ("HMC", 4)
    blocks = [tmp_path / f"samples-4-beta1-kappa0.1-{k}.h5" for k in range(2)]
    written = [block.stat().st_mtime_ns for block in blocks]
    report = strong_coupling.run(out=tmp_path, seed=3, settings=settings, progress=stop)
    assert [block.stat().st_mtime_ns for block in blocks] == written
    assert [step for name, step in done[7:] if name == "HMC"] == list(range(4, 13))
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
