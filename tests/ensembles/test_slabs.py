"""Averages over slabs: plain loops without updates, frozen links, exact values with updates, correlators of slices."""

import array_api_strict
import numpy as np
import pytest

from cases.fields import links
from gaugeflow import kernels
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import (
    Series,
    cross_fit_sources,
    gamma_method,
    improved,
    n_point_function,
    slab_correlator,
)
from gaugeflow.backend import use_backend
from gaugeflow.ensembles import PlaquetteSources, Slabs
from gaugeflow.lattice import Lattice
from gaugeflow.observables import SlabCut, SlabLoops, plaquette_slices, stout, wilson_loops
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath

LATTICE = Lattice((4, 4, 4, 4))


def _smooth(lattice, x):
    return stout(lattice, x, 0.1, 1, spatial=True)


@pytest.mark.parametrize("multihit", [False, True])
def test_one_configuration_gives_plain_loops(multihit):
    """Without updates the pieces belong to one configuration; all first cuts together have all places of a loop."""
    x = links(LATTICE, 3, 8)
    averaged = kernels.link_averages(LATTICE, x, 5.0, 0) if multihit else None
    smooth = _smooth(LATTICE, x)
    lines = np.concatenate([x[:1], smooth[1:]])
    for d, ends, base in ((1, None, x), (2, _smooth, lines)):
        expected = wilson_loops(LATTICE, base, 2, 4, averaged=averaged)
        found = 0.0
        for first in range(d):
            slabs = Slabs(LATTICE, 5.0, d, 1, first=first, multihit=multihit)
            found = found + slabs.wilson_loops(Rng(1), x, 2, 4, ends)[0] / d
        np.testing.assert_allclose(found, expected, atol=1e-14)


def test_ways():
    cut = SlabCut(LATTICE, 2)
    assert [cut.ways(t) for t in (1, 2, 3, 4)] == [
        ((0, 0, 1), (1, 0, 0)),
        ((1, 0, 1),),
        ((0, 1, 1), (1, 1, 0)),
        ((0, 2, 0),),  # (1, 1, 1) would have both ends in one slab
    ]
    assert SlabCut(Lattice((8, 4)), 4).ways(4) == ((2, 0, 2),)


def test_polyakov_pairs():
    """One configuration, against the traces of lines; folded and strict arrays alike."""
    x = links(LATTICE, 3, 8)
    array = LATTICE.unpack(x[0])
    line = array[:, 0]
    for t in range(1, 4):
        line = line @ array[:, t]
    loop = np.trace(line, axis1=-2, axis2=-1) / 3
    pairs = [np.mean([np.roll(loop, -r, axis=a) * loop.conj() for a in (1, 2, 3)], axis=0) for r in (1, 2)]
    expected = np.stack(pairs).real.mean(axis=(2, 3, 4))
    found, _ = Slabs(LATTICE, 5.0, 2, 1, multihit=False).polyakov_pairs(Rng(1), x, 2)
    np.testing.assert_allclose(found, expected, atol=1e-14)
    loops = SlabLoops(SlabCut(Lattice((4, 4, 4, 4), (1, 2, 1, 1)), 2), 2, 2, pairs=True)
    field = array_api_strict.asarray(links(loops.cut.lattice, 3, 8))
    loops.add(field, None, field)
    np.testing.assert_allclose(np.asarray(loops.polyakov_pairs()), expected, atol=1e-14)
    np.testing.assert_allclose(np.asarray(loops.wilson_loops())[:, 0], wilson_loops(LATTICE, x, 2, 1)[:, 0], atol=1e-14)


def test_frozen_links_stay():
    lattice = Lattice((8, 8))
    sampler = HeatBath(lattice, 2.2, n_overrelax=1, frozen=(1, 4))
    before = sampler.hot(Rng(2), 2, batch=32).x
    after = sampler.step(Rng(3), sampler.init(before))[0].x
    change = np.abs(lattice.unpack(after - before, components=1)).max(axis=(0, 3, 4, 5))
    assert np.all((change == 0.0) == np.array([[False] * 8, [t in (1, 4) for t in range(8)]]))
    for backend in ("numba", "reference"):
        with use_backend(backend):
            new = kernels.heatbath(lattice, before, 2.2, Rng(4).words(), tuple(range(8)))
        np.testing.assert_array_equal(new[1], before[1])
        assert np.all(np.abs(new[0] - before[0]).max(axis=(1, 2)) > 1e-6)
    free = HeatBath(lattice, 2.2, n_overrelax=1).step(Rng(3), sampler.init(before))[0].x
    assert np.any(free != after)


def test_wilson_loops_of_two_dimensions():
    """SU(2), beta = 2.2 on 8 x 8: u^(r t) within 4 sigma in a chain that goes on from the last update, with a smaller error.

    The chain moves by slabs alone, whose frozen slices alternate.
    """
    lattice, beta, u = Lattice((8, 8)), 2.2, 0.4644790253
    sampler = HeatBath(lattice, beta, n_overrelax=1)
    state = sampler.hot(Rng(21), 2, batch=32)
    for step in range(20):
        state, _ = sampler.step(Rng(22).at(step), state)
    x, slabs, plain = state.x, [], []
    for step in range(50):
        chosen = Slabs(lattice, beta, 2, 4, first=step % 2)
        plain.append(wilson_loops(lattice, x, 3, 4).reshape(12, -1))
        loops, x = chosen.wilson_loops(Rng(23).at(step), x, 3, 4)
        slabs.append(loops.reshape(12, -1))
    before, after = ([gamma_method(s) for s in Series.from_lanes(np.stack(rows)).split()] for rows in (plain, slabs))
    for (r, t), a, b in zip(np.ndindex(3, 4), before, after, strict=True):
        assert abs(b.value - u ** ((r + 1) * (t + 1))) < 4 * b.error, (r + 1, t + 1, str(b))
        if r > 0 and t > 0:
            assert b.error < 0.5 * a.error, (r + 1, t + 1)


