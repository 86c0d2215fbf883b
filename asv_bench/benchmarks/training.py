"""One training step: loss, gradient by hand, Adam update; SU(3), beta 6.0 to 6.1, eight configurations."""

import numpy as np

from gaugeflow import bench
from gaugeflow.actions import WilsonAction
from gaugeflow.flows import Convolution, ResidualSweep
from gaugeflow.lattice import Lattice
from gaugeflow.training import Adam, constant, log_variance, reverse_kl_path

LOSSES = {"log_variance": log_variance, "reverse_kl_path": reverse_kl_path}


class TrainingStep:
    params = (list(LOSSES),)
    param_names = ("loss",)

    def setup(self, loss):
        lattice = Lattice((4, 4, 4, 4))
        self.flow = ResidualSweep(lattice, convolutions=(Convolution(0), Convolution(1), Convolution(2)))
        self.actions = WilsonAction(lattice, 6.0), WilsonAction(lattice, 6.1)
        self.parameters = {"delta": np.full(self.flow.shape, 1e-3)}
        self.x, _ = bench.fields(lattice, 3, 8)
        self.optimiser = Adam(constant(1e-3))
        self.state = self.optimiser.init(self.parameters)
        self.time_step(loss)

    def time_step(self, loss):
        result = LOSSES[loss](self.flow, self.parameters, *self.actions, self.x)
        self.optimiser.update(self.state, self.parameters, result.gradient)

    def peakmem_step(self, loss):
        self.time_step(loss)
