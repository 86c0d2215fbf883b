"""The objects that a run file describes: lattice, actions, flow, observables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gaugeflow.actions import WilsonAction
from gaugeflow.cli.world import current
from gaugeflow.devices import device, to_host
from gaugeflow.ensembles import SmearedForces
from gaugeflow.flows import Chain, Convolution, ResidualSweep, SmearedSweep, Smearing
from gaugeflow.flows.gauge.smeared import Masks
from gaugeflow.hadrons import Gaussian
from gaugeflow.lattice import LANES, Array, Domain, Lattice, suggest_fold
from gaugeflow.observables import flow_history, integer_charge, loops
from gaugeflow.random import Rng, Streams
from gaugeflow.runfile import (
    QUARK_OBSERVABLES,
    FermionsSection,
    FlowSection,
    ObservablesSection,
    RunFile,
    TargetSection,
)
from gaugeflow.runfile.checks import FORCES_ONLY
from gaugeflow.systems.masses import columns
from gaugeflow.systems.pion import Pion
from gaugeflow.systems.scales import Levels, column
from gaugeflow.typing import Map, Params, VectorField

LINKS, LARGEST_BATCH = 8192, 64
"""Links, and configurations, of a batch: 1.2 MB of SU(3)."""


def batch_size(run: RunFile) -> int:
    """Configurations to work on at a time: many small ones, or one of a large lattice, which is folded then.

    Calls of kernels take their time whatever the fields, and fields should stay in the caches: about ``LINKS`` links.
    """
    lanes = -(-LANES[device()] // make_lattice(run, 1).n_folds)  # what a fold that the extents forbid leaves to batches
    return max(lanes, min(LINKS // (len(run.lattice.shape) * math.prod(run.lattice.shape)), LARGEST_BATCH))


def make_lattice(run: RunFile, batch: int, moved: bool = True, domain: Domain | None = None) -> Lattice:
    """The lattice, folded so that ``batch`` configurations fill the vector registers, or a warp of a GPU.

    Of a lattice that several processes share, those of ``domain`` or else those of this command, each folds its own part.

    Where fields are ``moved`` by a flow with colours of sites, extents of sub-lattices keep being multiples of their number.
    """
    whole = Lattice(run.lattice.shape, None, domain or current().team.domain(run))
    colours = _colours(run) if moved else 1
    parts = tuple(n // max(colours // 2, 1) for n in whole.local_shape)  # a fold of these leaves even extents
    fold = run.lattice.fold or suggest_fold(parts, -(-LANES[device()] // batch))
    return Lattice(run.lattice.shape, fold, whole.domain)


def _colours(run: RunFile) -> int:
    """Colours of sites of the flow, of which neighbours on the folded lattice must differ as on the whole one."""
    if run.flow.kind == "forces":
        return run.flow.colours
    return 4 if _four_colours(run) else 2


def _four_colours(run: RunFile) -> bool:
    """Whether the masks of the flow are sums of coordinates modulo 4: a property of the lattice, not of its fold."""
    smeared = run.flow.kind == "smeared"
    return smeared and all(n % 4 == 0 for n in run.lattice.shape)


def refuse_quarks(run: RunFile) -> None:
    """``ValueError`` where the source has quarks, whose part of the action a command would leave out."""
    if run.fermions is not None:
        raise ValueError(f"{run.path}: [fermions]: this command knows sources without quarks only")


def source_action(run: RunFile, lattice: Lattice) -> WilsonAction:
    """Gauge action of the given ensemble."""
    return WilsonAction(lattice, run.source.beta, run.source.anisotropy)


# ---- targets -----------------------------------------------------------------------------------------------------
class Target(NamedTuple):
    """A neighbour of the source: the parameter that differs, its value, and the difference."""

    parameter: str
    value: float
    step: float

    @property
    def name(self) -> str:
        """For files and columns: ``beta+0.01``."""
        return f"{self.parameter}{self.step:+g}"

    def action(self, source: WilsonAction) -> WilsonAction:
        """Action of the target."""
        if self.parameter == "beta":
            return WilsonAction(source.lattice, self.value, source.anisotropy)
        return WilsonAction(source.lattice, source.beta, self.value)

    def operator(self, source: WilsonAction, x: Array) -> Array:
        """Derivative of the action with respect to the parameter, ``(batch,)``."""
        return source.d_beta(x) if self.parameter == "beta" else source.d_anisotropy(x)


def targets(run: RunFile) -> list[Target]:
    """All targets; ``ValueError`` for one that equals the source, or two of one name."""
    section = run.require(TargetSection)
    parameter = section.parameter
    start: float = run.require(FermionsSection).kappa[0] if parameter == "kappa" else getattr(run.source, parameter)
    found = [Target(parameter, value, round(value - start, 12)) for value in getattr(section, parameter)]
    if any(target.step == 0.0 for target in found):
        raise ValueError(f"{run.path}: [target] {parameter}: {start:g} is the source's own")
    names = [target.name for target in found]
    twice = [target for target in found if names.count(target.name) > 1]
    if twice:
        raise ValueError(
            f"{run.path}: [target] {parameter}: {twice[0].value} and {twice[1].value} are the same up to six digits of the step"
        )
    return found


# ---- flow --------------------------------------------------------------------------------------------------------
def make_sweep(run: RunFile, lattice: Lattice) -> ResidualSweep | SmearedSweep | SmearedForces:
    """One sweep of the flow, or its forces."""
    section = run.require(FlowSection)
    if section.kind == "forces":
        return SmearedForces(
            lattice,
            section.force_steps or SmearedForces.forces,
            section.gradient_steps or SmearedForces.gradients,
            section.eta or SmearedForces.eta,
            anisotropic=section.planes == "anisotropic",
            colours=section.colours,
        )
    if section.kind == "smeared":
        masks: Masks = "sum4" if _four_colours(run) else "parity"
        smearing = Smearing.with_gradients(section.gradient_steps) if section.gradient_steps else Smearing()
        smearing = replace(smearing, steps=section.staple_steps)
        return SmearedSweep(lattice, run.group.n, smearing, section.planes, masks)
    return ResidualSweep(lattice, run.group.n, tuple(Convolution(k) for k in section.convolutions), section.planes)


def flow_form(run: RunFile) -> dict[str, Any]:
    """What must agree between the lattice where a flow was trained and the one where it is used."""
    section = run.require(FlowSection)
    others = () if section.kind == "forces" else FORCES_ONLY
    form = {key: value for key, value in asdict(section).items() if key not in others}
    return {**form, "n": run.group.n, "four_colours": _four_colours(run)}


def make_flow(run: RunFile, lattice: Lattice) -> Chain:
    """All sweeps; ``ValueError`` for forces, which are no flow with an inverse."""
    sweep = make_sweep(run, lattice)
    if isinstance(sweep, SmearedForces):
        raise ValueError(f"{run.path}: [flow] kind: expected 'smeared' or 'residual' where an inverse is needed")
    return Chain((sweep,) * run.require(FlowSection).sweeps)


def make_map(run: RunFile, lattice: Lattice) -> Callable[[Params, Streams], tuple[Map, Params]]:
    """Function of parameters and of the noise of forces that gives the map from the source to a target, and its parameters."""
    sweep = make_sweep(run, lattice)
    if isinstance(sweep, SmearedForces):
        return lambda params, noise: (sweep.with_noise(noise), params["0"])
    flow = make_flow(run, lattice)
    return lambda params, noise: (flow, params)


def make_fields(run: RunFile, lattice: Lattice) -> Callable[[Streams], VectorField]:
    """Function of the noise of forces that gives the fields of the linearised flow."""
    sweep = make_sweep(run, lattice)
    return sweep.with_noise if isinstance(sweep, SmearedForces) else lambda noise: sweep


def noise_of(run: RunFile, *names: str) -> Rng:
    """Source of the noise of estimates, on the seed of the sampler where there is one."""
    rng = Rng(run.sampler.seed if run.sampler is not None else 1)
    for name in names:
        rng = rng.stream(name)
    return rng


def flow_file(run: RunFile, target: Target) -> Path:
    """Where the parameters of a trained flow are kept."""
    return run.folder / f"flow-{target.name}.h5"


# ---- observables -------------------------------------------------------------------------------------------------
def scale_levels(run: RunFile) -> Levels:
    """Flow times at which t^2 E is measured, every second step of the integrator, and the values of the scales."""
    section = run.require(ObservablesSection)
    interval = 2.0 * section.step
    count = math.ceil(section.flow_time / interval - 1e-9)
    times = [round(k * interval, 12) for k in range(1, count)]
    return Levels((*times, section.flow_time), section.scales)


def make_observables(run: RunFile, lattice: Lattice, smooth: bool = False) -> Callable[[Array], Mapping[str, Array]]:
    """Function of a field that returns the named observables of every configuration, t^2 E for scales, the pion's correlator.

    With ``smooth``, those alone that change smoothly with the links: the charge of U(1) in 2D jumps between integers.
    """
    section = run.require(ObservablesSection)
    four = lattice.ndim == 4
    apart = {"pion", *QUARK_OBSERVABLES}
    names = [n for n in section.names if n not in apart and (four or not (smooth and n == "q_squared"))]
    pion = _pion(section, lattice) if "pion" in section.names else None
    flowed = {"t2_e", "q_squared"} & set(names) if four else {"t2_e"} & set(names)
    times = scale_levels(run).times if section.scales else (section.flow_time,)

    def measure(x: Array) -> Mapping[str, Array]:
        values: dict[str, Array] = {}
        energies: dict[str, Array] = {}
        if flowed or section.scales:
            history = flow_history(lattice, x, times, step=section.step)
            values = {"t2_e": history.t2_e[-1, ...], "q_squared": history.q[-1, ...] ** 2}
            if section.scales:
                energies = {column(t): to_host(history.t2_e[k, ...]) for k, t in enumerate(times)}
        for name in names:
            if name == "q_squared" and not four:
                values[name] = integer_charge(lattice, x) ** 2
            elif name == "polyakov":
                values[name] = np.real(to_host(loops.polyakov_loop(lattice, x)))
            elif name not in flowed:
                values[name] = getattr(loops, name)(lattice, x)
        correlator = {} if pion is None else pion(x)
        return {**{name: to_host(values[name]) for name in names}, **energies, **correlator}

    return measure


def _pion(section: ObservablesSection, lattice: Lattice) -> Callable[[Array], Mapping[str, Array]]:
    """The correlator by time, solved for accurately: derivatives are differences of it.

    Every configuration meets the same noise; the terms that depend on it depend on the gauge, and their mean is zero.
    """
    width, steps = section.smearing
    pion = Pion(lattice, section.kappa, (0,), Gaussian(width, int(steps)), 1e-11, 64)

    def measure(x: Array) -> Mapping[str, Array]:
        noise = [Rng(0)] * lattice.batch(x.shape[-1])
        return columns("pion", pion.correlator(x, pion.propagators(noise, x)))

    return measure


def pion_window(run: RunFile) -> tuple[int, int]:
    """First and last time of the fit of the pion's mass."""
    half = run.lattice.shape[0] // 2
    first, last = run.observables.window or (half // 2, half)
    return first, last
