"""Quark-mass dependence: two flavours of Wilson quarks, derivatives with respect to kappa by flows.

The third demonstration of arXiv:2401.10874: beta = 5.6, kappa 0.1530 to 0.1545.  The linearised flow and epsilon-reweighting
need no determinant: traces and forces come from noise (:mod:`gaugeflow.ensembles.quarks`).  On lattices that are small enough
for the exact determinant the same derivatives are taken with finite steps as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io
from gaugeflow.actions import Determinant, Hasenbusch, Inversion, Sum, WilsonAction
from gaugeflow.determinants import hopping_noise
from gaugeflow.devices import to_host
from gaugeflow.ensembles import (
    CorrelatedEnsemble,
    Measurements,
    MemoryEnsemble,
    Observables,
    QuarkSource,
    along_quarks,
    estimators,
    measure_with_noise,
    quark_tangents,
)
from gaugeflow.flows import SmearedSweep
from gaugeflow.hadrons import chiral_condensate, noise_field
from gaugeflow.kernels.sums import sum_slices
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import flow_history, plaquette, polyakov_loop
from gaugeflow.operators import Wilson
from gaugeflow.progress import Progress, silent
from gaugeflow.random import Rng, Streams, haar_links
from gaugeflow.samplers import HMC, HeatBath, HMCState, Level, configurations
from gaugeflow.solvers import solve
from gaugeflow.systems import figures
from gaugeflow.systems.correlated import Clock, comparison, cost_table, derivatives_table, quality
from gaugeflow.systems.quark_mass_report import variances, weights_table
from gaugeflow.systems.report import Report
from gaugeflow.systems.unfinished import Unfinished
from gaugeflow.training import LinearFit, fit_linear, fit_linear_noisy

NAMES = ("plaquette", "t2_e", "polyakov", "pion_correlator", "condensate")
"""The observables; ``pion_correlator`` is that at half the extent in time."""
COLOURS, FLAVOURS = 3, 2


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are the demo's."""

    shape: tuple[int, ...] = (8, 8, 8, 8)
    beta: float = 5.6
    kappa: float = 0.1530
    step: float = 0.0015
    heavier: tuple[float, ...] = (0.1400,)
    chains: int = 8
    training_blocks: int = 8
    blocks: int = 16
    quenched: int = 20
    """Steps of the heat bath without quarks from which chains start."""
    burn_in: int = 120
    thin: int = 4
    exact: bool = False
    """Whether determinants are computed: forces and traces without noise, and estimators with finite steps."""
    vectors: int = 4
    """Noise vectors in each of the two groups of the action."""
    condensate_vectors: int = 2
    flow_time: float = 1.0
    flow_step: float = 0.1


QUICK = Settings(shape=(4, 4, 4, 4), training_blocks=4, blocks=6, burn_in=150, thin=4, exact=True, condensate_vectors=8)
_INVERSION = Inversion(1e-10, 1e-7, "refined")


