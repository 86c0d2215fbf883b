"""What a system hands back: tables, machine-readable results, figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Progress = Callable[[str, int, int], None]
"""``progress(stage, done, total)``: called as work goes on."""


@dataclass(frozen=True)
class Table:
    """Rows to print; cells are text or numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Report:
    """Results of a system."""

    tables: tuple[Table, ...]
    json: Any
    figures: tuple[Path, ...] = ()
    notes: tuple[str, ...] = field(default=())


def silent(stage: str, done: int, total: int) -> None:
    """The progress that shows nothing."""
