"""Variance of the log-weight per site of the smeared sweep, fitted on one volume and tested on another.

    python docs/scripts/log_weight_volumes.py --train 4 --extents 8 12 --configurations 48 --step 0.1

Coefficients are the linear fit on configurations of the training volume; none of them is used for the test.  What the fit
leaves is corrected for its number of coefficients.  Without extents there is no test.

    python docs/scripts/log_weight_volumes.py --without-masks --train 8 --fit 192 --extents 16 --configurations 160

takes fields that move all links at once; the log-weights of the finite step then carry the noise of a divergence.  Its
coefficients are fitted with two estimates, so that noise does not pull them towards zero.
"""

from __future__ import annotations

import argparse

import numpy as np

from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import ess, format_error, variance_per_site
from gaugeflow.ensembles import NoisyForces, SmearedForces
from gaugeflow.flows import SmearedSweep, Smearing
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng
from gaugeflow.systems.correlated_su3 import Settings, generate
from gaugeflow.training import fit_linear, fit_linear_noisy, log_weight

SWEEP = (2, 4)
"""Smearing steps of the gradients of the sweep."""


def ensemble(extent: int, beta: float, chains: int, count: int, rng: Rng):
    """Configurations of an extent^4 lattice, ten sweeps of heat bath and overrelaxation apart."""
    settings = Settings(shape=(extent,) * 4, chains=chains, blocks=-(-count // chains))
    return generate(Lattice(settings.shape), settings, beta, rng, lambda done, total: None)


def fields_of(given: argparse.Namespace, lattice: Lattice, noise: Rng) -> SmearedSweep | NoisyForces:
    """The sweep, or fields without masks; more smearing steps cost in proportion."""
    if given.without_masks:
        gradients = tuple(given.gradient_steps or SmearedForces.gradients)
        fields = SmearedForces(lattice, tuple(given.forces), gradients, tuple(given.eta), colours=given.colours)
        return fields.with_noise(noise)
    return SmearedSweep(lattice, smearing=Smearing.with_gradients(tuple(given.gradient_steps or SWEEP)))


def fit(given: argparse.Namespace, rng: Rng) -> np.ndarray:
    """Coefficients per unit step in beta."""
    lattice = Lattice((given.train,) * 4)
    action = WilsonAction(lattice, given.beta)
    source = ensemble(given.train, given.beta, 8 if given.without_masks else 32, given.fit, rng)
    estimates = 2 if given.without_masks else 1

    def tangents(estimate: int) -> np.ndarray:
        signs = rng.stream(f"signs {estimate}")
        blocks = enumerate(source.blocks)
        rows = [fields_of(given, lattice, signs.at(k)).tangent(x, action.grad(x))[:, 0] for k, x in blocks]
        return np.concatenate(rows, axis=-1)

    h = np.stack([tangents(k) for k in range(estimates)])
    operator = np.concatenate([action.d_beta(x) for x in source.blocks])
    found = fit_linear(h[0], operator) if estimates == 1 else fit_linear_noisy(h, np.stack([operator] * estimates))
    n = len(operator)
    left = found.variance_flow / lattice.volume * n / (n - h.shape[1] - 1)
    print(f"{given.train}^4 fit on {n}: variance/site/step^2 {left:.4f}({left * (2 / n) ** 0.5:.4f})")
    return found.coefficients


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--train", type=int, default=4, help="extent of the training lattice")
    options.add_argument("--fit", type=int, default=192, help="configurations of the fit, rounded up to 32 chains")
    options.add_argument("--extents", type=int, nargs="*", default=[8], help="extents to test on")
    options.add_argument("--gradient-steps", type=int, nargs="+", help="smearing steps of the fields G")
    options.add_argument("--without-masks", action="store_true", help="fields of all links in place of the sweep")
    options.add_argument("--forces", type=int, nargs="*", default=[0], help="smearing steps of the fields F")
    options.add_argument(
        "--eta", type=float, nargs="+", default=SmearedForces.eta, help="of a staple without masks; the last one stays"
    )
    options.add_argument("--colours", type=int, default=4, help="of sites in a divergence without masks")
    options.add_argument("--configurations", type=int, default=48, help="of the test, rounded up to 8 chains")
    options.add_argument("--beta", type=float, default=6.02)
    options.add_argument("--step", type=float, default=0.01)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()

    rng = Rng(given.seed)
    coefficients = fit(given, rng.stream("training"))
    print("coefficients per unit step:", np.round(coefficients, 4))
    for extent in given.extents:
        lattice = Lattice((extent,) * 4)
        source, target = WilsonAction(lattice, given.beta), WilsonAction(lattice, given.beta + given.step)
        params, signs = {"delta": coefficients[:, None] * given.step}, rng.stream(f"signs {extent}")
        weights, plain = [], []
        test = ensemble(extent, given.beta, 8, given.configurations, rng.stream(f"test {extent}"))
        for number, x in enumerate(test.blocks):
            fields = fields_of(given, lattice, signs.at(number))
            weights.append(log_weight(fields, params, source, target, x)[1])
            plain.append(source.value(x) - target.value(x))
        for name, blocks in (("plain", plain), ("flow", weights)):
            chains = list(np.stack(blocks).T)
            variance = variance_per_site(chains, lattice.volume).from_variance
            size = ess(chains)
            print(
                f"{extent}^4 {name:5s} variance/site/step^2",
                format_error(variance.value / given.step**2, variance.error / given.step**2),
                "ESS",
                format_error(size.value, size.error),
                flush=True,
            )


if __name__ == "__main__":
    main()
