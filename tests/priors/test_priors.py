"""Priors: densities that integrate to one, scores, moments; fixed seeds, 4 standard errors."""

import math

import array_api_strict
import numpy as np
import pytest

from cases.fields import scalars
from cases.flows import shaken
from gaugeflow.actions import ScalarAction
from gaugeflow.check import check_action
from gaugeflow.flows import affine_chain
from gaugeflow.lattice import Lattice
from gaugeflow.nn import Silu
from gaugeflow.priors import FreeField, Mirrored, Normal, Photon, Pushed
from gaugeflow.random import Rng
from gaugeflow.samplers import IndependenceMetropolis
from gaugeflow.training import PriorAction

LATTICE = Lattice((4, 4))


def _pushed(lattice=LATTICE):
    flow = affine_chain(lattice, 2, (4,), activation=Silu(), single_precision=False, pointwise=True)
    return Pushed(Normal(lattice), flow, shaken(flow))


PRIORS = {
    "normal": lambda: Normal(LATTICE, 0.6),
    "free": lambda: FreeField(LATTICE, 0.7, 1.3),
    "free, folded": lambda: FreeField(Lattice((4, 4), (2, 1)), 0.7),
    "pushed": _pushed,
    "mirrored": lambda: Mirrored(_pushed()),
}


@pytest.mark.parametrize("name", PRIORS)
def test_score_is_the_gradient(name, rng):
    prior = PRIORS[name]()
    check_action(PriorAction(prior), prior.lattice, scalars(prior.lattice, 16), rng)


def test_free_field_is_the_free_action():
    """-log_prob differs from the action by a constant, the half logarithm of a dense determinant."""
    prior, x = FreeField(LATTICE, 0.7, 1.3), scalars(LATTICE, 8)
    difference = prior.log_prob(x) + ScalarAction(LATTICE, 0.7, 0.0, 1.3).value(x)
    unit = np.eye(16)
    kernel = -prior.score(unit)
    expected = 0.5 * np.linalg.slogdet(kernel / (2.0 * math.pi))[1]
    np.testing.assert_allclose(difference, expected, rtol=1e-13)


def test_free_field_has_its_propagator():
    """Covariance of 40000 samples, seed 3, against the inverse of the dense kernel: 4.5 standard errors, 136 entries."""
    prior = FreeField(LATTICE, 0.5)
    x = prior.sample(Rng(3), 40000)
    expected = np.linalg.inv(-prior.score(np.eye(16)))
    found = x @ x.T / x.shape[1]
    error = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / x.shape[1])
    assert (abs(found - expected) / error).max() < 4.5


def test_free_field_on_strict_arrays_and_folded():
    x = FreeField(LATTICE, 0.5).sample(Rng(3), 4)
    strict = FreeField(LATTICE, 0.5).sample(Rng(3), 4, xp=array_api_strict)
    np.testing.assert_allclose(np.asarray(strict), x, atol=1e-14)
    folded = Lattice((4, 4), (2, 2))
    np.testing.assert_allclose(
        folded.unpack(FreeField(folded, 0.5).sample(Rng(3), 4)), LATTICE.unpack(x), rtol=0, atol=1e-14
    )


def test_density_of_a_mirrored_flow_integrates_to_one():
    """On two sites, by quadrature to 1e-6; and it is even."""
    lattice = Lattice((2,))
    flow = affine_chain(lattice, 2, (3,), activation=Silu(), single_precision=False, pointwise=True)
    prior = Mirrored(Pushed(Normal(lattice), flow, shaken(flow)))
    grid = np.linspace(-12.0, 12.0, 481)
    x = np.stack([a.ravel() for a in np.meshgrid(grid, grid)])
    density = np.exp(prior.log_prob(x))
    assert density.sum() * (grid[1] - grid[0]) ** 2 == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(prior.log_prob(-x), prior.log_prob(x), rtol=1e-13)


def test_mirrored_samples_have_both_signs():
    """A flow that shifts the field far up: half of 4000 mirrored samples are below zero, seed 5, 4 standard errors."""
    lattice = Lattice((2, 2))
    flow = affine_chain(lattice, 2, (2,), single_precision=False)
    params = shaken(flow, 0.0)
    for layer in params.values():
        layer["2"]["bias"] = np.array([0.0, 5.0])
    prior = Mirrored(Pushed(Normal(lattice), flow, params))
    x = prior.sample(Rng(5), 4000)
    assert (np.sign(x[0]) == np.sign(x[3])).all()
    assert abs((x[0] > 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(4000)


def test_independence_metropolis_without_a_flow():
    """Proposals and weights are those of the prior itself."""
    prior, action = PRIORS["mirrored"](), ScalarAction(LATTICE, -3.0, 4.0)
    sampler = IndependenceMetropolis(LATTICE, action, prior)
    state = sampler.start(Rng(9), 8)
    np.testing.assert_allclose(state.log_weight, -action.value(state.x) - prior.log_prob(state.x), rtol=1e-13)
    np.testing.assert_array_equal(sampler.init(state.x).log_weight, state.log_weight)


def test_bad_settings():
    with pytest.raises(ValueError, match="mass_squared and normalisation > 0, got 0"):
        FreeField(LATTICE, 0.0)


def test_photon():
    """Propagators at three distances within 4 sigma of the sums over momenta, no zero modes, the same for any fold; seed 3."""
    shape, batch = (4, 6), 4000
    field = Lattice(shape).unpack(Photon(Lattice(shape)).sample(Rng(3), batch), 1)
    assert field.shape == (batch, 2, *shape)
    np.testing.assert_allclose(field.mean(axis=(2, 3)), 0.0, atol=1e-14)
    p = np.stack(np.meshgrid(*(2 * np.pi * np.arange(n) / n for n in shape), indexing="ij"))
    hat = (4 * np.sin(p / 2) ** 2).sum(axis=0)
    hat[0, 0] = np.inf
    for distance in ((0, 0), (1, 0), (2, 3)):
        expected = (np.cos(p[0] * distance[0] + p[1] * distance[1]) / hat).sum() / 24
        products = (field * np.roll(field, distance, axis=(2, 3))).mean(axis=(1, 2, 3))
        assert abs(products.mean() - expected) < 4 * products.std() / np.sqrt(batch)
    mixed = (field[:, 0] * field[:, 1]).mean(axis=(1, 2))
    assert abs(mixed.mean()) < 4 * mixed.std() / np.sqrt(batch)
    assert Photon(Lattice(shape)).variance == pytest.approx((1 / hat).sum() / 24, rel=1e-12)
    folded = Lattice(shape, (2, 1))
    np.testing.assert_allclose(folded.unpack(Photon(folded).sample(Rng(3), 2), 1), field[:2], atol=1e-13)
