"""The gradient of the charge: differences, divergence, and what it does to <Q Q_clover> of SU(3) in four dimensions."""

import numpy as np
import pytest

from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import gamma_method
from gaugeflow.check.differences import differentiate
from gaugeflow.ensembles import EPSILON, LINEAR, Improved, Measurements, response, responses
from gaugeflow.flows import ChargeGradient
from gaugeflow.groups import SU
from gaugeflow.lattice import Lattice
from gaugeflow.observables import clover_charge, plaquette_charge
from gaugeflow.random import Rng, haar_links, momenta
from gaugeflow.samplers import HeatBath


@pytest.mark.parametrize(("n", "fold"), [(1, None), (2, None), (3, (2, 1, 1, 1))])
def test_gradient(n, fold):
    lattice = Lattice((4, 2, 2, 4), fold)
    flow, group = ChargeGradient(lattice), SU(lattice)
    x, w = haar_links(Rng(1), lattice, n, 4), momenta(Rng(2), lattice, n, 4)
    charge, gradient = flow.charge_and_gradient(x)
    np.testing.assert_allclose(charge, plaquette_charge(lattice, x), atol=1e-15)
    (slope,) = differentiate(lambda e: (plaquette_charge(lattice, group.retract(x, w, e)),))
    np.testing.assert_allclose(group.inner(gradient, w), slope, atol=1e-11)
    force = WilsonAction(lattice, 5.7).grad(x)
    ahead, behind, tangent = flow.linearised([0.3], x, force, 1e-3)
    np.testing.assert_allclose(tangent, 0.3 * flow.tangent(x, force)[0], atol=1e-13)
    np.testing.assert_allclose(ahead, group.retract(x, gradient, 3e-4), atol=1e-14)
    np.testing.assert_allclose(behind, group.retract(x, gradient, -3e-4), atol=1e-14)


def test_divergence():
    """The sum of second differences along an orthonormal basis of all links of 2^4, SU(2)."""
    lattice = Lattice((2, 2, 2, 2))
    flow, group = ChargeGradient(lattice), SU(lattice)
    x = haar_links(Rng(3), lattice, 2, 4)
    size = group.dimension(x)
    copies = np.repeat(x[..., :1], size, axis=-1)
    w = group.tangent(copies, np.eye(size))
    (slopes,) = differentiate(lambda e: (group.inner(flow.charge_and_gradient(group.retract(copies, w, e))[1], w),))
    np.testing.assert_allclose(np.sum(slopes), flow.tangent(x, 0.0 * x)[0, 0], atol=1e-10)


def test_correlation_of_charges():
    """<Q_plaquette Q_clover> of SU(3) on 4^4 at beta = 5.7 with and without the field: equal within 4 sigma, a mean tangent of
    zero within 4 sigma, and a variance that is smaller by more than 3; seed 4."""
    lattice, rng = Lattice((4, 4, 4, 4)), Rng(4)
    action, bath = WilsonAction(lattice, 5.7), HeatBath(lattice, 5.7)
    state = bath.hot(rng.stream("hot"), 3, 8)
    for _ in range(30):
        state, _ = bath.step(rng.stream("steps"), state)
    improved = {"Q": Improved(lambda x: plaquette_charge(lattice, x), ChargeGradient(lattice), np.array([-0.0615]))}
    measure = responses(improved, {"clover": lambda x: clover_charge(lattice, x)}, action.grad)
    data = Measurements()
    for i in range(20):
        for _ in range(3):
            state, _ = bath.step(rng.stream("steps"), state)
        data.add([i] * 8, range(8), measure(state.x))
    found = {label: gamma_method(series) for label, series in response(data, "Q", "clover").items()}
    difference = gamma_method(response(data, "Q", "clover")[LINEAR] - response(data, "Q", "clover")[EPSILON])
    assert abs(difference.value) < 4.0 * difference.error
    assert found[EPSILON].error > 3**0.5 * found[LINEAR].error
    tangent = gamma_method(data.series("Q|tangent"))
    assert abs(tangent.value) < 4.0 * tangent.error


def test_what_is_refused():
    with pytest.raises(ValueError, match="expected four dimensions"):
        ChargeGradient(Lattice((4, 4)))
