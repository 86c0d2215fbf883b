"""Least-squares fits to correlated Monte Carlo data, with errors by implicit differentiation of the minimum.

The conventions are those of pyerrors (arXiv:2209.14371, section 4; error propagation of arXiv:1809.01289): the weights are
constants, and the response of the parameters to the data contains the second derivatives of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.special

from gaugeflow.analysis.gamma import gamma_method
from gaugeflow.analysis.independent import Combined, combine
from gaugeflow.analysis.series import FloatArray, Series

Model: TypeAlias = Callable[[Any, FloatArray], Any]

_TOLERANCE = 1e-14  # Relative, of chi^2, parameters and gradient in the minimiser.
_NEWTON_STEPS = 2  # From the square root of that to rounding.


@dataclass(frozen=True, eq=False)
class Fit:
    """Result of `fit`.

    Attributes
    ----------
    parameters : tuple of Combined
        Value, error and autocorrelation of every parameter.
    series : tuple of Series, each (p,)
        Linearised series of the parameters, one for each ensemble; `derive` and `combine` continue from here.
    covariance : ndarray (p, p)
        Covariance matrix of the parameters, see `covariance`.
    chi_squared : float
        Minimum of chi^2.
    dof : int
        Number of data minus number of parameters.
    expected_chi_squared : float
        Mean of chi^2 if the model is true: `dof` for a correlated fit; for an uncorrelated one tr((1 - P) W C W), with C
        the covariance of the data, W the inverse errors and P the projector on W df/dp (arXiv:2209.14188).
    p_value : float
        Probability of a larger chi^2 at `dof` degrees of freedom; 1 without any. For an uncorrelated fit to correlated data
        chi^2 does not have this distribution: compare it with `expected_chi_squared`.
    x : Any
        Abscissae as given.
    y, y_error : ndarray (n,)
        Data and their errors.
    correlated : bool
        Whether the correlations of the data were in chi^2.
    """

    parameters: tuple[Combined, ...]
    series: tuple[Series, ...] = field(repr=False)
    covariance: FloatArray = field(repr=False)
    chi_squared: float
    dof: int
    expected_chi_squared: float
    p_value: float
    x: Any = field(repr=False)
    y: FloatArray = field(repr=False)
    y_error: FloatArray = field(repr=False)
    correlated: bool
    _model: _Model = field(repr=False)

    @property
    def values(self) -> FloatArray:
        """Values of the parameters, shape (p,)."""
        return np.array([p.value for p in self.parameters])

    @property
    def errors(self) -> FloatArray:
        """Errors of the parameters, shape (p,)."""
        return np.array([p.error for p in self.parameters])

    def band(self, x: Any) -> tuple[FloatArray, FloatArray]:
        """Fitted model at `x` and its error sqrt(J C J^T) from the covariance of the parameters, each of shape (m,)."""
        value = self._model.value(x, self.values)
        slopes = self._model.slopes(x, self.values)
        return value, np.sqrt(np.einsum("ij,jk,ik->i", slopes, self.covariance, slopes))

    def __str__(self) -> str:
        """Parameters, chi^2 over degrees of freedom and p value in one line."""
        parameters = ", ".join(str(p) for p in self.parameters)
        return f"{parameters}; chi^2/dof = {self.chi_squared:.4g}/{self.dof}, p = {self.p_value:.3g}"


@dataclass(frozen=True, eq=False)
class _Model:
    """A model with derivatives, by the given function or by differences of fourth order with the given steps."""

    function: Model
    jacobian: Model | None
    steps: FloatArray

    def value(self, x: Any, p: FloatArray) -> FloatArray:
        return np.asarray(self.function(x, p), dtype=np.float64)

    def slopes(self, x: Any, p: FloatArray) -> FloatArray:
        """df_i/dp_j, shape (n, p)."""
        if self.jacobian is not None:
            return np.asarray(self.jacobian(x, p), dtype=np.float64)
        return _differences(lambda q: self.value(x, q), p, self.steps)


def covariance(data: Series | Sequence[Series], *, s_tau: float = 2.0, tau_exp: float = 0.0) -> FloatArray:
    """Covariance matrix of the means of all components, block-diagonal in independent ensembles.

    The correlation matrix is that of the fluctuations on equal configurations, the errors are those of the Gamma method:
    C_ij = error_i error_j sum delta_i delta_j / sqrt(sum delta_i^2 sum delta_j^2). The matrix is positive semi-definite by
    construction, and right if all autocorrelation functions have the same shape. It holds for chains with gaps, too.

    Parameters
    ----------
    data : Series (k,) or (), or sequence of them
        One series for each independent ensemble.
    s_tau, tau_exp : float
        As for `gamma_method`.

    Returns
    -------
    ndarray (n, n)
        n is the number of components of all ensembles. Rows of components without error are zero.
    """
    errors, correlation = _errors_and_correlation(_ensembles(data), s_tau, tau_exp)
    return errors[:, np.newaxis] * correlation * errors


def fit(
    model: Model,
    x: Any,
    data: Series | Sequence[Series],
    guess: Sequence[float] | FloatArray,
    *,
    correlated: bool = False,
    jacobian: Model | None = None,
    s_tau: float = 2.0,
    tau_exp: float = 0.0,
) -> Fit:
    """Least-squares fit of y = model(x, p) to means of Monte Carlo data.

    chi^2 = (y - f)^T W (y - f) with W the inverse of the `covariance` of the data, or of its diagonal. It is minimised by
    Levenberg-Marquardt steps; a correlated fit starts from the uncorrelated one. At the minimum

        dp/dy = H^-1 J^T W,    H = J^T W J - sum_i (W (y - f))_i d^2 f_i / dp dp,    J = df/dp,

    carries the fluctuations of the data into those of the parameters, and the Gamma method gives their errors. W is held
    fixed. A parameter that is known from elsewhere is one more ensemble, with that parameter as its model.

    Parameters
    ----------
    model : callable
        ``model(x, p)`` with p of shape (p,) returns shape (n,). `Fit.band` calls it with other x.
    x : Any
        Handed to the model as it is; usually an array (n,), in the order of the components of the data.
    data : Series (k,) or (), or sequence of them
        Measured or linearised, one series for each independent ensemble; n components in all.
    guess : array (p,)
        Start of the search; its size is the number of parameters.
    correlated : bool
        Take the correlations within each ensemble into chi^2.
    jacobian : callable, optional
        ``jacobian(x, p)`` returns df/dp of shape (n, p); differences of fourth order by default.
    s_tau, tau_exp : float
        As for `gamma_method`, for data and parameters.

    Raises
    ------
    TypeError
        The data are neither a series nor a sequence of series.
    ValueError
        There are fewer data than parameters, a datum has no error, the covariance is singular, the model has the wrong shape
        or is not finite, the search does not converge, or the data do not determine the parameters.
    """
    ensembles = _ensembles(data)
    y = np.concatenate([np.atleast_1d(series.mean) for series in ensembles])
    p = np.array(guess, dtype=np.float64)
    if p.ndim != 1 or p.size == 0 or not np.isfinite(p).all():
        raise ValueError(f"expected a guess of shape (p,) with finite numbers, got {guess}")
    if len(y) < len(p):
        raise ValueError(f"expected at least as many data as parameters, got {len(y)} data for {len(p)} parameters")
    errors, correlation = _errors_and_correlation(ensembles, s_tau, tau_exp)
    if not (errors > 0).all():
        raise ValueError(f"datum {int(np.argmin(errors > 0))} has no error: it cannot be weighted")

    # Rows of `root` make the residuals independent: W = root^T root.
    root = np.diag(1 / errors)
    problem = _Model(model, jacobian, 1e-3 * np.where(p == 0, 1.0, np.abs(p)))
    _check(problem, x, p, len(y))
    p = _minimise(problem, x, y, root, p)
    if correlated:
        root = _inverse_root(errors, correlation, min(series.n for series in ensembles))
        p = _minimise(problem, x, y, root, p)
    # Once the errors of the parameters are known, so are good steps for differences.
    slopes = root @ problem.slopes(x, p)
    width = np.sqrt(np.diag(_inverse_hessian(slopes.T @ slopes)))
    problem = _Model(model, jacobian, np.maximum(1e-2 * width, 1e-4 * np.abs(p)))
    for _ in range(_NEWTON_STEPS):
        slopes, residual, inverse = _second_order(problem, x, y, root, p)
        p = p + inverse @ slopes.T @ residual
    _check(problem, x, p, len(y))
    slopes, residual, inverse = _second_order(problem, x, y, root, p)
    gradient = slopes.T @ residual
    chi_squared = float(residual @ residual)
    if gradient @ inverse @ gradient > 1e-8 * max(chi_squared, 1.0):
        raise ValueError(f"fit did not converge: gradient {gradient} at {p}, chi^2 {chi_squared:g}")

    response = inverse @ slopes.T @ root
    ends = np.cumsum([np.atleast_1d(series.mean).size for series in ensembles])[:-1]
    parts = tuple(
        Series(tuple(p + _columns(d) @ r.T for d in series.fluctuations), series.ids, f"fit to {series.name}")
        for series, r in zip(ensembles, np.split(response, ends, axis=1), strict=True)
    )
    dof = len(y) - len(p)
    projector = slopes @ np.linalg.pinv(slopes)
    spread = root @ (errors[:, np.newaxis] * correlation * errors) @ root.T
    return Fit(
        parameters=tuple(
            combine([part.split()[j] for part in parts], s_tau=s_tau, tau_exp=tau_exp) for j in range(len(p))
        ),
        series=parts,
        covariance=sum((covariance(part, s_tau=s_tau, tau_exp=tau_exp) for part in parts), np.zeros((len(p), len(p)))),
        chi_squared=chi_squared,
        dof=dof,
        expected_chi_squared=float(np.trace(spread - projector @ spread)),
        p_value=float(scipy.special.chdtrc(dof, chi_squared)) if dof > 0 else 1.0,
        x=x,
        y=y,
        y_error=errors,
        correlated=correlated,
        _model=problem,
    )


def _ensembles(data: Series | Sequence[Series]) -> tuple[Series, ...]:
    ensembles = (data,) if isinstance(data, Series) else tuple(data)
    if not ensembles or not all(isinstance(series, Series) for series in ensembles):
        raise TypeError(f"expected a Series or a sequence of Series, got {[type(s).__name__ for s in ensembles]}")
    return ensembles


def _columns(values: FloatArray) -> FloatArray:
    return values.reshape(len(values), -1)


def _errors_and_correlation(
    ensembles: tuple[Series, ...], s_tau: float, tau_exp: float
) -> tuple[FloatArray, FloatArray]:
    """Gamma-method errors (n,) and the correlation matrix (n, n) of all components."""
    errors, blocks = [], []
    for series in ensembles:
        errors += [gamma_method(component, s_tau=s_tau, tau_exp=tau_exp).error for component in series.split()]
        delta = _columns(np.concatenate(series.fluctuations) / series.scale)
        norm = np.sqrt(np.sum(delta**2, axis=0))
        delta = delta / np.where(norm > 0, norm, 1.0)
        blocks.append(delta.T @ delta)
    return np.array(errors), np.asarray(scipy.linalg.block_diag(*blocks))


def _inverse_root(errors: FloatArray, correlation: FloatArray, n: int) -> FloatArray:
    """Lower triangular R with R^T R the inverse covariance."""
    condition = np.linalg.cond(correlation)
    if not condition < 0.1 / np.finfo(np.float64).eps:
        raise ValueError(
            f"the covariance matrix of {len(errors)} data is singular (condition number {condition:.2g}, "
            f"{n} configurations): use fewer data or an uncorrelated fit"
        )
    factor = np.linalg.cholesky(correlation)
    return np.asarray(scipy.linalg.solve_triangular(factor, np.diag(1 / errors), lower=True))


def _minimise(model: _Model, x: Any, y: FloatArray, root: FloatArray, start: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):  # A trial step may overflow: it is rejected.
        result = scipy.optimize.least_squares(
            lambda p: root @ (model.value(x, p) - y),
            start,
            jac=lambda p: root @ model.slopes(x, p),
            method="lm",
            x_scale="jac",
            ftol=_TOLERANCE,
            xtol=_TOLERANCE,
            gtol=_TOLERANCE,
        )
    if not result.success:
        raise ValueError(f"fit did not converge from {start}: {result.message}")
    return np.asarray(result.x, dtype=np.float64)


def _second_order(
    model: _Model, x: Any, y: FloatArray, root: FloatArray, p: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weighted slopes R J, weighted residual R (y - f) and H^-1 at p."""
    slopes = root @ model.slopes(x, p)
    residual = root @ (y - model.value(x, p))
    pull = root.T @ residual
    curvature = _differences(lambda q: model.slopes(x, q).T @ pull, p, model.steps)
    return slopes, residual, _inverse_hessian(slopes.T @ slopes - 0.5 * (curvature + curvature.T))


