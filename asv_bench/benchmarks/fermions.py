"""Dirac kernels and a solve, SU(3), 8^4 folded to one register of lanes, on the back end for NumPy arrays."""

import numpy as np

from gaugeflow import bench
from gaugeflow.backend import kernels, use_backend
from gaugeflow.lattice import Lattice, suggest_fold
from gaugeflow.operators import Wilson
from gaugeflow.solvers import cg

SHAPE = (8, 8, 8, 8)
KERNELS = ["wilson_hop", "clover_hop", "hop_force", "wilson_hop single"]


def _fields():
    lattice = Lattice(SHAPE, suggest_fold(SHAPE, bench.LANES))
    return lattice, *bench.fields(lattice, 3, 1)


class Kernels:
    params = (KERNELS,)
    param_names = ("kernel",)

    def setup(self, kernel):
        case = bench.CASES[kernel]
        self.kernel = kernels[case.kernel]
        with use_backend("numba"):
            self.lattice, links, momenta = _fields()
            self.arguments = case.arguments(self.lattice, links, momenta)
        self.time_kernel(kernel)

    def time_kernel(self, kernel):
        with use_backend("numba"):
            self.kernel(self.lattice, *self.arguments)


class Solve:
    """Conjugate gradients on D^dagger D to 1e-8, about a hundred iterations."""

    def setup(self):
        with use_backend("numba"):
            lattice, links, _ = _fields()
            self.operator = Wilson(lattice=lattice, links=links, kappa=0.12)
            rng = np.random.default_rng(5)
            shape = self.operator.field_shape()
            self.source = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        self.time_cg()

    def time_cg(self):
        with use_backend("numba"):
            cg(self.operator, self.source, tolerance=1e-8)
