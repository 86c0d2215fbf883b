"""Trajectories of HMC with two flavours of Wilson quarks, SU(3) at beta = 5.6, kappa = 0.153, eight configurations."""

from dataclasses import replace

from gaugeflow.actions import Determinant, Hasenbusch, Inversion, WilsonAction
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng
from gaugeflow.samplers import HMC, HeatBath, Level


class HMCTrajectory:
    """A trajectory of length 0.1 in one step."""

    params = (["hasenbusch 4x4x4x4", "determinant 2x4x4x4"],)
    param_names = ("action",)
    timeout = 600

    def setup(self, action):
        method, volume = action.split()
        lattice = Lattice(tuple(int(extent) for extent in volume.split("x")))
        bath = HeatBath(lattice, 5.6)
        state = bath.hot(Rng(1), 3, 8)
        for step in range(10):
            state, _ = bath.step(Rng(1).at(step), state)
        quark = Wilson(lattice=lattice, kappa=0.153)
        gauge = Level(WilsonAction(lattice, 5.6), 2)
        if method == "determinant":
            levels = (Level(Determinant(quark, 2, 32), 1), gauge)
        else:
            split = Hasenbusch(quark, (replace(quark, kappa=0.14),), Inversion(1e-10, 1e-7, "refined"))
            levels = (*(Level(term, 1) for term in split.terms), gauge)
        self.sampler = HMC(lattice, levels, length=0.1)
        self.state, _ = self.sampler.step(Rng(1), self.sampler.init(state.x))

    def time_trajectory(self, action):
        self.sampler.step(Rng(1), self.state)
