"""Correlated SU(3) ensembles: flow beta to beta + dbeta, reweight exactly, differentiate observables.

The main job of arXiv:2401.10874: source configurations at beta, a residual flow to a nearby coupling, exact weights,
and d<O>/dbeta by independent ensembles, reweighting, flows with finite steps, and the linearised flow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io, kernels
from gaugeflow.actions import WilsonAction
from gaugeflow.devices import device, to_host
from gaugeflow.ensembles import CorrelatedEnsemble, Measurements, MemoryEnsemble, along_flow, measure_images
from gaugeflow.flows import SmearedSweep, Smearing
from gaugeflow.flows.gauge.smeared import Masks
from gaugeflow.lattice import LANES, Array, Lattice, suggest_fold
from gaugeflow.observables.flow_scales import flow_history
from gaugeflow.random import Rng, haar_links
from gaugeflow.samplers import HeatBath, HeatBathState, configurations
from gaugeflow.systems import figures
from gaugeflow.systems.ahead import compiles, run_together
from gaugeflow.systems.correlated import Clock, analyse, cost_table, derivatives_table, weights_table
from gaugeflow.systems.report import Progress, Report, silent
from gaugeflow.systems.unfinished import KeptEnsemble, Unfinished
from gaugeflow.training import Adam, History, Trained, cosine, fit_linear, log_variance, train
from gaugeflow.typing import Params


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are the demo's."""

    shape: tuple[int, ...] = (8, 8, 8, 8)
    n_colours: int = 3
    beta: float = 6.02
    steps: tuple[float, ...] = (0.01, 0.10)
    chains: int = 8
    blocks: int = 6
    burn_in: int = 60
    thin: int = 10
    overrelax: int = 4
    flow_time: float = 1.0
    flow_step: float = 0.1
    training_shape: tuple[int, ...] = (4, 4, 4, 4)
    training_chains: int = 32
    training_blocks: int = 6
    training_steps: int = 4
    """Of Adam; 0: the linear fit as it is."""
    training_rate: float = 0.02
    gradient_steps: tuple[int, ...] = (2, 4)
    masks: Masks = "auto"
    batch: int = 0
    """Configurations that are moved and measured at a time, on a folded lattice; 0: those of all chains."""


QUICK = Settings(shape=(4, 4, 4, 4), burn_in=40, training_chains=32, training_steps=2)


