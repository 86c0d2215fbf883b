"""Couplings of a scalar field and pseudofermions: symmetries, and the limit of weak coupling."""

import numpy as np
import pytest

from cases.fields import scalars
from cases.flows import shaken
from gaugeflow import nn, tree
from gaugeflow.actions import YukawaPseudofermions, with_pseudofermions, without_pseudofermions
from gaugeflow.backend import use_backend
from gaugeflow.flows import OnScalar, PseudofermionCoupling, ScalarCoupling, SinhArcsinh
from gaugeflow.flows.real.yukawa import HOPS, pseudofermion_chain
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Yukawa
from gaugeflow.random import Rng

LATTICE = Lattice((4, 8))
OPERATOR = Yukawa(lattice=LATTICE, coupling=0.7)


@pytest.fixture(autouse=True)
def reference():
    """Nothing to compile."""
    with use_backend("reference"):
        yield


def joint(rng, batch=2):
    phi = 0.5 * scalars(LATTICE, batch)
    chi = rng.standard_normal((2, 16, 1, 1, batch))
    return phi, chi[0] + 1j * chi[1]


def make(kind):
    tanh = nn.Tanh()
    if kind == "scalar":
        flow = ScalarCoupling(LATTICE, OPERATOR, nn.convolutional(LATTICE, (3, 3, 2), activation=tanh), 1)
    else:
        net = nn.convolutional(LATTICE, (2, 3, 1 + len(HOPS[kind])), activation=tanh)
        flow = PseudofermionCoupling(LATTICE, OPERATOR, net, kind)
    return flow, shaken(flow, 0.2)


@pytest.mark.parametrize("kind", ["scalar", *HOPS])
def test_phase_of_pseudofermions(kind, rng):
    """chi -> exp(i alpha) chi comes out of the flow as it goes in, and leaves log_det alone."""
    flow, params = make(kind)
    phi, chi = joint(rng)
    phase = np.exp(0.7j)
    y, log_det = flow.forward(params, with_pseudofermions(LATTICE, phi, chi))
    turned, same = flow.forward(params, with_pseudofermions(LATTICE, phi, phase * chi))
    np.testing.assert_allclose(same, log_det, rtol=1e-12)
    for a, b, factor in zip(
        without_pseudofermions(LATTICE, turned), without_pseudofermions(LATTICE, y), (1.0, phase), strict=True
    ):
        np.testing.assert_allclose(a, factor * b, atol=1e-13)


@pytest.mark.parametrize("kind", HOPS)
def test_pseudofermions_do_not_see_the_sign_of_the_field(kind, rng):
    flow, params = make(kind)
    phi, chi = joint(rng)
    y, log_det = flow.forward(params, with_pseudofermions(LATTICE, phi, chi))
    z, same = flow.forward(params, with_pseudofermions(LATTICE, -phi, chi))
    np.testing.assert_allclose(same, log_det, rtol=1e-13)
    np.testing.assert_allclose(z[:, 1], y[:, 1], rtol=1e-13)
    assert abs(y[:, 1] - with_pseudofermions(LATTICE, phi, chi)[:, 1]).max() > 1e-3


@pytest.mark.parametrize("kind", ["scalar", *HOPS])
def test_translation_in_space(kind, rng):
    """By four sites, which changes neither staggered signs nor the halves."""
    flow, params = make(kind)
    phi, chi = joint(rng)
    x = with_pseudofermions(LATTICE, phi, chi)

    def moved(field):
        return np.roll(field.reshape(4, 8, 2, -1), 4, axis=1).reshape(field.shape)

    y, log_det = flow.forward(params, x)
    z, same = flow.forward(params, moved(x))
    np.testing.assert_allclose(same, log_det, rtol=1e-12)
    np.testing.assert_allclose(z, moved(y), atol=1e-13)


def test_first_order_in_the_coupling(rng):
    """With r = 1 for all hops, in one direction of every partition, the divergence from p(chi | phi) falls by a factor.

    Noise that is left alone differs from pseudofermions by g^2; hops of at most three sites and the scale are left out.
    """
    lattice = Lattice((8, 8))
    operator = Yukawa(lattice=lattice, coupling=0.4)
    phi = 0.5 * rng.standard_normal((64, 200))
    noise = np.sqrt(0.5) * rng.standard_normal((2, 32, 1, 1, 200))
    x = with_pseudofermions(lattice, phi, noise[0] + 1j * noise[1])
    flow = pseudofermion_chain(operator, ["time", "checkerboard", "double time"])
    params = tree.map(np.copy, flow.init(Rng(1)))
    _, n = operator.with_links(phi).dense()
    log_det_n = np.linalg.slogdet(n)[1]

    def divergence():
        y, log_det = flow.forward(params, x)
        weight = (x[:, 1] ** 2).sum(axis=0) - YukawaPseudofermions(operator).value(y) + log_det - 2.0 * log_det_n
        return -weight.mean()

    white = divergence()
    for key in ("0", "2", "4"):
        params[key]["2"]["bias"][1:] = 1.0
    hops = divergence()
    assert white > 0.1
    assert hops < 0.6 * white


def test_bad_couplings():
    net = nn.convolutional(LATTICE, (2, 13))
    with pytest.raises(ValueError, match="partition: expected one of"):
        PseudofermionCoupling(LATTICE, OPERATOR, net, "space")
    with pytest.raises(ValueError, match="side: expected 0 or 1, got 2"):
        PseudofermionCoupling(LATTICE, OPERATOR, net, side=2)
    with pytest.raises(ValueError, match="parity: expected 0 or 1, got -1"):
        ScalarCoupling(LATTICE, OPERATOR, net, -1)
    lattice = Lattice((6, 4))
    operator = Yukawa(lattice=lattice, coupling=0.7)
    with pytest.raises(ValueError, match="that 4 divides"):
        PseudofermionCoupling(lattice, operator, net, "checkerboard")
    alone = OnScalar(LATTICE, SinhArcsinh(LATTICE))
    with pytest.raises(ValueError, match="joint field"):
        alone.forward(alone.init(), np.ones((32, 3)))
