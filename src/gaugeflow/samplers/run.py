"""Running Markov chains: burn-in, thinning, measurement, progress, checkpoints."""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from array_api_compat import is_array_api_obj

from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.progress import Progress, progress_bars, silent
from gaugeflow.random import Rng
from gaugeflow.samplers.checkpoint import Checkpoint, identifying, lattice_of, leaves
from gaugeflow.typing import Observable, Sampler


class Sample(NamedTuple):
    """What a chain hands out: number of steps done, burn-in included, the sampler's state and the info of that step."""

    step: int
    state: Any
    info: Any


class Chain(NamedTuple):
    """Result of :func:`run`.

    Attributes
    ----------
    steps
        Numbers of the recorded steps.
    records
        For each field of the sampler's info and each observable an array ``(len(steps), ...)``.
    state
        State after the last step.
    """

    steps: list[int]
    records: dict[str, Array]
    state: Any


def configurations(
    sampler: Sampler, rng: Rng, state: Any, n_steps: int, *, burn_in: int = 0, thin: int = 1, first: int = 0
) -> Iterator[Sample]:
    """Yield every ``thin``-th sample after ``burn_in`` steps: a stream of which one configuration is in memory.

    Parameters
    ----------
    sampler
        Step i, counted from 0 and with burn-in, is ``sampler.step(rng.at(i), state)``.
    rng
        Random numbers.
    state
        State to start from; it must have the configuration as its attribute ``x`` for :func:`run` to measure.
    n_steps
        Steps after burn-in.
    burn_in, thin
        Steps that are not yielded, and the spacing of those that are.
    first
        Number of steps already done, to continue a stream from ``Sample.step`` and ``Sample.state``.
    """
    _check(n_steps, burn_in, thin)
    for step in range(first, burn_in + n_steps):
        state, info = sampler.step(rng.at(step), state)
        if _recorded(step + 1, burn_in, thin):
            yield Sample(step + 1, state, info)


def run(
    sampler: Sampler,
    rng: Rng,
    state: Any,
    n_steps: int,
    *,
    burn_in: int = 0,
    thin: int = 1,
    observe: Sequence[Observable] = (),
    callback: Callable[[Sample], None] | None = None,
    progress: bool | Progress = True,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    checkpoint_every: int = 100,
    checkpoint_seconds: float = 60.0,
) -> Chain:
    """Run a Markov chain and record what it measures.

    Parameters
    ----------
    sampler, rng, state, n_steps, burn_in, thin
        As for :func:`configurations`.
    observe
        Observables, called with ``state.x`` at every recorded step.
    callback
        Called with every recorded sample, for instance to write configurations.  It is part of the step for
        checkpoints: after a kill it may see the samples since the last checkpoint again, with equal content.
    progress
        Show a bar on standard error, or where that is not a terminal, a line every minute; or whom to tell every step.
    checkpoint
        File to continue from if it exists, and to save to.  The continued chain equals the uninterrupted one bit for
        bit; ``n_steps`` may grow.  A :class:`Checkpoint` must be locked already.
    checkpoint_every, checkpoint_seconds
        Steps, and time, after which a checkpoint is due; one more is written at the end and, where the lattice is
        whole, on ``KeyboardInterrupt``.

    Raises
    ------
    GaugeflowError
        If another run uses the checkpoint.
    FormatError
        If the checkpoint cannot be read.
    OSError
        If a checkpoint cannot be written, for instance because the disk is full; the last one stays.
    ValueError
        If the checkpoint belongs to another sampler, stream, burn-in or thinning, or is ahead of ``n_steps``.
    """
    _check(n_steps, burn_in, thin)
    if checkpoint_every < 1:
        raise ValueError(f"run: checkpoint_every must be at least 1, got {checkpoint_every}")
    total = burn_in + n_steps
    lattice, comm = lattice_of(sampler), getattr(sampler, "comm", None)
    done = 0, state  # one object: an interrupt finds number and state of the same step
    rows: list[dict[str, Any]] = []
    identity = {
        "sampler": identifying(re.sub(r" at 0x[0-9a-f]+", "", repr(sampler))),
        "seed": int(rng.seed),
        "stream": [
            *(part if isinstance(part, str) else int(part) for part in rng.path),
            *([f"from chain {rng.first}"] if rng.first else []),
        ],
        "burn_in": burn_in,
        "thin": thin,
        "observe": [o.name for o in observe],
    }
    with ExitStack() as stack:
        file = checkpoint
        if file is not None and not isinstance(file, Checkpoint):
            file = stack.enter_context(Checkpoint(file, lattice, comm))
        if file is not None and file.exists:
            step, now, columns = file.load(identity, state, "records")
            if step > total:
                raise ValueError(f"checkpoint {file.path} is at step {step}, beyond burn_in + n_steps = {total}")
            done = step, now
            rows = _rows(columns, state)
        show = progress if callable(progress) else stack.enter_context(progress_bars()) if progress else silent
        show("steps", done[0], total)

        def save() -> None:
            if file is not None:
                step, now = done
                columns = _columns(rows[: max(0, step - burn_in) // thin], now)
                file.save(identity, step, {"state": now, "records": columns})

        saved = time.monotonic()
        try:
            for step in range(done[0] + 1, total + 1):
                now, info = sampler.step(rng.at(step - 1), done[1])
                if _recorded(step, burn_in, thin):
                    rows.append(_measure(info, observe, now))
                    if callback is not None:
                        callback(Sample(step, now, info))
                done = step, now
                show("steps", step, total)
                late = time.monotonic() - saved >= checkpoint_seconds
                late = late if file is None else bool(file.first(functools.partial(bool, late)))
                if late or step % checkpoint_every == 0 or step == total:
                    save()
                    saved = time.monotonic()
        except KeyboardInterrupt:
            if comm is None and (
                lattice is None or lattice.domain is None
            ):  # processes may be interrupted in different steps
                save()
            raise
    steps = [s for s in range(1, total + 1) if _recorded(s, burn_in, thin)]
    return Chain(steps, _columns(rows, state), done[1])


def _check(n_steps: int, burn_in: int, thin: int) -> None:
    for name, value, least in (("n_steps", n_steps, 0), ("burn_in", burn_in, 0), ("thin", thin, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def _recorded(step: int, burn_in: int, thin: int) -> bool:
    return step > burn_in and (step - burn_in) % thin == 0


def _measure(info: Any, observe: Sequence[Observable], state: Any) -> dict[str, Any]:
    row = dict(leaves(info))
    for observable in observe:
        if observable.name in row:
            raise ValueError(f"run: two records are called {observable.name!r}; rename the observable")
        row[observable.name] = observable(state.x)
    return row


def _namespace(state: Any) -> Any:
    return array_namespace(next(value for _, value in leaves(state) if is_array_api_obj(value)))


def _columns(rows: list[dict[str, Any]], state: Any) -> dict[str, Array]:
    xp = _namespace(state)
    return {name: xp.stack([xp.asarray(row[name]) for row in rows]) for name in rows[0]} if rows else {}


def _rows(columns: dict[str, Any], state: Any) -> list[dict[str, Any]]:
    xp = _namespace(state)
    names = list(columns)
    return [
        {name: xp.asarray(value) for name, value in zip(names, values, strict=True)}
        for values in zip(*columns.values(), strict=True)
    ]
