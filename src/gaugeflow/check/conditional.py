"""Contract of conditional flows: inverse, log-determinant, cotangents, gauge covariance."""

from __future__ import annotations

from gaugeflow import kernels, tree
from gaugeflow.check.differences import DIRECTIONS, Normal, differentiate, normal, start, tangents
from gaugeflow.check.flows import replaced
from gaugeflow.check.report import Report, Unchanged
from gaugeflow.flows import ConditionalFlow
from gaugeflow.groups import SU
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.hopping import select
from gaugeflow.typing import Params

PARAMETER_SIZE = 0.2
"""Size of displacements of parameters in units of the step."""


def check_conditional(
    flow: ConditionalFlow,
    lattice: Lattice,
    params: Params,
    links: Array,
    eta: Array,
    rng: Normal,
    *,
    parity: int = -1,
    round_trip: float = 1e-12,
    tolerance: float = 1e-7,
) -> dict[str, float]:
    """Put a conditional flow through its contract.

    Parameters
    ----------
    flow, lattice
        The flow and its lattice.
    params
        Parameters at which it is not the identity.
    links, eta
        Links and fermion fields in double precision, two configurations or more.  The Jacobian is dense: use a small lattice.
    rng
        Source of random directions.
    parity
        Sites on which eta lives; -1: all.
    round_trip, tolerance
        Largest error of the inverse; of derivatives, the log-determinant and covariance.

    Returns
    -------
    dict
        ``round_trip``: largest change of an entry by f^-1 f or f f^-1, and of log_det; ``log_det``: difference from a
        brute-force determinant over real and imaginary parts; ``lanes``: change of the first configuration's results when
        all others become equal to the first; ``covariance``: of phi, and of log_det, under a gauge rotation; ``eta_bar``,
        ``links_bar`` and ``params_bar NAME``: ``|difference| / |cotangent|`` along normal directions, of parameters also
        along single entries.

    Raises
    ------
    ContractError
        If an error is too large, a shape or type is wrong, or an argument was changed.
    """
    report, group, batch = start(flow, lattice, links)
    assert isinstance(group, SU)
    xp = array_namespace(links)
    with Unchanged(report, links, eta, params):
        phi, log_det = flow.forward(params, links, eta)
        back, minus_log_det = flow.inverse(params, links, phi)
        there, _ = flow.forward(params, links, flow.inverse(params, links, eta)[0])
    report.like("phi", phi, eta)
    report.per_configuration("log_det", log_det, batch)
    report.like("eta", back, eta)
    report.per_configuration("log_det of the inverse", minus_log_det, batch)
    change = xp.maximum(xp.max(xp.abs(back - eta)), xp.max(xp.abs(there - eta)))
    report.measure("round_trip", xp.maximum(change, xp.max(xp.abs(log_det + minus_log_det))), round_trip)
    first = [0] * batch
    same, own = flow.forward(params, select(lattice, links, first), select(lattice, eta, first))
    change = xp.max(xp.abs(same - select(lattice, phi, first))) + xp.max(xp.abs(own - log_det[0]))
    report.measure("lanes", change, 1e-11)
    report.measure("log_det", xp.abs(_brute_force(flow, lattice, params, links, eta) - log_det[0]), tolerance)
    _check_covariance(report, flow, lattice, params, links, eta, phi, log_det, group, rng, parity)

    phi_bar = _fermions(eta, rng)
    log_det_bar = normal(rng, (batch,), links)
    with Unchanged(report, links, eta, params, phi, phi_bar, log_det_bar):
        params_bar, links_bar, eta_bar = flow.vjp(params, links, eta, phi, phi_bar, log_det_bar)
    report.like("links_bar", links_bar, links)
    report.like("eta_bar", eta_bar, eta)
    report.measure("tangent", xp.max(xp.abs(links_bar - group.project(links_bar))), 1e-11)

    def value(p: Params, u: Array, psi: Array) -> tuple[Array]:
        moved, change = flow.forward(p, u, psi)
        return (_inner(lattice, phi_bar, moved) + log_det_bar * change,)

    size = xp.sqrt(_inner(lattice, eta_bar, eta_bar))
    for _ in range(DIRECTIONS):
        w = _fermions(eta, rng)
        (slope,) = differentiate(lambda e, w=w: value(params, links, eta + e * w))  # type: ignore[misc]
        report.measure("eta_bar", xp.abs(slope - _inner(lattice, eta_bar, w)) / size, tolerance)
    size = xp.sqrt(group.inner(links_bar, links_bar))
    for w in tangents(group, links, rng, DIRECTIONS):
        (slope,) = differentiate(lambda e, w=w: value(params, group.retract(links, w, e), eta))  # type: ignore[misc]
        report.measure("links_bar", xp.abs(slope - group.inner(links_bar, w)) / size, tolerance)
    leaves, bars = tree.flatten(params), tree.flatten(params_bar)
    report.require(bars.keys() == leaves.keys(), f"params_bar: expected {sorted(leaves)}, got {sorted(bars)}")
    whole = sum(float(xp.sum(bar * bar)) for bar in bars.values()) ** 0.5
    for name, leaf in leaves.items():
        report.like(f"params_bar {name}", bars[name], leaf)
        scale = float(xp.sum(bars[name] ** 2)) ** 0.5 + 1e-4 * whole
        index = xp.reshape(xp.arange(leaf.size), leaf.shape)
        directions = [xp.astype(index == i, leaf.dtype) for i in range(0, leaf.size, -(-leaf.size // 8))]
        for w in [*directions, normal(rng, leaf.shape, leaf)]:
            step = PARAMETER_SIZE * w

            def moved(e: float, name: str = name, leaf: Array = leaf, step: Array = step) -> tuple[Array]:
                return value(replaced(params, name, leaf + e * step), links, eta)

            (slope,) = differentiate(moved)
            error = abs(float(xp.sum(slope)) - float(xp.sum(bars[name] * step)))
            report.measure(f"params_bar {name}", error / (PARAMETER_SIZE * scale), tolerance)
    return report.finish()


def _fermions(like: Array, rng: Normal) -> Array:
    xp = array_namespace(like)
    re, im = (xp.astype(normal(rng, tuple(like.shape), like), like.dtype) for _ in range(2))
    return re + 1j * im


def _inner(lattice: Lattice, a: Array, b: Array) -> Array:
    """Re sum conj(a) b, ``(batch,)``."""
    xp = array_namespace(a)
    return sum_sites(lattice, xp.reshape(xp.real(xp.conj(a) * b), (-1, a.shape[-1])))


def _brute_force(flow: ConditionalFlow, lattice: Lattice, params: Params, links: Array, eta: Array) -> Array:
    """log abs det of the first configuration over real and imaginary parts, one lane for each of them."""
    xp = array_namespace(links)
    lead = tuple(eta.shape[:-1])
    entries = 1
    for extent in lead:
        entries *= int(extent)
    n = entries * lattice.n_folds
    copies = [0] * (2 * n)
    many, point = select(lattice, links, copies), select(lattice, eta, copies)
    unit = xp.eye(n, dtype=eta.dtype)
    columns = xp.reshape(xp.concat([unit, 1j * unit], axis=1), (*lead, lattice.n_folds * 2 * n))
    (moved,) = differentiate(lambda e: (flow.forward(params, many, point + e * columns)[0],))
    flat = xp.reshape(moved, (n, 2 * n))
    return xp.linalg.slogdet(xp.concat([xp.real(flat), xp.imag(flat)]))[1]


def _check_covariance(
    report: Report,
    flow: ConditionalFlow,
    lattice: Lattice,
    params: Params,
    links: Array,
    eta: Array,
    phi: Array,
    log_det: Array,
    group: SU,
    rng: Normal,
    parity: int,
) -> None:
    xp = array_namespace(links)
    rotation = group.retract(group.identity(links), next(tangents(group, links, rng, 1)))[0, ...]
    rows = xp.arange(lattice.n_blocks) if parity < 0 else xp.asarray(lattice.sites_of_parity(parity), dtype=xp.int64)
    g = xp.permute_dims(xp.take(rotation, rows, axis=0), (0, 3, 1, 2))

    def turned(psi: Array) -> Array:
        return xp.permute_dims(g @ xp.permute_dims(psi, (0, 3, 2, 1)), (0, 3, 2, 1))

    found, own = flow.forward(params, kernels.gauge_transform(lattice, links, rotation), turned(eta))
    report.measure("covariance", xp.max(xp.abs(found - turned(phi))) / xp.max(xp.abs(phi)), 1e-11)
    report.measure("covariance", xp.max(xp.abs(own - log_det)) / (1.0 + xp.max(xp.abs(log_det))), 1e-11)