def run(
    *, out: Path, seed: int = 2401, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Generate, train, flow, measure and report.

    A run that is interrupted or killed leaves the folder ``unfinished`` and goes on from there, to the same numbers.

    Parameters
    ----------
    out
        Folder for figures, measurements and parameters (made if needed).
    seed
        Seed of all random numbers.
    quick
        A 4^4 lattice and short chains, for a first look.
    progress
        Called as work goes on.
    settings
        Parameters other than the demo's.

    Returns
    -------
    Report
        Tables, one JSON object for each step, figures.

    Raises
    ------
    ValueError
        If ``out`` holds an unfinished run with another seed or other settings.
    """
    chosen = settings or (QUICK if quick else Settings())
    out.mkdir(parents=True, exist_ok=True)
    rng = Rng(seed)
    clock = Clock()
    lattice, folded = (_folded(chosen, batch) for batch in (chosen.chains, chosen.batch or chosen.chains))
    prepare(chosen, progress)
    with Unfinished.open(out / "unfinished", clock, seed=seed, settings=repr(chosen)) as done:
        trained, coefficients = learned(chosen, rng.stream("training"), done, progress)
        ensemble = KeptEnsemble(done, "source", folded)
        generate_kept(
            lattice,
            chosen,
            chosen.beta,
            rng.stream("source"),
            partial(progress, "source ensemble"),
            done=(done, "source"),
            timed=partial(clock.time, "source", ""),
        )
        data = measure(chosen, ensemble, trained.params, coefficients, progress)
        independent = {
            step: independent_ensemble(chosen, lattice, folded, step, rng.stream(f"independent {step}"), done, progress)
            for step in chosen.steps
        }
    described = io.provenance(seed=seed, settings=repr(chosen))
    io.write_params(out / "flow.h5", trained.params, attributes={**described, "dbeta": chosen.steps[-1]})
    io.write_table(out / "measurements.h5", data.columns(), attributes=described)
    results = [analyse(data, independent[step], lattice, chosen.beta, step, clock) for step in chosen.steps]
    pictures = (
        figures.log_weights(out / "log_weights.png", data.columns(), _titles(chosen)),
        *([figures.training(out / "training.png", trained.history)] if chosen.training_steps else []),
        figures.derivatives(out / "derivatives.png", [row for r in results for row in r["derivatives"]]),
    )
    return Report((weights_table(results), derivatives_table(results), cost_table(clock.totals())), results, pictures)


def _titles(settings: Settings) -> dict[str, str]:
    """Titles of the panels of log-weights."""
    return {f"{step:+g}": rf"$\beta$ = {settings.beta:g} to {settings.beta + step:g}" for step in settings.steps}


def prepare(settings: Settings, progress: Progress) -> None:
    """Compile every kernel, or load it from the cache, so that seconds count work only.

    Where kernels have to be compiled, processes compile those of :data:`PARTS` at the same time, each into the cache.
    """
    shape = (2,) * len(settings.shape)  # what is compiled does not depend on the extents
    lattice = Lattice(shape)
    flow = make_flow(lattice, replace(settings, masks="auto"))
    batch = settings.batch or settings.chains
    arguments = settings.n_colours, shape, batch * _folded(settings, batch).n_folds
    x = _links(*arguments)
    progress("kernels", 0, len(PARTS) + 1)
    if compiles(lambda: kernels.plaquette_gradient(lattice, x, 1.0, x)):
        code = "from gaugeflow.systems import correlated_su3 as s; s.PARTS[{!r}](*{!r})"
        run_together(code.format(part, arguments) for part in PARTS)
    for i, part in enumerate(PARTS.values(), start=1):
        part(*arguments)
        progress("kernels", i, len(PARTS) + 1)
    force = WilsonAction(lattice, settings.beta).grad(x)
    flow.tangent(x, force)
    flow.vjp(flow.init(), x, flow.forward(flow.init(), x)[0], force, 1.0)
    progress("kernels", len(PARTS) + 1, len(PARTS) + 1)


def _links(n_colours: int, shape: tuple[int, ...], chains: int) -> Array:
    return haar_links(Rng(0), Lattice(shape), n_colours, chains)


def _sample_and_measure(n_colours: int, shape: tuple[int, ...], chains: int) -> None:
    lattice = Lattice(shape)
    sampler = HeatBath(lattice, 1.0, 1)
    state = sampler.step(Rng(0), sampler.hot(Rng(0), n_colours, chains))[0]
    observables(Settings(flow_time=0.1, flow_step=0.1), lattice)(state.x)


def _smear(n_colours: int, shape: tuple[int, ...], chains: int) -> None:
    lattice, x = Lattice(shape), _links(n_colours, shape, chains)
    sites = lattice.active_sites(0, 0)
    smeared, staples = kernels.smear_step(lattice, x, 0.1, -1.0)
    kernels.smear_step_along(lattice, x, staples, 0.1, -1.0, smeared)
    kernels.plaquette_hessian(lattice, x, 0.1, *kernels.smear_step_pull(lattice, x, staples, -1.0, smeared))
    rows = kernels.path_sum(lattice, x, 0, sites, 1.0)
    kernels.path_sum_vjp(lattice, x, 0, sites, 1.0, rows, np.zeros_like(x))
    kernels.newton_schulz_vjp(lattice, kernels.newton_schulz(lattice, rows), rows)
    kernels.from_ambient(lattice, x, kernels.to_ambient(lattice, x, x))


def _second_derivatives(n_colours: int, shape: tuple[int, ...], chains: int) -> None:
    lattice, x = Lattice(shape), _links(n_colours, shape, chains)
    along, own = kernels.smear_step_pull_along(lattice, x, x, -1.0, x, x, x, x)
    kernels.plaquette_hessian_along(lattice, x, 0.1, x, x, along, own)
    kernels.plaquette_along(lattice, x, along)


def _update(n_colours: int, shape: tuple[int, ...], chains: int) -> None:
    lattice, x = Lattice(shape), _links(n_colours, shape, chains)
    sites = lattice.active_sites(0, 0)
    paths = np.zeros_like(x, shape=(7, len(sites), *x.shape[2:]))
    kernels.smeared_update(lattice, x, 0, sites, paths)
    kernels.smeared_tangent(lattice, x, 0, sites, paths, np.zeros_like(x))


def _update_vjp(n_colours: int, shape: tuple[int, ...], chains: int) -> None:
    lattice, x = Lattice(shape), _links(n_colours, shape, chains)
    sites = lattice.active_sites(0, 0)
    paths = np.zeros_like(x, shape=(7, len(sites), *x.shape[2:]))
    kernels.smeared_update_vjp(lattice, x, 0, sites, paths, 1.0, np.zeros_like(x))


PARTS: dict[str, Callable[[int, tuple[int, ...], int], None]] = {
    "update_vjp": _update_vjp,
    "sample and measure": _sample_and_measure,
    "smear": _smear,
    "second derivatives": _second_derivatives,
    "update": _update,
}
"""Functions whose kernels take long to compile, the longest first."""


def make_flow(lattice: Lattice, settings: Settings) -> SmearedSweep:
    """The flow of this system."""
    smearing = Smearing.with_gradients(settings.gradient_steps)
    return SmearedSweep(lattice, settings.n_colours, smearing, masks=settings.masks)


def _folded(settings: Settings, batch: int) -> Lattice:
    """The lattice, folded so that a batch fills the device; sub-lattices keep the extents that the masks need."""
    part = 4 if settings.masks == "sum8" else 2
    return Lattice(settings.shape, suggest_fold([n // part for n in settings.shape], -(-LANES[device()] // batch)))


def _blocks(
    lattice: Lattice,
    settings: Settings,
    beta: float | tuple[float, ...],
    rng: Rng,
    progress: Callable[[int, int], None],
    timed: Callable[[Callable[[], Any]], Any] = lambda work: work(),
    after: tuple[int, Array] | None = None,
) -> Iterator[Array]:
    """Heat bath and overrelaxation: one block of configurations for each recorded step.

    ``beta`` is one number or that of every plane.  With ``after``, the number of blocks that there are and the last of them,
    the chain goes on from there.
    """
    sampler = HeatBath(lattice, beta, settings.overrelax)
    count, first = 0, 0
    if after is None:
        state = sampler.hot(rng.stream("start"), settings.n_colours, settings.chains)
    else:
        count, first = after[0], settings.burn_in + after[0] * settings.thin
        state = HeatBathState(after[1], first)
    total = settings.blocks * settings.thin
    stream = configurations(
        sampler, rng.stream("chain"), state, total, burn_in=settings.burn_in, thin=settings.thin, first=first
    )
    for number in range(count, settings.blocks):
        yield timed(lambda: next(stream)).state.x
        progress(number + 1, settings.blocks)


def generate(
    lattice: Lattice, settings: Settings, beta: float, rng: Rng, progress: Callable[[int, int], None]
) -> MemoryEnsemble:
    """An ensemble in memory."""
    return MemoryEnsemble(lattice, tuple(_blocks(lattice, settings, beta, rng, progress)))


def generate_kept(
    lattice: Lattice,
    settings: Settings,
    beta: float | tuple[float, ...],
    rng: Rng,
    progress: Callable[[int, int], None],
    *,
    done: tuple[Unfinished, str],
    timed: Callable[[Callable[[], Any]], Any] = lambda work: work(),
) -> None:
    """An ensemble in the file of an unfinished run, under a name; the chain goes on from the blocks that are there."""
    run, name = done
    count = run.count_blocks(name)
    after = (count, run.block(name, lattice, count - 1)) if count else None
    for number, block in enumerate(_blocks(lattice, settings, beta, rng, progress, timed, after), start=count):
        run.keep_block(name, lattice, number, block)


def learned(settings: Settings, rng: Rng, done: Unfinished, progress: Progress) -> tuple[Trained, Params]:
    """:func:`learn`, or what an interrupted run has learned."""
    path = done.folder / "flow.h5"
    if path.exists():
        params, attributes = io.read_params(path)
        return Trained(params["trained"], History(**json.loads(attributes["history"]))), params["coefficients"]
    trained, coefficients = learn(settings, rng, done.clock, progress)
    parts = {"trained": trained.params, "coefficients": coefficients}
    io.write_params(path, parts, attributes={"history": json.dumps(vars(trained.history))})
    done.save()
    return trained, coefficients


def learn(settings: Settings, rng: Rng, clock: Clock, progress: Progress) -> tuple[Trained, Params]:
    """Linear fit and training on the small volume; parameters do not depend on the volume.

    Returns
    -------
    trained : Trained
        Parameters for the largest step.
    coefficients : dict
        Parameters per unit step of the linearised flow.
    """

    def work() -> tuple[Trained, Params]:
        lattice = Lattice(settings.training_shape)
        small = replace(
            settings,
            chains=settings.training_chains,
            blocks=settings.training_blocks,
            burn_in=max(40, settings.burn_in // 2),
        )
        ensemble = generate(lattice, small, settings.beta, rng, lambda i, n: progress("training ensemble", i, n))
        flow = make_flow(lattice, settings)
        source = WilsonAction(lattice, settings.beta)
        h = [to_host(flow.tangent(x, source.grad(x))) for x in ensemble.blocks]
        operator = np.concatenate([to_host(source.d_beta(x)) for x in ensemble.blocks])
        tangents = np.concatenate(h, axis=-1)
        fit = fit_linear(tangents.reshape(-1, tangents.shape[-1]), operator)
        coefficients = {"delta": fit.coefficients.reshape(flow.shape)}
        step = settings.steps[-1]
        start = {"delta": coefficients["delta"] * step}
        if settings.training_steps == 0:
            return Trained(start, History()), coefficients
        held_out = MemoryEnsemble(lattice, ensemble.blocks[:1])
        rest = MemoryEnsemble(lattice, ensemble.blocks[1:])
        scale = float(np.abs(coefficients["delta"]).max()) * step
        trained = train(
            flow,
            start,
            source,
            WilsonAction(lattice, settings.beta + step),
            rest,
            held_out,
            loss=log_variance,
            optimiser=Adam(cosine(settings.training_rate * scale, settings.training_steps)),
            steps=settings.training_steps,
            batch=settings.training_chains,
            evaluate_every=max(1, settings.training_steps // 10),
            progress=lambda i, value: progress("training", i, settings.training_steps),
        )
        return trained, coefficients

    result: tuple[Trained, Params] = clock.time("training", "", work)
    return result


def observables(settings: Settings, lattice: Lattice) -> Callable[[Array], Mapping[str, Array]]:
    """Plaquette and t^2 E(t) of every configuration."""

    def measure_field(x: Array) -> Mapping[str, Array]:
        history = flow_history(lattice, x, (settings.flow_time,), step=settings.flow_step)
        return {"plaquette": np.mean(kernels.plaquette(lattice, x), axis=0), "t2_e": history.t2_e[0]}

    return measure_field


def measure(
    settings: Settings, ensemble: KeptEnsemble, trained: Params, coefficients: Params, progress: Progress
) -> Measurements:
    """All measurements on the source ensemble, on its images, and along the linearised flow, block by block."""
    lattice, done = ensemble.lattice, ensemble.done
    flow, source = make_flow(lattice, settings), WilsonAction(lattice, settings.beta)
    timed = done.clock.time
    maps: dict[str, CorrelatedEnsemble] = {}
    for size in settings.steps:
        for step in (size, -size):
            target = WilsonAction(lattice, source.beta + step)
            params = {"delta": trained["delta"] * (step / settings.steps[-1])}
            maps[f"plain{step:+g}"] = CorrelatedEnsemble(ensemble, source, target)
            maps[f"flow{step:+g}"] = CorrelatedEnsemble(ensemble, source, target, flow, params)
    one = observables(settings, lattice)

    linear = along_flow(flow, coefficients["delta"], source, source.d_beta, one, timed=timed)
    data = done.measurements("measurements")
    size = settings.batch or settings.chains
    for number in range(len(data) // settings.chains, settings.blocks):
        part = measure_images(ensemble.block(number), maps, one, size, source_only=linear, timed=timed).columns()
        data.add(part.pop("id"), part.pop("chain"), part)
        done.keep_measurements("measurements", data)
        progress("measurements", len(data), settings.chains * settings.blocks)
    return data


def independent_ensemble(
    settings: Settings, lattice: Lattice, folded: Lattice, step: float, rng: Rng, done: Unfinished, progress: Progress
) -> Measurements:
    """Measurements on an ensemble of its own at the target coupling, which is not kept."""
    beta, name = settings.beta + step, f"independent{step:+g}"
    table = f"{name} measured"
    data = done.measurements(table)
    if not len(data):
        stage = partial(progress, f"independent ensemble {beta:g}")
        generate_kept(lattice, settings, beta, rng, stage, done=(done, name))
        ensemble = KeptEnsemble(done, name, folded)
        data = measure_images(ensemble, {}, observables(settings, folded), settings.batch or settings.chains)
        done.keep_measurements(table, data)
        done.drop_blocks(name)
    return data
