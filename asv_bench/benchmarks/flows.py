"""Sweeps of SU(3) links, forward, inverse and derivative, with plain, convolved and smeared staples; forces without masks."""

from time import process_time

import numpy as np

from gaugeflow import bench
from gaugeflow.ensembles import SmearedForces
from gaugeflow.flows import Convolution, ResidualSweep, SmearedSweep
from gaugeflow.lattice import Lattice, suggest_fold
from gaugeflow.random import Rng

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
    """Batches of eight configurations, and one configuration of a volume that needs no more, folded into eight lanes."""

    params = (["4x4x4x4", "8x8x8x8", "16x16x16x16 folded"],)
    param_names = ("volume",)
    timeout = 900

    def setup(self, volume):
        folded = volume.endswith("folded")
        shape = tuple(int(extent) for extent in volume.split()[0].split("x"))
        lattice = Lattice(shape, suggest_fold(shape, bench.LANES) if folded else None)
        self.flow = SmearedSweep(lattice)
        self.parameters = {"delta": np.full(self.flow.shape, 1e-3)}
        self.x, self.y_bar = bench.fields(lattice, 3, 1 if folded else bench.LANES)
        self.y, _ = self.flow.forward(self.parameters, self.x)
        self.flow.vjp(self.parameters, self.x, self.y, self.y_bar, 1.0)

    def time_forward(self, volume):
        self.flow.forward(self.parameters, self.x)

    def time_inverse(self, volume):
        self.flow.inverse(self.parameters, self.y)

    def time_tangent(self, volume):
        self.flow.tangent(self.x, self.y_bar)

    def time_vjp(self, volume):
        self.flow.vjp(self.parameters, self.x, self.y, self.y_bar, 1.0)

    def track_vjp_in_forwards(self, volume):
        """A derivative is to cost at most five forward maps."""
        before = process_time()
        self.time_forward(volume)
        between = process_time()
        self.time_vjp(volume)
        return (process_time() - between) / (between - before)

    def peakmem_vjp(self, volume):
        self.flow.vjp(self.parameters, self.x, self.y, self.y_bar, 1.0)


class ForcesWithoutMasks:
    """Tangents of eight configurations, whose divergences are sums over probes: twice the colours, twice the time."""

    params = ([2, 4],)
    param_names = ("colours",)
    timeout = 900

    def setup(self, colours):
        lattice = Lattice((4, 4, 4, 4))
        self.fields = SmearedForces(lattice, colours=colours)
        self.x, self.force = bench.fields(lattice, 3, bench.LANES)
        self.time_tangents(colours)

    def time_tangents(self, colours):
        self.fields.tangents(Rng(1), self.x, self.force)
