"""What sweeps read around a site: where a lattice is cut over processes, nothing else is fetched.

A test runs every kernel on cut lattices with layers that hold nan wherever nothing was fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import combinations

from gaugeflow.lattice.reads import Reads, step


def _pairs(ndim: int, active: Iterable[int] | None = None) -> Iterator[tuple[int, int]]:
    return ((mu, nu) for mu in (range(ndim) if active is None else active) for nu in range(ndim) if nu != mu)


@cache
def ahead_of_sites(ndim: int) -> Reads:
    """A field on sites one hop ahead."""
    return Reads(frozenset((-1, step(ndim, mu)) for mu in range(ndim)))


@cache
def around_sites(ndim: int) -> Reads:
    """A field on sites one hop ahead and behind."""
    return Reads(frozenset((-1, step(ndim, hop)) for mu in range(ndim) for hop in (mu, ~mu)))


@cache
def ahead(ndim: int) -> Reads:
    """Links one hop ahead along their direction."""
    return Reads(frozenset((mu, step(ndim, mu)) for mu in range(ndim)))


@cache
def behind(ndim: int) -> Reads:
    """Links one hop behind along their direction."""
    return Reads(frozenset((mu, step(ndim, ~mu)) for mu in range(ndim)))


@cache
def along(ndim: int) -> Reads:
    """Links one hop ahead and behind along their direction."""
    return ahead(ndim) | behind(ndim)


@cache
def plaquettes(ndim: int) -> Reads:
    """Plaquettes whose first corner is the site."""
    return Reads(frozenset((nu, step(ndim, mu)) for mu, nu in _pairs(ndim)))


@cache
def staples(ndim: int, active: tuple[int, ...] | None = None) -> Reads:
    """Staples of links of all, or some, directions."""
    found = set()
    for mu, nu in _pairs(ndim, active):
        found |= {(nu, step(ndim, mu)), (mu, step(ndim, nu)), (mu, step(ndim, ~nu))}
        found |= {(nu, step(ndim, ~nu)), (nu, step(ndim, mu, ~nu))}
    return Reads(frozenset(found))


@cache
def staple_bars(ndim: int, mu: int) -> Reads:
    """Links that the cotangents of all links are made of, where staples of direction mu have cotangents."""
    found = set()
    for nu in range(ndim):
        if nu != mu:
            found |= {(mu, step(ndim, nu)), (nu, step(ndim, mu)), (nu, step(ndim, ~mu)), (mu, step(ndim, ~mu, nu))}
            found |= {(mu, step(ndim, ~mu)), (nu, step(ndim, ~nu)), (nu, step(ndim, mu, ~nu))}
    return Reads(frozenset(found))


@cache
def active_bars(ndim: int, mu: int) -> Reads:
    """Cotangents of staples of direction mu that those of links are made of."""
    found = {(-1, step(ndim, ~mu))}
    for nu in range(ndim):
        if nu != mu:
            found |= {(-1, step(ndim, nu)), (-1, step(ndim, ~nu)), (-1, step(ndim, ~mu, nu))}
    return Reads(frozenset(found))


@cache
def rectangles(ndim: int) -> Reads:
    """Rectangles whose first corner is the site."""
    found = set()
    for mu, nu in _pairs(ndim):
        found |= {(mu, step(ndim, mu)), (nu, step(ndim, mu, mu)), (mu, step(ndim, nu)), (mu, step(ndim, nu, mu))}
    return Reads(frozenset(found))


@cache
def rectangle_staples(ndim: int) -> Reads:
    """Staples of five links in rectangles of links of all directions."""
    found = set()
    for mu, nu in _pairs(ndim):
        f, b, up, dn = mu, ~mu, nu, ~nu
        found |= {(nu, step(ndim, *s)) for s in ((f,), (up,), (dn,), (f, up), (f, dn), (dn, dn), (f, dn, dn))}
        found |= {(nu, step(ndim, *s)) for s in ((f, f), (f, f, dn), (b,), (b, dn))}
        found |= {(mu, step(ndim, *s)) for s in ((f,), (b,), (up,), (dn,), (up, up), (dn, dn), (up, f), (dn, f))}
        found |= {(mu, step(ndim, *s)) for s in ((up, b), (dn, b))}
    return Reads(frozenset(found))


@cache
def clover_leaves(ndim: int) -> Reads:
    """The four plaquettes around a site in every plane."""
    found = set()
    for mu, nu in _pairs(ndim):
        found |= {(nu, step(ndim, mu)), (mu, step(ndim, ~mu)), (nu, step(ndim, ~mu)), (mu, step(ndim, ~mu, nu))}
        found |= {(mu, step(ndim, ~mu, ~nu)), (nu, step(ndim, ~mu, ~nu))}
    return Reads(frozenset(found))


@cache
def large_leaves(ndim: int, length: int, width: int) -> Reads:
    """Sides of some length of the loops around a site in every plane whose other sides have some width."""
    found = set()
    for mu, nu in _pairs(ndim):
        b, up, dn = [~mu] * length, [nu] * width, [~nu] * width
        found |= {(mu, step(ndim, *hops)) for hops in (b, up, dn, b + up, b + dn)}
    return Reads(frozenset(found))


@cache
def corners(ndim: int) -> Reads:
    """A matrix for every plane, in their order, at the corners of the plaquettes that have a link at the site."""
    found = set()
    for p, (mu, nu) in enumerate(combinations(range(ndim), 2)):
        for a, b in ((mu, nu), (nu, mu)):
            found |= {(p, step(ndim, *hops)) for hops in ((a,), (b,), (~b,), (a, b), (a, ~b))}
    return Reads(frozenset(found))
