"""The hopping series: an exponential of a polynomial of hops, whose log-determinant is a sum of traces of closed walks.

Derivation: ``docs/derivations/conditional.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from array_api_compat import array_namespace

from gaugeflow.errors import ConvergenceError, require_finite
from gaugeflow.kernels.fermions import rows_of
from gaugeflow.lattice import Array, Lattice
from gaugeflow.operators import EvenOdd, HoppingOperator, even_odd
from gaugeflow.operators.dense import stack_length
from gaugeflow.operators.even_odd import ODD
from gaugeflow.operators.hopping import dot
from gaugeflow.typing import Params


@dataclass(frozen=True, eq=False)
class HoppingSeries:
    """phi = exp(sum_k c_k (K^dagger)^k) eta, k = 0 ... order: to M^dagger eta, or to sqrt(M^dagger M) eta.

    M is the Schur complement of odd sites, or D itself, and K = 1 - M / scale, or the Hermitian K = 1 - M^dagger M / scale.
    log det = 2 sum_k c_k Re tr K^k, and traces are exact: of unit vectors that are further apart than K^k reaches.

    Parameters
    ----------
    operator
        D, bound to links or not.
    order
        Largest power of K, at least 1.
    preconditioned
        Whether M is the Schur complement; fields then live on odd sites.
    hermitian
        Whether K is made of M^dagger M.  A power costs twice the hops; but M is not normal, and where it has modes near
        zero the other form makes some modes of M^-dagger C small as well, which weights do not forgive.
    scale
        What M, or M^dagger M, is divided by; 1 suits M in the kappa form.
    terms
        Largest number of powers of K with which the exponential, an entire function, is evaluated to rounding.

    Notes
    -----
    ``params["c"]`` is ``(order + 1,)``.  ``init`` gives the Taylor series of log(1 - K), or half of it, not the identity:
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
        if self.scale == 0.0:
            raise ValueError("scale: expected a number other than 0")
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
        """c_k = -1/k, and c_0 that makes M instead of M / scale; half of both for the square root."""
        xp: Any = import_module("array_api_compat.numpy")
        c = [math.log(abs(self.scale)), *(-1.0 / k for k in range(1, self.order + 1))]
        return {"c": xp.asarray(c, dtype=xp.float64) * (0.5 if self.hermitian else 1.0)}

    def _coefficients(self, params: Params) -> list[float]:
        c = params["c"]
        if tuple(c.shape) != (self.order + 1,):
            raise ValueError(f"c: expected shape ({self.order + 1},), got {tuple(c.shape)}")
        return [float(c[k]) for k in range(self.order + 1)]

    def _hop(self, m: EvenOdd | HoppingOperator, psi: Array, adjoint: bool) -> Array:
        """K psi."""
        image = m.adjoint(psi) if adjoint and not self.hermitian else m.apply(psi)
        image = m.adjoint(image) if self.hermitian else image
        return psi - (1.0 / self.scale) * image

    def _force(self, m: EvenOdd | HoppingOperator, left: Array, right: Array) -> Array:
        """Gradient of Re <left, K right>."""
        if not self.hermitian:
            return (-1.0 / self.scale) * m.force(left, right)
        return (-1.0 / self.scale) * (m.force(m.apply(left), right) + m.force(m.apply(right), left))

    def _powers(self, m: EvenOdd | HoppingOperator, psi: Array, a: list[float], adjoint: bool) -> list[Array]:
        """psi, K psi, ... as far as they matter in a sum with the coefficients a.

        Raises
        ------
        ConvergenceError
            If all coefficients do not suffice.
        """
        xp = array_namespace(psi)
        if not all(math.isfinite(coefficient) for coefficient in a):
            raise ConvergenceError(f"hopping series of {m.label}: coefficients are too large for an exponential")
        rounding = 0.01 * float(xp.finfo(psi.dtype).eps)
        size = float(xp.max(xp.abs(psi)))
        powers, small = [psi], 0
        for coefficient in a[1:]:
            psi = self._hop(m, psi, adjoint)
            powers.append(psi)
            largest = abs(coefficient) * float(xp.max(xp.abs(psi)))
            small = small + 1 if largest <= rounding * abs(a[0]) * size else 0
            if small > self.order:
                return powers
        raise ConvergenceError(
            f"hopping series of {m.label}: the exponential has not converged after {self.terms} powers of K"
        )

    def _sum(self, links: Array, psi: Array, c: list[float], adjoint: bool) -> Array:
        a = exponential(c, self.terms)
        powers = self._powers(self.matrix(links), psi, a, adjoint)
        total = a[0] * powers[0]
        for coefficient, power in zip(a[1:], powers[1:], strict=False):
            total = total + coefficient * power
        return total

    def apply(self, params: Params, links: Array, eta: Array) -> Array:
        """phi alone, without the traces that log_det costs."""
        return self._sum(links, eta, self._coefficients(params), adjoint=True)

    def forward(self, params: Params, links: Array, eta: Array) -> tuple[Array, Array]:
        """``(phi, log_det)``."""
        return self.apply(params, links, eta), self.log_det(params, links)

    def inverse(self, params: Params, links: Array, phi: Array) -> tuple[Array, Array]:
        """``(eta, -log_det)``: the map with the other sign of all coefficients."""
        c = [-value for value in self._coefficients(params)]
        return self._sum(links, phi, c, adjoint=True), -self.log_det(params, links)

    def log_det(self, params: Params, links: Array) -> Array:
        """2 sum_k c_k Re tr K^k, ``(batch,)``."""
        xp = array_namespace(links)
        traces = self.traces(links)
        c = xp.asarray(self._coefficients(params), dtype=xp.float64)
        return 2.0 * xp.sum(c[:, None] * traces, axis=0)

    # ---- traces ----------------------------------------------------------------------------------------------------
    def _probes(self, m: EvenOdd | HoppingOperator) -> Iterator[Array]:
        """Stacks of fields that are one in one component of sites too far apart to meet in K^order."""
        lattice, zero = self.lattice, m.zeros()
        xp = array_namespace(zero)
        rows, spin, n, lanes = (int(k) for k in zero.shape)
        sites = rows_of(lattice, ODD, zero) if self.preconditioned else xp.arange(lattice.n_blocks)
        reach = self.order * (2 if self.preconditioned else 1) * (2 if self.hermitian else 1)
        colour = xp.zeros((rows, lattice.n_folds), dtype=xp.int64)
        for mu, extent in enumerate(lattice.shape):
            stride = next(s for s in range(1, extent + 1) if extent % s == 0 and (s > reach or s == extent))
            place = xp.take(xp.asarray(lattice.coordinates[mu], dtype=xp.int64), sites, axis=0)
            colour = colour * stride + place % stride
        components = xp.eye(spin * n, dtype=zero.dtype)
        fields = []
        length = stack_length(m)
        for value in [int(v) for v in xp.unique_values(colour)]:
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

    def traces(self, links: Array) -> Array:
        """Re tr K^k, k = 0 ... order, ``(order + 1, batch)`` float64; tr 1 is the number of components."""
        m = self.matrix(links)
        xp = array_namespace(links)
        half = (self.order + 1) // 2
        total: list[Any] = [0.0] * (self.order + 1)
        for unit in self._probes(m):
            right = left = unit
            for k in range(1, self.order + 1):
                if k <= half:
                    right = self._hop(m, right, adjoint=False)
                else:
                    left = self._hop(m, left, adjoint=True)
                total[k] = total[k] + xp.sum(xp.real(dot(self.lattice, left, right)), axis=0)
            total[0] = total[0] + xp.sum(xp.real(dot(self.lattice, unit, unit)), axis=0)
        return xp.stack(total)

    def traces_gradient(self, weights: Any, links: Array) -> Array:
        """Gradient of ``sum_k weights_k Re tr K^k``, an algebra field; weights are ``(order + 1,)`` or ``(order + 1, batch)``.

        d tr K^k = k tr K^(k - 1) dK: one force for each probe.
        """
        m = self.matrix(links)
        xp = array_namespace(links)
        rows = [self._spread(weights[k], links) for k in range(self.order + 1)]
        total = xp.zeros_like(links)
        for unit in self._probes(m):
            right = self.order * rows[self.order] * unit
            for k in range(self.order - 1, 0, -1):
                right = self._hop(m, right, adjoint=False) + k * rows[k] * unit
            total = total + self._force(m, unit, right)
        return total

    def _spread(self, number: Any, like: Array) -> Any:
        """A number, or one for each configuration, that multiplies fields."""
        if isinstance(number, float) or len(number.shape) == 0:
            return float(number)
        return array_namespace(like).astype(self.lattice.spread_folds(number), like.dtype)

    # ---- derivatives -----------------------------------------------------------------------------------------------
    def by_coefficients(self, links: Array, phi: Array, phi_bar: Array) -> Array:
        """Derivatives of Re <phi_bar, phi> by the coefficients, Re <K^k phi_bar, phi>, ``(order + 1, batch)``."""
        m = self.matrix(links)
        xp = array_namespace(links)
        found = [xp.real(dot(self.lattice, phi_bar, phi))]
        for _ in range(self.order):
            phi_bar = self._hop(m, phi_bar, adjoint=False)
            found.append(xp.real(dot(self.lattice, phi_bar, phi)))
        return xp.stack(found)

    def vjp(
        self, params: Params, links: Array, eta: Array, phi: Array, phi_bar: Array, log_det_bar: Array
    ) -> tuple[Params, Array, Array]:
        """Cotangents ``(params_bar, links_bar, eta_bar)``."""
        xp = array_namespace(links)
        c = self._coefficients(params)
        a = exponential(c, self.terms)
        m = self.matrix(links)
        right = self._powers(m, phi_bar, a, adjoint=False)
        count = len(right) - 1
        left = a[count] * eta
        eta_bar = a[count] * right[count]
        links_bar = xp.zeros_like(links)
        for i in range(count - 1, -1, -1):
            links_bar = links_bar + self._force(m, left, right[i])
            left = self._hop(m, left, adjoint=True) + a[i] * eta
            eta_bar = eta_bar + a[i] * right[i]
        by_batch = self.by_coefficients(links, phi, phi_bar) + 2.0 * log_det_bar * self.traces(links)
        weights = 2.0 * xp.asarray(c, dtype=xp.float64)[:, None] * log_det_bar[None, :]
        links_bar = links_bar + self.traces_gradient(weights, links)
        c_bar = xp.sum(by_batch, axis=1)
        return {"c": array_namespace(params["c"]).asarray(c_bar)}, links_bar, eta_bar


def exponential(c: list[float], terms: int) -> list[float]:
    """Taylor coefficients a_0 ... a_terms of exp(sum_k c_k z^k): j a_j = sum_k k c_k a_(j - k)."""
    a = [math.exp(c[0]) if c[0] < 700.0 else math.inf]
    for j in range(1, terms + 1):
        a.append(sum(k * c[k] * a[j - k] for k in range(1, min(j, len(c) - 1) + 1)) / j)
    return a
