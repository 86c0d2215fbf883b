"""Loops, charges and gradient flow: NumPy loops, exact values, invariances, and a table printed by another program."""

import json
import math
from functools import partial

import array_api_strict
import numpy as np
import pytest

from cases.fields import group_array, links
from gaugeflow import check, kernels, observables
from gaugeflow.groups import SU
from gaugeflow.lattice import Lattice
from gaugeflow.observables import LinkObservable

SHAPE = (4, 4, 2, 2)
LATTICE, FOLDED = Lattice(SHAPE), Lattice(SHAPE, (2, 2, 1, 1))
INVARIANT = {
    "plaquette": observables.plaquette,
    "plaquette_spatial": observables.plaquette_spatial,
    "plaquette_temporal": observables.plaquette_temporal,
    "rectangle": observables.rectangle,
    "polyakov_loop": observables.polyakov_loop,
    "polyakov_loop along x": partial(observables.polyakov_loop, direction=3),
    "clover_charge": observables.clover_charge,
}
EVERY = {**INVARIANT, "link_trace": observables.link_trace}
FLOWED = {
    "t2_e": lambda lattice: observables.FlowedEnergy(lattice, (0.0, 0.1), step=0.05),
    "q": lambda lattice: observables.FlowedCharge(lattice, (0.1,), step=0.05, flow="symanzik"),
}


def _cold(lattice, n, lanes=8):
    return SU(lattice).identity(np.zeros((lattice.ndim, lattice.n_blocks, n, n, lanes), dtype=complex))


@pytest.mark.parametrize("name", EVERY)
def test_observable_contract(name):
    check.check_observable(LinkObservable(name, FOLDED, EVERY[name]), FOLDED, links(FOLDED, 3, 8))


@pytest.mark.parametrize("name", INVARIANT)
def test_gauge_invariance(name, rng):
    check.check_gauge_covariance(LinkObservable(name, LATTICE, INVARIANT[name]), LATTICE, links(LATTICE, 3, 8), rng)


@pytest.mark.parametrize("name", FLOWED)
def test_flowed_observables(name, rng):
    observable = FLOWED[name](LATTICE)
    x = links(LATTICE, 3, 8)
    assert observable.name == name
    check.check_observable(observable, LATTICE, x)
    check.check_gauge_covariance(observable, LATTICE, x, rng)


@pytest.mark.parametrize("name", EVERY)
def test_folds_do_not_matter(name):
    plain, folded = (EVERY[name](lattice, links(lattice, 3, 8)) for lattice in (LATTICE, FOLDED))
    np.testing.assert_allclose(folded, plain, atol=1e-14)


@pytest.mark.parametrize("name", EVERY)
def test_strict_arrays(name):
    x = links(FOLDED, 2, 2)
    found = EVERY[name](FOLDED, array_api_strict.asarray(x))
    np.testing.assert_allclose(np.asarray(found), EVERY[name](FOLDED, x), atol=1e-14)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", EVERY)
def test_cold_configuration(name, n):
    expected = 0.0 if name == "clover_charge" else 1.0
    np.testing.assert_allclose(EVERY[name](LATTICE, _cold(LATTICE, n)), expected, atol=1e-15)


def test_loops_by_numpy():
    """Every loop of a small field, multiplied link by link."""
    array = group_array(SHAPE, 3, 8)
    x = LATTICE.pack(array, components=1)

    def loop(*path):
        """Mean trace over sites and batch members of the product of links along steps +-(mu + 1)."""
        total = np.zeros(8, dtype=complex)
        for site in np.ndindex(SHAPE):
            here, u = list(site), np.broadcast_to(np.eye(3), (8, 3, 3))
            for step in path:
                mu, ahead = abs(step) - 1, step > 0
                if not ahead:
                    here[mu] = (here[mu] - 1) % SHAPE[mu]
                link = array[(slice(None), mu, *here)]
                u = u @ (link if ahead else np.conj(np.swapaxes(link, 1, 2)))
                if ahead:
                    here[mu] = (here[mu] + 1) % SHAPE[mu]
            total += np.trace(u, axis1=1, axis2=2)
        return total / (3 * LATTICE.volume)

    planes = {(a, b): loop(a, b, -a, -b).real for a in range(1, 5) for b in range(a + 1, 5)}
    np.testing.assert_allclose(observables.plaquette(LATTICE, x), np.mean(list(planes.values()), axis=0), atol=1e-14)
    temporal = np.mean([p for (a, _), p in planes.items() if a == 1], axis=0)
    spatial = np.mean([p for (a, _), p in planes.items() if a > 1], axis=0)
    np.testing.assert_allclose(observables.plaquette_temporal(LATTICE, x), temporal, atol=1e-14)
    np.testing.assert_allclose(observables.plaquette_spatial(LATTICE, x), spatial, atol=1e-14)
    wide = [loop(a, a, b, -a, -a, -b).real for a in range(1, 5) for b in range(1, 5) if a != b]
    np.testing.assert_allclose(observables.rectangle(LATTICE, x), np.mean(wide, axis=0), atol=1e-14)
    np.testing.assert_allclose(observables.polyakov_loop(LATTICE, x), loop(1, 1, 1, 1), atol=1e-14)
    np.testing.assert_allclose(observables.polyakov_loop(LATTICE, x, direction=2), loop(3, 3), atol=1e-14)
    trace = np.trace(array, axis1=-2, axis2=-1).real.mean(axis=tuple(range(1, 6))) / 3
    np.testing.assert_allclose(observables.link_trace(LATTICE, x), trace, atol=1e-14)


