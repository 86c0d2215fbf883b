"""Compilation of kernels: what the first run on a machine pays, and what later ones do."""

import os
import subprocess
import sys
import tempfile

PROGRAM = """
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath
sampler = HeatBath(Lattice((4, 4, 4, 4), (2, 2, 1, 1)), 6.0)
sampler.step(Rng(2), sampler.hot(Rng(1), 3, 2))
"""


def start(folder):
    """A step of the heat bath in a process of its own."""
    environment = {**os.environ, "GAUGEFLOW_CACHE_DIR": folder}
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True)


class FirstStep:
    timeout = 300
    number = 1
    repeat = 3

    def setup(self):
        self.folder = tempfile.TemporaryDirectory()

    def teardown(self):
        self.folder.cleanup()

    def time_heat_bath(self):
        with tempfile.TemporaryDirectory(dir=self.folder.name) as folder:
            start(folder)


class LaterStep(FirstStep):
    def setup(self):
        super().setup()
        start(self.folder.name)

    def time_heat_bath(self):
        start(self.folder.name)
