"""Modules of networks: contract, translations, precision, other array libraries."""

import array_api_strict
import numpy as np
import pytest

from cases.modules import EQUIVARIANT_MODULES, MODULES, features
from gaugeflow import check, nn, tree
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng


def parameters(module, seed=5):
    """Initial parameters, biases moved away from zero."""
    params = module.init(Rng(seed))
    return tree.map(lambda p: p + 0.1 * np.cos(np.arange(p.size)).reshape(p.shape), params)


@pytest.mark.parametrize("name", MODULES)
def test_contract(name, rng):
    module, lattice = MODULES[name]()
    errors = check.check_module(module, lattice, parameters(module), features(lattice, 16, rng), rng)
    assert max(errors.values()) < 1e-9


@pytest.mark.parametrize("name", EQUIVARIANT_MODULES)
def test_translations(name, rng):
    """f(shifted x) = shifted f(x), for one-site shifts in every direction."""
    module, lattice = EQUIVARIANT_MODULES[name]()
    params, x = parameters(module), features(lattice, 16, rng)
    y = lattice.unpack(module.forward(params, x), 1)
    for mu in range(lattice.ndim):
        shifted = lattice.pack(np.roll(lattice.unpack(x, 1), 1, axis=2 + mu), 1)
        found = lattice.unpack(module.forward(params, shifted), 1)
        np.testing.assert_allclose(found, np.roll(y, 1, axis=2 + mu), rtol=0, atol=1e-13)


def test_dense_breaks_translations(rng):
    """So the test above can fail."""
    module, lattice = MODULES["dense"]()
    params, x = parameters(module), features(lattice, 16, rng)
    y = lattice.unpack(module.forward(params, x), 1)
    found = lattice.unpack(module.forward(params, lattice.pack(np.roll(lattice.unpack(x, 1), 1, axis=2), 1)), 1)
    assert abs(found - np.roll(y, 1, axis=2)).max() > 0.1


