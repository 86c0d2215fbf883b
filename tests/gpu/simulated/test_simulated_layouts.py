"""Layouts of other programs on device arrays: the numbers of the host, and tables that cross to the device once."""

import cupy
import pytest

from gaugeflow.interop import LAYOUTS, fermions_from, fermions_to, links_from, links_to
from gaugeflow.lattice import Lattice


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(rng, crossings, name):
    lattice = Lattice((4, 2, 2, 4), (2, 1, 1, 1))
    links = rng.normal(size=(4, lattice.n_blocks, 2, 2, 6)) + 0j
    psi = rng.normal(size=(lattice.n_blocks, 4, 3, 6)) + 0j
    for field, to, back in ((links, links_to, links_from), (psi, fermions_to, fermions_from)):
        expected, given = to(lattice, field, name), cupy.asarray(field)
        there = to(lattice, given, name)
        assert isinstance(there, cupy.ndarray)
        again = back(lattice, there, name)
        crossings.clear()
        out = cupy.zeros_like(there)
        assert to(lattice, given, name, out=out) is out
        back(lattice, there, name)
        assert not crossings  # links, spinors and tables are there
        assert (there.get() == expected).all()
        assert (out.get() == expected).all()
        assert (again.get() == field).all()
