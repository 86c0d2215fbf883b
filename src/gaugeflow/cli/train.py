"""``gaugeflow train``: flows from the source to its targets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gaugeflow.cli.machine import compute_options
from gaugeflow.cli.output import print_json, print_table, progress_bars

if TYPE_CHECKING:
    from gaugeflow.cli.assembly import Target
    from gaugeflow.cli.output import Progress
    from gaugeflow.runfile import RunFile

_COLUMNS = ("target", "method", "plain ESS", "ESS", "seconds", "parameters")


@click.command()
@click.argument("runfile", metavar="RUN.toml", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@compute_options
def train(runfile: Path, as_json: bool) -> None:
    """Train a flow for every target of RUN.toml.

    Coefficients come from a linear least-squares fit on three quarters of the training configurations; the method
    adam refines them. The effective sample size (ESS) is that of the last quarter. Parameters go to the folder
    [output] dir, and do not depend on the volume. An interrupted training continues when the command is given again.
    """
    from gaugeflow.cli.assembly import targets
    from gaugeflow.runfile import read_runfile

    run = read_runfile(runfile)
    run.folder.mkdir(parents=True, exist_ok=True)
    with progress_bars() as progress:
        results = [_train(run, target, progress) for target in targets(run)]
    if as_json:
        print_json(results)
        return

    def with_error(result: dict[str, Any], key: str) -> str:
        return f"{result[key]:.4f} +- {result[f'{key}_error']:.4f}"

    rows = [
        (
            f"{r['parameter']} {r['source']:g} -> {r['target']:g}",
            r["method"],
            with_error(r, "ess_plain"),
            with_error(r, "ess_flow"),
            round(r["seconds"], 1),
            r["file"],
        )
        for r in results
    ]
    print_table("flows, held-out configurations", _COLUMNS, rows)


def _train(run: RunFile, target: Target, progress: Progress) -> dict[str, Any]:
    """Fit, refine, evaluate and store one flow."""
    from gaugeflow import io
    from gaugeflow.cli import assembly
    from gaugeflow.cli.source import find_source
    from gaugeflow.io.params import write_params
    from gaugeflow.runfile import TrainingSection
    from gaugeflow.training import Adam, cosine, held_out_ess, log_variance, reverse_kl, reverse_kl_path
    from gaugeflow.training import train as train_flow

    settings = run.require(TrainingSection)
    begin = time.perf_counter()
    lattice = assembly.make_lattice(run, settings.batch)
    source = assembly.source_action(run, lattice)
    goal = target.action(source)
    flow = assembly.make_flow(run, lattice)
    given = find_source(run)
    count = min(settings.configurations, len(given))
    split = count - count // 4
    fitted = given.part(lattice, range(split))
    held_out = given.part(lattice, range(split, count))
    params: Any = _fit(run, target, fitted, source)
    if settings.method == "adam":
        losses = {"log-variance": log_variance, "reverse-kl": reverse_kl, "path-gradient": reverse_kl_path}
        scale = max(float(abs(sweep["delta"]).max()) for sweep in params.values())
        trained = train_flow(
            flow,
            params,
            source,
            goal,
            fitted,
            held_out,
            loss=losses[settings.loss],
            optimiser=Adam(cosine(settings.learning_rate * scale, settings.steps), clip=settings.clip),
            steps=settings.steps,
            batch=settings.batch,
            patience=settings.patience or None,
            checkpoint=run.folder / f"training-{target.name}.h5",
            described=_described(run, target),
            progress=lambda step, ess: progress(f"{target.name}: training, ESS {ess:.3f}", step, settings.steps),
        )
        params = trained.params
    plain = held_out_ess(flow, flow.init(), source, goal, held_out, settings.batch)
    moved = held_out_ess(flow, params, source, goal, held_out, settings.batch)
    path = assembly.flow_file(run, target)
    result = {
        "parameter": target.parameter,
        "source": getattr(source, target.parameter),
        "target": target.value,
        "method": settings.method,
        "training_configurations": split,
        "held_out_configurations": count - split,
        "ess_plain": plain[0],
        "ess_plain_error": plain[1],
        "ess_flow": moved[0],
        "ess_flow_error": moved[1],
        "seconds": time.perf_counter() - begin,
        "file": str(path),
    }
    write_params(path, params, attributes=io.provenance(result=result, flow=assembly.flow_form(run)))
    return result


def _described(run: RunFile, target: Target) -> dict[str, Any]:
    """What must agree for a training to be continued."""
    from dataclasses import asdict

    sections = {name: asdict(getattr(run, name)) for name in ("lattice", "group", "source", "flow", "training")}
    return {**sections, "target": target._asdict()}


def _fit(run: RunFile, target: Target, ensemble: Any, source: Any) -> dict[str, Any]:
    """Parameters of all sweeps from linear least squares."""
    import numpy as np

    from gaugeflow.cli import assembly
    from gaugeflow.runfile import FlowSection, TrainingSection
    from gaugeflow.training import fit_linear

    sweep, batch = assembly.make_sweep(run, source.lattice), run.require(TrainingSection).batch
    tangents, operators = [], []
    for part in ensemble.batches(batch):
        tangents.append(sweep.tangent(part.fields, source.grad(part.fields)))
        operators.append(target.operator(source, part.fields))
    h = np.concatenate(tangents, axis=-1)
    fit = fit_linear(h.reshape(-1, h.shape[-1]), np.concatenate(operators))
    count = run.require(FlowSection).sweeps
    delta = fit.coefficients.reshape(sweep.shape) * (target.step / count)
    return {str(i): {"delta": delta} for i in range(count)}
