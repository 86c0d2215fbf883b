"""Plaquettes of the heat bath against exact values and published references, as Markdown.

    python docs/scripts/validate.py [--seed 1] [--only "2D SU(2)"]

Exact values are character expansions in two dimensions.  Every row is one run, and its error that of the Gamma method; 2D U(1),
whose topology freezes in local updates, is one run of replica exchange between all its couplings and those half way.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator

from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import Series, format_error, gamma_method
from gaugeflow.lattice import Lattice, suggest_fold
from gaugeflow.observables import LinkObservable, plaquette
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath, OnReplicas, Replica, ReplicaExchange, run
from gaugeflow.systems.trivialising import exact_plaquette

# name, N, shape, beta, batch, steps, reference, its error, source
ROWS = [
    *(
        ("2D SU(2)", 2, (16, 16), beta, 64, 320, exact_plaquette(2, beta, 256), 0.0, "exact")
        for beta in (1.8, 2.2, 2.7)
    ),
    *(
        ("2D SU(3)", 3, (16, 16), beta, 64, 200, exact_plaquette(3, beta, 256), 0.0, "exact")
        for beta in (1, 2, 4, 5, 5.6, 6)
    ),
    ("4D SU(3)", 3, (4,) * 4, 1.0, 16, 400, 0.060153, 24e-6, "independent program"),
    ("4D SU(3)", 3, (4,) * 4, 2.0, 16, 400, 0.128773, 35e-6, "independent program"),
    ("4D SU(3)", 3, (8,) * 4, 6.0, 8, 200, 0.594239, 42e-6, "independent program"),
    ("4D SU(3)", 3, (12,) * 4, 6.0, 8, 60, 0.593715, 32e-6, "independent program"),
    ("4D SU(3)", 3, (12,) * 4, 5.7, 8, 80, 0.549195, 25e-6, "literature, large volume"),
]


def measure(
    n: int, shape: tuple[int, ...], beta: float, batch: int, steps: int, rng: Rng
) -> tuple[float, float, float]:
    """Plaquette, error and autocorrelation time; one step is a heat-bath and four overrelaxation sweeps."""
    lattice = Lattice(shape, suggest_fold(shape, -(-8 // batch)))
    sampler = HeatBath(lattice, beta)
    start = sampler.hot(rng.stream("start"), n, batch)
    observe = [LinkObservable("P", lattice, plaquette)]
    chain = run(sampler, rng.stream("chain"), start, steps, burn_in=max(40, steps // 5), observe=observe)
    estimate = gamma_method(Series.from_lanes(chain.records["P"], name="plaquette"))
    return estimate.value, estimate.error, estimate.tau_int


def exchange_u1(steps: int, rng: Rng) -> Iterator[tuple[float, float, float, float]]:
    """2D U(1) on 8 x 8 with 32 chains: coupling, plaquette, error, autocorrelation time."""
    lattice, betas = Lattice((8, 8)), [1.0 + 0.5 * k for k in range(13)]
    replicas = tuple(Replica(WilsonAction(lattice, beta), HeatBath(lattice, beta, 1)) for beta in betas)
    sampler = ReplicaExchange(lattice, replicas, (None,) * (len(betas) - 1))
    start = HeatBath(lattice, 1.0).hot(rng.stream("start"), 1, 32).x
    observe = [OnReplicas(LinkObservable("P", lattice, plaquette))]
    chain = run(sampler, rng.stream("chain"), sampler.init(start), steps, burn_in=max(40, steps // 4), observe=observe)
    for k in range(0, len(betas), 2):
        values = chain.records["P"][:, k]
        estimate = gamma_method(Series.from_lanes(values.reshape(len(values), -1), name="plaquette"))
        yield betas[k], estimate.value, estimate.error, estimate.tau_int


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", default="", help="rows whose first column begins so")
    options.add_argument("--steps", type=float, default=1.0, help="factor of the numbers of steps")
    given = options.parse_args()
    print("| system | lattice | beta | plaquette | tau_int | reference | | deviation / sigma |")
    print("|---|---|---|---|---|---|---|---|")

    def show(
        name: str, shape: tuple[int, ...], beta: float, found: tuple[float, ...], reference: tuple[float, float, str]
    ):
        (value, error, tau), (expected, its_error, source) = found, reference
        deviation = (value - expected) / math.hypot(error, its_error)
        shown = f"{expected:.10f}" if its_error == 0.0 else format_error(expected, its_error)
        columns = (
            name,
            f"{shape[0]}^{len(shape)}",
            f"{beta:g}",
            format_error(value, error),
            f"{tau:.2f}",
            shown,
            source,
        )
        print(f"| {' | '.join(columns)} | {deviation:+.1f} |", flush=True)

    rng = Rng(given.seed)
    if "2D U(1)".startswith(given.only):
        for beta, *found in exchange_u1(max(20, int(4800 * given.steps)), rng.stream("2D U(1)")):
            show("2D U(1)", (8, 8), beta, tuple(found), (exact_plaquette(1, beta, 64), 0.0, "exact"))
    for name, n, shape, beta, batch, steps, reference, error, source in ROWS:
        if name.startswith(given.only):
            stream = rng.stream(f"{name} {shape} {beta}")
            found = measure(n, shape, float(beta), batch, max(20, int(steps * given.steps)), stream)
            show(name, shape, beta, found, (reference, error, source))


if __name__ == "__main__":
    main()
