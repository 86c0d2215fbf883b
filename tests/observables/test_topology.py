"""Charges and improved energy against walks in plain NumPy, fluxes and waves with known values."""

import itertools
import math

import array_api_strict
import numpy as np
import pytest

from cases.fields import group_array, links
from gaugeflow import check, observables
from gaugeflow.backend import use_backend
from gaugeflow.lattice import Lattice
from gaugeflow.observables import LinkObservable, flow_history, topology
from gaugeflow.random import Rng, haar_links

SHAPE = (4, 4, 2, 2)
LATTICE, FOLDED = Lattice(SHAPE), Lattice(SHAPE, (2, 2, 1, 1))
FOUR = {
    "clover": observables.clover_charge,
    "plaquette": observables.plaquette_charge,
    "five-loop": observables.five_loop_charge,
}


# ---- brute force ---------------------------------------------------------------------------------------------------
def walk(u, steps):
    """Product of links along steps +-(mu + 1) from every site of ``(d, *shape, n, n)``."""
    d = len(u)
    total, site = np.eye(u.shape[-1]), [0] * d
    for step in steps:
        mu = abs(step) - 1
        site[mu] -= step < 0
        link = np.roll(u[mu], [-x for x in site], axis=tuple(range(d)))
        total = total @ (link.conj().swapaxes(-1, -2) if step < 0 else link)
        site[mu] += step > 0
    return total


def loop(mu, nu, m, n):
    """m steps of mu, n of nu and back."""
    return [mu] * m + [nu] * n + [-mu] * m + [-nu] * n


def quadrants(mu, nu, m, n):
    """The four m x n loops around a site that turn from mu to nu."""
    return loop(mu, nu, m, n), loop(nu, -mu, n, m), loop(-mu, -nu, m, n), loop(-nu, mu, n, m)


def hermitian(loops):
    """Traceless (A - A^dagger) / 2i."""
    f = (loops - loops.conj().swapaxes(-1, -2)) / 2j
    n = f.shape[-1]
    return f - np.trace(f, axis1=-2, axis2=-1)[..., None, None] * np.eye(n) / n if n > 1 else f


def sign(permutation):
    return np.linalg.det(np.eye(4)[list(permutation)])


def charge(strength):
    """Sum of (1 / 32 pi^2) eps tr F F over all permutations of (t, z, y, x), eps_xyzt = +1; F by ordered pairs."""
    total = 0.0
    for mu, nu, rho, sigma in itertools.permutations(range(4)):
        xyzt = [3 - k for k in (mu, nu, rho, sigma)]  # axes are t, z, y, x
        total += sign(xyzt) * np.einsum("...ab,...ba->...", strength[mu, nu], strength[rho, sigma]).real.sum()
    return total / (32 * np.pi**2)


def strengths(u, paths):
    found = {}
    for mu, nu in itertools.permutations(range(len(u)), 2):
        leaves = [walk(u, steps) for steps in paths(mu + 1, nu + 1)]
        found[mu, nu] = hermitian(sum(leaves) / len(leaves))
    return found


def rectangles(m, n):
    both = {(m, n), (n, m)}
    return lambda mu, nu: [steps for p, q in sorted(both) for steps in quadrants(mu, nu, p, q)]


def brute(u, name):
    if name == "clover":
        return charge(strengths(u, rectangles(1, 1)))
    if name == "plaquette":
        return sum(charge(strengths(u, lambda mu, nu, s=s: [loop(s * mu, s * nu, 1, 1)])) for s in (1, -1)) / 2
    c5 = 1 / 20
    c = [(19 - 55 * c5) / 9, (1 - 64 * c5) / 9, (-64 + 640 * c5) / 45, 1 / 5 - 2 * c5, c5]
    sizes = [(1, 1), (2, 2), (1, 2), (1, 3), (3, 3)]
    return sum(
        a * charge({k: f / (m * n) for k, f in strengths(u, rectangles(m, n)).items()})
        for a, (m, n) in zip(c, sizes, strict=True)
    )


@pytest.mark.parametrize("name", FOUR)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_charges_of_random_links(name, n):
    """Walks along every path, and the definition with all 24 permutations; reference driver and folded arrays."""
    u = group_array(SHAPE, n, 1)[0]
    with use_backend("reference"):
        found = FOUR[name](FOLDED, FOLDED.pack(u[None], components=1))
    np.testing.assert_allclose(found, brute(u, name), atol=1e-11)


def test_sixteen_orientations_of_plaquettes_are_the_clover():
    """What the docstring of the plaquette charge says; the trace of the clover is not subtracted in between for SU(2)."""
    u = group_array(SHAPE, 2, 1)[0]
    total = 0.0
    for signs in itertools.product((1, -1), repeat=4):
        found = strengths(u, lambda mu, nu, s=signs: [loop(s[mu - 1] * mu, s[nu - 1] * nu, 1, 1)])
        total += charge({(mu, nu): signs[mu] * signs[nu] * f for (mu, nu), f in found.items()}) / 16
    assert total == pytest.approx(brute(u, "clover"), abs=1e-12)


