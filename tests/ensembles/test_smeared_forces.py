"""Fields of smeared links that move all links at once: divergences by dilution, and a derivative that is known."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import scipy.special

from cases.fields import links
from cases.signs import Patterns
from gaugeflow import kernels
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import Series, derivative_linear, gamma_method
from gaugeflow.backend import use_backend
from gaugeflow.check.differences import differentiate, repeated
from gaugeflow.ensembles import SmearedForces
from gaugeflow.ensembles.probes import link_colours
from gaugeflow.groups import SU
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng, haar_links
from gaugeflow.samplers import HeatBath

SIGMAS = 4.0


@pytest.fixture(autouse=True)
def reference():
    """Lattices of a few sites: whole arrays are faster than compilation."""
    with use_backend("reference"):
        yield


class Patterned(Patterns, SmearedForces):
    """Fields with signs of a pattern."""


def units(fields):
    """Coefficients of every single field and class."""
    for i, k in product(*map(range, fields.shape)):
        one = np.zeros(fields.shape)
        one[i, k] = 1.0
        yield i, k, one


@pytest.mark.parametrize(("colours", "squared"), [(1, 1), (2, 2), (4, 2), (8, 3), (16, 4)])
def test_colours_of_sites(colours, squared):
    """Every site has one colour, and sites of a colour are as far apart as they can be, across and along."""
    lattice = Lattice((4, 8, 4, 4))
    found = link_colours(lattice, colours)
    for mu in range(4):
        classes = [sites for nu, sites in found if nu == mu]
        assert sorted(np.concatenate(classes)) == list(range(lattice.volume))
        for sites in classes:
            assert len(sites) == lattice.volume // colours
            steps = np.array(np.unravel_index(sites, lattice.shape))
            steps = steps[:, 1:] - steps[:, :1]
            half = np.array(lattice.shape)[:, None] // 2
            assert (((steps + half) % (2 * half) - half) ** 2).sum(axis=0).min() == squared


def test_colours_that_a_lattice_lacks():
    assert len(link_colours(Lattice((4, 8)), 8)) == 16
    with pytest.raises(ValueError, match=r"expected at most 8 on a lattice of 2 dimensions, got 16"):
        link_colours(Lattice((4, 8)), 16)
    with pytest.raises(ValueError, match=r"extent that 4 divides: direction 2 has extent 6"):
        link_colours(Lattice((4, 4, 6)), 8)
    with pytest.raises(ValueError, match=r"expected one of \(1, 2, 4, 8, 16\), got 3"):
        SmearedForces(Lattice((6, 6)), colours=3)


@pytest.mark.parametrize(("n", "shape", "colours"), [(1, (2, 2), 2), (2, (2, 2), 2), (3, (2, 2), 2), (1, (4, 4), 8)])
def test_divergence_against_differences(n, shape, colours):
    """The mean over all signs is the trace of the Jacobian, taken link by link and generator by generator."""
    lattice = Lattice(shape)
    group, x = SU(lattice), links(lattice, n, 1, 7)
    dimension = group.dimension(x)
    many = repeated(group, x, dimension)
    moves = group.tangent(many, np.eye(dimension))
    total = 0.0
    for pattern in (0, 1):
        fields = Patterned(lattice, (0, 1, 2), (1, 2), 0.05, colours=colours)
        object.__setattr__(fields, "pattern", pattern)
        total = total + 0.5 * fields.tangents(Rng(1), x, 0.0 * x)[..., 0]
    for i, k, one in units(fields):
        (slope,) = differentiate(lambda e, one=one: (fields.vector(one, group.retract(many, moves, e)),))
        expected = np.trace(group.coordinates(slope))
        assert total[i, k] == pytest.approx(expected, rel=1e-7), fields.fields[i]


@pytest.mark.parametrize("n", [1, 3])
def test_gradients_and_products_with_a_force(n):
    """F0 and G are gradients of sums of plaquettes; X.force is the product with X."""
    lattice = Lattice((4, 2, 2))
    group, x = SU(lattice), links(lattice, n, 2, 3)
    fields = SmearedForces(lattice, (0, 1), (1, 3), 0.05, anisotropic=True)
    force = group.tangent(x, np.random.default_rng(2).normal(size=(group.dimension(x), 2)))
    found = fields.tangents(Rng(1), x, force) - fields.tangents(Rng(1), x, 0.0 * x)
    temporal = np.array([0 in plane for plane in lattice.planes])

    def plaquettes(level, k):
        def value(e):
            v = group.retract(x, force, e)
            for _ in range(level):
                v, _ = kernels.smear_step(lattice, v, 0.05, -1.0)
            planes = kernels.plaquette(lattice, v)[temporal if k == 0 else ~temporal]
            return (n * lattice.volume * planes.sum(axis=0),)

        return value

    for i, k, one in units(fields):
        inner = group.inner(fields.vector(one, x), force)
        np.testing.assert_allclose(found[i, k], -inner, rtol=1e-8, atol=1e-8)
        if fields.fields[i] != "F1":
            (slope,) = differentiate(plaquettes((0, 0, 1, 3)[i], k))
            np.testing.assert_allclose(inner, slope, rtol=1e-7, atol=1e-7)


def test_numbers_do_not_depend_on_the_fold():
    whole, folded = Lattice((4, 4)), Lattice((4, 4), (2, 1))
    found = []
    for lattice in (whole, folded):
        x = links(lattice, 2, 2, 5)
        fields = SmearedForces(lattice, colours=2)
        found.append(fields.tangents(Rng(4), x, WilsonAction(lattice, 2.0).grad(x)))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


def test_weights_of_steps():
    """The last weight serves all further steps."""
    lattice = Lattice((4, 4))
    x, c = links(lattice, 2, 1, 5), np.ones((3, 1))
    one, two, three = (SmearedForces(lattice, (0, 1), (4,), eta) for eta in (0.05, (0.05, 0.05, 0.1), (0.05, 0.1)))
    np.testing.assert_array_equal(one.vector(c, x), replace(one, eta=(0.05,)).vector(c, x))
    np.testing.assert_array_equal(two.vector(c, x), replace(two, eta=(0.05, 0.05, 0.1, 0.1, 0.7)).vector(c, x))
    assert np.abs(two.vector(c, x) - three.vector(c, x)).max() > 1e-3


def test_finite_step():
    """Image and log-determinant against the flow's equation in ten steps, to third order; the noise is the same."""
    lattice = Lattice((2, 2))
    fields, x, step = SmearedForces(lattice, (0, 1), (1,), colours=2), links(lattice, 3, 2, 4), 0.02
    c = np.array([[0.3], [-0.4], [0.5]])

    def errors(step):
        image, log_det = fields.transported(Rng(2), c, x, step)
        y, total = x, 0.0
        for _ in range(8):
            y, part = fields.transported(Rng(2), c, y, step / 8)
            total = total + part
        return np.abs(image - y).max(), np.abs(log_det - total).max()

    long, short = errors(step), errors(step / 2)
    assert long[0] < 1e-5
    assert long[1] < 1e-4
    np.testing.assert_allclose(np.divide(long, short), 8.0, rtol=0.2)


