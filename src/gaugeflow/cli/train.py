"""``gaugeflow train``: flows from the source to its targets."""

from __future__ import annotations

import math
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gaugeflow.cli.machine import compute_options
from gaugeflow.cli.output import continues, figure_option, lock_results, print_json, print_table
from gaugeflow.cli.world import current

if TYPE_CHECKING:
    from gaugeflow.actions import WilsonAction
    from gaugeflow.cli.assembly import Target
    from gaugeflow.cli.source import Source
    from gaugeflow.progress import Progress
    from gaugeflow.runfile import RunFile, TrainingSection
    from gaugeflow.typing import Ensemble

LEAST_HELD_OUT = 5
"""Configurations from which an effective sample size has an error."""

_COLUMNS = ("target", "method", "held out", "plain ESS", "ESS", "seconds", "parameters")


@click.command()
@click.argument("runfile", metavar="RUN.toml", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@figure_option
@compute_options
def train(runfile: Path, as_json: bool) -> None:
    """Train a flow for every target of RUN.toml.

    Training configurations are taken from all over the source. Coefficients come from a linear least-squares fit on
    three quarters of them; the method adam refines them. The effective sample size (ESS) is that of the last quarter,
    which also chooses the best step of adam. Parameters, and for adam history and figure, go to the folder [output] dir,
    and do not depend on the volume. An interrupted training continues when the command is given again.
    """
    from gaugeflow.cli import kappa
    from gaugeflow.cli.assembly import refuse_quarks, targets
    from gaugeflow.cli.together import begin
    from gaugeflow.runfile import FlowSection, TargetSection, TrainingSection, read_runfile

    run = read_runfile(runfile, TargetSection, FlowSection, TrainingSection)
    of_quarks = run.require(TargetSection).parameter == "kappa"
    if not of_quarks:
        refuse_quarks(run)
    wanted = targets(run)
    world = begin(run, len(wanted), "targets")
    lock_results(run.folder, "train.lock")
    team = world.team
    with world.progress() as progress, continues(run.folder):
        one = kappa.train if of_quarks else _train
        own = {k: one(run, wanted[k], progress) for k in range(team.number, len(wanted), team.count)}
    everything = {k: result for found in world.gather(own) for k, result in found.items()}
    results = [everything[k] for k in range(len(wanted))]
    if not world.leads:
        return
    if as_json:
        print_json(results)
        return

    from gaugeflow.analysis import format_error
    from gaugeflow.systems.report import ESS

    def with_error(result: dict[str, Any], key: str) -> str:
        return format_error(result[key], result[f"{key}_error"])

    rows = [
        (
            f"{r['parameter']} {r['source']:g} -> {r['target']:g}",
            r["method"],
            r["held_out_configurations"],
            with_error(r, "ess_plain"),
            with_error(r, "ess_flow"),
            round(r["seconds"], 1),
            r["file"],
        )
        for r in results
    ]
    notes = (
        ESS,
        "held out: configurations that the fit did not see; the ESS is theirs, and they choose the best step of adam",
    )
    print_table("flows", _COLUMNS, rows, notes)


def _train(run: RunFile, target: Target, progress: Progress) -> dict[str, Any]:
    """Fit, refine, evaluate and store one flow."""
    from gaugeflow import io
    from gaugeflow.cli import assembly
    from gaugeflow.cli.source import find_source
    from gaugeflow.io.params import write_params
    from gaugeflow.runfile import TrainingSection
    from gaugeflow.systems import figures
    from gaugeflow.training import Adam, cosine, log_variance, reverse_kl, reverse_kl_path
    from gaugeflow.training import train as train_flow

    settings = run.require(TrainingSection)
    begin = time.perf_counter()
    given = find_source(run)
    current().require_equal({"checksum of the source configurations": zlib.crc32(given.checksum.tobytes())})
    fitted_rows, held_out_rows = rows_of(run, settings, given)
    size = assembly.batch_size(run)
    lattice = assembly.make_lattice(run, size)
    source = assembly.source_action(run, lattice)
    held_out = given.part(lattice, held_out_rows)
    params: Any = _fit(run, target, given.part(lattice, fitted_rows), source, size)
    if settings.method == "adam":
        losses = {"log-variance": log_variance, "reverse-kl": reverse_kl, "path-gradient": reverse_kl_path}
        scale = max(float(abs(sweep["delta"]).max()) for sweep in params.values())
        narrow = assembly.make_lattice(run, settings.batch)  # the minibatch is the user's choice, and its lanes with it
        start = assembly.source_action(run, narrow)
        rows = fitted_rows[: len(fitted_rows) - (len(fitted_rows) % settings.batch == 1)]  # one alone has no variance
        trained = train_flow(
            assembly.make_flow(run, narrow),
            params,
            start,
            target.action(start),
            given.part(narrow, rows),
            given.part(narrow, held_out_rows),
            loss=losses[settings.loss],
            optimiser=Adam(cosine(settings.learning_rate * scale, settings.steps), clip=settings.clip),
            steps=settings.steps,
            batch=settings.batch,
            patience=settings.patience or None,
            checkpoint=run.folder / f"training-{target.name}.h5",
            described=_described(run, target, given.checksum[[*fitted_rows, *held_out_rows]].tolist()),
            progress=lambda step, ess: progress(f"{target.name}: training, ESS {ess:.3f}", step, settings.steps),
        )
        params = trained.params
        history, picture = (run.folder / f"history-{target.name}.{suffix}" for suffix in ("h5", "png"))
        if current().team.leads:
            io.write_table(history, trained.history.columns(), attributes=io.provenance())
            figures.training(picture, trained.history)
    plain, moved = _held_out_ess(run, target, params, held_out, source, size)
    path = assembly.flow_file(run, target)
    result = {
        "parameter": target.parameter,
        "source": getattr(source, target.parameter),
        "target": target.value,
        "method": settings.method,
        "training_configurations": len(fitted_rows),
        "held_out_configurations": len(held_out_rows),
        "ess_plain": plain[0],
        "ess_plain_error": plain[1],
        "ess_flow": moved[0],
        "ess_flow_error": moved[1],
        "seconds": time.perf_counter() - begin,
        "file": str(path),
    }
    if current().team.leads:
        write_params(path, params, attributes=io.provenance(result=result, flow=assembly.flow_form(run)))
    return result


def rows_of(run: RunFile, settings: TrainingSection, given: Source) -> tuple[list[int], list[int]]:
    """Training and held-out configurations; ``ValueError`` before any work where there are too few."""
    from gaugeflow.cli import assembly

    count = min(settings.configurations, len(given))
    fitted, held_out = given.spread(count)
    fields = math.prod(assembly.make_sweep(run, assembly.make_lattice(run, 1)).shape)
    if len(held_out) < LEAST_HELD_OUT or len(fitted) <= fields + 1:
        raise ValueError(
            f"{run.path}: [training] configurations: expected at least {LEAST_HELD_OUT} in the held-out quarter and "
            f"{fields + 2} for the {fields} coefficients of the fit, found {len(held_out)} and {len(fitted)} "
            f"(of {len(given)} in the source)"
        )
    return fitted, held_out


def _described(run: RunFile, target: Target, checksums: list[int]) -> dict[str, Any]:
    """What must agree for a training to be continued."""
    from dataclasses import asdict

    sections = {name: asdict(getattr(run, name)) for name in ("lattice", "group", "source", "flow", "training")}
    total = zlib.crc32(repr(checksums).encode())
    return {**sections, "target": target._asdict(), "configurations_checksum": total}


def _fit(run: RunFile, target: Target, ensemble: Ensemble, source: WilsonAction, size: int) -> dict[str, Any]:
    """Parameters of all sweeps from linear least squares, by two groups of noise where there is noise."""
    import numpy as np

    from gaugeflow.cli import assembly
    from gaugeflow.devices import to_host
    from gaugeflow.random import Streams
    from gaugeflow.runfile import FlowSection
    from gaugeflow.training import fit_linear, fit_linear_noisy

    section = run.require(FlowSection)
    sweep, rng = assembly.make_sweep(run, source.lattice), assembly.noise_of(run, "forces", "fit")
    fields_of, groups = assembly.make_fields(run, source.lattice), 2 if section.kind == "forces" else 1
    tangents, operators = [], []
    for part in ensemble.batches(size):
        force, noise = source.grad(part.fields), Streams.of(rng, part.chain, part.ids)
        fields = [fields_of(noise.stream(k)) for k in range(groups)]
        tangents.append(np.stack([to_host(of.tangent(part.fields, force)) for of in fields]))
        operators.append(to_host(target.operator(source, part.fields)))
    h, operator = np.concatenate(tangents, axis=-1), np.concatenate(operators)
    h = h.reshape(groups, -1, h.shape[-1])
    fit = fit_linear(h[0], operator) if groups == 1 else fit_linear_noisy(h, np.stack([operator] * groups))
    delta = np.asarray(fit.coefficients).reshape(sweep.shape) * (target.step / section.sweeps)
    return {str(i): {"delta": delta} for i in range(section.sweeps)}


def _held_out_ess(
    run: RunFile, target: Target, params: Any, held_out: Ensemble, source: WilsonAction, size: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """ESS with its error without and with the flow; log-weights of forces have noise, which counts."""
    import numpy as np

    from gaugeflow.analysis import ess
    from gaugeflow.cli import assembly
    from gaugeflow.devices import to_host
    from gaugeflow.ensembles import CorrelatedEnsemble
    from gaugeflow.random import Streams

    goal, rng = target.action(source), assembly.noise_of(run, "forces", "held out")
    map_of = assembly.make_map(run, source.lattice)
    weights: list[tuple[Any, Any]] = []
    for part in held_out.batches(size):
        noise = Streams.of(rng, part.chain, part.ids)
        maps: tuple[Any, ...] = (), map_of(params, noise)
        both = [CorrelatedEnsemble(held_out, source, goal, *flow).map(part.fields)[1] for flow in maps]
        weights.append((to_host(both[0]), to_host(both[1])))
    plain, moved = (ess(np.concatenate(column)) for column in zip(*weights, strict=True))
    return (plain.value, plain.error), (moved.value, moved.error)
