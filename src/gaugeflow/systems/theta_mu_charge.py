"""Derivatives with respect to theta, chemical potentials and electric charge, in U(1) gauge theory in two dimensions.

Derivatives that a symmetry makes vanish are left out: what is measured are second derivatives of even observables and first
derivatives of odd ones, with the fields of :class:`gaugeflow.flows.SectorFields`, without fields, and by simulations at changed
parameters; without quarks the exact values are known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io
from gaugeflow.analysis import Cost, Estimate, Series, difference_independent, gain, gamma_method
from gaugeflow.ensembles import EPSILON, INDEPENDENT, LINEAR, Improved, Measurements, response, responses
from gaugeflow.flows import SectorFields
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import plaquette, polyakov_loop, sine_charge
from gaugeflow.priors import Photon
from gaugeflow.random import Rng
from gaugeflow.systems import exact_u1
from gaugeflow.systems.correlated import Clock
from gaugeflow.systems.parameter_theories import Change, Theory
from gaugeflow.systems.report import Progress, Report, silent
from gaugeflow.systems.theta_mu_charge_report import curvature_figure, derivative_table
from gaugeflow.systems.unfinished import Unfinished
from gaugeflow.training import fit_linear

Measured = Callable[[Array], Array]

OBSERVABLES: dict[str, Callable[[Lattice, Array], Array]] = {
    "plaquette": plaquette,
    "sine charge": sine_charge,
    "Re L": lambda lattice, x: np.real(polyakov_loop(lattice, x)),
    "Im L": lambda lattice, x: np.imag(polyakov_loop(lattice, x)),
}
"""Q_s is the sum of sines of plaquettes over 2 pi, L the mean Polyakov loop in time."""


@dataclass(frozen=True)
class Parameter:
    """What is differentiated, how the field is made, and at which change it is simulated directly."""

    observables: tuple[str, ...]
    operator: str
    derivative: str
    """The derivative of A that ``sign`` times the response to the operator is."""
    change: Change | None
    direct: float = 0.0
    """Factor of the difference between the changed theory and the source."""
    sign: float = 1.0
    odd: bool = False
    harmonics: tuple[int, ...] = (1, 2, 3, 4)
    windings: tuple[int, ...] = (1, 2)


PARAMETERS = {
    "theta": Parameter(("plaquette",), "Q^2", "d^2 A / d theta^2", Change(tilt=0.8), -2.0 / 0.8**2, windings=()),
    "theta, odd": Parameter(
        ("sine charge",), "Q", "-i d A / d theta", Change(tilt=0.8), 1.0 / 0.8, sign=-1.0, odd=True, windings=()
    ),
    "isospin": Parameter(("plaquette", "Re L"), "isospin", "d^2 A / d q^2", Change(isospin=0.2), 2.0 / 0.2**2),
    "quark number": Parameter(("quark number",), "Im L", "d A / d q", None, odd=True, harmonics=(), windings=(0,)),
    "electric charge": Parameter(("plaquette", "Re L"), "e^2", "d A / d e^2", Change(charge=1.0), 1.0),
}
"""For the quark number, observable and operator are exchanged: the field turns all temporal links and follows dS/dq exactly."""


@dataclass(frozen=True)
class Case:
    """One parameter in one theory."""

    theory: Theory
    parameter: str
    steps: int
    thin: int = 4

    @property
    def name(self) -> str:
        """Name for files and messages."""
        shape = "x".join(map(str, self.theory.shape))
        return f"{self.parameter}, kappa {self.theory.kappa:g}, {shape}"


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are the demo's."""

    cases: tuple[Case, ...] = (
        Case(Theory((8, 8), 2.0), "theta", 600),
        Case(Theory((16, 16), 2.0), "theta", 300),
        Case(Theory((8, 8), 2.0, 0.25), "theta", 100),
        Case(Theory((16, 16), 2.0, 0.25), "theta", 30),
        Case(Theory((8, 8), 2.0), "theta, odd", 400),
        Case(Theory((8, 8), 2.0, 0.25), "theta, odd", 100),
        Case(Theory((4, 16), 2.0, 0.25), "isospin", 80, 12),
        Case(Theory((4, 16), 2.0, 0.25), "quark number", 40, 12),
        Case(Theory((8, 8), 2.0, 0.25), "electric charge", 60),
    )
    chains: int = 64
    training: int = 8
    photons: int = 2


