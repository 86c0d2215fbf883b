"""Vector fields of all links at once, made of smeared links, for the linearised flow: divergences by dilution.

A layer of a flow must leave the links frozen on which its loops depend.  A linearised flow needs no layers: only X, X.dS and
div X.  The fields here are those of the sums W of plaquettes Re tr P, smeared n times without masks,

    F_n:  the force of W on the smeared links V_n, taken as a field on the links U;   F_0 is the gradient of W(U)
    G_n:  the gradient of W(V_n(U)) with respect to U

X.dS is exact.  The divergence of F_0 is closed, all others are sums over probes: of the links of one direction and colour,
each displaced along one generator, with random signs.  What is not on the diagonal of the Jacobian has a random sign and is
small, because links of a probe are not neighbours and no link is displaced along two generators.  See
``docs/derivations/smeared_forces.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from gaugeflow import kernels
from gaugeflow.devices import to_host
from gaugeflow.ensembles.probes import PROBE_STEP, link_colours, probes, random_signs, require_double
from gaugeflow.ensembles.smeared_links import SmearedLinks
from gaugeflow.errors import require_finite
from gaugeflow.flows.gauge.smearing import active_rows
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng
from gaugeflow.typing import Params


@dataclass(frozen=True)
class SmearedForces:
    """The fields F_n and G_n of temporal and of spatial plaquettes.

    Parameters
    ----------
    lattice
        The lattice, of two dimensions or more.
    forces
        Numbers n of smearing steps of the fields F_n, in increasing order.
    gradients
        Those of the fields G_n, in increasing order and positive: G_0 is F_0.
    eta
        Weight of a staple in a smearing step, half the rho of a stout step; or one for each step, of which the last serves
        all further ones.  Small steps at first, where links are rough, leave less; see ``docs/decisions.md``.
    kappa
        Weight of loop times link relative to the staples.
    anisotropic
        Whether planes with direction 0 and others have coefficients of their own.
    colours
        Colours of sites, 1, 2, 4, 8 or 16, of which a probe has one.  Two and four need even extents, eight and sixteen
        multiples of 4.  A divergence takes ``ndim * colours * generators`` probes, of two evaluations of the smeared
        plaquettes each.

    Raises
    ------
    ValueError
        If there is no field, numbers of steps are not increasing, or the lattice does not have the colours.
    """

    lattice: Lattice
    forces: tuple[int, ...] = (0, 6)
    gradients: tuple[int, ...] = (2, 4, 6, 8)
    eta: float | tuple[float, ...] = (0.02, 0.02, 0.02, 0.02, 0.04, 0.04, 0.08)
    kappa: float = -1.0
    anisotropic: bool = False
    colours: int = 4

    def __post_init__(self) -> None:
        require_finite(self, "eta", "kappa")
        if self.lattice.ndim < 2:
            raise ValueError(f"lattice: expected two dimensions or more, got shape {self.lattice.shape}")
        for name, steps, least in (("forces", self.forces, 0), ("gradients", self.gradients, 1)):
            if any(a >= b for a, b in zip((least - 1, *steps), steps, strict=False)):
                raise ValueError(f"{name}: expected increasing numbers from {least} on, got {steps}")
        if self.eta == ():
            raise ValueError("eta: expected a number or one for each smearing step, got ()")
        if not self.fields:
            raise ValueError("SmearedForces: expected at least one field, got forces () and gradients ()")
        link_colours(self.lattice, self.colours)

    # ---- coefficients ----------------------------------------------------------------------------------------------
    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields."""
        return *(f"F{n}" for n in self.forces), *(f"G{n}" for n in self.gradients)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of coefficients: fields, classes of planes (temporal, spatial)."""
        return len(self.fields), 2 if self.anisotropic else 1

    def _of_class(self, k: int, mu: int, nu: int) -> float:
        temporal = 0 in (mu, nu)
        return float(mu != nu and (not self.anisotropic or temporal == (k == 0)))

    def _weights(self, classes: Any) -> list[float]:
        """Weight of the plane (mu, nu), at ``mu * ndim + nu``, from one number for each class."""
        d = range(self.lattice.ndim)
        pairs = product(d, d)
        return [sum(float(c) * self._of_class(k, mu, nu) for k, c in enumerate(classes)) for mu, nu in pairs]

    def _couplings(self, n_colours: int, classes: Any) -> list[float]:
        """Couplings by plane at which ``wilson_force`` is the gradient of W."""
        weights = self._weights(classes)
        return [-n_colours * weights[mu * self.lattice.ndim + nu] for mu, nu in self.lattice.planes]

    def _by_class(self, planes: Array) -> Array:
        """Sums over planes, ``(n_planes, batch)``, class by class."""
        xp = array_namespace(planes)
        rows = []
        for k in range(self.shape[1]):
            chosen = [planes[i, ...] for i, (mu, nu) in enumerate(self.lattice.planes) if self._of_class(k, mu, nu)]
            rows.append(sum(chosen[1:], start=chosen[0]) if chosen else 0.0 * planes[0, ...])
        return xp.stack(rows)

    # ---- fields ----------------------------------------------------------------------------------------------------
    def _smeared(self, x: Array) -> SmearedLinks:
        steps = max((*self.forces, *self.gradients))
        given = self.eta if isinstance(self.eta, tuple) else (self.eta,)
        return SmearedLinks(self.lattice, x, (*given, *given[-1:] * steps)[:steps], self.kappa)

    def vector(self, coefficients: Any, x: Array) -> Array:
        """The field X that is the sum of all fields with coefficients ``shape``, an algebra field."""
        lattice, n = self.lattice, int(x.shape[2])
        xp = array_namespace(x)
        c = self._checked(coefficients)
        smeared, total = self._smeared(x), xp.zeros_like(x)
        for i, level in enumerate(self.forces):
            total = total + kernels.wilson_force(lattice, smeared.levels[level], self._couplings(n, c[i, ...]))
        if not self.gradients:
            return total
        rows = dict(zip(self.gradients, c[len(self.forces) :, ...], strict=True))

        def add(level: int, bar: Array) -> Array:
            if level not in rows:
                return bar
            return kernels.plaquette_gradient(lattice, smeared.levels[level], self._weights(rows[level]), bar)

        return total + smeared.gradient(self.gradients[-1], add)

    def _checked(self, coefficients: Any) -> Any:
        c = np.asarray(to_host(coefficients), dtype=np.float64)
        if tuple(c.shape) != self.shape:
            raise ValueError(f"coefficients: expected shape {self.shape}, got {tuple(c.shape)}")
        return c

    def transported(self, rng: Rng | Sequence[Rng], coefficients: Any, x: Array, step: float) -> tuple[Array, Array]:
        """Links after a finite step along X, and an unbiased estimate of the log-determinant.

        Links follow dU/ds = X(U) U for the time ``step`` by the midpoint rule, and the logarithm is the divergence at the
        midpoint times the step: both are off by the third power of the step.  Weights made of it are noisy; see
        ``docs/derivations/smeared_forces.md`` for what that means.

        Parameters
        ----------
        rng
            Source of the signs, or one for each configuration.
        coefficients
            ``shape``, X per unit of the step.
        x
            Links in double precision.
        step
            The step; it may be negative.

        Returns
        -------
        image, log_det : Array
            Links, and ``(batch,)`` float64.
        """
        c = self._checked(coefficients)
        middle = kernels.evolve(self.lattice, x, self.vector(c, x), 0.5 * step)
        image = kernels.evolve(self.lattice, x, self.vector(c, middle), step)
        return image, self.combined(c, self.divergences(rng, middle)) * step

    def with_noise(self, rng: Rng | Sequence[Rng]) -> NoisyForces:
        """The fields with the signs of their divergences, for functions that take a flow or vector fields."""
        return NoisyForces(self, rng)

    def combined(self, coefficients: Any, values: Array) -> Array:
        """Sum of ``values`` of all fields and classes, ``(*shape, batch)``, with coefficients: ``(batch,)``."""
        c = self._checked(coefficients)
        pairs = product(*map(range, self.shape))
        return sum((float(c[i, k]) * values[i, k, ...] for i, k in pairs), start=0.0 * values[0, 0, ...])

    # ---- tangents --------------------------------------------------------------------------------------------------
    def tangents(self, rng: Rng | Sequence[Rng], x: Array, force: Array) -> Array:
        """Unbiased estimates of ``div X - <X, force>`` of every field.

        Parameters
        ----------
        rng
            Source of the signs, or one for each configuration.
        x
            Links in double precision.
        force
            Gradient of the action of which the links are.

        Returns
        -------
        Array
            ``(*shape, batch)`` float64.

        Raises
        ------
        ValueError
            If the links are in single precision, whose rounding errors the differences do not stand.
        """
        return self.divergences(rng, x) - self._along(x, force)

    def _along(self, x: Array, force: Array) -> Array:
        """<X, force>; for a gradient this is the change of its plaquettes when the links move along the force."""
        lattice, n = self.lattice, int(x.shape[2])
        xp = array_namespace(x)
        smeared, rows = self._smeared(x), []
        for level in self.forces:
            one = [[float(i == k) for i in range(self.shape[1])] for k in range(self.shape[1])]
            links = smeared.levels[level]
            vectors = [kernels.wilson_force(lattice, links, self._couplings(n, classes)) for classes in one]
            rows.append(xp.stack([kernels.inner(lattice, vector, force) for vector in vectors]))
        if self.gradients:
            for level, move in zip(range(self.gradients[-1] + 1), smeared.along(force), strict=False):
                if level in self.gradients:
                    rows.append(self._by_class(kernels.plaquette_along(lattice, smeared.levels[level], move)))
        return xp.stack(rows)

    def divergences(self, rng: Rng | Sequence[Rng], x: Array) -> Array:
        """Unbiased estimates of div X of every field, ``(*shape, batch)``; arguments and errors as for :meth:`tangents`."""
        lattice = self.lattice
        xp = array_namespace(x)
        require_double(x)
        closed = [self._closed(x)] if 0 in self.forces else []
        probed = [level for level in self.forces if level > 0]
        if not probed and not self.gradients:
            return xp.stack(closed)
        middle = self._plaquettes(self._smeared(x).levels, self.gradients)
        slopes: Any = 0.0
        bends: Any = 0.0
        for probe in probes(lattice, self.colours, self._signs(rng, x), x):
            bends = bends - 2.0 * middle
            for side, displaced in zip((1.0, -1.0), probe.images, strict=True):
                links = self._smeared(displaced).levels
                bends = bends + self._plaquettes(links, self.gradients)
                parts = [self._components(links[level], probe.mu, probe.sites, probe.generator) for level in probed]
                if parts:
                    slopes = slopes + side * sum_sites(lattice, probe.sign * xp.stack(parts))
        forces = list(slopes / (2.0 * PROBE_STEP)) if probed else []
        return xp.stack([*closed, *forces, *(bends / PROBE_STEP**2)])

    def _closed(self, x: Array) -> Array:
        """div F_0: every link of a plaquette contributes -(N^2 - 1) / 2 N times its trace (U(1): -1/2)."""
        n = int(x.shape[2])
        each = (n * n - 1.0) / n if n > 1 else 1.0
        return -2.0 * each * self._plaquettes([x], (0,))[0, ...]

    def _plaquettes(self, links: list[Array], levels: tuple[int, ...]) -> Array:
        """W of some levels and every class, ``(levels, classes, batch)``."""
        xp = array_namespace(links[0])
        factor = float(links[0].shape[2] * self.lattice.volume)
        found = [self._by_class(factor * kernels.plaquette(self.lattice, links[level])) for level in levels]
        if found:
            return xp.stack(found)
        return xp.zeros((0, self.shape[1], self.lattice.batch(links[0].shape[-1])), dtype=xp.float64)

    def _components(self, links: Array, mu: int, sites: Any, generator: Array) -> Array:
        """<T, F> = Re tr T V S^dagger of active links, ``(classes, n_active, lanes)``; S is the sum of their staples."""
        xp = array_namespace(links)
        d = self.lattice.ndim
        here, entries = active_rows(links, mu, sites), to_host(generator)
        found = []
        for k in range(self.shape[1]):
            weight = [self._of_class(k, mu, nu) for nu in range(d)]
            staples = xp.conj(kernels.path_sum(self.lattice, links, mu, sites, weight))
            total: Any = 0.0
            for i, j in zip(*entries.nonzero(), strict=True):
                total = total + entries[i, j] * xp.sum(here[:, int(j), :, :] * staples[:, int(i), :, :], axis=1)
            found.append(xp.real(total))
        return xp.stack(found)

    def _signs(self, rng: Rng | Sequence[Rng], x: Array) -> Array:
        return random_signs(rng, self.lattice, x)


@dataclass(frozen=True)
class NoisyForces:
    """Smeared forces whose divergences are estimated with given signs.

    Equal signs on other configurations would correlate their noise: every batch has a stream of its own.

    Parameters
    ----------
    fields
        The fields.
    rng
        Source of the signs, or one for each configuration.
    """

    fields: SmearedForces
    rng: Rng | Sequence[Rng]

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        """Links after a unit step along the coefficients ``params["delta"]``, see :meth:`SmearedForces.transported`."""
        return self.fields.transported(self.rng, params["delta"], x, 1.0)

    def tangent(self, x: Array, force: Array) -> Array:
        """Unbiased estimates of ``div X - <X, force>`` of every field, ``(*shape, batch)``."""
        return self.fields.tangents(self.rng, x, force)

    def linearised(self, coefficients: Any, x: Array, force: Array, step: float) -> tuple[Array, Array, Array]:
        """Links moved to both sides along the sum X of the fields, and an estimate of div X - <X, force>, ``(batch,)``."""
        fields = self.fields
        vector = fields.vector(coefficients, x)
        ahead, behind = (kernels.evolve(fields.lattice, x, vector, sign * step) for sign in (1.0, -1.0))
        return ahead, behind, fields.combined(coefficients, self.tangent(x, force))
