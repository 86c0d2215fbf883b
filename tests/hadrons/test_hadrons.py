"""Hadrons against dense matrices, closed forms of free fields and brute-force contractions, on tiny lattices.

Everything here runs on the reference kernels, which need no compilation; :mod:`test_chroma` runs the compiled ones.
"""

import itertools

import numpy as np
import pytest

from cases import fields
from gaugeflow import kernels, random
from gaugeflow.backend import use_backend
from gaugeflow.hadrons import (
    NOISE,
    Dilution,
    Gaussian,
    Propagator,
    Source,
    chiral_condensate,
    d_kappa,
    loops,
    meson_structures,
    momenta_up_to,
    noise,
    noise_field,
    point,
    propagator,
    spin_matrix,
    two_point,
    wall,
)
from gaugeflow.hadrons.gammas import charge_conjugation
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Wilson
from gaugeflow.random import Rng
from gaugeflow.sites.dirac import gamma


@pytest.fixture(autouse=True)
def _reference():
    with use_backend("reference"):
        yield


def dense(matrix):
    """A spin matrix as an array."""
    result = np.zeros((len(matrix),) * 2, dtype=complex)
    for i, (j, value) in enumerate(matrix):
        result[i, j] = value
    return result


def matrix_of(operator):
    """D of one configuration without fold, ``(V, spin, N, V, spin, N)``."""
    shape = operator.field_shape()[:3]
    size = int(np.prod(shape))
    unit = np.eye(size, dtype=complex).reshape(size, *shape, 1)
    return operator.apply(unit).reshape(size, size).T.reshape(*shape, *shape)


def inverse_of(operator):
    d = matrix_of(operator)
    size = int(np.prod(d.shape[:3]))
    return np.linalg.inv(d.reshape(size, size)).reshape(d.shape)


def unit_links(lattice, n, batch=1):
    links = np.zeros((lattice.ndim, lattice.n_blocks, n, n, lattice.n_folds * batch), dtype=complex)
    links[:, :, range(n), range(n)] = 1.0
    return links


# ---- gammas ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ndim", [2, 4])
def test_charge_conjugation(ndim):
    c = dense(charge_conjugation(ndim))
    for mu in range(ndim):
        g = dense(gamma(ndim, mu))
        np.testing.assert_array_equal(c @ g @ np.linalg.inv(c), -g.T)


def test_names_of_spin_matrices():
    g = [dense(gamma(4, mu)) for mu in range(4)]
    g5 = g[3] @ g[2] @ g[1] @ g[0]  # x y z t
    np.testing.assert_array_equal(dense(spin_matrix(4, "g5")), g5)
    np.testing.assert_array_equal(dense(spin_matrix(4, "g1g5")), g[1] @ g5)
    np.testing.assert_array_equal(dense(spin_matrix(4, "1")), np.eye(4))
    assert [len(meson_structures(4, name)) for name in ("rho", "a1", "b1")] == [3, 3, 3]
    for bad in ("g7", "pi", "", "g"):
        with pytest.raises(ValueError, match=r"spin matrix|meson"):
            spin_matrix(4, bad)
    with pytest.raises(ValueError, match="does not exist in 2 dimensions"):
        meson_structures(2, "b1")
    with pytest.raises(ValueError, match="expected one of"):
        meson_structures(4, "omega")


# ---- sources --------------------------------------------------------------------------------------------------------
def test_smeared_source_is_gauge_covariant():
    """With twisted boundary phases; and as the formula says on the first time slice of a folded lattice."""
    lattice = Lattice((2, 4, 2, 4), (1, 2, 1, 1))
    links = fields.links(lattice, 2, 2, seed=1)
    boundary = (-1.0, np.exp(0.3j), 1.0, 1j)
    g = random.gauge_rotation(Rng(3), lattice, 2, 2)
    operator = Wilson(lattice=lattice, links=links, kappa=0.1, boundary=boundary)
    rotated = operator.with_links(kernels.gauge_transform(lattice, links, g))
    site = (1, 3, 0, 2)
    source = point(operator, site, Gaussian(1.5, 5))
    there = point(rotated, site, Gaussian(1.5, 5)).field
    g_array, there, here = lattice.unpack(g), lattice.unpack(there, 1), lattice.unpack(source.field, 1)
    turned = np.einsum("btzyxij,bRtzyxsj->bRtzyxsi", g_array, here)
    # the source itself turns with g at its site: column c' of every spin
    at_site = g_array[:, 1, 3, 0, 2]
    back = np.einsum("bsctzyxuk,bcd->bsdtzyxuk", there.reshape(2, 4, 2, *there.shape[2:]), at_site)
    np.testing.assert_allclose(back.reshape(turned.shape), turned, atol=1e-13)
    assert not here[:, :, 0].any()
    assert np.all(np.sum(abs(here[:, :, 1]) ** 2, axis=(0, 1, 5, 6)) > 0)


