"""Traces, gradients and Laplacians by noise without short loops: against exact ones within errors."""

import numpy as np
import pytest

from gaugeflow import determinants
from gaugeflow.groups import SU
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng, haar_links, momenta

OPERATORS = {
    "u1": ((6, 8), 1, {"kappa": 0.22}),
    "u1, extents of 4": ((4, 4), 1, {"kappa": 0.22}),
    "su2, mass and weights": ((6, 6), 2, {"mass": 0.5, "hopping": (1.0, 0.7)}),
    "su2, extent of 4": ((4, 6), 2, {"kappa": 0.2, "boundary": (-1.0, np.exp(0.4j))}),
}
VECTORS, GROUPS = 16, 24


@pytest.mark.parametrize("name", OPERATORS)
def test_within_errors(name):
    """Means over many vectors within four errors; those of the gradient along the exact one."""
    shape, n, options = OPERATORS[name]
    lattice = Lattice(shape)
    group = SU(lattice)
    unit = group.identity(haar_links(Rng(1), lattice, n, 4))
    links = group.retract(unit, momenta(Rng(1), lattice, n, 4), 0.5)
    operator = Wilson(lattice=lattice, links=links, **options)
    exact = determinants.log_det_laplacian(operator)
    trace = determinants.log_det_derivative(operator, lambda d: lambda psi: psi).derivative.real
    w = exact.gradient
    found = {"trace": [], "slope": [], "laplacian": []}
    for k in range(GROUPS):
        noise = determinants.hopping_noise(Rng(5), operator, range(VECTORS * k, VECTORS * (k + 1)))
        found["trace"].append(noise.traces.mean(axis=0))
        found["slope"].append(group.inner(noise.gradient, w))
        found["laplacian"].append(noise.laplacian)
    expected = {"trace": trace, "slope": group.inner(exact.gradient, w), "laplacian": exact.laplacian}
    for key, values in found.items():
        error = np.std(values, axis=0, ddof=1) / np.sqrt(GROUPS)
        assert np.all(np.abs(np.mean(values, axis=0) - expected[key]) < 4 * error), key
        assert np.all(error < 0.1 * np.abs(expected[key])), key


def test_short_loops_have_no_noise():
    """The noise of a trace falls with the sixth power of kappa, its value with the fourth."""
    lattice = Lattice((6, 6))
    links = haar_links(Rng(1), lattice, 2, 4)
    spread = []
    for kappa in (0.05, 0.1):
        noise = determinants.hopping_noise(Rng(5), Wilson(lattice=lattice, links=links, kappa=kappa), 32)
        spread.append(np.std(noise.traces, axis=0))
    assert np.all(spread[0] < spread[1] / 40)


def test_one_vector_has_no_laplacian():
    lattice = Lattice((4, 4))
    operator = Wilson(lattice=lattice, links=haar_links(Rng(1), lattice, 1, 4), kappa=0.1)
    with pytest.raises(ValueError, match="2 vectors or more"):
        _ = determinants.hopping_noise(Rng(1), operator, 1).laplacian
    with pytest.raises(ValueError, match="at least one vector"):
        determinants.hopping_noise(Rng(1), operator, 0)
