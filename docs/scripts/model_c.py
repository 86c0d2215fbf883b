"""Measure and analyse the sources of model C: loops, dS/dkappa and what plain reweighting in kappa would cost.

    gaugeflow sample docs/runs/model-c-4.toml
    python docs/scripts/model_c.py docs/runs/model-c-4/ensemble.h5 --kappa 0.153 --out model-c-4.h5
    gaugeflow sample docs/runs/model-c-8.toml
    gaugeflow measure docs/runs/model-c-8/ensemble.h5 --hadrons --kappa 0.153 --channels pion --loops 2 --out hadrons-8
    python docs/scripts/model_c.py docs/runs/model-c-8/ensemble.h5 --kappa 0.153 --hadrons hadrons-8 --out model-c-8.h5

S = -2 log det D has the derivative O = dS/dkappa, which is computed exactly on small lattices, or read from the loops by noise
that `gaugeflow measure --hadrons --loops` has measured.  A step dkappa of plain reweighting has log-weights of variance
Var(O) dkappa^2.  The table of measurements that the script writes is small; given again, it is analysed without the ensemble.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io
from gaugeflow.analysis import gamma_method
from gaugeflow.determinants import d_kappa
from gaugeflow.lattice import Lattice
from gaugeflow.observables import plaquette, polyakov_loop
from gaugeflow.operators import Wilson

FLAVOURS, COMPONENTS = 2, 12


def measure(ensemble: Path, kappa: float, hadrons: Path | None) -> dict[str, Any]:
    """Columns of all configurations."""
    rows: dict[str, list[Any]] = {}
    with io.EnsembleFile.open(ensemble) as file:
        lattice = Lattice(file.shape)
        for part in file.batches(8):
            x = lattice.pack(part.links, components=1)
            loops = np.stack([polyakov_loop(lattice, x, mu) for mu in range(lattice.ndim)], axis=-1)
            found = {"chain": part.chain, "id": part.id, "plaquette": plaquette(lattice, x), "polyakov_loops": loops}
            if hadrons is None:
                derivative = d_kappa(Wilson(lattice=lattice, links=x, kappa=kappa)).derivative
                found["ds_dkappa"] = -FLAVOURS * derivative.real[:, None]
            for name, values in found.items():
                rows.setdefault(name, []).append(values)
    columns = {name: np.concatenate(parts) for name, parts in rows.items()}
    if hadrons is not None:
        table, attributes = io.read_table(hadrons / "hadrons.h5")
        for name in ("chain", "id"):
            if table[name].tolist() != columns[name].tolist():
                raise SystemExit(f"{hadrons} was measured on other configurations than {ensemble}: {name} differs")
        if attributes["parameters"]["kappa"] != kappa:
            raise SystemExit(f"{hadrons} was measured at kappa {attributes['parameters']['kappa']}, expected {kappa}")
        trace = table["loops"][:, attributes["labels"]["structure"].index("1")].sum(axis=-1).real
        columns["ds_dkappa"] = (FLAVOURS / kappa) * (trace - COMPONENTS * lattice.volume)
    return columns


def estimate(columns: dict[str, Any], values: Any) -> Any:
    """Gamma method on the chains."""
    return gamma_method([values[columns["chain"] == c] for c in np.unique(columns["chain"])])


def variance(values: Any) -> Any:
    """Numbers whose mean is the variance of the exact O: products of the deviations of independent noises."""
    n, hits = values.shape
    deviations = (values - values.mean()) * math.sqrt(n / (n - 1))
    if hits == 1:
        return deviations[:, 0] ** 2
    pairs = [(i, j) for i in range(hits) for j in range(i)]
    return np.mean([deviations[:, i] * deviations[:, j] for i, j in pairs], axis=0)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("ensemble", type=Path, help="ensemble.h5, or a table that this script has written")
    options.add_argument("--kappa", type=float, default=0.153)
    options.add_argument("--hadrons", type=Path, help="folder of gaugeflow measure --hadrons --loops")
    options.add_argument("--out", type=Path, help="table of measurements to write")
    given = options.parse_args()
    if io.EnsembleFile.recognises(given.ensemble):
        columns = measure(given.ensemble, given.kappa, given.hadrons)
        with io.EnsembleFile.open(given.ensemble) as file:
            attributes = {**file.attributes, "shape": list(file.shape), "kappa": given.kappa}
        if given.out is not None:
            io.write_table(given.out, columns, attributes=attributes)
    else:
        columns, attributes = io.read_table(given.ensemble)
    volume = math.prod(attributes["shape"])
    derivative = columns["ds_dkappa"]
    print(f"{len(derivative)} configurations in {len(np.unique(columns['chain']))} chains")
    loops = np.abs(columns["polyakov_loops"])
    for name, values in (
        ("plaquette", columns["plaquette"]),
        ("|Polyakov loop|, time", loops[:, 0]),
        ("|Polyakov loop|, space", loops[:, 1:].mean(axis=1)),
        ("dS/dkappa per site", derivative.mean(axis=1) / volume),
        ("Var(dS/dkappa) per site", variance(derivative) / volume),
    ):
        print(f"{name:24} {estimate(columns, values)}")


if __name__ == "__main__":
    main()
