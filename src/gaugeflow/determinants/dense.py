"""Exact determinants from the LU decomposition of the Schur complement of odd sites, and their exact derivatives.

det D = det T_ee det M with M = T_oo - K_oe T_ee^-1 K_eo; d log det M = tr M^-1 dM = sum_r <e_r, dM M^-1 e_r>.  Where the
lattice has no parities, or T cannot be inverted, M is D itself.  See ``docs/derivations/determinants.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gaugeflow.determinants import hermitian
from gaugeflow.determinants.lu import LU
from gaugeflow.determinants.result import LogDet, LogDetDerivative, LogDetGradient, LogDetSecond
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array
from gaugeflow.lending import with_writable_links
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.dense import (
    count_components,
    from_columns,
    stack_length,
    to_columns,
    transposed_matrix,
    unit_vectors,
)
from gaugeflow.operators.even_odd import EVEN, EvenOdd, joined, reduced, split
from gaugeflow.operators.hopping import HoppingOperator
from gaugeflow.operators.staggered import Staggered
from gaugeflow.operators.wilson import Wilson

MATRIX_BYTES = 2 << 30
"""Matrices of several configurations are held together up to this size; one configuration always is."""

BATCHED = 64
"""Matrices of at most so many rows are decomposed all at once."""

Small = EvenOdd | HoppingOperator


def log_det_by_lu(operator: HoppingOperator) -> LogDet:
    """``log |det D|`` and the phase of det D by LU decomposition.

    Parameters
    ----------
    operator
        D, bound to links.

    Returns
    -------
    LogDet
        Costs (8/3) n^3 operations and 16 n^2 bytes a configuration, n = sites x spin x colours / 2.

    Raises
    ------
    ValueError
        If D is singular or not finite; names operator and configuration.
    """
    return LogDet(*join(operator, [(d.log_abs, d.phase) for _, _, d in decompositions(operator, invert=False)]))


@with_writable_links
def log_det_gradient(operator: HoppingOperator) -> LogDetGradient:
    """``log |det D|``, the phase of det D and the gradient of ``log |det D|``, all from one decomposition.

    Parameters
    ----------
    operator
        D, bound to links.

    Returns
    -------
    LogDetGradient
        The gradient in single precision where links are.  Costs 8 n^3 operations, three times those of ``log_det_by_lu``;
        5 n^3 where gamma_5 times the matrix is Hermitian.

    Raises
    ------
    ValueError
        If D is singular or not finite; names operator and configuration.
    """
    parts = []
    for one, small, d in decompositions(operator):
        inverse = d.inverse
        n, step = count_components(small), stack_length(small)
        rest = small.log_det_rest_force() if isinstance(small, EvenOdd) else None
        gradient = array_namespace(one.bound).zeros_like(one.bound) if rest is None else rest
        for first in range(0, n, step):
            last = min(first + step, n)
            right = from_columns(small, inverse[:, first:last, :])
            gradient = gradient + small.force(unit_vectors(small, first, last), right)
        parts.append((d.log_abs, d.phase, gradient))
    return LogDetGradient(*join(operator, parts))


@with_writable_links
def log_det_derivative(
    operator: HoppingOperator, tangent: Callable[[HoppingOperator], Callable[[Array], Array]]
) -> LogDetDerivative:
    """log det D and tr D^-1 dD for any change dD of the operator that couples the same sites as D does.

    Parameters
    ----------
    operator
        D, bound to links.
    tangent
        Takes the operator, bound to some of the configurations, to the linear map dD on fields, or stacks, of all sites:
        ``lambda d: d.d_kappa``, or ``lambda d: lambda psi: psi`` for the derivative with respect to the mass.

    Returns
    -------
    LogDetDerivative
        Costs as for :func:`log_det_gradient`.

    Raises
    ------
    ValueError
        If D is singular or not finite; names operator and configuration.
    """
    parts = []
    for one, small, d in decompositions(operator):
        change = tangent(one)
        inverse = d.inverse
        xp = array_namespace(inverse)
        n, step = count_components(small), stack_length(small)
        total = xp.zeros((inverse.shape[0],), dtype=xp.complex128)
        for first in range(0, n, step):
            last = min(first + step, n)
            right = from_columns(small, inverse[:, first:last, :])
            image = projected(small, change, right)
            entries = to_columns(one.lattice, image)[:, :, first:last]
            total = total + xp.sum(xp.astype(xp.linalg.diagonal(entries), xp.complex128), axis=-1)
        if isinstance(small, EvenOdd):
            total = total + rest_trace(small, change)
        parts.append((d.log_abs, d.phase, total))
    return LogDetDerivative(*join(operator, parts))


@with_writable_links
def log_det_charge(operator: HoppingOperator) -> LogDetSecond:
    """log det D and its first two derivatives with respect to the charge of the quark.

    Parameters
    ----------
    operator
        D with a potential, bound to links.

    Returns
    -------
    LogDetSecond
        For an imaginary chemical potential the quark number density and its susceptibility, times i and -1 and the volume.
        Costs the inverse of the Schur complement M, ``8 n^3`` operations, and as many again for the product M^-1 M'.

    Raises
    ------
    ValueError
        If D is singular or not finite, or has no derivative with respect to a charge.
    """
    parts = []
    for one, small, d in decompositions(operator):
        inverse = d.inverse
        xp = array_namespace(inverse)
        n, step = count_components(small), stack_length(small)
        product = xp.empty_like(inverse)  # (M^-1 M')^t in steps of rows, as the inverse is stored
        second = xp.zeros((inverse.shape[0],), dtype=xp.complex128)
        for first in range(0, n, step):
            last = min(first + step, n)
            right = from_columns(small, inverse[:, first:last, :])
            once, twice = _charged(small, right)
            product[:, first:last, :] = to_columns(one.lattice, once)
            entries = to_columns(one.lattice, twice)[:, :, first:last]
            second = second + xp.sum(xp.astype(xp.linalg.diagonal(entries), xp.complex128), axis=-1)
        slope = xp.sum(xp.astype(xp.linalg.diagonal(product), xp.complex128), axis=-1)
        square = xp.sum(product * xp.matrix_transpose(product), axis=(-2, -1), dtype=xp.complex128)
        parts.append((d.log_abs, d.phase, slope, second - square))
    return LogDetSecond(*join(operator, parts))


def _charged(small: Small, psi: Array) -> tuple[Array, Array]:
    """M' psi and M'' psi, primes for the derivative with respect to the charge; T does not depend on it."""
    full = small.full if isinstance(small, EvenOdd) else small
    if not isinstance(small, EvenOdd):
        return full.d_charge(psi), full.d_charge(psi, 2)
    extended = small.extended(psi)
    change = full.d_charge(extended)
    even, _ = split(full.lattice, change)
    response = joined(full.lattice, -2.0 * full.diagonal_inverse(even, EVEN), array_namespace(psi).zeros_like(psi))
    return small.prepare(change), small.prepare(full.d_charge(extended, 2) + full.d_charge(response))


