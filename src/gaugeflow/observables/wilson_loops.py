"""Rectangular Wilson loops, and the Creutz ratios and the static potential that follow from their means."""

from __future__ import annotations

from collections.abc import Sequence

from gaugeflow.kernels.slots import all_slots, matrix_at, reach, site_sum, take
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
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
    return _sums(lattice, links, (r,), (t,), ((mu, nu),), None)[0][0]


def wilson_loops(
    lattice: Lattice,
    links: Array,
    r_max: int,
    t_max: int,
    pairs: Sequence[tuple[int, int]] | None = None,
    averaged: Array | None = None,
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
    averaged
        Means of the links of direction 0, ``(n_blocks, N, N, lanes)``, from :func:`gaugeflow.kernels.link_averages` for the
        links that are not smeared.  They take the place of the sides in time (multihit), which leaves the expectation value as
        it is and lowers the variance.  Where both sides run along the same plaquettes (r = 1, and one less than the extent) it
        is done on one side, and not at all where they are the same line.

    Returns
    -------
    Array
        ``(r_max, t_max, batch)`` float64; W(r, t) at ``[r - 1, t - 1]``.

    Raises
    ------
    ValueError
        As :func:`wilson_loop`, without any pair, or with means of links for loops that do not run in time.

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
    if averaged is not None:
        if any(nu != 0 for _, nu in pairs):
            raise ValueError(f"means of links of direction 0 need pairs (mu, 0), got {list(pairs)}")
        if tuple(averaged.shape) != tuple(links.shape[1:]):
            raise ValueError(
                f"averaged: expected shape {tuple(links.shape[1:])} beside links {tuple(links.shape)}, got "
                f"{tuple(averaged.shape)}"
            )
    rows = _sums(lattice, links, range(1, r_max + 1), range(1, t_max + 1), pairs, averaged)
    return xp.stack([xp.stack(row) for row in rows])


def _sums(
    lattice: Lattice,
    links: Array,
    rs: Sequence[int],
    ts: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    averaged: Array | None,
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
        across = _lines(lattice, links[mu, ...], mu, rs)
        upwards = _lines(lattice, links[nu, ...], nu, ts)
        hits = upwards if averaged is None else _lines(lattice, averaged, nu, ts)
        for t, upward, hit in zip(ts, upwards, hits, strict=True):
            top = reach(lattice, xp, here, [(nu, 0)] * t)
            for r, line in zip(rs, across, strict=True):
                side = reach(lattice, xp, here, [(mu, 0)] * r)
                distance = min(r, lattice.shape[mu] - r)
                left, right = hit if distance > 0 else upward, hit if distance > 1 else upward
                trace = re_trace_plaquette(line, _at(lattice, right, side), left, _at(lattice, line, top))
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


def _lines(lattice: Lattice, matrices: Array, mu: int, lengths: Sequence[int]) -> list[Matrix]:
    """Products along mu of matrices ``(n_blocks, N, N, lanes)`` from every slot, of these increasing lengths."""
    xp = array_namespace(matrices)
    here = all_slots(lattice, xp)
    ahead = reach(lattice, xp, here, [(mu, 0)])
    first = matrix_at(lattice, matrices, here)
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
