"""Measure the scales t_0 and w_0 and the topological charge of an ensemble along the gradient flow.

    python docs/scripts/flow_scales.py ensemble/ensemble.h5 --time 2.5 --out scales

The file is an ensemble as docs/scripts/generate_ensemble.py or `gaugeflow sample` makes it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from gaugeflow import io, plots
from gaugeflow.analysis import by_chain, derive, gamma_method, topological_susceptibility
from gaugeflow.lattice import Lattice
from gaugeflow.observables import AdaptiveStep, flow_history, flow_time_where, w_0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("ensemble", type=Path)
    options.add_argument("--time", type=float, default=2.5, help="last flow time in a^2")
    options.add_argument("--spacing", type=float, default=0.1, help="of the measurements")
    options.add_argument("--level", type=float, default=0.3, help="c in t^2 <E> = c")
    options.add_argument("--flow", choices=("wilson", "symanzik"), default="wilson")
    options.add_argument("--tolerance", type=float, default=1e-5, help="of every step of the integrator")
    options.add_argument("--out", type=Path, default=Path("scales"))
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    times = tuple(np.arange(given.spacing, given.time + 0.5 * given.spacing, given.spacing).tolist())
    energies, charges, chains, numbers = [], [], [], []
    with io.EnsembleFile.open(given.ensemble) as file:
        lattice = Lattice(file.shape)
        for part in file.batches(8):
            x = lattice.pack(part.links, components=1)
            history = flow_history(lattice, x, times, step=AdaptiveStep(given.tolerance), flow=given.flow)
            energies.append(history.t2_e)
            charges.append(history.q[-1])
            chains.append(part.chain)
            numbers.append(part.id)
    chain, number = np.concatenate(chains), np.concatenate(numbers)
    energy, charge = np.concatenate(energies, axis=-1), np.concatenate(charges)
    t2_e = by_chain(energy.T, chain, number, "t2_e")
    for name, scale in (
        (f"t_{given.level:g}", lambda mean: flow_time_where(mean, times, given.level)),
        ("w_0", lambda mean: w_0(mean, times, given.level)),
    ):
        try:
            print(name, gamma_method(derive(scale, t2_e)))
        except ValueError as error:
            print(f"{name}: {error}")
    q = by_chain(charge, chain, number, "Q")
    print("Q", gamma_method(q), "  chi_top", gamma_method(topological_susceptibility(q, lattice.volume)))

    figure, ((axis,),) = plots.panels()
    parts = [gamma_method(part) for part in t2_e.split()]
    axis.errorbar(
        times, [p.value for p in parts], yerr=[p.error for p in parts], fmt=".-", ms=3, lw=0.8, color=plots.colour(0)
    )
    axis.axhline(given.level, color="0.5", lw=0.8, label=f"level {given.level:g}")
    axis.set(
        xlabel="$t/a^2$", ylabel=r"$t^2 \langle E\rangle$", title=f"{given.flow} flow, {len(charge)} configurations"
    )
    axis.legend()
    plots.save(figure, given.out / "t2_e.png")
    plots.history(given.out / "charge.png", q, label="topological charge $Q$")


if __name__ == "__main__":
    main()
