"""Affine couplings and pointwise layers beyond their contract: other arrays, single precision, symmetries, bad input."""

import array_api_strict
import numpy as np
import pytest

from cases.fields import scalars
from cases.flows import SCALAR_FLOWS, shaken
from gaugeflow import nn, tree
from gaugeflow.flows import AffineCoupling, SinhArcsinh, affine_chain, evaluate
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng

LATTICE = Lattice((4, 4))


@pytest.mark.parametrize("name", [name for name in SCALAR_FLOWS if name != "neighbour affine"])
def test_array_api_strict(name):
    """Values, inverse, cotangents and scores from a library that knows nothing but the standard."""
    flow, _, params, x = SCALAR_FLOWS[name]()
    strict, strict_x = tree.map(array_api_strict.asarray, params), array_api_strict.asarray(x)
    at, found = evaluate(flow, params, x), evaluate(flow, strict, strict_x)
    (bars, x_bar), (found_bars, found_x_bar) = at.pull_back(x, at.log_det), found.pull_back(strict_x, found.log_det)
    back = flow.inverse(strict, found.y)
    pairs = [
        (at.y, found.y),
        (at.log_det, found.log_det),
        (x, back[0]),
        (-at.log_det, back[1]),
        (x_bar, found_x_bar),
        (at.push_score(x), found.push_score(strict_x)),
        *zip(tree.flatten(bars).values(), tree.flatten(found_bars).values(), strict=True),
    ]
    for expected, value in pairs:
        np.testing.assert_allclose(np.asarray(value), expected, rtol=1e-11, atol=1e-12)


def test_single_precision_networks_keep_the_flow_exact():
    """Networks of rounded numbers make another flow, near the exact one, whose inverse and log-determinant are exact."""
    exact = affine_chain(LATTICE, 4, (4,), single_precision=False, pointwise=True)
    rounded = affine_chain(LATTICE, 4, (4,), pointwise=True)
    params, x = shaken(exact), scalars(LATTICE, 16)
    y, log_det = rounded.forward(params, x)
    back, minus_log_det = rounded.inverse(params, y)
    assert y.dtype == log_det.dtype == np.float64
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(minus_log_det, -log_det, rtol=0, atol=1e-12)
    difference = abs(y - exact.forward(params, x)[0]).max()
    assert 0.0 < difference < 1e-4


def test_single_precision_fields_have_double_log_determinants():
    flow = affine_chain(LATTICE, 2, (4,), single_precision=False, pointwise=True)
    params = tree.map(lambda p: np.asarray(p, dtype=np.float32), shaken(flow))
    y, log_det = flow.forward(params, scalars(LATTICE, 16).astype(np.float32))
    assert (y.dtype, log_det.dtype) == (np.float32, np.float64)


def test_two_sites_apart_on_translations():
    """Shifts that keep the checkerboard carry over to the result."""
    flow = affine_chain(LATTICE, 2, (4,), single_precision=False)
    params, x = shaken(flow), scalars(LATTICE, 16)
    y = LATTICE.unpack(flow.forward(params, x)[0])
    for shift in ((2, 0), (1, 1), (0, -2)):
        moved = LATTICE.pack(np.roll(LATTICE.unpack(x), shift, axis=(1, 2)))
        found = LATTICE.unpack(flow.forward(params, moved)[0])
        np.testing.assert_allclose(found, np.roll(y, shift, axis=(1, 2)), rtol=0, atol=1e-12)


def test_bound_of_the_scale():
    net = nn.convolutional(LATTICE, (1, 2))
    flow = AffineCoupling(LATTICE, net, bound=0.5)
    params = {"0": {"weight": np.full((9, 2, 1), 100.0), "bias": np.zeros(2)}}
    _, log_det = flow.forward(params, np.ones((16, 16)))
    np.testing.assert_allclose(log_det, 8 * 0.5, rtol=1e-12)


def test_sinh_arcsinh_has_lighter_tails_for_small_powers():
    layer = SinhArcsinh(Lattice((2,)))
    params = {"log_power": np.log(0.5), "log_scale": np.asarray(0.0)}
    y, _ = layer.forward(params, np.asarray([[1e-4, 1e8], [-1e-4, -1e8]]))
    np.testing.assert_allclose(y[:, 0], [0.5e-4, -0.5e-4], rtol=1e-6)
    np.testing.assert_allclose(y[:, 1], [0.5 * np.sqrt(2e8), -0.5 * np.sqrt(2e8)], rtol=1e-6)


def test_bad_settings_and_fields():
    net = nn.convolutional(LATTICE, (1, 3))
    with pytest.raises(ValueError, match="bound > 0, got 0"):
        AffineCoupling(LATTICE, net, bound=0.0)
    with pytest.raises(ValueError, match="extent"):
        AffineCoupling(Lattice((3, 4)), net)
    with pytest.raises(ValueError, match="expected two channels on 16 sites from the network, got an array of shape"):
        AffineCoupling(LATTICE, net).forward(net.init(Rng(1)), np.zeros((16, 16)))
    flow = affine_chain(LATTICE, 1)
    with pytest.raises(ValueError, match=r"expected shape \(16, lanes\), got \(8, 4\)"):
        flow.forward(flow.init(Rng(1)), np.zeros((8, 4)))
    with pytest.raises(ValueError, match="at least one flow"):
        affine_chain(LATTICE, 0)
    flow, phi = SinhArcsinh(LATTICE), array_api_strict.asarray(np.zeros((16, 4)))
    with pytest.raises(
        TypeError, match=r"log_power: expected an array of the library of the field, .*strict.*, got .*numpy"
    ):
        flow.forward(flow.init(), phi)
