"""LU decomposition with pivots of one matrix: by LAPACK where it lies in the memory of the host, else by its own library."""

from __future__ import annotations

import math
from typing import Any

from array_api_compat import is_cupy_array, is_numpy_array

from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace


class LU:
    """The decomposition of a matrix, which its memory is given up for.

    Parameters
    ----------
    transposed
        Transpose of the matrix, ``(n, n)`` contiguous; overwritten where that saves memory.
    name
        Of the matrix, for messages.

    Attributes
    ----------
    log_abs
        log of the modulus of the determinant, a float.
    phase
        The determinant over its modulus, a complex number.

    Raises
    ------
    ValueError
        If the matrix is singular or holds something that is no number, or is too large for the library.
    """

    def __init__(self, transposed: Array, name: str) -> None:
        self._matrix = transposed
        self._pivots: Any = None
        xp = array_namespace(transposed)
        n = transposed.shape[0]
        if is_numpy_array(transposed):
            from scipy.linalg import get_lapack_funcs

            factorise = get_lapack_funcs("getrf", (transposed,))
            self._matrix, self._pivots, _ = factorise(transposed.T, overwrite_a=True)
            diagonal = xp.astype(xp.linalg.diagonal(self._matrix), xp.complex128)
            moduli = xp.abs(diagonal)
            good = bool(xp.all(moduli > 0.0)) and bool(xp.all(xp.isfinite(moduli)))
            if good:
                swaps = int(xp.count_nonzero(self._pivots != xp.arange(n, dtype=self._pivots.dtype)))
                self.log_abs = float(xp.sum(xp.log(moduli)))
                self.phase = (-1) ** swaps * complex(xp.prod(diagonal / moduli))
        else:
            if is_cupy_array(transposed) and n * n > 2**31:
                raise ValueError(f"{name}: CuPy decomposes matrices of up to 46340 rows, got {n}")
            sign, log_abs = xp.linalg.slogdet(transposed)
            self.log_abs, self.phase = float(log_abs), complex(sign)
            good = math.isfinite(self.log_abs) and self.phase != 0.0
        if not good:
            raise ValueError(f"{name}: the matrix is singular or not finite, its determinant has no logarithm")

    def inverse(self) -> Array:
        """Transpose of the inverse, ``(n, n)`` contiguous; gives the decomposition up."""
        if self._pivots is None:
            return array_namespace(self._matrix).linalg.inv(self._matrix)
        from scipy.linalg import get_lapack_funcs

        invert, ask = get_lapack_funcs(("getri", "getri_lwork"), (self._matrix,))
        work = int(ask(self._matrix.shape[0])[0].real)
        result, status = invert(self._matrix, self._pivots, lwork=work, overwrite_lu=True)
        if status:
            raise ValueError(f"LAPACK getri failed with status {status}")
        return result.T

    def solve(self, rows: Array) -> Array:
        """Solutions of matrix times x = b, as rows ``(R, n)``; the right-hand sides may be overwritten."""
        if self._pivots is None:
            xp = array_namespace(rows)
            return xp.matrix_transpose(xp.linalg.solve(xp.matrix_transpose(self._matrix), xp.matrix_transpose(rows)))
        from scipy.linalg import get_lapack_funcs

        solve = get_lapack_funcs("getrs", (self._matrix, rows))
        result, status = solve(self._matrix, self._pivots, rows.T, overwrite_b=True)
        if status:
            raise ValueError(f"LAPACK getrs failed with status {status}")
        return result.T