def test_centre_symmetry():
    """Links of one time slice times z in Z_3: plaquettes stay, the Polyakov loop turns by z."""
    array = group_array(SHAPE, 3, 8)
    z = np.exp(2j * np.pi / 3)
    turned = array.copy()
    turned[:, 0, 1] *= z
    x, y = (LATTICE.pack(a, components=1) for a in (array, turned))
    np.testing.assert_allclose(observables.plaquette(LATTICE, y), observables.plaquette(LATTICE, x), atol=1e-14)
    expected = z * observables.polyakov_loop(LATTICE, x)
    np.testing.assert_allclose(observables.polyakov_loop(LATTICE, y), expected, atol=1e-14)


# ---- U(1) in two dimensions ------------------------------------------------------------------------------------
def _instanton(shape, charge):
    """Links of constant field strength 2 pi charge / V, ``(1, 2, T, X, 1, 1)``; arg P_01 is that everywhere."""
    t, x = shape
    angle = np.zeros((2, t, x))
    angle[1] = 2 * np.pi * charge / (t * x) * np.arange(t)[:, None]
    angle[0, -1] = -2 * np.pi * charge / x * np.arange(x)
    return np.exp(1j * angle)[None, ..., None, None]


@pytest.mark.parametrize("charge", [-3, 0, 1, 2])
@pytest.mark.parametrize("fold", [None, (2, 2)])
def test_integer_charge_of_constant_field(charge, fold):
    shape = (4, 6)
    lattice = Lattice(shape, (2, 1) if fold else None)
    x = lattice.pack(np.repeat(_instanton(shape, charge), 8, axis=0), components=1)
    np.testing.assert_array_equal(observables.integer_charge(lattice, x), charge)
    expected = math.cos(2 * math.pi * charge / 24)
    np.testing.assert_allclose(observables.plaquette(lattice, x), expected, rtol=1e-14)


def test_integer_charge_by_numpy(rng):
    lattice = Lattice((4, 6))
    array = group_array(lattice.shape, 1, 8)
    theta = np.angle(array[..., 0, 0])
    plaquette = theta[:, 0] + np.roll(theta[:, 1], -1, axis=1) - np.roll(theta[:, 0], -1, axis=2) - theta[:, 1]
    wrapped = np.angle(np.exp(1j * plaquette)).sum(axis=(1, 2)) / (2 * np.pi)
    x = lattice.pack(array, components=1)
    charge = observables.integer_charge(lattice, x)
    np.testing.assert_allclose(charge, wrapped, atol=1e-12)
    assert len(set(charge)) > 1
    check.check_gauge_covariance(LinkObservable("q", lattice, observables.integer_charge), lattice, x, rng)


# ---- clover ----------------------------------------------------------------------------------------------------
def test_clover_of_constant_abelian_field():
    """Commuting constant fields in planes (t, z) and (y, x): E and Q in closed form, sign included.

    With all links in one U(1) of SU(3), G_mu nu = i sin(f) H for the plaquette angle f, so E = sum sin^2(f) tr H^2 and
    Q = V (1 / 4 pi^2) sin(f_tz) sin(f_yx) tr H^2, positive for eps_tzyx = eps_xyzt = +1 and fields of equal sign.
    """
    shape, h = (4, 4, 4, 4), np.diag([1.0, -1.0, 0.0])
    plane = np.angle(_instanton((4, 4), 1)[0, ..., 0, 0])
    angle = np.zeros((4, *shape))
    angle[:2] = plane[:, :, :, None, None]
    angle[2:] = plane[:, None, None, :, :]
    u = np.zeros((8, 4, *shape, 3, 3), dtype=complex)
    for i in range(3):
        u[..., i, i] = np.exp(1j * angle * h[i, i])
    lattice = Lattice(shape)
    x = lattice.pack(u, components=1)
    f = 2 * np.pi / 16
    energy, charge = kernels.clover(lattice, x)
    expected = np.zeros(6)
    expected[[0, 5]] = 2 * math.sin(f) ** 2
    np.testing.assert_allclose(energy.mean(axis=(1, 2)), expected, atol=1e-15)
    np.testing.assert_allclose(charge, math.sin(f) ** 2 * 2 / (4 * math.pi**2), rtol=1e-12)
    np.testing.assert_allclose(observables.clover_charge(lattice, x), 256 * charge[0], rtol=1e-12)


