"""The improved flows against plain NumPy, and the orders of their errors in the step and in the lattice spacing."""

import math

import array_api_strict
import numpy as np
import pytest

from cases.fields import algebra, group_array, links, rotation
from gaugeflow import kernels, observables
from gaugeflow.backend import use_backend
from gaugeflow.lattice import Lattice
from gaugeflow.observables import AdaptiveStep, advance, flow_step, topology
from gaugeflow.observables.gradient_flow import FLOWS

SHAPE = (4, 2, 4)
LATTICE, FOLDED = Lattice(SHAPE), Lattice(SHAPE, (2, 1, 2))
C1 = {"wilson": 0.0, "symanzik": -1 / 12, "iwasaki": -0.331, "zeuthen": -1 / 12}


@pytest.fixture(autouse=True)
def _reference():
    """Kernels are compared with the reference elsewhere."""
    with use_backend("reference"):
        yield


# ---- plain NumPy ---------------------------------------------------------------------------------------------------
def shift(u, mu, steps=1):
    """u(x + steps mu) of ``(*shape, n, n)``."""
    return np.roll(u, -steps, axis=mu)


def dagger(a):
    return a.conj().swapaxes(-1, -2)


def path(u, *steps):
    """Product of links along steps +-(mu + 1) from every site."""
    total, site = np.eye(u.shape[-1]), [0] * len(u)
    for step in steps:
        mu = abs(step) - 1
        site[mu] -= step < 0
        link = np.roll(u[mu], [-x for x in site], axis=tuple(range(len(u))))
        total = total @ (dagger(link) if step < 0 else link)
        site[mu] += step > 0
    return total


def velocity(u, flow):
    """dV/dt V^dagger: all loops through a link of -2 Re tr(c_0 P + c_1 R), projected; differences for the Zeuthen flow."""
    c1, d, n = C1[flow], len(u), u.shape[-1]
    result = []
    for mu in range(1, d + 1):
        total = 0.0
        for nu in range(1, d + 1):
            for k in (nu, -nu) if nu != mu else ():
                total = total + (1 - 8 * c1) * path(u, mu, k, -mu, -k)
                total = total + c1 * path(u, mu, k, k, -mu, -k, -k)
                total = total + c1 * path(u, mu, mu, k, -mu, -mu, -k)
                total = total + c1 * path(u, mu, k, -mu, -mu, -k, mu)
        a = total - dagger(total)
        trace = np.trace(a, axis1=-2, axis2=-1)[..., None, None] * np.eye(n) / n
        result.append(-(a - trace) / 2)
    if flow != "zeuthen":
        return np.stack(result)
    moved = []
    for mu, z in enumerate(result):
        back = shift(u[mu], mu, -1)
        ahead, behind = u[mu] @ shift(z, mu) @ dagger(u[mu]), dagger(back) @ shift(z, mu, -1) @ back
        moved.append(z + (ahead + behind - 2 * z) / 12)
    return np.stack(moved)


def exponential(a):
    values, vectors = np.linalg.eigh(-1j * a)
    return (vectors * np.exp(1j * values)[..., None, :]) @ dagger(vectors)


@pytest.mark.parametrize("flow", C1)
def test_step_against_numpy(flow):
    """One Runge-Kutta step of arXiv:1006.4518, appendix C, of SU(3) in three dimensions, plain and folded."""
    u, h = group_array(SHAPE, 3, 1)[0], 0.03
    z0 = h * velocity(u, flow)
    w1 = exponential(z0 / 4) @ u
    z1 = h * velocity(w1, flow)
    w2 = exponential(8 / 9 * z1 - 17 / 36 * z0) @ w1
    z2 = h * velocity(w2, flow)
    expected = exponential(3 / 4 * z2 - 8 / 9 * z1 + 17 / 36 * z0) @ w2
    for lattice in (LATTICE, FOLDED):
        x = lattice.pack(u[None], components=1)
        found = lattice.unpack(flow_step(lattice, x, h, flow), components=1)[0]
        np.testing.assert_allclose(found, expected, atol=1e-13)
        strict = flow_step(lattice, array_api_strict.asarray(x), h, flow)
        np.testing.assert_allclose(np.asarray(strict), flow_step(lattice, x, h, flow), atol=1e-13)


