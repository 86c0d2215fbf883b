"""Fields of sources for gauge theories: forces of plaquettes and of smeared plaquettes, slice by slice.

A field is told by the links that move and by the staples that move them:

    time    links of direction 0
    up      links of the other directions by their staples ahead in time, whose plaquettes begin on the slice of the link
    down    the same by their staples behind, whose plaquettes begin on the slice before
    space   the same by their staples in spatial planes

so that any weights of plaquettes by time slice are within reach of the coefficients.  A polarisation e, one number for each
spatial direction, multiplies staples in the plane (0, k) by e_k and those in the plane (k, l) by e_k + e_l.  The fields then
transform as a spin-2 operator does, whose mean vanishes; a fifth class, ``skew``, has e_k - e_l for links of direction k.

Divergences are exact: a link moves by P(U S^dagger) or by loops of matrices that know nothing of the links that move with it,
as in :class:`gaugeflow.flows.SmearedSweep`.  With K = a U + 2 F U, F the force and a = (N^2 - 1)/N (1 for U(1)), every link has

    P(U S^dagger):                               h = Re tr K S^dagger
    (P(B G) + U P(G B) U^dagger) / 2:            h = Re tr (F B + B U^dagger F U) G

in div X - <X, F>; derivation in ``docs/derivations/sources.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gaugeflow import kernels
from gaugeflow.ensembles.sources import LocalSources, SlicedFields
from gaugeflow.flows import SmearedSweep
from gaugeflow.flows.gauge.smearing import active_rows
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.observables.flow_scales import slice_sums
from gaugeflow.sites.matrix import add, add_scaled, dag, mul, mul_dag, project, re_trace_mul_dag, scale
from gaugeflow.sites.numbers import Matrix
from gaugeflow.sites.smeared import tangent_direction

Polarisation: TypeAlias = tuple[float, ...] | None
"""e of every spatial direction."""


class _Part(NamedTuple):
    """One field on some links of one direction: ``link``, and ``staples`` or a gradient's conjugate, ``(n, N, N, lanes)``.

    X = P(U S^dagger) where ``link`` is None, and (P(B S^dagger) + U P(S^dagger B) U^dagger) / 2 where it is B.
    """

    name: str
    mu: int
    sites: Any
    staples: Array
    link: Array | None = None


class _Links(SlicedFields):
    """What fields of links share: sums over parts that together hold every link once."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields."""
        raise NotImplementedError

    def _parts(self, x: Array) -> Iterator[_Part]:
        raise NotImplementedError

    def densities(self, x: Array, force: Array) -> Array:
        """Residual densities: div X - <X, force> of the links that start at a site, ``(n_fields, n_blocks, lanes)``."""
        xp = array_namespace(x)
        n, _ = self.lattice.check_links(x)
        single = (n * n - 1.0) / n if n > 1 else 1.0

        def density(part: _Part, u: Matrix, f: Matrix) -> Array:
            if part.link is None:
                along = add_scaled(scale(single, u), 2.0, mul(f, u))
            else:
                along = tangent_direction(u, _numbers(part.link), f)
            return re_trace_mul_dag(along, _numbers(part.staples))

        found = self._gathered(x, lambda part, u: density(part, u, _numbers(active_rows(force, part.mu, part.sites))))
        nought = xp.zeros((self.lattice.n_blocks, x.shape[-1]), dtype=xp.float64)
        return xp.stack([sum(found[name].values(), start=nought) for name in self.names])

    def tangents(self, x: Array, force: Array) -> Array:
        """Sums of the densities over time slices, ``(n_fields, T, batch)``."""
        densities = self.densities(x, force)
        rows = range(densities.shape[0])
        return array_namespace(x).stack([slice_sums(self.lattice, densities[k, ...], mean=False) for k in rows])

    def vectors(self, x: Array) -> Array:
        """X of every field, ``(n_fields, *x.shape)``."""
        xp = array_namespace(x)

        def vector(part: _Part, u: Matrix) -> Array:
            s = _numbers(part.staples)
            if part.link is None:
                return _rows(project(mul_dag(u, s)))
            b = _numbers(part.link)
            turned = mul_dag(mul(u, project(mul(dag(s), b))), u)
            return _rows(scale(0.5, add(project(mul_dag(b, s)), turned)))

        found = self._gathered(x, vector)
        nought = xp.zeros_like(x[0, ...])
        directions = range(self.lattice.ndim)
        return xp.stack([xp.stack([found[name].get(mu, nought) for mu in directions]) for name in self.names])

    def _gathered(self, x: Array, function: Any) -> dict[str, dict[int, Array]]:
        """By name and direction, the rows that a function of parts and their links gives, in the order of block sites."""
        xp = array_namespace(x)
        rows: dict[str, dict[int, list[tuple[Any, Array]]]] = {name: {} for name in self.names}
        for part in self._parts(x):
            u = _numbers(active_rows(x, part.mu, part.sites))
            rows[part.name].setdefault(part.mu, []).append((part.sites, function(part, u)))

        def in_order(pieces: list[tuple[Any, Array]]) -> Array:
            order = np.argsort(np.concatenate([sites for sites, _ in pieces]))
            return xp.take(xp.concat([values for _, values in pieces]), xp.asarray(order, dtype=xp.int64), axis=0)

        return {name: {mu: in_order(pieces) for mu, pieces in by.items()} for name, by in rows.items()}


