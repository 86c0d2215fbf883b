"""Sources of quark propagators: stacks ``(R, n_blocks, spin, colour, lanes)`` of right-hand sides.

Sources that carry all spins and colours number them with colour fastest: field ``s N + c`` is spin s, colour c.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gaugeflow import random
from gaugeflow.errors import require_finite, whole_numbers
from gaugeflow.hadrons.smearing import Gaussian
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators import HoppingOperator
from gaugeflow.random import Rng

NOISE = ("z2", "z4", "u1")
"""Groups of noise: 1 and -1; 1, i, -1, -i; the unit circle."""


@dataclass(frozen=True, eq=False)
class Source:
    """Right-hand sides of a propagator, and where it starts.

    Parameters
    ----------
    field
        Stack ``(R, n_blocks, spin, colour, lanes)``; R is spin times colour, or spin where the colours share one noise.
    origin
        Site from which times and phases of momenta count.
    norm
        What meson correlators are multiplied by: the inverse number of sites of a noise source, over which they are sums,
        else 1.
    """

    field: Array
    origin: tuple[int, ...]
    norm: float = 1.0

    def __post_init__(self) -> None:
        require_finite(self, "norm")


def point(operator: HoppingOperator, site: Sequence[int], smearing: Gaussian | None = None) -> Source:
    """A source at one site for every spin and colour.

    Parameters
    ----------
    operator
        Bound to links.
    site
        Coordinates, time first.
    smearing
        Spread it within its time slice, with the links and boundary phases of the operator.

    Returns
    -------
    Source
        Stack of spin times colour fields.

    Raises
    ------
    ValueError
        If the site is not on the lattice.
    TypeError
        If coordinates are no integers.
    """
    lattice = operator.lattice
    place = whole_numbers("site", site)
    if len(place) != lattice.ndim or any(not 0 <= x < n for x, n in zip(place, lattice.shape, strict=True)):
        raise ValueError(f"site: expected coordinates on the lattice {lattice.shape}, got {tuple(site)}")
    inside: Any = True
    for mu, x in enumerate(place):
        inside = inside & (lattice.coordinates[mu] == x)
    return Source(_all_spins(operator, _lanes(operator, inside), smearing), place)


def wall(
    operator: HoppingOperator,
    time: int,
    smearing: Gaussian | None = None,
    *,
    momentum: Sequence[int] = (),
) -> Source:
    """A source on all sites of a time slice, with phases exp(i p x), for every spin and colour.

    It is not gauge covariant: use it on links in Coulomb gauge, or accept the noise of what gauge averages remove.
    Arguments and result as for :func:`point`; ``momentum`` are integers n_i with p_i = 2 pi n_i / extent.
    """
    lattice = operator.lattice
    _check_time(lattice, time)
    weight = _lanes(operator, lattice.coordinates[0] == time) * _plane_wave(operator, momentum)
    return Source(_all_spins(operator, weight, smearing), _start(lattice, time))


def noise(
    operator: HoppingOperator,
    rng: Rng | Sequence[Rng],
    time: int,
    smearing: Gaussian | None = None,
    *,
    kind: str = "z4",
    momentum: Sequence[int] = (),
    dilute_colour: bool = False,
) -> Source:
    """Noise on a time slice, one field for every spin: meson correlators by the one-end trick (hep-lat/0603007).

    Parameters
    ----------
    operator
        Bound to links.
    rng
        Stream of the noise, or one for every configuration, so that a configuration has the same noise in any batch.
    time
        Time slice.
    smearing
        As for :func:`point`.
    kind
        ``"z2"``, ``"z4"`` or ``"u1"``.
    momentum
        Phases exp(i p x); a meson of momentum p needs a quark with them and an antiquark without, of the same noise.
    dilute_colour
        One field for every spin and colour; the components of the noise are independent either way.

    Returns
    -------
    Source
        ``norm`` is the inverse number of sites, so that correlators have the expectation values of a point source.
    """
    lattice = operator.lattice
    _check_time(lattice, time)
    weight = _lanes(operator, lattice.coordinates[0] == time) * _plane_wave(operator, momentum)
    eta = noise_field(operator, rng, kind, spin=1)[:, 0, :, :] * weight[:, None, :]
    xp = array_namespace(eta)
    n = eta.shape[1]
    colours = []
    for a in range(n) if dilute_colour else (None,):
        kept = xp.asarray([1.0 if a is None or b == a else 0.0 for b in range(n)], dtype=eta.dtype)
        colours.append(eta * kept[None, :, None])
    field = _every_spin(operator, xp.stack(colours), smearing)
    return Source(field, _start(lattice, time), lattice.shape[0] / lattice.volume)


def noise_field(
    operator: HoppingOperator, rng: Rng | Sequence[Rng], kind: str = "z4", *, spin: int | None = None
) -> Array:
    """Independent numbers of modulus 1 on all sites, spins and colours: ``(n_blocks, spin, colour, lanes)``.

    Parameters
    ----------
    operator
        Bound to links: it says where the field lives.
    rng
        Stream of the noise, or one for every configuration.
    kind
        ``"z2"``, ``"z4"`` or ``"u1"``.
    spin
        Spin components (default: those of the operator).

    Raises
    ------
    ValueError
        If the kind is unknown, or the number of streams is not that of the configurations.
    """
    if kind not in NOISE:
        raise ValueError(f"noise: expected one of {NOISE}, got {kind!r}")
    lattice, links = operator.lattice, operator.bound
    xp = array_namespace(links)
    rows, components, n, lanes = operator.field_shape()
    components = components if spin is None else spin
    batch = lattice.batch(lanes)
    u = random.uniform(rng, lattice, components * n, batch, xp=xp)
    if kind == "u1":
        angle = 2.0 * math.pi * u
        field = xp.astype(xp.cos(angle), links.dtype) + 1j * xp.astype(xp.sin(angle), links.dtype)
    else:
        signs = 1.0 - 2.0 * xp.floor(2.0 * u)
        field = xp.astype(signs, links.dtype)
        if kind == "z4":
            turned = xp.floor(4.0 * u) - 2.0 * xp.floor(2.0 * u) > 0.5
            field = xp.where(turned, 1j * field, field)
    return xp.permute_dims(xp.reshape(field, (components, n, rows, lanes)), (2, 0, 1, 3))


@dataclass(frozen=True)
class Dilution:
    """Which components of a noise field are solved for together (Foley et al., hep-lat/0505023).

    Dilution in a component removes from the variance of a trace what that component mixes, for as many more solves.

    Parameters
    ----------
    time, spin, colour, parity
        Separate time slices, spins, colours, even and odd sites.
    """

    time: bool = True
    spin: bool = True
    colour: bool = False
    parity: bool = False

    def parts(self, operator: HoppingOperator, eta: Array, size: int = 12) -> Iterator[Array]:
        """Stacks of at most ``size`` fields that add up to ``eta``."""
        parts: list[Array] = []
        for part in self._each(operator, eta):
            parts.append(part)
            if len(parts) == size:
                yield array_namespace(eta).stack(parts)
                parts = []
        if parts:
            yield array_namespace(eta).stack(parts)

    def _each(self, operator: HoppingOperator, eta: Array) -> Iterator[Array]:
        lattice = operator.lattice
        xp = array_namespace(eta)
        _, spin, n, _ = eta.shape
        total = lattice.coordinates.sum(axis=0)
        for t in range(lattice.shape[0]) if self.time else (None,):
            for p in (0, 1) if self.parity else (None,):
                inside = (lattice.coordinates[0] == t) | (t is None)
                inside = inside & ((total % 2 == p) | (p is None))
                here = _lanes(operator, inside)[:, None, None, :]
                for s in range(spin) if self.spin else (None,):
                    for c in range(n) if self.colour else (None,):
                        kept = [float((s in (None, a)) and (c in (None, b))) for a in range(spin) for b in range(n)]
                        mask = xp.reshape(xp.asarray(kept, dtype=eta.dtype), (1, spin, n, 1))
                        yield eta * here * mask

    def count(self, lattice: Lattice, spin: int, n: int) -> int:
        """Number of solves for each noise field."""
        factors = ((self.time, lattice.shape[0]), (self.spin, spin), (self.colour, n), (self.parity, 2))
        return math.prod(size for used, size in factors if used)


# ---- fields on slots ------------------------------------------------------------------------------------------------
def _check_time(lattice: Lattice, time: int) -> None:
    if not 0 <= time < lattice.shape[0]:
        raise ValueError(f"time: expected 0 ... {lattice.shape[0] - 1}, got {time}")


def _start(lattice: Lattice, time: int) -> tuple[int, ...]:
    return (int(time), *(0,) * (lattice.ndim - 1))


def _lanes(operator: HoppingOperator, values: Any) -> Array:
    """Values on slots ``(n_blocks, n_folds)``, the same for all configurations, as ``(n_blocks, lanes)``."""
    links = operator.bound
    xp = array_namespace(links)
    x = xp.asarray(values, dtype=links.dtype)
    lanes = links.shape[4]
    wide = xp.broadcast_to(x[:, :, None], (*x.shape, operator.lattice.batch(lanes)))
    return xp.reshape(wide, (x.shape[0], lanes))


def _plane_wave(operator: HoppingOperator, momentum: Sequence[int]) -> Any:
    """exp(i p x) of every slot, ``(n_blocks, lanes)``; 1 for no momentum."""
    lattice = operator.lattice
    if not any(momentum):
        return 1.0
    if len(momentum) != lattice.ndim - 1:
        raise ValueError(
            f"momentum: expected {lattice.ndim - 1} integers, one for each spatial direction, got {momentum}"
        )
    xp = array_namespace(operator.bound)
    angle: Any = 0.0
    for mu, n in enumerate(momentum, start=1):
        angle = angle + (2.0 * math.pi * n / lattice.shape[mu]) * lattice.coordinates[mu]
    return xp.exp(1j * _lanes(operator, angle))


def _all_spins(operator: HoppingOperator, weight: Array, smearing: Gaussian | None) -> Array:
    """Unit vectors of every spin and colour with a weight ``(n_blocks, lanes)``."""
    xp = array_namespace(weight)
    n = operator.bound.shape[2]
    unit = xp.eye(n, dtype=weight.dtype)
    return _every_spin(operator, weight[None, :, None, :] * unit[:, None, :, None], smearing)


def _every_spin(operator: HoppingOperator, colours: Array, smearing: Gaussian | None) -> Array:
    """Stack of spin times k fields from k vectors of colour ``(k, n_blocks, N, lanes)``, which are smeared."""
    xp = array_namespace(colours)
    k, rows, n, lanes = colours.shape
    vectors = xp.asarray(colours[:, :, None, :, :], copy=True)
    if smearing is not None:
        vectors = smearing(operator.lattice, operator.bound, vectors, operator.boundary)
    spin = operator.spin
    unit = xp.eye(spin, dtype=colours.dtype)
    field = vectors[None, ...] * unit[:, None, None, :, None, None]
    return xp.reshape(field, (spin * k, rows, spin, n, lanes))
