"""HMC: orders of the integrators, reversibility, <exp(-Delta H)> = 1, exact values, tuning.

Distributions are compared with exact numbers within 3.5 sigma, errors by the Gamma method, fixed seeds.
"""

import math

import numpy as np
import pytest

from cases.fields import links, scalars
from cases.flows import FLOWS
from gaugeflow import check
from gaugeflow.actions import ImprovedAction, PulledBack, ScalarAction, Scaled, Sum, WilsonAction
from gaugeflow.analysis import gamma_method
from gaugeflow.errors import ConvergenceError
from gaugeflow.flows import Convolution, ResidualSweep
from gaugeflow.groups import manifold_of
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Lattice
from gaugeflow.observables import plaquette
from gaugeflow.random import Rng, haar_links
from gaugeflow.samplers import (
    FORCE_GRADIENT,
    HMC,
    INTEGRATORS,
    LEAPFROG,
    OMELYAN2,
    OMELYAN4,
    Composite,
    HeatBath,
    Integrator,
    Level,
    integrate,
    run,
)

SIGMAS = 3.5
SU2_BETA, SU2_PLAQUETTE = 2.2, 0.4644790253  # I_2 / I_1
RNG = Rng(1987).stream("hmc")


def estimate(values):
    """Gamma method on (steps, chains)."""
    return gamma_method([values[:, c] for c in range(values.shape[1])])


# ---- integrators -------------------------------------------------------------------------------------------------
def errors(scheme, steps, case):
    """Mean of |Delta H| over configurations for each number of steps."""
    lattice, x, action = case
    hmc = HMC(lattice, Level(action, 1, scheme))
    p = hmc.momentum(RNG, x)
    return np.array([np.mean(np.abs(hmc.trajectory(x, p, 1.0 / n)[2])) for n in steps])


def gauge_case():
    lattice = Lattice((4, 4, 4))
    sampler = HeatBath(lattice, 5.0)
    state = sampler.cold(3, 8)
    for _ in range(5):
        state, _ = sampler.step(RNG, state)
    return lattice, state.x, WilsonAction(lattice, 5.0)


def scalar_case():
    lattice = Lattice((6, 6))
    return lattice, 0.5 * scalars(lattice, 8), ScalarAction(lattice, -1.0, 2.0)


@pytest.mark.parametrize("case", [gauge_case, scalar_case])
@pytest.mark.parametrize("scheme", list(INTEGRATORS.values()), ids=lambda s: s.name)
def test_order_of_the_energy_error(scheme, case):
    """Halving the step divides the error by 2^order, within a fifth."""
    first, second = errors(scheme, (16, 32), case())
    assert math.log2(first / second) == pytest.approx(scheme.order, rel=0.1)


