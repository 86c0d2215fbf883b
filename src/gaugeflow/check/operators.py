"""Contract of Dirac operators and of their even-odd Schur complements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gaugeflow import kernels
from gaugeflow.check.differences import DIRECTIONS, STEP, Normal, differentiate, start, tangents
from gaugeflow.check.differences import normal as normal_numbers
from gaugeflow.check.report import Report, Unchanged
from gaugeflow.groups import SU
from gaugeflow.kernels.fermions import BOTH, sites_of
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators import EvenOdd, HoppingOperator, even_odd, gamma_5
from gaugeflow.operators.even_odd import EVEN, ODD, split
from gaugeflow.operators.hopping import dot, select

ROUNDING = 1e-12
"""Largest relative error of what must hold to rounding."""


Map = HoppingOperator | EvenOdd


def check_operator(
    operator: HoppingOperator,
    rng: Normal,
    *,
    partner: HoppingOperator | None = None,
    hermitian: bool = True,
    tolerance: float = 1e-8,
) -> dict[str, float]:
    """Put a Dirac operator, and its Schur complement where the lattice has parities, through their contract.

    Parameters
    ----------
    operator
        The operator, bound to links in double precision; two configurations or more let it show that they do not mix.
        Matrices are dense: use a small lattice.
    rng
        Source of random fields, directions and rotations.
    partner
        The operator D' with gamma_5 D gamma_5 = D'^dagger; default the operator itself.  A twisted mass changes its sign.
        Boundary phases stay: a hop back has the conjugate of the phase of the hop forward, so that an imaginary chemical
        potential keeps gamma_5-hermiticity.  For operators of one spin component gamma_5 is (-1)^(sum of coordinates).
    hermitian
        Whether such a partner exists.
    tolerance
        Largest error of derivatives.

    Returns
    -------
    dict
        Relative errors, those of the Schur complement with ``even-odd`` before their names.

        ``adjoint``: of <x, D y> = <D^dagger x, y>; ``linear``: of D (a x + b y) = a D x + b D y; ``stack``: largest
        difference of a stack from its fields one by one, forces summed; ``select``: of one configuration alone from the
        same one in the batch; ``covariance``: of D(U^g) g psi = g D(U) psi and of the force; ``force``: ``|difference
        quotient - <F, w>| / |F|`` along normal directions w; ``tangent``: part of the force outside the algebra.
        ``gamma_5``; ``split``: of D = T + K; ``halves``: of T, T^-1, K, T^-1 K and T - K on one parity from those on all
        sites, adjoints too; ``schur``: of M from block elimination of the dense matrix; ``log_det`` and ``phase``: of
        det T_ee; ``solution``: of ``complete`` and ``prepare`` around a dense solution from that of the dense D;
        ``log_det force``: of the gradient of log det T_ee, where there is one; ``d_kappa``: where the operator has it;
        ``d_charge``: of the first and second derivative, where there is a potential.

    Raises
    ------
    ContractError
        If an error is too large, a shape or type is wrong, or an argument was changed.
    """
    links = operator.bound if operator.links is None else operator.links
    lattice = operator.lattice
    report, group, _ = start(operator, lattice, links)
    assert isinstance(group, SU)
    _check_map(report, "", operator, links, range(lattice.n_blocks), rng, tolerance)
    psi = _random(operator.zeros(2), rng)
    report.measure("split", _distance(operator.diagonal(psi) + operator.hops(psi), operator.apply(psi)), ROUNDING)
    if hermitian:
        other = operator if partner is None else partner
        turned = _gamma_5(lattice, other.adjoint(_gamma_5(lattice, psi)))
        report.measure("gamma_5", _distance(operator.apply(psi), turned), ROUNDING)
    if all(n % 2 == 0 for n in lattice.block_shape):
        _check_halves(report, operator, psi)
        schur = even_odd(operator)
        _check_map(report, "even-odd ", schur, links, sites_of(lattice, ODD), rng, tolerance)
        _check_schur(report, schur, rng)
        _check_log_det_force(report, schur, links, rng, tolerance)
    if getattr(operator, "kappa", None) is not None:
        _check_d_kappa(report, operator, psi)
    if operator.potential is not None:
        _check_d_charge(report, operator, psi)
    return report.finish()


def matrix(operator: Map, configuration: int = 0) -> Array:
    """Dense matrix of an operator on one configuration, ``(n, n)``; entries in the order of the field, fold last.

    One copy of the configuration for each column: a column is a lane.
    """
    zero = operator.select([configuration]).zeros()
    xp = array_namespace(zero)
    size = 1
    for extent in zero.shape:
        size *= int(extent)
    unit = xp.reshape(xp.eye(size, dtype=zero.dtype), (*zero.shape, size))
    copies = operator.select([configuration] * size)
    columns = copies.apply(xp.reshape(unit, tuple(copies.zeros().shape)))
    return xp.reshape(columns, (size, size))


def _random(zero: Array, rng: Normal) -> Array:
    xp = array_namespace(zero)
    re, im = (normal_numbers(rng, tuple(zero.shape), zero) for _ in range(2))
    return xp.astype(re, zero.dtype) + 1j * xp.astype(im, zero.dtype)


def _distance(found: Array, expected: Array) -> Array:
    xp = array_namespace(found)
    return xp.max(xp.abs(found - expected)) / xp.max(xp.abs(expected))


def _check_map(
    report: Report, prefix: str, operator: Map, links: Array, rows: Sequence[int], rng: Normal, tolerance: float
) -> None:
    """What any of the maps must fulfil."""
    lattice = operator.lattice
    xp = array_namespace(links)
    group = SU(lattice)
    left, right = (_random(operator.zeros(2), rng) for _ in range(2))
    with Unchanged(report, links, left, right):
        image, back, force = operator.apply(right), operator.adjoint(left), operator.force(left, right)
    report.like(f"{prefix}apply", image, right)
    report.like(f"{prefix}adjoint", back, left)
    report.like(f"{prefix}force", force, links)
    size = xp.sqrt(xp.abs(dot(lattice, left, left) * dot(lattice, image, image)))
    one, two = dot(lattice, left, image), dot(lattice, back, right)
    report.measure(f"{prefix}adjoint", xp.abs(one - two) / size, ROUNDING)
    a, b = 0.3 - 1.1j, -0.7 + 0.4j
    for apply, psi, other, found in ((operator.apply, right, left, image), (operator.adjoint, left, right, back)):
        mixed = apply(a * psi + b * other)
        report.measure(f"{prefix}linear", _distance(mixed, a * found + b * apply(other)), ROUNDING)
        for k in range(2):
            report.measure(f"{prefix}stack", _distance(apply(psi[k, ...]), found[k, ...]), ROUNDING)
    parts = operator.force(left[0, ...], right[0, ...]) + operator.force(left[1, ...], right[1, ...])
    report.measure(f"{prefix}stack", _distance(force, parts), ROUNDING)
    for c in {0, lattice.batch(links.shape[-1]) - 1}:
        alone = operator.select([c])
        l_c, r_c = (select(lattice, f, [c]) for f in (left, right))
        report.measure(f"{prefix}select", _distance(alone.apply(r_c), select(lattice, image, [c])), ROUNDING)
        report.measure(f"{prefix}select", _distance(alone.adjoint(l_c), select(lattice, back, [c])), ROUNDING)
        report.measure(f"{prefix}select", _distance(alone.force(l_c, r_c), select(lattice, force, [c])), ROUNDING)

    rotation = group.retract(group.identity(links), next(tangents(group, links, rng, 1)))[0, ...]
    turned = operator.with_links(kernels.gauge_transform(lattice, links, rotation))
    own = xp.take(rotation, xp.asarray(list(rows), dtype=xp.int64), axis=0)
    l_turned, r_turned = _rotated(own, left), _rotated(own, right)
    report.measure(f"{prefix}covariance", _distance(turned.apply(r_turned), _rotated(own, image)), ROUNDING)
    expected = _conjugated(rotation, force)
    report.measure(f"{prefix}covariance", _distance(turned.force(l_turned, r_turned), expected), ROUNDING)

    def value(e: float, w: Array) -> tuple[Array, ...]:
        moved = operator.with_links(group.retract(links, w, e))
        return (xp.sum(xp.real(dot(lattice, left, moved.apply(right))), axis=0),)

    _check_gradient(report, f"{prefix}force", force, value, links, group, rng, tolerance)
    report.measure(f"{prefix}tangent", _distance(group.project(force), force), ROUNDING)


def _check_gradient(
    report: Report,
    name: str,
    found: Array,
    value: Callable[[float, Array], tuple[Array, ...]],
    links: Array,
    group: SU,
    rng: Normal,
    tolerance: float,
) -> None:
    """A gradient along normal directions, whose derivative is of the size of its norm."""
    xp = array_namespace(links)
    size = xp.sqrt(group.inner(found, found))
    report.require(bool(xp.all(size > 0)), f"{name}: expected a gradient that does not vanish, got norms {size}")
    for w in tangents(group, links, rng, DIRECTIONS):
        (slope,) = differentiate(lambda e, w=w: value(e, w))  # type: ignore[misc]
        report.measure(name, xp.abs(slope - group.inner(found, w)) / size, tolerance)


def _check_halves(report: Report, operator: HoppingOperator, psi: Array) -> None:
    halves = split(operator.lattice, psi)

    def same(found: Array, expected: Array) -> None:
        report.measure("halves", _distance(found, expected), ROUNDING)

    for adjoint in (False, True):
        diagonal = split(operator.lattice, operator.diagonal(psi, BOTH, adjoint))
        inverse = split(operator.lattice, operator.diagonal_inverse(psi, BOTH, adjoint))
        hops = split(operator.lattice, operator.hops(psi, BOTH, adjoint))
        for parity in (EVEN, ODD):
            own, far = halves[parity], halves[1 - parity]
            same(operator.diagonal(own, parity, adjoint), diagonal[parity])
            same(operator.diagonal_inverse(own, parity, adjoint), inverse[parity])
            same(operator.diagonal(inverse[parity], parity, adjoint), own)
            same(operator.hops(far, parity, adjoint), hops[parity])
            back = operator.diagonal_inverse(hops[parity], parity, adjoint)
            same(operator.eliminate(far, parity, adjoint), back)
            same(operator.close(own, far, parity, adjoint), diagonal[parity] - hops[parity])
        whole = operator.adjoint(psi) if adjoint else operator.apply(psi)
        same(operator.diagonal(psi, BOTH, adjoint) + operator.hops(psi, BOTH, adjoint), whole)


def _check_schur(report: Report, schur: EvenOdd, rng: Normal) -> None:
    """The Schur complement, the determinant of what it leaves out, and solutions, from the dense matrix."""
    full, lattice = schur.full, schur.lattice
    dense, small = matrix(full), matrix(schur)
    xp = array_namespace(dense)
    size = dense.shape[0]
    one = full.select([0])
    index = xp.reshape(xp.arange(size, dtype=xp.int64), tuple(one.zeros().shape))
    even, odd = (xp.reshape(half, (-1,)) for half in split(lattice, index))
    eo, oe = xp.take(xp.take(dense, even, axis=0), odd, axis=1), xp.take(xp.take(dense, odd, axis=0), even, axis=1)
    ee, oo = xp.take(xp.take(dense, even, axis=0), even, axis=1), xp.take(xp.take(dense, odd, axis=0), odd, axis=1)
    report.measure("schur", _distance(small, oo - oe @ xp.linalg.solve(ee, eo)), ROUNDING)
    sign, value = xp.linalg.slogdet(ee)
    rest = schur.log_det_rest()
    report.per_configuration("log_det_rest", rest, lattice.batch(full.bound.shape[-1]))
    report.measure("log_det", xp.abs(rest[0] - value) / (1.0 + xp.abs(value)), ROUNDING)
    report.measure("phase", xp.abs(schur.phase_rest()[0] - sign), ROUNDING)
    source = _random(one.zeros(), rng)
    of_one = replace(schur, full=one)
    reduced = of_one.prepare(source)
    x_odd = xp.reshape(xp.linalg.solve(small, xp.reshape(reduced, (-1, 1))), tuple(reduced.shape))
    expected = xp.linalg.solve(dense, xp.reshape(source, (-1, 1)))
    found = xp.reshape(of_one.complete(x_odd, source), (-1, 1))
    report.measure("solution", _distance(found, expected), 1e3 * ROUNDING)


def _check_log_det_force(report: Report, schur: EvenOdd, links: Array, rng: Normal, tolerance: float) -> None:
    group = SU(schur.lattice)

    def value(e: float, w: Array) -> tuple[Array, ...]:
        return (schur.with_links(group.retract(links, w, e)).log_det_rest(),)

    found = schur.log_det_rest_force()
    if found is not None:
        report.like("log_det force", found, links)
        _check_gradient(report, "log_det force", found, value, links, group, rng, tolerance)
        return
    xp = array_namespace(links)
    for w in tangents(group, links, rng, 1):
        change = xp.max(xp.abs(value(0.1, w)[0] - value(0.0, w)[0]))
        report.require(float(change) == 0.0, f"log_det_rest depends on links (by {change}), but has no force")


def _check_d_kappa(report: Report, operator: Any, psi: Array) -> None:
    def value(e: float) -> tuple[Array, ...]:
        return (replace(operator, kappa=operator.kappa + e).apply(psi),)

    (slope,) = differentiate(value)
    # D is linear in kappa, or nearly: rounding over the step remains.
    report.measure("d_kappa", _distance(operator.d_kappa(psi), slope), ROUNDING / STEP)


def _check_d_charge(report: Report, operator: HoppingOperator, psi: Array) -> None:
    def moved(e: float) -> HoppingOperator:
        return replace(operator, charge=operator.charge + e)

    for order, value in (
        (1, lambda e: (moved(e).apply(psi),)),
        (2, lambda e: (moved(e).d_charge(psi),)),
    ):
        (slope,) = differentiate(value)
        report.measure("d_charge", _distance(operator.d_charge(psi, order), slope), 1e-9)


def _gamma_5(lattice: Lattice, psi: Array) -> Array:
    """gamma_5 psi, and for one component the sign of the parity of a site."""
    if psi.shape[-3] > 1:
        return gamma_5(psi)
    xp = array_namespace(psi)
    signs = xp.asarray(1.0 - 2.0 * (lattice.coordinates.sum(axis=0) % 2), dtype=xp.float64)
    signs = xp.repeat(signs, lattice.batch(psi.shape[-1]), axis=1)
    return xp.astype(signs, psi.dtype)[:, None, None, :] * psi


def _rotated(rotation: Array, psi: Array) -> Array:
    """g psi of a stack; g ``(rows, N, N, lanes)``."""
    xp = array_namespace(psi)
    g = xp.permute_dims(rotation, (0, 3, 1, 2))[None, ...]
    return xp.permute_dims(g @ xp.permute_dims(psi, (0, 1, 4, 3, 2)), (0, 1, 4, 3, 2))


def _conjugated(rotation: Array, algebra: Array) -> Array:
    """g F g^dagger at the start of every link."""
    xp = array_namespace(algebra)
    g = xp.permute_dims(rotation, (0, 3, 1, 2))[None, ...]
    f = xp.permute_dims(algebra, (0, 1, 4, 2, 3))
    return xp.permute_dims(g @ f @ xp.conj(xp.matrix_transpose(g)), (0, 1, 3, 4, 2))
