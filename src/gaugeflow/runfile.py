"""Run files: one TOML file says what ``gaugeflow sample``, ``train`` and ``derive`` do.

Each section is a frozen dataclass; its annotations are the schema.  Whatever does not fit raises ``ValueError`` with
the file, the key, what was found and what is allowed.  Paths are relative to the folder of the run file.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def _limited(*, least: float = -math.inf, above: float | None = None, default: Any = MISSING) -> Any:
    """A number, or a list of numbers, with a lower limit: included (``least``) or not (``above``)."""
    limits = {"least": least} if above is None else {"above": above}
    return field(default=default, metadata=limits)


@dataclass(frozen=True)
class LatticeSection:
    """``[lattice]``: extents t, z, y, x and, optionally, the fold (default: enough for the vector registers)."""

    shape: tuple[int, ...] = _limited(least=2)
    fold: tuple[int, ...] = _limited(least=1, default=())


@dataclass(frozen=True)
class GroupSection:
    """``[group]``: SU(n); 1 is U(1)."""

    n: int = _limited(least=1, default=3)


@dataclass(frozen=True)
class SourceSection:
    """``[source]``: the distribution of the given ensemble, and its files where it is not sampled."""

    beta: float = _limited(above=0.0)
    action: Literal["wilson"] = "wilson"
    anisotropy: float = 0.0
    files: str = ""


@dataclass(frozen=True)
class SamplerSection:
    """``[sampler]``: heat bath with overrelaxation, or HMC where there is a section ``[hmc]`` or ``[fermions]``.

    ``chains`` run side by side; each gives ``configurations``, ``separation`` steps apart, after ``burn_in`` steps.  A
    step is one heat-bath sweep and ``overrelaxation`` overrelaxation sweeps, or one trajectory.  A ``quenched`` start is
    the end of 50 steps of the heat bath without quarks.
    """

    configurations: int = _limited(least=1)
    chains: int = _limited(least=1, default=1)
    burn_in: int = _limited(least=0, default=200)
    separation: int = _limited(least=1, default=10)
    overrelaxation: int = _limited(least=0, default=4)
    start: Literal["hot", "cold", "quenched"] = "hot"
    seed: int = _limited(least=0, default=1)


@dataclass(frozen=True)
class FermionsSection:
    """``[fermions]``: the quarks of the source, as Wilson fermions, with a clover term where ``csw`` is not 0.

    ``flavours`` lists numbers of degenerate quarks, ``kappa`` or ``mass`` one value for each: ``[2, 1]`` with ``[0.16, 0.15]``.
    ``boundary`` holds the angles, in units of pi, of the phases of all directions; default: 1 in time, 0 elsewhere.

    With the method ``pseudofermion``, pairs of quarks are split into factors by heavier ones, whose kappas or masses (as
    above) are ``hasenbusch``, or whose twisted masses are ``twisted``, from light to heavy; a single quark is the rational
    approximation of M^dagger M to the power -1/2 in ``spectrum``, to a relative ``error``.  ``determinant`` is exact, and for
    small lattices; its forces may be computed with ``force_precision`` 32, see :class:`gaugeflow.actions.Determinant`.
    """

    kappa: tuple[float, ...] = _limited(above=0.0, default=())
    mass: tuple[float, ...] = ()
    flavours: tuple[int, ...] = _limited(least=1, default=(2,))
    csw: float = 0.0
    boundary: tuple[float, ...] = ()
    method: Literal["pseudofermion", "determinant"] = "pseudofermion"
    hasenbusch: tuple[float, ...] = ()
    twisted: tuple[float, ...] = _limited(above=0.0, default=())
    spectrum: tuple[float, ...] = _limited(above=0.0, default=())
    error: float = _limited(above=0.0, default=1e-7)
    solver: Literal["cg", "refined"] = "refined"
    tolerance: float = _limited(above=0.0, default=1e-10)
    force_tolerance: float = _limited(above=0.0, default=1e-7)
    force_precision: Literal[64, 32] = 64


@dataclass(frozen=True)
class HMCSection:
    """``[hmc]``: trajectories.

    ``steps`` are those of the slowest time scale, tuned to the ``acceptance`` during the burn-in; ``inner`` are the steps of
    each faster scale in one drift of the scale above: those of the Hasenbusch factors from light to heavy, and of the gauge
    action (default: 1 for quarks and 2 for the gauge action).
    """

    length: float = _limited(above=0.0, default=1.0)
    steps: int = _limited(least=1, default=10)
    inner: tuple[int, ...] = _limited(least=1, default=())
    acceptance: float = _limited(above=0.0, default=0.8)
    integrator: Literal["leapfrog", "omelyan2", "omelyan4", "force-gradient"] = "omelyan2"


@dataclass(frozen=True)
class TargetSection:
    """``[target]``: values of the one parameter, ``beta``, ``anisotropy`` or ``kappa``, that differs from the source.

    ``files``, one pattern for each value, are independent ensembles there, with which ``derive`` compares.  With quarks the
    parameter is their ``kappa``; traces are estimated by two groups of noise ``vectors``, and are exact where the method of
    [fermions] is ``determinant``.
    """

    beta: tuple[float, ...] = _limited(above=0.0, default=())
    anisotropy: tuple[float, ...] = ()
    kappa: tuple[float, ...] = _limited(above=0.0, default=())
    files: tuple[str, ...] = ()
    vectors: int = _limited(least=1, default=4)

    @property
    def parameter(self) -> str:
        """Name of the parameter."""
        return next(name for name in ("beta", "anisotropy", "kappa") if getattr(self, name))


@dataclass(frozen=True)
class FlowSection:
    """``[flow]``: sweeps of loops of smeared links, or of staples of links ``convolutions`` times convolved.

    ``gradient_steps`` are those of the smeared flow's gradients (:class:`gaugeflow.flows.Smearing`), ``staple_steps`` those of
    its staples; default: the flow's.
    """

    kind: Literal["smeared", "residual"] = "smeared"
    sweeps: int = _limited(least=1, default=1)
    convolutions: tuple[int, ...] = _limited(least=0, default=())
    gradient_steps: tuple[int, ...] = _limited(least=0, default=())
    staple_steps: int = _limited(least=0, default=3)
    planes: Literal["isotropic", "anisotropic"] = "isotropic"


@dataclass(frozen=True)
class TrainingSection:
    """``[training]``: coefficients by linear least squares, refined by Adam where ``method`` says so.

    Adam lowers ``loss``, its gradients scaled back to the norm ``clip``, and stops after ``patience`` evaluations without
    a better ESS on the held-out configurations (0: never).
    """

    method: Literal["least-squares", "adam"] = "least-squares"
    configurations: int = _limited(least=20, default=64)
    steps: int = _limited(least=1, default=200)
    batch: int = _limited(least=1, default=16)
    learning_rate: float = _limited(above=0.0, default=1e-3)
    loss: Literal["log-variance", "reverse-kl", "path-gradient"] = "log-variance"
    clip: float = _limited(above=0.0, default=math.inf)
    patience: int = _limited(least=0, default=0)


Observable = Literal[
    "plaquette", "plaquette_spatial", "plaquette_temporal", "t2_e", "q_squared", "pion", "condensate", "pion_correlator"
]
QUARK_OBSERVABLES = ("condensate", "pion_correlator")
"""Those that derivatives with respect to kappa have beside the others."""


@dataclass(frozen=True)
class ObservablesSection:
    """``[observables]``: what is differentiated; ``t2_e`` and, in 4D, ``q_squared`` at ``flow_time`` of the gradient flow.

    ``scales`` are one or two values c: the flow times t_c with t^2 <E> = c are differentiated, and the ratio of the two; they
    are sought up to ``flow_time``, with t^2 E at every second step of the integrator.

    In 2D, the charge is the sum of the plaquette angles of U(1), without gradient flow.

    ``pion`` is the mass of a pion of quenched Wilson quarks of this ``kappa``, antiperiodic in time, from a correlated fit to
    the times ``window`` (default: a quarter to half of the extent); ``smearing`` are width and steps of Gaussian smearing.
    """

    names: tuple[Observable, ...] = ("plaquette",)
    scales: tuple[float, ...] = _limited(above=0.0, default=())
    flow_time: float = _limited(least=0.0, default=0.0)
    step: float = _limited(above=0.0, default=0.02)
    kappa: float = _limited(least=0.0, default=0.0)
    window: tuple[int, ...] = _limited(least=0, default=())
    smearing: tuple[float, ...] = _limited(above=0.0, default=(2.0, 10.0))


@dataclass(frozen=True)
class ParallelSection:
    """``[parallel]``: parts of the chains of ``sample`` and configurations of ``derive``, for processes to share."""

    parts: int = _limited(least=1, default=1)


@dataclass(frozen=True)
class OutputSection:
    """``[output]``: folder and form of the results; ``ensemble`` is one HDF5 file of all configurations."""

    dir: str
    format: Literal["ensemble", "nersc", "ildg", "scidac", "hdf5"] = "ensemble"
    precision: Literal[64, 32] = 64


@dataclass(frozen=True)
class RunFile:
    """A validated run file.  Sections that it does not have are their defaults, or None; :meth:`require` names the latter."""

    path: Path
    lattice: LatticeSection
    source: SourceSection
    output: OutputSection
    group: GroupSection = GroupSection()
    sampler: SamplerSection | None = None
    fermions: FermionsSection | None = None
    hmc: HMCSection | None = None
    target: TargetSection | None = None
    flow: FlowSection = FlowSection()
    training: TrainingSection = TrainingSection()
    observables: ObservablesSection = ObservablesSection()
    parallel: ParallelSection = ParallelSection()

    @property
    def folder(self) -> Path:
        """Folder of results."""
        return self.path.parent / self.output.dir

    def require(self, section: type[T]) -> T:
        """The section of this type; ``ValueError`` if the file lacks it."""
        found = next((value for value in vars(self).values() if isinstance(value, section)), None)
        if found is None:
            raise ValueError(f"{self.path}: this command needs the section [{_SECTIONS[section]}]")
        return found


_SECTIONS: dict[type, str] = {
    LatticeSection: "lattice",
    GroupSection: "group",
    SourceSection: "source",
    SamplerSection: "sampler",
    FermionsSection: "fermions",
    HMCSection: "hmc",
    TargetSection: "target",
    FlowSection: "flow",
    TrainingSection: "training",
    ObservablesSection: "observables",
    ParallelSection: "parallel",
    OutputSection: "output",
}
_NECESSARY = ("lattice", "source", "output")


def read_runfile(path: Path, *used: type) -> RunFile:
    """Read and validate a run file.

    Parameters
    ----------
    path
        The file.
    *used
        Sections of the flow half that a command uses: their keys must agree with each other and with the lattice.  What
        a command does not use need not be complete.

    Raises
    ------
    ValueError
        If it is not TOML, or a section, key, type or value is not allowed, or necessary ones are missing, which are all
        named.
    OSError
        If it cannot be read.
    """
    try:
        table = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not TOML: {error}") from None
    _check_names(str(path), "section", table, _SECTIONS.values())
    if missing := _missing(str(path), table, used):
        raise ValueError(f"{path}: missing: {'; '.join(missing)}. `gaugeflow init` writes a commented run file")
    sections = {name: _section(path, cls, name, table[name]) for cls, name in _SECTIONS.items() if name in table}
    run = RunFile(path=path, **sections)
    _check_together(run)
    for cls in used:
        if cls in _CHECKS:
            _CHECKS[cls](run)
    return run


def _missing(path: str, table: Mapping[str, Any], used: Sequence[type]) -> list[str]:
    """All keys without a default that a file lacks, in words; misspelt ones are told first."""
    found = []
    for cls, name in _SECTIONS.items():
        section = table.get(name, {})
        if not isinstance(section, Mapping):
            continue
        _check_names(f"{path}: [{name}]", "key", section, [entry.name for entry in fields(cls)])
        source = table.get("source", {})
        sampled = cls is SamplerSection and not (isinstance(source, Mapping) and "files" in source)
        if not (name in table or name in _NECESSARY or sampled):
            continue
        kinds, instead = get_type_hints(cls), ", or [source] files" if name not in table and sampled else ""
        for entry in fields(cls):
            if entry.default is MISSING and entry.name not in section:
                found.append(f"[{name}] {entry.name} ({_expected(kinds[entry.name], entry)}){instead}")
    if TargetSection in used and "target" not in table:
        found.append("[target] beta or anisotropy (a list, each entry a number)")
    return found


def _check_together(run: RunFile) -> None:
    """What no section can know alone, of the sections that describe the source."""
    shape, fold = run.lattice.shape, run.lattice.fold
    if len(shape) < 2:
        raise ValueError(f"{run.path}: [lattice] shape: expected two extents or more, found {list(shape)}")
    if fold and len(fold) != len(shape):
        raise ValueError(f"{run.path}: [lattice] fold: expected {len(shape)} entries like shape, found {list(fold)}")
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
    if flow.kind != "smeared" and flow.gradient_steps:
        raise ValueError(f"{where} gradient_steps: these belong to kind = 'smeared', found kind = {flow.kind!r}")
    if any(a >= b for a, b in pairwise(flow.gradient_steps)):
        raise ValueError(f"{where} gradient_steps: expected increasing numbers, found {list(flow.gradient_steps)}")


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


_CHECKS: dict[type, Callable[[RunFile], None]] = {
    TargetSection: _check_target,
    FlowSection: _check_flow,
    TrainingSection: _check_training,
    ObservablesSection: _check_observables,
}


def _section(path: Path, cls: type, name: str, table: object) -> Any:
    where = f"{path}: [{name}]"
    if not isinstance(table, Mapping):
        raise ValueError(f"{path}: {name}: expected a section [{name}], found {table!r}")
    known = {entry.name: entry for entry in fields(cls)}
    kinds = get_type_hints(cls)
    values = {key: _value(f"{where} {key}", kinds[key], known[key], value) for key, value in table.items()}
    return cls(**values)


def _check_names(where: str, what: str, found: Iterable[str], allowed: Iterable[str]) -> None:
    names = sorted(allowed)
    for name in found:
        if name not in names:
            raise ValueError(f"{where}: unknown {what} {name!r}{_hint([name], names)}; allowed: {', '.join(names)}")


def _hint(found: Sequence[object], choices: Sequence[object]) -> str:
    """The choice that was perhaps meant."""
    words = [choice for choice in choices if isinstance(choice, str)]
    close = [match for item in found for match in difflib.get_close_matches(str(item), words, n=1) if item != match]
    return f" (did you mean {close[0]!r}?)" if close else ""


def _value(where: str, kind: Any, entry: Field[Any], value: object) -> Any:
    """The value as the annotation wants it, or ``ValueError``; one value will do where a list is expected."""
    many = get_origin(kind) is tuple
    one = get_args(kind)[0] if many else kind
    items: list[Any] = value if many and isinstance(value, list) else [value]
    if not items or not all(_fits(one, entry.metadata, item) for item in items):
        hint = _hint(items, get_args(one))
        raise ValueError(f"{where}: expected {_expected(kind, entry)}, found {value!r}{hint}")
    converted = tuple(float(item) if one is float else item for item in items)
    return converted if many else converted[0]


def _fits(kind: Any, limits: Mapping[str, Any], item: Any) -> bool:
    if get_origin(kind) is Literal:
        return any(item == choice and type(item) is type(choice) for choice in get_args(kind))
    if kind is str:
        return isinstance(item, str) and item != ""
    if isinstance(item, bool) or not isinstance(item, int if kind is int else (int, float)):
        return False
    return math.isfinite(item) and item >= limits.get("least", item) and item > limits.get("above", -math.inf)


def _expected(kind: Any, entry: Field[Any]) -> str:
    """What is allowed, in words."""
    if get_origin(kind) is tuple:
        one = _expected(get_args(kind)[0], entry)
        return f"a list, each entry {one}"
    if get_origin(kind) is Literal:
        return " | ".join(repr(choice) for choice in get_args(kind))
    if kind is str:
        return "text"
    limits = entry.metadata
    limit = f" > {limits['above']:g}" if "above" in limits else ""
    if limits.get("least", -math.inf) > -math.inf:
        limit = f" >= {limits['least']:g}"
    return ("an integer" if kind is int else "a number") + limit
