"""Local and independence Metropolis: contracts, exact values within 3.5 sigma (Gamma method, fixed seeds)."""

import math

import array_api_strict
import numpy as np
import pytest
from scipy.special import ive

from cases.fields import links, scalars
from cases.flows import FLOWS
from gaugeflow import check, kernels
from gaugeflow.actions import ScalarAction, WilsonAction
from gaugeflow.analysis import acceptance_gaussian, gamma_method
from gaugeflow.backend import use_backend
from gaugeflow.flows import Convolution, ResidualSweep
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Lattice
from gaugeflow.observables import plaquette
from gaugeflow.priors import Haar, Normal
from gaugeflow.random import Rng
from gaugeflow.samplers import (
    Composite,
    HeatBath,
    IndependenceMetropolis,
    LinkMetropolis,
    ScalarMetropolis,
    metropolis_chain,
    run,
)

SIGMAS = 3.5
RNG = Rng(1953).stream("metropolis")
PLAQUETTES = {1: (2.0, 0.6977746580), 2: (2.2, 0.4644790253), 3: (4.0, 0.2796191494)}
"""2D: coupling and exact plaquette for U(1), SU(2), SU(3)."""


def estimate(values):
    """Gamma method on (steps, chains)."""
    return gamma_method([values[:, c] for c in range(values.shape[1])])


class Plaquette:
    name = "P"

    def __init__(self, lattice):
        self.lattice = lattice

    def __call__(self, x):
        return plaquette(self.lattice, x)


class Square:
    """phi^2 and V (mean phi)^2 of every configuration."""

    name = "moments"

    def __init__(self, lattice):
        self.lattice = lattice

    def __call__(self, x):
        squares = sum_sites(self.lattice, x**2) / self.lattice.volume
        return np.stack([squares, sum_sites(self.lattice, x) ** 2 / self.lattice.volume])


# ---- local -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fold", [(1, 1), (2, 1)])
def test_contracts(fold):
    lattice = Lattice((4, 4), fold)
    scalar = ScalarMetropolis(ScalarAction(lattice, -1.0, 2.0), hits=2)
    check.check_sampler(scalar, scalars(lattice, 3), lambda: Rng(4))
    check.check_sampler(LinkMetropolis(lattice, 2.0, hits=2), links(lattice, 2, 8), lambda: Rng(4))


def test_folds_do_not_change_the_chain():
    plain, folded = Lattice((4, 4)), Lattice((4, 4), (2, 2))
    for make, x, components in (
        (lambda lattice: ScalarMetropolis(ScalarAction(lattice, -1.0, 2.0)), scalars(plain, 2), 0),
        (lambda lattice: LinkMetropolis(lattice, 2.0), links(plain, 3, 8), 1),
    ):
        results = []
        for lattice in (plain, folded):
            sampler = make(lattice)
            state, info = sampler.step(RNG, sampler.init(lattice.pack(plain.unpack(x, components), components)))
            results.append((lattice.unpack(state.x, components), info.acceptance))
        np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-12)
        np.testing.assert_array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("n", PLAQUETTES)
def test_exact_plaquettes(n):
    beta, exact = PLAQUETTES[n]
    lattice = Lattice((8, 8))
    sampler = LinkMetropolis(lattice, beta, width=0.8, hits=2)
    start = HeatBath(lattice, beta).hot(RNG.stream("start"), n, 32)
    chain = run(sampler, RNG.stream("links"), sampler.init(start.x), 200, burn_in=60, observe=[Plaquette(lattice)])
    assert 0.3 < chain.records["acceptance"].mean() < 0.8
    result = estimate(chain.records["P"])
    assert abs(result.value - exact) < SIGMAS * result.error
    assert result.error < 3e-3


