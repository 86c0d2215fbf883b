"""Stacks of fermion fields of unequal length are refused by every implementation before it reads beyond the shorter one."""

import numpy as np
import pytest

from cases.fields import links
from gaugeflow.backend import use_backend
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Staggered, Wilson

LATTICE = Lattice((4, 2))


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("make", [Wilson, Clover, Staggered])
def test_unequal_stacks(make, backend):
    values = {"mass": 0.1} if make is Staggered else {"kappa": 0.1}
    operator = make(lattice=LATTICE, links=links(LATTICE, 1, 8), **values)
    two, three = np.ones_like(operator.zeros(2)), np.ones_like(operator.zeros(3))
    one_parity = np.ones_like(operator.zeros(2, 1)), np.ones_like(operator.zeros(3, 0))
    with use_backend(backend):
        with pytest.raises(ValueError, match="left and right: expected two equal shapes"):
            operator.force(two, three)
        with pytest.raises(ValueError, match="base: expected a stack like psi"):
            operator.close(*one_parity, 1)
