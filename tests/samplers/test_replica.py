"""Replica exchange and T-REX: detailed balance on exact values, bookkeeping, defects.

Values are compared within 3.5 sigma, errors by the Gamma method, fixed seeds.
"""

import math

import numpy as np
import pytest
from scipy.special import ive

from cases.fields import links, scalars
from cases.flows import FLOWS
from gaugeflow import check
from gaugeflow.actions import Defect, DefectAction, ScalarAction, WilsonAction
from gaugeflow.analysis import gamma_method, positions, round_trip_times
from gaugeflow.flows import Convolution, ResidualSweep, SmearedSweep
from gaugeflow.lattice import Box, Lattice
from gaugeflow.observables import integer_charge, plaquette
from gaugeflow.random import Rng
from gaugeflow.samplers import (
    HMC,
    Exchange,
    HeatBath,
    Level,
    LinkMetropolis,
    OnReplicas,
    Replica,
    ReplicaExchange,
    ScalarMetropolis,
    configurations,
    run,
)

SIGMAS = 3.5
RNG = Rng(2404).stream("replica")
LATTICE = Lattice((8, 8))
EXACT = {2.0: (0.6977746580, 1.23929891), 3.0: (0.8099855474, 0.70784301), 4.0: (0.8635300425, 0.48201593)}
"""2D U(1), L = 8: plaquette and <Q^2> at three couplings."""


def estimate(values):
    """Gamma method on (steps, chains)."""
    return gamma_method([values[:, c] for c in range(values.shape[1])])


class PlaquetteAndCharge:
    name = "P and Q^2"

    def __call__(self, x):
        return np.stack([plaquette(LATTICE, x), integer_charge(LATTICE, x) ** 2])


def u1_exchange(betas, deltas, local_steps=1):
    """Local Metropolis, which rarely changes Q at beta = 4, and flows between neighbours where delta is not zero."""
    replicas = tuple(
        Replica(WilsonAction(LATTICE, beta), LinkMetropolis(LATTICE, beta, width=1.0 / math.sqrt(beta)))
        for beta in betas
    )
    flow = ResidualSweep(LATTICE, 1, (Convolution(0),))
    exchanges = tuple(Exchange(flow, {"delta": np.array([[delta]])}) if delta else None for delta in deltas)
    return ReplicaExchange(LATTICE, replicas, exchanges, local_steps)


@pytest.mark.parametrize("deltas", [(0.0, 0.0), (-0.05, -0.03), (0.03, 0.03)], ids=["plain", "flow", "wrong way"])
def test_detailed_balance(deltas):
    """Plaquette and <Q^2> on every replica, whatever the flow: one that makes things worse must only cost swaps."""
    betas = tuple(EXACT)
    sampler = u1_exchange(betas, deltas)
    start = HeatBath(LATTICE, 1.0).hot(RNG.stream("start"), 1, 256)
    chain = run(
        sampler,
        RNG.stream("chain"),
        sampler.init(start.x),
        250,
        burn_in=100,
        observe=[OnReplicas(PlaquetteAndCharge())],
    )
    values = chain.records["P and Q^2"]
    for replica, beta in enumerate(betas):
        for k in range(2):
            result = estimate(values[:, replica, k])
            assert abs(result.value - EXACT[beta][k]) < SIGMAS * result.error
            assert result.error < (1e-3, 0.05)[k]
    assert (chain.records["accepted"][:, :, :].any(axis=2) <= chain.records["attempted"]).all()


def swap_rates(sampler, steps=100, batch=64):
    start = HeatBath(LATTICE, 2.0).hot(RNG.stream("start"), 1, batch)
    chain = run(sampler, RNG.stream("rates"), sampler.init(start.x), steps, burn_in=60)
    tried = chain.records["attempted"].sum(axis=0)
    return chain.records["probability"].sum(axis=0).mean(axis=-1) / tried


def test_flows_raise_swap_rates():
    """From 2 to 4 and with the coefficient of the linear fit."""
    plain = swap_rates(u1_exchange((2.0, 4.0), (0.0,)))
    flow = swap_rates(u1_exchange((2.0, 4.0), (-0.08,)))
    assert flow > 2.0 * plain


