"""Yukawa model: exact values on 2 x 2, identities that hold at any volume, HMC with both actions of quarks.

Two flavours, m^2 = -4, lambda = 8, antiperiodic in time.  Values from quadrature, converged to 1e-10.
"""

import math

import numpy as np
import pytest

from gaugeflow.actions import Inversion, Pseudofermion, ScalarAction, Sum, YukawaDeterminant, YukawaPseudofermions
from gaugeflow.actions.yukawa import with_pseudofermions, without_pseudofermions
from gaugeflow.analysis import gamma_method
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Yukawa, gaussian
from gaugeflow.operators.dense import matrix
from gaugeflow.random import Rng, normal
from gaugeflow.samplers import HMC, Level, ScalarMetropolis, run
from gaugeflow.solvers import cg

SIGMAS = 3.5
SQUARE = Lattice((2, 2))
SCALAR = ScalarAction(SQUARE, -4.0, 8.0)
EXACT = {
    0.0: (1.0, 0.171434423240, 0.112620410370, 0.024208815351),
    0.5: (1.108218864060, 0.180756330521, 0.124605330878, 0.028370831720),
}
"""By g: Z / Z(g = 0), <phi^2>, <m^2>, <m^4>, m the mean field."""


def moments(phi):
    """phi^2, m^2, m^4, ``(3, batch)``."""
    m = phi.mean(axis=0)
    return np.stack([(phi**2).mean(axis=0), m**2, m**4])


def estimate(values):
    """Gamma method on (steps, chains)."""
    return gamma_method([values[:, c] for c in range(values.shape[1])])


@pytest.mark.parametrize("g", EXACT)
def test_quadrature(g):
    """Gauss-Legendre with 24 points in each of four fields, half of them by the symmetry phi -> -phi: good to 1e-6."""
    points, weights = np.polynomial.legendre.leggauss(24)
    grid = np.meshgrid(*(1.35 * points,) * 4, indexing="ij")
    phi = np.stack([axis.ravel() for axis in grid])
    weight = math.prod(np.meshgrid(*(1.35 * weights,) * 4, indexing="ij")).ravel() * np.exp(-SCALAR.value(phi))
    kept = (phi[0] > 0.0) & (weight > 1e-11 * weight.max())
    phi, weight = phi[:, kept], weight[kept]
    quarks = weight * np.exp(-YukawaDeterminant(Yukawa(lattice=SQUARE, coupling=g)).value(phi))
    found = (quarks.sum() / weight.sum(), *(moments(phi) @ quarks / quarks.sum()))
    np.testing.assert_allclose(found, EXACT[g], rtol=1e-6)


@pytest.mark.parametrize("kind", ["determinant", "pseudofermions"])
def test_hmc_is_exact(kind):
    """All moments on 2 x 2 at g = 0.5 with 256 chains; 3.5 standard deviations, seed 21."""
    operator = Yukawa(lattice=SQUARE, coupling=0.5)
    # Two odd sites: four former solutions would be linearly dependent.
    quarks = (
        YukawaDeterminant(operator) if kind == "determinant" else Pseudofermion(operator, inversion=Inversion(depth=0))
    )
    hmc = HMC(SQUARE, Level(Sum((SCALAR, quarks)), 5))
    start = 0.3 * normal(Rng(20), SQUARE, 1, 256)[0]

    class Moments:
        name = "moments"

        def __call__(self, x):
            return moments(x)

    chain = run(hmc, Rng(21), hmc.init(start), 60, burn_in=15, observe=[Moments()], progress=False)
    assert chain.records["accepted"].mean() > 0.8
    change = estimate(np.exp(-chain.records["delta_h"]))
    assert abs(change.value - 1.0) < SIGMAS * change.error
    for k, exact in enumerate(EXACT[0.5][1:]):
        found = estimate(chain.records["moments"][:, k])
        assert abs(found.value - exact) < SIGMAS * found.error


