"""The linearised flow: the field of a sweep at the identity, beside the sweep itself with small coefficients."""

from __future__ import annotations

import numpy as np
import pytest

from gaugeflow import random
from gaugeflow.actions import WilsonAction
from gaugeflow.flows import Convolution, ResidualSweep, SmearedSweep
from gaugeflow.lattice import Lattice

LATTICE = Lattice((4, 4))
SWEEPS = {
    "residual": ResidualSweep(LATTICE, 2, (Convolution(0), Convolution(1)), planes="anisotropic"),
    "smeared": SmearedSweep(LATTICE, 2, planes="anisotropic"),
    "smeared, parity masks": SmearedSweep(LATTICE, 3, masks="parity"),
}


@pytest.fixture(params=SWEEPS, name="sweep")
def _sweep(request):
    return SWEEPS[request.param]


def _given(sweep):
    x = random.haar_links(random.Rng(5), LATTICE, sweep.n_colours, 8)
    coefficients = np.random.default_rng(2).normal(size=sweep.shape)
    return x, WilsonAction(LATTICE, 2.0).grad(x), coefficients


def test_field_is_the_slope_of_the_sweep(sweep):
    x, force, coefficients = _given(sweep)
    step = 3e-4

    def slope(images):
        return (images[0] - images[1]) / (2.0 * step)

    images = [[sweep.forward({"delta": k * sign * step * coefficients}, x)[0] for sign in (1, -1)] for k in (1, 2)]
    flow = (4.0 * slope(images[0]) - slope(images[1]) / 2.0) / 3.0  # the error of second order cancels
    ahead, behind = (slope(sweep.linearised(coefficients, x, force, k * step)[:2]) for k in (1, 2))
    field = (4.0 * ahead - behind / 2.0) / 3.0
    np.testing.assert_allclose(field, flow, atol=1e-9)
    assert np.abs(field).max() > 0.1


def test_change_of_the_log_weight_is_linear_in_coefficients(sweep):
    x, force, coefficients = _given(sweep)
    expected = np.einsum("ij,ijb->b", coefficients, sweep.tangent(x, force))
    np.testing.assert_allclose(sweep.linearised(coefficients, x, force, 0.1)[2], expected, rtol=1e-12, atol=1e-12)


def test_both_sides_are_inverse_steps(sweep):
    x, force, coefficients = _given(sweep)
    ahead, behind, _ = sweep.linearised(coefficients, x, force, 0.01)
    # exp(F) U U^dagger exp(-F) U = U for every link
    there_and_back = np.einsum("mvijb,mvkjb,mvklb->mvilb", ahead, x.conj(), behind)
    np.testing.assert_allclose(there_and_back, x, atol=1e-13)