def projected(small: Small, change: Callable[[Array], Array], psi: Array) -> Array:
    """dM psi for a change dD of the full operator: (1, -K_oe T_ee^-1) dD (1, -T_ee^-1 K_eo)^t psi."""
    if not isinstance(small, EvenOdd):
        return change(psi)
    return small.prepare(change(small.extended(psi)))


def rest_trace(small: EvenOdd, change: Callable[[Array], Array]) -> Array:
    """tr T_ee^-1 dT_ee, ``(batch,)`` complex128: dD of vectors that are one in one component of all even sites."""
    full, lattice = small.full, small.lattice
    rows, spin, colours, lanes = full.field_shape(EVEN)
    xp = array_namespace(full.bound)
    unit = xp.reshape(xp.eye(spin * colours, dtype=full.bound.dtype), (spin * colours, 1, spin, colours, 1))
    even = xp.asarray(xp.broadcast_to(unit, (spin * colours, rows, spin, colours, lanes)), copy=True)
    image, _ = split(lattice, change(joined(lattice, even, xp.zeros_like(even))))
    product = xp.astype(even, xp.complex128) * xp.astype(full.diagonal_inverse(image, EVEN), xp.complex128)
    product = xp.reshape(product, (-1, lanes))
    return sum_sites(lattice, xp.real(product)) + 1j * sum_sites(lattice, xp.imag(product))


