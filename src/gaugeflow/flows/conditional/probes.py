"""Sites so far apart that unit vectors there may share one field: closed walks of one never meet those of another."""

from __future__ import annotations

import itertools
from functools import lru_cache

from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace

Site = tuple[int, ...]


@lru_cache(maxsize=256)
def distant_shifts(shape: Site, reach: int, even: bool) -> tuple[Site, tuple[Site, ...]]:
    """A subgroup of translations whose elements are more than ``reach`` hops apart.

    A grid alone keeps each direction apart, where all of them together would do: in four dimensions sixteen shifts of
    halves and quarters of its period fit between its points, as in a body-centred crystal.

    Parameters
    ----------
    shape
        Extents of the periodic lattice.
    reach
        Largest number of hops of a walk.
    even
        Whether only shifts that keep parity count.

    Returns
    -------
    periods, shifts
        Periods of a grid, which divide the extents, and shifts within one period, the one by zero included.
    """
    periods = tuple(
        next(s for s in range(1, extent + 1) if extent % s == 0 and (s > reach or s == extent)) for extent in shape
    )

    def length(shift: Site) -> int:
        return sum(min(x, p - x) for x, p in zip(shift, periods, strict=True))

    def parts(period: int) -> range:
        return range(0, period, period // (4 if period % 4 == 0 else 2 if period % 2 == 0 else 1))

    def together(a: Site, b: Site) -> Site:
        return tuple((x + y) % p for x, y, p in zip(a, b, periods, strict=True))

    shifts: tuple[Site, ...] = ((0,) * len(shape),)
    candidates = [v for v in itertools.product(*map(parts, periods)) if length(v) > reach]
    for candidate in sorted(candidates, key=lambda v: (length(v), v)):
        if candidate in shifts or (even and sum(candidate) % 2):
            continue
        multiple, grown = candidate, shifts
        while multiple not in shifts:
            grown += tuple(together(multiple, shift) for shift in shifts)
            multiple = together(multiple, candidate)
        if all(length(shift) > reach for shift in grown[1:]):
            shifts = grown
    return periods, shifts


def classes(lattice: Lattice, sites: Array, reach: int, even: bool) -> Array:
    """Numbers of classes of sites that a walk of ``reach`` hops does not join, ``(len(sites), n_folds)``.

    Parameters
    ----------
    lattice, sites
        Block sites of a lattice.
    reach, even
        As for :func:`distant_shifts`.
    """
    xp = array_namespace(sites)
    periods, shifts = distant_shifts(tuple(lattice.shape), reach, even)
    places = [xp.take(xp.asarray(c, dtype=xp.int64), sites, axis=0) for c in lattice.coordinates]
    numbers = []
    for shift in shifts:
        number = xp.zeros_like(places[0])
        for place, period, step in zip(places, periods, shift, strict=True):
            number = number * period + (place + step) % period
        numbers.append(number)
    return xp.min(xp.stack(numbers), axis=0)
