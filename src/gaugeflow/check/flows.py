"""Contracts of flows and of the modules of networks: inverse, log-determinant, cotangents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gaugeflow import kernels, tree
from gaugeflow.check.differences import DIRECTIONS, Normal, differentiate, normal, repeated, start, tangents
from gaugeflow.check.report import Report, Unchanged
from gaugeflow.groups import SU, Euclidean, Manifold, manifold_of
from gaugeflow.lattice import Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng
from gaugeflow.typing import Array, Flow, Module, Params

ENTRIES = 8
"""Entries of a leaf of the parameters that are checked one by one."""


def check_flow(
    flow: Flow,
    lattice: Lattice,
    params: Params,
    x: Array,
    rng: Normal,
    *,
    init_rng: Rng | None = None,
    round_trip: float = 1e-13,
    tolerance: float = 1e-7,
) -> dict[str, float]:
    """Put a flow through its contract.

    Parameters
    ----------
    flow, lattice
        The flow and the lattice of its fields.
    params
        Parameters at which it is not the identity.
    x
        Fields in double precision.  The brute-force Jacobian is dense and needs one lane per dimension: use the
        smallest lattice that the flow works on.
    rng, init_rng
        Sources of random directions, and of numbers for ``flow.init`` (default: ``Rng(0)``).
    round_trip, tolerance
        Largest error of the inverse; of derivatives and of the log-determinant.

    Returns
    -------
    dict
        ``identity``: how far ``flow.init`` is from the identity map; ``group``: distance of y from the group;
        ``round_trip``: largest change of an entry by f^-1 f or f f^-1, and of log_det; ``lanes``: change of the first
        log_det when all other configurations become equal to the first; ``log_det``: difference from a brute-force
        determinant in orthonormal left coordinates; ``tangent``: part of the cotangent of x outside the algebra,
        relative; ``x_bar`` and ``params_bar NAME``: ``|difference| / |cotangent|`` along unit normal directions, for
        parameters also along single entries (the norm is that of the leaf, plus 1e-4 of the whole); ``score``, for flows
        that offer ``push_score``: error of the score of y along images of normal directions, relative to their product.

    Raises
    ------
    ContractError
        If an error is too large, a shape or type is wrong, or an argument was changed.
    """
    report, manifold, batch = start(flow, lattice, x)
    xp = array_namespace(x)
    with Unchanged(report, x, params):
        y, log_det = flow.forward(params, x)
        back, minus_log_det = flow.inverse(params, y)
        there, _ = flow.forward(params, flow.inverse(params, x)[0])
    report.like("y", y, x)
    report.per_configuration("log_det", log_det, batch)
    report.like("x", back, x)
    report.per_configuration("log_det of the inverse", minus_log_det, batch)

    unit = flow.init(Rng(0) if init_rng is None else init_rng)
    same, nothing = flow.forward(tree.map(lambda a, like: array_namespace(like).asarray(a), unit, params), x)
    report.measure("identity", xp.max(xp.abs(same - x)) + xp.max(xp.abs(nothing)), 1e-12)
    if isinstance(manifold, SU):
        report.measure("group", xp.max(xp.abs(kernels.reunitarise(lattice, y) - y)), 1e-12)
    change = xp.maximum(xp.max(xp.abs(back - x)), xp.max(xp.abs(there - x)))
    report.measure("round_trip", xp.maximum(change, xp.max(xp.abs(log_det + minus_log_det))), round_trip)
    first = flow.forward(params, repeated(manifold, x, batch))[1]
    report.measure("lanes", xp.abs(first - log_det[0]), 1e-11)
    report.measure("log_det", xp.abs(brute_force_log_det(flow, lattice, params, x) - log_det[0]), tolerance)

    y_bar = next(tangents(manifold, y, rng, 1))
    log_det_bar = normal(rng, (batch,), x)
    with Unchanged(report, x, params, y, y_bar, log_det_bar):
        params_bar, x_bar = flow.vjp(params, x, y, y_bar, log_det_bar)
    report.like("x_bar", x_bar, x)

    def slope(along: Callable[[float], tuple[Params, Array]]) -> Array:
        d_y, d_log_det = differentiate(lambda e: flow.forward(*along(e)))
        return manifold.inner(y_bar, manifold.velocity(d_y, y)) + log_det_bar * d_log_det

    _check_cotangents(report, manifold, slope, params, x, params_bar, x_bar, rng, tolerance)
    if hasattr(flow, "push_score"):
        _check_score(report, flow, manifold, params, x, y, rng, tolerance)
    return report.finish()


def _check_score(
    report: Report, flow: Any, manifold: Manifold, params: Params, x: Array, y: Array, rng: Normal, tolerance: float
) -> None:
    """``J^-T (s - grad log_det)``, with log_det as a function of x, for a score s: both parts by differences."""
    xp = array_namespace(x)
    score = next(tangents(manifold, x, rng, 1))
    with Unchanged(report, x, params, y, score):
        pushed = flow.push_score(params, x, y, score)
    report.like("score", pushed, y)
    for w in tangents(manifold, x, rng, DIRECTIONS):

        def move(e: float, w: Array = w) -> tuple[Array, Array]:
            return flow.forward(params, manifold.retract(x, w, e))

        d_y, d_log_det = differentiate(move)
        image = manifold.inner(pushed, manifold.velocity(d_y, y))
        expected = manifold.inner(score, w) - d_log_det
        size = xp.sqrt(manifold.inner(score, score) * manifold.inner(w, w))
        report.measure("score", xp.abs(image - expected) / size, tolerance)


def check_module(
    module: Module,
    lattice: Lattice,
    params: Params,
    x: Array,
    rng: Normal,
    *,
    tolerance: float = 1e-7,
) -> dict[str, float]:
    """Put the ``vjp`` of a module of a network through its contract.

    Parameters
    ----------
    module, params
        The module and parameters of it.
    lattice
        The lattice of its features.
    x
        Features ``(C, n_blocks, lanes)`` float64.
    rng, tolerance
        As for :func:`check_flow`.

    Returns
    -------
    dict
        ``x_bar`` and ``params_bar`` as in :func:`check_flow`.

    Raises
    ------
    ContractError
        If an error is too large, a shape or type is wrong, or an argument was changed.
    """
    report = Report(module)
    features = Euclidean(lattice, components=1)
    with Unchanged(report, x, params):
        y = module.forward(params, x)
    y_bar = normal(rng, y.shape, y)
    with Unchanged(report, x, params, y, y_bar):
        params_bar, x_bar = module.vjp(params, x, y, y_bar)
    report.like("x_bar", x_bar, x)

    def slope(along: Callable[[float], tuple[Params, Array]]) -> Array:
        (d_y,) = differentiate(lambda e: (module.forward(*along(e)),))
        return features.inner(y_bar, d_y)

    _check_cotangents(report, features, slope, params, x, params_bar, x_bar, rng, tolerance)
    return report.finish()


def brute_force_log_det(flow: Flow, lattice: Lattice, params: Params, x: Array) -> Array:
    """log abs det f' of the first configuration, by sixth-order differences along all orthonormal left coordinates.

    Parameters
    ----------
    flow, lattice, params
        The flow, its lattice and its parameters.
    x
        Fields; the first configuration counts.

    Returns
    -------
    Array
        A zero-dimensional float64 array.

    Raises
    ------
    ValueError
        If the manifold has more than 600 dimensions.
    """
    xp = array_namespace(x)
    manifold = manifold_of(lattice, x)
    dimension = manifold.dimension(x)
    if dimension > 600:
        raise ValueError(f"a dense Jacobian of {dimension} dimensions is too large, expected at most 600")
    many = repeated(manifold, x, dimension)
    columns = manifold.tangent(many, xp.eye(dimension, dtype=xp.float64))
    y, _ = flow.forward(params, many)
    (change,) = differentiate(lambda e: (flow.forward(params, manifold.retract(many, columns, e))[0],))
    return xp.linalg.slogdet(manifold.coordinates(manifold.velocity(change, y)))[1]


PARAMETER_SIZE = 0.2
"""Size of parameter displacements in units of the step: coefficients of many paths act more strongly than fields."""


def _check_cotangents(
    report: Report,
    manifold: Manifold,
    slope: Callable[[Callable[[float], tuple[Params, Array]]], Array],
    params: Params,
    x: Array,
    params_bar: Params,
    x_bar: Array,
    rng: Normal,
    tolerance: float,
) -> None:
    """Compare cotangents with ``slope``, the derivative of the output along a curve of inputs."""
    xp = array_namespace(x)
    size = xp.sqrt(manifold.inner(x_bar, x_bar))
    size = xp.where(size > 0, size, xp.ones_like(size))
    report.measure("tangent", xp.max(xp.abs(x_bar - manifold.project(x_bar))) / xp.max(size), 1e-12)
    for w in tangents(manifold, x, rng, DIRECTIONS):

        def move_x(e: float, w: Array = w) -> tuple[Params, Array]:
            return params, manifold.retract(x, w, e)

        report.measure("x_bar", xp.abs(slope(move_x) - manifold.inner(x_bar, w)) / size, tolerance)

    leaves, bars = tree.flatten(params), tree.flatten(params_bar)
    report.require(bars.keys() == leaves.keys(), f"params_bar: expected {sorted(leaves)}, got {sorted(bars)}")
    norms = {name: float(array_namespace(bar).sum(bar * bar)) ** 0.5 for name, bar in bars.items()}
    whole = sum(norm**2 for norm in norms.values()) ** 0.5
    for name, leaf in leaves.items():
        report.like(f"params_bar {name}", bars[name], leaf)
        scale = PARAMETER_SIZE * (norms[name] + 1e-4 * whole)
        for direction in _leaf_directions(leaf, rng):
            w = PARAMETER_SIZE * direction

            def move_leaf(e: float, name: str = name, leaf: Array = leaf, w: Array = w) -> tuple[Params, Array]:
                return replaced(params, name, leaf + e * w), x

            error = abs(float(xp.sum(slope(move_leaf))) - float(array_namespace(w).sum(bars[name] * w)))
            report.measure(f"params_bar {name}", error / (scale if scale > 0.0 else 1.0), tolerance)


def _leaf_directions(leaf: Array, rng: Normal) -> Iterator[Array]:
    """Up to ENTRIES single entries, evenly spread, and one random direction."""
    xp = array_namespace(leaf)
    index = xp.reshape(xp.arange(leaf.size), leaf.shape)
    for i in range(0, leaf.size, -(-leaf.size // ENTRIES)):
        yield xp.astype(index == i, leaf.dtype)
    yield normal(rng, leaf.shape, leaf)


def replaced(params: Params, name: str, value: Array) -> dict[str, Any]:
    """Parameters with another leaf, named by its path."""
    key, _, rest = name.partition("/")
    return {**params, key: replaced(params[key], rest, value) if rest else value}