def test_correlator_of_slices():
    """U(1) in three dimensions: means over slabs correlate as single slices do, 4 sigma, with a signal of 5 sigma."""
    lattice, beta = Lattice((8, 4, 4)), 2.0
    sampler = HeatBath(lattice, beta, n_overrelax=1)
    state, plain, means = sampler.hot(Rng(31), 1, batch=32), [], []
    slabs = Slabs(lattice, beta, 2, 4)
    for step in range(20 + 60):
        state, _ = sampler.step(Rng(32).at(step), state)
        if step >= 20:
            plain.append(plaquette_slices(lattice, state.x))
            means.append(slabs.slice_means(Rng(33).at(step), state.x, lambda y: plaquette_slices(lattice, y))[0])
    a, b = (Series.from_lanes(np.stack(rows)) for rows in (plain, means))
    better = slab_correlator(b, b, (0, 1, 2, 3), 2)
    for t, series in enumerate(better.split()):
        single = n_point_function((a, a), (t, 0))
        difference = gamma_method(series - single)
        assert abs(difference.value) < 4 * difference.error, (t, str(difference))
        if t == 1:
            assert gamma_method(series).value > 5 * gamma_method(series).error, t
        if t == 3:
            assert gamma_method(series).error < 0.8 * gamma_method(single).error


def test_fields_and_slabs_multiply():
    """U(1) in three dimensions, C(3): R_t averaged over slabs agrees with plain slices within 4 sigma, at a fifth of the error.

    The forces that move slice t and the tangents h_t depend on links between t - 1 and t + 1.
    """
    lattice, beta = Lattice((8, 4, 4)), 2.0
    sampler, action, fields = (
        HeatBath(lattice, beta, n_overrelax=1),
        WilsonAction(lattice, beta),
        PlaquetteSources(lattice),
    )
    slabs, rows = Slabs(lattice, beta, 2, 4), ([], [])

    def both(x):
        return np.concatenate([plaquette_slices(lattice, x)[None], fields.tangents(x, action.grad(x))])

    state = sampler.hot(Rng(41), 1, batch=32)
    for step in range(20 + 40):
        state, _ = sampler.step(Rng(42).at(step), state)
        if step >= 20:
            rows[0].append(both(state.x))
            rows[1].append(slabs.slice_means(Rng(43).at(step), state.x, both)[0])
    plain, means = ([Series.from_lanes(np.stack(row)[:, i]) for i in range(5)] for row in rows)
    single = n_point_function((plain[0], plain[0]), (3, 0))
    residual = improved(means[0], means[1:], cross_fit_sources(means[0], means[1:], 0))
    better = slab_correlator(residual, residual, (3,), 2, reach=1).split()[0]
    difference = gamma_method(better - single)
    assert abs(difference.value) < 4 * difference.error
    assert gamma_method(better).error < 0.2 * gamma_method(single).error


def test_errors():
    x = links(LATTICE, 3, 8)
    with pytest.raises(ValueError, match="thickness: expected a divisor of the extent 4 in time, got 3"):
        Slabs(LATTICE, 5.0, 3, 1)
    with pytest.raises(ValueError, match="first: expected a slice below the thickness 2, got 2"):
        Slabs(LATTICE, 5.0, 2, 1, first=2)
    with pytest.raises(ValueError, match="updates must be at least 1, got 0"):
        Slabs(LATTICE, 5.0, 2, 0)
    with pytest.raises(ValueError, match=r"r_max: expected 1 ... 2 on a lattice"):
        Slabs(LATTICE, 5.0, 2, 1).wilson_loops(Rng(1), x, 3, 2)
    with pytest.raises(ValueError, match=r"t_max: expected 0 ... 4 on a lattice"):
        Slabs(LATTICE, 5.0, 2, 1).wilson_loops(Rng(1), x, 1, 5)
    with pytest.raises(ValueError, match="smear in space only"):
        Slabs(LATTICE, 5.0, 2, 2).wilson_loops(Rng(1), x, 1, 2, lambda lattice, y: stout(lattice, y, 0.1))
    with pytest.raises(ValueError, match=r"frozen: expected time slices 0 ... 3, got \(4,\)"):
        kernels.heatbath(LATTICE, x, 5.0, Rng(1).words(), (4,))
    with pytest.raises(TypeError, match=r"frozen must be a tuple of time slices, got \[0\]"):
        HeatBath(LATTICE, 5.0, frozen=[0])
    folded = Lattice((4, 4, 4, 4), (2, 1, 1, 1))
    with pytest.raises(ValueError, match="do not fold it in time"):
        kernels.heatbath(folded, links(folded, 3, 8), 5.0, Rng(1).words(), (0,))
    with pytest.raises(ValueError, match="0 configurations were added"):
        SlabLoops(SlabCut(LATTICE, 2), 1, 1).wilson_loops()
