"""What a linearised flow without masks leaves of the operator of the momentum fraction, and the noise of its divergence.

    python docs/scripts/forces_without_masks.py --eta 0.0625 0.05 0.04

For every weight of a staple the tangents of all fields are estimated twice with independent signs, on the same configurations.
The products of the two estimates give the variance that the best coefficients leave, without the noise, and their differences
give the noise, both per site and squared lambda.  With ``--colours`` the noise is printed for several numbers of colours.
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
CHOICES = (
    ("F0",),
    ("F0", "G1", "G2"),
    ("F0", "F1", "F2"),
    ("F0", "F1", "G2"),
    ("F0", "F1", "G3"),
    ("F0", "F1", "G1", "G3"),
    ("F0", "F1", "G1", "G4"),
    ("F0", "F1", "F2", "G1", "G4"),
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shape", type=int, nargs="+", default=[4, 4, 4, 4])
    options.add_argument("--configurations", type=int, default=192, help="rounded up to --chains")
    options.add_argument("--chains", type=int, default=16, help="side by side")
    options.add_argument("--eta", type=float, nargs="+", default=[0.04], help="weights of a staple")
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
    for eta in given.eta:
        for colours in given.colours:
            fields = SmearedForces(lattice, (0, 1, 2), (1, 2, 3, 4), eta, anisotropic=True, colours=colours)
            rows = []
            for number, x in enumerate(source.blocks):
                here, force = rng.stream(number), action.grad(x)
                both = [to_host(fields.tangents(here.stream(k), x, force)) for k in range(GROUPS)]
                rows.append(np.stack([of[:, 0, :] - of[:, 1, :] for of in both]))
            h = np.concatenate(rows, axis=-1)
            for choice in CHOICES:
                chosen = h[:, [fields.fields.index(name) for name in choice], :]
                fit = fit_linear_noisy(chosen, np.stack([operator] * GROUPS), cut=CUT)
                apart = fit.coefficients @ (chosen[0] - chosen[1])
                noise = apart.var(ddof=1) / 2.0
                left, plus = fit.variance_flow / lattice.volume, noise / lattice.volume
                names = " ".join(f"{n} {c:.3f}" for n, c in zip(choice, fit.coefficients, strict=True))
                print(f"eta {eta:g}, {colours} colours: {left:.4f} left, noise {plus:.4f}   {names}", flush=True)


if __name__ == "__main__":
    main()
