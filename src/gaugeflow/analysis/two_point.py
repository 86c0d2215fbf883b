"""From measured two-point functions to masses: series of a channel, folding, fits of one state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from gaugeflow.analysis.fits import Fit, fit
from gaugeflow.analysis.mass import effective_mass
from gaugeflow.analysis.series import AnyArray, FloatArray, IntArray, Series


def by_chain(values: AnyArray, chain: AnyArray, id: AnyArray, name: str = "") -> Series:
    """Measurements in any order of configurations as a series, chain by chain.

    Parameters
    ----------
    values : array (n,) or (n, k)
        Real, one row for each configuration.
    chain, id : array of int (n,)
        Chain of each configuration, and its number in it; numbers may be missing.
    name : str
        Name of the observable.

    Raises
    ------
    ValueError
        A configuration occurs twice.
    """
    chains = [np.flatnonzero(chain == c) for c in np.unique(chain)]
    chains = [rows[np.argsort(id[rows], kind="stable")] for rows in chains]
    return Series.from_chains([values[rows] for rows in chains], [id[rows] for rows in chains], name)


def correlator(table: tuple[Mapping[str, AnyArray], Mapping[str, Any]], channel: str, *, n_squared: int = 0) -> Series:
    """One channel of the file that ``gaugeflow measure --hadrons`` writes.

    Parameters
    ----------
    table
        What ``gaugeflow.io.read_table`` returns.
    channel : str
        Name of the channel.
    n_squared : int
        Square of the integer momentum: the mean over all momenta with it.

    Returns
    -------
    Series (T,)
        Real part of C(0), C(1), ..., times counted from the source.

    Raises
    ------
    ValueError
        The file has no such channel or momentum.
    """
    columns, attributes = table
    channels = list(attributes["labels"]["channel"])
    if channel not in channels:
        raise ValueError(f"channel: expected one of {channels}, got {channel!r}")
    squares = np.sum(np.asarray(attributes["labels"]["momentum"]) ** 2, axis=1)
    chosen = np.flatnonzero(squares == n_squared)
    if chosen.size == 0:
        raise ValueError(f"n_squared: expected one of {np.unique(squares).tolist()}, got {n_squared}")
    values = columns["correlators"][:, channels.index(channel)][:, chosen].mean(axis=1).real
    return by_chain(values, columns["chain"], columns["id"], channel)


def folded(correlator: Series, other: Series | None = None, sign: int = 1) -> Series:
    """(C(t) + sign C'(T - t)) / 2 for t = 0 ... T/2, and C(0) for t = 0.

    Parameters
    ----------
    correlator : Series (T,)
        C at all times.
    other : Series (T,), optional
        C', by default C itself.  A nucleon takes the channel of the other projector, with the sign b^3 of the boundary phase
        b of its quarks: minus for antiperiodic ones.
    sign : int
        1 or -1.
    """
    partner = correlator if other is None else other
    if correlator.shape == () or partner.shape != correlator.shape:
        raise ValueError(f"expected two correlators of one length, got shapes {correlator.shape} and {partner.shape}")
    extent = correlator.shape[0]
    t = np.arange(extent // 2 + 1)
    values = []
    for one, two in zip(correlator.values, partner.values, strict=True):
        mean = 0.5 * (one[:, t] + sign * two[:, -t % extent])
        mean[:, 0] = one[:, 0]
        values.append(mean)
    return Series(tuple(values), correlator.ids, correlator.name)


def fit_mass(
    correlator: Series,
    first: int,
    last: int,
    *,
    kind: Literal["cosh", "sinh", "exp"] = "cosh",
    period: int | None = None,
    correlated: bool = False,
) -> Fit:
    """Fit of one state to C(t) at first <= t <= last: parameters are the mass and the amplitude at t = 0.

    ====== ========================================
    cosh   A (exp(-m t) + exp(-m (T - t)))
    sinh   A (exp(-m t) - exp(-m (T - t)))
    exp    A exp(-m t)
    ====== ========================================

    Parameters
    ----------
    correlator : Series (k,)
        C(0), C(1), ..., C(k - 1).
    first, last : int
        Range of times, both included.
    kind : str
        One of the above.
    period : int, optional
        T of the first two; k by default. A folded correlator must give it.
    correlated : bool
        Take the covariance of the times into chi^2.

    Raises
    ------
    ValueError
        The range is not within the correlator, no effective mass there starts the search, or `fit` refuses.
    """
    extent = correlator.shape[0] if correlator.shape else 0
    if not 0 <= first < last < extent:
        raise ValueError(f"expected 0 <= first < last < {extent}, got {first} and {last}")
    if kind not in ("cosh", "sinh", "exp"):
        raise ValueError(f"expected kind 'cosh', 'sinh' or 'exp', got {kind!r}")
    back = {"cosh": 1.0, "sinh": -1.0, "exp": 0.0}[kind]
    whole = extent if period is None else period
    times = np.arange(first, last + 1)

    def model(t: IntArray, p: FloatArray) -> FloatArray:
        return np.asarray(p[1] * (np.exp(-p[0] * t) + back * np.exp(-p[0] * (whole - t))))

    def slopes(t: IntArray, p: FloatArray) -> FloatArray:
        ahead, behind = np.exp(-p[0] * t), back * np.exp(-p[0] * (whole - t))
        return np.stack([-p[1] * (t * ahead + (whole - t) * behind), ahead + behind], axis=-1)

    masses = effective_mass(correlator, "log" if kind == "exp" else kind, period=whole)
    here = (masses.times >= first) & (masses.times < last) & (masses.series.mean > 0)
    if not here.any():
        raise ValueError(f"{correlator.name!r}: no effective mass between t = {first} and {last} to start from")
    mass = float(masses.series.mean[here][0])
    start = float(correlator.mean[first] / model(np.array([first]), np.array([mass, 1.0]))[0])
    data = Series(tuple(v[:, times] for v in correlator.values), correlator.ids, correlator.name)
    return fit(model, times, data, [mass, start], correlated=correlated, jacobian=slopes)
