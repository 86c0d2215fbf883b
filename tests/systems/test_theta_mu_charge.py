"""Theta, chemical potentials and charges in two dimensions: operators, sampling, fields, and the demo at a small size."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gaugeflow.analysis import Series, gamma_method
from gaugeflow.check.differences import differentiate
from gaugeflow.determinants import log_det
from gaugeflow.ensembles import EPSILON, INDEPENDENT, LINEAR, response
from gaugeflow.flows import SectorFields
from gaugeflow.priors import Photon
from gaugeflow.random import Rng, haar_links
from gaugeflow.systems import exact_u1, theta_mu_charge
from gaugeflow.systems.correlated import Clock
from gaugeflow.systems.parameter_theories import ELECTRIC, ISOSPIN, Change, Theory
from gaugeflow.systems.schwinger_slices import Angles, links_of
from gaugeflow.systems.schwinger_slices import log_det as slices
from gaugeflow.systems.theta_mu_charge import Case, Settings

QUARKS = Theory((4, 4), 2.0, 0.25)


def test_weights_and_operators():
    """Weights at changed parameters by slices equal dense determinants; operators are their derivatives, configuration by
    configuration."""
    x = haar_links(Rng(1), QUARKS.lattice, 1, 4, xp=np)
    photon = Photon(QUARKS.lattice).sample(Rng(2), 4)
    plain = QUARKS.log_weight(x, None, Change())
    for charges, change, options in (
        (ISOSPIN, Change(isospin=0.2), {"charge": 0.2}),
        (ELECTRIC, Change(charge=0.7), {"charge": 0.7, "potential": photon}),
    ):
        found = QUARKS.log_weight(x, photon, change) - plain
        expected = -2.0 * log_det(QUARKS.quark.with_links(x)).log_abs
        for q in charges:
            scaled = {"charge": q * options["charge"], "potential": options.get("potential", QUARKS.quark.potential)}
            quark = type(QUARKS.quark)(lattice=QUARKS.lattice, kappa=QUARKS.kappa, **scaled)
            expected = expected + log_det(quark.with_links(x)).log_abs
        np.testing.assert_allclose(found, expected, atol=1e-10)

    def first(change):
        return differentiate(lambda e: (QUARKS.log_weight(x, photon, change(e)),))[0]

    def second(change):
        return differentiate(lambda e: (differentiate(lambda f: (QUARKS.log_weight(x, photon, change(e + f)),))[0],))[0]

    np.testing.assert_allclose(first(lambda e: Change(isospin=e)), 0.0, atol=1e-9)
    np.testing.assert_allclose(second(lambda e: Change(isospin=e)), -QUARKS.isospin(x), rtol=1e-7, atol=1e-7)
    slope, curvature = (part(lambda e: Change(charge=e)) for part in (first, second))
    np.testing.assert_allclose(QUARKS.electric(x, (photon,)), -0.5 * (curvature + slope**2), rtol=1e-7, atol=1e-7)


def test_the_turn_of_temporal_links_follows_the_quark_number():
    """Turning all temporal links is an imaginary chemical potential of both flavours: no noise is left."""
    x = haar_links(Rng(3), QUARKS.lattice, 1, 8, xp=np)
    tangent = SectorFields(QUARKS.lattice, (), (0,), odd=True).tangent(x, QUARKS.action.grad(x))
    np.testing.assert_allclose(tangent[0], -QUARKS.quark_number(x) / QUARKS.shape[0], atol=1e-9)
    assert np.std(QUARKS.quark_number(x)) > 0.1


@pytest.mark.parametrize("theory", [Theory((4, 4), 1.5), QUARKS])
def test_sampling(theory):
    """Means of tangents vanish, and so does that of the charge, at theta = 0; 4 sigma, seed 5."""
    flow = SectorFields(theory.lattice, (1, 2), (1,))
    tangents, charges = [], []
    for x in theory.sample(Rng(5), 64, 60, 6):
        tangents.append(flow.tangent(x, theory.action.grad(x)))
        charges.append(theory.charge(x))
    assert len(charges) == 60
    for values in (*np.moveaxis(np.array(tangents), 1, 0), np.array(charges)):
        found = gamma_method(Series.from_lanes(values))
        assert abs(found.value) < 4.0 * found.error
    if not theory.kappa:
        found = gamma_method(Series.from_lanes(np.array(charges) ** 2))
        assert abs(found.value - exact_u1.charge_squared(1.5, 16)) < 4.0 * found.error


def test_curvature_in_the_isospin_potential_on_2_x_2():
    """Sampled with and without fields, 4 sigma, seed 7, against an integral over gauge-invariant angles: one link along space
    is 0 by a gauge transformation, and sums over 8 points of each of the other angles converge exponentially."""
    theory = Theory((2, 2), 1.0, 0.25)
    grid = np.stack(np.meshgrid(*[2 * np.pi * np.arange(8) / 8] * 5), axis=-1).reshape(-1, 5)
    space = np.concatenate([np.zeros((len(grid), 1)), grid[:, :3]], axis=1).reshape(-1, 2, 2)
    angles = Angles(space, grid[:, 3:] + np.pi)
    x = links_of(theory.lattice, angles)
    weight = np.exp(np.cos(angles.plaquettes()).sum(axis=(1, 2)) + 2.0 * slices(0.25, angles)[0])
    weight = weight / weight.sum()
    case = Case(theory, "isospin", 40, 6)
    source = theta_mu_charge._source(case, replace(SETTINGS, chains=64), Rng(7), Clock())
    operator = theory.isospin(x)
    for name in ("plaquette", "Re L"):
        values = theta_mu_charge.OBSERVABLES[name](theory.lattice, x)
        exact = -(weight * values * operator).sum() + (weight * values).sum() * (weight * operator).sum()
        for series in response(source, name, "isospin").values():
            found = gamma_method(series)
            assert abs(found.value - exact) < 4.0 * found.error
            assert found.error < 0.3 * abs(exact)


SETTINGS = Settings(
    cases=(
        Case(Theory((6, 6), 2.0), "theta", 40),
        Case(Theory((4, 4), 2.0), "theta, odd", 40),
        Case(QUARKS, "isospin", 8, 6),
        Case(QUARKS, "quark number", 6, 6),
        Case(QUARKS, "electric charge", 6, 6),
    ),
    chains=32,
    training=6,
    photons=1,
)


def test_demonstration(tmp_path, monkeypatch):
    """Exact values and estimators that agree within 4 sigma, seed 6; a run that was broken off gives the same numbers."""
    report = theta_mu_charge.run(out=tmp_path / "whole", seed=6, settings=SETTINGS)
    json.dumps(report.json)
    assert [picture.exists() for picture in report.figures] == [True]
    for row in report.json:
        found = row["estimates"]
        for label in (EPSILON, LINEAR, INDEPENDENT):
            if row["exact"] is not None and label != INDEPENDENT:
                assert abs(found[label]["pull"]) < 4.0
        difference = found[LINEAR]["value"] - found[EPSILON]["value"]
        assert abs(difference) < 4.0 * np.hypot(found[LINEAR]["error"], found[EPSILON]["error"])
    by_name = {(row["parameter"], row["observable"]): row for row in report.json}
    assert by_name["theta", "plaquette"]["variance_left"] < 0.1
    assert by_name["theta", "plaquette"]["gains"][EPSILON]["equal_statistics"] > 1.3
    assert by_name["quark number", "Im L"]["variance_left"] < 1e-12

    complete = theta_mu_charge._direct

    def breaks(case, *rest):
        if case.parameter == "isospin":
            raise KeyboardInterrupt
        return complete(case, *rest)

    monkeypatch.setattr(theta_mu_charge, "_direct", breaks)
    some = replace(SETTINGS, cases=SETTINGS.cases[1:3])
    with pytest.raises(KeyboardInterrupt):
        theta_mu_charge.run(out=tmp_path / "broken", seed=6, settings=some)
    monkeypatch.setattr(theta_mu_charge, "_direct", complete)
    monkeypatch.setattr(theta_mu_charge, "_source", lambda *_: pytest.fail("this is in a file already"))
    again = theta_mu_charge.run(out=tmp_path / "broken", seed=6, settings=some)
    expected = [row["estimates"] for row in report.json if row["parameter"] in ("theta, odd", "isospin")]
    assert [row["estimates"] for row in again.json] == expected
    assert [path.name for path in (tmp_path / "broken").iterdir() if path.is_dir()] == []
