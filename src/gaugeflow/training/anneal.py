"""Training in stages, each from the parameters of the one before: couplings that grow, masses that fall, lattices that grow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from gaugeflow.random import Rng
from gaugeflow.training.adam import Adam
from gaugeflow.training.loop import Trained, train_from_prior
from gaugeflow.training.loss import Loss
from gaugeflow.typing import Action, Flow, Params, Prior


class Stage(NamedTuple):
    """One distribution on the way; flows of all stages share the structure of their parameters.

    Attributes
    ----------
    name
        Part of the name of its checkpoint.
    flow, prior, target, optimiser, steps
        As for :func:`gaugeflow.training.train_from_prior`.
    """

    name: str
    flow: Flow
    prior: Prior
    target: Action
    optimiser: Adam
    steps: int


def anneal(
    stages: Sequence[Stage],
    params: Params,
    *,
    rng: Rng,
    loss: Loss,
    batch: int,
    held_out: int = 1024,
    evaluate_every: int = 100,
    folder: Path | None = None,
    progress: Callable[[str, int, float], None] = lambda name, step, ess: None,
) -> list[Trained]:
    """Train stage by stage.

    Parameters
    ----------
    stages
        Distributions in their order, names different.
    params
        Parameters to start from.
    rng
        Random numbers; every stage has a stream of its own.
    loss, batch, held_out, evaluate_every
        As for :func:`gaugeflow.training.train_from_prior`.
    folder
        Where each stage keeps its checkpoint ``NAME.h5``; given again, training goes on where it stopped.
    progress
        Called after every evaluation with the name of the stage, the number of updates and the ESS.

    Returns
    -------
    list of Trained
        One for each stage.

    Raises
    ------
    ValueError
        If two stages have one name.
    """
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise ValueError(f"anneal: expected different names of stages, got {names}")
    results: list[Trained] = []
    for stage in stages:
        trained = train_from_prior(
            stage.flow,
            params,
            stage.prior,
            stage.target,
            rng=rng.stream(stage.name),
            loss=loss,
            optimiser=stage.optimiser,
            steps=stage.steps,
            batch=batch,
            held_out=held_out,
            evaluate_every=evaluate_every,
            checkpoint=None if folder is None else folder / f"{stage.name}.h5",
            progress=partial(progress, stage.name),
        )
        params = trained.params
        results.append(trained)
    return results
