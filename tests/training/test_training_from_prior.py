"""Training from a prior: estimators of the gradient against differences and each other, stages, checkpoints."""

import numpy as np
import pytest

from gaugeflow import tree
from gaugeflow.actions import ScalarAction
from gaugeflow.flows import affine_chain, evaluate
from gaugeflow.lattice import Lattice
from gaugeflow.nn import Silu
from gaugeflow.priors import FreeField, Haar, Normal
from gaugeflow.random import Rng
from gaugeflow.training import (
    Adam,
    PriorAction,
    PriorEnsemble,
    Stage,
    anneal,
    constant,
    cosine,
    log_variance,
    reverse_kl,
    reverse_kl_path,
    reverse_kl_reinforce,
    train_from_prior,
)

LATTICE = Lattice((4, 4))
PRIOR = FreeField(LATTICE, 1.0)
TARGET = ScalarAction(LATTICE, -3.0, 4.0)
FLOW = affine_chain(LATTICE, 2, (4,), activation=Silu(), pointwise=True, single_precision=False)
RNG = Rng(206)


def _params(size=0.05):
    return tree.map(lambda p: p + size * np.cos(np.arange(p.size)).reshape(p.shape), FLOW.init(RNG))


def _loss(loss, params, x):
    return loss(FLOW, params, PriorAction(PRIOR), TARGET, x)


@pytest.mark.parametrize("loss", [reverse_kl, log_variance])
def test_gradients_equal_differences(loss):
    params, x = _params(), PRIOR.sample(RNG, 16)
    gradient = _loss(loss, params, x).gradient
    direction = tree.map(lambda p: np.sin(1.0 + np.arange(p.size)).reshape(p.shape), params)
    h = 4e-4

    def at(e):
        return _loss(loss, tree.axpy(e, direction, params), x).loss

    slope = (8.0 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12.0 * h)
    assert float(tree.dot(gradient, direction)) == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize("loss", [reverse_kl_path, reverse_kl_reinforce])
def test_estimators_have_the_same_mean(loss):
    """Differences from the gradient by reparametrisation along a direction: 64 groups of 64, seed 206, 4 sigma."""
    params = _params()
    direction = tree.map(lambda p: np.sin(1.0 + np.arange(p.size)).reshape(p.shape), params)
    differences = []
    for k in range(64):
        x = PRIOR.sample(RNG.at(k), 64)
        a, b = (_loss(which, params, x).gradient for which in (reverse_kl, loss))
        differences.append(float(tree.dot(tree.axpy(-1.0, a, b), direction)))
    error = np.std(differences, ddof=1) / np.sqrt(len(differences))
    assert error > 0.0
    assert abs(np.mean(differences)) < 4.0 * error


@pytest.mark.parametrize(
    ("loss", "quiet"), [(reverse_kl_path, True), (reverse_kl_reinforce, True), (reverse_kl, False)]
)
def test_noise_where_the_flow_is_exact(loss, quiet):
    """The target is the distribution of f(z): constant weights, so that two of the estimators have no noise."""
    params, x = _params(), PRIOR.sample(RNG, 16)

    class Exact:
        """S = -log q."""

        def value(self, y):
            z, minus_log_det = FLOW.inverse(params, y)
            return -PRIOR.log_prob(z) - minus_log_det

        def grad(self, y):
            z, _ = FLOW.inverse(params, y)
            return -FLOW.push_score(params, z, y, PRIOR.score(z))

    gradient = loss(FLOW, params, PriorAction(PRIOR), Exact(), x).gradient
    size = float(np.sqrt(tree.dot(gradient, gradient)))
    assert (size < 1e-10) if quiet else (size > 0.1)


def test_reinforce_needs_two():
    with pytest.raises(ValueError, match="at least two configurations in a batch, got 1"):
        _loss(reverse_kl_reinforce, _params(), PRIOR.sample(RNG, 1))


def test_evaluation_equals_its_parts():
    params, x = _params(), PRIOR.sample(RNG, 16)
    at = evaluate(FLOW, params, x)
    y, log_det = FLOW.forward(params, x)
    np.testing.assert_array_equal(at.y, y)
    np.testing.assert_array_equal(at.log_det, log_det)
    bars, x_bar = at.pull_back(y, log_det)
    same, same_x_bar = FLOW.vjp(params, x, y, y, log_det)
    np.testing.assert_array_equal(x_bar, same_x_bar)
    assert tree.flatten(bars).keys() == tree.flatten(same).keys()
    np.testing.assert_array_equal(at.push_score(x), FLOW.push_score(params, x, y, x))