def test_cost_of_an_error():
    """At equal numbers of forces the better schemes win: what they are for."""
    case = gauge_case()
    error = {
        scheme.name: errors(scheme, (60 // forces,), case)[0]
        for scheme, forces in ((LEAPFROG, 1), (OMELYAN2, 2), (OMELYAN4, 5), (FORCE_GRADIENT, 3))
    }
    assert error["omelyan2"] < 0.5 * error["leapfrog"]  # a tenth at equal steps, of which it has half as many
    assert error["omelyan4"] < 0.3 * error["omelyan2"]
    assert error["force-gradient"] < 0.3 * error["omelyan2"]


@pytest.mark.parametrize("scheme", list(INTEGRATORS.values()), ids=lambda s: s.name)
def test_reversible(scheme):
    lattice, x, action = gauge_case()
    split = (Level(Scaled(0.3, action), 3, scheme), Level(Scaled(0.7, action), 2, LEAPFROG))
    manifold = manifold_of(lattice, x)
    p = HMC(lattice, split).momentum(RNG, x)
    y, q = integrate(manifold, split, x, p, 1.0)
    assert np.max(np.abs(y - x)) > 0.1
    back, minus_p = integrate(manifold, split, y, -q, 1.0)
    assert np.max(np.abs(back - x)) < 1e-10
    assert np.max(np.abs(minus_p + p)) < 1e-10


def test_nested_levels_equal_one_level_of_small_steps():
    """Fine steps of the inner level take over as the outer force goes to zero."""
    lattice, x, action = scalar_case()
    p = HMC(lattice, Level(action, 1)).momentum(RNG, x)
    manifold = manifold_of(lattice, x)
    nothing = Scaled(0.0, action)
    nested = integrate(manifold, (Level(nothing, 4, LEAPFROG), Level(action, 5, LEAPFROG)), x, p, 1.0)
    single = integrate(manifold, (Level(action, 20, LEAPFROG),), x, p, 1.0)
    np.testing.assert_allclose(nested[0], single[0], atol=1e-13)
    np.testing.assert_allclose(nested[1], single[1], atol=1e-13)


def test_forces_of_neighbouring_steps_are_shared():
    class Counting:
        calls = 0

        def grad(self, x):
            self.calls += 1
            return x

    lattice = Lattice((2, 2))
    x = scalars(lattice, 1)
    for scheme, forces in ((LEAPFROG, 1), (OMELYAN2, 2), (OMELYAN4, 5), (FORCE_GRADIENT, 3)):
        action = Counting()
        integrate(manifold_of(lattice, x), (Level(action, 10, scheme),), x, x, 1.0)
        assert action.calls == 10 * forces + 1


@pytest.mark.parametrize(
    ("kicks", "drifts", "what"),
    [((0.5, 0.5), (0.9,), "sum to"), ((0.6, 0.4), (1.0,), "not symmetric"), ((1.0,), (1.0,), "one kick more")],
)
def test_impossible_schemes_are_refused(kicks, drifts, what):
    with pytest.raises(ValueError, match=what):
        Integrator("odd", 2, kicks, drifts)


# ---- the sampler -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [1, 2, 3])
def test_contract(n):
    lattice = Lattice((4, 4), (2, 1))
    sampler = HMC(lattice, (Level(WilsonAction(lattice, 2.0), 4),), tune=2)
    check.check_sampler(sampler, links(lattice, n, 4), lambda: Rng(4), steps=3)


def test_energy_is_conserved_on_average():
    """<exp(-Delta H)> = 1, with steps so coarse that the variance of Delta H is near 1."""
    lattice = Lattice((8, 8))
    action = ScalarAction(lattice, -4.0, 8.0)
    sampler = HMC(lattice, Level(action, 4, LEAPFROG), length=0.5)
    chain = run(sampler, RNG.stream("creutz"), sampler.init(0.3 * scalars(lattice, 64)), 200, burn_in=100)
    assert 0.3 < chain.records["probability"].mean() < 0.95
    result = estimate(np.exp(-chain.records["delta_h"]))
    assert abs(result.value - 1.0) < SIGMAS * result.error
    assert result.error < 0.03


def su2_chain(sampler, lattice, steps, burn_in, batch=16):
    class Plaquette:
        name = "P"

        def __call__(self, x):
            return plaquette(lattice, x)

    start = HeatBath(lattice, SU2_BETA).hot(RNG.stream("start"), 2, batch)
    return run(sampler, RNG.stream("su2"), sampler.init(start.x), steps, burn_in=burn_in, observe=[Plaquette()])


def test_exact_plaquette_of_su2():
    lattice = Lattice((8, 8), (2, 1))
    sampler = HMC(lattice, Level(WilsonAction(lattice, SU2_BETA), 6, OMELYAN2))
    chain = su2_chain(sampler, lattice, 300, 60)
    result = estimate(chain.records["P"])
    assert abs(result.value - SU2_PLAQUETTE) < SIGMAS * result.error
    assert result.error < 1.2e-3


def test_exact_plaquette_of_split_actions_and_composites():
    """Two time scales whose actions sum to the Wilson action, after a heat bath step."""
    lattice = Lattice((8, 8))
    symanzik = ImprovedAction(lattice, SU2_BETA)  # 5/3 plaquettes, the rest puts rectangles right
    rest = Sum((WilsonAction(lattice, SU2_BETA), Scaled(-1.0, symanzik)))
    hmc = HMC(lattice, (Level(rest, 3, LEAPFROG), Level(symanzik, 2, FORCE_GRADIENT)))
    sampler = Composite((HeatBath(lattice, SU2_BETA, 1), hmc))
    chain = su2_chain(sampler, lattice, 160, 20)
    assert {"0/plaquette", "1/accepted", "P"} <= chain.records.keys()
    assert chain.records["1/probability"].mean() > 0.5
    result = estimate(chain.records["P"])
    assert abs(result.value - SU2_PLAQUETTE) < SIGMAS * result.error
    assert result.error < 1.2e-3


def test_field_transformation_hmc():
    """HMC on S o f - log det f, mapped by f, samples S (arXiv:0907.5491)."""
    lattice = Lattice((4, 4))
    action = WilsonAction(lattice, SU2_BETA)
    flow = ResidualSweep(lattice, n_colours=2, convolutions=(Convolution(0),))
    params = {"delta": np.array([[-0.05]])}
    sampler = HMC(lattice, Level(PulledBack(action, flow, params), 6))

    class Image:
        name = "P"

        def __call__(self, x):
            return plaquette(lattice, flow.forward(params, x)[0])

    start = HeatBath(lattice, 1.0).hot(RNG.stream("start"), 2, 16)
    chain = run(sampler, RNG.stream("ft"), sampler.init(start.x), 150, burn_in=30, observe=[Image()])
    assert chain.records["probability"].mean() > 0.8
    result = estimate(chain.records["P"])
    exact = _plaquette_su2(SU2_BETA, lattice.volume)
    assert abs(result.value - exact) < SIGMAS * result.error
    assert result.error < 4e-3


def _plaquette_su2(beta, volume):
    """Exact mean plaquette on a torus: Z = sum_j z_j^V with z_j = 2 I_{2j+1}(beta) / beta."""
    from scipy.special import iv

    def log_z(b):
        return math.log(sum((2.0 * iv(m, b) / b) ** volume for m in range(1, 12)))

    step = 1e-4
    return (log_z(beta + step) - log_z(beta - step)) / (2.0 * step * volume)


def test_exact_plaquette_formula():
    assert _plaquette_su2(SU2_BETA, 64) == pytest.approx(SU2_PLAQUETTE, abs=1e-7)


def test_free_field():
    """<phi^2> of the free field is the sum over momenta of 1 / (2 (p^2 + m^2)); momentum modes thermalise fast."""
    lattice = Lattice((4, 4, 4), (2, 1, 1))
    action = ScalarAction(lattice, 1.0)
    chain = run_scalar(HMC(lattice, Level(action, 5), length=0.6), lattice, 400, 50)
    p = 4.0 * np.sin(np.pi * np.arange(4) / 4) ** 2
    exact = np.mean(1.0 / (2.0 * (p[:, None, None] + p[:, None] + p + 1.0)))
    result = estimate(chain.records["phi2"])
    assert abs(result.value - exact) < SIGMAS * result.error
    assert result.error < 0.005 * exact


class Moments:
    """phi^2 per site, and the square of the mean field times the volume."""

    def __init__(self, lattice, name):
        self.lattice, self.name = lattice, name

    def __call__(self, x):
        if self.name == "phi2":
            return sum_sites(self.lattice, x**2) / self.lattice.volume
        return sum_sites(self.lattice, x) ** 2 / self.lattice.volume


def run_scalar(sampler, lattice, steps, burn_in, batch=32):
    start = 0.3 * scalars(lattice, batch)
    observe = [Moments(lattice, "phi2"), Moments(lattice, "chi2")]
    return run(sampler, RNG.stream("phi4"), sampler.init(start), steps, burn_in=burn_in, observe=observe)


def test_phi4_susceptibility():
    """chi_2 = 0.7431(6) at L = 8, m^2 = -4, lambda = 8, from an independent program."""
    lattice = Lattice((8, 8))
    sampler = HMC(lattice, Level(ScalarAction(lattice, -4.0, 8.0), 5), length=0.6)
    chain = run_scalar(sampler, lattice, 500, 50, batch=64)
    assert chain.records["probability"].mean() > 0.8
    result = estimate(chain.records["chi2"])
    assert abs(result.value - 0.7431) < SIGMAS * math.hypot(result.error, 0.0006)
    assert result.error < 0.02


def test_step_size_is_tuned_in_burn_in_only():
    lattice = Lattice((8, 8))
    sampler = HMC(lattice, Level(ScalarAction(lattice, -4.0, 8.0), 1, LEAPFROG), length=1.0, target=0.8, tune=100)
    state = sampler.init(0.3 * scalars(lattice, 32))
    chain = run(sampler, RNG.stream("tune"), state, 100, burn_in=100)
    assert len(set(chain.records["step_size"].tolist())) == 1
    assert chain.records["step_size"][0] < 0.5
    assert 0.7 < chain.records["probability"].mean() < 0.92  # steps are length / n with integer n


def test_a_trajectory_that_runs_away_is_rejected():
    lattice = Lattice((4, 4))
    sampler = HMC(lattice, Level(ScalarAction(lattice, -4.0, 8.0), 1, LEAPFROG), length=40.0)
    x = scalars(lattice, 4)
    with np.errstate(all="ignore"):
        state, info = sampler.step(RNG, sampler.init(x))
    assert not info.accepted.any()
    np.testing.assert_array_equal(state.x, x)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"levels": ()}, "at least one level"),
        ({"length": 0.0}, "length"),
        ({"target": 1.0}, "target"),
        ({"tune": -1}, "tune"),
        ({"reunitarise_every": 0}, "reunitarise_every"),
    ],
)
def test_bad_parameters(options, what):
    lattice = Lattice((4, 4))
    with pytest.raises(ValueError, match=what):
        HMC(**{"lattice": lattice, "levels": Level(WilsonAction(lattice, 1.0), 4), **options})


