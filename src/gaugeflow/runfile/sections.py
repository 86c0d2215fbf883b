"""Sections of a run file: frozen dataclasses whose annotations are the schema."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

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
    """``[source]``: the distribution of the given ensemble, and its files where it is not sampled.

    Configurations with numbers below ``first`` are not used: a burn-in that turned out to be too short is prolonged so.
    """

    beta: float = _limited(above=0.0)
    action: Literal["wilson"] = "wilson"
    anisotropy: float = 0.0
    files: str = ""
    first: int = _limited(least=0, default=0)


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
    """``[flow]``: sweeps of loops of smeared links, or of staples of links ``convolutions`` times convolved, or forces.

    ``gradient_steps`` are those of the smeared flow's gradients (:class:`gaugeflow.flows.Smearing`), ``staple_steps`` those of
    its staples; default: the flow's.

    Forces move all links at once, without masks (:class:`gaugeflow.ensembles.SmearedForces`).  They are those of links smeared
    ``force_steps`` times, and the gradients of plaquettes smeared ``gradient_steps`` times.  ``eta`` has the weight of a staple
    in each smearing step, of which the last one serves all further steps.  ``colours`` of sites are displaced one after another
    where divergences are estimated.
    """

    kind: Literal["smeared", "residual", "forces"] = "smeared"
    sweeps: int = _limited(least=1, default=1)
    convolutions: tuple[int, ...] = _limited(least=0, default=())
    gradient_steps: tuple[int, ...] = _limited(least=0, default=())
    staple_steps: int = _limited(least=0, default=3)
    planes: Literal["isotropic", "anisotropic"] = "isotropic"
    force_steps: tuple[int, ...] = _limited(least=0, default=())
    eta: tuple[float, ...] = _limited(above=0.0, default=())
    colours: Literal[1, 2, 4, 8, 16] = 4


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
    "plaquette",
    "plaquette_spatial",
    "plaquette_temporal",
    "polyakov",
    "t2_e",
    "q_squared",
    "pion",
    "condensate",
    "pion_correlator",
]
QUARK_OBSERVABLES = ("condensate", "pion_correlator")
"""Those that derivatives with respect to kappa have beside the others."""


@dataclass(frozen=True)
class ObservablesSection:
    """``[observables]``: what is differentiated; ``t2_e`` and, in 4D, ``q_squared`` at ``flow_time`` of the gradient flow.

    ``scales`` are one or two values c: the flow times t_c with t^2 <E> = c are differentiated, and the ratio of the two; they
    are sought up to ``flow_time``, with t^2 E at every second step of the integrator.

    In 2D, the charge is the sum of the plaquette angles of U(1), without gradient flow.  ``polyakov`` is the real part of the
    Polyakov loop in time.

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
class SourcesSection:
    """``[sources]``: correlators of time slices, whose noise fields of sources take away.

    The ``operator`` of a slice is the sum of its spatial plaquettes (``scalar``), the difference of those in two planes
    (``tensor``), or the sum of the plaquettes between it and the next slice (``temporal``).  Links of the first two may be
    smeared in space by ``stout`` steps.  The field of a source has ``radius`` slices to both sides and is made of the families
    ``fields``; the smeared one offers gradients of plaquettes after ``gradient_steps``.  The family ``gradients`` has no masks
    and stands alone, because the noise of its divergences must not meet itself.  ``sides`` are the factors that have a field.

    ``coefficients`` are fitted for every chain on all others, or on the first ``training`` configurations of each chain, which
    are left out then.  Terms where supports meet are measured on every ``contact_every``-th configuration of a chain.
    """

    operator: Literal["scalar", "tensor", "temporal"] = "scalar"
    stout: int = _limited(least=0, default=0)
    fields: tuple[Literal["plaquette", "smeared", "gradients"], ...] = ("plaquette", "smeared")
    gradient_steps: tuple[int, ...] = _limited(least=1, default=(2, 4))
    radius: int = _limited(least=0, default=1)
    sides: Literal[1, 2] = 2
    coefficients: Literal["cross-fit", "training"] = "cross-fit"
    training: int = _limited(least=2, default=0)
    contact_every: int = _limited(least=1, default=10)


@dataclass(frozen=True)
class ParallelSection:
    """``[parallel]``: how many processes share the work.

    ``parts`` are shares of the chains of ``sample`` and of the configurations of ``derive``, on which processes work side by
    side. ``ranks`` of the processes of ``mpirun`` share a configuration, each with a part of the lattice, cut in a ``grid`` of
    processes for each direction. By default all processes that there are for each part do so.
    """

    parts: int = _limited(least=1, default=1)
    ranks: int = _limited(least=0, default=0)
    grid: tuple[int, ...] = _limited(least=1, default=())


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
    sources: SourcesSection | None = None
    parallel: ParallelSection = ParallelSection()

    @property
    def folder(self) -> Path:
        """Folder of results."""
        return self.path.parent / self.output.dir

    def require(self, section: type[T]) -> T:
        """The section of this type; ``ValueError`` if the file lacks it."""
        found = next((value for value in vars(self).values() if isinstance(value, section)), None)
        if found is None:
            raise ValueError(f"{self.path}: this command needs the section [{SECTIONS[section]}]")
        return found


SECTIONS: dict[type, str] = {
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
    SourcesSection: "sources",
    ParallelSection: "parallel",
    OutputSection: "output",
}
"""Names of the sections."""
NECESSARY = ("lattice", "source", "output")
"""Sections that every run file has."""
