"""Loop classes as symbols: Luescher's coefficients, Laplacians and scalar products against differences."""

from fractions import Fraction

import numpy as np
import pytest

from cases.fields import algebra, links
from gaugeflow import kernels
from gaugeflow.flows.loops import algebra as loop_algebra
from gaugeflow.flows.loops.potential import LoopPotential
from gaugeflow.groups import algebra_basis
from gaugeflow.lattice import Lattice

PLAQUETTE = ((0, 0), (1, 2, -1, -2))
BACK = ((0, 0), (2, 1, -2, -1))


def _class(*loops):
    return loop_algebra.canonical(loops)


# arXiv:0907.5491, equation (4.7), in units of beta^2 / 192: for each class the coefficient and the factor between its
# sum there (both orientations where these differ) and ours (real parts, each loop once).
FIRST_ORDER = {
    "rectangle": (_class(((0, 0), (1, 1, 2, -1, -1, -2))), Fraction(-4, 33), 2),
    "twisted": (_class(((0, 0), (1, 2, -1, 2, 1, -2, -1, -2))), Fraction(12, 119), 2),
    "product": (_class(PLAQUETTE, ((0, 1), (1, 2, -1, -2))), Fraction(1, 33), 2),
    "product, one reversed": (_class(PLAQUETTE, ((0, 1), (2, 1, -2, -1))), Fraction(-5, 119), 2),
    "twice": (_class(((0, 0), (1, 2, -1, -2) * 2)), Fraction(3, 10), 2),
    "square": (_class(PLAQUETTE, PLAQUETTE), Fraction(-1, 5), 2),
    "modulus": (_class(PLAQUETTE, BACK), Fraction(1, 9), 1),
}


@pytest.mark.parametrize("ndim", [2, 4])
def test_luescher(ndim):
    """S~_0 = -(beta / 32) W_0 and S~_1 of SU(3), for any beta, exactly."""
    zeroth, first = (dict(order) for order in loop_algebra.expansion(ndim, 3, 1))
    plaquette = loop_algebra.plaquette(ndim)
    assert zeroth == {plaquette: Fraction(-3 * 2, 32)}  # times beta / 3
    assert loop_algebra.laplacian(plaquette, 3) == {plaquette: Fraction(-16, 3)}
    if ndim == 2:
        assert {name: c for name, c, _ in FIRST_ORDER.values()}.keys() == first.keys()
    for name, c, factor in FIRST_ORDER.values():
        lifted = loop_algebra.canonical(tuple(((*site, *[0] * (ndim - 2)), steps) for site, steps in name))
        assert first[lifted] == 9 * factor * c / 192
    planar = {len(term) for term in first}
    assert planar == {1, 2}
    assert len(first) == (7 if ndim == 2 else 11)  # pairs of plaquettes out of a plane beside those in it


