"""Joint samplers of links and pseudofermions: exact values on 2 x 2, factors, fits, and the demo at a small size."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cases.fields import ordered
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import reweighted_mean
from gaugeflow.check.operators import matrix
from gaugeflow.determinants import log_det
from gaugeflow.lattice import Lattice
from gaugeflow.observables import plaquette
from gaugeflow.operators import Wilson, gaussian
from gaugeflow.priors import Haar
from gaugeflow.random import Rng
from gaugeflow.systems import joint, pseudofermions
from gaugeflow.systems.loop_correction import fit_potential
from gaugeflow.systems.report import silent

FACTORS = {
    "none": lambda d: joint.factors(d, 6, 1, preconditioned=False),
    "even-odd": lambda d: joint.factors(d, 3, 1),
    "Hasenbusch 2": lambda d: joint.factors(d, 3, 3),
}


EXACT = {0.2: (2.0276272814, 0.7961006269), 0.276: (6.7667649335, 0.8127516480)}
"""Z / Z(kappa = 0) and plaquette on 2 x 2 at beta = 2: quadratures over all links."""


@pytest.mark.parametrize(("name", "kappa"), [*((name, 0.2) for name in FACTORS), ("Hasenbusch 2", 0.276)])
def test_schwinger_model_on_two_by_two(name, kappa):
    """Exact values within 4 sigma, seed 3, by joint weights: without any determinant of D."""
    lattice, batch = Lattice((2, 2)), 60000
    x = Haar(lattice, 1).sample(Rng(3), batch)
    own = -WilsonAction(lattice, 2.0).value(x)
    operator = Wilson(lattice=lattice, kappa=kappa)
    # fields of all kinds are met here: |K| <= 16 kappa^2 bounds eigenvalues of M^dagger M by 4.93 at 0.276
    chosen = [replace(factor, flow=replace(factor.flow, scale=2.5)) for factor in FACTORS[name](operator)]
    spectrum, traces, total = joint.eigenvalues(chosen[0].flow, x[..., :64]), chosen[0].flow.traces(x), own
    for i, factor in enumerate(chosen):
        params = factor.fit(spectrum, np.ones(64))
        total = total + factor.draw(Rng(5).stream(i), params, x, traces)[1]
    ratio = reweighted_mean(np.exp(total - own), own)
    found = reweighted_mean(plaquette(lattice, x), total)
    assert abs(ratio.value - EXACT[kappa][0]) < 4.0 * ratio.error
    assert ratio.error < 0.06 * ratio.value
    assert abs(found.value - EXACT[kappa][1]) < 4.0 * found.error
    assert found.error < 0.012


@pytest.mark.parametrize("name", FACTORS)
def test_factors_multiply_to_the_determinant(name):
    """And S, by solutions of linear systems, is what dense matrices say."""
    operator = Wilson(lattice=Lattice((4, 4)), kappa=0.22)
    x = Haar(operator.lattice, 1).sample(Rng(4), 3)
    chosen = FACTORS[name](operator)
    flow = chosen[0].flow
    spectrum = joint.eigenvalues(flow, x)
    total = sum(np.sum(factor.log_values(spectrum), axis=1) for factor in chosen)
    np.testing.assert_allclose(total, 2.0 * log_det(operator.with_links(x)).log_abs, atol=1e-10)
    m = flow.matrix(x)
    phi = gaussian(Rng(6), m)
    for factor in chosen:
        found = factor.action(x, phi)
        for c in range(3):
            values, vectors = np.linalg.eigh(matrix(m, c).conj().T @ matrix(m, c))
            parts = np.abs(vectors.conj().T @ phi[..., c].reshape(-1)) ** 2
            assert found[c] == pytest.approx(np.sum(parts * np.exp(-factor.log_values(values))), rel=1e-11)


def test_fit_beats_the_taylor_series():
    """8 x 4 at kappa = 0.24, order 3: the variance of log-weights at fixed links is what the spectrum says, and lower."""
    operator = Wilson(lattice=Lattice((8, 4)), kappa=0.24)
    x = ordered(operator.lattice, 1, 256)
    (factor,) = joint.factors(operator, 3, 1)
    spectrum = joint.eigenvalues(factor.flow, x)
    traces, exact = factor.flow.traces(x), np.sum(factor.log_values(spectrum), axis=1)
    params = factor.fit(spectrum, np.ones(256))
    variances = []
    for p in (factor.flow.init(), params):
        series = np.polynomial.chebyshev.chebval(1.0 - spectrum / factor.flow.scale, p["c"])
        error = 2.0 * series - factor.log_values(spectrum)
        excess = np.expm1(error)
        expected = np.mean(np.sum(excess**2, axis=1) + np.sum(error - excess, axis=1) ** 2)
        found = np.mean((factor.draw(Rng(9), p, x, traces)[1] - exact) ** 2)
        assert found == pytest.approx(expected, rel=0.3)
        variances.append(found)
    assert variances[1] < 0.5 * variances[0]


def test_wrong_number_of_factors_is_named():
    with pytest.raises(ValueError, match=r"count: expected one of \[1, 2, 3, 4\], got 5"):
        joint.factors(Wilson(lattice=Lattice((4, 4)), kappa=0.1), 2, 5)


def test_potential_of_gaussian_variables():
    """Weights exp(0.8 a) on normal a, b: the best potential is 0.8 a, and nothing is left."""
    values = np.random.default_rng(3).normal(size=(2, 20000))
    c = fit_potential(values, 0.8 * values[0], ridge=0.0)
    np.testing.assert_allclose(c, [0.8, 0.0], atol=1e-6)


def test_demo(tmp_path):
    """4 x 4 at kappa = 0.24, fitted on the spot: joint samplers agree with HMC within 4 sigma (seed 2), H 1 beats even-odd.

    A run that is stopped while it samples, and then in its HMC, ends with the same numbers.
    """
    case = pseudofermions.Case(1, 4, 2.0, 0.24, 2.2, 1)
    settings = pseudofermions.Settings(
        cases=(case,),
        models=(("even-odd", 2), ("Hasenbusch 1", 2)),
        batch=128,
        fit_blocks=2,
        sample_blocks=8,
        chains=16,
        trajectories=36,
        burn_in=12,
    )
    report = pseudofermions.run(out=tmp_path, seed=2, settings=settings)
    (result,) = report.json
    json.dumps(result)
    rows = {row["name"]: row for row in result["models"]}
    assert rows["marginal"]["ess"] > 0.6
    assert rows["Hasenbusch 1, order 2"]["conditional_variance"] < rows["even-odd, order 2"]["conditional_variance"]
    for row in rows.values():
        assert abs(row["plaquette_pull"]) < 4.0
        assert abs(row["Q^2_pull"]) < 4.0
    assert (tmp_path / "ess.png").stat().st_size > 1000

    stopped = tmp_path / "stopped"
    stopped.mkdir()
    shutil.copy(tmp_path / f"pseudofermions-{case.name}.h5", stopped)
    fitted = (stopped / f"pseudofermions-{case.name}.h5").stat().st_mtime_ns
    for stage, at in (("sampling", 3), ("HMC", 25)):

        def stop(name, done, total, stage=stage, at=at):
            if name.endswith(stage) and done == at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pseudofermions.run(out=stopped, seed=2, settings=settings, progress=stop)
    first = (stopped / f"samples-{case.name}-0.h5").stat().st_mtime_ns
    again = pseudofermions.run(out=stopped, seed=2, settings=settings)
    assert again.json == report.json
    assert (stopped / f"pseudofermions-{case.name}.h5").stat().st_mtime_ns == fitted
    assert (stopped / f"samples-{case.name}-0.h5").stat().st_mtime_ns == first
    other = pseudofermions._learned(case, settings, 3, tmp_path, silent)
    assert np.any(
        other["correction"]["c"] != pseudofermions._learned(case, settings, 2, tmp_path, silent)["correction"]["c"]
    )


def test_installed_parameters_are_complete():
    settings = pseudofermions.Settings()
    for case in settings.cases:
        params = pseudofermions.shipped(case)
        assert params["correction"]["c"].shape == pseudofermions.correction(case).shape
        for preconditioner, order in settings.models:
            chosen = pseudofermions.model(case, preconditioner, order)
            found = params[pseudofermions.model_name(preconditioner, order)]
            assert {key: value["c"].shape for key, value in found.items()} == {
                str(i): (factor.flow.order + 1,) for i, factor in enumerate(chosen)
            }
