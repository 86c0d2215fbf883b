"""The trivialising gradient flow: links move down the gradient of a potential made of classes of Wilson loops.

``dU/dt = -grad S~(t, U) U`` for t from 0 to 1, where ``S~ = sum_k c_k(t) W_k(U)`` and every c_k is a spline in t.  From
Haar-distributed links it leads to the distribution of an action S where ``-div grad S~ + t <grad S, grad S~> = S + const``
at all t.  Links are integrated by a Runge-Kutta scheme of third order on the group, and log det together with them,
from the Laplacian of S~ in closed form.  Sources: Luescher, arXiv:0907.5491; Bacchio, Kessel, Schaefer, Vaitl,
arXiv:2212.08469; derivation in ``docs/derivations/trivialising.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any, NamedTuple

from gaugeflow import kernels
from gaugeflow.devices import require_beside
from gaugeflow.errors import ConvergenceError, require_finite
from gaugeflow.flows.loops import algebra
from gaugeflow.flows.loops.algebra import Term
from gaugeflow.flows.loops.potential import LoopPotential
from gaugeflow.groups import SU
from gaugeflow.kernels.sums import largest_entry
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Action, Params

STAGES = ((0.0, 1.0 / 4.0, 0.0), (1.0 / 4.0, 8.0 / 9.0, -17.0 / 9.0), (2.0 / 3.0, 3.0 / 4.0, -1.0))
"""Time, a and b of each stage: K = -a step grad S~ + b K_before, links to exp(K) links (arXiv:1006.4518, appendix C)."""
QUADRATURE = (1.0 / 4.0, 0.0, 3.0 / 4.0)
"""Weights of the stages in integrals along the flow."""


def luescher_classes(ndim: int, n_colours: int, order: int) -> tuple[Term, ...]:
    """The classes of Luescher's expansion of the Wilson action up to t^order, order by order."""
    expansion = algebra.expansion(ndim, n_colours, order)
    return tuple(dict.fromkeys(name for potential in expansion for name, _ in potential))


