"""What no section of a run file can know alone: keys that have to agree with each other and with the lattice."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from gaugeflow.runfile.sections import (
    QUARK_OBSERVABLES,
    FermionsSection,
    FlowSection,
    ObservablesSection,
    RunFile,
    SourcesSection,
    TargetSection,
    TrainingSection,
)

FORCES_ONLY = ("force_steps", "eta", "colours")
"""Keys of [flow] that belong to forces."""


def check_together(run: RunFile) -> None:
    """What no section can know alone, of the sections that describe the source."""
    shape, fold = run.lattice.shape, run.lattice.fold
    if len(shape) < 2:
        raise ValueError(f"{run.path}: [lattice] shape: expected two extents or more, found {list(shape)}")
    if fold and len(fold) != len(shape):
        raise ValueError(f"{run.path}: [lattice] fold: expected {len(shape)} entries like shape, found {list(fold)}")
    grid, ranks = run.parallel.grid, run.parallel.ranks
    if grid and (len(grid) != len(shape) or math.prod(grid) != (ranks or math.prod(grid))):
        raise ValueError(
            f"{run.path}: [parallel] grid: expected {len(shape)} entries like shape, of the product {ranks or 'ranks'}, "
            f"found {list(grid)}"
        )
    if bool(run.source.files) == (run.sampler is not None):
        raise ValueError(f"{run.path}: expected either [source] files or the section [sampler]")
    if run.fermions is not None:
        _check_fermions(run, run.fermions)


def _check_target(run: RunFile) -> None:
    """One parameter, and a pattern of files for each of its values or none."""
    section = run.require(TargetSection)
    if sum(bool(given) for given in (section.beta, section.anisotropy, section.kappa)) != 1:
        raise ValueError(f"{run.path}: [target]: expected either beta or anisotropy, or kappa where there are quarks")
    if section.kappa:
        quarks = run.fermions
        if quarks is None or len(quarks.kappa) != 1 or quarks.csw:
            raise ValueError(
                f"{run.path}: [target] kappa: expected [fermions] with one kappa and no clover term in the same file"
            )
    values = len(getattr(section, section.parameter))
    if len(section.files) not in (0, values):
        raise ValueError(f"{run.path}: [target] files: expected {values} patterns, found {list(section.files)}")


def _check_flow(run: RunFile) -> None:
    """Keys that belong to the kind of the flow."""
    where, flow = f"{run.path}: [flow]", run.flow
    if flow.kind == "residual" and not flow.convolutions:
        raise ValueError(f"{where} convolutions: missing; kind = 'residual' needs such numbers as [0, 1, 2]")
    if flow.kind != "residual" and flow.convolutions:
        raise ValueError(f"{where} convolutions: these belong to kind = 'residual', found kind = {flow.kind!r}")
    if flow.kind == "residual" and flow.gradient_steps:
        raise ValueError(
            f"{where} gradient_steps: these belong to kind = 'smeared' or 'forces', found kind = {flow.kind!r}"
        )
    for name, steps in (("gradient_steps", flow.gradient_steps), ("force_steps", flow.force_steps)):
        if any(a >= b for a, b in pairwise(steps)):
            raise ValueError(f"{where} {name}: expected increasing numbers, found {list(steps)}")
    if flow.kind == "forces":
        _check_forces(run, where, flow)
        return
    for name in FORCES_ONLY:
        if getattr(flow, name) != getattr(FlowSection(), name):
            raise ValueError(f"{where} {name}: this belongs to kind = 'forces', found kind = {flow.kind!r}")


def _check_forces(run: RunFile, where: str, flow: FlowSection) -> None:
    """Forces are one step of a field without a VJP, on extents that have the colours."""
    if flow.sweeps != 1:
        raise ValueError(f"{where} sweeps: expected 1 for kind = 'forces', found {flow.sweeps}")
    if flow.staple_steps != FlowSection().staple_steps:
        raise ValueError(f"{where} staple_steps: these belong to kind = 'smeared', found kind = 'forces'")
    if 0 in flow.gradient_steps:
        raise ValueError(
            f"{where} gradient_steps: expected positive numbers for kind = 'forces', whose force_steps have 0, found "
            f"{list(flow.gradient_steps)}"
        )
    period = {1: 1, 2: 2, 4: 2, 8: 4, 16: 4}[flow.colours]
    if any(n % period for n in run.lattice.shape):
        raise ValueError(
            f"{where} colours: {flow.colours} need extents that are multiples of {period}, found {list(run.lattice.shape)}"
        )
    if run.training is not None and run.training.method != "least-squares":
        raise ValueError(
            f"{run.path}: [training] method: expected 'least-squares' for kind = 'forces', found {run.training.method!r}"
        )


def _check_training(run: RunFile) -> None:
    """A variance needs two configurations."""
    section = run.training
    if (section.method, section.loss, section.batch) == ("adam", "log-variance", 1):
        raise ValueError(f"{run.path}: [training] batch: expected an integer >= 2 for the loss log-variance, found 1")


def _check_fermions(run: RunFile, section: FermionsSection) -> None:
    """One kappa or mass for each entry of flavours, and what belongs to the method."""
    where, ndim = f"{run.path}: [fermions]", len(run.lattice.shape)
    if ndim % 2:
        raise ValueError(f"{where}: Wilson fermions need an even number of dimensions, found {ndim}")
    if bool(section.kappa) == bool(section.mass):
        raise ValueError(f"{where}: expected either kappa or mass")
    name = "kappa" if section.kappa else "mass"
    if len(getattr(section, name)) != len(section.flavours):
        raise ValueError(
            f"{where} {name}: expected {len(section.flavours)} values, one for each entry of flavours, found "
            f"{list(getattr(section, name))}"
        )
    if section.boundary and len(section.boundary) != ndim:
        raise ValueError(f"{where} boundary: expected {ndim} angles like shape, found {list(section.boundary)}")
    factors = section.hasenbusch or section.twisted
    if section.hasenbusch and section.twisted:
        raise ValueError(f"{where}: expected either hasenbusch or twisted")
    if factors and (section.method == "determinant" or section.flavours[0] % 2):
        raise ValueError(f"{where} hasenbusch, twisted: expected with pseudofermions of an even number of quarks only")
    single = section.method == "pseudofermion" and any(n % 2 for n in section.flavours)
    if single != bool(section.spectrum):
        raise ValueError(f"{where} spectrum: expected with an odd number of quarks by pseudofermions, and only there")
    if section.spectrum and (len(section.spectrum) != 2 or section.spectrum[0] >= section.spectrum[1]):
        raise ValueError(f"{where} spectrum: expected [low, high] with low < high, found {list(section.spectrum)}")


def _check_observables(run: RunFile) -> None:
    """Observables that the lattice or the group does not have, or that need a flow time."""
    section = run.observables
    ndim, where = len(run.lattice.shape), f"{run.path}: [observables]"
    if set(section.names) & set(QUARK_OBSERVABLES) and not (run.target is not None and run.target.kappa):
        raise ValueError(f"{where} names: {list(QUARK_OBSERVABLES)} belong to a target kappa")
    if "plaquette_spatial" in section.names and ndim == 2:
        raise ValueError(f"{where} names: 'plaquette_spatial': two dimensions have no spatial planes")
    if "q_squared" in section.names and ndim != 4 and (ndim, run.group.n) != (2, 1):
        raise ValueError(
            f"{where} names: 'q_squared': expected four dimensions (clover charge) or U(1) in two (sum of angles), "
            f"found {'U(1)' if run.group.n == 1 else f'SU({run.group.n})'} in {ndim}"
        )
    if len(section.scales) > 2 or any(a >= b for a, b in pairwise(section.scales)):
        raise ValueError(f"{where} scales: expected one or two increasing numbers, found {list(section.scales)}")
    if section.scales and section.flow_time < 4.0 * section.step:
        raise ValueError(
            f"{where} flow_time: expected at least four steps of {section.step:g} for scales, found {section.flow_time:g}"
        )
    flowed = {"t2_e"} | ({"q_squared"} if ndim == 4 else set())
    if section.flow_time == 0.0 and (late := sorted(flowed & set(section.names))):
        raise ValueError(f"{where} flow_time: expected a number > 0 for {late}, found 0")
    if "pion" in section.names:
        _check_pion(where, section, run.lattice.shape)


def _check_pion(where: str, section: ObservablesSection, shape: tuple[int, ...]) -> None:
    """Quarks need a kappa and an even number of dimensions, the fit more times than parameters."""
    if len(shape) % 2:
        raise ValueError(
            f"{where} names: 'pion': Wilson fermions need an even number of dimensions, found {len(shape)}"
        )
    if section.kappa == 0.0:
        raise ValueError(f"{where} kappa: expected a number > 0 for 'pion', found 0")
    window = section.window
    if window and (len(window) != 2 or not window[0] + 1 < window[1] <= shape[0] // 2):
        raise ValueError(
            f"{where} window: expected [first, last] with three times or more up to {shape[0] // 2}, found {list(window)}"
        )
    if len(section.smearing) != 2 or section.smearing[1] != int(section.smearing[1]):
        raise ValueError(f"{where} smearing: expected [width, number of steps], found {list(section.smearing)}")


def _check_sources(run: RunFile) -> None:
    """An operator that the lattice has, a radius that fits, and configurations for the fit."""
    section, where, shape = run.require(SourcesSection), f"{run.path}: [sources]", run.lattice.shape
    least = {"temporal": 2, "scalar": 3, "tensor": 4}[section.operator]
    if len(shape) < least or (section.operator == "tensor" and len(shape) > least):
        raise ValueError(
            f"{where} operator: {section.operator!r} needs {least} dimensions{'' if least == 4 else ' or more'}, found "
            f"{len(shape)}"
        )
    if section.operator == "temporal" and section.stout:
        raise ValueError(f"{where} stout: links are smeared for 'scalar' and 'tensor' only, found {section.stout}")
    if len(set(section.fields)) < len(section.fields):
        raise ValueError(f"{where} fields: expected each family once, found {list(section.fields)}")
    if "gradients" in section.fields and len(section.fields) > 1:
        raise ValueError(f"{where} fields: expected 'gradients' alone, found {list(section.fields)}")
    if any(a >= b for a, b in pairwise(section.gradient_steps)):
        raise ValueError(f"{where} gradient_steps: expected increasing numbers, found {list(section.gradient_steps)}")
    if 2 * section.radius >= shape[0]:
        raise ValueError(
            f"{where} radius: expected 0 ... {(shape[0] - 1) // 2} for {shape[0]} time slices, found {section.radius}"
        )
    if (section.coefficients == "training") != bool(section.training):
        raise ValueError(f"{where} training: expected with coefficients = 'training', and only there")
    if run.target is not None:
        raise ValueError(f"{where}: expected either [target] or [sources]")


CHECKS: dict[type, Callable[[RunFile], None]] = {
    TargetSection: _check_target,
    FlowSection: _check_flow,
    TrainingSection: _check_training,
    ObservablesSection: _check_observables,
    SourcesSection: _check_sources,
}
"""Of the sections that a command may use."""
