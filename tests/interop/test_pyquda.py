"""The field classes of PyQUDA itself, which need no QUDA: its package pyquda_comm, with NumPy arrays."""

import numpy as np
import pytest

from gaugeflow.interop import fermions_from, fermions_to, links_of, put_links
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng, haar_links

SHAPE = (4, 2, 6, 4)
"""t, z, y, x."""


@pytest.fixture(scope="module")
def fields():
    comm = pytest.importorskip("pyquda_comm", reason="PyQUDA is not installed")
    fields = pytest.importorskip("pyquda_comm.field", reason="PyQUDA's compiled module pyquda_comm.pointer is missing")
    comm.initGrid("default", [1, 1, 1, 1], list(SHAPE[::-1]))
    comm.initDevice("numpy", "cpu")
    return fields


@pytest.mark.parametrize("fold", [None, (2, 1, 1, 2)])
def test_gauge_field(fields, fold):
    lattice = Lattice(SHAPE, fold)
    links = haar_links(Rng(1), lattice, 3)
    theirs = fields.LatticeGauge(fields.LatticeInfo(list(SHAPE[::-1])), 4)
    put_links(lattice, links, theirs)
    lexicographic = np.asarray(theirs.lexico()).reshape(4, *SHAPE, 3, 3)  # directions x, y, z, t
    np.testing.assert_array_equal(lexicographic[::-1], lattice.unpack(links, 1)[0])
    np.testing.assert_array_equal(links_of(lattice, theirs), links)


def test_fermion_field(fields):
    lattice = Lattice(SHAPE)
    numbers = np.random.default_rng(1).normal(size=(2, lattice.n_blocks, 4, 3, 1))
    psi = numbers[0] + 1j * numbers[1]
    info = fields.LatticeInfo(list(SHAPE[::-1]))
    theirs = fields.LatticeFermion(info, fermions_to(lattice, psi, "pyquda")[0])
    found = fermions_from(lattice, np.asarray(theirs.data), "pyquda")
    np.testing.assert_array_equal(found, psi)
    lexicographic = np.asarray(theirs.lexico()).reshape(*SHAPE, 4, 3)
    back = lattice.pack(lexicographic[None])  # spins as PyQUDA orders them
    ours = fermions_from(lattice, fermions_to(lattice, back, "pyquda-lexicographic")[0], "pyquda-lexicographic")
    np.testing.assert_array_equal(ours, back)
    np.testing.assert_array_equal(found, fermions_from(lattice, lexicographic, "pyquda-lexicographic"))
