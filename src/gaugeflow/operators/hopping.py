"""What all Dirac operators of the library share: a matrix at every site, and hops between neighbours.

D = T + K with T diagonal in sites and K connecting sites of opposite parity only.  Whoever writes T, its inverse and K gets
the operator, its adjoint, its even-odd Schur complement and its derivative; the combinations may be overridden by fused
ones.  Parities are 0 (even), 1 (odd) and -1 (all sites).
"""

from __future__ import annotations

import cmath
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.kernels.fermions import BOTH, check_fermions, count_rows, other
from gaugeflow.kernels.sums import largest_entry
from gaugeflow.lattice import Array, HopFactors, Lattice
from gaugeflow.namespaces import array_namespace


def antiperiodic(lattice: Lattice) -> tuple[complex, ...]:
    """Boundary phases of quarks: -1 in direction 0 (time), 1 in the others."""
    return (-1.0, *(1.0,) * (lattice.ndim - 1))


def boundary_phases(angles: Sequence[float]) -> tuple[complex, ...]:
    """exp(i pi a) for the angle a, in units of pi, of every direction; exact for multiples of 1/2."""
    exact = {0.0: 1.0 + 0j, 1.0: -1.0 + 0j, 0.5: 1j, 1.5: -1j}
    return tuple(exact.get(a % 2.0, cmath.exp(1j * math.pi * a)) for a in angles)


