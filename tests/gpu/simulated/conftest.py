"""Kernels run as Python: a kernel sees the memory of a stand-in array as it is."""

import cupy
import pytest

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


launches.memory_of = Memory
launches.THREADS = 8


@pytest.fixture(autouse=True)
def crossings():
    """Copies between host and device since the test began."""
    cupy.crossings.clear()
    return cupy.crossings
