"""Effective masses of correlators and their plateaus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.optimize

from gaugeflow.analysis.fits import Fit, fit
from gaugeflow.analysis.gamma import derive
from gaugeflow.analysis.series import FloatArray, IntArray, Series


@dataclass(frozen=True, eq=False)
class EffectiveMass:
    """Effective mass at the times where the correlator defines one.

    Attributes
    ----------
    times : ndarray of int (m,)
        Times t, see `effective_mass`.
    series : Series (m,)
        Linearised series of the masses in lattice units, component by component.
    """

    times: IntArray
    series: Series

    def plateau(self, first: int, last: int, *, correlated: bool = False) -> Fit:
        """Fit of a constant to the masses at first <= t <= last.

        Raises
        ------
        ValueError
            No mass is defined there, or `fit` refuses.
        """
        chosen = np.flatnonzero((self.times >= first) & (self.times <= last))
        if chosen.size == 0:
            raise ValueError(f"no effective mass between t = {first} and {last}; defined at {self.times.tolist()}")
        values = tuple(v[:, chosen] for v in self.series.values)
        data = Series(values, self.series.ids, self.series.name)
        return fit(_constant, self.times[chosen], data, [float(data.mean[0])], correlated=correlated)


def effective_mass(
    correlator: Series, kind: Literal["log", "cosh", "sinh", "arccosh"] = "log", *, period: int | None = None
) -> EffectiveMass:
    """Effective mass m(t) of a correlator C(t).

    ======= ============================================================================================
    log     m(t) = ln(C(t) / C(t + 1))
    cosh    solves C(t) / C(t + 1) = cosh(m (t - T/2)) / cosh(m (t + 1 - T/2)), periodic correlators
    sinh    solves C(t) / C(t + 1) = sinh(m (t - T/2)) / sinh(m (t + 1 - T/2)), antiperiodic correlators
    arccosh m(t) = arccosh((C(t - 1) + C(t + 1)) / (2 C(t)))
    ======= ============================================================================================

    Times at which the mean correlator has no real solution m > 0 (m of any sign for "log") are left out. See
    arXiv:1205.5380; errors follow by linear propagation, those of the solved masses from the derivative of the equation.

    Parameters
    ----------
    correlator : Series (k,)
        Components are C(0), C(1), ..., C(k - 1).
    kind : str
        One of the above.
    period : int, optional
        Temporal extent T of "cosh" and "sinh", in lattice units; k by default. A folded correlator must give it.

    Raises
    ------
    ValueError
        The correlator has too few components, the kind is unknown, or there is no mass at any time.
    """
    points = 3 if kind == "arccosh" else 2
    if correlator.shape == () or correlator.shape[0] < points:
        raise ValueError(f"expected a correlator with at least {points} times, got shape {correlator.shape}")
    mean = correlator.mean
    extent = len(mean) if period is None else period
    if extent < len(mean) - 1:
        raise ValueError(f"expected a period of at least {len(mean) - 1} for {len(mean)} times, got {extent}")
    if kind == "log":
        times, masses, slopes = _logarithm_of_ratio(mean)
    elif kind in ("cosh", "sinh"):
        times, masses, slopes = _solved(mean, extent, -1 if kind == "sinh" else 1)
    elif kind == "arccosh":
        times, masses, slopes = _arccosh(mean)
    else:
        raise ValueError(f"expected kind 'log', 'cosh', 'sinh' or 'arccosh', got {kind!r}")
    if len(times) == 0:
        raise ValueError(f"{kind} effective mass of {correlator.name!r}: there is none at any time, C(t) = {mean}")
    series = derive(lambda _: masses, correlator, lambda _: slopes, f"{kind} effective mass of {correlator.name}")
    return EffectiveMass(times, series)


def _constant(x: IntArray, p: FloatArray) -> FloatArray:
    return np.full(np.shape(x), p[0])


def _logarithm_of_ratio(mean: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
    """Times t with C(t) C(t + 1) > 0, ln(C(t) / C(t + 1)) there and its derivatives (m, k)."""
    times = np.flatnonzero(mean[:-1] * mean[1:] > 0)
    slopes = np.zeros((len(times), len(mean)))
    rows = np.arange(len(times))
    slopes[rows, times] = 1 / mean[times]
    slopes[rows, times + 1] = -1 / mean[times + 1]
    return times, np.log(mean[times] / mean[times + 1]), slopes


def _solved(mean: FloatArray, extent: int, sign: int) -> tuple[IntArray, FloatArray, FloatArray]:
    """Solve ln(C(t) / C(t + 1)) = ln(h(m a) / h(m b)), h = cosh or sinh (sign 1 or -1), a = |t - T/2|, b = |t + 1 - T/2|."""
    every, ratios, slopes = _logarithm_of_ratio(mean)
    kept, masses, rows = [], [], []
    for i, t in enumerate(every):
        a, b = abs(t - extent / 2), abs(t + 1 - extent / 2)
        direction = np.sign(a - b)  # C falls before T/2 and rises after it.
        wide, narrow, ratio = max(a, b), min(a, b), direction * ratios[i]
        if direction == 0 or (sign < 0 and narrow == 0):
            continue  # The equation does not contain the mass.
        if ratio <= (0.0 if sign > 0 else np.log(wide / narrow)):
            continue  # Flatter than a massless particle.

        def excess(m: float, wide: float = wide, narrow: float = narrow, ratio: float = ratio) -> float:
            return _log_h(m * wide, sign) - _log_h(m * narrow, sign) - ratio

        upper = (ratio + np.log(2)) / (wide - narrow)
        lower = 1e-8 * upper
        if excess(lower) >= 0:
            continue  # No mass that rounding would let us tell from zero.
        m = float(scipy.optimize.brentq(excess, lower, upper, xtol=1e-15, rtol=1e-14))
        kept.append(t)
        masses.append(m)
        derivative = wide * np.tanh(m * wide) ** sign - narrow * np.tanh(m * narrow) ** sign
        rows.append(direction / derivative * slopes[i])
    return np.array(kept, dtype=np.int64), np.array(masses), np.array(rows).reshape(len(kept), len(mean))


def _log_h(z: float, sign: int) -> float:
    """ln(2 cosh z), or ln(2 sinh z) for z > 0."""
    return float(z + (np.log1p(np.exp(-2 * z)) if sign > 0 else np.log(-np.expm1(-2 * z))))


def _arccosh(mean: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
    inner = np.flatnonzero(mean[1:-1] != 0) + 1
    cosines = (mean[inner - 1] + mean[inner + 1]) / (2 * mean[inner])
    times, cosines = inner[cosines > 1], cosines[cosines > 1]
    slopes = np.zeros((len(times), len(mean)))
    rows = np.arange(len(times))
    factor = 1 / np.sqrt(cosines**2 - 1)
    slopes[rows, times - 1] = slopes[rows, times + 1] = factor / (2 * mean[times])
    slopes[rows, times] = -factor * cosines / mean[times]
    return times, np.arccosh(cosines), slopes
