"""Means with errors as reports have them: numbers for JSON objects, and texts for tables."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gaugeflow.analysis import Series, format_error, gamma_method


def number(series: Series, more: float = 0.0) -> dict[str, float]:
    """Mean, error and autocorrelation time for a JSON object; ``more`` is an independent error that is added in quadrature."""
    estimate = gamma_method(series)
    return {"value": estimate.value, "error": math.hypot(estimate.error, more), "tau_int": estimate.tau_int}


def text(found: Mapping[str, float] | None) -> str:
    """Value with the error of its last digits; empty where there is none."""
    return "" if found is None else format_error(found["value"], found["error"])
