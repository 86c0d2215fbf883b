"""Wilson loops: NumPy paths, invariances, and the exact area law of two dimensions."""

import math

import array_api_strict
import numpy as np
import pytest
from scipy.special import iv

from cases.fields import group_array, links, rotation
from gaugeflow import kernels, observables
from gaugeflow.analysis import Series, derive, gamma_method
from gaugeflow.lattice import Lattice
from gaugeflow.observables import LinkObservable, creutz_ratios, static_potential, wilson_loop, wilson_loops
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath, run

SHAPE = (4, 4, 2, 2)
LATTICE, FOLDED = Lattice(SHAPE), Lattice(SHAPE, (2, 2, 1, 1))


def test_loop_by_numpy():
    array = group_array(SHAPE, 3, 2)
    x = LATTICE.pack(array, components=1)

    def line(site, mu, length):
        u, here = np.broadcast_to(np.eye(3), (2, 3, 3)), list(site)
        for _ in range(length):
            u = u @ array[(slice(None), mu, *here)]
            here[mu] = (here[mu] + 1) % SHAPE[mu]
        return u, here

    for r, t, mu, nu in ((3, 2, 0, 2), (1, 4, 3, 1), (2, 1, 2, 3)):
        total = 0.0
        for site in np.ndindex(SHAPE):
            (bottom, right), (left, up) = line(site, mu, r), line(site, nu, t)
            side, _ = line(right, nu, t)
            top, _ = line(up, mu, r)
            total += np.einsum("bij,bjk,blk,bil->b", bottom, side, top.conj(), left.conj()).real
        np.testing.assert_allclose(wilson_loop(LATTICE, x, r, t, mu, nu), total / (3 * LATTICE.volume), atol=1e-14)


def test_small_loops_are_those_of_the_kernels():
    x = links(FOLDED, 3, 8)
    for k, (mu, nu) in enumerate(FOLDED.planes):
        expected = kernels.plaquette(FOLDED, x)[k]
        np.testing.assert_allclose(wilson_loop(FOLDED, x, 1, 1, mu, nu), expected, atol=1e-14)
        np.testing.assert_allclose(wilson_loop(FOLDED, x, 1, 1, nu, mu), expected, atol=1e-14)
    pairs = [(mu, nu) for mu in range(4) for nu in range(4) if mu != nu]
    found = wilson_loops(FOLDED, x, 2, 1, pairs)
    np.testing.assert_allclose(found[1, 0], observables.rectangle(FOLDED, x), atol=1e-14)
    np.testing.assert_allclose(found[0, 0], observables.plaquette(FOLDED, x), atol=1e-14)


def test_table_of_loops():
    x = links(LATTICE, 2, 3)
    found = wilson_loops(LATTICE, x, 2, 3)
    assert found.shape == (2, 3, 3)
    for r in (1, 2):
        for t in (1, 2, 3):
            expected = np.mean([wilson_loop(LATTICE, x, r, t, mu, 0) for mu in (1, 2, 3)], axis=0)
            np.testing.assert_allclose(found[r - 1, t - 1], expected, atol=1e-15)


@pytest.mark.parametrize("lattice", [LATTICE, FOLDED], ids=["plain", "folded"])
def test_invariance_unit_field_and_other_arrays(lattice):
    x = links(lattice, 3, 8)
    loops = wilson_loops(lattice, x, 2, 4)
    np.testing.assert_allclose(loops, wilson_loops(LATTICE, links(LATTICE, 3, 8), 2, 4), atol=1e-14)
    g = rotation(lattice, 3, 8)
    np.testing.assert_allclose(wilson_loops(lattice, kernels.gauge_transform(lattice, x, g), 2, 4), loops, atol=1e-13)
    strict = wilson_loops(lattice, array_api_strict.asarray(x), 2, 4)
    np.testing.assert_allclose(np.asarray(strict), loops, atol=1e-14)
    np.testing.assert_allclose(np.asarray(creutz_ratios(strict**2)), creutz_ratios(loops**2), rtol=1e-9)
    unit = np.zeros_like(x) + np.eye(3)[:, :, None]
    pure_gauge = kernels.gauge_transform(lattice, unit, g)
    np.testing.assert_allclose(wilson_loops(lattice, pure_gauge, 2, 4), 1.0, atol=1e-13)


def test_constant_field():
    """Field strength f of one plane, U(1): W(r, t) = cos(f r t), and a loop once around the torus is a phase."""
    lattice, f = Lattice((4, 6)), 2 * np.pi / 24
    angle = np.zeros((2, 4, 6))
    angle[1] = f * np.arange(4)[:, None]
    angle[0, -1] = -4 * f * np.arange(6)
    x = lattice.pack(np.exp(1j * angle)[None, ..., None, None], components=1)
    area = np.outer(np.arange(1, 5), np.arange(1, 5))
    np.testing.assert_allclose(wilson_loops(lattice, x, 4, 4)[..., 0], np.cos(f * area), atol=1e-14)


