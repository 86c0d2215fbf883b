"""Measurements along several fields against the linearised flow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from gaugeflow.actions import WilsonAction
from gaugeflow.ensembles import along_fields, along_flow
from gaugeflow.flows import SmearedSweep, Smearing
from gaugeflow.lattice import Lattice
from gaugeflow.observables import flow_history, plaquette
from gaugeflow.random import Rng, haar_links

LATTICE = Lattice((4, 4, 4, 4))


def observables(x: np.ndarray) -> Mapping[str, np.ndarray]:
    return {"plaquette": plaquette(LATTICE, x), "t2_e": flow_history(LATTICE, x, (0.2,), step=0.1).t2_e[0]}


def test_fields_sum_to_the_linearised_flow():
    x = haar_links(Rng(3), LATTICE, 3, 8)
    action = WilsonAction(LATTICE, 5.7)
    sweep = SmearedSweep(LATTICE, smearing=Smearing.with_gradients((1, 2)))
    weights = {"A": -0.04, "G1": -0.1, "G2": -0.2}
    total, fields = sweep.init()["delta"], {}
    for name, weight in weights.items():
        delta = sweep.init()["delta"]
        delta[sweep.fields.index(name), 0] = 1.0
        fields[name] = (sweep, delta)
        total = total + weight * delta
    row = along_fields(fields, action, action.d_beta, observables)(x)
    expected = along_flow(sweep, total, action, action.d_beta, observables)(x)
    for name in ("plaquette", "t2_e"):
        np.testing.assert_allclose(row[name], observables(x)[name], rtol=1e-14)
        found = sum(weight * row[f"{field}|{name}"] for field, weight in weights.items())
        np.testing.assert_allclose(found, expected[f"linear|{name}"], rtol=3e-6)
    residual = sum(weight * row[f"{field}|h"] for field, weight in weights.items()) - row["operator"]
    np.testing.assert_allclose(residual, expected["linear|residual"], rtol=1e-10)


def test_single_precision_is_refused():
    x = haar_links(Rng(3), LATTICE, 3, 2).astype(np.complex64)
    action = WilsonAction(LATTICE, 5.7)
    with pytest.raises(ValueError, match="expected links in double precision"):
        along_fields({}, action, action.d_beta, observables)(x)
