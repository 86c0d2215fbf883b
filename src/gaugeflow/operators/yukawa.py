"""Staggered quarks that a real scalar field gives their mass, preconditioned by the free propagator.

M = D + g phi, with the free staggered operator D, couples even sites to odd ones by D and every site to itself by g phi.
Even-odd elimination of g phi would divide by a field that passes through zero.  D_eo does not depend on the field and is
invertible where time is antiperiodic: eliminating *it* leaves, with P = D_eo^-1,

    N = 1 + g^2 P phi_e P^T phi_o    on odd sites,    det M = det D det N.

Derivation: ``docs/derivations/yukawa.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from typing import Any, Self

from gaugeflow.errors import require_finite
from gaugeflow.kernels.fermions import check_fermions, rows_in_order, rows_of
from gaugeflow.kernels.scalar import check_scalar
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.dense import matrix
from gaugeflow.operators.even_odd import EVEN, ODD
from gaugeflow.operators.hopping import antiperiodic, select
from gaugeflow.operators.staggered import Staggered


@dataclass(frozen=True, eq=False, kw_only=True)
class Yukawa:
    """N = 1 + g^2 P phi_e P^T phi_o on complex fields of odd sites ``(volume / 2, 1, 1, lanes)`` or stacks of them.

    It is bound to a scalar field as other operators are to links, and solvers and pseudofermion actions take it as one of
    them.  P is a dense real matrix, ``(volume / 2)^2`` numbers.

    Parameters
    ----------
    lattice
        The lattice, not folded, with even extents.
    coupling
        g.
    field
        The scalar field ``(volume, lanes)`` float64; None leaves the operator unbound.
    boundary
        Sign that a quark picks up across the boundary of each direction (default: antiperiodic in direction 0).

    Raises
    ------
    ValueError
        If the lattice is folded, cut over processes or has an odd extent, a phase is not 1 or -1, or all are 1, so that D
        has zero modes.
    TypeError
        If the field is not real.
    """

    lattice: Lattice
    coupling: float
    field: Array | None = field(default=None, repr=False)
    boundary: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        require_finite(self, "coupling")
        self.lattice.check_whole("Yukawa")
        if self.lattice.n_folds != 1:
            raise ValueError(f"Yukawa: expected a lattice without folds, got {self.lattice}")
        self.lattice.sites_of_parity(ODD)
        signs = (
            tuple(float(s.real) for s in map(complex, antiperiodic(self.lattice)))
            if self.boundary is None
            else tuple(self.boundary)
        )
        if len(signs) != self.lattice.ndim or any(s not in (1.0, -1.0) for s in signs):
            raise ValueError(f"Yukawa: expected a boundary of {self.lattice.ndim} signs 1 or -1, got {self.boundary}")
        if (
            -1.0 not in signs
        ):  # constant fields are zero modes of D; with even extents there are others only beside them
            raise ValueError(
                f"Yukawa: the free staggered operator is singular with boundary {signs}; expected antiperiodic time"
            )
        object.__setattr__(self, "boundary", signs)
        if self.field is not None:
            check_scalar(self.lattice, self.field)
            xp = array_namespace(self.field)
            if not xp.isdtype(self.field.dtype, "real floating"):
                raise TypeError(f"Yukawa: expected a real scalar field, got {self.field.dtype}")

    @property
    def label(self) -> str:
        """Name and parameters for messages."""
        return f"Yukawa(coupling {self.coupling})"

    @cached_property
    def free(self) -> Staggered:
        """D: the massless staggered operator with unit links."""
        xp: Any = import_module("array_api_compat.numpy")
        links = xp.ones((self.lattice.ndim, self.lattice.volume, 1, 1, 1), dtype=xp.complex128)
        assert self.boundary is not None
        return Staggered(lattice=self.lattice, links=links, boundary=tuple(map(complex, self.boundary)))

    @cached_property
    def _free_block(self) -> Array:
        """D_eo, ``(volume / 2, volume / 2)``."""
        dense = matrix(self.free)[0, ...]
        xp = array_namespace(dense)
        even, odd = (xp.asarray(self.lattice.sites_of_parity(p), dtype=xp.int64) for p in (EVEN, ODD))
        return xp.take(xp.take(xp.real(dense), even, axis=0), odd, axis=1)

    @cached_property
    def free_log_det(self) -> float:
        """log abs det D."""
        xp = array_namespace(self._free_block)
        return 2.0 * float(xp.linalg.slogdet(self._free_block)[1])

    @cached_property
    def propagator(self) -> Array:
        """P, the inverse of D_eo: odd rows, even columns."""
        return array_namespace(self._free_block).linalg.inv(self._free_block)

    @property
    def links(self) -> Array | None:
        """The scalar field, under the name that solvers know."""
        return self.field

    @property
    def bound(self) -> Array:
        """The scalar field; ``ValueError`` where there is none."""
        if self.field is None:
            raise ValueError(f"{self.label} has no scalar field: bind it with with_links(field)")
        return self.field

    def with_links(self, links: Array) -> Self:
        """The same operator on another scalar field."""
        bound = replace(self, field=links)
        for name in ("_free_block", "free_log_det", "propagator"):
            bound.__dict__[name] = getattr(self, name)
        return bound

    def select(self, configurations: Sequence[int]) -> Self:
        """The operator on some configurations of the batch only."""
        return self.with_links(select(self.lattice, self.bound, configurations))

    def halves(self) -> tuple[Array, Array]:
        """The scalar field on even and on odd sites, ``(volume / 2, lanes)``."""
        phi = self.bound
        xp = array_namespace(phi)
        even, odd = (xp.take(phi, rows_of(self.lattice, p, phi), axis=0) for p in (EVEN, ODD))
        return even, odd

    def joined(self, even: Array, odd: Array) -> Array:
        """Inverse of :meth:`halves`, for any pair of such fields."""
        xp = array_namespace(even)
        return xp.take(xp.concat([even, odd], axis=0), rows_in_order(self.lattice, even), axis=0)

    def zeros(self, fields: int = 0) -> Array:
        """Field of zeros, or a stack of ``fields``."""
        xp = array_namespace(self.bound)
        shape = (self.lattice.volume // 2, 1, 1, int(self.bound.shape[-1]))
        return xp.zeros((fields, *shape) if fields else shape, dtype=xp.complex128)

    def _check(self, psi: Array) -> Array:
        """The field as a stack ``(R, volume / 2, lanes)``; raise where psi is no field of this operator."""
        check_fermions(self.lattice, psi, ODD, None, "psi", 1)
        rows, lanes = self.lattice.volume // 2, int(self.bound.shape[-1])
        if tuple(psi.shape[-4:]) != (rows, 1, 1, lanes):
            raise ValueError(f"psi: expected shape ({rows}, 1, 1, {lanes}) or a stack of such, got {tuple(psi.shape)}")
        return array_namespace(psi).reshape(psi, (-1, rows, lanes))

    def _real_product(self, psi: Array, transposed: bool = False) -> Array:
        """P psi, or P^T psi, for a stack ``(R, volume / 2, lanes)``."""
        xp = array_namespace(psi)
        p = xp.asarray(self.propagator)
        p = xp.matrix_transpose(p) if transposed else p
        return xp.matmul(p, xp.real(psi)) + 1j * xp.matmul(p, xp.imag(psi))

    def apply(self, psi: Array) -> Array:
        """N psi."""
        even, odd = self.halves()
        v = self._check(psi)
        change = self._real_product(even * self._real_product(odd * v, transposed=True))
        return array_namespace(psi).reshape(v + self.coupling**2 * change, tuple(psi.shape))

    def adjoint(self, psi: Array) -> Array:
        """N^T psi."""
        even, odd = self.halves()
        v = self._check(psi)
        change = odd * self._real_product(even * self._real_product(v, transposed=True))
        return array_namespace(psi).reshape(v + self.coupling**2 * change, tuple(psi.shape))

    def force(self, left: Array, right: Array) -> Array:
        """Partial derivatives of Re sum_r <left_r, N right_r> with respect to the scalar field, ``(volume, lanes)``."""
        even, odd = self.halves()
        a, b = self._check(left), self._check(right)
        xp = array_namespace(a)
        a = self._real_product(a, transposed=True)
        c = self._real_product(odd * b, transposed=True)
        on_even = xp.sum(xp.real(xp.conj(a) * c), axis=0)
        on_odd = xp.sum(xp.real(xp.conj(self._real_product(even * a)) * b), axis=0)
        return self.coupling**2 * self.joined(on_even, on_odd)

    def dense(self) -> tuple[Array, Array]:
        """K = P phi_e P^T and N as matrices ``(lanes, volume / 2, volume / 2)``."""
        even, odd = self.halves()
        xp = array_namespace(even)
        p = xp.asarray(self.propagator)
        k = xp.matmul(p * xp.matrix_transpose(even)[:, None, :], xp.matrix_transpose(p))
        n = xp.eye(p.shape[0], dtype=p.dtype) + self.coupling**2 * k * xp.matrix_transpose(odd)[:, None, :]
        return k, n
