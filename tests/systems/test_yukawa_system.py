"""Yukawa model: the four samplers against exact values on 2 x 2, the whole demo on a small lattice, shipped parameters."""

import json

import numpy as np
import pytest

from gaugeflow import io, tree
from gaugeflow.analysis import ess, gamma_method
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Yukawa
from gaugeflow.operators.dense import matrix
from gaugeflow.random import Rng
from gaugeflow.samplers import IndependenceMetropolis
from gaugeflow.samplers import run as run_chain
from gaugeflow.systems import yukawa
from gaugeflow.systems.yukawa import Settings
from gaugeflow.systems.yukawa_model import KINDS, Model, Point, train
from gaugeflow.systems.yukawa_samplers import Measured

SIGMAS = 3.5
EXACT = {"phi^2": 0.180756330521, "m^2": 0.124605330878, "m^4": 0.028370831720}
"""2 x 2, m^2 = -4, lambda = 8, g = 0.5, two flavours: by quadrature, repeated in tests/samplers/test_yukawa.py."""
SMALL = Settings(
    points=(Point(4, 0.6, 0.5, 10), Point(4, 0.5, 0.5, 4)),
    layers=2,
    hidden=(4,),
    batch=16,
    share=(1.0, 0.5, 0.5, 0.5),
    chains=4,
    proposals=12,
    trajectories=12,
)


@pytest.fixture(scope="module")
def smallest(tmp_path_factory):
    """All samplers of the 2 x 2 lattice, trained for a few seconds."""
    model = Model(Point(2, 0.5, 1.0, 40), layers=2, hidden=(4,))
    folder = tmp_path_factory.mktemp("training")
    share = dict.fromkeys(KINDS, 1.0)
    params, _ = train([model], Rng(3), folder, {}, lambda *progress: None, batch=32, share=share)
    return yukawa.samplers(Settings(), model, params[model.point.name])


class Moments:
    """phi^2, m^2 and m^4 of the scalar field, ``(3, batch)``."""

    name = "moments"

    def __call__(self, x):
        phi = x[:, 0, :] if x.ndim == 3 else x
        m = phi.mean(axis=0)
        return np.stack([(phi**2).mean(axis=0), m**2, m**4])


@pytest.mark.parametrize("kind", KINDS)
def test_samplers_are_exact(smallest, kind):
    """100 proposals in 256 chains, 3.5 standard deviations, seed 31; how well a flow is trained does not matter."""
    sampler = smallest[kind]
    if isinstance(sampler, IndependenceMetropolis):
        state = sampler.start(Rng(30), 256)
    else:
        state = sampler.init(smallest["marginal"].start(Rng(30), 256).x)
    chain = run_chain(sampler, Rng(31), state, 100, burn_in=20, observe=[Moments()], progress=False)
    assert chain.records["accepted"].mean() > 0.4
    for k, exact in enumerate(EXACT.values()):
        values = chain.records["moments"][:, k]
        found = gamma_method([values[:, c] for c in range(values.shape[1])])
        assert abs(found.value - exact) < SIGMAS * found.error
        assert found.error < 0.04 * exact


def test_observables_from_the_full_matrix(rng):
    """Condensate and quark propagator from the inverse of the matrix of all sites."""
    lattice, g = Lattice((8, 4)), 0.8
    operator = Yukawa(lattice=lattice, coupling=g)
    phi = 0.5 * rng.standard_normal((32, 3))
    measured = Measured(operator)
    found = dict(zip(measured.names, measured(phi), strict=True))
    time = lattice.coordinates[0, :, 0]
    for b in range(3):
        inverse = np.linalg.inv(matrix(operator.free)[0].real + g * np.diag(phi[:, b]))
        m = phi[:, b].mean()
        np.testing.assert_allclose(found["condensate M"][b], m * np.trace(inverse) / 32, rtol=1e-10)
        np.testing.assert_allclose(found["chi_2"][b], 32 * m**2, rtol=1e-12)
        slices = np.array([phi[time == t, b].mean() for t in range(8)])
        np.testing.assert_allclose(found["C(3)"][b], 4 * np.mean(slices * slices[(np.arange(8) + 3) % 8]), rtol=1e-10)
        blocks = [
            (-1.0 if t + 3 >= 8 else 1.0) * inverse[np.ix_(time == (t + 3) % 8, time == t)].sum() for t in range(8)
        ]
        np.testing.assert_allclose(found["G(3)"][b], sum(blocks) / 32, rtol=1e-10)


def test_demo_on_a_small_lattice(tmp_path):
    """Trains, samples, writes; a second call continues from what is there and gives the same numbers."""
    stages = []
    report = yukawa.run(out=tmp_path, seed=3, progress=lambda stage, done, total: stages.append(stage), settings=SMALL)
    assert {"training L4-g0.6-joint", "chain-L4-g0.5-Gibbs", "chain-L4-g0.5-HMC-pseudofermions"} <= set(stages)
    assert [table.title.split()[0] for table in report.tables] == ["samplers", "means", "agreement"]
    assert [len(table.rows) for table in report.tables] == [12, 12, 10]
    point = report.json["points"][0]
    assert [row["sampler"] for row in point["samplers"]] == [
        "marginal",
        "autoregressive",
        "joint",
        "Gibbs",
        *yukawa.HMC_KINDS,
    ]
    assert all(row["training_seconds"] > 0.0 for row in point["samplers"][:4])
    assert all(path.stat().st_size > 0 for path in report.figures)
    columns, attributes = io.read_table(tmp_path / "measurements.h5")
    assert columns["L4-g0.5|joint|measured"].shape == (12, 8, 8)
    assert attributes["seed"] == 3
    text = json.dumps(report.json)
    again = yukawa.run(out=tmp_path, seed=3, settings=SMALL)
    assert _numbers(json.loads(text)) == _numbers(again.json)


def _numbers(result):
    """The means, without the clock."""
    return [row["means"] for point in result["points"] for row in point["samplers"]]


def test_every_point_is_shipped():
    """Same structure as the parameters that the demo trains, and small."""
    params, settings = yukawa.shipped(), Settings()
    assert params.keys() == {point.name for point in settings.points}
    for point in settings.points:
        for kind, flow in Model(point).flows.items():
            expected = tree.flatten(flow.init(Rng(1)))
            found = tree.flatten(params[point.name][kind])
            assert {k: v.shape for k, v in found.items()} == {k: np.shape(v) for k, v in expected.items()}
    assert yukawa.SHIPPED.stat().st_size < 1_600_000


@pytest.mark.parametrize(("kind", "least"), [("marginal", 0.6), ("autoregressive", 0.6), ("joint", 0.6)])
def test_shipped_flows(kind, least):
    """ESS of 512 proposals on 8 x 8 at g = 0.5, seed 9."""
    model = Model(Settings().points[0])
    sampler = yukawa.samplers(Settings(), model, yukawa.shipped()[model.point.name])[kind]
    assert ess(sampler.propose(Rng(9), 512)[1]).value > least
