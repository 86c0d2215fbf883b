"""``gaugeflow derive``: derivatives of observables from correlated ensembles."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gaugeflow.cli.machine import compute_options
from gaugeflow.cli.output import (
    as_stored,
    continues,
    figure_option,
    lock_results,
    print_json,
    print_table,
    results_in,
    tell_written,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gaugeflow.analysis import Series
    from gaugeflow.cli.assembly import Target
    from gaugeflow.ensembles import Measurements
    from gaugeflow.progress import Progress
    from gaugeflow.random import Streams
    from gaugeflow.runfile import RunFile
    from gaugeflow.systems import Table
    from gaugeflow.typing import Ensemble

MEASUREMENTS, RESULT, FIGURE, WEIGHTS = "measurements.h5", "derivatives.json", "derivatives.png", "log_weights.png"
_CHUNK = 16
"""Batches of configurations between two writings of the measurements."""


@click.command()
@click.argument("runfile", metavar="RUN.toml", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@figure_option
@compute_options
def derive(runfile: Path, as_json: bool) -> None:
    """Differentiate the observables of RUN.toml with the flows that ``train`` made.

    Every source configuration is mapped to every target, with exact weights; plain reweighting is given beside the
    flow, central differences where targets lie on both sides at the same distance, and the linearised flow, which has
    no finite step; independent ensembles are compared where [target] files names them. Measurements, JSON and figures
    go to the folder [output] dir. An interrupted run continues when the same command is given again.

    With a section [sources] in place of [target], the results are correlators of time slices, with and without the
    fields that take away their noise; nothing has to be trained.
    """
    from gaugeflow.cli import kappa
    from gaugeflow.cli.assembly import refuse_quarks, targets
    from gaugeflow.cli.together import begin
    from gaugeflow.runfile import FlowSection, ObservablesSection, SourcesSection, TargetSection, read_runfile
    from gaugeflow.systems import figures

    run = read_runfile(runfile, TargetSection, FlowSection, ObservablesSection, SourcesSection)
    if run.sources is not None:
        _correlators(run, as_json)
        return
    of_quarks = run.require(TargetSection).parameter == "kappa"
    if not of_quarks:
        refuse_quarks(run)
    world = begin(run, run.parallel.parts, "parts of the configurations")
    _keep_others_out(run)
    with world.progress() as progress, continues(run.folder):
        if of_quarks:
            data = kappa.measure(run, _nearest(targets(run)), progress)
            independent = kappa.independent(run, targets(run), progress)
        else:
            data, independent = _measure(run, progress), _independent(run, progress)
    if not world.leads:
        return
    results = _derivatives(run, data, independent)
    write_json(run.folder / RESULT, results)
    titles = {
        target.name: rf"target ${figures.SYMBOLS[target.parameter]}$ = {target.value:g}" for target in targets(run)
    }
    if not of_quarks:
        figures.log_weights(run.folder / WEIGHTS, data.columns(), titles)
    figures.derivatives(run.folder / FIGURE, results["derivatives"])
    if as_json:
        print_json(results)
        return
    for table in _tables(results):
        print_table(table.title, table.columns, table.rows, table.notes)
    for name in (RESULT, FIGURE, *(() if of_quarks else (WEIGHTS,)), MEASUREMENTS):
        tell_written(run.folder / name)


def _keep_others_out(run: RunFile) -> None:
    """Make the folder of results, which processes share where there are parts."""
    if run.parallel.parts == 1:
        lock_results(run.folder, "derive.lock")
    else:
        results_in(run.folder)


def _correlators(run: RunFile, as_json: bool) -> None:
    """Correlators of time slices from the section [sources]."""
    from gaugeflow.cli import correlators
    from gaugeflow.cli.assembly import refuse_quarks
    from gaugeflow.cli.together import begin

    refuse_quarks(run)
    world = begin(run, run.parallel.parts, "parts of the configurations")
    _keep_others_out(run)
    with world.progress() as progress, continues(run.folder):
        result = correlators.measure(run, progress)
    if not world.leads:
        return
    written = correlators.write(run, result)
    if as_json:
        print_json(result)
        return
    for table in correlators.tables(result):
        print_table(table.title, table.columns, table.rows, table.notes)
    for name in written:
        tell_written(run.folder / name)


def _tables(results: Mapping[str, Any]) -> list[Table]:
    """What is printed: the numbers of the JSON file, rounded to the digits that their errors leave."""
    from gaugeflow.analysis import format_error
    from gaugeflow.systems.correlated import NOTES, effective
    from gaugeflow.systems.report import ESS, Table

    weights = tuple((row["target"], row["map"], format_error(row["ess"], row["error"])) for row in results["weights"])
    parameter = results["derivatives"][0]["parameter"]

    def rows(found: list[dict[str, Any]]) -> tuple[tuple[Any, ...], ...]:
        return tuple(
            (
                row["observable"],
                f"{row['step']:g}",
                row["estimator"],
                format_error(row["value"], row["error"]),
                f"{row['tau_int']:.2f}",
                effective(row["n_effective"]),
            )
            for row in found
        )

    columns = ("observable", f"step in {parameter}", "estimator", f"d<O>/d{parameter}", "tau_int", "effective")
    title = f"Derivatives of the mean of O with respect to {parameter}, {results['n_configurations']} configurations"
    tables = [
        Table("Log-weights", ("target", "map", "ESS"), weights, (ESS,)),
        Table(title, columns, rows(results["derivatives"]), NOTES),
    ]
    if "slopes" in results:
        columns = (*columns[:3], "k_1", *columns[4:])
        tables.append(
            Table("Slope k_1 of the ratio of the two scales in a^2 / t_a", columns, rows(results["slopes"]), NOTES)
        )
    return tables


def _measure(run: RunFile, progress: Progress) -> Measurements:
    """Observables on source configurations and their images; goes on where an interrupted run stopped."""
    from gaugeflow import io
    from gaugeflow.cli import assembly
    from gaugeflow.cli.pieces import sections, shared
    from gaugeflow.cli.source import find_source
    from gaugeflow.ensembles import CorrelatedEnsemble, along_flow, measure_with_noise
    from gaugeflow.ensembles.correlated import at_once, batch_of_images
    from gaugeflow.io.params import fingerprint

    batch = assembly.batch_size(run)
    lattice = assembly.make_lattice(run, batch)
    source = assembly.source_action(run, lattice)
    observables = assembly.make_observables(run, lattice)
    smooth = assembly.make_observables(run, lattice, smooth=True)
    learned = {}
    for target in assembly.targets(run):
        learned[target] = read_flow(run, target)
    given = find_source(run)
    trained = {target.name: fingerprint(params) for target, params in learned.items()}
    parameters = sections(run, "lattice", "group", "source", "flow", "observables")
    described = io.provenance(parameters={**parameters, "trained": trained})
    nearest = _nearest(learned)
    # to first order in the step, all sweeps move the links by the sum of their coefficients
    coefficients = sum(sweep["delta"] for sweep in learned[nearest].values()) / nearest.step
    map_of, fields_of = assembly.make_map(run, lattice), assembly.make_fields(run, lattice)

    def work(ensemble: Ensemble, show: Callable[[int], None]) -> Measurements:
        def measure(noise: Streams, x: Any) -> Mapping[str, Any]:
            maps = {}
            for target, params in learned.items():
                goal = target.action(source)
                flow = map_of(params, noise.stream(target.name))
                maps[f"plain{target.name}"] = CorrelatedEnsemble(ensemble, source, goal)
                maps[f"flow{target.name}"] = CorrelatedEnsemble(ensemble, source, goal, *flow)
            fields = fields_of(noise.stream("linear"))
            linear = along_flow(fields, coefficients, source, partial(nearest.operator, source), smooth)
            return batch_of_images(maps, observables, linear, at_once, x)

        return measure_with_noise(ensemble, measure, assembly.noise_of(run, "forces", "derive"), batch, progress=show)

    return shared(run, MEASUREMENTS, given, lattice, _CHUNK * batch, described, work, progress)


def read_flow(run: RunFile, target: Target) -> Any:
    """Parameters that ``train`` has written for a target."""
    from gaugeflow.cli import assembly
    from gaugeflow.io.params import read_params

    path = assembly.flow_file(run, target)
    if not path.exists():
        raise ValueError(f"{path} does not exist: run `gaugeflow train {run.path}` first")
    params, attributes = read_params(path)
    if attributes.get("flow") != as_stored(assembly.flow_form(run)):
        raise ValueError(f"{path} is another flow: expected {assembly.flow_form(run)}, got {attributes.get('flow')}")
    return params


def _independent(run: RunFile, progress: Progress) -> dict[Target, Measurements]:
    """Observables on the ensembles at the targets, where [target] files names them."""
    from gaugeflow import io
    from gaugeflow.cli import assembly
    from gaugeflow.cli.pieces import sections, shared
    from gaugeflow.cli.source import find_files
    from gaugeflow.ensembles import measure_images
    from gaugeflow.runfile import TargetSection

    batch = assembly.batch_size(run)
    lattice = assembly.make_lattice(run, batch)
    observables = assembly.make_observables(run, lattice)

    def work(ensemble: Ensemble, show: Callable[[int], None]) -> Measurements:
        return measure_images(ensemble, {}, observables, batch, progress=show)

    found = {}
    for target, pattern in zip(assembly.targets(run), run.require(TargetSection).files, strict=False):
        given = find_files(run, pattern, "[target] files", {target.parameter: target.value})
        name = f"measurements-{target.name}.h5"
        described = io.provenance(parameters=sections(run, "lattice", "group", "observables"))
        found[target] = shared(run, name, given, lattice, _CHUNK * batch, described, work, progress)
    return found


def _nearest(targets: Iterable[Target]) -> Target:
    return min(targets, key=lambda target: abs(target.step))


def _derivatives(run: RunFile, data: Measurements, independent: Mapping[Target, Measurements]) -> dict[str, Any]:
    """ESS of every map, and every derivative with its error."""
    from gaugeflow.analysis import ess
    from gaugeflow.cli import assembly, kappa
    from gaugeflow.ensembles import estimators
    from gaugeflow.runfile import ObservablesSection

    chosen = assembly.targets(run)
    of_quarks = chosen[0].parameter == "kappa"
    weights: list[dict[str, Any]] = kappa.weights(run, chosen, data) if of_quarks else []
    derivatives = []
    for target in () if of_quarks else chosen:
        for kind in ("plain", "flow"):
            size = ess(data.series(f"{kind}{target.name}|log_weight"))
            weights.append({"target": target.name, "map": kind, "ess": size.value, "error": size.error})
    for name in (n for n in run.require(ObservablesSection).names if n != "pion"):
        for target in chosen:
            others = {target.step: independent[target]} if target in independent else {}
            found = estimators(data, name, target.step, independent=others, parameter=target.parameter)
            derivatives += [_row(data, name, target, *one) for one in _own(found, target, chosen).items()]
    result: dict[str, Any] = {"n_configurations": len(data), "weights": weights, "derivatives": derivatives}
    if run.require(ObservablesSection).scales:
        rows, slopes = _of_scales(run, data, independent)
        result["derivatives"] += rows
        result |= {"slopes": slopes} if slopes else {}
    if "pion" in run.require(ObservablesSection).names:
        result["derivatives"] += _of_pion(run, data, independent)
    return result


def _of_pion(run: RunFile, data: Measurements, independent: Mapping[Target, Measurements]) -> list[dict[str, Any]]:
    """Derivatives of the pion's mass by the chain rule."""
    from gaugeflow.analysis import difference_independent
    from gaugeflow.cli import assembly
    from gaugeflow.ensembles import INDEPENDENT, estimators
    from gaugeflow.systems.masses import pion_mass

    chosen = assembly.targets(run)
    mass, _ = pion_mass(data, assembly.pion_window(run), run.lattice.shape[0])
    rows = []
    for target in chosen:
        labelled = {}
        if target in independent:
            here, there = (mass.series(of) for of in (data, independent[target]))
            labelled[INDEPENDENT] = difference_independent(here, there) * (1.0 / target.step)
        found = estimators(data, mass.names, target.step, parameter=target.parameter)
        for label, derivative in _own(found, target, chosen).items():
            labelled[label] = mass.slope(data, derivative, target.step)
        rows += [_row(data, mass.name, target, *one) for one in labelled.items()]
    return rows


