"""How work on one lattice scales over processes: times, messages and bytes, and a model that predicts more of them.

    mpirun -n 2 python docs/scripts/scaling.py measure 16x16x16x16 --grid 2x1x1x1 --out two.json
    mpirun -n 2 python docs/scripts/scaling.py network --out network.json
    python docs/scripts/scaling.py predict one.json two.json network.json --surface small2.json small4.json

``measure`` times the kernels of a lattice that all processes share, or with ``--apart`` of one for each.  ``network`` times
messages between two of them.  ``predict`` fits what an exchange and a byte cost to the times of one and of two processes, takes
the bytes of faces and edges from lattices that are cut in one and in two directions, and prints the efficiency on many
processes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from gaugeflow import kernels
from gaugeflow.domains import cut, suggest_grid
from gaugeflow.flows import ResidualSweep
from gaugeflow.lattice import LANES, Lattice, suggest_fold
from gaugeflow.operators import EvenOdd, Wilson
from gaugeflow.random import Rng, haar_links, momenta, normal
from gaugeflow.solvers import cg

LATTICES = ((32, 32, 32, 32), (64, 32, 32, 32), (96, 48, 48, 48))
SIZES = (16, 64, 256, 1024)


def works(lattice: Lattice) -> dict[str, Callable[[], Any]]:
    """What is timed: one call of each."""
    rng = Rng(1)
    links = kernels.evolve(lattice, haar_links(rng, lattice, 3), momenta(rng, lattice, 3), 0.2)
    flow = ResidualSweep(lattice, 3)
    params = flow.init(rng)
    operator = EvenOdd(Wilson(lattice=lattice, kappa=0.12).with_links(links))
    numbers = normal(rng, lattice, 24)
    psi = numbers.reshape(2, 4, 3, *numbers.shape[1:])
    psi = np.moveaxis(psi[0] + 1j * psi[1], 2, 0)[lattice.sites_of_parity(1)]
    psi = np.ascontiguousarray(psi)
    key = rng.words(np)
    return {
        "plaquette": lambda: kernels.plaquette(lattice, links),
        "force": lambda: kernels.wilson_force(lattice, links, 6.0),
        "heat bath": lambda: kernels.heatbath(lattice, links, 6.0, key),
        "flow": lambda: flow.forward(params, links),
        "hop, even-odd": lambda: operator.apply(psi),
        "CG, 20 iterations": lambda: cg(operator, psi, tolerance=1e-15, max_iterations=20, strict=False),
    }


def measure(
    shape: tuple[int, ...], grid: tuple[int, ...] | None, repeats: int, fold: bool, apart: bool
) -> dict[str, Any]:
    """Times and traffic of one call of every work; the slowest process counts."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    comm = MPI.COMM_SELF if apart else world
    chosen = grid or suggest_grid(shape, comm.size)
    local = cut(shape, comm, chosen).local_shape
    uncut = [n if p == 1 else 2 for n, p in zip(local, chosen, strict=True)]  # whole rows travel where no fold is cut
    lattice = cut(shape, comm, chosen, suggest_fold(uncut, LANES["cpu"]) if fold else None)
    domain: Any = lattice.domain
    rows = {}
    for name, work in works(lattice).items():
        work()
        domain.traffic.reset()
        work()
        traffic = domain.traffic
        counts = [traffic.exchanges, traffic.messages, traffic.bytes]
        seconds = []
        for _ in range(repeats):
            world.Barrier()
            start = time.perf_counter()
            work()
            seconds.append(world.allreduce(time.perf_counter() - start, op=MPI.MAX))
        largest = [comm.allreduce(n, op=MPI.MAX) for n in counts]
        rows[name] = {
            "seconds": statistics.median(seconds),
            "fastest": min(seconds),
            **dict(zip(("exchanges", "messages", "bytes"), largest, strict=True)),
        }
    return {"shape": shape, "grid": chosen, "fold": lattice.fold, "local": local, "rows": rows}


