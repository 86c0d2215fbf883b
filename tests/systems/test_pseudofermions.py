"""Joint samplers of links and pseudofermions: exact values on 2 x 2, factors, fits, and the demo at a small size."""

import json

import numpy as np
import pytest

from cases.fields import ordered
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import reweighted_mean
from gaugeflow.determinants import log_det
from gaugeflow.kernels import fermion_dot
from gaugeflow.lattice import Lattice
from gaugeflow.observables import plaquette
from gaugeflow.operators import Staggered, Wilson, even_odd, gaussian
from gaugeflow.priors import Haar
from gaugeflow.random import Rng
from gaugeflow.solvers import cg
from gaugeflow.systems import joint, pseudofermions
from gaugeflow.systems.loop_correction import fit_potential

FACTORS = {
    "none": lambda d: joint.plain(d, 3),
    "even-odd": lambda d: joint.hasenbusch(d, 3, 1),
    "Hasenbusch 2": lambda d: joint.hasenbusch(d, 3, 3),
}


@pytest.mark.parametrize("name", FACTORS)
def test_schwinger_model_on_two_by_two(name):
    """beta = 2, kappa = 0.2, Taylor series: Z / Z(0) 2.0276272814 and plaquette 0.7961006269 within 4 sigma, seed 3.

    The exact values are quadratures over all links; weights are joint ones, without any determinant of D.
    """
    lattice, batch = Lattice((2, 2)), 60000
    x = Haar(lattice, 1).sample(Rng(3), batch)
    own = -WilsonAction(lattice, 2.0).value(x)
    operator = Wilson(lattice=lattice, kappa=0.2)
    walks = joint.count_walks(operator, 3, x)
    total = own
    for i, factor in enumerate(FACTORS[name](operator)):
        total = total + factor.draw(Rng(5).stream(i), factor.flow.init(), x, walks)[1]
    ratio = reweighted_mean(np.exp(total - own), own)
    found = reweighted_mean(plaquette(lattice, x), total)
    assert abs(ratio.value - 2.0276272814) < 4.0 * ratio.error
    assert ratio.error < 0.12
    assert abs(found.value - 0.7961006269) < 4.0 * found.error
    assert found.error < 0.012


@pytest.mark.parametrize("name", FACTORS)
def test_factors_multiply_to_the_determinant(name):
    """Exact factors; shared walks are the traces that each flow counts by itself; S of the heat bath is |eta|^2."""
    operator = Wilson(lattice=Lattice((4, 4)), kappa=0.22)
    x = Haar(operator.lattice, 1).sample(Rng(4), 3)
    factors = FACTORS[name](operator)
    total = sum(factor.exact(x) for factor in factors)
    np.testing.assert_allclose(total, 2.0 * log_det(operator.with_links(x)).log_abs, atol=1e-10)
    walks = joint.count_walks(operator, 5, x)
    for factor in factors:
        np.testing.assert_allclose(factor.traces(walks), factor.flow.traces(x), atol=1e-10)
        light = factor.flow.matrix(x)
        eta = gaussian(Rng(6), light)
        phi = light.adjoint(eta)
        if factor.heavy is not None:
            heavy = even_odd(factor.heavy.with_links(x))
            phi = heavy.apply(cg(heavy, phi, tolerance=1e-12).x)
        np.testing.assert_allclose(factor.action(x, phi), fermion_dot(operator.lattice, eta, eta).real, rtol=1e-9)


def test_fit_beats_the_taylor_series():
    """8 x 4 at kappa = 0.24, order 2: the variance of log-weights at fixed links falls by a third or more."""
    operator = Wilson(lattice=Lattice((8, 4)), kappa=0.24)
    x = ordered(operator.lattice, 1, 64)
    (factor,) = joint.hasenbusch(operator, 2, 1)
    walks, exact = joint.count_walks(operator, 2, x), factor.exact(x)
    params = factor.fit(Rng(8), x, np.ones(64), walks)
    variances = [np.mean((factor.draw(Rng(9), p, x, walks)[1] - exact) ** 2) for p in (factor.flow.init(), params)]
    assert variances[1] < 0.67 * variances[0]


def test_wrong_operator_is_named():
    with pytest.raises(ValueError, match="expected a Wilson operator in the kappa form, got Staggered"):
        joint.hasenbusch(Staggered(lattice=Lattice((4, 4)), mass=0.1), 2, 2)


def test_potential_of_gaussian_variables():
    """Weights exp(0.8 a) on normal a, b: the best potential is 0.8 a, and nothing is left."""
    values = np.random.default_rng(3).normal(size=(2, 20000))
    c = fit_potential(values, 0.8 * values[0], ridge=0.0)
    np.testing.assert_allclose(c, [0.8, 0.0], atol=1e-6)


def test_demo(tmp_path):
    """4 x 4 at kappa = 0.24, fitted on the spot: joint samplers agree with HMC within 4 sigma (seed 2), H 1 beats even-odd."""
    case = pseudofermions.Case(1, 4, 2.0, 0.24, 2.2, 1)
    settings = pseudofermions.Settings(
        cases=(case,),
        models=(("even-odd", 2), ("Hasenbusch 1", 2)),
        batch=128,
        fit_blocks=2,
        sample_blocks=8,
        chains=16,
        trajectories=60,
        burn_in=20,
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
    before = (tmp_path / f"pseudofermions-{case.name}.h5").stat().st_mtime_ns
    again = pseudofermions.run(out=tmp_path, seed=2, settings=settings)
    assert (tmp_path / f"pseudofermions-{case.name}.h5").stat().st_mtime_ns == before
    assert again.json[0]["models"] == result["models"]
