"""Gradients of smeared plaquettes as fields of sources: divergences, vectors, and correlators that are known."""

import array_api_strict
import numpy as np
import pytest

from cases.fields import links
from cases.signs import Patterns
from gaugeflow import kernels
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import (
    Series,
    fit_sources,
    gamma_method,
    improved,
    reflected,
    residual_share,
    two_point_function,
)
from gaugeflow.backend import use_backend
from gaugeflow.check.differences import differentiate, repeated
from gaugeflow.ensembles import GradientSources, first_contact, second_contact
from gaugeflow.groups import SU
from gaugeflow.kernels.sums import sum_slices
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath

SIGMAS = 4.0
TENSOR = (1.0, -1.0)


@pytest.fixture(autouse=True)
def reference():
    """Lattices of a few sites: whole arrays are faster than compilation."""
    with use_backend("reference"):
        yield


class Patterned(Patterns, GradientSources):
    """Fields with signs of a pattern."""


def units(fields):
    """Coefficients of every single field."""
    return np.eye(len(fields.names))[:, :, None]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_divergence_against_differences(n):
    """The mean over all signs is the trace of the Jacobian, slice by slice."""
    lattice = Lattice((2, 2))
    group, x = SU(lattice), links(lattice, n, 1, 7)
    dimension = group.dimension(x)
    many = repeated(group, x, dimension)
    moves = group.tangent(many, np.eye(dimension))
    total = 0.0
    for pattern in (0, 1):
        fields = Patterned(lattice, (0.05, 0.08), (0, 1, 2))
        object.__setattr__(fields, "pattern", pattern)
        total = total + 0.5 * fields.tangents(Rng(1), x, 0.0 * x)[..., 0]
    for i, one in enumerate(units(fields)):
        for t in range(2):
            (slope,) = differentiate(lambda e, one=one, t=t: (fields.sources(group.retract(many, moves, e))(one)(t),))
            assert total[i, t] == pytest.approx(np.trace(group.coordinates(slope)), rel=1e-7), fields.names[i]


@pytest.mark.parametrize("n", [1, 3])
def test_vectors_are_gradients(n):
    """X_t.f is the change of the plaquettes of slice t, for scalar and spin-2 fields, and what tangents take off."""
    lattice = Lattice((4, 2, 2))
    group, x = SU(lattice), links(lattice, n, 2, 3)
    fields = GradientSources(lattice, (0.05, 0.04, 0.08), (0, 1, 3), (None, TENSOR))
    force = group.tangent(x, np.random.default_rng(2).normal(size=(group.dimension(x), 2)))
    found = fields.tangents(Rng(1), x, force) - fields.tangents(Rng(1), x, 0.0 * x)
    weights = {"temporal": (1.0, 1.0, 0.0), "spatial": (0.0, 0.0, 1.0)}
    polarised = {"temporal": (1.0, -1.0, 0.0), "spatial": (0.0, 0.0, 0.0)}

    def plaquettes(level, planes):
        def value(e):
            v = group.retract(x, force, e)
            for eta in fields.eta[:level]:
                v, _ = kernels.smear_step(lattice, v, eta, -1.0)
            return (np.tensordot(planes, sum_slices(lattice, kernels.plaquette_traces(lattice, v)), axes=1),)

        return value

    for i, (name, one) in enumerate(zip(fields.names, units(fields), strict=True)):
        level, kind = int(name[1]), name.split(" ")[1]
        (slopes,) = differentiate(plaquettes(level, (polarised if "(" in name else weights)[kind]))
        source = fields.sources(x)(one)
        for t in range(4):
            inner = group.inner(source(t), force)
            np.testing.assert_allclose(found[i, t], -inner, rtol=1e-8, atol=1e-8)
            np.testing.assert_allclose(inner, slopes[t], rtol=1e-7, atol=1e-7)


def test_sums_over_coefficients_and_distances():
    """X_t of many coefficients is the sum of its parts, each a field of one slice."""
    lattice = Lattice((4, 2, 2))
    x = links(lattice, 2, 2, 3)
    fields = GradientSources(lattice, (0.05,), (0, 1))
    c = np.random.default_rng(1).normal(size=(len(fields.names), 3))
    prepared = fields.sources(x)
    expected = 0.0
    for (i, tau), number in np.ndenumerate(c):
        expected = expected + number * prepared(units(fields)[i])((1 + tau - 1) % 4)
    np.testing.assert_allclose(prepared(c)(1), expected, atol=1e-12)


def test_folds_and_translations_change_nothing():
    whole, folded = Lattice((4, 4, 2)), Lattice((4, 4, 2), (1, 2, 1))
    found = []
    for lattice in (whole, folded):
        x = links(lattice, 2, 2, 5)
        fields = GradientSources(lattice, (0.05, 0.05), (0, 2), (None, TENSOR))
        found.append(fields.tangents(Rng(4), x, WilsonAction(lattice, 2.0).grad(x)))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)
    x = links(whole, 2, 2, 5)
    moved = whole.pack(np.roll(whole.unpack(x, components=1), 1, axis=2), components=1)
    fields = GradientSources(whole, (0.05, 0.05), (0, 2))
    one = np.ones((len(fields.names), 1))
    here, there = fields.sources(x)(one)(1), fields.sources(moved)(one)(2)
    np.testing.assert_allclose(
        np.roll(whole.unpack(here, components=1), 1, axis=2), whole.unpack(there, components=1), atol=1e-12
    )


