"""How tests start programs on many processes."""

import importlib.util
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

MPIRUN = shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
MISSING = MPIRUN is None or importlib.util.find_spec("mpi4py") is None
WHY = "needs mpirun and mpi4py: gaugeflow[mpi]"


def mpirun(processes):
    """Beginning of a command that starts a program on so many processes; skips the test where there is no MPI."""
    if MISSING:
        pytest.skip(WHY)
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return [MPIRUN, *root, "--oversubscribe", "-n", str(processes)]


def first_alone(comm, work):
    """Compiled code is kept on disk: the first process makes it while the others sleep, where MPI would have them poll."""
    try:
        if comm.rank == 0:
            work()
    finally:
        everybody = comm.Ibarrier()
        while not everybody.Test():
            time.sleep(0.05)