def test_determinant_is_that_of_the_full_matrix(rng):
    """log |det(D + g phi)| from the dense matrix of the staggered operator, and the closed form at constant phi."""
    lattice, g = Lattice((4, 6)), 0.7
    operator = Yukawa(lattice=lattice, coupling=g)
    phi = rng.standard_normal((24, 3))
    free = matrix(operator.free)[0].real
    full = free + g * np.stack([np.diag(column) for column in phi.T])
    action = YukawaDeterminant(operator, flavours=1)
    np.testing.assert_allclose(-action.value(phi), np.linalg.slogdet(full)[1], rtol=1e-12, atol=1e-12)
    condensate = g * np.linalg.inv(full)[:, range(24), range(24)].T
    np.testing.assert_allclose(-action.grad(phi), condensate, rtol=1e-9, atol=1e-10)
    momenta = [(math.pi * (2 * a + 1) / 4, 2 * math.pi * b / 6) for a in range(4) for b in range(6)]
    exact = 0.5 * sum(math.log(0.3**2 * g**2 + math.sin(p) ** 2 + math.sin(q) ** 2) for p, q in momenta)
    np.testing.assert_allclose(-action.value(np.full((24, 2), 0.3)), exact, rtol=1e-13)


def test_periodic_time_is_refused():
    """A zero mode of the free operator has no propagator."""
    for shape in ((2, 2), (8, 8)):
        with pytest.raises(ValueError, match="expected antiperiodic time"):
            Yukawa(lattice=Lattice(shape), coupling=0.5, boundary=(1.0, 1.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lattice": Lattice((4, 4), (2, 1))}, "without folds"),
        ({"lattice": Lattice((4, 3))}, "extent 3"),
        ({"boundary": (1j, 1.0)}, "signs 1 or -1"),
        ({"field": np.ones((3, 2))}, "shape"),
    ],
)
def test_bad_operators(arguments, message):
    with pytest.raises(ValueError, match=message):
        Yukawa(**{"lattice": SQUARE, "coupling": 0.5, **arguments})


def test_operator_and_its_dense_matrix(rng):
    """apply, adjoint, solutions by conjugate gradients, and that N is the Schur complement of the reordered matrix."""
    lattice = Lattice((4, 4))
    bound = Yukawa(lattice=lattice, coupling=0.8, field=0.5 * rng.standard_normal((16, 3)))
    _, n = bound.dense()
    assert matrix(bound).dtype == np.complex128
    np.testing.assert_allclose(matrix(bound), n, atol=1e-14)
    psi = gaussian(Rng(1), bound)
    np.testing.assert_allclose(bound.adjoint(psi)[:, 0, 0, :], np.einsum("bij,ib->jb", n, psi[:, 0, 0, :]), atol=1e-13)
    solution = cg(bound, bound.adjoint(bound.apply(psi)), tolerance=1e-12).x
    np.testing.assert_allclose(solution, psi, atol=1e-10)


def test_pseudofermions_have_the_density_of_the_determinant(rng):
    """Packing is invertible, and chi = N^T eta has S = |eta|^2."""
    lattice = Lattice((4, 4))
    phi = 0.5 * rng.standard_normal((16, 3))
    bound = Yukawa(lattice=lattice, coupling=0.8, field=phi)
    eta = gaussian(Rng(1), bound)
    x = with_pseudofermions(lattice, phi, bound.adjoint(eta))
    back, chi = without_pseudofermions(lattice, x)
    np.testing.assert_array_equal(back, phi)
    np.testing.assert_array_equal(chi, bound.adjoint(eta))
    value = YukawaPseudofermions(Yukawa(lattice=lattice, coupling=0.8)).value(x)
    np.testing.assert_allclose(value, (abs(eta) ** 2).sum(axis=(0, 1, 2)), rtol=1e-12)
    with pytest.raises(ValueError, match="joint field"):
        without_pseudofermions(lattice, phi)


def test_equation_of_motion():
    """<sum phi dS/dphi> = volume for the scalar field on 4 x 4 at g = 1; 3.5 standard deviations, seed 5."""
    lattice = Lattice((4, 4))
    action = Sum((ScalarAction(lattice, -4.0, 8.0), YukawaDeterminant(Yukawa(lattice=lattice, coupling=1.0))))
    hmc = HMC(lattice, Level(action, 6))
    scalar = ScalarMetropolis(ScalarAction(lattice, -4.0, 8.0), 0.6)
    start = run(scalar, Rng(4), scalar.init(np.zeros((16, 64))), 40, progress=False).state.x

    class Virial:
        name = "virial"

        def __call__(self, x):
            return (x * action.grad(x)).sum(axis=0)

    chain = run(hmc, Rng(5), hmc.init(start), 60, burn_in=20, observe=[Virial()], progress=False)
    found = estimate(chain.records["virial"])
    assert abs(found.value - 16.0) < SIGMAS * found.error
    assert found.error < 0.3
