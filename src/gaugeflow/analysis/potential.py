"""The static potential from means of Wilson loops, and the scale r_0 from its force."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.integrate
import scipy.special

from gaugeflow.analysis.fits import Fit, fit
from gaugeflow.analysis.gamma import derive
from gaugeflow.analysis.independent import Combined, combine
from gaugeflow.analysis.series import FloatArray, Series


def effective_potential(loops: Series, r_max: int, spacing: int = 1) -> tuple[Series, ...]:
    """V(r, t) = ln [W(r, t) / W(r, t + spacing)] / spacing, which tends to V(r) for large t.

    Parameters
    ----------
    loops : Series (r_max * n_t,)
        W(r, t) for r = 1 ... r_max, t = spacing, 2 spacing, ..., n_t spacing, all t of one r side by side:
        ``loops.reshape(r_max * n_t, batch)`` of what :func:`gaugeflow.observables.wilson_loops` (spacing 1) or
        :meth:`gaugeflow.ensembles.Slabs.wilson_loops` (the thickness) returns.
    r_max : int
        Number of distances.
    spacing : int
        Step of t.

    Returns
    -------
    tuple of Series (r_max,)
        Linearised series of V(r, t) for t = spacing, 2 spacing, ..., n_t - 1 of them.

    Raises
    ------
    ValueError
        The number of loops is no multiple of ``r_max``, there are fewer than two times, or a mean is not positive.
    """
    size = loops.shape[0] if loops.shape else 0
    if r_max < 1 or size % r_max or size < 2 * r_max:
        raise ValueError(f"expected {r_max} times two or more loops, got a series of shape {loops.shape}")
    n_t = size // r_max
    bad = np.flatnonzero(loops.mean <= 0.0)
    if bad.size:
        r, k = divmod(int(bad[0]), n_t)
        raise ValueError(
            f"expected positive means of loops, got W({r + 1}, {(k + 1) * spacing}) = {loops.mean[bad[0]]:.3g}; leave out "
            "what noise hides"
        )
    found = []
    for k in range(n_t - 1):
        pair = Series(
            tuple(np.concatenate([v[:, k::n_t], v[:, k + 1 :: n_t]], axis=1) for v in loops.values),
            loops.ids,
            loops.name,
        )
        found.append(
            derive(
                lambda w: np.log(w[:r_max] / w[r_max:]) / spacing,
                pair,
                lambda w: np.concatenate([np.diag(1.0 / w[:r_max]), -np.diag(1.0 / w[r_max:])], axis=1) / spacing,
                f"V(r, {(k + 1) * spacing})",
            )
        )
    return tuple(found)


def lattice_coulomb(r: int) -> float:
    """4 pi times the propagator of the Laplacian of a lattice of three dimensions at distance r along an axis: 1/r for large r.

    What one gluon exchanged between static sources gives in place of 1/r.

    Raises
    ------
    ValueError
        If r is below 1.
    """
    if r < 1:
        raise ValueError(f"expected a distance of 1 or more, got {r}")
    value, _ = scipy.integrate.quad(
        lambda t: scipy.special.ive(r, 2.0 * t) * scipy.special.ive(0, 2.0 * t) ** 2,
        0.0,
        np.inf,
        epsabs=1e-13,
        epsrel=1e-11,
        limit=400,
    )
    return float(4.0 * math.pi * value)


def fit_cornell(potential: Series, distances: Sequence[int]) -> Fit:
    """Fit of V(r) = V_0 + sigma r - alpha [1/r] with [1/r] of :func:`lattice_coulomb`.

    Parameters
    ----------
    potential : Series (k,)
        V(r), for instance an entry of :func:`effective_potential`.
    distances : sequence of int
        The r of its components that are fitted: 1 is the first component.

    Returns
    -------
    Fit
        Parameters V_0, sigma, alpha in lattice units.

    Raises
    ------
    ValueError
        A distance is not among the components, or :func:`fit` refuses.
    """
    chosen = np.asarray(distances, dtype=np.int64) - 1
    if chosen.ndim != 1 or not len(chosen) or chosen.min() < 0 or chosen.max() >= potential.shape[0]:
        raise ValueError(f"distances: expected some of 1 ... {potential.shape[0]}, got {list(distances)}")
    data = Series(tuple(v[:, chosen] for v in potential.values), potential.ids, potential.name)
    columns = np.array([[1.0, r, -lattice_coulomb(r)] for r in distances])

    def model(x: FloatArray, p: FloatArray) -> FloatArray:
        return np.asarray(x @ p)

    return fit(model, columns, data, [0.5, 0.1, 0.3], jacobian=lambda x, p: x)


def sommer_scale(cornell: Fit, c: float = 1.65) -> Combined:
    """r_0 / a with r_0^2 F(r_0) = 1.65 from the parameters of :func:`fit_cornell`: r_0 = [(c - alpha) / sigma]^(1/2).

    R. Sommer, hep-lat/9310022.  The Coulomb term is the one of the continuum, so that r_0 has no tree-level lattice artefact.

    Raises
    ------
    ValueError
        The string tension is not positive, or alpha is larger than c.
    """
    _, sigma, alpha = cornell.values
    if not (sigma > 0.0 and alpha < c):
        raise ValueError(f"no r_0 for sigma = {sigma:.4g}, alpha = {alpha:.4g}")
    value = math.sqrt((c - alpha) / sigma)
    slopes = [0.0, -0.5 * value / sigma, -0.5 / (value * sigma)]
    return combine([derive(lambda p: value, series, lambda p: slopes, "r_0") for series in cornell.series])


def sommer_scale_of_beta(beta: float) -> float:
    """r_0 / a of SU(3) with the Wilson action by Necco and Sommer (hep-lat/0108008, eq. 2.6), for 5.7 <= beta <= 6.92.

    Raises
    ------
    ValueError
        Outside this range.
    """
    if not 5.7 <= beta <= 6.92:
        raise ValueError(f"r_0 / a is known for beta from 5.7 to 6.92, got {beta}")
    x = beta - 6.0
    return math.exp(1.6804 + 1.7331 * x - 0.7849 * x**2 + 0.4428 * x**3)
