"""Fields of sources of gauge theories: divergences, symmetries, and correlators of a theory that is solved exactly."""

import numpy as np
import pytest
import scipy.special

from gaugeflow import kernels
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import (
    Series,
    contact,
    cross_fit_sources,
    gamma_method,
    improved,
    n_point_function,
    residual_share,
    two_point_function,
)
from gaugeflow.check.differences import differentiate, repeated
from gaugeflow.ensembles import (
    JoinedSources,
    PlaquetteSources,
    ScalarSources,
    SmearedSources,
    measure_sources,
    noisy_tangents,
)
from gaugeflow.flows import SmearedSweep, Smearing
from gaugeflow.groups import SU
from gaugeflow.lattice import Box, Lattice
from gaugeflow.observables import tensor_slices
from gaugeflow.observables.flow_scales import slice_sums
from gaugeflow.observables.loops import plaquette_sites
from gaugeflow.random import Rng, gauge_rotation, haar_links
from gaugeflow.samplers import HeatBath

SIGMAS = 4.0


def sweep(lattice, n=2, planes="isotropic"):
    return SmearedSweep(lattice, n, smearing=Smearing((0.06, 0.06), 2, (1, 2)), planes=planes)


def families(lattice, n=2, polarisation=None):
    smeared = SmearedSources(sweep(lattice, n), (1, 2), True, polarisation)
    return JoinedSources((PlaquetteSources(lattice, polarisation), smeared))


def plaquettes(lattice, n):
    """O_t = sum of Re tr P / N over the plaquettes between slices t and t + 1 of a lattice of two dimensions."""
    return lambda x: slice_sums(lattice, plaquette_sites(lattice, x, 0, 1), mean=False) / n


