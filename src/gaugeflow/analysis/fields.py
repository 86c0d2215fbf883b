"""Coefficients of vector fields that make the noise of a linearised derivative small, fitted across chains.

For any vector field X = sum_i c_i X_i the estimator of `derivative_linear` is exact,

    d<A>/dlambda = <X.dA + A r> - <A><r>,    r = div X - X.dS - O,    O = dS/dlambda,

as long as the coefficients c do not depend on the configurations that are averaged. Its noise on one configuration is
linear in c: with h_i = div X_i - X_i.dS and A' = A - <A> it is

    -A' O' + sum_i c_i (X_i.dA + A' h_i),

in which every term of the sum has mean zero up to the derivative itself: they are control variates, and c follows from
linear least squares. Coefficients of a chain are fitted on all other chains, so that every configuration is used and none
sees its own coefficients.

Sources: arXiv:2603.02984 (first order in the step); R. Assaraf and M. Caffarel, Phys. Rev. Lett. 83 (1999) 4682 (averages
of zero as control variates).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaugeflow.analysis.series import FloatArray, Series, check_same_configurations


def cross_fit(wanted: Series, controls: Sequence[Series]) -> FloatArray:
    """For every chain the coefficients c that minimise the variance of wanted + sum_i c_i controls_i on the other chains.

    Parameters
    ----------
    wanted : Series
        A scalar series.
    controls : sequence of Series
        Scalar series on the same configurations.

    Returns
    -------
    ndarray (chains, n_controls)
        Directions in which the controls do not fluctuate have coefficients of zero.

    Raises
    ------
    ValueError
        There is no control, a series is not scalar or lives on other configurations, there is one chain only, or the other
        chains of one have no more configurations than there are coefficients.
    """
    _check(controls)
    check_same_configurations(wanted, *controls)
    if wanted.shape != ():
        raise ValueError(f"expected a scalar series, got {wanted.shape} per configuration")
    if wanted.chains < 2:
        raise ValueError("expected at least two chains, so that coefficients can be fitted on the others, got one")
    rows = []
    for r in range(wanted.chains):
        others = [s for s in range(wanted.chains) if s != r]
        y = np.concatenate([wanted.values[s] for s in others])
        z = np.stack([np.concatenate([control.values[s] for s in others]) for control in controls])
        if len(y) <= len(controls) + 1:
            raise ValueError(
                f"expected more than {len(controls) + 1} configurations beside chain {r} for {len(controls)} coefficients, "
                f"got {len(y)}"
            )
        z = z - z.mean(axis=1, keepdims=True)
        scale = np.sqrt(np.mean(z**2, axis=1))
        scale = np.where(scale > 0.0, scale, 1.0)
        rows.append(-np.linalg.lstsq((z / scale[:, None]).T, y - y.mean(), rcond=1e-8)[0] / scale)
    return np.array(rows)


def combined(coefficients: FloatArray, parts: Sequence[Series], name: str = "") -> Series:
    """sum_i c_i parts_i with the coefficients of every chain.

    Parameters
    ----------
    coefficients : array (chains, n_parts)
        As `cross_fit` returns them.
    parts : sequence of Series
        Series of one shape on the same configurations, measured ones: a linearised series is not, and must not be, a
        sum with other coefficients in every chain.
    name : str
        Name of the result.

    Raises
    ------
    ValueError
        The shapes do not fit.
    """
    if not parts:
        raise ValueError("expected at least one series, got none")
    check_same_configurations(*parts)
    expected = (parts[0].chains, len(parts))
    if coefficients.shape != expected:
        raise ValueError(f"expected coefficients of shape {expected} (chains, series), got {coefficients.shape}")
    if len({part.shape for part in parts}) != 1:
        raise ValueError(f"expected series of one shape, got {[part.shape for part in parts]}")
    values = tuple(
        sum(c * v for c, v in zip(row, chains, strict=True))
        for row, chains in zip(coefficients, zip(*(part.values for part in parts), strict=True), strict=True)
    )
    return Series(values, parts[0].ids, name)


def _check(controls: Sequence[Series]) -> None:
    if not controls:
        raise ValueError("expected at least one control, got none")
    for control in controls:
        if control.shape != ():
            raise ValueError(f"expected scalar controls, got {control.shape} per configuration ({control.name!r})")
