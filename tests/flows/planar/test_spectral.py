"""Maps by eigenvalues: spectra, the cell and its walls, derivatives where eigenvalues meet, equivariance, bad input."""

from dataclasses import replace

import numpy as np
import pytest

from cases.fields import group_array, links
from cases.flows import shaken
from gaugeflow import tree
from gaugeflow.flows import CellSpline, HalfLoop, SpectralCoupling, spectral_chain
from gaugeflow.flows.planar.paths import Path, by_slot
from gaugeflow.flows.planar.spectral import mapped, mapped_inverse, power, power_vjp, rebuilt, spectrum
from gaugeflow.lattice import Lattice
from gaugeflow.sites import cell, spline
from gaugeflow.sites.matrix import mul, mul_dag

STENCIL = ((1, 0.75), (2, -0.15), (3, 1 / 60))
STEP = 1e-3


def entries(matrices):
    """Matrices ``(count, n, n)`` as a tuple of entries ``(count, 1)``."""
    n = matrices.shape[-1]
    return tuple(matrices[:, i, j, None] for i in range(n) for j in range(n))


def matrices(x):
    n = round(len(x) ** 0.5)
    return np.stack([np.broadcast_to(e, x[0].shape)[:, 0] for e in x], axis=-1).reshape(-1, n, n)


def haar(n, count, seed=0):
    return group_array((2,), n, count, seed)[:, 0, 0]


def algebra(n, count, seed):
    rng = np.random.default_rng(seed)
    m = rng.normal(size=(count, n, n)) + 1j * rng.normal(size=(count, n, n))
    a = (m - np.conj(np.swapaxes(m, 1, 2))) / 2
    return a - np.trace(a, axis1=1, axis2=2)[:, None, None] * np.eye(n) / n


def exponential(a):
    values, vectors = np.linalg.eigh(-1j * a)
    return (vectors * np.exp(1j * values)[:, None, :]) @ np.conj(np.swapaxes(vectors, 1, 2))


def inner(a, b):
    return -2.0 * np.real(np.einsum("sij,sji->s", a, b))


def difference(function):
    return sum(w / STEP * (function(k * STEP) - function(-k * STEP)) for k, w in STENCIL)


def meeting(n, gap, seed=3):
    """Matrices of which two eigenvalues are ``gap`` apart; for SU(3) at both walls of the cell and inside of pairs."""
    rotation = haar(n, 12, seed)
    if n == 2:
        centre = np.repeat([0.0, np.pi], 6)
        angles = np.stack([centre + gap / 2, -centre - gap / 2], axis=1)
    else:
        pair = np.linspace(-3.0, 3.0, 12)
        angles = np.stack([pair + gap / 2, pair - gap / 2, -2.0 * pair], axis=1)
    return (rotation * np.exp(1j * angles)[:, None, :]) @ np.conj(np.swapaxes(rotation, 1, 2))


def spline_of(n, size=0.4, seed=1):
    """A map of the cell away from the identity, with its parameters and a context of one channel."""
    flow = CellSpline(n, 1, 3, (0,) if n == 2 else (0, 1, 0), (4,))
    return flow, shaken(flow, size)


def context(count):
    return np.linspace(-1.0, 1.0, count)[None, :, None]


@pytest.mark.parametrize("n", [2, 3])
def test_spectrum(n):
    """Haar matrices, the centre, equal and nearly equal eigenvalues: in the cell, and exact to 1e-13."""
    centre = np.exp(2j * np.pi * np.arange(n) / n)[:, None, None] * np.eye(n)
    x = np.concatenate([haar(n, 500), centre, *(meeting(n, gap) for gap in (0.0, 1e-14, 1e-9, 1e-4))])
    at = spectrum(entries(x))
    np.testing.assert_allclose(matrices(rebuilt(at.basis, at.angles)), x, atol=1e-13)
    v = matrices(at.basis)
    np.testing.assert_allclose(v @ np.conj(np.swapaxes(v, 1, 2)), np.broadcast_to(np.eye(n), x.shape), atol=1e-13)
    angles = np.stack(at.angles)
    np.testing.assert_allclose(angles.sum(axis=0), 0.0, atol=1e-14)
    assert (np.diff(angles, axis=0) <= 0.0).all()
    assert (angles[0] - angles[-1] <= 2 * np.pi + 1e-14).all()
    place = cell.coordinates(at.angles)
    assert all(((p >= 0.0) & (p <= 1.0)).all() for p in place)
    np.testing.assert_allclose(np.stack(cell.angles_at(place)), angles, atol=1e-14)


