"""``gaugeflow derive`` with a section [sources], on 2D U(1), where plaquettes of different slices are independent."""

import numpy as np
import pytest
from scipy.special import ive

RUN = """
[lattice]
shape = [8, 4]
[group]
n = 1
[source]
beta = 2.0
[sampler]
chains = {chains}
burn_in = 20
configurations = 40
separation = 3
overrelaxation = 1
[sources]
operator = "temporal"
fields = ["plaquette"]
{sources}
[output]
dir = "out"
"""


def run_file(tmp_path, sources="", chains=8):
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(sources=sources, chains=chains))
    return path


def agrees(found, exact):
    """Within 4 sigmas at every time."""
    for one, value in zip(found, exact, strict=True):
        assert abs(one["value"] - value) < 4.0 * one["error"]


def test_correlator_of_plaquettes(gaugeflow, tmp_path, monkeypatch):
    """C(0) = 4 Var cos P and nothing elsewhere, by all estimators, from a run that was broken off; then with training."""
    path = run_file(tmp_path, "contact_every = 10")
    gaugeflow("sample", path, "--json")
    r1, r2 = (ive(k, 2.0) / ive(0, 2.0) for k in (1, 2))
    exact = np.array([4.0 * (0.5 * (1.0 + r2) - r1**2), 0.0, 0.0, 0.0, 0.0])
    monkeypatch.setattr("gaugeflow.ensembles.second_contact", None)
    with pytest.raises(AssertionError, match="NoneType"):
        gaugeflow("derive", path, "--json")
    monkeypatch.undo()
    monkeypatch.setattr("gaugeflow.ensembles.measure_sources", lambda *arguments: None)  # measured already
    result = gaugeflow("derive", path, "--json")
    monkeypatch.undo()
    assert (result["n_configurations"], result["n_training"], result["n_contact"]) == (320, 0, 32)
    assert result["fields"] == ["F0 time", "F0 up", "F0 down"]
    assert np.shape(result["coefficients"]) == (8, 3, 3)
    ((name, row),) = result["operators"].items()
    assert name == "temporal, 0"
    rho = row["residual_share"]["value"]
    assert rho < 0.3
    for kind in ("plain", "one-sided", "two-sided"):
        agrees(row["correlators"][kind], exact)
    errors = {kind: row["correlators"][kind][4]["error"] for kind in row["correlators"]}
    assert (errors["one-sided"] / errors["plain"]) ** 2 < 1.6 * rho
    assert (errors["two-sided"] / errors["plain"]) ** 2 < 2.0 * rho**2
    for file in ("sources.h5", "contact.h5", "correlators.json", "correlators.png"):
        assert (tmp_path / "out" / file).stat().st_size > 0

    run_file(tmp_path, 'sides = 1\nradius = 0\ncoefficients = "training"\ntraining = 20\ncontact_every = 5')
    assert "contact.h5 belongs to other parameters" in gaugeflow("derive", path, status=2)
    (tmp_path / "out" / "contact.h5").unlink()
    text = gaugeflow("derive", path)
    assert "fields leave rho = " in text
    assert "two-sided" not in text
    result = gaugeflow("derive", path, "--json")
    assert (result["n_configurations"], result["n_training"], result["n_contact"]) == (160, 160, 32)
    coefficients = np.array(result["coefficients"])
    assert (coefficients == coefficients[0]).all()
    agrees(result["operators"]["temporal, 0"]["correlators"]["one-sided"], exact)


def test_gradients(gaugeflow, tmp_path):
    """Fields with noise: the same correlator, and numbers that do not depend on the batches."""
    path = tmp_path / "run.toml"
    text = RUN.format(sources="contact_every = 20", chains=8).replace('["plaquette"]', '["gradients"]')
    path.write_text(text)
    gaugeflow("sample", path, "--json")
    result = gaugeflow("derive", path, "--json")
    assert result["fields"] == [f"G{n} temporal" for n in (0, 1, 2, 4, 6)]
    (row,) = result["operators"].values()
    r1, r2 = (ive(k, 2.0) / ive(0, 2.0) for k in (1, 2))
    for kind in ("plain", "one-sided", "two-sided"):
        agrees(row["correlators"][kind], np.array([4.0 * (0.5 * (1.0 + r2) - r1**2), 0.0, 0.0, 0.0, 0.0]))
    assert row["residual_share"]["value"] < 0.3
    other = tmp_path / "other.toml"
    given = text.replace("beta = 2.0\n", 'beta = 2.0\nfiles = "out/ensemble.h5"\n').replace('"out"\n', '"two"\n')
    before, _, after = given.partition("[sampler]")
    other.write_text(before + "[sources]" + after.partition("[sources]")[2] + "[parallel]\nparts = 2\n")
    again = gaugeflow("derive", other, "--json")["operators"]["temporal, 0"]["correlators"]
    for kind, found in row["correlators"].items():
        for one, two in zip(found, again[kind], strict=True):
            assert one["value"] == pytest.approx(two["value"], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ('operator = "scalar"', r"operator: 'scalar' needs 3 dimensions or more, found 2"),
        ('operator = "tensor"', r"operator: 'tensor' needs 4 dimensions, found 2"),
        ("stout = 2", r"stout: links are smeared for 'scalar' and 'tensor' only, found 2"),
        ("radius = 4", r"radius: expected 0 ... 3 for 8 time slices, found 4"),
        ("training = 5", r"training: expected with coefficients = 'training', and only there"),
        ("gradient_steps = [4, 2]", r"gradient_steps: expected increasing numbers, found [4, 2]"),
        ('fields = ["plaquette", "plaquette"]', r"fields: expected each family once"),
        ('fields = ["plaquette", "gradients"]', r"fields: expected 'gradients' alone"),
        ("sides = 3", "sides: expected 1 | 2, found 3"),
        ("[target]\nbeta = 2.1", "expected either [target] or [sources]"),
    ],
)
def test_refused(gaugeflow, tmp_path, sources, message):
    path = tmp_path / "run.toml"
    text = RUN.format(sources=sources, chains=8)
    key = sources.partition(" =")[0]
    if key in ("operator", "fields"):
        text = text.replace(f'{key} = "temporal"\n', "").replace(f'{key} = ["plaquette"]\n', "")
    path.write_text(text)
    assert message in gaugeflow("derive", path, status=2)


def test_too_little_to_fit(gaugeflow, tmp_path):
    """One chain cannot be fitted on others; training and contact terms must leave something."""
    path = run_file(tmp_path, chains=1)
    gaugeflow("sample", path, "--json")
    assert "'cross-fit' needs two chains or more" in gaugeflow("derive", path, status=2)
    run_file(tmp_path, 'coefficients = "training"\ntraining = 36', chains=1)
    assert "training: expected at most 35" in gaugeflow("derive", path, status=2)
    run_file(tmp_path, 'coefficients = "training"\ntraining = 20\ncontact_every = 6', chains=1)
    assert "which leaves 4" in gaugeflow("derive", path, status=2)
