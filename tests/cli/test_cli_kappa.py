"""``gaugeflow train`` and ``derive`` with respect to kappa, by noise and with exact determinants, on a small lattice."""

import json
import shutil

import numpy as np
import pytest

from gaugeflow.io import EnsembleFile, read_table, write_table

RUN = """
[lattice]
shape = [4, 4]
[group]
n = 1
[source]
beta = 2.0
[sampler]
chains = 8
burn_in = 6
configurations = 10
separation = 1
seed = 1
[fermions]
kappa = 0.15
method = "{method}"
[hmc]
steps = 4
[target]
kappa = [0.155]
vectors = 2
{target}
[flow]
{flow}
[training]
configurations = 48
[observables]
names = ["plaquette", "polyakov", "condensate", "pion_correlator"]
[output]
dir = "out"
"""


@pytest.fixture
def runfile(tmp_path):
    def write(method="determinant", target="", flow=""):
        path = tmp_path / "run.toml"
        path.write_text(RUN.format(method=method, target=target, flow=flow))
        return path

    return write


def _polyakov(path, columns):
    """Real part of the Polyakov loop of the configurations that were measured, by NumPy."""
    with EnsembleFile.open(path) as file:
        places = {key: row for row, key in enumerate(zip(file.chain, file.id, strict=True))}
        links = file.read(0, len(places)).links
    loop = np.eye(1)
    for t in range(4):
        loop = loop @ links[:, 0, t]
    means = np.trace(loop, axis1=-2, axis2=-1).real.mean(axis=-1)
    return means[[places[key] for key in zip(columns["chain"], columns["id"], strict=True)]]


def test_noise_and_determinants_agree(gaugeflow, runfile, tmp_path):
    """Epsilon-reweighting of the plaquette by noise and exactly, on the same links, within four errors."""
    path = runfile()
    gaugeflow("sample", path, "--json")
    found = {}
    for method in ("determinant", "pseudofermion"):
        runfile(method)
        for name in ("measurements.h5", "flow-kappa+0.005.h5"):
            (tmp_path / "out" / name).unlink(missing_ok=True)
        (trained,) = gaugeflow("train", path, "--json")
        assert (trained["parameter"], trained["training_configurations"]) == ("kappa", 36)
        assert 0.0 < trained["ess_plain"] <= 1.0
        result = gaugeflow("derive", path, "--json")
        assert result["n_configurations"] == 80
        rows = {(row["observable"], row["estimator"]): row for row in result["derivatives"]}
        assert {key[1] for key in rows} == {"epsilon-reweighting", "linearised flow"}
        assert {row["parameter"] for row in rows.values()} == {"kappa"}
        found[method] = rows
        columns, _ = read_table(tmp_path / "out" / "measurements.h5")
        assert np.isfinite(columns["linear|residual"]).all()
        np.testing.assert_allclose(columns["polyakov"], _polyakov(tmp_path / "out/ensemble.h5", columns), atol=1e-13)
    for name in ("plaquette", "condensate"):
        exact, noisy = (found[m][name, "epsilon-reweighting"] for m in ("determinant", "pseudofermion"))
        assert abs(exact["value"] - noisy["value"]) < 4 * noisy["error"], name
    assert json.loads((tmp_path / "out" / "derivatives.json").read_text())["n_configurations"] == 80
    text = path.read_text()
    for old, new, message in (
        ("kappa = 0.15\n", "kappa = 0.16\n", r"[fermions] kappa was [0.15] and is [0.16]"),
        ("kappa = 0.15\n", "kappa = 0.15\nflavours = 4\n", r"[fermions] flavours was [2] and is [4]"),
        ("beta = 2.0\n", "beta = 2.2\n", "[source] beta was 2.0 and is 2.2"),
    ):
        path.write_text(text.replace(old, new))
        for command in ("train", "derive") if "flavours" in new else ("train",):  # other steps have other flows
            assert f"sampled with another action than that of {path}: {message}" in gaugeflow(command, path, status=2)
    path.write_text(text.replace('"polyakov"', '"q_squared"'))
    assert "expected no q_squared with a target kappa in 2 dimensions" in gaugeflow("derive", path, status=2)


def test_measurements_are_written_piece_by_piece_and_shared(gaugeflow, runfile, tmp_path, monkeypatch):
    """Who is interrupted has lost 16 configurations at most, and several processes do not measure the same ones."""
    path = runfile()
    gaugeflow("sample", path, "--json")
    gaugeflow("train", path, "--json")
    with monkeypatch.context() as patch:

        def written(file, *arguments, **options):
            write_table(file, *arguments, **options)
            raise KeyboardInterrupt

        patch.setattr("gaugeflow.cli.pieces.write_table", written)
        gaugeflow("derive", path, status=130)
    assert len(read_table(tmp_path / "out/measurements.h5")[0]["id"]) == 16
    whole = gaugeflow("derive", path, "--json")["derivatives"]
    sampler = RUN[RUN.index("[sampler]") : RUN.index("[fermions]")]
    text = path.read_text().replace(sampler, "").replace("beta = 2.0", 'beta = 2.0\nfiles = "out/ensemble.h5"')
    path.write_text(text.replace('dir = "out"', 'dir = "shared"\n[parallel]\nparts = 2'))
    (tmp_path / "shared").mkdir()
    shutil.copy(tmp_path / "out/flow-kappa+0.005.h5", tmp_path / "shared")
    shared = gaugeflow("derive", path, "--json")["derivatives"]
    sizes = [len(read_table(tmp_path / f"shared/part-{k}/measurements.h5")[0]["id"]) for k in range(2)]
    assert sizes == [40, 40]
    one, other = ({(r["observable"], r["estimator"]): r for r in rows} for rows in (whole, shared))
    assert other.keys() == one.keys()
    for key, row in one.items():  # noise belongs to a configuration, not to its batch
        assert other[key]["value"] == pytest.approx(row["value"], rel=1e-6), key


def test_forces(gaugeflow, runfile):
    """Fields without masks follow the action of the quarks as well."""
    path = runfile(flow='kind = "forces"\nforce_steps = [0, 1]\ngradient_steps = [1]')
    gaugeflow("sample", path, "--json")
    (trained,) = gaugeflow("train", path, "--json")
    assert trained["ess_flow"] > trained["ess_plain"]
    rows = gaugeflow("derive", path, "--json")["derivatives"]
    rows = {row["estimator"]: row for row in rows if row["observable"] == "plaquette"}
    linear, epsilon = rows["linearised flow"], rows["epsilon-reweighting"]
    assert abs(linear["value"] - epsilon["value"]) < 4 * epsilon["error"]
    assert linear["error"] < epsilon["error"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("beta = [2.1]", "expected either beta or anisotropy, or kappa where there are quarks"),
        ('files = ["a", "b"]', "files: expected 1 patterns"),
    ],
)
def test_targets_that_make_no_sense(gaugeflow, runfile, target, message):
    assert message in gaugeflow("train", runfile(target=target), status=2)


def test_targets_of_one_name(gaugeflow, runfile):
    path = runfile()
    path.write_text(path.read_text().replace("kappa = [0.155]", "kappa = [0.155, 0.1550000001]"))
    message = "kappa: 0.155 and 0.1550000001 are the same up to six digits of the step"
    assert message in gaugeflow("train", path, status=2)


def test_quark_observables_need_a_target_kappa(gaugeflow, runfile):
    path = runfile()
    path.write_text(path.read_text().replace("kappa = [0.155]", "beta = [2.1]"))
    assert "belong to a target kappa" in gaugeflow("derive", path, status=2)
