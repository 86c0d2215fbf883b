"""Heat bath and overrelaxation: back ends, folds, exact single-link distributions, exact plaquettes (3 sigma)."""

import array_api_strict
import numpy as np
import pytest
from scipy import special, stats

from cases import threads
from gaugeflow.analysis import gamma_method
from gaugeflow.backend import use_backend
from gaugeflow.errors import ConvergenceError
from gaugeflow.kernels import heatbath, overrelax, plaquette
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng, haar_links
from gaugeflow.sites.heatbath import CROSSOVER, heat_bath, su2_cosine, u1_angle
from gaugeflow.sites.heatbath import overrelax as overrelax_site

RNG = Rng(1979).stream("heat bath")
LATTICE = Lattice((4, 2, 6))
BATCH = 9  # not a multiple of any register width: the last register overlaps its neighbour
COUPLING = np.array([[1.5, 0.2, 3.0], [2.0, 0.0, 4.0], [6.0, 1.0, 0.4]]).repeat(3, axis=1)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_back_ends_folds_and_threads_agree(n):
    """Equal to the reference up to rounding, amplified where staples nearly cancel; bit for bit between folds."""
    links = haar_links(RNG, LATTICE, n, BATCH)
    key = RNG.at(4).words()
    before = links.copy()
    hot, relaxed = heatbath(LATTICE, links, COUPLING, key), overrelax(LATTICE, links, COUPLING)
    with use_backend("reference"):
        assert np.max(np.abs(heatbath(LATTICE, links, COUPLING, key) - hot)) < 1e-11
        assert np.max(np.abs(overrelax(LATTICE, links, COUPLING) - relaxed)) < 1e-9
    assert np.array_equal(links, before)
    with threads.another_number():
        assert np.array_equal(heatbath(LATTICE, links, COUPLING, key), hot)
    m = np.moveaxis(hot, -1, 0)
    assert np.max(np.abs(m @ m.conj().swapaxes(-1, -2) - np.eye(n))) < 1e-14
    assert n == 1 or np.max(np.abs(np.linalg.det(m) - 1)) < 1e-14


def test_folds_and_batches_do_not_change_the_chain():
    plain, folded = Lattice((4, 4, 4)), Lattice((4, 4, 4), (2, 1, 2))
    links = haar_links(RNG, plain, 1, BATCH)
    expected = plain.unpack(heatbath(plain, links, COUPLING, RNG.words()), 1)[:5]
    packed = folded.pack(plain.unpack(links, 1)[:5], 1)
    found = heatbath(folded, packed, COUPLING[:, :5], RNG.words())
    assert np.max(np.abs(folded.unpack(found, 1) - expected)) < 1e-11


def test_single_precision():
    links = haar_links(RNG, LATTICE, 2, BATCH)
    hot = heatbath(LATTICE, links, COUPLING, RNG.words())
    single = heatbath(LATTICE, links.astype(np.complex64), COUPLING, RNG.words())
    assert single.dtype == np.complex64
    assert np.max(np.abs(single - hot)) < 1e-3
    with use_backend("reference"):
        reference = heatbath(LATTICE, links.astype(np.complex64), COUPLING, RNG.words())
    assert reference.dtype == np.complex64
    assert np.max(np.abs(single - reference)) < 1e-3


@pytest.mark.parametrize("n", [1, 3, 4])
def test_array_api_strict(n):
    lattice = Lattice((2, 4), (1, 2))
    links = haar_links(RNG, lattice, n, 2, xp=array_api_strict)
    new = heatbath(lattice, overrelax(lattice, links, 1.0), 1.0, RNG.words(array_api_strict))
    with use_backend("reference"):
        plain = overrelax(lattice, np.asarray(links._array), 1.0)
        assert np.allclose(np.asarray(new._array), heatbath(lattice, plain, 1.0, RNG.words()), atol=1e-12)
    m = np.moveaxis(np.asarray(new._array), -1, 0)
    assert np.max(np.abs(m @ m.conj().swapaxes(-1, -2) - np.eye(n))) < 1e-13