def test_a_reflection_of_all_axes_keeps_the_plaquette_charge():
    u = group_array(SHAPE, 3, 1)[0]
    axes = tuple(range(4))
    opposite = [np.roll(np.flip(u[mu], axes), 1, axis=axes) for mu in range(4)]  # U(-x)
    mirrored = np.stack([np.roll(v, -1, axis=mu) for mu, v in enumerate(opposite)]).conj().swapaxes(-1, -2)
    with use_backend("reference"):
        one, two = (observables.plaquette_charge(LATTICE, LATTICE.pack(x[None], components=1)) for x in (u, mirrored))
    np.testing.assert_allclose(one, two, atol=1e-12)


@pytest.mark.parametrize("name", FOUR)
def test_contract(name, rng):
    """Gauge invariance, lanes that do not mix, strict arrays; kernels are compared with the reference elsewhere."""
    observable, x = LinkObservable(name, FOLDED, FOUR[name]), links(FOLDED, 3, 2)
    small = links(FOLDED, 2, 1)
    with use_backend("reference"):
        check.check_observable(observable, FOLDED, x)
        check.check_gauge_covariance(observable, FOLDED, x, rng)
        np.testing.assert_allclose(
            np.asarray(FOUR[name](FOLDED, array_api_strict.asarray(small))), FOUR[name](FOLDED, small), atol=1e-12
        )
    with pytest.raises(ValueError, match=f"the {name} charge needs four dimensions"):
        FOUR[name](Lattice((4, 4)), links(Lattice((4, 4)), 2, 1))


# ---- fields with known values --------------------------------------------------------------------------------------
def flux(shape, plane, number):
    """Angles ``(d, *shape)`` of a constant field with ``number`` quanta of flux through a plane of the torus."""
    mu, nu = plane
    x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    angle, f = np.zeros((len(shape), *shape)), 2 * np.pi * number / (shape[mu] * shape[nu])
    angle[nu] = f * x[mu]
    angle[mu] = np.where(x[mu] == shape[mu] - 1, -f * shape[mu] * x[nu], 0.0)
    return angle


def diagonal(lattice, angle, charges):
    """Links diag(exp(i q angle)) for each q."""
    u = np.exp(1j * angle[..., None] * np.array(charges, dtype=float))
    return lattice.pack((u[..., None] * np.eye(len(charges)))[None], components=1)


@pytest.mark.parametrize(("charges", "quanta"), [((1,), (1, 1)), ((1, -1), (1, -2)), ((1, -1, 0), (-2, 1))])
def test_fluxes_in_two_planes(charges, quanta):
    """n_1 quanta in (t, z) and n_2 in (y, x) have Q = n_1 n_2 sum q^2; on the lattice f becomes sin(m n f) / (m n)."""
    lattice = Lattice((6, 4, 4, 6))
    angle = flux(lattice.shape, (0, 1), quanta[0]) + flux(lattice.shape, (2, 3), quanta[1])
    x = diagonal(lattice, angle, charges)
    f1, f2 = (2 * math.pi * k / 24 for k in quanta)
    squares = sum(q * q for q in charges)

    def exact(area):
        return squares * math.sin(area * f1) * math.sin(area * f2) / area**2 * lattice.volume / (4 * math.pi**2)

    areas = [m * n for m, n in topology.LOOPS]
    five = sum(c * exact(area) for c, area in zip(topology.five_loop_coefficients(), areas, strict=True))
    expected = {"clover": exact(1), "plaquette": exact(1), "five-loop": five}
    with use_backend("reference"):
        for name, function in FOUR.items():
            np.testing.assert_allclose(function(lattice, x), expected[name], rtol=1e-11, err_msg=name)
    wanted = quanta[0] * quanta[1] * squares
    assert expected["clover"] / wanted == pytest.approx(1, abs=0.1)  # the sign: a self-dual field has Q > 0


def test_five_loops_begin_their_errors_at_the_sixth_power():
    """The moments that the coefficients cancel, for any c5, and the energy of a smooth wave of momentum k: k^6, clover k^2."""
    for c5 in (0.0, 1 / 20, 0.3):
        c = np.array(topology.five_loop_coefficients(c5))
        m, n = np.array(topology.LOOPS, dtype=float).T
        moments = [c.sum(), (c * (m**2 + n**2)).sum(), (c * (m**4 + n**4)).sum(), (c * m**2 * n**2).sum()]
        np.testing.assert_allclose(moments, [1, 0, 0, 0], atol=1e-13)
    errors = {"clover": [], "five-loop": []}
    for extent in (32, 64):
        lattice = Lattice((extent, extent))
        k, epsilon = 2 * math.pi / extent, 1e-4 / extent**2
        t, x = np.meshgrid(np.arange(extent), np.arange(extent), indexing="ij")
        # A_x = epsilon sin(k t + k x) / k: its integral along a link, and F_tx = epsilon cos(k t + k x)
        angle = np.zeros((2, extent, extent))
        angle[1] = epsilon / k**2 * (np.cos(k * t + k * x) - np.cos(k * t + k * (x + 1)))
        u = diagonal(lattice, angle, (1,))
        exact = epsilon**2 / 2
        with use_backend("reference"):
            improved = topology.five_loop_densities(lattice, u)[0].sum() / extent**2
            clover = float(flow_history(lattice, u, (0.0,)).e_clover_temporal[0, 0])
        errors["clover"].append(abs(clover / exact - 1))
        errors["five-loop"].append(abs(float(improved) / exact - 1))
    assert math.log2(errors["clover"][0] / errors["clover"][1]) == pytest.approx(2, abs=0.05)
    assert math.log2(errors["five-loop"][0] / errors["five-loop"][1]) == pytest.approx(6, abs=0.1)


