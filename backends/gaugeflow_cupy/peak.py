"""What this device can do at best: fused multiply-adds in registers, and a triad through its memory."""

from __future__ import annotations

import time

import cupy as xp
from numba import cuda

from gaugeflow_cupy._jit import kernel
from gaugeflow_cupy.launches import launch
from gaugeflow_cupy.memory import load_real, store_real

TRIAD_BYTES = 1 << 30
"""Size of each of three arrays, many times that of the second-level cache."""
THREADS = 1 << 20
REPEATS = 20


@kernel
def _multiply_add(out, data, steps):
    i = cuda.grid(1)
    if i < data.size:
        x = load_real(data, i)
        a, b, c, d = x, x + 1.0, x + 2.0, x + 3.0
        for _ in range(steps):
            a, b, c, d = a * x + 0.5, b * x + 0.5, c * x + 0.5, d * x + 0.5
        store_real(out, i, a + b + c + d)


@kernel
def _triad(out, first, second, factor):
    i = cuda.grid(1)
    if i < out.size:
        store_real(out, i, load_real(first, i) + load_real(second, i) * factor)


def _best(function, threads, *arguments):
    """Shortest time of a few launches, the first of which compiles."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        launch(function, threads, *arguments)
        xp.cuda.get_current_stream().synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def peak(steps=4096, triad_bytes=TRIAD_BYTES, threads=THREADS):
    """Measure the current device.

    Returns
    -------
    dict
        ``fma_gflops``: double-precision multiply-adds (two operations each); ``triad_gbytes_per_second``: a = b + s c
        on arrays in device memory, 24 bytes an element.
    """
    seconds = _best(_multiply_add, threads, xp.empty((threads,)), xp.full((threads,), 0.5), steps)
    elements = triad_bytes // 8
    arrays = [xp.full((elements,), 1.0) for _ in range(3)]
    triad = _best(_triad, elements, *arrays, 0.5)
    return {
        "fma_gflops": 8.0 * steps * threads / seconds / 1e9,
        "triad_gbytes_per_second": 24.0 * elements / triad / 1e9,
    }
