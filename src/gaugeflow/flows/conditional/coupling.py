"""Couplings of pseudofermions: sites of one parity change with the help of the other ones (arXiv:2207.08945).

Derivation: ``docs/derivations/conditional.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from operator import add
from typing import Any

from gaugeflow import kernels
from gaugeflow.kernels.fermions import sites_of
from gaugeflow.kernels.loops import Words
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators import HoppingOperator, Wilson, even_odd
from gaugeflow.operators.even_odd import joined, split
from gaugeflow.typing import Module, Params


@dataclass(frozen=True, eq=False)
class HoppingCoupling:
    """phi' = A(U) phi + B(U) K phi + C(U) K^dagger phi on the sites of one parity; K are the hops of an operator.

    A = exp(a + a' gamma_5), B = b + b' gamma_5 and C likewise differ from site to site: a network makes their numbers from
    real and imaginary parts of traces of loops.  K and K^dagger together hold every hop with and without gamma_mu.  By
    direction, sum_mu [B_mu K_mu + C_mu K_mu^dagger] takes the place of the two hops.  The Jacobian is triangular:
    log det = 2 spin N sum a.

    Parameters
    ----------
    operator
        Whose hops, boundary phases included, join the parities; bound to links or not, of at least two spin components.
    net
        From :attr:`inputs` channels to :attr:`channels`, which are a, a', and b, b', c, c', by direction in its order.  Zeros
        make the identity.
    parity
        Sites that change: 0 (even) or 1.
    words
        Loops, as closed walks (see :mod:`gaugeflow.kernels.loops`); default: plaquettes of all planes.
    by_direction
        Whether hops along every direction have numbers of their own.

    Raises
    ------
    ValueError
        If the parity is none, or the operator has no gamma_5, no parities or, by direction, no weights of directions.
    """

    operator: HoppingOperator
    net: Module
    parity: int = 1
    words: Words = field(default=())
    by_direction: bool = False

    def __post_init__(self) -> None:
        if self.parity not in (0, 1):
            raise ValueError(f"parity: expected 0 or 1, got {self.parity!r}")
        if self.operator.spin < 2:
            raise ValueError(f"HoppingCoupling: expected an operator with gamma_5, got {self.operator.label}")
        if self.by_direction and not isinstance(self.operator, Wilson):
            raise ValueError(f"by_direction: expected hops of a Wilson operator, got {self.operator.label}")
        even_odd(self.operator)
        self.operator.lattice.check_whole("HoppingCoupling")
        if not self.words:
            planes = self.operator.lattice.planes
            object.__setattr__(self, "words", tuple((m + 1, n + 1, -m - 1, -n - 1) for m, n in planes))

    @property
    def lattice(self) -> Lattice:
        """The lattice."""
        return self.operator.lattice

    @property
    def inputs(self) -> int:
        """Channels that the network sees."""
        return 2 * len(self.words)

    @property
    def channels(self) -> int:
        """Numbers at every site, which the network makes."""
        return 2 + 4 * len(self._hoppers)

    @cached_property
    def _hoppers(self) -> tuple[HoppingOperator, ...]:
        """The operator, or by direction one for each, whose other hops have the weight zero."""
        if not (self.by_direction and isinstance(self.operator, Wilson)):
            return (self.operator,)
        weights = self.operator.hopping
        return tuple(
            replace(self.operator, hopping=tuple(h if nu == mu else 0.0 for nu, h in enumerate(weights)))
            for mu in range(len(weights))
        )

    def init(self, rng: Any) -> Params:
        """Parameters of the network."""
        return self.net.init(rng)

    def _features(self, links: Array) -> Array:
        xp = array_namespace(links)
        traces = kernels.loop_traces(self.lattice, links, self.words) / links.shape[2]
        return xp.concat([xp.real(traces), xp.imag(traces)])

    @cached_property
    def _sites(self) -> list[int]:
        return [int(s) for s in sites_of(self.lattice, self.parity)]

    def _numbers(self, params: Params, features: Array) -> list[Array]:
        """The numbers at active sites, ``(rows, lanes)`` each."""
        xp = array_namespace(features)
        raw = self.net.forward(params, features)
        if raw.shape[0] != self.channels:
            raise ValueError(f"net: expected {self.channels} channels, got {raw.shape[0]}")
        at = xp.take(raw, xp.asarray(self._sites, dtype=xp.int64), axis=1)
        return [at[k, ...] for k in range(self.channels)]

    def _halves(self, psi: Array) -> tuple[Array, Array]:
        """Active and frozen rows."""
        even, odd = split(self.lattice, psi)
        return (even, odd) if self.parity == 0 else (odd, even)

    def _joined(self, active: Array, frozen: Array) -> Array:
        return joined(self.lattice, *((active, frozen) if self.parity == 0 else (frozen, active)))

    def _moved(self, links: Array, frozen: Array) -> list[Array]:
        """K and K^dagger of the frozen rows, of every hopper."""
        bound = [hopper.with_links(links) for hopper in self._hoppers]
        return [b.hops(frozen, self.parity, adjoint) for b in bound for adjoint in (False, True)]

    def _shift(self, numbers: list[Array], moved: list[Array]) -> Array:
        """What hops add to active rows."""
        pairs = zip(numbers[2::2], numbers[3::2], moved, strict=True)
        return reduce(add, (_times(b, b5, psi) for b, b5, psi in pairs))

    def _log_det(self, a: Array, n: int) -> Array:
        return 2.0 * self.operator.spin * n * sum_sites(self.lattice, a)

    def forward(self, params: Params, links: Array, eta: Array) -> tuple[Array, Array]:
        """``(phi, log_det)``; fields live on all sites."""
        numbers = self._numbers(params, self._features(links))
        a, a5 = numbers[:2]
        active, frozen = self._halves(eta)
        moved = _exp_times(a, a5, active) + self._shift(numbers, self._moved(links, frozen))
        return self._joined(moved, frozen), self._log_det(a, links.shape[2])

    def inverse(self, params: Params, links: Array, phi: Array) -> tuple[Array, Array]:
        """``(eta, -log_det)``."""
        numbers = self._numbers(params, self._features(links))
        a, a5 = numbers[:2]
        active, frozen = self._halves(phi)
        before = _exp_times(-a, -a5, active - self._shift(numbers, self._moved(links, frozen)))
        return self._joined(before, frozen), -self._log_det(a, links.shape[2])

    def vjp(
        self, params: Params, links: Array, eta: Array, phi: Array, phi_bar: Array, log_det_bar: Array
    ) -> tuple[Params, Array, Array]:
        """Cotangents ``(params_bar, links_bar, eta_bar)``."""
        xp = array_namespace(links)
        lattice, n = self.lattice, int(links.shape[2])
        features = self._features(links)
        numbers = self._numbers(params, features)
        a, a5 = numbers[:2]
        active, frozen = self._halves(eta)
        bar, frozen_bar = self._halves(phi_bar)
        moved = self._moved(links, frozen)
        none = xp.zeros_like(frozen)
        still, nothing = self._joined(none, frozen), xp.zeros_like(active)
        other = 1 - self.parity
        links_bar = xp.zeros_like(links)
        for k, hopper in enumerate(self._hoppers):
            b, b5, c, c5 = numbers[2 + 4 * k : 6 + 4 * k]
            bound = hopper.with_links(links)
            one, two = _times(b, b5, bar), _times(c, c5, bar)
            frozen_bar = frozen_bar + bound.hops(one, other, adjoint=True) + bound.hops(two, other)
            left = xp.stack([self._joined(one, nothing), still])
            right = xp.stack([still, self._joined(two, nothing)])
            links_bar = links_bar + bound.force(left, right)

        bars = []
        for image in (_exp_times(a, a5, active), *moved):
            by_spin = xp.sum(xp.real(xp.conj(bar) * image), axis=2)
            half = self.operator.spin // 2
            upper, lower = xp.sum(by_spin[:, :half, :], axis=1), xp.sum(by_spin[:, half:, :], axis=1)
            bars += [upper + lower, upper - lower]
        grown = lattice.spread_folds(2.0 * self.operator.spin * n * log_det_bar)
        bars[0] = bars[0] + xp.astype(grown, bars[0].dtype)[None, :]
        both = xp.concat([xp.stack(bars), xp.zeros_like(xp.stack(bars))], axis=1)
        rest = [s for s in range(lattice.n_blocks) if s not in set(self._sites)]
        order = xp.argsort(xp.asarray([*self._sites, *rest], dtype=xp.int64))
        raw_bar = xp.take(both, order, axis=1)
        raw = self.net.forward(params, features)
        params_bar, features_bar = self.net.vjp(params, features, raw, raw_bar)
        count = len(self.words)
        weights = (features_bar[:count, ...] - 1j * features_bar[count:, ...]) / n
        weights = xp.astype(weights, links.dtype)
        links_bar = links_bar + kernels.loop_gradient(lattice, links, self.words, weights)
        return params_bar, links_bar, self._joined(_exp_times(a, a5, bar), frozen_bar)


def _times(number: Array, chiral: Array, psi: Array) -> Array:
    """(number + chiral gamma_5) psi, numbers ``(rows, lanes)``."""
    xp = array_namespace(psi)
    half = psi.shape[1] // 2
    upper, lower = (xp.astype(x, psi.dtype)[:, None, None, :] for x in (number + chiral, number - chiral))
    return xp.concat([upper * psi[:, :half, ...], lower * psi[:, half:, ...]], axis=1)


def _exp_times(number: Array, chiral: Array, psi: Array) -> Array:
    """exp(number + chiral gamma_5) psi."""
    xp = array_namespace(psi)
    upper, lower = xp.exp(number + chiral), xp.exp(number - chiral)
    return _times(0.5 * (upper + lower), 0.5 * (upper - lower), psi)