def test_couplings_of_planes():
    """Without coupling a plane of links is Haar distributed; the others follow theirs."""
    lattice = Lattice((4, 4, 4))
    sampler = LinkMetropolis(lattice, (3.0, 0.0, 0.0), width=0.8)
    start = HeatBath(lattice, 1.0).hot(RNG.stream("start"), 2, 32)

    class Planes(Plaquette):
        def __call__(self, x):
            return kernels.plaquette(self.lattice, x)

    chain = run(sampler, RNG.stream("planes"), sampler.init(start.x), 200, burn_in=60, observe=[Planes(lattice)])
    for plane, exact in enumerate((ive(2, 3.0) / ive(1, 3.0), 0.0, 0.0)):
        result = estimate(chain.records["P"][:, plane])
        assert abs(result.value - exact) < SIGMAS * result.error + 1e-3  # 4^2 torus: corrections of order u^16
        assert result.error < 5e-3


def test_phi4_susceptibility():
    """chi_2 = 0.7431(6) at L = 8, m^2 = -4, lambda = 8, from an independent program."""
    lattice = Lattice((8, 8), (2, 1))
    sampler = ScalarMetropolis(ScalarAction(lattice, -4.0, 8.0), width=0.4, hits=2)
    chain = run(
        sampler,
        RNG.stream("phi4"),
        sampler.init(0.3 * scalars(lattice, 64)),
        500,
        burn_in=100,
        observe=[Square(lattice)],
    )
    result = estimate(chain.records["moments"][:, 1])
    assert abs(result.value - 0.7431) < SIGMAS * math.hypot(result.error, 0.0006)
    assert result.error < 0.02


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: ScalarMetropolis(ScalarAction(Lattice((4, 5)), 1.0)), "direction 1"),
        (lambda: LinkMetropolis(Lattice((4, 5)), 1.0), "direction 1"),
        (lambda: LinkMetropolis(Lattice((4, 4)), (1.0, 2.0)), "expected 1 couplings, got 2"),
        (lambda: LinkMetropolis(Lattice((4, 4)), 1.0, width=0.0), "width"),
        (lambda: LinkMetropolis(Lattice((4, 4)), 1.0, hits=0), "hits"),
        (lambda: ScalarAction(Lattice((4, 4)), -1.0), "coupling > 0"),
        (lambda: ScalarAction(Lattice((4, 4)), 1.0, normalisation=0.0), "normalisation"),
        (lambda: Normal(Lattice((4, 4)), 0.0), "width"),
    ],
)
def test_bad_parameters(make, what):
    with pytest.raises(ValueError, match=what):
        make()


# ---- independent proposals ---------------------------------------------------------------------------------------
def gauge_sampler(lattice, beta, delta):
    flow = ResidualSweep(lattice, n_colours=2, convolutions=(Convolution(0),))
    return IndependenceMetropolis(
        lattice, WilsonAction(lattice, beta), Haar(lattice, 2), flow, {"delta": np.array([[delta]])}
    )


def test_independence_contract():
    lattice = Lattice((4, 4))
    check.check_sampler(gauge_sampler(lattice, 0.4, -0.05), links(lattice, 2, 8), lambda: Rng(4))


def test_state_of_a_given_field():
    """Through the inverse flow, a field has the log-weight with which it was proposed."""
    lattice = Lattice((4, 4))
    sampler = gauge_sampler(lattice, 0.4, -0.05)
    state = sampler.start(RNG, 8)
    np.testing.assert_allclose(sampler.init(state.x).log_weight, state.log_weight, atol=1e-10)


def test_flow_and_independence_metropolis_are_exact():
    lattice = Lattice((4, 4))
    sampler = gauge_sampler(lattice, 0.4, -0.05)
    chain = run(sampler, RNG.stream("independence"), sampler.start(RNG, 64), 200, observe=[Plaquette(lattice)])
    weights = chain.records["log_weight"]
    assert chain.records["accepted"].mean() == pytest.approx(acceptance_gaussian(float(np.var(weights))), abs=0.05)
    result = estimate(chain.records["P"])
    assert abs(result.value - ive(2, 0.4) / ive(1, 0.4)) < SIGMAS * result.error
    assert result.error < 3e-3


