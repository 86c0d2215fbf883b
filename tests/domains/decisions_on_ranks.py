"""What one process finds out is known to all: classes of sites, errors."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mpi4py import MPI

from gaugeflow.actions import WilsonAction
from gaugeflow.backend import use_backend
from gaugeflow.domains import cut
from gaugeflow.ensembles import MemoryEnsemble
from gaugeflow.flows import HoppingSeries, ResidualSweep
from gaugeflow.groups import SU
from gaugeflow.kernels.fermions import BOTH
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Wilson
from gaugeflow.random import Rng, haar_links
from gaugeflow.training import Adam, loop, reverse_kl


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


def training(comm):
    """One process alone keeps the checkpoint of a training, and a resumed one goes on everywhere."""
    lattice = cut((4, 4), comm, (2, comm.size // 2))
    flow, first, last = ResidualSweep(lattice, 1), WilsonAction(lattice, 1.0), WilsonAction(lattice, 1.2)
    ensemble = MemoryEnsemble(lattice, (haar_links(Rng(2), lattice, 1, batch=8),))
    written, save = [], loop._save
    loop._save = lambda *arguments: (written.append(1), save(*arguments))
    with TemporaryDirectory() as folder:
        file = Path(comm.bcast(folder)) / "training.h5"
        for steps in (1, 2):
            options = {
                "loss": reverse_kl,
                "optimiser": Adam(lambda step: 0.01),
                "evaluate_every": 1,
                "checkpoint": file,
            }
            trained = loop.train(flow, flow.init(), first, last, ensemble, ensemble, steps=steps, batch=8, **options)
        comm.Barrier()
    return len(written) == (3 if comm.rank == 0 else 0) and trained.history.step == [0, 1, 2]


if __name__ == "__main__":
    world = MPI.COMM_WORLD
    with use_backend("reference"):
        passed = {check.__name__: world.allgather(check(world)) for check in (traces, error, training)}
    if world.rank == 0:
        print(passed)
    sys.exit(0 if all(all(found) for found in passed.values()) else 1)
