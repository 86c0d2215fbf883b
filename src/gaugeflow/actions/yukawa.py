"""Actions of staggered quarks with a Yukawa coupling: the exact determinant, and pseudofermions beside the scalar field.

For pseudofermions that are drawn anew for every trajectory, :class:`gaugeflow.actions.Pseudofermion` takes the operator
:class:`gaugeflow.operators.Yukawa`.  Derivations: ``docs/derivations/yukawa.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gaugeflow.actions.fermion import Inversion
from gaugeflow.errors import require_finite
from gaugeflow.kernels.fermions import rows_in_order, rows_of
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators import Yukawa
from gaugeflow.operators.even_odd import EVEN, ODD
from gaugeflow.solvers.solution import norm2
from gaugeflow.typing import Action


@dataclass(frozen=True, eq=False)
class YukawaDeterminant:
    """S = -flavours log abs det(D + g phi) of the scalar field, exactly, by the LU decomposition of N.

    Parameters
    ----------
    operator
        N, bound to a field or not.
    flavours
        Number of degenerate quarks.  For an odd number the sign of the determinant is left out.

    Raises
    ------
    ValueError
        From ``value`` and ``grad``, where a determinant vanishes or is not finite.
    """

    operator: Yukawa
    flavours: float = 2.0

    def __post_init__(self) -> None:
        require_finite(self, "flavours")
        self.operator.lattice.check_whole("YukawaDeterminant")

    def value(self, x: Array) -> Array:
        """S of every configuration, ``(batch,)`` float64."""
        bound = self.operator.with_links(x)
        _, n = bound.dense()
        xp = array_namespace(n)
        log_abs = xp.linalg.slogdet(n)[1]
        self._check(bool(xp.all(xp.isfinite(log_abs))))
        return -self.flavours * (log_abs + bound.free_log_det)

    def grad(self, x: Array) -> Array:
        """Partial derivatives, -flavours g (M^-1)_xx, ``(volume, lanes)``."""
        bound = self.operator.with_links(x)
        k, n = bound.dense()
        xp = array_namespace(n)
        self._check(bool(xp.all(xp.isfinite(n))))
        inverse = xp.linalg.inv(n)
        p = xp.asarray(bound.propagator)
        _, odd = bound.halves()
        on_odd = xp.sum(inverse * xp.matrix_transpose(k), axis=2)
        product = xp.matmul(inverse, p)
        on_even = xp.sum((p * xp.matrix_transpose(odd)[:, :, None]) * product, axis=1)
        trace = bound.joined(xp.matrix_transpose(on_even), xp.matrix_transpose(on_odd))
        return (-self.flavours * bound.coupling**2) * trace

    def _check(self, good: bool) -> None:
        if not good:
            raise ValueError(f"YukawaDeterminant: {self.operator.label} is singular or not finite for a configuration")


# ---- the scalar field and pseudofermions in one array ----------------------------------------------------------------
def with_pseudofermions(lattice: Lattice, phi: Array, chi: Array) -> Array:
    """The joint real field ``(volume, 2, lanes)``.

    Component 0 is the scalar field.  Component 1 holds the pseudofermions, complex on odd sites: their real part on odd
    sites and their imaginary part, in the same order, on even ones.

    Parameters
    ----------
    lattice
        The lattice, not folded.
    phi
        Scalar field ``(volume, lanes)``.
    chi
        Pseudofermions ``(volume / 2, 1, 1, lanes)`` complex128.
    """
    xp = array_namespace(phi)
    parts = xp.concat([xp.imag(chi[:, 0, 0, :]), xp.real(chi[:, 0, 0, :])], axis=0)
    return xp.stack([phi, xp.take(parts, rows_in_order(lattice, phi), axis=0)], axis=1)


def without_pseudofermions(lattice: Lattice, x: Array) -> tuple[Array, Array]:
    """Inverse of :func:`with_pseudofermions`.

    Raises
    ------
    ValueError
        If x does not have shape ``(volume, 2, lanes)``.
    """
    if len(x.shape) != 3 or tuple(x.shape[:2]) != (lattice.volume, 2):
        raise ValueError(f"joint field: expected shape ({lattice.volume}, 2, lanes), got {tuple(x.shape)}")
    xp = array_namespace(x)
    stored = x[:, 1, :]
    imaginary, real = (xp.take(stored, rows_of(lattice, p, stored), axis=0) for p in (EVEN, ODD))
    return x[:, 0, :], (real + 1j * imaginary)[:, None, None, :]


@dataclass(frozen=True, eq=False)
class YukawaPseudofermions:
    """S = chi^dagger (N^T N)^-1 chi of a joint field: exp(-S) integrates to pi^(volume / 2) det(N)^2 over chi.

    Parameters
    ----------
    operator
        N, bound to a field or not.
    inversion
        How linear systems are solved; ``depth`` has no meaning here.

    Raises
    ------
    ConvergenceError
        From ``value`` and ``grad``, where a system has no solution to the accuracy that is asked for.
    """

    operator: Yukawa
    inversion: Inversion = field(default=Inversion())

    def __post_init__(self) -> None:
        self.operator.lattice.check_whole("YukawaPseudofermions")

    def value(self, x: Array) -> Array:
        """S of every configuration, ``(batch,)`` float64, to second order in the error of the solution."""
        lattice = self.operator.lattice
        phi, chi = without_pseudofermions(lattice, x)
        bound = self.operator.with_links(phi)
        solution = self.inversion(bound, chi)
        xp = array_namespace(x)
        overlap = xp.sum(xp.real(xp.conj(chi) * solution), axis=(0, 1, 2))
        return 2.0 * overlap - norm2(lattice, bound.apply(solution))

    def grad(self, x: Array) -> Array:
        """With X = (N^T N)^-1 chi: -2 force(N X, X) for the scalar field, 2 X for pseudofermions; ``(volume, 2, lanes)``."""
        lattice = self.operator.lattice
        phi, chi = without_pseudofermions(lattice, x)
        bound = self.operator.with_links(phi)
        solution = self.inversion(bound, chi, force=True)
        force = bound.force(bound.apply(solution), solution)
        return with_pseudofermions(lattice, -2.0 * force, 2.0 * solution)


@dataclass(frozen=True, eq=False)
class OfScalar:
    """An action of the scalar field as an action of the joint field.

    Parameters
    ----------
    action
        S of a field ``(volume, lanes)``.
    """

    action: Action

    def value(self, x: Array) -> Array:
        """S of the scalar field, ``(batch,)`` float64."""
        return self.action.value(x[:, 0, :])

    def grad(self, x: Array) -> Array:
        """Partial derivatives; zero for pseudofermions."""
        phi_bar = self.action.grad(x[:, 0, :])
        xp = array_namespace(x)
        return xp.stack([phi_bar, xp.zeros_like(phi_bar)], axis=1)
