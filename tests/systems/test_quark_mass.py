"""The demonstration of the quark mass on a small lattice in two dimensions, where it takes seconds."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gaugeflow.hadrons import point, propagator, two_point
from gaugeflow.io import read_table
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng, Streams, haar_links
from gaugeflow.systems import quark_mass, systems

SETTINGS = quark_mass.Settings(
    shape=(4, 4),
    beta=3.0,
    kappa=0.17,
    step=0.005,
    heavier=(),
    chains=8,
    training_blocks=2,
    blocks=5,
    quenched=1,
    burn_in=2,
    thin=1,
    exact=True,
    condensate_vectors=4,
    flow_time=0.1,
    flow_step=0.1,
)


def _stopping(stage, count):
    def progress(name, done, total):
        if name == stage and done == count:
            raise KeyboardInterrupt

    return progress


def test_exact_estimators_agree(tmp_path):
    """Linearised flow and central differences of the finite flow differ by less than four errors."""
    (result,) = quark_mass.run(out=tmp_path, seed=3, settings=SETTINGS).json
    json.dumps(result)
    rows = {(row["observable"], row["estimator"]): row for row in result["derivatives"]}
    for name in quark_mass.NAMES:
        linear, finite = (rows[name, label] for label in ("linearised flow", "flow, central"))
        assert abs(linear["value"] - finite["value"]) < 4 * min(linear["error"], finite["error"]), name
        plain, epsilon = (rows[name, label] for label in ("reweighting, central", "epsilon-reweighting"))
        assert abs(plain["value"] - epsilon["value"]) < 4 * min(plain["error"], epsilon["error"]), name
    assert result["linear_ess_flow"] == pytest.approx(result["ess_flow"], abs=0.05)
    assert result["linear_ess_plain"] == pytest.approx(result["ess_plain"], abs=0.05)


@pytest.mark.slow
def test_a_stopped_run_goes_on(tmp_path):
    """Without determinants: no finite steps, and the same numbers from a run that was stopped twice."""
    noisy = replace(SETTINGS, exact=False, vectors=1, condensate_vectors=1)
    (result,) = quark_mass.run(out=tmp_path / "whole", seed=3, settings=noisy).json
    assert {row["estimator"] for row in result["derivatives"]} == {
        "independent",
        "epsilon-reweighting",
        "linearised flow",
    }
    assert "ess_flow" not in result
    for stage, count in (("HMC at kappa 0.17", 4), ("measurements", 2)):
        with pytest.raises(KeyboardInterrupt):
            quark_mass.run(out=tmp_path / "parts", seed=3, settings=noisy, progress=_stopping(stage, count))
    with pytest.raises(ValueError, match="left by another run"):
        quark_mass.run(out=tmp_path / "parts", seed=4, settings=noisy)
    quark_mass.run(out=tmp_path / "parts", seed=3, settings=noisy)
    first, second = (read_table(tmp_path / name / "measurements.h5")[0] for name in ("whole", "parts"))
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-6, atol=1e-8, err_msg=name)
    assert not (tmp_path / "parts" / "unfinished").exists()


def test_pion_is_that_of_point_sources():
    """The noise of a time slice has the mean of point sources: 200 noises within four errors."""
    lattice = Lattice((4, 2))
    x, count = haar_links(Rng(1), lattice, 1, 1), 200
    operator = Wilson(lattice=lattice, links=x, kappa=0.15)
    streams = Streams.of(Rng(2), range(count), [0] * count)
    found = np.asarray(quark_mass.pion(streams, operator.with_links(np.tile(x, count))))
    exact = np.mean(
        [
            two_point(propagator(operator, point(operator, (0, x))), channels=("pion",)).values[0, 0, 2, 0].real
            for x in (0, 1)
        ]
    )
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - exact) < 4 * error
    assert error < 0.1 * exact


def test_it_is_a_system():
    assert systems()["quark-mass"].module == "gaugeflow.systems.quark_mass"
