"""<Q Q'> of SU(3) on 4^4 at beta = 5.7 with the field grad Q: the numbers of docs/theta_mu_charge.md."""

from functools import partial

import numpy as np

from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import format_error, gamma_method
from gaugeflow.ensembles import Improved, Measurements, response, responses
from gaugeflow.flows import ChargeGradient
from gaugeflow.lattice import Lattice
from gaugeflow.observables import clover_charge, flow_step, plaquette_charge
from gaugeflow.random import Rng, haar_links
from gaugeflow.samplers import HeatBath
from gaugeflow.training import fit_linear

LANES, STEPS = 16, 40


def flowed_charge(lattice, steps, links):
    """Clover charge after steps of 0.1 of the gradient flow."""
    for _ in range(steps):
        links = flow_step(lattice, links, 0.1)
    return clover_charge(lattice, links)


def main():
    """Print the correlations with and without the field."""
    lattice, beta = Lattice((4, 4, 4, 4)), 5.7
    action, field, bath, rng = WilsonAction(lattice, beta), ChargeGradient(lattice), HeatBath(lattice, beta), Rng(4)
    state = bath.init(haar_links(rng.stream("hot"), lattice, 3, LANES))
    for _ in range(60):
        state, _ = bath.step(rng.stream("hb"), state)
    tangents, charges = [], []
    for k in range(100):
        state, _ = bath.step(rng.stream("hb"), state)
        if k % 5 == 0:
            tangents.append(field.tangent(state.x, action.grad(state.x)))
            charges.append(plaquette_charge(lattice, state.x))
    fit = fit_linear(np.concatenate(tangents, axis=1), np.concatenate(charges))
    print(f"coefficient {fit.coefficients[0]:.4f}, variance left {fit.variance_flow / fit.variance_plain:.3f}")
    operators = {"clover": partial(clover_charge, lattice)}
    operators |= {f"t = {0.1 * n:g}": partial(flowed_charge, lattice, n) for n in (5, 10)}
    improved = {"Q": Improved(partial(plaquette_charge, lattice), field, fit.coefficients)}
    measure, data = responses(improved, operators, action.grad), Measurements()
    for i in range(STEPS):
        for _ in range(5):
            state, _ = bath.step(rng.stream("hb"), state)
        data.add([i] * LANES, range(LANES), measure(state.x))
    for name in operators:
        found = {label: gamma_method(series) for label, series in response(data, "Q", name).items()}
        plain, with_field = found.values()
        values = ", ".join(f"{label} {format_error(-e.value, e.error)}" for label, e in found.items())
        print(f"<Q Q'>, {name}: {values}, gain {(plain.error / with_field.error) ** 2:.2f}")


if __name__ == "__main__":
    main()
