"""Contracts of actions and observables, and gauge covariance."""

from __future__ import annotations

from gaugeflow import kernels
from gaugeflow.check.differences import DIRECTIONS, Normal, differentiate, repeated, start, tangents
from gaugeflow.check.report import Report, Unchanged
from gaugeflow.groups import SU
from gaugeflow.lattice import Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Action, Array, Flow, Observable, Params


def check_action(
    action: Action, lattice: Lattice, x: Array, rng: Normal, *, tolerance: float = 1e-7
) -> dict[str, float]:
    """Put an action through its contract.

    Parameters
    ----------
    action, lattice
        The action and the lattice of its fields.
    x
        Links, or real or complex site fields, in double precision, where the gradient does not vanish.
    rng
        Source of random directions.
    tolerance
        Largest ``force`` error.

    Returns
    -------
    dict
        ``force``: ``|dS/de - <grad, w>| / |grad|`` for w of unit normal components, so that the derivative itself has the
        size of ``|grad|``; ``tangent``: part of the gradient outside the algebra, relative; ``lanes``: relative change of
        the first S when all other configurations of the batch become equal to the first.

    Raises
    ------
    ContractError
        If an error is too large, a shape or type is wrong, or ``x`` was changed.
    """
    report, manifold, batch = start(action, lattice, x)
    xp = array_namespace(x)
    with Unchanged(report, x):
        value, grad = action.value(x), action.grad(x)
    report.per_configuration("value", value, batch)
    report.like("grad", grad, x)
    size = xp.sqrt(manifold.inner(grad, grad))
    report.require(bool(xp.all(size > 0)), f"the gradient must not vanish at x, got norms {size}")
    outside = xp.max(xp.abs(grad - manifold.project(grad))) / xp.max(xp.abs(grad))
    report.measure("tangent", outside, 1e-12)
    first = action.value(repeated(manifold, x, batch))
    first = first[:1] if hasattr(action, "refreshed") else first  # pseudofermions of the others stay different
    report.measure("lanes", xp.abs(first - value[0]) / (xp.abs(value[0]) + 1.0), 1e-11)
    for w in tangents(manifold, x, rng, DIRECTIONS):

        def value_along(e: float, w: Array = w) -> tuple[Array, ...]:
            return (action.value(manifold.retract(x, w, e)),)

        (slope,) = differentiate(value_along)
        report.measure("force", xp.abs(slope - manifold.inner(grad, w)) / size, tolerance)
    return report.finish()


def check_observable(observable: Observable, lattice: Lattice, x: Array) -> dict[str, float]:
    """Check the name, shape and type of an observable, and that configurations do not mix.

    Returns
    -------
    dict
        ``lanes``: relative change of the first value when all other configurations become equal to the first.

    Raises
    ------
    ContractError
        If the contract is broken, a value is not finite, or ``x`` was changed.
    """
    report, manifold, batch = start(observable, lattice, x)
    report.require(isinstance(observable.name, str) and observable.name != "", f"name: got {observable.name!r}")
    with Unchanged(report, x):
        value = observable(x)
    report.per_configuration("value", value, batch, stacked=True)
    xp = array_namespace(value)
    report.require(bool(xp.all(xp.isfinite(value))), f"value: expected finite numbers, got {value}")
    first = observable(repeated(manifold, x, batch))
    report.measure("lanes", xp.abs(first - value[..., :1]) / (1.0 + xp.abs(value[..., :1])), 1e-11)
    return report.finish()


def check_gauge_covariance(
    subject: Flow | Action | Observable,
    lattice: Lattice,
    links: Array,
    rng: Normal,
    *,
    params: Params | None = None,
    tolerance: float = 1e-10,
) -> dict[str, float]:
    """Check how a function of links behaves under a random gauge rotation g.

    Parameters
    ----------
    subject
        A flow (then ``params`` is needed): f(U^g) = f(U)^g with the same log_det.  An action: equal values and
        grad(U^g) = g grad(U) g^dagger.  Anything else that can be called: equal values.
    lattice, links
        The lattice and links in double precision.
    rng
        Source of the rotation.
    params
        Parameters of a flow.
    tolerance
        Largest error; those of values are relative to 1 + abs(value).

    Returns
    -------
    dict
        Errors named ``links``, ``log_det``, ``value``, ``grad``, as they apply.

    Raises
    ------
    ContractError
        If an error is too large.
    """
    report = Report(subject)
    xp = array_namespace(links)
    group = SU(lattice)
    unit = group.identity(links)
    rotation = group.retract(unit, next(tangents(group, links, rng, 1)))[0, ...]
    rotated = kernels.gauge_transform(lattice, links, rotation)

    def same(name: str, found: Array, expected: Array) -> None:
        report.measure(name, xp.max(xp.abs(found - expected) / (1.0 + xp.abs(expected))), tolerance)

    if isinstance(subject, Flow):
        if params is None:
            raise ValueError("check_gauge_covariance: a flow needs params")
        (y, log_det), (y_rotated, log_det_rotated) = subject.forward(params, links), subject.forward(params, rotated)
        same("links", y_rotated, kernels.gauge_transform(lattice, y, rotation))
        same("log_det", log_det_rotated, log_det)
    elif isinstance(subject, Action):
        same("value", subject.value(rotated), subject.value(links))
        # A rotation of the links x^dagger grad x transforms like a link: g grad g^dagger at the start of the link.
        moved = kernels.gauge_transform(lattice, _times(subject.grad(links), links), rotation)
        same("grad", _times(subject.grad(rotated), rotated), moved)
    else:
        same("value", subject(rotated), subject(links))
    return report.finish()


def _times(algebra: Array, links: Array) -> Array:
    xp = array_namespace(links)
    a, u = (xp.permute_dims(f, (0, 1, 4, 2, 3)) for f in (algebra, links))
    return xp.permute_dims(a @ u, (0, 1, 3, 4, 2))
