"""U(1) in two dimensions: exact values, training and sampling at a small size."""

import json

import numpy as np
import pytest

from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import ess
from gaugeflow.lattice import Lattice
from gaugeflow.priors import Haar
from gaugeflow.random import Rng
from gaugeflow.systems import exact_u1, u1
from gaugeflow.training import PriorAction, log_weight


def test_exact_values_by_strong_coupling_and_by_theta():
    """L = 8: leading orders at small beta; <Q^2> against a second difference of log Z(theta) by another quadrature."""
    beta, volume = 0.02, 64
    assert exact_u1.plaquette(beta, volume) == pytest.approx(beta / 2 - beta**3 / 16, rel=1e-7)
    beta, h = 3.0, 1e-2
    phi = np.linspace(-np.pi, np.pi, 4001)

    def log_z(theta):
        nu = np.arange(-8, 9)[:, None] + theta / (2 * np.pi)
        z = np.trapezoid(np.exp(beta * (np.cos(phi) - 1.0)) * np.cos(nu * phi), phi, axis=1)
        return np.log(np.sum((z / z.max()) ** volume)) + volume * np.log(z.max())

    expected = -(log_z(h) - 2.0 * log_z(0.0) + log_z(-h)) / h**2
    assert exact_u1.charge_squared(beta, volume) == pytest.approx(expected, abs=2e-4)


def test_plaquette_is_the_derivative_of_the_free_energy():
    from scipy.special import iv

    n, h = np.arange(-20, 21), 1e-4

    def free(beta):
        return np.log(np.sum(iv(n, beta) ** 16)) / 16

    assert exact_u1.plaquette(1.7, 16) == pytest.approx((free(1.7 + h) - free(1.7 - h)) / (2 * h), rel=1e-7)


def test_exact_derivatives_with_respect_to_theta():
    """Of plaquette and sine against d<Q^2>/d beta, and of three plaquettes against an integral over two of their angles."""
    beta, h = 2.0, 1e-3
    slope = (exact_u1.charge_squared(beta + h, 64) - exact_u1.charge_squared(beta - h, 64)) / (2 * h)
    assert exact_u1.theta_curvature(beta, 64) == pytest.approx(-slope / 64, rel=1e-6)
    values = [exact_u1.plaquette_at(theta, beta, 64) for theta in (-h, 0.0, h, 2 * np.pi)]
    assert values[1] == pytest.approx(exact_u1.plaquette(beta, 64), rel=1e-12) == pytest.approx(values[3], rel=1e-9)
    second = (values[0] - 2 * values[1] + values[2]) / h**2
    assert exact_u1.theta_curvature(beta, 64) == pytest.approx(second, rel=1e-5)
    assert exact_u1.sine_charge(beta, 64) > exact_u1.sine_charge(beta, 36) > 0
    nodes, weights = np.polynomial.legendre.leggauss(200)
    p = np.pi * nodes
    q = p[:, None]
    rest = -(p + q)
    last = rest - 2 * np.pi * np.round(rest / (2 * np.pi))
    charge = np.round((p + q + last) / (2 * np.pi))
    weight = weights * weights[:, None] * np.exp(beta * (np.cos(p) + np.cos(q) + np.cos(last)))
    weight = weight / weight.sum()
    cosine = (np.cos(p) + np.cos(q) + np.cos(last)) / 3
    sine = (np.sin(p) + np.sin(q) + np.sin(last)) / (2 * np.pi)
    square = (weight * charge**2).sum()
    assert exact_u1.charge_squared(beta, 3) == pytest.approx(
        square, rel=2e-2
    )  # the integrand jumps at the edge of sectors
    expected = -(weight * cosine * charge**2).sum() + (weight * cosine).sum() * square
    assert exact_u1.theta_curvature(beta, 3) == pytest.approx(expected, rel=2e-2)
    assert exact_u1.sine_charge(beta, 3) == pytest.approx((weight * sine * charge).sum(), rel=2e-2)


def test_exact_values_of_wrong_input():
    with pytest.raises(ValueError, match="expected a number between 0 and 100, got -1"):
        exact_u1.plaquette(-1.0, 64)
    with pytest.raises(ValueError, match="expected at least 2 plaquettes, got 1"):
        exact_u1.charge_squared(1.0, 1)


def test_trains_samples_and_reports(tmp_path):
    """4 x 4 at beta 1: ESS above 0.99; observables within 4 sigma of exact values, seed 5."""
    settings = u1.Settings(
        extents=(4,), betas=(1.0,), chains=16, steps=150, burn_in=40, training_extent=4, training_steps=40, parts=4
    )
    report = u1.run(out=tmp_path, seed=5, settings=settings)
    (result,) = report.json
    json.dumps(result)
    assert result["ess"] > 0.99
    assert result["acceptance"] > 0.95
    for kind, name in (("flow", "plaquette"), ("flow", "Q^2"), ("flow", "Q"), ("hmc", "plaquette"), ("hmc", "Q^2")):
        assert abs(result[kind][name]["pull"]) < 4.0, (kind, name)
    assert result["exact"]["plaquette"] == pytest.approx(0.44639, abs=1e-4)
    assert {path.name for path in report.figures} == {"quality.png", "charge.png"}
    assert (tmp_path / "parameters.h5").exists()
    assert (tmp_path / "histories.h5").exists()
    assert len(report.tables[0].rows) == 1


def test_chains_of_other_lattices_share_their_end():
    """Couplings of equal blocks are equal; larger blocks start as the identity."""
    settings = u1.Settings(harmonics=2, parts=1)
    small, large = u1.make_flow(4, settings), u1.make_flow(8, settings)
    params = {key: {"marked": value} for key, value in small.init(Rng(3)).items()}
    grown = u1.carried(large, params)
    assert ["marked" in grown[str(i)] for i in range(6)] == [False, False, True, True, True, True]
    assert grown["5"] == params["3"]
    assert u1.carried(small, params) == params
    assert u1.carried(small, {str(i): {"from": i} for i in range(6)}) == {str(i): {"from": i + 2} for i in range(4)}


@pytest.mark.parametrize(("extent", "beta", "least"), [(8, 2.0, 0.99), (16, 7.0, 0.95), (16, 16.0, 0.95)])
def test_shipped_parameters(extent, beta, least):
    """ESS of 512 samples, seed 4; others had 0.24 on 8 x 8 (arXiv:2101.08176), 0.022 and 0.276 at the larger beta."""
    settings, lattice = u1.Settings(), Lattice((extent, extent))
    learned = u1.shipped()
    assert sorted(learned) == sorted(u1.name_of(beta) for beta in settings.betas)
    flow, prior = u1.make_flow(extent, settings), Haar(lattice, 1)
    params = u1.carried(flow, learned[u1.name_of(beta)])
    x = prior.sample(Rng(4), 512)
    weights = log_weight(flow, params, PriorAction(prior), WilsonAction(lattice, beta), x)[1]
    assert ess(weights).value > least
