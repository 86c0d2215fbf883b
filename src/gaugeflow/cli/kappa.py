"""What ``train`` and ``derive`` do where the target is another kappa: linearised flows, with traces by noise.

Finite steps would need ratios of determinants; to first order in the step nothing but traces is needed.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gaugeflow.cli.assembly import Target
    from gaugeflow.ensembles import Measurements, Observables, QuarkSource
    from gaugeflow.lattice import Lattice
    from gaugeflow.progress import Progress
    from gaugeflow.runfile import RunFile
    from gaugeflow.typing import Ensemble

_PIECE = 16
"""Configurations between two writings of the measurements."""
CONDENSATE_VECTORS = 2


def _lattice(run: RunFile) -> tuple[Lattice, int]:
    """The lattice without a fold, and configurations side by side."""
    from gaugeflow.cli.world import current
    from gaugeflow.devices import device
    from gaugeflow.lattice import LANES, Lattice

    return Lattice(run.lattice.shape, None, current().team.domain(run)), LANES[device()]


def _source(run: RunFile, lattice: Lattice) -> QuarkSource:
    from gaugeflow.cli import assembly
    from gaugeflow.cli.hybrid import make_operator
    from gaugeflow.ensembles import QuarkSource
    from gaugeflow.runfile import FermionsSection, TargetSection

    section = run.require(FermionsSection)
    exact = section.method == "determinant"
    vectors = 0 if exact else run.require(TargetSection).vectors
    gauge = assembly.source_action(run, lattice)
    return QuarkSource(gauge, make_operator(run, lattice), section.flavours[0], vectors)


def _observables(run: RunFile, lattice: Lattice) -> Observables:
    from gaugeflow.cli import assembly
    from gaugeflow.ensembles import Observables
    from gaugeflow.runfile import QUARK_OBSERVABLES, ObservablesSection
    from gaugeflow.systems.quark_mass import quark_observables

    if lattice.ndim != 4 and "q_squared" in run.require(ObservablesSection).names:
        raise ValueError(
            f"{run.path}: [observables] names: expected no q_squared with a target kappa in {lattice.ndim} dimensions: the "
            "charge there jumps where links move"
        )
    names = [name for name in run.require(ObservablesSection).names if name in QUARK_OBSERVABLES]
    quark = partial(quark_observables, vectors=CONDENSATE_VECTORS, names=names) if names else None
    return Observables(assembly.make_observables(run, lattice, smooth=True), quark)


def train(run: RunFile, target: Target, progress: Progress) -> dict[str, Any]:
    """Fit the coefficients on some configurations, and measure the variance that they leave on others."""
    import numpy as np

    from gaugeflow import io
    from gaugeflow.analysis import ess_gaussian, noisy_variance
    from gaugeflow.cli import assembly
    from gaugeflow.cli.source import find_source
    from gaugeflow.cli.train import rows_of
    from gaugeflow.cli.world import current
    from gaugeflow.ensembles import quark_tangents
    from gaugeflow.io.params import write_params
    from gaugeflow.random import Streams
    from gaugeflow.runfile import TrainingSection
    from gaugeflow.training import fit_linear, fit_linear_noisy

    settings = run.require(TrainingSection)
    if settings.method != "least-squares":
        raise ValueError(
            f"{run.path}: [training] method: expected 'least-squares' for a target kappa, found {settings.method!r}"
        )
    begin = time.perf_counter()
    given = find_source(run)
    fitted, held_out = rows_of(run, settings, given)
    lattice, batch = _lattice(run)
    source, sweep, rng = (
        _source(run, lattice),
        assembly.make_sweep(run, lattice),
        assembly.noise_of(run, "kappa", "train"),
    )
    found: dict[str, tuple[Any, Any]] = {}
    done = 0
    for name, rows in (("fitted", fitted), ("held out", held_out)):
        parts = []
        for part in given.part(lattice, rows).batches(batch):
            here = Streams.of(rng, part.chain, part.ids)
            parts.append(quark_tangents(sweep, source, here, part.fields))
            done += len(part.ids)
            progress(f"{target.name}: linear fit, configurations", done, len(fitted) + len(held_out))
        h, operator = (np.concatenate(x, axis=-1) for x in zip(*parts, strict=True))
        found[name] = h, operator
    h, operator = found["fitted"]
    fit = fit_linear(h[0], operator[0]) if len(h) == 1 else fit_linear_noisy(h, operator)
    coefficients = np.asarray(fit.coefficients)
    h, operator = found["held out"]
    residual = operator - np.einsum("f,gfn->gn", coefficients, h)
    sizes: dict[str, float] = {}
    for name, values in (("plain", operator), ("flow", residual)):
        products = noisy_variance(*values).values[0] * target.step**2
        variance, error = float(products.mean()), float(products.std(ddof=1) / math.sqrt(len(products)))
        size = ess_gaussian(max(variance, 0.0))
        sizes |= {f"ess_{name}": size, f"ess_{name}_error": size * error}
    path = assembly.flow_file(run, target)
    result = {
        "parameter": target.parameter,
        "source": source.operator.kappa,
        "target": target.value,
        "method": settings.method,
        "training_configurations": len(fitted),
        "held_out_configurations": len(held_out),
        **sizes,
        "seconds": time.perf_counter() - begin,
        "file": str(path),
    }
    params = {"0": {"delta": coefficients.reshape(sweep.shape) * target.step}}
    if current().team.leads:
        write_params(path, params, attributes=io.provenance(result=result, flow=assembly.flow_form(run)))
    return result


def measure(run: RunFile, target: Target, progress: Progress) -> Measurements:
    """Everything that the derivative needs on the source configurations."""
    from gaugeflow import io
    from gaugeflow.cli import assembly
    from gaugeflow.cli.derive import MEASUREMENTS, read_flow
    from gaugeflow.cli.pieces import sections, shared
    from gaugeflow.cli.source import find_source
    from gaugeflow.ensembles import along_quarks
    from gaugeflow.io.params import fingerprint

    lattice, batch = _lattice(run)
    params = read_flow(run, target)
    described = io.provenance(
        parameters={
            **sections(run, "lattice", "group", "source", "fermions", "flow", "observables"),
            "vectors": run.target.vectors if run.target is not None else 0,
            "trained": {target.name: fingerprint(params)},
        }
    )
    coefficients = params["0"]["delta"] / target.step
    sweep = assembly.make_sweep(run, lattice)
    function = along_quarks(sweep, coefficients, _source(run, lattice), _observables(run, lattice))
    work = _work(function, assembly.noise_of(run, "kappa", "derive"), batch)
    return shared(run, MEASUREMENTS, find_source(run), lattice, max(_PIECE, batch), described, work, progress)


def _work(
    function: Callable[[Any, Any], Mapping[str, Any]], rng: Any, batch: int
) -> Callable[[Ensemble, Callable[[int], None]], Measurements]:
    from gaugeflow.ensembles import measure_with_noise

    def work(ensemble: Ensemble, show: Callable[[int], None]) -> Measurements:
        return measure_with_noise(ensemble, function, rng, batch, progress=show)

    return work


def independent(run: RunFile, targets: list[Target], progress: Progress) -> dict[Target, Measurements]:
    """Observables on the ensembles at the targets, where [target] files names them."""
    from dataclasses import replace

    from gaugeflow import io
    from gaugeflow.cli import assembly
    from gaugeflow.cli.pieces import sections, shared
    from gaugeflow.cli.source import find_files
    from gaugeflow.runfile import TargetSection

    lattice, batch = _lattice(run)
    source, observables = _source(run, lattice), _observables(run, lattice)
    found = {}
    for target, pattern in zip(targets, run.require(TargetSection).files, strict=False):
        operator = replace(source.operator, kappa=target.value)

        def function(rng: Any, x: Any, operator: Any = operator) -> Mapping[str, Any]:
            return observables(rng, operator.with_links(x))

        work = _work(function, assembly.noise_of(run, "kappa", target.name), batch)
        given = find_files(run, pattern, "[target] files", {target.parameter: target.value})
        described = io.provenance(parameters=sections(run, "lattice", "group", "fermions", "observables"))
        name = f"measurements-{target.name}.h5"
        found[target] = shared(run, name, given, lattice, max(_PIECE, batch), described, work, progress)
    return found


def weights(run: RunFile, targets: list[Target], data: Measurements) -> list[dict[str, Any]]:
    """ESS of every step to first order: of Gaussian log-weights of the variance without noise."""
    from gaugeflow.lattice import Lattice
    from gaugeflow.systems.quark_mass_report import variances

    rows = []
    for target in targets:
        found = variances(data, Lattice(run.lattice.shape), target.step)
        for kind in ("plain", "flow"):
            size, error = found[f"linear_ess_{kind}"], found[f"linear_ess_{kind}_error"]
            rows.append({"target": target.name, "map": f"{kind}, first order", "ess": size, "error": error})
    return rows
