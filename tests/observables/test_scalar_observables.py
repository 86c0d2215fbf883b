"""Observables of real fields, against sums of shifted arrays, folded or not."""

import numpy as np
import pytest

from cases.fields import scalars
from gaugeflow.lattice import Lattice
from gaugeflow.observables import ising_energy, magnetisation, two_point_susceptibility


@pytest.mark.parametrize("fold", [None, (2, 1, 2)])
def test_scalar_observables(fold):
    lattice = Lattice((4, 2, 4), fold)
    x = scalars(lattice, 3)
    field = lattice.unpack(x)
    mean = field.mean(axis=(1, 2, 3))
    products = [(field * np.roll(field, -1, axis=1 + mu)).mean(axis=(1, 2, 3)) for mu in range(3)]
    np.testing.assert_allclose(magnetisation(lattice, x), mean, rtol=1e-12)
    np.testing.assert_allclose(two_point_susceptibility(lattice, x), 32 * mean**2, rtol=1e-12)
    np.testing.assert_allclose(ising_energy(lattice, x), np.mean(products, axis=0), rtol=1e-11)
