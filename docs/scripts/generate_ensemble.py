"""Generate an SU(3) ensemble with heat bath and overrelaxation, check it against HMC, and keep it in a file.

    python docs/scripts/generate_ensemble.py --extent 8 --beta 5.8 --configurations 10 --out ensemble

Give the same command again to continue an interrupted run, with more configurations to prolong it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gaugeflow import io, plots
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import Series, gamma_method
from gaugeflow.lattice import Lattice
from gaugeflow.observables import LinkObservable, plaquette
from gaugeflow.random import Rng
from gaugeflow.samplers import HMC, HeatBath, Level, run


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--extent", type=int, default=8)
    options.add_argument("--beta", type=float, default=5.8)
    options.add_argument("--chains", type=int, default=8, help="lanes: one register of the processor")
    options.add_argument("--configurations", type=int, default=10, help="of each chain, 5 steps apart")
    options.add_argument("--burn-in", type=int, default=60)
    options.add_argument("--trajectories", type=int, default=40, help="of HMC for the comparison")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--out", type=Path, default=Path("ensemble"))
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    lattice = Lattice((given.extent,) * 4)
    rng = Rng(given.seed)
    observable = LinkObservable("P", lattice, plaquette)

    # one step: a heat-bath sweep and four overrelaxation sweeps
    sampler = HeatBath(lattice, given.beta)
    start = sampler.hot(rng.stream("start"), n=3, batch=given.chains)
    path = given.out / "ensemble.h5"
    described = io.provenance(seed=given.seed, beta=given.beta)
    if path.exists():
        file = io.EnsembleFile.open(path, append=True)
    else:
        file = io.EnsembleFile.create(
            path, shape=lattice.shape, n_colours=3, capacity=given.chains * given.configurations, attributes=described
        )
    with file:
        stored = set(file.id.tolist())

        def keep(sample):
            if sample.step not in stored:  # after an interrupt, the last ones may be in the file already
                links = lattice.unpack(sample.state.x, components=1)
                file.append(links, id=sample.step, chain=range(given.chains))

        chain = run(
            sampler,
            rng.stream("heat bath"),
            start,
            5 * given.configurations,
            burn_in=given.burn_in,
            thin=5,
            observe=[observable],
            callback=keep,
            checkpoint=given.out / "sampler.h5",
        )
    series = Series.from_lanes(chain.records["P"], name="plaquette")
    estimate = gamma_method(series)
    print(f"heat bath: plaquette {estimate}, tau_int {estimate.tau_int:.2f}, {series.n} configurations")
    plots.history(given.out / "plaquette.png", series)
    plots.autocorrelation(given.out / "autocorrelation.png", estimate)

    # HMC from the thermalised field: step size tuned to 80 % acceptance in the first half
    hmc = HMC(lattice, Level(WilsonAction(lattice, given.beta), steps=12), target=0.8, tune=given.trajectories // 2)
    checked = run(
        hmc,
        rng.stream("hmc"),
        hmc.init(chain.state.x),
        given.trajectories - given.trajectories // 2,
        burn_in=given.trajectories // 2,
        observe=[observable],
    )
    estimate = gamma_method(Series.from_lanes(checked.records["P"], name="plaquette"))
    acceptance = float(checked.records["probability"].mean())
    print(f"HMC: plaquette {estimate}, acceptance {acceptance:.2f}, step {checked.records['step_size'][-1]:.3f}")


if __name__ == "__main__":
    main()
