"""Momentum fraction of the gluons in a pion by the Feynman-Hellmann theorem, from correlated quenched ensembles.

The gluonic operator of <x>_g is the derivative of the Wilson action with respect to lambda, where temporal plaquettes have the
coupling beta (1 + lambda) and spatial ones beta (1 - lambda) (arXiv:1205.6410): d M / d lambda = -(3/2) M <x>_g.  The same
ensembles give derivatives of the mass of the scalar and the tensor glueball and of the electric and magnetic energy of the
gradient flow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io, kernels
from gaugeflow.actions import WilsonAction
from gaugeflow.devices import to_host
from gaugeflow.ensembles import Measurements, SmearedForces
from gaugeflow.ensembles.linear import LINEAR_STEP
from gaugeflow.hadrons import Gaussian
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import advance, plaquette_slices, slice_correlator, stout, tensor_slices
from gaugeflow.random import Rng
from gaugeflow.systems import correlated_su3, feynman_hellmann_report, figures
from gaugeflow.systems.correlated import Clock
from gaugeflow.systems.masses import columns
from gaugeflow.systems.pion import Pion
from gaugeflow.systems.report import Progress, Report, silent
from gaugeflow.systems.unfinished import KeptEnsemble, Unfinished
from gaugeflow.training import fit_linear_noisy
from gaugeflow.typing import Params

TOLERANCE = 4e-6
"""Of propagators in single precision: rounding errors stop some of them a little above 1e-6."""
GROUPS = 2
"""Independent estimates of tangents for the fit of coefficients."""
CUT = 1e-5
"""Directions of tangents that fluctuate less than this, relative to the largest, are left out of the fit."""


@dataclass(frozen=True)
class Settings:
    """Parameters of the run; the defaults are the demo's."""

    shape: tuple[int, int, int, int] = (16, 8, 8, 8)
    beta: float = 6.0
    step: float = 0.01
    kappa: float = 0.1525
    source_times: tuple[int, ...] = (0, 4, 8, 12)
    quark_smearing: Gaussian = field(default_factory=lambda: Gaussian(3.0, 20))
    window: tuple[int, int] = (4, 8)
    chains: int = 8
    blocks: int = 8
    burn_in: int = 100
    thin: int = 10
    overrelax: int = 4
    forces: tuple[int, ...] = SmearedForces.forces
    gradients: tuple[int, ...] = SmearedForces.gradients
    eta: float | tuple[float, ...] = SmearedForces.eta
    colours: int = 8
    training_shape: tuple[int, int, int, int] = (4, 4, 4, 4)
    training_chains: int = 32
    training_blocks: int = 6
    stout_steps: int = 4
    stout_rho: float = 0.12
    flow_time: float = 0.5
    flow_step: float = 0.1

    def chain(self, *, training: bool = False) -> correlated_su3.Settings:
        """What the heat bath needs to know."""
        return correlated_su3.Settings(
            shape=self.training_shape if training else self.shape,
            chains=self.training_chains if training else self.chains,
            blocks=self.training_blocks if training else self.blocks,
            burn_in=self.burn_in,
            thin=self.thin,
            overrelax=self.overrelax,
        )


QUICK = Settings(
    shape=(8, 4, 4, 4),
    kappa=0.14,
    source_times=(0,),
    quark_smearing=Gaussian(1.5, 5),
    window=(2, 4),
    blocks=8,
    burn_in=40,
    colours=2,
    training_blocks=3,
)