def test_gaussian_on_unit_links():
    """Its second moment is 3 width^2 / 2, exactly, as long as nothing meets at the boundary."""
    lattice = Lattice((2, 12, 12, 12))
    operator = Wilson(lattice=lattice, links=unit_links(lattice, 1), kappa=0.1)
    field = lattice.unpack(point(operator, (0, 6, 6, 6), Gaussian(1.7, 5)).field[:1], 1)[0, 0, 0, ..., 0, 0].real
    z, y, x = np.indices((12, 12, 12)) - 6
    assert field.sum() == pytest.approx(1.0, rel=1e-13)
    assert np.sum(field * (x**2 + y**2 + z**2)) == pytest.approx(1.5 * 1.7**2, rel=1e-13)
    wave = lattice.pack(np.where((x + y + z) % 2, -1.0, 1.0)[None, None].repeat(2, axis=1)[..., None, None] + 0j)
    for width, steps in ((2.0, 5), (2.0, 7)):  # the shortest wave grows below 6 steps
        factor = (1 - 3 * width**2 / steps) ** steps
        np.testing.assert_allclose(Gaussian(width, steps)(lattice, operator.links, wave), factor * wave, rtol=1e-12)
        assert (abs(factor) < 1) == (steps > 1.5 * width**2)
    for bad in ((0.0, 5), (2.0, 0), (np.nan, 2), (1.0, 2.5)):
        with pytest.raises(ValueError, match=r"Gaussian: .*expected"):
            Gaussian(*bad)


def test_wall_is_the_sum_of_points():
    lattice = Lattice((4, 4), (2, 1))
    links = fields.links(lattice, 2, 2, seed=2)
    operator = Wilson(lattice=lattice, links=links, kappa=0.1)
    smearing = Gaussian(1.0, 2)
    found = wall(operator, 3, smearing, momentum=(1,))
    expected = sum(np.exp(2j * np.pi * x / 4) * point(operator, (3, x), smearing).field for x in range(4))
    np.testing.assert_allclose(found.field, expected, atol=1e-14)
    assert found.origin == (3, 0)


@pytest.mark.parametrize("kind", ["z2", "z4", "u1"])
def test_noise_is_the_same_for_any_fold_and_batch(kind):
    flat, folded = Lattice((4, 4)), Lattice((4, 4), (2, 2))
    operators = [Wilson(lattice=x, links=fields.links(x, 2, 3), kappa=0.1) for x in (flat, folded)]
    one, two = (x.unpack(noise_field(o, Rng(5), kind)) for x, o in zip((flat, folded), operators, strict=True))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(abs(one), 1.0, atol=1e-15)
    assert len(np.unique(np.round(one, 9))) == {"z2": 2, "z4": 4, "u1": one.size}[kind]
    assert abs(one.mean()) < 4 / np.sqrt(one.size)
    streams = [Rng(5).stream(k) for k in range(3)]
    each = folded.unpack(noise_field(operators[1], streams, kind))
    for k in range(3):
        alone = noise_field(operators[0].select([k]), [streams[k]], kind)
        np.testing.assert_array_equal(flat.unpack(alone)[0], each[k])
    with pytest.raises(ValueError, match="expected 3 streams"):
        noise_field(operators[0], streams[:2], kind)


