"""Wilson loops by multihit and by averages over slabs: variances beside those of plain loops, per configuration and per second.

    python docs/scripts/multilevel.py --shape 8 8 8 8 --beta 6.0 --rows 60

All methods see the same configurations.  A second counts what a method costs for one configuration, and the making of that
configuration with it.  ``--out`` names a file that keeps all numbers and lets an interrupted run go on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.analysis import Series, format_error, gamma_method
from gaugeflow.ensembles import Slabs
from gaugeflow.kernels import link_averages
from gaugeflow.lattice import Lattice
from gaugeflow.observables import wilson_loops
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath, HeatBathState

SHOWN = ((2, 2), (3, 3), (4, 4), (4, 6))
"""Loops (r, t) in the report, where the lattice has them."""


def methods(lattice: Lattice, beta: float, slabs: list[tuple[int, int]]) -> dict[str, Callable[[Rng, Any], Any]]:
    """Functions ``(rng, links)`` that return W(r, t) at ``[r - 1, t - 1]``."""
    r_max, t_max = min(4, min(lattice.shape[1:]) // 2), min(6, lattice.shape[0])

    def plain(rng: Rng, x: Any) -> Any:
        return wilson_loops(lattice, x, r_max, t_max)

    def multihit(rng: Rng, x: Any) -> Any:
        return wilson_loops(lattice, x, r_max, t_max, averaged=link_averages(lattice, x, beta, 0))

    def of_slabs(average: Slabs) -> Callable[[Rng, Any], Any]:
        def measure(rng: Rng, x: Any) -> Any:
            found, _ = average.wilson_loops(rng, x, r_max, t_max)
            return found

        return measure

    chosen = {"plain": plain, "multihit": multihit}
    for d, n in slabs:
        chosen[f"slabs of {d}, {n} updates"] = of_slabs(Slabs(lattice, beta, d, n, multihit=False))
        chosen[f"slabs of {d}, {n} updates, multihit"] = of_slabs(Slabs(lattice, beta, d, n))
    return chosen


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=4, default=[8, 8, 8, 8])
    parser.add_argument("--fold", type=int, nargs=4, default=[1, 2, 2, 2])
    parser.add_argument("--beta", type=float, default=6.0)
    parser.add_argument("--rows", type=int, default=60, help="configurations")
    parser.add_argument("--thin", type=int, default=10)
    parser.add_argument("--burn-in", type=int, default=150)
    parser.add_argument("--slabs", nargs="+", default=["2,10", "4,10"], help="thickness,updates of each")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    lattice, rng = Lattice(chosen.shape, chosen.fold), Rng(108014)
    sampler = HeatBath(lattice, chosen.beta)
    measured = methods(lattice, chosen.beta, [(int(d), int(n)) for d, n in (text.split(",") for text in chosen.slabs)])
    loops: dict[str, list[Any]] = {name: [] for name in measured}
    seconds: dict[str, list[float]] = {name: [] for name in ("chain", *measured)}
    if chosen.out and chosen.out.exists():
        kept = np.load(chosen.out)
        loops = {name: list(kept[name]) for name in measured}
        seconds = {name: list(kept[f"seconds {name}"]) for name in seconds}
        state = HeatBathState(kept["x"], int(kept["step"]))
    else:
        state = sampler.hot(rng.stream("start"), 3)
        for _ in range(chosen.burn_in):
            state, _ = sampler.step(rng.stream("chain"), state)
    for row in range(len(loops["plain"]), chosen.rows):
        start = time.perf_counter()
        for _ in range(chosen.thin):
            state, _ = sampler.step(rng.stream("chain"), state)
        seconds["chain"].append(time.perf_counter() - start)
        for index, (name, function) in enumerate(measured.items()):
            start = time.perf_counter()
            loops[name].append(function(rng.stream("slabs").stream(index).at(row), state.x))
            seconds[name].append(time.perf_counter() - start)
        if chosen.out and (row % 10 == 9 or row + 1 == chosen.rows):
            times = {f"seconds {name}": np.array(s) for name, s in seconds.items()}
            part = chosen.out.with_suffix(".part.npz")
            np.savez(part, x=state.x, step=state.step, **{n: np.array(v) for n, v in loops.items()}, **times)
            part.replace(chosen.out)
    report(loops, seconds)


def report(loops: dict[str, list[Any]], seconds: dict[str, list[float]]) -> None:
    """Print values with errors, and the ratios of variances."""
    chain = float(np.median(seconds["chain"]))
    cost = {name: chain + float(np.median(seconds[name])) for name in loops}
    r_max, t_max, _ = loops["plain"][0].shape
    for r, t in ((r, t) for r, t in SHOWN if r <= r_max and t <= t_max):
        print(f"W({r}, {t}); a configuration is made in {chain:.3g} s")
        reference = None
        for name, rows in loops.items():
            found = gamma_method(Series.from_lanes(np.stack(rows)[:, r - 1, t - 1]))
            reference = reference or found.error
            gain = (reference / found.error) ** 2
            print(
                f"  {name:34s} {format_error(found.value, found.error):>16s}  {cost[name]:7.3f} s  variance / {gain:.3g}, "
                f"at equal cost / {gain * cost['plain'] / cost[name]:.3g}"
            )


if __name__ == "__main__":
    main()
