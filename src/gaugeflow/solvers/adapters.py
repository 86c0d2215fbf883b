"""Adapters between operators of this library and ``scipy.sparse.linalg.LinearOperator`` (or CuPy's), both ways.

A vector of SciPy holds one configuration in the order of the field: row, spin, colour, and lane of the fold last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace, is_cupy_array

from gaugeflow.lattice import Array, Lattice


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
    linalg = _linalg(zero)
    shape, folds = tuple(zero.shape), lattice.n_folds
    batch = lattice.batch(shape[-1])
    vectors, values = [], []
    for c in range(batch):
        matrix = to_scipy(operator, c, normal=True)
        if is_cupy_array(zero):
            value, vector = linalg.eigsh(matrix, k=count, which="SA", tol=tolerance)
        else:
            start = _start(matrix.shape[0], seed)
            value, vector = linalg.eigsh(matrix, k=count, which="SA", tol=tolerance, v0=start)
        values.append(xp.asarray(value, dtype=xp.float64))
        vectors.append(xp.reshape(xp.asarray(vector.T, dtype=zero.dtype, copy=True), (count, *shape[:-1], folds)))
    stacked = xp.stack(vectors, axis=-1)
    return xp.reshape(stacked, (count, *shape)), xp.stack(values, axis=-1)


def _start(size: int, seed: int) -> Any:
    from numpy.random import default_rng

    rng = default_rng(seed)
    return rng.normal(size=size) + 1j * rng.normal(size=size)


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
    """
    xp = array_namespace(operator.zeros())
    batch = operator.lattice.batch(operator.zeros().shape[-1])
    ends = []
    for c in range(batch):
        matrix = to_scipy(operator, c, normal=True)
        linalg = _linalg(operator.zeros())
        options = {} if is_cupy_array(operator.zeros()) else {"v0": _start(matrix.shape[0], seed)}
        for which in ("SA", "LA"):
            value = linalg.eigsh(matrix, k=1, which=which, tol=tolerance, return_eigenvectors=False, **options)
            ends.append(xp.asarray(value, dtype=xp.float64)[0])
    pairs = xp.reshape(xp.stack(ends), (batch, 2))
    return pairs[:, 0], pairs[:, 1]