def test_dilution_adds_up():
    lattice = Lattice((4, 4), (2, 1))
    operator = Wilson(lattice=lattice, links=fields.links(lattice, 2, 2), kappa=0.1)
    eta = noise_field(operator, Rng(1))
    for flags in itertools.product((False, True), repeat=4):
        dilution = Dilution(*flags)
        parts = np.concatenate(list(dilution.parts(operator, eta, 5)))
        assert len(parts) == dilution.count(lattice, 2, 2)
        np.testing.assert_array_equal(parts.sum(axis=0), eta)
        assert np.all(np.sum(parts != 0, axis=0) == 1)


# ---- mesons ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("twisted_mass", [0.0, 0.2])
def test_mesons_by_the_whole_inverse(twisted_mass):
    """-tr Gamma S(x, 0) Gamma-bar S(0, x) with both propagators from the inverse matrix, any boundary phases and momentum."""
    lattice = Lattice((4, 4))
    origin, boundary = (2, 1), (np.exp(0.4j), np.exp(0.7j))
    links = fields.links(lattice, 2, 1, seed=3)
    quark, antiquark = (
        Wilson(lattice=lattice, links=links, kappa=0.15, boundary=boundary, twisted_mass=mu)
        for mu in (twisted_mass, -twisted_mass)
    )
    s = inverse_of(quark).reshape(4, 4, 2, 2, 4, 4, 2, 2)
    forward, backward = s[..., *origin, :, :], s[*origin, ...]  # (t, x, s, c, s', c') and (s, c, t, x, s', c')
    channels = ("pion", "rho", "a0", "pion_axial", "g0", "g0g5", "g1g5")
    momenta = momenta_up_to(2, 1)
    # gamma_5 D(mu)^dagger gamma_5 = D(-mu): the same flavour comes back from the solution for -mu
    options = {"tolerance": 1e-13}
    pair = [propagator(o, point(o, origin), **options) for o in (quark, antiquark)]
    found = two_point(*pair, channels=channels, momenta=momenta)
    assert found.values.shape == (7, 3, 4, 1)
    x = np.arange(4)
    for channel in channels:
        (structure,) = meson_structures(2, channel)
        g, time = dense(structure), dense(gamma(2, 0))
        density = -np.einsum("ij,txjckd,kl,ldtxic->tx", g, forward, time @ g.conj().T @ time, backward)
        for k, (n,) in enumerate(momenta):
            wave = np.exp(-2j * np.pi * n * (x - origin[1]) / 4)
            expected = np.roll(np.sum(density * wave, axis=1), -origin[0])
            np.testing.assert_allclose(found[channel][k, :, 0], expected, atol=1e-12, err_msg=channel)
    with pytest.raises(KeyError, match="expected one of"):
        found["nucleon"]


def free_slices(shape, kappa, boundary):
    """S(t, p) of the free quark in closed form, ``(T, space, spin, spin)``."""
    d = len(shape)
    grids = [(2 * np.pi * np.arange(n) + np.angle(phase)) / n for n, phase in zip(shape, boundary, strict=True)]
    p = np.array(np.meshgrid(*grids, indexing="ij")).reshape(d, shape[0], -1)
    g = np.array([dense(gamma(d, mu)) for mu in range(d)])
    a = 1 - 2 * kappa * np.cos(p).sum(axis=0)
    b = 2 * kappa * np.sin(p)
    slash = np.einsum("mtp,mij->tpij", b, g)
    s = (a[..., None, None] * np.eye(len(g[0])) - 1j * slash) / (a**2 + (b**2).sum(axis=0))[..., None, None]
    t = np.arange(shape[0])
    return np.einsum("ts,spij->tpij", np.exp(1j * t[:, None] * grids[0]), s) / shape[0]


