"""Contract of samplers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gaugeflow.check.report import Report, Unchanged, arrays, equal
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Array, Sampler


def check_sampler(sampler: Sampler, x: Array, make_rng: Callable[[], Any], *, steps: int = 2) -> None:
    """Check that a sampler's step is a pure function of the random stream and the state.

    Parameters
    ----------
    sampler
        The sampler.
    x
        Start configurations.
    make_rng
        Makes equal random streams, each time from the start.
    steps
        Number of steps to take.

    Raises
    ------
    ContractError
        If two runs from equal streams differ in a single bit, a step changes its state, or a number is not finite.
    """
    report = Report(sampler)
    with Unchanged(report, x):
        state = sampler.init(x)
    first, second = make_rng(), make_rng()
    for step in range(steps):
        with Unchanged(report, state):
            new, info = sampler.step(first, state)
            again, _ = sampler.step(second, state)
        report.require(equal(new, again), f"step {step}: equal random streams gave different states")
        for name, array in arrays({"state": new, "info": info}):
            xp = array_namespace(array)
            report.require(bool(xp.all(xp.isfinite(array))), f"step {step}: {name} holds numbers that are not finite")
        state = new
    report.finish()
