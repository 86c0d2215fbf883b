"""Actions of two degenerate quarks: exact determinants, pseudofermions, Hasenbusch factors.

All use the Schur complement M of D = T + K on odd sites where the lattice has parities: log det D = log det T_ee + log det M.
Pseudofermion actions are drawn anew for every trajectory by ``refreshed``.  Derivations: ``docs/derivations/fermions.md``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any, Literal, Self

from gaugeflow.actions.algebra import refreshed
from gaugeflow.determinants import log_det, log_det_gradient
from gaugeflow.errors import require_finite
from gaugeflow.kernels import fermion_dot
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators import EvenOdd, HoppingOperator, Yukawa, gaussian
from gaugeflow.operators.even_odd import reduced
from gaugeflow.random import Rng
from gaugeflow.solvers import Chronology, cg, refined_cg
from gaugeflow.solvers.solution import norm2
from gaugeflow.typing import Action


@dataclass(frozen=True)
class Inversion:
    """How the linear systems of an action are solved.

    Parameters
    ----------
    tolerance
        Residual of solutions in values of the action, relative to the right-hand side.
    force_tolerance
        The same for forces.  Trajectories are reversible to about this accuracy.
    method
        ``"cg"``, or ``"refined"`` for iterations in single precision.
    depth
        Number of former solutions of a trajectory from which the next is guessed; 0 for none.
    max_iterations
        After which ``ConvergenceError`` is raised.
    """

    tolerance: float = 1e-10
    force_tolerance: float = 1e-8
    method: Literal["cg", "refined"] = "cg"
    depth: int = 4
    max_iterations: int = 10000

    def __post_init__(self) -> None:
        require_finite(self, "tolerance", "force_tolerance", single=True)
        for name in ("tolerance", "force_tolerance"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"Inversion: {name} must lie between 0 and 1, got {getattr(self, name)}")
        if self.method not in ("cg", "refined"):
            raise ValueError(f"Inversion: method must be 'cg' or 'refined', got {self.method!r}")

    def __call__(self, operator: Any, b: Array, memory: Chronology | None = None, *, force: bool = False) -> Array:
        """(M^dagger M)^-1 b."""
        solver = cg if self.method == "cg" else refined_cg
        tolerance = self.force_tolerance if force else self.tolerance
        start = None if memory is None else memory.guess(operator, b)
        x = solver(operator, b, tolerance=tolerance, max_iterations=self.max_iterations, start=start).x
        if memory is not None:
            memory.add(x)
        return x


def log_det_rest(operator: Any) -> Array | float:
    """log det D - log det M."""
    return operator.log_det_rest() if isinstance(operator, EvenOdd) else 0.0


def add_rest_force(grad: Array, factor: float, operator: Any) -> Array:
    """``grad + factor`` times the gradient of :func:`log_det_rest`."""
    force = operator.log_det_rest_force() if isinstance(operator, EvenOdd) else None
    return grad if force is None else grad + factor * force


@dataclass(frozen=True, eq=False)
class Determinant:
    """S = -flavours log abs det D, exactly, by the LU decomposition of M: for small lattices.

    For an odd number of flavours the sign of det D is left out; it is an observable, ``log_det(D).phase``.

    Parameters
    ----------
    operator
        D, bound to links or not.
    flavours
        Number of degenerate quarks; any real number.
    force_precision
        32 computes gradients in single precision, in half the time and good to about 1e-6.  HMC stays exact: the force is
        then another function of the links, and the accept-reject step uses the value.

    Raises
    ------
    ValueError
        From ``value`` and ``grad``, where D is singular.
    """

    operator: HoppingOperator
    flavours: float = 2.0
    force_precision: Literal[64, 32] = 64

    def __post_init__(self) -> None:
        require_finite(self, "flavours", single=True)
        if self.force_precision not in (64, 32):
            raise ValueError(f"Determinant: force_precision must be 64 or 32, got {self.force_precision}")

    def value(self, x: Array) -> Array:
        """S of every configuration, ``(batch,)`` float64."""
        return -self.flavours * log_det(self.operator.with_links(x)).log_abs

    def grad(self, x: Array) -> Array:
        """Gradient in left coordinates, -flavours Re tr D^-1 dD."""
        xp = array_namespace(x)
        links = xp.astype(x, xp.complex64) if self.force_precision == 32 else x
        return -self.flavours * xp.astype(log_det_gradient(self.operator.with_links(links)).gradient, x.dtype)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pseudofermions of one trajectory."""

    phi: Array
    """The field."""
    x: Array
    """Links for which it was drawn."""
    value: Array
    """``|eta|^2``, the pseudofermion action at these links, ``(batch,)``."""
    memory: Chronology
    """Solutions so far."""


