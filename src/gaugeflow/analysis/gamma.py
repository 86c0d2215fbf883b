"""Gamma method: statistical errors of Markov chain averages from their autocorrelation function.

The method and its automatic window are those of U. Wolff, hep-lat/0306017; equation numbers refer to it.
The tail beyond the window follows S. Schaefer, R. Sommer and F. Virotta, arXiv:1009.5228. Normalisations agree with
pyerrors (arXiv:2209.14371), and so is the treatment of chains with gaps, except that fluctuations are taken around the
mean of *all* chains, as in Wolff's paper, and not around the mean of each chain: chains stuck at different values then give a
large error instead of a small one, and short chains one that is not too small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.fft
import scipy.special

from gaugeflow.analysis.series import FloatArray, IntArray, Series, SeriesLike, as_series

_MINIMUM_LENGTH = 5
_LONGEST = 1 << 27
"""Steps of Markov time, present or missing, that arrays are made for."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """A mean with its statistical error and autocorrelation, as found by `gamma_method`.

    Attributes
    ----------
    value, error, error_of_error : float
        Mean, standard error including autocorrelation, and the standard error of that error.
    tau_int, tau_int_error : float
        Integrated autocorrelation time, in units of the spacing of the series; 1/2 without autocorrelation.
    window : int
        Summation window W of the autocorrelation function.
    n, chains : int
        Number of configurations in all chains, number of chains.
    consistency : float
        Probability (Q value) of a larger scatter of the chain means than the one seen; 1 for a single chain.
    rho : ndarray (w_max,)
        Normalised autocorrelation function Gamma(t) / Gamma(0).
    name : str
        Name of the observable.
    """

    value: float
    error: float
    error_of_error: float
    tau_int: float
    tau_int_error: float
    window: int
    n: int
    chains: int
    consistency: float
    rho: FloatArray = field(repr=False)
    name: str = ""

    @property
    def n_independent(self) -> float:
        """Equivalent number of independent configurations, n / (2 tau_int); below about 50 the error is a guess."""
        return self.n / (2 * self.tau_int)

    def rho_error(self, lags: int) -> FloatArray:
        """Standard error of `rho` at the first `lags` lags, hep-lat/0409106, eq. (E.11), from the lags in `rho`."""
        return np.array([_rho_error(self.rho, lag, self.n) for lag in range(lags)])

    @property
    def running_tau_int(self) -> FloatArray:
        """1/2 + sum_{t=1..W} rho(t) for every window W, at least 1/2, without bias correction and tail; shape (w_max,)."""
        return _partial_sums(self.rho)

    @property
    def running_tau_int_error(self) -> FloatArray:
        """Standard error of `running_tau_int` (eq. 42), 0 for W = 0; shape (w_max,)."""
        tau, windows = self.running_tau_int, np.arange(len(self.rho))
        return np.where(windows > 0, 2 * tau * np.sqrt(np.abs(windows + 0.5 - tau) / self.n), 0.0)

    def __str__(self) -> str:
        """Value with the error in its last two digits: ``0.59372(18)``."""
        return format_error(self.value, self.error)


def gamma_method(series: SeriesLike, *, s_tau: float = 2.0, tau_exp: float = 0.0) -> Estimate:
    """Mean and error of a scalar series by the Gamma method.

    With delta_i the deviation from the mean and N configurations in R chains of lengths N_r,

        Gamma(t) = sum_{r, i} delta_i delta_{i+t} / sum_r M_r(t),   rho = Gamma / Gamma(0)
        tau_int  = (1/2 + sum_{t=1..W} rho(t)) (1 + (2W + 1)/N) / (1 + 1/N)
        error^2  = 2 tau_int Gamma(0) (1 + 1/N) / N,

    where M_r(t) is the number of pairs of configurations at distance t, N_r - t for a chain without gaps. The unit of t is
    `Series.spacing`; configurations that are missing are left out of both sums. error^2 then counts N neighbours at every
    distance, more than there are: with positive autocorrelation, gaps that are short beside tau_int make the error too large.
    The factors with 1/N correct for the subtracted mean (eq. 49). W is the first one with
    exp(-W/tau) < tau / sqrt(W N), tau = s_tau / ln((2 tau_int + 1) / (2 tau_int - 1)). The errors are
    delta tau_int = 2 tau_int sqrt(``|W + 1/2 - tau_int|`` / N) (eq. 42) and
    delta error = error sqrt((W + 1/2) / N). Partial sums of tau_int below 1/2 count as 1/2.

    With `tau_exp` > 0, W is where rho(W) is no longer one standard deviation above zero, and tau_exp ``|rho(W + 1)|``
    is added to tau_int for the tail.

    Parameters
    ----------
    series : Series, array (n,) or list of arrays
        Measured or linearised scalar series; at least 5 configurations in each chain.
    s_tau : float
        Assumed ratio of the exponential and integrated autocorrelation times, 1 to 2 for most algorithms.
    tau_exp : float
        Exponential autocorrelation time of the slowest mode; 0 sums up to the window and adds no tail.

    Returns
    -------
    Estimate
        A series that is constant has error 0 and tau_int 1/2.

    Raises
    ------
    ValueError
        The series has several components or a chain that is too short, sums overflow, the spacings of chains have no common
        unit, or a parameter is out of range.
    """
    series = as_series(series)
    lengths = [len(values) for values in series.values]
    if series.shape != ():
        raise ValueError(f"series {series.name!r} has {series.shape[0]} components: analyse each one of split()")
    if min(lengths) < _MINIMUM_LENGTH:
        raise ValueError(
            f"series {series.name!r}, chain {int(np.argmin(lengths))}: expected at least {_MINIMUM_LENGTH} "
            f"configurations, got {min(lengths)}"
        )
    if not (s_tau > 0 and math.isfinite(s_tau)):
        raise ValueError(f"expected s_tau > 0, got {s_tau}")
    if not (tau_exp >= 0 and math.isfinite(tau_exp)):
        raise ValueError(f"expected tau_exp >= 0, got {tau_exp}")

    n = series.n
    scale = float(series.scale)
    gamma = autocovariance(series, scale)
    if gamma[0] == 0:
        return Estimate(
            value=float(series.mean),
            error=0.0,
            error_of_error=0.0,
            tau_int=0.5,
            tau_int_error=0.0,
            window=0,
            n=n,
            chains=series.chains,
            consistency=1.0,
            rho=(np.arange(len(gamma)) == 0).astype(np.float64),
            name=series.name,
        )
    rho = gamma / gamma[0]
    partial = _partial_sums(rho)
    if tau_exp > 0:
        window = _window_of_significance(rho, n)
        tail, tail_error = tau_exp * abs(rho[window + 1]), tau_exp * _rho_error(rho, window + 1, n)
    else:
        window = _window_of_wolff(partial, n, s_tau)
        tail, tail_error = 0.0, 0.0
    tau_int = partial[window] * (1 + (2 * window + 1) / n) / (1 + 1 / n) + tail
    tau_int_error = math.hypot(2 * partial[window] * math.sqrt(abs(window + 0.5 - partial[window]) / n), tail_error)
    error = scale * math.sqrt(2 * tau_int * gamma[0] * (1 + 1 / n) / n)
    if not math.isfinite(error):
        raise ValueError(
            f"series {series.name!r}: the error overflows, with deviations up to {scale:.3g} from the mean"
        )
    return Estimate(
        value=float(series.mean),
        error=error,
        error_of_error=error * math.sqrt((window + 0.5) / n),
        tau_int=float(tau_int),
        tau_int_error=tau_int_error,
        window=window,
        n=n,
        chains=series.chains,
        consistency=_consistency(series, error),
        rho=rho,
        name=series.name,
    )


def autocovariance(series: Series, scale: float = 1.0) -> FloatArray:
    """Gamma(t) of deviations in units of `scale`, for t below half the longest chain, pooled over the chains, by FFT.

    Lags at which there is no pair of configurations have Gamma = 0.
    """
    times = series.markov_times
    spacing = series.spacing
    longest = max(_duration(ids, spacing) for ids in series.ids)
    if longest > _LONGEST:
        raise ValueError(
            f"series {series.name!r}: {series.n} configurations in {longest} steps of the spacing {spacing}: expected at "
            f"most {_LONGEST} steps; are the numbers those of configurations?"
        )
    gamma, pairs = np.zeros(longest // 2), np.zeros(longest // 2)
    for delta, time in zip(series.fluctuations, times, strict=True):
        slots = int(time[-1]) + 1
        lags = min(slots, len(gamma))
        if slots == len(delta):
            gamma[:lags] += _lagged(delta / scale, lags)
            pairs[:lags] += slots - np.arange(lags)
        else:
            track, present = np.zeros(slots), np.zeros(slots)
            track[time], present[time] = delta / scale, 1.0
            gamma[:lags] += _lagged(track, lags)
            pairs[:lags] += np.rint(_lagged(present, lags))
    return np.asarray(np.where(pairs > 0, gamma, 0.0) / np.maximum(pairs, 1.0))


def derive(
    function: Callable[[FloatArray], Any],
    series: SeriesLike,
    gradient: Callable[[FloatArray], Any] | None = None,
    name: str = "",
) -> Series:
    """Linearised series of a function of means, f(<a_1>, ..., <a_k>).

    The result is f(mean) + sum_j (df/da_j) (a_j - mean_j) on every configuration: its Gamma-method error is that of f,
    with all correlations between the a_j and in Markov time (hep-lat/0306017, section 3).

    Parameters
    ----------
    function : callable
        Maps the means, shape ``(k,)`` (or ``()`` for a scalar series), to a number or an array ``(m,)``.
    series : Series, array (n,) or (n, k), or list of arrays
        Measured or linearised series; `stack` joins several.
    gradient : callable, optional
        Maps the means to the derivatives, shape ``(k,)`` or ``(m, k)`` (``()`` or ``(m,)`` for a scalar series). By
        default fourth-order differences, with a step of a tenth of the naive standard error or 1e-4 of the mean,
        whichever is larger: `function` is called there too.
    name : str
        Name of the result.

    Raises
    ------
    ValueError
        The function or the gradient gives a number that is not finite, or an array of the wrong shape.
    """
    series = as_series(series)
    mean = series.mean
    value = _finite(function(mean), "function", series)
    if value.ndim > 1:
        raise ValueError(f"expected a function with values of shape () or (m,), got {value.shape}")
    slopes = _differences(function, series, value) if gradient is None else _finite(gradient(mean), "gradient", series)
    if slopes.shape != value.shape + mean.shape:
        raise ValueError(f"expected a gradient of shape {value.shape + mean.shape}, got {slopes.shape}")
    matrix = slopes.reshape(value.size, mean.size)
    values = tuple(
        value + (delta.reshape(len(delta), mean.size) @ matrix.T).reshape(len(delta), *value.shape)
        for delta in series.fluctuations
    )
    return Series(values, series.ids, name)


def format_error(value: float, error: float) -> str:
    """Write ``value(error)`` with two digits of the error: ``0.59372(18)``, ``12.3(1.5)``, ``1.20(31)e-05``."""
    if not (error > 0 and math.isfinite(error) and math.isfinite(value)):
        return f"{value:.8g}({error:g})"
    exponent = math.floor(math.log10(max(abs(value), error)))
    suffix = ""
    if not -4 <= exponent < 6:
        value, error, suffix = value / 10.0**exponent, error / 10.0**exponent, f"e{exponent:+03d}"
    leading = math.floor(math.log10(float(f"{error:.1e}")))
    digits = max(1 - leading, 0)
    shown = f"{error:.{digits}f}" if leading >= 0 else f"{error * 10**digits:.0f}"
    return f"{value:.{digits}f}({shown}){suffix}"


def _lagged(track: FloatArray, lags: int) -> FloatArray:
    """sum_i track_i track_{i+t} for t below `lags`."""
    padded = scipy.fft.next_fast_len(len(track) + lags, real=True)
    power = np.abs(scipy.fft.rfft(track, padded)) ** 2
    return np.asarray(scipy.fft.irfft(power, padded)[:lags])


def _duration(ids: IntArray, spacing: int) -> int:
    """Length of a chain in Markov time, as pyerrors counts it: half of the longest one bounds the lags."""
    steps = np.diff(ids)
    if len(steps) == 0 or (steps == steps[0]).all():
        return len(ids) * (int(steps[0]) // spacing if len(steps) else 1)
    return int(ids[-1] - ids[0] + 1) // spacing


def _partial_sums(rho: FloatArray) -> FloatArray:
    sums = np.cumsum(np.concatenate(([0.5], rho[1:])))
    return np.where(sums > 0.5, sums, 0.5 + np.finfo(np.float64).eps)


def _window_of_wolff(partial: FloatArray, n: int, s_tau: float) -> int:
    """First window at which truncation costs less than noise, or the last one."""
    windows = np.arange(1, len(partial))
    tau = s_tau / np.log((2 * partial[1:] + 1) / (2 * partial[1:] - 1))
    closed = np.exp(-windows / tau) < tau / np.sqrt(windows * n)
    return int(windows[np.argmax(closed)] if closed.any() else windows[-1])


def _window_of_significance(rho: FloatArray, n: int) -> int:
    """First window at which rho is within one standard error of zero, or the last one."""
    last = len(rho) // 2 - 2
    if last < 1:
        raise ValueError(f"expected at least 12 configurations in the longest chain for tau_exp, got w_max {len(rho)}")
    return next((w for w in range(1, last) if rho[w] < _rho_error(rho, w, n)), last)


def _rho_error(rho: FloatArray, lag: int, n: int) -> float:
    """Standard error of rho(lag), M. Luescher, hep-lat/0409106, eq. (E.11)."""
    k = np.arange(1, len(rho) - lag)
    terms = rho[k + lag] + rho[np.abs(k - lag)] - 2 * rho[lag] * rho[k]
    return math.sqrt(float(np.sum(terms**2)) / n)


def _consistency(series: Series, error: float) -> float:
    """Q value of the scatter of the chain means around the mean of all."""
    if series.chains == 1:
        return 1.0
    lengths = np.array([len(values) for values in series.values])
    chi_squared = np.sum(lengths * ((series.chain_means - series.mean) / error) ** 2) / series.n
    return float(scipy.special.chdtrc(series.chains - 1, chi_squared))


def _differences(function: Callable[[FloatArray], Any], series: Series, value: FloatArray) -> FloatArray:
    """Fourth-order central differences of the function at the mean, shape ``value.shape + mean.shape``."""
    mean = series.mean
    scale = series.scale
    naive_error = scale * np.sqrt(sum(np.sum((delta / scale) ** 2, axis=0) for delta in series.fluctuations)) / series.n
    steps = np.maximum(naive_error / 10, 1e-4 * np.abs(mean))
    slopes = np.zeros(value.shape + mean.shape)
    for j in np.ndindex(mean.shape):
        if steps[j] == 0:  # Zero on every configuration: contributes nothing, whatever the derivative.
            continue
        for multiple, weight in ((1, 2 / 3), (-1, -2 / 3), (2, -1 / 12), (-2, 1 / 12)):
            shifted = mean.copy()
            shifted[j] += multiple * steps[j]
            slopes[(..., *j)] += weight / steps[j] * _finite(function(shifted), "function", series)
    return slopes


def _finite(result: Any, what: str, series: Series) -> FloatArray:
    array = np.asarray(result, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{what} of series {series.name!r} near its mean {series.mean} is not finite: {array}")
    return array