@pytest.mark.parametrize("n", [1, 2, 3])
def test_overrelaxation_conserves_the_action(n):
    links = haar_links(RNG, LATTICE, n, BATCH)
    new = overrelax(LATTICE, links, COUPLING)
    before, after = (np.sum(COUPLING * plaquette(LATTICE, u), axis=0) for u in (links, new))
    assert np.max(np.abs(before - after)) < 1e-13
    assert np.median(np.abs(new - links)) > 0.1


def _counters(size):
    return np.arange(size)[:, None], np.zeros((1, 1), dtype=np.int64), 0


@pytest.mark.parametrize("kappa", [0.0, 1e-9, 0.3, 2.0, 30.0, 1e4])
def test_u1_distribution(kappa):
    """Kolmogorov-Smirnov of 1e5 angles against the von Mises distribution."""
    site, batch, draw = _counters(10**5)
    c, s, failed = u1_angle(np.full((10**5, 1), kappa), site, batch, draw, 0, *RNG.key)
    assert np.max(np.abs(c * c + s * s - 1)) < 1e-14
    assert not failed.any()
    angle = np.arctan2(s, c).ravel()
    distribution = stats.vonmises(kappa) if kappa > 0 else stats.uniform(-np.pi, 2 * np.pi)
    assert stats.kstest(angle, distribution.cdf).pvalue > 1e-3


@pytest.mark.parametrize("alpha", [0.0, 1e-9, 0.4, CROSSOVER, 0.8601, 3.0, 40.0, 1e4])
def test_su2_distribution(alpha):
    """Kolmogorov-Smirnov of 1e5 cosines against sqrt(1 - h^2) exp(alpha h), both proposals and their crossover."""
    site, batch, draw = _counters(10**5)
    h, failed = su2_cosine(np.full((10**5, 1), alpha), site, batch, draw, 0, *RNG.key)
    assert not failed.any()
    angle = np.linspace(0, np.pi, 20001) * min(1.0, 8 / np.sqrt(max(alpha, 1)))
    density = np.sin(angle) ** 2 * np.exp(alpha * (np.cos(angle) - 1))
    cumulative = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    found = np.arccos(np.clip(h.ravel(), -1, 1))
    assert stats.kstest(found, lambda x: np.interp(x, angle, cumulative / cumulative[-1])).pvalue > 1e-3


@pytest.mark.parametrize(
    ("n", "coupling", "exact"),
    [
        (1, 2.0, special.i1(2.0) / special.i0(2.0)),
        (2, 2.2, 0.4644790253),
        (3, 1.0, 0.0601265548),
        (3, 6.0, 0.4225317396),
    ],
)
def test_one_link_in_fixed_staples(n, coupling, exact):
    """The one-link integral with arbitrary unitary staples is the 2D plaquette; 40 updates of 4000 links, 3 sigma.

    Heat bath and overrelaxation alternate: the mean stays put only if both leave the distribution invariant.  Links
    start in a random place, the first ten updates are dropped, and the error comes from independent links.
    """
    size = 4000
    site, batch, _ = _counters(size)
    matrices = haar_links(RNG, Lattice((size, 2)), n, 1)
    u, v = (tuple(matrices[mu, ::2].reshape(size, n * n).T[..., None]) for mu in (0, 1))
    a = tuple(coupling / n * x for x in v)
    total = np.zeros(size)
    for draw in range(50):
        u, failed = heat_bath(site, batch, draw, 0, *RNG.key, a, u)
        assert not failed.any()
        u = overrelax_site(a, u)
        if draw >= 10:
            total += sum(x * y.conj() for x, y in zip(u, v, strict=True)).real[:, 0] / n / 40
    assert abs(np.mean(total) - exact) < 3 * np.std(total) / np.sqrt(size)


