"""Affine couplings of real fields on a checkerboard (real NVP, arXiv:1605.08803; on the lattice arXiv:1904.12072)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gaugeflow import nn
from gaugeflow.errors import require_finite
from gaugeflow.flows.chain import Chain
from gaugeflow.flows.evaluation import Evaluation
from gaugeflow.flows.real.pointwise import SinhArcsinh
from gaugeflow.kernels.scalar import check_scalar
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, IntArray, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Flow, Module, Params


@dataclass(frozen=True)
class AffineCoupling:
    """y = exp(s) x + t on active sites and y = x on frozen ones; a network makes s and t from the frozen field.

    Parameters
    ----------
    lattice
        The lattice; with all extents even.
    net
        From one channel, the field with zeros on active sites, to two: r and t.  One that is zero at first makes the
        identity.
    parity
        Sum of the coordinates, modulo 2, of active sites.
    bound
        Largest log-scale: s = bound tanh(r / bound).  The default, infinity, takes s = r.

    Raises
    ------
    ValueError
        If an extent is odd, or ``bound`` is not positive.
    """

    lattice: Lattice
    net: Module
    parity: int = 0
    bound: float = math.inf

    def __post_init__(self) -> None:
        require_finite(self, "bound", infinite=True)
        if not self.bound > 0.0:
            raise ValueError(f"AffineCoupling: expected bound > 0, got {self.bound}")
        self.lattice.sites_of_parity(self.parity)

    def init(self, rng: Any) -> Params:
        """Parameters of the network."""
        return self.net.init(rng)

    @cached_property
    def _sites(self) -> tuple[IntArray, IntArray]:
        """Active and frozen sites."""
        return self.lattice.sites_of_parity(self.parity), self.lattice.sites_of_parity(1 - self.parity)

    def _split(self, x: Array) -> tuple[Array, Array]:
        """The field on active and on frozen sites."""
        xp = array_namespace(x)
        active, frozen = (xp.take(x, xp.asarray(s, dtype=xp.int64), axis=0) for s in self._sites)
        return active, frozen

    def _join(self, active: Array, frozen: Array) -> Array:
        """Inverse of :meth:`_split`, on the site axis before the lanes."""
        xp = array_namespace(active)
        order = xp.argsort(xp.concat([xp.asarray(s, dtype=xp.int64) for s in self._sites]))
        return xp.take(xp.concat([active, frozen], axis=-2), order, axis=-2)

    def _input(self, frozen: Array) -> Array:
        return self._join(array_namespace(frozen).zeros_like(frozen), frozen)[None, ...]

    def _outputs(self, out: Array) -> tuple[Array, Array]:
        """s and t on active sites."""
        xp = array_namespace(out)
        if tuple(out.shape[:-1]) != (2, self.lattice.n_blocks):
            raise ValueError(
                f"AffineCoupling: expected two channels on {self.lattice.n_blocks} sites from the network, got an "
                f"array of shape {tuple(out.shape)}"
            )
        r, t = (xp.take(out[k, ...], xp.asarray(self._sites[0], dtype=xp.int64), axis=0) for k in (0, 1))
        return (r if math.isinf(self.bound) else self.bound * xp.tanh(r / self.bound)), t

    def _log_det(self, s: Array) -> Array:
        return sum_sites(self.lattice, s)

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        """``(y, log_det)``."""
        check_scalar(self.lattice, x)
        xp = array_namespace(x)
        active, frozen = self._split(x)
        s, t = self._outputs(self.net.forward(params, self._input(frozen)))
        return self._join(xp.exp(s) * active + t, frozen), self._log_det(s)

    def inverse(self, params: Params, y: Array) -> tuple[Array, Array]:
        """``(x, -log_det)``; exact."""
        check_scalar(self.lattice, y)
        xp = array_namespace(y)
        active, frozen = self._split(y)
        s, t = self._outputs(self.net.forward(params, self._input(frozen)))
        return self._join((active - t) * xp.exp(-s), frozen), -self._log_det(s)

    def evaluate(self, params: Params, x: Array) -> Evaluation:
        """As :func:`gaugeflow.flows.evaluate`; the network is evaluated once (``docs/derivations/networks.md``)."""
        check_scalar(self.lattice, x)
        xp = array_namespace(x)
        active, frozen = self._split(x)
        out, net_pull_back = nn.forward_and_pull_back(self.net, params, self._input(frozen))
        s, t = self._outputs(out)
        scale = xp.exp(s)

        def through_net(s_bar: Array, t_bar: Array) -> tuple[Params, Array]:
            r_bar = s_bar if math.isinf(self.bound) else s_bar * (1.0 - (s / self.bound) ** 2)
            nothing = xp.zeros_like(frozen)
            bars = xp.stack([self._join(r_bar, nothing), self._join(t_bar, nothing)])
            params_bar, input_bar = net_pull_back(bars)
            return params_bar, self._split(input_bar[0, ...])[1]

        def pull_back(y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
            active_bar, frozen_bar = self._split(y_bar)
            s_bar = active_bar * scale * active + xp.astype(self.lattice.spread_folds(log_det_bar), x.dtype)
            params_bar, more = through_net(s_bar, active_bar)
            return params_bar, self._join(active_bar * scale, frozen_bar + more)

        def push_score(score: Array) -> Array:
            active_score, frozen_score = self._split(score)
            pushed = active_score / scale
            _, more = through_net(-active_score * active - 1.0, -pushed)
            return self._join(pushed, frozen_score + more)

        return Evaluation(self._join(scale * active + t, frozen), self._log_det(s), pull_back, push_score)

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
        """Cotangents of parameters and of x."""
        return self.evaluate(params, x).pull_back(y_bar, log_det_bar)

    def push_score(self, params: Params, x: Array, y: Array, score: Array) -> Array:
        """Gradient of the log-density of ``y = f(x)`` from that of x."""
        return self.evaluate(params, x).push_score(score)


def affine_chain(
    lattice: Lattice,
    layers: int,
    hidden: Sequence[int] = (8, 8),
    *,
    kernel: int = 3,
    bound: float = math.inf,
    activation: Module | None = None,
    single_precision: bool = True,
    pointwise: bool = False,
) -> Chain:
    """Affine couplings of alternating parity, each with a convolutional network of its own.

    Parameters
    ----------
    lattice
        The lattice.
    layers
        Number of couplings.
    hidden
        Channels between the convolutions.
    kernel
        Extent of all kernels.
    bound
        As for :class:`AffineCoupling`.
    activation
        Between convolutions (default: :class:`gaugeflow.nn.LeakyRelu`).
    single_precision
        Whether networks compute in single precision; fields and log-determinants follow the field that comes in.

    pointwise
        Whether a :class:`SinhArcsinh` comes first and after every second coupling.

    Raises
    ------
    ValueError
        If there is no layer.
    """
    net: Module = nn.convolutional(lattice, (1, *hidden, 2), kernel=kernel, activation=activation)
    if single_precision:
        net = nn.SinglePrecision(net)
    flows: list[Flow] = []
    for i in range(layers):
        if pointwise and i % 2 == 0:
            flows.append(SinhArcsinh(lattice))
        flows.append(AffineCoupling(lattice, net, i % 2, bound))
    if pointwise:
        flows.append(SinhArcsinh(lattice))
    return Chain(tuple(flows))
