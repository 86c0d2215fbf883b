"""One quark by a rational approximation (Clark and Kennedy, hep-lat/0608015; Lüscher and Schaefer, arXiv:1206.2809)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from gaugeflow.actions.fermion import WithPseudofermions, add_rest_force, log_det_rest
from gaugeflow.errors import ConvergenceError, require_finite
from gaugeflow.kernels import fermion_combine, fermion_dot
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators import gamma_5
from gaugeflow.operators.even_odd import reduced
from gaugeflow.solvers import multi_shift_cg, spectral_range
from gaugeflow.solvers.solution import norm2


class InverseRoot(NamedTuple):
    """r(y) = scale prod_k (y + zeros_k) / (y + poles_k), which approximates 1 / sqrt(y)."""

    scale: float
    zeros: tuple[float, ...]
    poles: tuple[float, ...]
    error: float
    """Largest abs(1 - sqrt(y) r(y)) in the range."""

    @property
    def residues(self) -> tuple[float, ...]:
        """rho of r(y) = scale (1 + sum_k rho_k / (y + poles_k)); positive."""
        found = []
        for k, pole in enumerate(self.poles):
            residue = self.zeros[k] - pole
            for j, (a, b) in enumerate(zip(self.zeros, self.poles, strict=True)):
                if j != k:
                    residue *= (a - pole) / (b - pole)
            found.append(residue)
        return tuple(found)


def inverse_root(low: float, high: float, degree: int) -> InverseRoot:
    """Zolotarev's optimal rational approximation of 1 / sqrt(y) for low <= y <= high, in the relative error.

    Parameters
    ----------
    low, high
        Range, 0 < low < high.
    degree
        Of numerator and denominator.

    Raises
    ------
    ValueError
        If range or degree make no sense.

    Notes
    -----
    Achieser, Theory of Approximation, section 51.  With epsilon = low / high, k^2 = 1 - epsilon and v = K(k) / (2 n + 1), the
    zeros and poles are cn^2 / sn^2 at r v for odd and even r.
    """
    from scipy.special import ellipj, ellipkm1

    if not 0.0 < low < high:
        raise ValueError(f"inverse_root: expected 0 < low < high, got {low} and {high}")
    if degree < 1:
        raise ValueError(f"inverse_root: degree must be at least 1, got {degree}")
    epsilon = low / high
    v = float(ellipkm1(epsilon)) / (2 * degree + 1)
    sn, cn = (
        [float(value) for value in values]
        for values in ellipj([r * v for r in range(1, 2 * degree + 1)], 1.0 - epsilon)[:2]
    )
    places = [(c / s) ** 2 for s, c in zip(sn, cn, strict=True)]
    squares = [s * s for s in sn]
    d = math.sqrt(1.0 - epsilon) ** (2 * degree + 1) * math.prod(squares[0::2]) ** 2
    root = math.sqrt((1.0 - d) * (1.0 + d))
    scale = 2.0 / (1.0 + root) * math.prod(a / b for a, b in zip(squares[0::2], squares[1::2], strict=True))
    return InverseRoot(
        scale / math.sqrt(high),
        tuple(high * a for a in places[0::2]),
        tuple(high * a for a in places[1::2]),
        d * d / (1.0 + root) ** 2,
    )


def smallest_degree(low: float, high: float, error: float) -> int:
    """Degree that :func:`inverse_root` needs for an error."""
    for degree in range(1, 61):
        if inverse_root(low, high, degree).error <= error:
            return degree
    raise ValueError(f"range: no degree up to 60 approximates 1 / sqrt(y) in [{low}, {high}] to {error}")


@dataclass(frozen=True, eq=False)
class Rational(WithPseudofermions):
    """One flavour: S = phi^dagger r(M^dagger M) phi - log abs det T_ee, with r(y) close to 1 / sqrt(y); weight abs(det D).

    The sign of det D is an observable; :mod:`gaugeflow.determinants` computes it on small lattices.

    Parameters
    ----------
    operator
        D, with gamma_5 D gamma_5 = D^dagger: no twisted mass, no staggered quarks.
    low, high
        Range in which all eigenvalues of M^dagger M must lie; :meth:`check_range` compares it with measured ones.
    error
        Largest relative error of r in this range.  The weight is off by at most that, times the number of components, in its
        logarithm.
    inversion
        How linear systems are solved; ``method`` and ``depth`` do not matter here.
    drawn
        Pseudofermions; see ``refreshed``.

    Raises
    ------
    ValueError
        If the range is empty, or D is not gamma_5-Hermitian.
    """

    low: float
    high: float
    error: float = 1e-7

    def __post_init__(self) -> None:
        require_finite(self, "low", "high", "error")
        if getattr(self.operator, "twisted_mass", None) != 0.0:
            raise ValueError(
                f"Rational: expected an operator with gamma_5 D gamma_5 = D^dagger, got {self.operator.label}"
            )
        if not 0.0 < self.low < self.high:
            raise ValueError(f"Rational: expected 0 < low < high, got {self.low} and {self.high}")

    @cached_property
    def approximation(self) -> InverseRoot:
        """r."""
        return inverse_root(self.low, self.high, smallest_degree(self.low, self.high, self.error))

    def check_range(self, x: Array) -> tuple[Array, Array]:
        """Smallest and largest eigenvalues of M^dagger M, ``(batch,)`` each.

        Raises
        ------
        ConvergenceError
            If one of them lies outside of the range, where r is no approximation.
        """
        low, high = spectral_range(reduced(self.operator.with_links(x)))
        xp = array_namespace(low)
        if float(xp.min(low)) < self.low or float(xp.max(high)) > self.high:
            raise ConvergenceError(
                f"Rational({self.operator.label}): eigenvalues of M^dagger M reach from {float(xp.min(low)):.4g} to "
                f"{float(xp.max(high)):.4g}, beyond the range from {self.low:g} to {self.high:g} of the approximation"
            )
        return low, high

    def _heat_bath(self, x: Array, eta: Array) -> Array:
        """scale^(-1/2) prod_k (Q + i sqrt(poles_k)) / (Q + i sqrt(zeros_k)) eta with Q = gamma_5 M."""
        m = reduced(self.operator.with_links(x))
        lattice, r = self.operator.lattice, self.approximation
        factors = _product_residues(r.poles, r.zeros)
        solutions = self._solve(m, eta, r.zeros, force=False)
        sum_x, sum_ix = 0.0 * eta, 0.0 * eta
        for (real, imag), a, solution in zip(factors, r.zeros, solutions, strict=True):
            # c / (Q + i sqrt a) = c (Q - i sqrt a) / (Q^2 + a)
            c = complex(real, imag)
            sum_x = fermion_combine(lattice, sum_x, 1.0, solution, c)
            sum_ix = fermion_combine(lattice, sum_ix, 1.0, solution, -1j * math.sqrt(a) * c)
        phi = (eta + gamma_5(m.apply(sum_x)) + sum_ix) * (1.0 / math.sqrt(r.scale))
        return array_namespace(eta).astype(phi, eta.dtype)

    def _solve(self, m: Any, b: Array, shifts: Sequence[float], *, force: bool) -> list[Array]:
        tolerance = self.inversion.force_tolerance if force else self.inversion.tolerance
        limit = self.inversion.max_iterations
        return [s.x for s in multi_shift_cg(m, b, shifts, tolerance=tolerance, max_iterations=limit)]

    def value(self, x: Array) -> Array:
        """S of every configuration, ``(batch,)`` float64; where x is the field of ``refreshed``, without a solution."""
        drawn, m = self.pseudofermions, reduced(self.operator.with_links(x))
        if x is drawn.x:
            return drawn.value - log_det_rest(m)
        lattice, r, xp = self.operator.lattice, self.approximation, array_namespace(x)
        value = norm2(lattice, drawn.phi)
        solutions = self._solve(m, drawn.phi, r.poles, force=False)
        for rho, pole, s in zip(r.residues, r.poles, solutions, strict=True):
            # <phi, s> to second order in the error of s
            term = (
                2.0 * xp.real(fermion_dot(lattice, drawn.phi, s))
                - norm2(lattice, m.apply(s))
                - pole * norm2(lattice, s)
            )
            value = value + rho * term
        return r.scale * value - log_det_rest(m)

    def grad(self, x: Array) -> Array:
        """Gradient in left coordinates: -2 sum_k rho_k force(M X_k, X_k) with X_k = (M^dagger M + poles_k)^-1 phi."""
        drawn, m = self.pseudofermions, reduced(self.operator.with_links(x))
        r, xp = self.approximation, array_namespace(x)
        right = xp.stack(self._solve(m, drawn.phi, r.poles, force=True))
        weights = xp.asarray([-2.0 * r.scale * rho for rho in r.residues], dtype=xp.float64)
        left = xp.astype(weights[:, None, None, None, None] * m.apply(right), right.dtype)
        return add_rest_force(m.force(left, right), -1.0, m)


def _product_residues(zeros: Sequence[float], poles: Sequence[float]) -> list[tuple[float, float]]:
    """c of prod_k (q + i sqrt(zeros_k)) / (q + i sqrt(poles_k)) = 1 + sum_k c_k / (q + i sqrt(poles_k)), real and imaginary."""
    found = []
    for k, pole in enumerate(poles):
        c = 1j * (math.sqrt(zeros[k]) - math.sqrt(pole))
        for j, (a, b) in enumerate(zip(zeros, poles, strict=True)):
            if j != k:
                c *= (math.sqrt(a) - math.sqrt(pole)) / (math.sqrt(b) - math.sqrt(pole))
        found.append((c.real, c.imag))
    return found
