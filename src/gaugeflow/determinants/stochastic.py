"""Determinants by noise: ratios in interpolated steps, and traces tr M^-1 dM, which are linear in the noise and unbiased.

For complex noise of density ``exp(-|eta|^2)`` and A = M_2^-1 M_1,

    |det M_2 / det M_1|^2 = <exp(|eta|^2 - |A eta|^2)>,        det M_2 / det M_1 = <exp(eta^dagger (1 - A) eta)>,

the first for two flavours (det D^2 where gamma_5 D is Hermitian, det D^dagger D always), the second for one, with its sign
or phase, where A + A^dagger > 0.  Variances are finite if all singular values of A exceed 1 / sqrt 2, or A + A^dagger > 1:
near enough operators, which is what steps are for (Hasenfratz, Hoffmann and Schaefer, arXiv:0805.2369).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gaugeflow.determinants.dense import Small, projected, rest_trace
from gaugeflow.kernels.fermions import rows_of
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.even_odd import ODD, EvenOdd, joined, reduced, split
from gaugeflow.operators.hopping import HoppingOperator, dot
from gaugeflow.random import Rng, Streams, normal, uniform
from gaugeflow.solvers import solve

FIELDS = 8
"""Noise vectors that are solved for together."""


class StochasticRatio(NamedTuple):
    """Estimate of a ratio of determinants to the power of the number of flavours, one for every configuration."""

    log_abs: Array
    """log of its modulus, ``(batch,)`` float64: the sum over steps of the logs of means."""
    error: Array
    """Jackknife error of ``log_abs``, over noise vectors."""
    bias: Array
    """Jackknife estimate of the bias of ``log_abs``, not subtracted: the mean itself has none, its logarithm has."""
    phase: Array
    """Its phase, ``(batch,)`` complex128; 1 for two flavours."""
    phase_error: Array
    """Jackknife error of the angle of ``phase``."""
    log_weights: Array
    """Logs of the weights of all noise vectors, ``(steps, noise, batch)`` complex128."""


class StochasticTrace(NamedTuple):
    """Estimate of a trace, one for every configuration."""

    value: Array
    """Mean over noise vectors, ``(batch,)`` complex128."""
    error: Array
    """Standard error of its real part."""
    samples: Array
    """``(noise, batch)`` complex128."""


def stochastic_ratio(
    rng: Rng | Streams,
    operators: Sequence[HoppingOperator],
    *,
    flavours: int = 2,
    noise: int = 16,
    tolerance: float = 1e-9,
    max_iterations: int = 10000,
) -> StochasticRatio:
    """det D of the last over det D of the first of a sequence of operators, by noise at every step.

    Parameters
    ----------
    rng
        Place in the tree of random streams; every step and every noise vector has a stream of its own.
    operators
        At least two, the nearer to each other the better: see :func:`gaugeflow.determinants.path`.
    flavours
        2: the square of the modulus, from positive weights.  1: the determinant itself, from complex weights.
    noise
        Noise vectors of each step, at least 2.
    tolerance, max_iterations
        Of the solver for M_2 (A eta - eta) = (M_1 - M_2) eta: one system for every vector and step.

    Returns
    -------
    StochasticRatio
        Numbers do not depend on fold or threads beyond rounding.

    Raises
    ------
    ValueError
        If arguments do not fit.
    ConvergenceError
        If a system does not converge.
    """
    if flavours not in (1, 2):
        raise ValueError(f"flavours: expected 1 or 2, got {flavours}")
    if len(operators) < 2:
        raise ValueError(f"operators: expected two or more, got {len(operators)}")
    _check_noise(noise, 2)
    log_weights, matrices = [], _matrices(operators)
    for k in range(1, len(operators)):
        one, two = matrices[k - 1], matrices[k]
        xp = array_namespace(operators[k].bound)
        stream = rng.stream("determinant ratio").stream(k)
        parts = []
        for first in range(0, noise, FIELDS):
            eta = _gaussian(stream, two, range(first, min(first + FIELDS, noise)))
            change = one.apply(eta) - two.apply(eta)
            delta = _solve(operators[k], two, change, tolerance, max_iterations)
            lattice = two.lattice
            if flavours == 2:
                parts.append(-xp.real(2.0 * dot(lattice, eta, delta) + dot(lattice, delta, delta)))
            else:
                parts.append(-dot(lattice, eta, delta))
        log_weights.append(xp.astype(xp.concat(parts), xp.complex128))
    return _statistics(array_namespace(log_weights[0]).stack(log_weights), *_rest(matrices[0], matrices[-1], flavours))


def stochastic_trace(
    rng: Rng | Streams,
    operator: HoppingOperator,
    tangent: Callable[[HoppingOperator], Callable[[Array], Array]],
    *,
    noise: int = 16,
    tolerance: float = 1e-10,
    max_iterations: int = 10000,
) -> StochasticTrace:
    """tr D^-1 dD = d log det D without bias, from noise vectors of fourth roots of one.

    Parameters
    ----------
    rng
        Place in the tree of random streams.
    operator, tangent
        As for :func:`gaugeflow.determinants.log_det_derivative`: ``along_kappa``, for instance.
    noise
        Noise vectors, at least 2.
    tolerance, max_iterations
        Of the solver.

    Returns
    -------
    StochasticTrace
        The trace over even sites T_ee^-1 dT_ee is exact, that of M^-1 dM is eta^dagger dM M^-1 eta.

    Raises
    ------
    ConvergenceError
        If a system does not converge.
    """
    _check_noise(noise, 2)
    small, change = reduced(operator), tangent(operator)
    parts = []
    for first in range(0, noise, FIELDS):
        eta = roots(rng.stream("trace"), small, range(first, min(first + FIELDS, noise)))
        x = _solve(operator, small, eta, tolerance, max_iterations)
        parts.append(dot(small.lattice, eta, projected(small, change, x)))
    xp = array_namespace(parts[0])
    samples = xp.concat(parts)
    if isinstance(small, EvenOdd):
        samples = samples + rest_trace(small, change)[None, :]
    error = xp.std(xp.real(samples), axis=0, correction=1.0) / noise**0.5
    return StochasticTrace(xp.mean(samples, axis=0), error, samples)


def stochastic_gradient(
    rng: Rng | Streams,
    operator: HoppingOperator,
    *,
    noise: int = 1,
    tolerance: float = 1e-10,
    max_iterations: int = 10000,
) -> Array:
    """Gradient of ``log |det D|`` with respect to links without bias, the mean over noise vectors; an algebra field.

    Arguments and errors as for :func:`stochastic_trace`; one vector is enough for an unbiased one.
    """
    _check_noise(noise, 1)
    small = reduced(operator)
    rest = small.log_det_rest_force() if isinstance(small, EvenOdd) else None
    total = array_namespace(operator.bound).zeros_like(operator.bound)
    for first in range(0, noise, FIELDS):
        eta = roots(rng.stream("gradient"), small, range(first, min(first + FIELDS, noise)))
        total = total + small.force(eta, _solve(operator, small, eta, tolerance, max_iterations))
    return total / noise if rest is None else total / noise + rest


def _check_noise(noise: int, least: int) -> None:
    if noise < least:
        raise ValueError(f"noise: expected at least {least} vectors, got {noise}")


def _matrices(operators: Sequence[HoppingOperator]) -> list[Small]:
    """Schur complements of all, or the operators themselves where one has none."""
    one = operators[0]
    for two in operators[1:]:
        if one.lattice != two.lattice or one.field_shape() != two.field_shape():
            raise ValueError(
                f"operators: expected equal lattices and batches, got fields {one.field_shape()} on {one.lattice} and "
                f"{two.field_shape()} on {two.lattice}"
            )
    small = [reduced(d) for d in operators]
    return small if all(isinstance(s, EvenOdd) for s in small) else list(operators)


def _solve(operator: HoppingOperator, small: Small, b: Array, tolerance: float, max_iterations: int) -> Array:
    """M^-1 b: the odd part of D^-1 (0, b)."""
    xp = array_namespace(b)
    schur = isinstance(small, EvenOdd)
    right = joined(operator.lattice, xp.zeros_like(b), b) if schur else b
    x = solve(operator, right, tolerance=tolerance, max_iterations=max_iterations).x
    return split(operator.lattice, x)[1] if schur else x


def _rows(small: Small, values: Array) -> Array:
    """Numbers ``(R, spin N, n_blocks, lanes)`` as a stack of fields of the operator."""
    xp = array_namespace(values)
    full = small.full if isinstance(small, EvenOdd) else small
    _, spin, n, lanes = full.field_shape()
    if isinstance(small, EvenOdd):
        values = xp.take(values, rows_of(small.lattice, ODD, values), axis=2)
    values = xp.permute_dims(values, (0, 2, 1, 3))
    field = xp.reshape(values, (values.shape[0], values.shape[1], spin, n, lanes))
    return xp.astype(xp.asarray(field, copy=True), full.bound.dtype)


def _numbers(small: Small) -> tuple[Array, int, int]:
    """Array library, components of a site and number of configurations."""
    full = small.full if isinstance(small, EvenOdd) else small
    _, spin, n, lanes = full.field_shape()
    return array_namespace(full.bound), spin * n, full.lattice.batch(lanes)


def _gaussian(rng: Rng | Streams, small: Small, vectors: Sequence[int]) -> Array:
    """Complex noise of density exp(-|eta|^2), one stream for every vector."""
    xp, m, batch = _numbers(small)
    fields = []
    for k in vectors:
        x = normal(rng.stream(k), small.lattice, 2 * m, batch, xp=xp)
        fields.append((x[:m, ...] + 1j * x[m:, ...]) * 0.5**0.5)
    return _rows(small, xp.stack(fields))


def roots(rng: Rng | Streams, small: Small, vectors: Sequence[int]) -> Array:
    """Noise of 1, i, -1 and -i."""
    xp, m, batch = _numbers(small)
    fields = []
    for k in vectors:
        quarter = xp.floor(4.0 * uniform(rng.stream(k), small.lattice, m, batch, xp=xp))
        one, i, minus, minus_i = (xp.astype(quarter == q, xp.complex128) for q in range(4))
        fields.append(one - minus + 1j * (i - minus_i))
    return _rows(small, xp.stack(fields))


def _rest(first: Small, last: Small, flavours: int) -> tuple[Array, Array] | tuple[float, complex]:
    """What Schur complements leave of the ratio, exactly: log of its modulus and its phase."""
    if not isinstance(first, EvenOdd) or not isinstance(last, EvenOdd):
        return 0.0, 1.0 + 0.0j
    log_abs = flavours * (last.log_det_rest() - first.log_det_rest())
    return log_abs, last.phase_rest() / first.phase_rest() if flavours == 1 else 1.0 + 0.0j


def _statistics(log_weights: Array, rest: Array | float, phase: Array | complex) -> StochasticRatio:
    """Product over steps of means over noise, with jackknife errors."""
    xp = array_namespace(log_weights)
    n = log_weights.shape[1]
    top = xp.max(xp.real(log_weights), axis=1, keepdims=True)
    weights = xp.exp(log_weights - top)
    mean = xp.mean(weights, axis=1, keepdims=True)
    without = (n * mean - weights) / (n - 1)
    # Relative to the mean, so that angles stay in one branch.
    log = xp.log(without / mean)
    centre = xp.mean(log, axis=1, keepdims=True)
    spread = log - centre
    error = xp.sqrt((n - 1) / n * xp.sum(xp.real(spread) ** 2, axis=(0, 1)))
    phase_error = xp.sqrt((n - 1) / n * xp.sum(xp.imag(spread) ** 2, axis=(0, 1)))
    bias = (n - 1) * xp.sum(xp.real(centre), axis=(0, 1))
    log_abs = xp.sum(top[:, 0, :] + xp.log(xp.abs(mean[:, 0, :])), axis=0) + rest
    turned = xp.prod(mean[:, 0, :] / xp.abs(mean[:, 0, :]), axis=0) * phase
    return StochasticRatio(log_abs, error, bias, turned, phase_error, log_weights)