def test_a_swap_undone_is_accepted_with_the_inverse_ratio():
    """Proposals of accepted swaps lead back where they came from, with the reciprocal ratio."""
    sampler = u1_exchange((2.0, 3.0), (-0.05,))
    first, second = (links(LATTICE, 1, 16, seed) for seed in (1, 2))
    low, high = (replica.action for replica in sampler.replicas)
    flow, params = sampler.exchanges[0].flow, sampler.exchanges[0].params

    def proposal(a, b):
        forward, log_det = flow.forward(params, a)
        back, inverse_log_det = flow.inverse(params, b)
        ratio = low.value(a) + high.value(b) - low.value(back) - high.value(forward) + log_det + inverse_log_det
        return back, forward, ratio

    new_first, new_second, ratio = proposal(first, second)
    old_first, old_second, back_ratio = proposal(new_first, new_second)
    np.testing.assert_allclose(old_first, first, atol=1e-11)
    np.testing.assert_allclose(old_second, second, atol=1e-11)
    np.testing.assert_allclose(back_ratio, -ratio, atol=1e-9)
    _, _, accepted, probability = sampler.swap(0, RNG, first, second)
    np.testing.assert_allclose(probability, np.minimum(1.0, np.exp(ratio)), rtol=1e-9)
    assert accepted.dtype == bool


def test_scalars_with_different_samplers():
    """Free fields of two masses, HMC on one replica and Metropolis on the other, a flow of scalars between them."""
    flow, lattice, _, _ = FLOWS["neighbour affine"]()
    params = {"scale": {"a": np.array([-0.02])}, "b": np.array([[-0.05]])}
    masses = (1.0, 2.0)
    actions = [ScalarAction(lattice, mass) for mass in masses]
    replicas = (
        Replica(actions[0], HMC(lattice, Level(actions[0], 5), length=0.6)),
        Replica(actions[1], ScalarMetropolis(actions[1], width=0.7)),
    )
    sampler = ReplicaExchange(lattice, replicas, (Exchange(flow, params),))
    check.check_sampler(sampler, scalars(lattice, 3), lambda: Rng(4), steps=2)

    class Square:
        name = "phi2"

        def __call__(self, x):
            return np.mean(x**2, axis=0)

    chain = run(
        sampler,
        RNG.stream("scalars"),
        sampler.init(0.3 * scalars(lattice, 64)),
        400,
        burn_in=30,
        observe=[OnReplicas(Square())],
    )
    assert 0.3 < chain.records["accepted"].mean() < 0.99
    p2 = sum(np.meshgrid(*(4.0 * np.sin(np.pi * np.arange(n) / n) ** 2 for n in lattice.shape)))
    for replica, mass in enumerate(masses):
        result = estimate(chain.records["phi2"][:, replica])
        assert abs(result.value - np.mean(1.0 / (2.0 * (p2 + mass)))) < SIGMAS * result.error
        assert result.error < 0.004


def test_contract_and_bookkeeping():
    sampler = u1_exchange((2.0, 3.0, 4.0), (-0.05, 0.0), local_steps=2)
    x = links(LATTICE, 1, 8)
    check.check_sampler(sampler, x, lambda: Rng(4), steps=3)
    chain = run(sampler, RNG, sampler.init(x), 20)
    attempted = chain.records["attempted"]
    np.testing.assert_array_equal(attempted[:4], [[True, False], [False, True]] * 2)
    walker = chain.records["walker"]
    np.testing.assert_array_equal(np.sort(walker, axis=1), np.broadcast_to([[0], [1], [2]], walker.shape))
    before = np.broadcast_to([[0], [1], [2]], walker[0].shape)
    for step, now in enumerate(walker):
        for pair in range(2):
            swapped = chain.records["accepted"][step, pair]
            if attempted[step, pair]:
                np.testing.assert_array_equal(now[pair][swapped], before[pair + 1][swapped])
                np.testing.assert_array_equal(now[pair][~swapped], before[pair][~swapped])
        before = now


def test_resumed_exchange_is_bit_identical(tmp_path):
    sampler = u1_exchange((2.0, 3.0), (-0.05,))
    x = links(LATTICE, 1, 8)
    whole = run(sampler, RNG, sampler.init(x), 9)
    run(sampler, RNG, sampler.init(x), 4, checkpoint=tmp_path / "c.h5")
    resumed = run(sampler, RNG, sampler.init(x), 9, checkpoint=tmp_path / "c.h5")
    for name, values in whole.records.items():
        np.testing.assert_array_equal(resumed.records[name], values)
    for a, b in zip(whole.state.x, resumed.state.x, strict=True):
        np.testing.assert_array_equal(a, b)


