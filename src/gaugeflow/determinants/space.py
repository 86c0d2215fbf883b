"""Time slices of a Dirac operator: the operator on one slice, sources at both of its ends, and the links between slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gaugeflow.lattice import Array, Lattice, suggest_fold
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.dense import site_blocks
from gaugeflow.operators.hopping import HoppingOperator
from gaugeflow.operators.staggered import Staggered
from gaugeflow.operators.wilson import Wilson
from gaugeflow.sites.dirac import upper_blocks

GROUP_BYTES = 1 << 30
"""Responses of several slices are computed together up to this size; those of two slices always are."""
CHUNK_BYTES = 16 << 20
"""Size of stacks of fields."""


class Slices:
    """One configuration of an operator, cut in slices.

    Parameters
    ----------
    operator
        Bound to one configuration.

    Attributes
    ----------
    extents
        Number of slices.
    half
        Components by which neighbouring slices are coupled in each direction: spatial site, half a spinor, colour.

    Notes
    -----
    Vectors on slices are ``(..., sites, spin N)`` with the spatial sites in lexicographic order.
    """

    def __init__(self, operator: HoppingOperator) -> None:
        lattice = operator.lattice
        lattice.check_whole("determinant by slices")
        if lattice.n_folds > 1:
            plain = Lattice(lattice.shape)
            links = plain.pack(lattice.unpack(operator.bound, 1), 1)
            operator = replace(operator, lattice=plain, links=links, charge=0.0, potential=None)
        self.operator = operator
        self.lattice = operator.lattice
        self.xp = array_namespace(operator.bound)
        self.extents = self.lattice.shape[0]
        self.sites = self.lattice.volume // self.extents
        self.colours = int(operator.bound.shape[2])
        self.components = operator.spin * self.colours
        self.spin_back, self.spin_front = _ends(operator)
        self.half = self.sites * self.spin_back.shape[1] * self.colours
        self.even, self.odd = self._parities()
        blocks = self.xp.reshape(site_blocks(operator), (self.extents, self.sites, *(self.components,) * 2))
        self.blocks = blocks
        self._place = self.xp.argsort(self.xp.concat([self.even, self.odd]))
        even = self.xp.take(blocks, self.even, axis=1)
        self.inverse_blocks = self.xp.linalg.inv(even) if even.shape[1] else even
        self._forward, self._backward = self._links()

    def _parities(self) -> tuple[Array, Array]:
        """Spatial sites that are eliminated, and the others: all of them where there is no elimination."""
        xp = self.xp
        space = self.lattice.shape[1:]
        coordinates = self.lattice.coordinates[1:, : self.sites, 0].sum(axis=0) % 2
        if not self.operator.has_diagonal_inverse or not space or any(n % 2 for n in space):
            coordinates = coordinates * 0 + 1
        sites = range(self.sites)
        even, odd = ([k for k in sites if coordinates[k] == p] for p in (0, 1))
        return xp.asarray(even, dtype=xp.int64), xp.asarray(odd, dtype=xp.int64)

    def _links(self) -> tuple[Array, Array]:
        """F and B of every slice, ``(T, sites, N, N)``: what enters slice t from t + 1, and slice t + 1 from t."""
        operator, xp = self.operator, self.xp
        u = xp.reshape(operator.bound[0, :, :, :, 0], (self.extents, self.sites, self.colours, self.colours))
        factors = operator.factors
        f = xp.asarray(factors.values[factors.code[0, 0], 0], dtype=u.dtype)
        u = u * xp.reshape(f, (self.extents, self.sites, 1, 1))
        back = xp.conj(xp.matrix_transpose(u))
        if isinstance(operator, Wilson):
            return 0.5 * operator.norm * u, 0.5 * operator.norm * back
        return -0.5 * u, 0.5 * back

    def forwards(self, t: int, columns: Array) -> Array:
        """Columns of X F for columns of X, F the links between slices t and t + 1 as seen from t."""
        return self._times(self._forward[t, ...], columns)

    def backwards(self, t: int, columns: Array) -> Array:
        """Columns of X B, B the links between slices t and t + 1 as seen from t + 1."""
        return self._times(self._backward[t, ...], columns)

    def _times(self, u: Array, columns: Array) -> Array:
        xp = self.xp
        x = xp.reshape(columns, (self.sites, -1, self.colours, columns.shape[-1]))
        return xp.reshape(xp.matmul(xp.matrix_transpose(u)[:, None, :, :], x), columns.shape)

    def joined(self, even: Array, odd: Array) -> Array:
        """Vectors on all sites from those on the two kinds of sites."""
        return self.xp.take(self.xp.concat([even, odd], axis=-2), self._place, axis=-2)

    def rest_log_det(self) -> tuple[float, complex]:
        """log |det T| and phase of the sites that are eliminated."""
        xp = self.xp
        if not self.even.shape[0]:
            return 0.0, 1.0 + 0.0j
        sign, log_abs = xp.linalg.slogdet(xp.take(self.blocks, self.even, axis=1))
        return float(xp.sum(xp.astype(log_abs, xp.float64))), complex(xp.prod(xp.astype(sign, xp.complex128)))

    def groups(self) -> Iterator[Group]:
        """Pairs of slices, as many at a time as memory allows."""
        pairs = (self.extents + 1) // 2
        size = 2 * 4 * 16 * self.half**2
        together = max(1, min(pairs, GROUP_BYTES // size))
        for first in range(0, pairs, together):
            yield Group(self, first, min(first + together, pairs))


def _ends(operator: HoppingOperator) -> tuple[Array, Array]:
    """V_- and V_+ with 1 -+ gamma_0 = V V^dagger, ``(spin, spin / 2)``; ones for staggered fermions."""
    xp = array_namespace(operator.bound)
    if isinstance(operator, Staggered):
        one = xp.ones((1, 1), dtype=operator.bound.dtype)
        return one, one
    if not isinstance(operator, Wilson):
        raise TypeError(f"time slices are known for Wilson's and staggered operators, got {operator.label}")
    half = operator.spin // 2
    ends = []
    for sign in (-1.0, 1.0):
        rows = [[complex(i == j) for j in range(half)] for i in range(2 * half)]
        for i, (j, value) in enumerate(upper_blocks(operator.lattice.ndim)[0]):
            rows[half + j][i] = sign * complex(value).conjugate()
        ends.append(xp.asarray(rows, dtype=operator.bound.dtype))
    return ends[0], ends[1]


class Group:
    """Some pairs of neighbouring slices, each a configuration of a lattice of two slices that time hops do not couple.

    Parameters
    ----------
    slices
        All slices.
    first, last
        Range of pairs; where the number of slices is odd the last one stands twice.
    """

    def __init__(self, slices: Slices, first: int, last: int) -> None:
        self.slices, self.xp = slices, slices.xp
        xp, lattice, operator = self.xp, slices.lattice, slices.operator
        self.count = last - first
        where = [min(t, slices.extents - 1) for t in range(2 * first, 2 * last)]
        self.times = [t for t in range(2 * first, 2 * last) if t < slices.extents]
        links = xp.take(lattice.unpack(operator.bound, 1)[0, ...], xp.asarray(where, dtype=xp.int64), axis=1)
        shape = (2, *lattice.shape[1:])
        links = xp.reshape(links, (lattice.ndim, self.count, *shape, *links.shape[-2:]))
        links = xp.permute_dims(links, (1, 0, *range(2, links.ndim)))
        fold = suggest_fold(shape, -(-8 // self.count))
        self.lattice = Lattice(shape, fold)
        assert isinstance(operator, Wilson | Staggered)
        hopping = (0.0, *operator.hopping[1:])
        links = self.lattice.pack(links, 1)
        self.operator = replace(
            operator, lattice=self.lattice, links=links, hopping=hopping, charge=0.0, potential=None
        )
        take = xp.asarray(where, dtype=xp.int64)
        self.blocks = xp.take(slices.blocks, take, axis=0)
        self.inverse = xp.take(slices.inverse_blocks, take, axis=0)
        size = 16 * 2 * self.count * slices.sites * slices.components
        self.step = max(1, CHUNK_BYTES // size)

    # Vectors of a group are (slices, R, sites, components).
    def _hops(self, x: Array, to_odd: bool) -> Array:
        """K x of vectors on even sites, on odd ones, or the other way round."""
        xp, slices = self.xp, self.slices
        far = slices.odd if to_odd else slices.even
        rest = xp.zeros((*x.shape[:2], far.shape[0], slices.components), dtype=x.dtype)
        full = self._all_hops(slices.joined(x, rest) if to_odd else slices.joined(rest, x))
        return xp.take(full, far, axis=2)

    def _all_hops(self, full: Array) -> Array:
        """K x of vectors on all sites."""
        xp, slices = self.xp, self.slices
        shape = (self.count, 2, full.shape[1], *slices.lattice.shape[1:], self.operator.spin, slices.colours)
        field = xp.permute_dims(xp.reshape(full, shape), (0, 2, 1, *range(3, len(shape))))
        field = self.operator.hops(self.lattice.pack(field, 1))
        back = xp.permute_dims(self.lattice.unpack(field, 1), (0, 2, 1, *range(3, len(shape))))
        return xp.reshape(back, full.shape)

    def _times(self, blocks: Array, x: Array) -> Array:
        """Matrices on sites ``(slices, sites, m, m)`` times vectors."""
        xp = self.xp
        return xp.matmul(blocks[:, None, ...], x[..., None])[..., 0]

    def _own(self, columns: Array) -> Array:
        """Without the slice that stands twice."""
        return columns[: len(self.times), ...]

    def schur_columns(self) -> Array:
        """Columns of S = T_oo - K_oe T_ee^-1 K_eo of every slice, ``(slices, n, n)``; of A where nothing is eliminated."""
        xp, slices = self.xp, self.slices
        even, odd = slices.even, slices.odd
        n = odd.shape[0] * slices.components
        result = xp.empty((len(self.times), n, n), dtype=self.blocks.dtype)
        diagonal = xp.take(self.blocks, odd, axis=1)
        for first in range(0, n, self.step):
            last = min(first + self.step, n)
            unit = xp.reshape(xp.eye(last - first, n, k=first, dtype=result.dtype), (1, last - first, odd.shape[0], -1))
            unit = xp.asarray(xp.broadcast_to(unit, (2 * self.count, *unit.shape[1:])), copy=True)
            image = self._times(diagonal, unit)
            if even.shape[0]:
                image = image - self._hops(self._times(self.inverse, self._hops(unit, False)), True)
            else:
                image = image + self._all_hops(unit)
            result[:, first:last, :] = xp.reshape(self._own(image), (len(self.times), last - first, n))
        return result

    def sources(self, side: int, first: int, last: int) -> Array:
        """Unit vectors that enter from ahead (side 0) or from behind (1), as vectors on all sites."""
        xp, slices = self.xp, self.slices
        spin = slices.spin_front if side else slices.spin_back
        unit = xp.eye(last - first, slices.half, k=first, dtype=self.blocks.dtype)
        unit = xp.reshape(unit, (last - first, slices.sites, spin.shape[1], slices.colours))
        x = xp.reshape(xp.matmul(spin, unit), (1, last - first, slices.sites, slices.components))
        return xp.asarray(xp.broadcast_to(x, (2 * self.count, *x.shape[1:])), copy=True)

    def right_hand_side(self, source: Array) -> Array:
        """b_o - K_oe T_ee^-1 b_e, ``(slices, R, n)``."""
        xp, slices = self.xp, self.slices
        even, odd = slices.even, slices.odd
        b = xp.take(source, odd, axis=2)
        if even.shape[0]:
            b = b - self._hops(self._times(self.inverse, xp.take(source, even, axis=2)), True)
        return xp.asarray(xp.reshape(self._own(b), (len(self.times), b.shape[1], -1)), copy=True)

    def leaving(self, odd_part: Array, source: Array) -> tuple[Array, Array]:
        """What leaves backwards and forwards of the solution, ``(slices, R, h)`` each."""
        xp, slices = self.xp, self.slices
        even = slices.even
        own = len(self.times)
        x = xp.reshape(odd_part, (own, source.shape[1], -1, slices.components))
        if even.shape[0]:
            x = xp.concat([x, x[-1:, ...]]) if own < 2 * self.count else x
            far = self._hops(x, False)
            x = slices.joined(self._times(self.inverse, xp.take(source, even, axis=2) - far), x)
        x = self._own(x)
        shape = (*x.shape[:3], self.operator.spin, slices.colours)
        result = []
        for spin in (slices.spin_back, slices.spin_front):
            part = xp.matmul(xp.conj(xp.matrix_transpose(spin)), xp.reshape(x, shape))
            result.append(xp.reshape(part, (x.shape[0], x.shape[1], slices.half)))
        return result[0], result[1]
