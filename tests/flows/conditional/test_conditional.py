"""Conditional flows of pseudofermions: contract, traces, the perfect limit, and what couplings cannot see."""

import itertools

import numpy as np
import pytest

from cases.fields import links
from gaugeflow import check, nn, tree
from gaugeflow.backend import use_backend
from gaugeflow.check.operators import matrix
from gaugeflow.errors import ConvergenceError
from gaugeflow.flows import ConditionalChain, HoppingCoupling, HoppingSeries
from gaugeflow.flows.conditional.probes import distant_shifts
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Smeared, Staggered, Stout, Wilson, even_odd, gaussian
from gaugeflow.random import Rng


def _series(operator, order=3, preconditioned=True, scale=1.0, hermitian=False):
    flow = HoppingSeries(operator, order, preconditioned, hermitian, scale)
    return flow, {"c": np.array([0.1, -0.9, -0.4, 0.2, -0.3, 0.1])[: order + 1] / scale}


def _coupling(operator, parity, by_direction=False):
    lattice = operator.lattice
    channels = 2 * len(lattice.planes), 3, 2 + 4 * (lattice.ndim if by_direction else 1)
    net = nn.convolutional(lattice, channels, activation=nn.Tanh())
    flow = HoppingCoupling(operator, net, parity, by_direction=by_direction)
    params = tree.map(lambda p: p + 0.1 * np.cos(1.0 + np.arange(p.size)).reshape(p.shape), flow.init(Rng(3)))
    return flow, params


def _chain(operator):
    parts = [_coupling(operator, 0), _coupling(operator, 1)]
    return ConditionalChain(tuple(f for f, _ in parts)), {str(i): p for i, (_, p) in enumerate(parts)}


def _wilson(shape, fold=None):
    return Wilson(lattice=Lattice(shape, fold), kappa=0.2)


ROWS = {
    "even-odd series, SU(3)": (lambda: _series(_wilson((2, 2)), 2), 3, 1),
    "even-odd series, U(1), folded": (lambda: _series(_wilson((4, 2), (2, 1)), 2), 1, 1),
    "Hermitian even-odd series, U(1)": (lambda: _series(_wilson((4, 2)), 2, True, 1.5, hermitian=True), 1, 1),
    "Hermitian series, SU(2)": (lambda: _series(_wilson((2, 2)), 2, False, 1.5, hermitian=True), 2, -1),
    "series, SU(2)": (lambda: _series(_wilson((2, 2)), 3, preconditioned=False), 2, -1),
    "even-odd series, staggered": (lambda: _series(Staggered(lattice=Lattice((2, 4)), mass=2.5), 2, True, 2.5), 1, 1),
    "even-odd series, clover": (lambda: _series(Clover(lattice=Lattice((2, 2)), kappa=0.15, csw=1.2), 1), 1, 1),
    "coupling of even sites, U(1)": (lambda: _coupling(_wilson((2, 4)), 0), 1, -1),
    "coupling of odd sites, SU(2), folded": (lambda: _coupling(_wilson((4, 2), (2, 1)), 1), 2, -1),
    "coupling by direction, U(1), folded": (lambda: _coupling(_wilson((4, 2), (2, 1)), 0, True), 1, -1),
    "coupling by direction, clover, U(1)": (
        lambda: _coupling(Clover(lattice=Lattice((2, 2)), kappa=0.2, csw=1.2), 1, True),
        1,
        -1,
    ),
    "couplings, SU(3)": (lambda: _chain(_wilson((2, 2))), 3, -1),
}


def _noise(operator, u, parity):
    bound = operator.with_links(u)
    return gaussian(Rng(8), even_odd(bound) if parity == 1 else bound)


@pytest.mark.parametrize("name", ROWS)
def test_contract(name, rng):
    make, n, parity = ROWS[name]
    flow, params = make()
    operator = flow.flows[0].operator if isinstance(flow, ConditionalChain) else flow.operator
    u = links(operator.lattice, n, 4)
    eta = _noise(operator, u, parity)
    errors = check.check_conditional(flow, operator.lattice, params, u, eta, rng, parity=parity)
    assert {"log_det", "eta_bar", "links_bar", "covariance"} <= errors.keys()