def test_functions_of_means():
    """Perimeter, corner and area terms in closed form."""
    r, t = np.arange(1, 5)[:, None], np.arange(1, 4)[None, :]
    w = np.exp(-0.3 * r * t - 0.1 * (r + t) + 0.2)
    chi = creutz_ratios(w)
    np.testing.assert_allclose(chi[1:, 1:], 0.3, rtol=1e-12)
    assert chi[0, 0] == pytest.approx(-math.log(w[0, 0]), rel=1e-14)
    v = static_potential(w)
    np.testing.assert_allclose(v[:, 1:], np.broadcast_to(0.3 * r + 0.1, (4, 2)), rtol=1e-12)
    np.testing.assert_allclose(v[:, 0], -np.log(w[:, 0]), rtol=1e-12)
    w[2, 1] = -0.01
    with pytest.raises(ValueError, match=r"positive means of loops, got W\(3, 2\) = -0.01"):
        static_potential(w)
    with pytest.raises(ValueError, match=r"expected shape \(r_max, t_max, ...\), got \(4,\)"):
        creutz_ratios(w[:, 0])


def test_errors():
    x = links(LATTICE, 1, 2)
    with pytest.raises(ValueError, match=r"t: expected extents in 1 ... 2 along direction 3 .* got \[3\]"):
        wilson_loop(LATTICE, x, 1, 3, 0, 3)
    with pytest.raises(ValueError, match=r"r: expected extents in 1 ... 4 along direction 0 .* got \[0\]"):
        wilson_loop(LATTICE, x, 0, 1, 0, 3)
    with pytest.raises(ValueError, match="two different directions, got 1 twice"):
        wilson_loop(LATTICE, x, 1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"direction must be in 0 ... 3, got 4"):
        wilson_loops(LATTICE, x, 1, 1, [(4, 0)])
    with pytest.raises(ValueError, match="at least one pair"):
        wilson_loops(LATTICE, x, 1, 1, [])


# ---- the exact area law in two dimensions --------------------------------------------------------------------------
AREA_LAW = {"U(1)": (1, 2.0, None), "SU(2)": (2, 2.2, 0.4644790253), "SU(3)": (3, 6.0, 0.4225317396)}


def _exact(beta, u, area, volume):
    """<W> of a loop of this area: u^area, for U(1) with the exact sum over representations on the torus."""
    if u is not None:
        return u**area
    n = np.arange(-30, 31)
    return np.sum(iv(n, beta) ** (volume - area) * iv(n + 1, beta) ** area) / np.sum(iv(n, beta) ** volume)


def _check_area_law(name, steps, sigmas):
    n, beta, u = AREA_LAW[name]
    lattice = Lattice((8, 8))
    sampler = HeatBath(lattice, beta, n_overrelax=1)

    def loops(lattice, x):
        return wilson_loops(lattice, x, 3, 3).reshape(9, -1)

    observe = (LinkObservable("loops", lattice, loops),)
    start = sampler.hot(Rng(11), n, batch=32)
    chain = run(sampler, Rng(12), start, steps, burn_in=20, observe=observe, progress=False)
    means = Series.from_lanes(chain.records["loops"])
    exact = np.array([[_exact(beta, u, r * t, 64) for t in (1, 2, 3)] for r in (1, 2, 3)])
    for index, series in zip(np.ndindex(3, 3), means.split(), strict=True):
        estimate = gamma_method(series)
        assert abs(estimate.value - exact[index]) < sigmas * estimate.error, (index, str(estimate), exact[index])
        assert estimate.error < 0.006 * (100 / steps) ** 0.5
    chi = derive(lambda w: creutz_ratios(w.reshape(3, 3)[:2, :2]).ravel(), means)
    potential = derive(lambda w: static_potential(w.reshape(3, 3)[:2, :2]).ravel(), means)
    for derived, function in ((chi, creutz_ratios), (potential, static_potential)):
        expected = function(exact)[:2, :2].ravel()
        for series, value in zip(derived.split(), expected, strict=True):
            estimate = gamma_method(series)
            assert abs(estimate.value - value) < sigmas * estimate.error, (function, str(estimate), value)
    if u is not None:
        np.testing.assert_allclose(creutz_ratios(exact), -math.log(u), rtol=1e-12)


@pytest.mark.parametrize("name", AREA_LAW)
def test_area_law(name):
    """Nine loops, four Creutz ratios and four potentials within 3.5 sigma."""
    _check_area_law(name, steps=100, sigmas=3.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", AREA_LAW)
def test_area_law_precisely(name):
    """The same within 3.5 sigma of errors seven times smaller."""
    _check_area_law(name, steps=5000, sigmas=3.5)
