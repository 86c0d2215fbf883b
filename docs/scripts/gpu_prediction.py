"""What compiled GPU kernels promise: occupancy from registers, and the time that memory or arithmetic allow at best.

Nothing here is measured: registers are those of ``tests/gpu/compiled/registers.json``, operations and least traffic are
counted as ``gaugeflow bench`` counts them, and rates of cards are their makers'.  Kernels of fermions are counted for one
field on all sites; a product with i costs nothing.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from gaugeflow import bench
from gaugeflow.backend import kernels, use_backend
from gaugeflow.lattice import Lattice
from gaugeflow.sites import dirac

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from cases.kernels import Case

TABLE = Path(__file__).parents[2] / "tests/gpu/compiled/registers.json"
CARDS = {
    # architecture, GB/s of memory, TF/s of double-precision multiply-adds without tensor cores
    "A100 80 GB": ("sm_80", 2039.0, 9.7),
    "H100 SXM": ("sm_90", 3350.0, 33.5),
}
REGISTERS, THREADS, BLOCK = 65536, 2048, 128
"""Registers and threads of a multiprocessor, threads of a block: the same for both cards."""
DRIVERS = {
    "plaquette": "gauge._plaquette",
    "wilson_force": "gauge._wilson_force",
    "evolve": "gauge._evolve",
    "smear": "smear._smear",
    "path_sum": "residual._path_sum",
    "residual_update": "residual._residual_update",
    "residual_update_vjp": "residual._residual_update_vjp",
    "wilson_hop": "dirac._wilson_hop",
    "clover_hop": "dirac._clover_hop",
    "blocks_times": "dirac._blocks_times",
    "hop_force": "dirac._hop_force",
    "staggered_hop": "dirac._staggered_hop",
    "staggered_force": "dirac._staggered_force",
    "clover_blocks": "clover_term._strength, clover_term._blocks",
    "clover_tensor": "clover_term._tensor",
    "clover_gradient": "clover_term._gradient",
    "fermion_dot": "fermions._dot",
    "fermion_combine": "fermions._combine",
}
"""The compiled functions of a kernel."""
PLANES = (0.1,) * 6
FERMIONS = {
    "wilson_hop": lambda c: (c.links, c.fermions(), c.factors, 1, -1, -0.1, c.fermions(seed=1), 1.0),
    "clover_hop": lambda c: (c.links, c.fermions(), c.factors, 1, -1, -0.1, c.fermions(seed=1), 1.0, c.blocks),
    "blocks_times": lambda c: (c.fermions(), c.blocks, -1, 0.1),
    "hop_force": lambda c: (c.links, c.fermions(), c.fermions(seed=1), c.factors, 0.1),
    "staggered_hop": lambda c: (c.links, c.fermions(spin=1), c.factors, -1, 0.5, c.fermions(spin=1, seed=1), 0.1),
    "staggered_force": lambda c: (c.links, c.fermions(spin=1), c.fermions(spin=1, seed=1), c.factors, 0.1),
    "clover_blocks": lambda c: (c.links, 1.0, PLANES),
    "clover_tensor": lambda c: (c.fermions(), c.fermions(seed=1), PLANES),
    "clover_gradient": lambda c: (c.links, c.tensor),
    "fermion_dot": lambda c: (c.fermions(), c.fermions(seed=1)),
    "fermion_combine": lambda c: (c.fermions(), 1.0, c.fermions(seed=1), c.weights(1)[0]),
}
"""Arguments of kernels that ``gaugeflow bench`` does not time."""


def occupancy(registers):
    """Share of a multiprocessor's threads that fit at once: registers are given to a warp in units of 256."""
    blocks = REGISTERS // (-(-registers // 8) * 8 * BLOCK)
    return min(1.0, blocks * BLOCK / THREADS)


def traffic_per_site(kernel, lattice):
    """Bytes for each lattice site if every argument is read once and every result written once."""
    with use_backend("reference"):
        if kernel in FERMIONS:
            arguments = FERMIONS[kernel](Case(lattice, 3, 1))
        else:
            arguments = bench.CASES[kernel].arguments(lattice, *bench.fields(lattice, 3, 1))
        results = kernels[kernel](lattice, *arguments)
    return sum(array.nbytes for array in bench._arrays((*arguments, results))) / lattice.volume


def operations_per_site(kernel, lattice):
    """Floating-point operations of the reference for each lattice site; a fused multiply-add is two."""
    if kernel not in FERMIONS:
        return bench.operations_per_site(kernel, 4, 3)
    counting = type("Counting", (bench._Counting,), {})
    with use_backend("reference"):
        arguments = FERMIONS[kernel](Case(lattice, 3, 1))
        kernels[kernel](lattice, *(a.view(counting) if isinstance(a, np.ndarray) else a for a in arguments))
    return counting.operations / lattice.volume


def _times_i(z):
    return (bench._plain(z) * 1j).view(type(z))


def main():
    dirac._SCOPE["times_i"] = _times_i  # before the first formula is made
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extent", type=int, default=32, help="extent of the hypercubic lattice")
    volume = parser.parse_args().extent ** 4
    table = json.loads(TABLE.read_text())["SU(3)"]
    print(
        "| kernel | card | registers | spills + local, bytes | occupancy | bytes a site | flop a site | at best, ms | limit |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for kernel, driver in DRIVERS.items():
        lattice = Lattice((2, 2, 2, 2))
        traffic, operations = traffic_per_site(kernel, lattice), operations_per_site(kernel, lattice)
        for card, (architecture, bandwidth, rate) in CARDS.items():
            rows = [table[name]["double"][architecture] for name in driver.split(", ")]
            row = {what: max(r[what] for r in rows) for what in rows[0]}
            times = {"memory": traffic * volume / bandwidth / 1e6, "arithmetic": operations * volume / rate / 1e9}
            limit = max(times, key=times.get)
            print(
                f"| {kernel} | {card} | {row['registers']} | {row['spill_bytes']} + {row['local_bytes']} "
                f"| {occupancy(row['registers']):.0%} | {traffic:.0f} | {operations:.0f} | {times[limit]:.2f} | {limit} |"
            )


if __name__ == "__main__":
    main()
