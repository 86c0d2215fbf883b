"""Static potential of SU(3) from Wilson loops whose time slabs are averaged separately, beside plain loops.

Loops with ends that are smeared in space are measured on a chain in two ways: as they are, and with averages over slabs
between frozen slices (:class:`gaugeflow.ensembles.Slabs`, with multihit).  Both have the same expectation values.  The
potential V(r, t), a fit of V_0 + sigma r - alpha / r and the scale r_0 follow from the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io
from gaugeflow.analysis import (
    Fit,
    Series,
    effective_potential,
    fit_cornell,
    sommer_scale,
    sommer_scale_of_beta,
    stack,
)
from gaugeflow.devices import to_host
from gaugeflow.ensembles import Slabs
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import stout, wilson_loops
from gaugeflow.plots import POINTS, colour, marker, panels, save
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath
from gaugeflow.systems.correlated import Clock
from gaugeflow.systems.estimates import number, text
from gaugeflow.systems.masses import columns
from gaugeflow.systems.report import BRACKETS, Progress, Report, Table, silent
from gaugeflow.systems.unfinished import MeasuredChain, Unfinished

PLAIN, SLABS = "plain", "slabs"


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are the demo's.

    The potential is taken at t = ``early`` slabs, and fitted at the distances ``fitted``.
    """

    shape: tuple[int, int, int, int] = (8, 8, 8, 8)
    fold: tuple[int, int, int, int] = (1, 2, 2, 2)
    beta: float = 5.8
    chains: int = 1
    rows: int = 120
    burn_in: int = 150
    thin: int = 10
    overrelax: int = 4
    thickness: int = 2
    updates: int = 16
    r_max: int = 4
    t_max: int = 6
    stout_rho: float = 0.1
    stout_steps: int = 6
    early: int = 2
    fitted: tuple[int, ...] = (1, 2, 3, 4)


QUICK = Settings(
    shape=(8, 6, 6, 6),
    fold=(1, 1, 1, 1),
    beta=5.7,
    chains=8,
    rows=10,
    burn_in=60,
    thin=5,
    updates=6,
    r_max=3,
    t_max=6,
    stout_steps=4,
    fitted=(1, 2, 3),
)