def network(repeats: int) -> dict[str, float]:
    """Latency and bandwidth of exchanges between two processes, and of a reduction."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    other = comm.rank ^ 1
    found = {}
    for size in (1 << 10, 1 << 22):
        given, taken = np.ones(size, np.uint8), np.empty(size, np.uint8)
        best = math.inf
        for _ in range(repeats):
            comm.Barrier()
            start = time.perf_counter()
            requests = [comm.Irecv(taken, source=other), comm.Isend(given, dest=other)]
            MPI.Request.Waitall(requests)
            best = min(best, time.perf_counter() - start)
        found[size] = best
    small, large = found[1 << 10], found[1 << 22]
    return {"latency": small, "seconds_per_byte": (large - small) / (1 << 22)}


def surface(first: dict[str, Any], second: dict[str, Any], name: str) -> tuple[float, float, float, float]:
    """Bytes and messages of a work for a site of a face, and for a site of an edge where two cuts meet.

    ``first`` is cut in one direction and ``second`` in two.
    """

    def faces(found: dict[str, Any]) -> float:
        return 2.0 * sum(
            math.prod(found["local"]) / n for n, p in zip(found["local"], found["grid"], strict=True) if p > 1
        )

    a = first["rows"][name]["bytes"] / faces(first)
    edges = 0.0
    for m, n in itertools.combinations(range(len(second["local"])), 2):
        if second["grid"][m] > 1 and second["grid"][n] > 1:
            edges += 4.0 * math.prod(second["local"]) / (second["local"][m] * second["local"][n])
    b = (second["rows"][name]["bytes"] - a * faces(second)) / edges
    exchanges = first["rows"][name]["exchanges"]
    corners = second["rows"][name]["messages"] > 2 * exchanges  # two processes of a direction are one neighbour
    return a, max(0.0, b), exchanges, float(corners)


def fit(one: dict[str, Any], two: dict[str, Any]) -> tuple[float, float]:
    """Seconds of an exchange, and of a byte in it, packing included: what two processes take beyond half of the time of one."""
    columns, extra = [], []
    for name, row in two["rows"].items():
        half = one["rows"][name]["fastest"] / 2.0
        columns.append([row["exchanges"] / half, row["bytes"] / half])
        extra.append(row["fastest"] / half - 1.0)
    found, _ = nnls(np.array(columns), np.array(extra))
    return float(found[0]), float(found[1])


def predict(
    one: dict[str, Any],
    two: dict[str, Any],
    net: dict[str, float],
    cuts: list[dict[str, Any]],
    reductions: dict[str, int],
) -> list[dict[str, Any]]:
    """Efficiency of every work on lattices over many processes, one core each."""
    rows = []
    per_exchange, per_byte = fit(one, two)
    sites = math.prod(one["local"])
    for shape, size in itertools.product(LATTICES, SIZES):
        try:
            grid = suggest_grid(shape, size)
        except ValueError:
            continue
        local = [n // p for n, p in zip(shape, grid, strict=True)]
        volume = math.prod(local)
        directions = [m for m, p in enumerate(grid) if p > 1]
        faces = 2.0 * sum(volume / local[m] for m in directions)
        edges = sum(4.0 * volume / (local[m] * local[n]) for m, n in itertools.combinations(directions, 2))
        for name, row in one["rows"].items():
            a, b, exchanges, corners = surface(*cuts, name)
            d = len(directions)
            messages = exchanges * (2 * d + corners * 2 * d * (d - 1))
            work = row["fastest"] * volume / sites
            latency = (
                exchanges * per_exchange
                + messages * net["latency"]
                + reductions.get(name, 0) * 2 * net["latency"] * math.log2(size)
            )
            transfer = (a * faces + b * edges) * per_byte
            rows.append(
                {
                    "lattice": shape,
                    "processes": size,
                    "grid": grid,
                    "local": local,
                    "work": name,
                    "efficiency": work / (work + latency + transfer),
                    "latency": latency / (work + latency + transfer),
                    "transfer": transfer / (work + latency + transfer),
                }
            )
    return rows


REDUCTIONS = {"plaquette": 1, "flow": 16, "CG, 20 iterations": 40}
"""Sums over sites in one call; each takes two reductions, of the largest number and of the digits."""


def extents(text: str) -> tuple[int, ...]:
    """Numbers joined by x."""
    return tuple(int(n) for n in text.split("x"))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = options.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("shape", type=extents)
    measuring.add_argument("--grid", type=extents)
    measuring.add_argument("--repeats", type=int, default=7)
    measuring.add_argument("--no-fold", action="store_true")
    measuring.add_argument("--apart", action="store_true", help="a lattice for every process, at the same time")
    measuring.add_argument("--out", type=Path)
    networking = commands.add_parser("network")
    networking.add_argument("--repeats", type=int, default=200)
    networking.add_argument("--out", type=Path)
    predicting = commands.add_parser("predict")
    predicting.add_argument("one", type=Path)
    predicting.add_argument("two", type=Path)
    predicting.add_argument("network", type=Path)
    predicting.add_argument("--surface", type=Path, nargs=2, required=True)
    given = options.parse_args()
    if given.command == "predict":
        paths = (given.one, given.two, given.network, *given.surface)
        one, two, net, *cuts = (json.loads(p.read_text()) for p in paths)
        per_exchange, per_byte = fit(one, two)
        print(f"an exchange {1e6 * per_exchange:.0f} us, a byte {1e9 * per_byte:.2f} ns\n")
        print("| lattice | processes | part | work | efficiency | latency | transfer |\n|---|---|---|---|---|---|---|")
        for row in predict(one, two, net, cuts, REDUCTIONS):
            names = ["x".join(map(str, row[key])) for key in ("lattice", "local")]
            shares = " | ".join(f"{row[key]:.2f}" for key in ("efficiency", "latency", "transfer"))
            print(f"| {names[0]} | {row['processes']} | {names[1]} | {row['work']} | {shares} |")
        return
    from mpi4py import MPI

    if given.command == "measure":
        found = measure(given.shape, given.grid, given.repeats, not given.no_fold, given.apart)
    else:
        found = network(given.repeats)
    if MPI.COMM_WORLD.rank == 0:
        text = json.dumps(found, indent=1)
        print(text)
        if given.out is not None:
            given.out.write_text(text)


if __name__ == "__main__":
    main()
