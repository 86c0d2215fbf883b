"""Means of single links: exact values, brute force, covariance; and loops that are made of them."""

import itertools
import math

import array_api_strict
import numpy as np
import pytest
from scipy import special

from cases.fields import links, rotation
from gaugeflow import kernels
from gaugeflow.analysis import Series, gamma_method
from gaugeflow.errors import ConvergenceError
from gaugeflow.kernels import link_averages
from gaugeflow.lattice import Lattice
from gaugeflow.observables import wilson_loops
from gaugeflow.random import Rng, haar_links
from gaugeflow.samplers import HeatBath, configurations
from gaugeflow.sites.heatbath import heat_bath
from gaugeflow.sites.one_link import bessel_ratio, one_link_average

LATTICE = Lattice((4, 4, 4, 4))


def _matrix(a):
    """Mean for one matrix A as an array."""
    n = len(a)
    found = one_link_average(tuple(np.reshape(x, (1, 1)) for x in np.ravel(a)))
    return np.reshape([x[0, 0] for x in found], (n, n))


@pytest.mark.parametrize("order", [0, 1])
def test_bessel_ratio(order):
    z = np.array([1e-9, 0.3, 2.0, 30.0, 700.0, 1e4])
    expected = special.ive(order + 1, z) / special.ive(order, z)
    np.testing.assert_allclose(bessel_ratio(order, z), expected, rtol=1e-12)
    assert bessel_ratio(order, np.zeros(1))[0] == 0.0


@pytest.mark.parametrize(
    ("n", "beta", "exact"),
    [(1, 2.0, 0.6977746580), (2, 2.2, 0.4644790253), (3, 1.0, 0.0601265548), (3, 6.0, 0.4225317396)],
)
def test_group_element(n, beta, exact):
    """With A = (beta / N) V the mean is V times the plaquette of two dimensions in large volume."""
    v = haar_links(Rng(1), Lattice((2, 2)), n, 1)[0, 0, :, :, 0]
    np.testing.assert_allclose(_matrix(beta / n * v), exact * v, atol=1e-10)


def _log_z(j):
    """log of the SU(3) integral of exp(tr(J U + J^dagger U^dagger)) by its series in invariants.

    I. Bars, J. Math. Phys. 21 (1980) 2678: Z = sum 2 X^k Y^l W^m D^n / (k! l! m! n! (k+2l+3m+n+2)! (l+2m+n+1)!), W = |det J|^2,
    D = 2 Re det J.
    """
    h = j @ j.conj().T
    x, det = np.trace(h).real, np.linalg.det(j)
    values = (x, 0.5 * (x * x - np.trace(h @ h).real), abs(det) ** 2, 2 * det.real)
    k, m, w, n = np.ogrid[:28, :18, :12, :18]
    terms = 2 / (special.factorial(k + 2 * m + 3 * w + n + 2) * special.factorial(m + 2 * w + n + 1))
    for value, power in zip(values, (k, m, w, n), strict=True):
        terms = terms * value**power / special.factorial(power)
    return math.log(terms.sum())


