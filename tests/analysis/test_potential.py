"""Static potential: effective potentials and fits of exact loops, lattice Coulomb term, r_0; correlators of slab means."""

import math

import numpy as np
import pytest

from gaugeflow.analysis import (
    Series,
    effective_potential,
    fit_cornell,
    gamma_method,
    lattice_coulomb,
    n_point_function,
    slab_correlator,
    sommer_scale,
    sommer_scale_of_beta,
)

V_0, SIGMA, ALPHA = 0.6, 0.06, 0.28


def _loops(rng, noise, excited=0.0):
    """W(r, t) at t = 2, 4, 6 of a Cornell potential for r = 1 ... 5, four chains of 200 configurations."""
    t = 2.0 * np.arange(1, 4)
    v = np.array([V_0 + SIGMA * r - ALPHA * lattice_coulomb(r) for r in range(1, 6)])
    w = np.exp(-v[:, None] * t) + excited * np.exp(-(v[:, None] + 1.0) * t)
    fluctuations = noise * rng.normal(size=(200, 15, 4))
    fluctuations -= fluctuations.mean(axis=(0, 2), keepdims=True) if noise < 1e-6 else 0.0
    return Series.from_lanes(w.reshape(15, 1) * (1 + fluctuations)), v


def test_exact_loops_give_the_parameters(rng):
    """Fluctuations of mean zero and size 1e-8: parameters and r_0 of the potential that the loops were made of."""
    loops, v = _loops(rng, 1e-8)
    potentials = effective_potential(loops, 5, spacing=2)
    assert len(potentials) == 2
    for potential in potentials:
        np.testing.assert_allclose(potential.mean, v, atol=1e-9)
        found = fit_cornell(potential, (2, 3, 4, 5))
        np.testing.assert_allclose(found.values, (V_0, SIGMA, ALPHA), atol=1e-6)
        assert sommer_scale(found).value == pytest.approx(math.sqrt((1.65 - ALPHA) / SIGMA), abs=1e-5)


def test_errors_cover_the_parameters(rng):
    """Noise of 2 %: within 3.5 sigma, and excited states lower with t."""
    loops, v = _loops(rng, 0.02)
    found = fit_cornell(effective_potential(loops, 5, spacing=2)[0], range(1, 6))
    for value, error, exact in zip(found.values, found.errors, (V_0, SIGMA, ALPHA), strict=True):
        assert 0 < error < 0.05
        assert abs(value - exact) < 3.5 * error
    early, late = effective_potential(_loops(rng, 1e-8, excited=0.2)[0], 5, spacing=2)
    assert np.all(early.mean > late.mean)
    assert np.all(late.mean > v)


def test_lattice_coulomb():
    """Watson's integral G(0) = 0.2527310098586630 and the equation of motion 6 G(0) - 6 G(1) = 1; 1/r far away."""
    assert lattice_coulomb(1) == pytest.approx(4 * math.pi * (0.2527310098586630 - 1 / 6), abs=1e-10)
    assert lattice_coulomb(20) == pytest.approx(1 / 20, rel=1e-3)


def test_sommer_scale_of_beta():
    """Table of hep-lat/0108008: r_0 / a = 2.922(9) at 5.7, 5.368(22) at 6.0 and 7.36 at 6.2, to one per cent."""
    for beta, expected in ((5.7, 2.922), (6.0, 5.368), (6.2, 7.36)):
        assert sommer_scale_of_beta(beta) == pytest.approx(expected, rel=1e-2)
    with pytest.raises(ValueError, match=r"from 5.7 to 6.92, got 5.6"):
        sommer_scale_of_beta(5.6)


def test_slab_correlator_by_loops(rng):
    """T = 8, thickness 4: the pairs of slices that share no slab, by hand; all of them where every slice is frozen."""
    a, b = (Series.from_lanes(rng.normal(size=(30, 8, 2)), name=name) for name in "ab")
    pairs = {0: [0, 4], 1: [0, 3, 4, 7], 2: [2, 3, 6, 7, 0, 4], 4: range(8)}
    for t, sources in pairs.items():
        found = slab_correlator(a, b, (t,), 4)
        for chain in range(2):
            u, v = (s.values[chain] - s.mean.mean() for s in (a, b))
            expected = np.mean([u[:, (s + t) % 8] * v[:, s] for s in sources], axis=0)
            np.testing.assert_allclose(found.values[chain][:, 0], expected, atol=1e-14)
    every = slab_correlator(a, b, range(8), 1)
    for t, series in enumerate(every.split()):
        np.testing.assert_allclose(series.mean, n_point_function((a, b), (t, 0)).mean, atol=1e-14)
    with pytest.raises(ValueError, match="time 1: every pair of slices shares a slab of thickness 4 at reach 2"):
        slab_correlator(a, b, (1,), 4, reach=2)


def test_errors(rng):
    loops, _ = _loops(rng, 0.02)
    with pytest.raises(ValueError, match="expected 4 times two or more loops"):
        effective_potential(loops, 4)
    negative = Series.from_lanes(rng.normal(size=(20, 4, 2)) - 5.0)
    with pytest.raises(ValueError, match=r"positive means of loops, got W\(1, 1\) = -"):
        effective_potential(negative, 2)
    with pytest.raises(ValueError, match=r"distances: expected some of 1 ... 5, got \[3, 6\]"):
        fit_cornell(effective_potential(loops, 5)[0], [3, 6])
    with pytest.raises(ValueError, match="distance of 1 or more, got 0"):
        lattice_coulomb(0)
    rising = Series.from_lanes(np.exp(0.1 * rng.normal(size=(50, 3, 2))) - 0.5 * np.arange(3)[:, None])
    with pytest.raises(ValueError, match="no r_0 for sigma"):
        sommer_scale(fit_cornell(rising, (1, 2, 3)))
    assert gamma_method(loops.split()[0]).error > 0
