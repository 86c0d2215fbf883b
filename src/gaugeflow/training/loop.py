"""The training loop: minibatches of source configurations, held-out ESS, early stopping, checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow import io, tree
from gaugeflow.analysis import ess
from gaugeflow.devices import to_host
from gaugeflow.errors import FormatError
from gaugeflow.random import Rng
from gaugeflow.training.adam import Adam, AdamState
from gaugeflow.training.loss import Loss, log_weight
from gaugeflow.training.prior import PriorAction, PriorEnsemble
from gaugeflow.typing import Action, Array, Ensemble, Flow, Params, Prior


@dataclass(frozen=True)
class History:
    """What happened at each evaluation: step, mean loss since the last one, held-out ESS with error, seconds so far."""

    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    ess: list[float] = field(default_factory=list)
    ess_error: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def columns(self) -> dict[str, Any]:
        """Table of :func:`gaugeflow.io.write_table`."""
        return {name: np.asarray(values) for name, values in vars(self).items()}


@dataclass(frozen=True)
class Trained:
    """Best parameters on held-out configurations, and the history that led there."""

    params: Params
    history: History


def held_out_ess(
    flow: Flow, params: Params, source: Action, target: Action, ensemble: Ensemble, batch: int
) -> tuple[float, float]:
    """Effective sample size per configuration over an ensemble, with its error."""
    weights = [log_weight(flow, params, source, target, b.fields)[1] for b in ensemble.batches(batch)]
    estimate = ess(np.concatenate([to_host(w) for w in weights]))
    return estimate.value, estimate.error


def _forever(ensemble: Ensemble, batch: int, first: int) -> Iterator[Array]:
    """Batches in order, again and again, without the ``first`` ones."""
    if isinstance(ensemble, PriorEnsemble):
        for chunk in ensemble.batches(batch, first):
            yield chunk.fields
        first = 0
    skipped = 0
    while True:
        for chunk in ensemble.batches(batch):
            skipped += 1
            if skipped > first:
                yield chunk.fields


def train(
    flow: Flow,
    params: Params,
    source: Action,
    target: Action,
    ensemble: Ensemble,
    held_out: Ensemble,
    *,
    loss: Loss,
    optimiser: Adam,
    steps: int,
    batch: int,
    evaluate_every: int = 10,
    patience: int | None = None,
    checkpoint: Path | None = None,
    described: Mapping[str, Any] | None = None,
    progress: Callable[[int, float], None] = lambda step, ess: None,
) -> Trained:
    """Train a flow from one action to another on source configurations.

    Parameters
    ----------
    flow, params
        The flow and the parameters to start from.
    source, target
        Actions; the ensembles are distributed as exp(-source).
    ensemble, held_out
        Configurations for the gradient, taken in order again and again, and for the ESS that decides.
    loss
        One of :mod:`gaugeflow.training.loss`.
    optimiser
        Adam with its schedule.
    steps, batch
        Number of updates and configurations for each.
    evaluate_every
        Updates between evaluations of the held-out ESS.
    patience
        Stop after so many evaluations without a better ESS (default: never).
    checkpoint
        HDF5 file, written atomically at every evaluation; an existing one is resumed from, to the same result.  Where the
        lattice is cut over processes, the first one reads and writes.
    described
        What a checkpoint must have been written with to be resumed from (anything that JSON can hold).
    progress
        Called after every evaluation with the number of updates made and the ESS.

    Returns
    -------
    Trained
        Parameters of the best evaluation and the history.

    Raises
    ------
    FormatError
        If the checkpoint is not one of this training, or was written with another description.
    """
    settings = json.dumps(described, sort_keys=True)
    history, best = History(), params
    state = optimiser.init(params)
    current: Params = params
    spent = 0.0
    first = _first(flow, source, target)
    if checkpoint is not None and first(checkpoint.exists):
        current, best, state, history = first(lambda: _load(checkpoint, params, settings))
        spent = history.seconds[-1]
    batches = _forever(ensemble, batch, state.step)
    start = time.perf_counter() - spent

    def evaluate(losses: list[float]) -> None:
        nonlocal best
        value, error = held_out_ess(flow, current, source, target, held_out, batch)
        if not history.ess or value > max(history.ess):
            best = current
        history.step.append(state.step)
        history.loss.append(float(np.mean(losses)) if losses else math.nan)
        history.ess.append(value)
        history.ess_error.append(error)
        history.seconds.append(time.perf_counter() - start)
        if checkpoint is not None:
            first(lambda: _save(checkpoint, current, best, state, history, settings))
        progress(state.step, value)

    if not history.step:
        evaluate([])
    losses: list[float] = []
    while state.step < steps and not _tired(history, patience):
        result = loss(flow, current, source, target, next(batches))
        current, state = optimiser.update(state, current, result.gradient)
        losses.append(result.loss)
        if state.step % evaluate_every == 0 or state.step == steps:
            evaluate(losses)
            losses = []
    return Trained(best, history)


def train_from_prior(
    flow: Flow,
    params: Params,
    prior: Prior,
    target: Action,
    *,
    rng: Rng,
    loss: Loss,
    optimiser: Adam,
    steps: int,
    batch: int,
    held_out: int = 1024,
    evaluate_every: int = 100,
    patience: int | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[int, float], None] = lambda step, ess: None,
) -> Trained:
    """Train a flow from a prior to an action: :func:`train` on samples that are drawn anew for every update.

    Parameters
    ----------
    flow, params, target, loss, optimiser, steps, batch, evaluate_every, patience, checkpoint, progress
        As for :func:`train`.
    prior
        Distribution of what enters the flow.
    rng
        Random numbers of the samples.
    held_out
        Samples, the same ones at every evaluation, for the ESS that decides.

    Raises
    ------
    FormatError
        If the checkpoint is not one of this training.
    """
    return train(
        flow,
        params,
        PriorAction(prior),
        target,
        PriorEnsemble(prior, rng.stream("training"), steps * batch),
        PriorEnsemble(prior, rng.stream("held out"), held_out),
        loss=loss,
        optimiser=optimiser,
        steps=steps,
        batch=batch,
        evaluate_every=evaluate_every,
        patience=patience,
        checkpoint=checkpoint,
        progress=progress,
    )


def _first(*parts: Flow | Action) -> Callable[[Callable[[], Any]], Any]:
    """Calls a function on the first of the processes that share the lattice of these; all get what it finds."""
    domains = (getattr(getattr(part, "lattice", None), "domain", None) for part in parts)
    return next((domain.first for domain in domains if domain is not None), lambda function: function())


def _tired(history: History, patience: int | None) -> bool:
    if patience is None:
        return False
    return len(history.ess) - 1 - int(np.argmax(history.ess)) >= patience


def _save(path: Path, current: Params, best: Params, state: AdamState, history: History, settings: str) -> None:
    parts = {"current": current, "best": best, "mean": state.mean, "square": state.square}
    attributes = {**io.provenance(), "step": state.step, "history": json.dumps(vars(history)), "settings": settings}
    io.write_params(path, parts, attributes=attributes)


def _load(path: Path, like: Params, settings: str) -> tuple[Params, Params, AdamState, History]:
    parts, attributes = io.read_params(path)
    try:
        history = History(**json.loads(attributes["history"]))
        state = AdamState(int(attributes["step"]), parts["mean"], parts["square"])
        current, best = parts["current"], parts["best"]
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: not a training checkpoint ({error})") from error
    expected = {name: tuple(a.shape) for name, a in tree.flatten(like).items()}
    found = {name: tuple(a.shape) for name, a in tree.flatten(current).items()}
    if expected != found:
        raise FormatError(f"{path}: a checkpoint of other parameters: expected {expected}, found {found}")
    if attributes.get("settings") != settings:
        raise FormatError(
            f"{path}: a checkpoint of another training; remove it to train anew: expected {settings}, found "
            f"{attributes.get('settings')}"
        )
    return current, best, state, history
