"""The update of one link: determinant, VJP, inverse and score against brute force, at steps of order one.

Small steps hide terms of high order in F.
"""

import numpy as np
import pytest
import scipy.linalg

from gaugeflow.sites import jacobian, matrix, residual, series
from gaugeflow.sites.adjoint import generators

SIZES = [1, 2, 3, 4]


class Link:
    """One link, its sum of paths, and the layer written with SciPy."""

    def __init__(self, n, seed, norm=0.8):
        self.n = n
        self.rng = np.random.default_rng(seed)
        self.basis = np.array(generators(n))
        self.a = self.matrix()
        self.a *= norm / np.linalg.norm(self.a, 2)
        self.u = scipy.linalg.expm(self.project(self.matrix()))
        self.f = self.project(self.u @ self.a)
        self.y = scipy.linalg.expm(self.f) @ self.u

    def matrix(self):
        return self.rng.normal(size=(self.n, self.n)) + 1j * self.rng.normal(size=(self.n, self.n))

    def numbers(self, m):
        return tuple(np.asarray(m).reshape(self.n**2, 1))

    def array(self, numbers):
        return np.array(numbers).reshape(self.n, self.n)

    def project(self, m):
        return self.array(matrix.project(self.numbers(m)))

    def memory(self):
        return [None] * jacobian.memory_size(self.n)

    def moved(self, w, da):
        """New link and log-determinant after a displacement of the link and a change of the paths."""
        u, a = scipy.linalg.expm(w) @ self.u, self.a + da
        f = self.project(u @ a)
        det = residual.jacobian_determinant(self.memory(), self.numbers(f), self.numbers(u @ a))
        return scipy.linalg.expm(f) @ u, np.log(det[0])

    def coordinates(self, y):
        """Left coordinates of a link relative to the new link."""
        return -2.0 * np.einsum("aij,ji->a", self.basis, scipy.linalg.logm(y @ self.y.conj().T)).real


def difference(function, step):
    return sum(c * (function(k * step) - function(-k * step)) for k, c in ((1, 45), (2, -9), (3, 1))) / (60 * step)


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize(("root", "tolerance"), [(0.0, 1e-14), (0.1, 1e-14), (1.0, 1e-14), (2.5, 1e-14), (3.0, 1e-11)])
def test_functions_of_the_adjoint_action(n, root, tolerance):
    """Against the eigenvalues of ad F, for a given largest difference of those of -iF."""
    link = Link(n, 6)
    f = link.project(link.matrix())
    eigenvalues = np.linalg.eigvalsh(-1j * f)
    f *= root / (eigenvalues[-1] - eigenvalues[0])

    def coordinates(m):
        return -2.0 * np.einsum("aij,ji->a", link.basis, m).real

    def applied(function, limit):
        values, vectors = np.linalg.eigh(-1j * np.array([coordinates(f @ t - t @ f) for t in link.basis]).T)
        z = 1j * np.where(np.abs(values) > 1e-6, values, 1.0)
        diagonal = np.where(np.abs(values) > 1e-6, function(z), limit)
        return ((vectors * diagonal) @ vectors.conj().T).real

    w = link.project(link.matrix())
    arguments = link.numbers(f), link.numbers(w)
    found = (jacobian.even(series.BERNOULLI, *arguments), *jacobian.phi_transposed(*arguments))
    phi = applied(lambda z: (1.0 - np.exp(-z)) / z, 1.0)
    expected = (applied(lambda z: 0.5 * z / np.tanh(0.5 * z), 1.0), phi, applied(lambda z: np.exp(-z), 1.0))
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(coordinates(link.array(x)), y @ coordinates(w), atol=tolerance * np.linalg.norm(w))
    det = jacobian.phi_determinant(link.memory(), link.numbers(f))[0]
    assert det == pytest.approx(np.linalg.det(phi), abs=1e-14)


@pytest.mark.parametrize("n", SIZES)
def test_determinant_equals_brute_force(n):
    link = Link(n, 1)
    zero = 0.0 * link.a
    columns = [difference(lambda e, t=t: link.coordinates(link.moved(e * t, zero)[0]), 3e-3) for t in link.basis]
    assert link.moved(zero, zero)[1] == pytest.approx(np.linalg.slogdet(np.array(columns))[1], abs=1e-10)


@pytest.mark.parametrize(("n", "seed"), [(n, seed) for n in (1, 2, 3) for seed in (1, 2, 3)] + [(4, 1)])
def test_vjp_equals_differences(n, seed):
    link = Link(n, seed)
    y_bar, log_det_bar = link.project(link.matrix()), 0.7
    x_bar, a_bar = residual.update_vjp(
        link.memory(), link.numbers(link.u), link.numbers(link.a), link.numbers(y_bar), np.array([log_det_bar])
    )
    w, da = link.project(link.matrix()), link.matrix()

    def loss(dw, dp):
        y, log_det = link.moved(dw * w, dp * da)
        return -2.0 * np.trace(y_bar @ scipy.linalg.logm(y @ link.y.conj().T)).real + log_det_bar * log_det

    by_link = -2.0 * np.trace(link.array(x_bar) @ w).real
    by_paths = np.trace(link.array(a_bar) @ da).real
    assert by_link == pytest.approx(difference(lambda e: loss(e, 0.0), 2e-3), rel=1e-8)
    assert by_paths == pytest.approx(difference(lambda e: loss(0.0, e), 2e-3), rel=1e-8)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("norm", [0.1, 0.8, 0.98])
def test_solve_inverts(n, norm):
    """To rounding also where the iteration is hardly a contraction."""
    link = Link(n, 4, norm)
    u, change = residual.solve(link.memory(), link.numbers(link.y), link.numbers(link.a), 1e-13, 1000)
    assert float(change[0]) < 1e-26
    np.testing.assert_allclose(link.array(u), link.u, atol=2e-14)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_score_is_transported(n):
    """New score = gradient of log p(u(y)) - log det along displacements of the new link."""
    link = Link(n, 5)
    score = link.project(link.matrix())
    new, _ = residual.update_score(link.memory(), link.numbers(link.u), link.numbers(link.a), link.numbers(score))
    w = link.project(link.matrix())

    def log_density(e):
        y = scipy.linalg.expm(e * w) @ link.y
        u = link.array(residual.solve(link.memory(), link.numbers(y), link.numbers(link.a), 1e-13, 1000)[0])
        product = link.numbers(u @ link.a)
        det = residual.jacobian_determinant(link.memory(), matrix.project(product), product)
        return -2.0 * np.trace(score @ scipy.linalg.logm(u @ link.u.conj().T)).real - np.log(det[0])

    assert -2.0 * np.trace(link.array(new) @ w).real == pytest.approx(difference(log_density, 2e-3), rel=1e-8)
