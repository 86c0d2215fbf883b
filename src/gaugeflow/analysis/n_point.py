"""N-point functions of time slices from observables and the fields of their sources.

An observable O_t lives on time slice t, and a vector field X_t belongs to it, made of fields X_i^(t) that move the variables
of slice t alone:

    X_t = sum_i sum_(|tau| <= r) c_(i tau) X_i^(t + tau),    h_t = div X_t - X_t.dS,    R_t = O_t - <O_t> + h_t.

The mean of h_t f is -<X_t.df> for every f, so that h_t changes no expectation value in a way that is not known:

    one point              <O_t> = <O_t + h_t>
    two points, one-sided  C(t) = <O_t R_0> + <X_0.dO_t>
    two points, two-sided  C(t) = <R_t R_0> + <X_t.dO_0> + <X_0.dO_t> + <X_t.dh_0>
    N points               <R_1 R_2 ... R_N> where no field moves what another factor is made of

All of them hold for any coefficients that do not depend on the configurations that are averaged.  Good ones make R_t small,
and with it the noise: with rho = Var R / Var O the variance of a two-point function at large times falls by rho, or rho^2.
The derivation is in ``docs/derivations/sources.md``; the idea of flows that depend on sources is that of arXiv:2606.15986.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaugeflow.analysis.gamma import derive
from gaugeflow.analysis.series import FloatArray, Series, check_same_configurations, stack


def fit_sources(operator: Series, tangents: Sequence[Series], radius: int, *, cut: float = 1e-8) -> FloatArray:
    """Coefficients c that minimise the variance of R_t, averaged over time slices.

    Parameters
    ----------
    operator : Series (T,)
        O_t on all time slices.
    tangents : sequence of Series (T,)
        h_i^(t) = div X_i^(t) - X_i^(t).dS of every field.
    radius : int
        r: X_t moves the variables of slices t - r ... t + r.
    cut : float
        Combinations of fields whose tangent has a variance smaller than this, relative to the largest, are left out.

    Returns
    -------
    ndarray (n_fields, 2 r + 1)
        c_(i tau) at ``[i, tau + r]``.

    Raises
    ------
    ValueError
        There is no field, the slices are fewer than 2 r + 1, or the series do not belong together.
    """
    matrices, vectors = _covariances(operator, tangents, radius)
    return _solve(matrices.sum(axis=0), vectors.sum(axis=0), radius, cut)


def cross_fit_sources(operator: Series, tangents: Sequence[Series], radius: int, *, cut: float = 1e-8) -> FloatArray:
    """Coefficients for every chain, fitted by :func:`fit_sources` on all the others.

    No configuration sees coefficients that were fitted to it, so that all of them can be used for the answer, and the share
    that is left, :func:`residual_share`, is that of a fit on other data.

    Returns
    -------
    ndarray (chains, n_fields, 2 r + 1)
        c_(i tau) of chain k at ``[k, i, tau + r]``.

    Raises
    ------
    ValueError
        As `fit_sources`, or where there is one chain only.
    """
    if operator.chains < 2:
        raise ValueError("expected at least two chains, so that coefficients can be fitted on the others, got one")
    matrices, vectors = _covariances(operator, tangents, radius)
    others = matrices.sum(axis=0) - matrices, vectors.sum(axis=0) - vectors
    return np.stack([_solve(m, v, radius, cut) for m, v in zip(*others, strict=True)])


def _covariances(operator: Series, tangents: Sequence[Series], radius: int) -> tuple[FloatArray, FloatArray]:
    """Sums over configurations and slices t of h_i^(t) h_j^(t + d), ``(chains, n, n, T)``, and of h_i^(t + d) O_t."""
    if not tangents:
        raise ValueError("expected the tangents of at least one field, got none")
    check_same_configurations(operator, *tangents)
    extent = _extent(operator, *tangents)
    if not 0 <= 2 * radius < extent:
        raise ValueError(f"radius: expected 0 ... {(extent - 1) // 2} for {extent} time slices, got {radius}")
    wanted = [o - operator.mean.mean() for o in operator.values]
    fields = [[h - series.mean.mean() for h in series.values] for series in tangents]
    matrices, vectors = [], []
    for r, o in enumerate(wanted):
        h = np.fft.rfft(np.stack([field[r] for field in fields]), axis=-1)
        cross = np.einsum("int,jnt->ijt", h.conj(), h)
        with_o = np.einsum("int,nt->it", h, np.fft.rfft(o, axis=-1).conj())
        matrices.append(np.fft.irfft(cross, extent, axis=-1))
        vectors.append(np.fft.irfft(with_o, extent, axis=-1))
    return np.stack(matrices), np.stack(vectors)


def _solve(matrix: FloatArray, vector: FloatArray, radius: int, cut: float) -> FloatArray:
    n, _, extent = matrix.shape
    taus = np.arange(-radius, radius + 1)
    distance = (taus[None, :] - taus[:, None]) % extent
    whole = matrix[:, :, distance].transpose(0, 2, 1, 3).reshape(n * len(taus), -1)
    wanted = -vector[:, taus % extent].reshape(-1)
    scale = np.sqrt(np.diagonal(whole))
    scale = np.where(scale > 0.0, scale, 1.0)
    values, vectors = np.linalg.eigh(whole / np.outer(scale, scale))
    keep = values > cut * values[-1]
    inverse = np.where(keep, 1.0 / np.where(keep, values, 1.0), 0.0)
    coefficients = vectors @ (inverse * (vectors.T @ (wanted / scale))) / scale
    return np.asarray(coefficients.reshape(n, len(taus)))


def improved(operator: Series, tangents: Sequence[Series], coefficients: FloatArray) -> Series:
    """O_t + h_t on every slice: R_t up to the constant <O_t>, and an estimate of <O_t> of its own.

    Parameters
    ----------
    operator, tangents
        As for :func:`fit_sources`.
    coefficients : array (n_fields, 2 r + 1) or (chains, n_fields, 2 r + 1)
        One set for all configurations, or one for each chain.

    Returns
    -------
    Series (T,)
        Components are the time slices.

    Raises
    ------
    ValueError
        The shapes do not fit.
    """
    check_same_configurations(operator, *tangents)
    _extent(operator, *tangents)
    h = _moved(tangents, coefficients, 1)
    return Series(tuple(o + v for o, v in zip(operator.values, h, strict=True)), operator.ids, f"{operator.name} + h")


def contact(contacts: Sequence[Series], coefficients: FloatArray) -> Series:
    """X_0.dO_t for the field of the source, from the same of its parts.

    Parameters
    ----------
    contacts : sequence of Series (T,)
        For every field X_i^(0).dO_t at time t, averaged over translations.
    coefficients
        As for :func:`improved`.

    Returns
    -------
    Series (T,)
        sum_(i tau) c_(i tau) X_i^(tau).dO_t.
    """
    check_same_configurations(*contacts)
    _extent(*contacts)
    return Series(_moved(contacts, coefficients, -1), contacts[0].ids, "contact")


def _moved(parts: Sequence[Series], coefficients: FloatArray, sign: int) -> tuple[FloatArray, ...]:
    """sum_(i tau) c_(i tau) f_i(t + sign tau) of every chain, ``(n_r, T)``."""
    chains = parts[0].chains
    shape = coefficients.shape
    sets = coefficients if len(shape) == 3 else np.broadcast_to(coefficients, (chains, *shape))
    if sets.ndim != 3 or sets.shape[:2] != (chains, len(parts)) or sets.shape[2] % 2 == 0:
        raise ValueError(
            f"coefficients: expected shape ({len(parts)}, 2 r + 1) or ({chains}, {len(parts)}, 2 r + 1), got {shape}"
        )
    radius = sets.shape[2] // 2
    found = []
    for r in range(chains):
        total = np.zeros_like(parts[0].values[r])
        for part, row in zip(parts, sets[r], strict=True):
            for tau, c in zip(range(-radius, radius + 1), row, strict=True):
                total += c * np.roll(part.values[r], -sign * tau, axis=1)
        found.append(total)
    return tuple(found)


def n_point_function(factors: Sequence[Series], times: Sequence[int]) -> Series:
    """Connected correlation of two or three observables on time slices, averaged over translations in time.

    Parameters
    ----------
    factors : sequence of two or three Series (T,)
        Observables on all slices: O_t, or O_t + h_t from :func:`improved`.
    times : sequence of int
        Time of each factor.

    Returns
    -------
    Series
        Linearised series of <prod_k (f_k(t + times_k) - <f_k>)>: for three factors, too, that is the connected function.

    Raises
    ------
    ValueError
        The numbers of factors and times differ, or are not two or three.
    """
    if len(factors) not in (2, 3) or len(times) != len(factors):
        raise ValueError(f"expected two or three factors with a time for each, got {len(factors)} and {len(times)}")
    check_same_configurations(*factors)
    _extent(*factors)
    parts = [_deviations(f, time) for f, time in zip(factors, times, strict=True)]
    whole = [np.mean(np.prod(rows, axis=0), axis=1) for rows in zip(*parts, strict=True)]
    if len(parts) == 3:  # the means that were subtracted matter in first order
        for k in range(3):
            others = [parts[j] for j in range(3) if j != k]
            slope = float(np.mean(np.concatenate([a * b for a, b in zip(*others, strict=True)])))
            whole = [w - slope * d.mean(axis=1) for w, d in zip(whole, parts[k], strict=True)]
    return Series(tuple(whole), factors[0].ids, " ".join(f"{f.name}({t})" for f, t in zip(factors, times, strict=True)))


def two_point_function(a: Series, b: Series, *contacts: Series) -> Series:
    """C(t) = <a_t b_0> connected, averaged over translations, plus contact terms.

    ============ ============== ============== =====================================================================
    estimator    a              b              contacts
    ============ ============== ============== =====================================================================
    plain        O              O              none
    one-sided    O              O + h          X_0.dO_t
    two-sided    O + h          O + h          X_0.dO_t, the same of -t, X_t.dh_0; none at times without overlap
    ============ ============== ============== =====================================================================

    Parameters
    ----------
    a, b : Series (T,)
        Observables on all slices.
    *contacts : Series (T,)
        Terms to be added, as :func:`contact` gives them; :func:`reflected` turns t into -t.

    Returns
    -------
    Series (T,)
        Linearised series of C(0), C(1), ..., C(T - 1).
    """
    extent = _extent(a, b, *contacts)
    found = stack(*(n_point_function((a, b), (t, 0)) for t in range(extent)))
    for term in contacts:
        found = found + term
    return Series(found.values, found.ids, f"<{a.name}, {b.name}>")


def reflected(correlator: Series) -> Series:
    """f(-t) from f(t), t = 0 ... T - 1 modulo T."""
    extent = _extent(correlator)
    back = -np.arange(extent) % extent
    return Series(tuple(v[:, back] for v in correlator.values), correlator.ids, f"reflected {correlator.name}")


def residual_share(operator: Series, residual: Series) -> Series:
    """rho = Var R / Var O on a time slice, as a linearised series.

    Parameters
    ----------
    operator, residual : Series (T,)
        O_t, and O_t + h_t of :func:`improved` with coefficients from other configurations.
    """
    variances = stack(n_point_function((residual, residual), (0, 0)), n_point_function((operator, operator), (0, 0)))
    return derive(lambda v: v[0] / v[1], variances, lambda v: [1.0 / v[1], -v[0] / v[1] ** 2], "residual share")


def _deviations(series: Series, time: int) -> list[FloatArray]:
    """Deviations from the mean over all slices, which are alike, with slice t + ``time`` at t."""
    mean = series.mean.mean()
    return [np.roll(v - mean, -time, axis=1) for v in series.values]


def _extent(*series: Series) -> int:
    shapes = {s.shape for s in series}
    if len(shapes) != 1 or series[0].shape == ():
        raise ValueError(f"expected series of one number of time slices, got {[s.shape for s in series]}")
    return int(series[0].shape[0])