def run(
    *, out: Path, seed: int = 108014, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Make a chain, measure loops on it in both ways, and report.

    A run that is interrupted or killed leaves the folder ``unfinished`` and goes on from there, to the same numbers.

    Parameters
    ----------
    out
        Folder for the figure and the measurements (made if needed).
    seed
        Seed of all random numbers.
    quick
        8 x 6^3 at beta = 5.7 and short chains, for a first look.
    progress
        Called as work goes on.
    settings
        Parameters other than the demo's.

    Returns
    -------
    Report
        Tables, one JSON object, a figure.

    Raises
    ------
    ValueError
        If ``out`` holds an unfinished run with another seed or other settings.
    """
    chosen = settings or (QUICK if quick else Settings())
    out.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    with Unfinished.open(out / "unfinished", clock, seed=seed, settings=repr(chosen)) as done:
        chain = _Chain(chosen, Rng(seed), done, progress)
        chain.go_on()
        described = io.provenance(seed=seed, settings=repr(chosen))
        io.write_table(out / "loops.h5", chain.data.columns(), attributes=described)
        loops = {kind: chain.loops(kind) for kind in (PLAIN, SLABS)}
        result, tables = _analyse(chosen, loops, clock)
    return Report(tables, [result], (_figure(out / "static_potential.png", chosen, result),))


class _Chain(MeasuredChain):
    """The chains of a run, with loops by both ways."""

    def __init__(self, settings: Settings, rng: Rng, done: Unfinished, progress: Progress) -> None:
        self.settings, self.progress = settings, progress
        self.lattice = Lattice(settings.shape, settings.fold)
        sampler = HeatBath(self.lattice, settings.beta, settings.overrelax)
        super().__init__(sampler, rng, done, settings.chains, settings.burn_in, settings.thin)

    def go_on(self) -> None:
        """Measure until the chains have all rows."""
        chosen, clock = self.settings, self.done.clock
        state = self.state()
        for row in range(self.count, chosen.rows):
            state = clock.time("source", "", partial(self.next, state))
            self.keep_state(state, row)
            plain = clock.time(PLAIN, "", partial(self._plain, state.x))
            slabs = clock.time(SLABS, "", partial(self._slabs, state.x, row))
            self.add(row, columns(PLAIN, plain) | columns(SLABS, slabs))
            self.progress("loops", row + 1, chosen.rows)

    def _ends(self, lattice: Lattice, x: Array) -> Array:
        return stout(lattice, x, self.settings.stout_rho, self.settings.stout_steps, spatial=True)

    def _plain(self, x: Array) -> Any:
        """All loops, ``(r_max * t_max, batch)``; stout smearing in space leaves links of direction 0 as they are."""
        chosen = self.settings
        loops = to_host(wilson_loops(self.lattice, self._ends(self.lattice, x), chosen.r_max, chosen.t_max))
        return loops.reshape(chosen.r_max * chosen.t_max, -1)

    def _slabs(self, x: Array, row: int) -> Any:
        """The same by slabs, whose frozen slices are others in every row."""
        chosen = self.settings
        slabs = Slabs(self.lattice, chosen.beta, chosen.thickness, chosen.updates, first=row % chosen.thickness)
        rng = self.rng.stream("slabs").at(row)
        loops, _ = slabs.wilson_loops(rng, x, chosen.r_max, chosen.t_max, self._ends)
        return to_host(loops).reshape(chosen.r_max * chosen.t_max, -1)

    def loops(self, kind: str) -> Series:
        """All loops measured in one way."""
        names = range(self.settings.r_max * self.settings.t_max)
        return stack(*(self.data.series(f"{kind}|{k}") for k in names))


def _analyse(chosen: Settings, loops: dict[str, Series], clock: Clock) -> tuple[dict[str, Any], tuple[Table, ...]]:
    """The JSON object of the run, and its tables."""
    seconds = {kind: clock.spent(kind) for kind in ("source", PLAIN, SLABS)}
    cost = (seconds["source"] + seconds[SLABS]) / (seconds["source"] + seconds[PLAIN])
    found: list[dict[str, Any]] = []
    for k in range(chosen.r_max * chosen.t_max):
        row: dict[str, Any] = {kind: number(series.split()[k]) for kind, series in loops.items()}
        gain = (row[PLAIN]["error"] / row[SLABS]["error"]) ** 2
        found.append(
            {"r": k // chosen.t_max + 1, "t": k % chosen.t_max + 1, **row, "gain": gain, "at_cost": gain / cost}
        )
    potential = {kind: _potential(chosen, series) for kind, series in loops.items()}
    cornell = fit_cornell(potential[SLABS][_chosen_time(chosen)], chosen.fitted)
    numbers = {kind: [[number(one) for one in v.split()] for v in by_time] for kind, by_time in potential.items()}
    fitted = _fitted(chosen, cornell)
    result: dict[str, Any] = {
        "beta": chosen.beta,
        "shape": list(chosen.shape),
        "loops": found,
        "potential": numbers,
        "fit": fitted,
        "seconds": seconds,
        "cost": cost,
    }
    return result, (_loop_table(found), _potential_table(chosen, numbers, cost), _fit_table(chosen, fitted))


def _chosen_time(chosen: Settings) -> int:
    """Which of the potentials V(r, thickness), V(r, 2 thickness), ... is fitted."""
    return min(chosen.early, chosen.t_max // chosen.thickness - 1) - 1


def _potential(chosen: Settings, loops: Series) -> tuple[Series, ...]:
    """V(r, t) with steps of a slab; none where noise hides a loop."""
    every = np.arange(chosen.r_max * chosen.t_max).reshape(chosen.r_max, chosen.t_max)
    kept = every[:, chosen.thickness - 1 :: chosen.thickness].ravel()
    positive = Series(tuple(v[:, kept] for v in loops.values), loops.ids, loops.name)
    return () if np.any(positive.mean <= 0.0) else effective_potential(positive, chosen.r_max, chosen.thickness)


def _fitted(chosen: Settings, cornell: Fit) -> dict[str, Any]:
    names = ("V_0", "sigma", "alpha")
    parameters = {
        name: {"value": float(v), "error": float(e)}
        for name, v, e in zip(names, cornell.values, cornell.errors, strict=True)
    }
    known = sommer_scale_of_beta(chosen.beta) if 5.7 <= chosen.beta <= 6.92 else None
    try:
        scale = sommer_scale(cornell)
    except ValueError:  # a short run need not determine it
        return {**parameters, "r_0": None, "r_0 published": known}
    return {**parameters, "r_0": {"value": scale.value, "error": scale.error}, "r_0 published": known}


def _loop_table(found: list[dict[str, Any]]) -> Table:
    shown = [row for row in found if row["r"] == row["t"] or row["t"] == max(r["t"] for r in found)]
    return Table(
        "Wilson loops",
        ("r", "t", PLAIN, SLABS, "variance", "per second"),
        tuple(
            (row["r"], row["t"], text(row[PLAIN]), text(row[SLABS]), f"{row['gain']:.3g}", f"{row['at_cost']:.3g}")
            for row in shown
        ),
        ("variance: that of plain loops over that of slabs", "per second: the same at equal cost", BRACKETS),
    )


def _potential_table(chosen: Settings, potential: dict[str, list[list[dict[str, float]]]], cost: float) -> Table:
    rows = []
    for k, by_slabs in enumerate(potential[SLABS]):
        by_loops = potential[PLAIN][k] if potential[PLAIN] else None
        for r, better in enumerate(by_slabs):
            gain = None if by_loops is None else (by_loops[r]["error"] / better["error"]) ** 2
            rows.append(
                (
                    r + 1,
                    chosen.thickness * (k + 1),
                    "" if by_loops is None else text(by_loops[r]),
                    text(better),
                    "" if gain is None else f"{gain:.3g}",
                    "" if gain is None else f"{gain / cost:.3g}",
                )
            )
    return Table(
        "Static potential V(r, t) in lattice units",
        ("r", "t", PLAIN, SLABS, "variance", "per second"),
        tuple(rows),
        (f"V(r, t) = ln [W(r, t) / W(r, t + {chosen.thickness})] / {chosen.thickness}", BRACKETS),
    )


def _fit_table(chosen: Settings, fitted: dict[str, Any]) -> Table:
    known, scale = fitted["r_0 published"], fitted["r_0"]
    rows = [(name, text(fitted[name]), "") for name in ("V_0", "sigma", "alpha")]
    rows.append(("r_0", "" if scale is None else text(scale), "" if known is None else f"{known:.3f}"))
    return Table(
        f"Fit of V_0 + sigma r - alpha [1/r] at r = {', '.join(map(str, chosen.fitted))}, "
        f"t = {chosen.thickness * (_chosen_time(chosen) + 1)}",
        ("parameter", "value", "published"),
        tuple(rows),
        (
            "[1/r]: the same with the propagator of the lattice; r_0: r_0^2 F(r_0) = 1.65, in lattice units",
            "published: Necco and Sommer, hep-lat/0108008, in large volume",
            BRACKETS,
        ),
    )


def _figure(path: Path, chosen: Settings, result: dict[str, Any]) -> Path:
    """The potential, and errors of loops relative to their values."""
    plot, axes = panels(1, 2)
    left, right = axes.ravel()
    distances = np.arange(1, chosen.r_max + 1)
    for k, row in enumerate(result["potential"][SLABS]):
        style: dict[str, Any] = {"color": colour(k), "fmt": marker(k), **POINTS}
        values, errors = ([p[name] for p in row] for name in ("value", "error"))
        t = chosen.thickness * (k + 1)
        left.errorbar(distances + 0.04 * k, values, yerr=errors, label=f"$t = {t}$", **style)
    left.set(xlabel="$r$", ylabel="$V(r, t)$")
    left.legend(fontsize=8, frameon=False)
    for k, kind in enumerate((PLAIN, SLABS)):
        rows = [row for row in result["loops"] if row["r"] == chosen.r_max]
        share = [row[kind]["error"] / abs(row[kind]["value"]) for row in rows]
        right.semilogy([row["t"] for row in rows], share, marker(k), color=colour(k), label=kind)
    right.set(xlabel="$t$", ylabel=f"relative error of $W({chosen.r_max}, t)$")
    right.legend(fontsize=8, frameon=False)
    return save(plot, path)
