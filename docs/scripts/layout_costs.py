"""Processor time of conversions of SU(3) links to layouts of other programs, in units of a Wilson force: docs/embedding.md.

python docs/scripts/layout_costs.py --extent 16
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from gaugeflow import kernels, random
from gaugeflow.interop import LAYOUTS, links_from, links_to
from gaugeflow.lattice import Lattice


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--extent", type=int, default=16)
    options.add_argument("--single", action="store_true", help="single precision")
    options.add_argument("--repeats", type=int, default=15)
    given = options.parse_args()
    lattice = Lattice((given.extent,) * 4)
    lattice = Lattice(lattice.shape, lattice.suggest_fold())
    links = random.haar_links(random.Rng(1), lattice, 3, 1).astype(np.complex64 if given.single else np.complex128)

    def force() -> object:
        return kernels.wilson_force(lattice, links, 6.0)

    print("| layout | in | out | out, into the host's memory |\n|---|---|---|---|")
    forces = [seconds(force) for _ in range(given.repeats)]
    for name in LAYOUTS:
        array = links_to(lattice, links, name)
        directions: tuple[Callable[[], object], ...] = (
            lambda name=name, array=array: links_from(lattice, array, name),
            lambda name=name: links_to(lattice, links, name),
            lambda name=name, array=array: links_to(lattice, links, name, out=array),
        )
        ratios = []
        for work in directions:
            work()
            measured = []
            for _ in range(given.repeats):  # a force beside every conversion: they see the same machine
                forces.append(seconds(force))
                measured.append(seconds(work) / forces[-1])
            ratios.append(statistics.median(measured))
        print(f"| `{name}` |" + "".join(f" {ratio:.2f} |" for ratio in ratios))
    print(f"\nforce {statistics.median(forces) * 1e3:.2f} ms of one core")


if __name__ == "__main__":
    main()
