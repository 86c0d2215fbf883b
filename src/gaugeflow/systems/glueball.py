"""Glueballs in SU(3) with fields of sources: correlators of time slices whose noise does not hide the signal.

In the scalar channel O_t is the sum of the spatial plaquettes of slice t, made of links that are smeared in space or not, and
in the tensor channel the first operator of :func:`gaugeflow.observables.tensor_slices`.  A field X_t is fitted to it on the
first configurations of the chain (:mod:`gaugeflow.ensembles.sources_gradients`).  All the others give the correlator
without a field, with a field at the source, and with fields at source and sink (:mod:`gaugeflow.analysis.n_point`).  The terms
where supports meet hardly fluctuate, so that few configurations are enough for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import Series, fit_sources, stack
from gaugeflow.analysis.series import FloatArray
from gaugeflow.devices import to_host
from gaugeflow.ensembles import GradientSources, first_contact, second_contact
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import plaquette_slices, stout, tensor_slices
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath
from gaugeflow.systems import glueball_report
from gaugeflow.systems.correlated import Clock
from gaugeflow.systems.masses import columns
from gaugeflow.systems.report import Progress, Report, silent
from gaugeflow.systems.unfinished import MeasuredChain, Unfinished

ESTIMATES = ("source", "sink")
"""The two factors of a correlator, whose tangents have noise of their own."""


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are the demo's.

    ``operators`` are numbers of stout steps in space, ``improved`` those of them that get fields; ``tensor`` and
    ``tensor_improved`` are the same for the tensor channel.  ``eta`` and ``levels`` belong to the fields.
    """

    shape: tuple[int, int, int, int] = (12, 8, 8, 8)
    fold: tuple[int, int, int, int] = (1, 2, 2, 2)
    beta: float = 5.9
    chains: int = 1
    training: int = 100
    rows: int = 400
    burn_in: int = 200
    thin: int = 20
    overrelax: int = 4
    eta: tuple[float, ...] = GradientSources.eta
    levels: tuple[int, ...] = GradientSources.levels
    radius: int = 1
    operators: tuple[int, ...] = (0, 4, 8)
    improved: tuple[int, ...] = (0, 4)
    tensor: tuple[int, ...] = (0, 8)
    tensor_improved: tuple[int, ...] = (0,)
    stout_rho: float = 0.1
    contact_every: int = 20
    contact_slices: tuple[int, ...] = (0,)


QUICK = Settings(
    shape=(8, 4, 4, 4),
    fold=(1, 1, 1, 1),
    beta=5.7,
    chains=8,
    training=20,
    rows=30,
    burn_in=60,
    thin=10,
    operators=(0, 2, 4),
    improved=(0, 2),
    tensor=(0, 4),
    contact_every=5,
)


