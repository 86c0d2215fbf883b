"""Plaquettes of the heat bath against exact values and published references, as Markdown.

    python docs/scripts/validate.py [--seed 1] [--only "2D SU(2)"]

Exact values are character expansions in two dimensions.  Every row is one run; its error is that of the Gamma method.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import scipy.special

from gaugeflow.analysis import Series, format_error, gamma_method
from gaugeflow.lattice import Lattice, suggest_fold
from gaugeflow.observables import LinkObservable, plaquette
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath, run


def exact_u1(beta: float, volume: int) -> float:
    """<cos P> of 2D U(1) on a torus, with Z = sum_n I_n(beta)^V."""
    orders = np.arange(-60, 61)
    value, slope = scipy.special.ive(orders, beta), scipy.special.ivp(orders, beta) * math.exp(-beta)
    largest = value.max()
    return float(np.sum((value / largest) ** (volume - 1) * slope / largest) / np.sum((value / largest) ** volume))


def exact_su2(beta: float) -> float:
    """I_2 / I_1: tr P / 2 of 2D SU(2) in a large volume."""
    return float(scipy.special.iv(2, beta) / scipy.special.iv(1, beta))


def exact_su3(beta: float) -> float:
    """Re tr P / 3 of 2D SU(3) in a large volume: a Weyl integral over two angles, exact to rounding by equal steps."""
    angles = np.arange(512) * (2.0 * math.pi / 512)
    a, b = np.meshgrid(angles, angles)
    phases = np.exp(1j * np.stack([a, b, -a - b]))
    trace = phases.sum(axis=0).real / 3.0
    vandermonde = np.prod([np.abs(phases[i] - phases[j]) ** 2 for i, j in ((0, 1), (0, 2), (1, 2))], axis=0)
    weight = vandermonde * np.exp(beta * (trace - 1.0))
    return float(np.sum(weight * trace) / np.sum(weight))


# name, N, shape, beta, batch, steps, reference, its error, source
ROWS = [
    *(("2D U(1)", 1, (16, 16), beta, 64, 400, exact_u1(beta, 256), 0.0, "exact") for beta in range(1, 8)),
    *(("2D SU(2)", 2, (16, 16), beta, 64, 200, exact_su2(beta), 0.0, "exact") for beta in (1.8, 2.2, 2.7)),
    *(("2D SU(3)", 3, (16, 16), beta, 64, 200, exact_su3(beta), 0.0, "exact") for beta in (1, 2, 4, 5, 5.6, 6)),
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


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", default="", help="rows whose first column begins so")
    options.add_argument("--steps", type=float, default=1.0, help="factor of the numbers of steps")
    given = options.parse_args()
    print("| system | lattice | beta | plaquette | tau_int | reference | | deviation / sigma |")
    print("|---|---|---|---|---|---|---|---|")
    for name, n, shape, beta, batch, steps, reference, error, source in ROWS:
        if name.startswith(given.only):
            rng = Rng(given.seed).stream(f"{name} {shape} {beta}")
            value, found_error, tau = measure(n, shape, float(beta), batch, max(20, int(steps * given.steps)), rng)
            deviation = (value - reference) / math.hypot(found_error, error)
            lattice = f"{shape[0]}^{len(shape)}"
            shown = f"{reference:.10f}" if error == 0.0 else format_error(reference, error)
            found = format_error(value, found_error)
            print(
                f"| {name} | {lattice} | {beta:g} | {found} | {tau:.2f} | {shown} | {source} | {deviation:+.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
