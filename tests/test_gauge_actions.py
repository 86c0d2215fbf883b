"""Gauge actions: exact values, derivatives with respect to couplings, differences."""

import numpy as np
import pytest

from cases.fields import group_array, links
from gaugeflow.actions import DBW2, ImprovedAction, Scaled, Sum, WilsonAction, difference
from gaugeflow.groups import SU, algebra_basis
from gaugeflow.lattice import Lattice

LATTICE = Lattice((4, 3, 2, 2))
X = links(LATTICE, 3, 8)


def _cold(lattice, n, lanes):
    return SU(lattice).identity(np.zeros((lattice.ndim, lattice.n_blocks, n, n, lanes), dtype=complex))


def _loops(array):
    """Sums of Re tr / N of plaquettes by plane and of rectangles, by NumPy on ``(batch, d, *shape, n, n)``."""
    d, n = array.shape[1], array.shape[-1]

    def product(*path):
        """Links multiplied along a closed path of steps (+-(mu + 1)) from every site."""
        u, offset = np.eye(n), [0] * d
        for step in path:
            mu = abs(step) - 1
            if step < 0:
                offset[mu] -= 1
            link = np.roll(array[:, mu], [-o for o in offset], axis=tuple(range(1, d + 1)))
            u = u @ (link if step > 0 else np.conj(np.swapaxes(link, -1, -2)))
            if step > 0:
                offset[mu] += 1
        trace = np.trace(u, axis1=-2, axis2=-1).real / n
        return trace.reshape(len(array), -1).sum(axis=1)

    planes = [product(a, b, -a, -b) for a in range(1, d + 1) for b in range(a + 1, d + 1)]
    pairs = [(a, b) for a in range(1, d + 1) for b in range(1, d + 1) if a != b]
    return np.array(planes), np.array([product(a, a, b, -a, -a, -b) for a, b in pairs])


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4), (4, 3, 2, 2)])
@pytest.mark.parametrize("n", [1, 3])
def test_values_from_loops_by_numpy(shape, n):
    lattice = Lattice(shape)
    x = links(lattice, n, 8)
    planes, rectangles = _loops(group_array(shape, n, 8))
    temporal = planes[: len(shape) - 1].sum(axis=0)
    spatial = planes[len(shape) - 1 :].sum(axis=0)
    wilson = WilsonAction(lattice, 5.0, anisotropy=0.2)
    np.testing.assert_allclose(wilson.value(x), -5 * (1.2 * temporal + 0.8 * spatial), rtol=1e-12)
    improved = ImprovedAction(lattice, 5.0, DBW2)
    expected = -5 * ((1 - 8 * DBW2) * planes.sum(axis=0) + DBW2 * rectangles.sum(axis=0))
    np.testing.assert_allclose(improved.value(x), expected, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_cold_configuration(n):
    """Every loop is 1, so S = -beta (number of plaquettes) for every c_1 in this normalisation: c_0 + 2 c_1 loops."""
    x = _cold(LATTICE, n, 8)
    plaquettes = 6 * LATTICE.volume
    np.testing.assert_allclose(WilsonAction(LATTICE, 6.0).value(x), -6.0 * plaquettes, rtol=1e-14)
    expected = -6.0 * plaquettes * ((1 - 8 * DBW2) + 2 * DBW2)
    np.testing.assert_allclose(ImprovedAction(LATTICE, 6.0, DBW2).value(x), expected, rtol=1e-14)
    assert abs(WilsonAction(LATTICE, 6.0).grad(x)).max() < 1e-15


def test_folds_do_not_matter():
    array = group_array((4, 4, 2, 2), 3, 8)
    plain, folded = Lattice((4, 4, 2, 2)), Lattice((4, 4, 2, 2), (2, 2, 1, 1))
    for make in (lambda lattice: WilsonAction(lattice, 6.0, 0.1), lambda lattice: ImprovedAction(lattice, 6.0)):
        values, grads = [], []
        for lattice in (plain, folded):
            x = lattice.pack(array, components=1)
            values.append(make(lattice).value(x))
            grads.append(lattice.unpack(make(lattice).grad(x), components=1))
        np.testing.assert_allclose(*values, rtol=1e-13, atol=1e-12)
        np.testing.assert_allclose(*grads, atol=1e-13)


def test_coupling_derivatives():
    """S is linear in beta and lambda: difference quotients are exact."""
    action = WilsonAction(LATTICE, 6.0, anisotropy=0.1)
    by_beta = WilsonAction(LATTICE, 7.0, anisotropy=0.1).value(X) - action.value(X)
    np.testing.assert_allclose(action.d_beta(X), by_beta, rtol=1e-11)
    by_anisotropy = WilsonAction(LATTICE, 6.0, anisotropy=1.1).value(X) - action.value(X)
    np.testing.assert_allclose(action.d_anisotropy(X), by_anisotropy, rtol=1e-11, atol=1e-10)
    improved = ImprovedAction(LATTICE, 6.0)
    np.testing.assert_allclose(improved.d_beta(X), improved.value(X) / 6.0, rtol=1e-14)


def test_differences_keep_their_digits():
    """Couplings that differ in the last places: the difference has all its digits, that of two values has few."""
    step = 2.0**-40
    for make in (lambda beta: WilsonAction(LATTICE, beta), lambda beta: ImprovedAction(LATTICE, beta, c1=-0.125)):
        exact = step * make(6.0).value(X) / 6.0
        np.testing.assert_allclose(difference(make(6.0 + step), make(6.0), X), exact, rtol=1e-12)
        subtracted = make(6.0 + step).value(X) - make(6.0).value(X)
        assert abs(subtracted / exact - 1).max() > 1e-6
    mixed = difference(ImprovedAction(LATTICE, 4.0), WilsonAction(LATTICE, 6.0), X)
    subtracted = ImprovedAction(LATTICE, 4.0).value(X) - WilsonAction(LATTICE, 6.0).value(X)
    np.testing.assert_allclose(mixed, subtracted, rtol=1e-11)
    back = difference(WilsonAction(LATTICE, 6.0), ImprovedAction(LATTICE, 4.0), X)
    np.testing.assert_allclose(back, -mixed, rtol=1e-13)


def test_algebra():
    wilson, improved = WilsonAction(LATTICE, 6.0), ImprovedAction(LATTICE, 2.0)
    both = Sum((wilson, Scaled(-0.5, improved)))
    np.testing.assert_allclose(both.value(X), wilson.value(X) - 0.5 * improved.value(X), rtol=1e-14)
    np.testing.assert_allclose(both.grad(X), wilson.grad(X) - 0.5 * improved.grad(X), atol=1e-14)


def test_errors():
    with pytest.raises(ValueError, match="at least one action"):
        Sum(())
    with pytest.raises(ValueError, match=r"two dimensions or more, got a lattice of shape \(4,\)"):
        WilsonAction(Lattice((4,)), 1.0)
    with pytest.raises(ValueError, match="expected one lattice"):
        difference(WilsonAction(LATTICE, 1.0), WilsonAction(Lattice((4, 4)), 1.0), X)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_algebra_basis(n):
    t = algebra_basis(n, np, np.complex128)
    assert t.shape == (max(n * n - 1, 1), n, n)
    np.testing.assert_allclose(t, -np.conj(np.swapaxes(t, -1, -2)), atol=1e-16)
    np.testing.assert_allclose(np.einsum("aij,bji->ab", t, t), -np.eye(len(t)) / 2, atol=1e-15)
    if n > 1:
        np.testing.assert_allclose(np.trace(t, axis1=1, axis2=2), 0, atol=1e-16)
