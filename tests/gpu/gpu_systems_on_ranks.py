"""Samplers, solvers and flows on device arrays and a lattice that two processes of ``mpirun`` share: the bits of the whole one.

Argument: ``direct`` or ``staged``, whether MPI gets addresses of the stand-in's memory or copies on the host.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent / "simulated"))

import cupy
import numpy as np
from mpi4py import MPI

import conftest  # noqa: F401  (how the simulator sees arrays)
from cases.fields import links
from gaugeflow import solvers
from gaugeflow.actions import WilsonAction
from gaugeflow.backend import use_backend
from gaugeflow.domains import cut
from gaugeflow.flows import ResidualSweep
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Wilson, even_odd, gaussian
from gaugeflow.random import Rng
from gaugeflow.samplers import HMC, HeatBath, Level

SHAPE, GRID = (4, 4), (2, 1)


def heat_bath(lattice):
    sampler = HeatBath(lattice, 2.0, n_overrelax=1)
    state, info = sampler.step(Rng(2), sampler.hot(Rng(1), 2, 2))
    return state.x, info.plaquette


def hybrid(lattice):
    sampler = HMC(lattice, (Level(WilsonAction(lattice, 2.0), 2),), length=0.3)
    state, info = sampler.step(Rng(3), sampler.init(heat_bath(lattice)[0]))
    return state.x, info.delta_h


def wilson(lattice):
    operator = Wilson(lattice=lattice, links=cupy.asarray(links(lattice, 2, 2)), kappa=0.1)
    schur = even_odd(operator)
    found = solvers.cg(schur, gaussian(Rng(5), schur))
    left, right = gaussian(Rng(6), operator), gaussian(Rng(7), operator)
    solution = solvers.solve(operator, left, tolerance=1e-8).x
    return found.x, found.residual, found.iterations, operator.force(left, right), solution


def clover(lattice):
    operator = Clover(lattice=lattice, links=cupy.asarray(links(lattice, 2, 2)), mass=0.3, csw=1.2)
    schur = even_odd(operator)
    odd = gaussian(Rng(5), schur)
    return schur.apply(odd), schur.force(odd, odd), schur.log_det_rest()


def flow(lattice):
    sweep = ResidualSweep(lattice)
    params = sweep.init(Rng(4))
    moved, log_det = sweep.forward(params, cupy.asarray(links(lattice, 2, 2)))[:2]
    return moved, log_det, sweep.inverse(params, moved)[0]


def part(value, like, rank):
    """The part of a process: its sites, or those of a parity, are the first or the second half."""
    for axis, n in enumerate(value.shape):
        if n == 2 * like.shape[axis]:
            value = np.take(value, np.arange(n // 2) + rank * (n // 2), axis=axis)
    return value


def main(way):
    comm = MPI.COMM_WORLD
    whole, lattice = Lattice(SHAPE), cut(SHAPE, comm, GRID, device_memory=way == "direct")
    wrong = []
    with use_backend("cupy"):
        for check in (heat_bath, hybrid, wilson, clover, flow):
            for k, (a, b) in enumerate(zip(check(whole), check(lattice), strict=True)):
                if not np.array_equal(part(a.get(), b, comm.rank), b.get()):
                    wrong.append(f"rank {comm.rank}: {check.__name__} result {k} differs")
    print("\n".join(wrong), flush=True)
    sys.exit(comm.allreduce(len(wrong)) > 0)


if __name__ == "__main__":
    main(sys.argv[1])