def test_charge_changes_sign_under_reflection():
    """The mirror image in x: U_x(x) -> U_x(-x - 1)^dagger, other links moved."""
    array = group_array(SHAPE, 3, 8)
    mirror = np.flip(array, axis=5).copy()
    mirror[:, 3] = np.conj(np.swapaxes(np.roll(mirror[:, 3], -1, axis=4), -1, -2))
    x, y = (LATTICE.pack(a, components=1) for a in (array, mirror))
    np.testing.assert_allclose(observables.plaquette(LATTICE, y), observables.plaquette(LATTICE, x), atol=1e-14)
    np.testing.assert_allclose(
        observables.clover_charge(LATTICE, y), -observables.clover_charge(LATTICE, x), atol=1e-13
    )


# ---- gradient flow ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("flow", ["wilson", "symanzik"])
def test_flow_is_of_third_order(flow):
    x = observables.advance(LATTICE, links(LATTICE, 3, 8), 0.2, flow=flow)
    exact = observables.advance(LATTICE, x, 0.2, step=0.00625, flow=flow)
    coarse, fine = (abs(observables.advance(LATTICE, x, 0.2, step=s, flow=flow) - exact).max() for s in (0.05, 0.025))
    assert 6 < coarse / fine < 12  # 8 in the limit; 4 and 16 for the neighbouring orders


@pytest.mark.parametrize(("flow", "c1"), [("wilson", 0.0), ("symanzik", -1 / 12)])
def test_flow_descends_its_action(flow, c1):
    """To first order dS/dt = -<grad S, grad S> at beta = 2 N."""
    from gaugeflow.actions import ImprovedAction

    x = links(LATTICE, 3, 8)
    action = ImprovedAction(LATTICE, 6.0, c1)
    force = action.grad(x)
    step = 1e-4
    ahead, behind = (action.value(observables.flow_step(LATTICE, x, s, flow)) for s in (step, -step))
    np.testing.assert_allclose((ahead - behind) / (2 * step), -kernels.inner(LATTICE, force, force), rtol=1e-5)


def test_abelian_flow_in_closed_form():
    """A weak plane wave of U(1) decays as exp(-t p^2) with the lattice momentum: dA/dt = -curl curl A.

    With N = 1 and the flow at beta = 2 N = 2, grad S = i sum sin(F) in left coordinates with <i a, i b> = 2 a b.
    """
    lattice, amplitude, k = Lattice((4, 8)), 1e-7, 2 * np.pi / 8
    angle = np.zeros((2, 4, 8))
    angle[0] = amplitude * np.cos(k * np.arange(8))
    x = lattice.pack(np.repeat(np.exp(1j * angle)[None, ..., None, None], 8, axis=0), components=1)
    y = observables.advance(lattice, x, 0.5, step=0.02)
    ratio = np.imag(lattice.unpack(y, components=1)[0, 0, 0, 0, 0, 0]) / amplitude
    np.testing.assert_allclose(ratio, math.exp(-0.5 * 4 * math.sin(k / 2) ** 2), rtol=1e-5)


def test_flow_history():
    x = links(LATTICE, 3, 8)
    history = observables.flow_history(LATTICE, x, (0.0, 0.05, 0.2), step=0.05)
    assert history.t == (0.0, 0.05, 0.2)
    assert history.t2_e.shape == history.q.shape == (3, 8)
    assert (history.t2_e[0] == 0).all()
    energy, _ = kernels.clover(LATTICE, x)
    np.testing.assert_allclose(history.e_clover_temporal[0], energy[:3].sum(axis=(0, 1)) / LATTICE.volume, rtol=1e-13)
    np.testing.assert_allclose(history.e_clover_spatial[0], energy[3:].sum(axis=(0, 1)) / LATTICE.volume, rtol=1e-13)
    flowed = observables.advance(LATTICE, x, 0.2, step=0.05)
    np.testing.assert_allclose(history.q[2], observables.clover_charge(LATTICE, flowed), atol=1e-12)


