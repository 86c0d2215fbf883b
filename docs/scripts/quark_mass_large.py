"""Derivatives with respect to kappa on a lattice that is twice as long in time as that of an ensemble: docs/quark_mass.md.

    gaugeflow sample docs/runs/model-c-8.toml
    python docs/scripts/quark_mass_large.py docs/runs/model-c-8/ensemble.h5 --fit demo-quark-mass/flow.h5 --out large

Every chain starts with two copies of its last configuration and goes on by hybrid Monte Carlo.  The coefficients of the fields
are those that ``gaugeflow demo quark-mass`` has fitted on the short lattice.  The script goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from gaugeflow import io
from gaugeflow.analysis import format_error, gamma_method
from gaugeflow.ensembles import Measurements, MemoryEnsemble, along_quarks, measure_with_noise
from gaugeflow.random import Rng
from gaugeflow.samplers import Sample, run
from gaugeflow.systems.quark_mass import NAMES, Settings, System


def starts(path: Path, system: System) -> np.ndarray:
    """Two copies in time of the last configuration of every chain."""
    with io.EnsembleFile.open(path) as file:
        chain = np.asarray(file.chain)
        rows = [int(np.nonzero(chain == c)[0][-1]) for c in np.unique(chain)]
        links = np.concatenate([file.read(row, row + 1).links for row in rows])
    return system.lattice.pack(np.concatenate([links, links], axis=2), components=1)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("ensemble", type=Path)
    options.add_argument("--fit", type=Path, required=True)
    options.add_argument("--burn-in", type=int, default=40)
    options.add_argument("--rows", type=int, default=6)
    options.add_argument("--thin", type=int, default=5)
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with io.EnsembleFile.open(given.ensemble) as file:
        shape = (2 * file.shape[0], *file.shape[1:])
    system = System(replace(Settings(), shape=shape, burn_in=given.burn_in))
    x = starts(given.ensemble, system)
    coefficients = np.asarray(io.read_params(given.fit)[0]["delta"])
    measure = along_quarks(system.flow, coefficients, system.source, system.observables)
    data = Measurements()
    table = given.out / "measurements.h5"
    if table.exists():
        columns = dict(io.read_table(table)[0])
        data.add(columns.pop("id"), columns.pop("chain"), columns)
    chains = x.shape[-1]

    def keep(sample: Sample) -> None:
        number = (sample.step - given.burn_in) // given.thin - 1
        if number * chains == len(data):
            block = MemoryEnsemble(system.lattice, (sample.state.x,), (number,))
            part = measure_with_noise(block, measure, Rng(78).stream("m"), chains).columns()
            data.add(part.pop("id"), part.pop("chain"), part)
            io.write_table(table, data.columns(), attributes=io.provenance())

    sampler = system.sampler(system.settings.kappa)
    steps = {"burn_in": given.burn_in, "thin": given.thin, "checkpoint_every": given.thin, "callback": keep}
    found = run(
        sampler,
        Rng(77).stream("16x8"),
        sampler.init(x),
        given.rows * given.thin,
        checkpoint=given.out / "hmc.h5",
        **steps,
    )
    print(f"acceptance {np.mean(found.records['accepted']):.2f}")
    report(data.columns(), system.lattice.volume)


def report(t: dict[str, np.ndarray], volume: int) -> None:
    """Means, derivatives by two estimators, and the ratio of the variances of single configurations with bootstrap errors."""
    o, r, n = t["linear|operator"], t["linear|residual"], len(t["id"])
    rng = np.random.default_rng(1)
    draws = [rng.integers(n, size=n) for _ in range(500)]

    def both(name: str, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        d = t[name][i] - t[name][i].mean()
        explicit = t[f"explicit|{name}"][i] if f"explicit|{name}" in t else 0.0
        return explicit - d * (o[i] - o[i].mean()), t[f"linear|{name}"][i] + d * (r[i] - r[i].mean())

    def shown(values: np.ndarray) -> str:
        found = gamma_method([values[t["chain"] == c] for c in np.unique(t["chain"])])
        return format_error(found.value, found.error)

    for name in NAMES:
        plain, flow = both(name, np.arange(n))
        gains = [a.var() / b.var() for a, b in (both(name, i) for i in draws)]
        gain = format_error(np.mean(gains), np.std(gains))
        print(f"{name}: {shown(t[name])}, epsilon {shown(plain)}, flow {shown(flow)}, gain {gain}")
    for name in ("operator", "residual"):
        a, b = t[f"noise|{name} 0"], t[f"noise|{name} 1"]
        products = [np.cov(a[i], b[i])[0, 1] / volume for i in draws]
        print(f"variance of the {name} per site without noise {format_error(np.mean(products), np.std(products))}")
    print(f"mean of div X - X.dS {shown(o + r)}")


if __name__ == "__main__":
    main()
