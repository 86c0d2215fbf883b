"""Derivatives from the neighbourhood of an observable: the sum over places up to a radius, and the radius.

For S -> S + lambda O, with densities o_y of O, a field X and its residual densities r_y = h_y - o_y,

    d<A>/dlambda = <X.dA> + sum_y <A_x; r_y> = D(R) + B(R),    D(R) = <X.dA> + sum_(|y - x| <= R) <A_x; r_y>.

What moves at y is not in A_x at larger distances.  There <A_x; r_y> is -<A_x; o_y>, whatever the field, so that the
bias B(R) is a tail of a connected correlation function, which falls exponentially, while the variance of D(R) grows with the
number of sites within R instead of the volume.  The derivation is in ``docs/derivations/sources.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from gaugeflow.analysis.gamma import Estimate, gamma_method
from gaugeflow.analysis.series import FloatArray, IntArray, Series, check_same_configurations


@dataclass(frozen=True, eq=False)
class Locality:
    """A choice of the radius, and what it rests on.

    Attributes
    ----------
    radius : int
        The radius R that makes error^2 + bound^2 smallest.
    bias : float
        Bound on the bias at this radius.
    estimates : tuple of Estimate
        D at every radius.
    bounds : ndarray (n_shells,)
        Bound on the bias at every radius, infinite up to the reach and 0 for the whole lattice.
    changes : tuple of Estimate
        D(R') - D(R) for every R' > R, with the error of the difference: the plateau.
    """

    radius: int
    bias: float
    estimates: tuple[Estimate, ...]
    bounds: FloatArray = field(repr=False)
    changes: tuple[Estimate, ...] = field(repr=False)


def local_curve(observable: Series, residual: Series, shells: Series, counts: IntArray) -> Series:
    """Sum of <A_x; r_y> over all sites y within a distance R of x, for every R, averaged over translations.

    Parameters
    ----------
    observable : Series
        Mean of A_x over all sites.
    residual : Series (T,)
        Sums of r_y over time slices.
    shells : Series (n_shells,)
        For every shell the sum of (A_x - mean A) (r_y - mean r) over its sites y, averaged over x, with the means of the
        configuration, see :func:`gaugeflow.ensembles.measure_local`.
    counts : array of int (n_shells,)
        Number of sites in every shell.

    Returns
    -------
    Series (n_shells,)
        Linearised.  The last entry is the estimator from the whole lattice, :func:`derivative_linear` without X.dA.

    Raises
    ------
    ValueError
        The shapes do not fit, or the series live on different configurations.
    """
    check_same_configurations(observable, residual, shells)
    if observable.shape != () or len(residual.shape) != 1 or shells.shape != np.shape(counts):
        raise ValueError(
            "expected a scalar observable, a residual by time slice and one entry of counts for every shell, got "
            f"{observable.shape}, {residual.shape}, {shells.shape} and {np.shape(counts)}"
        )
    share = counts / counts.sum()
    values = tuple(
        np.cumsum(q + share * (a * r.sum(axis=1))[:, None], axis=1)
        for q, a, r in zip(shells.values, observable.fluctuations, residual.fluctuations, strict=True)
    )
    return Series(values, shells.ids, f"<{observable.name}; {residual.name}>")


def choose_radius(curve: Series, mass: float, *, reach: int, dimensions: int = 1) -> Locality:
    """The radius at which the squares of the statistical error and of the bound on the bias have the smallest sum.

    Beyond the reach the terms T_s = D(s) - D(s - 1) are minus a correlation function.  It falls at least as fast as
    w_s = s^((dimensions - 1) / 2) exp(-mass s), and every known term bounds what is missing:

        bound(R) = min_(reach < s <= R) (|T_s| + its error) sum_(k > R) w_k / w_s.

    Parameters
    ----------
    curve : Series (n_shells,)
        As :func:`local_curve` returns it.
    mass : float
        Lightest mass that the correlation of A and O knows, in lattice units, or a smaller number.
    reach : int
        Largest distance at which A_x has a link in common with what moves at y or with o_y.  For an observable that is smeared
        in time, too, it includes the radius of the smearing.
    dimensions : int
        1 where distances are those of time slices, that of the lattice where they are Euclidean.

    Returns
    -------
    Locality
        The radius, the bound, and the curve.

    Raises
    ------
    ValueError
        No shell lies beyond the reach, or a number is out of range.
    """
    if not (mass > 0.0 and math.isfinite(mass)):
        raise ValueError(f"mass: expected a number > 0, got {mass}")
    if dimensions < 1:
        raise ValueError(f"dimensions: expected 1 or more, got {dimensions}")
    if len(curve.shape) != 1 or not 0 <= reach < curve.shape[0] - 1:
        raise ValueError(f"reach: expected 0 or more, and a shell beyond it, got {reach} for a curve of {curve.shape}")
    parts = curve.split()
    last = len(parts) - 1
    estimates = tuple(gamma_method(part) for part in parts)
    bounds = np.full(len(parts), math.inf)
    best = math.inf  # smallest known amplitude, in units of w
    for s in range(reach + 1, last):
        term = gamma_method(parts[s] - parts[s - 1])
        best = min(best, (abs(term.value) + term.error) / _weight(s, mass, dimensions))
        bounds[s] = best * _tail(s, mass, dimensions)
    bounds[last] = 0.0
    errors = np.array([estimate.error for estimate in estimates])
    radius = int(np.argmin(errors**2 + bounds**2))
    changes = tuple(gamma_method(parts[k] - parts[radius]) for k in range(radius + 1, last + 1))
    return Locality(radius, float(bounds[radius]), estimates, bounds, changes)


def _weight(s: int, mass: float, dimensions: int) -> float:
    return float(s ** (0.5 * (dimensions - 1)) * math.exp(-mass * s))


def _tail(radius: int, mass: float, dimensions: int) -> float:
    """sum_(k > radius) w_k, to a relative accuracy of 1e-6."""
    beyond = math.ceil((16.0 + 4.0 * dimensions) / mass) + 1
    return sum(_weight(k, mass, dimensions) for k in range(radius + 1, radius + 1 + beyond))
