"""``gaugeflow sample``: an ensemble from the heat bath, or from HMC where there are quarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gaugeflow.cli.actions import differences
from gaugeflow.cli.machine import compute_options
from gaugeflow.cli.output import as_stored, print_json, print_table, results_in, told
from gaugeflow.cli.world import current

if TYPE_CHECKING:
    from gaugeflow.cli.parts import Part
    from gaugeflow.lattice import Lattice
    from gaugeflow.runfile import RunFile, SamplerSection

CHECKPOINT, HISTORY = "sampler.h5", "history.h5"
"""Names of files in the folder of results."""

QUENCHED_STEPS = 50

Store = Callable[[Any, int], None]
"""Keeps the links ``(chains, d, *shape, N, N)`` of one number, on every process those of its sites."""


@click.command()
@click.argument("runfile", metavar="RUN.toml", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@compute_options
def sample(runfile: Path, as_json: bool) -> None:
    """Sample the source of RUN.toml: heat bath and overrelaxation, or HMC with [hmc] or [fermions].

    Configurations and the history of the plaquette go to the folder [output] dir. A run that was interrupted or killed
    continues when the same command is given again, to the same numbers; a longer one extends it. Two runs in one
    folder refuse each other, or with [parallel] share the chains.
    """
    from gaugeflow.analysis import format_error
    from gaugeflow.cli.parts import parts_of_chains, share
    from gaugeflow.cli.together import begin
    from gaugeflow.runfile import SamplerSection, read_runfile

    run = read_runfile(runfile)
    settings = run.require(SamplerSection)
    _require_form(run)
    results_in(run.folder)
    parts = parts_of_chains(run, settings.chains)
    world = begin(run, len(parts), "parts of the chains")
    world.first(partial(_require_parts, run))
    share(parts, partial(_is_complete, run, settings), partial(_sample, run, settings))
    if not world.leads:
        return
    result = _report(run, settings, parts)
    if as_json:
        print_json(result)
        return
    rows = [(key.replace("_", " "), str(value)) for key, value in result.items() if not isinstance(value, dict)]
    for name, label in (("plaquette", "plaquette"), ("exp_minus_delta_h", "exp(-delta H), expected 1")):
        found = {key: x for key, x in result.get(name, {}).items() if x}
        if "error" in found:
            rows.append((label, format_error(found["mean"], found["error"])))
        elif "mean" in found:
            rows.append((label, f"{found['mean']:.8g}"))
        if "tau_int" in found:
            rows.append((f"tau_int of {label}", f"{found['tau_int']:.2f} distances of two configurations"))
    print_table("ensemble", ("what", "value"), rows)


def _require_parts(run: RunFile) -> None:
    """``ValueError`` where the folder holds a run that was dealt in the other way: it would be begun anew beside that."""
    before, now = ("without", "with") if run.parallel.parts > 1 else ("with", "without")
    if (run.folder / CHECKPOINT).exists() if now == "with" else any(run.folder.glob(f"part-*/{CHECKPOINT}")):
        raise ValueError(
            f"{run.folder} holds a run {before} [parallel] parts: expected a run {before} parts, or another [output] dir"
        )


def _is_complete(run: RunFile, settings: SamplerSection, part: Part) -> bool:
    """Whether all chains of a part are there, with these parameters."""
    from gaugeflow.cli.source import ENSEMBLE
    from gaugeflow.io.hdf5 import read_table

    path = part.folder / HISTORY
    if not path.exists() or (run.output.format == "ensemble" and not (part.folder / ENSEMBLE).exists()):
        return False
    columns, attributes = read_table(path)
    same = attributes.get("parameters") == as_stored(_physics(run))
    return same and len(columns["step"]) == settings.configurations


def _sample(run: RunFile, settings: SamplerSection, part: Part) -> None:
    """Chains of one part, with the numbers that they would have among all."""
    from gaugeflow.cli.assembly import make_lattice
    from gaugeflow.devices import to_host
    from gaugeflow.groups import SU
    from gaugeflow.io import provenance
    from gaugeflow.io.hdf5 import write_table
    from gaugeflow.observables import LinkObservable, plaquette
    from gaugeflow.random import Rng, haar_links
    from gaugeflow.samplers import HMC, Checkpoint
    from gaugeflow.samplers import run as run_chain

    chains, team = len(part.items), current().team
    lattice = make_lattice(run, chains, moved=False)
    sampler, check = _make_sampler(run, settings, lattice)
    rng = Rng(settings.seed).beginning_at(part.items.start)
    links = haar_links(rng, lattice, run.group.n, chains)
    if settings.start == "cold":
        links = SU(lattice).identity(links)
    elif settings.start == "quenched" and not team.first((part.folder / CHECKPOINT).exists):
        links = _quenched(run, lattice, rng, links)
    start = sampler.init(links)
    observe: list[Any] = [LinkObservable("plaquette", lattice, plaquette)] if isinstance(sampler, HMC) else []
    described = provenance(seed=settings.seed, parameters=_physics(run))
    count = 0
    with (
        Checkpoint(part.folder / CHECKPOINT, lattice) as checkpoint,
        _storage(run, settings, part, described, lattice) as store,
        current().progress() as progress,
    ):

        def keep(sample: Any) -> None:
            nonlocal count
            check(sample.state.x)
            count = (sample.step - settings.burn_in) // settings.separation
            store(lattice.local.unpack(to_host(sample.state.x), components=1), count - 1)

        try:
            chain = run_chain(
                sampler,
                rng,
                start,
                settings.configurations * settings.separation,
                burn_in=settings.burn_in,
                thin=settings.separation,
                observe=observe,
                callback=keep,
                progress=progress,
                checkpoint=checkpoint,
            )
        except KeyboardInterrupt as interrupt:
            done = f"{count} of {settings.configurations} configurations a chain"
            raise told(interrupt, f"{done} are stored; give the same command again to go on") from None
        records = {name: to_host(values) for name, values in chain.records.items()}
        columns = {"step": chain.steps, **records}
        team.first(lambda: write_table(part.folder / HISTORY, columns, attributes=described))


def _report(run: RunFile, settings: SamplerSection, parts: list[Part]) -> dict[str, Any]:
    """What is printed of all chains; their history is put together."""
    import numpy as np

    from gaugeflow.io.hdf5 import read_table, write_table

    tables = [read_table(part.folder / HISTORY) for part in parts]
    steps, described = tables[0][0]["step"], tables[0][1]

    def of_chains(name: str) -> Any:
        """One column for each chain; what a part has in common is repeated."""
        shares = [np.reshape(table[name], (len(steps), -1)) for table, _ in tables]
        sizes = [(len(steps), len(part.items)) for part in parts]
        return np.concatenate([np.broadcast_to(x, size) for x, size in zip(shares, sizes, strict=True)], axis=1)

    records = {name: of_chains(name) for name in tables[0][0] if name != "step"}
    if len(parts) > 1:
        write_table(run.folder / HISTORY, {"step": steps, **records}, attributes=described)
    result = {
        "dir": str(run.folder),
        "shape": list(run.lattice.shape),
        "n_colours": run.group.n,
        "beta": run.source.beta,
        "anisotropy": run.source.anisotropy,
        "chains": settings.chains,
        "configurations": settings.configurations,
        "plaquette": _estimate([records["plaquette"][:, c] for c in range(settings.chains)]),
    }
    if "delta_h" in records:
        delta_h = records["delta_h"]
        result["acceptance"] = float(records["accepted"].mean())
        result["step_size"] = float(np.mean(records["step_size"][-1]))
        result["exp_minus_delta_h"] = _estimate([np.exp(-delta_h[:, c]) for c in range(settings.chains)])
    return result


def _quenched(run: RunFile, lattice: Any, rng: Any, links: Any) -> Any:
    """Links after some steps of the heat bath without quarks."""
    from gaugeflow.actions import WilsonAction
    from gaugeflow.samplers import HeatBath

    heat_bath = HeatBath(lattice, WilsonAction(lattice, run.source.beta, run.source.anisotropy).couplings.plaquette)
    state = heat_bath.init(links)
    for step in range(QUENCHED_STEPS):
        state, _ = heat_bath.step(rng.stream("quenched").at(step), state)
    return state.x


def _make_sampler(run: RunFile, settings: SamplerSection, lattice: Any) -> tuple[Any, Callable[[Any], None]]:
    """Sampler, and what every configuration must stand before it is stored."""
    from gaugeflow.cli.assembly import source_action
    from gaugeflow.cli.hybrid import check_ranges, make_hmc
    from gaugeflow.samplers import HeatBath

    if run.fermions is None and run.hmc is None:
        couplings = source_action(run, lattice).couplings.plaquette
        return HeatBath(lattice, couplings, settings.overrelaxation), lambda x: None
    hmc = make_hmc(run, lattice, settings.burn_in)
    return hmc, lambda x: check_ranges(hmc.action, x)


def _physics(run: RunFile) -> dict[str, Any]:
    """What must agree for two runs to belong to one ensemble; the number of configurations may grow."""
    names = ("lattice", "group", "source", "sampler", "fermions", "hmc")
    sections = {name: asdict(getattr(run, name)) for name in names if getattr(run, name) is not None}
    del sections["sampler"]["configurations"], sections["source"]["first"]
    if run.parallel.parts > 1:
        sections["parallel"] = {"parts": run.parallel.parts}  # step sizes are tuned by the chains of a part
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
    small = (2,) * len(shape)
    unit = np.broadcast_to(np.eye(n, dtype=np.complex128), (len(shape), *small, n, n))
    with tempfile.TemporaryDirectory() as folder:
        try:
            write(Path(folder) / "trial", Config(unit), format=run.output.format, precision=run.output.precision)
        except ValueError as error:
            reason = str(error).replace(str(small), str(shape))
            raise ValueError(f"{run.path}: [output] format: {reason}") from None


# ---- where configurations go -----------------------------------------------------------------------------------------
@contextmanager
def _storage(
    run: RunFile, settings: SamplerSection, part: Part, described: dict[str, object], lattice: Lattice
) -> Iterator[Store]:
    """The function that keeps configurations; it skips those that an interrupted run has stored already."""
    from gaugeflow.cli.source import written_file
    from gaugeflow.io import Config, write

    if run.output.format == "ensemble":
        with _ensemble(run, settings, part, described, lattice) as store:
            yield store
        return
    metadata: dict[str, object] = {"ensemble_id": run.path.stem, "creator": "gaugeflow"}

    def keep(links: Any, number: int) -> None:
        for chain, configuration in zip(part.items, links, strict=True):
            path = written_file(run, chain, number)
            config = Config(configuration, {**metadata, "sequence_number": number}, lattice=lattice)
            write(path, config, format=run.output.format, precision=run.output.precision)

    yield keep


@contextmanager
def _ensemble(
    run: RunFile, settings: SamplerSection, part: Part, described: dict[str, object], lattice: Lattice
) -> Iterator[Store]:
    from gaugeflow.cli.source import ENSEMBLE
    from gaugeflow.io.ensemble import EnsembleFile

    path, first = part.folder / ENSEMBLE, current().team.first
    if first(path.exists):
        file = EnsembleFile.open(path, append=True, lattice=lattice)
        before, now = file.attributes.get("parameters") or {}, as_stored(described["parameters"])
        if before != now:
            file.close()
            raise ValueError(f"{path} was sampled with other parameters: {differences(before, now)}")
    elif first((part.folder / CHECKPOINT).exists):
        raise ValueError(f"{path} is missing beside {CHECKPOINT}: remove that too to start again")
    else:
        file = EnsembleFile.create(
            path,
            shape=run.lattice.shape,
            n_colours=run.group.n,
            precision=run.output.precision,
            capacity=settings.configurations * len(part.items),
            attributes=described,
            lattice=lattice,
        )
    with file:
        stored = set(file.id.tolist())

        def keep(links: Any, number: int) -> None:
            if number not in stored:
                file.append(links, id=number, chain=part.items)

        yield keep
