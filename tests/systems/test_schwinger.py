"""Schwinger model: determinants by slices, prior, updates and flow against exact values, the demo at a small size."""

import json

import numpy as np
import pytest

from gaugeflow import io
from gaugeflow.analysis import Series, ess, gamma_method, reweighted_mean
from gaugeflow.determinants import d_kappa
from gaugeflow.determinants import log_det as dense
from gaugeflow.lattice import Lattice
from gaugeflow.observables import integer_charge
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng, haar_links
from gaugeflow.samplers import run
from gaugeflow.systems import exact_u1, schwinger
from gaugeflow.systems.report import silent
from gaugeflow.systems.schwinger_layers import Layer, SliceUpdates
from gaugeflow.systems.schwinger_path import Path, learn, sample
from gaugeflow.systems.schwinger_prior import PlaquettePrior, generator
from gaugeflow.systems.schwinger_slices import angles_of, closed_by_holonomy, condensate, links_of, log_det, whole

EXACT = {0.2: (2.0276272814, 0.7961006269, 1.2581525345), 0.276: (6.7667649335, 0.8127516480, 2.1107999220)}
"""2 x 2, beta = 2, two flavours, by quadrature: Z / Z(kappa = 0), plaquette, <det D> at kappa = 0."""
SHAPES = [(2, 2), (3, 2), (4, 6), (5, 7)]


def _operator(lattice, kappa, links, twisted_mass=0.0):
    wilson = Wilson(lattice=lattice, kappa=kappa, boundary=(-1.0, 1.0), twisted_mass=twisted_mass)
    return wilson.with_links(links)


