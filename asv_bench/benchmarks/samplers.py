"""Updates of configurations: one heat-bath step with four overrelaxation sweeps, SU(3) at beta = 6."""

from gaugeflow.lattice import Lattice, suggest_fold
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath


class HeatBathStep:
    params = (["8x8x8x8", "16x16x16x16"],)
    param_names = ("volume",)

    def setup(self, volume):
        shape = tuple(int(extent) for extent in volume.split("x"))
        self.sampler = HeatBath(Lattice(shape, suggest_fold(shape, 8)), 6.0)
        self.state, _ = self.sampler.step(Rng(1), self.sampler.hot(Rng(1), 3))

    def time_step(self, volume):
        self.sampler.step(Rng(1), self.state)

    def peakmem_step(self, volume):
        self.sampler.step(Rng(1), self.state)
