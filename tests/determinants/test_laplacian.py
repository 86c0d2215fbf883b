"""The Laplacian of log det D: against differences of the gradient, and as the divergence that Stein's identity needs."""

import numpy as np
import pytest

from gaugeflow import determinants
from gaugeflow.check.differences import differentiate
from gaugeflow.groups import SU
from gaugeflow.groups.su import algebra_basis
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Wilson
from gaugeflow.random import Rng, haar_links, momenta

OPERATORS = {
    "u1": ((4, 4), 1, {"kappa": 0.22}),
    "su2, mass and weights": ((4, 4), 2, {"mass": 0.4, "hopping": (1.0, 0.7)}),
    "su3, twisted boundary": ((4, 4), 3, {"kappa": 0.2, "boundary": (-1.0, np.exp(0.4j))}),
}


def _operator(shape, n, options):
    lattice = Lattice(shape)
    return Wilson(lattice=lattice, links=haar_links(Rng(3), lattice, n, 4), **options)


@pytest.mark.parametrize("name", OPERATORS)
def test_against_differences_of_the_gradient(name):
    """The trace of the Jacobian of the gradient over all links and generators."""
    operator = _operator(*OPERATORS[name])
    lattice, links = operator.lattice, operator.links
    n = links.shape[2]
    found = determinants.log_det_laplacian(operator)
    gradient = determinants.log_det_gradient(operator)
    np.testing.assert_allclose(found.gradient, gradient.gradient, atol=1e-12)
    np.testing.assert_allclose(found.log_abs, gradient.log_abs, atol=1e-12)
    basis = np.asarray(algebra_basis(n, np, np.complex128))
    directions = links.shape[0] * lattice.volume * len(basis)
    w = np.zeros((*links.shape[:2], len(basis), *links.shape[:2], n, n), dtype=complex)
    for mu, site in np.ndindex(*links.shape[:2]):
        w[mu, site, :, mu, site] = basis
    w = np.moveaxis(w.reshape(directions, *links.shape[:2], n, n), 0, -1)
    for lane in (0, 3):
        copies = np.repeat(links[..., lane : lane + 1], directions, axis=-1)

        def slope(e, copies=copies):
            moved = operator.with_links(SU(lattice).retract(copies, w, e))
            return (SU(lattice).inner(determinants.log_det_gradient(moved).gradient, w),)

        expected = differentiate(slope)[0].sum()
        np.testing.assert_allclose(found.laplacian[lane], expected, rtol=1e-8, atol=1e-8)


def test_in_four_dimensions():
    """Probes of the Jacobian of the gradient have the Laplacian as their mean: within four errors."""
    lattice = Lattice((4, 4, 4, 4))
    group = SU(lattice)
    unit = group.identity(haar_links(Rng(3), lattice, 1, 1))
    operator = Wilson(lattice=lattice, links=group.retract(unit, momenta(Rng(3), lattice, 1, 1), 0.3), kappa=0.12)
    found = determinants.log_det_laplacian(operator).laplacian[0]
    probes = []
    for k in range(6):
        w = momenta(Rng(4).at(k), lattice, 1, 1)
        moved = (operator.with_links(group.retract(operator.links, w, e)) for e in (1e-3, -1e-3))
        ahead, behind = (determinants.log_det_gradient(one).gradient for one in moved)
        probes.append(float(group.inner(ahead - behind, w)[0]) / 2e-3)
    error = np.std(probes, ddof=1) / np.sqrt(len(probes))
    assert abs(np.mean(probes) - found) < 4 * error
    assert error < 0.2 * abs(found)


def test_other_operators_are_refused():
    lattice = Lattice((4, 4, 4, 4))
    links = haar_links(Rng(3), lattice, 3, 1)
    with pytest.raises(ValueError, match="expected Wilson without clover term"):
        determinants.log_det_laplacian(Clover(lattice=lattice, links=links, kappa=0.1, csw=1.0))
    with pytest.raises(ValueError, match="twisted mass"):
        determinants.log_det_laplacian(Wilson(lattice=lattice, links=links, kappa=0.1, twisted_mass=0.1))
    small = Lattice((2, 4))
    with pytest.raises(ValueError, match="even extents of 4 or more"):
        determinants.log_det_laplacian(Wilson(lattice=small, links=haar_links(Rng(1), small, 1, 1), kappa=0.1))
