"""Kernels run as Python: a kernel sees the memory of a stand-in array as it is."""

import threading

import cupy
import numpy as np
import pytest
from numba.cuda.simulator import kernel

from gaugeflow_cupy import launches

assert cupy.__version__ == "stand-in", "start these tests through test_without_gpu.py"


class Memory:
    """A flat array as threads of the simulator see it; integers are Python's, which do not wrap."""

    def __init__(self, array):
        self._memory, self.dtype, self.size = array._host.reshape(-1), array.dtype, array.size
        self._integers = array.dtype.kind == "i"

    def __getitem__(self, index):
        x = self._memory[index]
        return int(x) if self._integers else x

    def __setitem__(self, index, value):
        self._memory[index] = value


class InTurn(kernel.BlockManager):
    """Threads of a block one after the other: no kernel here waits for another one, and Python's threads would queue."""

    def run(self, grid_point, *arguments):
        thread = threading.current_thread()
        thread.blockIdx = kernel.Dim3(*grid_point)
        for point in np.ndindex(*self._block_dim):
            thread.threadIdx = kernel.Dim3(*point)
            self._f(*arguments)


kernel.BlockManager = InTurn
launches.memory_of = Memory
launches.THREADS = 8


@pytest.fixture(autouse=True)
def crossings():
    """Copies between host and device since the test began."""
    cupy.crossings.clear()
    return cupy.crossings
