"""Gradients of smeared plaquettes as fields of sources: no masks, and divergences by probes.

W_n^(t) is the sum of Re tr P over the plaquettes of links V_n that start on slice t, and V_n are the links after n smearing
steps without masks.  The field of a source moves all links along its gradient,

    G_n^(t) = grad W_n^(t)(U),    h = Laplace W_n^(t) - <grad W_n^(t), grad S>,

so that no field is ever evaluated for h: the second term is a change of plaquettes along the force, and the first is a
sum over probes of second differences of plaquettes, as in :class:`gaugeflow.ensembles.SmearedForces`.  One pass gives all n,
planes and slices.  Without masks the fields leave half of what :class:`gaugeflow.ensembles.SmearedSources` leave, and their
divergence has noise: the two factors of a product need noise of their own.  Derivation in ``docs/derivations/sources.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gaugeflow import kernels
from gaugeflow.ensembles.probes import PROBE_STEP, link_colours, probes, random_signs, require_double
from gaugeflow.ensembles.smeared_links import SmearedLinks
from gaugeflow.ensembles.sources import Source, on_slices
from gaugeflow.ensembles.sources_links import Polarisation, check_polarisation, plane_classes, plane_weights
from gaugeflow.errors import require_finite
from gaugeflow.kernels.sums import sum_slices
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng


@dataclass(frozen=True)
class GradientSources:
    """The fields G_n of temporal and of spatial plaquettes; X_i^(t) moves links within ``reach`` of slice t.

    Parameters
    ----------
    lattice
        The lattice, of two dimensions or more.
    eta
        Weight of a staple in each smearing step, half the rho of a stout step.
    levels
        Numbers n of smearing steps, increasing from 0 to at most the number of ``eta``.
    polarisations
        Sets of fields: None for scalar operators, or e as for :class:`gaugeflow.ensembles.PlaquetteSources`.  All of them
        are measured at the cost of one.
    kappa
        Weight of loop times link relative to the staples.
    colours
        Colours of sites, 1, 2, 4, 8 or 16, of which a probe has one.  Two and four need even extents, eight and sixteen
        multiples of 4.  Tangents take ``ndim * colours * generators`` probes, of two evaluations of the smeared
        plaquettes each.

    Raises
    ------
    ValueError
        If levels do not increase or exceed the steps, a polarisation is not one or is there twice, or the lattice does not have
        the colours.
    """

    lattice: Lattice
    eta: tuple[float, ...] = (0.04,) * 4 + (0.08,) * 2
    levels: tuple[int, ...] = (0, 1, 2, 4, 6)
    polarisations: tuple[Polarisation, ...] = (None,)
    kappa: float = -1.0
    colours: int = 2

    def __post_init__(self) -> None:
        require_finite(self, "eta", "kappa")
        if not self.levels or any(a >= b for a, b in zip((-1, *self.levels), self.levels, strict=False)):
            raise ValueError(f"levels: expected increasing numbers from 0 on, got {self.levels}")
        if self.levels[-1] > len(self.eta):
            raise ValueError(f"levels: expected at most {len(self.eta)}, the number of eta, got {self.levels}")
        if not self.polarisations or len(set(self.polarisations)) < len(self.polarisations):
            raise ValueError(f"polarisations: expected one or more, all different, got {self.polarisations}")
        for polarisation in self.polarisations:
            check_polarisation(self.lattice, polarisation)
        link_colours(self.lattice, self.colours)

    @property
    def _sets(self) -> list[tuple[int, str, Polarisation]]:
        """Level, class of planes and polarisation of every field."""
        classes = plane_classes(self.lattice)
        return [(n, planes, e) for e in self.polarisations for n in self.levels for planes in classes]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields: ``G2 temporal``, and ``G2 temporal (1, -1, 0)`` with a polarisation."""

        def label(e: Polarisation) -> str:
            return "" if e is None else f" ({', '.join(f'{k:g}' for k in e)})"

        return tuple(f"G{n} {planes}{label(e)}" for n, planes, e in self._sets)

    @property
    def reach(self) -> int:
        """One slice for a plaquette, and one for each smearing step."""
        return 1 + self.levels[-1]

    def select(self, polarisation: Polarisation) -> GradientSources:
        """The fields of one polarisation."""
        return GradientSources(self.lattice, self.eta, self.levels, (polarisation,), self.kappa, self.colours)

    # ---- plaquettes ------------------------------------------------------------------------------------------------
    def _smeared(self, x: Array) -> SmearedLinks:
        return SmearedLinks(self.lattice, x, self.eta[: self.levels[-1]], self.kappa)

    def _plaquettes(self, smeared: SmearedLinks) -> Array:
        """Sums of Re tr P of every level and plane by slice, ``(levels, planes, T, batch)``."""
        traces = [kernels.plaquette_traces(self.lattice, smeared.levels[n]) for n in self.levels]
        return sum_slices(self.lattice, array_namespace(traces[0]).stack(traces))

    def _fields(self, planes: Array) -> Array:
        """From numbers for every level and plane, ``(levels, planes, ...)``, those of all fields, ``(n_fields, ...)``."""
        xp = array_namespace(planes)
        lattice, found = self.lattice, []
        for n, chosen, e in self._sets:
            weights = plane_weights(lattice, chosen, e)
            row = planes[self.levels.index(n), ...]
            total = 0.0 * row[0, ...]
            for k, (mu, nu) in enumerate(lattice.planes):
                weight = weights[mu * lattice.ndim + nu]
                if weight:
                    total = total + weight * row[k, ...]
            found.append(total)
        return xp.stack(found)

    # ---- tangents --------------------------------------------------------------------------------------------------
    def with_noise(self, rng: Rng | Sequence[Rng]) -> NoisyGradients:
        """The fields with the signs of their divergences, for functions that take fields of sources.

        Parameters
        ----------
        rng
            Source of the signs, or one for each configuration: another one for every configuration, and for each factor of
            a product.
        """
        return NoisyGradients(self, rng)

    def tangents(self, rng: Rng | Sequence[Rng], x: Array, force: Array) -> Array:
        """Unbiased estimates of h_i^(t), ``(n_fields, T, batch)`` float64.

        Parameters
        ----------
        rng
            Source of the signs, or one for each configuration.
        x
            Links in double precision.
        force
            Gradient of the action of which the links are.

        Raises
        ------
        ValueError
            If the links are in single precision, whose rounding errors the differences do not stand.
        """
        (found,) = self._tangents((rng,), x, force)
        return found

    def two_estimates(
        self, rngs: tuple[Rng | Sequence[Rng], Rng | Sequence[Rng]], x: Array, force: Array
    ) -> tuple[Array, Array]:
        """:meth:`tangents` with two sources of signs, for the two factors of a product."""
        first, second = self._tangents(rngs, x, force)
        return first, second

    def _tangents(self, rngs: Sequence[Rng | Sequence[Rng]], x: Array, force: Array) -> list[Array]:
        require_double(x)
        smeared = self._smeared(x)
        middle, along = self._plaquettes(smeared), self._along(smeared, force)
        return [self._fields(self._laplacians(rng, x, middle) - along) for rng in rngs]

    def _along(self, smeared: SmearedLinks, force: Array) -> Array:
        """Changes of plaquettes when links move along the force, ``(levels, planes, T, batch)``."""
        moves = (move for move in enumerate(smeared.along(force)) if move[0] in self.levels)
        rows = [kernels.plaquette_traces_along(self.lattice, smeared.levels[n], move) for n, move in moves]
        return sum_slices(self.lattice, array_namespace(force).stack(rows))

    def _laplacians(self, rng: Rng | Sequence[Rng], x: Array, middle: Array) -> Array:
        """Unbiased estimates of the Laplacian of plaquettes; without smearing it is -2 (N^2 - 1) / N times them (U(1): -2)."""
        xp, n = array_namespace(x), int(x.shape[2])
        found: Any = 0.0
        if self.levels != (0,):
            for probe in probes(self.lattice, self.colours, self._signs(rng, x), x):
                ahead, behind = (self._plaquettes(self._smeared(image)) for image in probe.images)
                found = found + (ahead + behind - 2.0 * middle) / PROBE_STEP**2
        if self.levels[0] > 0:
            return found
        closed = -2.0 * (n - 1.0 / n if n > 1 else 1.0) * middle[:1, ...]
        return closed if self.levels == (0,) else xp.concat([closed, found[1:, ...]])

    def _signs(self, rng: Rng | Sequence[Rng], x: Array) -> Array:
        return random_signs(rng, self.lattice, x)

    # ---- vectors ---------------------------------------------------------------------------------------------------
    def sources(self, x: Array) -> Callable[[npt.NDArray[np.float64]], Source]:
        """X_t from coefficients: a pass backwards through the smearing steps for each t."""
        smeared = self._smeared(x)

        def combined(coefficients: npt.NDArray[np.float64]) -> Source:
            if coefficients.shape[0] != len(self.names):
                raise ValueError(f"coefficients: expected {len(self.names)} rows, got shape {coefficients.shape}")

            def source(t: int) -> Array:
                return smeared.gradient(
                    self.levels[-1],
                    lambda level, bar: self._add_gradients(bar, smeared.levels[level], level, coefficients, t),
                )

            return source

        return combined

    def _add_gradients(self, bar: Array, links: Array, level: int, coefficients: Any, t: int) -> Array:
        """``bar`` and the gradients of the plaquettes of a level: those that start on other slices hold a link that is 0."""
        xp, radius = array_namespace(links), coefficients.shape[1] // 2
        for tau, planes in ((tau, planes) for tau in range(2 * radius + 1) for planes in plane_classes(self.lattice)):
            weights = np.zeros(self.lattice.ndim**2)
            for i, (n, chosen, e) in enumerate(self._sets):
                if (n, chosen) == (level, planes):
                    weights += coefficients[i, tau] * np.asarray(plane_weights(self.lattice, planes, e))
            if not weights.any():
                continue
            here = [(t + tau - radius) % self.lattice.shape[0]]
            kept = on_slices(self.lattice, links, here)
            parts = (kept[:1, ...], links[1:, ...]) if planes == "temporal" else (links[:1, ...], kept[1:, ...])
            bar = kernels.plaquette_gradient(self.lattice, xp.concat(parts), weights.tolist(), bar)
        return bar


@dataclass(frozen=True)
class NoisyGradients:
    """Gradients of smeared plaquettes whose divergences are estimated with given signs.

    Parameters
    ----------
    fields
        The fields.
    rng
        Source of the signs, or one for each configuration.
    """

    fields: GradientSources
    rng: Rng | Sequence[Rng]

    @property
    def lattice(self) -> Lattice:
        """The lattice."""
        return self.fields.lattice

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields."""
        return self.fields.names

    @property
    def reach(self) -> int:
        """Slices that X_i^(t) moves to both sides of t."""
        return self.fields.reach

    def tangents(self, x: Array, force: Array) -> Array:
        """Unbiased estimates of h_i^(t), ``(n_fields, T, batch)``; the same signs for every configuration that is given."""
        return self.fields.tangents(self.rng, x, force)

    def sources(self, x: Array) -> Callable[[npt.NDArray[np.float64]], Source]:
        """X_t from coefficients, without noise."""
        return self.fields.sources(x)