def run(
    *, out: Path, seed: int = 2606, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Make a chain, fit the fields on its first part, measure on the rest, and report.

    A run that is interrupted or killed leaves the folder ``unfinished`` and goes on from there, to the same numbers.

    Parameters
    ----------
    out
        Folder for the figure and the measurements (made if needed).
    seed
        Seed of all random numbers.
    quick
        8 x 4^3 at beta = 5.7 and short chains, for a first look.
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
        chain.go_on("training", chosen.training)
        coefficients = chain.fitted()
        chain.go_on("measurements", chosen.rows, coefficients)
        described = io.provenance(seed=seed, settings=repr(chosen))
        io.write_table(out / "measurements.h5", chain.data.columns(), attributes=described)
        io.write_table(out / "contact.h5", chain.contact.columns(), attributes=described)
        measured = [chain.measured(channel, coefficients) for channel in chain.channels]
        result, tables = glueball_report.analyse(measured, chain.contact, chosen.shape[0], clock)
        result |= {
            "beta": chosen.beta,
            "shape": list(chosen.shape),
            "fields": list(chain.fields.names),
            "coefficients": {key: c.tolist() for key, c in coefficients.items()},
        }
    return Report(tables, [result], (glueball_report.figure(out / "glueball.png", result),))


@dataclass(frozen=True)
class _Channel:
    """A quantum number: what makes O_t of links, numbers of stout steps of its operators, and polarisation of its fields."""

    name: str
    slices: Callable[[Lattice, Array], Array]
    operators: tuple[int, ...]
    improved: tuple[int, ...]
    polarisation: tuple[float, ...] | None

    def key(self, steps: int) -> str:
        """Name of an operator."""
        return f"{self.name}, {steps}"


def _first_tensor(lattice: Lattice, links: Array) -> Array:
    return tensor_slices(lattice, links)[0, ...]


class _Chain(MeasuredChain):
    """The chains of a run, with operators, tangents and contact terms."""

    def __init__(self, settings: Settings, rng: Rng, done: Unfinished, progress: Progress) -> None:
        self.settings, self.progress = settings, progress
        self.lattice = Lattice(settings.shape, settings.fold)
        self.action = WilsonAction(self.lattice, settings.beta)
        sampler = HeatBath(self.lattice, settings.beta, settings.overrelax)
        super().__init__(sampler, rng, done, settings.chains, settings.burn_in, settings.thin)
        scalar = _Channel("scalar", plaquette_slices, settings.operators, settings.improved, None)
        tensor = _Channel(
            "tensor", _first_tensor, settings.tensor, settings.tensor_improved, glueball_report.POLARISATION
        )
        self.channels = tuple(channel for channel in (scalar, tensor) if channel.operators)
        served = tuple(channel.polarisation for channel in self.channels if channel.improved)
        self.fields = GradientSources(self.lattice, settings.eta, settings.levels, served)
        self.contact = done.measurements("contact")

    def operator(self, x: Array, channel: _Channel, steps: int) -> Array:
        """O_t, ``(T, batch)``."""
        smeared = stout(self.lattice, x, self.settings.stout_rho, steps, spatial=True)
        return channel.slices(self.lattice, smeared)

    def go_on(self, name: str, rows: int, coefficients: dict[str, FloatArray] | None = None) -> None:
        """Measure until the chain has the rows of this part; contact terms where coefficients are known."""
        chosen, clock = self.settings, self.done.clock
        before = 0 if coefficients is None else chosen.training
        state = self.state()
        for row in range(self.count, before + rows):
            kind = "training" if coefficients is None else "source"
            state = clock.time(kind, "", partial(self.next, state))
            self.keep_state(state, row)
            found: dict[str, Array] = {}
            for channel in self.channels:
                for n in channel.operators:
                    values = clock.time(kind, "", partial(self.operator, state.x, channel, n))
                    found |= columns(channel.key(n), to_host(values))
            work = "training" if coefficients is None else "flow"
            for estimate, h in zip(ESTIMATES, clock.time(work, "", partial(self._tangents, state.x, row)), strict=True):
                for i, field_name in enumerate(self.fields.names):
                    found |= columns(f"{estimate}|{field_name}", h[i])
            if coefficients is not None and row % chosen.contact_every == 0:
                terms: dict[str, Array] = {}
                for channel in self.channels:
                    terms |= clock.time(
                        "contact", channel.name, partial(self._contact, channel, state.x, coefficients, row)
                    )
                self.contact.add(np.full(chosen.chains, row), np.arange(chosen.chains), terms)
                self.done.keep_measurements("contact", self.contact)
            self.add(row, found)
            self.progress(name, row + 1 - before, rows)

    def _noise(self, name: str, row: int) -> Rng:
        return self.rng.stream("noise").stream(name).at(row)

    def _tangents(self, x: Array, row: int) -> list[Any]:
        source, sink = (self._noise(name, row) for name in ESTIMATES)
        return [to_host(h) for h in self.fields.two_estimates((source, sink), x, self.action.grad(x))]

    def _contact(self, channel: _Channel, x: Array, coefficients: dict[str, FloatArray], row: int) -> dict[str, Array]:
        fields = self.fields.select(channel.polarisation).with_noise(self._noise(f"contact {channel.name}", row))
        found: dict[str, Array] = {}
        for n in channel.improved:
            key = channel.key(n)
            operator = partial(self.operator, channel=channel, steps=n)
            found |= columns(f"first|{key}", first_contact(fields, coefficients[key], x, operator, 0))
            second = second_contact(fields, coefficients[key], x, self.action, self.settings.contact_slices)
            found |= columns(f"second|{key}", second)
        return found

    def _series(self, name: str, part: slice) -> Series:
        """Slices of some rows of all chains."""
        whole = stack(*(self.data.series(f"{name}|{t}") for t in range(self.settings.shape[0])))
        return Series(tuple(v[part] for v in whole.values), tuple(i[part] for i in whole.ids), name)

    def fitted(self) -> dict[str, FloatArray]:
        """Coefficients of every improved operator, from the rows for training."""
        part, radius = slice(self.settings.training), self.settings.radius
        found = {}
        for channel in self.channels:
            for n in channel.improved:
                operator, (first, second) = self._series(channel.key(n), part), self._estimates(channel, part)
                both = [(a + b) * 0.5 for a, b in zip(first, second, strict=True)]
                found[channel.key(n)] = fit_sources(operator, both, radius)
        return found

    def _estimates(self, channel: _Channel, part: slice) -> tuple[list[Series], list[Series]]:
        names = self.fields.select(channel.polarisation).names
        first, second = ([self._series(f"{e}|{name}", part) for name in names] for e in ESTIMATES)
        return first, second

    def measured(self, channel: _Channel, coefficients: dict[str, FloatArray]) -> glueball_report.Measured:
        """What the report needs, from the rows that were not used for training."""
        part = slice(self.settings.training, None)
        operators = {channel.key(n): self._series(channel.key(n), part) for n in channel.operators}
        tangents = self._estimates(channel, part) if channel.improved else ([], [])
        return glueball_report.Measured(channel.name, operators, tangents, coefficients)