def run(
    *, out: Path, seed: int = 2401, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Generate by hybrid Monte Carlo, fit, measure and report.

    A run that is interrupted or killed leaves the folder ``unfinished`` and goes on from there, to the same numbers.

    Parameters
    ----------
    out
        Folder for figures, measurements and parameters (made if needed).
    seed
        Seed of all random numbers.
    quick
        4^4 with exact determinants, for a first look.
    progress
        Called as work goes on.
    settings
        Parameters other than the demo's.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        If ``out`` holds an unfinished run with another seed or other settings.
    """
    chosen = settings or (QUICK if quick else Settings())
    out.mkdir(parents=True, exist_ok=True)
    rng, clock = Rng(seed), Clock()
    system = System(chosen)
    with Unfinished.open(out / "unfinished", clock, seed=seed, settings=repr(chosen)) as done:
        count = chosen.training_blocks + chosen.blocks
        blocks = system.generate(chosen.kappa, count, rng.stream("source"), done, "source", progress)
        fit = clock.time("training", "", partial(system.fit, blocks, rng.stream("training"), done, progress))
        data = system.measure(blocks, fit, rng.stream("measurements"), done, progress)
        target = chosen.kappa + chosen.step
        others = system.generate(target, chosen.blocks, rng.stream("target"), done, "independent", progress)
        independent = system.observe(target, others, rng.stream("independent"))
    described = io.provenance(seed=seed, settings=repr(chosen))
    io.write_params(out / "flow.h5", {"delta": fit}, attributes={**described, "parameter": "kappa"})
    io.write_table(out / "measurements.h5", data.columns(), attributes=described)
    result = analyse(chosen, data, independent, fit, clock)
    rows = result["derivatives"]
    pictures = [figures.derivatives(out / "derivatives.png", rows)]
    if chosen.exact:
        title = rf"$\kappa$ = {chosen.kappa:g} to {chosen.kappa + chosen.step:g}"
        titles = {f"{chosen.step:+g}": title}
        pictures.append(figures.log_weights(out / "log_weights.png", data.columns(), titles))
    tables = (weights_table(result), derivatives_table([result]), cost_table(clock.totals()))
    return Report(tables, [result], tuple(pictures))


class System:
    """Lattice, actions, observables and flow of a run."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lattice = Lattice(settings.shape)
        self.gauge = WilsonAction(self.lattice, settings.beta)
        self.operator = Wilson(lattice=self.lattice, kappa=settings.kappa)
        self.flow = SmearedSweep(self.lattice, COLOURS)
        vectors = 0 if settings.exact else settings.vectors
        self.source = QuarkSource(self.gauge, self.operator, FLAVOURS, vectors)
        self.observables = Observables(self._of_links, self._of_quarks)

    def _of_links(self, x: Array) -> Mapping[str, Array]:
        history = flow_history(self.lattice, x, (self.settings.flow_time,), step=self.settings.flow_step)
        loop = np.real(to_host(polyakov_loop(self.lattice, x)))
        return {"plaquette": plaquette(self.lattice, x), "t2_e": history.t2_e[0], "polyakov": loop}

    def _of_quarks(self, rng: Rng | Streams, operator: Wilson) -> Mapping[str, Array]:
        return quark_observables(rng, operator, self.settings.condensate_vectors)

    # ---- the ensembles ----------------------------------------------------------------------------------------------
    def sampler(self, kappa: float) -> HMC:
        """HMC with Hasenbusch factors, whose step is tuned in the first half of the burn-in."""
        operator = Wilson(lattice=self.lattice, kappa=kappa)
        heavier = tuple(Wilson(lattice=self.lattice, kappa=k) for k in self.settings.heavier)
        *ratios, last = Hasenbusch(operator, heavier, _INVERSION).terms
        levels = tuple(Level(action, 4 if k == 0 else 1) for k, action in enumerate((*ratios, last)))
        return HMC(self.lattice, (*levels, Level(self.gauge, 2)), tune=self.settings.burn_in // 2)

    def generate(
        self, kappa: float, count: int, rng: Rng, done: Unfinished, name: str, progress: Progress
    ) -> list[Array]:
        """Blocks of configurations; goes on from those that are there."""
        settings, lattice, sampler = self.settings, self.lattice, self.sampler(kappa)
        blocks = [done.block(name, lattice, number) for number in range(done.count_blocks(name))]
        step_size = done.folder / f"{name}-step.json"
        first = settings.burn_in + len(blocks) * settings.thin if blocks else 0
        bath = HeatBath(lattice, settings.beta, 4)
        state: Any = bath.init(haar_links(rng.stream("start"), lattice, COLOURS, settings.chains))
        if blocks:
            start = sampler.init(blocks[-1])
            state = HMCState(blocks[-1], first, json.loads(step_size.read_text()), start.tuning)
        else:
            for step in range(settings.quenched):
                state, _ = bath.step(rng.stream("quenched").at(step), state)
            state = sampler.init(state.x)
        stream = configurations(
            sampler,
            rng.stream("chain"),
            state,
            count * settings.thin,
            burn_in=settings.burn_in,
            thin=settings.thin,
            first=first,
        )
        while len(blocks) < count:
            sample = done.clock.time("source", "" if name == "source" else name, lambda: next(stream))
            temporary = step_size.with_suffix(".tmp")
            temporary.write_text(json.dumps(sample.state.step_size))
            os.replace(temporary, step_size)
            blocks.append(sample.state.x)
            done.keep_block(name, lattice, len(blocks) - 1, blocks[-1])
            progress(f"HMC at kappa {kappa:g}", len(blocks), count)
        return blocks

    # ---- the flow ---------------------------------------------------------------------------------------------------
    def fit(self, blocks: list[Array], rng: Rng, done: Unfinished, progress: Progress) -> Array:
        """Coefficients per unit of kappa from the first blocks, which are not measured on; or those of an earlier call."""
        path = done.folder / "fit.json"
        if path.exists():
            return np.asarray(json.loads(path.read_text()))
        found = []
        for k, x in enumerate(blocks[: self.settings.training_blocks]):
            found.append(quark_tangents(self.flow, self.source, rng.at(k), x))
            progress("linear fit", k + 1, self.settings.training_blocks)
        h, o = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
        fit: LinearFit = fit_linear(h[0], o[0]) if len(h) == 1 else fit_linear_noisy(h, o)
        coefficients = np.asarray(fit.coefficients).reshape(self.flow.shape)
        path.write_text(json.dumps(coefficients.tolist()))
        return coefficients

    # ---- measurements -----------------------------------------------------------------------------------------------
    def measure(
        self, blocks: list[Array], coefficients: Array, rng: Rng, done: Unfinished, progress: Progress
    ) -> Measurements:
        """All measurements on the blocks behind those of the fit, block by block."""
        settings, clock = self.settings, done.clock
        linear = along_quarks(self.flow, coefficients, self.source, self.observables, timed=clock.time)
        finite = self._finite(coefficients, clock) if settings.exact else None

        def measure(here: Rng | Streams, x: Array) -> Mapping[str, Array]:
            row = linear(here, x)
            return row if finite is None else {**row, **finite(here.stream("observables"), x)}

        data = done.measurements("measurements")
        kept = blocks[settings.training_blocks :]
        for number in range(len(data) // settings.chains, len(kept)):
            block = MemoryEnsemble(self.lattice, (kept[number],), (number,))
            part = measure_with_noise(block, measure, rng, settings.chains).columns()
            data.add(part.pop("id"), part.pop("chain"), part)
            done.keep_measurements("measurements", data)
            progress("measurements", number + 1, len(kept))
        return data

    def _finite(self, coefficients: Array, clock: Clock) -> Callable[[Rng | Streams, Array], dict[str, Array]]:
        """Images and exact log-weights of both signs of the step, with and without the flow."""
        step, kappa = self.settings.step, self.settings.kappa

        def action(value: float) -> Sum:
            quark = Wilson(lattice=self.lattice, kappa=value)
            return Sum((self.gauge, Determinant(quark, FLAVOURS)))

        source = action(kappa)

        def measure(rng: Rng | Streams, x: Array) -> dict[str, Array]:
            row: dict[str, Array] = {}
            block = MemoryEnsemble(self.lattice, (x,))
            for signed in (step, -step):
                target = Wilson(lattice=self.lattice, kappa=kappa + signed)
                for kind, params in (("plain", None), ("flow", {"delta": coefficients * signed})):
                    name = f"{kind}{signed:+g}"
                    flow = None if params is None else self.flow
                    pair = CorrelatedEnsemble(block, source, action(kappa + signed), flow, params)
                    image, weight = clock.time("flow", name, partial(pair.map, x))
                    bound = target.with_links(image)
                    values = clock.time("measurement", name, partial(self.observables, rng, bound))
                    row |= {f"{name}|{key}": value for key, value in values.items()}
                    row[f"{name}|log_weight"] = weight
            return row

        return measure

    def observe(self, kappa: float, blocks: list[Array], rng: Rng) -> Measurements:
        """The observables alone, on an ensemble of another kappa."""
        operator = Wilson(lattice=self.lattice, kappa=kappa)
        ensemble = MemoryEnsemble(self.lattice, tuple(blocks))

        def measure(here: Rng | Streams, x: Array) -> Mapping[str, Array]:
            return self.observables(here.stream("observables"), operator.with_links(x))

        return measure_with_noise(ensemble, measure, rng, self.settings.chains)


def quark_observables(
    rng: Rng | Streams, operator: Wilson, vectors: int, names: Sequence[str] = ("pion_correlator", "condensate")
) -> dict[str, Array]:
    """Correlator of the pion at half the extent in time, and the condensate from noise vectors, ``(batch,)`` each."""
    found: dict[str, Array] = {}
    if "pion_correlator" in names:
        found["pion_correlator"] = pion(rng.stream("pion"), operator)
    if "condensate" in names:
        noise = hopping_noise(rng.stream("condensate"), operator, vectors, tolerance=1e-9)
        found["condensate"] = chiral_condensate(operator, np.mean(to_host(noise.traces), axis=0))
    return found


def pion(rng: Rng | Streams, operator: Wilson) -> Array:
    """Correlator of the pion at half the extent in time and zero momentum, ``(batch,)``.

    From noise of modulus 1 on all spins and colours of time slice 0, whose mean is the correlator of a point source.
    """
    lattice = operator.lattice
    eta = noise_field(operator, rng) * np.asarray(lattice.coordinates[0, :, 0] == 0)[:, None, None, None]
    psi = to_host(solve(operator, eta, tolerance=1e-9).x)
    slices = sum_slices(lattice, np.sum(np.abs(psi) ** 2, axis=(1, 2))[None])[0]
    return slices[lattice.shape[0] // 2] * (lattice.shape[0] / lattice.volume)


def analyse(
    settings: Settings, data: Measurements, independent: Measurements, coefficients: Array, clock: Clock
) -> dict[str, Any]:
    """The JSON object of a run."""
    lattice = Lattice(settings.shape)
    others = {settings.step: independent}
    derivatives = [
        row
        for name in NAMES
        for row in comparison(
            estimators(data, name, settings.step, independent=others), data, name, settings.step, clock, "kappa"
        )
    ]
    return {
        "system": "quark-mass",
        "lattice": list(settings.shape),
        "source": {"beta": settings.beta, "kappa": settings.kappa},
        "target": {"beta": settings.beta, "kappa": settings.kappa + settings.step},
        "n_configurations": len(data),
        "fields": list(SmearedSweep(lattice, COLOURS).fields),
        "coefficients": np.asarray(coefficients).ravel().tolist(),
        **variances(data, lattice, settings.step),
        **(quality(data, lattice, settings.step) if settings.exact else {}),
        "derivatives": derivatives,
        "seconds": clock.totals(),
    }