@pytest.mark.parametrize("n", [1, 2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_laplacian_and_contraction(n, rng):
    """Sums of second differences along all generators of a link, against joined and split loops; products likewise."""
    lattice = Lattice((4, 4))
    x = links(lattice, n, 8)
    classes = tuple(name for name, _, _ in FIRST_ORDER.values())
    potential = LoopPotential(lattice, n, classes)
    found = potential.laplacians(x)[:, 0]

    basis = np.array(algebra_basis(n, np, np.complex128))
    step = 2e-2
    sites = lattice.n_blocks
    many = np.repeat(x[..., :1], 2 * sites * len(basis), axis=-1)
    directions = np.zeros_like(many)
    for lane, (mu, site, a) in enumerate(np.ndindex(2, sites, len(basis))):
        directions[mu, site, :, :, lane] = basis[a]
    weights = {0: -49 / 18, 1: 3 / 2, 2: -3 / 20, 3: 1 / 90}
    expected = np.zeros(len(classes))
    for k in range(-3, 4):
        values = potential.values(kernels.evolve(lattice, many, directions, k * step))
        expected += weights[abs(k)] * values.sum(axis=-1) / step**2
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * abs(expected).max())

    plaquette = loop_algebra.plaquette(2)
    other = LoopPotential(lattice, n, (plaquette,))
    one = np.ones(1)
    products = potential.along(x, other.gradient(one, x))[:, 0]
    for name, product in zip(classes, products, strict=True):
        total = loop_algebra.contraction(name, plaquette, n)
        constant = float(total.pop((), 0)) * lattice.volume
        joined = LoopPotential(lattice, n, tuple(total))
        value = joined.values(x)[:, 0] @ np.array([float(c) for c in total.values()]) + constant
        assert value == pytest.approx(product, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("order", [1, 2])
def test_residual_of_the_expansion(order):
    """What L_t S~ - S leaves of SU(3) falls as t^(order + 1)."""
    lattice, n = Lattice((5, 5)), 3
    x = links(lattice, n, 8)
    expansion = loop_algebra.expansion(2, n, order)
    names = tuple(dict.fromkeys(name for potential in expansion for name, _ in potential))
    potential = LoopPotential(lattice, n, names)
    plaquettes = LoopPotential(lattice, n, (loop_algebra.plaquette(2),))
    action, force = -plaquettes.values(x)[0], -plaquettes.gradient(np.ones(1), x)
    along, laplacians = potential.along(x, force), potential.laplacians(x)
    sizes = []
    for t in (0.1, 0.05, 0.025):
        c = np.array([sum(float(dict(p).get(name, 0)) * t**k for k, p in enumerate(expansion)) for name in names])
        rest = c @ (t * along - laplacians) - action
        sizes.append(np.std(rest))
    ratios = np.array(sizes[:-1]) / np.array(sizes[1:])
    np.testing.assert_allclose(ratios, 2.0 ** (order + 1), rtol=1e-6)


def test_gradient_and_vjp_of_a_potential(rng):
    """Coefficients of order one, three and more traces: the derivatives of gradient and Laplacian to 1e-9."""
    lattice, n = Lattice((4, 5)), 2
    triple = _class(PLAQUETTE, PLAQUETTE, ((1, 0), (2, 1, -2, -1)))
    potential = LoopPotential(lattice, n, (triple, FIRST_ORDER["twisted"][0], FIRST_ORDER["twice"][0]))
    x, y = links(lattice, n, 8), algebra(lattice, n, 8)
    c, bar = rng.normal(size=3), rng.normal(size=8)
    c_bar, x_bar = potential.vjp(c, x, y, bar)

    def function(c, x):
        gradient, laplacian = potential.both(c, x)
        return kernels.inner(lattice, gradient, y) + bar * laplacian

    w = algebra(lattice, n, 8, seed=5)
    stencil = ((1, 45.0 / 60.0), (2, -9.0 / 60.0), (3, 1.0 / 60.0))
    h = 2.5e-3
    slope = sum(
        f / h * (function(c, kernels.evolve(lattice, x, w, k * h)) - function(c, kernels.evolve(lattice, x, w, -k * h)))
        for k, f in stencil
    )
    np.testing.assert_allclose(kernels.inner(lattice, x_bar, w), slope, rtol=1e-9)
    for i, unit in enumerate(np.eye(3)):
        np.testing.assert_allclose(c_bar[i], function(unit, x), rtol=1e-10)


def test_errors():
    with pytest.raises(ValueError, match="classes: expected at least one"):
        LoopPotential(Lattice((4, 4)), 3, ())
    with pytest.raises(ValueError, match="expected loops in 3 dimensions"):
        LoopPotential(Lattice((4, 4, 4)), 3, (loop_algebra.plaquette(2),))
    with pytest.raises(ValueError, match="expected closed loops"):
        LoopPotential(Lattice((4, 4)), 3, ((((0, 0), (1, 2)),),))
    with pytest.raises(ValueError, match=r"direction 1 of extent 2 is too short .* on 3 sites"):
        LoopPotential(Lattice((4, 2)), 3, (FIRST_ORDER["rectangle"][0],))
    with pytest.raises(ValueError, match="word: expected a closed walk"):
        kernels.loop_traces(Lattice((4, 4)), links(Lattice((4, 4)), 1, 1), ((1, 2, -1),))
