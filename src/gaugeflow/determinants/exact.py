"""Exact determinants by either method, their ratios and derivatives with respect to kappa."""

from __future__ import annotations

from collections.abc import Callable

from gaugeflow.determinants.dense import log_det_by_lu, log_det_derivative
from gaugeflow.determinants.result import LogDet, LogDetDerivative
from gaugeflow.determinants.slices import log_det_by_slices
from gaugeflow.lattice import Array
from gaugeflow.lending import with_writable_links
from gaugeflow.operators.hopping import HoppingOperator
from gaugeflow.operators.wilson import Wilson

METHODS = {"dense": log_det_by_lu, "slices": log_det_by_slices}


@with_writable_links
def log_det(operator: HoppingOperator, method: str = "dense") -> LogDet:
    """``log |det D|`` and the phase of det D, one flavour.

    Parameters
    ----------
    operator
        D, bound to links.
    method
        ``"dense"``: LU decomposition of the even-odd Schur complement, the faster one on small lattices.  ``"slices"``:
        elimination of time slices, with memory as the square of a slice: on 8^4 with SU(3) 4 GiB instead of 9 GiB, and half
        the operations.

    Returns
    -------
    LogDet
        ``(batch,)`` each.

    Raises
    ------
    ValueError
        If D is singular or not finite; names operator and configuration.
    """
    if method not in METHODS:
        raise ValueError(f"method: expected one of {sorted(METHODS)}, got {method!r}")
    return METHODS[method](operator)


def ratio(end: HoppingOperator, start: HoppingOperator, method: str = "dense") -> LogDet:
    """det D(end) / det D(start) of two operators on equal batches: two gauge fields, two kappas, or two of anything.

    Arguments and errors as for :func:`log_det`; ``ValueError`` where the batches differ too.
    """
    above, below = log_det(end, method), log_det(start, method)
    if above.log_abs.shape != below.log_abs.shape:
        raise ValueError(
            f"ratio: expected two batches of equal length, got {above.log_abs.shape[0]} and {below.log_abs.shape[0]}"
        )
    return LogDet(above.log_abs - below.log_abs, above.phase / below.phase)


def d_kappa(operator: HoppingOperator) -> LogDetDerivative:
    """log det D and its derivative tr D^-1 dD/dkappa, of an operator in the kappa form.

    For S = -N_f log det D the derivative of the action is -N_f times its real part.
    """
    return log_det_derivative(operator, along_kappa)


def along_kappa(operator: HoppingOperator) -> Callable[[Array], Array]:
    """dD/dkappa; ``ValueError`` where the operator has no kappa."""
    if not isinstance(operator, Wilson):
        raise ValueError(f"{operator.label} has no kappa: give log_det_derivative the change of the operator")
    return operator.d_kappa
