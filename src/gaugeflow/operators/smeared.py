"""Operators on stout links, with the derivative with respect to the links below (Morningstar and Peardon, hep-lat/0311018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.kernels.fermions import BOTH
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.hopping import HoppingOperator

Stages = Sequence[tuple[Array, Array]]
"""Links before every step, and the algebra field K of U -> exp(K) U."""


@dataclass(frozen=True)
class Stout:
    """Stout steps U -> exp(rho P(C U^dagger)) U, C the sum of the staples: :func:`gaugeflow.observables.stout`.

    Parameters
    ----------
    rho
        Weight of the staples: one number, or one for each of :attr:`gaugeflow.lattice.Lattice.planes` (0 for
        those that are left out, such as the temporal ones).  Above about 1/8 in four dimensions short waves grow.
    steps
        Number of steps.

    Raises
    ------
    ValueError
        If a weight is not finite, or the number of steps is negative.
    """

    rho: float | tuple[float, ...]
    steps: int = 1

    def __post_init__(self) -> None:
        require_finite(self, "rho")
        if self.steps < 0:
            raise ValueError(f"Stout: steps must be 0 or more, got {self.steps}")

    def weights(self, lattice: Lattice) -> tuple[float, ...]:
        """rho of every plane; ``ValueError`` if their number is wrong."""
        planes = len(lattice.planes)
        found = (float(self.rho),) * planes if isinstance(self.rho, int | float) else tuple(self.rho)
        if len(found) != planes:
            raise ValueError(f"Stout: expected a number rho or {planes}, one for each plane, got {len(found)}")
        return found

    def smear(self, lattice: Lattice, links: Array) -> tuple[Array, Stages]:
        """Smeared links, and what :meth:`vjp` needs."""
        n, _ = lattice.check_links(links)
        coupling = [2.0 * n * rho for rho in self.weights(lattice)]
        stages = []
        for _ in range(self.steps):
            generator = -1.0 * kernels.wilson_force(lattice, links, coupling)
            stages.append((links, generator))
            links = kernels.evolve(lattice, links, generator, 1.0)
        return links, stages

    def vjp(self, lattice: Lattice, stages: Stages, bar: Array) -> Array:
        """Cotangent of the thin links from that of the smeared ones, both algebra fields.

        K is the gradient of 2 rho sum Re tr P, so that its cotangent is that of a gradient of loops.
        """
        words = tuple((mu + 1, nu + 1, -mu - 1, -nu - 1) for mu, nu in lattice.planes)
        xp = array_namespace(bar)
        rho = xp.asarray(self.weights(lattice), dtype=bar.dtype)[:, None, None]
        weights = 2.0 * rho + xp.zeros((len(words), lattice.n_blocks, bar.shape[-1]), dtype=bar.dtype)
        for links, generator in reversed(stages):
            bar, own = kernels.flow_stage_vjp(lattice, generator, bar)
            bar = bar + kernels.loop_gradient_vjp(lattice, links, words, weights, own)
        return bar


@dataclass(frozen=True, eq=False, kw_only=True)
class Smeared(HoppingOperator):
    """An operator on smeared links; its own links are the thin ones, and forces are with respect to them.

    Parameters
    ----------
    operator
        The operator; links that it is bound to do not count.  Its charge multiplies the smeared links.
    smearing
        How links are smeared.
    links
        Thin links, or None.
    """

    operator: HoppingOperator
    smearing: Stout
    lattice: Lattice = field(init=False, repr=False)
    boundary: tuple[complex, ...] | None = field(init=False, repr=False)
    charge: float = field(init=False, repr=False, default=0.0)
    potential: Array | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lattice", self.operator.lattice)
        object.__setattr__(self, "boundary", self.operator.boundary)
        self.smearing.weights(self.lattice)
        super().__post_init__()

    @cached_property
    def _smeared(self) -> tuple[Array, Stages]:
        return self.smearing.smear(self.lattice, self.bound)

    @cached_property
    def inner(self) -> HoppingOperator:
        """The operator bound to the smeared links."""
        return self.operator.with_links(self._smeared[0])

    def select(self, configurations: Sequence[int]) -> Self:
        """The operator on some configurations of the batch only; what it needs but for forces is not made anew."""
        chosen = super().select(configurations)
        chosen.__dict__["inner"] = self.inner.select(configurations)
        return chosen

    def _through(self, bar: Array) -> Array:
        return self.smearing.vjp(self.lattice, self._smeared[1], bar)

    @property
    def spin(self) -> int:
        """Spin components of its fields."""
        return self.operator.spin

    @property
    def label(self) -> str:
        """Name and parameters for messages."""
        return f"{self.operator.label} on smeared links ({self.smearing})"

    @property
    def hop_weights(self) -> Any:
        """Those of the operator."""
        return self.operator.hop_weights

    @property
    def twisted_mass(self) -> Any:
        """That of the operator, None where there is no such parameter."""
        return getattr(self.operator, "twisted_mass", None)

    def diagonal(self, psi: Array, parity: int = BOTH, adjoint: bool = False) -> Array:
        """T psi."""
        return self.inner.diagonal(psi, parity, adjoint)

    def diagonal_inverse(self, psi: Array, parity: int = BOTH, adjoint: bool = False) -> Array:
        """T^-1 psi."""
        return self.inner.diagonal_inverse(psi, parity, adjoint)

    def diagonal_log_det(self, parity: int) -> Array:
        """log abs det T of a parity, ``(batch,)``."""
        return self.inner.diagonal_log_det(parity)

    @property
    def has_diagonal_inverse(self) -> bool:
        """As of the operator inside."""
        return self.operator.has_diagonal_inverse

    def diagonal_phase(self, parity: int) -> Array:
        """det T over its modulus, ``(batch,)``."""
        return self.inner.diagonal_phase(parity)

    def diagonal_log_det_force(self, parity: int) -> Array | None:
        """Gradient of :meth:`diagonal_log_det` with respect to the thin links."""
        bar = self.inner.diagonal_log_det_force(parity)
        return None if bar is None else self._through(bar)

    def hops(self, psi: Array, parity: int = BOTH, adjoint: bool = False) -> Array:
        """K psi."""
        return self.inner.hops(psi, parity, adjoint)

    def apply(self, psi: Array) -> Array:
        """D psi."""
        return self.inner.apply(psi)

    def adjoint(self, psi: Array) -> Array:
        """D^dagger psi."""
        return self.inner.adjoint(psi)

    def eliminate(self, psi: Array, parity: int, adjoint: bool = False) -> Array:
        """T^-1 K psi."""
        return self.inner.eliminate(psi, parity, adjoint)

    def close(self, psi: Array, far: Array, parity: int, adjoint: bool = False) -> Array:
        """T psi - K far."""
        return self.inner.close(psi, far, parity, adjoint)

    def force(self, left: Array, right: Array) -> Array:
        """Gradient of Re <left, D right> with respect to the thin links."""
        return self._through(self.inner.force(left, right))

    def d_charge(self, psi: Array, order: int = 1) -> Array:
        """Derivative of D psi with respect to the charge of the operator."""
        return self.inner.d_charge(psi, order)

    def d_kappa(self, psi: Array) -> Array:
        """Derivative of D psi with respect to kappa, where the operator has it."""
        inner: Any = self.inner
        return inner.d_kappa(psi)
