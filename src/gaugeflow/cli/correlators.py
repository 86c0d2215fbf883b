"""What ``derive`` does with a section [sources]: correlators of time slices with fields of sources."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from gaugeflow.cli.output import as_stored, write_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from gaugeflow.analysis import Series
    from gaugeflow.analysis.series import FloatArray
    from gaugeflow.cli.source import Source
    from gaugeflow.ensembles import GradientSources, JoinedSources, Measurements
    from gaugeflow.lattice import Array, Lattice
    from gaugeflow.progress import Progress
    from gaugeflow.random import Streams
    from gaugeflow.runfile import RunFile, SourcesSection
    from gaugeflow.systems import Table
    from gaugeflow.typing import Batch, Ensemble

MEASUREMENTS, CONTACT, RESULT, FIGURE = "sources.h5", "contact.h5", "correlators.json", "correlators.png"
STOUT_RHO = 0.1
_OTHER = "other h"
"""Tangents with another noise, for the other factor of a product."""
_PIECE = 16
"""Configurations between two writings of the measurements, batches where these hold many."""
_FEWEST = 5
"""Configurations with contact terms: an error needs some."""


def measure(run: RunFile, progress: Progress) -> dict[str, Any]:
    """Measure what is not measured yet, fit the fields, and put the correlators together."""
    from gaugeflow.cli.source import find_source
    from gaugeflow.runfile import SourcesSection

    section = run.require(SourcesSection)
    given = find_source(run)
    data = _slices(run, section, given, progress)
    extent, names = run.lattice.shape[0], _fields(run, section, _lattice(run, 1)).names
    operator = _series(data, "O", extent)
    tangents = [_series(data, f"h|{name}", extent) for name in names]
    others = [_series(data, f"{_OTHER}|{name}", extent) for name in names] if _noisy(section) else tangents
    both = [(a + b) * 0.5 for a, b in zip(tangents, others, strict=True)]
    coefficients, skipped = _coefficients(run, section, operator, both)
    used, first, second = ([_after(series, skipped) for series in every] for every in ([operator], tangents, others))
    contact = _contact(run, section, given, coefficients, skipped, progress)
    from gaugeflow.systems.glueball_report import estimates

    row = estimates(used[0], first, second, coefficients, contact)
    return {
        "n_configurations": used[0].n,
        "n_training": operator.n - used[0].n,
        "n_contact": contact[0].n,
        "fields": list(names),
        "coefficients": coefficients.tolist(),
        "operators": {f"{section.operator}, {section.stout}": row},
    }


def write(run: RunFile, result: dict[str, Any]) -> list[str]:
    """Write the JSON file and the figure; returns their names, and those of the measurements."""
    from gaugeflow.systems.glueball_report import figure

    write_json(run.folder / RESULT, result)
    figure(run.folder / FIGURE, result)
    return [RESULT, FIGURE, MEASUREMENTS, CONTACT]


def tables(result: dict[str, Any]) -> list[Table]:
    """Correlators and masses by estimator, rounded to the digits that their errors leave."""
    from gaugeflow.systems.estimates import text
    from gaugeflow.systems.report import BRACKETS, Table

    ((name, row),) = result["operators"].items()
    kinds = row["correlators"]
    plain = kinds["plain"]

    share = text(row["residual_share"])
    rows = [
        (
            t,
            *(text(found[t]) for found in kinds.values()),
            *(
                f"{(plain[t]['error'] / found[t]['error']) ** 2:.3g}"
                for kind, found in kinds.items()
                if kind != "plain"
            ),
        )
        for t in range(len(plain))
    ]
    gains = [f"variance, {kind}" for kind in kinds if kind != "plain"]
    masses = {kind: {m["t"]: text(m) for m in found} for kind, found in row["masses"].items()}
    times = sorted({t for found in masses.values() for t in found})
    return [
        Table(
            f"Correlator, {name} smearing steps, {result['n_configurations']} configurations; fields leave rho = {share}",
            ("t", *kinds, *gains),
            tuple(rows),
            ("variance: that of the plain estimator over that of this one", BRACKETS),
        ),
        Table(
            "Effective masses in lattice units, from C(t) and C(t + 1)",
            ("t", *masses),
            tuple((t, *(found.get(t, "") for found in masses.values())) for t in times),
            (BRACKETS,),
        ),
    ]


# ---- what is measured --------------------------------------------------------------------------------------------
def _lattice(run: RunFile, batch: int) -> Lattice:
    from gaugeflow.cli import assembly

    lattice = assembly.make_lattice(run, batch)
    lattice.check_whole(f"{run.path}: [sources] (processes work side by side with [parallel] parts and ranks = 1)")
    return lattice


def _noisy(section: SourcesSection) -> bool:
    return "gradients" in section.fields


def _streams(run: RunFile, part: Batch, *names: str) -> list[Streams]:
    """Noise by name for every configuration of a batch."""
    from gaugeflow.cli import assembly
    from gaugeflow.random import Streams

    return [Streams.of(assembly.noise_of(run, "sources", name), part.chain, part.ids) for name in names]


def _fields(run: RunFile, section: SourcesSection, lattice: Lattice) -> JoinedSources | GradientSources:
    from gaugeflow.ensembles import GradientSources, JoinedSources, PlaquetteSources, SmearedSources
    from gaugeflow.flows import SmearedSweep, Smearing
    from gaugeflow.systems import glueball_report

    polarisation = glueball_report.POLARISATION if section.operator == "tensor" else None
    if _noisy(section):
        return GradientSources(lattice, polarisations=(polarisation,))
    families: list[Any] = []
    for name in section.fields:
        if name == "plaquette":
            families.append(PlaquetteSources(lattice, polarisation))
            continue
        most = max(section.gradient_steps)
        smearing = Smearing(eta=(0.0625,) * most, steps=1, gradient_steps=section.gradient_steps)
        sweep = SmearedSweep(lattice, run.group.n, smearing)
        families.append(SmearedSources(sweep, (1,), False, polarisation))
    return JoinedSources(tuple(families))


def _operator(section: SourcesSection, lattice: Lattice, x: Array) -> Array:
    """O_t, ``(T, batch)``."""
    from array_api_compat import array_namespace

    from gaugeflow import kernels
    from gaugeflow.kernels.sums import sum_slices
    from gaugeflow.observables import plaquette_slices, stout, tensor_slices

    if section.operator == "temporal":
        traces = kernels.plaquette_traces(lattice, x)[: lattice.ndim - 1, ...]
        return array_namespace(x).sum(sum_slices(lattice, traces), axis=0) / x.shape[2]
    smeared = stout(lattice, x, STOUT_RHO, section.stout, spatial=True) if section.stout else x
    if section.operator == "tensor":
        return tensor_slices(lattice, smeared)[0, ...]
    return plaquette_slices(lattice, smeared)


def _slices(run: RunFile, section: SourcesSection, given: Source, progress: Progress) -> Measurements:
    """O_t and the tangents of all fields on all configurations."""
    from gaugeflow import io
    from gaugeflow.cli import assembly
    from gaugeflow.cli.pieces import sections, shared
    from gaugeflow.devices import to_host
    from gaugeflow.ensembles import JoinedSources, Measurements, measure_sources
    from gaugeflow.systems.masses import columns

    batch = assembly.batch_size(run)
    lattice = _lattice(run, batch)
    fields = _fields(run, section, lattice)
    action, operator = assembly.source_action(run, lattice), partial(_operator, section, lattice)

    def rows(part: Batch) -> dict[str, Array]:
        if isinstance(fields, JoinedSources):
            return measure_sources(fields, action, operator)(part.fields)
        source, sink = _streams(run, part, "source", "sink")
        first, second = fields.two_estimates((source, sink), part.fields, action.grad(part.fields))
        row = {"operator": to_host(operator(part.fields))}
        for kind, h in (("h", to_host(first)), (_OTHER, to_host(second))):
            row |= {f"{kind}|{name}": h[i] for i, name in enumerate(fields.names)}
        return row

    def work(ensemble: Ensemble, show: Callable[[int], None]) -> Measurements:
        data = Measurements()
        for part in ensemble.batches(batch):
            found = rows(part)
            row = columns("O", found.pop("operator"))
            for name, values in found.items():
                row |= columns(name, values)
            data.add(part.ids, part.chain, row)
            show(len(data))
        return data

    parameters = sections(run, "lattice", "group", "source")
    of_fields = {key: getattr(section, key) for key in ("operator", "stout", "fields", "gradient_steps")}
    described = io.provenance(parameters=parameters | {"sources": as_stored(of_fields)})
    return shared(run, MEASUREMENTS, given, lattice, _PIECE * batch, described, work, progress)


def _series(data: Measurements, name: str, extent: int) -> Series:
    from gaugeflow.analysis import stack

    return stack(*(data.series(f"{name}|{t}") for t in range(extent)))


def _coefficients(
    run: RunFile, section: SourcesSection, operator: Series, tangents: list[Series]
) -> tuple[FloatArray, int]:
    """Coefficients of every chain, and how many configurations of each were used up for them."""
    import numpy as np

    from gaugeflow.analysis import cross_fit_sources, fit_sources

    if section.coefficients == "cross-fit":
        if operator.chains < 2:
            raise ValueError(
                f"{run.path}: [sources] coefficients: 'cross-fit' needs two chains or more, found one; give 'training'"
            )
        return cross_fit_sources(operator, tangents, section.radius), 0
    shortest = min(map(len, operator.values))
    if section.training > shortest - _FEWEST:
        raise ValueError(
            f"{run.path}: [sources] training: expected at most {shortest - _FEWEST}, to leave {_FEWEST} configurations of "
            f"every chain, found {section.training}"
        )
    first = [_cut(series, slice(section.training)) for series in (operator, *tangents)]
    found = fit_sources(first[0], first[1:], section.radius)
    return np.stack([found] * operator.chains), section.training


def _cut(series: Series, part: slice) -> Series:
    from gaugeflow.analysis import Series

    return Series(tuple(v[part] for v in series.values), tuple(i[part] for i in series.ids), series.name)


def _after(series: Series, skipped: int) -> Series:
    return _cut(series, slice(skipped, None))


def _contact(
    run: RunFile, section: SourcesSection, given: Source, coefficients: FloatArray, skipped: int, progress: Progress
) -> list[Series]:
    """X_0.dO_t and, for two sides, X_t.dh_0 on some configurations of every chain, all in one series."""
    import numpy as np

    from gaugeflow import io
    from gaugeflow.analysis import Series
    from gaugeflow.cli import assembly
    from gaugeflow.cli.pieces import sections, shared
    from gaugeflow.ensembles import JoinedSources, Measurements, first_contact, second_contact
    from gaugeflow.systems.masses import columns

    numbers = np.unique(given.chain)
    rows: list[int] = []
    for chain in numbers:
        mine = np.nonzero(given.chain == chain)[0]
        rows += mine[np.argsort(given.id[mine], kind="stable")][skipped :: section.contact_every].tolist()
    if len(rows) < _FEWEST:
        raise ValueError(
            f"{run.path}: [sources] contact_every: expected a number that leaves {_FEWEST} configurations for contact terms, "
            f"found {section.contact_every}, which leaves {len(rows)}"
        )
    lattice = _lattice(run, 1)  # chains have coefficients of their own
    fields, action = _fields(run, section, lattice), assembly.source_action(run, lattice)
    of_chain = dict(zip(numbers.tolist(), coefficients, strict=True))
    reach = 1 if section.operator == "temporal" else 0
    kinds = ("first", "second")[: section.sides]

    def work(ensemble: Ensemble, show: Callable[[int], None]) -> Measurements:
        data = Measurements()
        for part in ensemble.batches(1):
            c = of_chain[int(part.chain[0])]
            operator = partial(_operator, section, lattice)
            bound = fields if isinstance(fields, JoinedSources) else fields.with_noise(*_streams(run, part, "contact"))
            row = columns("first", first_contact(bound, c, part.fields, operator, reach))
            if section.sides == 2:
                row |= columns("second", second_contact(bound, c, part.fields, action, (0,)))
            data.add(part.ids, part.chain, row)
            show(len(data))
        return data

    parameters = sections(run, "lattice", "group", "source", "sources") | {"coefficients": coefficients.tolist()}
    described = io.provenance(parameters=parameters)
    chosen = given.subset(sorted(rows))
    data = shared(run, CONTACT, chosen, lattice, _PIECE, described, work, progress)
    extent = run.lattice.shape[0]
    return [Series.from_chains([np.concatenate(_series(data, kind, extent).values)], name=kind) for kind in kinds]
