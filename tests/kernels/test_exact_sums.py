"""Sums over sites do not depend on the order, and lose nothing."""

import math

import numpy as np
import pytest

from gaugeflow.backend import use_backend
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Lattice

LATTICE = Lattice((4, 4, 4, 4))
BACKENDS = ("reference", "numba")


@pytest.mark.parametrize("backend", BACKENDS)
def test_order_does_not_matter(backend, rng):
    numbers = rng.normal(size=(900, 4)) * 2.0 ** rng.integers(-20, 20, size=(900, 4))
    with use_backend(backend):
        first = sum_sites(LATTICE, numbers)
        again = sum_sites(LATTICE, numbers[rng.permutation(900)])
        folded = sum_sites(Lattice((4, 4), (2, 1)), np.concatenate([numbers[:450], numbers[450:]], axis=1))
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(folded, first)
    for lane in range(4):
        assert first[lane] == pytest.approx(math.fsum(numbers[:, lane]), rel=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_kept(backend, bad):
    """Also among numbers so large that its digits would have no place beside theirs."""
    numbers = np.ones((900, 2))
    numbers[300, 1] = bad
    with use_backend(backend), np.errstate(invalid="ignore"):
        found = sum_sites(LATTICE, numbers)
    assert found[0] == 900.0
    assert not math.isfinite(found[1])
