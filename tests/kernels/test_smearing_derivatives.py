"""Derivatives of smearing steps and plaquettes along directions against differences, on matrices of norm one of no group."""

import numpy as np
import pytest

from gaugeflow import kernels
from gaugeflow.backend import use_backend
from gaugeflow.lattice import Lattice

LATTICE = Lattice((2, 4, 2))
KAPPA = -0.8
LAYOUTS = [(1, 3), (2, 2), (3, 1)]


class Fields:
    """Random matrices, and weights of planes that differ from configuration to configuration."""

    def __init__(self, n, batch):
        self.rng = np.random.default_rng(n)
        self.shape = (LATTICE.ndim, LATTICE.n_blocks, n, n, batch)
        half = self.rng.normal(size=(LATTICE.ndim, LATTICE.ndim, batch))
        self.weight = 0.1 * (half + half.transpose(1, 0, 2)).reshape(-1, batch)

    def draw(self):
        return (self.rng.normal(size=self.shape) + 1j * self.rng.normal(size=self.shape)) / np.sqrt(2 * self.shape[2])


def difference(function, *pairs, step=0.01):
    """Derivative of the results of ``function(*fields)`` along directions, to the eighth order in the step."""

    def at(e):
        results = function(*(field + e * along for field, along in pairs))
        return results if isinstance(results, tuple) else (results,)

    weights = ((1, 4 / 5), (2, -1 / 5), (3, 4 / 105), (4, -1 / 280))
    terms = [[w / step * (a - b) for a, b in zip(at(k * step), at(-k * step), strict=True)] for k, w in weights]
    return [sum(parts) for parts in zip(*terms, strict=True)]


def inner(a, b):
    """Re tr(a b) summed over links, for each configuration."""
    return np.einsum("dxijb,dxjib->b", a, b).real


@pytest.mark.parametrize(("n", "batch"), LAYOUTS)
def test_steps_along_a_direction(n, batch):
    fields = Fields(n, batch)
    u, u_t = fields.draw(), fields.draw()
    with use_backend("reference"):
        staples = kernels.smear_step(LATTICE, u, fields.weight, KAPPA)[1]
        found = kernels.smear_step_along(LATTICE, u, staples, fields.weight, KAPPA, u_t)
        expected = difference(lambda v: kernels.smear_step(LATTICE, v, fields.weight, KAPPA), (u, u_t))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9 * abs(b).max())


@pytest.mark.parametrize(("n", "batch"), LAYOUTS)
def test_pulling_is_the_transpose(n, batch):
    fields = Fields(n, batch)
    u, u_t, bar = (fields.draw() for _ in range(3))
    with use_backend("reference"):
        staples = kernels.smear_step(LATTICE, u, fields.weight, KAPPA)[1]
        along, own = kernels.smear_step_pull(LATTICE, u, staples, KAPPA, bar)
        u_bar = kernels.plaquette_hessian(LATTICE, u, fields.weight, along, own)
        moved = kernels.smear_step_along(LATTICE, u, staples, fields.weight, KAPPA, u_t)[0]
        sites = LATTICE.active_sites(1, 0)
        rows = kernels.plaquette_hessian_active(LATTICE, u, fields.weight, along, own, 1, sites)
    np.testing.assert_allclose(inner(u_bar, u_t), inner(bar, moved), rtol=1e-11)
    np.testing.assert_array_equal(rows, u_bar[1, sites])


@pytest.mark.parametrize(("n", "batch"), LAYOUTS)
def test_change_of_pulling(n, batch):
    fields = Fields(n, batch)
    given = [fields.draw() for _ in range(3)]
    along = [fields.draw() for _ in range(3)]
    with use_backend("reference"):
        u, s, bar = given
        found = kernels.smear_step_pull_along(LATTICE, u, s, KAPPA, bar, *along)
        pairs = zip(given, along, strict=True)
        expected = difference(lambda u, s, bar: kernels.smear_step_pull(LATTICE, u, s, KAPPA, bar), *pairs)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9 * abs(b).max())


@pytest.mark.parametrize(("n", "batch"), LAYOUTS)
def test_plaquettes_and_three_derivatives(n, batch):
    fields = Fields(n, batch)
    u, u_t, t, t_t, nought = (*(fields.draw() for _ in range(4)), np.zeros(fields.shape, complex))
    w, scale = fields.weight, n * LATTICE.volume
    planes = [w[mu * LATTICE.ndim + nu] for mu, nu in LATTICE.planes]
    with use_backend("reference"):
        first = kernels.plaquette_along(LATTICE, u, t)
        (expected,) = difference(lambda v: scale * kernels.plaquette(LATTICE, v), (u, t))
        np.testing.assert_allclose(first, expected, atol=1e-10 * abs(expected).max())
        gradient = kernels.plaquette_gradient(LATTICE, u, w, nought)
        np.testing.assert_allclose(inner(gradient, t), np.sum(planes * first, axis=0), rtol=1e-11)
        second = kernels.plaquette_hessian(LATTICE, u, w, t, t_t)
        (expected,) = difference(lambda v: kernels.plaquette_gradient(LATTICE, v, w, u_t), (u, t))
        np.testing.assert_allclose(second - t_t, expected, atol=1e-10 * abs(expected).max())
        third = kernels.plaquette_hessian_along(LATTICE, u, w, u_t, t, t_t, gradient)
        (expected,) = difference(lambda v, a: kernels.plaquette_hessian(LATTICE, v, w, a, u), (u, u_t), (t, t_t))
        np.testing.assert_allclose(third - gradient, expected, atol=1e-10 * abs(expected).max())
