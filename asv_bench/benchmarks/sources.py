"""Fields of sources: tangents on all time slices of SU(3) in four dimensions, and the fit of coefficients."""

import numpy as np

from gaugeflow import bench
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import Series, fit_sources
from gaugeflow.ensembles import GradientSources, PlaquetteSources, SmearedSources
from gaugeflow.flows import SmearedSweep, Smearing
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng


class Tangents:
    """One configuration of 8^4, folded into eight lanes in space."""

    params = (["plaquettes", "smeared", "gradients"],)
    param_names = ("fields",)
    timeout = 300

    def setup(self, fields):
        lattice = Lattice((8, 8, 8, 8), (1, 2, 2, 2))
        sweep = SmearedSweep(lattice, 3, Smearing(eta=(0.0625,) * 4, steps=1, gradient_steps=(2, 4)))
        self.fields = {
            "plaquettes": PlaquetteSources(lattice),
            "smeared": SmearedSources(sweep, (1,)),
            "gradients": GradientSources(lattice).with_noise(Rng(1)),
        }[fields]
        self.x, _ = bench.fields(lattice, 3, 1)
        self.force = WilsonAction(lattice, 5.9).grad(self.x)
        self.time_tangents(fields)

    def time_tangents(self, fields):
        self.fields.tangents(self.x, self.force)


class Fit:
    """16 fields, radius 2, 12 slices, 1000 configurations."""

    def setup(self):
        rng = np.random.default_rng(1)
        self.operator, *self.tangents = (Series.from_lanes(rng.normal(size=(250, 12, 4))) for _ in range(17))

    def time_fit(self):
        fit_sources(self.operator, self.tangents, 2)