@pytest.mark.parametrize(
    ("shape", "origin", "boundary"),
    [
        ((6, 4, 2, 4), (0, 0, 0, 0), (-1.0, 1.0, 1.0, 1.0)),
        ((4, 4, 2, 4), (3, 2, 1, 0), (np.exp(0.5j), -1.0, np.exp(0.9j), 1.0)),
        ((6, 8), (4, 3), (-1.0, 1.0)),
    ],
)
def test_free_mesons_in_closed_form(shape, origin, boundary):
    """C(q, t) = (N / V_s) sum_p -tr Gamma S(t, p) Gamma-bar gamma_5 S(t, p - q)^dagger gamma_5, source anywhere."""
    kappa, n, d = 0.11, 2, len(shape)
    lattice = Lattice(shape)
    operator = Wilson(lattice=lattice, links=unit_links(lattice, n), kappa=kappa, boundary=boundary)
    channels = ("pion", "rho", "a0", "a1", "g0")
    momenta = ((0,) * (d - 1), (1, *(0,) * (d - 2)))
    source = point(operator, origin)
    found = two_point(propagator(operator, source, tolerance=1e-13), channels=channels, momenta=momenta)
    s = free_slices(shape, kappa, boundary)
    g5, time = dense(spin_matrix(d, "g5")), dense(gamma(d, 0))
    place = np.arange(s.shape[1]).reshape(shape[1:])
    for k, shift in enumerate((0, 1)):
        moved = s[:, np.roll(place, shift, axis=0).reshape(-1)]
        for channel in channels:
            structures = [dense(m) for m in meson_structures(d, channel)]
            value = sum(
                -np.einsum(
                    "ij,tpjk,kl,tpml,mi->t", g5 @ g, s, time @ g.conj().T @ time @ g5, moved.conj(), np.eye(len(g))
                )
                for g in structures
            )
            expected = n * value / (len(structures) * s.shape[1])
            np.testing.assert_allclose(found[channel][k, :, 0], expected, atol=1e-12, err_msg=f"{channel} {momenta[k]}")
    pion = found["pion"][0, :, 0].real
    np.testing.assert_allclose(pion, n * np.sum(abs(s) ** 2, axis=(1, 2, 3)) / s.shape[1], atol=1e-12)


def test_pair_with_different_twists():
    """Quark and antiquark of different spatial phases: momentum (theta_1 - theta_2) / L, wherever the source is."""
    lattice = Lattice((4, 4))
    found = []
    for origin in ((0, 0), (3, 2)):
        pair = []
        for boundary in ((-1.0, np.exp(0.8j)), (np.exp(0.3j), 1.0)):
            operator = Wilson(lattice=lattice, links=unit_links(lattice, 1), kappa=0.2, boundary=boundary)
            pair.append(propagator(operator, point(operator, origin), tolerance=1e-13))
        found.append(two_point(*pair, channels=("pion", "g1"), momenta=((0,), (1,))).values)
    np.testing.assert_allclose(*found, atol=1e-12)
    assert np.max(abs(found[0])) > 0.1


def test_fold_batch_and_smeared_sink(rng):
    """The same numbers for a folded lattice and for every configuration alone: sources, smeared sinks, correlators.

    In place of propagators, which solvers make, random numbers.
    """
    shape, site = (4, 2, 2, 4), (1, 1, 0, 3)
    flat, folded = Lattice(shape), Lattice(shape, (2, 1, 1, 2))
    array = fields.group_array(shape, 3, 2, seed=4)
    quarks = rng.normal(size=(2, *shape, 4, 3, 4, 3)) + 1j * rng.normal(size=(2, *shape, 4, 3, 4, 3))
    smearing = Gaussian(1.2, 2)
    boundary = (-1.0, 1.0, np.exp(0.4j), 1.0)
    channels, momenta = ("pion", "rho", "a1", "nucleon"), momenta_up_to(4, 1)
    found = []
    for lattice, part in ((folded, slice(0, 2)), (flat, slice(0, 1)), (flat, slice(1, 2))):
        links = lattice.pack(array[part], components=1)
        operator = Wilson(lattice=lattice, links=links, kappa=0.1, boundary=boundary)
        source = lattice.unpack(point(operator, site, smearing).field, components=1)
        s = Propagator.from_array(lattice, quarks[part], site, boundary)
        np.testing.assert_array_equal(s.array(), quarks[part])
        values = two_point(s.smeared(links, smearing), channels=channels, momenta=momenta).values
        found.append((source, np.moveaxis(values, -1, 0)))
    for k, name in enumerate(("source", "correlators")):
        alone = np.concatenate([found[1][k], found[2][k]])
        np.testing.assert_allclose(found[0][k], alone, rtol=1e-11, atol=1e-12 * abs(alone).max(), err_msg=name)


