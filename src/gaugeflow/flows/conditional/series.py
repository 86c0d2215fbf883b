"""The hopping series: an exponential of a polynomial of hops, whose log-determinant is a sum of traces of closed walks.

Derivation: ``docs/derivations/conditional.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

from gaugeflow.errors import ConvergenceError, require_finite
from gaugeflow.flows.conditional.probes import classes
from gaugeflow.kernels.fermions import rows_of
from gaugeflow.kernels.sums import different_numbers, largest_entry
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators import EvenOdd, HoppingOperator, even_odd
from gaugeflow.operators.dense import stack_length
from gaugeflow.operators.even_odd import ODD
from gaugeflow.operators.hopping import dot
from gaugeflow.typing import Params

_GROWTH = 1e6
"""Of Chebyshev polynomials of K, bounded by the root of the volume where eigenvalues are between -1 and 1; rounding of the
coefficients grows as much."""


@dataclass(frozen=True, eq=False)
class HoppingSeries:
    """phi = exp(P(K^dagger)) eta with a polynomial P of hops: to M^dagger eta, or to sqrt(M^dagger M) eta.

    M is the Schur complement of odd sites, or D itself.  Either K = 1 - M / scale and P = sum_k c_k K^k, or, Hermitian,
    K = 1 - M^dagger M / scale and P = sum_k c_k T_k(K) with Chebyshev's polynomials, k = 0 ... order.  log det = 2 Re tr P, and
    traces are exact: of unit vectors that are further apart than K^order reaches.

    Parameters
    ----------
    operator
        D, bound to links or not.
    order
        Degree of P, at least 1.
    preconditioned
        Whether M is the Schur complement; fields then live on odd sites.
    hermitian
        Whether K is made of M^dagger M, with ``scale`` such that eigenvalues of K lie between -1 and 1.  A power costs twice
        the hops; but M is not normal, and where it has modes near zero the other form makes some modes of M^-dagger C small
        as well, which weights do not forgive.
    scale
        What M, or M^dagger M, is divided by; 1 suits M in the kappa form.
    terms
        Largest degree of the polynomial that replaces the exponential, an entire function, to rounding.

    Notes
    -----
    ``params["c"]`` is ``(order + 1,)``.  ``init`` gives the series of log M, or of half of log M^dagger M, not the identity:
    coefficients of zero are that.
    """

    operator: HoppingOperator
    order: int = 4
    preconditioned: bool = True
    hermitian: bool = False
    scale: float = 1.0
    terms: int = 400

    def __post_init__(self) -> None:
        require_finite(self, "scale")
        if self.order < 1 or self.terms < 1:
            raise ValueError(f"order, terms: expected positive integers, got {self.order} and {self.terms}")
        if self.scale == 0.0 or (self.hermitian and self.scale < 0.0):
            raise ValueError(
                f"scale: expected a positive number, or without hermitian one other than 0, got {self.scale}"
            )
        if self.preconditioned:
            even_odd(self.operator)

    @property
    def lattice(self) -> Lattice:
        """The lattice."""
        return self.operator.lattice

    def matrix(self, links: Array) -> EvenOdd | HoppingOperator:
        """M on links."""
        bound = self.operator.with_links(links)
        return even_odd(bound) if self.preconditioned else bound

    def init(self, rng: Any = None) -> Params:
        """log(1 - z) = -sum_k z^k / k = -log 2 - sum_k 2 T_k(z) / k, and c_0 for the scale."""
        xp: Any = import_module("array_api_compat.numpy")
        first = math.log(abs(self.scale))
        c = [0.5 * (first - math.log(2.0)) if self.hermitian else first, *(-1.0 / k for k in range(1, self.order + 1))]
        return {"c": xp.asarray(c, dtype=xp.float64)}

    def _coefficients(self, params: Params) -> tuple[float, ...]:
        c = params["c"]
        if tuple(c.shape) != (self.order + 1,):
            raise ValueError(f"c: expected shape ({self.order + 1},), got {tuple(c.shape)}")
        return tuple(float(c[k]) for k in range(self.order + 1))

    # ---- polynomials of K ------------------------------------------------------------------------------------------
    @property
    def _recursion(self) -> tuple[float, float]:
        """a and b of B_(j + 1) = a K B_j - b B_(j - 1), j >= 1, after B_0 = 1 and B_1 = K."""
        return (2.0, 1.0) if self.hermitian else (1.0, 0.0)

    def _hop(self, m: EvenOdd | HoppingOperator, psi: Array, adjoint: bool) -> Array:
        """K psi."""
        image = m.adjoint(psi) if adjoint and not self.hermitian else m.apply(psi)
        image = m.adjoint(image) if self.hermitian else image
        return psi - (1.0 / self.scale) * image

    def _next(self, m: EvenOdd | HoppingOperator, fields: list[Array], adjoint: bool) -> Array:
        """B_j psi from those before."""
        image = self._hop(m, fields[-1], adjoint)
        if len(fields) == 1:
            return image
        a, b = self._recursion
        return image if b == 0.0 else a * image - b * fields[-2]

    def _force(self, m: EvenOdd | HoppingOperator, left: Array, right: Array) -> Array:
        """Gradient of Re <left, K right>."""
        if not self.hermitian:
            return (-1.0 / self.scale) * m.force(left, right)
        return (-1.0 / self.scale) * (m.force(m.apply(left), right) + m.force(m.apply(right), left))

    def _exponential(self, c: tuple[float, ...]) -> tuple[float, ...]:
        return chebyshev_exponential(c, self.terms) if self.hermitian else taylor_exponential(c, self.terms)

    def _fields(self, m: EvenOdd | HoppingOperator, psi: Array, a: tuple[float, ...], adjoint: bool) -> list[Array]:
        """B_j psi, j = 0, 1, ..., as far as they matter in a sum with the coefficients a.

        Raises
        ------
        ConvergenceError
            If all coefficients do not suffice, or Chebyshev polynomials grow: K then has eigenvalues beyond -1 and 1.
        """
        xp, lattice = array_namespace(psi), m.lattice
        if not all(math.isfinite(coefficient) for coefficient in a):
            raise ConvergenceError(f"hopping series of {m.label}: coefficients are too large for an exponential")
        start = largest_entry(lattice, psi)
        limit = 0.01 * float(xp.finfo(psi.dtype).eps) * max(abs(a[0]), abs(a[1])) * start
        fields, small = [psi], 0
        for coefficient in a[1:]:
            fields.append(self._next(m, fields, adjoint))
            size = largest_entry(lattice, fields[-1])
            if self.hermitian and not size <= _GROWTH * start:
                raise ConvergenceError(
                    f"hopping series of {m.label}: expected eigenvalues of M^dagger M below 2 scale = {2.0 * self.scale:g}, "
                    f"but Chebyshev polynomials grow to {size / start:.3g}"
                )
            small = small + 1 if abs(coefficient) * size <= limit else 0
            if small > self.order:
                return fields
        raise ConvergenceError(
            f"hopping series of {m.label}: the exponential has not converged after {self.terms} powers of K"
        )

    def _sum(self, links: Array, psi: Array, c: tuple[float, ...]) -> Array:
        a = self._exponential(c)
        fields = self._fields(self.matrix(links), psi, a, adjoint=True)
        total = a[0] * fields[0]
        for coefficient, field in zip(a[1:], fields[1:], strict=False):
            total = total + coefficient * field
        return total

    def _pull_back(
        self, m: EvenOdd | HoppingOperator, fields: list[Array], a: Any, bar: Array, adjoint: bool
    ) -> tuple[Array, Array]:
        """Cotangents of psi and links in Re <bar, sum_j a_j B_j psi>, from the B_j psi: Clenshaw's recursion.

        Coefficients are numbers, or arrays that multiply fields.
        """
        double, back = self._recursion
        links_bar: Any = 0.0
        ahead: list[Array] = []  # cotangents of the two fields before
        for j in range(len(fields) - 1, -1, -1):
            here = a[j] * bar
            if ahead:
                factor = double if j > 0 else 1.0
                left, right = (fields[j], ahead[0]) if adjoint else (ahead[0], fields[j])
                links_bar = links_bar + factor * self._force(m, left, right)
                here = here + factor * self._hop(m, ahead[0], not adjoint)
            if back != 0.0 and len(ahead) > 1:
                here = here - back * ahead[1]
            ahead = [here, *ahead[:1]]
        return ahead[0], links_bar

    # ---- the flow --------------------------------------------------------------------------------------------------
    def apply(self, params: Params, links: Array, eta: Array) -> Array:
        """phi alone, without the traces that log_det costs."""
        return self._sum(links, eta, self._coefficients(params))

    def forward(self, params: Params, links: Array, eta: Array) -> tuple[Array, Array]:
        """``(phi, log_det)``."""
        return self.apply(params, links, eta), self.log_det(params, links)

    def inverse(self, params: Params, links: Array, phi: Array) -> tuple[Array, Array]:
        """``(eta, -log_det)``: the map with the other sign of all coefficients."""
        c = tuple(-value for value in self._coefficients(params))
        return self._sum(links, phi, c), -self.log_det(params, links)

    def log_det(self, params: Params, links: Array) -> Array:
        """2 sum_k c_k Re tr B_k, ``(batch,)``."""
        xp = array_namespace(links)
        c = xp.asarray(self._coefficients(params), dtype=xp.float64)
        return 2.0 * xp.sum(c[:, None] * self.traces(links), axis=0)

    # ---- traces ----------------------------------------------------------------------------------------------------
    def _probes(self, m: EvenOdd | HoppingOperator) -> Iterator[Array]:
        """Stacks of fields that are one in one component of sites too far apart to meet in K^order."""
        lattice, zero = self.lattice, m.zeros()
        xp = array_namespace(zero)
        rows, spin, n, lanes = (int(k) for k in zero.shape)
        sites = rows_of(lattice, ODD, zero) if self.preconditioned else xp.arange(lattice.n_blocks)
        reach = self.order * (2 if self.preconditioned else 1) * (2 if self.hermitian else 1)
        colour = classes(lattice, sites, reach, self.preconditioned)
        components = xp.eye(spin * n, dtype=zero.dtype)
        fields = []
        length = stack_length(m)
        for value in different_numbers(lattice, colour):
            mask = xp.astype(colour == value, zero.dtype)[:, None, None, :, None]
            for k in range(spin * n):
                one = xp.reshape(components[k, :], (1, spin, n, 1, 1)) * mask
                shape = (rows, spin, n, lattice.n_folds, lattice.batch(lanes))
                fields.append(xp.reshape(xp.asarray(xp.broadcast_to(one, shape), copy=True), tuple(zero.shape)))
                if len(fields) == length:
                    yield xp.stack(fields)
                    fields = []
        if fields:
            yield xp.stack(fields)

    def _powers(self, m: EvenOdd | HoppingOperator, psi: Array) -> list[Array]:
        """B_j psi, j = 0 ... order."""
        fields = [psi]
        for _ in range(self.order):
            fields.append(self._next(m, fields, adjoint=False))
        return fields

    def traces(self, links: Array) -> Array:
        """Re tr B_k, k = 0 ... order, ``(order + 1, batch)`` float64; tr 1 is the number of components."""
        m = self.matrix(links)
        xp = array_namespace(links)
        total: list[Any] = [0.0] * (self.order + 1)
        for unit in self._probes(m):
            for k, field in enumerate(self._powers(m, unit)):
                total[k] = total[k] + xp.sum(xp.real(dot(self.lattice, unit, field)), axis=0)
        return xp.stack(total)

    def traces_gradient(self, weights: Array, links: Array) -> Array:
        """Gradient of ``sum_k weights_k Re tr B_k``, an algebra field; weights are ``(order + 1, batch)``."""
        m = self.matrix(links)
        xp = array_namespace(links)
        rows = [xp.astype(self.lattice.spread_folds(weights[k, ...]), links.dtype) for k in range(self.order + 1)]
        total = xp.zeros_like(links)
        for unit in self._probes(m):
            total = total + self._pull_back(m, self._powers(m, unit), rows, unit, adjoint=False)[1]
        return total

    # ---- derivatives -----------------------------------------------------------------------------------------------
    def by_coefficients(self, links: Array, phi: Array, phi_bar: Array) -> Array:
        """Derivatives of Re <phi_bar, phi> by the coefficients, Re <B_k phi_bar, phi>, ``(order + 1, batch)``."""
        fields = self._powers(self.matrix(links), phi_bar)
        xp = array_namespace(links)
        return xp.stack([xp.real(dot(self.lattice, field, phi)) for field in fields])

    def vjp(
        self, params: Params, links: Array, eta: Array, phi: Array, phi_bar: Array, log_det_bar: Array
    ) -> tuple[Params, Array, Array]:
        """Cotangents ``(params_bar, links_bar, eta_bar)``."""
        xp = array_namespace(links)
        c = self._coefficients(params)
        a = self._exponential(c)
        m = self.matrix(links)
        fields = self._fields(m, eta, a, adjoint=True)
        eta_bar, links_bar = self._pull_back(m, fields, a, phi_bar, adjoint=True)
        by_batch = self.by_coefficients(links, phi, phi_bar) + 2.0 * log_det_bar * self.traces(links)
        weights = 2.0 * xp.asarray(c, dtype=xp.float64)[:, None] * log_det_bar[None, :]
        links_bar = links_bar + self.traces_gradient(weights, links)
        return {"c": array_namespace(params["c"]).asarray(xp.sum(by_batch, axis=1))}, links_bar, eta_bar


@lru_cache(maxsize=256)
def taylor_exponential(c: tuple[float, ...], terms: int) -> tuple[float, ...]:
    """Taylor coefficients a_0 ... a_terms of exp(sum_k c_k z^k): j a_j = sum_k k c_k a_(j - k)."""
    a = [math.exp(c[0]) if c[0] < 700.0 else math.inf]
    for j in range(1, terms + 1):
        a.append(sum(k * c[k] * a[j - k] for k in range(1, min(j, len(c) - 1) + 1)) / j)
    return tuple(a)


@lru_cache(maxsize=256)
def chebyshev_exponential(c: tuple[float, ...], terms: int) -> tuple[float, ...]:
    """Coefficients a_0 ... a_terms of exp(sum_k c_k T_k) in Chebyshev polynomials, by interpolation at twice as many nodes."""
    xp: Any = import_module("array_api_compat.numpy")
    count = 2 * (terms + 1)
    angle = (xp.arange(count, dtype=xp.float64) + 0.5) * (math.pi / count)
    series = xp.cos(angle[:, None] * xp.arange(len(c), dtype=xp.float64)[None, :]) @ xp.asarray(c, dtype=xp.float64)
    if float(xp.max(series)) > 700.0:
        return (math.inf,) * (terms + 1)
    modes = xp.cos(xp.arange(terms + 1, dtype=xp.float64)[:, None] * angle[None, :])
    values = xp.exp(series)
    a = (2.0 / count) * (modes @ values)
    a = xp.where(xp.abs(a) > 4.0 * xp.finfo(xp.float64).eps * xp.max(values), a, 0.0)  # nothing but rounding
    return (0.5 * float(a[0]), *(float(a[j]) for j in range(1, terms + 1)))
