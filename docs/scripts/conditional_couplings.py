"""Couplings of pseudofermions with networks, trained, beside a hopping series: what both leave of the marginal ESS.

The Schwinger model with two flavours at beta = 2, without preconditioning, one pseudofermion field.  The couplings are those of
arXiv:2207.08945 with gauge-invariant networks.  They are trained by maximum likelihood: at links of the prior, the mean of
``S - log det C`` over pseudofermions is made small with Adam, from gradients by hand.
"""

import argparse
import time

import numpy as np

from gaugeflow import nn, tree
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import ess
from gaugeflow.determinants import log_det
from gaugeflow.flows import ConditionalChain, HoppingCoupling
from gaugeflow.kernels import fermion_dot
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Wilson, gaussian
from gaugeflow.random import Rng
from gaugeflow.solvers import cg
from gaugeflow.systems.joint import eigenvalues, factors
from gaugeflow.systems.schwinger_prior import PlaquettePrior
from gaugeflow.training import Adam, cosine


def main() -> None:
    """Train, then print variances at fixed links and ESS from other configurations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extent", type=int, default=8)
    parser.add_argument("--kappa", type=float, default=0.25)
    parser.add_argument("--prior-beta", type=float, default=2.2)
    parser.add_argument("--pairs", type=int, default=4, help="couplings of even and of odd sites")
    parser.add_argument("--width", type=int, default=8, help="channels of the hidden layer")
    parser.add_argument("--by-direction", action="store_true")
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--configurations", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    lattice = Lattice((chosen.extent, chosen.extent))
    prior = PlaquettePrior(lattice, chosen.prior_beta)
    operator = Wilson(lattice=lattice, kappa=chosen.kappa)
    rng = Rng(chosen.seed)
    words = ((1, 2, -1, -2), (1, 1, 2, -1, -1, -2), (1, 2, 2, -1, -2, -2))
    numbers = 2 + (4 * lattice.ndim if chosen.by_direction else 4)
    net = nn.convolutional(lattice, (2 * len(words), chosen.width, numbers), activation=nn.Tanh())
    flow = ConditionalChain(
        tuple(
            HoppingCoupling(operator, net, parity, words, by_direction=chosen.by_direction)
            for _ in range(chosen.pairs)
            for parity in (0, 1)
        )
    )
    params = flow.init(rng.stream("start"))
    adam = Adam(cosine(chosen.rate, chosen.updates))
    state = adam.init(params)
    start = time.process_time()
    recent = []
    for step in range(chosen.updates):
        here = rng.stream("training").at(step)
        x = prior.sample(here.stream("links"), chosen.batch)
        d = operator.with_links(x)
        eta = gaussian(here.stream("noise"), d)
        phi, change = flow.forward(params, x, eta)
        solved = cg(d, phi, tolerance=1e-8).x
        value = fermion_dot(lattice, phi, solved).real - fermion_dot(lattice, eta, eta).real - change
        recent.append(float(np.mean(value + 2.0 * log_det(d).log_abs)))
        share = 1.0 / chosen.batch
        bar, _, _ = flow.vjp(params, x, eta, phi, 2.0 * share * solved, np.full(chosen.batch, -share))
        params, state = adam.update(state, params, bar)
        if step % 100 == 99:
            seconds = time.process_time() - start
            print(f"{step + 1:6d} updates, divergence {np.mean(recent[-100:]):.4f}, {seconds:.0f} s", flush=True)
    print(f"{sum(leaf.size for leaf in tree.flatten(params).values())} parameters")

    x = prior.sample(rng.stream("test"), chosen.configurations)
    own = -WilsonAction(lattice, 2.0).value(x) - prior.log_prob(x)
    exact = 2.0 * log_det(operator.with_links(x)).log_abs
    totals = {"marginal": exact}
    eta = gaussian(rng.stream("test noise"), operator.with_links(x))
    phi, change = flow.forward(params, x, eta)
    solved = cg(operator.with_links(x), phi, tolerance=1e-8).x
    totals["couplings"] = (fermion_dot(lattice, eta, eta) - fermion_dot(lattice, phi, solved)).real + change
    fitted = prior.sample(rng.stream("fit"), 256)
    for order in (1, 2, 4):
        (factor,) = factors(operator, order, 1, preconditioned=False)
        c = factor.fit(eigenvalues(factor.flow, fitted), np.ones(256))
        totals[f"series of order {order}"] = factor.draw(rng.stream(order), c, x, factor.flow.traces(x))[1]
    shares = np.exp(own + exact - np.max(own + exact))
    for name, total in totals.items():
        error = total - exact
        error = error - np.average(error, weights=shares)
        print(f"{name:20s} ESS {ess(own + total)}, variance at fixed links {np.average(error**2, weights=shares):.3f}")


if __name__ == "__main__":
    main()
