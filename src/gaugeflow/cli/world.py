"""The processes that work on one command: one, or all that ``mpirun`` started.

They are dealt into teams.  The members of a team share every configuration, each holding a part of the lattice; teams work
side by side.  What is computed does not depend on either.  With one process there is no MPI anywhere.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import click
import numpy as np

from gaugeflow.cli.launch import Launch, connect, launch, own_cores
from gaugeflow.cli.stopping import INTERRUPTED, STOPPED, UNFINISHED, Stopped, StopRequest
from gaugeflow.cli.streams import speak, tell
from gaugeflow.cli.team import Team
from gaugeflow.errors import GaugeflowError, sendable
from gaugeflow.progress import Progress, progress_bars
from gaugeflow.runfile import RunFile

PATIENCE = 3.0
"""Seconds that a process with an error waits for the same error of all others, before it ends them."""
_POLL = 0.02
_FORWARDING = 0.5
"""Seconds in which a launcher passes on a last line: it may forget what has not arrived when it ends the others."""
_WORLD = "gaugeflow.world"


class ElsewhereError(GaugeflowError):
    """Another process has failed, and has said so."""


@dataclass
class World:
    """All processes of a command.

    Parameters
    ----------
    comm
        Their communicator; None for one process, or for several that cannot speak to each other.
    unconnected
        Why they cannot.
    """

    comm: Any = None
    unconnected: str = ""
    team: Team = field(default_factory=Team)
    request: StopRequest = field(default_factory=StopRequest)
    _control: Any = None
    _fellows: list[tuple[str, int, frozenset[int]]] = field(default_factory=list)
    _outcomes: list[tuple[int, int]] | None = None
    """How all processes ended, once one has."""

    def __post_init__(self) -> None:
        if self.comm is not None:
            self._control = self.comm.Dup()  # its meetings never meet messages of lattices
            self._fellows = self._control.allgather((socket.gethostname(), os.getpid(), own_cores()))
            self.team = Team(self.comm)

    @property
    def rank(self) -> int:
        """Number of this process."""
        return 0 if self.comm is None else int(self.comm.rank)

    @property
    def size(self) -> int:
        """Number of processes."""
        return 1 if self.comm is None else int(self.comm.size)

    @property
    def leads(self) -> bool:
        """Whether this process prints, and writes what is of all."""
        return self.rank == 0

    @property
    def sharing(self) -> int:
        """Number of processes that may run on the cores of this one, itself included."""
        if not self._fellows:
            return 1
        machine, _, cores = self._fellows[self.rank]
        return sum(other == machine and bool(theirs & cores) for other, _, theirs in self._fellows)

    # ---- teams -------------------------------------------------------------------------------------------------
    def deal(self, run: RunFile, pieces: int, what: str) -> Team:
        """Deal the processes into teams for independent pieces of work.

        Parameters
        ----------
        run
            Its section [parallel] says how many processes share a configuration; by default, as many as there are for
            each piece.
        pieces
            How many pieces there are.
        what
            What they are called in messages.

        Raises
        ------
        ValueError
            If that does not fit the number of processes, or processes that must speak to each other cannot.
        """
        if self.unconnected and (pieces == 1 or run.parallel.ranks > 1 or run.parallel.grid):
            raise ValueError(self.unconnected)
        if self.unconnected:
            click.echo(f"gaugeflow: warning: {self.unconnected}. They share the parts by locks of files", err=True)
        if self.size == 1:
            return self.team
        members = run.parallel.ranks or math.prod(run.parallel.grid or (0,)) or max(1, self.size // pieces)
        if self.size % members:
            raise ValueError(
                f"{run.path}: [parallel] ranks: expected a number that divides the {self.size} processes that were started, "
                f"found {members}"
            )
        count = self.size // members
        if count > pieces:
            raise ValueError(
                f"{run.path}: [parallel]: {self.size} processes were started, {members} for each configuration: expected work "
                f"for {count} teams, found {pieces} {what}"
            )
        self.team = self._team(members)
        speak(self.rank, self.team.leads)
        if self.leads:
            together = f"{members} share a configuration" if members > 1 else "each with configurations of its own"
            click.echo(
                f"{self.size} processes, {together}{f'; {count} teams' if 1 < count < self.size else ''}", err=True
            )
        return self.team

    def share(self, members: int) -> Team:
        """A team of so many processes, for work that all teams do in turns: they stop together, and one process prints.

        Raises
        ------
        ValueError
            If that does not fit the number of processes, or these cannot speak to each other.
        """
        if self.unconnected and members > 1:
            raise ValueError(self.unconnected)
        if self.size == 1:
            return Team()
        if self.size % members:
            raise ValueError(
                f"--ranks: expected a number that divides the {self.size} processes that were started, got {members}"
            )
        return self._team(members)

    def _team(self, members: int) -> Team:
        number = self.rank // members
        return Team(self.comm.Split(number, self.rank) if members > 1 else None, number, self.size // members)

    def require_equal(self, found: Mapping[str, Any]) -> None:
        """``GaugeflowError`` that names the processes and what differs, unless all have found the same."""
        if self.size == 1:
            return
        everywhere = self.comm.allgather(dict(found))
        lines = []
        for name in sorted(set().union(*everywhere)):
            values = [found.get(name) for found in everywhere]
            other = [rank for rank, value in enumerate(values) if value != values[0]]
            if other:
                there = values[other[0]]
                lines.append(f"{name} is {values[0]} on rank 0 and {there} on {_ranks(other)}")
        if lines:
            raise GaugeflowError(f"processes differ: {'; '.join(lines)}")

    def first(self, function: Callable[[], Any]) -> Any:
        """What the first process finds, for all; an error there is an error of all."""
        return Team(self.comm).first(function)

    def exchange(self, value: Any) -> list[Any]:
        """Values of all processes, which work in step."""
        if self.comm is None:
            return [value]
        return list(self.comm.allgather(sendable(value)))

    # ---- stopping together -------------------------------------------------------------------------------------
    def check(self) -> None:
        """Raise :class:`Stopped` in all members of a team where one of them was asked to stop."""
        if self.comm is None:
            return
        asked, reasons = np.array([bool(self.request.reason)], dtype=np.int32), [self.request.reason]
        if self.team.size > 1:
            from mpi4py import MPI

            self.team.comm.Allreduce(MPI.IN_PLACE, asked, op=MPI.MAX)
            if asked[0]:
                reasons = self.team.comm.allgather(self.request.reason)
        if asked[0]:
            raise Stopped(next(filter(None, reasons)))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Progress bars; every step that is told to them is one after which all members of a team may stop together."""
        with progress_bars() as show:
            if self.comm is None:
                yield show
                return

            def step(stage: str, done: int, total: int) -> None:
                show(stage, done, total)
                self.check()

            yield step

    # ---- meeting -----------------------------------------------------------------------------------------------
    def meet(self) -> None:
        """Wait for all others, who are done with their share.

        Raises
        ------
        Stopped
            If some have stopped.
        ElsewhereError
            If some have failed.
        """
        self._meet(0, 0, math.inf)
        outcomes = self._outcomes
        if outcomes is not None:
            status = _together([status for status, _ in outcomes])
            if status == STOPPED:
                raise Stopped("other processes have stopped")
            raise ElsewhereError("another process has failed")

    def gather(self, value: Any) -> list[Any]:
        """Values of all, when all are done with their share; raises as :meth:`meet` does."""
        if self.comm is None:
            return [value]
        self.meet()
        return list(self.comm.allgather(value))

    def end(self, status: int, line: str = "") -> int:
        """Tell how the command ended, after all others have ended as well; the exit status.

        What all processes have to say, one of them says.  An error that the others do not have ends them: they wait for
        messages that will not come.
        """
        if self.comm is None:
            if line:
                click.echo(f"gaugeflow: {line}", err=True)
            return status
        word = zlib.crc32(line.encode()) if line else 0
        failed = status not in (0, STOPPED, UNFINISHED)
        if self._outcomes is None and not self._meet(status, word, PATIENCE if failed else math.inf):
            tell(f"rank {self.rank} of {self.size}: {line or f'ended with status {status}'}")
            time.sleep(_FORWARDING)
            self.comm.Abort(status)
        outcomes = self._outcomes or [(0, 0)]
        words = [word for _, word in outcomes]
        if line and words[self.rank] == word and words.index(word) == self.rank:
            tell(line if self.rank == 0 else f"rank {self.rank} of {self.size}: {line}")
        return _together([status for status, _ in outcomes])

    def _meet(self, status: int, word: int, patience: float) -> bool:
        """Exchange how everybody ended, 0 where work may go on; False where others do not come in time."""
        if self.comm is None or self._outcomes is not None:
            return True
        own = np.array([status, word], dtype=np.int64)
        everywhere = np.empty((self.size, 2), dtype=np.int64)
        request = self._control.Iallgather(own, everywhere)
        begin = time.monotonic()
        while not request.Test():  # a blocking call would keep a core busy
            if time.monotonic() - begin > patience:
                return False
            time.sleep(_POLL)
        if everywhere[:, 0].any():
            self._outcomes = [(int(status), int(word)) for status, word in everywhere]
        return True

    # ---- the end of others -------------------------------------------------------------------------------------
    def watch(self) -> None:
        """Have a thread say at once that the launcher ends this process: the main thread may wait for a message."""

        def note(number: int, frame: FrameType | None) -> None:
            self.request.reason = "received SIGTERM"

        signal.signal(signal.SIGTERM, note)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

        def listen() -> None:
            while True:
                if os.read(reader, 1)[0] == signal.SIGTERM:
                    gone = [rank for rank, fellow in enumerate(self._fellows) if not self._lives(*fellow)]
                    why = f"{_ranks(gone)} of this machine {'are' if len(gone) > 1 else 'is'} gone" if gone else ""
                    tell(
                        f"rank {self.rank} of {self.size}: received SIGTERM{': ' if why else ''}{why}; "
                        "the same command goes on from the last checkpoint"
                    )
                    return

        threading.Thread(target=listen, name="signals", daemon=True).start()

    def _lives(self, machine: str, process: int, cores: frozenset[int]) -> bool:
        """Whether a fellow lives, as far as that can be seen from here."""
        if machine != socket.gethostname():
            return True
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass
        return True


def enter_world() -> World:
    """Find the processes that were started together with this one, and speak for all of them only in the first."""
    context = click.get_current_context()
    start = launch()
    world = World() if start is None else _connected(start)
    context.meta[_WORLD] = world
    return world


def _connected(start: Launch) -> World:
    comm, unconnected = connect(start)
    if comm is None:
        if start.rank > 0:
            speak(start.rank, False)
        return World(unconnected=unconnected)
    world = World(comm)
    speak(world.rank, world.leads)
    world.watch()
    return world


def current() -> World:
    """The world of the command that runs; this process alone outside of commands."""
    context = click.get_current_context(silent=True)
    found = None if context is None else context.meta.get(_WORLD)
    return found if isinstance(found, World) else World()


def _together(statuses: list[int]) -> int:
    """One exit status for all: failures before an interrupt, that before a stop, that before shares of others."""
    failures = sorted(s for s in statuses if s not in (0, INTERRUPTED, STOPPED, UNFINISHED))
    return next((s for s in (*failures, INTERRUPTED, STOPPED, UNFINISHED) if s in statuses), 0)


def _ranks(numbers: list[int]) -> str:
    return f"rank{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
