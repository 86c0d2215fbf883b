"""Probes of a divergence: links of one direction and colour of sites, displaced along one generator with random signs.

The sum over all probes of <eta, J eta>, with the displacement eta and the Jacobian J of a field, has the divergence as its
mean.  What is not on the diagonal of the Jacobian has a random sign and is small, because links of a probe are not neighbours
and no link is displaced along two generators.  See ``docs/derivations/smeared_forces.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

from array_api_compat import array_namespace

from gaugeflow import kernels
from gaugeflow.flows.gauge.smearing import active_rows
from gaugeflow.groups.su import algebra_basis
from gaugeflow.lattice import Array, Lattice
from gaugeflow.random import Rng, uniform

PROBE_STEP = 3e-4
"""Displacement of the links of a probe: central differences are wrong by a share of about 1e-8."""

COLOURS = (1, 2, 4, 8)
"""Numbers of colours of sites that a probe may be one of."""


class Probe(NamedTuple):
    """Links of one direction and colour: block sites, the generator, signs ``(n_active, lanes)``, links displaced both ways."""

    mu: int
    sites: Any
    generator: Array
    sign: Array
    images: tuple[Array, Array]


def colour_sites(lattice: Lattice, colours: int) -> list[Any]:
    """Block sites of every colour.

    Raises
    ------
    ValueError
        If the number is not one of ``COLOURS``, or the lattice does not have the colours.
    """
    if colours not in COLOURS:
        raise ValueError(f"colours: expected one of {COLOURS}, got {colours}")
    weights = [(2 * mu + 1 if colours == 8 else 1) for mu in range(lattice.ndim)]
    return [lattice.sites_of_colour(weights, colours, colour) for colour in range(colours)]


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
    for mu, sites, a in product(range(lattice.ndim), colour_sites(lattice, colours), range(count)):
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
