"""Kernels of the GPU back end on a lattice that is cut over the processes of ``mpirun``: the bits of the whole lattice.

Arguments: ``direct`` or ``staged``, whether MPI gets addresses of the stand-in's memory or copies on the host; the shape, the
grid, the fold and N; and the names of kernels.  In numba-cuda's simulator kernels run as Python.  Otherwise the code that
numba-cuda compiles runs on this machine's processor, see ``compiled/toolchain.py``.
"""

import os
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "domains"))

import cupy
import kernels_on_ranks
import numpy as np
import pytest
from mpi4py import MPI

from cases.kernels import KERNELS, Case
from gaugeflow.backend import kernels, use_backend
from gaugeflow.domains import cut, processes
from gaugeflow.lattice import Lattice
from gaugeflow.namespaces import array_namespace

BATCH = 2
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
sys.path.insert(0, str(Path(__file__).resolve().parent / ("simulated" if SIMULATED else "compiled")))
tools = import_module("conftest" if SIMULATED else "toolchain")
"""How the simulator sees arrays, or how compiled code runs on the host."""


def results(name, lattice, n):
    found = kernels[name](lattice, *KERNELS[name](Case(lattice, n, BATCH, np.complex128, cupy.asarray)))
    found = found if isinstance(found, tuple) else (found,)
    assert all(type(x) is cupy.ndarray for x in found)
    return [x.get() for x in found]


def main(way, shape, grid, fold, n, names):
    comm = MPI.COMM_WORLD
    lattice, whole = cut(shape, comm, grid, fold, device_memory=way == "direct"), Lattice(shape)
    processes.empty = lambda shape, like: array_namespace(like).full(shape, np.nan, dtype=like.dtype)
    waits = []
    stream = cupy.cuda.get_current_stream()
    stream.synchronize = lambda: waits.append(1)
    cupy.cuda.get_current_stream = lambda: stream
    wrong = []
    with use_backend("cupy"):
        for name in names:
            expected, found = results(name, whole, n), results(name, lattice, n)
            for k, (a, b) in enumerate(zip(found, expected, strict=True)):
                b = kernels_on_ranks.own(lattice, whole, b, a)
                if a.dtype != b.dtype or not np.array_equal(a, b):
                    differ = f"{int((a != b).sum())} of {a.size} differ, {abs(a - b).max():.2e}"
                    wrong.append(f"rank {comm.rank}: {name} result {k}: {differ}")
    traffic = lattice.domain.traffic
    assert traffic.messages > 0
    if bool(waits) != (way == "direct"):  # nobody else may touch memory that the device is still using
        wrong.append(f"rank {comm.rank}: waited {len(waits)} times for {traffic.exchanges} exchanges")
    print("\n".join(wrong), flush=True)
    sys.exit(comm.allreduce(len(wrong)) > 0)


if __name__ == "__main__":
    sizes = [tuple(int(k) for k in a.split("x")) for a in sys.argv[2:5]]
    arguments = (sys.argv[1], *sizes, int(sys.argv[5]), sys.argv[6:])
    with pytest.MonkeyPatch.context() as monkeypatch:
        if not SIMULATED:
            tools.HostKernels(monkeypatch)
        main(*arguments)
