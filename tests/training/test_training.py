"""Losses, optimiser, linear fit and training loop, on 2D U(1), whose kernels compile fast."""

import numpy as np
import pytest

from gaugeflow import random
from gaugeflow.actions import WilsonAction
from gaugeflow.backend import use_backend
from gaugeflow.ensembles import MemoryEnsemble
from gaugeflow.errors import FormatError
from gaugeflow.flows import Chain, Convolution, ResidualSweep
from gaugeflow.lattice import Lattice
from gaugeflow.samplers import HeatBath, configurations
from gaugeflow.training import (
    Adam,
    constant,
    cosine,
    exponential,
    fit_linear,
    levenberg_marquardt,
    log_variance,
    reverse_kl,
    reverse_kl_path,
    train,
)

LATTICE = Lattice((4, 4))
SOURCE, TARGET = WilsonAction(LATTICE, 1.0), WilsonAction(LATTICE, 1.4)


@pytest.fixture(scope="module")
def blocks():
    """Independent chains in lanes, decorrelated blocks of the source distribution."""
    sampler = HeatBath(LATTICE, SOURCE.beta, 2)
    state = sampler.hot(random.Rng(11), 1, 128)
    return [s.state.x for s in configurations(sampler, random.Rng(12), state, 40, burn_in=40, thin=10)]


def _flow():
    flow = Chain((ResidualSweep(LATTICE, 1, (Convolution(0), Convolution(1, 0.1))), ResidualSweep(LATTICE, 1)))
    return flow, {"0": {"delta": np.array([[-0.04], [0.03]])}, "1": {"delta": np.array([[-0.02]])}}


@pytest.mark.parametrize("loss", [reverse_kl, log_variance])
def test_gradients_equal_differences(loss, blocks):
    flow, params = _flow()
    gradient = loss(flow, params, SOURCE, TARGET, blocks[0]).gradient
    for key, (i, j) in (("0", (0, 0)), ("0", (1, 0)), ("1", (0, 0))):

        def at(e, key=key, i=i, j=j):
            moved = {k: {"delta": v["delta"].copy()} for k, v in params.items()}
            moved[key]["delta"][i, j] += e
            return loss(flow, moved, SOURCE, TARGET, blocks[0]).loss

        e = 1e-3
        slope = (8.0 * (at(e) - at(-e)) - (at(2 * e) - at(-2 * e))) / (12.0 * e)
        assert gradient[key]["delta"][i, j] == pytest.approx(slope, rel=1e-7)


def test_path_gradient_has_no_noise_where_the_flow_is_exact(blocks):
    flow, _ = _flow()
    params = flow.init()
    noisy = reverse_kl(flow, params, SOURCE, SOURCE, blocks[0]).gradient
    quiet = reverse_kl_path(flow, params, SOURCE, SOURCE, blocks[0]).gradient
    assert abs(noisy["1"]["delta"]).max() > 1e-2
    assert abs(quiet["1"]["delta"]).max() < 1e-12
    assert abs(quiet["0"]["delta"]).max() < 1e-12


def test_path_gradient_has_the_same_mean(blocks):
    """Difference over 512 independent configurations, seeds 11 and 12, 4 sigma from the scatter of 16 groups."""
    flow, params = _flow()
    groups = [x[..., k : k + 32] for x in blocks for k in range(0, 128, 32)]
    differences = []
    for x in groups:
        a = reverse_kl(flow, params, SOURCE, TARGET, np.ascontiguousarray(x)).gradient
        b = reverse_kl_path(flow, params, SOURCE, TARGET, np.ascontiguousarray(x)).gradient
        differences.append(a["1"]["delta"][0, 0] - b["1"]["delta"][0, 0])
    error = np.std(differences, ddof=1) / np.sqrt(len(differences))
    assert abs(np.mean(differences)) < 4.0 * error


def test_log_variance_needs_two():
    flow, params = _flow()
    with use_backend("reference"):
        x = random.haar_links(random.Rng(1), LATTICE, 1, 1)
        with pytest.raises(ValueError, match="at least two configurations in a batch, got 1"):
            log_variance(flow, params, SOURCE, TARGET, x)


def test_tangent_is_the_derivative_of_the_log_weight(blocks):
    flow, _ = _flow()
    sweep, x = flow.flows[0], blocks[0]
    h = sweep.tangent(x, SOURCE.grad(x))
    bars, _ = sweep.vjp_by_configuration(sweep.init(), x, x, -SOURCE.grad(x), 1.0)
    np.testing.assert_allclose(h, bars["delta"], atol=1e-12)


def test_linear_fit_finds_the_coefficients():
    rng = np.random.default_rng(3)
    h = rng.normal(size=(3, 400)) * np.array([[1.0], [1e-3], [30.0]])
    operator = 5.0 + np.array([0.2, -40.0, 0.01]) @ h + 0.1 * rng.normal(size=400)
    fit = fit_linear(h, operator)
    np.testing.assert_allclose(fit.coefficients, [0.2, -40.0, 0.01], rtol=0.2)
    assert fit.variance_flow == pytest.approx(0.01, rel=0.3)
    with pytest.raises(ValueError, match="more than 4 configurations for 3 fields, got 4"):
        fit_linear(h[:, :4], operator[:4])


