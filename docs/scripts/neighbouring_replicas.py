"""How much of the difference of two neighbouring actions of the Schwinger model loops can explain, as Markdown.

    python docs/scripts/neighbouring_replicas.py [--extent 16] [--samples 4096]

Configurations of the pure gauge theory are reweighted to each replica, at the couplings that match its plaquette to that of
the last one.  The difference of the actions of two neighbours is then fitted by the 26 classes of loops of the flows of
``gaugeflow demo trex-schwinger``, and by these and the sectors |Q| = 1 and |Q| >= 2.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np

from gaugeflow.observables import integer_charge
from gaugeflow.random import Rng
from gaugeflow.systems.schwinger_replicas import Coupling, draw_sample, matched, resampled
from gaugeflow.systems.trex_schwinger import Settings, correction
from gaugeflow.training import fit_linear


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extent", type=int, default=16)
    parser.add_argument("--samples", type=int, default=4096, help="configurations of the pure gauge theory")
    parser.add_argument("--seed", type=int, default=2502)
    given = parser.parse_args()
    settings, rng = Settings(extent=given.extent), Rng(given.seed)
    sample = draw_sample(settings.lattice, settings.prior_beta, settings.kappas, given.samples, rng.stream("sample"))
    couplings = [Coupling(c.kappa, c.beta) for c in matched(settings.beta, sample, sample)]
    potential = correction(settings, settings.lattice).potential
    print("| kappa | all | left by loops | left by loops and sectors |")
    print("|---|---|---|---|")
    for k, (here, there) in enumerate(pairwise(couplings)):
        own = sample.log_weight(here, k)
        chosen = resampled(rng.stream(k), own, given.samples // 4)
        difference = (own - sample.log_weight(there, k + 1))[chosen]
        links = np.ascontiguousarray(sample.links[..., chosen])
        charge = np.minimum(np.abs(integer_charge(settings.lattice, links)), 2.0)
        loops = potential.values(links)
        sectors = np.stack([(charge == q) * 1.0 for q in (1, 2)])
        left = [fit_linear(x, difference).variance_flow for x in (loops, np.concatenate([loops, sectors]))]
        numbers = " | ".join(f"{x:.2g}" for x in (float(np.var(difference)), *left))
        print(f"| {here.kappa:g} - {there.kappa:g} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
