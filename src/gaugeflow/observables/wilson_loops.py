"""Rectangular Wilson loops, and the Creutz ratios and the static potential that follow from their means."""

from __future__ import annotations

from collections.abc import Sequence

from array_api_compat import array_namespace

from gaugeflow.kernels.slots import all_slots, link_at, reach, site_sum, take
from gaugeflow.lattice import Array, Lattice
from gaugeflow.sites.gauge import re_trace_plaquette
from gaugeflow.sites.matrix import mul
from gaugeflow.sites.numbers import Matrix


def wilson_loop(lattice: Lattice, links: Array, r: int, t: int, mu: int, nu: int) -> Array:
    """Mean over sites of Re tr W / N, W the rectangle of r steps along mu and t along nu.

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    r, t
        Extents of the loop in lattice units, at most those of the lattice.
    mu, nu
        Two different directions.

    Returns
    -------
    Array
        ``(batch,)`` float64.

    Raises
    ------
    ValueError
        If the directions are equal or unknown, or an extent is not that of a loop on this lattice.
    """
    return _sums(lattice, links, (r,), (t,), ((mu, nu),))[0][0]


def wilson_loops(
    lattice: Lattice, links: Array, r_max: int, t_max: int, pairs: Sequence[tuple[int, int]] | None = None
) -> Array:
    """All rectangles up to a size, Re tr W / N averaged over sites and pairs of directions.

    Parameters
    ----------
    lattice, links
        The lattice and its links, for instance spatially smeared ones, see :func:`gaugeflow.observables.stout`.
    r_max, t_max
        Largest extents.
    pairs
        Ordered pairs ``(mu, nu)``: r steps along mu, t along nu.  Default: every spatial direction with direction 0,
        the loops of the static potential.

    Returns
    -------
    Array
        ``(r_max, t_max, batch)`` float64; W(r, t) at ``[r - 1, t - 1]``.

    Raises
    ------
    ValueError
        As :func:`wilson_loop`, or without any pair.

    Examples
    --------
    Creutz ratios with Gamma-method errors; an observable has one axis of components, so the two of a loop are joined::

        def loops(lattice, x):
            return wilson_loops(lattice, x, 3, 3).reshape(9, -1)

        chain = run(sampler, rng, state, 1000, observe=(LinkObservable("loops", lattice, loops),))
        means = Series.from_lanes(chain.records["loops"])
        ratios = derive(lambda w: creutz_ratios(w.reshape(3, 3)).ravel(), means)
        estimates = [gamma_method(ratio) for ratio in ratios.split()]
    """
    if pairs is None:
        pairs = [(mu, 0) for mu in range(1, lattice.ndim)]
    lattice.check_links(links)
    xp = array_namespace(links)
    rows = _sums(lattice, links, range(1, r_max + 1), range(1, t_max + 1), pairs)
    return xp.stack([xp.stack(row) for row in rows])


def _sums(
    lattice: Lattice, links: Array, rs: Sequence[int], ts: Sequence[int], pairs: Sequence[tuple[int, int]]
) -> list[list[Array]]:
    """Means over sites and pairs for every r and t, both increasing."""
    n, _ = lattice.check_links(links)
    if not pairs:
        raise ValueError("Wilson loops: expected at least one pair of directions, got none")
    for mu, nu in pairs:
        _check(lattice, rs, ts, mu, nu)
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    totals: dict[tuple[int, int], Array] = {}
    for mu, nu in pairs:
        across = _lines(lattice, links, mu, rs)
        for t, upward in zip(ts, _lines(lattice, links, nu, ts), strict=True):
            top = reach(lattice, xp, here, [(nu, 0)] * t)
            for r, line in zip(rs, across, strict=True):
                side = reach(lattice, xp, here, [(mu, 0)] * r)
                trace = re_trace_plaquette(line, _at(lattice, upward, side), upward, _at(lattice, line, top))
                totals[r, t] = totals.get((r, t), 0.0) + site_sum(lattice, trace)
    norm = n * lattice.volume * len(pairs)
    return [[totals[r, t] / norm for t in ts] for r in rs]