def test_path_gradient_needs_a_score():
    class Shift:
        """y = x + b."""

        def forward(self, params, x):
            return x + params["b"], np.zeros(x.shape[-1])

        def vjp(self, params, x, y, y_bar, log_det_bar):
            return {"b": y_bar.sum()}, y_bar

    with pytest.raises(TypeError, match="Shift offers no push_score"):
        reverse_kl_path(Shift(), {"b": np.zeros(1)}, PriorAction(PRIOR), TARGET, PRIOR.sample(RNG, 4))


def _train(steps, checkpoint=None, **options):
    return train_from_prior(
        FLOW,
        FLOW.init(RNG),
        PRIOR,
        TARGET,
        rng=RNG,
        loss=reverse_kl_path,
        optimiser=Adam(cosine(0.02, 120), clip=20.0),
        steps=steps,
        batch=16,
        held_out=256,
        evaluate_every=30,
        checkpoint=checkpoint,
        **options,
    )


def test_training_improves_and_resumes(tmp_path):
    """ESS with its error at every evaluation; an interrupted training continues to the same bits."""
    whole = _train(120)
    assert whole.history.step == [0, 30, 60, 90, 120]
    assert whole.history.ess[-1] > 2.0 * whole.history.ess[0]
    assert all(error > 0.0 for error in whole.history.ess_error)
    path = tmp_path / "training.h5"
    _train(60, path)
    resumed = _train(120, path)
    for name, value in tree.flatten(resumed.params).items():
        np.testing.assert_array_equal(value, tree.flatten(whole.params)[name])
    assert resumed.history.ess == whole.history.ess


def test_stages(tmp_path):
    """Each stage starts where the one before ended; a second call finds all done."""
    done = []
    stages = [
        Stage(name, FLOW, PRIOR, ScalarAction(LATTICE, mass, 4.0), Adam(constant(0.01), clip=20.0), 10)
        for name, mass in (("first", -1.0), ("second", -3.0))
    ]
    options = {"rng": RNG, "loss": reverse_kl, "batch": 16, "held_out": 64, "evaluate_every": 10, "folder": tmp_path}
    first = anneal(stages, FLOW.init(RNG), progress=lambda name, step, ess: done.append((name, step)), **options)
    assert done == [("first", 0), ("first", 10), ("second", 0), ("second", 10)]
    done.clear()
    second = anneal(stages, FLOW.init(RNG), progress=lambda name, step, ess: done.append((name, step)), **options)
    assert done == []
    for a, b in zip(first, second, strict=True):
        for name, value in tree.flatten(a.params).items():
            np.testing.assert_array_equal(value, tree.flatten(b.params)[name])
    moved = tree.axpy(-1.0, first[0].params, first[1].params)
    assert float(tree.dot(moved, moved)) > 0.0
    with pytest.raises(ValueError, match="different names of stages"):
        anneal([stages[0], stages[0]], FLOW.init(RNG), **options)


def test_prior_ensemble():
    """Batches are drawn by number, so that a stream may start anywhere; sizes add up."""
    ensemble = PriorEnsemble(Normal(LATTICE), RNG, 10)
    assert len(ensemble) == 10
    assert ensemble.lattice == LATTICE
    whole = list(ensemble.batches(4))
    assert [batch.fields.shape[-1] for batch in whole] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([batch.ids for batch in whole]), np.arange(10))
    (late,) = list(ensemble.batches(4, 2))
    np.testing.assert_array_equal(late.fields, whole[2].fields)
    with pytest.raises(ValueError, match="positive number of configurations, got 0"):
        PriorEnsemble(Normal(LATTICE), RNG, 0)
    with pytest.raises(ValueError, match="positive size, got 0"):
        next(ensemble.batches(0))


def test_prior_action():
    for prior in (Normal(LATTICE, 0.7), Haar(LATTICE, 2)):
        x, action = prior.sample(RNG, 4), PriorAction(prior)
        np.testing.assert_array_equal(action.value(x), -prior.log_prob(x))
        np.testing.assert_array_equal(action.grad(x), -prior.score(x))
