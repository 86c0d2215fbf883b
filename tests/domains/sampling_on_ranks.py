"""Samplers, flows and observables on a lattice that is cut over the processes of ``mpirun``, against the whole: bit for bit.

Arguments: the grid, the fold, the back end and the names of checks (default: all).
"""

import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np
from mpi4py import MPI

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cases.ranks import first_alone
from gaugeflow.actions import ImprovedAction, ScalarAction, WilsonAction
from gaugeflow.backend import use_backend
from gaugeflow.domains import cut, processes
from gaugeflow.ensembles import SmearedForces
from gaugeflow.flows import ResidualSweep, SmearedSweep, Smearing
from gaugeflow.flows.gauge.convolution import Convolution
from gaugeflow.lattice import Box, Lattice
from gaugeflow.observables import (
    LinkObservable,
    ape,
    flow_history,
    flow_slices,
    flow_time_where,
    glueball_correlator,
    plaquette,
    polyakov_loop,
    wilson_loops,
)
from gaugeflow.random import Rng, haar_links, momenta, normal
from gaugeflow.samplers import (
    HMC,
    Exchange,
    HeatBath,
    Level,
    LinkMetropolis,
    Replica,
    ReplicaExchange,
    ScalarMetropolis,
    run,
)

SHAPE = (8, 4, 4, 4)
RNG = Rng(2718)
BETA = 5.7
BATCH = 8
"""Full registers: kernels that other tests compile anyway."""


def start(lattice, sweeps=2):
    sampler = HeatBath(lattice, BETA, n_overrelax=1)
    state = sampler.hot(RNG.stream("start"), 3, BATCH)
    for step in range(sweeps):
        state, info = sampler.step(RNG.at(step), state)
    return state.x, info.plaquette


def heat_bath(lattice):
    return start(lattice)


def metropolis(lattice):
    sampler = LinkMetropolis(lattice, BETA, hits=2)
    state, info = sampler.step(RNG, sampler.init(start(lattice, 1)[0]))
    scalars = ScalarMetropolis(ScalarAction(lattice, 1.0, 0.5))
    moved, also = scalars.step(RNG, scalars.init(normal(RNG, lattice, 1, BATCH)[0]))
    return state.x, info.acceptance, moved.x, also.acceptance


def hybrid(lattice, action):
    sampler = HMC(lattice, (Level(action, 4),), length=0.5)
    state, info = sampler.step(RNG, sampler.init(start(lattice, 1)[0]))
    return state.x, info.delta_h, info.probability


def hmc_wilson(lattice):
    return hybrid(lattice, WilsonAction(lattice, BETA))


def hmc_improved(lattice):
    return hybrid(lattice, ImprovedAction(lattice, 4.0))


def flow_checks(lattice, flow, params):
    x, _ = start(lattice, 1)
    y, log_det = flow.forward(params, x)
    y_bar = momenta(RNG.stream("bar"), lattice, 3, BATCH)
    bars, x_bar = flow.vjp(params, x, y, y_bar, np.linspace(0.3, -0.7, BATCH))
    back, minus_log_det = flow.inverse(params, y)
    return y, log_det, *bars.values(), x_bar, back, minus_log_det


def residual_flow(lattice):
    flow = ResidualSweep(lattice, 3, (Convolution(0), Convolution(1)), planes="anisotropic")
    return flow_checks(lattice, flow, {"delta": np.array([[-0.03, 0.02], [-0.02, -0.04]])})


def residual_region(lattice):
    """Links in a part of the lattice: a process without any takes part."""
    unfolded = Lattice(lattice.shape, domain=lattice.domain)
    flow = ResidualSweep(unfolded, 3, region=Box((1, 0, 0, 0), (2, 3, 2, 2)))
    return unfolded, flow_checks(unfolded, flow, {"delta": np.array([[-0.03]])})


def smeared_flow(lattice):
    flow = SmearedSweep(lattice, 3, Smearing((0.05, 0.05), 1, (1, 2)), masks="parity")
    return flow_checks(lattice, flow, {"delta": np.array([[-0.015], [0.005], [0.01], [-0.01], [0.01]])})


def smeared_forces(lattice):
    """Fields without masks: a vector, noisy tangents, and a finite step."""
    x, _ = start(lattice, 1)
    fields, c = SmearedForces(lattice, (1,), (1,), colours=2), np.array([[0.3], [-0.2]])
    tangents = fields.tangents(RNG.stream("signs"), x, WilsonAction(lattice, BETA).grad(x))
    return fields.vector(c, x), tangents, *fields.transported(RNG.stream("signs"), c, x, 0.02)


