"""Couplings of loops: what moves, what stays, scores, equal parameters on other lattices, precision, bad input."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import ive

from cases.fields import links
from cases.flows import shaken
from gaugeflow import nn
from gaugeflow.flows import AngleFlow, CircularSpline, LoopCoupling, ProjectionMixture, block_chain, plaquette_chain
from gaugeflow.flows.planar.blocks import plaquette_angles
from gaugeflow.flows.planar.circle import wrap
from gaugeflow.lattice import Lattice


def angles_of(flow, x):
    return flow._angles(x)


def test_eight_layers_move_every_link_once():
    """Masks of a sweep are disjoint and cover all links; each layer leaves the loops that its network sees as they are."""
    lattice = Lattice((8, 8))
    flow = plaquette_chain(lattice, 1, (2,), circle=CircularSpline(3))
    layers = flow.flow.flows
    assert len(layers) == 8
    moves = np.zeros((2, lattice.volume), int)
    for layer in layers:
        table, _, active, _ = layer._tables
        moves[layer.direction, active] += 1
        assert sorted(table.ravel()) == list(range(lattice.volume))
        x = angles_of(flow, links(lattice, 1, 3))
        y, _ = layer.forward(shaken(layer, 0.5), x)
        change = wrap(plaquette_angles(lattice, y) - plaquette_angles(lattice, x))[table][:, 0]
        assert (np.abs(change[:2]) > 1e-6).all()
        np.testing.assert_allclose(change[0] + change[1], 0.0, atol=1e-12)
        np.testing.assert_allclose(change[2:], 0.0, atol=1e-12)
        passive = np.setdiff1d(np.arange(lattice.volume), active)
        np.testing.assert_array_equal(y[layer.direction, passive], x[layer.direction, passive])
        np.testing.assert_array_equal(y[1 - layer.direction], x[1 - layer.direction])
    assert (moves == 1).all()


def test_blocks_end_at_plaquettes():
    """Halving 8 x 4 five times: loops of areas 16, 8, 4, 2, 1, one update for every loop but the last."""
    flow = block_chain(Lattice((8, 4)))
    areas = [math.prod(layer.cell) for layer in flow.flow.flows]
    assert areas == [16, 8, 4, 2, 1]
    assert sum(math.prod(layer.blocks) for layer in flow.flow.flows) == 31


def test_folded_equals_unfolded():
    plain, folded = Lattice((8, 8)), Lattice((8, 8), (2, 2))
    flows = [
        plaquette_chain(lattice, 1, (3,), circle=CircularSpline(3), single_precision=False)
        for lattice in (plain, folded)
    ]
    params = shaken(flows[0], 0.2)
    (a, log_a), (b, log_b) = (f.forward(params, links(f.lattice, 1, 2)) for f in flows)
    np.testing.assert_allclose(plain.unpack(a, 1), folded.unpack(b, 1), atol=1e-12)
    np.testing.assert_allclose(log_a, log_b, atol=1e-12)


def test_parameters_serve_every_lattice():
    """A periodic continuation of a field by plaquette chains is the continuation of its image."""
    small, large = Lattice((8, 8)), Lattice((16, 8))
    flows = [
        plaquette_chain(lattice, 1, (3,), circle=ProjectionMixture(2), single_precision=False)
        for lattice in (small, large)
    ]
    params = shaken(flows[0], 0.2)
    x = small.unpack(links(small, 1, 2), 1)
    twice = large.pack(np.concatenate([x, x], axis=2), 1)
    (a, log_a), (b, log_b) = flows[0].forward(params, small.pack(x, 1)), flows[1].forward(params, twice)
    np.testing.assert_allclose(large.unpack(b, 1)[:, :, 8:], small.unpack(a, 1), atol=1e-12)
    np.testing.assert_allclose(log_b, 2.0 * log_a, atol=1e-11)


@pytest.mark.parametrize(
    "make",
    [
        lambda lattice: block_chain(lattice, circle=ProjectionMixture(3)),
        lambda lattice: plaquette_chain(
            lattice, 1, (3,), circle=ProjectionMixture(2), frozen=0, single_precision=False
        ),
    ],
)
def test_score_is_the_gradient_of_the_density(make):
    """Along random directions w at y: d/de log q(y + e w) = score . w, with log q(y) = -log_det(y) for Haar links."""
    lattice = Lattice((4, 4))
    flow = make(lattice).flow
    params = shaken(flow, 0.3)
    rng = np.random.default_rng(3)
    x = rng.uniform(-0.5, 0.5, (2, 16, 2))
    y, _ = flow.forward(params, x)
    score = flow.push_score(params, x, y, np.zeros_like(x))
    for _ in range(2):
        w = rng.normal(size=x.shape)

        def log_q(e, w=w):
            return flow.inverse(params, y + e * w)[1]

        h = 1e-3
        stencil = ((1, 0.75), (2, -0.15), (3, 1 / 60))
        slope = sum(c / h * (log_q(k * h) - log_q(-k * h)) for k, c in stencil)
        np.testing.assert_allclose(np.sum(score * w, axis=(0, 1)), slope, rtol=1e-7, atol=1e-7)


def test_single_precision_networks_change_nothing_but_rounding():
    lattice = Lattice((8, 8))
    wide, narrow = (
        plaquette_chain(lattice, 1, (4,), circle=ProjectionMixture(3), single_precision=single)
        for single in (False, True)
    )
    params, x = shaken(wide, 0.2), links(lattice, 1, 4)
    y, log_det = narrow.forward(params, x)
    assert log_det.dtype == np.float64
    np.testing.assert_allclose(y, wide.forward(params, x)[0], atol=1e-4)
    back, minus = narrow.inverse(
        params, y
    )  # loops that the network sees are equal to rounding in double precision only
    np.testing.assert_allclose(back, x, atol=1e-4)
    np.testing.assert_allclose(minus, -log_det, atol=1e-3)


def test_the_finest_coupling_can_be_exact():
    """A plaquette given the loop around it and its neighbour is von Mises of concentration 2 beta cos(p / 2).

    With Haar links and one coupling whose map is built from that distribution the density of plaquettes given pairs is
    exact: checked through moments <cos(a - p / 2)> = I_1 / I_0 at 2 beta cos(p / 2) over 4000 samples, 4 sigma, seed 11.
    """

    class VonMises:
        """The exact map by inverting the tabulated distribution function."""

        channels = 3
        beta = 1.3

        def evaluate(self, raw, x):
            from gaugeflow.flows.planar.circle import Moved

            grid = np.linspace(-np.pi, np.pi, 2001)
            y = np.empty_like(x)
            for index in np.ndindex(x.shape):
                density = np.exp(2.0 * self.beta * raw[0][index] * (np.cos(grid) - 1.0))
                table = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
                y[index] = np.interp(x[index] / (2 * np.pi) + 0.5, table / table[-1], grid)
            return Moved(y, 0.0 * x, lambda: 0.0 * x, lambda y_bar, log_bar: (raw, x))

    class Passed:
        def init(self, rng):
            return {}

        def forward(self, params, x):
            return x

    lattice = Lattice((4, 4))
    layer = LoopCoupling(lattice, Passed(), VonMises(), 0)
    x = np.random.default_rng(11).uniform(-np.pi, np.pi, (2, 16, 500))
    y, _ = layer.forward({}, x)
    angle, pair, _ = layer.features(layer._loops(y))
    kappa = 2.0 * VonMises.beta * np.cos(0.5 * pair)
    excess = np.cos(angle) - ive(1, kappa) / ive(0, kappa)
    assert abs(excess.mean()) < 4.0 * excess.std() / math.sqrt(excess.size)


def test_bad_input():
    lattice = Lattice((8, 8))
    net = nn.ChannelMixing(None, 3, 25)
    with pytest.raises(ValueError, match=r"expected a lattice of two dimensions, got shape \(4, 4, 4\)"):
        LoopCoupling(Lattice((4, 4, 4)), net)
    with pytest.raises(ValueError, match=r"blocks of extents \(3, 1\) do not tile a lattice of shape \(8, 8\)"):
        LoopCoupling(lattice, net, direction=1, frozen=1)
    with pytest.raises(ValueError, match="expected positive extents of cells"):
        LoopCoupling(lattice, net, cell=(0, 1))
    with pytest.raises(ValueError, match="expected harmonics >= 1, got 0"):
        LoopCoupling(lattice, net, harmonics=0)
    with pytest.raises(ValueError, match="direction must be in"):
        LoopCoupling(lattice, net, direction=2)
    with pytest.raises(ValueError, match=r"expected extents that are powers of two, got \(6, 8\)"):
        block_chain(Lattice((6, 8)))
    with pytest.raises(ValueError, match="expected at least one sweep, got 0"):
        plaquette_chain(lattice, 0)
    with pytest.raises(ValueError, match="expected U\\(1\\) links, got 2 colours"):
        AngleFlow(lattice, LoopCoupling(lattice, net)).forward({}, links(lattice, 2, 1))
    with pytest.raises(ValueError, match=r"expected shape \(3, sites, lanes\), got \(2, 4, 1\)"):
        net.forward({}, np.zeros((2, 4, 1)))


def test_reference_on_other_arrays():
    """Forward, inverse and cotangents on array-api-strict equal those on NumPy."""
    import array_api_strict as strict

    from gaugeflow import tree

    lattice = Lattice((4, 4))
    for circle, direction in itertools.product((CircularSpline(3), ProjectionMixture(2)), (0, 1)):
        flow = LoopCoupling(lattice, nn.ChannelMixing(None, 3, circle.channels), circle, direction)
        params = shaken(flow, 0.3)
        x = angles_of(AngleFlow(lattice, flow), links(lattice, 1, 2))
        y, log_det = flow.forward(params, x)
        theirs = tree.map(strict.asarray, params)
        y_strict, log_strict = flow.forward(theirs, strict.asarray(x))
        np.testing.assert_allclose(np.asarray(y_strict), y, atol=1e-13)
        np.testing.assert_allclose(np.asarray(log_strict), log_det, atol=1e-13)
        np.testing.assert_allclose(wrap(np.asarray(flow.inverse(theirs, y_strict)[0]) - x), 0.0, atol=1e-12)
        _, bar = flow.vjp(theirs, strict.asarray(x), y_strict, strict.asarray(y), strict.asarray(log_det))
        np.testing.assert_allclose(np.asarray(bar), flow.vjp(params, x, y, y, log_det)[1], atol=1e-12)
