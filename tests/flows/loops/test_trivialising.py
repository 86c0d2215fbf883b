"""The trivialising flow: splines, the expansion, convergence of log det, errors.  Its contract is in the case table."""

import array_api_strict as strict
import numpy as np
import pytest

from cases.fields import links
from gaugeflow.actions import WilsonAction
from gaugeflow.check import flows as contract
from gaugeflow.errors import ConvergenceError
from gaugeflow.flows import TrivialisingFlow, luescher_classes
from gaugeflow.flows.loops.algebra import plaquette
from gaugeflow.lattice import Lattice
from gaugeflow.priors import Haar
from gaugeflow.random import Rng
from gaugeflow.training import Adam, constant, gauss_newton, reverse_kl

LATTICE = Lattice((4, 4))


@pytest.mark.parametrize("knots", [1, 2, 3, 4, 7])
def test_splines(knots):
    """A partition of unity that reproduces polynomials up to its degree from values at the nodes."""
    flow = TrivialisingFlow(LATTICE, 2, knots=knots)
    degree = min(3, knots - 1)
    times = np.linspace(0.0, 1.0, 11)
    basis = np.array([flow.basis(t) for t in times])
    assert basis.shape == (11, knots)
    assert (basis >= 0.0).all()
    np.testing.assert_allclose(basis.sum(axis=1), 1.0, atol=1e-14)
    for power in range(degree + 1):
        values = np.tile(np.array(flow.nodes) ** power, (len(flow.classes), 1))
        c = flow.interpolated(values)["c"]
        np.testing.assert_allclose(basis @ c[0], times**power, atol=1e-13)


def test_log_det_converges():
    """U(1) at coefficients of order one: the error against the dense Jacobian of the discrete map falls as step^3."""
    x = links(LATTICE, 1, 8)
    errors = []
    for steps in (8, 16, 32):
        flow = TrivialisingFlow(LATTICE, 1, knots=3, steps=steps)
        params = {"c": 0.05 * np.random.default_rng(1).normal(size=flow.shape)}
        exact = contract.brute_force_log_det(flow, LATTICE, params, x)
        errors.append(abs(float(exact - flow.forward(params, x)[1][0])))
    assert errors[0] < 0.02
    assert 6.5 < errors[0] / errors[1] < 9.5
    assert 7.0 < errors[1] / errors[2] < 9.0


def test_step_error():
    """Of the weights of the expansion at beta = 1: third order."""
    x = Haar(LATTICE, 1).sample(Rng(3), 32)
    action = WilsonAction(LATTICE, 1.0)
    found = []
    for steps in (5, 10):
        flow = TrivialisingFlow(LATTICE, 1, luescher_classes(2, 1, 1), knots=2, steps=steps)
        found.append(flow.step_error(flow.luescher(1.0, 1), x, action))
    assert found[1].log_weight_deviation < 1e-3
    assert 6.0 < found[0].log_weight_deviation / found[1].log_weight_deviation < 10.0
    assert 6.0 < found[0].links / found[1].links < 10.0


def test_expansion_trivialises():
    """Variance of the log-weight of U(1) at beta = 0.6: falls by order, to beta^2 times that of the order before."""
    x = Haar(LATTICE, 1).sample(Rng(4), 256)
    action = WilsonAction(LATTICE, 0.6)
    variances = [np.var(action.value(x))]
    for order in (0, 1, 2):
        flow = TrivialisingFlow(LATTICE, 1, luescher_classes(2, 1, order), knots=order + 1, steps=8)
        y, log_det = flow.forward(flow.luescher(0.6, order), x)
        variances.append(np.var(log_det - action.value(y)))
    ratios = np.array(variances[1:]) / np.array(variances[:-1])
    assert (ratios < 0.2).all()


def test_training():
    """From zero, one Gauss-Newton step beats 20 of Adam on the reverse KL; both lower the variance. U(1), beta = 1."""
    flow = TrivialisingFlow(LATTICE, 1, (plaquette(2),), knots=2, steps=5)
    source, target = WilsonAction(LATTICE, 0.0), WilsonAction(LATTICE, 1.0)
    x = Haar(LATTICE, 1).sample(Rng(5), 128)

    def variance(params):
        y, log_det = flow.forward(params, x)
        return float(np.var(log_det - target.value(y)))

    params, optimiser = flow.init(), Adam(constant(0.02))
    state, losses = optimiser.init(params), []
    for _ in range(20):
        loss = reverse_kl(flow, params, source, target, x)
        losses.append(loss.loss)
        params, state = optimiser.update(state, params, loss.gradient)
    assert losses[-1] < losses[0]
    once = gauss_newton(flow, flow.init(), source, target, [x[..., :64], x[..., 64:]], [x])
    twice = gauss_newton(flow, once.params, source, target, [x], [x])
    assert once.before == pytest.approx(variance(flow.init()), rel=1e-12)
    assert min(twice.after) == pytest.approx(variance(twice.params), rel=1e-12)
    assert variance(params) < 0.5 * variance(flow.init())
    assert variance(twice.params) < 0.1 * variance(flow.init())
    assert variance(twice.params) < variance(params)


def test_errors():
    with pytest.raises(ValueError, match="n_colours: expected a positive"):
        TrivialisingFlow(LATTICE, 0)
    with pytest.raises(ValueError, match="expected positive integers, got 0 and 10"):
        TrivialisingFlow(LATTICE, 1, knots=0)
    flow = TrivialisingFlow(LATTICE, 1, (plaquette(2),), knots=2, steps=1, iterations=5)
    with pytest.raises(ValueError, match=r"c: expected shape \(1, 2\), got \(2, 1\)"):
        flow.forward({"c": np.zeros((2, 1))}, links(LATTICE, 1, 8))
    with pytest.raises(TypeError, match=r"c: expected an array of the library of the field, .*strict.*, got .*numpy"):
        flow.forward({"c": np.zeros((1, 2))}, strict.asarray(links(LATTICE, 1, 8)))
    with pytest.raises(ValueError, match=r"values: expected shape \(1, 2\)"):
        flow.interpolated(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="which this flow lacks"):
        flow.luescher(1.0, 1)
    with pytest.raises(ConvergenceError, match="inverse of step 0"):
        flow.inverse({"c": np.full((1, 2), -2.0)}, links(LATTICE, 1, 8))
