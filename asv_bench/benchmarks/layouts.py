"""Fields from and to the layouts of other programs, SU(3), beside the force that they should not slow down."""

from gaugeflow import bench, kernels
from gaugeflow.backend import use_backend
from gaugeflow.interop import links_from, links_to
from gaugeflow.lattice import Lattice, suggest_fold

VOLUMES = {"8x8x8x8": (8, 8, 8, 8), "16x16x16x16": (16, 16, 16, 16)}


class Layouts:
    params = (["force", "from", "to"], ["qdp", "grid", "openqcd"], list(VOLUMES))
    param_names = ("what", "layout", "volume")

    def setup(self, what, layout, volume):
        if what == "force" and layout != "qdp":
            raise NotImplementedError("the force knows no layout of other programs")
        shape = VOLUMES[volume]
        self.lattice = Lattice(shape, suggest_fold(shape, bench.LANES))
        with use_backend("numba"):
            self.links, _ = bench.fields(self.lattice, 3, 1)
        self.array = links_to(self.lattice, self.links, layout)
        self.time_conversion(what, layout, volume)

    def time_conversion(self, what, layout, volume):
        if what == "force":
            kernels.wilson_force(self.lattice, self.links, 6.0)
        elif what == "from":
            links_from(self.lattice, self.array, layout)
        else:
            links_to(self.lattice, self.links, layout)