QUICK = Settings(
    cases=(
        Case(Theory((8, 8), 2.0), "theta", 60),
        Case(Theory((4, 4), 2.0, 0.25), "theta", 30),
        Case(Theory((8, 8), 2.0), "theta, odd", 60),
        Case(Theory((4, 4), 2.0, 0.25), "isospin", 30),
        Case(Theory((4, 4), 2.0, 0.25), "quark number", 20),
        Case(Theory((4, 4), 2.0, 0.25), "electric charge", 20),
    ),
)


def run(
    *, out: Path, seed: int = 2401, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Sample, measure with and without fields, simulate at changed parameters, and report.

    Parameters
    ----------
    out
        Folder for figure and measurements; what an interrupted run with the same seed and settings has left there is not done
        again.
    seed
        Seed of all random numbers.
    quick
        Small lattices and few configurations.
    progress
        Called as work goes on.
    settings
        Parameters other than the demo's.

    Returns
    -------
    Report
    """
    chosen = settings or (QUICK if quick else Settings())
    out.mkdir(parents=True, exist_ok=True)
    rng = Rng(seed)
    rows: list[dict[str, Any]] = []
    columns: dict[str, Any] = {}
    with ExitStack() as unfinished:
        for i, case in enumerate(chosen.cases):
            progress(case.name, i, len(chosen.cases))
            folder = out / f"unfinished {case.name}"
            files = unfinished.enter_context(Unfinished.open(folder, Clock(), seed=seed, settings=repr(chosen)))
            found = _measured(case, chosen, rng.stream(case.name), files)
            rows += _rows(case, *found, files.clock)
            columns.update({f"{case.name}|{name}": values for name, values in found[0].columns().items()})
    progress("cases", len(chosen.cases), len(chosen.cases))
    io.write_table(out / "measurements.h5", columns, attributes=io.provenance(seed=seed, settings=repr(chosen)))
    return Report(derivative_table(rows), rows, (curvature_figure(out / "theta_mu_charge.png", rows),))


# ---- measurements ------------------------------------------------------------------------------------------------
def _measured(case: Case, settings: Settings, rng: Rng, files: Unfinished) -> tuple[Measurements, Measurements | None]:
    """Measurements on the source and at the changed parameter."""
    parameter = PARAMETERS[case.parameter]
    source, direct = files.measurements("source"), files.measurements("direct")
    if len(source) == 0:
        source = _source(case, settings, rng, files.clock)
        files.keep_measurements("source", source)
    if parameter.change is None:
        return source, None
    if len(direct) == 0:
        direct = _direct(case, settings, rng.stream("direct"), files.clock)
        files.keep_measurements("direct", direct)
    return source, direct


def _observable(theory: Theory, name: str) -> Measured:
    if name == "quark number":
        return theory.quark_number
    return partial(OBSERVABLES[name], theory.lattice)


def _operator(case: Case, rng: Rng, settings: Settings) -> Measured:
    """The operator on one block; photons are drawn anew for every block."""
    theory, name = case.theory, PARAMETERS[case.parameter].operator
    if name == "e^2":
        photon = Photon(theory.lattice)
        fields = (photon.sample(rng.stream("photon").stream(k), settings.chains) for k in range(settings.photons))
        return partial(theory.electric, photons=tuple(fields))
    known: dict[str, Measured] = {"Q": theory.charge, "Q^2": theory.charge_squared, "isospin": theory.isospin}
    return known[name] if name in known else _observable(theory, name)


def _source(case: Case, settings: Settings, rng: Rng, clock: Clock) -> Measurements:
    """Fields are fitted on ``training`` blocks of their own, and everything is measured on the others."""
    theory, parameter = case.theory, PARAMETERS[case.parameter]
    flow = SectorFields(theory.lattice, parameter.harmonics, parameter.windings, parameter.odd)
    observables = {name: _observable(theory, name) for name in parameter.observables}

    def fitted() -> dict[str, Improved]:
        links = list(theory.sample(rng.stream("training"), settings.chains, settings.training, case.thin))
        tangents = np.concatenate([flow.tangent(x, theory.action.grad(x)) for x in links], axis=-1)
        return {
            name: Improved(
                observable, flow, fit_linear(tangents, np.concatenate([observable(x) for x in links])).coefficients
            )
            for name, observable in observables.items()
        }

    improved = clock.time("training", "", fitted)
    unmoved = (parameter.operator,) if parameter.operator in ("Q", "Q^2") else ()
    result = Measurements()
    blocks = theory.sample(rng.stream("source"), settings.chains, case.steps, case.thin)
    for i in range(case.steps):
        x = clock.time("source", "", partial(next, blocks))
        operators = {parameter.operator: _operator(case, rng.stream("operator").stream(i), settings)}
        measure = responses(improved, operators, theory.action.grad, unmoved=unmoved, timed=clock.time)
        result.add([i] * settings.chains, range(settings.chains), measure(x))
    return result


def _direct(case: Case, settings: Settings, rng: Rng, clock: Clock) -> Measurements:
    """The observables at the changed parameter, on as many configurations."""
    theory, parameter = case.theory, PARAMETERS[case.parameter]
    result = Measurements()
    blocks = theory.sample(rng, settings.chains, case.steps, case.thin, change=parameter.change)
    for i in range(case.steps):
        x = clock.time("source", "direct", partial(next, blocks))
        row = {
            name: clock.time("measurement", f"{name}, direct", partial(_observable(theory, name), x))
            for name in parameter.observables
        }
        result.add([i] * settings.chains, range(settings.chains), row)
    return result


# ---- results -----------------------------------------------------------------------------------------------------
def _cost(clock: Clock, parameter: Parameter, observable: str, estimator: str) -> Cost:
    """Seconds of one estimator of one observable; force and source are paid by each."""
    source, measurement = clock.spent("source"), clock.spent("measurement", observable)
    if estimator == INDEPENDENT:
        ours = clock.spent("source", "direct") + clock.spent("measurement", f"{observable}, direct")
        return Cost(source + ours, measurement)
    measurement += clock.spent("measurement", parameter.operator)
    if estimator == EPSILON:
        return Cost(source, measurement)
    images = clock.spent("measurement", f"{observable}|{parameter.operator}")
    flow = clock.spent("flow", "force") + clock.spent("flow", observable)
    return Cost(source, measurement + images, flow, clock.spent("training"))


def _exact(case: Case) -> float | None:
    theory = case.theory
    known = {"theta": exact_u1.theta_curvature, "theta, odd": exact_u1.sine_charge}
    if theory.kappa or case.parameter not in known:
        return None
    return known[case.parameter](theory.beta, theory.lattice.volume)


def _rows(case: Case, source: Measurements, direct: Measurements | None, clock: Clock) -> list[dict[str, Any]]:
    parameter, rows = PARAMETERS[case.parameter], []
    for name in parameter.observables:
        series: dict[str, Series] = {}
        if direct is not None and parameter.odd:  # zero at the source, by symmetry
            series[INDEPENDENT] = direct.series(name) * parameter.direct
        elif direct is not None:
            series[INDEPENDENT] = difference_independent(source.series(name), direct.series(name)) * parameter.direct
        found = response(source, name, parameter.operator)
        series |= {label: one * parameter.sign for label, one in found.items()}
        estimates = {label: gamma_method(one) for label, one in series.items()}
        shown = parameter.operator if name == "quark number" else name
        rows.append(
            {
                "system": "theta-mu-charge",
                "case": case.name,
                "parameter": case.parameter,
                "lattice": list(case.theory.shape),
                "beta": case.theory.beta,
                "kappa": case.theory.kappa,
                "observable": shown,
                "derivative": parameter.derivative.replace("A", shown),
                "exact": _exact(case),
                "n_configurations": len(source),
                "variance_left": _variance_left(source, name),
                "estimates": {label: _shown(one, _exact(case)) for label, one in estimates.items()},
                "gains": _gains(estimates, clock, parameter, name),
                "seconds": clock.totals(),
            }
        )
    return rows


def _variance_left(source: Measurements, name: str) -> float:
    """Share of the variance of an observable that its field leaves."""
    values = source.columns()
    return float(np.var(values[name] - values[f"{name}|tangent"]) / np.var(values[name]))


def _shown(estimate: Estimate, exact: float | None) -> dict[str, float | None]:
    pull = None if exact is None else (estimate.value - exact) / estimate.error
    return {"value": estimate.value, "error": estimate.error, "tau_int": estimate.tau_int, "pull": pull}


def _gains(estimates: Mapping[str, Estimate], clock: Clock, parameter: Parameter, name: str) -> dict[str, Any]:
    """Of the field, over epsilon-reweighting and over the direct simulation."""
    mine = _cost(clock, parameter, name, LINEAR)
    return {
        label: asdict(gain(estimates[label], estimates[LINEAR], _cost(clock, parameter, name, label), mine))
        for label in (EPSILON, INDEPENDENT)
        if label in estimates
    }