@pytest.mark.parametrize("n", [2, 3])
def test_measure(n):
    """Ratios of sines, and log det = log of the Jacobian of coordinates times that of Haar measures, by differences."""
    flow, params = spline_of(n)
    rng = np.random.default_rng(4)
    place = tuple(rng.uniform(0.05, 0.95, (60, 1)) for _ in range(n - 1))
    moved = flow.evaluate(params, context(60), place)
    before, after = (np.stack(cell.angles_at(p)) for p in (place, moved.place))
    haar_ratio = 0.0
    for (j, k), log_ratio in zip(cell.PAIRS[n], moved.log_ratios, strict=True):
        expected = np.log(np.sin((after[j] - after[k]) / 2) / np.sin((before[j] - before[k]) / 2))
        np.testing.assert_allclose(log_ratio, expected, atol=1e-12)
        haar_ratio = haar_ratio + 2 * expected

    def coordinates_along(direction):
        def at(e):
            shifted = tuple(p + e * (i == direction) for i, p in enumerate(place))
            return np.stack(cell.angles_at(flow.evaluate(params, context(60), shifted).place))[: n - 1]

        return at

    def flat_along(direction):
        return lambda e: np.stack(cell.angles_at(tuple(p + e * (i == direction) for i, p in enumerate(place))))[: n - 1]

    images, sources = (
        np.stack([difference(along(i))[..., 0] for i in range(n - 1)], axis=1)
        for along in (coordinates_along, flat_along)
    )
    jacobian = np.linalg.slogdet(images.transpose(2, 0, 1))[1] - np.linalg.slogdet(sources.transpose(2, 0, 1))[1]
    error = np.abs(moved.log_det[:, 0] - haar_ratio[:, 0] - jacobian)
    assert np.quantile(error, 0.8) < 1e-9  # the others have knots within the reach of differences
    assert error.max() < 1e-2