def _chain(lattice, n, coupling, batch, steps, *, hot=50, relax=1, name=""):
    """Plaquette history ``(steps, n_planes, batch)`` of heat bath with ``relax`` overrelaxation sweeps."""
    rng = RNG.stream(name)
    links = haar_links(rng, lattice, n, batch)
    history = []
    for step in range(hot + steps):
        links = heatbath(lattice, links, coupling, rng.at(step).words())
        for _ in range(relax):
            links = overrelax(lattice, links, coupling)
        if step >= hot:
            history.append(plaquette(lattice, links))
    return np.array(history)


@pytest.mark.parametrize(
    ("n", "coupling", "exact", "error"),
    [(1, 2.0, 0.6977746580, 2e-4), (2, 2.2, 0.4644790253, 2e-4), (3, 5.0, 0.3539544367, 2e-4)],
)
def test_exact_plaquette_in_two_dimensions(n, coupling, exact, error):
    history = _chain(Lattice((16, 16)), n, coupling, 32, 800 if n == 1 else 500, name=f"2D {n}")
    found = gamma_method(history.mean(axis=(1, 2)))
    assert found.error < error
    assert abs(found.value - exact) < 3 * found.error


def test_couplings_of_planes_and_configurations():
    """Three dimensions with two couplings zero are independent two-dimensional layers; each configuration its own."""
    beta = np.array([1.0, 2.0, 3.0, 5.0])
    coupling = np.zeros((3, 8))
    coupling[1] = beta.repeat(2)
    history = _chain(Lattice((8, 8, 8)), 1, coupling, 8, 800, name="layers").reshape(800, 3, 4, 2).mean(axis=3)
    exact = np.zeros((3, 4))
    exact[1] = [0.4463899659, 0.6977746580, 0.8099855474, 0.8934212498]
    for plane in range(3):
        for configuration in range(4):
            found = gamma_method(history[:, plane, configuration])
            assert abs(found.value - exact[plane, configuration]) < 3.5 * found.error
            assert found.error < 1e-3


def test_plaquette_in_four_dimensions():
    """SU(3), 4^4, beta = 1 against an independent program, 0.060153(24): 3 combined sigma."""
    history = _chain(Lattice((4, 4, 4, 4)), 3, 1.0, 8, 250, hot=20, name="4D")
    found = gamma_method(history.mean(axis=(1, 2)))
    assert found.error < 2e-4
    assert abs(found.value - 0.060153) < 3 * np.hypot(found.error, 24e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extent", "coupling", "steps", "reference", "error"),
    [(4, 1.0, 10000, 0.060153, 24e-6), (4, 2.0, 10000, 0.128773, 35e-6), (8, 6.0, 500, 0.594239, 42e-6)],
)
def test_plaquette_in_four_dimensions_precisely(extent, coupling, steps, reference, error):
    """SU(3) against an independent heat-bath program with errors alike: 3 combined sigma."""
    history = _chain(Lattice((extent,) * 4), 3, coupling, 8, steps, hot=200, relax=4, name="4D slow")
    found = gamma_method(history.mean(axis=(1, 2)))
    assert found.error < 1e-4
    assert abs(found.value - reference) < 3 * np.hypot(found.error, error)


def test_failures_are_loud():
    with pytest.raises(ValueError, match="direction 1 has extent 3; 2 or 4 would work"):
        heatbath(Lattice((4, 3)), haar_links(RNG, Lattice((4, 3)), 1), 1.0, RNG.words())
    links = haar_links(RNG, LATTICE, 1, BATCH)
    with pytest.raises(ValueError, match="coupling: expected a scalar"):
        heatbath(LATTICE, links, np.ones(2), RNG.words())
    with pytest.raises(ConvergenceError, match="finite"):
        heatbath(LATTICE, links, np.inf, RNG.words())
    links[0, 3, 0, 0, 1] = np.nan
    with pytest.raises(ConvergenceError, match="did not accept in 1000 attempts"):
        heatbath(LATTICE, links, COUPLING, RNG.words())
    with use_backend("reference"), pytest.raises(ConvergenceError, match="did not accept"):
        heatbath(LATTICE, links, COUPLING, RNG.words())
