"""How messages spell the arguments of `read` and `write`: as in Python, or as the options of a command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_PYTHON = {
    "shape": "shape=(t, z, y, x)",
    "n_colours": "n_colours=N",
    "format": "format=NAME",
    "precision": "precision=BITS",
}
_spelling: ContextVar[Mapping[str, str]] = ContextVar("spelling", default=_PYTHON)


def argument(name: str) -> str:
    """What a message calls an argument.

    Parameters
    ----------
    name : {"shape", "n_colours", "format", "precision"}
    """
    return _spelling.get()[name]


@contextmanager
def spelled(names: Mapping[str, str]) -> Iterator[None]:
    """Let messages in the block call arguments by other names, those that a mapping gives."""
    token = _spelling.set({**_PYTHON, **names})
    try:
        yield
    finally:
        _spelling.reset(token)