@dataclass(frozen=True)
class PlaquetteSources(_Links):
    """Forces of the plaquettes, F_0, in the four classes of links and staples; in two dimensions there is no ``space``.

    Parameters
    ----------
    lattice
        The lattice, of two dimensions or more.
    polarisation
        e of every spatial direction, for :func:`gaugeflow.observables.tensor_slices` (1, -1, 0) or (1, 1, -2); default: 1 for
        all planes.

    Raises
    ------
    ValueError
        If the lattice has one dimension, or the polarisation is not one.
    """

    lattice: Lattice
    polarisation: Polarisation = None

    def __post_init__(self) -> None:
        check_polarisation(self.lattice, self.polarisation)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields, ``F0 time`` and so on."""
        return tuple(f"F0 {name}" for name in _classes(self.lattice, self.polarisation))

    def _parts(self, x: Array) -> Iterator[_Part]:
        sites = np.arange(self.lattice.n_blocks, dtype=np.int32)
        halves = _halves(self.lattice, x)
        for mu in range(self.lattice.ndim):
            for name, staples in _staples(self.lattice, x, halves, mu, sites, self.polarisation):
                yield _Part(f"F0 {name}", mu, sites, staples)


@dataclass(frozen=True)
class SmearedSources(_Links):
    """Forces of smeared links, from the layers of a sweep.

    For every n of ``steps`` the fields A_n (and Z_n, if wanted) of :class:`gaugeflow.flows.SmearedSweep` in the classes of
    links and staples above; for every m of the sweep's smearing the gradients G_m of temporal and of spatial plaquettes, each
    with the links of direction 0 and with the others moving.

    Parameters
    ----------
    sweep
        Smearing and masks.
    steps
        Numbers n of smearing steps, at least 1 and at most those of the sweep's smearing.
    turned
        Whether to offer Z_n.
    polarisation
        As for :class:`PlaquetteSources`.

    Raises
    ------
    ValueError
        If the lattice is not one of :class:`PlaquetteSources`, the sweep has a region, or a number of steps is out of range.
    """

    sweep: SmearedSweep
    steps: tuple[int, ...] = (1,)
    turned: bool = False
    polarisation: Polarisation = None

    def __post_init__(self) -> None:
        check_polarisation(self.lattice, self.polarisation)
        if self.sweep.region is not None:
            raise ValueError("SmearedSources: expected a sweep of all links, got one with a region")
        most = len(self.sweep.smearing.eta)
        if any(not 1 <= n <= most for n in self.steps):
            raise ValueError(f"steps: expected 1 ... {most}, the number of eta, got {self.steps}")

    @property
    def lattice(self) -> Lattice:  # type: ignore[override]
        """The lattice."""
        return self.sweep.lattice

    @property
    def _kinds(self) -> tuple[str, ...]:
        return ("A", "Z") if self.turned else ("A",)

    @property
    def _classes(self) -> tuple[str, ...]:
        return _classes(self.lattice, self.polarisation)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields: ``A2 up``, ``G4 spatial time`` for the links of direction 0 by spatial plaquettes."""
        loops = [f"{kind}{n} {name}" for n in self.steps for kind in self._kinds for name in self._classes]
        levels = self.sweep.smearing.gradient_steps
        return *loops, *(
            f"G{m} {p} {link}" for m in levels for p in plane_classes(self.lattice) for link in ("time", "space")
        )

    def _parts(self, x: Array) -> Iterator[_Part]:
        lattice, smearing = self.lattice, self.sweep.smearing
        for active in self.sweep.layers():
            stages = smearing.stages(lattice, x, active)
            for n in self.steps:
                links = stages.links[n]
                halves = _halves(lattice, links)
                for mu, sites in active:
                    last = active_rows(links, mu, sites)
                    for name, staples in _staples(lattice, links, halves, mu, sites, self.polarisation):
                        for kind in self._kinds:
                            link = last if kind == "Z" else None
                            yield _Part(f"{kind}{n} {name}", mu, sites, staples, link)
            for level, m in enumerate(smearing.gradient_steps):
                for planes in plane_classes(self.lattice):
                    one = plane_weights(lattice, planes, self.polarisation)
                    weights = [one if k == level else [0.0] * len(one) for k in range(len(smearing.gradient_steps))]
                    gradient = smearing.gradient(lattice, stages, weights, active).active
                    for (mu, sites), rows in zip(active, gradient, strict=True):
                        conjugate = array_namespace(rows).conj(array_namespace(rows).permute_dims(rows, (0, 2, 1, 3)))
                        filled = active_rows(stages.links[0], mu, sites)
                        name = f"G{m} {planes} {'time' if mu == 0 else 'space'}"
                        yield _Part(name, mu, sites, conjugate, filled)


