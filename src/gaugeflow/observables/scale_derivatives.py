"""Derivatives of flow times t_c with respect to a parameter, by the chain rule from those of t^2 <E>."""

from __future__ import annotations

from collections.abc import Sequence

from gaugeflow.observables.flow_scales import flow_time_gradient


def flow_time_derivative(t2_e: Sequence[float], slopes: Sequence[float], t: Sequence[float], c: float) -> float:
    """d t_c / d lambda from d(t^2 <E>) / d lambda at every flow time, t_c as in ``flow_time_where``.

    At fixed c, t^2 E(t_c(lambda), lambda) = c gives dt_c/dlambda = -(d(t^2 E)/dlambda) / (d(t^2 E)/dt); for the linear
    interpolation of ``flow_time_where`` this is the sum of its gradient times the slopes.

    Parameters
    ----------
    t2_e
        t^2 <E> at the times ``t``.
    slopes
        Their derivatives with respect to lambda.
    t
        Flow times, increasing.
    c
        The value that t^2 <E> reaches at t_c.

    Raises
    ------
    ValueError
        As ``flow_time_where``; if the slopes are not as many as the times.
    """
    _check_slopes(slopes, t)
    return sum(g * float(s) for g, s in zip(flow_time_gradient(t2_e, t, c), slopes, strict=True))


def flow_time_derivative_gradient(
    t2_e: Sequence[float], slopes: Sequence[float], t: Sequence[float], c: float
) -> tuple[list[float], list[float]]:
    """Derivatives of :func:`flow_time_derivative` by every t^2 <E> and by every slope.

    With the crossing between times k and k + 1, t^2 E = y there, p = (c - y_k) / (y_(k+1) - y_k) and slopes s,

        dt_c/dlambda = -dt ((1 - p) s_k + p s_(k+1)) / (y_(k+1) - y_k),

    and the derivatives follow from dp/dy_k = (p - 1) / (y_(k+1) - y_k) and dp/dy_(k+1) = -p / (y_(k+1) - y_k).
    Arguments and errors are those of :func:`flow_time_derivative`.
    """
    _check_slopes(slopes, t)
    by_slope = flow_time_gradient(t2_e, t, c)
    by_value = [0.0] * len(t2_e)
    low = _interval(t2_e, c)
    rise = float(t2_e[low + 1]) - float(t2_e[low])
    part = (c - float(t2_e[low])) / rise
    step = float(t[low + 1]) - float(t[low])
    mean = (1.0 - part) * float(slopes[low]) + part * float(slopes[low + 1])
    change = float(slopes[low + 1]) - float(slopes[low])
    by_value[low] = -step * (change * (part - 1.0) + mean) / rise**2
    by_value[low + 1] = -step * (-change * part - mean) / rise**2
    return by_value, by_slope


def _interval(t2_e: Sequence[float], c: float) -> int:
    """Number of the time before the crossing."""
    y = [float(v) for v in t2_e]
    return next(k for k in range(len(y) - 1) if y[k] <= c <= y[k + 1] and y[k] < y[k + 1])


def _check_slopes(slopes: Sequence[float], t: Sequence[float]) -> None:
    if len(slopes) != len(t):
        raise ValueError(f"slopes of t^2 <E>: expected {len(t)} values, one for each flow time, got {len(slopes)}")