@dataclass(frozen=True, eq=False)
class WithPseudofermions(ABC):
    """What actions with one pseudofermion field share: who writes the heat bath gets ``refreshed``."""

    operator: HoppingOperator | Yukawa
    inversion: Inversion = field(default=Inversion(), kw_only=True)
    drawn: Drawn | None = field(default=None, kw_only=True)

    @property
    def pseudofermions(self) -> Drawn:
        """The pseudofermions; ``ValueError`` before the first ``refreshed``."""
        if self.drawn is None:
            raise ValueError(
                f"{type(self).__name__}({self.operator.label}) has no pseudofermions: draw them with refreshed(rng, links)"
            )
        return self.drawn

    def refreshed(self, rng: Rng, x: Array) -> Self:
        """The action with new pseudofermions, drawn from exp(-S) at the links x."""
        eta = gaussian(rng, reduced(self.operator.with_links(x)))
        value = norm2(self.operator.lattice, eta)
        return replace(self, drawn=Drawn(self._heat_bath(x, eta), x, value, Chronology(self.inversion.depth)))

    @abstractmethod
    def _heat_bath(self, x: Array, eta: Array) -> Array:
        """Pseudofermions with ``S = |eta|^2`` at the links x."""

    def _quadratic(self, operator: Any, b: Array) -> Array:
        """<b, (M^dagger M)^-1 b> to second order in the error of the solution: 2 Re <b, X> - |M X|^2."""
        lattice = self.operator.lattice
        x = self.inversion(operator, b, self.pseudofermions.memory)
        xp = array_namespace(b)
        return 2.0 * xp.real(fermion_dot(lattice, b, x)) - norm2(lattice, operator.apply(x))


@dataclass(frozen=True, eq=False)
class Pseudofermion(WithPseudofermions):
    """Two flavours: S = phi^dagger (M^dagger M)^-1 phi - 2 log det T_ee, of which exp(-S) integrates to det(D)^2 over phi.

    Parameters
    ----------
    operator
        D, bound to links or not.
    inversion
        How linear systems are solved.
    drawn
        Pseudofermions; see ``refreshed``.

    Raises
    ------
    ConvergenceError
        From ``value`` and ``grad``, where a system has no solution to the accuracy that is asked for.
    """

    def _heat_bath(self, x: Array, eta: Array) -> Array:
        return reduced(self.operator.with_links(x)).adjoint(eta)

    def value(self, x: Array) -> Array:
        """S of every configuration, ``(batch,)`` float64; where x is the field of ``refreshed``, without a solution."""
        drawn, m = self.pseudofermions, reduced(self.operator.with_links(x))
        return (drawn.value if x is drawn.x else self._quadratic(m, drawn.phi)) - 2.0 * log_det_rest(m)

    def grad(self, x: Array) -> Array:
        """Gradient in left coordinates: -2 force(M X, X) with X = (M^dagger M)^-1 phi."""
        drawn, m = self.pseudofermions, reduced(self.operator.with_links(x))
        solution = self.inversion(m, drawn.phi, drawn.memory, force=True)
        return add_rest_force(-2.0 * m.force(m.apply(solution), solution), -2.0, m)


