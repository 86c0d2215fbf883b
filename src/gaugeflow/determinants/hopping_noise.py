"""Traces, gradients and Laplacians of log det D by noise, for Wilson quarks, without the noise of short loops.

D = t (1 - H) with hops H.  A noise vector eta estimates D^-1 by psi eta^dagger, psi = D^-1 eta.  The first terms of the hopping
series D^-1 = (1 + H + H^2 + ...) / t have traces, and forces, that vanish or are sums of plaquettes: their noise is left out
and the plaquettes are added exactly (hep-lat/9707001).  See ``docs/derivations/determinants.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gaugeflow import kernels
from gaugeflow.determinants.laplacian import check_operator
from gaugeflow.determinants.stochastic import roots
from gaugeflow.kernels.fermions import BOTH
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.hopping import dot
from gaugeflow.operators.wilson import Wilson
from gaugeflow.random import Rng, Streams
from gaugeflow.sites.dirac import gamma
from gaugeflow.solvers import solve


@dataclass(frozen=True, eq=False)
class HoppingNoise:
    """Some noise vectors and the solutions for them; everything made of one vector is unbiased.

    Where two numbers of the same configuration are multiplied they must come from different vectors.

    Parameters
    ----------
    operator
        D: Wilson without clover term and twisted mass, even extents of 4 or more, no fold.
    eta
        Noise of fourth roots of one, a stack of R fields on all sites.
    terms
        H^j psi for j = 0 ... 5.
    """

    operator: Wilson
    eta: Array
    terms: tuple[Array, ...]

    @property
    def _order(self) -> int:
        """Shortest loops that are left to the noise: on extents of 4 the others would wind around the lattice."""
        return 6 if min(self.operator.lattice.shape) > 4 else 4

    def _plaquettes(self) -> Array:
        """The part of log det D that is made of plaquettes, ``(n_planes,)``: factors of sums of Re tr P."""
        lattice, operator = self.operator.lattice, self.operator
        if self._order == 4:
            return [0.0] * len(lattice.planes)
        ratio = 0.5 * operator.norm / operator.diagonal_number
        h = operator.hopping
        return [4.0 * operator.spin * ratio**4 * h[mu] ** 2 * h[nu] ** 2 for mu, nu in lattice.planes]

    @cached_property
    def traces(self) -> Array:
        """tr D^-1, one estimate for every vector, ``(R, batch)`` float64."""
        lattice, t = self.operator.lattice, self.operator.diagonal_number
        xp = array_namespace(self.eta)
        _, spin, n, _ = self.operator.field_shape()
        sums = kernels.plaquette(lattice, self.operator.bound) * (n * lattice.volume)
        weights = xp.asarray(self._plaquettes(), dtype=xp.float64)[:, None]
        exact = lattice.volume * spin * n - 4.0 * xp.sum(weights * sums, axis=0)  # tr H^4 = -4 times order 4 of log det
        last = _hop(self.operator, self.terms[5]) if self._order == 6 else self.terms[4]
        return exact[None, :] / t + xp.real(dot(lattice, self.eta, last))

    @cached_property
    def gradients(self) -> tuple[Array, ...]:
        """Gradients of ``log |det D|``, an algebra field for every vector."""
        lattice, operator = self.operator.lattice, self.operator
        n = int(operator.bound.shape[2])
        exact = kernels.wilson_force(lattice, operator.bound, [-n * w for w in self._plaquettes()])
        rest = self.terms[self._order - 1]
        return tuple(exact + operator.force(self.eta[k, ...], rest[k, ...]) for k in range(self.eta.shape[0]))

    @property
    def gradient(self) -> Array:
        """Their mean."""
        total: Any = sum(self.gradients[1:], self.gradients[0])
        return total / len(self.gradients)

    @cached_property
    def laplacian(self) -> Array:
        """Laplacian of ``log |det D|``, ``(batch,)`` float64, from all pairs of different vectors.

        Raises
        ------
        ValueError
            If there is one vector only.
        """
        count = self.eta.shape[0]
        if count < 2:
            raise ValueError("Laplacian by noise: expected 2 vectors or more, got 1")
        operator = self.operator
        lattice, links = operator.lattice, operator.bound
        lattice.check_whole("Laplacian by noise")
        xp = array_namespace(links)
        n = int(links.shape[2])
        part = 1.0 / n if n > 1 else 0.0
        kappa = 0.5 * operator.norm
        rows, spin, _, _ = operator.field_shape()
        size = rows * spin * n
        # the first term, -C tr D^-1 (D - t), is linear in D^-1
        trace = xp.mean(self.traces, axis=0)
        total = 0.5 * (n - part) * (operator.diagonal_number * trace - size)
        eta, psi = self.eta, self.terms[3]
        pairs = count * (count - 1)
        for mu in range(lattice.ndim):
            ahead = xp.asarray(lattice.neighbour[mu, 0, :], dtype=xp.int64)
            f = xp.asarray(self._factors[mu, :], dtype=links.dtype)[:, None, None, None]
            weight = abs(f[:, 0, 0, :]) ** 2
            u = links[mu, ...][:, None, ...]

            def moved(x: Array, u: Array = u, ahead: Array = ahead) -> Array:
                """U x(s + mu) at s."""
                return xp.sum(u * xp.take(x, ahead, axis=0)[:, :, None, :, :], axis=3)

            vectors = []
            for k in range(count):
                far_psi, far_eta = moved(psi[k, ...]), moved(eta[k, ...])
                minus, plus = (_spin(xp, lattice.ndim, mu, s, x) for s, x in ((-1.0, eta[k, ...]), (1.0, psi[k, ...])))
                vectors.append((f * far_psi, minus, plus, far_psi, far_eta))
            for i in range(count):
                for j in range(i):
                    (a, b, p, q, r), (a2, b2, p2, q2, r2) = vectors[i], vectors[j]
                    same = _generators(xp, (a, b), (a2, b2), part)
                    cross = _generators(xp, (p, b), (q2, r2), part) + _generators(xp, (p2, b2), (q, r), part)
                    density = xp.real(-4.0 * same + 2.0 * weight * cross) * (kappa**2 / pairs)
                    total = total + xp.sum(density, axis=0)
        return total

    @property
    def _factors(self) -> Any:
        operator = self.operator
        assert operator.boundary is not None
        return operator.lattice.boundary_phase(operator.boundary)[..., 0] * operator.hop_weights[..., 0]


def hopping_noise(
    rng: Rng | Streams,
    operator: Wilson,
    vectors: Sequence[int] | int,
    *,
    tolerance: float = 1e-8,
    max_iterations: int = 10000,
) -> HoppingNoise:
    """Draw noise and solve D psi = eta.

    Parameters
    ----------
    rng
        Place in the tree of random streams; every vector has a stream of its own.
    operator
        D, bound to links.
    vectors
        Numbers of the vectors, or how many.
    tolerance, max_iterations
        Of the solver.

    Returns
    -------
    HoppingNoise
        The vectors with their solutions.

    Raises
    ------
    ValueError
        If the operator or its lattice is of another kind, or there is no vector.
    ConvergenceError
        If a system does not converge.
    """
    check_operator(operator)
    numbers = range(vectors) if isinstance(vectors, int) else vectors
    if not len(numbers):
        raise ValueError("hopping_noise: expected at least one vector, got none")
    eta = roots(rng, operator, numbers)
    terms = [solve(operator, eta, tolerance=tolerance, max_iterations=max_iterations).x]
    for _ in range(5):
        terms.append(_hop(operator, terms[-1]))
    return HoppingNoise(operator, eta, tuple(terms))


def _hop(operator: Wilson, psi: Array) -> Array:
    """H psi = -T^-1 K psi."""
    return -operator.eliminate(psi, BOTH)


def _spin(xp: Any, ndim: int, mu: int, sign: float, psi: Array) -> Array:
    """(1 + sign gamma_mu) psi."""
    rows = [psi[:, i, ...] + (sign * number) * psi[:, j, ...] for i, (j, number) in enumerate(gamma(ndim, mu))]
    return xp.stack(rows, axis=1)


def _generators(xp: Any, one: tuple[Array, Array], two: tuple[Array, Array], part: float) -> Array:
    """sum_a tr T_a A T_a B of A = a b^dagger and B = c d^dagger at every site, ``(sites, lanes)``."""
    (a, b), (c, d) = one, two

    def spins(x: Array, y: Array) -> Array:
        return xp.sum(x[:, :, None, :, :] * xp.conj(y)[:, None, :, :, :], axis=3)

    product = xp.sum(spins(a, b) * xp.permute_dims(spins(c, d), (0, 2, 1, 3)), axis=(1, 2))
    if part:
        product = product - part * xp.sum(xp.conj(b) * c, axis=(1, 2)) * xp.sum(xp.conj(d) * a, axis=(1, 2))
    return -0.5 * product
