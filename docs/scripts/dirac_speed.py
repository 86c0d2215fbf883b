"""Rates of the Dirac kernels on one thread beside the same hop in C and the peak of the processor, as Markdown.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 taskset -c 1 python docs/scripts/dirac_speed.py [--seconds 20]

Times are medians, of calls made in turn, of the processor's time: a machine that others use slows all of them, mostly those
that need its memory, so that ratios mean more than rates.
The C is compiled by gcc, where it is, for this processor; it needs AVX-512.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import bench, kernels
from gaugeflow.lattice import HopFactors, Lattice
from gaugeflow_numba.memory import empty

SOURCE = Path(__file__).with_name("hop.c")
FLAGS = ["-O3", "-march=native", "-mtune=skylake-avx512", "-shared", "-fPIC"]
FLOPS = 1320
"""Operations of a hop at a site."""
AHEAD = 1 << 23
"""Bytes of fields from which on the C fetches ahead, as the kernels do."""
Calls = dict[str, Callable[[], Any]]


class Problem:
    """Random links and spinors on a lattice, and the factors of hops that are antiperiodic in time."""

    def __init__(self, shape: tuple[int, ...], lanes: int, dtype: Any, fold: tuple[int, ...] = ()) -> None:
        self.lattice, self.rng, self.dtype, self.lanes = Lattice(shape, fold), np.random.default_rng(1), dtype, lanes
        phases = self.lattice.boundary_phase((-1.0,) + (1.0,) * (len(shape) - 1))
        self.factors: HopFactors = self.lattice.hop_factors(phases)
        v = self.lattice.n_blocks
        self.links, self.psi = self.random(4, v, 3, 3, lanes), self.random(v, 4, 3, lanes)
        self.blocks = self.random(v, 2, 21, lanes)

    def random(self, *shape: int) -> Any:
        """Complex normal numbers, in memory as the kernels allocate it: registers do not straddle cache lines."""
        field = empty(shape, self.dtype)
        field.real, field.imag = self.rng.standard_normal(shape), self.rng.standard_normal(shape)
        return field

    def hop(self, psi: Any = None) -> Callable[[], Any]:
        psi = self.psi if psi is None else psi
        return lambda: kernels.wilson_hop(self.lattice, self.links, psi, self.factors, 1, -1, 1.0, None, 0.0)

    def clover_hop(self) -> Callable[[], Any]:
        arguments = (self.factors, 1, -1, -0.1, self.psi, 1.0, self.blocks)
        return lambda: kernels.clover_hop(self.lattice, self.links, self.psi, *arguments)

    def in_c(self, function: Any) -> Callable[[], Any]:
        out, factors = empty(self.psi.shape, self.dtype), self.factors
        values = np.ascontiguousarray(np.repeat(factors.values, self.lanes // self.lattice.n_folds, axis=1), self.dtype)
        tables = [np.ascontiguousarray(t, np.int32) for t in (self.lattice.neighbour, factors.code)]
        arrays = [self.links, self.psi, out, *tables, values]
        ahead = int(self.links.nbytes + 2 * self.psi.nbytes > AHEAD)
        sizes = (ctypes.c_long(self.lattice.n_blocks), ctypes.c_long(self.lanes), ctypes.c_int(ahead))
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in arrays]

        def call(keep: Any = arrays) -> Any:
            function(*pointers, *sizes)
            return out

        return call


def compiled(folder: str, single: bool) -> Any:
    """The C function, or None without a compiler."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return None
    library = Path(folder) / f"hop{int(single)}.so"
    subprocess.run([compiler, *FLAGS, *(["-DSINGLE"] if single else []), str(SOURCE), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library)).hop


def medians(calls: Calls, seconds: float) -> dict[str, float]:
    """Median time of every call, made in turn; short ones several times at once."""
    repeats: dict[str, int] = {}
    for name, call in calls.items():
        call()
        start = time.process_time()
        call()
        repeats[name] = max(1, int(1e-3 / (time.process_time() - start)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.process_time() + seconds
    while time.process_time() < end or min(map(len, times.values())) < 5:
        for name, call in calls.items():
            start = time.process_time()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.process_time() - start) / repeats[name])
    return {name: float(np.median(values)) for name, values in times.items()}


def row(name: str, lattice: str, seconds: float, site_lanes: int, peak: float, ratio: str) -> None:
    """One line of the table."""
    rate = FLOPS * site_lanes / seconds / 1e9
    print(
        f"| {name} | {lattice} | {1e6 * seconds / site_lanes:.4f} | {rate:.1f} | {rate / peak:.2f} | {ratio} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each comparison")
    seconds = parser.parse_args().seconds
    peak = bench.machine()["fma_gflops"]
    if not isinstance(peak, float):
        raise SystemExit("this back end does not tell the peak of the processor")
    print(f"Multiply-add peak {peak:.0f} GF/s.\n")
    print("| kernel | lattice | us a site and lane | GF/s of the hop | share of the peak | ratio |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        hops = {dtype: compiled(folder, dtype == np.complex64) for dtype in (np.complex128, np.complex64)}
        for size in (4, 8):
            precise = Problem((size,) * 4, 8, np.complex128)
            lean = Problem((size,) * 4, 16, np.complex64)
            calls: Calls = {"hop": precise.hop(), "hop, single": lean.hop(), "clover": precise.clover_hop()}
            calls["clover, single"] = lean.clover_hop()
            if hops[np.complex128] is not None:
                calls |= {"C": precise.in_c(hops[np.complex128]), "C, single": lean.in_c(hops[np.complex64])}
                for ours, theirs in (("hop", "C"), ("hop, single", "C, single")):
                    expected, found = calls[ours](), calls[theirs]()
                    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max(), "the C hop is wrong"
            t = medians(calls, seconds)
            name, sites = f"{size}^4, one register of lanes", size**4
            for key, lanes in (("hop", 8), ("hop, single", 16)):
                c = key.replace("hop", "C")
                if c in t:
                    row(f"{c} (gcc)", name, t[c], lanes * sites, peak, "")
                row(
                    key, name, t[key], lanes * sites, peak, f"{t[key] / t[c]:.2f} times the time of C" if c in t else ""
                )
            speedup = 2 * t["hop"] / t["hop, single"]
            row("hop, single", name, t["hop, single"], 16 * sites, peak, f"{speedup:.2f} times the rate of double")
            for key, lanes in (("clover", 8), ("clover, single", 16)):
                row(f"hop with {key}", name, t[key], lanes * sites, peak, "")
        stacks = (((4, 4, 2, 2), (), 8, 8), ((8,) * 4, (), 8, 12), ((16,) * 4, (2, 2, 2, 1), 8, 12))
        for shape, fold, lanes, fields in stacks:
            problem = Problem(shape, lanes, np.complex128, fold)
            stack = problem.random(fields, *problem.psi.shape)
            singles = [problem.hop(field) for field in stack]
            calls = {"stack": problem.hop(stack), "singles": lambda calls=singles: [call() for call in calls]}
            t = medians(calls, 2 * seconds)
            name = "x".join(map(str, shape)) + (
                ", folded " + "x".join(map(str, fold)) if fold else ", 8 configurations"
            )
            count = fields * problem.lattice.n_blocks * lanes
            row(
                f"{fields} right-hand sides",
                name,
                t["stack"],
                count,
                peak,
                f"{t['singles'] / t['stack']:.2f} times the rate of one",
            )


if __name__ == "__main__":
    main()
