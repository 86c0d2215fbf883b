"""How much of the variance of dS/dkappa vector fields remove: smeared loops, and the force of the quarks.

    gaugeflow sample docs/runs/model-c-8.toml
    python docs/scripts/quark_mass_fields.py docs/runs/model-c-8/ensemble.h5 --kappa 0.153 --gradients 2 4 8 12
    python docs/scripts/quark_mass_fields.py docs/runs/model-c-8/ensemble.h5 --kappa 0.153 --force 0.153 0.14
    python docs/scripts/quark_mass_fields.py docs/runs/model-c-8/ensemble.h5 --without-masks 0 1 2 --gradients 1 4 8
    python docs/scripts/quark_mass_fields.py docs/runs/model-c-4/ensemble.h5 --kappa 0.153 --vectors 0

Tangents h = div X - X.dS of every field and O = dS/dkappa are measured with two groups of noise vectors.  Linear fits then say
what variance of O they leave, without the noise; in the last column coefficients are those of the other chains.  With --force
the fields are gradients of log det D at other values of kappa, whose divergence is the Laplacian; with --without-masks they
are forces and gradients of smeared links that move all links at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import gamma_method, noisy_variance
from gaugeflow.determinants import hopping_noise, log_det_laplacian
from gaugeflow.ensembles import QuarkSource, SmearedForces, quark_tangents
from gaugeflow.flows import SmearedSweep, Smearing
from gaugeflow.groups import SU
from gaugeflow.lattice import Array, Lattice
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng
from gaugeflow.training import fit_linear, fit_linear_noisy

BATCH = 8


def force_tangents(
    source: QuarkSource, kappas: list[float], vectors: int, rng: Rng, x: Array
) -> tuple[list[list[Array]], list[Array]]:
    """Laplacian - <gradient, dS> of log det D(kappa') by groups of noise, and O."""
    group = SU(source.operator.lattice)
    h, operators = [], []
    for k, one in enumerate(source.estimates(rng, x)):
        row = []
        for kappa in kappas:
            bound = Wilson(lattice=source.operator.lattice, links=x, kappa=kappa)
            if vectors == 0:
                exact = log_det_laplacian(bound)
                row.append(exact.laplacian - group.inner(exact.gradient, one.force))
                continue
            noise = hopping_noise(rng.stream("field").stream(k).stream(f"{kappa:g}"), bound, vectors)
            row.append(noise.laplacian - group.inner(noise.gradient, one.force))
        h.append(row)
        operators.append(one.operator)
    return h, operators


def left(h: Any, operator: Any, chain: Any) -> tuple[Any, Any]:
    """Variance that a fit leaves, on the configurations of the fit and on chains that it has not seen."""
    parts = [chain == c for c in np.unique(chain)]

    def residual(rows: Any, fitted: Any) -> Any:
        fit = fit_linear if len(h) == 1 else fit_linear_noisy
        given = (h[0], operator[0]) if len(h) == 1 else (h, operator)
        c = fit(given[0][..., fitted], given[1][..., fitted]).coefficients
        return (operator - np.einsum("f,gfn->gn", c, h))[:, rows]

    everything = np.ones(len(chain), dtype=bool)
    own = residual(everything, everything)
    seen = noisy_variance(*([x[p] for p in parts] for x in own))
    others = [residual(p, ~p) for p in parts]
    unseen = noisy_variance(*([o[g] for o in others] for g in range(len(operator))))
    return gamma_method(seen), gamma_method(unseen)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("ensemble", type=Path)
    options.add_argument("--beta", type=float, default=5.6)
    options.add_argument("--kappa", type=float, default=0.153)
    options.add_argument("--gradients", type=int, nargs="+", default=[2, 4])
    options.add_argument(
        "--force", type=float, nargs="+", default=[], help="kappas of fermion forces, instead of smeared loops"
    )
    options.add_argument(
        "--without-masks", type=int, nargs="+", default=[], help="steps of forces, beside --gradients, of all links"
    )
    options.add_argument(
        "--eta", type=float, nargs="+", default=[0.04], help="of a staple without masks; the last one stays"
    )
    options.add_argument("--colours", type=int, default=2, help="of sites in a divergence without masks")
    options.add_argument("--vectors", type=int, default=4, help="noise vectors of each of two groups; 0: exactly")
    options.add_argument("--every", type=int, default=1, help=f"take every n-th batch of {BATCH} configurations")
    options.add_argument("--first", type=int, default=0, help="leave out configurations with smaller numbers")
    given = options.parse_args()
    hs, operators, chains = [], [], []
    with io.EnsembleFile.open(given.ensemble) as file:
        lattice = Lattice(file.shape)
        source = QuarkSource(
            WilsonAction(lattice, given.beta), Wilson(lattice=lattice, kappa=given.kappa), 2, given.vectors
        )
        gradients = tuple(given.gradients)
        if given.without_masks:
            flow: Any = SmearedForces(
                lattice, tuple(given.without_masks), gradients, tuple(given.eta), colours=given.colours
            )
        else:
            flow = SmearedSweep(lattice, 3, Smearing.with_gradients(gradients))
        for k, part in enumerate(file.batches(BATCH)):
            if k % given.every or min(part.id) < given.first:
                continue
            x, rng = lattice.pack(part.links, components=1), Rng(7).at(k)
            if given.force:
                h, o = force_tangents(source, given.force, given.vectors, rng, x)
            else:
                h, o = quark_tangents(flow, source, rng, x)
            hs.append(np.asarray(h))
            operators.append(np.asarray(o))
            chains.append(part.chain)
    h, operator, chain = (np.concatenate(parts, axis=-1) for parts in (hs, operators, chains))
    names = [f"F({kappa:g})" for kappa in given.force] or list(flow.fields)
    plain = gamma_method(noisy_variance(*([o[chain == c] for c in np.unique(chain)] for o in operator)))
    value, error = plain.value / lattice.volume, plain.error / lattice.volume
    print(f"{len(chain)} configurations; variance of dS/dkappa per site: {value:.1f}({error:.1f})")
    print(f"h: mean over its error {np.round(h.mean(axis=(0, 2)) / h.mean(axis=0).std(axis=1) * len(chain) ** 0.5, 1)}")
    for count in range(1, len(names) + 1):
        seen, unseen = left(h[:, :count], operator, chain)
        values = [f"{e.value / lattice.volume:.1f}({e.error / lattice.volume:.1f})" for e in (seen, unseen)]
        print(f"{' '.join(names[:count]):36} left {values[0]:14} other chains {values[1]}")


if __name__ == "__main__":
    main()
