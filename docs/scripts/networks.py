"""Times of a training step, forward and all cotangents, of networks in single precision, as Markdown.

python docs/scripts/networks.py
python docs/scripts/networks.py --channels 1 8 8 2 --extent 8 --batch 256
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import numpy as np

from gaugeflow import nn, tree
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng

CASES = (((1, 8, 8, 2), 8), ((8, 8), 8), ((8, 8), 16), ((64, 64), 16))
"""Channels and extent of what is timed by default."""


def seconds(channels: tuple[int, ...], extent: int, batch: int, budget: float) -> list[float]:
    """Times of steps on L^2, kernels of extent 3: three or more, for about ``budget`` seconds; the first is not counted."""
    lattice = Lattice((extent, extent))
    module = nn.convolutional(lattice, channels, final_gain=1.0)
    params = tree.map(lambda p: np.asarray(p, dtype=np.float32), module.init(Rng(1)))
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(channels[0], lattice.volume, batch)).astype(np.float32)
    y_bar = numbers.normal(size=(channels[-1], lattice.volume, batch)).astype(np.float32)
    times: list[float] = []
    while len(times) < 4 or (sum(times[1:]) < budget and len(times) < 100):
        begin = time.perf_counter()
        _, pull_back = nn.forward_and_pull_back(module, params, x)
        pull_back(y_bar)
        times.append(time.perf_counter() - begin)
    return times[1:]


def main() -> None:
    """One row for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, nargs="+", help="of one network instead of the usual ones")
    parser.add_argument("--extent", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1024)
    options = parser.parse_args()
    cases = ((tuple(options.channels), options.extent),) if options.channels else CASES
    print("| channels | lattice | median ms | least ms | GF/s at best |\n|---|---|---|---|---|")
    for channels, extent in cases:
        times = seconds(channels, extent, options.batch, budget=1.0)
        products = sum(a * b for a, b in pairwise(channels)) * 9 * extent**2 * options.batch
        rate = 6.0 * products / min(times) / 1e9
        name = "-".join(map(str, channels))
        print(f"| {name} | {extent}^2 | {1e3 * np.median(times):.1f} | {1e3 * min(times):.1f} | {rate:.0f} |")


if __name__ == "__main__":
    main()
