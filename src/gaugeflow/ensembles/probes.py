"""Probes of a divergence: links of one direction and colour of sites, displaced along one generator with random signs.

The sum over all probes of <eta, J eta>, with the displacement eta and the Jacobian J of a field, has the divergence as its
mean.  What is not on the diagonal of the Jacobian has a random sign and is small, because links of a probe are not neighbours
and no link is displaced along two generators.  See ``docs/derivations/smeared_forces.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from gaugeflow import kernels
from gaugeflow.flows.gauge.smearing import active_rows
from gaugeflow.groups.su import algebra_basis
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng, uniform

PROBE_STEP = 3e-4
"""Displacement of the links of a probe: central differences are wrong by a share of about 1e-8."""

COLOURINGS: dict[int, list[tuple[tuple[int, ...], int]]] = {
    1: [],
    2: [((1, 1, 1, 1), 2)],
    4: [((0, 1, 1, 1), 2), ((1, 0, 0, 1), 2)],
    8: [((1, 1, 0, 2), 4), ((0, 1, 1, 1), 2)],
    16: [((1, 1, 1, 1), 4), ((1, 1, 0, 0), 2), ((1, 0, 1, 0), 2)],
}
"""Linear forms of coordinates, ``(weights, modulus)``, whose values are the colour of a site, for every number of colours.

The first weight belongs to the direction of the links, the others follow in cyclic order (further ones are 1).  Of all such
forms these separate the links best whose elements of the Jacobian are large: neighbours across, then pairs two hops apart.
"""


class Probe(NamedTuple):
    """Links of one direction and colour: block sites, the generator, signs ``(n_active, lanes)``, links displaced both ways."""

    mu: int
    sites: Any
    generator: Array
    sign: Array
    images: tuple[Array, Array]


def link_colours(lattice: Lattice, colours: int) -> list[tuple[int, Any]]:
    """Directions of links, and block sites of every colour for each of them.

    Raises
    ------
    ValueError
        If the number is not one of ``COLOURINGS``, or the lattice does not have the colours.
    """
    if colours not in COLOURINGS:
        raise ValueError(f"colours: expected one of {tuple(COLOURINGS)}, got {colours}")
    d = lattice.ndim
    found: list[tuple[int, Any]] = []
    if d < 3 and colours == 16:
        raise ValueError(f"colours: expected at most 8 on a lattice of {d} dimensions, got {colours}")
    for mu in range(d):
        colour = np.zeros(len(lattice.sites_of_colour([0] * d, 1, 0)), dtype=np.int32)
        for weights, modulus in COLOURINGS[colours]:
            roles = (*weights, *[1] * d)[:d]
            turned = [roles[(nu - mu) % d] for nu in range(d)]
            colour *= modulus
            for value in range(modulus):
                colour[lattice.sites_of_colour(turned, modulus, value)] += value
        found += [(mu, np.nonzero(colour == k)[0].astype(np.int32)) for k in range(colours)]
    return found


def random_signs(rng: Rng | Sequence[Rng], lattice: Lattice, x: Array) -> Array:
    """1 or -1 for every direction and generator, ``(ndim * generators, n_blocks, lanes)``."""
    xp = array_namespace(x)
    n = int(x.shape[2])
    count = n * n - 1 if n > 1 else 1
    numbers = uniform(rng, lattice, lattice.ndim * count, lattice.batch(x.shape[-1]), xp=xp)
    return xp.where(numbers < 0.5, -xp.ones_like(numbers), xp.ones_like(numbers))


def require_double(x: Array) -> None:
    """``ValueError`` for links in single precision, whose rounding errors the differences do not stand."""
    if x.dtype != array_namespace(x).complex128:
        raise ValueError(f"divergences by probes: expected links in double precision (complex128), got {x.dtype}")


def probes(lattice: Lattice, colours: int, signs: Array, x: Array) -> Iterator[Probe]:
    """All probes of a configuration, with links ``exp(+-PROBE_STEP sign T) U`` where they are displaced."""
    xp = array_namespace(x)
    basis = algebra_basis(int(x.shape[2]), xp, x.dtype)
    count = int(basis.shape[0])
    for (mu, sites), a in product(link_colours(lattice, colours), range(count)):
        sign = xp.take(signs[mu * count + a, ...], xp.asarray(sites, dtype=xp.int64), axis=0)
        ahead, behind = _turned(basis[a, ...], sign, active_rows(x, mu, sites))
        images = (
            kernels.overwrite(lattice, xp.asarray(x, copy=True), mu, sites, ahead),
            kernels.overwrite(lattice, xp.asarray(x, copy=True), mu, sites, behind),
        )
        yield Probe(mu, sites, basis[a, ...], sign, images)


def _turned(generator: Array, sign: Array, links: Array) -> tuple[Array, Array]:
    """Links ``exp(+-PROBE_STEP sign T) U``, ``(n_active, N, N, lanes)``."""
    xp = array_namespace(links)
    angles, vectors = xp.linalg.eigh(-1j * generator)  # T = i vectors angles vectors^dagger
    adjoint = xp.conj(xp.matrix_transpose(vectors))
    even = (vectors * xp.astype(xp.cos(PROBE_STEP * angles), links.dtype)) @ adjoint
    odd = (vectors * (1j * xp.astype(xp.sin(PROBE_STEP * angles), links.dtype))) @ adjoint

    def applied(matrix: Array) -> Array:
        return xp.permute_dims(xp.tensordot(matrix, links, axes=((1,), (1,))), (1, 0, 2, 3))

    middle, side = applied(even), sign[:, None, None, :] * applied(odd)
    return middle + side, middle - side