@dataclass(frozen=True, eq=False, kw_only=True)
class HoppingOperator(ABC):
    """A Dirac operator D = T + K.

    Parameters
    ----------
    lattice
        The lattice.
    links
        Gauge field ``(ndim, n_blocks, N, N, lanes)``; None leaves the operator unbound: see :meth:`with_links`.
    boundary
        Phase that a quark picks up on a forward hop across the boundary of each direction, of modulus 1 (default:
        antiperiodic in direction 0).  exp(i theta) gives twisted boundary conditions, in time an imaginary chemical
        potential.
    charge, potential
        q and A: quarks see the links exp(i q A) U.  A is real, ``(ndim, n_blocks, lanes)``, or ``(ndim, n_blocks, n_folds)``
        for one that all configurations have in common: a background field, a second gauge field, or what
        :func:`gaugeflow.operators.imaginary_chemical_potential` returns.  Flavours of other charges differ in q only.

    Raises
    ------
    ValueError
        If a phase does not have modulus 1, the number of phases is wrong, or a potential does not fit; from operators that
        are charged and have no potential.
    TypeError
        If the potential is not real.
    """

    lattice: Lattice
    links: Array | None = field(default=None, repr=False)
    boundary: tuple[complex, ...] | None = None
    charge: float = 0.0
    potential: Array | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        require_finite(self, "boundary", imaginary=True)
        require_finite(self, "charge")
        phases = antiperiodic(self.lattice) if self.boundary is None else tuple(complex(p) for p in self.boundary)
        if len(phases) != self.lattice.ndim:
            raise ValueError(
                f"boundary: expected {self.lattice.ndim} phases, one for each direction, got {len(phases)}"
            )
        for mu, phase in enumerate(phases):
            if abs(abs(phase) - 1.0) > 1e-12:
                raise ValueError(f"boundary: phases must have modulus 1, got {phase} in direction {mu}")
        object.__setattr__(self, "boundary", phases)
        if self.links is not None:
            self.lattice.check_links(self.links)
        if self.potential is not None:
            check_potential(self.lattice, self.potential)
        elif self.charge != 0.0:
            raise ValueError(f"charge: expected a potential beside the charge {self.charge}, got None")

    # ---- what an operator must say ----------------------------------------------------------------------------------
    @property
    @abstractmethod
    def spin(self) -> int:
        """Spin components of its fields."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Name and parameters for messages."""

    @abstractmethod
    def diagonal(self, psi: Array, parity: int = BOTH, adjoint: bool = False) -> Array:
        """T psi on the sites of a parity."""

    @abstractmethod
    def diagonal_inverse(self, psi: Array, parity: int = BOTH, adjoint: bool = False) -> Array:
        """T^-1 psi on the sites of a parity."""

    @abstractmethod
    def diagonal_log_det(self, parity: int) -> Array:
        """log abs det T of the sites of a parity, ``(batch,)`` float64."""

    @abstractmethod
    def diagonal_log_det_force(self, parity: int) -> Array | None:
        """Gradient of :meth:`diagonal_log_det`, an algebra field; None where T does not depend on links."""

    @abstractmethod
    def hops(self, psi: Array, parity: int = BOTH, adjoint: bool = False) -> Array:
        """K psi on the sites of a parity; psi lives on the other one."""

    @abstractmethod
    def force(self, left: Array, right: Array) -> Array:
        """Algebra field F with d/de Re sum_r <left_r, D(exp(e w) U) right_r> = <F, w>; fields on all sites."""

    @property
    def has_diagonal_inverse(self) -> bool:
        """Whether T can be inverted, as the Schur complement needs."""
        return True

    def diagonal_phase(self, parity: int) -> Array:
        """det T over its modulus, ``(batch,)`` complex128; 1 unless an operator says otherwise."""
        xp = array_namespace(self.bound)
        return xp.ones((self.lattice.batch(self.bound.shape[-1]),), dtype=xp.complex128)

    # ---- what follows -----------------------------------------------------------------------------------------------
    def with_links(self, links: Array) -> Self:
        """The same operator on other links."""
        bound = replace(self, links=links)
        bound.__dict__["factors"] = self.factors  # a tenth of a second on large lattices
        return bound

    def select(self, configurations: Sequence[int]) -> Self:
        """The operator on some configurations of the batch only; arrays that it has made of its links are cut, too."""
        if self.links is None:
            raise ValueError(f"{self.label} has no links: bind it with with_links(links)")
        chosen = self.with_links(select(self.lattice, self.links, configurations))
        if self.potential is not None and self.potential.shape[-1] != self.lattice.n_folds:
            object.__setattr__(chosen, "potential", select(self.lattice, self.potential, configurations))
        for name in self.made_of_links:
            if name in self.__dict__:
                arrays = self.__dict__[name]
                cut = [
                    select(self.lattice, a, configurations)
                    for a in (arrays if isinstance(arrays, tuple) else (arrays,))
                ]
                chosen.__dict__[name] = tuple(cut) if isinstance(arrays, tuple) else cut[0]
        return chosen

    made_of_links: ClassVar[tuple[str, ...]] = ()
    """Cached properties that are an array, or a tuple of arrays, whose last axis holds the lanes."""

    @property
    def bound(self) -> Array:
        """The links that quarks see, exp(i q A) U; ``ValueError`` where there are none."""
        if self.links is None:
            raise ValueError(f"{self.label} has no links: bind it with with_links(links)")
        return self.links if self.charge == 0.0 else self._charged

    @cached_property
    def _charged(self) -> Array:
        assert self.links is not None
        xp = array_namespace(self.links)
        return self._times(xp.exp(1j * self.charge * self._potential))

    @property
    def _potential(self) -> Array:
        """A as ``(ndim, n_blocks, 1, 1, lanes)``."""
        if self.potential is None:
            raise ValueError(f"{self.label} has no potential: the charge needs one")
        assert self.links is not None
        xp = array_namespace(self.links)
        potential = xp.asarray(self.potential, dtype=xp.float64)
        batch = self.lattice.batch(int(self.links.shape[-1]))
        if potential.shape[-1] == self.lattice.n_folds:
            potential = xp.repeat(potential, batch, axis=-1)
        if potential.shape[-1] != self.links.shape[-1]:
            raise ValueError(
                f"potential: expected {self.links.shape[-1]} lanes as of the links, got {potential.shape[-1]}"
            )
        return potential[:, :, None, None, :]

    def _times(self, factor: Array) -> Array:
        """The links times numbers."""
        assert self.links is not None
        return array_namespace(factor).astype(factor * self.links, self.links.dtype)

    @cached_property
    def factors(self) -> HopFactors:
        """Factors of hops: boundary phases times :attr:`hop_weights`."""
        assert self.boundary is not None
        return self.lattice.hop_factors(self.lattice.boundary_phase(self.boundary) * self.hop_weights)

    @property
    def hop_weights(self) -> Any:
        """Real weights of forward hops that broadcast against ``(ndim, n_blocks, n_folds)``."""
        return 1.0

    def field_shape(self, parity: int = BOTH) -> tuple[int, int, int, int]:
        """Shape of a fermion field."""
        links = self.bound
        return count_rows(self.lattice, parity), self.spin, int(links.shape[2]), int(links.shape[4])

    def zeros(self, fields: int = 0, parity: int = BOTH) -> Array:
        """Fermion field of zeros, or a stack of ``fields``."""
        xp = array_namespace(self.bound)
        shape = self.field_shape(parity)
        return xp.zeros((fields, *shape) if fields else shape, dtype=self.bound.dtype)

    def check(self, psi: Array, parity: int = BOTH, name: str = "psi") -> None:
        """Raise where psi is no field of this operator."""
        check_fermions(self.lattice, psi, parity, self.bound, name, self.spin)

    def apply(self, psi: Array) -> Array:
        """D psi."""
        return self.diagonal(psi) + self.hops(psi)

    def adjoint(self, psi: Array) -> Array:
        """D^dagger psi."""
        return self.diagonal(psi, adjoint=True) + self.hops(psi, adjoint=True)

    def d_charge(self, psi: Array, order: int = 1) -> Array:
        """Derivative of D psi with respect to the charge q: K psi with links (i A)^order exp(i q A) U.

        Parameters
        ----------
        psi
            Field or stack on all sites.
        order
            Order of the derivative.

        Raises
        ------
        ValueError
            If there is no potential, the order is not positive, or T depends on the links.
        """
        if order < 1:
            raise ValueError(f"d_charge: expected an order of 1 or more, got {order}")
        bound = self.bound
        xp = array_namespace(bound)
        potential = self._potential
        turned = self._times((1j * potential) ** order * xp.exp(1j * self.charge * potential))
        plain = replace(self, links=turned, charge=0.0, potential=None)
        plain.__dict__["factors"] = self.factors
        return plain.hops(psi)

    def eliminate(self, psi: Array, parity: int, adjoint: bool = False) -> Array:
        """T^-1 K psi (or T^-dagger K^dagger psi) on the sites of a parity."""
        return self.diagonal_inverse(self.hops(psi, parity, adjoint), parity, adjoint)

    def close(self, psi: Array, far: Array, parity: int, adjoint: bool = False) -> Array:
        """T psi - K far (or adjoints) on the sites of a parity, where psi lives; ``far`` lives on the other one."""
        self.check(far, other(parity), "far")
        return self.diagonal(psi, parity, adjoint) - self.hops(far, parity, adjoint)