def test_compiled_kernels_equal_the_reference():
    flow, params = _series(_wilson((4, 4)), 4)
    u = links(flow.lattice, 1, 5)
    eta = _noise(flow.operator, u, 1)
    ones = np.ones(5)
    phi, log_det = flow.forward(params, u, eta)
    found = flow.vjp(params, u, eta, phi, eta, ones)
    with use_backend("reference"):
        expected, value = flow.forward(params, u, eta)
        bars = flow.vjp(params, u, eta, expected, eta, ones)
    np.testing.assert_allclose(phi, expected, atol=1e-13)
    np.testing.assert_allclose(log_det, value, atol=1e-12)
    np.testing.assert_allclose(found[0]["c"], bars[0]["c"], rtol=1e-12)
    np.testing.assert_allclose(found[1], bars[1], atol=1e-12)


@pytest.mark.parametrize(("preconditioned", "order", "shared"), [(True, 1, 4), (True, 3, 1), (False, 3, 4)])
def test_traces_with_probes_that_do_not_meet(preconditioned, order, shared):
    """8 x 4: sites share probes where K^order does not join them; dense matrices know nothing of that."""
    operator = Wilson(lattice=Lattice((8, 4)), kappa=0.24)
    flow = HoppingSeries(operator, order, preconditioned)
    u = links(operator.lattice, 1, 2)
    m = flow.matrix(u)
    found = flow.traces(u)
    for c in range(2):
        dense = matrix(m, c)
        k = np.eye(len(dense)) - dense
        expected = [np.trace(np.linalg.matrix_power(k, j)).real for j in range(order + 1)]
        np.testing.assert_allclose(found[:, c], expected, atol=1e-11)
    assert shared * sum(p.shape[0] for p in flow._probes(m)) == len(dense)


@pytest.mark.parametrize(("shape", "reach", "count"), [((8, 8, 8, 8), 6, 16), ((16, 16), 12, 2), ((6, 9), 4, 1)])
def test_shifts_of_probes_are_a_group_of_distant_sites(shape, reach, count):
    """On 8^4 unit vectors at sixteen sites share a field, where a grid of period 8 has one."""
    periods, shifts = distant_shifts(shape, reach, False)
    assert len(set(shifts)) == count
    differences = {
        tuple((x - y) % p for x, y, p in zip(a, b, periods, strict=True)) for a, b in itertools.product(shifts, shifts)
    }
    assert differences == set(shifts)
    lengths = [sum(min(x, p - x) for x, p in zip(d, periods, strict=True)) for d in differences if any(d)]
    assert min(lengths, default=reach + 1) > reach
    assert all(p > reach or p == extent for p, extent in zip(periods, shape, strict=True))


def test_perfect_limit_is_the_heat_bath():
    """The Taylor series of log(1 - K): phi - M^dagger eta and the error of log det fall geometrically with the order."""
    operator = _wilson((4, 4))
    u = links(operator.lattice, 1, 3)
    m = even_odd(operator.with_links(u))
    eta = gaussian(Rng(1), m)
    exact = np.array([2.0 * np.linalg.slogdet(matrix(m, c))[1] for c in range(3)])
    fields, values = [], []
    for order in (2, 4, 8, 16):
        flow = HoppingSeries(operator, order)
        phi, log_det = flow.forward(flow.init(), u, eta)
        fields.append(np.abs(phi - m.adjoint(eta)).max())
        values.append(np.abs(log_det - exact).max())
    assert all(b < 0.3 * a for a, b in itertools.pairwise(fields)), fields
    assert fields[-1] < 1e-5
    assert values[-1] < 1e-5


def test_perfect_limit_of_the_hermitian_form_is_the_square_root():
    """|C eta|^2 = <eta, M^dagger M eta> up to a geometric error; log det as before."""
    operator = _wilson((4, 4))
    u = links(operator.lattice, 1, 3)
    m = even_odd(operator.with_links(u))
    eta = gaussian(Rng(1), m)
    image = m.apply(eta)
    exact = np.array([2.0 * np.linalg.slogdet(matrix(m, c))[1] for c in range(3)])
    errors = []
    for order in (4, 8, 16):
        flow = HoppingSeries(operator, order, hermitian=True, scale=1.5)
        phi, log_det = flow.forward(flow.init(), u, eta)
        norms = [np.sum(np.abs(f) ** 2, axis=(0, 1, 2)) for f in (phi, image)]
        errors.append(np.abs(norms[0] / norms[1] - 1.0).max() + np.abs(log_det - exact).max())
    assert errors[0] > 2.0 * errors[1] > 8.0 * errors[2], errors
    assert errors[2] < 0.2


