"""Derivatives with respect to kappa without a determinant: the linearised flow with traces by noise.

S = S_gauge - N_f log det D(kappa).  In the estimator of :func:`gaugeflow.analysis.derivative_linear` the action enters through
O = dS/dkappa and X.dS, both linear, so that unbiased estimates of tr D^-1 and of the force leave it exact for any number of
noise vectors.  Products need factors of independent noise: observables that are made of noise have streams of their own, and
the variance of the exact residual comes from two groups of vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gaugeflow.determinants import d_kappa, hopping_noise, log_det_gradient
from gaugeflow.devices import to_host
from gaugeflow.ensembles.correlated import at_once
from gaugeflow.ensembles.linear import LINEAR_STEP
from gaugeflow.ensembles.smeared_forces import SmearedForces
from gaugeflow.groups import SU
from gaugeflow.lattice import Array
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng, Streams
from gaugeflow.typing import Action, VectorField

GROUPS = 2
"""Groups of noise vectors, independent of each other."""


class Estimate(NamedTuple):
    """What one group of noise vectors, or the exact determinant, says of the action on some links."""

    force: Array
    """Gradient of S, an algebra field."""
    operator: Array
    """O = dS/dkappa, ``(batch,)``."""


@dataclass(frozen=True, eq=False)
class QuarkSource:
    """The action S = S_gauge - flavours log det D(kappa) of a source, by noise or exactly.

    Parameters
    ----------
    gauge
        S_gauge.
    operator
        D in the kappa form; for noise without clover term and twisted mass, on even extents of 4 or more and no fold.
    flavours
        Number of degenerate quarks.
    vectors
        Noise vectors of each of ``GROUPS`` groups; 0: exactly, by the LU decomposition.
    tolerance
        Of the solver.
    """

    gauge: Action
    operator: Wilson
    flavours: int = 2
    vectors: int = 2
    tolerance: float = 1e-8

    def __post_init__(self) -> None:
        if self.operator.kappa is None:
            raise ValueError(f"QuarkSource: expected an operator in the kappa form, got {self.operator.label}")
        if self.vectors < 0:
            raise ValueError(f"QuarkSource: vectors must be 0 (exact) or more, got {self.vectors}")

    def estimates(self, rng: Rng | Streams, x: Array) -> list[Estimate]:
        """Estimates from independent noise, a single exact one where ``vectors`` is 0.

        Raises
        ------
        ValueError
            If D is singular.
        ConvergenceError
            If a system is not solved.
        """
        bound, gauge = self.operator.with_links(x), self.gauge.grad(x)
        if self.vectors == 0:
            gradient = log_det_gradient(bound).gradient
            slope = d_kappa(bound).derivative
            return [Estimate(gauge - self.flavours * gradient, -self.flavours * slope.real)]
        found = []
        for k in range(GROUPS):
            noise = hopping_noise(rng.stream(k), bound, self.vectors, tolerance=self.tolerance)
            force = gauge - self.flavours * noise.gradient
            found.append(Estimate(force, self._operator(bound, noise.traces)))
        return found

    def _operator(self, bound: Wilson, traces: Array) -> Array:
        """O = flavours (tr D^-1 - n) / kappa from traces ``(vectors, batch)``."""
        _, spin, n, _ = bound.field_shape()
        assert bound.kappa is not None
        return (self.flavours / bound.kappa) * (traces.mean(axis=0) - bound.lattice.volume * spin * n)


@dataclass(frozen=True)
class Observables:
    """What is differentiated.

    Gauge observables are functions of the links that return named values ``(batch,)``; quark observables are functions of a
    random stream and an operator bound to links, and depend on its kappa, too.  They may be noisy where they are unbiased.
    """

    gauge: Callable[[Array], Mapping[str, Array]]
    quark: Callable[[Rng | Streams, Wilson], Mapping[str, Array]] | None = None

    def __call__(self, rng: Rng | Streams, operator: Wilson) -> dict[str, Array]:
        """All of them."""
        return {**self.gauge(operator.bound), **self.of_quarks(rng, operator)}

    def of_quarks(self, rng: Rng | Streams, operator: Wilson) -> dict[str, Array]:
        """Those of the quarks."""
        return {} if self.quark is None else dict(self.quark(rng, operator))


def along_quarks(
    flow: VectorField | SmearedForces,
    coefficients: Any,
    source: QuarkSource,
    observables: Observables,
    *,
    timed: Callable[[str, str, Callable[[], Any]], Any] = at_once,
) -> Callable[[Rng | Streams, Array], dict[str, Array]]:
    """Function of a random stream and a field that measures what derivatives with respect to kappa need.

    Parameters
    ----------
    flow, coefficients
        One sweep, or fields without masks, and coefficients of X per unit of kappa.
    source
        The action.
    observables
        A, smooth functions of links and kappa.
    timed
        As for :func:`gaugeflow.ensembles.measure_images`.

    Returns
    -------
    callable
        Columns of :func:`gaugeflow.ensembles.estimators`: A under its name, ``explicit|name`` for dA/dkappa at fixed links,
        ``linear|name`` for X.dA + dA/dkappa, ``linear|operator`` for O, ``linear|residual`` for r = div X - X.dS - O; and
        ``noise|operator 0``, ``noise|residual 1`` and so on for the groups of noise vectors.
    """

    def measure(rng: Rng | Streams, x: Array) -> dict[str, Array]:
        operator = source.operator.with_links(x)
        own = rng.stream("observables")
        row: dict[str, Array] = timed("measurement", "", partial(observables, own, operator))
        found = timed("flow", "linear", partial(source.estimates, rng.stream("action"), x))
        fields = _with_noise(flow, rng)
        work = partial(fields.linearised, coefficients, x, found[0].force, LINEAR_STEP)
        ahead, behind, tangent = timed("flow", "linear", work)
        group = SU(operator.lattice)
        velocity = group.velocity((ahead - behind) / (2.0 * LINEAR_STEP), x)
        residuals = []
        for one in found:  # the tangent is linear in the force
            change = group.inner(velocity, one.force - found[0].force)
            residuals.append(to_host(tangent - change - one.operator))

        def slope(before: str, ends: Any, of: Callable[..., Any]) -> dict[str, Array]:
            pair = [timed("measurement", "linear", partial(of, own, end)) for end in ends]
            return {f"{before}|{k}": (pair[0][k] - pair[1][k]) / (2.0 * LINEAR_STEP) for k in pair[0]}

        row |= slope("explicit", (_shifted(operator, 1.0), _shifted(operator, -1.0)), observables.of_quarks)
        moved = [_shifted(operator.with_links(y), s) for y, s in ((ahead, 1.0), (behind, -1.0))]
        row |= slope("linear", moved, observables)
        operators = [to_host(one.operator) for one in found]
        for k, (o, r) in enumerate(zip(operators, residuals, strict=True)):
            row |= {f"noise|operator {k}": o, f"noise|residual {k}": r}
        row |= {"linear|operator": np.mean(operators, axis=0), "linear|residual": np.mean(residuals, axis=0)}
        return {name: to_host(value) for name, value in row.items()}

    return measure


def _with_noise(flow: VectorField | SmearedForces, rng: Rng | Streams) -> VectorField:
    return flow.with_noise(rng.stream("signs")) if isinstance(flow, SmearedForces) else flow


def _shifted(operator: Wilson, sign: float) -> Wilson:
    assert operator.kappa is not None
    return replace(operator, kappa=operator.kappa + sign * LINEAR_STEP)


def quark_tangents(
    flow: VectorField | SmearedForces, source: QuarkSource, rng: Rng | Streams, x: Array
) -> tuple[Array, Array]:
    """What the linear fit of a flow needs on some links, by groups of noise vectors.

    Returns
    -------
    h, operator : Array
        ``div X - X.dS`` of every field, ``(groups, fields, batch)``, and O, ``(groups, batch)``: the arguments of
        :func:`gaugeflow.training.fit_linear_noisy`.
    """
    found = source.estimates(rng, x)
    h = [to_host(_with_noise(flow, rng.stream(k)).tangent(x, one.force)) for k, one in enumerate(found)]
    return np.stack([v.reshape(-1, v.shape[-1]) for v in h]), np.stack([to_host(one.operator) for one in found])