def test_propagators_do_not_depend_on_fold_and_batch():
    """The solver included: two dimensions, to its tolerance."""
    flat, folded = Lattice((8, 4)), Lattice((8, 4), (4, 1))
    array = fields.group_array((8, 4), 2, 2, seed=4)
    found = []
    for lattice, part in ((folded, array), (flat, array[:1]), (flat, array[1:])):
        operator = Clover(lattice=lattice, links=lattice.pack(part, components=1), kappa=0.1, csw=1.0)
        s = propagator(operator, point(operator, (3, 1)), tolerance=1e-13)
        found.append(two_point(s, momenta=momenta_up_to(2, 1)).values)
    np.testing.assert_allclose(found[0], np.concatenate(found[1:], axis=-1), atol=1e-12)
    assert abs(found[0]).max() > 0.1


def test_one_end_trick():
    """Noise on a time slice: the mean over its sites of point sources, within four sigma of 100 noises."""
    lattice = Lattice((4, 4))
    links = fields.links(lattice, 2, 1, seed=5)
    operator = Wilson(lattice=lattice, links=links, kappa=0.15)
    momenta = ((0,), (1,))
    points = [two_point(propagator(operator, point(operator, (1, x))), momenta=momenta) for x in range(4)]
    exact = np.mean([c.values for c in points], axis=0)
    many = operator.select([0] * 100)
    streams = [Rng(6).stream(k) for k in range(100)]
    for dilute_colour in (False, True):
        options = {"kind": "z2", "dilute_colour": dilute_colour}
        plain = propagator(many, noise(many, streams, 1, **options))
        moving = propagator(many, noise(many, streams, 1, momentum=(1,), **options))
        hits = np.concatenate([two_point(plain).values, two_point(moving, plain, momenta=((1,),)).values], axis=1)
        error = hits.real.std(axis=-1) / 10
        assert np.all(error[0, 0] < 0.05 * exact[0, 0, :, 0].real)
        assert np.all(abs(hits.real.mean(axis=-1) - exact[..., 0].real) < 4 * error + 1e-14)


# ---- nucleon --------------------------------------------------------------------------------------------------------
def brute_force_nucleon(s, sign):
    """tr P <chi chi-bar> from all Wick contractions; ``s`` is ``(site, s, c, s', c')``."""
    epsilon = np.zeros((3, 3, 3))
    for p in itertools.permutations(range(3)):
        epsilon[p] = np.linalg.det(np.eye(3)[list(p)])
    g = [dense(gamma(4, mu)) for mu in range(4)]
    g5 = g[3] @ g[2] @ g[1] @ g[0]
    pair = g[0] @ g[2] @ g5  # C gamma_5 with C = gamma_t gamma_y
    # chi = epsilon (u^T pair d) u = epsilon pair_ij u_i d_j u_k; chi^dagger reverses it; psi^dagger = psi-bar gamma_0
    create = np.einsum("ij,ik,jl->kl", pair.conj(), g[0].T, g[0].T)
    projector = (np.eye(4) + sign * g[0]) / 2
    total = 0
    # (u_aα, d_bβ, u_cγ) with (ubar_fζ, dbar_eδ, ubar_hη): two ways to pair the u's, the second with a minus sign
    for order, weight in (("fz", "hy"), 1), (("hy", "fz"), -1):
        (f1, z1), (f2, z2) = order
        expression = f"abc,feh,ij,zd,yk,xia{z1}{f1},xjbde,xkc{z2}{f2}->x"
        total = total + weight * np.einsum(
            expression, epsilon, epsilon, pair, create, projector, s, s, s, optimize="greedy"
        )
    return total


@pytest.mark.parametrize(("channel", "sign"), [("nucleon", 1), ("nucleon_minus", -1)])
def test_nucleon_by_brute_force(channel, sign, rng):
    """Random numbers in place of a propagator, with momentum and a source that is not at the origin."""
    lattice = Lattice((3, 2, 2, 2))
    field = rng.normal(size=(12, lattice.volume, 4, 3, 2)) + 1j * rng.normal(size=(12, lattice.volume, 4, 3, 2))
    s = Propagator(lattice, field, (1, 0, 1, 1), (-1.0, 1.0, 1.0, 1.0))
    found = two_point(s, channels=(channel,), momenta=((0, 0, 0), (0, 0, 1)))[channel]
    array = s.array()
    for b in range(2):
        density = brute_force_nucleon(array[b].reshape(-1, 4, 3, 4, 3), sign).reshape(lattice.shape)
        density[0] *= -1  # across the antiperiodic boundary
        for k, phase in enumerate((np.array([1, 1]), np.array([-1, 1]))):
            expected = np.roll(np.einsum("tzyx,x->t", density, phase), -1)
            np.testing.assert_allclose(found[k, :, b], expected, rtol=1e-11)