@pytest.mark.parametrize("hermitian", [False, True])
def test_exponential_of_large_coefficients(hermitian):
    """exp(P(K)) of a dense matrix; in the Hermitian form with coefficients whose powers of K would cancel by exp(60)."""
    operator = _wilson((4, 2))
    flow = HoppingSeries(operator, 8, hermitian=hermitian, scale=1.6 if hermitian else 1.0)
    c = np.array([0.3, -0.4, -0.3, 0.2, -0.3, 0.1, 0.2, -0.2, 0.2]) * (3.0 if hermitian else 1.0)
    u = links(operator.lattice, 1, 1)
    m = flow.matrix(u)
    eta = gaussian(Rng(2), m)
    dense = matrix(m)
    k = np.eye(len(dense)) - (dense.conj().T @ dense / 1.6 if hermitian else dense.conj().T)
    values, vectors = np.linalg.eig(k)
    series = np.polynomial.chebyshev.chebval if hermitian else np.polynomial.polynomial.polyval
    exact = vectors @ (np.exp(series(values, c)) * np.linalg.solve(vectors, eta.reshape(-1)))
    np.testing.assert_allclose(flow.apply({"c": c}, u, eta).reshape(-1), exact, atol=1e-11 * np.abs(exact).max())


def test_numbers_by_direction_with_equal_entries_are_those_of_the_whole_hop():
    operator = _wilson((4, 2))
    whole, params = _coupling(operator, 0)
    split, _ = _coupling(operator, 0, True)
    last = params["2"]
    order = [0, 1, 2, 3, 4, 5, 2, 3, 4, 5]
    equal = {**params, "2": {"weight": last["weight"][:, order], "bias": last["bias"][order]}}
    u = links(operator.lattice, 1, 2)
    eta = _noise(operator, u, -1)
    (phi, log_det), (other, value) = whole.forward(params, u, eta), split.forward(equal, u, eta)
    np.testing.assert_allclose(other, phi, atol=1e-13)
    np.testing.assert_allclose(value, log_det, atol=1e-13)


def test_input_is_named():
    operator = _wilson((2, 4))
    with pytest.raises(ValueError, match="order, terms: expected positive integers, got 0"):
        HoppingSeries(operator, 0)
    with pytest.raises(ValueError, match="one other than 0, got 0"):
        HoppingSeries(operator, 2, scale=0.0)
    with pytest.raises(ValueError, match="expected a positive number"):
        HoppingSeries(operator, 2, hermitian=True, scale=-1.0)
    with pytest.raises(ValueError, match="parity: expected 0 or 1, got 2"):
        HoppingCoupling(operator, nn.ChannelMixing(None, 2, 6), 2)
    with pytest.raises(ValueError, match="expected an operator with gamma_5"):
        HoppingCoupling(Staggered(lattice=operator.lattice, mass=0.1), nn.ChannelMixing(None, 2, 6))
    with pytest.raises(ValueError, match="by_direction: expected hops of a Wilson operator"):
        HoppingCoupling(
            Smeared(operator=operator, smearing=Stout(0.1)), nn.ChannelMixing(None, 2, 10), by_direction=True
        )
    u = links(operator.lattice, 1, 1)
    flow = HoppingSeries(operator, 2)
    with pytest.raises(ValueError, match=r"c: expected shape \(3,\), got \(2,\)"):
        flow.forward({"c": np.zeros(2)}, u, _noise(operator, u, 1))
    with pytest.raises(ConvergenceError, match="not converged after 5 powers"):
        HoppingSeries(operator, 2, terms=5).forward(flow.init(), u, _noise(operator, u, 1))
    light = Wilson(lattice=operator.lattice, kappa=0.276)
    series = HoppingSeries(light, 4, hermitian=True)
    with pytest.raises(ConvergenceError, match="eigenvalues of M\\^dagger M below 2 scale = 2"):
        series.apply(series.init(), np.ones_like(u), _noise(light, u, 1))
    wrong = HoppingCoupling(operator, nn.ChannelMixing(None, 2, 5))
    with pytest.raises(ValueError, match="net: expected 6 channels, got 5"):
        wrong.forward(wrong.init(Rng(0)), u, _noise(operator, u, -1))