@pytest.mark.parametrize("n", [2, 3])
def test_derivatives_of_the_map(n):
    """Cotangent and score of x along random displacements, to 1e-8; a few sites have knots within the reach of differences."""
    flow, params = spline_of(n)
    count = 40
    x, w = haar(n, count), algebra(n, count, 5)
    at = mapped(flow, params, context(count), entries(x))
    y = matrices(at.x)
    y_bar, log_bar = algebra(n, count, 6), np.random.default_rng(7).normal(size=(count, 1))
    _, _, x_bar = at.pull_back(entries(y_bar), log_bar)
    score = algebra(n, count, 8)
    pushed = matrices(at.push_score(entries(score)))

    def along(e):
        return mapped(flow, params, context(count), entries(exponential(e * w) @ x))

    velocity = difference(lambda e: matrices(along(e).x)) @ np.conj(np.swapaxes(y, 1, 2))
    slope = difference(lambda e: along(e).log_det[:, 0])
    error = np.abs(inner(y_bar, velocity) + log_bar[:, 0] * slope - inner(matrices(x_bar), w))
    assert np.quantile(error, 0.8) < 1e-8
    error = np.abs(inner(pushed, velocity) - (inner(score, w) - slope))
    assert np.quantile(error, 0.8) < 1e-8


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("gap", [0.0, 1e-15, 1e-9])
def test_where_eigenvalues_meet(n, gap):
    """Image, log det, inverse, cotangents and scores are finite there, and the first two are limits; so are cotangents at 1e-9.

    In the wall itself the map has a cone, like a spline a knot: cotangents are those of one direction away from it.
    """
    flow, params = spline_of(n)
    bar, log_bar = entries(algebra(n, 12, 9)), np.linspace(-1.0, 1.0, 12)[:, None]
    found = []
    for g in (gap, 1e-6):
        x = meeting(n, g)
        at = mapped(flow, params, context(12), entries(x))
        for _, context_bar, x_bar in (at.pull_back(bar, log_bar), at.pull_back(bar, 0.0 * log_bar)):
            assert all(np.isfinite(b).all() for b in (context_bar, *x_bar))
        assert all(np.isfinite(b).all() for b in at.push_score(bar))
        found.append([matrices(at.x), at.log_det, context_bar, matrices(x_bar)])
        back, log_det = mapped_inverse(flow, params, context(12), at.x)
        np.testing.assert_allclose(matrices(back), x, atol=1e-12)
        np.testing.assert_allclose(log_det, at.log_det, atol=1e-11)
    count = 4 if gap > 1e-12 else 2
    for here, near in zip(*(f[:count] for f in found), strict=True):
        np.testing.assert_allclose(here, near, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n", [2, 3])
def test_common_conjugation(n):
    """h(g a g^dagger; g P g^dagger) = g h(a; P) g^dagger, and eigenvectors of a stay where the frame is a itself."""
    half = HalfLoop(n, (0.5, 0.0, 1.0), 3, (4,))
    params = shaken(half, 0.3)
    a, p, g = (haar(n, 20, seed) for seed in (1, 2, 3))
    moved = half.evaluate(params, entries(a), entries(p))

    def turned(x):
        return g @ x @ np.conj(np.swapaxes(g, 1, 2))

    other = half.evaluate(params, entries(turned(a)), entries(turned(p)))
    np.testing.assert_allclose(matrices(other.half), turned(matrices(moved.half)), atol=1e-13)
    np.testing.assert_allclose(other.log_det, moved.log_det, atol=1e-12)
    plain = HalfLoop(n, (0.0,), 3, (4,))
    b = matrices(plain.evaluate(shaken(plain, 0.3), entries(a), entries(p)).half)
    np.testing.assert_allclose(a @ b, b @ a, atol=1e-13)
    assert np.abs(a - b).max() > 0.1


def test_cotangents_site_by_site():
    """Their sum over sites is the cotangent of parameters."""
    half = HalfLoop(3, (0.5, 0.0), 3, (4,))
    params, bar, log_bar = shaken(half, 0.3), entries(algebra(3, 20, 5)), np.linspace(-1.0, 1.0, 20)[:, None]
    a, p = entries(haar(3, 20, 1)), entries(haar(3, 20, 2))
    total, single = (
        tree.flatten(h.evaluate(params, a, p).pull_back(bar, log_bar)[0]) for h in (half, replace(half, by_site=True))
    )
    for name, value in total.items():
        assert single[name].shape == (*value.shape, 20, 1)
        np.testing.assert_allclose(single[name].sum(axis=(-2, -1)), value, atol=1e-11)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("exponent", [0.5, 1.0, -0.5])
def test_powers(n, exponent):
    """Powers multiply, and their cotangents equal differences."""
    x, w, bar = haar(n, 20), algebra(n, 20, 5), algebra(n, 20, 6)
    at = spectrum(entries(x))
    twice = mul(power(at, exponent), power(at, exponent))
    np.testing.assert_allclose(matrices(twice), matrices(power(at, 2 * exponent)), atol=1e-13)
    value = matrices(power(at, exponent))
    change = difference(lambda e: matrices(power(spectrum(entries(exponential(e * w) @ x)), exponent)))
    expected = inner(bar, change @ np.conj(np.swapaxes(value, 1, 2)))
    np.testing.assert_allclose(
        inner(matrices(power_vjp(at, exponent, entries(bar))), w), expected, rtol=1e-8, atol=1e-8
    )


def test_ends_of_an_interval():
    """log(y / x) and log((1 - y) / (1 - x)) inside, and at the ends the log-slopes there."""
    rng = np.random.default_rng(2)
    count = 50
    shares = [spline.shares(tuple(rng.normal(size=(4, count))), 0.01) for _ in range(2)]
    slopes = tuple(spline.positive(z, 1e-3) for z in rng.normal(size=(5, count)))
    for x in (np.zeros(count), np.linspace(0.01, 0.99, count), np.ones(count)):
        passed, at = spline.locate(x, *shares, slopes)
        y, log_slope = spline.spline(x, at)
        low, high = spline.spline_ends(x, y, passed, at)
        np.testing.assert_allclose(low, np.log(y / x) if x[0] > 0.0 else log_slope, atol=1e-13)
        np.testing.assert_allclose(high, np.log((1 - y) / (1 - x)) if x[0] < 1.0 else log_slope, atol=1e-13)


def test_paths_close_cells():
    """The loop around a block is the product of those around its cells, and does not contain the active link."""
    lattice = Lattice((4, 4))
    for direction, shape in ((0, (1, 2)), (1, (2, 1)), (1, (2, 2))):
        layer = SpectralCoupling(lattice, HalfLoop(3), direction, shape)
        active, second, first = layer._paths
        owners = np.concatenate([second.links.ravel(), first.links.ravel()])
        assert not np.intersect1d(owners, active).size
        assert len(np.unique(active)) == 16 // (2 * shape[0] * shape[1])
    slots = by_slot(lattice, links(lattice, 3, 2))
    around = ((0, 1), (1, 1), (0, -1), (1, -1))
    there, back = (Path(lattice, np.arange(16), hops).product(slots)[0] for hops in (around, around[::-1]))
    here = Path(lattice, np.arange(16), tuple((mu, -sign) for mu, sign in around[::-1])).product(slots)[0]
    unit = mul_dag(there, there)
    np.testing.assert_allclose(np.stack(unit).reshape(3, 3, 16, 2)[0, 0], 1.0, atol=1e-13)
    dagger = np.conj(np.stack(there).reshape(3, 3, 16, 2).swapaxes(0, 1)).reshape(9, 16, 2)
    np.testing.assert_allclose(np.stack(here), dagger, atol=1e-13)
    assert np.abs(np.stack(back) - np.stack(there)).max() > 0.1


def test_chain_ends_at_plaquettes():
    flow = spectral_chain(Lattice((8, 8)), [HalfLoop(2)] * 3)
    assert [layer.cell[0] * layer.cell[1] for layer in flow.flows] == [4, 2, 1]


def test_reference_on_other_arrays():
    """Forward, inverse and cotangents on array-api-strict equal those on NumPy."""
    import array_api_strict as strict

    lattice = Lattice((2, 2))
    flow = SpectralCoupling(lattice, HalfLoop(3, (0.5, 0.0), 2, (3,)), 1)
    params, x = shaken(flow, 0.3), links(lattice, 3, 2)
    y, log_det = flow.forward(params, x)
    theirs = tree.map(strict.asarray, params)
    y_strict, log_strict = flow.forward(theirs, strict.asarray(x))
    np.testing.assert_allclose(np.asarray(y_strict), y, atol=1e-13)
    np.testing.assert_allclose(np.asarray(log_strict), log_det, atol=1e-12)
    np.testing.assert_allclose(np.asarray(flow.inverse(theirs, y_strict)[0]), x, atol=1e-12)
    bar = flow.vjp(theirs, strict.asarray(x), y_strict, y_strict, log_strict)[1]
    np.testing.assert_allclose(np.asarray(bar), flow.vjp(params, x, y, y, log_det)[1], atol=1e-11)


def test_bad_input():
    lattice = Lattice((4, 4))
    with pytest.raises(ValueError, match="expected 2 or 3 colours, got 4"):
        HalfLoop(4)
    with pytest.raises(ValueError, match="expected 2 bins and 1 channel of context at least, got 1 and 4"):
        HalfLoop(3, bins=1)
    with pytest.raises(ValueError, match=r"expected coordinates from 0 to 0 in their order, got \(0, 1\)"):
        HalfLoop(2, order=(0, 1))
    with pytest.raises(ValueError, match="expected floors from 0 to below 1, got 1"):
        CellSpline(2, 1, floor=1.0)
    with pytest.raises(ValueError, match=r"expected at least one frame, got \(\)"):
        HalfLoop(3, ())
    with pytest.raises(ValueError, match=r"blocks of extents \(3, 2\) do not tile a lattice of shape \(4, 4\)"):
        SpectralCoupling(lattice, HalfLoop(3), 0, (3, 1))
    with pytest.raises(ValueError, match="expected 3 colours, got 2"):
        SpectralCoupling(lattice, HalfLoop(3)).forward({}, links(lattice, 2, 1))
    with pytest.raises(ValueError, match=r"expected at least one kind of half, got \(\)"):
        spectral_chain(lattice, [])
