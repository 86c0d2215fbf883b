"""Two-point functions of spatial plaquettes: NumPy sums, invariances, exact correlators of decoupled time slices."""

import array_api_strict
import numpy as np
import pytest

from cases.fields import group_array, links, rotation
from gaugeflow import kernels, observables
from gaugeflow.analysis import Series, derive, gamma_method
from gaugeflow.lattice import Lattice, suggest_fold
from gaugeflow.observables import (
    LinkObservable,
    ape,
    glueball_correlator,
    plaquette_slices,
    slice_correlator,
    stout,
    tensor_slices,
    wilson_loops,
)
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath, run

SHAPE = (4, 2, 4)
LATTICE, FOLDED = Lattice(SHAPE), Lattice(SHAPE, (2, 1, 2))


def test_slices_by_numpy():
    array = group_array(SHAPE, 3, 8)
    y, x = array[:, 1], array[:, 2]
    above = np.roll(y, -1, axis=3) @ np.conj(np.swapaxes(np.roll(x, -1, axis=2), -1, -2))
    loops = np.trace(x @ above @ np.conj(np.swapaxes(y, -1, -2)), axis1=-2, axis2=-1).real / 3
    expected = loops.sum(axis=(2, 3)).T
    for lattice in (LATTICE, FOLDED):
        found = plaquette_slices(lattice, lattice.pack(array, components=1))
        np.testing.assert_allclose(found, expected, atol=1e-13)
    total = observables.plaquette_spatial(LATTICE, LATTICE.pack(array, components=1)) * LATTICE.volume
    np.testing.assert_allclose(expected.sum(axis=0), total, atol=1e-12)


def test_tensor_operators_are_differences_of_planes_and_rotate_into_each_other():
    shape = (4, 2, 2, 2)
    lattice = Lattice(shape)
    array = group_array(shape, 3, 4)
    x = lattice.pack(array, components=1)
    means = kernels.plaquette(lattice, x)[3:] * 32  # planes (z, y), (z, x), (y, x), summed over the lattice
    found = tensor_slices(lattice, x)
    assert found.shape == (2, 4, 4)
    np.testing.assert_allclose(found[0].sum(axis=0), (means[2] - means[1]) / np.sqrt(2), atol=1e-12)
    np.testing.assert_allclose(found[1].sum(axis=0), (means[2] + means[1] - 2 * means[0]) / np.sqrt(6), atol=1e-12)
    # The directions z, y, x exchanged in a cycle: a rotation of the doublet by 120 degrees
    turned = np.transpose(array[:, [0, 2, 3, 1]], (0, 1, 2, 4, 5, 3, 6, 7))
    again = tensor_slices(lattice, lattice.pack(turned, components=1))
    np.testing.assert_allclose((again**2).sum(axis=0), (found**2).sum(axis=0), atol=1e-12)
    third = np.array([[-0.5, np.sqrt(0.75)], [-np.sqrt(0.75), -0.5]])
    candidates = [np.einsum("ij,jtb->itb", m, found) for m in (third, third.T)]
    assert min(np.abs(again - c).max() for c in candidates) < 1e-12
    with pytest.raises(ValueError, match="the tensor operators need four dimensions"):
        tensor_slices(LATTICE, x)


