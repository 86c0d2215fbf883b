"""Ending before a batch system ends the job: limits of time and signals become an interrupt, which every command survives."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

STOPPED = 75
"""Exit status of a command that stopped before its limit and goes on when it is given again (``EX_TEMPFAIL``)."""

MARGIN = 120.0
"""Seconds before the end of a job of SLURM at which work stops, for the last configuration and the checkpoint."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""What batch systems send before they end a job."""


INTERRUPTED = 130
"""Exit status of a command that the user interrupted."""

UNFINISHED = 3
"""Exit status of a command that has done its share while other processes still have theirs."""


class UnfinishedError(Exception):
    """Other processes are doing parts without which this one cannot go on."""


class Stopped(KeyboardInterrupt):
    """An interrupt by a limit of time or by a signal, not by the user."""


@dataclass
class StopRequest:
    """Why a process was asked to stop; empty where it was not."""

    reason: str = ""


def seconds_left(minutes: float | None, environment: Mapping[str, str] | None = None) -> float:
    """Seconds until work has to stop, infinity without a limit.

    Parameters
    ----------
    minutes
        Limit that the user gave, None for that of the batch system.
    environment
        Variables of the environment (default: those of the process).  ``SLURM_JOB_END_TIME`` is the end of the job in seconds
        since 1970; work stops :data:`MARGIN` before it.

    Raises
    ------
    ValueError
        If the variable is not a number.
    """
    if minutes is not None:
        return 60.0 * minutes
    end = (os.environ if environment is None else environment).get("SLURM_JOB_END_TIME", "")
    if not end:
        return math.inf
    try:
        return max(1.0, float(end) - time.time() - MARGIN)
    except ValueError:
        raise ValueError(f"SLURM_JOB_END_TIME: expected seconds since 1970, got {end!r}") from None


@contextmanager
def stopping(minutes: float | None = None, request: StopRequest | None = None) -> Iterator[None]:
    """Raise :class:`Stopped` in the block at a limit of time, or at a signal of :data:`SIGNALS`.

    The first of them counts: what follows, while a checkpoint is written, is ignored.  Outside the main thread, which alone
    receives signals, nothing happens.

    Parameters
    ----------
    minutes
        Limit; None for that of the batch system, see :func:`seconds_left`.
    request
        Where to write the reason down instead of raising, for processes that have to stop together.

    Raises
    ------
    ValueError
        If there is a limit and this system has no timer.
    """
    left = seconds_left(minutes)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if math.isfinite(left) and not hasattr(signal, "setitimer"):
        raise ValueError("--minutes: this operating system has no timer that can stop a command")
    watched = SIGNALS + ((signal.SIGALRM,) if math.isfinite(left) else ())
    reason = "the limit of time is reached"

    def stop(number: int, frame: FrameType | None) -> None:
        why = reason if number not in SIGNALS else f"received {signal.Signals(number).name}"
        if request is not None:
            request.reason = why
            return
        for other in watched:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(why)

    before = {number: signal.signal(number, stop) for number in watched}
    if math.isfinite(left):
        signal.setitimer(signal.ITIMER_REAL, left)
    try:
        yield
    finally:
        if math.isfinite(left):
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in before.items():
            signal.signal(number, handler)
