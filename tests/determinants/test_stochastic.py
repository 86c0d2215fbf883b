"""Determinants by noise: against the exact ones within errors, and weight by weight against dense matrices."""

from dataclasses import replace

import array_api_strict
import numpy as np
import pytest

from gaugeflow import determinants
from gaugeflow.backend import use_backend
from gaugeflow.determinants import stochastic
from gaugeflow.errors import ConvergenceError
from gaugeflow.groups import SU
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Staggered, Wilson, even_odd
from gaugeflow.operators.dense import matrix, to_columns
from gaugeflow.random import Rng, haar_links, momenta


def _links(lattice, n, batch, seed, size=0.4):
    group = SU(lattice)
    unit = group.identity(haar_links(Rng(seed), lattice, n, batch))
    return group.retract(unit, momenta(Rng(seed), lattice, n, batch), size)


def _wilson(shape=(4, 4), fold=None, kappa=0.2, seed=1, size=0.4):
    lattice = Lattice(shape, fold)
    return Wilson(lattice=lattice, links=_links(lattice, 1, 4, seed, size), kappa=kappa)


ENDS = {
    "kappa and links": lambda: (_wilson(), _wilson(kappa=0.24, size=0.5)),
    "odd extent": lambda: (_wilson((3, 4)), _wilson((3, 4), kappa=0.23)),
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("flavours", [1, 2])
def test_ratio_within_errors(name, flavours):
    start, end = ENDS[name]()
    exact = determinants.ratio(end, start)
    errors = []
    for steps in (1, 3):
        found = determinants.stochastic_ratio(Rng(3), determinants.path(start, end, steps), flavours=flavours, noise=96)
        assert found.log_weights.shape == (steps, 96, 4)
        assert np.all(np.abs(found.log_abs - flavours * exact.log_abs) < 3 * found.error)
        assert np.all(np.abs(np.angle(found.phase / exact.phase**flavours)) < 3 * found.phase_error + 1e-12)
        errors.append(found.error)
    assert np.all(errors[1] < 0.75 * errors[0])
    assert np.all(errors[0] < 0.12)


@pytest.mark.parametrize("flavours", [1, 2])
def test_weights_of_given_noise(flavours):
    """A clover operator, whose diagonal part changes: every weight by dense matrices, and what is left of the ratio."""
    lattice = Lattice((2, 2, 2, 2))
    start = Clover(lattice=lattice, links=_links(lattice, 3, 4, 1), kappa=0.11, csw=1.2)
    end = replace(start, links=_links(lattice, 3, 4, 1, 0.45), csw=1.4, twisted_mass=0.2)
    found = determinants.stochastic_ratio(Rng(5), [start, end], flavours=flavours, noise=10)
    small = even_odd(end)
    eta = stochastic._gaussian(Rng(5).stream("determinant ratio").stream(1), small, range(10))
    eta = to_columns(lattice, eta)[..., None]
    a = np.linalg.solve(matrix(small), matrix(even_odd(start)))[:, None] @ eta
    sums = np.sum(np.abs(eta) ** 2 - np.abs(a) ** 2, axis=(2, 3)), np.sum(eta.conj() * (eta - a), axis=(2, 3))
    np.testing.assert_allclose(found.log_weights[0].T, sums[flavours == 1], atol=1e-7)
    rest = small.log_det_rest() - even_odd(start).log_det_rest()
    mean = np.mean(np.exp(found.log_weights[0]), axis=0)
    np.testing.assert_allclose(found.log_abs, np.log(np.abs(mean)) + flavours * rest, rtol=1e-12)
    sign = np.linalg.slogdet(matrix(end))[0] / np.linalg.slogdet(matrix(small))[0]
    np.testing.assert_allclose(found.phase, mean / np.abs(mean) * (sign if flavours == 1 else 1.0), atol=1e-9)


def test_errors_are_those_of_the_jackknife():
    weights = np.log(np.random.default_rng(1).uniform(0.5, 2.0, size=(2, 20, 3))) + 0j
    found = stochastic._statistics(weights, 0.5, 1.0)
    w = np.exp(weights.real)
    np.testing.assert_allclose(found.log_abs, np.log(w.mean(axis=1)).sum(axis=0) + 0.5)
    left_out = np.array([np.log(np.delete(w, j, axis=1).mean(axis=1)) for j in range(20)])
    deviation = left_out - left_out.mean(axis=0)
    np.testing.assert_allclose(found.error**2, 19 / 20 * (deviation**2).sum(axis=(0, 1)))
    bias = 19 * (left_out.mean(axis=0) - np.log(w.mean(axis=1))).sum(axis=0)
    np.testing.assert_allclose(found.bias, bias, atol=1e-14)


def test_noise_does_not_depend_on_the_fold():
    one, other = _wilson((4, 8)), _wilson((4, 8), fold=(1, 2))
    ends = [(d, replace(d, kappa=0.22)) for d in (one, other)]
    found = [determinants.stochastic_ratio(Rng(2), pair, noise=3).log_weights for pair in ends]
    np.testing.assert_allclose(found[1], found[0], atol=1e-7)
    traces = [determinants.stochastic_trace(Rng(2), d, determinants.along_kappa, noise=3) for d in (one, other)]
    np.testing.assert_allclose(traces[1].samples, traces[0].samples, rtol=1e-8)


def test_traces():
    """Within errors of the exact ones, the noisy part alone carrying the error."""
    start = _wilson(kappa=0.23)
    found = determinants.stochastic_trace(Rng(4), start, determinants.along_kappa, noise=96)
    exact = determinants.d_kappa(start).derivative
    assert np.all(np.abs(found.value.real - exact.real) < 3 * found.error)
    assert np.all(found.error < 0.05 * np.abs(exact.real))
    np.testing.assert_allclose(found.error, np.std(found.samples.real, axis=0, ddof=1) / np.sqrt(96))

    with use_backend("reference"):
        lattice = Lattice((2, 2))
        staggered = Staggered(lattice=lattice, links=_links(lattice, 1, 4, 1), mass=0.7)
        mass = determinants.stochastic_trace(Rng(4), staggered, lambda d: lambda psi: psi, noise=40)
        exact = determinants.log_det_derivative(staggered, lambda d: lambda psi: psi).derivative
    assert np.all(np.abs(mass.value.real - exact.real) < 3 * mass.error)


@pytest.mark.parametrize("make", [_wilson, lambda: _wilson((3, 4))])
def test_gradient_has_no_bias(make):
    operator = make()
    group = SU(operator.lattice)
    direction = momenta(Rng(8), operator.lattice, 1, 4)
    exact = group.inner(determinants.log_det_gradient(operator).gradient, direction)
    samples = []
    for k in range(16):
        found = determinants.stochastic_gradient(Rng(9).stream(k), operator, noise=8)
        samples.append(group.inner(found, direction))
    error = np.std(samples, axis=0, ddof=1) / 4
    assert np.all(np.abs(np.mean(samples, axis=0) - exact) < 3 * error)
    assert np.all(error < 0.3)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_geodesics(n):
    """Halves of a geodesic are one square root: the same step twice, in the group, even where angles exceed half a turn."""
    with use_backend("reference"):
        lattice = Lattice((2, 2))
        group = SU(lattice)
        start, end = (haar_links(Rng(seed), lattice, n, 40) for seed in (1, 2))
        velocity = determinants.geodesic(lattice, start, end)
        np.testing.assert_allclose(group.retract(start, velocity), end, atol=1e-9)
        np.testing.assert_allclose(group.project(velocity), velocity, atol=1e-12)
        near = group.retract(start, 0.1 * momenta(Rng(3), lattice, n, 40))
        step = determinants.geodesic(lattice, start, near)
        np.testing.assert_allclose(step, 0.1 * momenta(Rng(3), lattice, n, 40), atol=1e-12)


def test_paths():
    lattice = Lattice((4, 4))
    links = _links(lattice, 1, 4, 1), _links(lattice, 1, 4, 2)
    start = Wilson(lattice=lattice, links=links[0], mass=0.1, hopping=(1.0, 0.5), twisted_mass=0.2)
    end = replace(start, links=links[1], mass=0.3, hopping=(1.0, 0.7))
    operators = determinants.path(start, end, 4)
    assert operators[0] is start
    assert operators[4] is end
    assert operators[1].mass == pytest.approx(0.15)
    assert operators[3].hopping == pytest.approx((1.0, 0.65))
    assert operators[2].twisted_mass == pytest.approx(0.2)
    angle = np.angle(operators[1].links / links[0]) * 4
    np.testing.assert_allclose(np.exp(1j * angle), links[1] / links[0], atol=1e-12)
    assert determinants.path(start, replace(start, mass=1.0), 2)[1].links is links[0]


def test_array_api_strict():
    """All of it on arrays that are not NumPy's, folded: what a device computes."""
    start = _wilson((2, 4), fold=(1, 2))
    with use_backend("reference"):
        values = []
        for convert in (np.asarray, array_api_strict.asarray):
            operator = start.with_links(convert(start.links))
            other = replace(operator, kappa=0.22, links=operator.links * 1j)
            values.append(
                [
                    *determinants.log_det(operator),
                    *determinants.log_det(operator, "slices"),
                    *determinants.log_det_gradient(operator),
                    determinants.d_kappa(operator).derivative,
                    *determinants.stochastic_ratio(Rng(1), determinants.path(operator, other, 2), noise=2)[:5],
                    determinants.stochastic_trace(Rng(1), operator, determinants.along_kappa, noise=2).value,
                    determinants.stochastic_gradient(Rng(1), operator),
                ]
            )
    for one, two in zip(*values, strict=True):
        assert isinstance(two, array_api_strict._array_object.Array)
        np.testing.assert_allclose(np.asarray(two), one, rtol=1e-10, atol=1e-12)


def test_messages():
    start = _wilson()
    with pytest.raises(ValueError, match="flavours: expected 1 or 2, got 3"):
        determinants.stochastic_ratio(Rng(1), [start, start], flavours=3)
    with pytest.raises(ValueError, match="two or more, got 1"):
        determinants.stochastic_ratio(Rng(1), [start])
    with pytest.raises(ValueError, match="at least 2 vectors, got 1"):
        determinants.stochastic_ratio(Rng(1), [start, start], noise=1)
    with pytest.raises(ValueError, match="equal lattices and batches"):
        determinants.stochastic_ratio(Rng(1), [start, _wilson((4, 2))])
    with pytest.raises(ValueError, match="steps: expected a positive number, got 0"):
        determinants.path(start, start, 0)
    with pytest.raises(ValueError, match="one kind, lattice and boundary"):
        determinants.path(start, replace(start, boundary=(1.0, 1.0)), 2)
    mass = replace(start, kappa=None, mass=0.1)
    with pytest.raises(ValueError, match=r"cannot interpolate kappa between 0.2 and None"):
        determinants.path(start, mass, 2)
    with pytest.raises(ValueError, match="links of one shape"):
        determinants.geodesic(start.lattice, start.links, start.links[..., :1])
    with pytest.raises(ConvergenceError, match=r"kappa 0\.21"):
        determinants.stochastic_ratio(Rng(1), [start, replace(start, kappa=0.21)], max_iterations=1)