def check_potential(lattice: Lattice, potential: Array) -> None:
    """Raise unless this is a real field ``(ndim, n_blocks, lanes)``, or one lane for each sub-lattice."""
    xp = array_namespace(potential)
    shape = tuple(potential.shape)
    if len(shape) != 3 or shape[:2] != (lattice.ndim, lattice.n_blocks):
        raise ValueError(f"potential: expected shape ({lattice.ndim}, {lattice.n_blocks}, lanes), got {shape}")
    lattice.batch(shape[2])
    if not xp.isdtype(potential.dtype, "real floating"):
        raise TypeError(f"potential: expected real floating numbers, got {potential.dtype}")
    bad = xp.logical_not(xp.isfinite(potential))
    if largest_entry(lattice, xp.astype(bad, xp.float64)) > 0.0:  # on any process
        raise ValueError("potential: expected finite numbers, got nan or infinity")


def imaginary_chemical_potential(lattice: Lattice) -> Array:
    """A = 1 on all temporal links, 0 on the others: a charge q is then a chemical potential i q, in lattice units.

    It is the twist exp(i q T) of the boundary phase of time, up to a gauge transformation of the quarks.  Flavours of
    charges q and -q have an isospin chemical potential.

    Returns
    -------
    Array
        ``(ndim, n_blocks, n_folds)`` float64.
    """
    potential = lattice.boundary_phase((1.0,) * lattice.ndim).real * 0.0
    potential[0] = 1.0
    return potential


def select(lattice: Lattice, array: Array, configurations: Sequence[int]) -> Array:
    """Some configurations of a field: those lanes, for every sub-lattice of a fold."""
    xp = array_namespace(array)
    batch = lattice.batch(array.shape[-1])
    lanes = [f * batch + int(c) for f in range(lattice.n_folds) for c in configurations]
    return xp.take(array, xp.asarray(lanes, dtype=xp.int64), axis=-1)


def gamma_5(psi: Array) -> Array:
    """gamma_5 psi: the lower half of the spin components changes sign."""
    xp = array_namespace(psi)
    half = psi.shape[-3] // 2
    return xp.concat([psi[..., :half, :, :], -psi[..., half:, :, :]], axis=-3)


def dot(lattice: Lattice, x: Array, y: Array) -> Array:
    """Scalar product of fermion fields, ``(batch,)`` or ``(R, batch)`` complex128."""
    return kernels.fermion_dot(lattice, x, y)