def test_round_trips():
    #                 walker at replica 0, 1, 2
    walker = np.array([[0, 1, 2], [1, 0, 2], [1, 2, 0], [1, 0, 2], [0, 1, 2], [0, 2, 1], [0, 1, 2]])[:, :, None]
    np.testing.assert_array_equal(positions(walker)[:, 0, 0], [0, 1, 2, 1, 0, 0, 0])
    np.testing.assert_array_equal(positions(walker)[:, 1, 0], [1, 0, 0, 0, 1, 2, 1])
    np.testing.assert_array_equal(round_trip_times(walker), [4])
    with pytest.raises(ValueError, match="every walker once"):
        positions(np.zeros((3, 2, 1), dtype=int))
    with pytest.raises(ValueError, match=r"\(n, n_replicas, batch\)"):
        positions(np.zeros((3, 2), dtype=int))


def test_bad_parameters():
    replica = Replica(WilsonAction(LATTICE, 2.0), HeatBath(LATTICE, 2.0))
    for options, what in (
        ({"replicas": (replica,)}, "two replicas or more"),
        ({"replicas": (replica,) * 3, "exchanges": (None,)}, "expected 2 exchanges"),
        ({"replicas": (replica,) * 2, "local_steps": 0}, "local_steps"),
    ):
        with pytest.raises(ValueError, match=what):
            ReplicaExchange(LATTICE, **options)
    with pytest.raises(ValueError, match="expected 2 fields, got 3"):
        ReplicaExchange(LATTICE, (replica,) * 2).init((links(LATTICE, 1, 2),) * 3)


# ---- defects -----------------------------------------------------------------------------------------------------
DEFECT = Defect(0, Box((7, 2), (1, 4)))
"""Four neighbouring links across the boundary in time: two plaquettes hold one of them, three hold two."""


def exact_defect_plaquette(beta, strength):
    """Mean plaquette of 2D SU(2) whose plaquettes have different couplings: Z = sum_j prod_p I_{2j+1}(b_p) / b_p."""
    weights = [1.0] * 59 + [strength] * 2 + [strength**2] * 3

    def log_z(scale):
        terms = []
        for m in range(1, 12):
            logs = [math.log(ive(m, scale * beta * w)) + scale * beta * w if w else -math.inf for w in weights]
            logs = [
                value - math.log(scale * beta * w / 2.0) if w else (0.0 if m == 1 else -math.inf)
                for value, w in zip(logs, weights, strict=True)
            ]
            terms.append(sum(logs))
        top = max(terms)
        return top + math.log(sum(math.exp(t - top) for t in terms))

    step = 1e-4
    return (log_z(1 + step) - log_z(1 - step)) / (2 * step * beta)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("make", ["heat bath", "hmc"])
def test_exact_action_with_a_defect(make, strength):
    """Heat bath on scaled links and HMC with the scaled force: -<S>/beta is the sum of c_p <Re tr P / 2>."""
    beta = 2.2
    action = DefectAction(LATTICE, beta, DEFECT, strength)
    sampler = (
        HeatBath(LATTICE, beta, 1, defect=DEFECT, strength=strength)
        if make == "heat bath"
        else HMC(LATTICE, Level(action, 6))
    )
    start = HeatBath(LATTICE, beta).hot(RNG.stream("start"), 2, 32)

    class Sum:
        name = "S"

        def __call__(self, x):
            return -action.value(x) / beta

    chain = run(sampler, RNG.stream("defect"), sampler.init(start.x), 150, burn_in=40, observe=[Sum()])
    result = estimate(chain.records["S"])
    assert abs(result.value - exact_defect_plaquette(beta, strength)) < SIGMAS * result.error
    assert result.error < 0.1
    unitary = np.einsum("dvabl,dvcbl->dvacl", chain.state.x, chain.state.x.conj())
    assert np.max(np.abs(unitary - np.eye(2)[:, :, None])) < 1e-12


