"""The linear start: coefficients that minimise the variance of the linearised log-weight.

To first order in a step e from S to S + e O, a flow along the field X = sum_i c_i X_i has
``d log w / de = -(O - <O>) + sum_i c_i h_i`` with ``h_i = div X_i - <X_i, grad S>`` and ``<h_i> = 0``.  Its variance is
quadratic in c (arXiv:2603.02984).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Array


class LinearFit(NamedTuple):
    """Coefficients per unit step, and the variance of the linearised log-weight before and after, per unit step^2."""

    coefficients: Array
    variance_plain: float
    variance_flow: float


def fit_linear(h: Array, operator: Array, *, cut: float = 1e-10, damping: float = 0.0) -> LinearFit:
    """Least-squares coefficients of the fields of a flow.

    Parameters
    ----------
    h
        ``(n_fields, n_configurations)`` tangents of the log-weight.
    operator
        ``(n_configurations,)`` values of O = dS / d(step).
    cut
        Directions in which h fluctuates less than this, relative to the largest, are left out.
    damping
        Added to the eigenvalues of the matrix of correlations of h, whose mean is 1: coefficients stay small in
        directions in which h hardly fluctuates.

    Returns
    -------
    LinearFit
        The variances are unbiased for the number of fitted coefficients.

    Raises
    ------
    ValueError
        If there are not more configurations than fields.
    """
    xp = array_namespace(h)
    fields, count = h.shape
    if count <= fields + 1:
        raise ValueError(f"fit_linear: expected more than {fields + 1} configurations for {fields} fields, got {count}")
    fluctuation = h - xp.mean(h, axis=1, keepdims=True)
    wanted = operator - xp.mean(operator)
    scale = xp.sqrt(xp.mean(fluctuation**2, axis=1, keepdims=True))
    scale = xp.where(scale > 0.0, scale, xp.ones_like(scale))
    unit = fluctuation / scale
    values, vectors = xp.linalg.eigh(unit @ unit.T / count)
    keep = values > cut * xp.max(values)
    inverse = xp.where(keep, 1.0 / xp.where(keep, values + damping, xp.ones_like(values)), xp.zeros_like(values))
    projected = vectors.T @ (unit @ wanted / count)
    coefficients = (vectors @ (inverse * projected)) / scale[:, 0]
    rest = wanted - coefficients @ fluctuation
    return LinearFit(
        coefficients,
        float(xp.sum(wanted**2)) / (count - 1),
        float(xp.sum(rest**2)) / (count - 1 - fields),
    )


def fit_linear_noisy(h: Array, operator: Array, *, cut: float = 1e-3) -> LinearFit:
    """:func:`fit_linear` where tangents and O are known up to unbiased noise, from two or more independent estimates of each.

    Squares of noisy numbers are biased, products of independent ones are not: normal equations and variances are made of
    products of different estimates.

    Parameters
    ----------
    h
        ``(n_groups, n_fields, n_configurations)`` tangents of the log-weight; noise of different groups is independent.
    operator
        ``(n_groups, n_configurations)`` values of O.
    cut
        Directions in which h fluctuates less than this, relative to the largest, are left out: there the noise decides.

    Returns
    -------
    LinearFit
        The variances are those of the exact log-weight, and estimated without bias by the noise; that after the fit is not
        corrected for the number of coefficients.

    Raises
    ------
    ValueError
        If there are fewer than two groups, or not more configurations than fields.
    """
    xp = array_namespace(h)
    groups, fields, count = h.shape
    if groups < 2 or tuple(operator.shape) != (groups, count):
        raise ValueError(
            f"fit_linear_noisy: expected h (groups, fields, configurations) of two groups or more and O (groups, "
            f"configurations), got {tuple(h.shape)} and {tuple(operator.shape)}"
        )
    if count <= fields + 1:
        raise ValueError(f"fit_linear_noisy: expected more than {fields + 1} configurations, got {count}")
    fluctuation = h - xp.mean(h, axis=2, keepdims=True)
    wanted = operator - xp.mean(operator, axis=1, keepdims=True)
    matrix = _off_diagonal(fluctuation, fluctuation)
    vector = _off_diagonal(fluctuation, wanted[:, None, :])[:, 0]
    scale = xp.sqrt(xp.maximum(xp.linalg.diagonal(matrix), xp.asarray(0.0)))
    scale = xp.where(scale > 0.0, scale, xp.ones_like(scale))
    values, vectors = xp.linalg.eigh(matrix / (scale[:, None] * scale[None, :]))
    keep = values > cut * xp.max(values)
    inverse = xp.where(keep, 1.0 / xp.where(keep, values, xp.ones_like(values)), xp.zeros_like(values))
    coefficients = (vectors @ (inverse * (vectors.T @ (vector / scale)))) / scale
    rest = wanted - xp.tensordot(fluctuation, coefficients, axes=((1,), (0,)))
    plain, left = (float(_off_diagonal(x[:, None, :], x[:, None, :])[0, 0]) for x in (wanted, rest))
    return LinearFit(coefficients, plain, left)


def _off_diagonal(a: Array, b: Array) -> Array:
    """Mean over pairs of different groups of the covariances of a and b, ``(groups, fields, configurations)``; symmetric."""
    xp = array_namespace(a)
    groups, _, count = a.shape
    total_a, total_b = xp.sum(a, axis=0), xp.sum(b, axis=0)
    same = xp.sum(a @ xp.matrix_transpose(b), axis=0)
    return (total_a @ total_b.T - same) / (groups * (groups - 1) * (count - 1))


def select_fields(h: Array, operator: Array, count: int, *, start: Sequence[int] = ()) -> tuple[int, ...]:
    """Fields chosen one by one, each the one that lowers the variance of :func:`fit_linear` most.

    Parameters
    ----------
    h, operator
        As for :func:`fit_linear`; dependent fields do no harm.
    count
        Number of fields to choose.
    start
        Fields that are taken in any case, first.

    Returns
    -------
    tuple of int
        Rows of h in the order in which they were chosen; fewer than ``count`` where nothing is left to choose.

    Raises
    ------
    ValueError
        If there are fewer than ``count`` fields.
    """
    xp = array_namespace(h)
    if not len(start) <= count <= h.shape[0]:
        raise ValueError(f"select_fields: expected a count of {len(start)} to {h.shape[0]}, got {count}")
    rest = h - xp.mean(h, axis=1, keepdims=True)
    norm = xp.sqrt(xp.sum(rest**2, axis=1, keepdims=True))
    rest = rest / xp.where(norm > 0.0, norm, xp.ones_like(norm))
    wanted = operator - xp.mean(operator)
    chosen: list[int] = []
    for step in range(count):
        squares = xp.sum(rest**2, axis=1)
        gain = xp.where(squares > _DEPENDENT, (rest @ wanted) ** 2 / xp.where(squares > 0.0, squares, 1.0), -1.0)
        best = start[step] if step < len(start) else int(xp.argmax(gain))
        if step >= len(start) and float(gain[best]) < 0.0:
            break
        chosen.append(best)
        if float(squares[best]) > _DEPENDENT:
            unit = rest[best, :] / xp.sqrt(squares[best])
            wanted = wanted - unit * xp.sum(unit * wanted)
            rest = rest - (rest @ unit)[:, None] * unit[None, :]
            rest = xp.where((xp.arange(rest.shape[0]) == best)[:, None], 0.0, rest)
    return tuple(chosen)


_DEPENDENT = 1e-8
"""What is left of the square of a unit vector that others span, up to rounding."""