def test_free_nucleon():
    """Positive, and its projections mirror each other: C_minus(T - t) = b^3 C(t)."""
    lattice = Lattice((6, 2, 2, 2))
    for phase in (-1.0, 1.0):
        boundary = (phase, 1.0, 1.0, 1.0)
        operator = Wilson(lattice=lattice, links=unit_links(lattice, 3), kappa=0.1, boundary=boundary)
        source = point(operator, (2, 0, 1, 0), Gaussian(1.0, 2))
        c = two_point(propagator(operator, source, tolerance=1e-12), channels=("nucleon", "nucleon_minus"))
        plus, minus = c["nucleon"][0, :, 0], c["nucleon_minus"][0, :, 0]
        assert np.all(plus[:4].real > 0)
        np.testing.assert_allclose(minus[1:][::-1], phase * plus[1:], rtol=1e-8, atol=1e-14)


def test_nucleon_needs_three_colours():
    lattice = Lattice((2, 2, 2, 2))
    operator = Wilson(lattice=lattice, links=fields.links(lattice, 2, 1), kappa=0.1)
    field = operator.zeros(8)
    s = Propagator(lattice, field, (0, 0, 0, 0), operator.boundary)
    with pytest.raises(ValueError, match="nucleon: expected four dimensions, three colours"):
        two_point(s, channels=("nucleon",))


# ---- loops ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("shape", "options", "gain"),
    [
        ((4, 4), {}, 3.0),
        ((4, 4), {"csw": 1.0}, 1.3),
        ((4, 4), {"twisted_mass": 0.2}, 1.3),
        ((2, 4), {}, 1.3),
        ((4, 3), {}, 1.5),
    ],
)
def test_loops_against_exact_traces(shape, options, gain):
    """tr D^-1 and tr gamma D^-1 of every time slice within four sigma of 64 noises, less of them by what has no trace."""
    lattice = Lattice(shape)
    links = fields.links(lattice, 2, 1, seed=6)
    kind = Clover if "csw" in options else Wilson
    operator = kind(lattice=lattice, links=links, kappa=0.12, **options)
    s = inverse_of(operator).reshape(*shape, 2, 2, *shape, 2, 2)
    many = operator.select([0] * 64)
    streams = [Rng(7).stream(k) for k in range(64)]
    spread = {}
    for subtract in (True, False):
        result = loops(many, streams, structures=("1", "g5", "g0"), tolerance=1e-11, subtract=subtract)
        assert result.values.shape == (3, 1, shape[0], 64)
        values = result.values[:, 0]
        error = (values.real.std(axis=-1) + values.imag.std(axis=-1)) / 8
        for k, name in enumerate(result.structures):
            exact = np.einsum("ij,txjctxic->t", dense(spin_matrix(2, name)), s)
            assert np.all(abs(values[k].mean(axis=-1) - exact) < 4 * error[k] + 1e-12)
        spread[subtract] = result.trace()[0].std()
    assert spread[False] > gain * spread[True]


def test_derivative_with_respect_to_kappa():
    """Against log det of the matrix; the condensate is the same in both forms of the operator."""
    lattice = Lattice((4, 4))
    links = fields.links(lattice, 2, 1, seed=6)
    operator = Clover(lattice=lattice, links=links, kappa=0.16, csw=1.0)

    def action(kappa):
        d = matrix_of(Clover(lattice=lattice, links=links, kappa=kappa, csw=1.0))
        return -2 * np.linalg.slogdet(d.reshape(64, 64))[1]

    h = 1e-3
    near, far = (action(0.16 + k * h) - action(0.16 - k * h) for k in (1, 2))
    trace = np.einsum("xicxic->", inverse_of(operator)).real
    assert d_kappa(operator, trace) == pytest.approx((8 * near - far) / (12 * h), rel=1e-8)
    mass_form = Clover(lattice=lattice, links=links, mass=1 / 0.32 - 2, csw=1.0)
    m_trace = np.einsum("xicxic->", inverse_of(mass_form)).real
    assert chiral_condensate(operator, trace) == pytest.approx(chiral_condensate(mass_form, m_trace), rel=1e-12)
    with pytest.raises(ValueError, match="needs the kappa form"):
        d_kappa(mass_form, m_trace)


