"""What a linearised flow without masks leaves of the operator of the momentum fraction, and the noise of its divergence.

    python docs/scripts/forces_without_masks.py --eta 0.04 --choices "F0 F1 F2 G1 G4" "F0 F1 G3"
    python docs/scripts/forces_without_masks.py --eta 0.02 0.02 0.02 0.02 0.04 0.04 0.08 --colours 2 8 16

A staple has the weights ``--eta`` in the steps of smearing, of which the last serves all further steps.  The tangents of all
fields are estimated twice with independent signs, on the same configurations.  The products of the two estimates give the
variance that the best coefficients leave, without the noise, and their differences give the noise, both per site and squared
lambda.
"""

from __future__ import annotations

import argparse

import numpy as np

from gaugeflow.actions import WilsonAction
from gaugeflow.devices import to_host
from gaugeflow.ensembles import SmearedForces
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng
from gaugeflow.systems.correlated_su3 import Settings, generate
from gaugeflow.training import fit_linear_noisy

GROUPS, CUT = 2, 1e-5


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shape", type=int, nargs="+", default=[4, 4, 4, 4])
    options.add_argument("--configurations", type=int, default=192, help="rounded up to --chains")
    options.add_argument("--chains", type=int, default=16, help="side by side")
    options.add_argument("--eta", type=float, nargs="+", default=SmearedForces.eta, help="of a staple")
    options.add_argument(
        "--choices", nargs="+", default=["F0 F6 G2 G4 G6 G8"], help="fields of each fit, as in 'F0 G2'"
    )
    options.add_argument("--colours", type=int, nargs="+", default=[2], help="colours of sites")
    options.add_argument("--beta", type=float, default=6.0)
    options.add_argument("--seed", type=int, default=8)
    given = options.parse_args()

    lattice, rng = Lattice(tuple(given.shape)), Rng(given.seed)
    blocks = -(-given.configurations // given.chains)
    chain = Settings(shape=lattice.shape, chains=given.chains, blocks=blocks)
    action = WilsonAction(lattice, given.beta)
    source = generate(lattice, chain, given.beta, rng, lambda done, total: None)
    operator = np.concatenate([to_host(action.d_anisotropy(x)) for x in source.blocks])
    print(f"{len(operator)} configurations; without a field {operator.var(ddof=1) / lattice.volume:.3g}")
    choices = [tuple(choice.split()) for choice in given.choices]
    steps = {kind: sorted({int(name[1:]) for c in choices for name in c if name[0] == kind}) for kind in "FG"}
    for colours in given.colours:
        fields = SmearedForces(
            lattice, tuple(steps["F"]), tuple(steps["G"]), tuple(given.eta), anisotropic=True, colours=colours
        )
        rows = []
        for number, x in enumerate(source.blocks):
            here, force = rng.stream(number), action.grad(x)
            both = [to_host(fields.tangents(here.stream(k), x, force)) for k in range(GROUPS)]
            rows.append(np.stack([of[:, 0, :] - of[:, 1, :] for of in both]))
        h = np.concatenate(rows, axis=-1)
        for choice in choices:
            chosen = h[:, [fields.fields.index(name) for name in choice], :]
            fit = fit_linear_noisy(chosen, np.stack([operator] * GROUPS), cut=CUT)
            apart = fit.coefficients @ (chosen[0] - chosen[1])
            left, noise = fit.variance_flow / lattice.volume, apart.var(ddof=1) / 2.0 / lattice.volume
            names = " ".join(f"{n} {c:.3f}" for n, c in zip(choice, fit.coefficients, strict=True))
            print(f"{colours} colours: {left:.4f} left, noise {noise:.4f}   {names}", flush=True)


if __name__ == "__main__":
    main()