@dataclass(frozen=True)
class JoinedSources(SlicedFields):
    """The fields of several families, one after the other.

    Parameters
    ----------
    families
        On one lattice, at least one.

    Raises
    ------
    ValueError
        If there is none, or lattices or names clash.
    """

    families: tuple[LocalSources, ...]

    def __post_init__(self) -> None:
        if not self.families:
            raise ValueError("JoinedSources: expected at least one family of fields, got ()")
        if any(family.lattice != self.lattice for family in self.families):
            raise ValueError(f"JoinedSources: expected one lattice, got {[f.lattice.shape for f in self.families]}")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"JoinedSources: expected different names, got {self.names}")

    @property
    def lattice(self) -> Lattice:  # type: ignore[override]
        """The lattice."""
        return self.families[0].lattice

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all fields."""
        return tuple(name for family in self.families for name in family.names)

    def densities(self, x: Array, force: Array) -> Array:
        """Residual densities of all fields, ``(n_fields, n_blocks, lanes)``."""
        return array_namespace(x).concat([family.densities(x, force) for family in self.families])

    def tangents(self, x: Array, force: Array) -> Array:
        """Tangents of all fields, ``(n_fields, T, batch)``."""
        return array_namespace(x).concat([family.tangents(x, force) for family in self.families])

    def vectors(self, x: Array) -> Array:
        """All fields, ``(n_fields, *x.shape)``."""
        return array_namespace(x).concat([family.vectors(x) for family in self.families])


def check_polarisation(lattice: Lattice, polarisation: Polarisation) -> None:
    """``ValueError`` for lattices of one dimension, and for numbers that are no polarisation."""
    if lattice.ndim < 2:
        raise ValueError(f"sources of links need two dimensions or more, got a lattice of shape {lattice.shape}")
    if polarisation is None:
        return
    expected = lattice.ndim - 1
    if lattice.ndim < 3 or len(polarisation) != expected or abs(math.fsum(polarisation)) > 1e-12:
        raise ValueError(
            f"polarisation: expected {expected} numbers, one for each spatial direction of three dimensions or more, whose sum "
            f"is 0, got {polarisation} for a lattice of shape {lattice.shape}"
        )


def _classes(lattice: Lattice, polarisation: Polarisation) -> tuple[str, ...]:
    space = () if lattice.ndim == 2 else ("space",) if polarisation is None else ("space", "skew")
    return "time", "up", "down", *space


def _weight(polarisation: Polarisation, mu: int, nu: int, sign: float = 1.0) -> float:
    """Weight of staples of links of direction mu in the plane (mu, nu), with e_0 = 0."""
    if polarisation is None:
        return 1.0
    e = (0.0, *polarisation)
    return e[mu] + sign * e[nu]


def plane_classes(lattice: Lattice) -> tuple[str, ...]:
    """Classes of planes: with direction 0, and without it where there are such planes."""
    return ("temporal", "spatial") if lattice.ndim > 2 else ("temporal",)


def plane_weights(lattice: Lattice, planes: str, polarisation: Polarisation) -> list[float]:
    """Weight of every plane of a class, at ``mu * ndim + nu``, and 0 for the others."""
    d = range(lattice.ndim)
    chosen = [[mu != nu and (0 in (mu, nu)) == (planes == "temporal") for nu in d] for mu in d]
    return [_weight(polarisation, mu, nu) if chosen[mu][nu] else 0.0 for mu in d for nu in d]


def _colours(lattice: Lattice) -> Any:
    """Numbers of time slices of which neighbours differ: 0 and 1 in turn, and 2 for the last one of an odd number."""
    extent = lattice.shape[0]
    colours = np.arange(extent) % 2
    colours[-1] += 2 * (extent % 2)
    return colours


def _halves(lattice: Lattice, links: Array) -> list[Array]:
    """Links with those of direction 0 kept on the slices of one colour only, for each colour: they tell up from down."""
    xp = array_namespace(links)
    colours = _colours(lattice)
    here = np.repeat(colours[lattice.coordinates[0]], links.shape[-1] // lattice.n_folds, axis=1)[:, None, None, :]
    kept = [xp.asarray((here == k).astype(np.float64), dtype=links.dtype) for k in range(int(colours.max()) + 1)]
    return [xp.concat([links[:1, ...] * keep, links[1:, ...]]) for keep in kept]


def _chosen(xp: Any, numbers: Any, parts: list[Array]) -> Array:
    """At every site and lane the part of its number."""
    found = parts[-1]
    for k, part in enumerate(parts[:-1]):
        found = xp.where(xp.asarray((numbers == k)[:, None, None, :]), part, found)
    return found


def _staples(
    lattice: Lattice, links: Array, halves: list[Array], mu: int, sites: Any, polarisation: Polarisation
) -> Iterator[tuple[str, Array]]:
    """Sums of staples of some links by class."""
    xp = array_namespace(links)
    directions = range(lattice.ndim)
    if mu == 0:
        weights = [_weight(polarisation, 0, nu) for nu in directions]
        yield "time", kernels.path_sum(lattice, links, 0, sites, weights)
        return
    temporal = [_weight(polarisation, mu, 0) if nu == 0 else 0.0 for nu in directions]
    sums = [kernels.path_sum(lattice, half, mu, sites, temporal) for half in halves]
    times = np.repeat(lattice.coordinates[0][sites], links.shape[-1] // lattice.n_folds, axis=1)
    colours = _colours(lattice)
    yield "up", _chosen(xp, colours[times], sums)
    yield "down", _chosen(xp, colours[times - 1], sums)
    signs = {"space": 1.0, "skew": -1.0}
    for name in _classes(lattice, polarisation)[3:]:
        spatial = [_weight(polarisation, mu, nu, signs[name]) if nu > 0 else 0.0 for nu in directions]
        yield name, kernels.path_sum(lattice, links, mu, sites, spatial)


def _numbers(rows: Array) -> Matrix:
    """Matrices ``(n, N, N, lanes)`` as numbers that are arrays."""
    n = rows.shape[1]
    return tuple(rows[:, i, j, :] for i in range(n) for j in range(n))


def _rows(matrix: Matrix) -> Array:
    xp = array_namespace(matrix[0])
    n = round(len(matrix) ** 0.5)
    count, lanes = matrix[0].shape
    return xp.permute_dims(xp.reshape(xp.stack(matrix), (n, n, count, lanes)), (2, 0, 1, 3))
