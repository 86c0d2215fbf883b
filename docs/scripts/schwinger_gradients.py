"""Noise and cost of gradients of the reverse Kullback-Leibler divergence, with and without the gradient of log det D.

The block flow of pure U(1) at beta = 2 on 16 x 16, and the Schwinger model at kappa = 0.25 as its target:

    python docs/scripts/schwinger_gradients.py
"""

import time

import numpy as np

from gaugeflow import tree
from gaugeflow.actions import Determinant, Sum, WilsonAction
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Wilson
from gaugeflow.priors import Haar
from gaugeflow.random import Rng
from gaugeflow.systems import u1
from gaugeflow.systems.schwinger_slices import angles_of, log_det
from gaugeflow.training import PriorAction, reverse_kl, reverse_kl_path, reverse_kl_reinforce

KAPPA, BATCH, BATCHES = 0.25, 32, 10


class Quarks:
    """-2 log abs det D, its value by slices and its gradient from the inverse."""

    def __init__(self, lattice):
        self.lattice = lattice
        self.dense = Determinant(Wilson(lattice=lattice, kappa=KAPPA, boundary=(-1.0, 1.0)), 2.0, 32)

    def value(self, x):
        return -2.0 * log_det(KAPPA, angles_of(self.lattice, x))[0]

    def grad(self, x):
        return self.dense.grad(x)


def flat(params):
    leaves = tree.flatten(params)
    return np.concatenate([np.ravel(leaves[name]) for name in sorted(leaves)])


def main():
    lattice = Lattice((16, 16))
    flow = u1.make_flow(16, u1.Settings())
    params = u1.carried(flow, u1.shipped()["beta 2"])
    prior = Haar(lattice, 1)
    source, target = PriorAction(prior), Sum((WilsonAction(lattice, 2.0), Quarks(lattice)))
    for name, loss in (("path", reverse_kl_path), ("plain", reverse_kl), ("reinforce", reverse_kl_reinforce)):
        loss(flow, params, source, target, prior.sample(Rng(1), BATCH))
        start = time.process_time()
        draws = (prior.sample(Rng(1).at(i), BATCH) for i in range(BATCHES))
        found = np.array([flat(loss(flow, params, source, target, x).gradient) for x in draws])
        cost = 1e3 * (time.process_time() - start) / (BATCH * BATCHES)
        noise = BATCH * float(np.sum(np.var(found, axis=0, ddof=1)))
        print(f"{name}: {cost:.2f} ms and variance {noise:.0f} per configuration, product {cost * noise:.0f}")


if __name__ == "__main__":
    main()
