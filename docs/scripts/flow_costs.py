"""Processor time of flows of SU(3) in four dimensions, in units of a force of the Wilson action: docs/flows.md.

python docs/scripts/flow_costs.py --extent 8 --derivatives
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from gaugeflow.actions import WilsonAction
from gaugeflow.flows import Convolution, ResidualSweep, SmearedSweep, Smearing, TrivialisingFlow
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median of the processor time of a call, after one that compiles."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--extent", type=int, default=8)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--derivatives", action="store_true", help="time derivatives of smeared sweeps too")
    given = options.parse_args()
    lattice = Lattice((given.extent,) * 4)
    bath = HeatBath(lattice, 6.0)
    state = bath.hot(Rng(1), n=3, batch=given.batch)
    for step in range(10):
        state, _ = bath.step(Rng(2).at(step), state)
    x, action = state.x, WilsonAction(lattice, 6.0)
    flows = {
        "residual, staples": ResidualSweep(lattice),
        "residual, plain and convolved staples": ResidualSweep(
            lattice, convolutions=(Convolution(0), Convolution(1), Convolution(2))
        ),
        "smeared, gradients 2 and 4": SmearedSweep(lattice),
        "smeared, gradients 2, 4 and 12": SmearedSweep(lattice, smearing=Smearing.with_gradients((2, 4, 12))),
        "trivialising, first order, 8 steps": TrivialisingFlow(lattice, knots=4, steps=8),
    }
    unit = seconds(lambda: action.grad(x), 5 * given.repeats)
    print(f"force {unit / given.batch * 1e3:.2f} ms of one core for each configuration of {given.extent}^4")
    print(f"heat bath, one step: {seconds(lambda: bath.step(Rng(3), state), given.repeats) / unit:.1f} forces")
    for name, flow in flows.items():
        params = flow.init()
        if not isinstance(flow, TrivialisingFlow):
            params = {"delta": np.full_like(params["delta"], 1e-4)}  # fields with the coefficient zero cost less
        forward = seconds(lambda flow=flow, params=params: flow.forward(params, x), given.repeats)  # type: ignore[misc]
        print(f"{name}: {forward / unit:.0f} forces", flush=True)
        if given.derivatives and isinstance(flow, SmearedSweep):
            y, force = flow.forward(params, x)[0], action.grad(x)
            tangent = seconds(lambda flow=flow, force=force: flow.tangent(x, force), given.repeats)  # type: ignore[misc]
            print(f"its tangent: {tangent / unit:.0f} forces", flush=True)
            vjp = seconds(lambda flow=flow, p=params, y=y, f=force: flow.vjp(p, x, y, f, 1.0), given.repeats)  # type: ignore[misc]
            print(f"its vector-Jacobian product: {vjp / unit:.0f} forces", flush=True)


if __name__ == "__main__":
    main()
