"""Heat bath with overrelaxation for the Wilson action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from gaugeflow import kernels
from gaugeflow.actions import Defect
from gaugeflow.errors import require_finite
from gaugeflow.groups import SU
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng, haar_links
from gaugeflow.samplers.accept import check_state


class HeatBathState(NamedTuple):
    """Links ``(ndim, n_blocks, N, N, lanes)`` and the number of steps that made them."""

    x: Array
    step: int


class HeatBathInfo(NamedTuple):
    """Mean plaquette of every configuration, ``(batch,)``."""

    plaquette: Array


@dataclass(frozen=True)
class HeatBath:
    """One heat-bath sweep followed by overrelaxation sweeps; ``S = -sum_p (coupling_p / N) Re tr P_p``.

    Parameters
    ----------
    lattice
        The lattice; even extents.
    coupling
        One number, ``(n_planes,)`` or ``(n_planes, batch)``: beta of each plane (and configuration).
    n_overrelax
        Overrelaxation sweeps per step.
    reunitarise_every
        Steps between removals of rounding errors; they depend on the number of the step alone.
    defect, strength
        Links that enter plaquettes multiplied by this strength, for :class:`gaugeflow.actions.DefectAction`.
    frozen
        Time slices whose spatial links stay as they are, so that what lies between two of them is sampled for itself.
    """

    lattice: Lattice
    coupling: Any
    n_overrelax: int = 4
    reunitarise_every: int = 10
    defect: Defect | None = None
    strength: float = 1.0
    frozen: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require_finite(self, "coupling", "strength")
        if self.n_overrelax < 0:
            raise ValueError(f"HeatBath: n_overrelax must be at least 0, got {self.n_overrelax}")
        if self.reunitarise_every < 1:
            raise ValueError(f"HeatBath: reunitarise_every must be at least 1, got {self.reunitarise_every}")
        if not isinstance(self.frozen, tuple):
            raise TypeError(f"HeatBath: frozen must be a tuple of time slices, got {self.frozen!r}")
        if not 0.0 <= self.strength <= 1.0:
            raise ValueError(f"HeatBath: strength must lie between 0 and 1, got {self.strength}")

    def init(self, x: Array) -> HeatBathState:
        """State that starts from given links."""
        self.lattice.check_links(x)
        return HeatBathState(x, 0)

    def hot(self, rng: Rng, n: int, batch: int = 1) -> HeatBathState:
        """State of Haar-distributed links, of the array library of the chosen back end (NumPy by default)."""
        return self.init(haar_links(rng, self.lattice, n, batch))

    def cold(self, n: int, batch: int = 1) -> HeatBathState:
        """State of links that are all 1, of the array library of the chosen back end (NumPy by default)."""
        return self.init(SU(self.lattice).identity(haar_links(Rng(0), self.lattice, n, batch)))

    def step(self, rng: Rng, state: HeatBathState) -> tuple[HeatBathState, HeatBathInfo]:
        """One heat-bath sweep and ``n_overrelax`` overrelaxation sweeps.

        Random numbers depend on ``rng`` and on ``state.step``, so that a chain may use one ``rng`` for all its steps.

        Raises
        ------
        ConvergenceError
            If links or couplings are not finite.
        """
        check_state(state, HeatBathState)
        xp = array_namespace(state.x)
        here = rng.stream("heat bath").stream(state.step)
        x = self._sweeps(state.x, here) if self.defect is None else self._sweeps_with_defect(state.x, here)
        count = state.step + 1
        if count % self.reunitarise_every == 0:
            x = kernels.reunitarise(self.lattice, x)
        return HeatBathState(x, count), HeatBathInfo(xp.mean(kernels.plaquette(self.lattice, x), axis=0))

    def _sweeps(self, x: Array, rng: Rng) -> Array:
        x = kernels.heatbath(self.lattice, x, self.coupling, rng.words(array_namespace(x)), self.frozen)
        for _ in range(self.n_overrelax):
            x = kernels.overrelax(self.lattice, x, self.coupling, self.frozen)
        return x

    def _sweeps_with_defect(self, x: Array, rng: Rng) -> Array:
        """Updates are rotations g(U A) U that scaled links go through unharmed; links of strength 0 are free."""
        assert self.defect is not None
        xp = array_namespace(x)
        scale = self.defect.scale(self.lattice, self.strength, x)
        x = self._sweeps(x * scale, rng)
        if self.strength > 0.0:
            return x / scale
        n, lanes = self.lattice.check_links(x)
        free = haar_links(rng, self.lattice, n, self.lattice.batch(lanes), xp=xp)
        return xp.where(scale > 0.0, x, xp.astype(free, x.dtype))
