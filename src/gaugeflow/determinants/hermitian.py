"""Inverse of a Hermitian matrix by halving it: two thirds of the operations of LU decomposition and inversion, all in products.

With H = [[A, B], [B^dagger, C]], W = A^-1 B, S = C - B^dagger W and Y = W S^-1,
H^-1 = [[A^-1 + Y W^dagger, -Y], [-Y^dagger, S^-1]] and det H = det A det S; A and S are halved again.

A Schur complement in the order of sites has no small pivots to fear in A, a Dirac operator with Dirichlet conditions, but
no guarantee either: whoever inverts checks the result, see :func:`is_inverse`.
"""

from __future__ import annotations

from array_api_compat import array_namespace

from gaugeflow.determinants.lu import LU
from gaugeflow.lattice import Array

LEAF = 384
"""Matrices of at most so many rows are decomposed with pivots."""


def inverse(matrix: Array, name: str) -> tuple[Array, float, float]:
    """Inverse of a Hermitian matrix.

    Parameters
    ----------
    matrix
        ``(n, n)``; kept.
    name
        Of the matrix, for messages.

    Returns
    -------
    inverse, log_abs, sign
        H^-1 and the determinant of H, which is real.

    Raises
    ------
    ValueError
        If a block is singular or not finite.
    """
    xp = array_namespace(matrix)
    n = matrix.shape[0]
    if n <= LEAF:
        block = LU(xp.asarray(xp.matrix_transpose(matrix), copy=True), name)
        result = xp.matrix_transpose(block.inverse())
        return result, block.log_abs, 1.0 if block.phase.real > 0.0 else -1.0
    h = n // 2
    b = matrix[:h, h:]
    b_dagger = _dagger(b)
    a, log_a, sign_a = inverse(matrix[:h, :h], name)
    w = a @ b
    s, log_s, sign_s = inverse(matrix[h:, h:] - _hermitian_product(b_dagger, w), name)
    y = w @ s
    result = xp.empty_like(matrix)
    result[:h, :h] = a + _hermitian_product(y, _dagger(w))
    result[:h, h:] = -y
    result[h:, :h] = -_dagger(y)
    result[h:, h:] = s
    return result, log_a + log_s, sign_a * sign_s


def is_inverse(matrix: Array, candidate: Array) -> bool:
    """Whether matrix times candidate times a vector without symmetries is that vector, but for rounding."""
    xp = array_namespace(matrix)
    k = xp.arange(matrix.shape[0], dtype=xp.float64)
    angle = 0.7 * k + 0.37 * k * k
    vector = xp.astype(xp.cos(angle) + 1j * xp.sin(angle), matrix.dtype)
    error = xp.max(xp.abs(matrix @ (candidate @ vector) - vector))
    return bool(error < 3e4 * xp.finfo(matrix.dtype).eps)


def _dagger(matrix: Array) -> Array:
    xp = array_namespace(matrix)
    return xp.conj(xp.matrix_transpose(matrix))


def _hermitian_product(left: Array, right: Array) -> Array:
    """left times right where that is Hermitian: three quarters of it are computed."""
    xp = array_namespace(left)
    n = left.shape[0]
    q = n // 2
    result = xp.empty((n, n), dtype=left.dtype)
    result[:q, :] = left[:q, :] @ right
    result[q:, q:] = left[q:, :] @ right[:, q:]
    result[q:, :q] = _dagger(result[:q, q:])
    return result
