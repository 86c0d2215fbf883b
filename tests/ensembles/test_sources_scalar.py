"""Fields of sources of scalar theories: divergences, identities, and N-point functions of a chain that is solved exactly."""

import itertools

import numpy as np
import pytest

from gaugeflow.actions import ScalarAction
from gaugeflow.analysis import (
    Series,
    contact,
    cross_fit_sources,
    fit_sources,
    gamma_method,
    improved,
    n_point_function,
    reflected,
    residual_share,
    two_point_function,
)
from gaugeflow.check.differences import differentiate
from gaugeflow.ensembles import ScalarSources, contact_terms, first_contact, measure_sources, second_contact
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng
from gaugeflow.samplers import ScalarMetropolis

CHAIN = Lattice((12,))
ACTION = ScalarAction(CHAIN, -1.0, 1.0)
ODD = ScalarSources(CHAIN, ((0, 0), (2, 0), (1, 1), (0, 2)), (0, 2))
EVEN = ScalarSources(CHAIN, ((1, 0), (0, 1), (3, 0)), (0, 2))
LANES, ROWS, RADIUS = 150, 60, 2
SIGMAS = 4.0


def square(x):
    return x * x


def exact():
    """Eigenvalues of the transfer matrix of the chain, and phi in its eigenstates."""
    phi = np.linspace(-3.5, 3.5, 401)
    potential = ACTION.mass_squared * phi**2 + ACTION.coupling * phi**4
    kernel = np.exp(-((phi[:, None] - phi) ** 2) - 0.5 * (potential[:, None] + potential)) * (phi[1] - phi[0])
    values, states = np.linalg.eigh(kernel)
    keep = values > 1e-13 * values[-1]
    values, states = values[keep], states[:, keep]
    return values / values[-1], lambda f: states.T @ (f(phi)[:, None] * states)


def mean_of(values, *insertions):
    """<f_1(t_1) f_2(t_2) ...> on the periodic chain, insertions (t, matrix) in order of time."""
    product, now = np.eye(len(values)), 0
    for t, matrix in insertions:
        product, now = (product * values ** (t - now)) @ matrix, t
    extent = CHAIN.shape[0]
    return np.trace(product * values ** (extent - now)) / np.sum(values**extent)


@pytest.fixture(scope="module")
def sample():
    """Independent chains, and what is measured on them for phi and for phi^2."""
    sampler, rng = ScalarMetropolis(ACTION, width=0.8), Rng(5)
    state = sampler.init(np.zeros((12, LANES)))
    measures = {
        "phi": measure_sources(ODD, ACTION, lambda x: x, reach=0),
        "phi^2": measure_sources(EVEN, ACTION, square, reach=0),
    }
    rows, fields = {name: [] for name in measures}, []
    for step in range(60 + 4 * ROWS):
        state, _ = sampler.step(rng, state)
        if step >= 60 and step % 4 == 0:
            fields.append(state.x)
            for name, measure in measures.items():
                rows[name].append(measure(state.x))
    table = {
        name: {column: Series.from_lanes(np.stack([row[column] for row in part]), name=column) for column in part[0]}
        for name, part in rows.items()
    }
    return table, fields


def parts(table, chosen=slice(None)):
    """O, tangents and contact terms of some chains."""

    def some(series):
        return Series(series.values[chosen], series.ids[chosen], series.name)

    found = {name: some(series) for name, series in table.items()}
    kinds = ([found[name] for name in found if name.startswith(kind)] for kind in ("h|", "contact|"))
    return found["operator"], *kinds


def deviations(series, expected):
    estimates = [gamma_method(one) for one in series.split()]
    return [(e.value - c) / e.error for e, c in zip(estimates, np.atleast_1d(expected), strict=True)]


def field(lattice, batch, seed=1):
    return np.random.default_rng(seed).normal(size=(lattice.n_blocks, lattice.n_folds * batch))


@pytest.mark.parametrize("fold", [None, (2, 1)])
def test_divergence_against_differences(fold):
    lattice = Lattice((4, 4), fold)
    sources = ScalarSources(lattice, ((0, 0), (1, 0), (0, 3), (2, 1)), (0, 3))
    phi = field(lattice, 1)
    force = field(lattice, 1, 2)
    found = sources.densities(phi, force)
    vectors = sources.vectors(phi)
    for place in itertools.product(range(lattice.n_blocks), range(lattice.n_folds)):
        point = np.zeros_like(phi)
        point[place] = 1.0
        (slope,) = differentiate(lambda e, point=point: (sources.vectors(phi + e * point),))
        expected = slope[:, *place] - vectors[:, *place] * force[place]
        np.testing.assert_allclose(found[:, *place], expected, rtol=1e-9, atol=1e-9)
    slices = sources.tangents(phi, force)
    whole = lattice.unpack(found, 1)[0].sum(axis=2)
    np.testing.assert_allclose(slices[..., 0], whole, rtol=1e-12, atol=1e-12)