def test_flow_and_local_updates_in_turn():
    """Proposals of a flow between Metropolis sweeps: weights follow the field, and the plaquette is exact."""
    lattice = Lattice((4, 4))
    proposals = gauge_sampler(lattice, 0.4, -0.05)
    sampler = Composite((LinkMetropolis(lattice, 0.4, width=1.0), proposals))
    check.check_sampler(sampler, links(lattice, 2, 8), lambda: Rng(4))
    start = HeatBath(lattice, 0.4).hot(RNG.stream("start"), 2, 64)
    chain = run(sampler, RNG.stream("turn"), sampler.init(start.x), 100, burn_in=10, observe=[Plaquette(lattice)])
    kept = chain.state.parts[1].log_weight
    np.testing.assert_allclose(proposals.init(chain.state.x).log_weight, kept, atol=1e-10)
    assert 0.3 < chain.records["0/acceptance"].mean() < 0.95
    assert 0.3 < chain.records["1/accepted"].mean() < 0.99
    result = estimate(chain.records["P"])
    assert abs(result.value - ive(2, 0.4) / ive(1, 0.4)) < SIGMAS * result.error
    assert result.error < 3e-3


def test_free_field_by_independence_metropolis():
    """Odd sites near their mean given the even ones, sum of neighbours / 7, which the flow knows."""
    flow, lattice, _, _ = FLOWS["neighbour affine"]()
    params = {"scale": {"a": np.array([0.05])}, "b": np.array([[1 / 7]])}
    action = ScalarAction(lattice, 3.0)
    prior = Normal(lattice, 0.3)
    sampler = IndependenceMetropolis(lattice, action, prior, flow, params)
    chain = run(sampler, RNG.stream("free"), sampler.start(RNG, 128), 400, burn_in=50, observe=[Square(lattice)])
    assert chain.records["accepted"].mean() > 0.5
    momenta = np.meshgrid(*(4.0 * np.sin(np.pi * np.arange(n) / n) ** 2 for n in lattice.shape))
    exact = np.mean(1.0 / (2.0 * (sum(momenta) + 3.0)))
    result = estimate(chain.records["moments"][:, 0])
    assert abs(result.value - exact) < SIGMAS * result.error
    assert result.error < 0.01 * exact


def test_chain_of_stored_proposals():
    """Averages along the chain are those of the target: here exp(-x^2/2) from proposals twice as wide."""
    z = 2.0 * np.random.default_rng(7).normal(size=(4000, 16))
    log_weight = -(z**2) / 2 + z**2 / 8
    index, accepted = metropolis_chain(RNG, log_weight)
    assert accepted[0].all()
    np.testing.assert_array_equal(accepted[1:], np.diff(index, axis=0) != 0)
    chain = np.take_along_axis(z, index, axis=0)
    for moment, exact in ((chain, 0.0), (chain**2, 1.0), (chain**4, 3.0)):
        result = estimate(moment)
        assert abs(result.value - exact) < SIGMAS * result.error
    assert estimate(chain**2).error < 0.02


def test_chain_of_stored_proposals_on_another_library():
    z = np.random.default_rng(7).normal(size=(20, 3))
    index, accepted = metropolis_chain(RNG, z)
    with use_backend("reference"):
        strict, strict_accepted = metropolis_chain(RNG, array_api_strict.asarray(z))
    np.testing.assert_array_equal(np.asarray(strict), index)
    np.testing.assert_array_equal(np.asarray(strict_accepted), accepted)


def test_weights_that_are_not_numbers():
    log_weight = np.zeros((5, 2))
    log_weight[2] = np.nan
    log_weight[3] = -np.inf
    index, _ = metropolis_chain(RNG, log_weight)
    assert not np.isin(index, (2, 3)).any()
    with pytest.raises(ValueError, match="not finite"):
        metropolis_chain(RNG, log_weight[2:])
    with pytest.raises(ValueError, match=r"\(n, chains\)"):
        metropolis_chain(RNG, log_weight[0])
