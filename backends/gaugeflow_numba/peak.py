"""What this machine can do at best: fused multiply-adds in registers, and a triad through main memory."""

from __future__ import annotations

import time

import numba
import numpy as np
from numba import prange

from gaugeflow_numba._jit import inline, parallel
from gaugeflow_numba.lanes import Lanes, load_real, register_bytes, store_real

CHAINS = 12
"""Independent multiply-adds in flight: latency times issue rate is 8 to 10 on current processors."""
TRIAD_BYTES = 1 << 26
"""Size of each of three arrays, several times that of most caches."""
REPEATS = 20


@inline
def _step(chains, x, y):
    a, b, c, d, e, f, g, h, i, j, k, l = chains
    return (
        a * x + y,
        b * x + y,
        c * x + y,
        d * x + y,
        e * x + y,
        f * x + y,
        g * x + y,
        h * x + y,
        i * x + y,
        j * x + y,
        k * x + y,
        l * x + y,
    )


@parallel
def _multiply_add(data, steps, threads, lanes):
    for thread in prange(threads):
        row = data[thread]
        x, y = load_real(row, 0, lanes), load_real(row, 16, lanes)
        chains = (x, y, x + y, x - y, x + x, y + y, x * y, x * x, y * y, x * y + x, x * y + y, x * x + y)
        for _ in range(steps):
            chains = _step(chains, x, y)
        a, b, c, d, e, f, g, h, i, j, k, l = chains
        store_real(row, 32, a + b + c + d + e + f + g + h + i + j + k + l)


@parallel
def _triad(out, first, second, factor):
    for i in prange(out.size):
        out[i] = first[i] + factor * second[i]


def _best(function, *arguments):
    """Shortest time of a few calls, the first of which compiles."""
    function(*arguments)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return min(times)


def peak(steps=200_000):
    """Measure the processor with the threads that kernels use.

    Returns
    -------
    dict
        ``fma_gflops``: double-precision multiply-adds on full registers (two operations each);
        ``triad_gbytes_per_second``: a = b + s c on arrays in main memory, 24 bytes an element.
    """
    threads = numba.get_num_threads()
    width = register_bytes() // 8
    data = np.full((threads, 64), 0.5)
    seconds = _best(_multiply_add, data, steps, threads, Lanes(width, 1, 64, 0))
    elements = TRIAD_BYTES // 8
    out, first, second = np.empty(elements), np.empty(elements), np.empty(elements)
    for array in (out, first, second):
        array[:] = 1.0
    triad = _best(_triad, out, first, second, 0.5)
    return {
        "fma_gflops": 2.0 * CHAINS * width * steps * threads / seconds / 1e9,
        "triad_gbytes_per_second": 24.0 * elements / triad / 1e9,
    }
