"""Adaptive gradient flow, plaquette energy, w_0: orders, tolerances, closed forms."""

import math

import array_api_strict
import numpy as np
import pytest

from cases.fields import links, ordered, rotation
from gaugeflow import check, kernels, observables
from gaugeflow.errors import ConvergenceError
from gaugeflow.lattice import Lattice, suggest_fold
from gaugeflow.observables import AdaptiveStep, advance, flow_history, flow_through
from gaugeflow.observables.gradient_flow import _embedded, _gradient_of

SHAPE = (4, 4, 2, 2)
LATTICE, FOLDED = Lattice(SHAPE), Lattice(SHAPE, (2, 2, 1, 1))


@pytest.mark.parametrize("flow", ["wilson", "symanzik"])
def test_adaptive_flow_is_the_exact_flow_at_the_tolerance(flow):
    """Steps of 1/400 are exact to 1e-8 here; rough fields, flow time 1."""
    x = links(LATTICE, 3, 8)
    exact = advance(LATTICE, x, 1.0, step=0.0025, flow=flow)
    for tolerance in (1e-3, 1e-4, 1e-5):
        found = advance(LATTICE, x, 1.0, step=AdaptiveStep(tolerance), flow=flow)
        assert abs(found - exact).max() < 9 * tolerance  # errors are norms divided by N^2


def test_step_and_companion_orders():
    """Errors of a step: h^4 of the third-order result, h^3 of the difference from its companion."""
    x = advance(LATTICE, links(LATTICE, 3, 8), 0.1)
    errors, differences = [], []
    for h in (0.04, 0.02):
        new, difference = _embedded(LATTICE, x, np.full(8, h), _gradient_of(LATTICE, "wilson"))
        np.testing.assert_allclose(new, observables.flow_step(LATTICE, x, h), atol=1e-14)
        errors.append(abs(new - advance(LATTICE, x, h, step=h / 16)).max())
        differences.append(difference)
    assert 13 < errors[0] / errors[1] < 19
    assert (differences[0] / differences[1] > 6.8).all()
    assert (differences[0] / differences[1] < 9.2).all()


def test_tolerance_sets_the_steps(monkeypatch):
    """The number of steps grows as tolerance^(-1/3): tenfold for a thousandth; late steps are longer than early ones."""
    x, taken = np.repeat(ordered(LATTICE, 3, 1), 8, axis=-1), []
    plain = observables.gradient_flow._embedded

    def counted(lattice, links, size, gradient):
        new, error = plain(lattice, links, size, gradient)
        taken.append((float(size[0]), float(error[0])))
        return new, error

    monkeypatch.setattr(observables.gradient_flow, "_embedded", counted)
    counts = []
    for tolerance in (1e-4, 1e-7):
        taken.clear()
        advance(LATTICE, x, 2.0, step=AdaptiveStep(tolerance))
        accepted = [size for size, error in taken if error <= tolerance]
        assert sum(accepted) == pytest.approx(2.0, rel=1e-12)
        assert len(accepted) > 0.8 * len(taken)
        assert max(accepted) > 3 * accepted[1]
        counts.append(len(accepted))
    assert 6 < counts[1] / counts[0] < 13


def test_configurations_do_not_influence_each_other():
    smooth, rough = advance(LATTICE, links(LATTICE, 2, 8), 0.5), links(LATTICE, 2, 8, seed=3)
    both = np.concatenate([smooth, rough], axis=-1)
    step = AdaptiveStep(1e-4)
    for t, alone, other, together in zip(
        (0.0, 0.3, 0.35),
        *(flow_through(LATTICE, x, (0.0, 0.3, 0.35), step=step) for x in (smooth, rough, both)),
        strict=True,
    ):
        np.testing.assert_allclose(together, np.concatenate([alone, other], axis=-1), atol=1e-13, err_msg=f"t = {t}")
    np.testing.assert_array_equal(next(flow_through(LATTICE, both, (0.0,), step=step)), both)


@pytest.mark.parametrize("observable", ["energy", "charge"])
def test_adaptive_observables(observable, rng):
    make = {"energy": observables.FlowedEnergy, "charge": observables.FlowedCharge}[observable]
    flowed = make(LATTICE, (0.1, 0.3), step=AdaptiveStep(1e-3))
    check.check_observable(flowed, LATTICE, links(LATTICE, 3, 8))
    check.check_gauge_covariance(flowed, LATTICE, links(LATTICE, 3, 8), rng)