def test_differences_are_symmetric_and_negative():
    """<X, D*D Y> = <D*D X, Y>, and minus the square of D: what makes 1 + D*D / 12 positive."""
    x, a, b = links(LATTICE, 3, 2), algebra(LATTICE, 3, 2), algebra(LATTICE, 3, 2, 5)

    def twice(field):
        return kernels.straighten(LATTICE, x, field, 1.0) - field

    left, right = kernels.inner(LATTICE, a, twice(b)), kernels.inner(LATTICE, twice(a), b)
    np.testing.assert_allclose(left, right, rtol=1e-11)
    ratio = kernels.inner(LATTICE, a, twice(a)) / kernels.inner(LATTICE, a, a)
    assert (ratio < 0).all()
    assert (ratio > -4).all()


def test_third_order():
    """Halving the step divides errors by eight; adaptive steps come to the same field."""
    lattice = Lattice((4, 2))
    x = advance(lattice, links(lattice, 3, 1), 0.1, flow="zeuthen")
    exact = advance(lattice, x, 0.08, step=0.0025, flow="zeuthen")
    errors = [abs(advance(lattice, x, 0.08, step=h, flow="zeuthen") - exact).max() for h in (0.02, 0.01)]
    assert 7 < errors[0] / errors[1] < 9
    adaptive = advance(lattice, x, 0.08, step=AdaptiveStep(1e-4), flow="zeuthen")
    assert abs(adaptive - exact).max() < 1e-3


@pytest.mark.parametrize("flow", C1)
def test_largest_step(flow):
    """A weak wave of momentum pi in both directions: steps below the limit damp it, steps above make it grow."""
    lattice = Lattice((2, 2))
    angle = np.zeros((2, 2, 2))
    angle[0] = 1e-5 * np.array([[1, -1], [-1, 1]])
    angle[1] = -angle[0]
    x = lattice.pack(np.exp(1j * angle)[None, ..., None, None], components=1)
    limit = FLOWS[flow].largest_step(2)
    for step, grows in ((0.99 * limit, False), (1.01 * limit, True)):
        y = x
        for _ in range(5):
            y = flow_step(lattice, y, step, flow)
        ratio = abs(np.angle(y)).max() / 1e-5
        assert (ratio > 1) == grows
        assert 0.8 < ratio < 1.3
    with pytest.raises(ValueError, match=f"x: the {flow} flow in 2 dimensions is unstable for steps above"):
        observables.measure("x", lattice.unpack(x, components=1)[0], flow_times=[1.0], step=1.01 * limit, flow=flow)


@pytest.mark.parametrize("flow", ["iwasaki", "zeuthen"])
def test_gauge_covariance(flow):
    x, g = links(FOLDED, 3, 2), rotation(FOLDED, 3, 2)
    one = kernels.gauge_transform(FOLDED, advance(FOLDED, x, 0.1, flow=flow), g)
    two = advance(FOLDED, kernels.gauge_transform(FOLDED, x, g), 0.1, flow=flow)
    np.testing.assert_allclose(one, two, atol=1e-12)


# ---- improvement at tree level -------------------------------------------------------------------------------------
def wave(extent, modes=(1, 2), amplitude=1e-6):
    """Weak U(1) wave in two dimensions whose angles of plaquettes are ``amplitude cos(k x)``, its momentum oblique."""
    lattice = Lattice((extent, extent))
    k = [2 * math.pi * m / extent for m in modes]
    p = [2 * math.sin(x / 2) for x in k]
    t, x = np.meshgrid(np.arange(extent), np.arange(extent), indexing="ij")
    phase, square = k[0] * t + k[1] * x, p[0] ** 2 + p[1] ** 2
    angle = np.stack(  # angles at the middle of links, plaquettes then cos at their centres
        [
            -p[1] / square * np.sin(phase + k[0] / 2) * amplitude,
            p[0] / square * np.sin(phase + k[1] / 2) * amplitude,
        ]
    )
    return lattice, lattice.pack(np.exp(1j * angle)[None, ..., None, None], components=1), k, p


