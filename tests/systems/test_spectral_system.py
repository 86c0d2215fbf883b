"""The spectral system: densities of loops, gradients of levels, training and sampling at a small size, shipped parameters."""

import json

import numpy as np
import pytest
from scipy.special import iv

from gaugeflow import tree
from gaugeflow.actions import WilsonAction
from gaugeflow.flows import HalfLoop
from gaugeflow.lattice import Lattice
from gaugeflow.priors import Haar
from gaugeflow.random import Rng
from gaugeflow.sites.matrix import mul_dag
from gaugeflow.systems import spectral, systems
from gaugeflow.systems.loop_density import LoopDensity, torus
from gaugeflow.systems.spectral_training import Level, fit, haar


def diagonal(angles):
    """Diagonal matrices of eigen-angles ``(n, ...)``."""
    n, shape = angles.shape[0], angles.shape[1:]
    entries = np.zeros((n, n, *shape), complex)
    for i in range(n):
        entries[i, i] = np.exp(1j * angles[i])
    return tuple(entries[i, j].reshape(1, -1) for i in range(n) for j in range(n))


@pytest.mark.parametrize(("n", "beta"), [(2, 2.7), (3, 6.0)])
def test_densities(n, beta):
    """Normalised; one plaquette has the Boltzmann factor; mean plaquettes to the power of the area; f_1 * f_1 = f_2."""
    angles, measure = torus(n)
    measure = (measure / measure.sum()).reshape(1, -1)
    trace = np.cos(angles).mean(axis=0).reshape(1, -1)
    one = LoopDensity(n, beta, 1).evaluate(diagonal(angles))[0]
    assert np.ptp(one - beta * trace) < 2e-5  # the series is cut off where the density is smallest
    mean = np.sum(measure * trace * np.exp(one))
    for area in (1, 2, 8):
        density = np.exp(LoopDensity(n, beta, area).evaluate(diagonal(angles))[0])
        assert np.sum(measure * density) == pytest.approx(1.0, abs=1e-12)
        assert np.sum(measure * trace * density) == pytest.approx(mean**area, abs=1e-12)
    if n == 2:
        assert mean == pytest.approx(iv(2, beta) / iv(1, beta), abs=1e-10)
    a, p = haar(Rng(1), n, 20000), haar(Rng(2), n, 2)
    loop = tuple(np.broadcast_to(entry[:1], (2, 1)) for entry in p)  # one matrix, for a Monte Carlo convolution
    first, second = (LoopDensity(n, beta, 1).evaluate(x)[0] for x in (a, mul_dag(loop, a)))
    samples = np.exp(first + second)
    error = samples.std() / np.sqrt(samples.size)
    expected = np.exp(LoopDensity(n, beta, 2).evaluate(loop)[0][0, 0])
    assert abs(samples.mean() - expected) < 4.0 * error  # 20000 points, seeds 1 and 2


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("loss", ["divergence", "variance"])
def test_gradients_of_levels(n, loss):
    """Along a random direction of parameters, by differences; knots pass through a few of 64 pairs, hence 1e-4."""
    half = HalfLoop(n, (0.5, 0.0), 3, (3,))
    rng = np.random.default_rng(4)
    params = tree.map(lambda p: p + 0.2 * rng.normal(size=p.shape), half.init(Rng(3)))
    direction = tree.map(lambda p: rng.normal(size=p.shape), params)
    level = Level(half, 2.0, 1, haar(Rng(5), n, 64), haar(Rng(6), n, 64))
    function = getattr(level, loss)
    slope = float(tree.dot(function(params)[1], direction))
    h = 1e-4
    numbers = [function(tree.axpy(e, direction, params))[0] for e in (h, -h)]
    assert (numbers[0] - numbers[1]) / (2 * h) == pytest.approx(slope, rel=1e-4)


def test_one_move_of_su2_is_nearly_exact():
    """SU(2) at beta = 2.7, plaquette given its pair: the variance falls from 5 to below 0.02 in a few Gauss-Newton steps."""
    halves = (HalfLoop(2, (0.5,)),)
    start = {"0": halves[0].init(Rng(1))}
    stages = (("divergence", 512, (15,)), ("Gauss-Newton", 1024, (6,)))
    before = fit(halves, start, 2.7, Rng(2), (("variance", 64, (0,)),), 2048).variances[0]
    fitted = fit(halves, start, 2.7, Rng(2), stages, 2048)
    assert before > 3.0
    assert fitted.variances[0] < 0.02


def test_trains_samples_and_reports(tmp_path):
    """SU(2) on 4 x 4: ESS above 0.9 after few iterations; plaquettes within 4 sigma of the exact value, seed 5."""
    halves = {2: (HalfLoop(2, (0.0, 1.0), 3, (4,)), HalfLoop(2, (0.5,), 5, (6,)))}
    settings = spectral.Settings(
        targets=(spectral.Target(2, 1.2, 4), spectral.Target(2, 1.8, 4, published=0.5)),
        halves=halves,
        stages=(("divergence", 512, (5, 10)), ("Gauss-Newton", 1024, (3, 5))),
        further=(("variance", 1024, (5, 10)),),
        held_out=1024,
        chains=32,
        steps=40,
        burn_in=5,
    )
    report = spectral.run(out=tmp_path, seed=5, settings=settings)
    json.dumps(report.json)
    for row, exact in zip(report.json, (iv(2, 1.2) / iv(1, 1.2), 0.3993723801), strict=True):
        assert row["plaquette_exact"] == pytest.approx(exact, abs=1e-9)
        assert row["ess"] > 0.9
        assert row["acceptance"] > 0.8
        assert max(row["variance_of_levels"]) < 0.02
        for kind in ("flow", "heat bath"):
            assert abs(row[kind]["pull"]) < 4.0, kind
    assert {path.name for path in report.figures} == {"ess.png", "log_weights.png"}
    assert (tmp_path / "parameters.h5").exists()
    assert (tmp_path / "histories.h5").exists()
    assert [len(table.rows) for table in report.tables] == [2, 2]


@pytest.mark.parametrize("target", spectral.QUICK.targets, ids=lambda target: target.name)
def test_shipped(target):
    """Log-weights of 64 configurations of 16 x 16 spread less than the published ESS says; seed 6."""
    settings, lattice = spectral.QUICK, Lattice((target.extent, target.extent))
    x = Haar(lattice, 3).sample(Rng(6), 64)
    flow = spectral.make_flow(lattice, 3, settings)
    y, log_det = flow.forward(spectral.shipped()[target.name], x)
    log_weight = log_det - WilsonAction(lattice, target.beta).value(y)
    assert np.var(log_weight) < -np.log(target.published)


def test_wrong_densities_are_refused():
    with pytest.raises(ValueError, match="expected positive numbers"):
        LoopDensity(2, 60.0, 1, boxes=4).evaluate(haar(Rng(1), 2, 512))


def test_registered():
    assert "spectral" in systems()
