"""Derivatives with respect to kappa by noise: against exact determinants on the same links."""

import numpy as np
import pytest

from gaugeflow.actions import WilsonAction
from gaugeflow.backend import use_backend
from gaugeflow.determinants import log_det_derivative
from gaugeflow.ensembles import (
    MemoryEnsemble,
    Observables,
    QuarkSource,
    SmearedForces,
    along_quarks,
    estimators,
    measure_with_noise,
    quark_tangents,
)
from gaugeflow.flows import SmearedSweep, Smearing
from gaugeflow.groups import SU
from gaugeflow.hadrons import chiral_condensate
from gaugeflow.lattice import Lattice
from gaugeflow.observables import plaquette
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng, Streams, haar_links

LATTICE = Lattice((4, 6))
GAUGE = WilsonAction(LATTICE, 1.5)
OPERATOR = Wilson(lattice=LATTICE, kappa=0.2)
FLOW = SmearedSweep(LATTICE, 1, Smearing.with_gradients((1,)))
COEFFICIENTS = np.asarray([[0.3], [0.1], [-0.4], [0.5]])


def _condensate(rng, operator):
    trace = log_det_derivative(operator, lambda d: lambda psi: psi).derivative.real
    return {"condensate": chiral_condensate(operator, trace)}


OBSERVABLES = Observables(lambda x: {"plaquette": plaquette(LATTICE, x)}, _condensate)


def _measure(vectors):
    return along_quarks(FLOW, COEFFICIENTS, QuarkSource(GAUGE, OPERATOR, 2, vectors), OBSERVABLES)


def _columns(vectors):
    x = haar_links(Rng(2), LATTICE, 1, 3)
    return _measure(vectors)(Rng(5), x), x


@pytest.fixture(autouse=True)
def _reference():
    with use_backend("reference"):
        yield


def test_noise_has_the_exact_mean():
    """O and the residual by noise, averaged over 48 streams, within four errors of the exact ones; groups are independent."""
    count = 48
    exact, x = _columns(0)
    streams = Streams.of(Rng(5), np.repeat(np.arange(count), 3), [0] * 3 * count)
    noisy = {k: v.reshape(count, 3) for k, v in _measure(2)(streams, np.tile(x, count)).items()}
    for name in ("linear|operator", "linear|residual"):
        values = noisy[name]
        error = values.std(axis=0, ddof=1) / np.sqrt(count)
        assert np.all(np.abs(values.mean(axis=0) - exact[name]) < 4 * error), name
        assert np.all(error < 0.2 * np.abs(exact[name]).max()), name
        groups = [noisy[f"noise|{name.removeprefix('linear|')} {k}"] for k in range(2)]
        np.testing.assert_allclose(np.mean(groups, axis=0), values)
        a, b = (g - exact[name] for g in groups)
        correlation = np.sum(a * b, axis=0) / np.sqrt(np.sum(a**2, axis=0) * np.sum(b**2, axis=0))
        assert np.all(np.abs(correlation) < 4 / np.sqrt(count))


def test_derivatives_along_the_flow_and_of_kappa():
    """A quark observable changes with the links along X and with kappa, each by itself against differences."""
    row, x = _columns(0)
    step = 1e-3

    def value(links, kappa):
        return _condensate(None, Wilson(lattice=LATTICE, links=links, kappa=kappa))["condensate"]

    explicit = (value(x, 0.2 + step) - value(x, 0.2 - step)) / (2 * step)
    np.testing.assert_allclose(row["explicit|condensate"], explicit, rtol=1e-4)
    ends = [FLOW.forward({"delta": s * COEFFICIENTS}, x)[0] for s in (step, -step)]
    along = (value(ends[0], 0.2 + step) - value(ends[1], 0.2 - step)) / (2 * step)
    np.testing.assert_allclose(row["linear|condensate"], along, rtol=1e-3, atol=1e-3)
    assert "explicit|plaquette" not in row


def test_tangents_make_the_residual():
    """The linear combination of the tangents of the fit, minus O, is the residual."""
    row, x = _columns(0)
    h, operator = quark_tangents(FLOW, QuarkSource(GAUGE, OPERATOR, 2, 0), Rng(1), x)
    assert h.shape == (1, 4, 3)
    np.testing.assert_allclose(COEFFICIENTS.ravel() @ h[0] - operator[0], row["linear|residual"], atol=1e-10)
    noisy, again = (quark_tangents(FLOW, QuarkSource(GAUGE, OPERATOR, 2, 1), Rng(1), x) for _ in range(2))
    assert noisy[0].shape == (2, 4, 3)
    np.testing.assert_array_equal(noisy[0], again[0])


def test_forces_without_masks():
    """Fields of all links: F_0, whose divergence has no noise, exactly; others by noise of the configuration alone."""
    source = QuarkSource(GAUGE, OPERATOR, 2, 0)
    fields = SmearedForces(LATTICE, (0,), ())
    x = haar_links(Rng(2), LATTICE, 1, 3)
    row = along_quarks(fields, np.asarray([[0.3]]), source, OBSERVABLES)(Rng(5), x)
    (found,) = source.estimates(Rng(5), x)
    vector = fields.vector([[0.3]], x)
    expected = 0.3 * fields.divergences(Rng(1), x)[0, 0] - SU(LATTICE).inner(vector, found.force) - found.operator
    np.testing.assert_allclose(row["linear|residual"], expected, rtol=1e-10)
    noisy = SmearedForces(LATTICE, (0, 1), (1,))
    streams = Streams.of(Rng(5), [0, 0, 1], [3, 4, 3])
    h, _ = quark_tangents(noisy, QuarkSource(GAUGE, OPERATOR, 2, 1), streams, x)
    assert h.shape == (2, 3, 3)
    assert np.all(np.ptp(h, axis=0)[1:] > 1e-6)
    alone, _ = quark_tangents(noisy, QuarkSource(GAUGE, OPERATOR, 2, 1), Streams(streams[2:]), x[..., 2:])
    np.testing.assert_allclose(alone[..., 0], h[..., 2], rtol=1e-6)


def test_estimators_know_the_explicit_derivative():
    """Epsilon-reweighting of a quark observable has dA/dkappa at fixed links; that of the plaquette has none."""
    blocks = tuple(haar_links(Rng(k), LATTICE, 1, 2) for k in range(6))
    data = measure_with_noise(MemoryEnsemble(LATTICE, blocks), _measure(0), Rng(3), 2)
    columns = data.columns()
    a, o = columns["condensate"], columns["linear|operator"]
    connected = -np.mean((a - a.mean()) * (o - o.mean()))
    found = estimators(data, "condensate", 0.01)
    np.testing.assert_allclose(found["epsilon-reweighting"].mean, columns["explicit|condensate"].mean() + connected)
    a = columns["plaquette"]
    found = estimators(data, "plaquette", 0.01)
    np.testing.assert_allclose(found["epsilon-reweighting"].mean, -np.mean((a - a.mean()) * (o - o.mean())))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="kappa form"):
        QuarkSource(GAUGE, Wilson(lattice=LATTICE, mass=0.1))
    with pytest.raises(ValueError, match="vectors must be 0"):
        QuarkSource(GAUGE, OPERATOR, 2, -1)
