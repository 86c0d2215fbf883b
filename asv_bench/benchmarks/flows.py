"""Sweeps of SU(3) links: forward, inverse and derivative; staples plain and convolved, loops of smeared links."""

import numpy as np

from gaugeflow import bench
from gaugeflow.flows import Convolution, ResidualSweep, SmearedSweep
from gaugeflow.lattice import Lattice, suggest_fold

CONVOLUTIONS = {"plain": (Convolution(0),), "convolved": (Convolution(0), Convolution(1), Convolution(2))}
VOLUMES = {"4x4x4x4": (4, 4, 4, 4), "8x8x8x8": (8, 8, 8, 8)}


class ResidualFlow:
    params = (list(CONVOLUTIONS), list(VOLUMES))
    param_names = ("convolutions", "volume")

    def setup(self, convolutions, volume):
        shape = VOLUMES[volume]
        lattice = Lattice(shape, suggest_fold(shape, bench.LANES))
        self.flow = ResidualSweep(lattice, convolutions=CONVOLUTIONS[convolutions])
        self.parameters = {"delta": np.full(self.flow.shape, 1e-3)}
        self.x, self.y_bar = bench.fields(lattice, 3, 1)
        self.y, _ = self.flow.forward(self.parameters, self.x)
        self.time_inverse(convolutions, volume)
        self.time_vjp(convolutions, volume)

    def time_forward(self, convolutions, volume):
        self.flow.forward(self.parameters, self.x)

    def time_inverse(self, convolutions, volume):
        self.flow.inverse(self.parameters, self.y)

    def time_vjp(self, convolutions, volume):
        self.flow.vjp(self.parameters, self.x, self.y, self.y_bar, 1.0)

    def peakmem_vjp(self, convolutions, volume):
        self.flow.vjp(self.parameters, self.x, self.y, self.y_bar, 1.0)


class SmearedFlow:
    params = (list(VOLUMES),)
    param_names = ("volume",)

    def setup(self, volume):
        lattice = Lattice(VOLUMES[volume])
        self.flow = SmearedSweep(lattice)
        self.parameters = {"delta": np.full(self.flow.shape, 1e-3)}
        self.x, self.y_bar = bench.fields(lattice, 3, bench.LANES)
        self.y, _ = self.flow.forward(self.parameters, self.x)
        self.time_inverse(volume)
        self.time_vjp(volume)

    def time_forward(self, volume):
        self.flow.forward(self.parameters, self.x)

    def time_inverse(self, volume):
        self.flow.inverse(self.parameters, self.y)

    def time_vjp(self, volume):
        self.flow.vjp(self.parameters, self.x, self.y, self.y_bar, 1.0)

    def peakmem_vjp(self, volume):
        self.flow.vjp(self.parameters, self.x, self.y, self.y_bar, 1.0)
