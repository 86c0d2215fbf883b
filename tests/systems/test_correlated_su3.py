"""The assembly of the main job, run on a 2D SU(2) lattice whose derivative is exact."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.special import iv

from gaugeflow.backend import use_backend
from gaugeflow.systems import systems
from gaugeflow.systems.correlated_su3 import Settings, run

EPSILON_GAIN = "gain_over_epsilon_equal_statistics"
KEYS = {
    "system",
    "lattice",
    "source",
    "target",
    "dbeta",
    "n_configurations",
    "ess_plain",
    "ess_flow",
    "variance_per_site_plain",
    "variance_per_site_flow",
    "derivatives",
    "seconds",
}


def test_every_estimator_finds_the_exact_slope(tmp_path):
    """2D SU(2) at beta 2.2 on 8 x 8: plaquette I2/I1; seed 5; every estimator within 3.5 sigma."""
    settings = Settings(
        shape=(8, 8),
        n_colours=2,
        beta=2.2,
        steps=(0.05, 0.2),
        chains=16,
        blocks=40,
        burn_in=60,
        thin=3,
        flow_time=0.2,
        training_shape=(4, 4),
        training_chains=32,
        training_steps=4,
    )
    report = run(out=tmp_path, seed=5, settings=settings)

    def plaquette(beta):
        return iv(2, beta) / iv(1, beta)

    assert all(set(result) >= KEYS for result in report.json)
    json.dumps(report.json)
    tiny = 1e-4
    for result in report.json:
        step = result["dbeta"]
        one_sided = (plaquette(2.2 + step) - plaquette(2.2)) / step
        central = (plaquette(2.2 + step) - plaquette(2.2 - step)) / (2 * step)
        slope = (plaquette(2.2 + tiny) - plaquette(2.2 - tiny)) / (2 * tiny)
        assert result["ess_flow"] > result["ess_plain"]
        assert set(result["seconds"]) == {"source", "training", "flow", "measurement"}
        for row in result["derivatives"]:
            if row["observable"] != "plaquette":
                continue
            label = row["estimator"]
            exact = slope if "linear" in label or "epsilon" in label else central if "central" in label else one_sided
            assert abs(row["value"] - exact) < 3.5 * row["error"], row
        gains = {row["estimator"]: row for row in result["derivatives"] if row["observable"] == "plaquette"}
        assert gains["independent"]["gain_equal_statistics"] == gains["epsilon-reweighting"][EPSILON_GAIN] == 1.0
        assert gains["linearised flow"][EPSILON_GAIN] > 4.0
    assert {p.name for p in report.figures} == {"log_weights.png", "training.png", "derivatives.png"}
    assert all(p.stat().st_size > 1000 for p in report.figures)
    assert (tmp_path / "measurements.h5").exists()
    assert (tmp_path / "flow.h5").exists()


SMALL = Settings(
    shape=(4, 4),
    n_colours=2,
    beta=2.2,
    steps=(0.1,),
    chains=4,
    blocks=6,
    burn_in=5,
    thin=2,
    overrelax=1,
    flow_time=0.1,
    training_shape=(4, 4),
    training_chains=8,
    training_blocks=3,
    training_steps=1,
)


def _statistics(report):
    names = ("observable", "estimator", "value", "error", "tau_int", "n_effective")
    return [{name: row[name] for name in names} for result in report.json for row in result["derivatives"]]


def test_an_interrupted_run_goes_on_to_the_same_numbers(tmp_path):
    whole = run(out=tmp_path / "whole", seed=3, settings=SMALL)
    out, stages = tmp_path / "pieces", []

    def until(stop):
        def progress(stage, done, total):
            stages.append((stage, done))
            if (stage, done) == stop:
                raise KeyboardInterrupt

        return progress

    for stop in (("source ensemble", 3), ("measurements", 8), ("independent ensemble 2.3", 2)):
        with pytest.raises(KeyboardInterrupt):
            run(out=out, seed=3, settings=SMALL, progress=until(stop))
    with pytest.raises(ValueError, match="unfinished was left by another run; remove it to start anew"):
        run(out=out, seed=4, settings=SMALL)
    pieces = run(out=out, seed=3, settings=SMALL, progress=until(None))
    assert _statistics(pieces) == _statistics(whole)
    assert pieces.json[0]["ess_flow"] == whole.json[0]["ess_flow"]
    work = [entry for entry in stages if entry[0] != "kernels"]
    assert len(work) == len(set(work))  # nothing is done twice
    assert not (out / "unfinished").exists()
    assert {path.name for path in out.iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}
    assert all(seconds > 0 for seconds in pieces.json[0]["seconds"].values())


def test_batches_on_a_folded_lattice_give_the_same_numbers(tmp_path):
    settings = replace(SMALL, shape=(8, 8), chains=2, training_steps=0)
    with use_backend("reference"):
        whole = run(out=tmp_path / "whole", seed=3, settings=settings)
        single = run(out=tmp_path / "single", seed=3, settings=replace(settings, batch=1))
    for one, other in zip(_statistics(single), _statistics(whole), strict=True):
        assert one["value"] == pytest.approx(other["value"], rel=1e-6), one
    assert single.json[0]["ess_flow"] == pytest.approx(whole.json[0]["ess_flow"], rel=1e-8)
    assert {p.name for p in whole.figures} == {"log_weights.png", "derivatives.png"}  # nothing was trained


def test_registry():
    assert next(iter(systems())) == "correlated-su3"


@pytest.mark.slow
@pytest.mark.parametrize(("options", "left"), [((), 0.3), (("--without-masks", "--step", "0.05"), 0.05)])
def test_script_of_log_weights(monkeypatch, capsys, options, left):
    """docs/scripts/log_weight_volumes.py on 4^4: the flow leaves a fraction of the variance, and without masks a small one."""
    script = Path(__file__).parents[2] / "docs" / "scripts" / "log_weight_volumes.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--extents", "4", "--configurations", "64", "--fit", "32", *options])
    runpy.run_path(str(script), run_name="__main__")
    lines = [
        line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(("4^4 plain", "4^4 flow"))
    ]
    plain, flow = (float(line[3].partition("(")[0]) for line in lines)
    assert flow < left * plain
