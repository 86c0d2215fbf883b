"""Multihit and averages over slabs: SU(3) on 8^4 at beta = 6, one configuration."""

from gaugeflow import kernels
from gaugeflow.ensembles import Slabs
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath


class WilsonLoops:
    """Means of links of one direction, and Wilson loops up to 4 x 4 by two updates of slabs of two slices."""

    timeout = 300

    def setup(self):
        self.lattice = Lattice((8, 8, 8, 8), (1, 2, 2, 2))
        sampler = HeatBath(self.lattice, 6.0)
        state = sampler.hot(Rng(1), 3)
        for _ in range(10):
            state, _ = sampler.step(Rng(1), state)
        self.x = state.x
        self.slabs = Slabs(self.lattice, 6.0, 2, 2)
        self.time_link_averages()
        self.time_slabs()

    def time_link_averages(self):
        kernels.link_averages(self.lattice, self.x, 6.0, 0)

    def time_slabs(self):
        self.slabs.wilson_loops(Rng(2), self.x, 4, 4)
