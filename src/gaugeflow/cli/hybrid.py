"""The HMC that a run file describes: gauge action and quarks on nested time scales."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gaugeflow.actions import Determinant, Hasenbusch, Inversion, Rational, Sum, WilsonAction
from gaugeflow.lattice import Array, Lattice
from gaugeflow.operators import Clover, Wilson, boundary_phases
from gaugeflow.runfile import FermionsSection, HMCSection, RunFile
from gaugeflow.samplers import HMC, INTEGRATORS, Level
from gaugeflow.typing import Action


def make_operator(run: RunFile, lattice: Lattice, quark: int = 0) -> Wilson:
    """Dirac operator of one entry of ``flavours``."""
    section = run.require(FermionsSection)
    boundary = boundary_phases(section.boundary) or None
    kappa = section.kappa[quark] if section.kappa else None
    mass = section.mass[quark] if section.mass else None
    if section.csw:
        return Clover(lattice=lattice, boundary=boundary, kappa=kappa, mass=mass, csw=section.csw)
    return Wilson(lattice=lattice, boundary=boundary, kappa=kappa, mass=mass)


def quark_levels(run: RunFile, lattice: Lattice) -> list[Action]:
    """Actions of all quarks, one for each time scale, the slowest first."""
    section = run.require(FermionsSection)
    if section.method == "determinant":
        exact = tuple(
            Determinant(make_operator(run, lattice, i), n, section.force_precision)
            for i, n in enumerate(section.flavours)
        )
        return [exact[0] if len(exact) == 1 else Sum(exact)]
    inversion = Inversion(section.tolerance, section.force_tolerance, section.solver)
    ratios: list[Action] = []
    others: list[Action] = []
    for quark, flavours in enumerate(section.flavours):
        operator = make_operator(run, lattice, quark)
        for _ in range(flavours // 2):
            heavier = _heavier(section, operator) if quark == 0 else ()
            *first, last = Hasenbusch(operator, heavier, inversion).terms
            ratios += first
            others.append(last)
        if flavours % 2:
            low, high = section.spectrum
            others.append(Rational(operator, low, high, section.error, inversion=inversion))
    factors = max(len(section.hasenbusch), len(section.twisted))
    levels = [ratios[k::factors] for k in range(factors)] + [others]  # equal factors of several pairs side by side
    return [terms[0] if len(terms) == 1 else Sum(tuple(terms)) for terms in levels]


def _heavier(section: FermionsSection, operator: Wilson) -> tuple[Wilson, ...]:
    if section.twisted:
        return tuple(replace(operator, twisted_mass=mu) for mu in section.twisted)
    if section.kappa:
        return tuple(replace(operator, kappa=kappa) for kappa in section.hasenbusch)
    return tuple(replace(operator, mass=mass) for mass in section.hasenbusch)


def make_hmc(run: RunFile, lattice: Lattice, tune: int) -> HMC:
    """HMC for the source of a run file; its step size is tuned in the first ``tune`` trajectories."""
    section = run.hmc or HMCSection()
    quarks = quark_levels(run, lattice) if run.fermions is not None else []
    actions = [*quarks, WilsonAction(lattice, run.source.beta, run.source.anisotropy)]
    inner = section.inner or (*(1,) * (len(quarks) - 1), *(2,) * bool(quarks))
    if len(inner) != len(actions) - 1:
        raise ValueError(
            f"{run.path}: [hmc] inner: expected {len(actions) - 1} numbers, one for each time scale below the slowest, "
            f"found {list(inner)}"
        )
    scheme = INTEGRATORS[section.integrator]
    levels = tuple(Level(a, n, scheme) for a, n in zip(actions, (section.steps, *inner), strict=True))
    return HMC(lattice, levels, section.length, section.acceptance, tune)


def check_ranges(action: Action, x: Array) -> None:
    """``ConvergenceError`` where a spectrum has left the range of its rational approximation."""
    terms: tuple[Any, ...] = getattr(action, "terms", (action,))
    for term in terms:
        if isinstance(term, Rational):
            term.check_range(x)
        elif isinstance(term, Sum):
            check_ranges(term, x)