def test_correlator_by_numpy():
    slices = np.random.default_rng(1).normal(size=(6, 2))
    expected = [[np.mean([slices[(s + t) % 6, b] * slices[s, b] for s in range(6)]) for b in (0, 1)] for t in range(6)]
    np.testing.assert_allclose(slice_correlator(slices), expected, atol=1e-15)
    x = links(LATTICE, 2, 8)
    found = glueball_correlator(LATTICE, x)
    assert found.shape == (5, 8)
    np.testing.assert_allclose(found[0], plaquette_slices(LATTICE, x).mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(found[1:], slice_correlator(plaquette_slices(LATTICE, x)), rtol=1e-14)
    np.testing.assert_allclose(found[2], found[4], rtol=1e-13)  # C(t) = C(T - t)


def test_invariance_unit_field_and_other_arrays():
    x = links(FOLDED, 3, 4)
    found = glueball_correlator(FOLDED, x)
    rotated = kernels.gauge_transform(FOLDED, x, rotation(FOLDED, 3, 4))
    np.testing.assert_allclose(glueball_correlator(FOLDED, rotated), found, atol=1e-12)
    np.testing.assert_allclose(np.asarray(glueball_correlator(FOLDED, array_api_strict.asarray(x))), found, atol=1e-12)
    unit = np.zeros_like(x) + np.eye(3)[:, :, None]
    cold = glueball_correlator(FOLDED, unit)
    np.testing.assert_allclose(cold[0], 8, rtol=1e-14)  # one plane, 2 x 4 sites
    np.testing.assert_allclose(cold[1:], 64, rtol=1e-14)
    with pytest.raises(ValueError, match=r"shape \(4, 4\) has no spatial planes"):
        plaquette_slices(Lattice((4, 4)), links(Lattice((4, 4)), 1, 1))


@pytest.mark.parametrize(
    ("n", "beta", "u", "variance"),
    [(3, 6.0, 0.4225317396, 0.06488), (3, 0.0, 0.0, 1 / 18), (2, 0.0, 0.0, 1 / 4), (1, 0.0, 0.0, 1 / 2)],
)
def test_decoupled_slices(n, beta, u, variance):
    """Without temporal plaquettes every slice of three dimensions is a two-dimensional theory of exact plaquettes.

    Its plaquettes are independent (torus corrections are below 1e-8 on 4 x 4 here), so that <O> = V_s u, the connected
    C(0) is V_s times the variance of one plaquette and C(t > 0) is 0; within 3.5 sigma.
    """
    lattice = Lattice((4, 4, 4))
    sampler = HeatBath(lattice, np.array([0.0, 0.0, beta]), n_overrelax=1)
    observe = (LinkObservable("0++", lattice, glueball_correlator),)
    chain = run(sampler, Rng(5), sampler.hot(Rng(6), n, 32), 120, burn_in=20, observe=observe, progress=False)
    means = Series.from_lanes(chain.records["0++"])
    vacuum = gamma_method(means.split()[0])
    assert abs(vacuum.value - 16 * u) < 3.5 * vacuum.error
    connected = derive(lambda m: m[1:] - m[0] ** 2, means)
    for t, series in enumerate(connected.split()):
        estimate = gamma_method(series)
        assert estimate.error < 0.05 * 16 * variance
        expected = 16 * variance if t == 0 else 0.0
        assert abs(estimate.value - expected) < 3.5 * estimate.error, (t, str(estimate), expected)


def test_smeared_operator_sees_the_smeared_links():
    x = links(LATTICE, 3, 8)

    def smeared(lattice, links):
        return glueball_correlator(lattice, stout(lattice, links, 0.1, 3, spatial=True))

    found = LinkObservable("0++", LATTICE, smeared)(x)
    assert (found[0] > glueball_correlator(LATTICE, x)[0] + 1).all()
    # Time slices do not mix: a change of slice 2 leaves O of the others.
    array = LATTICE.unpack(x, components=1).copy()
    array[:, :, 2] = group_array(SHAPE, 3, 8, seed=9)[:, :, 2]
    first, second = (
        plaquette_slices(LATTICE, stout(LATTICE, y, 0.1, 3, spatial=True))
        for y in (x, LATTICE.pack(array, components=1))
    )
    np.testing.assert_allclose(first[[0, 1, 3]], second[[0, 1, 3]], atol=1e-14)
    assert (abs(first[2] - second[2]) > 0.01).all()


def test_operator_and_smeared_loops_of_milc(reference_folder):
    """Spatial plaquettes of every time slice, then Wilson loops after 5 and 10 spatial APE steps with alpha = 4 / 6.5.

    Source: milc-qcd/milc_qcd, hvy_qpot/test/su3_hqp_ape.1.sample-out (GBALL_OP1 summed over planes; WILS_LOOP1 with
    WILS_LOOP1(r - 1, t - 1)).  MILC projects on the element of largest trace with the sum, which is not quite the
    polar projection with the root of the determinant: loops differ by 3e-5 relatively.
    """
    milc = pytest.importorskip("gaugeflow.io.milc")
    array = milc.read(reference_folder / "milc" / "lat.sample.l4444").links
    lattice = Lattice(array.shape[1:5], suggest_fold(array.shape[1:5], 8))
    x = lattice.pack(array[None], components=1)
    planes = [
        [6.232617e-01, 6.578328e-01, 6.114289e-01, 6.266829e-01],
        [5.784438e-01, 5.844365e-01, 5.984139e-01, 5.647187e-01],
        [6.186770e-01, 6.114733e-01, 5.521300e-01, 5.512014e-01],
    ]
    np.testing.assert_allclose(plaquette_slices(lattice, x)[:, 0] / 64, np.sum(planes, axis=0), rtol=3e-7)
    five = [[6.668572e-01, 4.767808e-01], [5.617667e-01, 3.644175e-01]]
    ten = [[6.681830e-01, 4.777803e-01], [5.699843e-01, 3.700636e-01]]
    for expected in (five, ten):
        x = ape(lattice, x, 4 / 6.5, 5, spatial=True)
        np.testing.assert_allclose(wilson_loops(lattice, x, 2, 2)[..., 0], expected, rtol=5e-5)
