"""Residual densities by distance: sums, symmetries, and a theory whose plaquettes are independent."""

import numpy as np
import pytest

from gaugeflow import kernels
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import Series, choose_radius, derivative_linear, fit_sources, gamma_method, local_curve
from gaugeflow.ensembles import (
    CombinedSources,
    JoinedSources,
    PlaquetteSources,
    Shells,
    SmearedSources,
    measure_local,
    moved_means,
    plaquette_density,
)
from gaugeflow.flows import SmearedSweep, Smearing
from gaugeflow.groups import SU
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng, haar_links
from gaugeflow.samplers import HeatBath

SIGMAS, BETA = 4.0, 2.0


def families(lattice, n):
    sweep = SmearedSweep(lattice, n, smearing=Smearing((0.06, 0.06), 2, (1, 2)))
    return JoinedSources((PlaquetteSources(lattice), SmearedSources(sweep, (1,), True)))


def test_shells_count_every_site_once():
    """A square of 6 x 4 sites: distances 0, 1, sqrt 2 and 2, ...; and slices of 4 sites, 1, 2, 2 and 1 of them."""
    lattice = Lattice((6, 4))
    assert Shells(lattice).counts.tolist() == [1, 4, 7, 9, 3]
    assert Shells(lattice, "time").counts.tolist() == [4, 8, 8, 4]
    assert (Shells(lattice).dimensions, Shells(lattice, "time").dimensions) == (2, 1)


def test_correlations_of_shells_are_those_of_neighbours():
    lattice = Lattice((6, 4))
    a, b = np.random.default_rng(0).normal(size=(2, 24, 3))
    for kind, axes in (("distance", (1, 2)), ("time", (1,))):
        shells = Shells(lattice, kind)
        found = shells.correlation(shells.transform(a), shells.transform(b))
        np.testing.assert_allclose(found.sum(axis=0), 0.0, atol=1e-12)
        first, second = (lattice.unpack(x - x.mean(axis=0)) for x in (a, b))
        if kind == "time":
            second = np.broadcast_to(second.sum(axis=2, keepdims=True), first.shape)
        beside = sum(np.roll(second, step, axis) for axis in axes for step in (1, -1))
        np.testing.assert_allclose(found[0], np.mean(first * second, axis=(1, 2)), atol=1e-12)
        np.testing.assert_allclose(found[1], np.mean(first * beside, axis=(1, 2)), atol=1e-12)


def test_folds_and_translations_change_nothing():
    """All columns, SU(2) on (8, 4): of the folded lattice, and of the configuration moved by one site in both directions."""
    plain, folded = Lattice((8, 4)), Lattice((8, 4), (2, 1))
    x = haar_links(Rng(3), plain, 2, 8)
    whole = plain.unpack(x, 1)

    def measured(lattice, links):
        observables = {"plaquette": lambda y: plaquette_density(lattice, y)}
        kinds = (Shells(lattice), Shells(lattice, "time"))
        work = measure_local(
            PlaquetteSources(lattice),
            WilsonAction(lattice, BETA),
            lambda y: plaquette_density(lattice, y),
            observables,
            kinds,
        )
        return work(lattice.pack(links, 1))

    expected = measured(plain, whole)
    for name, values in measured(folded, whole).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-10, err_msg=name)
    for name, values in measured(plain, np.roll(whole, (1, 1), axis=(2, 3))).items():
        by_slice = name == "operator" or name.startswith("h|")
        np.testing.assert_allclose(
            np.roll(values, -1, axis=0) if by_slice else values, expected[name], atol=1e-10, err_msg=name
        )


def test_moved_means_are_products_with_the_gradient():
    """X.dA of the plaquette is -<X, grad S> / (6 beta V) in four dimensions: 1e-7 for every field, and for their sum."""
    lattice, n = Lattice((4, 4)), 2
    action, group = WilsonAction(lattice, BETA), SU(lattice)
    x, fields = haar_links(Rng(5), lattice, n, 8), families(lattice, n)
    observables = {"plaquette": lambda y: plaquette_density(lattice, y)}
    found = moved_means(fields, x, observables)["plaquette"]
    force = action.grad(x)
    expected = -np.stack([group.inner(v, force) for v in fields.vectors(x)]) / (BETA * lattice.volume)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    c = np.random.default_rng(1).normal(size=len(fields.names))
    one = CombinedSources(fields, tuple(c))
    np.testing.assert_allclose(moved_means(one, x, observables)["plaquette"][0], c @ expected, atol=1e-6)
    for name in ("densities", "tangents"):
        whole = np.tensordot(c, getattr(fields, name)(x, force), axes=1)
        np.testing.assert_allclose(getattr(one, name)(x, force)[0], whole, atol=1e-10)
    sums = kernels.sums.sum_sites(lattice, one.densities(x, force)[0])
    np.testing.assert_allclose(sums, one.tangents(x, force)[0].sum(axis=0), atol=1e-10)


