"""``gaugeflow sample``, ``train`` and ``derive`` in a row, on 2D SU(3), where the answer is known exactly."""

import shutil

import numpy as np
import pytest
from scipy.special import iv

from gaugeflow import ensembles
from gaugeflow.analysis import format_error
from gaugeflow.filesystem import FileLock

RUN = """
[lattice]
shape = [8, 8]
[source]
beta = 4.0
[sampler]
chains = 8
burn_in = 20
configurations = 40
separation = 4
[target]
beta = [4.2, 3.8]
[flow]
{flow}
[training]
configurations = 96
batch = 8
{training}
[observables]
names = ["plaquette"]
[output]
dir = "out"
"""
RESIDUAL = 'kind = "residual"\nsweeps = 2\nconvolutions = [0]'
SLOPE = 0.07613
"""d<P>/dbeta in a large volume: the variance of Re tr P / 3 of one plaquette."""


@pytest.fixture
def sampled(gaugeflow, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(training="", flow=RESIDUAL))
    gaugeflow("sample", path, "--json")
    return path


def test_pipeline(gaugeflow, sampled, tmp_path, monkeypatch):
    trained = gaugeflow("train", sampled, "--json")
    assert [row["target"] for row in trained] == [4.2, 3.8]
    for row in trained:
        assert row["ess_flow"] > row["ess_plain"]
        assert (row["training_configurations"], row["held_out_configurations"]) == (72, 24)
    # killed once on the way: the second call goes on from what is on disk
    monkeypatch.setattr("gaugeflow.cli.derive._CHUNK", 1)
    measure = ensembles.measure_with_noise
    calls = []

    def killed(*arguments, **options):
        calls.append(len(arguments[0]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*arguments, **options)

    monkeypatch.setattr(ensembles, "measure_with_noise", killed)
    gaugeflow("derive", sampled, "--json", status=130)
    result = gaugeflow("derive", sampled, "--json")
    assert sum(calls[2:]) == 320 - calls[0]
    assert result["n_configurations"] == 320
    gaugeflow("train", sampled, "--json")  # to the same parameters
    calls.clear()
    assert gaugeflow("derive", sampled, "--json")["derivatives"] == result["derivatives"]
    assert not calls  # of which everything is measured already
    assert {(row["target"], row["map"]) for row in result["weights"]} == {
        (target, kind) for target in ("beta+0.2", "beta-0.2") for kind in ("plain", "flow")
    }
    rows = {(row["step"], row["estimator"]): row for row in result["derivatives"]}
    assert set(rows) == {
        (0.2, "reweighting"),
        (0.2, "reweighting, central"),
        (0.2, "flow"),
        (0.2, "flow, central"),
        (-0.2, "reweighting"),
        (-0.2, "flow"),
        (0.2, "epsilon-reweighting"),
        (0.2, "linearised flow"),
    }
    linear = rows[0.2, "linearised flow"]
    assert abs(linear["value"] - SLOPE) < 5 * linear["error"]
    assert linear["error"] < 0.6 * rows[0.2, "reweighting, central"]["error"]
    assert linear["n_effective"] is None
    epsilon = rows[0.2, "epsilon-reweighting"]
    assert abs(epsilon["value"] - SLOPE) < 5 * epsilon["error"]
    assert linear["error"] < 0.6 * epsilon["error"]
    central = rows[0.2, "flow, central"]
    assert abs(central["value"] - SLOPE) < 5 * central["error"]
    assert central["error"] < 0.6 * rows[0.2, "reweighting, central"]["error"]
    for name in ("measurements.h5", "derivatives.json", "derivatives.png", "log_weights.png"):
        assert (tmp_path / "out" / name).stat().st_size > 0


def test_scales_and_the_slope_of_their_ratio(gaugeflow, sampled):
    """Derivatives of flow times by the chain rule: the limit of small steps and central differences agree."""
    names = 'names = ["plaquette"]\nscales = [0.02, 0.03]\nflow_time = 0.3\nstep = 0.05'
    sampled.write_text(sampled.read_text().replace('names = ["plaquette"]', names))
    gaugeflow("train", sampled, "--json")
    result = gaugeflow("derive", sampled, "--json")
    rows = {(row["observable"], row["estimator"]): row for row in result["derivatives"] if row["step"] == 0.2}
    slopes = {row["estimator"]: row for row in result["slopes"] if row["step"] == 0.2}
    for name in ("t_0.02", "t_0.03", "t_0.02/t_0.03"):
        linear, central = rows[name, "linearised flow"], rows[name, "flow, central"]
        assert linear["error"] < 0.7 * rows[name, "epsilon-reweighting"]["error"]
        assert abs(linear["value"] - central["value"]) < 3 * max(linear["error"], central["error"])
    assert (
        rows["t_0.02", "linearised flow"]["value"] > 10 * rows["t_0.02", "linearised flow"]["error"]
    )  # smoother fields
    assert set(slopes) == {label for _, label in rows}
    assert "Slope k_1" in gaugeflow("derive", sampled)
    sampled.write_text(sampled.read_text().replace("scales = [0.02, 0.03]", "scales = [0.025]"))
    (sampled.parent / "out" / "measurements.h5").unlink()
    single = gaugeflow("derive", sampled, "--json")
    assert "slopes" not in single
    assert {row["observable"] for row in single["derivatives"]} == {"plaquette", "t_0.025"}


def test_adam_refines_the_fit(gaugeflow, sampled):
    (linear, _) = gaugeflow("train", sampled, "--json")
    sampled.write_text(RUN.format(training='method = "adam"\nsteps = 4\nlearning_rate = 0.02', flow=RESIDUAL))
    (adam, _) = gaugeflow("train", sampled, "--json")
    assert adam["ess_flow"] >= linear["ess_flow"]
    assert "adam" in gaugeflow("train", sampled)
    assert gaugeflow("train", sampled, "--json")[0]["ess_flow"] == adam["ess_flow"]  # continued: nothing left to do
    training = 'method = "adam"\nsteps = 4\nlearning_rate = 0.02\nloss = "path-gradient"\nclip = 5.0\npatience = 2'
    sampled.write_text(RUN.format(training=training, flow=RESIDUAL))
    assert "a checkpoint of another training" in gaugeflow("train", sampled, status=2)
    for path in (sampled.parent / "out").glob("training-*.h5"):
        path.unlink()
    (path_gradient, _) = gaugeflow("train", sampled, "--json")
    assert path_gradient["ess_flow"] >= linear["ess_flow"]


def test_sources_from_files(gaugeflow, sampled, tmp_path):
    """The same configurations, exported, give the same fit."""
    (expected, _) = gaugeflow("train", sampled, "--json")
    text = sampled.read_text()
    (tmp_path / "files.toml").write_text(text.replace('dir = "out"', 'dir = "files"\nformat = "hdf5"'))
    gaugeflow("sample", tmp_path / "files.toml", "--json")
    first, rest = text.split("[sampler]")
    rest = "[target]" + rest.split("[target]")[1].replace('"out"', '"files"').replace("= 96", "= 320")
    (tmp_path / "read.toml").write_text(f'{first}files = "files/files-*.h5"\n{rest}')
    (found, _) = gaugeflow("train", tmp_path / "read.toml", "--json")
    assert found["training_configurations"] == 240
    assert found["ess_flow"] == pytest.approx(expected["ess_flow"], abs=0.03)


def test_steps_in_the_wrong_order(gaugeflow, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(training="", flow=RESIDUAL))
    assert "run `gaugeflow sample" in gaugeflow("train", path, status=2)
    assert "run `gaugeflow train" in gaugeflow("derive", path, status=2)
    path.write_text(RUN.format(training="", flow=RESIDUAL).replace("[4.2, 3.8]", "4.0"))
    assert "beta: 4 is the source's own" in gaugeflow("train", path, status=2)
    path.write_text(RUN.format(training="", flow=RESIDUAL).replace('["plaquette"]', '["t2_e"]'))
    (tmp_path / "none.toml").write_text(path.read_text().split("[target]")[0] + '[output]\ndir = "x"')
    assert "missing: [target] beta or anisotropy" in gaugeflow("train", tmp_path / "none.toml", status=2)
    assert "flow_time: expected a number > 0 for ['t2_e'], found 0" in gaugeflow("derive", path, status=2)


def test_smeared_flow(gaugeflow, sampled, tmp_path):
    """The default flow; parameters of another form are refused."""
    sampled.write_text(RUN.format(training="", flow='kind = "smeared"'))
    trained = gaugeflow("train", sampled, "--json")
    assert all(row["ess_flow"] > row["ess_plain"] for row in trained)
    result = gaugeflow("derive", sampled, "--json")
    rows = {(row["step"], row["estimator"]): row for row in result["derivatives"]}
    assert abs(rows[0.2, "flow, central"]["value"] - SLOPE) < 5 * rows[0.2, "flow, central"]["error"]
    sampled.write_text(RUN.format(training="", flow=RESIDUAL))
    (tmp_path / "out/measurements.h5").unlink()
    assert "flow-beta+0.2.h5 is another flow" in gaugeflow("derive", sampled, status=2)


def test_forces(gaugeflow, sampled, tmp_path):
    """All links at once: noise of divergences belongs to configurations, so that parts give the same numbers."""
    flow = 'kind = "forces"\nforce_steps = [0, 1]\ngradient_steps = [1]\ncolours = 2'
    sampled.write_text(RUN.format(training="", flow=flow))
    trained = gaugeflow("train", sampled, "--json")
    assert all(row["ess_flow"] > row["ess_plain"] for row in trained)
    whole = gaugeflow("derive", sampled, "--json")["derivatives"]
    rows = {(row["step"], row["estimator"]): row for row in whole}
    linear, epsilon = rows[0.2, "linearised flow"], rows[0.2, "epsilon-reweighting"]
    assert abs(linear["value"] - SLOPE) < 4 * linear["error"]
    assert linear["error"] < 0.5 * epsilon["error"]
    central = rows[0.2, "flow, central"]
    assert abs(central["value"] - SLOPE) < 4 * central["error"]
    text = sampled.read_text()
    first, rest = text.split("[sampler]")
    rest = "[target]" + rest.split("[target]")[1].replace('"out"', '"shared"\n[parallel]\nparts = 3')
    sampled.write_text(f'{first}files = "out/ensemble.h5"\n{rest}')
    (tmp_path / "shared").mkdir()
    for path in (tmp_path / "out").glob("flow-*.h5"):
        shutil.copy(path, tmp_path / "shared")
    for row, alone in zip(gaugeflow("derive", sampled, "--json")["derivatives"], whole, strict=True):
        assert row["value"] == pytest.approx(alone["value"], rel=1e-9)
    sampled.write_text(RUN.format(training='method = "adam"', flow=flow))
    assert "expected 'least-squares' for kind = 'forces'" in gaugeflow("train", sampled, status=2)


def test_one_run_at_a_time(gaugeflow, sampled):
    for command in ("train", "derive"):
        with FileLock(sampled.parent / "out" / f"{command}.lock"):
            assert "out is in use by another run" in gaugeflow(command, sampled, status=2)


CHARGE = """
[lattice]
shape = [6, 6]
[group]
n = 1
[source]
beta = 1.0
[sampler]
chains = 16
burn_in = 20
configurations = 60
separation = 3
overrelaxation = 2
[target]
beta = 1.2
[flow]
kind = "residual"
convolutions = [0]
[training]
method = "least-squares"
[observables]
names = ["q_squared"]
[output]
dir = "out"
"""


def test_charge_of_u1(gaugeflow, tmp_path):
    """d<Q^2>/dbeta in 2D U(1) on 6^2 from 1.0 to 1.2: the difference of exact values, 4 sigma; seed 1.

    Z(theta) = sum_n int (d phi / 2 pi) exp(beta cos phi + i phi (n + theta / 2 pi)) ^ V gives <Q^2> = -(ln Z)'' at 0.
    """
    path = tmp_path / "run.toml"
    path.write_text(CHARGE)
    for command in ("sample", "train"):
        gaugeflow(command, path, "--json")
    rows = gaugeflow("derive", path, "--json")["derivatives"]
    assert [row["estimator"] for row in rows] == ["reweighting", "flow", "epsilon-reweighting"]  # the charge jumps
    difference = (charge_squared(1.2, 36) - charge_squared(1.0, 36)) / 0.2
    slope = (charge_squared(1.01, 36) - charge_squared(0.99, 36)) / 0.02
    for row, exact in zip(rows, (difference, difference, slope), strict=True):
        assert row["error"] < 0.3 * abs(exact)
        assert abs(row["value"] - exact) < 4 * row["error"], row


def test_independent_ensemble(gaugeflow, tmp_path):
    """d<P>/dbeta of 2D U(1) from an ensemble at the target, the finite difference of I1/I0; 4 sigma, seeds 1 and 2."""
    run = CHARGE.replace("q_squared", "plaquette")
    (tmp_path / "other.toml").write_text(
        run.replace("beta = 1.0", "beta = 1.2").replace("[sampler]", "[sampler]\nseed = 2").replace('"out"', '"other"')
    )
    path = tmp_path / "run.toml"
    path.write_text(run.replace("[target]\n", '[target]\nfiles = "other/ensemble.h5"\n'))
    gaugeflow("sample", tmp_path / "other.toml", "--json")
    for command in ("sample", "train"):
        gaugeflow(command, path, "--json")
    rows = {row["estimator"]: row for row in gaugeflow("derive", path, "--json")["derivatives"]}
    assert list(rows) == ["independent", "reweighting", "flow", "epsilon-reweighting", "linearised flow"]
    exact = (iv(1, 1.2) / iv(0, 1.2) - iv(1, 1.0) / iv(0, 1.0)) / 0.2
    for name in ("independent", "reweighting", "flow"):
        assert abs(rows[name]["value"] - exact) < 4 * rows[name]["error"]
    assert rows["independent"]["error"] > rows["flow"]["error"]
    assert gaugeflow("derive", path, "--json")["derivatives"] == list(rows.values())  # read, not measured again
    assert not list((tmp_path / "out").glob("*.pdf"))
    text = gaugeflow("derive", path, "--figures", "pdf")
    for name in ("derivatives", "log_weights"):
        assert (tmp_path / "out" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert f"{name}.pdf" in text
    for row in rows.values():
        assert format_error(row["value"], row["error"]) in text
        assert f"{row['value']:.8g}" not in text
    assert "d<O>/dbeta" in text
    assert "effective: number of configurations" in text


def charge_squared(beta, volume):
    """<Q^2> of 2D U(1) on a torus from the characters at angle theta: quadrature, and a difference in theta."""
    phi = 2 * np.pi * (np.arange(4001) - 2000) / 4001
    theta = 1e-3

    def log_z(t):
        n = np.arange(-12, 13)
        characters = np.mean(np.exp(beta * np.cos(phi)) * np.cos(np.outer(n + t / (2 * np.pi), phi)), axis=1)
        return np.log(np.sum(characters**volume))

    return -(log_z(theta) - 2 * log_z(0.0) + log_z(-theta)) / theta**2