@pytest.mark.parametrize(
    ("shape", "n", "polarisation"),
    [((4, 4), 1, None), ((4, 2), 3, None), ((4, 2, 2), 2, None), ((2, 2, 2, 2), 2, (0.3, 0.7, -1.0))],
)
def test_divergence_against_differences(shape, n, polarisation):
    """All fields at once, every link along every generator: 1e-7 where entries are of order 1 to 100."""
    lattice = Lattice(shape)
    group, sources = SU(lattice), families(lattice, n, polarisation)
    x = haar_links(Rng(7), lattice, n, 1)
    dimension = group.dimension(x)
    many = repeated(group, x, dimension)
    units = group.tangent(many, np.eye(dimension))
    (slopes,) = differentiate(lambda e: (sources.vectors(group.retract(many, units, e)),))
    own = np.stack([np.diagonal(group.coordinates(slope)) for slope in slopes])  # (fields, dimension)
    by_site = own.reshape(len(own), lattice.ndim, lattice.volume, -1).sum(axis=(1, 3))
    few = many[..., :8]  # full registers
    found = sources.densities(few, 0.0 * few)[..., 0]
    np.testing.assert_allclose(found, by_site, atol=1e-7)
    force = group.tangent(few, np.random.default_rng(2).normal(size=(dimension, 8)))
    with_force = sources.tangents(few, force).sum(axis=1)
    along = np.array([group.inner(v, force) for v in sources.vectors(few)])
    np.testing.assert_allclose(with_force, found.sum(axis=1)[:, None] - along, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("masks", ["sum4", "parity"])
def test_slices_sum_to_the_tangents_of_the_sweep(masks):
    lattice, n = Lattice((4, 4, 4, 4)), 3
    x = haar_links(Rng(3), lattice, n, 8)
    force = WilsonAction(lattice, 5.0).grad(x)
    whole = SmearedSweep(lattice, n, Smearing((0.06, 0.06), 2, (1, 2)), "anisotropic", masks)
    sources = SmearedSources(whole, (2,), True)
    found = dict(zip(sources.names, sources.tangents(x, force).sum(axis=1), strict=True))
    expected = dict(zip(whole.fields, whole.tangent(x, force), strict=True))

    def total(start):
        return sum(value for name, value in found.items() if name.startswith(start))

    for kind in "AZ":
        np.testing.assert_allclose(total(f"{kind}2"), expected[kind].sum(axis=0), rtol=1e-10, atol=1e-9)
    for m in (1, 2):
        for row, planes in enumerate(("temporal", "spatial")):
            np.testing.assert_allclose(total(f"G{m} {planes}"), expected[f"G{m}"][row], rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("extent", [2, 3, 4, 5])
def test_forces_of_one_slice_are_gradients_of_its_plaquettes(extent):
    """time on t, up on t and down on t + 1 are -2 N times the gradient of O_t, for odd numbers of slices, too."""
    lattice, n = Lattice((extent, 4)), 2
    x = haar_links(Rng(5), lattice, n, 8)
    group, operator = SU(lattice), plaquettes(lattice, n)
    direction = group.tangent(x, np.random.default_rng(2).normal(size=(group.dimension(x), 8)))
    (slope,) = differentiate(lambda e: (operator(group.retract(x, direction, e)),))
    inner = [-2.0 * np.real(np.einsum("dvijb,dvjib->vb", v, direction)) for v in PlaquetteSources(lattice).vectors(x)]
    time, up, down = (slice_sums(lattice, part, mean=False) for part in inner)
    np.testing.assert_allclose(slope, -(time + up + np.roll(down, -1, axis=0)) / (2.0 * n), atol=1e-8)


def test_polarised_forces_are_gradients_of_tensor_operators():
    """``space`` with (1, -1, 0) is a multiple of the gradient of (P_1 - P_2) / sqrt 2, and rotations exchange polarisations."""
    lattice, n = Lattice((2, 4, 4, 4)), 2
    x = haar_links(Rng(5), lattice, n, 8)
    group = SU(lattice)
    direction = group.tangent(x, np.random.default_rng(2).normal(size=(group.dimension(x), 8)))
    (slope,) = differentiate(lambda e: (tensor_slices(lattice, group.retract(x, direction, e))[0],))
    sources = PlaquetteSources(lattice, (1.0, -1.0, 0.0))
    vector = sources.vectors(x)[sources.names.index("F0 space")]
    inner = slice_sums(lattice, -2.0 * np.real(np.einsum("dvijb,dvjib->vb", vector, direction)), mean=False)
    np.testing.assert_allclose(slope, inner / (2.0 * n) / np.sqrt(2.0), atol=1e-7)
    force = WilsonAction(lattice, 2.0).grad(x)
    conventional = lattice.unpack(x, 1)
    turned = np.swapaxes(conventional, 3, 4)[:, [0, 2, 1, 3]]  # directions 1 and 2 exchanged
    y = lattice.pack(turned, 1)
    found = families(lattice, n, (1.0, -1.0, 0.0)).tangents(x, force)
    other = families(lattice, n, (-1.0, 1.0, 0.0)).tangents(y, WilsonAction(lattice, 2.0).grad(y))
    np.testing.assert_allclose(other, found, atol=1e-9)


def test_symmetries():
    """Gauge rotations change no density, and translations in time by one slice move all of them along."""
    lattice, n = Lattice((4, 4, 4)), 2
    action, sources = WilsonAction(lattice, 2.0), families(lattice, n)
    x = haar_links(Rng(3), lattice, n, 8)
    h = sources.tangents(x, action.grad(x))
    rotated = kernels.gauge_transform(lattice, x, gauge_rotation(Rng(8), lattice, n, 8))
    np.testing.assert_allclose(sources.tangents(rotated, action.grad(rotated)), h, atol=1e-10)
    later = lattice.pack(np.roll(lattice.unpack(x, 1), 1, axis=2), 1)
    np.testing.assert_allclose(sources.tangents(later, action.grad(later)), np.roll(h, 1, axis=1), atol=1e-10)


def test_folds_give_the_same():
    plain, folded = Lattice((8, 4)), Lattice((8, 4), (2, 1))
    x = haar_links(Rng(3), plain, 2, 8)
    y = folded.pack(plain.unpack(x, 1), 1)
    found = [families(lat).tangents(z, WilsonAction(lat, 2.0).grad(z)) for lat, z in ((plain, x), (folded, y))]
    np.testing.assert_allclose(found[1], found[0], atol=1e-10)


@pytest.fixture(scope="module")
def u1():
    """Two-dimensional U(1) at beta = 2 on (12, 4), where plaquettes are independent up to 1e-7."""
    lattice, rng = Lattice((12, 4)), Rng(4)
    action, sampler = WilsonAction(lattice, 2.0), HeatBath(lattice, 2.0)
    fields = JoinedSources((PlaquetteSources(lattice), SmearedSources(sweep(lattice, 1), (1,), True)))
    measure = measure_sources(fields, action, plaquettes(lattice, 1), reach=1)
    state, rows = sampler.hot(rng, 1, 64), []
    for step in range(20 + 3 * 80):
        state, _ = sampler.step(rng, state)
        if step >= 20 and step % 3 == 0:
            rows.append(measure(state.x))
    return {name: Series.from_lanes(np.stack([row[name] for row in rows]), name=name) for name in rows[0]}


def chosen(table, kind, start=""):
    return [series for name, series in table.items() if name.startswith(f"{kind}|{start}")]


def pulls(series, expected):
    estimates = [gamma_method(one) for one in series.split()]
    return max(abs(e.value - c) / e.error for e, c in zip(estimates, np.atleast_1d(expected), strict=True))


def exact_plaquette(beta):
    """Mean and variance of cos P."""
    r1, r2 = (scipy.special.ive(k, beta) / scipy.special.ive(0, beta) for k in (1, 2))
    return r1, 0.5 * (1.0 + r2) - r1**2


def test_means_and_stein(u1):
    """<h> = 0 and <h O_t> = -<X.dO_t> at distances 0 and 1, for every field: 4 sigmas."""
    for h, terms in zip(chosen(u1, "h"), chosen(u1, "contact"), strict=True):
        assert pulls(Series(tuple(v.mean(axis=1) for v in h.values), h.ids), 0.0) < SIGMAS, h.name
        for t in (0, 1, 11):
            assert pulls(n_point_function((u1["operator"], h), (t, 0)) + terms.split()[t], 0.0) < SIGMAS, h.name


def test_one_sided_correlator_of_plaquettes(u1):
    """4 times the variance at t = 0 and nothing elsewhere: 4 sigmas, with a sixth of the variance."""
    operator = u1["operator"]
    coefficients = cross_fit_sources(operator, chosen(u1, "h"), 1)
    better = improved(operator, chosen(u1, "h"), coefficients)
    rho = gamma_method(residual_share(operator, better)).value
    assert rho < 0.15
    mean, variance = exact_plaquette(2.0)
    assert pulls(Series(tuple(v.mean(axis=1) for v in better.values), better.ids), 4.0 * mean) < SIGMAS
    whole = np.zeros(12)
    whole[0] = 4.0 * variance
    found = two_point_function(operator, better, contact(chosen(u1, "contact"), coefficients))
    assert pulls(found, whole) < SIGMAS
    plain = two_point_function(operator, operator)
    ratio = (gamma_method(found.split()[6]).error / gamma_method(plain.split()[6]).error) ** 2
    assert ratio < 1.6 * rho


def test_two_sided_correlator_of_plaquettes(u1):
    """Plaquette forces of radius 1 reach two slices: from t = 4 on nothing is to be added to <R_t R_0> = 0, 4 sigmas."""
    operator, h = u1["operator"], chosen(u1, "h", "F0")
    better = improved(operator, h, cross_fit_sources(operator, h, 1))
    rho = gamma_method(residual_share(operator, better)).value
    found, plain = (two_point_function(f, f) for f in (better, operator))
    apart = Series(tuple(v[:, 4:9] for v in found.values), found.ids)
    assert pulls(apart, np.zeros(5)) < SIGMAS
    ratio = (gamma_method(found.split()[6]).error / gamma_method(plain.split()[6]).error) ** 2
    assert ratio < 1.6 * rho**2 < 0.2
    near = gamma_method(found.split()[1])
    assert abs(near.value) > 10.0 * near.error  # where supports meet, contact terms are missed


def test_noisy_tangents_are_unbiased():
    """400 estimates on one configuration: every field and slice within 4 sigmas of the exact tangent, links and scalars."""
    lattice, n = Lattice((4, 4)), 2
    sources = PlaquetteSources(lattice)
    x = repeated(SU(lattice), haar_links(Rng(3), lattice, n, 1), 200)
    force = WilsonAction(lattice, 2.0).grad(x)
    scalars = ScalarSources(lattice, ((3,), (2,)), (1,))
    phi = np.repeat(np.random.default_rng(1).normal(size=(16, 1)), 200, axis=1)
    for fields, y, f in ((sources, x, force), (scalars, phi, phi)):
        found = noisy_tangents(Rng(5), lattice, fields.vectors, y, f, 2)
        exact = fields.tangents(y[..., :8], f[..., :8])[..., 0]
        error = found.std(axis=-1, ddof=1) / np.sqrt(200)
        assert np.max(np.abs(found.mean(axis=-1) - exact) / error) < SIGMAS
        other = noisy_tangents(Rng(6), lattice, fields.vectors, y, f, 2)
        product = ((found - exact[..., None]) * (other - exact[..., None])).mean(axis=-1)
        assert np.max(np.abs(product) / error**2) < SIGMAS * np.sqrt(200)
    with pytest.raises(ValueError, match="probes"):
        noisy_tangents(Rng(1), lattice, sources.vectors, x, force, 0)


def test_mean_of_wilson_loops():
    """Loops of 2 x 2 plaquettes of U(1) at beta = 2 from O_t + h_t: 4 sigmas of the area law, less than half the variance."""
    lattice, rng = Lattice((8, 8)), Rng(9)
    action, sampler = WilsonAction(lattice, 2.0), HeatBath(lattice, 2.0)
    fields = JoinedSources((PlaquetteSources(lattice), SmearedSources(sweep(lattice, 1), (1,))))

    def loops(x):
        u = lattice.unpack(x, 1)[..., 0, 0]
        p = u[:, 0] * np.roll(u[:, 1], -1, 1) * np.conj(np.roll(u[:, 0], -1, 2) * u[:, 1])
        column = p * np.roll(p, -1, 1)
        return np.real(column * np.roll(column, -1, 2)).sum(axis=2).T

    measure, rows = measure_sources(fields, action, loops), []
    state = sampler.hot(rng, 1, 64)
    for step in range(20 + 2 * 60):
        state, _ = sampler.step(rng, state)
        if step >= 20 and step % 2 == 0:
            rows.append(measure(state.x))
    table = {name: Series.from_lanes(np.stack([row[name] for row in rows]), name=name) for name in rows[0]}
    tangents = chosen(table, "h")
    better = improved(table["operator"], tangents, cross_fit_sources(table["operator"], tangents, 2))
    plain, found = (
        gamma_method(Series(tuple(v.mean(axis=1) for v in s.values), s.ids)) for s in (table["operator"], better)
    )
    assert abs(found.value - 8.0 * exact_plaquette(2.0)[0] ** 4) < SIGMAS * found.error
    assert found.error**2 < 0.5 * plain.error**2


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="two dimensions or more"):
        PlaquetteSources(Lattice((4,)))
    lattice = Lattice((4, 4))
    with pytest.raises(ValueError, match=r"steps: expected 1 \.\.\. 2"):
        SmearedSources(sweep(lattice), (0,))
    with pytest.raises(ValueError, match="polarisation: expected 2 numbers"):
        PlaquetteSources(Lattice((4, 2, 2)), (1.0, 1.0))
    with pytest.raises(ValueError, match="region"):
        SmearedSources(SmearedSweep(lattice, 2, region=Box((0, 0), (2, 4))), (1,))
    with pytest.raises(ValueError, match="different names"):
        JoinedSources((PlaquetteSources(lattice), PlaquetteSources(lattice)))
    with pytest.raises(ValueError, match="at least one family"):
        JoinedSources(())
    with pytest.raises(ValueError, match="one lattice"):
        JoinedSources((PlaquetteSources(lattice), PlaquetteSources(Lattice((4, 2)))))
