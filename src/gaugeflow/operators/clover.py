"""The Wilson operator with a clover term (Sheikholeslami and Wohlert, Nucl. Phys. B259 (1985) 572)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.kernels.fermions import BOTH, count_rows, rows_in_order, rows_of
from gaugeflow.kernels.sums import largest_entry, sum_sites
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.wilson import Wilson
from gaugeflow.sites.dirac import block_size, triangle


@dataclass(frozen=True, eq=False, kw_only=True)
class Clover(Wilson):
    """The Wilson operator plus (1/2) sum_(mu < nu) c_mu nu sigma_mu nu i F_mu nu (mass form; times 2 kappa in the kappa form).

    F = (Q - Q^dagger) / 8 with the four leaves Q, sigma = (i/2) [gamma_mu, gamma_nu]: Chroma's conventions.

    Parameters
    ----------
    csw
        c of every plane, or one number for each of :attr:`gaugeflow.lattice.Lattice.planes` (on
        anisotropic lattices c_t in planes with direction 0 and c_r / xi in the others).
    lattice, links, boundary, charge, potential, kappa, mass, hopping, twisted_mass
        As for :class:`Wilson`.
    """

    csw: float | tuple[float, ...] = 1.0
    made_of_links: ClassVar[tuple[str, ...]] = ("blocks", "_inverse")

    def __post_init__(self) -> None:
        require_finite(self, "csw")
        super().__post_init__()
        planes = len(self.lattice.planes)
        if not isinstance(self.csw, int | float) and len(self.csw) != planes:
            raise ValueError(f"csw: expected a number or {planes}, one for each plane, got {len(self.csw)}")

    @property
    def label(self) -> str:
        """Name and parameters for messages."""
        return super().label[:-1] + f", csw {self.csw})"

    @property
    def weights(self) -> tuple[float, ...]:
        """Factors of sigma i F in every plane."""
        planes = len(self.lattice.planes)
        csw = (float(self.csw),) * planes if isinstance(self.csw, int | float) else self.csw
        return tuple(0.5 * self.norm * c for c in csw)

    @cached_property
    def blocks(self) -> Array:
        """T without its twisted mass, packed as :func:`gaugeflow.kernels.clover_blocks` returns it."""
        return kernels.clover_blocks(self.lattice, self.bound, self.diagonal_number, self.weights)

    @cached_property
    def _inverse(self) -> tuple[Array, Array]:
        """A of T^-1 = A (T - i twist gamma_5), A = T^-1 without twist else (T^2 + twist^2)^-1; and log det T at every site."""
        full = unpacked(self.blocks)
        xp = array_namespace(full)
        if self.twist:
            unit = xp.eye(full.shape[-1], dtype=full.dtype)
            full = full @ full + self.twist**2 * unit
        sign, log_det = xp.linalg.slogdet(full)
        bad = xp.logical_not(xp.real(sign) > 0.0)
        if largest_entry(self.lattice, xp.astype(bad, xp.float64)) > 0.0:  # on any process
            raise ValueError(f"{self.label}: the clover term has a block of determinant <= 0 on these links")
        log_det = xp.sum(log_det, axis=2)  # of both chiralities
        log_det = log_det * 0.5 if self.twist else log_det
        return packed(xp.linalg.inv(full)), xp.astype(log_det, xp.float64)

    def _clover_hop(
        self, psi: Array, parity: int, adjoint: bool, beta: float, base: Array | None, alpha: float, blocks: Array
    ) -> Array:
        sign = -1 if adjoint else 1
        return kernels.clover_hop(self.lattice, self.bound, psi, self.factors, sign, parity, beta, base, alpha, blocks)

    def _twist(self, adjoint: bool) -> float:
        return -self.twist if adjoint else self.twist

    def diagonal(self, psi: Array, parity: int = BOTH, adjoint: bool = False) -> Array:
        """T psi."""
        self.check(psi, parity)
        return kernels.blocks_times(self.lattice, psi, self.blocks, parity, self._twist(adjoint))

    def diagonal_inverse(self, psi: Array, parity: int = BOTH, adjoint: bool = False) -> Array:
        """T^-1 psi."""
        self.check(psi, parity)
        result = kernels.blocks_times(self.lattice, psi, self._inverse[0], parity, 0.0)
        if self.twist:
            result = kernels.blocks_times(self.lattice, result, self.blocks, parity, -self._twist(adjoint))
        return result

    def diagonal_log_det(self, parity: int) -> Array:
        """log abs det T of a parity, ``(batch,)``."""
        return self._sum_sites(self._inverse[1], parity)

    def diagonal_phase(self, parity: int) -> Array:
        """det T over its modulus, ``(batch,)``: not 1 where a twisted mass meets blocks of different spectra."""
        if not self.twist:
            return super().diagonal_phase(parity)
        full = unpacked(self.blocks)
        xp = array_namespace(full)
        chirality = xp.asarray([1j * self.twist, -1j * self.twist], dtype=full.dtype)[:, None, None]
        sign, _ = xp.linalg.slogdet(full + chirality * xp.eye(full.shape[-1], dtype=full.dtype))
        sign = xp.astype(sign, xp.complex128)
        angle = self._sum_sites(xp.sum(xp.atan2(xp.imag(sign), xp.real(sign)), axis=2), parity)
        return xp.cos(angle) + 1j * xp.sin(angle)

    def _sum_sites(self, values: Array, parity: int) -> Array:
        xp = array_namespace(values)
        rows = xp.take(values, rows_of(self.lattice, parity, values), axis=0)
        return sum_sites(self.lattice, rows)

    def diagonal_log_det_force(self, parity: int) -> Array | None:
        """Gradient of :meth:`diagonal_log_det`: Re tr T^-1 dT with T^-1 as a sum over unit vectors."""
        xp = array_namespace(self.bound)
        rows, spin, n, lanes = self.field_shape()
        unit = xp.reshape(xp.eye(spin * n, dtype=self.bound.dtype), (spin * n, 1, spin, n, 1))
        if parity == BOTH:
            here = xp.ones((rows,), dtype=self.bound.dtype)
        else:
            counts = [count_rows(self.lattice, p) for p in (0, 1)]
            halves = [xp.full((counts[p],), float(p == parity), dtype=self.bound.dtype) for p in (0, 1)]
            here = xp.take(xp.concat(halves), rows_in_order(self.lattice, unit))
        left = xp.asarray(
            xp.broadcast_to(unit * here[None, :, None, None, None], (spin * n, rows, spin, n, lanes)), copy=True
        )
        return self._diagonal_force(left, self.diagonal_inverse(left))

    def _diagonal_force(self, left: Array, right: Array) -> Array:
        tensor = kernels.clover_tensor(self.lattice, left, right, self.weights)
        return kernels.clover_gradient(self.lattice, self.bound, tensor)

    def apply(self, psi: Array) -> Array:
        """D psi."""
        result = self._clover_hop(psi, BOTH, False, -0.5 * self.norm, psi, 1.0, self.blocks)
        return self._add_twist(result, psi, False)

    def adjoint(self, psi: Array) -> Array:
        """D^dagger psi."""
        result = self._clover_hop(psi, BOTH, True, -0.5 * self.norm, psi, 1.0, self.blocks)
        return self._add_twist(result, psi, True)

    def _add_twist(self, result: Array, psi: Array, adjoint: bool) -> Array:
        return result + self._number_times(1j * self._twist(adjoint), psi) if self.twist else result

    def eliminate(self, psi: Array, parity: int, adjoint: bool = False) -> Array:
        """T^-1 K psi."""
        result = self._clover_hop(psi, parity, adjoint, -0.5 * self.norm, None, 0.0, self._inverse[0])
        if self.twist:
            result = kernels.blocks_times(self.lattice, result, self.blocks, parity, -self._twist(adjoint))
        return result

    def close(self, psi: Array, far: Array, parity: int, adjoint: bool = False) -> Array:
        """T psi - K far."""
        result = self._clover_hop(far, parity, adjoint, 0.5 * self.norm, psi, 1.0, self.blocks)
        return self._add_twist(result, psi, adjoint)

    def d_charge(self, psi: Array, order: int = 1) -> Array:
        """Derivative of D psi with respect to the charge, for potentials without a field strength.

        Raises
        ------
        ValueError
            If the plaquettes of the potential do not vanish: the clover term then depends on the charge.
        """
        change = super().d_charge(psi, order)
        if not self._is_flat:
            raise ValueError(
                f"{self.label}: the derivative with respect to the charge needs a potential without plaquettes"
            )
        return change

    @cached_property
    def _is_flat(self) -> bool:
        """Whether all plaquettes of the potential vanish."""
        potential = self._potential[:, :, 0, 0, :]
        xp = array_namespace(potential)
        phases = xp.exp(1e-3j * potential)[:, :, None, None, :]
        loops = kernels.loop_traces(
            self.lattice, phases, tuple((mu + 1, nu + 1, -mu - 1, -nu - 1) for mu, nu in self.lattice.planes)
        )
        return largest_entry(self.lattice, loops - 1.0) < 1e-12

    def force(self, left: Array, right: Array) -> Array:
        """Gradient of Re <left, D right>."""
        return super().force(left, right) + self._diagonal_force(left, right)

    def d_kappa(self, psi: Array) -> Array:
        """Derivative of D psi with respect to kappa; only in the kappa form, where D = 1 + kappa (...)."""
        if self.kappa is None:
            raise ValueError(f"{self.label}: the derivative with respect to kappa needs the kappa form")
        return (self.apply(psi) - psi) / self.kappa


def unpacked(blocks: Array) -> Array:
    """Packed Hermitian blocks ``(n_blocks, 2, m (m + 1) / 2, lanes)`` as matrices ``(n_blocks, lanes, 2, m, m)``."""
    xp = array_namespace(blocks)
    m = block_size(blocks.shape[2])
    x = xp.permute_dims(blocks, (2, 0, 3, 1))

    def entry(i: int, j: int) -> Array:
        if i == j:
            return xp.astype(xp.real(x[triangle(i, i), ...]), blocks.dtype)
        return x[triangle(i, j), ...] if i > j else xp.conj(x[triangle(j, i), ...])

    rows = xp.stack([entry(i, j) for i in range(m) for j in range(m)], axis=-1)
    return xp.reshape(rows, (*rows.shape[:-1], m, m))


def packed(matrices: Array) -> Array:
    """Inverse of :func:`unpacked`."""
    xp = array_namespace(matrices)
    m = matrices.shape[-1]
    x = xp.stack([matrices[..., i, j] for i in range(m) for j in range(i + 1)])
    return xp.asarray(xp.permute_dims(x, (1, 3, 0, 2)), copy=True)