@pytest.mark.parametrize("shape", SHAPES)
def test_determinant(shape):
    """Equal to LU decompositions of the matrix, in any gauge, with a twisted mass, a shifted holonomy and turned round."""
    lattice, kappa = Lattice(shape), 0.27
    links = haar_links(Rng(1), lattice, 1, 5, xp=np)
    angles = angles_of(lattice, links)
    expected = dense(_operator(lattice, kappa, links))
    for form in (angles, angles.turned()):
        log_abs, sign = log_det(kappa, form)
        np.testing.assert_allclose(log_abs, expected.log_abs, atol=1e-12)
        np.testing.assert_allclose(sign, expected.phase.real, atol=1e-11)
        np.testing.assert_array_equal(form.charge(), integer_charge(lattice, links))
    for _ in range(3):
        form = form.turned()
    np.testing.assert_allclose(np.cos(form.plaquettes() - angles.plaquettes()), 1.0, atol=1e-12)
    twisted = dense(_operator(lattice, kappa, links, 0.3))
    np.testing.assert_allclose(log_det(kappa, angles, 2.0 * kappa * 0.3)[0], twisted.log_abs, atol=1e-12)
    moved = links_of(lattice, angles._replace(time=angles.time + 0.7))
    shifted, _ = closed_by_holonomy(whole(kappa, angles.space), angles.time, np.array([0.0, 0.7]))
    np.testing.assert_allclose(shifted[:, 0], expected.log_abs, atol=1e-12)
    np.testing.assert_allclose(shifted[:, 1], dense(_operator(lattice, kappa, moved)).log_abs, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_condensate(shape):
    lattice, kappa = Lattice(shape), 0.27
    links = haar_links(Rng(2), lattice, 1, 5, xp=np)
    slope = np.real(d_kappa(_operator(lattice, kappa, links)).derivative)
    expected = 4.0 * kappa - 2.0 * kappa**2 * slope / lattice.volume
    np.testing.assert_allclose(condensate(kappa, angles_of(lattice, links)), expected, rtol=1e-7)


def test_determinants_on_2_x_2():
    """Means over the prior against quadrature, 4 sigma (seed 3)."""
    angles = PlaquettePrior(Lattice((2, 2)), 2.0).angles(Rng(3), 20000)
    plaquette = np.mean(np.cos(angles.plaquettes()), axis=(1, 2))
    for kappa, (partition, light, mean) in EXACT.items():
        log_abs, sign = log_det(kappa, angles)
        for values, expected in ((np.exp(2.0 * log_abs), partition), (sign * np.exp(log_abs), mean)):
            assert abs(np.mean(values) - expected) < 4.0 * np.std(values) / np.sqrt(len(values))
        found = reweighted_mean(plaquette, 2.0 * log_abs)
        assert abs(found.value - light) < 4.0 * found.error


def test_prior():
    """Plaquette, <Q^2> and weights of sectors of the pure gauge theory, 4 sigma (seed 4); the density in any gauge."""
    lattice, beta = Lattice((4, 6)), 1.7
    plain, weighted = PlaquettePrior(lattice, beta), PlaquettePrior(lattice, beta, (0.0, 0.5, -0.3))
    angles = plain.angles(Rng(4), 20000)
    exact = exact_u1.plaquette(beta, 24), exact_u1.charge_squared(beta, 24)
    observed = np.mean(np.cos(angles.plaquettes()), axis=(1, 2)), angles.charge() ** 2
    for values, expected in zip(observed, exact, strict=True):
        assert abs(np.mean(values) - expected) < 4.0 * np.std(values) / np.sqrt(len(values))
    other = weighted.angles(Rng(5), 20000)
    back = reweighted_mean(other.charge() ** 2, -weighted.log_sector(other.charge()))
    assert abs(back.value - exact[1]) < 4.0 * back.error
    links = weighted.sample(Rng(5), 3)
    assert links.shape == (2, 24, 1, 1, 3)
    first = weighted.angles(Rng(5), 3)
    np.testing.assert_allclose(weighted.log_prob(links), weighted.log_prob_of(first), atol=1e-11)
    np.testing.assert_allclose(angles_of(lattice, links).charge(), first.charge())


@pytest.mark.parametrize(("shape", "kappa"), [((2, 2), 0.276), ((2, 2), 0.2), ((4, 6), 0.0)])
def test_updates(shape, kappa):
    """The chain of updates against exact plaquettes, 4 sigma (seed 6), with the determinant that it carries along."""
    lattice = Lattice(shape)
    sampler = SliceUpdates(Layer(2.0, kappa, parts=2))
    state = sampler.init(PlaquettePrior(lattice, 2.0).angles(Rng(6), 200))
    history = []
    for i in range(30):
        state, info = sampler.step(Rng(6).at(i), state)
        history.append((info.plaquette, info.charge**2))
    exact = EXACT[kappa][1] if kappa else exact_u1.plaquette(2.0, lattice.volume)
    found = gamma_method(Series.from_lanes(np.array([plaquette for plaquette, _ in history[5:]])))
    assert abs(found.value - exact) < 4.0 * found.error
    if not kappa:
        charge = gamma_method(Series.from_lanes(np.array([square for _, square in history[5:]])))
        assert abs(charge.value - exact_u1.charge_squared(2.0, lattice.volume)) < 4.0 * charge.error
    log_abs, sign = log_det(kappa, state.angles)
    np.testing.assert_allclose(state.log_abs, log_abs, atol=1e-10)
    np.testing.assert_allclose(state.sign, sign, atol=1e-10)


def test_lattice_that_is_not_square_keeps_its_shape(tmp_path):
    """Chains on 4 x 6 stop after one step and go on; flows of an odd number of layers and chains hand out links of 4 x 6."""
    lattice = Lattice((4, 6))
    sampler = SliceUpdates(Layer(2.0, 0.2))
    start = sampler.init(PlaquettePrior(lattice, 2.0).angles(Rng(6), 3))
    options = {"checkpoint": tmp_path / "chain.h5", "progress": False}
    run(sampler, Rng(7), start, 1, **options)
    chain, whole = (run(sampler, Rng(7), start, 3, **extra) for extra in (options, {"progress": False}))
    np.testing.assert_array_equal(chain.records["charge"], whole.records["charge"])
    np.testing.assert_array_equal(chain.state.angles.space, whole.state.angles.space)
    path = Path(np.array([[2.2, 0.0, 0.0], [2.1, 0.1, 0.0], [2.0, 0.2, 0.0]]))
    for state in (chain.state, sample(path, lattice, Rng(8), 3).state):
        links = links_of(lattice, state.angles)
        np.testing.assert_allclose(dense(_operator(lattice, 0.2, links)).log_abs, state.log_abs, atol=1e-10)


def test_flow_on_2_x_2():
    """Weights of a short path with a twisted mass on the way: plaquette against quadrature, 4 sigma (seed 7)."""
    path = Path(np.array([[2.4, 0.0, 0.0], [2.3, 0.2, 0.2], [2.1, 0.276, 0.1], [2.0, 0.276, 0.0]]))
    found = sample(path, Lattice((2, 2)), Rng(7), 8000)
    plaquette = reweighted_mean(found.plaquette, found.log_weight)
    assert abs(plaquette.value - EXACT[0.276][1]) < 4.0 * plaquette.error
    assert plaquette.error < 4e-3
    assert ess(found.log_weight).value > 0.4


def test_path_is_learned():
    """Ends at the prior and at the target, with small changes on the way."""
    path = learn(2.0, 0.25, Lattice((4, 4)), Rng(8), batch=32, step=0.02, thermalisation=5)
    beta, kappa, twist = path.couplings.T
    assert kappa[0] == twist[0] == 0.0
    assert tuple(path.couplings[-1]) == (2.0, 0.25, 0.0)
    assert np.all(np.diff(kappa) >= 0.0)
    assert 2.0 < beta[0] < 3.0
    assert ess(sample(path, Lattice((4, 4)), Rng(9), 64).log_weight).value > 0.8


@pytest.mark.parametrize(("kappa", "floor"), [(0.25, 0.93), (0.263, 0.8), (0.276, 0.5)])
def test_shipped(kappa, floor):
    """Installed paths on 8 x 8, 32 configurations (seed 10)."""
    path = schwinger.shipped(kappa)
    assert tuple(path.couplings[-1]) == (2.0, kappa, 0.0)
    assert ess(sample(path, Lattice((8, 8)), Rng(10), 32).log_weight).value > floor


def test_demo(tmp_path):
    settings = schwinger.Settings(
        targets=(schwinger.Target(4, 0.2, None, 32, 0.03),),
        training_extent=4,
        training_chains=16,
        chain=schwinger.Target(4, 0.2),
        lanes=8,
        sweeps=20,
        burn_in=4,
        hmc_chains=2,
        hmc_trajectories=10,
        hmc_burn_in=4,
        batch=32,
        pions=(schwinger.Target(4, 0.2),),
        pion_lanes=8,
        pion_measurements=6,
        pion_plateau=(0, 1),
    )
    report = schwinger.run(out=tmp_path, seed=11, settings=settings)
    flow, slices, local, pion = report.json
    json.dumps(report.json)
    assert flow["ess"] > 0.8
    assert (slices["sampler"], local["sampler"]) == ("slices", "HMC")
    assert 0.3 < pion["pion"]["value"] < 3.0
    assert slices["n_configurations"] == 2 * 160
    assert {path.name for path in report.figures} == {"log_weights.png", "charge.png"}
    assert len(io.read_table(tmp_path / "flow-4-0.2-0.h5")[0]["log_weight"]) == 32
    again = schwinger.run(out=tmp_path, seed=11, settings=settings)
    assert again.json == report.json


def test_files_of_another_path_are_not_taken(tmp_path):
    """Log-weights have a constant that belongs to the path: a quick run may have left those of another one."""
    target, settings = schwinger.Target(2, 0.2, None, 8), schwinger.Settings(batch=4)
    long, short = (Path(np.array([[beta, 0.0, 0.0], [2.0, 0.2, 0.0]])) for beta in (2.2, 2.1))
    found = [
        schwinger._flow(target, path, settings, Rng(13), tmp_path, silent)["log_weight"]
        for path in (long, short, short)
    ]
    (tmp_path / "flow-2-0.2-0.h5").unlink()
    again = schwinger._flow(target, short, settings, Rng(13), tmp_path, silent)["log_weight"]
    assert np.all(found[0] != found[1])
    np.testing.assert_array_equal(found[2], found[1])
    np.testing.assert_array_equal(again, found[1])


def test_wrong_input():
    with pytest.raises(ValueError, match="expected two dimensions, got 4"):
        PlaquettePrior(Lattice((2, 2, 2, 2)), 1.0)
    with pytest.raises(ValueError, match="beta must be positive, got -1"):
        PlaquettePrior(Lattice((2, 2)), -1.0)
    with pytest.raises(ValueError, match="beta of at least 0, got -1"):
        Layer(-1.0, 0.2)
    with pytest.raises(ValueError, match="shifts must be at least 1, got 0"):
        Layer(2.0, 0.2, shifts=0)
    with pytest.raises(ValueError, match=r"shape \(n, 3\) with n >= 2, got \(1, 3\)"):
        Path(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"kappa = twist = 0 in the first row, got \[0\.1, 0\.0\]"):
        Path(np.array([[2.0, 0.1, 0.0], [2.0, 0.2, 0.0]]))
    with pytest.raises(ValueError, match=r"no path is installed for 0\.2"):
        schwinger.shipped(0.2)
    with pytest.raises(ValueError, match="expected U\\(1\\) links in two dimensions, got N = 2"):
        angles_of(Lattice((2, 2)), haar_links(Rng(1), Lattice((2, 2)), 2, 1, xp=np))


def test_random_numbers_depend_on_stream_and_draw():
    first = generator(Rng(1).stream("a")).random()
    assert generator(Rng(1).stream("a")).random() == first
    assert generator(Rng(1).stream("b")).random() != first
    assert generator(Rng(1).stream("a").at(1)).random() != first