class _Decompositions:
    """Determinants, and on demand inverses, of the matrices of a group of configurations."""

    def __init__(self, operator: HoppingOperator, small: Small, first: int, invert: bool) -> None:
        columns = transposed_matrix(small)
        xp = array_namespace(columns)
        n = columns.shape[1]
        if n <= BATCHED:
            if not bool(xp.all(xp.isfinite(columns))):
                _name_the_bad(operator, columns, first)
            sign, log_abs = xp.linalg.slogdet(columns)
            if not bool(xp.all(xp.isfinite(log_abs))):
                _name_the_bad(operator, columns, first)
            log_abs, phase = xp.astype(log_abs, xp.float64), xp.astype(sign, xp.complex128)
            columns = xp.linalg.inv(columns) if invert else columns
        else:
            signs = _signs(operator, small) if invert and n > hermitian.LEAF else None
            parts = []
            for k in range(columns.shape[0]):
                name = _name(operator, first + k)
                part = None if signs is None else _halve(columns[k, ...], signs, name)
                if part is None:
                    if signs is not None:
                        columns[k, ...] = transposed_matrix(small.select([k]))[0, ...]
                    lu = LU(columns[k, ...], name)
                    if invert:
                        columns[k, ...] = lu.inverse()
                    part = lu.log_abs, lu.phase
                parts.append(part)
            log_abs = xp.asarray([part[0] for part in parts], dtype=xp.float64)
            phase = xp.asarray([part[1] for part in parts], dtype=xp.complex128)
        self.log_abs, self.phase, self.inverse = log_abs, phase, columns
        if isinstance(small, EvenOdd):
            self.log_abs, self.phase = log_abs + small.log_det_rest(), phase * small.phase_rest()


def _name(operator: HoppingOperator, configuration: int) -> str:
    return f"{operator.label}, configuration {configuration}"


def _name_the_bad(operator: HoppingOperator, columns: Array, first: int) -> None:
    """Raise for the first matrix that is singular or not finite."""
    for k in range(columns.shape[0]):
        LU(columns[k, ...], _name(operator, first + k))


def _signs(operator: HoppingOperator, small: Small) -> tuple[int, int] | None:
    """How rows and columns of a Hermitian matrix times signs are cut, ``(.., 2, q)``, with -1 for the second of two.

    gamma_5 times Wilson's operator without twist is Hermitian, and so is the Schur complement of staggered fermions: q = 0.
    """
    full = small.full if isinstance(small, EvenOdd) else small
    if isinstance(operator, Staggered) and isinstance(small, EvenOdd):
        return 0, 0
    if isinstance(operator, Wilson) and operator.twist == 0.0:
        q = full.spin // 2 * full.field_shape()[2] * full.lattice.n_folds
        return q, count_components(small) // 2
    return None


def _halve(columns: Array, signs: tuple[int, int], name: str) -> tuple[float, complex] | None:
    """log |det| and sign of a matrix that signs make Hermitian, inverted in place; None where that fails."""
    n = columns.shape[0]
    q, negative = signs
    xp = array_namespace(columns)
    if q:
        part = xp.reshape(columns, (n, -1, 2, q), copy=False)[:, :, 1, :]
        part *= -1.0
    check = hermitian.Check(columns)
    try:
        log_abs, sign = hermitian.invert(columns, name)
    except ValueError:
        return None
    if not check.passes(columns):
        return None
    if q:
        part = xp.reshape(columns, (-1, 2, q, n), copy=False)[:, 1, ...]
        part *= -1.0
    return log_abs, complex(sign * (-1) ** negative)


def decompositions(
    operator: HoppingOperator, invert: bool = True
) -> Iterator[tuple[HoppingOperator, Small, _Decompositions]]:
    """Groups of configurations whose matrices fill :data:`MATRIX_BYTES` at most: operator, matrix and decompositions."""
    lanes = int(operator.bound.shape[-1])
    batch = operator.lattice.batch(lanes)
    size = 16 * count_components(reduced(operator)) ** 2
    together = min(batch, max(1, MATRIX_BYTES // size))
    for first in range(0, batch, together):
        chosen = range(first, min(first + together, batch))
        one = operator if together == batch else operator.select(chosen)
        small = reduced(one)
        yield one, small, _Decompositions(one, small, first, invert)


def join(operator: HoppingOperator, parts: list[tuple[Array, ...]]) -> list[Any]:
    """Results of groups of configurations as those of all: lanes of every fold in the order of the batch."""
    if len(parts) == 1:
        return list(parts[0])
    xp = array_namespace(parts[0][0])
    folds = operator.lattice.n_folds

    def lanes(values: list[Array]) -> Array:
        if values[0].ndim == 1:
            return xp.concat(values)
        shape = values[0].shape[:-1]
        split_folds = [xp.reshape(v, (*shape, folds, -1)) for v in values]
        return xp.reshape(xp.concat(split_folds, axis=-1), (*shape, -1))

    return [lanes([part[k] for part in parts]) for k in range(len(parts[0]))]
