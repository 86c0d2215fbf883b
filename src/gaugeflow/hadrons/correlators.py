"""Two-point functions of mesons, with momenta, for any boundary phases."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product as tuples
from typing import Any

from gaugeflow.errors import whole_numbers
from gaugeflow.hadrons.baryons import NUCLEONS, nucleon_density
from gaugeflow.hadrons.gammas import bar, gamma_5, meson_structures, product
from gaugeflow.hadrons.propagators import Propagator
from gaugeflow.kernels.sums import sum_slices
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.dirac import SpinMatrix, spin_components


@dataclass(frozen=True, eq=False)
class Correlators:
    """Two-point functions as one array with named axes.

    Parameters
    ----------
    values
        ``(channel, momentum, time, batch)`` complex128; time counts from the source.
    channels
        Names along the first axis.
    momenta
        Integers n along the second axis, one for each spatial direction (z, y, x in four dimensions): p = 2 pi n / extent,
        plus twists of the boundary.
    """

    values: Array
    channels: tuple[str, ...]
    momenta: tuple[tuple[int, ...], ...]

    axes = ("channel", "momentum", "time", "batch")

    def __getitem__(self, channel: str) -> Array:
        """One channel, ``(momentum, time, batch)``."""
        if channel not in self.channels:
            raise KeyError(f"channel: expected one of {self.channels}, got {channel!r}")
        return self.values[self.channels.index(channel), ...]


def momenta_up_to(ndim: int, n_squared: int) -> tuple[tuple[int, ...], ...]:
    """All integer momenta of ndim - 1 directions with squares up to ``n_squared``, the shortest first."""
    if n_squared < 0:
        raise ValueError(f"momenta: expected a largest square of 0 or more, got {n_squared}")
    reach = range(-math.isqrt(n_squared), math.isqrt(n_squared) + 1)
    every = (n for n in tuples(reach, repeat=ndim - 1) if sum(k * k for k in n) <= n_squared)
    return tuple(sorted(every, key=lambda n: (sum(k * k for k in n), [-k for k in n])))


def two_point(
    quark: Propagator,
    antiquark: Propagator | None = None,
    *,
    channels: Sequence[str] = ("pion", "rho", "a0"),
    momenta: Sequence[Sequence[int]] = (),
) -> Correlators:
    """Correlators of mesons and of the nucleon at zero and other momenta.

    Parameters
    ----------
    quark
        Propagator of the quark.
    antiquark
        Propagator from the same source whose gamma_5 S^dagger gamma_5 runs backwards (default: the quark); with twisted
        mass that of the opposite one.  Nucleons are made of ``quark`` alone.
    channels
        Names: mesons of :func:`gaugeflow.hadrons.meson_structures`, products of gamma matrices such as ``"g1g5"``,
        ``"nucleon"`` and ``"nucleon_minus"``.
    momenta
        Integers for every spatial direction (default: zero momentum), see :func:`momenta_up_to`.

    Returns
    -------
    Correlators
        Mesons: C(p, t) = -sum_x exp(-i p (x - x_0)) tr[Gamma S(x) Gamma-bar gamma_5 S(x)^dagger gamma_5] with
        Gamma-bar = gamma_0 Gamma^dagger gamma_0, averaged over the matrices of the channel: <O O^dagger> without
        disconnected parts, positive where reflection positivity holds.  The pion is sum_x tr S S^dagger.

    Raises
    ------
    ValueError
        If the two propagators do not belong together, or a channel does not exist.
    """
    other = quark if antiquark is None else antiquark
    if tuple(other.field.shape) != tuple(quark.field.shape) or other.origin != quark.origin:
        raise ValueError(
            f"antiquark: expected fields {tuple(quark.field.shape)} from {quark.origin}, "
            f"got {tuple(other.field.shape)} from {other.origin}"
        )
    lattice = quark.lattice
    if quark.field.shape[2] != spin_components(lattice.ndim):
        raise ValueError(
            f"two_point: expected Dirac spinors of {spin_components(lattice.ndim)} components, got {quark.field.shape[2]}"
        )
    wanted = tuple(whole_numbers("momentum", n) for n in momenta) or ((0,) * (lattice.ndim - 1),)
    for n in wanted:
        if len(n) != lattice.ndim - 1:
            raise ValueError(f"momentum: expected {lattice.ndim - 1} integers, one for each spatial direction, got {n}")
    pair = tuple(a * b.conjugate() for a, b in zip(quark.boundary, other.boundary, strict=True))
    three = tuple(a**3 for a in quark.boundary)
    result = []
    for channel in channels:
        if channel in NUCLEONS:
            density, phases, norm = nucleon_density(quark, channel), three, 1.0
        else:
            matrices = meson_structures(lattice.ndim, channel)
            density = sum(meson_density(quark, other, m) for m in matrices)
            phases, norm = pair, quark.norm / len(matrices)
        result.append(norm * slice_sums(lattice, density, wanted, quark.origin, phases))
    return Correlators(array_namespace(quark.field).stack(result), tuple(channels), wanted)


def meson_density(quark: Propagator, antiquark: Propagator, structure: SpinMatrix) -> Array:
    """-tr[Gamma S(x) Gamma-bar gamma_5 S'(x)^dagger gamma_5] at every site, ``(n_blocks, lanes)``."""
    ndim = quark.lattice.ndim
    s, t = quark.field, antiquark.field
    xp = array_namespace(s)
    spin = s.shape[2]
    columns = s.shape[0] // spin
    sink = product(gamma_5(ndim), structure)
    source = product(bar(ndim, structure), gamma_5(ndim))
    total: Any = 0.0
    # tr[A S B S'^dagger] = sum_(i, k) A_(i, a(i)) S_(a(i), k) B_(k, b(k)) conj(S'_(i, b(k))), one number in each row of A and B
    for i, (a, number) in enumerate(sink):
        for k, (b, weight) in enumerate(source):
            left = s[k * columns : (k + 1) * columns, :, a, :, :]
            # Named: NumPy swaps factors of which one is large and has no name, and rounding would depend on the size.
            right = xp.conj(t[b * columns : (b + 1) * columns, :, i, :, :])
            total = total - (number * weight) * xp.sum(left * right, axis=(0, 2))
    return total


def slice_sums(
    lattice: Lattice,
    density: Array,
    momenta: Sequence[Sequence[int]],
    origin: Sequence[int],
    phases: Sequence[complex],
) -> Array:
    """sum_x exp(-i p (x - x_0)) density(t + t_0, x): ``(n_blocks, lanes)`` to ``(momentum, time, batch)`` complex128.

    Parameters
    ----------
    lattice
        The lattice.
    density
        Numbers at every site.
    momenta
        Integers n: p_i = (2 pi n_i + theta_i) / extent_i with exp(i theta_i) the boundary phase of the hadron.
    origin
        Site x_0 of the source, time first.
    phases
        Boundary phases of the hadron, products of those of its quarks.  Times before the source are reached across the
        boundary and take that of direction 0.
    """
    xp = array_namespace(density)
    batch = lattice.batch(density.shape[-1])
    a, b = (xp.astype(part(density), xp.float64) for part in (xp.real, xp.imag))
    sums = []
    for n in momenta:
        c, d = _wave(xp, lattice, n, origin, phases, batch)
        both = sum_slices(lattice, xp.stack([a * c - b * d, a * d + b * c]))
        sums.append(both[0, ...] + 1j * both[1, ...])
    before = [complex(phases[0]) if t < origin[0] else 1.0 + 0.0j for t in range(lattice.shape[0])]
    turned = xp.stack(sums) * xp.asarray(before, dtype=xp.complex128)[None, :, None]
    return xp.roll(turned, -origin[0], axis=1)


def _wave(
    xp: Any, lattice: Lattice, n: Sequence[int], origin: Sequence[int], phases: Sequence[complex], batch: int
) -> tuple[Array, Array]:
    """Real and imaginary part of exp(-i p (x - x_0)) at every site of this process, ``(n_blocks, lanes)``."""
    c, d = xp.ones((), dtype=xp.float64), xp.zeros((), dtype=xp.float64)
    for mu, k in enumerate(n, start=1):
        extent = lattice.shape[mu]
        p = (2.0 * math.pi * k + cmath.phase(phases[mu])) / extent
        row = [cmath.exp(-1j * p * (z - origin[mu])) for z in range(extent)]
        parts = ([z.real for z in row], [z.imag for z in row])
        place = xp.reshape(xp.asarray(lattice.coordinates[mu], dtype=xp.int64), (-1,))
        x, y = (xp.take(xp.asarray(part, dtype=xp.float64), place) for part in parts)
        c, d = c * x - d * y, c * y + d * x
    return tuple(xp.repeat(xp.reshape(part, (lattice.n_blocks, -1)), batch, axis=-1) for part in (c, d))