def test_levenberg_marquardt_finds_the_minimum():
    """Rosenbrock's valley, and two exponentials one of whose parameters does nothing at the start."""

    def valley(params):
        x, y = params["a"]["x"], params["b"]
        rows = {"a": {"x": np.array([[-1.0, -20.0 * x[0]]])}, "b": np.array([[0.0, 10.0]])}
        return np.array([1.0 - x[0], 10.0 * (y[0] - x[0] ** 2)]), lambda: rows

    found = levenberg_marquardt(valley, {"a": {"x": np.array([-1.2])}, "b": np.array([1.0])}, steps=80)
    np.testing.assert_allclose([found.params["a"]["x"][0], found.params["b"][0]], 1.0, rtol=1e-6)
    assert (np.diff(found.sums) < 0.0).all()
    t = np.linspace(0.0, 2.0, 30)

    def decays(params):
        size, rate = params["size"][0], params["rate"][0]
        fall = np.exp(-rate * t)
        residuals = size * fall - 0.7 * np.exp(-1.3 * t)
        return residuals, lambda: {"size": fall[None, :], "rate": (-size * t * fall)[None, :]}

    found = levenberg_marquardt(decays, {"size": np.zeros(1), "rate": np.ones(1)}, enough=1e-12)
    np.testing.assert_allclose([found.params["size"][0], found.params["rate"][0]], [0.7, 1.3], rtol=1e-4)
    assert found.sums[-1] <= 1e-12


def test_schedules():
    assert constant(0.1)(7) == 0.1
    assert cosine(1.0, 10, warm_up=2)(0) == 0.5
    assert cosine(1.0, 10)(10) == pytest.approx(0.0)
    assert exponential(1.0, 5.0)(10) == 0.25


def test_adam_minimises_and_refuses_nonsense():
    adam = Adam(constant(0.1), clip=1.0)
    params = {"a": np.array([3.0, -2.0])}
    state = adam.init(params)
    for _ in range(300):
        params, state = adam.update(state, params, {"a": 2.0 * params["a"]})
    assert abs(params["a"]).max() < 1e-2
    with pytest.raises(ValueError, match="gradient has norm nan"):
        adam.update(state, params, {"a": np.array([np.nan, 0.0])})


def test_long_gradients_are_scaled_back():
    """The whole gradient, of norm 5, enters both moments with norm 1; one of norm 0.5 enters as it is."""
    adam = Adam(constant(0.1), clip=1.0)
    params = {"a": np.array([0.0]), "b": np.array([0.0])}
    for gradient, factor in (((3.0, -4.0), 0.2), ((0.3, -0.4), 1.0)):
        g = {"a": np.array([gradient[0]]), "b": np.array([gradient[1]])}
        _, state = adam.update(adam.init(params), params, g)
        for key in ("a", "b"):
            np.testing.assert_allclose(state.mean[key], 0.1 * factor * g[key], rtol=1e-14)
            np.testing.assert_allclose(state.square[key], 0.001 * (factor * g[key]) ** 2, rtol=1e-12)


def _train(blocks, steps, checkpoint=None):
    flow = ResidualSweep(LATTICE, 1)
    return train(
        flow,
        flow.init(),
        SOURCE,
        TARGET,
        MemoryEnsemble(LATTICE, tuple(blocks[1:])),
        MemoryEnsemble(LATTICE, tuple(blocks[:1])),
        loss=reverse_kl_path,
        optimiser=Adam(cosine(0.02, 12)),
        steps=steps,
        batch=128,
        evaluate_every=3,
        checkpoint=checkpoint,
    )


def test_training_improves_and_resumes(blocks, tmp_path):
    whole = _train(blocks, 12)
    assert whole.history.ess[-1] > whole.history.ess[0] + 0.1
    path = tmp_path / "training.h5"
    _train(blocks, 6, path)
    resumed = _train(blocks, 12, path)
    np.testing.assert_array_equal(resumed.params["delta"], whole.params["delta"])
    assert resumed.history.ess == whole.history.ess
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(FormatError):
        _train(blocks, 12, path)


def test_early_stopping(blocks):
    flow = ResidualSweep(LATTICE, 1)
    trained = train(
        flow,
        flow.init(),
        SOURCE,
        SOURCE,
        MemoryEnsemble(LATTICE, tuple(blocks[1:])),
        MemoryEnsemble(LATTICE, tuple(blocks[:1])),
        loss=reverse_kl,
        optimiser=Adam(constant(0.01)),
        steps=50,
        batch=64,
        evaluate_every=1,
        patience=2,
    )
    assert trained.history.step[-1] == 2
    np.testing.assert_array_equal(trained.params["delta"], flow.init()["delta"])