def _of_scales(
    run: RunFile, data: Measurements, independent: Mapping[Target, Measurements]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Derivatives of flow scales and of their ratio by the chain rule; for targets in beta the slopes k_1 of the ratio."""
    from gaugeflow.analysis import difference_independent, stack
    from gaugeflow.cli import assembly
    from gaugeflow.ensembles import INDEPENDENT, estimators
    from gaugeflow.systems.scales import QUANTITIES, column, scales, slopes, times_and_ratio

    chosen, levels = assembly.targets(run), assembly.scale_levels(run)
    columns = [column(t) for t in levels.times]
    names = [f"t_{c:g}" for c in levels.values]
    pair = len(names) == 2
    rows, of_ratio = [], []

    def energies(of: Measurements) -> Series:
        return stack(*(of.series(name) for name in columns))

    for target in chosen:
        labelled: dict[str, tuple[Series, ...]] = {}
        if target in independent:
            ends = zip(*(times_and_ratio(energies(of), levels) for of in (data, independent[target])), strict=True)
            labelled[INDEPENDENT] = tuple(difference_independent(a, b) * (1.0 / target.step) for a, b in ends)
        found = estimators(data, columns, target.step, parameter=target.parameter)
        for label, derivative in _own(found, target, chosen).items():
            if pair:
                parts = slopes(energies(data), derivative, levels).split()
                labelled[label] = parts[2:5]
                if target.parameter == "beta":
                    of_ratio.append(_row(data, QUANTITIES[5], target, label, parts[5]))
            else:
                labelled[label] = scales(energies(data), derivative, levels).split()[1:]
        for label, values in labelled.items():
            for name, series in zip([*names, "/".join(names)], values, strict=False):
                rows.append(_row(data, name, target, label, series))
    return rows, of_ratio


def _own(found: Mapping[str, Series], target: Target, chosen: Iterable[Target]) -> dict[str, Series]:
    """Estimates that belong to one target: central differences and limits of small steps stand in one row for all."""
    from gaugeflow.ensembles import EPSILON, LINEAR

    nearest = _nearest(chosen)

    def elsewhere(label: str) -> bool:
        return (label.endswith("central") and target.step < 0.0) or (
            label in (EPSILON, LINEAR) and target is not nearest
        )

    return {label: values for label, values in found.items() if not elsewhere(label)}


def _row(data: Measurements, observable: str, target: Target, estimator: str, values: Series) -> dict[str, Any]:
    """One estimate of a derivative, with the configurations that its weights leave."""
    from gaugeflow.analysis import effective_configurations, gamma_method
    from gaugeflow.ensembles import maps_of

    estimate = gamma_method(values)
    weights = [data.series(f"{c}|log_weight") for c in maps_of(estimator, target.step, target.parameter)]
    return {
        "observable": observable,
        "parameter": target.parameter,
        "step": target.step,
        "estimator": estimator,
        "value": estimate.value,
        "error": estimate.error,
        "tau_int": estimate.tau_int,
        "n_effective": effective_configurations(*weights) if weights else None,
    }
