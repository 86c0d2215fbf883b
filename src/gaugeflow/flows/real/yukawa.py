"""Couplings of a scalar field and the pseudofermions of staggered quarks that it gives their mass (arXiv:2106.05934).

Both use the free propagator P of :class:`gaugeflow.operators.Yukawa` to make what steers them: networks learn
coefficients of order one, and long distances are in the propagator.  They respect the symmetries of the theory: the phase
of pseudofermions, translations (with staggered signs, which P brings), and for pseudofermions phi -> -phi.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gaugeflow import nn
from gaugeflow.flows.chain import Chain
from gaugeflow.flows.real.conditional import JointCoupling, Steering
from gaugeflow.lattice import Array, IntArray
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators import Yukawa
from gaugeflow.operators.even_odd import EVEN, ODD
from gaugeflow.typing import Flow, Module, Params


@dataclass(frozen=True)
class ScalarCoupling(JointCoupling):
    """Changes the scalar field on one parity; frozen are the other parity and all pseudofermions.

    With the active field at zero, N = 1 for any g, so that minus the force of pseudofermions is there exactly

        h_o = 2 g^2 Re chi^* (P phi_e v),  or  h_e = 2 g^2 Re v^* (P^T phi_o chi),    v = P^T chi.

    A network makes s and t from three channels: the frozen field, h on active sites, and ``|chi|^2`` on odd sites and
    ``|v|^2`` on even ones.

    Parameters
    ----------
    lattice
        The lattice of the operator.
    operator
        N, unbound.
    net
        From three channels to two, r = s and t.
    parity
        Parity of active sites.

    Raises
    ------
    ValueError
        If the parity is not 0 or 1.
    """

    operator: Yukawa
    net: Module
    parity: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parity not in (EVEN, ODD):
            raise ValueError(f"parity: expected 0 or 1, got {self.parity!r}")

    def init(self, rng: Any) -> Params:
        """Parameters of the network."""
        return self.net.init(rng)

    @cached_property
    def _sites(self) -> tuple[IntArray, IntArray]:
        return self.lattice.sites_of_parity(EVEN), self.lattice.sites_of_parity(ODD)

    @property
    def active(self) -> IntArray:
        """The scalar field of one parity."""
        return 2 * self._sites[self.parity]

    def steer(self, params: Params, frozen: Array) -> Steering:
        """Scales and shifts by the network."""
        xp = array_namespace(frozen)
        lanes = frozen.shape[-1]
        even, odd = (xp.asarray(s, dtype=xp.int64) for s in self._sites)
        order = xp.argsort(xp.concat([even, odd]))
        p = xp.asarray(self.operator.propagator)
        pt = xp.matrix_transpose(p)
        g2 = 2.0 * self.operator.coupling**2
        x = xp.reshape(frozen, (-1, 2, lanes))
        source = odd if self.parity == EVEN else even  # sites of the frozen scalar field
        phi = xp.take(x[:, 0, :], source, axis=0)
        chi = xp.stack([xp.take(x[:, 1, :], s, axis=0) for s in (odd, even)])  # real and imaginary parts
        v = xp.matmul(pt, chi)
        # near is what stands at active sites, far what the frozen field multiplies, hop leads from there to active sites
        near, far, hop = (v, chi, pt) if self.parity == EVEN else (chi, v, p)
        response = xp.matmul(hop, phi * far)
        h = g2 * xp.sum(near * response, axis=0)
        size = xp.concat([xp.sum(v * v, axis=0), xp.sum(chi * chi, axis=0)], axis=0)

        def spread(at_active: Array, at_frozen: Array) -> Array:
            parts = [at_active, at_frozen] if self.parity == EVEN else [at_frozen, at_active]
            return xp.take(xp.concat(parts, axis=0), order, axis=0)

        nothing = xp.zeros_like(phi)
        channels = xp.stack([spread(nothing, phi), spread(h, nothing), xp.take(size, order, axis=0) - 1.0])
        out, net_pull_back = nn.forward_and_pull_back(self.net, params, channels)
        here = even if self.parity == EVEN else odd
        s, t = (xp.take(out[k, ...], here, axis=0) for k in (0, 1))

        def pull_back(s_bar: Array, t_bar: Array) -> tuple[Params, Array]:
            bars = xp.stack([spread(s_bar, nothing), spread(t_bar, nothing)])
            params_bar, channels_bar = net_pull_back(bars)
            phi_bar = xp.take(channels_bar[0, ...], source, axis=0)
            h_bar = g2 * xp.take(channels_bar[1, ...], here, axis=0)
            v_size, chi_size = (2.0 * xp.take(channels_bar[2, ...], k, axis=0) for k in (even, odd))
            back = xp.matmul(xp.matrix_transpose(hop), h_bar * near)
            phi_bar = phi_bar + xp.sum(far * back, axis=0)
            near_bar, far_bar = h_bar * response, phi * back
            v_bar, chi_bar = (near_bar, far_bar) if self.parity == EVEN else (far_bar, near_bar)
            v_bar = v_bar + v_size * v
            chi_bar = chi_bar + chi_size * chi + xp.matmul(p, v_bar)
            stored = xp.take(xp.concat([chi_bar[1, ...], chi_bar[0, ...]], axis=0), order, axis=0)
            joint = xp.stack([spread(nothing, phi_bar), stored], axis=1)
            return params_bar, xp.reshape(joint, (2 * self.lattice.volume, lanes))

        return Steering(s, t, pull_back)


HOPS: dict[str, tuple[tuple[int, int], ...]] = {
    "time": tuple((a, b) for a in (-3, -1, 1, 3) for b in (-3, -1, 1, 3) if abs(a * b) < 9),
    "checkerboard": ((-2, 0), (2, 0), (0, -2), (0, 2)),
    "double time": ((-2, -2), (-2, 2), (2, -2), (2, 2)),
}
"""Hops between the two halves of the odd sites that are told apart by t, by t / 2 + x / 2, or by t / 2, modulo 2."""


@dataclass(frozen=True)
class PseudofermionCoupling(JointCoupling):
    """Changes pseudofermions on one half of the odd sites, linearly; frozen are the other half and the scalar field.

        chi_y -> exp(s_y) chi_y + sum_h r_h(y) E_h(y) chi_(y + h),
        E_h(y) = [N + N^T]_(y, y + h) = g^2 (phi_y + phi_(y + h)) sum_x P_yx P_(y + h, x) phi_x.

    A network makes s and r_h from two channels, both even in phi: phi^2, and phi_y sum_x P_yx^2 phi_x, which on odd sites is
    the diagonal of N - 1 over g^2.  Pseudofermions chi = N^T eta with Gaussian eta have the covariance N^T N = 1 + E + ...:
    to first order in g^2 the perfect coupling has r_h = 1.

    Parameters
    ----------
    lattice
        The lattice of the operator, two-dimensional; all partitions but "time" need extents that 4 divides.
    operator
        N, unbound.
    net
        From two channels to one more than there are hops.
    partition
        How odd sites are cut in two, a key of ``HOPS``.
    side
        0 or 1: which half is active.

    Raises
    ------
    ValueError
        If the partition is unknown, the side is not 0 or 1, or the lattice does not suit.
    """

    operator: Yukawa
    net: Module
    partition: str = "time"
    side: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.partition not in HOPS:
            raise ValueError(f"partition: expected one of {sorted(HOPS)}, got {self.partition!r}")
        if self.side not in (0, 1):
            raise ValueError(f"side: expected 0 or 1, got {self.side!r}")
        step = 2 if self.partition == "time" else 4
        if self.lattice.ndim != 2 or any(n % step for n in self.lattice.shape):
            raise ValueError(
                f"partition {self.partition!r}: expected two extents that {step} divides, got {self.lattice.shape}"
            )

    def init(self, rng: Any) -> Params:
        """Parameters of the network."""
        return self.net.init(rng)

    @cached_property
    def _sites(self) -> tuple[IntArray, IntArray]:
        return self.lattice.sites_of_parity(EVEN), self.lattice.sites_of_parity(ODD)

    @cached_property
    def _targets(self) -> tuple[IntArray, IntArray]:
        """Numbers, among odd sites, of active ones, and of those that each hop leads to, ``(hops, active)``."""
        xp = array_namespace(self._sites[ODD])
        t, x = (c[self._sites[ODD], 0] for c in self.lattice.coordinates)
        colour = {"time": t, "checkerboard": t // 2 + x // 2, "double time": t // 2}[self.partition] % 2
        rows = xp.nonzero(colour == self.side)[0]
        extent_t, extent_x = self.lattice.shape
        number = xp.zeros(self.lattice.volume, dtype=xp.int64)
        number[self._sites[ODD]] = xp.arange(self.lattice.volume // 2)
        ends = [number[(t[rows] + a) % extent_t * extent_x + (x[rows] + b) % extent_x] for a, b in HOPS[self.partition]]
        return rows, xp.stack(ends)

    @cached_property
    def _places(self) -> IntArray:
        """For active sites, then for every hop: where each odd site stands among those that are reached, or the end."""
        rows, ends = self._targets
        xp = array_namespace(rows)
        tables = xp.concat([rows[None, :], ends])
        places: IntArray = xp.full((tables.shape[0], self.lattice.volume // 2), rows.shape[0], dtype=xp.int64)
        for table, place in zip(tables, places, strict=True):
            place[table] = xp.arange(rows.shape[0])
        return places

    @property
    def active(self) -> IntArray:
        """Real parts, then imaginary parts, of the active pseudofermions."""
        even, odd = self._sites
        rows, _ = self._targets
        result: IntArray = array_namespace(odd).concat([2 * odd[rows] + 1, 2 * even[rows] + 1])
        return result

    @cached_property
    def _products(self) -> Array:
        """g^2 P_yx P_(y + h, x), ``(hops, active, volume / 2)``."""
        p = self.operator.propagator
        rows, ends = self._targets
        return self.operator.coupling**2 * p[rows, :][None, ...] * p[ends, :]

    def steer(self, params: Params, frozen: Array) -> Steering:
        """Scales by the network, shifts linear in the frozen pseudofermions."""
        xp = array_namespace(frozen)
        lanes = frozen.shape[-1]
        even, odd = (xp.asarray(s, dtype=xp.int64) for s in self._sites)
        order = xp.argsort(xp.concat([even, odd]))
        rows, ends = (xp.asarray(k, dtype=xp.int64) for k in self._targets)
        places = xp.asarray(self._places, dtype=xp.int64)
        products = xp.asarray(self._products)
        squares = xp.asarray(self.operator.propagator) ** 2
        x = xp.reshape(frozen, (-1, 2, lanes))
        phi = x[:, 0, :]
        phi_even, phi_odd = xp.take(phi, even, axis=0), xp.take(phi, odd, axis=0)
        chi = xp.stack([xp.take(x[:, 1, :], s, axis=0) for s in (odd, even)])  # real and imaginary parts

        def in_order(at_even: Array, at_odd: Array) -> Array:
            return xp.take(xp.concat([at_even, at_odd], axis=0), order, axis=0)

        def near(at_even: Array, at_odd: Array) -> Array:
            """sum_x P_yx^2 phi_x on odd sites, and its transpose."""
            return in_order(xp.matmul(xp.matrix_transpose(squares), at_odd), xp.matmul(squares, at_even))

        local = near(phi_even, phi_odd)
        out, net_pull_back = nn.forward_and_pull_back(self.net, params, xp.stack([phi * phi, phi * local]))
        out = xp.take(out, xp.take(odd, rows), axis=1)
        s, r = out[0, ...], out[1:, ...]
        both = xp.take(phi_odd, rows, axis=0)[None, ...] + _rows(phi_odd, ends)
        kernel = xp.matmul(products, phi_even)
        entries = both * kernel  # E_h
        reached = xp.stack([_rows(c, ends) for c in (chi[0, ...], chi[1, ...])])  # (2, hops, active, lanes)
        t = xp.sum((r * entries)[None, ...] * reached, axis=1)

        def pull_back(s_bar: Array, t_bar: Array) -> tuple[Params, Array]:
            active = rows.shape[0]
            t_bars = xp.reshape(t_bar, (2, active, lanes))
            weight_bar = xp.sum(t_bars[:, None, ...] * reached, axis=0)  # of r E
            chi_bar = [_scattered(t_bars[c, ...][None, ...] * (r * entries), places[1:, :]) for c in (0, 1)]
            out_bar = xp.concat(
                [xp.sum(xp.reshape(s_bar, (2, active, lanes)), axis=0)[None, ...], weight_bar * entries]
            )
            at_odd = [_scattered(out_bar[k : k + 1, ...], places[:1, :]) for k in range(out_bar.shape[0])]
            nothing = xp.zeros_like(phi_even)
            params_bar, channels_bar = net_pull_back(xp.stack([in_order(nothing, bar) for bar in at_odd]))
            square_bar, local_bar = channels_bar[0, ...], channels_bar[1, ...]
            moved = phi * local_bar
            back = near(xp.take(moved, even, axis=0), xp.take(moved, odd, axis=0))
            phi_bar = 2.0 * phi * square_bar + local * local_bar + back
            entries_bar = weight_bar * r
            both_bar = entries_bar * kernel
            odd_bar = _scattered(xp.concat([xp.sum(both_bar, axis=0)[None, ...], both_bar]), places)
            even_bar = xp.sum(xp.matmul(xp.matrix_transpose(products), entries_bar * both), axis=0)
            phi_bar = phi_bar + in_order(even_bar, odd_bar)
            joint = xp.stack([phi_bar, in_order(chi_bar[1], chi_bar[0])], axis=1)
            return params_bar, xp.reshape(joint, (2 * self.lattice.volume, lanes))

        return Steering(xp.concat([s, s], axis=0), xp.reshape(t, (-1, lanes)), pull_back)


def _rows(field: Array, numbers: Array) -> Array:
    """Rows of a field ``(n, lanes)`` by a table of numbers of any shape."""
    xp = array_namespace(field)
    return xp.reshape(xp.take(field, xp.reshape(numbers, (-1,)), axis=0), (*numbers.shape, field.shape[-1]))


def _scattered(values: Array, places: Array) -> Array:
    """Transpose of :func:`_rows`: values ``(tables, active, lanes)`` are added to the rows that their numbers name.

    Every number occurs once in a table at most; ``places`` says where, or one past the end: ``(tables, n)``.
    """
    xp = array_namespace(values)
    padded = xp.concat([values, xp.zeros_like(values[:, :1, :])], axis=1)
    result = xp.take(padded[0, ...], places[0, :], axis=0)
    for k in range(1, values.shape[0]):
        result = result + xp.take(padded[k, ...], places[k, :], axis=0)
    return result


def pseudofermion_chain(operator: Yukawa, partitions: Sequence[str], hidden: Sequence[int] = (8,)) -> Chain:
    """Pseudofermion couplings, for every partition in turn one with each half active.

    Parameters
    ----------
    operator
        N, unbound.
    partitions
        Keys of ``HOPS``.
    hidden
        Channels between the convolutions of the networks, which compute in single precision.

    Raises
    ------
    ValueError
        If there is no partition, or the lattice does not suit one.
    """
    flows: list[Flow] = []
    for partition in partitions:
        sizes = (2, *hidden, 1 + len(HOPS.get(partition, ())))
        net = nn.SinglePrecision(nn.convolutional(operator.lattice, sizes))
        flows += [PseudofermionCoupling(operator.lattice, operator, net, partition, side) for side in (0, 1)]
    return Chain(tuple(flows))


def scalar_chain(operator: Yukawa, layers: int, hidden: Sequence[int] = (8, 8)) -> Chain:
    """Scalar couplings of alternating parity; networks compute in single precision.

    Raises
    ------
    ValueError
        If there is no layer.
    """
    net = nn.SinglePrecision(nn.convolutional(operator.lattice, (3, *hidden, 2)))
    return Chain(tuple(ScalarCoupling(operator.lattice, operator, net, i % 2) for i in range(layers)))
