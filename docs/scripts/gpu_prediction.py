"""What compiled GPU kernels promise: occupancy from registers, and the time that memory or arithmetic allow at best.

Nothing here is measured: registers are those of ``tests/gpu/compiled/registers.json``, operations and least traffic are
counted as ``gaugeflow bench`` counts them, and rates of cards are their makers'.
"""

import argparse
import json
from pathlib import Path

from gaugeflow import bench
from gaugeflow.backend import kernels, use_backend
from gaugeflow.lattice import Lattice

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
}


def occupancy(registers):
    """Share of a multiprocessor's threads that fit at once: registers are given to a warp in units of 256."""
    blocks = REGISTERS // (-(-registers // 8) * 8 * BLOCK)
    return min(1.0, blocks * BLOCK / THREADS)


def traffic_per_site(kernel, lattice):
    """Bytes for each lattice site if every argument is read once and every result written once."""
    with use_backend("reference"):
        arguments = bench.CASES[kernel].arguments(lattice, *bench.fields(lattice, 3, 1))
        results = kernels[kernel](lattice, *arguments)
    return sum(array.nbytes for array in bench._arrays((*arguments, results))) / lattice.volume


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extent", type=int, default=32, help="extent of the hypercubic lattice")
    volume = parser.parse_args().extent ** 4
    table = json.loads(TABLE.read_text())["SU(3)"]
    print(
        "| kernel | card | registers | spills + local, bytes | occupancy | bytes a site | flop a site | at best, ms | limit |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for kernel, driver in DRIVERS.items():
        traffic, operations = traffic_per_site(kernel, Lattice((2, 2, 2, 2))), bench.operations_per_site(kernel, 4, 3)
        for card, (architecture, bandwidth, rate) in CARDS.items():
            row = table[driver]["double"][architecture]
            times = {"memory": traffic * volume / bandwidth / 1e6, "arithmetic": operations * volume / rate / 1e9}
            limit = max(times, key=times.get)
            print(
                f"| {kernel} | {card} | {row['registers']} | {row['spill_bytes']} + {row['local_bytes']} "
                f"| {occupancy(row['registers']):.0%} | {traffic:.0f} | {operations:.0f} | {times[limit]:.2f} | {limit} |"
            )


if __name__ == "__main__":
    main()
