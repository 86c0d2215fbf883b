"""A training step of periodic convolutions in single precision, batch 256."""

import numpy as np

from gaugeflow import nn, tree
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng

CHANNELS = {"1-8-8-2": (1, 8, 8, 2), "64-64": (64, 64)}


class Network:
    params = (list(CHANNELS), [8, 16])
    param_names = ("channels", "extent")

    def setup(self, channels, extent):
        lattice = Lattice((extent, extent))
        self.module = nn.convolutional(lattice, CHANNELS[channels], final_gain=1.0)
        self.parameters = tree.map(lambda p: np.asarray(p, dtype=np.float32), self.module.init(Rng(1)))
        rng = np.random.default_rng(0)
        inputs, outputs = CHANNELS[channels][0], CHANNELS[channels][-1]
        self.x = rng.normal(size=(inputs, lattice.volume, 256)).astype(np.float32)
        self.y_bar = rng.normal(size=(outputs, lattice.volume, 256)).astype(np.float32)
        self.time_step(channels, extent)

    def time_forward(self, channels, extent):
        self.module.forward(self.parameters, self.x)

    def time_step(self, channels, extent):
        nn.forward_and_pull_back(self.module, self.parameters, self.x)[1](self.y_bar)
