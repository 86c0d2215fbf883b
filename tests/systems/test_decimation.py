"""Couplings of U(1) blocks one by one: weights of loops, derivatives, losses that tell the ESS."""

import math

import numpy as np
import pytest
from scipy.special import ive

from gaugeflow import tree
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import ess
from gaugeflow.flows import ProjectionMixture, block_chain
from gaugeflow.lattice import Lattice
from gaugeflow.priors import Haar
from gaugeflow.random import Rng
from gaugeflow.systems.decimation import loop_weights, pairs
from gaugeflow.training import PriorAction, log_weight


def wilson(beta):
    return lambda angle: -beta * np.cos(angle)


def test_weights_of_loops_by_characters():
    """f_4 is the sum of (I_n / I_0)^4 cos n p; f_2(p) / f_2(0) = I_0(2 beta cos p/2) / I_0(2 beta), down to 1e-9."""
    p = np.linspace(0.1, 3.1, 7)
    n = np.arange(-20, 21)[:, None]
    expected = np.sum((ive(n, 2.0) / ive(0, 2.0)) ** 4 * np.cos(n * p), axis=0)
    np.testing.assert_allclose(np.exp(loop_weights(wilson(2.0), 3)[2](p)), expected, rtol=1e-8)
    pair = loop_weights(wilson(12.0), 2)[1]
    kappa = 24.0 * np.cos(0.5 * p)
    expected = np.log(ive(0, kappa) / ive(0, 24.0)) + kappa - 24.0
    np.testing.assert_allclose(pair(p) - pair(0.0), expected, rtol=1e-8)
    assert expected[-1] < -20.0


def small_chain():
    return block_chain(Lattice((4, 4)), circle=ProjectionMixture(3), harmonics=2)


def test_derivatives_of_log_weights():
    """Along a random direction of all parameters, against fourth-order differences, to 1e-7."""
    flow = small_chain()
    problem = pairs(flow, wilson(2.0))["2"]
    rng = np.random.default_rng(3)
    params = tree.map(lambda p: 0.5 * rng.normal(size=p.shape), flow.init(Rng(0))["2"])
    direction = tree.map(lambda p: rng.normal(size=p.shape), params)
    _, derivatives = problem.log_weights(params)
    parts = tree.map(lambda d, bar: np.tensordot(d, bar, axes=d.ndim), direction, derivatives())
    h = 1e-3
    moved = {k: problem.log_weights(tree.axpy(k * h, direction, params))[0] for k in (-2, -1, 1, 2)}
    slope = (8.0 * (moved[1] - moved[-1]) - (moved[2] - moved[-2])) / (12.0 * h)
    size = 1.0 + np.abs(slope)
    assert np.max(np.abs(sum(parts.values()) - slope) / size) < 1e-7


def test_losses_of_blocks_tell_the_ess():
    """4 x 4, beta = 2, half trained: log ESS of 8192 fields, seed 6, is minus the sum of the losses of all blocks within 15 %.

    The sum is to leading order, and blocks of the torus have other distributions of p: hence the margin.  The mean weight
    must be the ratio of partition functions, sum_n I_n^16 over one, within 4 sigma.
    """
    beta, lattice = 2.0, Lattice((4, 4))
    flow, params, losses = small_chain(), {}, {}
    for key, problem in pairs(flow, wilson(beta)).items():
        start = flow.init(Rng(0))[key]
        params[key] = problem.train(start, 25)
        losses[key] = problem.loss(params[key]) * math.prod(problem.layer.blocks)
        assert problem.loss(params[key]) <= problem.loss(start)
    x = Haar(lattice, 1).sample(Rng(6), 8192)
    weights = log_weight(flow, params, PriorAction(Haar(lattice, 1)), WilsonAction(lattice, beta), x)[1]
    expected = np.log(np.sum(ive(np.arange(-20, 21), beta) ** 16)) + 16 * beta
    relative = np.exp(weights - expected)
    assert abs(np.mean(relative) - 1.0) < 4.0 * np.std(relative) / math.sqrt(8192)
    assert 0.005 < sum(losses.values()) < 0.1
    assert -math.log(ess(weights).value) == pytest.approx(sum(losses.values()), rel=0.15)
