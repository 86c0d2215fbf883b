"""Vector fields on U(1) links in two dimensions that keep the topological charge: currents of flux, and turns of holonomies.

The charge is a function of the links with jumps where a plaquette passes through pi, so that X.dQ of a vector field X is zero
but for what X carries across the jumps.  The fields here vanish there: they carry nothing, and X.dQ = 0 holds exactly.
Derivation in ``docs/derivations/parameters.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gaugeflow.kernels import inner
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace


@dataclass(frozen=True)
class SectorFields:
    """Fields that exchange flux between plaquettes, or turn the holonomies; links ``(2, V, 1, 1, batch)``.

    Field k of the first kind changes the plaquettes P_p, angles between -pi and pi, by the current ``J_p = g_p <chi> - chi_p
    <g>`` with means over the lattice, ``g = sin k P`` and ``chi = cos(P / 2)``.  The sum of J vanishes, and so does J_p where
    P_p is pi.  Field k of the second kind turns all holonomies along a direction by ``Im <L^k> / k``.

    Parameters
    ----------
    lattice
        The lattice, in two dimensions and not folded.
    harmonics
        k of the fields of the first kind.
    windings
        k of those of the second kind; two fields each, in time and in space.  Odd ones may have k = 0, which turns all
        holonomies by the same angle.
    odd
        False: fields that charge conjugation leaves alone, for observables that are even.  True: ``cos((k + 1/2) P)`` and
        ``Re <L^k>`` in place of sines and imaginary parts, for observables that are odd.

    Raises
    ------
    ValueError
        If the lattice is folded or has not two dimensions, a number is not positive, or there is no field.
    """

    lattice: Lattice
    harmonics: tuple[int, ...] = (1, 2, 3)
    windings: tuple[int, ...] = ()
    odd: bool = False

    def __post_init__(self) -> None:
        self.lattice.check_whole("SectorFields")
        if self.lattice.ndim != 2 or self.lattice.n_folds > 1:
            raise ValueError(f"SectorFields: expected a lattice of two dimensions without folds, got {self.lattice}")
        least = 0 if self.odd else 1
        if not self.harmonics + self.windings or min((1, *self.harmonics, *(k + 1 - least for k in self.windings))) < 1:
            raise ValueError(
                f"SectorFields: expected harmonics from 1, windings from {least}, and at least one field, got "
                f"{self.harmonics} and {self.windings}"
            )

    @property
    def shape(self) -> tuple[int]:
        """Of coefficients: number of fields."""
        return (len(self.harmonics) + 2 * len(self.windings),)

    def _angles(self, x: Array) -> tuple[Array, Array]:
        """Angles of links by direction, ``(2, T, X, batch)``, and of plaquettes ``(T, X, batch)``, from -pi to pi."""
        n, lanes = self.lattice.check_links(x)
        if n != 1:
            raise ValueError(f"SectorFields: expected U(1) links, got {n} colours")
        xp = array_namespace(x)
        links = xp.reshape(x, (2, *self.lattice.shape, lanes))
        angles = xp.astype(xp.atan2(xp.imag(links), xp.real(links)), xp.float64)
        time, space = angles[0, ...], angles[1, ...]
        turned = time + xp.roll(space, -1, axis=0) - xp.roll(time, -1, axis=1) - space
        return angles, turned - 2.0 * math.pi * xp.round(turned / (2.0 * math.pi))

    def _current(self, k: int, p: Array) -> tuple[Array, Array]:
        """J and its divergence."""
        xp = array_namespace(p)
        chi, d_chi = xp.cos(0.5 * p), -0.5 * xp.sin(0.5 * p)
        if self.odd:
            g, d_g = xp.cos((k + 0.5) * p), -(k + 0.5) * xp.sin((k + 0.5) * p)
        else:
            g, d_g = xp.sin(k * p), k * xp.cos(k * p)
        mean_chi, mean_g = (xp.mean(f, axis=(0, 1)) for f in (chi, g))
        slope = d_g * mean_chi - d_chi * mean_g + (g * d_chi - chi * d_g) / self.lattice.volume
        return g * mean_chi - chi * mean_g, xp.sum(slope, axis=(0, 1))

    def _links_of(self, current: Array) -> Array:
        """Change of the angles of links, without a change of holonomies in the mean, that changes plaquettes so."""
        xp = array_namespace(current)
        by_row = xp.mean(current, axis=0)
        space = _before(current - by_row[None, ...])
        time = -_before(by_row)[None, ...] + xp.zeros_like(current)
        return xp.stack([f - xp.mean(f, axis=(0, 1), keepdims=True) for f in (time, space)])

    def _turn(self, k: int, mu: int, angles: Array) -> tuple[Array, Array]:
        """Change of the angles of links, and divergence."""
        xp = array_namespace(angles)
        total = k * xp.sum(angles[mu, ...], axis=mu)
        cosine, sine = (xp.mean(f, axis=0) for f in (xp.cos(total), xp.sin(total)))
        turn, slope = (cosine / max(k, 1), -sine) if self.odd else (sine / k, cosine)
        field = xp.zeros_like(angles[mu, ...]) + turn / self.lattice.shape[mu]
        return xp.stack([field if nu == mu else xp.zeros_like(field) for nu in range(2)]), slope

    def fields(self, x: Array) -> tuple[Array, Array]:
        """The algebra fields ``(n_fields, 2, V, 1, 1, batch)`` and their divergences ``(n_fields, batch)``."""
        angles, p = self._angles(x)
        xp = array_namespace(x)
        found = []
        for k in self.harmonics:
            current, slope = self._current(k, p)
            found.append((self._links_of(current), slope))
        found += [self._turn(k, mu, angles) for k in self.windings for mu in range(2)]
        moves = xp.stack([xp.reshape(move, x.shape) for move, _ in found])
        return xp.astype(1j * moves, x.dtype), xp.stack([slope for _, slope in found])

    def tangent(self, x: Array, force: Array) -> Array:
        """``div X - <X, force>`` of every field, ``(n_fields, batch)``; its mean is zero where force is that of the links."""
        fields, divergence = self.fields(x)
        xp = array_namespace(x)
        drift = [inner(self.lattice, fields[k, ...], force) for k in range(self.shape[0])]
        return divergence - xp.stack(drift)

    def linearised(self, coefficients: Any, x: Array, force: Array, step: float) -> tuple[Array, Array, Array]:
        """Links moved to both sides along X = sum_k c_k X_k.

        Parameters
        ----------
        coefficients
            c, ``(n_fields,)``.
        x, force
            Links, and the gradient of the action from which they come.
        step
            How far they move.

        Returns
        -------
        ahead, behind, tangent : Array
            ``exp(step X) x`` and ``exp(-step X) x``; ``div X - <X, force>`` of each configuration.
        """
        xp = array_namespace(x)
        c = xp.asarray(coefficients, dtype=xp.float64)
        if tuple(c.shape) != self.shape:
            raise ValueError(f"coefficients: expected shape {self.shape}, got {tuple(c.shape)}")
        fields, divergence = self.fields(x)
        field = xp.sum(c[:, None, None, None, None, None] * fields, axis=0)
        tangent = xp.sum(c[:, None] * divergence, axis=0) - inner(self.lattice, field, force)
        move = xp.imag(field)
        ahead, behind = (xp.astype(x * xp.exp(sign * step * 1j * move), x.dtype) for sign in (1.0, -1.0))
        return ahead, behind, tangent


def _before(f: Array) -> Array:
    """Sums over all earlier places along the first axis."""
    xp = array_namespace(f)
    n = f.shape[0]
    place = xp.arange(n)
    earlier = xp.astype(place[None, :] < place[:, None], f.dtype)
    return xp.reshape(earlier @ xp.reshape(f, (n, -1)), f.shape)
