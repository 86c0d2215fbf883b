"""Work in parts that any number of processes share: ranks of ``mpirun``, jobs of an array, or two terminals.

A part belongs to the process that locks it, and everybody takes the next one that is free.  What a part computes does not
depend on who computes it or what else is going on, so that the results are those of one process that does all parts in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gaugeflow.cli.stopping import UnfinishedError
from gaugeflow.cli.team import Team
from gaugeflow.cli.world import current
from gaugeflow.filesystem import FileLock, HeldError
from gaugeflow.runfile import RunFile

LOCK = "part.lock"


@dataclass(frozen=True)
class Part:
    """A share of the work of a run file.

    Parameters
    ----------
    number
        Counted from 0.
    items
        Which of all chains, or configurations, it has.
    folder
        Where its results go; the folder of all results where there is one part.
    """

    number: int
    items: range
    folder: Path


def parts_of_chains(run: RunFile, chains: int) -> list[Part]:
    """Consecutive chains, in shares as equal as possible; no more parts than chains."""
    shares = min(run.parallel.parts, chains)
    ends = [k * chains // shares for k in range(shares + 1)]
    return [Part(k, range(ends[k], ends[k + 1]), _folder(run, k)) for k in range(shares)]


def parts_of_configurations(run: RunFile, count: int) -> list[Part]:
    """Every n-th configuration, so that each part keeps what it has where the ensemble grows."""
    shares = min(run.parallel.parts, count)
    return [Part(k, range(k, count, shares), _folder(run, k)) for k in range(shares)]


def _folder(run: RunFile, number: int) -> Path:
    return run.folder if run.parallel.parts == 1 else run.folder / f"part-{number}"


def share(parts: list[Part], complete: Callable[[Part], bool], work: Callable[[Part], None]) -> None:
    """Do every part that is not complete and that no other process is doing.

    Parameters
    ----------
    parts
        The parts.
    complete
        Whether a part is done.
    work
        Does a part, or goes on with it.  All members of a team call it together.

    Raises
    ------
    UnfinishedError
        If some are not complete then, because processes that were started apart are doing them.
    """
    world = current()
    team = world.team
    if len(parts) == 1:  # several processes refuse each other
        if not team.first(lambda: complete(parts[0])):
            work(parts[0])
        world.meet()
        return
    begin = team.number * len(parts) // team.count  # teams that start together do not ask for the same parts
    for part in (*parts[begin:], *parts[:begin]):
        with _taken(team, part, complete) as mine:
            if mine:
                work(part)
    world.meet()
    unfinished = world.first(lambda: [part.number for part in parts if not complete(part)])
    if unfinished:
        raise UnfinishedError(
            f"{len(parts) - len(unfinished)} of {len(parts)} parts are done, and other processes have "
            f"{', '.join(map(str, unfinished))}. The last one to end puts them together; the same command given again does "
            "so, too."
        )


@contextmanager
def _taken(team: Team, part: Part, complete: Callable[[Part], bool]) -> Iterator[bool]:
    """Whether a part is to be done by this team, which has its lock then."""
    with ExitStack() as stack:

        def take() -> bool:
            if complete(part):
                return False
            part.folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(FileLock(part.folder / LOCK))
            except HeldError:
                return False
            return not complete(part)

        yield team.first(take)
