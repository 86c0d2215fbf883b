"""Noise of slice observables after averages over slabs, with and without fields of sources: SU(3), 8^4, beta = 5.9.

    python docs/scripts/slab_slices.py --stout 4

O_t is the sum of the spatial plaquettes of slice t, made of links that are smeared in space.  Printed is the share of the
variance of O_t that remains on slices inside the slabs: what two-point functions at large times gain is the product of the
shares of both.  The fields are the forces of plaquettes.  Their coefficients are fitted on the first half of the
configurations, and the second half gives the shares.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import Series, fit_sources, improved
from gaugeflow.ensembles import PlaquetteSources, Slabs
from gaugeflow.lattice import Lattice, suggest_fold
from gaugeflow.observables import plaquette_slices, stout
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extent", type=int, default=8)
    parser.add_argument("--beta", type=float, default=5.9)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--stout", type=int, default=0, help="steps of smearing in space, rho = 0.1")
    parser.add_argument("--thickness", type=int, default=4)
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--burn-in", type=int, default=100)
    chosen = parser.parse_args()
    n, rng = chosen.extent, Rng(108014)
    lattice = Lattice((n,) * 4, (1, *suggest_fold((n,) * 3, 8)))
    sampler, action, fields = (
        HeatBath(lattice, chosen.beta),
        WilsonAction(lattice, chosen.beta),
        PlaquetteSources(lattice),
    )
    slabs = Slabs(lattice, chosen.beta, chosen.thickness, chosen.updates)

    def measured(x: Any) -> Any:
        """O_t and h_t of all fields, ``(fields + 1, T, batch)``."""
        smooth = stout(lattice, x, 0.1, chosen.stout, spatial=True) if chosen.stout else x
        return np.concatenate([plaquette_slices(lattice, smooth)[None], fields.tangents(x, action.grad(x))])

    state, rows, seconds = sampler.hot(rng.stream("start"), 3), [], []
    for step in range(chosen.burn_in + 8 * chosen.rows):
        state, _ = sampler.step(rng.stream("chain"), state)
        if step >= chosen.burn_in and (step - chosen.burn_in) % 8 == 7:
            start = time.perf_counter()
            single = measured(state.x)
            middle = time.perf_counter()
            mean, _ = slabs.slice_means(rng.stream("slabs").at(step), state.x, measured)
            seconds.append((middle - start, time.perf_counter() - middle))
            rows.append(np.stack([single, mean]))
    table = np.stack(rows)  # (rows, 2, fields + 1, T, batch)
    half = len(table) // 2
    inside = [t for t in range(n) if t % chosen.thickness]
    reference = None
    for kind, name in enumerate(("one configuration", f"slabs of {chosen.thickness}, {chosen.updates} updates")):
        first, second = (
            [Series.from_lanes(part[:, kind, i]) for i in range(table.shape[2])]
            for part in (table[:half], table[half:])
        )
        coefficients = fit_sources(first[0], first[1:], 0)
        for label, series in (("", second[0]), (" and fields", improved(second[0], second[1:], coefficients))):
            variance = float(np.mean(np.concatenate(series.fluctuations)[:, inside] ** 2))
            reference = reference or variance
            share = variance / reference
            print(f"{name + label:40s} share {share:.3g}, two slices: variance / {1 / share**2:.3g}")
    print("seconds of a measurement, plain and by slabs:", *(f"{s:.3g}" for s in np.median(seconds, axis=0)))


if __name__ == "__main__":
    main()