def test_time_translations_turn_one_slice_into_the_next():
    lattice = Lattice((6, 4))
    sources = ScalarSources(lattice, ((1, 0), (2, 1)), (0, 2))
    action = ScalarAction(lattice, 0.3, 0.2)
    phi = field(lattice, 2)
    later = lattice.pack(np.roll(lattice.unpack(phi), 1, axis=1))
    for x, shift in ((phi, 0), (later, 1)):
        h = sources.tangents(x, action.grad(x))
        np.testing.assert_allclose(h, np.roll(sources.tangents(phi, action.grad(phi)), shift, axis=1), rtol=1e-10)


def test_tangents_have_mean_zero_and_obey_stein(sample):
    """<h_i f> = -<X_i.df> with f = O_t - <O>: the worst of 14 numbers within 4 sigmas."""
    worst = []
    for table in sample[0].values():
        operator, tangents, contacts = parts(table)
        for h, c in zip(tangents, contacts, strict=True):
            worst += deviations(Series(tuple(v.mean(axis=1) for v in h.values), h.ids), 0.0)
            identity = n_point_function((operator, h), (0, 0)) + c.split()[0]
            worst += deviations(identity, 0.0)
    assert max(map(abs, worst)) < SIGMAS


@pytest.mark.parametrize(("name", "function", "share"), [("phi", lambda x: x, 0.14), ("phi^2", square, 0.11)])
def test_one_sided_correlator_is_exact_and_less_noisy(sample, name, function, share):
    """Chains 0 ... 74 fix coefficients, the others give the answer: all times within 4 sigmas of the transfer matrix."""
    fitted, held = slice(0, LANES // 2), slice(LANES // 2, LANES)
    coefficients = fit_sources(*parts(sample[0][name], fitted)[:2], RADIUS)
    operator, tangents, contacts = parts(sample[0][name], held)
    better = improved(operator, tangents, coefficients)
    rho = gamma_method(residual_share(operator, better))
    assert rho.value < share
    values, matrix = exact()
    o = matrix(function)
    mean = mean_of(values, (0, o))
    whole = [mean_of(values, (0, o), (t, o)) - mean**2 for t in range(12)]
    assert max(map(abs, deviations(Series(tuple(v.mean(axis=1) for v in better.values), better.ids), mean))) < SIGMAS
    correlator = two_point_function(operator, better, contact(contacts, coefficients))
    plain = two_point_function(operator, operator)
    for one in (correlator, plain):
        assert max(map(abs, deviations(one, whole))) < SIGMAS
    ratio = (gamma_method(correlator.split()[5]).error / gamma_method(plain.split()[5]).error) ** 2
    assert ratio < 2.0 * rho.value


def test_two_sided_correlator_with_all_contact_terms(sample):
    """Supports overlap at every time of this chain, so that all three contact terms matter: 4 sigmas."""
    table, fields = sample
    fitted, held = slice(0, LANES // 2), slice(LANES // 2, LANES)
    coefficients = fit_sources(*parts(table["phi^2"], fitted)[:2], RADIUS)
    operator, tangents, contacts = parts(table["phi^2"], held)
    second = np.stack([second_contact(EVEN, coefficients, x[:, held], ACTION, (0, 5)) for x in fields])
    better = improved(operator, tangents, coefficients)
    first = contact(contacts, coefficients)
    correlator = two_point_function(better, better, first, reflected(first), Series.from_lanes(second))
    values, matrix = exact()
    o = matrix(square)
    mean = mean_of(values, (0, o))
    whole = np.array([mean_of(values, (0, o), (t, o)) - mean**2 for t in range(12)])
    assert max(map(abs, deviations(correlator, whole))) < SIGMAS
    without = deviations(two_point_function(better, better), whole)
    assert abs(without[0]) > 30.0


def test_two_sided_correlator_of_separate_supports(sample):
    """Radius 0 and fields without smearing reach one slice: nothing has to be added from t = 2 on, and noise falls by rho^2."""
    operator, tangents, _ = parts(sample[0]["phi^2"])
    chosen = [h for h in tangents if "psi" not in h.name]
    better = improved(operator, chosen, cross_fit_sources(operator, chosen, 0))
    rho = gamma_method(residual_share(operator, better)).value
    values, matrix = exact()
    o = matrix(square)
    mean = mean_of(values, (0, o))
    whole = [mean_of(values, (0, o), (t, o)) - mean**2 for t in range(2, 11)]
    plain, two_sided = (
        Series(tuple(v[:, 2:11] for v in c.values), c.ids)
        for c in (two_point_function(operator, operator), two_point_function(better, better))
    )
    assert max(map(abs, deviations(two_sided, whole))) < SIGMAS
    ratio = (gamma_method(two_sided.split()[4]).error / gamma_method(plain.split()[4]).error) ** 2
    assert ratio < 2.0 * rho**2 < 0.1


def test_three_point_function(sample):
    """phi^2 at times 0, 3 and 6, improved three times: 4 sigmas of the transfer matrix."""
    operator, tangents, _ = parts(sample[0]["phi^2"])
    chosen = [h for h in tangents if "psi" not in h.name]
    better = improved(operator, chosen, cross_fit_sources(operator, chosen, 0))
    values, matrix = exact()
    o = matrix(square)
    o = o - mean_of(values, (0, o)) * np.eye(len(values))
    expected = mean_of(values, (0, o), (2, o), (4, o))
    plain, three = (gamma_method(n_point_function((f, f, f), (0, 2, 4))) for f in (operator, better))
    assert abs(three.value - expected) < SIGMAS * three.error
    assert three.error < 0.2 * plain.error


def test_coefficients_of_a_free_field_leave_no_noise():
    """sum_x phi of a free field is -h of a constant field with the propagator as coefficients, on any configuration."""
    lattice = Lattice((5, 3))
    action = ScalarAction(lattice, 0.7)
    sources = ScalarSources(lattice, ((0,),))
    x = field(lattice, 40)
    h = Series.from_lanes(sources.tangents(x, action.grad(x))[0].T[..., None])
    o = Series.from_lanes(lattice.unpack(x).sum(axis=2)[..., None])
    coefficients = fit_sources(o, [h], 2)
    left = improved(o, [h], coefficients).values[0]
    assert np.max(np.abs(left)) < 1e-9 * np.max(np.abs(o.values[0]))
    momenta = 2.0 * np.pi * np.arange(5) / 5
    propagator = np.fft.ifft(1.0 / (2.0 * (0.7 + 2.0 - 2.0 * np.cos(momenta)))).real
    np.testing.assert_allclose(np.fft.ifftshift(coefficients[0]), propagator, rtol=1e-6)


def test_contact_terms_at_a_distance():
    """O_t = sum_x phi(t) phi(t + 1): X = phi on slice s changes O_s and O_(s - 1) by what stands there."""
    lattice = Lattice((6, 2))
    sources = ScalarSources(lattice, ((1,),))

    def operator(x):
        conventional = lattice.unpack(x)
        return (conventional * np.roll(conventional, -1, axis=1)).sum(axis=2).T

    x = field(lattice, 3)
    found = contact_terms(sources, x, operator, 1)
    expected = np.zeros((1, 6, 3))
    expected[0, [0, 5]] = operator(x).mean(axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_contact_term_of_a_source_is_the_sum_of_its_parts():
    lattice = Lattice((6, 2))
    sources = ScalarSources(lattice, ((1,), (2,)))
    x, coefficients = field(lattice, 3), np.random.default_rng(4).normal(size=(2, 3))

    def operator(x):
        conventional = lattice.unpack(x)
        return (conventional * np.roll(conventional, -1, axis=1)).sum(axis=2).T

    one = [Series.from_lanes(np.stack([term, term])) for term in contact_terms(sources, x, operator, 1)]
    expected = np.stack([values[0] for values in contact(one, coefficients).values], axis=-1)
    np.testing.assert_allclose(first_contact(sources, coefficients, x, operator, 1), expected, atol=1e-8)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="rows of 1 exponents"):
        ScalarSources(CHAIN, ((1, 0),))
    with pytest.raises(ValueError, match="0 or more"):
        ScalarSources(CHAIN, ((-1,),))
    o = Series.from_lanes(np.random.default_rng(1).normal(size=(20, 5, 2)))
    with pytest.raises(ValueError, match=r"radius: expected 0 \.\.\. 2"):
        fit_sources(o, [o], 3)
    with pytest.raises(ValueError, match="at least one field"):
        fit_sources(o, [], 1)
    with pytest.raises(ValueError, match="expected shape"):
        improved(o, [o], np.zeros((1, 2)))
    with pytest.raises(ValueError, match="one number of time slices"):
        two_point_function(o, o.split()[0])
    with pytest.raises(ValueError, match="two or three factors"):
        n_point_function((o,), (0,))
    with pytest.raises(ValueError, match="at least two chains"):
        cross_fit_sources(Series(o.values[:1], o.ids[:1]), [Series(o.values[:1], o.ids[:1])], 0)
    with pytest.raises(ValueError, match="reach"):
        contact_terms(ODD, field(CHAIN, 1), lambda x: x, -1)