def _check(lattice: Lattice, rs: Sequence[int], ts: Sequence[int], mu: int, nu: int) -> None:
    lattice.check_direction(mu)
    lattice.check_direction(nu)
    if mu == nu:
        raise ValueError(f"a Wilson loop needs two different directions, got {mu} twice")
    for name, extents, direction in (("r", rs, mu), ("t", ts, nu)):
        largest = lattice.shape[direction]
        if not extents or not 1 <= extents[0] <= extents[-1] <= largest:
            raise ValueError(
                f"{name}: expected extents in 1 ... {largest} along direction {direction} of a lattice of shape "
                f"{lattice.shape}, got {list(extents)}"
            )


def _at(lattice: Lattice, line: Matrix, slots: Array) -> Matrix:
    found = take(lattice, array_namespace(slots).stack(line), slots)
    return tuple(found[k, ...] for k in range(len(line)))


def _lines(lattice: Lattice, links: Array, mu: int, lengths: Sequence[int]) -> list[Matrix]:
    """Products of links along mu from every slot, of these increasing lengths."""
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    ahead = reach(lattice, xp, here, [(mu, 0)])
    first = link_at(lattice, links, mu, here)
    line, found = first, []
    for length in range(1, lengths[-1] + 1):
        if length > 1:
            line = mul(first, _at(lattice, line, ahead))
        if length in lengths:
            found.append(line)
    return found


def creutz_ratios(loops: Array) -> Array:
    """chi(r, t) = -ln [W(r, t) W(r-1, t-1) / (W(r, t-1) W(r-1, t))] with W = 1 at extent 0.

    The perimeter and the corners of the loops cancel, so that chi tends to the string tension a^2 sigma (Creutz, Phys.
    Rev. Lett. 45 (1980) 313); where the area law is exact, as in two dimensions, all of them are equal to it.

    Parameters
    ----------
    loops
        ``(r_max, t_max, ...)``: *means* of loops as :func:`wilson_loops` gives them for one configuration.

    Returns
    -------
    Array
        Of the shape of ``loops``: chi(r, t) at ``[r - 1, t - 1]``.

    Raises
    ------
    ValueError
        If a loop is not positive, as means of large loops are when noise hides them.
    """
    log = _log(loops)
    return log[1:, :-1, ...] + log[:-1, 1:, ...] - log[1:, 1:, ...] - log[:-1, :-1, ...]


def static_potential(loops: Array) -> Array:
    """V(r, t) = ln [W(r, t) / W(r, t + 1)] in lattice units; a V(r) is its limit of large t.

    Parameters
    ----------
    loops
        ``(r_max, t_max, ...)``: *means* of loops, t along direction 0.

    Returns
    -------
    Array
        Of the shape of ``loops``: V(r, t) at ``[r - 1, t]``, t = 0 ... t_max - 1 with W(r, 0) = 1.

    Raises
    ------
    ValueError
        If a loop is not positive.
    """
    log = _log(loops)
    return log[1:, :-1, ...] - log[1:, 1:, ...]


def _log(loops: Array) -> Array:
    """Logarithms with a leading row and column for loops of extent 0."""
    xp = array_namespace(loops)
    if loops.ndim < 2:
        raise ValueError(f"loops: expected shape (r_max, t_max, ...), got {tuple(loops.shape)}")
    positive = xp.reshape(loops > 0.0, (loops.shape[0] * loops.shape[1], -1))
    for k, good in enumerate(xp.all(positive, axis=1)):
        if not bool(good):
            r, t = divmod(k, loops.shape[1])
            raise ValueError(f"expected positive means of loops, got W({r + 1}, {t + 1}) = {loops[r, t, ...]}")
    rest = tuple(loops.shape[2:])
    log = xp.concat([xp.zeros((1, loops.shape[1], *rest), dtype=loops.dtype), xp.log(loops)], axis=0)
    return xp.concat([xp.zeros((log.shape[0], 1, *rest), dtype=loops.dtype), log], axis=1)
