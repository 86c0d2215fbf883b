"""Adapters between operators of this library and ``scipy.sparse.linalg.LinearOperator`` (or CuPy's), both ways.

A vector of SciPy holds one configuration in the order of the field: row, spin, colour, and lane of the fold last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import is_cupy_array

from gaugeflow.errors import ConvergenceError
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng, normal


def _linalg(array: Array) -> Any:
    if is_cupy_array(array):
        import cupyx.scipy.sparse.linalg as linalg
    else:
        import scipy.sparse.linalg as linalg
    return linalg


def to_scipy(operator: Any, configuration: int = 0, *, normal: bool = False) -> Any:
    """A ``LinearOperator`` that applies D, or D^dagger D, on one configuration.

    Parameters
    ----------
    operator
        A Dirac operator or Schur complement, bound to links.
    configuration
        Which one of the batch.
    normal
        D^dagger D instead of D.

    Returns
    -------
    scipy.sparse.linalg.LinearOperator
        With ``matvec``, ``rmatvec`` and ``matmat``; that of CuPy where links are on a GPU.
    """
    operator.lattice.check_whole(f"SciPy operator of {operator.label}")
    one = operator.select([configuration])
    zero = one.zeros()
    shape = tuple(zero.shape)
    size = 1
    for n in shape:
        size *= n
    xp = array_namespace(zero)

    def field(x: Any) -> Array:
        return xp.reshape(xp.asarray(x, dtype=zero.dtype), shape)

    def apply(x: Any) -> Any:
        y = one.apply(field(x))
        return xp.reshape(one.adjoint(y) if normal else y, (size,))

    def adjoint(x: Any) -> Any:
        return apply(x) if normal else xp.reshape(one.adjoint(field(x)), (size,))

    def many(x: Any) -> Any:
        columns = xp.reshape(xp.asarray(x.T, dtype=zero.dtype, copy=True), (x.shape[1], *shape))
        y = one.apply(columns)
        return xp.reshape(one.adjoint(y) if normal else y, (x.shape[1], size)).T

    return _linalg(zero).LinearOperator((size, size), matvec=apply, rmatvec=adjoint, matmat=many, dtype=zero.dtype)


@dataclass(frozen=True, eq=False)
class FromScipy:
    """An operator of this library made of ``LinearOperator`` objects, one for each configuration.

    Parameters
    ----------
    lattice
        The lattice.
    operators
        One for each configuration of the batch.
    label
        What error messages call it.
    """

    lattice: Lattice
    operators: tuple[Any, ...]
    label: str = "LinearOperator"

    def select(self, configurations: Sequence[int]) -> FromScipy:
        """The operator on some configurations of the batch only."""
        return FromScipy(self.lattice, tuple(self.operators[c] for c in configurations), self.label)

    def _each(self, name: str, psi: Array) -> Array:
        xp = array_namespace(psi)
        batch = self.lattice.batch(psi.shape[-1])
        if batch != len(self.operators):
            raise ValueError(f"{self.label}: expected {len(self.operators)} configurations, got {batch}")
        folds = self.lattice.n_folds
        lead = (psi.shape[0],) if len(psi.shape) == 5 else ()
        parts = xp.reshape(psi, (*psi.shape[:-1], folds, batch))
        columns = []
        for c, operator in enumerate(self.operators):
            x = xp.reshape(parts[..., c], (*lead, -1))
            y = getattr(operator, name)(x.T).T if lead else getattr(operator, name)(x)
            columns.append(xp.reshape(xp.asarray(y, dtype=psi.dtype), parts.shape[:-1]))
        return xp.reshape(xp.stack(columns, axis=-1), psi.shape)

    def apply(self, psi: Array) -> Array:
        """D psi."""
        return self._each("dot", psi)

    def adjoint(self, psi: Array) -> Array:
        """D^dagger psi."""
        xp = array_namespace(psi)
        name = "rmatmat" if len(psi.shape) == 5 else "rmatvec"
        return xp.asarray(self._each(name, psi))


def eigenpairs(operator: Any, count: int, tolerance: float, seed: int) -> tuple[Array, Array]:
    """Lowest eigenvectors ``(count, rows, spin, colour, lanes)`` and eigenvalues ``(count, batch)`` of D^dagger D."""
    zero = operator.zeros()
    xp = array_namespace(zero)
    lattice = operator.lattice
    shape, folds = tuple(zero.shape), lattice.n_folds
    batch = lattice.batch(shape[-1])
    vectors, values = [], []
    for c in range(batch):
        value, vector = _lanczos(operator, c, count, "SA", tolerance, seed)
        values.append(xp.asarray(value, dtype=xp.float64))
        vectors.append(xp.reshape(xp.asarray(vector.T, dtype=zero.dtype, copy=True), (count, *shape[:-1], folds)))
    stacked = xp.stack(vectors, axis=-1)
    return xp.reshape(stacked, (count, *shape)), xp.stack(values, axis=-1)


def spectral_range(operator: Any, *, tolerance: float = 1e-3, seed: int = 1) -> tuple[Array, Array]:
    """Smallest and largest eigenvalue of D^dagger D on every configuration, ``(batch,)`` each.

    Parameters
    ----------
    operator
        D, bound to links, or a Schur complement.
    tolerance
        Relative accuracy.
    seed
        Of the starting vectors.

    Raises
    ------
    ConvergenceError
        If Lanczos iterations do not get there.
    """
    zero = operator.zeros()
    xp = array_namespace(zero)
    batch = operator.lattice.batch(zero.shape[-1])
    ends = [
        xp.asarray(_lanczos(operator, c, 1, which, tolerance, seed)[0], dtype=xp.float64)
        for which in ("SA", "LA")
        for c in range(batch)
    ]
    low, high = xp.concat(ends[:batch]), xp.concat(ends[batch:])
    return low, high


def _lanczos(operator: Any, configuration: int, count: int, which: str, tolerance: float, seed: int) -> tuple[Any, Any]:
    """Eigenvalues of D^dagger D at one end of the spectrum, in increasing order, and eigenvectors as columns."""
    zero = operator.zeros()
    xp = array_namespace(zero)
    linalg = _linalg(zero)
    matrix = to_scipy(operator, configuration, normal=True)
    size = matrix.shape[0]
    if not 0 < count < size - 1:
        raise ValueError(f"{operator.label}: expected 1 ... {size - 2} modes of a matrix of {size} rows, got {count}")
    start = normal(Rng(seed), Lattice((size,)), 2, xp=xp)[:, :, 0]
    try:
        value, vector = linalg.eigsh(
            matrix, k=count, which=which, tol=tolerance, v0=start[0, :] + 1j * start[1, :], ncv=_krylov(count, size)
        )
    except RuntimeError as error:  # SciPy's ArpackNoConvergence and ArpackError are its kinds
        raise ConvergenceError(f"{operator.label}, configuration {configuration}: {error}") from error
    order = xp.argsort(value)
    return value[order], vector[:, order]


def _krylov(count: int, size: int) -> int:
    """Vectors of the Krylov space: more than SciPy's 20, which pays for low modes of large matrices."""
    return min(size - 1, max(2 * count + 1, 40))
