"""What a system hands back: tables, machine-readable results, figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gaugeflow.progress import Progress as Progress
from gaugeflow.progress import silent as silent

BRACKETS = "brackets: statistical error of the last two digits"
ESS = "ESS: effective sample size, the share of equally weighted configurations that the weighted ones are worth; 1 is all"
TAU_INT = "tau_int: integrated autocorrelation time in units of the distance of two configurations; 0.5: independent"
PULL = "pull: deviation from the exact value in units of the error"
VARIANCE = "variance / site: of the logarithm of the weights, divided by the number of sites"


@dataclass(frozen=True)
class Table:
    """Rows to print; cells are text or numbers. Notes below explain columns and give their units."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Results of a system."""

    tables: tuple[Table, ...]
    json: Any
    figures: tuple[Path, ...] = ()
    notes: tuple[str, ...] = field(default=())
