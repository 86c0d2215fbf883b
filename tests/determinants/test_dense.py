"""Exact determinants by LU decomposition and their gradients: free fields, brute force, differences, the exact 2 x 2 table."""

import itertools
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gaugeflow import determinants
from gaugeflow.backend import use_backend
from gaugeflow.check.differences import differentiate
from gaugeflow.determinants import dense, hermitian, space
from gaugeflow.groups import SU
from gaugeflow.kernels import plaquette
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Staggered, Wilson, even_odd, imaginary_chemical_potential
from gaugeflow.operators.dense import matrix
from gaugeflow.random import Rng, haar_links, momenta


def _links(lattice, n, batch, seed=1, size=0.4):
    """Links near unity, where quarks are not heavy."""
    group = SU(lattice)
    unit = group.identity(haar_links(Rng(seed), lattice, n, batch))
    return group.retract(unit, momenta(Rng(seed), lattice, n, batch), size)


def _free(shape, kappa, colours, spin, time):
    """Nc (n_s / 2) sum_p log[(1 - 2 kappa sum cos p)^2 + 4 kappa^2 sum sin^2 p]."""
    starts = [np.pi / shape[0] if time == "antiperiodic" else 0.0] + [0.0] * (len(shape) - 1)
    momenta = [2 * np.pi * np.arange(n) / n + start for n, start in zip(shape, starts, strict=True)]
    p = np.array(list(itertools.product(*momenta)))
    value = (1 - 2 * kappa * np.cos(p).sum(axis=1)) ** 2 + 4 * kappa**2 * (np.sin(p) ** 2).sum(axis=1)
    return colours * spin / 2 * np.log(value).sum()


