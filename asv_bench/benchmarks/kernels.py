"""Every hot kernel, SU(3), on three lattices and every back end for NumPy arrays."""

from gaugeflow import bench
from gaugeflow.backend import kernels, use_backend
from gaugeflow.lattice import Lattice, suggest_fold

KERNELS = [
    "plaquette_traces",
    "rectangle",
    "wilson_force",
    "rectangle_force",
    "clover",
    "evolve",
    "flow_stage",
    "inner",
    "reunitarise",
    "heatbath",
    "overrelax",
    "smear",
    "smear_vjp",
    "smear_step",
    "smear_step_along",
    "smear_step_pull",
    "smear_step_pull_along",
    "plaquette_hessian",
    "plaquette_hessian_along",
    "path_sum",
    "path_sum_vjp",
    "residual_update",
    "residual_update_vjp",
    "residual_tangent",
    "smeared_update",
    "smeared_update_vjp",
    "smeared_tangent",
]
VOLUMES = {"4x4x4x4": (4, 4, 4, 4), "8x8x8x8": (8, 8, 8, 8), "16x16x16x16": (16, 16, 16, 16)}


class Kernels:
    params = (KERNELS, list(VOLUMES), ["numba", "reference"])
    param_names = ("kernel", "volume", "backend")

    def setup(self, kernel, volume, backend):
        if backend == "reference" and volume != "4x4x4x4":
            raise NotImplementedError("the reference is for correctness; one volume is enough to watch it")
        shape = VOLUMES[volume]
        self.lattice = Lattice(shape, suggest_fold(shape, bench.LANES))
        self.kernel = kernels[kernel]
        self.backend = backend
        with use_backend("numba"):
            links, momenta = bench.fields(self.lattice, 3, 1)
            self.arguments = bench.CASES[kernel].arguments(self.lattice, links, momenta)
        self.time_kernel(kernel, volume, backend)

    def time_kernel(self, kernel, volume, backend):
        with use_backend(self.backend):
            self.kernel(self.lattice, *self.arguments)
