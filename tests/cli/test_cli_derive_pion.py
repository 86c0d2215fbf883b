"""The mass of a pion as an observable of run files."""

import pytest

RUN = """
[lattice]
shape = [8, 4]
[group]
n = 1
[source]
beta = 2.0
[sampler]
chains = 8
burn_in = 20
configurations = 12
separation = 4
[target]
beta = [2.02, 1.98]
[flow]
kind = "residual"
convolutions = [0]
[training]
configurations = 96
[observables]
names = ["plaquette", "pion"]
{pion}
[output]
dir = "out"
"""


def test_derivative_of_the_mass(gaugeflow, tmp_path):
    """U(1) on 8 x 4, seed 1: the flow with finite steps and the linearised one agree within a tenth of their error."""
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(pion="kappa = 0.2\nwindow = [1, 4]\nsmearing = [1.0, 2]"))
    gaugeflow("sample", path, "--json")
    gaugeflow("train", path, "--json")
    result = gaugeflow("derive", path, "--json")
    rows = {row["estimator"]: row for row in result["derivatives"] if row["observable"] == "M_pi" and row["step"] > 0}
    flow, linear, epsilon = (rows[name] for name in ("flow, central", "linearised flow", "epsilon-reweighting"))
    assert abs(flow["value"] - linear["value"]) < 0.1 * linear["error"]
    assert linear["error"] < epsilon["error"]
    assert abs(linear["value"] - epsilon["value"]) < 4 * epsilon["error"]


@pytest.mark.parametrize(
    ("pion", "message"),
    [
        ("", "kappa: expected a number > 0 for 'pion', found 0"),
        ("kappa = 0.2\nwindow = [1, 5]", "window: expected"),
        ("kappa = 0.2\nwindow = [2, 3]", "window: expected"),
        ("kappa = 0.2\nsmearing = [1.0, 2.5]", "smearing: expected"),
    ],
)
def test_refused(gaugeflow, tmp_path, pion, message):
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(pion=pion))
    assert message in gaugeflow("derive", path, status=2)
