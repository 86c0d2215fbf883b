"""How tests start programs on many processes."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

MPIRUN = shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
MISSING = MPIRUN is None or importlib.util.find_spec("mpi4py") is None
WHY = "needs mpirun and mpi4py: gaugeflow[mpi]"


def launcher():
    """Beginning of a command that starts programs, each after ``-n``; skips the test where there is no MPI."""
    if MISSING:
        pytest.skip(WHY)
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return [MPIRUN, *root, "--oversubscribe"]


def mpirun(processes):
    """Beginning of a command that starts a program on so many processes."""
    return [*launcher(), "-n", str(processes)]


def finish(process, seconds):
    """What a started program prints, and its errors; one that takes longer says where it is, and all of it is ended."""
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGUSR1)  # mpirun passes it on to all
        time.sleep(3)
        process.terminate()
    try:
        out, error = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    raise AssertionError(f"not done after {seconds} s: {process.args}\n{out}\n{error}")


def start(command, **environment):
    """A started program, with variables of the environment besides those of this process."""
    variables = {**os.environ, **environment}
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def on_ranks(processes, program, *arguments, seconds=900, **environment):
    """Run a Python program under mpirun; what it prints, and everything where it fails."""
    watched = Path(__file__).with_name("watched.py")
    process = start([*mpirun(processes), sys.executable, watched, program, *arguments], **environment)
    out, error = finish(process, seconds)
    assert process.returncode == 0, out[-8000:] + error[-8000:]
    return out


def first_alone(comm, work):
    """Compiled code is kept on disk: the first process makes it while the others sleep, where MPI would have them poll."""
    try:
        if comm.rank == 0:
            work()
    finally:
        everybody = comm.Ibarrier()
        while not everybody.Test():
            time.sleep(0.05)
