"""``gaugeflow sample``: an ensemble from the heat bath."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gaugeflow.cli.machine import compute_options
from gaugeflow.cli.output import as_stored, print_json, print_table

if TYPE_CHECKING:
    from gaugeflow.runfile import RunFile, SamplerSection
    from gaugeflow.samplers import Checkpoint

CHECKPOINT, HISTORY = "sampler.h5", "history.h5"
"""Names of files in the folder of results."""

Store = Callable[[Any, int], None]
"""Keeps the links ``(chains, d, *shape, N, N)`` of one number."""


@click.command()
@click.argument("runfile", metavar="RUN.toml", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@compute_options
def sample(runfile: Path, as_json: bool) -> None:
    """Sample the source of RUN.toml with heat bath and overrelaxation.

    Configurations and the history of the plaquette go to the folder [output] dir. A run that was interrupted or killed
    continues when the same command is given again, to the same numbers; a longer one extends it. Two runs in one
    folder refuse each other.
    """
    from gaugeflow.runfile import SamplerSection, read_runfile
    from gaugeflow.samplers import Checkpoint

    run = read_runfile(runfile)
    settings = run.require(SamplerSection)
    _require_form(run)
    run.folder.mkdir(parents=True, exist_ok=True)
    with Checkpoint(run.folder / CHECKPOINT) as checkpoint:
        result = _sample(run, settings, checkpoint)
    if as_json:
        print_json(result)
        return
    rows = [(key.replace("_", " "), str(value)) for key, value in result.items() if key != "plaquette"]
    rows += [(f"plaquette {key}".replace("_", " "), f"{x:.8g}") for key, x in result["plaquette"].items() if x]
    print_table("ensemble", ("what", "value"), rows)


def _sample(run: RunFile, settings: SamplerSection, checkpoint: Checkpoint) -> dict[str, Any]:
    from gaugeflow.cli.assembly import make_lattice, source_action
    from gaugeflow.devices import to_host
    from gaugeflow.io import provenance
    from gaugeflow.io.hdf5 import write_table
    from gaugeflow.random import Rng
    from gaugeflow.samplers import HeatBath
    from gaugeflow.samplers import run as run_chain

    lattice = make_lattice(run, settings.chains)
    couplings = source_action(run, lattice).couplings.plaquette
    sampler = HeatBath(lattice, couplings, settings.overrelaxation)
    rng = Rng(settings.seed)
    start = sampler.hot(rng, run.group.n, settings.chains)
    if settings.start == "cold":
        start = sampler.cold(run.group.n, settings.chains)
    described = provenance(seed=settings.seed, parameters=_physics(run))
    count = 0
    with _storage(run, settings, described) as store:

        def keep(sample: Any) -> None:
            nonlocal count
            count = (sample.step - settings.burn_in) // settings.separation
            store(lattice.unpack(to_host(sample.state.x), components=1), count - 1)

        try:
            chain = run_chain(
                sampler,
                rng,
                start,
                settings.configurations * settings.separation,
                burn_in=settings.burn_in,
                thin=settings.separation,
                callback=keep,
                checkpoint=checkpoint,
            )
        except KeyboardInterrupt:
            done = f"{count} of {settings.configurations} configurations a chain"
            raise KeyboardInterrupt(f"{done} are stored; give the same command again to go on") from None
    plaquette = to_host(chain.records["plaquette"])
    write_table(run.folder / HISTORY, {"step": chain.steps, "plaquette": plaquette}, attributes=described)
    return {
        "dir": str(run.folder),
        "shape": list(lattice.shape),
        "n_colours": run.group.n,
        "beta": run.source.beta,
        "anisotropy": run.source.anisotropy,
        "chains": settings.chains,
        "configurations": settings.configurations,
        "plaquette": _estimate([plaquette[:, c] for c in range(settings.chains)]),
    }


def _physics(run: RunFile) -> dict[str, Any]:
    """What must agree for two runs to belong to one ensemble; the number of configurations may grow."""
    sections = {name: asdict(getattr(run, name)) for name in ("lattice", "group", "source", "sampler")}
    del sections["sampler"]["configurations"]
    return sections


def _estimate(chains: list[Any]) -> dict[str, float | None]:
    """Mean, error and autocorrelation time in units of the separation; the latter two None for short chains."""
    from gaugeflow.analysis import gamma_method

    if len(chains[0]) < 5:
        return {"mean": sum(float(c.mean()) for c in chains) / len(chains), "error": None, "tau_int": None}
    estimate = gamma_method(chains)
    return {"mean": estimate.value, "error": estimate.error, "tau_int": estimate.tau_int}


def _require_form(run: RunFile) -> None:
    """``ValueError`` where the format of the files cannot hold such a field: asked of the format before any work."""
    import tempfile

    import numpy as np

    from gaugeflow.io import Config, write

    if run.output.format == "ensemble":
        return
    shape, n = run.lattice.shape, run.group.n
    unit = np.broadcast_to(np.eye(n, dtype=np.complex128), (len(shape), *(2,) * len(shape), n, n))
    with tempfile.TemporaryDirectory() as folder:
        try:
            write(Path(folder) / "trial", Config(unit), format=run.output.format, precision=run.output.precision)
        except ValueError as error:
            raise ValueError(f"{run.path}: [output] format: {error}") from None


# ---- where configurations go -----------------------------------------------------------------------------------------
@contextmanager
def _storage(run: RunFile, settings: SamplerSection, described: dict[str, object]) -> Iterator[Store]:
    """The function that keeps configurations; it skips those that an interrupted run has stored already."""
    from gaugeflow.cli.source import written_file
    from gaugeflow.io import Config, write

    if run.output.format == "ensemble":
        with _ensemble(run, settings, described) as store:
            yield store
        return
    metadata: dict[str, object] = {"ensemble_id": run.path.stem, "creator": "gaugeflow"}

    def keep(links: Any, number: int) -> None:
        for chain, configuration in enumerate(links):
            path = written_file(run, chain, number)
            config = Config(configuration, {**metadata, "sequence_number": number})
            write(path, config, format=run.output.format, precision=run.output.precision)

    yield keep


@contextmanager
def _ensemble(run: RunFile, settings: SamplerSection, described: dict[str, object]) -> Iterator[Store]:
    import numpy as np

    from gaugeflow.cli.source import ENSEMBLE
    from gaugeflow.io.ensemble import EnsembleFile

    path = run.folder / ENSEMBLE
    if path.exists():
        file = EnsembleFile.open(path, append=True)
        if file.attributes.get("parameters") != as_stored(described["parameters"]):
            raise ValueError(f"{path} was sampled with other parameters: {file.attributes.get('parameters')}")
    elif (run.folder / CHECKPOINT).exists():
        raise ValueError(f"{path} is missing beside {CHECKPOINT}: remove that too to start again")
    else:
        file = EnsembleFile.create(
            path,
            shape=run.lattice.shape,
            n_colours=run.group.n,
            precision=run.output.precision,
            capacity=settings.configurations * settings.chains,
            attributes=described,
        )
    with file:
        stored = set(file.id.tolist())

        def keep(links: Any, number: int) -> None:
            if number not in stored:
                file.append(links, id=number, chain=np.arange(settings.chains))

        yield keep