def test_folds_and_arrays():
    step = AdaptiveStep(1e-3)
    expected = LATTICE.unpack(advance(LATTICE, links(LATTICE, 3, 8), 0.3, step=step), components=1)
    found = advance(FOLDED, links(FOLDED, 3, 8), 0.3, step=step)
    np.testing.assert_allclose(FOLDED.unpack(found, components=1), expected, atol=1e-12)
    strict = advance(FOLDED, array_api_strict.asarray(links(FOLDED, 3, 8)), 0.3, step=step)
    np.testing.assert_allclose(np.asarray(strict), found, atol=1e-12)
    single = advance(FOLDED, links(FOLDED, 3, 8).astype(np.complex64), 0.3, step=step)
    assert single.dtype == np.complex64
    np.testing.assert_allclose(single, found, atol=1e-4)


@pytest.mark.parametrize(("flow", "power"), [("wilson", 0.0), ("symanzik", 1.0 / 12.0)])
def test_plane_wave_decays_with_lattice_momenta(flow, power):
    """A weak transverse wave decays as exp(-t p^2) with p = 2 sin(k/2), Symanzik flow: exp(-t (p^2 + p^4 / 12)).

    The action of two loops is p^2 (c_0 + 4 c_1 + 4 c_1 cos^2(k/2)) = p^2 (1 - c_1 p^2) times that of the amplitude: a
    1 x 2 rectangle along the polarisation counts four plaquettes, one along the momentum 4 cos^2(k/2), and c_0 = 1 - 8 c_1.
    """
    lattice, amplitude, k = Lattice((4, 8)), 1e-7, 2 * np.pi / 8
    angle = np.zeros((2, 4, 8))
    angle[0] = amplitude * np.cos(k * np.arange(8))
    x = lattice.pack(np.repeat(np.exp(1j * angle)[None, ..., None, None], 8, axis=0), components=1)
    p2 = 4 * math.sin(k / 2) ** 2
    y = advance(lattice, x, 0.5, step=0.01, flow=flow)
    found = np.angle(lattice.unpack(y, components=1)[0, ..., 0, 0])
    np.testing.assert_allclose(found, math.exp(-0.5 * (p2 + power * p2**2)) * angle, atol=1e-6 * amplitude)


def test_plaquette_energy():
    """2 Re tr(1 - P) by hand, its parts, and t^2 E; equal to the clover energy for weak smooth fields."""
    x = links(LATTICE, 3, 8)
    history = flow_history(LATTICE, x, (0.0, 0.1), step=0.05)
    planes = 6 * (1 - kernels.plaquette(LATTICE, x))
    np.testing.assert_allclose(history.e_plaquette_temporal[0], planes[:3].sum(axis=0), rtol=1e-13)
    np.testing.assert_allclose(history.e_plaquette_spatial[0], planes[3:].sum(axis=0), rtol=1e-13)
    total = 6 * 6 * (1 - observables.plaquette(LATTICE, advance(LATTICE, x, 0.1, step=0.05)))
    np.testing.assert_allclose(history.t2_e_plaquette[1], 0.01 * total, rtol=1e-12)
    lattice, f = Lattice((4, 16)), 2 * np.pi / 64
    angle = np.zeros((2, 4, 16))
    angle[1] = f * np.arange(4)[:, None]
    angle[0, -1] = -4 * f * np.arange(16)
    x = lattice.pack(np.repeat(np.exp(1j * angle)[None, ..., None, None], 8, axis=0), components=1)
    constant = flow_history(lattice, x, (0.0,))
    np.testing.assert_allclose(constant.e_plaquette_temporal, 2 * (1 - math.cos(f)), rtol=1e-12)
    np.testing.assert_allclose(constant.e_clover_temporal, math.sin(f) ** 2, rtol=1e-12)
    np.testing.assert_array_equal(constant.e_plaquette_spatial, 0.0)


