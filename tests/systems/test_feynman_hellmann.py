"""The Feynman-Hellmann run: derivatives of correlators along fields, masses as functions of means, the whole assembly."""

import json

import numpy as np
import pytest

from cases.fields import links
from gaugeflow.actions import WilsonAction
from gaugeflow.ensembles import Measurements
from gaugeflow.groups import SU
from gaugeflow.hadrons import Gaussian
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng
from gaugeflow.systems import feynman_hellmann_report as report
from gaugeflow.systems.feynman_hellmann import Settings, run
from gaugeflow.systems.masses import columns, ground_state, pion_mass
from gaugeflow.systems.pion import Pion

LATTICE = Lattice((4, 2, 2, 2))


@pytest.mark.parametrize(("precision", "tolerance", "accuracy"), [(64, 1e-13, 1e-7), (32, 1e-6, 1e-4)])
def test_derivative_of_the_correlator_along_a_field(precision, tolerance, accuracy):
    """Against fourth-order differences of correlators in double precision, smearing of source and sink included."""
    x = links(LATTICE, 3, 8)
    field = WilsonAction(LATTICE, 1.0).grad(x)
    rng = [Rng(4).stream(i) for i in range(8)]

    def pion(bits, goal):
        return Pion(LATTICE, 0.11, (0, 1), Gaussian(1.0, 2), goal, bits)

    def at(step):
        y = SU(LATTICE).retract(x, field, step)
        return pion(64, 1e-13).correlator(y, pion(64, 1e-13).propagators(rng, y))

    h = 1e-2
    expected = (8.0 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12.0 * h)
    small = 1e-5
    ahead, behind = (SU(LATTICE).retract(x, field, sign * small) for sign in (1, -1))
    chosen = pion(precision, tolerance)
    found = chosen.along(rng, x, chosen.propagators(rng, x), ahead, behind, small)
    np.testing.assert_allclose(found, expected, atol=accuracy * np.abs(expected).max())


def _measured(chains, values):
    data = Measurements()
    for number, row in enumerate(values):
        data.add(np.full(chains, number), np.arange(chains), row)
    return data


def test_correlator_without_a_mass_in_the_window():
    """Flat behind t = 1: said in words."""
    flat = np.array([10.0, 5.0, 5.0, 5.0, 5.0])
    rows = [columns("pion", (1.0 + 0.1 * k) * flat[:, None] * np.ones(2)) for k in range(6)]
    with pytest.raises(ValueError, match="no effective mass from t = 2 on"):
        pion_mass(_measured(2, rows), (2, 4), 8)


def test_mass_and_its_derivative_of_exact_correlators():
    """C = Z cosh(m (t - T/2)) / cosh(m T/2) with Z that fluctuates: the mass is m, and dm / d lambda follows from dC."""
    rng = np.random.default_rng(2)
    t, mass, slope = np.arange(9), 0.5, 0.7
    shape = ground_state(t, np.array([1.0, mass]), 16)
    change = (ground_state(t, np.array([1.0, mass + 1e-5]), 16) - shape) * (slope / 1e-5)
    rows = []
    for _ in range(50):
        noise = 1e-3 * rng.normal(size=(9, 4)) * shape[:, None]
        z = 1.0 + 0.1 * rng.normal(size=4)
        row = columns("pion", z * shape[:, None] + noise)
        row |= {f"linear|{name}": v for name, v in columns("pion", change[:, None] * z + 0.1 * noise).items()}
        row["linear|residual"] = row["linear|operator"] = rng.normal(size=4)
        row |= {f"flow{s}|log_weight": np.zeros(4) for s in ("+0.01", "-0.01")}
        row |= {
            f"flow{s}|{name}": v
            for s, sign in (("+0.01", 1), ("-0.01", -1))
            for name, v in columns("pion", z * (shape + 0.01 * sign * change)[:, None] + noise).items()
        }
        rows.append(row)
    data = _measured(4, rows)
    pion, fitted = pion_mass(data, (3, 8), 16)
    assert abs(fitted.values[1] - mass) < 4 * fitted.errors[1] < 1e-3
    means = np.array([float(data.series(name).mean) for name in pion.names])
    assert abs(pion.function(means) - fitted.values[1]) < 1e-9  # the fit of the library, and the function of means
    found = report.derivatives(pion, data, {0.01: data, -0.01: data}, 0.01)
    assert set(found) == set(report.CENTRAL)
    for label in ("flow, central", "linearised flow"):
        assert abs(float(found[label].mean) - slope) < 0.02, label
    assert abs(float(found["independent"].mean)) < 1e-9  # the same ensemble twice


TINY = Settings(
    shape=(4, 2, 2, 2),
    beta=2.0,
    kappa=0.1,
    quark_smearing=Gaussian(1.0, 1),
    source_times=(0,),
    window=(0, 2),
    chains=8,
    blocks=5,
    burn_in=5,
    thin=2,
    overrelax=1,
    training_shape=(2, 2, 2, 2),
    training_chains=16,
    training_blocks=2,
    forces=(0,),
    gradients=(),
    colours=2,
    stout_steps=1,
    flow_time=0.1,
)


def test_assembly_interrupted_and_complete(tmp_path):
    """4 x 2^3 at beta = 2, seed 3: all estimators agree within 4 sigma with the linearised flow."""
    stops = iter((("measurements", 16), ("ensemble at lambda = 0.01", 2)))

    def until(stop):
        def progress(stage, done, total):
            if (stage, done) == stop:
                raise KeyboardInterrupt

        return progress

    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            run(out=tmp_path, seed=3, settings=TINY, progress=until(stop))
    found = run(out=tmp_path, seed=3, settings=TINY)
    result = json.loads(json.dumps(found.json[0]))
    assert result["n_configurations"] == 40
    assert result["ess_flow"] > result["ess_plain"]
    for name in ("M_pi", "t2_e_electric", "t2_e_magnetic"):
        rows = {row["estimator"]: row for row in result["derivatives"] if row["observable"] == name}
        assert set(rows) == set(report.CENTRAL)
        exact = rows["linearised flow"]
        for label, row in rows.items():
            distance = abs(row["value"] - exact["value"])
            assert distance < 4 * np.hypot(row["error"], exact["error"]), (name, label)
        assert exact["gain_over_epsilon_equal_statistics"] > 1.0
    assert {path.name for path in found.figures} == {"log_weights.png", "feynman_hellmann.png"}
    assert all(path.stat().st_size > 1000 for path in found.figures)
    assert not (tmp_path / "unfinished").exists()
