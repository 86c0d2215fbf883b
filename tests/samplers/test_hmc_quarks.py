"""HMC with quarks: exact values of the Schwinger model, reversibility, orders, limits.

Two flavours on 2 x 2 at beta = 2, antiperiodic in time: plaquette and Z / Z(kappa = 0) by quadrature to 1e-10.
"""

from dataclasses import replace

import numpy as np
import pytest

from cases.fields import ordered
from gaugeflow.actions import (
    Determinant,
    Hasenbusch,
    Inversion,
    Pseudofermion,
    PulledBack,
    Rational,
    Sum,
    WilsonAction,
    refreshed,
)
from gaugeflow.analysis import gamma_method
from gaugeflow.determinants import log_det
from gaugeflow.errors import ConvergenceError
from gaugeflow.lattice import Lattice
from gaugeflow.observables import LinkObservable, plaquette
from gaugeflow.operators import Staggered, Wilson
from gaugeflow.random import Rng
from gaugeflow.samplers import HMC, HeatBath, Level, run

SIGMAS = 3.5
LATTICE, BETA, KAPPA = Lattice((2, 2)), 2.0, 0.276
PLAQUETTE, PARTITION_FUNCTION = 0.8127516480, 6.7667649335
RNG = Rng(1962)

QUARKS = Wilson(lattice=LATTICE, kappa=KAPPA)
EXACT = Inversion(1e-12, 1e-12)
ACTIONS = {
    "determinant": Determinant(QUARKS),
    "pseudofermion": Pseudofermion(QUARKS, inversion=EXACT),
    "hasenbusch": Hasenbusch(QUARKS, (replace(QUARKS, twisted_mass=0.3), replace(QUARKS, kappa=0.15)), EXACT),
    "two rationals": Sum((Rational(QUARKS, 1e-3, 10.0, 1e-5, inversion=Inversion(1e-10, 1e-10)),) * 2),
}


def estimate(values):
    """Gamma method on (steps, chains)."""
    return gamma_method([values[:, c] for c in range(values.shape[1])])


def hmc(action, steps=2, gauge_steps=2):
    return HMC(LATTICE, (Level(action, steps), Level(WilsonAction(LATTICE, BETA), gauge_steps)))


@pytest.mark.parametrize("name", ACTIONS)
def test_schwinger_model(name):
    """The plaquette is exact, and <exp(-Delta H)> = 1, with 512 chains; 3.5 standard deviations."""
    sampler = hmc(ACTIONS[name])
    start = sampler.init(HeatBath(LATTICE, BETA).hot(RNG, 1, 512).x)
    chain = run(
        sampler,
        RNG.stream(name),
        start,
        14,
        burn_in=8,
        observe=[LinkObservable("plaquette", LATTICE, plaquette)],
    )
    mean = estimate(chain.records["plaquette"])
    assert abs(mean.value - PLAQUETTE) < SIGMAS * mean.error
    assert mean.error < 0.005
    weights = estimate(np.exp(-chain.records["delta_h"]))
    assert abs(weights.value - 1.0) < SIGMAS * weights.error
    assert weights.error < 0.02
    assert np.std(chain.records["delta_h"]) > 1e-3  # steps are coarse enough for the test to mean something


def test_schwinger_model_by_reweighting():
    """det(D)^2 as the weight of pure gauge configurations: Z / Z(0) and the plaquette; 3.5 standard deviations."""
    sampler = HeatBath(LATTICE, BETA)
    state = sampler.hot(RNG, 1, 512)
    weights, products = [], []
    for step in range(60):
        state, info = sampler.step(RNG.stream("reweighting").at(step), state)
        if step >= 10:
            weights.append(np.exp(2.0 * log_det(QUARKS.with_links(state.x)).log_abs))
            products.append(weights[-1] * info.plaquette)
    ratio = estimate(np.stack(weights))
    assert abs(ratio.value - PARTITION_FUNCTION) < SIGMAS * ratio.error
    deviation = estimate(np.stack(products) - PLAQUETTE * np.stack(weights))  # its mean is zero exactly
    assert abs(deviation.value) < SIGMAS * deviation.error
    assert deviation.error < 0.02 * ratio.value


