"""Two flavours of the Schwinger model on 2 x 2, where everything is known exactly, by four actions and by reweighting.

    python docs/scripts/validate_quarks.py

Weight exp(beta sum cos P) det(D)^2, antiperiodic in time; exact plaquettes and Z / Z(kappa = 0) by quadrature to 1e-10.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from gaugeflow.actions import Determinant, Hasenbusch, Inversion, Pseudofermion, Rational, Sum, WilsonAction
from gaugeflow.analysis import gamma_method
from gaugeflow.determinants import log_det
from gaugeflow.lattice import Lattice
from gaugeflow.observables import LinkObservable, plaquette
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng
from gaugeflow.samplers import HMC, HeatBath, Level, run

BETA, LATTICE = 2.0, Lattice((2, 2))
EXACT = {0.2: (0.7961006269, 2.0276272814), 0.276: (0.8127516480, 6.7667649335)}


def chains(values):
    """Gamma method on (steps, chains)."""
    return gamma_method([values[:, c] for c in range(values.shape[1])])


def row(kappa, method, what, estimate, exact):
    sigma = (estimate.value - exact) / estimate.error
    print(f"| {kappa:g} | {method} | {what} | {estimate} | {exact:.10g} | {sigma:+.1f} |", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--chains", type=int, default=512)
    options.add_argument("--trajectories", type=int, default=200)
    options.add_argument("--burn-in", type=int, default=20)
    given = options.parse_args()
    observe = [LinkObservable("plaquette", LATTICE, plaquette)]
    print("| kappa | method | quantity | measured | exact | deviation / sigma |\n|---|---|---|---|---|---|")
    for kappa, (exact, ratio) in EXACT.items():
        quark = Wilson(lattice=LATTICE, kappa=kappa)
        heavy = (replace(quark, twisted_mass=0.3), replace(quark, kappa=0.15))
        actions = {
            "exact determinant": Determinant(quark),
            "pseudofermions": Pseudofermion(quark),
            "two Hasenbusch factors": Hasenbusch(quark, heavy),
            "two single quarks, rational": Sum((Rational(quark, 1e-4, 10.0, 1e-6, inversion=Inversion()),) * 2),
        }
        bath = HeatBath(LATTICE, BETA)
        for name, action in actions.items():
            hmc = HMC(LATTICE, (Level(action, 2), Level(WilsonAction(LATTICE, BETA), 2)))
            start = hmc.init(bath.hot(Rng(1), 1, given.chains).x)
            rng = Rng(2).stream(name)
            chain = run(hmc, rng, start, given.trajectories, burn_in=given.burn_in, observe=observe, progress=False)
            row(kappa, name, "plaquette", chains(chain.records["plaquette"]), exact)
            row(kappa, name, "exp(-Delta H)", chains(np.exp(-chain.records["delta_h"])), 1.0)
        weights, products = [], []
        state = bath.hot(Rng(3), 1, given.chains)
        for step in range(20 + given.trajectories):
            state, info = bath.step(Rng(3).at(step), state)
            if step >= 20:
                weights.append(np.exp(2.0 * log_det(quark.with_links(state.x)).log_abs))
                products.append(weights[-1] * (info.plaquette - exact))
        row(kappa, "heat bath, reweighted", "Z / Z(0)", chains(np.stack(weights)), ratio)
        mean = np.mean(weights)
        row(kappa, "heat bath, reweighted", "plaquette", chains(np.stack(products) / mean + exact), exact)


if __name__ == "__main__":
    main()
