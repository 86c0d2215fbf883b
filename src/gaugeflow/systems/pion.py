"""Correlator of a quenched pion, and its exact derivative along a field of links, from noise on smeared time slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gaugeflow.devices import to_host
from gaugeflow.hadrons import Gaussian, Propagator, Source, noise, propagator, two_point
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng


@dataclass(frozen=True)
class Pion:
    """Two-point function of gamma_5, Gaussian smearing at source and sink, one noise field for each source slice.

    Parameters
    ----------
    lattice
        The lattice; the quarks are antiperiodic in time.
    kappa
        Hopping parameter of the Wilson quarks.
    times
        Source time slices; the correlator is their mean.
    smearing
        Of source and sink.
    tolerance
        Of the propagators.
    precision
        Bits of the real numbers of propagators.
    """

    lattice: Lattice
    kappa: float
    times: tuple[int, ...]
    smearing: Gaussian
    tolerance: float = 1e-6
    precision: Literal[32, 64] = 32

    def propagators(self, rng: Sequence[Rng], x: Array) -> list[Propagator]:
        """One for each source time, ``rng`` holding one stream of noise for each configuration."""
        quark = self._quark(x)
        return [self._solve(quark, self._source(rng, x, t)) for t in self.times]

    def correlator(self, x: Array, quarks: Sequence[Propagator]) -> Array:
        """C(0), ..., C(T/2) of every configuration from what :meth:`propagators` gave, ``(T/2 + 1, batch)``."""
        sinks = [quark.smeared(self._narrow(x), self.smearing) for quark in quarks]
        return sum(self._folded(two_point(sink, channels=("pion",))["pion"]) for sink in sinks) / len(sinks)

    def along(
        self, rng: Sequence[Rng], x: Array, quarks: Sequence[Propagator], ahead: Array, behind: Array, step: float
    ) -> Array:
        """Derivative of :meth:`correlator` along the field that leads from ``behind`` to ``ahead``, ``2 step`` apart.

        With eta the smeared source, dot its derivative along the field X, and H the smearing of the sink, the propagator
        S = D^-1 eta changes by D^-1 (dot eta - (X.dD) S), one more solve, and H S by H dot S + (dot H) S.  D is linear in the
        links, so that X.dD is exact for the given difference; the smearings are differentiated by the same central difference.

        Returns
        -------
        Array
            ``(T/2 + 1, batch)``.
        """
        xp = array_namespace(x)
        quark = self._quark(x)
        moving = quark.with_links(self._narrow((ahead - behind) / (2.0 * step)))
        total: Any = 0.0
        for t, here in zip(self.times, quarks, strict=True):
            sources = [self._source(rng, y, t).field for y in (ahead, behind)]
            change = self._narrow((sources[0] - sources[1]) / (2.0 * step)) - moving.hops(here.field)
            moved = self._solve(quark, Source(change, here.origin, here.norm))
            wide = xp.astype(here.field, xp.complex128)
            ends = [self.smearing(self.lattice, y, wide, quark.boundary) for y in (ahead, behind)]
            sink = here.smeared(self._narrow(x), self.smearing)
            first = moved.smeared(self._narrow(x), self.smearing).field
            first = first + self._narrow((ends[0] - ends[1]) / (2.0 * step))
            pair = two_point(_with_field(moved, first), sink, channels=("pion",))["pion"]
            total = total + 2.0 * self._folded(pair)
        return total / len(self.times)

    def _quark(self, x: Array) -> Wilson:
        return Wilson(lattice=self.lattice, links=self._narrow(x), kappa=self.kappa)

    def _source(self, rng: Sequence[Rng], x: Array, t: int) -> Source:
        wide = Wilson(lattice=self.lattice, links=x, kappa=self.kappa)
        return noise(wide, [one.stream(t) for one in rng], t, self.smearing)

    def _solve(self, quark: Wilson, source: Source) -> Propagator:
        narrow = Source(self._narrow(source.field), source.origin, source.norm)
        return propagator(quark, narrow, method="bicgstab", tolerance=self.tolerance)

    def _narrow(self, field: Array) -> Array:
        """Links or fermion fields in the precision of the propagators."""
        xp = array_namespace(field)
        return xp.astype(field, xp.complex64 if self.precision == 32 else xp.complex128)

    def _folded(self, values: Array) -> Array:
        """Mean of C(t) and C(T - t) at zero momentum."""
        xp = array_namespace(values)
        c = xp.real(values[0, ...])
        half = c.shape[0] // 2
        back = xp.roll(xp.flip(c, axis=0), 1, axis=0)
        return to_host(0.5 * (c + back)[: half + 1, ...])


def _with_field(quark: Propagator, field: Array) -> Propagator:
    return Propagator(quark.lattice, field, quark.origin, quark.boundary, quark.norm)