@pytest.fixture(scope="module")
def u1():
    """Two-dimensional U(1) on (8, 8); half of the chains give the coefficients, the others what is averaged."""
    lattice, rng, lanes = Lattice((8, 8)), Rng(4), 64
    action, sampler = WilsonAction(lattice, BETA), HeatBath(lattice, BETA)
    fields = PlaquetteSources(lattice)
    observables = {"plaquette": lambda y: plaquette_density(lattice, y)}

    def operator(y):
        return -plaquette_density(lattice, y)

    def columns(chosen, states, kinds):
        measure = measure_local(chosen, action, operator, observables, kinds)
        rows = [measure(y) | {"moved": moved_means(chosen, y, observables)["plaquette"]} for y in states]
        return {name: Series.from_lanes(np.stack([row[name] for row in rows]), name=name) for name in rows[0]}

    state, states = sampler.hot(rng, 1, lanes), []
    for step in range(20 + 3 * 60):
        state, _ = sampler.step(rng, state)
        if step >= 20 and step % 3 == 0:
            states.append(state.x)
    training = columns(fields, [y[..., : lanes // 2] for y in states[::2]], ())
    tangents = [training[f"h|{name}"] for name in fields.names]
    c = fit_sources(training["operator"] * -1.0, tangents, 0)[:, 0]
    kinds = (Shells(lattice), Shells(lattice, "time"))
    table = columns(CombinedSources(fields, tuple(c)), [y[..., lanes // 2 :] for y in states], kinds)
    return lattice, table, {kind.kind: kind.counts for kind in kinds}


def curve(u1, kind, weight):
    """D at every radius without X.dA, of r = weight h - o."""
    _, table, counts = u1
    shells = table[f"plaquette|{kind}|h|combined"] * weight - table[f"plaquette|{kind}|operator"]
    residual = table["h|combined"] * weight - table["operator"]
    return local_curve(table["plaquette"], residual, shells, counts[kind])


def moments():
    """Variance of cos P and of its square about the mean, by sums over angles."""
    angle = 2.0 * np.pi * np.arange(64) / 64
    weight = np.exp(BETA * np.cos(angle))
    weight /= weight.sum()
    deviation = np.cos(angle) - np.sum(weight * np.cos(angle))
    second, fourth = (np.sum(weight * deviation**k) for k in (2, 4))
    return second, fourth - second**2


def test_the_last_radius_is_the_whole_lattice(u1):
    _, table, _ = u1
    operator = Series(tuple(v.sum(axis=1) for v in table["operator"].values), table["operator"].ids)
    for kind in ("distance", "time"):
        expected = derivative_linear(operator * 0.0, table["plaquette"], operator * -1.0)
        found = curve(u1, kind, 0.0).split()[-1]
        for a, b in zip(found.values, expected.values, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("kind", ["distance", "time"])
def test_derivative_of_the_plaquette(u1, kind):
    """d<cos P>/d(beta) is the variance of cos P where no contact is left, with and without a field: 4 sigmas."""
    exact, _ = moments()
    moved = Series(tuple(v[:, 0] for v in u1[1]["moved"].values), u1[1]["moved"].ids)
    for weight, first in ((0.0, 0), (1.0, 3)):
        parts = curve(u1, kind, weight).split()
        for part in parts[first:]:
            found = gamma_method(part + moved * weight)
            assert abs(found.value - exact) < SIGMAS * found.error


def test_noise_by_radius(u1):
    """Without a field, V times the variance is Var p^2 + 2 (N_R - 1) (Var p)^2: 4 sigmas; the field makes it smaller."""
    lattice, _, counts = u1
    variance, of_square = moments()
    for kind in ("distance", "time"):
        sites = np.cumsum(counts[kind])
        squares = np.square(np.concatenate(curve(u1, kind, 0.0).values) - variance)
        expected = (of_square + 2.0 * (sites - 1.0) * variance**2) / lattice.volume
        error = squares.std(axis=0) / np.sqrt(len(squares))
        assert (np.abs(squares.mean(axis=0) - expected) < SIGMAS * error).all()
        assert (error[:4] < 0.08 * expected[:4]).all()
    field, plain = (np.concatenate(curve(u1, "distance", weight).values).var(axis=0) for weight in (1.0, 0.0))
    assert field[3] < 0.5 * plain[3]
    assert field[3] < 0.7 * field[-1]


def test_radius_of_independent_plaquettes(u1):
    """The smallest radius beyond the reach, with a bound that the mass makes small; D stays the same from there on."""
    found = choose_radius(curve(u1, "distance", 1.0), 3.0, reach=2, dimensions=2)
    assert found.radius == 3
    assert 0.0 < found.bias < found.estimates[3].error
    assert all(abs(change.value) < SIGMAS * change.error for change in found.changes)


def test_fields_that_do_not_fit_are_refused():
    lattice = Lattice((4, 4))
    with pytest.raises(ValueError, match="expected 3, one for each field, got 1"):
        CombinedSources(PlaquetteSources(lattice), (1.0,))
    with pytest.raises(ValueError, match="kind: expected 'distance' or 'time', got 'slab'"):
        Shells(lattice, "slab")
