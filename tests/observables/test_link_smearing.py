"""Stout and APE smearing: closed forms, covariance, relation to each other and to the flow, untouched time slices."""

import array_api_strict
import numpy as np
import pytest
from scipy.linalg import expm, polar

from cases.fields import group_array, links, ordered, rotation
from gaugeflow import kernels, observables
from gaugeflow.errors import ConvergenceError
from gaugeflow.lattice import Lattice
from gaugeflow.observables import ape, stout

SHAPE = (4, 2, 4)
LATTICE, FOLDED = Lattice(SHAPE), Lattice(SHAPE, (2, 1, 2))
SMEAR = {
    "stout": lambda lattice, x, **options: stout(lattice, x, 0.1, 2, **options),
    "ape": lambda lattice, x, **options: ape(lattice, x, 0.5, 2, **options),
}


def _dagger(u):
    return np.conj(np.swapaxes(u, -1, -2))


def _staples(array, mu, directions):
    """Sums of staples of links of direction mu by rolling whole arrays ``(batch, d, *shape, n, n)``."""

    def ahead(field, nu, by=1):
        return np.roll(field, -by, axis=1 + nu)

    u, total = array[:, mu], 0.0
    for nu in directions:
        if nu == mu:
            continue
        v = array[:, nu]
        total = total + v @ ahead(u, nu) @ _dagger(ahead(v, mu))
        back = ahead(v, nu, -1)
        total = total + _dagger(back) @ ahead(u, nu, -1) @ ahead(back, mu)
    return total


