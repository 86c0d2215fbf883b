"""What the masks of a smeared sweep cost: linear log-weights of the same configurations with each of them.

    python docs/scripts/flow_masks.py --extent 8 --configurations 512 --gradient-steps 2 4 12 --backend cupy

Links of a layer that move together do not see each other, and what they would have seen is missing from the vector field.
For every kind of masks the coefficients are fitted by linear least squares, cross-validated over eight groups of chains, and
the variance of the residual log-weight is printed per site and squared step, with its difference to the first kind.
"""

from __future__ import annotations

import argparse

import numpy as np

from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import format_error
from gaugeflow.backend import use_backend
from gaugeflow.devices import to_host
from gaugeflow.flows import SmearedSweep, Smearing
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng
from gaugeflow.systems.correlated_su3 import Settings, generate

GROUPS = 8


def cross_validated(tangents: np.ndarray, operator: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Residuals of the fit of the operator, each with coefficients of the other groups of chains."""
    centred = tangents - tangents.mean(axis=1, keepdims=True)
    target = operator - operator.mean()
    left = np.empty_like(target)
    for number in range(GROUPS):
        out = group == number
        found = np.linalg.lstsq(centred[:, ~out].T, target[~out], rcond=None)[0]
        left[out] = target[out] - found @ centred[:, out]
    return left


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--extent", type=int, default=8, help="a multiple of 8")
    options.add_argument("--configurations", type=int, default=512, help="rounded up to --chains")
    options.add_argument("--chains", type=int, default=32, help="side by side; a multiple of 8")
    options.add_argument(
        "--gradient-steps", type=int, nargs="+", default=[2, 4, 12], help="smearing steps of the fields G"
    )
    options.add_argument("--masks", nargs="+", default=["sum4", "sum8", "parity"], help="kinds of masks")
    options.add_argument("--beta", type=float, default=6.02)
    options.add_argument("--seed", type=int, default=8)
    options.add_argument("--backend", default="numba")
    given = options.parse_args()

    lattice = Lattice((given.extent,) * 4)
    blocks = -(-given.configurations // given.chains)
    settings = Settings(shape=lattice.shape, chains=given.chains, blocks=blocks)
    action = WilsonAction(lattice, given.beta)
    smearing = Smearing.with_gradients(tuple(given.gradient_steps))
    with use_backend(given.backend):
        source = generate(lattice, settings, given.beta, Rng(given.seed), lambda done, total: None)
        operator = np.concatenate([to_host(action.d_beta(x)) for x in source.blocks])
        group = np.tile(np.arange(given.chains) % GROUPS, blocks)
        first = None
        for masks in given.masks:
            sweep = SmearedSweep(lattice, smearing=smearing, masks=masks)
            tangents = [to_host(sweep.tangent(x, action.grad(x)))[:, 0] for x in source.blocks]
            square = cross_validated(np.concatenate(tangents, axis=-1), operator, group) ** 2 / lattice.volume
            first = square if first is None else first
            mean, difference = ((z.mean(), z.std() / np.sqrt(len(z))) for z in (square, square - first))
            print(
                f"{masks:7s} variance/site/step^2 {format_error(*mean)}  difference {difference[0]:+.4f}({difference[1]:.4f})"
            )


if __name__ == "__main__":
    main()
