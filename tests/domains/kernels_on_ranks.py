"""Every kernel on a lattice that is cut over the processes of ``mpirun``, against the whole lattice: bit for bit.

Arguments: the grid, the fold and the names of kernels (default: all).
"""

import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cases.kernels import KERNELS, Case
from cases.ranks import first_alone
from gaugeflow.backend import kernels, use_backend
from gaugeflow.domains import cut, processes
from gaugeflow.lattice import Lattice

SHAPE = (8, 4, 4, 4)
LOCAL = {"digit_sums"}
"""Kernels whose results belong to one process."""
ROUNDED = {"convolve_features_vjp"}
"""Kernels whose sums are exact over processes, but not within one."""


def poison():
    """Layers hold nan where nothing was fetched."""
    processes.empty = lambda shape, like: np.full(shape, np.nan, dtype=like.dtype)


def result(name, lattice, n, dtype, batch):
    found = kernels[name](lattice, *KERNELS[name](Case(lattice, n, batch, dtype)))
    return found if isinstance(found, tuple) else (found,)


def own(lattice, whole, value, like):
    """The part of this process of a result on the whole lattice."""
    if value.shape == like.shape:
        return value  # one number per configuration
    for axis, n in enumerate(value.shape[:-1]):
        for count, sites in rows(whole, lattice):
            if n == count and like.shape[axis] == len(sites):
                lanes = lattice.n_folds
                x = np.take(value, sites.reshape(-1), axis=axis).reshape(
                    *value.shape[:axis], *sites.shape, *value.shape[axis + 1 :]
                )
                x = np.moveaxis(x, axis + 1, -2)
                return x.reshape(*x.shape[:-2], lanes * x.shape[-1])
    raise AssertionError(f"no axis of sites in {value.shape}, expected {like.shape}")


def rows(whole, lattice):
    """For all sites, and those of each mask: their number on the whole lattice, and the row there of every slot here."""
    every = lattice.site
    yield whole.n_blocks, every
    for number in range(3):
        mask = (whole.active_sites(1, 0), whole.sites_of_parity(0), whole.sites_of_parity(1))[number]
        here = (lattice.active_sites(1, 0), lattice.sites_of_parity(0), lattice.sites_of_parity(1))[number]
        place = np.full(whole.n_blocks, -1)
        place[mask] = np.arange(len(mask))
        yield len(mask), place[every[here]]


def main(grid, fold, names, backend):
    comm = MPI.COMM_WORLD
    lattice, whole = cut(SHAPE, comm, grid, fold), Lattice(SHAPE)
    poison()
    batch = 8 if backend == "numba" else 2  # full registers on whole lattices, too: nothing else compiles
    wrong = []
    kinds = ((3, np.complex128), (1, np.complex64))[: 2 if backend == "reference" else 1]
    with use_backend(backend):
        if backend == "numba":
            first_alone(comm, lambda: [result(name, whole, *kind, batch) for name in names for kind in kinds])
        for name in names:
            for n, dtype in kinds:
                expected = result(name, whole, n, dtype, batch)
                try:
                    found = result(name, lattice, n, dtype, batch)
                except Exception as error:
                    wrong.append(f"{name}: {type(error).__name__}: {error}")
                    continue
                for k, (a, b) in enumerate(zip(found, expected, strict=True)):
                    b = own(lattice, whole, b, a)
                    close = 1e3 * np.finfo(b.dtype).eps * abs(b).max() if name in ROUNDED else 0.0
                    if a.dtype != b.dtype or not (abs(a - b) <= close).all():
                        wrong.append(
                            f"{name} {n} result {k}: {int((a != b).sum())} of {a.size} differ, {abs(a - b).max():.2e}"
                        )
    for line in wrong:
        print(f"rank {comm.rank}: {line}", flush=True)
    if comm.allreduce(len(wrong)):
        sys.exit(1)


if __name__ == "__main__":
    numbers = [tuple(int(k) for k in a.split("x")) for a in sys.argv[1:3]]
    main(*numbers, sys.argv[4:] or sorted(KERNELS.keys() - LOCAL), sys.argv[3])
