"""Binned jackknife and bootstrap errors of functions of means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gaugeflow.analysis.series import FloatArray, Series, SeriesLike, as_series


@dataclass(frozen=True, eq=False)
class Resampled:
    """A quantity with a resampling error.

    Attributes
    ----------
    value : ndarray () or (m,)
        The function at the mean of all configurations.
    error : ndarray () or (m,)
        Standard error.
    bias : ndarray () or (m,)
        Estimated bias of `value`, not subtracted.
    samples : ndarray (number of samples,) or (number of samples, m)
        The function on each resampled mean.
    """

    value: FloatArray
    error: FloatArray
    bias: FloatArray
    samples: FloatArray = field(repr=False)


def jackknife(series: SeriesLike, bin_size: int, function: Callable[[FloatArray], Any] | None = None) -> Resampled:
    """Binned jackknife: leave out one bin at a time.

    With b bins and theta_j the function without bin j, error^2 = (b - 1)/b sum_j (theta_j - mean theta)^2 and
    bias = (b - 1) (mean theta - theta). Autocorrelation is in the error as far as it is shorter than a bin.

    Parameters
    ----------
    series : Series, array or list of arrays
        Scalar or with k components; bins never cross chains.
    bin_size : int
        Configurations in a bin; a remainder is spread over the bins of its chain. In Markov time a bin is at least so many
        times the spacing of the chain, and longer where configurations are missing.
    function : callable, optional
        Maps the mean, ``()`` or ``(k,)``, to a number or array ``(m,)``; the mean itself by default.

    Raises
    ------
    ValueError
        There are fewer than two bins, or a sample is not finite.
    """
    series = as_series(series)
    sums, counts = _bins(series, bin_size)
    means = (sums.sum(axis=0) - sums) / (counts.sum() - counts).reshape(-1, *[1] * (sums.ndim - 1))
    samples = _evaluate(function, means, series)
    value = _evaluate(function, series.mean[np.newaxis], series)[0]
    b = len(counts)
    centre = samples.mean(axis=0)
    error = np.sqrt(b - 1) * _deviation(samples, centre)
    return Resampled(value, error, (b - 1) * (centre - value), samples)


def bootstrap(
    rng: np.random.Generator,
    series: SeriesLike,
    bin_size: int,
    samples: int,
    function: Callable[[FloatArray], Any] | None = None,
) -> Resampled:
    """Binned bootstrap: draw as many bins as there are, with replacement.

    The error is the standard deviation over the samples, the bias their mean minus the value. Drawn bins are averaged
    with the number of their configurations as weight.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the draws.
    series, bin_size, function
        As for `jackknife`.
    samples : int
        Number of bootstrap samples, at least 2.

    Raises
    ------
    ValueError
        There are fewer than two bins or samples, or a sample is not finite.
    """
    series = as_series(series)
    if samples < 2:
        raise ValueError(f"expected at least 2 bootstrap samples, got {samples}")
    sums, counts = _bins(series, bin_size)
    draws = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=samples)
    means = (draws @ sums) / (draws @ counts).reshape(-1, *[1] * (sums.ndim - 1))
    results = _evaluate(function, means, series)
    value = _evaluate(function, series.mean[np.newaxis], series)[0]
    centre = results.mean(axis=0)
    return Resampled(value, _deviation(results, centre) * np.sqrt(samples / (samples - 1)), centre - value, results)


def _bins(series: Series, bin_size: int) -> tuple[FloatArray, FloatArray]:
    """Sums (b,) or (b, k) and numbers of configurations (b,) of all bins."""
    if bin_size < 1:
        raise ValueError(f"expected a bin size of at least 1, got {bin_size}")
    shortest = min(len(values) for values in series.values)
    if bin_size > shortest:
        raise ValueError(f"series {series.name!r}: bins of {bin_size} do not fit into a chain of {shortest}")
    bins = [part for values in series.values for part in np.array_split(values, len(values) // bin_size)]
    if len(bins) < 2:
        raise ValueError(f"series {series.name!r}: expected at least 2 bins, got {len(bins)} of size {bin_size}")
    with np.errstate(over="ignore"):
        sums = np.stack([part.sum(axis=0) for part in bins])
        overflow = not np.isfinite(np.sum(np.abs(sums), axis=0)).all()
    if overflow:
        raise ValueError(f"series {series.name!r}: the sum of its values overflows")
    return sums, np.array([len(part) for part in bins], dtype=np.float64)


def _deviation(samples: FloatArray, centre: FloatArray) -> FloatArray:
    """Root of the mean squared deviation, with squares in units of the largest deviation."""
    largest = np.abs(samples - centre).max(axis=0)
    scale = np.where(largest > 0, largest, 1.0)
    return np.asarray(scale * np.sqrt(np.mean(((samples - centre) / scale) ** 2, axis=0)))


def _evaluate(function: Callable[[FloatArray], Any] | None, means: FloatArray, series: Series) -> FloatArray:
    if function is None:
        return means
    results = np.array([function(mean) for mean in means], dtype=np.float64)
    if not np.isfinite(results).all():
        raise ValueError(f"function of series {series.name!r} is not finite on a resampled mean")
    return results
