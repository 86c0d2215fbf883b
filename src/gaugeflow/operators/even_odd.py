"""Even-odd preconditioning: the Schur complement of any operator D = T + K.

M = T_oo - K_oe T_ee^-1 K_eo acts on odd sites; det D = det T_ee det M, and D x = b follows from M x_o = b_o - K_oe T_ee^-1 b_e.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from gaugeflow.kernels.fermions import BOTH, check_fermions, rows_in_order, rows_of
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.hopping import HoppingOperator

EVEN, ODD = 0, 1


@dataclass(frozen=True, eq=False)
class EvenOdd:
    """The Schur complement M of an operator, on fields of odd sites ``(n_blocks / 2, spin, N, lanes)`` or stacks.

    Parameters
    ----------
    full
        The operator D.

    Raises
    ------
    ValueError
        If an extent is odd, or a fold makes parity differ between lanes.
    """

    full: HoppingOperator

    def __post_init__(self) -> None:
        self.full.lattice.sites_of_parity(ODD)

    @property
    def lattice(self) -> Lattice:
        """The lattice."""
        return self.full.lattice

    @property
    def links(self) -> Array | None:
        """The links of the operator."""
        return self.full.links

    @property
    def label(self) -> str:
        """Name and parameters for messages."""
        return f"even-odd {self.full.label}"

    def with_links(self, links: Array) -> Self:
        """The same operator on other links."""
        return replace(self, full=self.full.with_links(links))

    def select(self, configurations: Sequence[int]) -> Self:
        """The operator on some configurations of the batch only."""
        return replace(self, full=self.full.select(configurations))

    def zeros(self, fields: int = 0) -> Array:
        """Field of zeros, or a stack of ``fields``."""
        return self.full.zeros(fields, ODD)

    def check(self, psi: Array, name: str = "psi") -> None:
        """Raise where psi is no field of this operator."""
        self.full.check(psi, ODD, name)

    def apply(self, psi: Array) -> Array:
        """M psi."""
        return self.full.close(psi, self.full.eliminate(psi, EVEN), ODD)

    def adjoint(self, psi: Array) -> Array:
        """M^dagger psi."""
        return self.full.close(psi, self.full.eliminate(psi, EVEN, adjoint=True), ODD, adjoint=True)

    def force(self, left: Array, right: Array) -> Array:
        """Gradient of Re <left, M right>, an algebra field.

        dM = (1, -K_oe T_ee^-1) dD (1, -T_ee^-1 K_eo)^t: the force of D between the extended vectors.
        """
        return self.full.force(self.extended(left, adjoint=True), self.extended(right))

    def extended(self, psi: Array, adjoint: bool = False) -> Array:
        """psi on odd sites and -T_ee^-1 K_eo psi on even ones (or with adjoints): a field on all sites."""
        return joined(self.lattice, -self.full.eliminate(psi, EVEN, adjoint), psi)

    def prepare(self, source: Array) -> Array:
        """Right-hand side of the system of odd sites for D x = source."""
        even, odd = split(self.lattice, source)
        return odd - self.full.hops(self.full.diagonal_inverse(even, EVEN), ODD)

    def complete(self, odd: Array, source: Array) -> Array:
        """Solution on all sites from that on odd ones."""
        even, _ = split(self.lattice, source)
        return joined(self.lattice, self.full.diagonal_inverse(even - self.full.hops(odd, EVEN), EVEN), odd)

    def log_det_rest(self) -> Array:
        """log abs det D - log abs det M = log abs det T_ee, ``(batch,)``."""
        return self.full.diagonal_log_det(EVEN)

    def phase_rest(self) -> Array:
        """Phase of det D over that of det M, ``(batch,)``: 1 but for a clover term with a twisted mass."""
        return self.full.diagonal_phase(EVEN)

    def log_det_rest_force(self) -> Array | None:
        """Gradient of :meth:`log_det_rest`, None where it vanishes."""
        return self.full.diagonal_log_det_force(EVEN)


def even_odd(operator: HoppingOperator) -> EvenOdd:
    """The Schur complement of an operator on odd sites."""
    return EvenOdd(operator)


def has_parities(operator: HoppingOperator) -> bool:
    """Whether the lattice of an operator splits into even and odd sites, the same ones in all lanes."""
    lattice = operator.lattice
    sizes = zip(lattice.shape, lattice.fold, lattice.block_shape, strict=True)
    return all(n % 2 == 0 and (fold == 1 or block % 2 == 0) for n, fold, block in sizes)


def reduced(operator: Any) -> Any:
    """The matrix that determinants, pseudofermions and solvers work on.

    Parameters
    ----------
    operator
        D, or a matrix that is preconditioned already, as :class:`EvenOdd` and :class:`gaugeflow.operators.Yukawa`.

    Returns
    -------
    EvenOdd or the operator itself
        The Schur complement of odd sites where there is one, else what was given.
    """
    divides = isinstance(operator, HoppingOperator) and operator.has_diagonal_inverse and has_parities(operator)
    return even_odd(operator) if divides else operator


def split(lattice: Lattice, psi: Array) -> tuple[Array, Array]:
    """Even and odd rows of a field, or stack, on all sites."""
    check_fermions(lattice, psi, BOTH)
    xp = array_namespace(psi)
    even, odd = (rows_of(lattice, p, psi) for p in (EVEN, ODD))
    axis = len(psi.shape) - 4
    return xp.take(psi, even, axis=axis), xp.take(psi, odd, axis=axis)


def joined(lattice: Lattice, even: Array, odd: Array) -> Array:
    """Inverse of :func:`split`."""
    xp = array_namespace(even)
    axis = len(even.shape) - 4
    return xp.take(xp.concat([even, odd], axis=axis), rows_in_order(lattice, even), axis=axis)