def run(
    *, out: Path, seed: int = 2401, quick: bool = False, progress: Progress = silent, settings: Settings | None = None
) -> Report:
    """Generate, fit the flow, flow, measure and report.

    A run that is interrupted or killed leaves the folder ``unfinished`` and goes on from there, to the same numbers.

    Parameters
    ----------
    out
        Folder for figures, measurements and parameters (made if needed).
    seed
        Seed of all random numbers.
    quick
        8 x 4^3 and short chains, for a first look.
    progress
        Called as work goes on.
    settings
        Parameters other than the demo's.

    Returns
    -------
    Report
        Tables, one JSON object, figures.

    Raises
    ------
    ValueError
        If ``out`` holds an unfinished run with another seed or other settings.
    """
    chosen = settings or (QUICK if quick else Settings())
    out.mkdir(parents=True, exist_ok=True)
    rng, clock = Rng(seed), Clock()
    lattice = Lattice(chosen.shape)
    correlated_su3.prepare(chosen.chain(), progress)
    with Unfinished.open(out / "unfinished", clock, seed=seed, settings=repr(chosen)) as done:
        coefficients = learned(chosen, rng.stream("training"), done, progress)
        correlated_su3.generate_kept(
            lattice,
            chosen.chain(),
            chosen.beta,
            rng.stream("source"),
            lambda i, n: progress("source ensemble", i, n),
            done=(done, "source"),
            timed=partial(clock.time, "source", ""),
        )
        ensemble = KeptEnsemble(done, "source", lattice)
        data = measure(chosen, ensemble, coefficients, rng.stream("noise"), done, progress)
        independent = {
            step: independent_ensemble(chosen, lattice, step, rng.stream(f"independent {step}"), done, progress)
            for step in (chosen.step, -chosen.step)
        }
        described = io.provenance(seed=seed, settings=repr(chosen))
        io.write_params(out / "flow.h5", coefficients, attributes={**described, "step": 1.0})
        io.write_table(out / "measurements.h5", data.columns(), attributes=described)
        for step, other in independent.items():
            io.write_table(out / f"independent{step:+g}.h5", other.columns(), attributes=described)
        result, tables = feynman_hellmann_report.analyse(
            data,
            independent,
            lattice=lattice,
            beta=chosen.beta,
            step=chosen.step,
            kappa=chosen.kappa,
            window=chosen.window,
            clock=clock,
        )
    titles = {f"{chosen.step:+g}": rf"$\lambda$ = 0 to {chosen.step:g}"}
    pictures = (
        figures.log_weights(out / "log_weights.png", data.columns(), titles),
        feynman_hellmann_report.figure(out / "feynman_hellmann.png", result),
    )
    return Report(tables, [result], pictures)


def make_fields(settings: Settings, lattice: Lattice) -> SmearedForces:
    """The fields of this system, with one coefficient for temporal and one for spatial planes of every field."""
    return SmearedForces(
        lattice, settings.forces, settings.gradients, settings.eta, anisotropic=True, colours=settings.colours
    )


def learned(settings: Settings, rng: Rng, done: Unfinished, progress: Progress) -> Params:
    """:func:`learn`, or what an interrupted run has learned."""
    path = done.folder / "flow.h5"
    if path.exists():
        return io.read_params(path)[0]
    coefficients: Params = done.clock.time("training", "", lambda: learn(settings, rng, progress))
    io.write_params(path, coefficients)
    done.save()
    return coefficients


def learn(settings: Settings, rng: Rng, progress: Progress) -> Params:
    """Parameters of the flow per unit step of lambda, by least squares on the training volume.

    A rotation that exchanges time and space changes the sign of the operator and exchanges the two classes of planes, where all
    extents are equal.  Only the differences of the classes can be of use there, so that as many coefficients are fitted as the
    flow has fields.
    """
    lattice = Lattice(settings.training_shape)
    chain = settings.chain(training=True)
    ensemble = correlated_su3.generate(
        lattice, chain, settings.beta, rng, lambda i, n: progress("training ensemble", i, n)
    )
    fields, source = make_fields(settings, lattice), WilsonAction(lattice, settings.beta)
    tangents, operator = [], []
    for number, x in enumerate(ensemble.blocks):
        force, signs = source.grad(x), rng.stream("signs").stream(number)
        both = [to_host(fields.tangents(signs.stream(k), x, force)) for k in range(GROUPS)]
        tangents.append(np.stack([of[:, 0, :] - of[:, 1, :] for of in both]))
        operator.append(to_host(source.d_anisotropy(x)))
        progress("training", number + 1, len(ensemble.blocks))
    known = np.concatenate(operator)
    fit = fit_linear_noisy(np.concatenate(tangents, axis=-1), np.stack([known] * GROUPS), cut=CUT)
    return {"delta": np.stack([fit.coefficients, -fit.coefficients], axis=1)}


def gauge_observables(settings: Settings, lattice: Lattice, x: Array) -> dict[str, Array]:
    """Electric and magnetic t^2 E of the gradient flow, and correlators of glueballs; every value is ``(batch,)``."""
    flowed = kernels.plaquette(lattice, advance(lattice, x, settings.flow_time, step=settings.flow_step))
    energy = 2.0 * x.shape[2] * settings.flow_time**2 * (1.0 - to_host(flowed))
    temporal = np.array([mu == 0 for mu, _ in lattice.planes])
    row: dict[str, Array] = {
        "t2_e_electric": energy[temporal].sum(axis=0),
        "t2_e_magnetic": energy[~temporal].sum(axis=0),
    }
    smeared = stout(lattice, x, settings.stout_rho, settings.stout_steps, spatial=True)
    per_site = lattice.shape[0] / lattice.volume
    scalar = to_host(plaquette_slices(lattice, smeared)) * per_site
    tensor = [to_host(slices) * per_site for slices in tensor_slices(lattice, smeared)]
    row["scalar"] = scalar.mean(axis=0)
    row |= columns("scalar", slice_correlator(scalar))
    return row | columns("tensor", sum(slice_correlator(slices) for slices in tensor))


