"""Quantities that depend on several independent ensembles, each with its own autocorrelation.

Such a quantity is a sequence of linearised series, one for each ensemble, all with the same mean: the fluctuations of part
e are the first-order response of the quantity to the configurations of ensemble e. The Gamma method runs on every part with
a window of its own, and the squares of the errors add up, as in pyerrors (arXiv:2209.14371, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gaugeflow.analysis.gamma import Estimate, derive, format_error, gamma_method
from gaugeflow.analysis.series import Series


@dataclass(frozen=True, eq=False)
class Combined:
    """A quantity with its statistical error from independent ensembles, as found by `combine`.

    Attributes
    ----------
    value, error, error_of_error : float
        Mean, standard error and the standard error of that error.
    parts : tuple of Estimate
        What each ensemble contributes to the error, with autocorrelation times and windows.
    name : str
        Name of the quantity.
    """

    value: float
    error: float
    error_of_error: float
    parts: tuple[Estimate, ...]
    name: str = ""

    def __str__(self) -> str:
        """Value with the error in its last two digits: ``0.59372(18)``."""
        return format_error(self.value, self.error)


def combine(parts: Sequence[Series], *, s_tau: float = 2.0, tau_exp: float = 0.0) -> Combined:
    """Error of a scalar quantity from its linearised series on independent ensembles.

    error^2 = sum_e error_e^2 and error_of_error = sqrt(sum_e (error_e error_of_error_e)^2) / error.

    Parameters
    ----------
    parts : sequence of Series
        One scalar series for each ensemble, as returned by `derive_independent`.
    s_tau, tau_exp : float
        As for `gamma_method`.

    Raises
    ------
    ValueError
        No part, the parts have different means, or `gamma_method` refuses one of them.
    """
    if not parts:
        raise ValueError("expected the series of at least one ensemble, got none")
    estimates = tuple(gamma_method(part, s_tau=s_tau, tau_exp=tau_exp) for part in parts)
    error = math.hypot(*(e.error for e in estimates))
    value = estimates[0].value
    for e in estimates[1:]:
        if abs(e.value - value) > 1e-6 * error + 1e-12 * abs(value):
            raise ValueError(
                f"expected parts of one quantity with the same mean, got {value} and {e.value} ({e.name!r})"
            )
    spread = math.hypot(*(e.error * e.error_of_error for e in estimates))
    return Combined(value, error, spread / error if error > 0 else 0.0, estimates, parts[0].name)


def derive_independent(function: Callable[..., Any], *ensembles: Series, name: str = "") -> tuple[Series, ...]:
    """Linearised series, one for each ensemble, of a function f(<a>_1, ..., <a>_E) of means of independent ensembles.

    Part e is `derive` with the means of the other ensembles held fixed (differences of fourth order).

    Parameters
    ----------
    function : callable
        Maps E means, each of shape ``()`` or ``(k_e,)`` like its series, to a number or an array ``(m,)``.
    *ensembles : Series
        Measured or linearised series, one for each ensemble.
    name : str
        Name of the result.

    Raises
    ------
    ValueError
        The function is not finite near the means, or its result has the wrong shape.
    """
    means = [series.mean for series in ensembles]

    def of_one(e: int) -> Callable[[np.ndarray], Any]:
        return lambda mean: function(*means[:e], mean, *means[e + 1 :])

    return tuple(derive(of_one(e), series, name=name) for e, series in enumerate(ensembles))
