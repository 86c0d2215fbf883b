"""Averages of traced loops, normalised by N: 1 on the unit field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gaugeflow import kernels
from gaugeflow.kernels.slots import entries, reach, take
from gaugeflow.kernels.sums import sum_sites, sum_slots
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.matrix import mul, trace


@dataclass(frozen=True)
class LinkObservable:
    """A named function of links, as the protocol :class:`gaugeflow.typing.Observable` wants it.

    Parameters
    ----------
    name
        What tables and files call it.
    lattice
        The lattice.
    function
        Any function of this package, ``function(lattice, links)``.
    """

    name: str
    lattice: Lattice
    function: Callable[[Lattice, Array], Array]

    def __call__(self, x: Array) -> Array:
        """Values of the function; complex ones ``(batch,)`` become rows of real and imaginary parts ``(2, batch)``."""
        value = self.function(self.lattice, x)
        xp = array_namespace(value)
        return xp.stack([xp.real(value), xp.imag(value)]) if xp.isdtype(value.dtype, "complex floating") else value


def plaquette(lattice: Lattice, links: Array) -> Array:
    """Mean of Re tr P / N over all planes, ``(batch,)`` float64."""
    return _mean_over_planes(lattice, links, "", [True] * len(lattice.planes))


def plaquette_temporal(lattice: Lattice, links: Array) -> Array:
    """Mean of Re tr P / N over the planes that hold direction 0, ``(batch,)`` float64."""
    return _mean_over_planes(lattice, links, "temporal ", [mu == 0 for mu, _ in lattice.planes])


def plaquette_spatial(lattice: Lattice, links: Array) -> Array:
    """Mean of Re tr P / N over the planes without direction 0, ``(batch,)`` float64.

    Raises
    ------
    ValueError
        In two dimensions, which have no such plane.
    """
    return _mean_over_planes(lattice, links, "spatial ", [mu != 0 for mu, _ in lattice.planes])


def _mean_over_planes(lattice: Lattice, links: Array, kind: str, chosen: list[bool]) -> Array:
    if not any(chosen):
        raise ValueError(f"a lattice of shape {lattice.shape} has no {kind}planes")
    means = kernels.plaquette(lattice, links)
    xp = array_namespace(means)
    return xp.mean(xp.stack([means[k, ...] for k, wanted in enumerate(chosen) if wanted]), axis=0)


def plaquette_sites(lattice: Lattice, links: Array, mu: int, nu: int) -> Array:
    """Re tr P of the plane of mu and nu at every site, not divided by N, ``(n_blocks, lanes)`` float64."""
    return kernels.plaquette_traces(lattice, links)[lattice.planes.index((min(mu, nu), max(mu, nu))), ...]


def rectangle(lattice: Lattice, links: Array) -> Array:
    """Mean of Re tr R / N over the planar 1 x 2 loops of all planes and orientations, ``(batch,)`` float64."""
    means = kernels.rectangle(lattice, links)
    return array_namespace(means).mean(means, axis=0)


def link_trace(lattice: Lattice, links: Array) -> Array:
    """Mean of Re tr U / N over all links, ``(batch,)`` float64; it depends on the gauge (files state it)."""
    n, _ = lattice.check_links(links)
    xp = array_namespace(links)
    diagonal = xp.stack([xp.real(links[:, :, i, i, :]) for i in range(n)])
    total = sum_sites(lattice, xp.reshape(diagonal, (-1, diagonal.shape[-1])))
    return total / (n * lattice.ndim * lattice.volume)


def polyakov_loop(lattice: Lattice, links: Array, direction: int = 0) -> Array:
    """Mean of the traced product of links once around the lattice, tr(U_mu(x) U_mu(x + mu) ...) / N.

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    direction
        mu; 0 is time.

    Returns
    -------
    Array
        ``(batch,)`` complex128, the mean over the sites of a slice.

    Raises
    ------
    ValueError
        If the lattice has no such direction.
    """
    lattice.check_direction(direction)
    n, lanes = lattice.check_links(links)
    xp = array_namespace(links)
    batch = lattice.batch(lanes)
    flat = entries(lattice, links[direction, ...])
    first = lattice.coordinates[direction].reshape(-1) == 0
    place = xp.asarray(first.nonzero()[0], dtype=xp.int64)
    loop = None
    for _ in range(lattice.shape[direction]):
        found = take(lattice, flat, place)
        link = tuple(found[k, ...] for k in range(n * n))
        loop = link if loop is None else mul(loop, link)
        place = reach(lattice, xp, place, [(direction, 0)])
    value = xp.reshape(trace(loop), (-1, batch))
    total = sum_slots(lattice, xp.stack([xp.real(value), xp.imag(value)]))
    return (total[0, ...] + 1j * total[1, ...]) / (n * (lattice.volume // lattice.shape[direction]))
