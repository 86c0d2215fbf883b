"""Free quarks: gamma matrices, plane waves, spectra and determinants in closed form; and a uniform field in two dimensions."""

import array_api_strict
import numpy as np
import pytest

from cases import plain_operators as plain
from cases.fields import links as random_links
from gaugeflow import kernels
from gaugeflow.backend import use_backend
from gaugeflow.check.operators import matrix
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Staggered, Wilson, even_odd
from gaugeflow.sites import dirac


def _dense(rows):
    """A spin matrix of the library as an array."""
    found = np.zeros((len(rows), len(rows)), dtype=complex)
    for i, (j, value) in enumerate(rows):
        found[i, j] = value
    return found


def _unit(lattice, n=1, batch=1):
    one = np.eye(n, dtype=complex)[:, :, None]
    return np.zeros((lattice.ndim, lattice.n_blocks, n, n, batch * lattice.n_folds), dtype=complex) + one


def _waves(lattice, momenta):
    """exp(i p x) as a fermion field ``(sites, 1, 1, batch)``."""
    x = np.indices(lattice.shape).reshape(lattice.ndim, -1)
    return np.exp(1j * momenta @ x).T[:, None, None, :]


def _momenta(lattice, phases, rng, count):
    """Random momenta that fit the boundary: p L = 2 pi k + theta."""
    shape = np.array(lattice.shape)
    return (2 * np.pi * rng.integers(0, shape, size=(count, lattice.ndim)) + np.angle(phases)) / shape


