"""What is slow in dS/dkappa, and in what the flow leaves of it: the energy that long gradient flows keep (docs/quark_mass.md).

    gaugeflow sample docs/runs/model-c-8.toml
    gaugeflow train docs/runs/quark-mass-8.toml
    gaugeflow derive docs/runs/quark-mass-8.toml
    python docs/scripts/quark_mass_slow.py docs/runs/model-c-8/ensemble.h5 docs/runs/quark-mass-8/measurements.h5

Energies E(t) of the Wilson flow and topological charges of the configurations in the table of ``derive`` are set beside
O = dS/dkappa and r = div X - X.dS - O.  Printed are, without the noise of the traces: the variance, correlations with E(t) for
single configurations and for the means of chains, what linear functions of E at all times leave on chains that the fit has not
seen, and the growth of the variance of means over blocks of a chain.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from gaugeflow import io
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import flow_history

BLOCKS = (1, 4, 12)


def read_tables(paths: list[Path]) -> dict[str, Array]:
    """Columns of the measurements of one run, or of all its parts, sorted by chain and number."""
    tables = [dict(io.read_table(path)[0]) for path in paths]
    columns = {name: np.concatenate([np.asarray(t[name]) for t in tables]) for name in tables[0]}
    order = np.lexsort((columns["id"], columns["chain"]))
    return {name: values[order] for name, values in columns.items()}


def flowed(path: Path, chain: Array, number: Array, times: list[float], step: float) -> tuple[Array, Array]:
    """E(t), (times, configurations), and the charge at the last time."""
    energies, charges = [], []
    with io.EnsembleFile.open(path) as file:
        lattice = Lattice(file.shape)
        place = {key: row for row, key in enumerate(zip(np.asarray(file.chain), np.asarray(file.id), strict=True))}
        rows = [place[key] for key in zip(chain, number, strict=True)]
        for start in range(0, len(rows), 8):
            links = np.concatenate([file.read(row, row + 1).links for row in rows[start : start + 8]])
            found = flow_history(lattice, lattice.pack(links, components=1), times, step=step)
            energies.append(np.asarray(found.e_clover_spatial + found.e_clover_temporal))
            charges.append(np.asarray(found.q[-1]))
    return np.concatenate(energies, axis=1), np.concatenate(charges)


def covariance(a: Array, b: Array) -> Array:
    """Covariance of two estimates with independent noise, the mean of both orders."""
    return 0.5 * (np.cov(a[0], b[1])[0, 1] + np.cov(a[1], b[0])[0, 1])


def left(y: Array, functions: Array, chain: Array) -> Array:
    """y, (2, configurations), less the linear function that the other chains give."""
    rest = np.empty_like(y)
    for c in np.unique(chain):
        seen = chain != c
        matrix = np.stack([np.ones(len(chain)), *functions], axis=1)
        fit = np.linalg.lstsq(matrix[seen], y[:, seen].mean(axis=0), rcond=None)[0]
        rest[:, ~seen] = y[:, ~seen] - matrix[~seen] @ fit
    return rest


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("ensemble", type=Path)
    options.add_argument("measurements", type=Path, nargs="+")
    options.add_argument("--times", type=float, nargs="+", default=[0.5, 1.0, 2.0, 3.0])
    options.add_argument("--step", type=float, default=0.1)
    options.add_argument("--charge", type=int, help="only configurations of this charge at the last flow time")
    given = options.parse_args()
    table = read_tables(given.measurements)
    chain, number = table["chain"], table["id"]
    energy, charge = flowed(given.ensemble, chain, number, given.times, given.step)
    if given.charge is not None:
        kept = np.round(charge) == given.charge
        table = {name: values[kept] for name, values in table.items()}
        chain, energy, charge = chain[kept], energy[:, kept], charge[kept]
    with io.EnsembleFile.open(given.ensemble) as file:
        volume = Lattice(file.shape).volume
    parts = [chain == c for c in np.unique(chain)]
    print(
        f"{len(chain)} configurations in {len(parts)} chains; <Q^2> = {np.mean(charge**2):.2f} at t = {given.times[-1]:g}"
    )
    functions = [(f"E({t:g})", e) for t, e in zip(given.times, energy, strict=True)] + [("|Q|", np.abs(charge))]
    for name in ("operator", "residual"):
        y = np.stack([table[f"noise|{name} {group}"] for group in (0, 1)])
        variance = covariance(y, y)
        print(f"{name}: variance per site {variance / volume:.1f}")
        for label, x in functions:
            single = covariance(y, np.stack([x, x])) / np.sqrt(variance * np.var(x, ddof=1))
            means = np.corrcoef([y.mean(axis=0)[p].mean() for p in parts], [x[p].mean() for p in parts])[0, 1]
            print(f"    correlation with {label}: {single:.2f}, of the means of chains {means:.2f}")
        rest = left(y, energy, chain)
        print(f"    left by linear functions of E, other chains: {covariance(rest, rest) / variance:.2f}")
        for label, of in (("", y), (" of what they leave", rest)):
            grown = [covariance(b, b) * n / covariance(of, of) for n in BLOCKS for b in (blocked(of, parts, n),)]
            shown = ", ".join(f"{g:.1f} ({n})" for g, n in zip(grown, BLOCKS, strict=True))
            print(f"    variance{label}, n times that of means over n configurations: {shown}")


def blocked(y: Array, parts: list[Array], length: int) -> Array:
    """Means over blocks of successive configurations of every chain."""
    rows = [y[:, p][:, : p.sum() // length * length].reshape(len(y), -1, length).mean(axis=-1) for p in parts]
    return np.concatenate(rows, axis=1)


if __name__ == "__main__":
    main()
