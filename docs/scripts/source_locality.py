"""Error of d<A>/d(beta) against volume: residual densities within a radius of A against those of the whole lattice.

SU(3) in four dimensions by heat bath.  A is the plaquette, or the energy density E at a flow time.  ``train`` fits the field to
dS/d(beta) on chains of their own, ``measure`` writes measurements of one volume, and ``report`` compares volumes:

    python docs/scripts/source_locality.py train --extent 8 --chains 8 --rows 8 coefficients.json
    python docs/scripts/source_locality.py measure --extent 8 --chains 8 --rows 8 coefficients.json 8.npz
    python docs/scripts/source_locality.py measure --extent 12 --chains 4 --rows 16 coefficients.json 12.npz
    python docs/scripts/source_locality.py measure --extent 16 --fold 2 2 2 1 --rows 64 coefficients.json 16.npz
    python docs/scripts/source_locality.py report 8.npz 12.npz 16.npz --figure locality.png
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import Series, choose_radius, fit_sources, local_curve
from gaugeflow.ensembles import (
    CombinedSources,
    JoinedSources,
    PlaquetteSources,
    Shells,
    SmearedSources,
    measure_local,
    moved_means,
    plaquette_density,
)
from gaugeflow.flows import SmearedSweep, Smearing
from gaugeflow.kernels import clover
from gaugeflow.lattice import Lattice
from gaugeflow.observables import flow_through
from gaugeflow.plots import POINTS, colour, marker, panels, save
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath

OBSERVABLES = ("plaquette", "energy")
ESTIMATORS = {"plain": 0.0, "field": 1.0}
"""Weight of the field."""


class System:
    """A chain, its fields and observables."""

    def __init__(self, chosen: argparse.Namespace, seed: int) -> None:
        self.lattice = Lattice((chosen.extent,) * 4, tuple(chosen.fold))
        self.action = WilsonAction(self.lattice, chosen.beta)
        sweep = SmearedSweep(self.lattice, 3, Smearing(eta=(0.0625,) * 4, steps=1, gradient_steps=(2, 4)))
        self.fields: Any = JoinedSources((PlaquetteSources(self.lattice), SmearedSources(sweep, (1,))))
        self.observables = {"plaquette": self.plaquette, "energy": self.energy}
        self.time, self.sampler, self.rng = chosen.flow_time, HeatBath(self.lattice, chosen.beta), Rng(seed)
        self.state = self.sampler.hot(self.rng.stream("start"), 3, chosen.chains)
        self.advance(chosen.burn_in)

    def advance(self, steps: int) -> None:
        """Steps of the chain."""
        for _ in range(steps):
            self.state, _ = self.sampler.step(self.rng, self.state)

    def plaquette(self, x: Any) -> Any:
        """Mean of Re tr P / 3 at every site."""
        return plaquette_density(self.lattice, x)

    def operator(self, x: Any) -> Any:
        """Density of dS/d(beta)."""
        return -6.0 * self.plaquette(x)

    def energy(self, x: Any) -> Any:
        """Clover energy density at the flow time."""
        (flowed,) = flow_through(self.lattice, x, (self.time,), step=0.1)
        return clover(self.lattice, flowed)[0].sum(axis=0)


def train(chosen: argparse.Namespace) -> None:
    """Fit the field."""
    system = System(chosen, 71)
    measure = measure_local(system.fields, system.action, system.operator, {}, ())
    rows = []
    for _ in range(chosen.rows):
        system.advance(chosen.between)
        rows.append(measure(system.state.x))
    table = {name: Series.from_lanes(np.stack([row[name] for row in rows]), name=name) for name in rows[0]}
    tangents = [table[f"h|{name}"] for name in system.fields.names]
    found = fit_sources(table["operator"] * -1.0, tangents, 2).sum(axis=1)  # one field for all slices
    chosen.coefficients.write_text(json.dumps(dict(zip(system.fields.names, found.tolist(), strict=True)), indent=1))


def measure(chosen: argparse.Namespace) -> None:
    """Measure one volume; what is there is written every eight configurations."""
    system = System(chosen, 1000 + chosen.extent)
    values = json.loads(chosen.coefficients.read_text())
    fields = CombinedSources(system.fields, tuple(values[name] for name in system.fields.names))
    kinds = [Shells(system.lattice, "distance"), Shells(system.lattice, "time")]
    measured = measure_local(fields, system.action, system.operator, system.observables, kinds)
    rows: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    single: list[dict[str, Any]] = []
    seconds = {"source": 0.0, "field": 0.0, "moved": 0.0}
    often = max(1, 8 // chosen.chains)
    for row in range(chosen.rows):
        seconds["source"] -= time.process_time()
        system.advance(chosen.between)
        x = system.state.x
        now = time.process_time()
        seconds["source"] += now
        rows.append(measured(x))
        seconds["field"] += time.process_time() - now
        if row % max(1, chosen.rows // 4) == 0:
            now = time.process_time()
            moved.append({name: found[0] for name, found in moved_means(fields, x, system.observables).items()})
            residual = fields.densities(x, system.action.grad(x))[0] - system.operator(x)
            single.append({n: site_noise(kinds[0], a(x), residual) for n, a in system.observables.items()})
            seconds["moved"] += time.process_time() - now
        if (row + 1) % often == 0 or row + 1 == chosen.rows:
            columns = {name: np.stack([r[name] for r in rows]) for name in rows[0]}
            columns |= {f"moved|{name}": np.stack([r[name] for r in moved]) for name in moved[0]}
            columns |= {f"single|{name}": np.stack([r[name] for r in single]) for name in single[0]}
            columns |= {f"counts|{kind.kind}": kind.counts for kind in kinds}
            np.savez(
                chosen.output, volume=system.lattice.volume, **columns, **{f"s|{k}": s for k, s in seconds.items()}
            )
            print(f"{row + 1} of {chosen.rows}: {seconds}", flush=True)


def site_noise(shells: Shells, observable: Any, residual: Any) -> Any:
    """Mean over x of (A_x sum_(|y - x| <= R) r_y)^2 for every R, ``(n_shells, batch)``: noise of A at one site.

    Deviations are those from the means of the configuration, so that radii must be small beside the extents.
    """
    lattice = shells.lattice
    a = lattice.unpack(observable)
    a = a - a.mean(axis=(1, 2, 3, 4), keepdims=True)
    r = shells.transform(residual)
    rows = []
    for radius in range(len(shells.counts)):
        ball = np.fft.rfftn((shells.numbers <= radius).astype(float))
        around = np.fft.irfftn(r * ball, s=lattice.shape, axes=(1, 2, 3, 4))
        rows.append(np.mean((a * around) ** 2, axis=(1, 2, 3, 4)))
    return np.stack(rows)


class Volume:
    """Measurements of one volume."""

    def __init__(self, path: Path) -> None:
        self.table = np.load(path)
        self.volume = int(self.table["volume"])
        self.extent = round(self.volume**0.25)

    def series(self, name: str) -> Series:
        """One column."""
        return Series.from_lanes(self.table[name], name=name)

    def curve(self, observable: str, kind: str, weight: float) -> Series:
        """Sum of <A; r_y> up to every radius, r = weight times h - o."""
        residual = self.series("h|combined") * weight - self.series("operator")
        parts = (self.series(f"{observable}|{kind}|{name}") for name in ("h|combined", "operator"))
        shells = next(parts) * weight - next(parts)
        return local_curve(self.series(observable), residual, shells, self.table[f"counts|{kind}"])

    def moved(self, observable: str) -> tuple[float, float]:
        """Mean of X.dA and its error."""
        values = self.table[f"moved|{observable}"].reshape(-1)
        return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else 0.0


def report(chosen: argparse.Namespace) -> None:
    """Tables and a figure."""
    volumes = [Volume(path) for path in chosen.files]
    plot, axes = panels(1, len(OBSERVABLES))
    for axis, observable in zip(axes.ravel(), OBSERVABLES, strict=True):
        for k, volume in enumerate(volumes):
            shift, shift_error = volume.moved(observable)
            print(f"{observable}, {volume.extent}^4: X.dA = {shift:.6g} +- {shift_error:.2g}")
            if f"single|{observable}" in volume.table:
                noise = np.sqrt(np.mean(volume.table[f"single|{observable}"], axis=(0, 2)))
                print("  noise of one site and configuration by radius:", " ".join(f"{one:.4g}" for one in noise[:-1]))
            for kind, dimensions in (("distance", 4), ("time", 1)):
                for estimator, weight in ESTIMATORS.items():
                    curve = volume.curve(observable, kind, weight)
                    most = len(volume.table[f"counts|{kind}"]) - 2
                    reach = min(chosen.reach[OBSERVABLES.index(observable)], most)
                    found = choose_radius(curve, chosen.mass, reach=reach, dimensions=dimensions)
                    add, more = (weight * shift, weight * shift_error)
                    line = [
                        f"{add + e.value:.5f}({np.hypot(e.error, more):.5f})"
                        for e in (found.estimates[found.radius], found.estimates[-1])
                    ]
                    print(
                        f"  {kind:8} {estimator:5} R = {found.radius}: {line[0]}, bias < {found.bias:.2g}; whole lattice "
                        f"{line[1]}; error / {found.estimates[-1].error / found.estimates[found.radius].error:.3g}"
                    )
                    if chosen.verbose:
                        for radius, (e, bound) in enumerate(zip(found.estimates, found.bounds, strict=True)):
                            print(f"      {radius:3} {add + e.value:10.5f} +- {e.error:.5f}   bias < {bound:.2g}")
                    if kind == "distance" and weight:
                        style: dict[str, Any] = {"color": colour(k), "fmt": marker(k), **POINTS}
                        radii = np.arange(len(found.estimates)) + 0.12 * (k - 1)
                        values = [add + e.value for e in found.estimates]
                        axis.errorbar(
                            radii,
                            values,
                            yerr=[e.error for e in found.estimates],
                            label=f"${volume.extent}^4$",
                            **style,
                        )
        axis.set(xlabel="$R$", ylabel=rf"d<{observable}>/d$\beta$")
    axes.ravel()[0].legend(frameon=False)
    if chosen.figure:
        print("wrote", save(plot, chosen.figure))


def main() -> None:
    """Train, measure or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beta", type=float, default=5.9)
    parser.add_argument("--flow-time", type=float, default=1.0)
    parser.add_argument("--extent", type=int, default=8)
    parser.add_argument("--fold", type=int, nargs=4, default=[1, 1, 1, 1])
    parser.add_argument("--chains", type=int, default=1)
    parser.add_argument("--rows", type=int, default=64, help="configurations of each chain")
    parser.add_argument("--burn-in", type=int, default=100)
    parser.add_argument("--between", type=int, default=10)
    parser.add_argument("--mass", type=float, default=0.9, help="of the scalar glueball, for the bound on the bias")
    parser.add_argument(
        "--reach", type=int, nargs=2, default=[1, 4], help="of each observable: distance of the links in it"
    )
    parser.add_argument("--verbose", action="store_true", help="print the whole curves")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("task", choices=("train", "measure", "report"))
    parser.add_argument("files", type=Path, nargs="+")
    chosen = parser.parse_args()
    if chosen.task == "report":
        report(chosen)
        return
    chosen.coefficients, chosen.output = chosen.files[0], chosen.files[-1]
    (train if chosen.task == "train" else measure)(chosen)


if __name__ == "__main__":
    main()
