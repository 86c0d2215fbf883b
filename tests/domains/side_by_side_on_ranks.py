"""Replicas, right-hand sides and other pieces of work on processes side by side: the bits of one process."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cases.fields import ordered
from gaugeflow import hadrons
from gaugeflow.actions import WilsonAction
from gaugeflow.domains import cut, deal
from gaugeflow.flows import ResidualSweep
from gaugeflow.lattice import Lattice
from gaugeflow.observables import plaquette
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng
from gaugeflow.samplers import Exchange, HeatBath, OnReplicas, Replica, ReplicaExchange
from gaugeflow.samplers import run as run_chain

SHAPE = (8, 4)
BETAS = (1.0, 1.3, 1.6, 1.9)
WORLD = MPI.COMM_WORLD


class Plaquette:
    """Mean over planes."""

    name = "plaquette"

    def __init__(self, lattice):
        self.lattice = lattice

    def __call__(self, x):
        return plaquette(self.lattice, x)


def chain(lattice, comm, steps, checkpoint=None):
    """A replica exchange with flows: records, and the fields of the whole lattice."""
    flow = ResidualSweep(lattice, 1)
    replicas = tuple(Replica(WilsonAction(lattice, beta), HeatBath(lattice, beta)) for beta in BETAS)
    exchanges = (Exchange(flow, {"delta": np.full(flow.shape, 0.1)}), None, None)
    sampler = ReplicaExchange(lattice, replicas, exchanges, local_steps=2, comm=comm)
    rng = Rng(7)
    start = sampler.init(tuple(r.sampler.hot(rng.stream("start").stream(i), 1, 8).x for i, r in enumerate(replicas)))
    observe = (OnReplicas(Plaquette(lattice), comm),)
    found = run_chain(sampler, rng, start, steps, observe=observe, progress=False, checkpoint=checkpoint)
    return found.records, [lattice.unpack(x, components=1) for x in found.state.x]


def same(a, b):
    assert a[0].keys() == b[0].keys()
    for name, values in a[0].items():
        assert np.array_equal(values, b[0][name]), name
    for x, y in zip(a[1], b[1], strict=True):
        assert np.array_equal(x, y)


def check_replicas(folder):
    """On all processes, on teams that cut the lattice, and continued by one process."""
    expected = chain(Lattice(SHAPE), None, 6)
    same(chain(Lattice(SHAPE), WORLD, 6), expected)
    team = WORLD.Split(color=WORLD.rank // 2, key=WORLD.rank)
    across = WORLD.Split(color=WORLD.rank % 2, key=WORLD.rank)
    file = folder / "exchange.h5"
    chain(cut(SHAPE, team, (2, 1)), across, 3, file)
    found = chain(Lattice(SHAPE), None, 6, file) if WORLD.rank == 0 else None
    if WORLD.rank == 0:
        same(found, expected)


def check_right_hand_sides():
    """Propagators of twelve fields, solved by four processes; and of more processes than fields."""
    lattice = Lattice((4, 4))
    operator = Wilson(lattice=lattice, kappa=0.15).with_links(ordered(lattice, 1, 8))
    source = hadrons.point(operator, (1, 2))
    one, many = (hadrons.propagator(operator, source, comm=comm) for comm in (None, WORLD))
    for name in ("field", "iterations", "residual"):
        assert np.array_equal(getattr(one, name), getattr(many, name)), name


def check_errors():
    """An error of one piece is an error of all: that of the first piece."""

    def work(i):
        if i in (1, 6):
            raise ValueError(f"piece {i}")
        return np.arange(i)

    with pytest.raises(ValueError, match=r"^piece 1$"):
        deal(WORLD, 9, work)
    assert [len(piece) for piece in deal(WORLD, 9, np.arange)] == list(range(9))


def check_messages_of_the_caller():
    """A message of the caller with the tag of the library does not meet its own, and everything is freed in the end."""
    comm = WORLD.Dup()
    lattice = cut(SHAPE, comm, (4, 1))
    assert lattice.domain.comm != comm
    assert cut(SHAPE, comm, (2, 2)).domain.comm == lattice.domain.comm
    assert cut(SHAPE, lattice.domain.comm, (4, 1)).domain.comm == lattice.domain.comm
    other, given, taken = (comm.rank + 1) % 4, np.ones(3), np.empty(3)
    request = comm.Irecv(taken, tag=71)
    links = ordered(lattice, 1, 8)
    mean = np.mean(plaquette(lattice, links))
    comm.Send(given, dest=other, tag=71)
    request.Wait()
    assert np.array_equal(taken, given)
    assert mean == np.mean(plaquette(Lattice(SHAPE), ordered(Lattice(SHAPE), 1, 8)))
    comm.Free()


def main():
    check_messages_of_the_caller()
    check_errors()
    check_right_hand_sides()
    with tempfile.TemporaryDirectory() as folder:
        check_replicas(Path(WORLD.bcast(folder)))
        WORLD.Barrier()


main()
