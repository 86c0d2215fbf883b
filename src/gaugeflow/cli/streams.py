"""Who speaks: of many processes the first one prints, and leaders of teams write to standard error."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


class _Plain(io.TextIOWrapper):
    """A stream that is no terminal: launchers give processes one, and pass on what they write there to a file."""

    begin = ""

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        if not self.begin or not isinstance(text, str):  # click tries whether a stream takes bytes
            return super().write(text)
        lines = text.splitlines(keepends=True)
        super().write("".join(self.begin + line if line.strip() else line for line in lines))
        return len(text)


def speak(rank: int, leads: bool) -> None:
    """Let the first process print, leaders of other teams write to standard error, and keep the others silent."""
    sys.stdout = _Plain(_output(1, rank == 0), "utf-8", line_buffering=True)
    error = _Plain(_output(2, leads), "utf-8", line_buffering=True)
    error.begin = f"rank {rank}: " if rank else ""
    sys.stderr = error


def _output(number: int, speaks: bool) -> Any:
    """A file descriptor that outlives its streams, or nowhere."""
    return open(number, "wb", closefd=False) if speaks else open(os.devnull, "wb")


def tell(line: str) -> None:
    """One line on standard error at once, whoever is silent."""
    os.write(2, f"gaugeflow: {line}\n".encode())
