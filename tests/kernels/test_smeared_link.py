"""The smeared update of one link: determinant, VJP, divergence, inverse against brute force, at steps of order one."""

import numpy as np
import pytest
import scipy.linalg

from gaugeflow.sites import jacobian, matrix, smeared
from gaugeflow.sites.adjoint import generators

SIZES = [1, 2, 3, 4]


class Link:
    """One link, its frozen matrices A, C, D, R, R', and the layer written with SciPy."""

    def __init__(self, n, seed):
        self.n = n
        self.rng = np.random.default_rng(seed)
        self.basis = np.array(generators(n))
        self.frozen = [0.4 * self.unit(), 0.5 * self.unit(), 0.3 * self.unit()]
        self.frozen += [1.0 * self.project(self.unit()), 0.2 * self.project(self.unit())]
        self.u = scipy.linalg.expm(self.project(self.matrix()))
        self.f = self.generator(self.u, self.frozen)
        self.y = scipy.linalg.expm(self.f) @ self.u

    def matrix(self):
        return self.rng.normal(size=(self.n, self.n)) + 1j * self.rng.normal(size=(self.n, self.n))

    def unit(self):
        m = self.matrix()
        return m / np.linalg.norm(m, 2)

    def numbers(self, m):
        return tuple(np.asarray(m, dtype=complex).reshape(self.n**2, 1))

    def array(self, numbers):
        return np.array(numbers).reshape(self.n, self.n)

    def project(self, m):
        return self.array(matrix.project(self.numbers(m)))

    def generator(self, u, frozen):
        a, c, d, r, t = frozen
        return self.project(u @ a + u @ c @ u @ d) + r + u @ t @ u.conj().T

    def memory(self):
        return [None] * jacobian.memory_size(self.n)

    def all_numbers(self, *matrices):
        return [self.numbers(m) for m in matrices]

    def moved(self, w, frozen):
        """New link and log-determinant after a displacement of the link."""
        u = scipy.linalg.expm(w) @ self.u
        f = self.generator(u, frozen)
        det = smeared.loops_determinant(self.memory(), *self.all_numbers(f, u, *frozen))
        return scipy.linalg.expm(f) @ u, np.log(det[0])

    def coordinates(self, y):
        """Left coordinates of a link relative to the new link."""
        return -2.0 * np.einsum("aij,ji->a", self.basis, scipy.linalg.logm(y @ self.y.conj().T)).real


def difference(function, step):
    return sum(c * (function(k * step) - function(-k * step)) for k, c in ((1, 45), (2, -9), (3, 1))) / (60 * step)


@pytest.mark.parametrize("n", SIZES)
def test_generator_and_determinant(n):
    link = Link(n, n)
    found = link.array(smeared.generator(*link.all_numbers(link.u, *link.frozen)))
    np.testing.assert_allclose(found, link.f, atol=1e-14)
    columns = [difference(lambda e, t=t: link.coordinates(link.moved(e * t, link.frozen)[0]), 0.01) for t in link.basis]
    _, log_det = link.moved(0.0 * link.u, link.frozen)
    assert log_det == pytest.approx(np.linalg.slogdet(np.array(columns).T)[1], abs=1e-10)


@pytest.mark.parametrize("n", SIZES)
def test_vjp(n):
    link = Link(n, 10 + n)
    y_bar, log_det_bar = link.project(link.matrix()), 0.7
    bars = smeared.loops_vjp(link.memory(), *link.all_numbers(link.u, *link.frozen, y_bar), np.array([log_det_bar]))
    bars = [link.array(bar) for bar in bars]
    w = link.project(link.unit())
    moves = [link.unit() for _ in range(3)] + [link.project(link.unit()) for _ in range(2)]
    y_bar_coordinates = -2.0 * np.einsum("aij,ji->a", link.basis, y_bar).real

    def loss(along, e):
        y, log_det = link.moved(e * along[0], [m + e * dm for m, dm in zip(link.frozen, along[1:], strict=True)])
        return y_bar_coordinates @ link.coordinates(y) + log_det_bar * log_det

    for i, move in enumerate((w, *moves)):
        along = [move if j == i else 0.0 * link.u for j in range(6)]
        found = (-2.0 if i == 0 else 1.0) * np.trace(bars[i] @ move).real
        assert found == pytest.approx(difference(lambda e, x=along: loss(x, e), 0.01), abs=1e-9, rel=1e-9)


@pytest.mark.parametrize("n", SIZES)
def test_divergence(n):
    """First order of the log-determinant in the step."""
    link = Link(n, 20 + n)
    a, c, d, r, t = link.frozen
    force = 0.0 * link.u
    expected = smeared.loops_tangent(*link.all_numbers(link.u, *link.frozen, force))[0]
    found = difference(lambda e: link.moved(0.0 * link.u, [e * a, e * c, d, e * r, e * t])[1], 0.01)
    assert found == pytest.approx(expected, abs=1e-9)
    force = link.project(link.matrix())
    inner = -2.0 * np.trace(link.f @ force).real
    change = smeared.loops_tangent(*link.all_numbers(link.u, *link.frozen, force))[0] - expected
    assert change == pytest.approx(-inner, abs=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_inverse(n):
    link = Link(n, 30 + n)
    frozen = [0.5 * link.frozen[0], *link.frozen[1:]]
    y = scipy.linalg.expm(link.generator(link.u, frozen)) @ link.u
    u, change = smeared.solve_loops(link.memory(), *link.all_numbers(y, *frozen), 1e-13, 2000)
    assert change[0] < 1e-26
    np.testing.assert_allclose(link.array(u), link.u, atol=1e-13)


@pytest.mark.parametrize("n", SIZES)
def test_bound_holds(n):
    link = Link(n, 40 + n)
    a, c, d, _, t = link.frozen
    exact = sum(k * np.prod([np.linalg.norm(m, 2) for m in ms]) for k, ms in ((1, [a]), (2, [c, d]), (2, [t])))
    bound = smeared.step_bound(*link.all_numbers(a, c, d, t))[0]
    assert (1 - 1e-12) * exact <= bound <= (1 + 1e-12) * np.sqrt(n) * exact
