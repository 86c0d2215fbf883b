"""Rates of the hot SU(3) kernels, their ratio to the NumPy reference, and what the compiler made of them, as Markdown.

    python docs/scripts/performance.py

Ratios are of times taken one after the other in this run: on a machine that others use, run it twice.
"""

from __future__ import annotations

from gaugeflow import bench
from gaugeflow.backend import kernels, use_backend
from gaugeflow.lattice import Lattice
from gaugeflow_numba.assembly import instructions

KERNELS = ("plaquette", "wilson_force", "evolve", "path_sum", "residual_update", "residual_update_vjp")
FIELDS = (((8, 8, 8, 8), 8), ((16, 16, 16, 16), 1))
DRIVERS = {
    "plaquette": "gauge._plaquette",
    "wilson_force": "gauge._wilson_force",
    "evolve": "gauge._evolve",
    "path_sum": "residual._path_sum",
    "residual_update": "residual._residual_update",
    "residual_update_vjp": "residual._residual_update_vjp",
}


def rates() -> None:
    """Times on vector registers and threads beside the reference."""
    peaks = bench.machine()
    print(
        f"{peaks['threads']} threads; multiply-add {peaks['fma_gflops']:.0f} GF/s, "
        f"triad {peaks['triad_gbytes_per_second']:.1f} GB/s.\n"
    )
    print("| kernel | lattice | lanes | GF/s | GB/s | share of the nearer limit | times the NumPy reference |")
    print("|---|---|---|---|---|---|---|")
    for shape, batch in FIELDS:
        for kernel in KERNELS:
            row = bench.time_kernel(kernel, shape, batch, 3, "numba", peaks)
            slow = bench.time_kernel(kernel, shape, batch, 3, "reference", peaks, budget=0.0)
            lanes = f"{batch} configurations" if batch > 1 else "folded " + "x".join(map(str, row["fold"]))
            print(
                f"| {kernel} | {shape[0]}^{len(shape)} | {lanes} | {row['gflops']:.1f} | {row['gbytes_per_second']:.1f} "
                f"| {row['share_of_peak']:.2f} | {slow['seconds'] / row['seconds']:.0f} |"
            )


def assembly() -> None:
    """Instructions of one pass of each loop, eight configurations a register."""
    print("\n| kernel | fused multiply-adds | other arithmetic | permutations | spills | narrow arithmetic |")
    print("|---|---|---|---|---|---|")
    lattice = Lattice((2,) * 4)
    with use_backend("numba"):
        links, momenta = bench.fields(lattice, 3, 8)
        for kernel in KERNELS:
            kernels[kernel](lattice, *bench.CASES[kernel].arguments(lattice, links, momenta))
    for kernel in KERNELS:
        counts = instructions(DRIVERS[kernel], 3)[-1]
        print(f"| {kernel} | " + " | ".join(str(value) for value in counts.values()) + " |")


if __name__ == "__main__":
    rates()
    assembly()