@pytest.mark.parametrize(
    ("shape", "n", "kappa", "time", "expected"),
    [
        ((4, 4, 4, 4), 3, 0.12, "antiperiodic", 19.0045224115),
        ((4, 4, 4, 4), 3, 0.12, "periodic", -1.7103115862),
        ((16, 16), 1, 0.24, "antiperiodic", 13.0056769319),
        ((16, 16), 1, 0.24, "periodic", 11.8465603423),
    ],
)
def test_free_fields(shape, n, kappa, time, expected):
    lattice = Lattice(shape, (2, 2) + (1,) * (len(shape) - 2))
    links = SU(lattice).identity(haar_links(Rng(1), lattice, n, 1))
    boundary = None if time == "antiperiodic" else (1.0,) * lattice.ndim
    found = determinants.log_det(Wilson(lattice=lattice, links=links, kappa=kappa, boundary=boundary))
    spin = 2 ** (lattice.ndim // 2)
    assert found.log_abs.shape == (1,)
    np.testing.assert_allclose(found.log_abs, _free(shape, kappa, n, spin, time), atol=1e-11)
    np.testing.assert_allclose(found.log_abs, expected, atol=1e-10)
    np.testing.assert_allclose(found.phase, 1.0, atol=1e-12)


OPERATORS = {
    "wilson u1": lambda: _wilson((4, 4), 1, kappa=0.25),
    "wilson u1 folded": lambda: _wilson((4, 8), 1, fold=(1, 2), kappa=0.25),
    "wilson u1 twisted boundary": lambda: _wilson((4, 2), 1, kappa=0.3, boundary=(np.exp(0.7j), np.exp(-0.2j))),
    "wilson u1 odd extent": lambda: _wilson((3, 4), 1, kappa=0.25),
    "wilson u1 odd in space": lambda: _wilson((2, 3), 1, kappa=0.25),
    "wilson su2 in 4d": lambda: _wilson((2, 2, 2, 2), 2, kappa=0.14),
    "wilson anisotropic": lambda: _wilson((4, 2), 1, mass=0.2, hopping=(1.0, 0.4)),
    "clover twisted su3": lambda: _clover((2, 2, 2, 2), kappa=0.13, csw=1.3, twisted_mass=0.4),
    "staggered su2": lambda: _staggered((4, 2, 2), 2, mass=0.3),
    "staggered massless": lambda: _staggered((4, 4), 1, mass=0.0),
    "staggered one dimension": lambda: _staggered((2,), 1, mass=-0.7),
}
REFERENCE = ("wilson su2 in 4d", "staggered su2", "staggered massless", "staggered one dimension")


def _wilson(shape, n, fold=None, **options):
    lattice = Lattice(shape, fold)
    return Wilson(lattice=lattice, links=_links(lattice, n, 4), **options)


def _clover(shape, **options):
    lattice = Lattice(shape)
    return Clover(lattice=lattice, links=_links(lattice, 3, 4), **options)


def _staggered(shape, n, **options):
    lattice = Lattice(shape)
    return Staggered(lattice=lattice, links=_links(lattice, n, 4), **options)


@pytest.fixture(params=OPERATORS)
def operator(request):
    if request.param in REFERENCE:
        with use_backend("reference"):
            yield OPERATORS[request.param]()
    else:
        yield OPERATORS[request.param]()


def test_against_the_matrix_and_differences(operator):
    found = determinants.log_det_gradient(operator)
    sign, log_abs = np.linalg.slogdet(matrix(operator))
    np.testing.assert_allclose(found.log_abs, log_abs, atol=1e-11)
    np.testing.assert_allclose(found.phase, sign, atol=1e-11)
    value = determinants.log_det(operator)
    np.testing.assert_array_equal(value.log_abs, found.log_abs)
    np.testing.assert_array_equal(value.phase, found.phase)

    group = SU(operator.lattice)
    direction = momenta(Rng(7), operator.lattice, operator.links.shape[2], 4)

    def along(step):
        moved = operator.with_links(group.retract(operator.links, direction, step))
        return (determinants.log_det(moved).log_abs,)

    np.testing.assert_allclose(group.inner(found.gradient, direction), differentiate(along)[0], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", OPERATORS)
def test_slices(name):
    """One compiled, with registers of single configurations; the others on the reference back end."""
    with use_backend("numba" if name == "wilson u1 folded" else "reference"):
        operator = OPERATORS[name]()
        found, expected = (determinants.log_det(operator, method) for method in ("slices", "dense"))
    np.testing.assert_allclose(found.log_abs, expected.log_abs, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.phase, expected.phase, atol=1e-12)


def test_slices_in_groups(monkeypatch):
    """One pair of slices at a time, few vectors at a time, on an odd number of slices."""
    operator = _wilson((5, 4), 1, kappa=0.25)
    expected = determinants.log_det(operator)
    monkeypatch.setattr(space, "GROUP_BYTES", 1)
    monkeypatch.setattr(space, "CHUNK_BYTES", 16 * 2 * 8 * 3)
    found = determinants.log_det(operator, "slices")
    np.testing.assert_allclose(found.log_abs, expected.log_abs, rtol=1e-12)


def test_ratio():
    operator = OPERATORS["wilson u1"]()
    other = replace(operator, kappa=0.5, links=_links(operator.lattice, 1, 4, seed=4, size=1.5))
    found = determinants.ratio(other, operator, "slices")
    one, two = (np.linalg.det(matrix(d)) for d in (other, operator))
    np.testing.assert_allclose(np.exp(found.log_abs) * found.phase, one / two, rtol=1e-11)


def test_groups_of_configurations(monkeypatch):
    operator = _wilson((4, 8), 1, fold=(2, 2), kappa=0.25)
    together = determinants.log_det_gradient(operator)
    monkeypatch.setattr(dense, "MATRIX_BYTES", 16 * 32**2)
    apart = determinants.log_det_gradient(operator)
    for one, two in zip(together, apart, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["wilson u1", "clover twisted su3", "wilson u1 odd extent"])
def test_derivative_with_respect_to_kappa(name):
    operator = OPERATORS[name]()
    found = determinants.d_kappa(operator)

    def along(step):
        moved = determinants.log_det(replace(operator, kappa=operator.kappa + 0.25 * step))
        return 4 * moved.log_abs, 4 * np.angle(moved.phase)

    log_abs, angle = differentiate(along)
    np.testing.assert_allclose(found.derivative.real, log_abs, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.derivative.imag, angle, atol=1e-8)


def test_derivative_with_respect_to_the_mass():
    with use_backend("reference"):
        operator = OPERATORS["staggered su2"]()
        found = determinants.log_det_derivative(operator, lambda d: lambda psi: psi)
    trace = np.trace(np.linalg.inv(matrix(operator)), axis1=1, axis2=2)
    np.testing.assert_allclose(found.derivative, trace, atol=1e-11)


def test_leading_order_of_the_hopping_expansion():
    """log det D = 8 kappa^4 sum cos P + O(kappa^6) in two dimensions; two values of kappa remove the next order."""
    lattice = Lattice((6, 8))
    links = _links(lattice, 1, 4)

    def scaled(kappa):
        return determinants.log_det(Wilson(lattice=lattice, links=links, kappa=kappa)).log_abs / kappa**4

    found = (4 * scaled(0.01) - scaled(0.02)) / 3
    np.testing.assert_allclose(found, 8 * lattice.volume * plaquette(lattice, links)[0], rtol=1e-5)


def test_messages():
    lattice = Lattice((4, 4))
    links = _links(lattice, 1, 3)
    links[..., 2] = np.nan
    with pytest.raises(ValueError, match=r"kappa 0.2.*configuration 2.*singular or not finite"):
        determinants.log_det(Wilson(lattice=lattice, links=links, kappa=0.2))
    with pytest.raises(ValueError, match=r"kappa 0.2.*configuration 2, slice 0.*singular or not finite"):
        determinants.log_det(Wilson(lattice=lattice, links=links, kappa=0.2), "slices")
    with pytest.raises(ValueError, match=r"expected one of \['dense', 'slices'\], got 'exact'"):
        determinants.log_det(Wilson(lattice=lattice, links=links, kappa=0.2), "exact")
    with pytest.raises(ValueError, match=r"Staggered\(mass 0.3\) has no kappa"), use_backend("reference"):
        determinants.d_kappa(OPERATORS["staggered su2"]())
    with pytest.raises(ValueError, match="4 and 3"):
        determinants.ratio(OPERATORS["wilson u1"](), Wilson(lattice=lattice, links=_links(lattice, 1, 3), kappa=0.2))
    with pytest.raises(ValueError, match="no links"):
        determinants.log_det(Wilson(lattice=lattice, kappa=0.2))


def test_schur_complement_as_a_matrix():
    operator = _clover((2, 2, 2, 2), kappa=0.13, csw=1.3)
    small = even_odd(operator)
    whole, schur = matrix(operator), matrix(small)
    size = whole.shape[1] // 2
    assert schur.shape == (4, size, size)
    _, log_abs = np.linalg.slogdet(whole)
    np.testing.assert_allclose(np.linalg.slogdet(schur)[1] + small.log_det_rest(), log_abs, atol=1e-11)


@pytest.mark.parametrize("name", ["wilson u1 folded", "staggered su2", "wilson u1 odd extent"])
def test_hermitian_halving(name, monkeypatch):
    """Matrices that are Hermitian up to signs are inverted by halving, with pivots where that fails."""
    with use_backend("reference"):
        operator = OPERATORS[name]()
        plain = determinants.log_det_gradient(operator)
        monkeypatch.setattr(dense, "BATCHED", 1)
        pivots = determinants.log_det_gradient(operator)
        monkeypatch.setattr(hermitian, "LEAF", 3)
        seen = []
        check = hermitian.Check.passes
        monkeypatch.setattr(hermitian.Check, "passes", lambda *a: seen.append(check(*a)) or seen[-1])
        halved = determinants.log_det_gradient(operator)
        assert seen == [True] * 4
        monkeypatch.setattr(hermitian.Check, "passes", lambda *a: False)
        failed = determinants.log_det_gradient(operator)
    for other in (pivots, halved, failed):
        for one, two in zip(plain, other, strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-10, atol=1e-12)


def test_inverse_by_halving(rng):
    """Odd sizes too; a singular upper left block is refused, a nearly singular one is noticed."""
    a = rng.normal(size=(2, 2 * hermitian.LEAF + 31, 2 * hermitian.LEAF + 31))
    matrix = a[0] + a[0].T + 1j * (a[1] - a[1].T)
    matrix = 0.1 * matrix / np.sqrt(len(matrix)) + np.diag((-1.0) ** np.arange(len(matrix)))
    found, check = matrix.copy(), hermitian.Check(matrix)
    log_abs, sign = hermitian.invert(found, "H")
    np.testing.assert_allclose(found @ matrix, np.eye(len(matrix)), atol=1e-12)
    assert check.passes(found)
    expected = np.linalg.slogdet(matrix)
    np.testing.assert_allclose((sign, log_abs), (expected[0].real, expected[1]), rtol=1e-11)
    half = len(matrix) // 2
    small = 1e-9 * matrix[:half, :half]
    matrix[:half, :half] = 0.0
    with pytest.raises(ValueError, match=r"H: .*singular"):
        hermitian.invert(matrix.copy(), "H")
    matrix[:half, :half] = small
    check = hermitian.Check(matrix)
    hermitian.invert(matrix, "H")
    assert not check.passes(matrix)


def test_schwinger_model_on_four_sites():
    """Two flavours on 2 x 2 at beta = 2 by quadrature over the five angles that are left when three links are fixed.

    The weight depends on three of them and takes 16 points each; the determinant's square is a polynomial of degree 4 in
    the others, which Polyakov loops alone depend on.
    """
    d, u, v = np.meshgrid(*[2 * np.pi * np.arange(16) / 16] * 3, indexing="ij")
    a, c = np.meshgrid(*[2 * np.pi * np.arange(5) / 5] * 2, indexing="ij")
    d, u, v, a, c = (
        x.ravel() for x in np.broadcast_arrays(d[..., None, None], u[..., None, None], v[..., None, None], a, c)
    )
    angles = np.zeros((2, 2, 2, d.size))  # direction, t, x
    angles[1, 0, 1], angles[1, 1, 0], angles[1, 1, 1] = a, d, u + a
    angles[0, 1, 0], angles[0, 1, 1] = v + c, c
    lattice = Lattice((2, 2))
    links = np.exp(1j * angles).reshape(2, 4, 1, 1, -1)
    with use_backend("reference"):
        mean = plaquette(lattice, links)[0]
        weight = np.exp(2.0 * 4 * mean)
        np.testing.assert_allclose(np.average(mean, weights=weight), 0.7795609227, atol=2e-10)
        table = {0.2: (2.0276272814, 0.7961006269, 1.2581525345), 0.276: (6.7667649335, 0.8127516480, 2.1107999220)}
        for kappa, (ratio, expected, average) in table.items():
            found = determinants.log_det(Wilson(lattice=lattice, links=links, kappa=kappa))
            det = np.exp(found.log_abs) * found.phase.real
            np.testing.assert_allclose(found.phase.imag, 0.0, atol=1e-9)
            np.testing.assert_allclose(np.average(det**2, weights=weight), ratio, atol=2e-9)
            np.testing.assert_allclose(np.average(mean, weights=weight * det**2), expected, atol=2e-10)
            np.testing.assert_allclose(np.average(det, weights=weight), average, atol=2e-9)


def test_script_of_the_page(monkeypatch, capsys):
    """The measurements of docs/derivations/determinants.md, on a lattice small enough for a test."""
    path = Path(__file__).resolve().parents[2] / "docs" / "scripts" / "determinants.py"
    monkeypatch.setattr(
        sys, "argv", [str(path), "2x4", "--batch", "2", "--dense", "--slices", "--gradient", "--noise", "2"]
    )
    with use_backend("reference"):
        runpy.run_path(str(path), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["dense", "slices", "gradient", "noise"]
    assert all(float(line.split("off by ")[1].split()[0]) < 1e-12 for line in lines[:3])
    found, error, exact = (
        float(lines[3].split(word)[1].split()[0].rstrip(",")) for word in ("ratio ", "+- ", "exact ")
    )
    assert abs(found - exact) < 3 * error + 2e-3


def test_negative_masses_change_the_sign():
    """Two even sites of three colours: det T_ee = m^6; one even site of three in one dimension of extent 2: m^3."""
    for shape, mass in (((2,), -0.7), ((2, 2), -0.7)):
        lattice = Lattice(shape)
        operator = Staggered(lattice=lattice, links=_links(lattice, 3, 4), mass=mass)
        sign, _ = np.linalg.slogdet(matrix(operator))
        np.testing.assert_allclose(determinants.log_det(operator).phase, sign, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "fold", "kind", "options"),
    [
        ((4, 4), None, Wilson, {"kappa": 0.24}),
        ((4, 8), (1, 2), Wilson, {"kappa": 0.22, "twisted_mass": 0.2}),
        ((3, 4), None, Wilson, {"kappa": 0.24}),
        ((4, 4), None, Staggered, {"mass": 0.3}),
        ((4, 4), None, Staggered, {"mass": 0.0}),
    ],
)
def test_derivatives_with_respect_to_charge(shape, fold, kind, options):
    """First and second derivatives against differences of log det, and of the first derivative, along the charge."""
    lattice = Lattice(shape, fold)
    potential = lattice.pack(np.random.default_rng(3).normal(size=(1, 2, *shape)), components=1)
    operator = kind(lattice=lattice, links=_links(lattice, 1, 4), charge=0.4, potential=potential, **options)
    found = determinants.log_det_charge(operator)

    def moved(step):
        there = replace(operator, charge=operator.charge + step)
        return determinants.log_det(there).log_abs, determinants.log_det_charge(there).first

    value, slope = differentiate(moved)
    np.testing.assert_allclose(found.first.real, value, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.second, slope, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.log_abs, determinants.log_det(operator).log_abs, atol=1e-12)


def test_quark_number_of_free_quarks_in_closed_form():
    """log det at an imaginary chemical potential has the momenta p_0 + theta: its second derivative, without a field."""
    shape, kappa = (4, 6), 0.23
    lattice = Lattice(shape)
    links = SU(lattice).identity(haar_links(Rng(1), lattice, 1, 1))
    operator = Wilson(
        lattice=lattice, links=links, kappa=kappa, charge=0.2, potential=imaginary_chemical_potential(lattice)
    )
    found = determinants.log_det_charge(operator)

    def free(step):
        p = np.stack(
            np.meshgrid(
                2 * np.pi * (np.arange(shape[0]) + 0.5) / shape[0] + 0.2 + step,
                2 * np.pi * np.arange(shape[1]) / shape[1],
            )
        )
        value = np.log((1 - 2 * kappa * np.cos(p).sum(axis=0)) ** 2 + 4 * kappa**2 * (np.sin(p) ** 2).sum(axis=0))
        return value.sum()

    (first,) = differentiate(lambda e: (free(e),))
    (second,) = differentiate(lambda e: (differentiate(lambda f: (free(e + f),))[0],))
    np.testing.assert_allclose(found.log_abs, free(0.0), atol=1e-12)
    np.testing.assert_allclose(found.first, first, atol=1e-9)
    np.testing.assert_allclose(found.second, second, atol=1e-8)


def test_paths_between_charges():
    """Charges are interpolated along a path; potentials are not."""
    lattice = Lattice((4, 4))
    potential = np.random.default_rng(2).normal(size=(2, 16, 1))
    start = Wilson(lattice=lattice, links=_links(lattice, 1, 4), kappa=0.2, potential=potential)
    between = determinants.path(start, replace(start, charge=0.6), 3)
    assert [operator.charge for operator in between] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert all(operator.links is start.links for operator in between)
    with pytest.raises(ValueError, match="expected operators of one potential"):
        determinants.path(start, replace(start, potential=potential + 1.0), 3)