def gradient_flow(lattice):
    x, _ = start(lattice)
    history = flow_history(lattice, x, (0.1, 0.2), step=0.05, flow="zeuthen", charges=("plaquette", "five-loop"))
    slices = flow_slices(lattice, x, (0.1,), step=0.05)
    t2_e = [float((t**2 * (a + b)).mean()) for t, a, b in zip(*history[:3], strict=True)]
    t_0 = flow_time_where(t2_e, history.t, sum(t2_e) / 2)
    return np.array(t_0), *(value for value in history if isinstance(value, np.ndarray)), *slices[1:]


def observables(lattice):
    x, _ = start(lattice)
    smeared = ape(lattice, x, 0.5, 2, spatial=True)
    loops = [polyakov_loop(lattice, x, mu) for mu in range(4)]
    return smeared, *loops, wilson_loops(lattice, smeared, 2, 3), glueball_correlator(lattice, smeared)


def replica_exchange(lattice):
    betas = (5.6, 5.7)
    replicas = tuple(Replica(WilsonAction(lattice, beta), HeatBath(lattice, beta)) for beta in betas)
    sampler = ReplicaExchange(lattice, replicas, (Exchange(ResidualSweep(lattice), {"delta": np.array([[-0.005]])}),))
    state = sampler.init((start(lattice, 1)[0], start(lattice, 2)[0]))
    for step in range(2):
        state, info = sampler.step(RNG.at(step), state)
    return *state.x, info.probability, state.walker


CHECKS = {
    f.__name__: f
    for f in (
        heat_bath,
        metropolis,
        hmc_wilson,
        hmc_improved,
        residual_flow,
        residual_region,
        smeared_flow,
        smeared_forces,
        gradient_flow,
        observables,
        replica_exchange,
    )
}


def conventional(lattice, values):
    """Fields as whole arrays."""
    for value in values:
        value = np.asarray(value)
        sites = {2: 0, 5: 1}.get(value.ndim)
        if sites is not None and value.shape[sites] == lattice.n_blocks and value.dtype.kind in "fc":
            value = lattice.unpack(value, sites)
        yield value


def results(check, lattice):
    found = check(lattice)
    return list(conventional(*(found if isinstance(found[0], Lattice) else (lattice, found))))


def chain(lattice, steps, checkpoint):
    """Records and last field of a chain of heat bath and flow, with a checkpoint at every step."""
    sampler = HMC(lattice, (Level(WilsonAction(lattice, BETA), 2),), length=0.2, tune=2)
    begin = sampler.init(haar_links(RNG, lattice, 3, BATCH))
    observe = [LinkObservable("plaquette", lattice, plaquette)]
    options = {"checkpoint": checkpoint, "checkpoint_every": 1, "progress": False}
    done = run(sampler, RNG, begin, steps, observe=observe, **options)
    return [*conventional(lattice, [done.state.x]), *(done.records[name] for name in sorted(done.records))]


def checkpoints(comm, lattice, whole):
    """A chain that changes hands; every process has a whole lattice of its own, and the first one its file."""
    expected = chain(whole, 4, None)
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder)
        shared = Path(comm.bcast(folder)) / "shared.h5"
        chain(lattice, 2, shared)
        if comm.rank == 0:
            chain(whole, 3, shared)
        comm.Barrier()
        given_back = chain(lattice, 4, shared)
        chain(whole, 1, own / "own.h5")
        alone = chain(whole, 4, own / "own.h5")
        comm.Barrier()
    return expected, (given_back, alone)


def differences(expected, found):
    return [
        f"result {k}: {int((a != b).sum())} of {a.size} differ, {abs(a - b).max():.2e}"
        if a.shape == b.shape
        else f"result {k}: shapes {a.shape} and {b.shape}"
        for k, (a, b) in enumerate(zip(expected, found, strict=True))
        if not np.array_equal(a, b)
    ]


def main(grid, fold, backend, names):
    comm = MPI.COMM_WORLD
    lattice, whole = cut(SHAPE, comm, grid, fold), Lattice(SHAPE)
    processes.empty = lambda shape, like: np.full(shape, np.nan, dtype=like.dtype)  # nan where nothing was fetched
    wrong = []
    with use_backend(backend):
        first_alone(comm, lambda: [results(CHECKS[name], whole) for name in names if name in CHECKS])
        for name in names:
            if name == "checkpoints":
                expected, found = checkpoints(comm, lattice, whole)
                wrong += [f"{name}: {line}" for other in found for line in differences(expected, other)]
            else:
                found = results(CHECKS[name], lattice)
                wrong += [f"{name}: {line}" for line in differences(results(CHECKS[name], whole), found)]
    for line in wrong:
        print(f"rank {comm.rank}: {line}", flush=True)
    if comm.allreduce(len(wrong)):
        sys.exit(1)


if __name__ == "__main__":
    numbers = [tuple(int(k) for k in a.split("x")) for a in sys.argv[1:3]]
    try:
        main(*numbers, sys.argv[3], sys.argv[4:] or [*CHECKS, "checkpoints"])
    except Exception:
        traceback.print_exc()
        MPI.COMM_WORLD.Abort(1)  # the others would wait
