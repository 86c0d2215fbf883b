"""Masses as functions of mean correlators, and their derivatives by the chain rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.optimize

from gaugeflow.analysis import Fit, Series, covariance, derive, effective_mass, fit, stack
from gaugeflow.analysis.series import FloatArray
from gaugeflow.ensembles import Measurements
from gaugeflow.lattice import Array

_WIDTH = 0.05
"""Of the central differences of the chain rule, in steps of lambda."""


def columns(name: str, values: Array) -> dict[str, Array]:
    """Columns ``name|0``, ``name|1``, ... of ``(times, batch)``."""
    return {f"{name}|{t}": values[t, ...] for t in range(values.shape[0])}


@dataclass(frozen=True)
class Quantity:
    """A function of means whose derivative is wanted.

    Parameters
    ----------
    name
        For tables.
    names
        Columns of the means.
    function
        Of the means, to a number.
    """

    name: str
    names: tuple[str, ...]
    function: Callable[[FloatArray], float]

    def series(self, data: Measurements) -> Series:
        """Its linearised series on one ensemble."""
        return derive(self.function, means_of(data, self.names), name=self.name)

    def slope(self, data: Measurements, derivative: Series, step: float) -> Series:
        """Its derivative from that of the means, both as linearised series on the same ensemble.

        The chain rule is a central difference of the function along the derivatives of the means, a part of the step wide.
        """
        means, size = means_of(data, self.names), _WIDTH * step
        ahead, behind = (derive(self.function, means + derivative * signed) for signed in (size, -size))
        return (ahead - behind) * (0.5 / size)


def means_of(data: Measurements, names: tuple[str, ...]) -> Series:
    """Several columns as one series."""
    return stack(*(data.series(name) for name in names))


def mean_of(name: str) -> Quantity:
    """The mean of one column."""
    return Quantity(name, (name,), lambda means: float(means[0]))


def ground_state(t: FloatArray, p: FloatArray, extent: int) -> FloatArray:
    """p_0 cosh(p_1 (t - extent / 2)) / cosh(p_1 extent / 2)."""
    return np.asarray(p[0] * np.cosh(p[1] * (t - extent / 2)) / np.cosh(p[1] * extent / 2))


def pion_mass(data: Measurements, window: tuple[int, int], extent: int) -> tuple[Quantity, Fit]:
    """Mass of a correlated fit to the correlator of the source ensemble, and as a function of any correlator.

    The weights of the fit are those of the source for every correlator, so that the mass is a smooth function of the means.

    Raises
    ------
    ValueError
        If there is no effective mass in the window or behind it, or the fit fails.
    """
    times = np.arange(window[0], window[1] + 1, dtype=np.float64)
    names = tuple(f"pion|{t}" for t in range(window[0], window[1] + 1))
    correlator = means_of(data, names)
    whole = means_of(data, tuple(f"pion|{t}" for t in range(extent // 2 + 1)))
    start = effective_mass(whole, "cosh", period=extent)
    late = np.flatnonzero(start.times >= window[0])
    if late.size == 0:
        raise ValueError(f"M_pi: no effective mass from t = {window[0]} on to start from, C = {whole.mean}")
    guess = float(start.series.mean[late[0]])
    scale = float(correlator.mean[0] / ground_state(times[:1], np.array([1.0, guess]), extent)[0])
    found = fit(lambda t, p: ground_state(t, p, extent), times, correlator, [scale, guess], correlated=True)
    root = np.linalg.inv(np.linalg.cholesky(covariance(correlator)))
    mass = float(found.values[1])

    return Quantity("M_pi", names, lambda means: _lightest(root, times, means, extent, mass)), found


def _lightest(root: FloatArray, times: FloatArray, means: FloatArray, extent: int, guess: float) -> float:
    """Mass of the least-squares fit with the weights ``root^T root`` whose minimum is next to ``guess``.

    Raises
    ------
    ValueError
        If there is none within a factor of two.
    """

    tau, half = times - extent / 2, extent / 2

    def slope(m: float) -> float:
        """Of chi^2 with the best amplitude, up to a positive factor."""
        shape = np.cosh(m * tau) / np.cosh(m * half)
        change = tau * np.sinh(m * tau) / np.cosh(m * half) - half * np.tanh(m * half) * shape
        s, ds, y = root @ shape, root @ change, root @ means
        return float((s @ y) * ((s @ y) * (ds @ s) - (ds @ y) * (s @ s)))

    for factor in (1.001, 1.005, 1.02, 1.1, 1.4, 2.0):
        if slope(guess / factor) < 0.0 < slope(guess * factor):
            return float(scipy.optimize.brentq(slope, guess / factor, guess * factor, xtol=1e-14, rtol=1e-14))
    raise ValueError(
        f"M_pi: expected a minimum of chi^2 between {guess / 2.0:g} and {guess * 2.0:g}, found none: C = {means}"
    )


def glueball_mass(name: str, *, vacuum: bool) -> Quantity:
    """ln(C(0) / C(1)) of a glueball, with the vacuum taken off where the operator has a mean."""
    names = (f"{name}|0", f"{name}|1", *((name,) if vacuum else ()))

    def mass(means: FloatArray) -> float:
        below = means[2] ** 2 if vacuum else 0.0
        return float(np.log((means[0] - below) / (means[1] - below)))

    return Quantity(f"M_{name}", names, mass)
