"""Differences and derivatives of expectation values between neighbouring ensembles.

Every estimator returns a linearised `Series`: its mean is the estimate and its fluctuations carry, configuration by
configuration, what cancels between the two ensembles. `gamma_method` gives the error; `derive`, ``+``, ``-`` and
``*`` combine several of them without losing correlations, e.g. with ``d3`` and ``d5`` the series of t_0.3 and t_0.35

    derive(lambda t: t[0] / t[1], stack(d3, d5), lambda t: np.array([1 / t[1], -t[0] / t[1] ** 2]))

Observables are series, arrays (n,) or (n, k), or lists of arrays, one per chain. Everything raises ValueError for
numbers that are not finite and for series that live on different configurations of the source ensemble.

Sources: arXiv:2401.10874 (correlated ensembles from flows), arXiv:2603.02984 (first order in the step).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gaugeflow.analysis.gamma import Estimate
from gaugeflow.analysis.series import Series, SeriesLike, as_series, check_same_configurations
from gaugeflow.analysis.weights import reweighted


def difference_independent(o_a: SeriesLike, o_b: SeriesLike) -> Series:
    """<O>_b - <O>_a from two independent ensembles.

    The result has the chains of both: those of b contribute (N/N_b) (O - <O>_b), those of a -(N/N_a) (O - <O>_a), with
    N = N_a + N_b, so that the variances of the two means add up. Its ids count the Markov time of each ensemble in units of
    the spacing there; gaps stay gaps.

    Parameters
    ----------
    o_a, o_b : Series, array or list of arrays
        Measured or linearised series of the same shape per configuration.
    """
    a, b = as_series(o_a, "o_a"), as_series(o_b, "o_b")
    if a.shape != b.shape:
        raise ValueError(f"expected observables of the same shape per configuration, got {a.shape} and {b.shape}")
    value = b.mean - a.mean
    n = a.n + b.n
    values = [value - n / a.n * delta for delta in a.fluctuations] + [
        value + n / b.n * delta for delta in b.fluctuations
    ]
    ids = [i[0] // s.spacing + time for s in (a, b) for i, time in zip(s.ids, s.markov_times, strict=True)]
    return Series(tuple(values), tuple(ids), f"({b.name} - {a.name})")


def difference_flow(o_source: SeriesLike, o_flowed: SeriesLike, log_weight: SeriesLike) -> Series:
    """<O>_target - <O>_source on one source ensemble U_i with a flow f.

    D = <w O(f(U))> / <w> - <O(U)>; configuration i contributes (w_i / mean w) (O(f(U_i)) - <O>_w) - (O(U_i) - <O>).
    Plain (epsilon) reweighting is the identity flow: ``difference_flow(o, o, log_weight)``.

    Parameters
    ----------
    o_source, o_flowed : Series, array or list of arrays
        O(U_i) and O(f(U_i)).
    log_weight : Series, array (n,) or list of arrays
        -S_target(f(U_i)) + log_det + S_source(U_i).
    """
    return reweighted(as_series(o_flowed, "o_flowed"), log_weight) - as_series(o_source, "o_source")


def derivative_one_sided(o_source: SeriesLike, o_flowed: SeriesLike, log_weight: SeriesLike, step: float) -> Series:
    """d<O>/dlambda as `difference_flow` / step; the bias is of first order in the step.

    Parameters
    ----------
    o_source, o_flowed, log_weight
        As for `difference_flow`.
    step : float
        Target minus source value of lambda; it may be negative.
    """
    return difference_flow(o_source, o_flowed, log_weight) * _inverse(step)


def derivative_central(
    o_plus: SeriesLike, log_weight_plus: SeriesLike, o_minus: SeriesLike, log_weight_minus: SeriesLike, step: float
) -> Series:
    """d<O>/dlambda from two flows of one source ensemble, to lambda + step and lambda - step.

    (<O>_{+} - <O>_{-}) / (2 step), combined on every source configuration; the bias is of second order in the step.

    Parameters
    ----------
    o_plus, o_minus : Series, array or list of arrays
        O(f_{+}(U_i)) and O(f_{-}(U_i)).
    log_weight_plus, log_weight_minus : Series, array (n,) or list of arrays
        Log-weights of the two flows.
    step : float
        Distance of each target from the source.
    """
    plus = reweighted(as_series(o_plus, "o_plus"), log_weight_plus)
    minus = reweighted(as_series(o_minus, "o_minus"), log_weight_minus)
    return (plus - minus) * (0.5 * _inverse(step))


def derivative_linear(x_da: SeriesLike, a: SeriesLike, residual: SeriesLike) -> Series:
    """d<A>/dlambda for S -> S + lambda O from a vector field X, without a finite step.

    From <X.dA + A (div X - X.dS)> = 0 for any X,

        d<A>/dlambda = <X.dA> + <A r> - <A><r>,    r = div X - X.dS - O,

    and configuration i contributes X.dA + (A - <A>)(r - <r>). There is no noise where r is constant and X.dA vanishes
    or is constant; X = 0 is plain reweighting in the limit of a small step.

    Parameters
    ----------
    x_da : Series, array or list of arrays
        X.dA, the change of A along X.
    a : Series, array or list of arrays
        A, of the same shape.
    residual : Series, array (n,) or list of arrays
        r, one number per configuration; an additive constant does not matter.
    """
    x_da, a, residual = as_series(x_da, "x_da"), as_series(a, "a"), as_series(residual, "residual")
    check_same_configurations(x_da, a, residual)
    if x_da.shape != a.shape or residual.shape != ():
        raise ValueError(
            f"expected x_da and a of the same shape per configuration and a scalar residual, got {x_da.shape}, "
            f"{a.shape} and {residual.shape}"
        )
    values = tuple(
        x + da * dr.reshape(-1, *[1] * (da.ndim - 1))
        for x, da, dr in zip(x_da.values, a.fluctuations, residual.fluctuations, strict=True)
    )
    return Series(values, a.ids, f"d({a.name})")


@dataclass(frozen=True)
class Cost:
    """Seconds that a method spent to obtain an estimate, on the same machine as what it is compared with.

    Attributes
    ----------
    source : float
        Generation of all source configurations.
    measurement : float
        All measurements, on source and flowed configurations.
    flow : float
        Evaluation of the flow and its log-weights.
    training : float
        Training, paid once.
    """

    source: float
    measurement: float
    flow: float = 0.0
    training: float = 0.0

    @property
    def per_run(self) -> float:
        """Seconds that grow with the number of configurations: everything but training."""
        return self.source + self.measurement + self.flow

    @property
    def total(self) -> float:
        """All seconds."""
        return self.per_run + self.training


@dataclass(frozen=True)
class Gain:
    """How much smaller the variance of a new method is than that of a reference method; above one the new one wins.

    Attributes
    ----------
    equal_statistics : float
        Ratio of n error^2, n the number of source configurations in all ensembles of a method.
    equal_cost : float
        Ratio of seconds error^2, without training: the limit of long runs.
    equal_cost_with_training : float
        Ratio of seconds error^2 as spent, training included.
    relative_error : float
        Standard error of each of the three divided by its value. It takes the two error estimates as independent.
    """

    equal_statistics: float
    equal_cost: float
    equal_cost_with_training: float
    relative_error: float


def gain(reference: Estimate, new: Estimate, reference_cost: Cost, new_cost: Cost) -> Gain:
    """Compare the variances of two estimates of one quantity at equal statistics and at equal cost.

    Two independent ensembles of n configurations each count as 2 n; where a publication counts them as n, its gain over
    independent ensembles is half of `Gain.equal_statistics`.

    Raises
    ------
    ValueError
        An estimate has no error, or a method costs nothing.
    """
    for estimate, cost in ((reference, reference_cost), (new, new_cost)):
        if estimate.error <= 0:
            raise ValueError(f"cannot compare variances: {estimate.name!r} has error {estimate.error}")
        if cost.per_run <= 0:
            raise ValueError(f"expected a positive cost without training, got {cost}")
    ratio = (reference.error / new.error) ** 2
    return Gain(
        equal_statistics=ratio * reference.n / new.n,
        equal_cost=ratio * reference_cost.per_run / new_cost.per_run,
        equal_cost_with_training=ratio * reference_cost.total / new_cost.total,
        relative_error=2 * math.hypot(reference.error_of_error / reference.error, new.error_of_error / new.error),
    )


def _inverse(step: float) -> float:
    if step == 0 or not np.isfinite(step):
        raise ValueError(f"expected a finite step other than 0, got {step}")
    return 1 / step