@pytest.mark.parametrize("d", [2, 4, 6, 8])
def test_clifford_algebra(d):
    gamma = [_dense(dirac.gamma(d, mu)) for mu in range(d)]
    size = 2 ** (d // 2)
    gamma_5 = np.diag(np.repeat([1.0, -1.0], size // 2))
    for mu in range(d):
        assert gamma[mu].shape == (size, size)
        np.testing.assert_array_equal(gamma[mu], gamma[mu].conj().T)
        np.testing.assert_array_equal(gamma[mu] @ gamma_5, -gamma_5 @ gamma[mu])
        for nu in range(d):
            np.testing.assert_array_equal(gamma[mu] @ gamma[nu] + gamma[nu] @ gamma[mu], 2 * np.eye(size) * (mu == nu))
            if mu < nu:
                upper, lower = (_dense(block) for block in dirac.sigma(d, mu, nu))
                zero = np.zeros_like(upper)
                expected = 0.5j * (gamma[mu] @ gamma[nu] - gamma[nu] @ gamma[mu])
                np.testing.assert_array_equal(np.block([[upper, zero], [zero, lower]]), expected)
    if d < 8:
        np.testing.assert_array_equal(gamma, plain.gammas(d)[0])


def test_gamma_5_in_four_dimensions():
    """The product gamma_x gamma_y gamma_z gamma_t, as in Chroma."""
    t, z, y, x = (_dense(dirac.gamma(4, mu)) for mu in range(4))
    np.testing.assert_array_equal(x @ y @ z @ t, np.diag([1, 1, -1, -1]))


WAVES = {
    "2d": ((4, 6), (-1.0, 1.0), {"kappa": 0.23}),
    "2d twisted, twists": ((4, 6), (np.exp(0.7j), np.exp(-0.2j)), {"kappa": 0.19, "twisted_mass": 0.3}),
    "4d mass": ((4, 2, 3, 2), (-1.0, 1.0, 1.0, 1.0), {"mass": -0.1}),
    "4d anisotropic": ((4, 2, 2, 4), (-1.0, 1.0, 1j, 1.0), {"kappa": 0.12, "hopping": (1.0, 0.5, 0.6, 0.7)}),
    "6d twisted": ((2, 2, 3, 2, 2, 2), (-1.0, 1.0, 1.0, 1.0, 1.0, 1.0), {"mass": 0.2, "twisted_mass": -0.4}),
}


@pytest.mark.parametrize("kind", [Wilson, Clover])
@pytest.mark.parametrize("name", WAVES)
def test_wilson_on_plane_waves(name, kind, rng):
    """D = m + sum_mu h_mu (1 - cos p_mu + i gamma_mu sin p_mu) + i mu gamma_5, times 2 kappa; no clover term."""
    shape, phases, options = WAVES[name]
    lattice = Lattice(shape)
    d = lattice.ndim
    momenta = _momenta(lattice, phases, rng, 8)
    gamma, gamma_5 = plain.gammas(d)
    wave = _waves(lattice, momenta)
    chi = rng.normal(size=(2, 1, len(gamma_5), 1, 8))
    chi = chi[0] + 1j * chi[1]
    hopping = np.array(options.get("hopping", (1.0,) * d))
    kappa = options.get("kappa")
    mass = options["mass"] if kappa is None else 1 / (2 * kappa) - d
    symbol = np.einsum("bm,mst->bst", 1j * hopping * np.sin(momenta), gamma)
    symbol = symbol + (mass + (hopping * (1 - np.cos(momenta))).sum(axis=1))[:, None, None] * np.eye(len(gamma_5))
    symbol = (symbol + 1j * options.get("twisted_mass", 0.0) * gamma_5) * (1.0 if kappa is None else 2 * kappa)
    psi, expected = wave * chi, wave * np.einsum("bst,xtcb->xscb", symbol, chi)
    operator = kind(lattice=lattice, boundary=phases, links=_unit(lattice, 1, 8), **options)
    with use_backend("reference"):
        np.testing.assert_allclose(operator.apply(psi), expected, atol=1e-13)
    strict = operator.with_links(array_api_strict.asarray(operator.links))
    np.testing.assert_allclose(np.asarray(strict.apply(array_api_strict.asarray(psi))), expected, atol=1e-13)
    if d == 2:
        np.testing.assert_allclose(operator.apply(psi), expected, atol=1e-13)


@pytest.mark.parametrize("shape", [(4, 6), (2, 4, 6), (4, 2, 2, 4)])
def test_staggered_on_plane_waves(shape, rng):
    """D exp(i p x) = (m + i sum_mu h_mu eta_mu(x) sin p_mu) exp(i p x), and D^dagger D = m^2 + sum_mu (h_mu sin p_mu)^2."""
    lattice = Lattice(shape)
    d = lattice.ndim
    phases = (-1.0, np.exp(0.3j), *(1.0,) * (d - 2))
    hopping = (1.0, 0.8, 1.1, 0.9)[:d]
    momenta = _momenta(lattice, phases, rng, 8)
    psi = _waves(lattice, momenta)
    x = np.indices(shape).reshape(d, -1)
    eta = np.array([(-1.0) ** x[:mu].sum(axis=0) for mu in range(d)])
    operator = Staggered(lattice=lattice, boundary=phases, mass=0.2, hopping=hopping, links=_unit(lattice, 1, 8))
    with use_backend("reference"):
        found = operator.apply(psi)
        square = operator.adjoint(found)
    factor = 0.2 + 1j * np.einsum("mx,bm->xb", eta, np.array(hopping) * np.sin(momenta))
    np.testing.assert_allclose(found, factor[:, None, None, :] * psi, atol=1e-13)
    norm = 0.2**2 + ((np.array(hopping) * np.sin(momenta)) ** 2).sum(axis=1)
    np.testing.assert_allclose(square, norm * psi, atol=1e-13)


def _grid(shape, phases):
    axes = [(2 * np.pi * np.arange(n) + np.angle(phase)) / n for n, phase in zip(shape, phases, strict=True)]
    return np.array(np.meshgrid(*axes, indexing="ij")).reshape(len(shape), -1)


@pytest.mark.parametrize(("shape", "kappa"), [((4, 6), 0.24), ((2, 4, 2, 2), 0.11)])
def test_wilson_spectrum(shape, kappa):
    """1 - 2 kappa sum cos p +- 2 i kappa sqrt(sum sin^2 p), each half as often as there are spin components."""
    lattice = Lattice(shape)
    operator = Wilson(lattice=lattice, kappa=kappa, links=_unit(lattice))
    with use_backend("reference"):
        found = np.linalg.eigvals(matrix(operator))
    p = _grid(shape, operator.boundary)
    centre, width = 1 - 2 * kappa * np.cos(p).sum(axis=0), 2 * kappa * np.sqrt((np.sin(p) ** 2).sum(axis=0))
    expected = np.repeat(np.concatenate([centre + 1j * width, centre - 1j * width]), operator.spin // 2)
    # Coefficients of no eigenvalue are compared one by one: degenerate ones have no order.
    distance = abs(found[:, None] - expected)
    assert len(found) == len(expected)
    assert (
        distance.min(axis=1).max() < 1e-7
    )  # a defect of the eigensolver at degenerate values would be its square root
    for power in range(1, 7):
        np.testing.assert_allclose((found**power).sum(), (expected**power).sum(), rtol=1e-11)


@pytest.mark.parametrize(
    ("shape", "n", "kappa", "boundary", "expected"),
    [
        ((4, 4, 4, 4), 3, 0.12, None, 19.0045224115),
        ((4, 4, 4, 4), 3, 0.12, (1.0,) * 4, -1.7103115862),
        ((16, 16), 1, 0.24, None, 13.0056769319),
        ((16, 16), 1, 0.24, (1.0, 1.0), 11.8465603423),
    ],
)
def test_free_determinant(shape, n, kappa, boundary, expected):
    """log det D by the Schur complement, from the tables; colours are independent."""
    lattice = Lattice(shape)
    schur = even_odd(Wilson(lattice=lattice, kappa=kappa, boundary=boundary, links=_unit(lattice)))
    with use_backend("reference"):
        sign, value = np.linalg.slogdet(matrix(schur))
        found = n * (value + schur.log_det_rest()[0])
    assert abs(sign - 1) < 1e-10
    assert found == pytest.approx(expected, abs=2e-10)


def test_clover_in_a_uniform_field():
    """In two dimensions sigma_01 = sigma_3; plaquettes exp(i theta) make F = i sin theta, T = 1 - kappa c sigma_3 sin theta."""
    lattice = Lattice((4, 6))
    theta = 2 * np.pi * 2 / lattice.volume
    t, x = np.indices(lattice.shape)
    angle = np.array([np.zeros(lattice.shape), theta * t])
    angle[0, -1] = -theta * lattice.shape[0] * x[-1]  # closes the plaquettes across the boundary in time
    links = lattice.pack(np.exp(1j * angle)[None, ..., None, None], components=1)
    operator = Clover(lattice=lattice, kappa=0.2, csw=1.3, links=links)
    psi = np.ones((lattice.volume, 2, 1, 1), dtype=complex)
    with use_backend("reference"):
        found = operator.diagonal(psi)[:, :, 0, 0]
        log_det = operator.diagonal_log_det(-1)[0]
    shift = 0.2 * 1.3 * np.sin(theta)
    np.testing.assert_allclose(found, np.broadcast_to([1 - shift, 1 + shift], found.shape), atol=1e-14)
    assert log_det == pytest.approx(lattice.volume * np.log(1 - shift**2), rel=1e-13)


def test_hopping_expansion():
    """The leading term of log det D on any links: 8 kappa^4 sum cos P in two dimensions, beta of a pure gauge theory."""
    lattice = Lattice((6, 6))  # so large that no loop of four links winds
    links = random_links(lattice, 1, 4)
    plaquettes = kernels.plaquette(lattice, links)[0] * lattice.volume
    kappas = np.array([0.01, 0.02, 0.03])
    with use_backend("reference"):
        matrices = [[matrix(Wilson(lattice=lattice, kappa=k, links=links), c) for c in range(4)] for k in kappas]
    terms = np.array([[np.linalg.slogdet(m)[1] / k**4 for m in row] for k, row in zip(kappas, matrices, strict=True)])
    # Corrections are polynomials in kappa^2.
    constant = np.polynomial.polynomial.polyfit(kappas**2, terms, 2)[0]
    np.testing.assert_allclose(constant, 8 * plaquettes, rtol=1e-4)
