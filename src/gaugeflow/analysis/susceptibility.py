"""Susceptibilities: volume times the variance of a density, with errors by linearised series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gaugeflow.analysis.series import Series, SeriesLike, as_series


def susceptibility(density: SeriesLike, volume: float, *, mean: float | None = None) -> Series:
    """chi = V (<m^2> - <m>^2) of an intensive quantity m.

    Parameters
    ----------
    density
        Measured scalar series of m.
    volume
        V: number of sites over which m is a mean.
    mean
        <m>, where a symmetry fixes it; by default the mean of the series.

    Returns
    -------
    Series
        V (m_i - <m>)^2, whose mean is chi and whose Gamma-method error is that of chi: deviations of the mean enter in
        second order only.  With <m> from the series itself chi is too small by a relative 2 tau_int / n.

    Raises
    ------
    ValueError
        If the series has several components, or the volume is not positive.
    """
    series = as_series(density)
    if series.shape != ():
        raise ValueError(f"series {series.name!r}: expected a scalar, got {series.shape[0]} components")
    if not volume > 0.0:
        raise ValueError(f"volume: expected a positive number, got {volume}")
    centre = series.mean if mean is None else mean
    with np.errstate(over="ignore"):  # The result is checked.
        values = tuple(volume * (m - centre) ** 2 for m in series.values)
    return replace(series, values=values, name=f"chi({series.name})")


def topological_susceptibility(charge: SeriesLike, volume: float) -> Series:
    """chi_Q = <Q^2> / V with <Q> = 0.

    Parameters
    ----------
    charge
        Measured scalar series of Q, of one flow time.
    volume
        Number of sites: chi_Q is in a^-d.

    Returns
    -------
    Series
        Q_i^2 / V.
    """
    return susceptibility(as_series(charge) * (1.0 / volume), volume, mean=0.0)


def polyakov_susceptibility(loop: SeriesLike, spatial_volume: float) -> Series:
    """``chi_P = V_s (<|P|^2> - <|P|>^2)`` with ``|P|`` the modulus of the mean Polyakov loop of a configuration.

    Parameters
    ----------
    loop
        Measured series of real and imaginary part, two components, as ``LinkObservable`` records
        :func:`gaugeflow.observables.polyakov_loop`.
    spatial_volume
        V_s: number of sites of a time slice.

    Returns
    -------
    Series
        Its mean is chi_P, see :func:`susceptibility`.

    Raises
    ------
    ValueError
        If the series does not have two components, or the volume is not positive.
    """
    series = as_series(loop)
    if series.shape != (2,):
        raise ValueError(f"series {series.name!r}: expected real and imaginary part, got shape {series.shape}")
    modulus = replace(series, values=tuple(np.hypot(p[:, 0], p[:, 1]) for p in series.values), name=f"|{series.name}|")
    return susceptibility(modulus, spatial_volume)
