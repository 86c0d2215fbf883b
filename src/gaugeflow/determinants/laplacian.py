"""The Laplacian of log det D on the gauge group: the divergence of the fermion force, exactly.

The gradient of log det D is a vector field along which a flow may move links.  Its divergence needs D^-1 on sites and between
neighbours only, which the gradient needs as well.  See ``docs/derivations/determinants.md``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gaugeflow.determinants.dense import decompositions, join
from gaugeflow.lattice import Array
from gaugeflow.lending import with_writable_links
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.dense import count_components, from_columns, stack_length, unit_vectors
from gaugeflow.operators.even_odd import ODD, EvenOdd
from gaugeflow.operators.wilson import Wilson
from gaugeflow.sites.dirac import gamma


class LogDetLaplacian(NamedTuple):
    """The logarithm of a determinant, its gradient and the divergence of that."""

    log_abs: Array
    """``log |det D|``, ``(batch,)`` float64."""
    gradient: Array
    """Algebra field F with ``d/de log |det D(exp(e w) U)| = <F, w>``, shaped like the links."""
    laplacian: Array
    """div F, the sum over links and generators of second derivatives of ``log |det D|``, ``(batch,)`` float64."""


class _Near(NamedTuple):
    """Blocks of D^-1 of m = spin N components, ``(odd sites, ..., batch, m, m)``."""

    here: Array
    """G(y, y) of odd sites y."""
    to: Array
    """G(y + mu, y) and G(y - mu, y): axes mu and direction after the sites."""


@with_writable_links
def log_det_laplacian(operator: Wilson) -> LogDetLaplacian:
    """``log |det D|``, its gradient and its Laplacian, all from one decomposition.

    Parameters
    ----------
    operator
        D without clover term and twisted mass, on a lattice of even extents of 4 or more that is not folded.

    Returns
    -------
    LogDetLaplacian
        Costs as :func:`gaugeflow.determinants.log_det_gradient`, and ``blocks`` of 9 m^2 numbers for every second site.

    Raises
    ------
    ValueError
        If the operator or its lattice is of another kind, or D is singular; names operator and configuration.
    """
    check_operator(operator)
    parts = []
    for one, small, found in decompositions(operator):
        assert isinstance(small, EvenOdd)
        assert isinstance(one, Wilson)
        gradient, near = _near(one, small, found.inverse)
        parts.append((found.log_abs, gradient, _laplacian(one, near)))
    return LogDetLaplacian(*join(operator, parts))


def check_operator(operator: Wilson) -> None:
    """``ValueError`` unless the Laplacian of the operator is known."""
    lattice = operator.lattice
    if type(operator) is not Wilson or operator.twist != 0.0:
        raise ValueError(f"Laplacian: expected Wilson without clover term and twisted mass, got {operator.label}")
    if lattice.n_folds > 1 or any(n < 4 or n % 2 for n in lattice.shape):
        raise ValueError(f"Laplacian: expected even extents of 4 or more and no fold, got {lattice}")


def _near(operator: Wilson, small: EvenOdd, inverse: Array) -> tuple[Array, _Near]:
    """Gradient of log det M, and D^-1 between odd sites and their neighbours."""
    lattice = operator.lattice
    xp = array_namespace(inverse)
    _, spin, n, batch = operator.field_shape()
    m, odd = spin * n, lattice.sites_of_parity(ODD)
    gradient = xp.zeros_like(operator.bound)
    here, to = [], []
    count, chunk = count_components(small), m * max(1, stack_length(small) // m)
    for first in range(0, count, chunk):
        last = min(first + chunk, count)
        right = from_columns(small, inverse[:, first:last, :])
        gradient = gradient + small.force(unit_vectors(small, first, last), right)
        columns = xp.reshape(small.extended(right), (last - first, lattice.volume, m, batch))
        for k in range(0, last - first, m):
            site = int(odd[(first + k) // m])
            rows = [site, *(int(lattice.neighbour[mu, s, site]) for mu in range(lattice.ndim) for s in (0, 1))]
            blocks = xp.take(columns[k : k + m, ...], xp.asarray(rows, dtype=xp.int64), axis=1)
            blocks = xp.permute_dims(blocks, (1, 3, 2, 0))
            here.append(blocks[0, ...])
            to.append(xp.reshape(blocks[1:, ...], (lattice.ndim, 2, batch, m, m)))
    return gradient, _Near(xp.stack(here), xp.stack(to))


class _Blocks:
    """Products of blocks ``(..., m, m)`` with links and spin matrices."""

    def __init__(self, operator: Wilson) -> None:
        self.xp = array_namespace(operator.bound)
        _, self.spin, self.n, _ = operator.field_shape()
        self.dtype = operator.bound.dtype
        self.trace_part = 1.0 / self.n if self.n > 1 else 0.0

    def colour(self, u: Array, block: Array) -> Array:
        """U times the colours of a block, u ``(..., n, n)``."""
        lead = tuple(block.shape[:-2])
        m = block.shape[-1]
        split = self.xp.reshape(block, (*lead, self.spin, self.n, m))
        return self.xp.reshape(u[..., None, :, :] @ split, (*lead, m, m))

    def dagger(self, block: Array) -> Array:
        """Hermitian conjugate."""
        return self.xp.conj(self.xp.matrix_transpose(block))

    def one_plus(self, ndim: int, mu: int, sign: float) -> Array:
        """1 + sign gamma_mu as a matrix of m components."""
        xp = self.xp
        rows = [[0j] * self.spin for _ in range(self.spin)]
        for i, (j, number) in enumerate(gamma(ndim, mu)):
            rows[i][i] += 1.0
            rows[i][j] += sign * number
        spins = xp.asarray(rows, dtype=self.dtype)
        unit = xp.eye(self.n, dtype=self.dtype)
        return xp.reshape(spins[:, None, :, None] * unit[None, :, None, :], (self.spin * self.n, -1))

    def turned(self, block: Array) -> Array:
        """gamma_5 block^dagger gamma_5: D^-1 in the other direction."""
        xp, half = self.xp, self.spin // 2 * self.n
        signs = xp.concat([xp.ones((half,)), -xp.ones((half,))])
        return xp.astype(signs[:, None] * signs[None, :], self.dtype) * self.dagger(block)

    def trace(self, block: Array) -> Array:
        """Trace."""
        return self.xp.sum(self.xp.linalg.diagonal(block), axis=-1)

    def generators(self, a: Array, b: Array) -> Array:
        """sum_a tr T_a A T_a B, with sum_a T_a M T_a = -(tr M - M / N) / 2."""
        colours = [self._colour_traces(x) for x in (a, b)]
        return -0.5 * (self.trace(colours[0] @ colours[1]) - self.trace_part * self.trace(a @ b))

    def _colour_traces(self, block: Array) -> Array:
        xp = self.xp
        split = xp.reshape(block, (*block.shape[:-2], self.spin, self.n, self.spin, self.n))
        return xp.sum(xp.linalg.diagonal(xp.moveaxis(split, -3, -2)), axis=-1)


def _laplacian(operator: Wilson, near: _Near) -> Array:
    """The sum over all links of second derivatives; the formula is in ``docs/derivations/determinants.md``."""
    lattice, links = operator.lattice, operator.bound
    xp = array_namespace(links)
    b = _Blocks(operator)
    kappa, casimir = 0.5 * operator.norm, 0.5 * (b.n - b.trace_part)
    odd = lattice.sites_of_parity(ODD)
    place = {int(site): row for row, site in enumerate(odd)}
    assert operator.boundary is not None
    factors = lattice.boundary_phase(operator.boundary)[..., 0] * operator.hop_weights[..., 0]
    even = [site for site in range(lattice.volume) if site not in place]
    hops: list[dict[str, Any]] = []
    sums: Any = 0.0  # of G(x, y) K(y, x) over the neighbours y of even sites x
    order = {site: row for row, site in enumerate(even)}
    total = xp.zeros((links.shape[-1],), dtype=xp.float64)
    for mu in range(lattice.ndim):
        minus, plus = (b.one_plus(lattice.ndim, mu, sign) for sign in (-1.0, 1.0))
        for s in (0, 1):
            others = [int(lattice.neighbour[mu, s, site]) for site in odd]
            starts = [int(site) for site in odd] if s == 0 else others
            u = xp.permute_dims(xp.take(links[mu, ...], xp.asarray(starts, dtype=xp.int64), axis=0), (0, 3, 1, 2))
            f = xp.asarray(factors[mu, starts], dtype=links.dtype)[:, None, None, None]
            g = near.to[:, mu, s, ...]  # from the odd site to the even one
            # D(odd, even) and G(even, odd): their product belongs to the even site
            if s == 0:
                own = -kappa * f * b.colour(u, xp.broadcast_to(minus, g.shape))
            else:
                own = -kappa * xp.conj(f) * b.colour(b.dagger(u), xp.broadcast_to(plus, g.shape))
            back = xp.argsort(xp.asarray([order[site] for site in others], dtype=xp.int64))
            sums = sums + xp.take(g @ own, back, axis=0)
            forward = g if s == 0 else b.turned(g)
            k = f * (b.colour(u, forward) @ minus)
            total = total + xp.sum(
                xp.real(2.0 * kappa * casimir * b.trace(k) - 2.0 * kappa**2 * b.generators(k, k)), axis=0
            )
            hops.append(
                {"u": u, "weight": xp.abs(f[..., 0, 0]) ** 2, "s": s, "minus": minus, "plus": plus, "others": others}
            )
    unit = xp.eye(b.spin * b.n, dtype=links.dtype)
    at_even = (unit - sums) / operator.diagonal_number
    for hop in hops:
        there = xp.take(at_even, xp.asarray([order[site] for site in hop["others"]], dtype=xp.int64), axis=0)
        start, end = (near.here, there) if hop["s"] == 0 else (there, near.here)
        far = b.dagger(b.colour(hop["u"], b.dagger(b.colour(hop["u"], end))))
        product = b.generators(hop["plus"] @ start @ hop["minus"], far)
        total = total + 2.0 * kappa**2 * xp.sum(xp.real(hop["weight"] * product), axis=0)
    return total