@pytest.mark.parametrize("name", ACTIONS)
def test_trajectories_are_reversible(name):
    sampler = hmc(ACTIONS[name], 3)
    x = ordered(LATTICE, 1, 8)
    levels = sampler.refreshed(RNG, x)
    p = sampler.momentum(RNG, x)
    there = replace(sampler, levels=levels)
    y, q, forth = there.trajectory(x, p, 0.25)
    again = tuple(replace(level, action=_forgetful(level.action)) for level in levels)
    back, _, delta = replace(sampler, levels=again).trajectory(y, -q, 0.25)
    assert np.max(np.abs(back - x)) < 1e-9
    np.testing.assert_allclose(delta, -forth, atol=1e-8)
    assert np.max(np.abs(y - x)) > 0.1


def _forgetful(action):
    """The action with the same pseudofermions and no solutions to begin with."""
    if isinstance(action, Sum):
        return Sum(tuple(_forgetful(term) for term in action.terms))
    if isinstance(action, Hasenbusch):
        return replace(action, drawn=tuple(_forgetful(term) for term in action.terms))
    if getattr(action, "drawn", None) is None:
        return action
    memory = type(action.drawn.memory)(action.drawn.memory.depth)
    return replace(action, drawn=replace(action.drawn, memory=memory))


@pytest.mark.parametrize("name", ["pseudofermion", "two rationals"])
def test_order_of_the_energy_error(name):
    """Halving all steps divides the error of the energy by four."""
    x = ordered(LATTICE, 1, 64)
    p = hmc(ACTIONS[name]).momentum(RNG, x)
    errors = []
    for steps in (8, 16):
        sampler = hmc(ACTIONS[name], steps)
        levels = sampler.refreshed(RNG, x)
        delta_h = replace(sampler, levels=levels).trajectory(x, p, 1.0 / steps)[2]
        errors.append(np.mean(np.abs(delta_h)))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, rel=0.1)


def test_infinitely_heavy_quarks_do_nothing():
    """At kappa = 0 the chain is that of the pure gauge theory."""
    gauge = Level(WilsonAction(LATTICE, BETA), 2)
    free = HMC(LATTICE, (gauge,))
    quarks = HMC(LATTICE, (replace(gauge, action=Sum((gauge.action, Pseudofermion(replace(QUARKS, kappa=0.0))))),))
    x = ordered(LATTICE, 1, 8)
    one, info = free.step(RNG, free.init(x))
    two, with_quarks = quarks.step(RNG, quarks.init(x))
    np.testing.assert_allclose(two.x, one.x, atol=1e-13)
    np.testing.assert_allclose(with_quarks.delta_h, info.delta_h, atol=1e-10)


class Identity:
    """The flow that changes nothing."""

    def forward(self, params, x):
        return x.copy(), np.zeros(x.shape[-1])


def test_pseudofermions_behind_a_flow():
    """The identity map changes nothing, and passes the drawing on."""
    x = ordered(LATTICE, 1, 4)
    action = ACTIONS["pseudofermion"]
    behind = refreshed(PulledBack(action, Identity(), {}), RNG, x)
    np.testing.assert_allclose(behind.value(x), refreshed(action, RNG, x).value(x), rtol=1e-12)


def test_value_at_the_links_of_the_drawing_needs_no_solution():
    x = ordered(LATTICE, 1, 4)
    for name in ("pseudofermion", "hasenbusch"):
        drawn = refreshed(ACTIONS[name], RNG, x)
        np.testing.assert_allclose(drawn.value(x), drawn.value(x.copy()), rtol=1e-12)


def test_errors_name_things():
    x = ordered(LATTICE, 1, 4)
    with pytest.raises(ValueError, match=r"Wilson\(kappa 0.276\).*draw them with refreshed"):
        ACTIONS["pseudofermion"].value(x)
    with pytest.raises(ValueError, match="gamma_5 D gamma_5"):
        Rational(replace(QUARKS, twisted_mass=0.1), 0.1, 4.0)
    with pytest.raises(ValueError, match="gamma_5 D gamma_5"):
        Rational(Staggered(lattice=LATTICE, mass=0.1), 0.1, 4.0)
    with pytest.raises(ConvergenceError, match=r"beyond the range from 1 to 1\.1"):
        Rational(QUARKS, 1.0, 1.1).check_range(x)
    with pytest.raises(ValueError, match="method must be 'cg' or 'refined', got 'lu'"):
        Inversion(method="lu")
    impatient = refreshed(Pseudofermion(QUARKS, inversion=Inversion(1e-12, 1e-12, max_iterations=1)), RNG, x)
    with pytest.raises(ConvergenceError, match=r"kappa 0.276.*configuration"):
        impatient.grad(x)
