"""What one process finds out is known to all: classes of sites, errors."""

import sys

import numpy as np
from mpi4py import MPI

from gaugeflow.backend import use_backend
from gaugeflow.domains import cut
from gaugeflow.flows import HoppingSeries
from gaugeflow.groups import SU
from gaugeflow.kernels.fermions import BOTH
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Wilson
from gaugeflow.random import Rng, haar_links


def traces(comm):
    """Traces of a hopping series: its probes hold sites of many processes."""
    found = []
    for lattice in (cut((8, 8), comm, (comm.size, 1)), Lattice((8, 8))):
        series = HoppingSeries(Wilson(lattice=lattice, kappa=0.2), order=4)
        found.append(series.traces(haar_links(Rng(1), lattice, 1)))
    return np.array_equal(*found)


def error(comm):
    """A clover block of determinant below zero on one process is an error of all."""
    lattice = cut((8, 4), comm, (comm.size, 1))
    links = SU(lattice).identity(haar_links(Rng(1), lattice, 1))
    if comm.rank == comm.size - 1:
        angles = np.where(lattice.coordinates[0, :, 0] == 6, 0.9 * np.arange(lattice.n_blocks) ** 2, 0.0)
        links = links * np.exp(1j * angles)[None, :, None, None, None]
    try:
        Clover(lattice=lattice, kappa=0.25, csw=40.0).with_links(links).diagonal_log_det(BOTH)
    except ValueError:
        return True
    return False


if __name__ == "__main__":
    world = MPI.COMM_WORLD
    with use_backend("reference"):
        passed = {check.__name__: world.allgather(check(world)) for check in (traces, error)}
    if world.rank == 0:
        print(passed)
    sys.exit(0 if all(all(found) for found in passed.values()) else 1)