@pytest.mark.parametrize("spatial", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_one_step_by_numpy(n, spatial):
    """Exponential and polar factor by SciPy; hep-lat/0311018, section II, for stout."""
    array = group_array(SHAPE, n, 8)
    x = LATTICE.pack(array, components=1)
    found = {
        "stout": LATTICE.unpack(stout(LATTICE, x, 0.15, spatial=spatial), components=1),
        "ape": LATTICE.unpack(ape(LATTICE, x, 0.6, spatial=spatial), components=1),
    }
    directions = (1, 2) if spatial else (0, 1, 2)
    for mu in range(3):
        if mu not in directions:
            for y in found.values():
                np.testing.assert_array_equal(y[:, mu], array[:, mu])
            continue
        u = array[:, mu].reshape(-1, n, n)
        staples = _staples(array, mu, directions).reshape(-1, n, n)
        omega = 0.15 * staples @ _dagger(u)
        q = 0.5j * (_dagger(omega) - omega)
        if n > 1:
            q = q - np.trace(q, axis1=1, axis2=2)[:, None, None] * np.eye(n) / n
        expected = np.array([expm(1j * a) @ b for a, b in zip(q, u, strict=True)])
        np.testing.assert_allclose(found["stout"][:, mu].reshape(-1, n, n), expected, atol=1e-13)
        sums = 0.4 * u + 0.6 / (2 * len(directions) - 2) * staples
        unitary = np.array([polar(v)[0] for v in sums])
        root = np.exp(1j * np.angle(np.linalg.det(unitary)) / n) if n > 1 else np.ones(len(u))
        np.testing.assert_allclose(found["ape"][:, mu].reshape(-1, n, n), unitary / root[:, None, None], atol=1e-11)


@pytest.mark.parametrize("name", SMEAR)
@pytest.mark.parametrize("n", [1, 3])
def test_group_covariance_folds_and_arrays(name, n):
    smear, x, g = SMEAR[name], links(FOLDED, n, 8), rotation(FOLDED, n, 8)
    y = smear(FOLDED, x)
    u = FOLDED.unpack(y, components=1)
    np.testing.assert_allclose(u @ _dagger(u), np.broadcast_to(np.eye(n), u.shape), atol=1e-13)
    if n > 1:
        np.testing.assert_allclose(np.linalg.det(u), 1.0, atol=1e-13)
    rotated = smear(FOLDED, kernels.gauge_transform(FOLDED, x, g))
    np.testing.assert_allclose(rotated, kernels.gauge_transform(FOLDED, y, g), atol=1e-11)
    plain = LATTICE.unpack(smear(LATTICE, links(LATTICE, n, 8)), components=1)
    np.testing.assert_allclose(u, plain, atol=1e-11)
    strict = smear(FOLDED, array_api_strict.asarray(x), spatial=True)
    np.testing.assert_allclose(np.asarray(strict), smear(FOLDED, x, spatial=True), atol=1e-11)
    single = smear(FOLDED, x.astype(np.complex64))
    assert single.dtype == np.complex64
    np.testing.assert_allclose(single, y, atol=2e-4)


@pytest.mark.parametrize("name", SMEAR)
def test_constant_field_strength_is_a_fixed_point(name):
    """Links diag(e^{i a}, e^{-i a}, 1) of constant field strength: staples are cos(f) times the link, up to phases."""
    lattice, f = Lattice((4, 4)), 2 * np.pi / 16
    angle = np.zeros((2, 4, 4))
    angle[1] = f * np.arange(4)[:, None]
    angle[0, -1] = -4 * f * np.arange(4)
    u = np.zeros((8, 2, 4, 4, 3, 3), dtype=complex)
    for i, charge in enumerate((1, -1, 0)):
        u[..., i, i] = np.exp(1j * charge * angle)
    x = lattice.pack(u, components=1)
    np.testing.assert_allclose(SMEAR[name](lattice, x), x, atol=1e-13)


@pytest.mark.parametrize("name", SMEAR)
def test_plane_wave_in_closed_form(name):
    """A weak transverse wave of momentum p is multiplied by 1 - rho p^2 in each step, APE with rho = alpha / n."""
    lattice, amplitude, k = Lattice((4, 8, 2)), 1e-6, 2 * np.pi / 8
    angle = np.zeros((3, 4, 8, 2))
    angle[0] = amplitude * np.cos(k * np.arange(8))[None, :, None]
    x = lattice.pack(np.repeat(np.exp(1j * angle)[None, ..., None, None], 8, axis=0), components=1)
    rho = {"stout": 0.1, "ape": 0.5 / 4}[name]
    factor = (1 - rho * 4 * np.sin(k / 2) ** 2) ** 2
    found = np.angle(lattice.unpack(SMEAR[name](lattice, x), components=1)[0, ..., 0, 0])
    np.testing.assert_allclose(found, factor * angle, atol=1e-9 * amplitude)


def test_ape_is_stout_for_weak_fields():
    """With rho = alpha / n their difference is of third order: divided by eight when the field is halved."""
    algebra = kernels.project(LATTICE, links(LATTICE, 3, 8))
    unit = np.zeros_like(algebra) + np.eye(3)[:, :, None]

    def distance(size):
        x = kernels.evolve(LATTICE, unit, algebra, size)
        return abs(ape(LATTICE, x, 0.4) - stout(LATTICE, x, 0.1)).max()

    coarse, fine = distance(0.02), distance(0.01)
    assert 7 < coarse / fine < 9


def test_stout_is_an_euler_step_of_the_flow():
    x = ordered(LATTICE, 3, 8)
    exact = observables.advance(LATTICE, x, 0.2)
    coarse, fine = (abs(stout(LATTICE, x, 0.2 / n, n) - exact).max() for n in (8, 16))
    assert 1.8 < coarse / fine < 2.2


@pytest.mark.parametrize("name", SMEAR)
def test_spatial_smearing_mixes_no_time_slices(name):
    array = group_array(SHAPE, 3, 8)
    other = array.copy()
    other[:, :, 2] = group_array(SHAPE, 3, 8, seed=5)[:, :, 2]
    first, second = (
        LATTICE.unpack(SMEAR[name](LATTICE, LATTICE.pack(a, components=1), spatial=True), components=1)
        for a in (array, other)
    )
    np.testing.assert_array_equal(first[:, 0], array[:, 0])
    np.testing.assert_array_equal(first[:, :, [0, 1, 3]], second[:, :, [0, 1, 3]])
    assert abs(first[:, 1:, 2] - second[:, 1:, 2]).max() > 0.1


def test_smearing_smooths():
    x = ordered(LATTICE, 3, 8)
    for smear in SMEAR.values():
        assert (observables.plaquette(LATTICE, smear(LATTICE, x)) > observables.plaquette(LATTICE, x) + 0.01).all()
    np.testing.assert_array_equal(stout(LATTICE, x, 0.1, 0), x)


def test_errors():
    plane = Lattice((4, 4))
    x = links(plane, 2, 8)
    for smear in SMEAR.values():
        with pytest.raises(ValueError, match=r"shape \(4, 4\) has no spatial planes"):
            smear(plane, x, spatial=True)
    with pytest.raises(ValueError, match=r"steps: expected 0 or more, got -1"):
        stout(plane, x, 0.1, -1)
    with pytest.raises(ValueError, match=r"rho: expected a finite number, got nan"):
        stout(plane, x, float("nan"))
    with pytest.raises(ValueError, match=r"alpha: expected a number in 0 ... 1, got 1.5"):
        ape(plane, x, 1.5)
    # A link of -1 among links 1: the sum vanishes where (1 - alpha) equals alpha.
    u = np.ones((8, 2, 4, 4, 1, 1), dtype=complex)
    u[:, 0, 0, 0] = -1.0
    with pytest.raises(ConvergenceError, match="singular or not finite"):
        ape(plane, plane.pack(np.full_like(u, np.nan), components=1), 0.5)
    with pytest.raises(ConvergenceError, match="singular or not finite"):
        ape(plane, plane.pack(u, components=1), 0.5)