def test_gauge_invariance_of_adaptive_history():
    x = links(LATTICE, 3, 8)
    y = kernels.gauge_transform(LATTICE, x, rotation(LATTICE, 3, 8))
    first, second = (flow_history(LATTICE, u, (0.2, 0.4), step=AdaptiveStep(1e-3)) for u in (x, y))
    for a, b in zip(first[1:6], second[1:6], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_w_0():
    """t^2 E = a t + b t^2, for which the derivative is exact: W = a t + 2 b t^2, on unequal times."""
    a, b = 0.08, 0.01
    t = np.cumsum(np.linspace(0.01, 0.05, 100))
    exact = math.sqrt((-a + math.sqrt(a * a + 8 * b * 0.3)) / (4 * b))
    assert observables.w_0(a * t + b * t**2, t) == pytest.approx(exact, rel=2e-5)
    linear = observables.w_0(0.15 * t, t, 0.15 * t[50])  # W = 0.15 t: linear interpolation is exact too
    assert linear == pytest.approx(math.sqrt(t[50]), rel=1e-12)
    # Second order in the spacing for t^2 E = c t^3, W = 3 c t^3.
    errors = []
    for count in (81, 161):
        times = np.linspace(0, 4, count)
        errors.append(abs(observables.w_0(0.01 * times**3, times, 0.4) - math.sqrt((0.4 / 0.03) ** (1 / 3))))
    assert errors[1] < errors[0] / 2
    assert errors[0] < 2e-4
    with pytest.raises(ValueError, match=r"t d/dt \(t\^2 <E>\) does not cross 0.3: it covers .* up to t = 0"):
        observables.w_0(a * t[:20], t[:20])
    with pytest.raises(ValueError, match="does not cross"):
        observables.w_0([], [])


def test_gradients_of_scales():
    """Against fourth-order differences, on unequal times."""
    t = np.cumsum(np.linspace(0.05, 0.15, 40))
    y = 0.08 * t + 0.01 * t**2 + 0.002 * np.sin(3 * t)
    for function, gradient in (
        (observables.flow_time_where, observables.flow_time_gradient),
        (observables.w_0, observables.w_0_gradient),
    ):
        found, h = gradient(y, t, 0.25), 3e-6
        for j in range(len(t)):
            up, down, far_up, far_down = (
                function(y + s * h * (np.arange(len(t)) == j), t, 0.25) for s in (1, -1, 2, -2)
            )
            assert found[j] == pytest.approx((8 * (up - down) - (far_up - far_down)) / (12 * h), rel=1e-8, abs=1e-9)
        assert np.count_nonzero(found) == (2 if function is observables.flow_time_where else 4)


@pytest.mark.parametrize("name", ["flow_time_where", "flow_time_gradient", "w_0", "w_0_gradient"])
def test_scales_check_times(name):
    """A value too many or too few, equal times and decreasing ones; the level is crossed in all of them."""
    t = np.linspace(0.1, 1.0, 10)
    function = getattr(observables, name)
    function(t, t, 0.5)
    for values in (np.append(t, 2.0), t[:-1]):
        with pytest.raises(ValueError, match=f"expected 10 values, one for each flow time, got {len(values)}"):
            function(values, t, 0.5)
    for times in (np.sort(np.append(t[1:], 0.5)), t[::-1]):
        with pytest.raises(ValueError, match="flow times must increase, got"):
            function(t, times, 0.5)


def test_errors():
    x = links(LATTICE, 2, 8)
    with pytest.raises(ValueError, match=r"AdaptiveStep: expected tolerance > 0, got 0"):
        AdaptiveStep(0.0)
    with pytest.raises(ValueError, match=r"AdaptiveStep: expected first > 0, got -1"):
        AdaptiveStep(first=-1.0)
    with pytest.raises(ConvergenceError, match="tolerance 1e-20 is below rounding"):
        advance(LATTICE, x, 0.1, step=AdaptiveStep(1e-20))
    with pytest.raises(ConvergenceError, match="links are not finite"):
        advance(LATTICE, np.nan * x, 0.1, step=AdaptiveStep())
    for times, step in (((math.nan,), 0.1), ((0.1, math.nan), AdaptiveStep()), ((math.inf,), 0.1)):
        with pytest.raises(ValueError, match="flow times must be finite, non-negative and increase, got"):
            flow_history(LATTICE, x, times, step=step)
    with pytest.raises(ValueError, match=r"expected at most 1e\+09 steps of 0\.02, got the time 1e\+300"):
        advance(LATTICE, x, 1e300, step=0.02)
    with pytest.raises(ValueError, match="gradient flow: expected a finite step, got nan"):
        observables.flow_step(LATTICE, x, math.nan)
    for step in (math.inf, math.nan):
        with pytest.raises(ValueError, match=f"expected a finite step > 0, got {step}"):
            advance(LATTICE, x, 0.1, step=step)
    with pytest.raises(ValueError, match="unknown gradient flow"):
        advance(LATTICE, x, 0.1, step=AdaptiveStep(), flow="ricci")


def test_short_intervals_are_not_skipped():
    """The largest step may exceed the interval between two times by any factor."""
    x = links(LATTICE, 2, 8)
    np.testing.assert_array_equal(advance(LATTICE, x, 0.05, step=1e9), advance(LATTICE, x, 0.05, step=0.05))


# ---- tables printed by MILC ----------------------------------------------------------------------------------------
# milc-qcd/milc_qcd, wilson_flow/test/region_flow.symanzik.1.sample-out and region_flow_adpt.symanzik.1.sample-out: the
# Symanzik flow of lat.sample.l4448 in equal steps and in adaptive ones.  Columns: t, clover E_t and E_s, 3 x temporal and
# 3 x spatial plaquette, charge; t, step, error of the step, clover E_t and E_s.
SYMANZIK = """
0      1.05787   1.03094   1.69059 1.72375 0.0955429
0.0625 0.854375  0.829395  2.36268 2.37618 0.0472255
0.125  0.607297  0.583634  2.68053 2.68539 0.0232906
0.25   0.305483  0.277945  2.89473 2.89913 0.0124005
0.5    0.117393  0.0927492 2.97157 2.97629 0.00433489
1      0.0419356 0.0274253 2.9916  2.99441 0.000106462
"""
ADAPTIVE = """
0.0625   0.0625    0.0047192   0.854375  0.829395
0.138763 0.076263  0.00738167  0.560706  0.536835
0.218928 0.0801652 0.00363115  0.357882  0.331197
0.325677 0.106748  0.00468429  0.216143  0.188118
0.456255 0.130578  0.00343094  0.134023  0.108266
0.633452 0.177197  0.00378754  0.0822926 0.0610077
0.789816 0.156364  0.00858512  0.0591954 0.041288
0.88015  0.0903338 0.00859996  0.0504692 0.0341702
0.970392 0.090242  0.0060064   0.0437911 0.0288741
1        0.0296079 0.000153453 0.0419416 0.0274348
"""


def _table(text):
    return np.array([line.split() for line in text.split("\n") if line], dtype=float).T


@pytest.fixture(scope="module")
def milc_sample(reference_folder):
    """Lattice and links of MILC's file; skips where the reference files are not."""
    milc = pytest.importorskip("gaugeflow.io.milc")
    array = milc.read(reference_folder / "milc" / "lat.sample.l4448").links
    lattice = Lattice(array.shape[1:5], suggest_fold(array.shape[1:5], 8))
    return lattice, lattice.pack(array[None], components=1)


def test_symanzik_flow_of_milc(milc_sample):
    """All digits of a single-precision program."""
    t, e_t, e_s, plaquette_t, plaquette_s, charge = _table(SYMANZIK)
    history = flow_history(*milc_sample, t, step=0.0625, flow="symanzik")
    np.testing.assert_allclose(history.e_clover_temporal[:, 0], e_t, rtol=6e-6)
    np.testing.assert_allclose(history.e_clover_spatial[:, 0], e_s, rtol=6e-6)
    np.testing.assert_allclose(3 - history.e_plaquette_temporal[:, 0] / 6, plaquette_t, atol=6e-6)
    np.testing.assert_allclose(3 - history.e_plaquette_spatial[:, 0] / 6, plaquette_s, atol=6e-6)
    np.testing.assert_allclose(history.q[:, 0], charge, atol=1.5e-7)


def test_adaptive_symanzik_flow_of_milc(milc_sample, monkeypatch):
    """The same steps accepted, with the same errors, and the same energies: tolerance 0.01, first step 0.0625."""
    t, steps, errors, e_t, e_s = _table(ADAPTIVE)
    taken, plain = [], observables.gradient_flow._embedded

    def recorded(lattice, links, size, gradient):
        new, error = plain(lattice, links, size, gradient)
        taken.append((float(size[0]), float(error[0]), new))
        return new, error

    monkeypatch.setattr(observables.gradient_flow, "_embedded", recorded)
    lattice, x = milc_sample
    advance(lattice, x, 1.0, step=AdaptiveStep(0.01, first=0.0625), flow="symanzik")
    accepted = [record for record in taken if record[1] <= 0.01]
    assert len(taken) - len(accepted) == 2
    np.testing.assert_allclose([size for size, _, _ in accepted], steps, atol=1e-5)
    np.testing.assert_allclose([error for _, error, _ in accepted], errors, rtol=3e-4)
    energies = [flow_history(lattice, links, (0.0,)) for _, _, links in accepted]
    np.testing.assert_allclose([float(e.e_clover_temporal[0, 0]) for e in energies], e_t, rtol=3e-5)
    np.testing.assert_allclose([float(e.e_clover_spatial[0, 0]) for e in energies], e_s, rtol=3e-5)
    assert t[-1] == 1.0
