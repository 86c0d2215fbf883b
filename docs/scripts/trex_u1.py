"""T-REX against topological freezing: U(1) in two dimensions, exact to compare with.

    python docs/scripts/trex_u1.py --extent 16 --steps 400 --out trex-u1

Metropolis updates at beta = 7 keep the charge for a long time.  Replicas down to beta = 2 change it easily, and flows
carry configurations between neighbours.
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise
from pathlib import Path

import numpy as np

from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import Series, gamma_method, round_trip_times
from gaugeflow.flows import Chain, Convolution, ResidualSweep
from gaugeflow.lattice import Lattice
from gaugeflow.observables import LinkObservable, integer_charge
from gaugeflow.random import Rng
from gaugeflow.samplers import (
    Exchange,
    HeatBath,
    LinkMetropolis,
    OnReplicas,
    Replica,
    ReplicaExchange,
    configurations,
    run,
)
from gaugeflow.systems.exact_u1 import charge_squared
from gaugeflow.systems.figures import replicas as picture
from gaugeflow.training import fit_linear


def coefficient(flow: ResidualSweep, beta: float, rng: Rng) -> float:
    """Least-squares coefficient per unit of beta of a sweep."""
    lattice = flow.lattice
    action, sampler = WilsonAction(lattice, beta), HeatBath(lattice, beta, 1)
    h, operator = [], []
    for sample in configurations(sampler, rng, sampler.hot(rng, 1, 64), 40, burn_in=40, thin=10):
        h.append(flow.tangent(sample.state.x, action.grad(sample.state.x)).reshape(1, -1))
        operator.append(action.d_beta(sample.state.x))
    return float(fit_linear(np.concatenate(h, axis=-1), np.concatenate(operator)).coefficients[0])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--extent", type=int, default=16)
    options.add_argument(
        "--betas", type=float, nargs="+", default=[2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0]
    )
    options.add_argument("--chains", type=int, default=16)
    options.add_argument("--steps", type=int, default=600)
    options.add_argument("--burn-in", type=int, default=300)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--out", type=Path, default=Path("trex-u1"))
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    lattice, rng = Lattice((given.extent,) * 2), Rng(given.seed)
    replicas = tuple(
        Replica(WilsonAction(lattice, beta), LinkMetropolis(lattice, beta, width=1.0 / math.sqrt(beta)))
        for beta in given.betas
    )
    sweep = ResidualSweep(lattice, 1, (Convolution(0),))
    flow = Chain((sweep, sweep))  # two sweeps, half the way each
    exchanges = []
    for low, high in pairwise(given.betas):
        delta = coefficient(sweep, 0.5 * (low + high), rng.stream(f"fit {low}")) * 0.5 * (high - low)
        params = {"delta": np.array([[delta]])}
        exchanges.append(Exchange(flow, {"0": params, "1": params}))

    charge = LinkObservable("Q", lattice, integer_charge)
    start = HeatBath(lattice, 1.0).hot(rng.stream("start"), 1, given.chains).x
    results = {}
    for name, chosen in (("without flow", (None,) * len(exchanges)), ("T-REX", tuple(exchanges))):
        sampler = ReplicaExchange(lattice, replicas, chosen)
        results[name] = run(
            sampler,
            rng.stream(name),
            sampler.init(start),
            given.steps,
            burn_in=given.burn_in,
            observe=[OnReplicas(charge)],
        )
    local = replicas[-1].sampler
    alone = run(local, rng.stream("local"), local.init(start), given.steps, burn_in=given.burn_in, observe=[charge])

    beta = given.betas[-1]
    print(f"beta = {beta:g}, {given.extent}^2: exact <Q^2> {charge_squared(beta, lattice.volume):.4f}")
    for name, chain in (("Metropolis alone", alone), *results.items()):
        q = chain.records["Q"] if name == "Metropolis alone" else chain.records["Q"][:, -1]
        squared = gamma_method(Series.from_lanes(q**2, name="Q^2"))
        print(f"{name:18s} <Q^2> {squared}   tau_int(Q^2) {squared.tau_int:.1f}", end="")
        if name in results:
            swaps = chain.records["accepted"].sum(axis=(0, 2)) / (chain.records["attempted"].sum(axis=0) * given.chains)
            trips = round_trip_times(chain.records["walker"])
            print(f"   swaps {swaps.min():.2f} ... {swaps.max():.2f}   round trips {len(trips)}", end="")
        print()
    chain = results["T-REX"]
    picture(given.out / "history.png", given.betas, chain.records["Q"], alone.records["Q"], chain.records["walker"], 1)


if __name__ == "__main__":
    main()
