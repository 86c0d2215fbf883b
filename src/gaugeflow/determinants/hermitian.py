"""Inverse of a Hermitian matrix by halving it: three fifths of the operations of an LU decomposition and inversion.

With H = [[A, B], [B^dagger, C]], W = A^-1 B, S = C - B^dagger W and Y = W S^-1,
H^-1 = [[A^-1 + Y W^dagger, -Y], [-Y^dagger, S^-1]] and det H = det A det S; A and S are halved again.

A Schur complement in the order of sites has no small pivots to fear in A, a Dirac operator with Dirichlet conditions, but
no guarantee either: whoever inverts checks the result, see :class:`Check`.
"""

from __future__ import annotations

from gaugeflow.determinants.lu import LU
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace

LEAF = 384
"""Matrices of at most so many rows are decomposed with pivots."""


def invert(matrix: Array, name: str) -> tuple[float, float]:
    """Invert a Hermitian matrix in its place.

    Parameters
    ----------
    matrix
        ``(n, n)``; becomes its inverse.
    name
        Of the matrix, for messages.

    Returns
    -------
    log_abs, sign
        Of the determinant, which is real.

    Raises
    ------
    ValueError
        If a block is singular or not finite; the matrix is lost then.
    """
    xp = array_namespace(matrix)
    n = matrix.shape[0]
    if n <= LEAF:
        block = LU(xp.asarray(xp.matrix_transpose(matrix), copy=True), name)
        matrix[...] = xp.matrix_transpose(block.inverse())
        return block.log_abs, 1.0 if block.phase.real > 0.0 else -1.0
    h = n // 2
    a, b, c = matrix[:h, :h], matrix[:h, h:], matrix[h:, h:]
    log_a, sign_a = invert(a, name)
    w = a @ b
    _add_hermitian(c, -_dagger(b), w)
    log_s, sign_s = invert(c, name)
    y = w @ c
    _add_hermitian(a, y, _dagger(w))
    matrix[:h, h:] = -y
    matrix[h:, :h] = -_dagger(y)
    return log_a + log_s, sign_a * sign_s


class Check:
    """Whether what replaces a matrix is its inverse, by its action on the image of a vector without symmetries."""

    def __init__(self, matrix: Array) -> None:
        xp = array_namespace(matrix)
        k = xp.arange(matrix.shape[0], dtype=xp.float64)
        angle = 0.7 * k + 0.37 * k * k
        self._vector = xp.astype(xp.cos(angle) + 1j * xp.sin(angle), matrix.dtype)
        self._image = matrix @ self._vector

    def passes(self, inverse: Array) -> bool:
        """True where the vector comes back but for rounding."""
        xp = array_namespace(inverse)
        error = xp.max(xp.abs(inverse @ self._image - self._vector))
        return bool(error < 3e4 * xp.finfo(inverse.dtype).eps)


def _dagger(matrix: Array) -> Array:
    xp = array_namespace(matrix)
    return xp.conj(xp.matrix_transpose(matrix))


def _add_hermitian(target: Array, left: Array, right: Array) -> None:
    """Add left times right, Hermitian, to a Hermitian matrix: three quarters of it are computed."""
    q = target.shape[0] // 2
    target[:q, :] += left[:q, :] @ right
    target[q:, q:] += left[q:, :] @ right[:, q:]
    target[q:, :q] = _dagger(target[:q, q:])
