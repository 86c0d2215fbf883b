"""How this process was started: alone, or as one of many by ``mpirun``, ``mpiexec`` or ``srun``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

_VARIABLES = (
    ("mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("mpiexec", "PMI_SIZE", "PMI_RANK"),
    ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)
"""Launchers, and the variables in which they say how many processes they started and which one this is."""


class Launch(NamedTuple):
    """What a launcher says: its name, how many processes it started, and the number of this one."""

    by: str
    size: int
    rank: int


def launch(environment: Mapping[str, str] | None = None) -> Launch | None:
    """How this process was started together with others; None where it was not.

    Parameters
    ----------
    environment
        Variables (default: those of the process).
    """
    found = os.environ if environment is None else environment
    for by, size, rank in _VARIABLES:
        if found.get(size, "").isdecimal() and found.get(rank, "").isdecimal() and int(found[size]) > 1:
            return Launch(by, int(found[size]), int(found[rank]))
    return None


def connect(start: Launch) -> tuple[Any, str]:
    """The communicator of all processes, or None and the reason why they cannot speak to each other."""
    others = f"{start.by} started {start.size} processes"
    try:
        from mpi4py import MPI
    except ImportError as error:
        return None, f"{others}, and mpi4py cannot be imported ({error}): pip install 'gaugeflow[mpi]'"
    comm = MPI.COMM_WORLD
    if comm.size != start.size:
        library = MPI.Get_library_version().split(",")[0].strip("\0 \n")
        return None, (
            f"{others}, and the MPI library of mpi4py ({library}) knows of {comm.size}: use the launcher of this library"
        )
    return comm, ""


def own_cores() -> frozenset[int]:
    """Cores on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def share_of_cores(sharing: int = 1, environment: Mapping[str, str] | None = None) -> int | None:
    """Threads for this process; None where neither a batch system nor a launcher limits them, or the user has chosen.

    Parameters
    ----------
    sharing
        Number of processes, this one included, that may run on the same cores.
    environment
        Variables (default: those of the process).  ``SLURM_CPUS_PER_TASK`` are the cores of a task.
    """
    found = os.environ if environment is None else environment
    given = found.get("SLURM_CPUS_PER_TASK", "")
    if "NUMBA_NUM_THREADS" in found or (sharing == 1 and not given.isdecimal()):
        return None
    allowed = len(own_cores())
    return max(1, min(int(given), allowed) if given.isdecimal() else allowed // sharing)