@dataclass(frozen=True, eq=False)
class Ratio(WithPseudofermions):
    """Two flavours over two heavier ones: S = phi^dagger M_h (M^dagger M)^-1 M_h^dagger phi, weight det(D)^2 / det(D_h)^2.

    Hasenbusch, hep-lat/0107019.

    Parameters
    ----------
    operator, drawn, inversion
        As for :class:`Pseudofermion`.
    heavier
        D_h: the same operator with a smaller kappa, a larger mass or a twisted mass.
    """

    heavier: HoppingOperator

    def __post_init__(self) -> None:
        if self.heavier.lattice != self.operator.lattice:
            raise ValueError(f"Ratio: expected one lattice, got {self.operator.lattice} and {self.heavier.lattice}")

    def _both(self, x: Array) -> tuple[Any, Any]:
        return reduced(self.operator.with_links(x)), reduced(self.heavier.with_links(x))

    def _heat_bath(self, x: Array, eta: Array) -> Array:
        light, heavy = self._both(x)
        return heavy.apply(self.inversion(heavy, light.adjoint(eta)))

    def value(self, x: Array) -> Array:
        """S of every configuration, ``(batch,)`` float64; where x is the field of ``refreshed``, without a solution."""
        drawn = self.pseudofermions
        light, heavy = self._both(x)
        value = drawn.value if x is drawn.x else self._quadratic(light, heavy.adjoint(drawn.phi))
        return value - 2.0 * log_det_rest(light) + 2.0 * log_det_rest(heavy)

    def grad(self, x: Array) -> Array:
        """Gradient: 2 force_h(phi, X) - 2 force(M X, X) with X = (M^dagger M)^-1 M_h^dagger phi."""
        drawn = self.pseudofermions
        light, heavy = self._both(x)
        solution = self.inversion(light, heavy.adjoint(drawn.phi), drawn.memory, force=True)
        grad = 2.0 * heavy.force(drawn.phi, solution) - 2.0 * light.force(light.apply(solution), solution)
        return add_rest_force(add_rest_force(grad, -2.0, light), 2.0, heavy)


@dataclass(frozen=True, eq=False)
class Hasenbusch:
    """Two flavours in factors: det(D)^2 = det(D / D_1)^2 det(D_1 / D_2)^2 ... det(D_n)^2, each with its own pseudofermions.

    The factors, :attr:`terms`, may be put on different time scales of HMC, the first one, with the smallest force, on the
    longest.

    Parameters
    ----------
    operator
        D.
    heavier
        D_1 ... D_n, from light to heavy; none leaves :class:`Pseudofermion`.
    inversion
        How linear systems are solved.
    drawn
        The factors with their pseudofermions, as :meth:`refreshed` leaves them.
    """

    operator: HoppingOperator
    heavier: tuple[HoppingOperator, ...] = ()
    inversion: Inversion = Inversion()
    drawn: tuple[Action, ...] = ()

    @property
    def terms(self) -> tuple[Action, ...]:
        """The ratios, from light to heavy, and the pseudofermions of the heaviest operator."""
        if self.drawn:
            return self.drawn
        chain = (self.operator, *self.heavier)
        ratios = (Ratio(a, b, inversion=self.inversion) for a, b in zip(chain, self.heavier, strict=False))
        return (*ratios, Pseudofermion(chain[-1], inversion=self.inversion))

    def refreshed(self, rng: Rng, x: Array) -> Self:
        """The action with new pseudofermions for all factors."""
        drawn = tuple(refreshed(term, rng.stream(i), x) for i, term in enumerate(self.terms))
        return replace(self, drawn=drawn)

    def value(self, x: Array) -> Array:
        """S of every configuration, ``(batch,)`` float64."""
        return reduce(add, (term.value(x) for term in self.terms))

    def grad(self, x: Array) -> Array:
        """Gradient in left coordinates."""
        return reduce(add, (term.grad(x) for term in self.terms))