def test_su3_by_another_series():
    """The mean is the gradient of log Z: 2 Re tr dJ <U> against a difference of fourth order, 1e-9."""
    rng = np.random.default_rng(3)
    a, d = (rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3)) for _ in range(2))
    j, step = 0.4 * a.conj().T, 0.004
    near, far = (_log_z(j + s * step * d) - _log_z(j - s * step * d) for s in (1, 2))
    slope = (8 * near - far) / (12 * step)
    found = 2 * np.trace(d @ _matrix(0.8 * a)).real
    assert found == pytest.approx(slope, abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_mean_is_that_of_the_heat_bath(n):
    """Arbitrary staples: 20 heat-bath updates of 2000 links, all entries within 4.5 sigma of the exact mean."""
    size, rng = 2000, Rng(7).stream(n)
    field = haar_links(rng, Lattice((size, 2)), n, 1)
    total = sum((0.5 + 0.3 * k) * haar_links(rng.at(k + 1), Lattice((2, 2)), n, 1)[0, 0] for k in range(4))
    a = tuple(np.broadcast_to(entry, (size, 1)) for entry in np.reshape(total, (n * n, 1)))
    u = tuple(field[0, ::2].reshape(size, n * n).T[..., None])
    place, mean = np.arange(size)[:, None], 0.0
    for draw in range(25):
        u, failed = heat_bath(place, np.zeros((1, 1), dtype=np.int64), draw, 0, *rng.key, a, u)
        assert not failed.any()
        if draw >= 5:
            mean = mean + np.stack(u)[..., 0] / 20
    exact = _matrix(total[:, :, 0]).ravel()[:, None]
    for part in (np.real, np.imag):
        deviation = np.mean(part(mean - exact), axis=1)
        error = np.std(part(mean), axis=1) / math.sqrt(size)
        assert np.all(np.abs(deviation) <= 4.5 * error + 1e-15)


def test_linear_field_of_a_link():
    """(C_F + F) U has mean zero, and c times it takes most of the fluctuation of U, which multihit takes as a whole."""
    size, rng, n = 1500, Rng(9), 3
    field = haar_links(rng, Lattice((size, 2)), n, 1)
    total = sum(haar_links(rng.at(k + 1), Lattice((2, 2)), n, 1)[0, 0] for k in range(3)) + 6.0 * np.eye(n)[..., None]
    a = tuple(np.broadcast_to(entry, (size, 1)) for entry in np.reshape(total, (n * n, 1)))
    u = tuple(field[0, ::2].reshape(size, n * n).T[..., None])
    for draw in range(6):
        u, _ = heat_bath(np.arange(size)[:, None], np.zeros((1, 1), dtype=np.int64), draw, 0, *rng.key, a, u)
    links_, staples = np.stack(u)[..., 0].T.reshape(size, n, n), total[:, :, 0]
    w = links_ @ staples.conj().T
    force = 0.25 * (w - w.conj().swapaxes(1, 2))
    force = force - np.trace(force, axis1=1, axis2=2)[:, None, None] * np.eye(n) / n
    h = (n * n - 1) / (2 * n) * links_ + force @ links_
    for part in (np.real(h), np.imag(h)):
        assert np.all(np.abs(part.mean(axis=0)) < 4.5 * part.std(axis=0) / math.sqrt(size))
    off = links_ - _matrix(staples)
    c = -np.sum(h.conj() * off).real / np.sum(abs(h) ** 2)
    assert c < 0
    assert np.sum(abs(off + c * h) ** 2) < 0.1 * np.sum(abs(off) ** 2)


def test_covariance_and_other_arrays():
    """A mean transforms as the link does."""
    x, g = links(LATTICE, 3, 8), rotation(LATTICE, 3, 8)
    turned = kernels.gauge_transform(LATTICE, x, g)
    means = [link_averages(LATTICE, field, 5.0, 2) for field in (x, turned)]
    both = [np.concatenate([x[:2], m[None], x[3:]]) for m in means]
    np.testing.assert_allclose(kernels.gauge_transform(LATTICE, both[0], g)[2], both[1][2], atol=1e-13)
    strict = wilson_loops(LATTICE, array_api_strict.asarray(x), 2, 1, averaged=array_api_strict.asarray(means[0]))
    np.testing.assert_allclose(np.asarray(strict), wilson_loops(LATTICE, x, 2, 1, averaged=means[0]), atol=1e-14)


def test_means_do_not_depend_on_their_neighbours_in_a_register():
    x = links(LATTICE, 3, 8)
    every = link_averages(LATTICE, x, np.linspace(0.1, 9.0, 8) * np.ones((6, 1)), 0)
    one = link_averages(LATTICE, np.repeat(x[..., 3:4], 8, axis=-1), float(np.linspace(0.1, 9.0, 8)[3]), 0)
    np.testing.assert_array_equal(one[..., 0], every[..., 3])


def test_loops_in_two_dimensions():
    """SU(2) on 8 x 8: W(r, t) = u^(r t) within 4 sigma for all r, also those whose sides are neighbours or one line."""
    lattice, beta, u = Lattice((8, 8)), 2.2, 0.4644790253
    sampler = HeatBath(lattice, beta, n_overrelax=1)
    start = sampler.hot(Rng(11), 2, batch=32)
    plain, multihit = [], []
    for sample in configurations(sampler, Rng(12), start, 60, burn_in=20):
        x = sample.state.x
        plain.append(wilson_loops(lattice, x, 8, 2).reshape(16, -1))
        averaged = link_averages(lattice, x, beta, 0)
        multihit.append(wilson_loops(lattice, x, 8, 2, averaged=averaged).reshape(16, -1))
    found = [[gamma_method(s) for s in Series.from_lanes(np.stack(rows)).split()] for rows in (plain, multihit)]
    for index, (r, t) in enumerate(itertools.product(range(1, 9), (1, 2))):
        before, after = (column[index] for column in found)
        if r < 8:
            assert abs(after.value - u ** (r * t)) < 4 * after.error, (r, t)
        gain = (before.error / after.error) ** 2
        assert gain == pytest.approx(1.0) if r == 8 else gain > (1.1 if r in (1, 7) else 1.8), (r, t)


def test_errors():
    x = links(LATTICE, 3, 8)
    with pytest.raises(ValueError, match=r"direction must be in 0 ... 3, got 4"):
        link_averages(LATTICE, x, 5.0, 4)
    with pytest.raises(ValueError, match="known for N = 1, 2, 3, got N = 4"):
        link_averages(LATTICE, links(LATTICE, 4, 1), 5.0, 0)
    with pytest.raises(ConvergenceError, match="means inside the group, got an entry of size nan"):
        link_averages(Lattice((2, 2, 2, 2)), links(Lattice((2, 2, 2, 2)), 3, 8), 1e4, 0)
    with pytest.raises(ValueError, match=r"need pairs \(mu, 0\), got \[\(0, 1\)\]"):
        wilson_loops(LATTICE, x, 1, 1, [(0, 1)], averaged=x[0])
    with pytest.raises(ValueError, match="averaged: expected shape"):
        wilson_loops(LATTICE, x, 1, 1, averaged=x)
