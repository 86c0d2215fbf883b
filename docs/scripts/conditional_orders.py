"""What pseudofermions by hopping series cost: ESS of joint samplers over that of the marginal one, from spectra alone.

The Schwinger model with two flavours, beta = 2.  Nothing fluctuates but links: the mean over pseudofermions at fixed links is
known in closed form (docs/derivations/conditional.md).  Fits use one half of the configurations and tables the other one.
"""

import argparse

import numpy as np

from gaugeflow.actions import WilsonAction
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng
from gaugeflow.systems.joint import eigenvalues, factors
from gaugeflow.systems.schwinger_prior import PlaquettePrior


def main() -> None:
    """Print a table for one kappa."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extent", type=int, default=8)
    parser.add_argument("--kappa", type=float, default=0.276)
    parser.add_argument("--prior-beta", type=float, default=2.4)
    parser.add_argument("--configurations", type=int, default=1600)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    lattice = Lattice((chosen.extent, chosen.extent))
    prior = PlaquettePrior(lattice, chosen.prior_beta)
    x = prior.sample(Rng(chosen.seed), chosen.configurations)
    operator = Wilson(lattice=lattice, kappa=chosen.kappa)
    spectrum = eigenvalues(factors(operator, 1, 1)[0].flow, x)
    log_weight = np.sum(np.log(spectrum), axis=1) - WilsonAction(lattice, 2.0).value(x) - prior.log_prob(x)
    weights = np.exp(log_weight - np.max(log_weight))
    half = chosen.configurations // 2
    fit, rest = slice(0, half), slice(half, None)
    print(f"marginal ESS {np.mean(weights[rest]) ** 2 / np.mean(weights[rest] ** 2):.3f}")
    print("order  hops  ESS joint / ESS marginal with 1, 2, 3 and 4 pseudofermion fields")
    for order in (1, 2, 3, 4, 6, 8):
        shares = []
        for count in (1, 2, 3, 4):
            log_ess = np.zeros(len(weights[rest]))
            for factor in factors(operator, order, count):
                c = factor.fit(spectrum[fit], weights[fit])["c"]
                series = np.polynomial.chebyshev.chebval(1.0 - spectrum[rest] / factor.flow.scale, c)
                s = np.exp(2.0 * series - factor.log_values(spectrum[rest]))
                good = 2.0 * s > 1.0
                logs = np.log(np.where(good, 2.0 * s - 1.0, 1.0)) - 2.0 * np.log(s)
                log_ess += np.where(np.all(good, axis=1), np.sum(logs, axis=1), -np.inf)
            squares = weights[rest] ** 2
            shares.append(np.mean(squares) / np.mean(squares * np.exp(-log_ess)))
        print(f"{order:5d} {4 * order:5d}  " + " ".join(f"{share:8.3f}" for share in shares))


if __name__ == "__main__":
    main()