@dataclass(frozen=True)
class TrivialisingFlow:
    """Gradient flow of a sum of loop classes with coefficients that depend on the flow time.

    Parameters
    ----------
    lattice
        The lattice; parameters do not depend on its size.
    n_colours
        N of SU(N); 1 is U(1).
    classes
        Classes of loops; default: those of Luescher's expansion to first order.
    knots
        Coefficients of the spline of each class: B-splines of degree 3, or ``knots - 1`` where that is less.
    steps
        Steps of the integrator.
    tolerance, iterations
        Of the inverse of a step: largest entry of the last displacement.

    Notes
    -----
    ``params["c"]`` has shape ``(n_classes, knots)``; zeros are the identity.

    The links that come out are an exact function of those that go in, and the inverse inverts it to rounding.  ``log_det``
    is the integral of the divergence by the same scheme: it differs from the log-determinant of the discrete map by an
    error that falls as ``steps**-3``.  :meth:`step_error` measures what this does to weights.
    """

    lattice: Lattice
    n_colours: int = 3
    classes: tuple[Term, ...] = ()
    knots: int = 5
    steps: int = 10
    tolerance: float = 1e-14
    iterations: int = 100

    def __post_init__(self) -> None:
        require_finite(self, "tolerance")
        if self.n_colours < 1:
            raise ValueError(f"n_colours: expected a positive integer, got {self.n_colours}")
        if self.knots < 1 or self.steps < 1:
            raise ValueError(f"knots, steps: expected positive integers, got {self.knots} and {self.steps}")
        if not self.classes:
            object.__setattr__(self, "classes", luescher_classes(self.lattice.ndim, self.n_colours, 1))
        _ = self.potential

    @cached_property
    def potential(self) -> LoopPotential:
        """The potential without its coefficients."""
        return LoopPotential(self.lattice, self.n_colours, self.classes)

    # ---- parameters ------------------------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, int]:
        """Shape of ``params["c"]``."""
        return len(self.classes), self.knots

    def init(self, rng: Any = None) -> Params:
        """Parameters of the identity."""
        xp: Any = import_module("array_api_compat.numpy")
        return {"c": xp.zeros(self.shape, dtype=xp.float64)}

    def basis(self, t: float) -> list[float]:
        """Values of the splines that the columns of ``params["c"]`` multiply, at a flow time in [0, 1]."""
        return _b_splines(self.knots, t)

    @property
    def nodes(self) -> tuple[float, ...]:
        """Flow times, as many as knots, at which given coefficients determine the splines."""
        degree = min(3, self.knots - 1)
        ends = _b_spline_knots(self.knots)
        return tuple(sum(ends[i + 1 : i + 1 + degree]) / degree if degree else 0.5 for i in range(self.knots))

    def interpolated(self, values: Array) -> Params:
        """Parameters of the splines through coefficients ``(n_classes, knots)`` at :attr:`nodes`."""
        xp = array_namespace(values)
        if tuple(values.shape) != self.shape:
            raise ValueError(f"values: expected shape {self.shape}, got {tuple(values.shape)}")
        matrix = xp.asarray([self.basis(t) for t in self.nodes], dtype=xp.float64)
        return {"c": xp.matrix_transpose(xp.linalg.solve(matrix, xp.matrix_transpose(values)))}

    def luescher(self, beta: float, order: int) -> Params:
        """Luescher's expansion for the Wilson action, as far as the splines can follow powers of t (up to t^3).

        Raises
        ------
        ValueError
            If a class of the expansion is not among those of this flow.
        """
        xp: Any = import_module("array_api_compat.numpy")
        values = xp.zeros(self.shape, dtype=xp.float64)
        expansion = algebra.expansion(self.lattice.ndim, self.n_colours, order)
        for power, potential in enumerate(expansion):
            for name, c in potential:
                if name not in self.classes:
                    raise ValueError(f"the expansion to order {order} needs the class {name}, which this flow lacks")
                factor = float(c) * (beta / self.n_colours) ** (power + 1)
                values[self.classes.index(name), :] += factor * xp.asarray([t**power for t in self.nodes])
        return self.interpolated(values)

    def _coefficients(self, params: Params, t: float, x: Array) -> Array:
        c = params["c"]
        require_beside("c", c, x)
        if tuple(c.shape) != self.shape:
            raise ValueError(f"c: expected shape {self.shape}, got {tuple(c.shape)}")
        xp = array_namespace(c)
        return xp.sum(c * xp.asarray(self.basis(t), dtype=c.dtype)[None, :], axis=1)

    # ---- the map ---------------------------------------------------------------------------------------------------
    def _time(self, step: int, stage: int) -> float:
        return (step + STAGES[stage][0]) / self.steps

    def _step(self, params: Params, x: Array, step: int) -> tuple[list[Array], list[Array], Array]:
        """Links before, between and after the stages, generators, and the part of log det."""
        h = 1.0 / self.steps
        links: list[Array] = [x]
        generators: list[Array] = []
        log_det = 0.0
        for stage, (_, a, b) in enumerate(STAGES):
            c = self._coefficients(params, self._time(step, stage), x)
            if QUADRATURE[stage]:
                gradient, laplacian = self.potential.both(c, links[-1])
                log_det = log_det - QUADRATURE[stage] * h * laplacian
            else:
                gradient = self.potential.gradient(c, links[-1])
            before = generators[-1] if generators else gradient
            moved, k = kernels.flow_stage(self.lattice, links[-1], gradient, before, -a * h, b)
            links.append(moved)
            generators.append(k)
        return links, generators, log_det

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        """Map links; returns ``(y, log_det)`` with ``log_det`` of shape ``(batch,)``."""
        log_det = 0.0
        for step in range(self.steps):
            links, _, part = self._step(params, x, step)
            x, log_det = links[-1], log_det + part
        return x, log_det

    def inverse(self, params: Params, y: Array) -> tuple[Array, Array]:
        """Links x with ``forward(x) = y``, and minus the log-determinant at x.

        Every step is inverted by itself: its links are corrected by the displacement that is still missing.

        Raises
        ------
        ConvergenceError
            If the iteration does not reach ``tolerance``; the step is then too large.
        """
        xp = array_namespace(y)
        group = SU(self.lattice)
        tolerance = max(self.tolerance, 1e-6 if y.dtype == xp.complex64 else 0.0)
        log_det = 0.0
        for step in reversed(range(self.steps)):
            x, change = y, tolerance
            for _ in range(self.iterations):
                links, _, part = self._step(params, x, step)
                missing = group.velocity(y, links[-1])
                x = kernels.evolve(self.lattice, x, missing, 1.0)
                change = largest_entry(self.lattice, missing)
                if change <= tolerance:
                    break
            if not change <= tolerance:
                raise ConvergenceError(
                    f"inverse of step {step} of a trivialising flow: last change {change:.3g} after {self.iterations} "
                    f"iterations, tolerance {tolerance:.3g}; take more steps"
                )
            y, log_det = x, log_det - part
        return y, log_det

    # ---- derivatives -----------------------------------------------------------------------------------------------
    def tangent(self, x: Array, force: Array) -> Array:
        """``div X - <X, force>`` of the field X = -grad W_k of every class, ``(n_classes, batch)``.

        The coefficients at time t are those of :func:`gaugeflow.training.fit_linear` on configurations of t S, with
        ``force`` the gradient of t S and the operator S.

        Parameters
        ----------
        x
            Links.
        force
            Gradient of the action from which they come.
        """
        return self.potential.along(x, force) - self.potential.laplacians(x)

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
        """Pull cotangents back through all stages; see :class:`gaugeflow.typing.Flow`."""
        bars, x_bar = self.vjp_by_configuration(params, x, y, y_bar, log_det_bar)
        return {"c": array_namespace(x).sum(bars["c"], axis=-1)}, x_bar

    def vjp_by_configuration(
        self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any
    ) -> tuple[Params, Array]:
        """As :meth:`vjp`, with the cotangents of ``c`` of each configuration, ``(n_classes, knots, batch)``.

        Links at the beginning of every step are kept, stages are computed again.
        """
        xp = array_namespace(x)
        h = 1.0 / self.steps
        starts = [x]
        for step in range(self.steps - 1):
            starts.append(self._step(params, starts[-1], step)[0][-1])
        bar = y_bar
        total = xp.zeros((*self.shape, self.lattice.batch(x.shape[-1])), dtype=xp.float64)
        for step in reversed(range(self.steps)):
            links, generators, _ = self._step(params, starts.pop(), step)
            k_bar = None
            for stage in reversed(range(len(STAGES))):
                _, a, b = STAGES[stage]
                t = self._time(step, stage)
                bar, own = kernels.flow_stage_vjp(self.lattice, generators[stage], bar)
                k_bar = own if k_bar is None else own + k_bar
                weight = QUADRATURE[stage]
                c_bar, part = self.potential.vjp(
                    self._coefficients(params, t, x),
                    links[stage],
                    (-a * h) * k_bar,
                    -weight * h * log_det_bar if weight else None,
                )
                bar, k_bar = bar + part, b * k_bar
                spline = xp.asarray(self.basis(t), dtype=xp.float64)
                total = total + c_bar[:, None, :] * spline[None, :, None]
        return {"c": total}, bar

    # ---- quality ---------------------------------------------------------------------------------------------------
    def step_error(self, params: Params, x: Array, target: Action) -> StepError:
        """How far the integrator is from the continuous flow, whose weights are exact: comparison with half the step.

        Estimates from f(x) and its weight are those of the continuous flow up to the changes of both along each
        trajectory, which fall as ``steps**-3``: what is returned is 7/8 of them.
        """
        xp = array_namespace(x)
        finer = replace(self, steps=2 * self.steps)
        (y, log_det), (better, exact) = self.forward(params, x), finer.forward(params, x)
        difference = (log_det - target.value(y)) - (exact - target.value(better))
        mean = xp.mean(difference)
        return StepError(
            largest_entry(self.lattice, y - better), float(mean), float(xp.sqrt(xp.mean((difference - mean) ** 2)))
        )


class StepError(NamedTuple):
    """Largest change of an entry of a link, mean and standard deviation of the change of the log-weight.

    A constant in the log-weight has no effect; the standard deviation is what estimates see.
    """

    links: float
    log_weight_mean: float
    log_weight_deviation: float


def _b_spline_knots(count: int) -> list[float]:
    degree = min(3, count - 1)
    inner = count - degree
    return [0.0] * degree + [i / inner for i in range(inner + 1)] + [1.0] * degree


def _b_splines(count: int, t: float) -> list[float]:
    """Clamped B-splines on [0, 1] by the recursion of Cox and de Boor."""
    ends = _b_spline_knots(count)
    degree = min(3, count - 1)
    last = count - 1
    cell = next((i for i in range(degree, last) if t < ends[i + 1]), last)
    values = [1.0 if i == cell else 0.0 for i in range(len(ends) - 1)]
    for p in range(1, degree + 1):
        values = [
            _ratio(t - ends[i], ends[i + p] - ends[i]) * values[i]
            + _ratio(ends[i + p + 1] - t, ends[i + p + 1] - ends[i + 1]) * values[i + 1]
            for i in range(len(values) - 1)
        ]
    return values


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0.0 else 0.0
