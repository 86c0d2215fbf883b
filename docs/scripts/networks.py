"""Times of a training step, forward and all cotangents, of networks in single precision, as Markdown.

python docs/scripts/networks.py
"""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np

from gaugeflow import nn, tree
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng

BATCH = 1024
CASES = (("1-8-8-2", 8, 15), ("8-8", 8, 15), ("8-8", 16, 9), ("64-64", 16, 3))
"""Channels, extent, repetitions."""


def seconds(channels: tuple[int, ...], extent: int, repetitions: int) -> list[float]:
    """Times of steps on L^2, kernels of extent 3."""
    lattice = Lattice((extent, extent))
    module = nn.convolutional(lattice, channels, final_gain=1.0)
    params = tree.map(lambda p: np.asarray(p, dtype=np.float32), module.init(Rng(1)))
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(channels[0], lattice.volume, BATCH)).astype(np.float32)
    y_bar = numbers.normal(size=(channels[-1], lattice.volume, BATCH)).astype(np.float32)
    times = []
    for _ in range(repetitions + 1):
        begin = time.perf_counter()
        _, pull_back = nn.forward_and_pull_back(module, params, x)
        pull_back(y_bar)
        times.append(time.perf_counter() - begin)
    return times[1:]


def main() -> None:
    """One row for each case."""
    print("| channels | lattice | median ms | least ms | GF/s at best |\n|---|---|---|---|---|")
    for name, extent, repetitions in CASES:
        channels = tuple(int(c) for c in name.split("-"))
        times = seconds(channels, extent, repetitions)
        products = sum(a * b for a, b in pairwise(channels)) * 9 * extent**2 * BATCH
        rate = 6.0 * products / min(times) / 1e9
        print(f"| {name} | {extent}^2 | {1e3 * np.median(times):.1f} | {1e3 * min(times):.1f} | {rate:.0f} |")


if __name__ == "__main__":
    main()