def test_integer_charge_is_the_flux_and_its_sign():
    """n quanta from direction 0 (time) to direction 1 (x); every slice has its share."""
    lattice = Lattice((4, 6), (2, 1))
    x = diagonal(lattice, flux(lattice.shape, (0, 1), -2), (1,))
    with use_backend("reference"):
        history = flow_history(lattice, x, (0.0, 0.1), slices=True)
        np.testing.assert_array_equal(observables.integer_charge(lattice, x), [-2.0])
    np.testing.assert_array_equal(history.q, [[-2.0], [-2.0]])
    np.testing.assert_allclose(history.slices.q, -0.5, atol=1e-12)


# ---- histories -----------------------------------------------------------------------------------------------------
def test_history_with_everything():
    """Slices add up, further charges are those of the flowed links, and nothing else depends on them."""
    x = links(FOLDED, 3, 2)
    with use_backend("reference"):
        plain = flow_history(FOLDED, x, (0.0, 0.04))
        history = flow_history(FOLDED, x, (0.0, 0.04), charges=("plaquette", "five-loop"), slices=True)
        flowed = observables.advance(FOLDED, x, 0.04)
        np.testing.assert_allclose(history.q_plaquette[1], observables.plaquette_charge(FOLDED, flowed), atol=1e-12)
        np.testing.assert_allclose(history.q_five_loop[1], observables.five_loop_charge(FOLDED, flowed), atol=1e-12)
        slices = observables.flow_slices(FOLDED, x, (0.0, 0.04))
    for a, b in zip(plain[1:6], history[1:6], strict=True):
        np.testing.assert_array_equal(a, b)
    assert plain[6:] == (None, None, None, None)
    assert plain.t2_e_five_loop is None
    np.testing.assert_allclose(history.t2_e_five_loop[1], 0.0016 * history.e_five_loop[1], rtol=1e-14)
    for a, b in zip(history.slices[1:], slices[1:], strict=True):
        assert a.shape == (2, 4, 2)
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(slices.e_clover_spatial.mean(axis=1), history.e_clover_spatial, rtol=1e-13)
    np.testing.assert_allclose(slices.e_clover_temporal.mean(axis=1), history.e_clover_temporal, rtol=1e-13)
    np.testing.assert_allclose(slices.q.sum(axis=1), history.q, atol=1e-13)
    for wrong in (("overlap",), "plaquette"):
        with pytest.raises(ValueError, match=r"charges: expected some of \['plaquette', 'five-loop'\]"):
            flow_history(FOLDED, x, (0.0,), charges=wrong)
    with pytest.raises(ValueError, match="charges: five-loop needs four dimensions"):
        flow_history(Lattice((4, 4)), links(Lattice((4, 4)), 2, 1), (0.0,), charges=("five-loop",))


def test_sine_charge_is_smooth_and_near_the_integer_one():
    """Sines in place of the angles; on a field of constant flux it is V sin(2 pi Q / V) / 2 pi."""
    lattice = Lattice((4, 6))
    x = haar_links(Rng(8), lattice, 1, 4)
    angles = 2.0 * np.pi * topology.angle_density(lattice, x)
    np.testing.assert_allclose(
        observables.sine_charge(lattice, x), np.sin(angles).sum(axis=0) / (2 * np.pi), atol=1e-12
    )
    t, space = np.indices(lattice.shape)
    flux = 2.0 * np.pi * 2 / lattice.volume
    array = np.exp(1j * np.stack([np.where(t == 3, -flux * 4 * space, 0.0), flux * t]))
    constant = lattice.pack(np.stack([array[..., None, None]] * 4), components=1)
    charge = observables.integer_charge(lattice, constant)[0]
    assert abs(charge) == 2.0
    found = observables.sine_charge(lattice, constant)[0]
    assert found == pytest.approx(np.sign(charge) * lattice.volume * np.sin(flux) / (2 * np.pi), abs=1e-10)
    with pytest.raises(ValueError, match="the sine charge needs U"):
        observables.sine_charge(lattice, haar_links(Rng(8), lattice, 2, 1))