def test_flow_errors():
    x = links(LATTICE, 3, 8)
    with pytest.raises(ValueError, match=r"must be finite, non-negative and increase, got \(0.1, 0.1\)"):
        observables.flow_history(LATTICE, x, (0.1, 0.1))
    with pytest.raises(ValueError, match="non-negative"):
        observables.flow_history(LATTICE, x, ())
    with pytest.raises(ValueError, match="unknown gradient flow 'ricci', expected one of"):
        observables.flow_step(LATTICE, x, 0.1, "ricci")
    with pytest.raises(ValueError, match=r"must be finite, non-negative and increase, got \(-1\.0,\)"):
        observables.advance(LATTICE, x, -1.0)
    with pytest.raises(ValueError, match=r"expected a finite step > 0, got 0"):
        observables.advance(LATTICE, x, 1.0, step=0)


def test_flow_time_where():
    t = np.linspace(0, 4, 41)
    t2_e = 0.1 * t  # c = 0.25 between 2.4 and 2.6
    assert observables.flow_time_where(t2_e, t, 0.25) == pytest.approx(2.5, rel=1e-14)
    assert observables.flow_time_where(t2_e, t, 0.0) == 0.0
    # The error of linear interpolation stays below its stated bound.
    found = observables.flow_time_where(0.05 * t**2, t, 0.3)
    exact = math.sqrt(6)
    assert abs(found - exact) <= 0.1 * 0.1**2 / (8 * 0.1 * exact) + 1e-12
    with pytest.raises(ValueError, match=r"does not cross 0.5: it covers 0 ... 0.4 up to t = 4"):
        observables.flow_time_where(t2_e, t, 0.5)
    with pytest.raises(ValueError, match="does not cross"):
        observables.flow_time_where([], [], 0.3)


def test_milc_table(reference_folder):
    """Every number of MILC's Wilson flow of its sample field, to the digits that it prints from single precision."""
    milc = pytest.importorskip("gaugeflow.io.milc")
    folder = reference_folder / "milc"
    rows = [
        line.split()[1:] for line in (folder / "wilson_flow.1.sample-out").read_text().splitlines() if "WFLOW" in line
    ]
    table = np.array(rows, dtype=float)
    assert table.shape == (10, 4)
    config = milc.read(folder / "lat.sample.l4448")
    result = observables.measure("lat.sample.l4448", config.links, flow_times=table[:, 0], step=0.1)
    columns = ("t", "e_clover_temporal", "e_clover_spatial", "q")
    found = np.array([[record[c] for c in columns] for record in result["flow"]])
    np.testing.assert_allclose(found, table, rtol=5e-6)  # six digits, and their last one rounded from float32
    e = found[:, 1] + found[:, 2]
    np.testing.assert_allclose([record["t2_e"] for record in result["flow"]], found[:, 0] ** 2 * e, rtol=1e-14)
    # CHECK PLAQ: 3 x spatial, 3 x temporal; CHECK NERSC LINKTR.
    assert 3 * result["plaquette_spatial"] == pytest.approx(1.723748, abs=1e-6)
    assert 3 * result["plaquette_temporal"] == pytest.approx(1.690586, abs=1e-6)
    assert result["link_trace"] == pytest.approx(6.921659e-02, abs=1e-8)


def test_measure():
    array = group_array((8, 3, 4), 2, 1)[0]
    result = observables.measure("name", array, flow_times=(0.0, 0.1), step=0.1)
    keys = "file shape n_colours plaquette plaquette_spatial plaquette_temporal link_trace polyakov_loop q flow"
    assert list(result) == keys.split()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    lattice = Lattice((8, 3, 4))
    x = lattice.pack(np.repeat(array[None], 8, axis=0), components=1)
    assert result["shape"] == [8, 3, 4]
    assert result["n_colours"] == 2
    for name in ("plaquette", "plaquette_spatial", "plaquette_temporal", "link_trace"):
        assert result[name] == pytest.approx(getattr(observables, name)(lattice, x)[0], abs=1e-14)
    assert complex(*result["polyakov_loop"]) == pytest.approx(observables.polyakov_loop(lattice, x)[0], abs=1e-14)
    assert [list(record) for record in result["flow"]] == [
        ["t", "e_clover_spatial", "e_clover_temporal", "t2_e", "t2_e_plaquette", "q"]
    ] * 2
    assert result["q"] is None
    assert result["flow"][1]["q"] is None


def test_measure_in_two_dimensions():
    result = observables.measure("name", group_array((8, 4), 1, 1)[0])
    assert result["plaquette_spatial"] is None
    assert result["flow"] == []


def test_dimension_errors():
    lattice = Lattice((4, 4))
    x = links(lattice, 2, 8)
    with pytest.raises(ValueError, match="no spatial planes"):
        observables.plaquette_spatial(lattice, x)
    with pytest.raises(ValueError, match="needs four dimensions"):
        observables.clover_charge(lattice, x)
    with pytest.raises(ValueError, match="got N = 2 in 2"):
        observables.integer_charge(lattice, x)
    with pytest.raises(ValueError, match=r"direction must be in 0 ... 1, got 2"):
        observables.polyakov_loop(lattice, x, direction=2)
