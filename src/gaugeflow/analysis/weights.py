"""Quality of log-weights and reweighted means.

The log-weight of a flow f is log w = -S_target(f(x)) + log_det + S_source(x). Its additive constant never matters here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gaugeflow.analysis.gamma import Estimate, derive, gamma_method
from gaugeflow.analysis.series import FloatArray, Series, SeriesLike, as_series, check_same_configurations


@dataclass(frozen=True, eq=False)
class VariancePerSite:
    """Log-weight variance per site: a figure of merit that does not depend on the volume.

    Attributes
    ----------
    from_ess : Estimate
        -ln(ESS) / V.
    from_variance : Estimate
        Var(log w) / V; equal to `from_ess` for Gaussian log-weights.
    """

    from_ess: Estimate
    from_variance: Estimate


def ess(log_weight: SeriesLike) -> Estimate:
    """Effective sample size per configuration, (mean w)^2 / mean w^2, in (0, 1].

    The error is that of the ratio of the correlated means of w and w^2 by the Gamma method. A sample of n weights
    cannot show an ESS below 1/n, and weights in a tail that was never sampled are not in the error: trust neither
    when the ESS is of the order of a few / n.

    Parameters
    ----------
    log_weight : Series, array (n,) or list of arrays
        Logarithm of the weights, any additive constant.

    Raises
    ------
    ValueError
        A log-weight is not finite.
    """
    estimate = gamma_method(_ess_series(as_series(log_weight, "log_weight")))
    return replace(estimate, value=min(estimate.value, 1.0))  # Rounding of nearly equal weights.


FEW = 10.0
"""Effective configurations below which a reweighted mean is biased towards the source and its error is too small."""


def effective_configurations(*log_weights: SeriesLike) -> float:
    """Effective number of configurations, ESS times n, the smallest of several sets of weights; see :data:`FEW`."""
    given = [as_series(log_weight, "log_weight") for log_weight in log_weights]
    return min(ess(series).value * series.n for series in given)


def ess_from_target(log_weight: SeriesLike) -> Estimate:
    """Effective sample size from configurations of the *target*: 1 / (<w> <1/w>) with means over the target.

    With w = p / q, <1/w>_p = 1 up to normalisation and <w>_p = <w^2>_q: the same number as :func:`ess`.  But where
    q leaves out a mode of p, weights sampled from q look good, while here configurations of that mode have enormous
    weights: a ratio of the two far from one is mode collapse (arXiv:2107.00734).

    Parameters
    ----------
    log_weight : Series, array (n,) or list of arrays
        log p - log q of configurations distributed as p, any additive constant; autocorrelation is in the error.

    Raises
    ------
    ValueError
        A log-weight is not finite.
    """
    series = as_series(log_weight, "log_weight")
    direct = _relative_weights(series)
    inverse = _relative_weights(Series(tuple(-values for values in series.values), series.ids))
    value = math.exp(-_log_mean(series.values) - _log_mean([-values for values in series.values]))
    # To first order the logarithm moves by minus the deviations of both relative weights from one.
    linear = tuple(value * (3.0 - a - b) for a, b in zip(direct, inverse, strict=True))
    return gamma_method(Series(linear, series.ids, "ess from target"))


def variance_per_site(log_weight: SeriesLike, volume: int) -> VariancePerSite:
    """Log-weight variance divided by the number of sites, from the ESS and directly.

    Parameters
    ----------
    log_weight : Series, array (n,) or list of arrays
        Logarithm of the weights.
    volume : int
        Number of lattice sites V.
    """
    if volume < 1:
        raise ValueError(f"expected a volume of at least 1, got {volume}")
    log_weight = as_series(log_weight, "log_weight")
    from_ess = derive(lambda x: -np.log(x) / volume, _ess_series(log_weight), lambda x: -1 / (volume * x))
    # To first order the squared deviations from the sample mean are the linearised series of the variance.
    with np.errstate(over="ignore"):  # The result is checked.
        squares = tuple(d**2 / volume for d in log_weight.fluctuations)
    return VariancePerSite(gamma_method(from_ess), gamma_method(Series(squares, log_weight.ids, "Var(log w) / V")))


def reweighted(series: SeriesLike, log_weight: SeriesLike) -> Series:
    """Linearised series of the reweighted mean <O w> / <w>.

    Configuration i contributes (w_i / mean w) (O_i - <O>_w) around <O>_w = <O w> / <w>.

    Parameters
    ----------
    series : Series, array (n,) or (n, k), or list of arrays
        Observable O, on the configurations of the target distribution (after the flow).
    log_weight : Series, array (n,) or list of arrays
        Logarithm of the weights on the same configurations.

    Raises
    ------
    ValueError
        A number is not finite, or the two series differ in their configurations.
    """
    series, log_weight = as_series(series, "observable"), as_series(log_weight, "log_weight")
    check_same_configurations(series, log_weight)
    weights = [w.reshape(-1, *[1] * len(series.shape)) for w in _relative_weights(log_weight)]
    # The weights have mean one, so the mean of w O is the reweighted mean; O is shifted to keep a constant exact.
    first = series.values[0][0]
    with np.errstate(over="ignore", invalid="ignore"):  # The result is checked.
        products = tuple(w * (o - first) for w, o in zip(weights, series.values, strict=True))
        mean = first + np.mean(np.concatenate(products), axis=0)
        values = tuple(mean + w * (o - mean) for w, o in zip(weights, series.values, strict=True))
    return Series(values, series.ids, series.name)


def reweighted_mean(series: SeriesLike, log_weight: SeriesLike) -> Estimate:
    """Reweighted mean <O w> / <w> of a scalar observable with its error; see `reweighted`."""
    return gamma_method(reweighted(series, log_weight))


def ess_gaussian(s: float) -> float:
    """ESS of Gaussian log-weights of variance `s`: exp(-s)."""
    return math.exp(-_variance(s))


def acceptance_gaussian(s: float) -> float:
    """Acceptance of independence Metropolis for Gaussian log-weights of variance `s`: erfc(sqrt(s) / 2)."""
    return math.erfc(math.sqrt(_variance(s)) / 2)


def kl_gaussian(s: float) -> float:
    """Kullback-Leibler divergence, either way, for Gaussian log-weights of variance `s`: s / 2."""
    return _variance(s) / 2


def _variance(s: float) -> float:
    if not (s >= 0 and math.isfinite(s)):
        raise ValueError(f"expected a finite variance of at least 0, got {s}")
    return s


def _log_mean(log_weights: Sequence[FloatArray]) -> float:
    """Logarithm of the mean weight."""
    every = np.concatenate(log_weights)
    largest = every.max()
    return float(largest + np.log(np.mean(np.exp(every - largest))))


def _relative_weights(log_weight: Series) -> list[FloatArray]:
    """Weights divided by their mean, one array per chain."""
    if log_weight.shape != ():
        raise ValueError(f"expected one log-weight per configuration, got shape {log_weight.shape}")
    largest = max(values.max() for values in log_weight.values)
    weights = [np.exp(values - largest) for values in log_weight.values]
    mean = sum(w.sum() for w in weights) / log_weight.n
    return [np.asarray(w / mean) for w in weights]


def _ess_series(log_weight: Series) -> Series:
    """Linearised series of the ESS: for r = w / mean w and e = 1 / mean r^2, e (1 + 2 (r - 1) - (e r^2 - 1))."""
    relative = _relative_weights(log_weight)
    # 1 + variance instead of the mean of r^2: never below one, so that the ESS is never above one.
    e = 1 / (1 + sum(np.sum((r - 1) ** 2) for r in relative) / log_weight.n)
    return Series(tuple(e * (1 + 2 * (r - 1) - (e * r**2 - 1)) for r in relative), log_weight.ids, "ess")


def noisy_variance(*estimates: SeriesLike) -> Series:
    """Numbers whose mean is the variance of a quantity that is known up to unbiased noise.

    Products of two estimates with independent noise have the mean of the product of what they estimate, where squares of one
    have the variance of its noise in addition.

    Parameters
    ----------
    *estimates : Series, array (n,) or list of arrays
        Estimates of the same quantity on the same configurations, with independent noise; a single one is taken as exact.

    Returns
    -------
    Series
        The mean over all pairs of products of fluctuations.
    """
    series = [as_series(x, f"estimate {k}") for k, x in enumerate(estimates)]
    if not series:
        raise ValueError("noisy_variance: expected at least one series, got none")
    check_same_configurations(*series)
    n, pairs = series[0].n, max(1, len(series) * (len(series) - 1))

    def product(deltas: tuple[FloatArray, ...]) -> FloatArray:
        squares = sum(d**2 for d in deltas)
        mixed = squares if len(deltas) == 1 else sum(deltas) ** 2 - squares
        return np.asarray(mixed * (n / (n - 1) / pairs))

    values = tuple(product(deltas) for deltas in zip(*(x.fluctuations for x in series), strict=True))
    return Series(values, series[0].ids, f"Var({series[0].name})")