@pytest.mark.parametrize(
    ("flow", "rate"),
    [
        ("wilson", lambda s, _: s),
        ("symanzik", lambda s, product: s + s**2 / 12),
        ("zeuthen", lambda s, product: (1 + s / 12) * (s - product / 6)),
    ],
)
def test_decay_of_a_wave(flow, rate):
    """Rates in p^2 = s and p_0^2 p_1^2, p = 2 sin(k/2): F decays as exp(-t rate)."""
    lattice, x, _, p = wave(8)
    before, after = (topology.angle_density(lattice, u) for u in (x, advance(lattice, x, 0.5, step=0.01, flow=flow)))
    expected = math.exp(-0.5 * rate(p[0] ** 2 + p[1] ** 2, p[0] ** 2 * p[1] ** 2))
    np.testing.assert_allclose(after, expected * before, atol=1e-6 * abs(before).max())


@pytest.mark.parametrize(("flow", "power"), [("wilson", 2), ("symanzik", 2), ("zeuthen", 4)])
def test_errors_of_the_energy_of_a_smooth_field(flow, power):
    """t^2 E at a fixed t in units of the wave: a^2, and a^4 for the Zeuthen flow with an improved energy.

    The continuum's plaquette is the integral of F over a square, its decay exp(-t k^2), and E = F^2 / 2.
    """
    errors = []
    for extent in (24, 48):
        lattice, x, k, _ = wave(extent)
        square = k[0] ** 2 + k[1] ** 2
        t = 0.3 / square
        before, after = (
            float(observables.topology.five_loop_densities(lattice, u)[0].sum())
            for u in (x, advance(lattice, x, t, step=t / 20, flow=flow))
        )
        errors.append(abs(after / before / math.exp(-2 * t * square) - 1))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(power, abs=0.15)


# ---- another program -----------------------------------------------------------------------------------------------
# SIMULATeQCD, src/testing/refValues_gradFlow.h: 32^3 x 16 at beta = 8 after 100 sweeps of the heat bath from a cold start.
# Columns: flow time; plaquette and clover energy relative to t = 0, Wilson flow in steps of 0.05; the same, Zeuthen flow.
SIMULATEQCD = """
0.1 0.9040834304391679 0.565263 0.9217089187663094 0.503286
0.2 0.9640714791943539 0.302246 0.9735963079513424 0.251837
0.3 0.9840131592371626 0.174424 0.9884990613398005 0.143426
"""


@pytest.mark.slow
def test_flows_of_simulateqcd():
    """Averages at short distances do not know the volume: sixteen configurations on 8^4, four sigma; theirs have no error."""
    from gaugeflow.random import Rng
    from gaugeflow.samplers import HeatBath, configurations

    lattice = Lattice((8, 8, 8, 8))
    t, *expected = np.array([line.split() for line in SIMULATEQCD.split("\n") if line], dtype=float).T
    found = {"wilson": [], "zeuthen": []}
    with use_backend("numba"):
        sampler = HeatBath(lattice, 8.0)
        start = sampler.hot(Rng(1), n=3, batch=8)
        for sample in configurations(sampler, Rng(2), start, n_steps=20, burn_in=20, thin=10):
            for flow, rows in found.items():
                history = observables.flow_history(lattice, sample.state.x, (0.0, *t), step=0.05, flow=flow)
                plaquette = 1.0 - (history.e_plaquette_spatial + history.e_plaquette_temporal) / 36.0
                energy = history.e_clover_spatial + history.e_clover_temporal
                rows.append(np.stack([plaquette[1:], energy[1:] / energy[0]]))
    for k, rows in enumerate(found.values()):
        values = np.concatenate(rows, axis=-1)
        error = values.std(axis=-1, ddof=1) / math.sqrt(values.shape[-1])
        assert (error[0] < 3e-4).all()
        assert (abs(values.mean(axis=-1) - np.stack(expected[2 * k : 2 * k + 2])) < 4 * error).all()