def test_strict_arrays():
    """Nothing beyond the array API standard is used."""
    lattice = Lattice((4, 2, 2))
    x = links(lattice, 2, 2, 3)
    fields, action = GradientSources(lattice, (0.05,), (0, 1), (None, TENSOR)), WilsonAction(lattice, 2.0)
    found = []
    for y in (x, array_api_strict.asarray(x)):
        h = fields.tangents(Rng(1), y, action.grad(y))
        assert isinstance(h, type(y))
        found.append((np.asarray(h), np.asarray(fields.sources(y)(np.ones((8, 3)))(1))))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_correlators_that_are_zero():
    """U(1) in two dimensions: plaquettes of different slices are not correlated.  Two factors with noise of their own."""
    lattice, beta, rng = Lattice((8, 4)), 2.0, Rng(8)
    action, sampler = WilsonAction(lattice, beta), HeatBath(lattice, beta)
    fields = GradientSources(lattice, (0.1, 0.1), (0, 2))

    def plaquettes(x):
        return sum_slices(lattice, kernels.plaquette_traces(lattice, x)[0])

    state, rows = sampler.hot(rng, 1, 256), []
    for step in range(20 + 40):
        state, _ = sampler.step(rng, state)
        if step >= 20 and step % 2 == 0:
            noise = tuple(rng.stream(name).at(step) for name in ("source", "sink"))
            first, second = fields.two_estimates(noise, state.x, action.grad(state.x))
            rows.append((plaquettes(state.x), *first, *second))
    columns = [Series.from_lanes(np.stack(column)) for column in zip(*rows, strict=True)]
    operator, (first, second) = columns[0], (columns[1:3], columns[3:5])
    for h in (*first, *second):
        estimate = gamma_method(h.split()[0])
        assert abs(estimate.value) < SIGMAS * estimate.error
    c = fit_sources(operator, [0.5 * (a + b) for a, b in zip(first, second, strict=True)], radius=1)
    better = [improved(operator, h, c) for h in (first, second)]
    assert residual_share(operator, better[0]).mean < 0.5
    x, contact = state.x, []
    for k in range(3):
        state, _ = sampler.step(rng, state)
        x = state.x
        one = first_contact(fields, c, x, plaquettes, 0)
        two = second_contact(fields.with_noise(rng.stream("contact").at(k)), c, x, action, (0, 4))
        contact.append(one + np.roll(one[::-1], 1, axis=0) + two)
    terms = np.stack(contact)  # they hardly fluctuate
    both = 0.5 * (two_point_function(*better) + two_point_function(*better[::-1]))
    plain = two_point_function(operator, operator)
    for t in range(1, 8):
        found = gamma_method(both.split()[t])
        error = np.hypot(found.error, terms[:, t].std() / np.sqrt(terms[:, t].size))
        assert abs(found.value + terms[:, t].mean()) < SIGMAS * error
        assert found.error < 0.4 * gamma_method(plain.split()[t]).error
    found = gamma_method(both.split()[0])
    assert abs(found.value + terms[:, 0].mean() - plain.mean[0]) < SIGMAS * (
        found.error + gamma_method(plain.split()[0]).error
    )
    assert reflected(both).shape == (8,)


def test_arguments():
    lattice = Lattice((4, 2, 2))
    with pytest.raises(ValueError, match="levels: expected increasing numbers from 0 on"):
        GradientSources(lattice, (0.1,), (1, 0))
    with pytest.raises(ValueError, match=r"levels: expected at most 1, the number of eta, got \(0, 2\)"):
        GradientSources(lattice, (0.1,), (0, 2))
    with pytest.raises(ValueError, match="polarisations: expected one or more, all different"):
        GradientSources(lattice, (0.1,), (0, 1), (None, None))
    with pytest.raises(ValueError, match="polarisation: expected 2 numbers"):
        GradientSources(lattice, (0.1,), (0, 1), ((1.0, 1.0),))
    with pytest.raises(ValueError, match="colours: expected one of"):
        GradientSources(lattice, (0.1,), (0, 1), colours=3)
    fields = GradientSources(lattice, (0.1,), (0, 1))
    single = links(lattice, 2, 1, 3).astype(np.complex64)
    with pytest.raises(ValueError, match="expected links in double precision"):
        fields.tangents(Rng(1), single, single)
    with pytest.raises(ValueError, match="expected 4 rows"):
        fields.sources(links(lattice, 2, 1, 3))(np.zeros((3, 1)))
    assert fields.reach == 2
    assert fields.select(TENSOR).names[0] == "G0 temporal (1, -1)"
