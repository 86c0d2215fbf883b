"""Items of arrays that travel between processes: as MPI takes them from memory, and by the buffers of a device."""

import numpy as np
from mpi4py import MPI

from gaugeflow.domains.exchange import Plan, Traffic

ROWS, WANTED = 14, 20


def field(rank, groups, rows, folds):
    shape = groups, rows, 3, folds, 2
    return 1000.0 * rank + np.arange(np.prod(shape), dtype=float).reshape(shape)


def moved(comm, groups, folds, consecutive, way):
    """Own items after two exchanges, those that were expected, the traffic, and the bytes that one of them sends."""
    rng = np.random.default_rng(100 * folds + comm.rank)
    owners = np.sort(rng.integers(comm.size, size=WANTED)) if consecutive else rng.integers(comm.size, size=WANTED)
    items = np.arange(WANTED) % (ROWS * folds) if consecutive else rng.integers(ROWS * folds, size=WANTED)
    places = np.arange(WANTED) if consecutive else rng.permutation(40 * folds)[:WANTED]
    plan = Plan(comm, owners, items, None if consecutive else places, direct=way == "direct")
    target, traffic = np.full((groups, 40, 3, folds, 2), -1.0), Traffic()
    move = plan.move if way == "host" else plan._move_on_device
    for _ in range(2):  # descriptions of memory are used again
        move(field(comm.rank, groups, ROWS, folds), target, traffic)
    expected = np.full_like(target, -1.0)
    for owner, item, place in zip(owners, items, places, strict=True):
        given = field(int(owner), groups, ROWS, folds)[:, item // folds, :, item % folds]
        expected[:, place // folds, :, place % folds] = given
    others = sum(len(codes) for rank, codes in plan.gives.items() if way == "host" or rank != comm.rank)
    return target, expected, traffic, others * groups * 3 * 2 * target.itemsize


def main():
    comm = MPI.COMM_WORLD
    for groups, folds, consecutive in [
        (1, 1, True),
        (2, 1, True),
        (1, 1, False),
        (3, 1, False),
        (1, 4, False),
        (2, 4, False),
    ]:
        for way in ("host", "direct", "staged"):
            found, expected, traffic, sent = moved(comm, groups, folds, consecutive, way)
            assert np.array_equal(found, expected), (groups, folds, consecutive, way)
            assert traffic.exchanges == 2
            assert comm.allreduce(traffic.bytes) == 2 * comm.allreduce(sent)
    print("ok")


main()
