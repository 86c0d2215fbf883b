"""Heat bath and overrelaxation sweeps of the Wilson action, mask by mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gaugeflow.backend import kernel
from gaugeflow.errors import ConvergenceError
from gaugeflow.kernels.random import check_key
from gaugeflow.kernels.slots import matrix_at, replace_sites, rows, slots_of, to_field, to_lanes
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, IntArray, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.gauge import staple_pair
from gaugeflow.sites.heatbath import ATTEMPTS, BLOCKS, heat_bath
from gaugeflow.sites.heatbath import overrelax as overrelax_site
from gaugeflow.sites.matrix import add_scaled, scale
from gaugeflow.sites.numbers import Matrix


def masks(lattice: Lattice, frozen: tuple[int, ...] = ()) -> Iterator[tuple[int, IntArray]]:
    """Directions and active sites in the order in which a sweep visits them.

    Spatial links of ``frozen`` time slices are left out; masks without a link remain, so that all processes of a cut lattice
    count the same.

    Raises
    ------
    ValueError
        If the lattice has no such slice, or is folded in time such that some lanes of a site are frozen and others not.
    """
    still = _still(lattice, frozen)
    for mu in range(lattice.ndim):
        for parity in (0, 1):
            sites = lattice.active_sites(mu, parity)
            yield mu, sites if mu == 0 else sites[~still[sites]]


def _still(lattice: Lattice, frozen: tuple[int, ...]) -> Any:
    """Whether block sites lie on frozen slices, ``(n_blocks,)``."""
    extent, length = lattice.shape[0], lattice.block_shape[0]
    if not all(isinstance(t, int) and 0 <= t < extent for t in frozen):
        raise ValueError(f"frozen: expected time slices 0 ... {extent - 1}, got {frozen}")
    for first in range(0, extent, lattice.local_shape[0]):
        for t in range(first, first + length):
            if len({(t + k * length) in frozen for k in range(lattice.fold[0])}) > 1:
                raise ValueError(
                    f"frozen slices {frozen} differ between the sub-lattices of {length} slices of a lattice folded "
                    f"{lattice.fold}; do not fold it in time"
                )
    time = lattice.coordinates[0][:, 0]
    return sum((time == t for t in frozen), time < 0)


def first_block(mu: int, n: int) -> int:
    """First Philox block of a link of direction mu."""
    return mu * BLOCKS * max(1, n * (n - 1) // 2)


def failure(count: float) -> ConvergenceError:
    """The error of a sweep in which rejection loops failed."""
    return ConvergenceError(
        f"heatbath: {count:g} rejection loops did not accept in {ATTEMPTS} attempts; are links and coupling finite?"
    )


def check_accepted(lattice: Lattice, failed: Array) -> None:
    """Raise ``ConvergenceError`` if rejection loops of a sweep failed, whose numbers are ``(rows, lanes)``."""
    xp = array_namespace(failed)
    count = float(xp.sum(sum_sites(lattice, failed)))
    if count > 0:
        raise failure(count)


Update = Callable[[int, Array, Matrix, Matrix], Matrix]


def _sweep(lattice: Lattice, links: Array, coupling: Any, frozen: tuple[int, ...], update: Update) -> Array:
    xp = array_namespace(links)
    weight = rows(lattice, coupling, len(lattice.planes), links, "coupling") / links.shape[2]
    field = [links[mu, ...] for mu in range(lattice.ndim)]
    for mu, sites in masks(lattice, frozen):
        here = slots_of(lattice, xp, sites)

        def at(direction: int, *hops: tuple[int, int], here: Array = here) -> Matrix:
            return matrix_at(lattice, field[direction], here, hops)

        u = at(mu)
        a = scale(0.0, u)
        for nu in range(lattice.ndim):
            if nu != mu:
                f, up, dn = (mu, 0), (nu, 0), (nu, 1)
                pair = staple_pair(at(nu), at(mu, up), at(nu, f), at(nu, dn), at(mu, dn), at(nu, f, dn))
                a = add_scaled(a, weight[lattice.planes.index((min(mu, nu), max(mu, nu))), ...], pair)
        if len(sites):  # only now: other processes of a cut lattice may have asked for links
            field[mu] = replace_sites(lattice, field[mu], sites, to_field(lattice, update(mu, here, a, u)))
    return xp.stack(field)


@kernel("links")
def heatbath(lattice: Lattice, links: Array, coupling: Any, key: Any, frozen: tuple[int, ...] = ()) -> Array:
    """One heat-bath update of every link with ``S = -sum_p (coupling_p / N) Re tr P_p``.

    Parameters
    ----------
    lattice, links
        The lattice, with even extents, and its links ``(ndim, n_blocks, N, N, lanes)``.
    coupling
        One number, ``(n_planes,)`` or ``(n_planes, batch)``: beta of each plane (and configuration).
    key
        Four integers ``(k0, k1, draw, first)``, see :meth:`gaugeflow.random.Rng.words`; never use the same twice.
    frozen
        Time slices whose spatial links stay as they are.

    Returns
    -------
    Array
        New links.  Rounding errors leave the group by about 1e-15 a sweep: reunitarise now and then.

    Raises
    ------
    ValueError
        If an extent is odd, if there is no such slice, or if a fold in time makes lanes differ.
    ConvergenceError
        If a rejection loop does not end, which only links or couplings that are not finite can cause.
    """
    xp = array_namespace(links)
    check_key(key, lattice.batch(links.shape[-1]))
    k0, k1, draw, start = (int(key[i]) for i in range(4))
    site = xp.reshape(xp.asarray(lattice.site, dtype=xp.int64), (-1,))
    number = xp.arange(start, start + lattice.batch(links.shape[-1]), dtype=xp.int64)[None, :]

    def update(mu: int, here: Array, a: Matrix, u: Matrix) -> Matrix:
        place = xp.take(site, here)[:, None]
        new, bad = heat_bath(place, number, draw, first_block(mu, links.shape[2]), k0, k1, a, u)
        failed.append(to_lanes(lattice, xp.astype(bad, xp.float64)))
        return new

    failed: list[Array] = []
    result = _sweep(lattice, links, coupling, frozen, update)
    check_accepted(lattice, xp.concat(failed))
    return result


@kernel("links")
def overrelax(lattice: Lattice, links: Array, coupling: Any, frozen: tuple[int, ...] = ()) -> Array:
    """One overrelaxation update of every link: reflections that leave the Wilson action of each configuration as it is.

    Arguments are those of :func:`heatbath`, without random numbers.
    """
    return _sweep(lattice, links, coupling, frozen, lambda mu, here, a, u: overrelax_site(a, u))