def make_pion(settings: Settings, lattice: Lattice) -> Pion:
    """The quarks of this system."""
    return Pion(lattice, settings.kappa, settings.source_times, settings.quark_smearing, TOLERANCE)


def measure(
    settings: Settings,
    ensemble: KeptEnsemble,
    coefficients: Params,
    noise: Rng,
    done: Unfinished,
    progress: Progress,
) -> Measurements:
    """All measurements on the source ensemble, on its images, and along the linearised flow, block by block."""
    data = done.measurements("measurements")
    for number in range(len(data) // ensemble.chains, len(ensemble) // ensemble.chains):
        block = ensemble.block(number).blocks[0]
        streams = [noise.stream(number).stream(chain) for chain in range(ensemble.chains)]
        row = measure_block(settings, ensemble.lattice, block, coefficients, streams, done.clock)
        data.add(np.full(ensemble.chains, number), np.arange(ensemble.chains), row)
        done.keep_measurements("measurements", data)
        progress("measurements", len(data), len(ensemble))
    return data


def measure_block(
    settings: Settings, lattice: Lattice, x: Array, coefficients: Params, streams: Sequence[Rng], clock: Clock
) -> dict[str, Array]:
    """Columns ``name``, ``flow+0.01|name``, ``plain+0.01|log_weight``, ``linear|name`` and so on of one block."""
    fields, source = make_fields(settings, lattice), WilsonAction(lattice, settings.beta)
    pion = make_pion(settings, lattice)

    def all_of(y: Array) -> tuple[dict[str, Array], Any]:
        quarks = pion.propagators(streams, y)
        row = gauge_observables(settings, lattice, y)
        return row | columns("pion", pion.correlator(y, quarks)), quarks

    delta, signs = coefficients["delta"], streams[0].stream("signs")
    row, quarks = clock.time("measurement", "", lambda: all_of(x))
    row = dict(row)
    for step in (settings.step, -settings.step):
        target = WilsonAction(lattice, settings.beta, step)
        change = source.value(x) - target.value(x)
        row[f"plain{step:+g}|log_weight"] = to_host(change)
        work = partial(fields.transported, signs.stream(f"{step:+g}"), delta, x, step)
        image, log_det = clock.time("flow", f"flow{step:+g}", work)
        values, _ = clock.time("measurement", f"flow{step:+g}", partial(all_of, image))
        row |= {f"flow{step:+g}|{name}": value for name, value in values.items()}
        row[f"flow{step:+g}|log_weight"] = to_host(source.value(x) - target.value(image) + log_det)

    noisy = fields.with_noise(signs.stream("linear"))
    linearised = partial(noisy.linearised, delta, x, source.grad(x), LINEAR_STEP)
    ahead, behind, tangent = clock.time("flow", "linear", linearised)

    def along() -> Mapping[str, Array]:
        ends = [gauge_observables(settings, lattice, y) for y in (ahead, behind)]
        slopes = {name: (ends[0][name] - ends[1][name]) / (2.0 * LINEAR_STEP) for name in ends[0]}
        return slopes | columns("pion", pion.along(streams, x, quarks, ahead, behind, LINEAR_STEP))

    row |= {f"linear|{name}": value for name, value in clock.time("measurement", "linear", along).items()}
    row["linear|operator"] = to_host(source.d_anisotropy(x))
    row["linear|residual"] = to_host(tangent) - row["linear|operator"]
    return row


def independent_ensemble(
    settings: Settings, lattice: Lattice, step: float, rng: Rng, done: Unfinished, progress: Progress
) -> Measurements:
    """Measurements on an ensemble of its own at lambda = step."""
    name = f"independent{step:+g}"
    couplings = WilsonAction(lattice, settings.beta, step).couplings.plaquette
    correlated_su3.generate_kept(
        lattice,
        settings.chain(),
        couplings,
        rng,
        lambda i, n: progress(f"ensemble at lambda = {step:g}", i, n),
        done=(done, name),
    )
    ensemble = KeptEnsemble(done, name, lattice)
    pion = make_pion(settings, lattice)
    data = done.measurements(f"{name} measurements")
    for number in range(len(data) // ensemble.chains, len(ensemble) // ensemble.chains):
        x = ensemble.block(number).blocks[0]
        streams = [rng.stream("noise").stream(number).stream(chain) for chain in range(ensemble.chains)]
        row = gauge_observables(settings, lattice, x)
        row |= columns("pion", pion.correlator(x, pion.propagators(streams, x)))
        data.add(np.full(ensemble.chains, number), np.arange(ensemble.chains), row)
        done.keep_measurements(f"{name} measurements", data)
        progress(f"measurements at lambda = {step:g}", len(data), len(ensemble))
    return data