def _inverse_hessian(hessian: FloatArray) -> FloatArray:
    """Inverse of half the second derivatives of chi^2, which must be positive definite."""
    scale = np.sqrt(np.abs(np.diag(hessian)))
    if not (np.isfinite(hessian).all() and (scale > 0).all()):
        raise ValueError(f"the data do not determine the parameters: second derivatives of chi^2 are {2 * hessian}")
    normal = hessian / np.outer(scale, scale)
    lowest, highest = np.linalg.eigvalsh(normal)[[0, -1]]
    if lowest <= 1e-13 * highest:
        raise ValueError(
            f"the data do not determine the parameters: the second derivatives of chi^2 have eigenvalues from {lowest:.2g} "
            f"to {highest:.2g} times those of its diagonal"
        )
    return np.asarray(np.linalg.inv(normal) / np.outer(scale, scale))


def _check(model: _Model, x: Any, p: FloatArray, n: int) -> None:
    for what, array, shape in (
        ("model", model.value(x, p), (n,)),
        ("jacobian", model.slopes(x, p), (n, len(p))),
    ):
        if array.shape != shape:
            raise ValueError(f"expected a {what} of shape {shape} for {n} data, got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{what} is not finite at parameters {p}: {array}")


def _differences(function: Callable[[FloatArray], FloatArray], p: FloatArray, steps: FloatArray) -> FloatArray:
    """Fourth-order central differences; the parameter is the last axis."""
    columns = []
    for j, step in enumerate(steps):
        shift = np.zeros(len(p))
        shift[j] = step
        near, far = function(p + shift) - function(p - shift), function(p + 2 * shift) - function(p - 2 * shift)
        columns.append((8 * near - far) / (12 * step))
    return np.stack(columns, axis=-1)