def test_formula_of_the_defect():
    """All strengths 1: the plaquette of PHYSICS, I_2 / I_1, on 64 plaquettes."""
    assert exact_defect_plaquette(2.2, 1.0) / 64 == pytest.approx(0.4644790253, abs=1e-6)


def test_derivative_with_respect_to_the_strength():
    x = links(LATTICE, 3, 8)

    def value(c):
        return DefectAction(LATTICE, 5.0, DEFECT, c).value(x)

    numeric = (value(0.41) - value(0.39)) / 0.02
    np.testing.assert_allclose(DefectAction(LATTICE, 5.0, DEFECT, 0.4).d_strength(x), numeric, rtol=1e-9)


def test_flow_in_a_region_moves_nothing_else():
    box = Box((6, 1), (4, 6))  # across the boundary
    flow = ResidualSweep(LATTICE, 2, (Convolution(0),), region=box)
    x = links(LATTICE, 2, 8)
    y, log_det = flow.forward({"delta": np.array([[-0.05]])}, x)
    moved = np.abs(y - x).max(axis=(0, 2, 3, 4)) > 0
    np.testing.assert_array_equal(moved, LATTICE.inside(box)[:, 0])
    assert (log_det != 0).all()
    assert moved.sum() == 24


def test_regions_and_folds():
    with pytest.raises(ValueError, match="do not fold"):
        ResidualSweep(Lattice((8, 8), (2, 1)), 2, region=Box((0, 0), (2, 2)))
    ResidualSweep(Lattice((8, 8), (2, 1)), 2, region=Box((0, 0), (8, 2)))
    with pytest.raises(ValueError, match="expected 2 coordinates"):
        SmearedSweep(LATTICE, 2, region=Box((0, 0, 0), (2, 2, 2)))
    with pytest.raises(ValueError, match="positive extents"):
        Box((0, 0), (2, 0))
    with pytest.raises(ValueError, match="between 0 and 1"):
        DefectAction(LATTICE, 1.0, DEFECT, 1.5)


def fit_repair(flow, beta, strengths, batch=64, blocks=6):
    """Least squares coefficients per unit of strength that carry the first strength to the second."""
    from gaugeflow.training import fit_linear

    middle = DefectAction(LATTICE, beta, DEFECT, 0.5 * sum(strengths))
    sampler = HeatBath(LATTICE, beta, 1, defect=DEFECT, strength=middle.strength)
    tangents, operators = [], []
    for sample in configurations(
        sampler, RNG.stream("fit"), sampler.hot(RNG, 1, batch), blocks * 10, burn_in=50, thin=10
    ):
        tangents.append(flow.tangent(sample.state.x, middle.grad(sample.state.x)).reshape(-1, batch))
        operators.append(middle.d_strength(sample.state.x))
    return fit_linear(np.concatenate(tangents, axis=-1), np.concatenate(operators)).coefficients


def test_flows_repair_a_defect():
    """Swaps between an open and a closed lattice: exact, and more frequent with a flow around the defect."""
    beta, strengths = 4.0, (0.3, 1.0)
    replicas = tuple(
        Replica(DefectAction(LATTICE, beta, DEFECT, c), HeatBath(LATTICE, beta, 1, defect=DEFECT, strength=c))
        for c in strengths
    )
    flow = ResidualSweep(LATTICE, 1, (Convolution(0),), region=Box((6, 1), (4, 6)))
    coefficient = float(fit_repair(flow, beta, strengths)[0])
    exchange = Exchange(flow, {"delta": np.array([[coefficient * (strengths[1] - strengths[0])]])})
    rates = {}
    for name, exchanges in (("plain", ()), ("flow", (exchange,))):
        sampler = ReplicaExchange(LATTICE, replicas, exchanges)
        start = HeatBath(LATTICE, beta).hot(RNG.stream("start"), 1, 64)
        chain = run(
            sampler,
            RNG.stream("repair"),
            sampler.init(start.x),
            400,
            burn_in=100,
            observe=[OnReplicas(PlaquetteAndCharge())],
        )
        rates[name] = chain.records["probability"].mean()
        closed = chain.records["P and Q^2"][:, 1]
        for k in range(2):
            result = estimate(closed[:, k])
            assert abs(result.value - EXACT[beta][k]) < SIGMAS * result.error
    assert rates["flow"] > 1.1 * rates["plain"]