@pytest.mark.parametrize(("shape", "kernel", "dilation"), [((5, 4), 3, 1), ((3, 7), (3, 5), 2), ((4, 3, 2), 3, 3)])
def test_convolution_is_the_sum_it_says(shape, kernel, dilation, rng):
    """Against a sum of shifted arrays written down anew."""
    lattice = Lattice(shape)
    module = nn.Convolution(lattice, 2, 3, kernel, dilation)
    params, x = parameters(module), features(lattice, 16, rng, 2)
    field = lattice.unpack(x, 1)
    expected = np.zeros((16, 3, *shape)) + params["bias"].reshape(3, *(1,) * len(shape))
    extents = module.extents
    for weight, tap in zip(params["weight"], np.ndindex(extents), strict=True):
        shift = [-dilation * (i - k // 2) for i, k in zip(tap, extents, strict=True)]
        moved = np.roll(field, shift, axis=tuple(range(2, 2 + len(shape))))
        expected += np.einsum("oc,bc...->bo...", weight, moved)
    np.testing.assert_allclose(lattice.unpack(module.forward(params, x), 1), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("fold", [(2, 1), (2, 2)])
def test_folds_change_nothing(fold, rng):
    found = []
    arrays = rng.standard_normal((16, 2, 4, 8)), rng.standard_normal((16, 2, 4, 8))
    for lattice in (Lattice((4, 8)), Lattice((4, 8), fold)):
        module = nn.convolutional(lattice, (2, 5, 2), dilations=(1, 3), final_gain=1.0)
        params = parameters(module)
        x, y_bar = (lattice.pack(a, 1) for a in arrays)
        y, pull_back = nn.forward_and_pull_back(module, params, x)
        params_bar, x_bar = pull_back(y_bar)
        found.append([lattice.unpack(y, 1), lattice.unpack(x_bar, 1), *tree.flatten(params_bar).values()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MODULES)
def test_array_api_strict(name, rng):
    """The same numbers and cotangents from a library that knows nothing but the standard."""
    module, lattice = MODULES[name]()
    params, x = parameters(module), features(lattice, 16, rng)
    y, pull_back = nn.forward_and_pull_back(module, params, x)
    y_bar = rng.standard_normal(y.shape)
    strict_params = tree.map(array_api_strict.asarray, params)
    found, strict_pull_back = nn.forward_and_pull_back(module, strict_params, array_api_strict.asarray(x))
    np.testing.assert_allclose(np.asarray(found), y, rtol=0, atol=1e-13)
    (bars, x_bar), (strict_bars, strict_x_bar) = pull_back(y_bar), strict_pull_back(array_api_strict.asarray(y_bar))
    np.testing.assert_allclose(np.asarray(strict_x_bar), x_bar, rtol=0, atol=1e-13)
    for flat, bar in tree.flatten(strict_bars).items():
        np.testing.assert_allclose(np.asarray(bar), tree.flatten(bars)[flat], rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("name", MODULES)
def test_single_precision(name, rng):
    """Types follow the features, cotangents too; numbers agree to 1e-4."""
    module, lattice = MODULES[name]()
    params, x = parameters(module), features(lattice, 16, rng)
    y, pull_back = nn.forward_and_pull_back(module, params, x)
    y_bar = rng.standard_normal(y.shape)
    single = nn.SinglePrecision(module)
    rounded, rounded_pull_back = nn.forward_and_pull_back(single, params, x)
    inner = module.forward(tree.map(lambda p: p.astype(np.float32), params), x.astype(np.float32))
    assert inner.dtype == np.float32
    np.testing.assert_array_equal(rounded, inner.astype(np.float64))
    np.testing.assert_array_equal(rounded, single.forward(params, x))
    np.testing.assert_allclose(rounded, y, rtol=0, atol=1e-4)
    (bars, x_bar), (rounded_bars, rounded_x_bar) = pull_back(y_bar), rounded_pull_back(y_bar)
    np.testing.assert_allclose(rounded_x_bar, x_bar, rtol=0, atol=1e-4)
    for flat, bar in tree.flatten(rounded_bars).items():
        assert bar.dtype == np.float64
        np.testing.assert_allclose(bar, tree.flatten(bars)[flat], rtol=1e-4, atol=1e-3)


def test_initial_weights():
    """Mean 0 and variance 1 / fan_in within 4 standard errors; a gain of zero gives the zero map; seeds differ."""
    lattice = Lattice((4, 4))
    module = nn.Convolution(lattice, 16, 24)
    weight = module.init(Rng(1))["weight"] * np.sqrt(16 * 9)
    assert weight.shape == (9, 24, 16)
    assert abs(weight.mean()) < 4 / np.sqrt(weight.size)
    assert abs(weight.var() - 1) < 4 * np.sqrt(2 / weight.size)
    assert not np.array_equal(weight, module.init(Rng(2))["weight"] * np.sqrt(16 * 9))
    net = nn.convolutional(lattice, (1, 4, 2))
    params = net.init(Rng(3))
    assert not net.forward(params, np.ones((1, 16, 16))).any()
    assert params["0"]["weight"].any()


def test_layers_of_a_network_draw_different_weights():
    net = nn.convolutional(Lattice((4, 4)), (4, 4, 4, 4), final_gain=1.0)
    params = net.init(Rng(3))
    assert not np.array_equal(params["0"]["weight"], params["2"]["weight"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda lattice: nn.Convolution(lattice, 1, 1, kernel=2), "2 odd positive extents"),
        (lambda lattice: nn.Convolution(lattice, 1, 1, kernel=(3,)), "2 odd positive extents"),
        (lambda lattice: nn.Convolution(lattice, 1, 1, dilation=0), "dilation >= 1, got 0"),
        (lambda lattice: nn.Convolution(lattice, 0, 1), "at least one channel in and out, got 0 and 1"),
        (lambda lattice: nn.Dense(lattice, 1, 0), "at least one channel in and out, got 1 and 0"),
        (lambda lattice: nn.ChannelMixing(lattice, 1, -1), "at least one channel in and out, got 1 and -1"),
        (lambda lattice: nn.LeakyRelu(1.5), "0 <= leak < 1, got 1.5"),
        (lambda lattice: nn.Sequential(()), "at least one module"),
        (lambda lattice: nn.convolutional(lattice, (2,)), "channels of input and output"),
        (lambda lattice: nn.convolutional(lattice, (2, 2, 2), dilations=(1,)), "2 dilations, got"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make(Lattice((4, 4)))


@pytest.mark.parametrize("layer", [nn.Convolution, nn.ChannelMixing, nn.Dense])
def test_bad_arguments(layer):
    lattice = Lattice((2, 2))
    module = layer(lattice, 2, 3)
    params = module.init(Rng(1))
    with pytest.raises(ValueError, match=r"expected shape \(2, 4, lanes\), got \(3, 4, 5\)"):
        module.forward(params, np.zeros((3, 4, 5)))
    with pytest.raises(ValueError, match="expected a weight of shape"):
        module.forward({**params, "weight": np.zeros((1, 1))}, np.zeros((2, 4, 5)))
    with pytest.raises(TypeError, match="the weight is float64 and the features are float32"):
        module.forward(params, np.zeros((2, 4, 5), dtype=np.float32))


@pytest.mark.parametrize("bias", [True, False])
def test_cotangents_by_configuration(bias):
    """Lane by lane those of one configuration, whose sum is the cotangent of all."""
    layer = nn.ChannelMixing(None, 3, 2, bias=bias)
    params = layer.init(Rng(1))
    x, y_bar = np.random.default_rng(2).normal(size=(2, 3, 4, 5))
    y_bar = y_bar[:2]
    y = layer.forward(params, x)
    bars, x_bar = layer.vjp_by_configuration(params, x, y, y_bar)
    whole, x_whole = layer.vjp(params, x, y, y_bar)
    np.testing.assert_array_equal(x_bar, x_whole)
    assert bars.keys() == whole.keys()
    for name in bars:
        np.testing.assert_allclose(np.sum(bars[name], axis=-1), whole[name], atol=1e-14)
        one, _ = layer.vjp(params, x[..., 2:3], y[..., 2:3], y_bar[..., 2:3])
        np.testing.assert_allclose(bars[name][..., 2], one[name], atol=1e-14)