def test_loops_of_full_dilution_are_exact():
    """One site, spin and colour at a time: no variance is left, whatever the noise."""
    lattice = Lattice((2, 2))
    operator = Wilson(lattice=lattice, links=fields.links(lattice, 1, 1, seed=8), kappa=0.2)
    result = loops(operator, Rng(1), dilution=Dilution(True, True, True, True), tolerance=1e-13, kind="u1")
    s = inverse_of(operator)  # parity and time single out a site on 2 x 2
    assert result.trace()[0, 0] == pytest.approx(np.einsum("xicxic->", s).real, rel=1e-12)
    with pytest.raises(ValueError, match="hits: expected"):
        loops(operator, Rng(1), 0)


# ---- any array library -----------------------------------------------------------------------------------------------
def test_follows_the_array_standard():
    """array-api-strict refuses what only NumPy offers; the numbers are the same."""
    strict = pytest.importorskip("array_api_strict")
    lattice, four = Lattice((4, 4), (2, 1)), Lattice((2, 2, 2, 2))
    field = fields.group_array((2, 2, 2, 2), 12, 1)[0].reshape(12, 16, 4, 3, 4)
    found = []
    for xp in (np, strict):
        links = xp.asarray(fields.links(lattice, 2, 1))
        quark = Clover(lattice=lattice, links=links, kappa=0.05, csw=1.0)
        s = propagator(quark, point(quark, (1, 0), Gaussian(1.0, 2)), tolerance=1e-3).smeared(links, Gaussian(1.0, 2))
        again = Propagator.from_array(lattice, s.array(), s.origin, s.boundary)
        arrays = [two_point(again, momenta=momenta_up_to(2, 1)).values, wall(quark, 0, momentum=(1,)).field]
        arrays += [noise(quark, Rng(1), 0, kind=kind).field for kind in NOISE]
        three = Propagator(four, xp.asarray(field), (1, 0, 0, 0), (-1.0, 1.0, 1.0, 1.0))
        arrays.append(two_point(three, channels=("b1", "nucleon"), momenta=momenta_up_to(4, 1)).values)
        result = loops(quark, Rng(1), dilution=Dilution(time=False, parity=True), tolerance=1e-3)
        arrays += [result.values, chiral_condensate(quark, result.trace()), d_kappa(quark, result.trace())]
        found.append([np.asarray(array) for array in arrays])
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


# ---- errors ---------------------------------------------------------------------------------------------------------
def test_bad_input_is_named():
    lattice = Lattice((4, 4))
    operator = Wilson(lattice=lattice, links=fields.links(lattice, 1, 1), kappa=0.1)
    for call, message in (
        (lambda: point(operator, (4, 0)), "site: expected coordinates on the lattice"),
        (lambda: wall(operator, 4), "time: expected 0 ... 3, got 4"),
        (lambda: wall(operator, 0, momentum=(1, 1)), "momentum: expected 1 integers"),
        (lambda: noise(operator, Rng(1), 0, kind="z3"), "noise: expected one of"),
        (lambda: momenta_up_to(2, -1), "momenta: expected"),
        (lambda: Propagator(lattice, np.zeros((3, 16, 2, 1, 1)), (0, 0), (1, 1)), "propagator: expected shape"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    one, two = (propagator(operator, point(operator, site)) for site in ((0, 0), (1, 0)))
    with pytest.raises(ValueError, match="antiquark: expected fields"):
        two_point(one, two)
    with pytest.raises(ValueError, match="momentum: expected 1 integers"):
        two_point(one, momenta=((0, 0),))
    assert isinstance(point(operator, (0, 0)), Source)
    staggered = Propagator(lattice, np.zeros((1, 16, 1, 1, 1), dtype=complex), (0, 0), (1.0, 1.0))
    with pytest.raises(ValueError, match="expected Dirac spinors of 2 components, got 1"):
        two_point(staggered)