def test_field_of_another_kind():
    lattice = Lattice((4, 4))
    with pytest.raises(ValueError, match="expected links or a real field"):
        HMC(lattice, Level(WilsonAction(lattice, 1.0), 4)).momentum(RNG, np.zeros((2, 16, 3)))


def test_flow_rows_serve_scalars():
    """The table of flows holds one for scalars, with which pulled-back HMC of a free field is exact as well."""
    flow, lattice, params, x = FLOWS["neighbour affine"]()
    action = PulledBack(ScalarAction(lattice, 1.0), flow, params)
    sampler = HMC(lattice, Level(action, 10, OMELYAN4))
    _, _, delta_h = sampler.trajectory(x, sampler.momentum(RNG, x), 0.05)
    assert np.max(np.abs(delta_h)) < 1e-3


class Fragile:
    """The Wilson action, but the force of configuration 1 explodes, and fields that are not finite are refused."""

    def __init__(self, action, batch):
        self.action, self.factor = action, np.where(np.arange(batch) == 1, 1e200, 1.0)

    def value(self, x):
        self._check(x)
        return self.action.value(x)

    def grad(self, x):
        self._check(x)
        return self.factor * self.action.grad(x)

    def _check(self, x):
        if not np.isfinite(x).all():
            raise ConvergenceError("no solution for links that are not finite")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_trajectories_that_run_away_are_rejected():
    """One configuration of four explodes: it stays where it is, and the others move as without it."""
    lattice = Lattice((4, 4))
    action, x = WilsonAction(lattice, 2.0), haar_links(Rng(3), lattice, 2, 4)
    expected, _ = HMC(lattice, action).step(Rng(4), HMC(lattice, action).init(x))
    sampler = HMC(lattice, Fragile(action, 4))
    state, info = sampler.step(Rng(4), sampler.init(x))
    assert info.delta_h[1] == np.inf
    assert not info.accepted[1]
    np.testing.assert_array_equal(state.x[..., 1], x[..., 1])
    np.testing.assert_allclose(np.delete(state.x, 1, -1), np.delete(expected.x, 1, -1), rtol=0, atol=1e-13)


def test_an_action_that_refuses_good_fields_ends_the_run():
    """Nothing ran away: the error is that of the action."""
    lattice = Lattice((4, 4))
    x = haar_links(Rng(3), lattice, 2, 4)

    class Refusing(Fragile):
        def _check(self, x):
            raise ConvergenceError("no solution at all")

    sampler = HMC(lattice, Refusing(WilsonAction(lattice, 2.0), 4))
    with pytest.raises(ConvergenceError, match="no solution at all"):
        sampler.step(Rng(4), sampler.init(x))