def test_derivative_of_the_plaquette():
    """SU(2) in two dimensions, d<P> / d beta on 4^2 by any coefficients, though tangents are noisy."""
    lattice, beta = Lattice((4, 4)), 2.2
    action, group = WilsonAction(lattice, beta), SU(lattice)
    sampler, rng = HeatBath(lattice, beta, 1), Rng(3)
    state = sampler.init(haar_links(rng.stream("start"), lattice, 2, 64))
    fields = SmearedForces(lattice, (0, 1), (1,), 0.0625, colours=2)
    coefficients = np.array([[0.1], [0.05], [0.05]])
    rows = []
    for sweep in range(45):
        state, _ = sampler.step(rng.stream("sweeps").at(sweep), state)
        if sweep < 5:
            continue
        x = state.x
        h = fields.tangents(rng.stream("signs").at(sweep), x, action.grad(x))
        operator = action.value(x) / beta
        field = fields.vector(coefficients, x)
        (along,) = differentiate(
            lambda e, x=x, field=field: (kernels.plaquette(lattice, group.retract(x, field, e))[0],)
        )
        rows.append((kernels.plaquette(lattice, x)[0], along, fields.combined(coefficients, h) - operator, *h[:, 0]))
    plaquette, along, residual, *tangents = (Series.from_chains(np.stack(c).T) for c in zip(*rows, strict=True))
    for h in tangents:
        estimate = gamma_method(h)
        assert abs(estimate.value) < SIGMAS * estimate.error
    estimate = gamma_method(derivative_linear(along, plaquette, residual))
    assert estimate.error < 0.002  # 0.0043 without a field
    assert abs(estimate.value - _slope(beta, lattice.volume)) < SIGMAS * estimate.error


def _slope(beta, volume):
    """From Z = sum_j (2 I_(2j+1)(beta) / beta)^V of SU(2), -S = beta sum of P."""

    def log_z(b):
        orders = np.arange(1, 12)
        return np.log(np.sum((2.0 * scipy.special.ive(orders, b) / b / 1.0) ** volume)) + volume * b

    h = 1e-2
    return (log_z(beta + h) - 2.0 * log_z(beta) + log_z(beta - h)) / h**2 / volume


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"forces": (), "gradients": ()}, "at least one field"),
        ({"forces": (1, 1)}, "increasing numbers from 0"),
        ({"gradients": (0, 2)}, "increasing numbers from 1"),
        ({"colours": 3}, "colours: expected one of"),
        ({"colours": 16}, "expected at most"),
        ({"eta": float("nan")}, "eta"),
        ({"eta": (0.1, float("inf"))}, "eta"),
        ({"eta": ()}, "eta: expected a number or one for each"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SmearedForces(Lattice((4, 4)), **arguments)


def test_bad_fields():
    lattice = Lattice((4, 4))
    fields = SmearedForces(lattice)
    x = links(lattice, 2, 1, 5)
    with pytest.raises(ValueError, match="expected shape"):
        fields.vector(np.zeros(3), x)
    with pytest.raises(ValueError, match="double precision"):
        fields.tangents(Rng(1), x.astype(np.complex64), 0.0 * x)
