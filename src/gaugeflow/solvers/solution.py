"""What solvers return, and how they follow many systems at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from array_api_compat import array_namespace

from gaugeflow import kernels
from gaugeflow.errors import ConvergenceError
from gaugeflow.lattice import Array, Lattice
from gaugeflow.operators.hopping import select


class Linear(Protocol):
    """What a solver needs of an operator."""

    @property
    def lattice(self) -> Lattice:
        """The lattice."""

    @property
    def label(self) -> str:
        """Name and parameters for messages."""

    def apply(self, psi: Array) -> Array:
        """D psi."""

    def adjoint(self, psi: Array) -> Array:
        """D^dagger psi."""

    def select(self, configurations: Sequence[int]) -> Any:
        """The operator on some configurations of the batch only."""


class Solution(NamedTuple):
    """Solution of linear systems, one for every configuration (and field of a stack)."""

    x: Array
    """Field, or stack, like the right-hand side."""
    iterations: Array
    """``(batch,)`` or ``(R, batch)`` int64: iterations until this system had converged."""
    residual: Array
    """Norm of right-hand side minus operator times x, computed anew, over that of the right-hand side; zero for zero."""
    converged: Array
    """Whether the residual is below the tolerance."""


def norm2(lattice: Lattice, x: Array) -> Array:
    """Squared norms, ``(batch,)`` or ``(R, batch)`` float64."""
    xp = array_namespace(x)
    return xp.real(kernels.fermion_dot(lattice, x, x))


def finish(
    operator: Linear, equation: str, x: Array, iterations: Array, residual: Array, tolerance: float, strict: bool
) -> Solution:
    """The solution; ``ConvergenceError`` if it is asked for and a residual is too large, or not a number."""
    xp = array_namespace(x)
    converged = residual <= tolerance
    if strict and not bool(xp.all(converged)):
        worst = int(xp.argmax(xp.where(xp.isfinite(residual), residual, xp.full_like(residual, 1e308))))
        batch = residual.shape[-1]
        field = f", field {worst // batch} of the stack" if len(residual.shape) == 2 else ""
        raise ConvergenceError(
            f"{operator.label}: {equation} has residual {float(xp.reshape(residual, (-1,))[worst]):.3g} after "
            f"{int(xp.reshape(iterations, (-1,))[worst])} iterations in configuration {worst % batch}{field}; "
            f"expected at most {tolerance:.3g}"
        )
    return Solution(x, iterations, residual, converged)


class Active:
    """The systems of a stack that have not converged, packed densely so that the others cost nothing.

    Fields of a stack leave when all their configurations have converged; configurations leave, all fields of them, when
    those that are left fill at most half as many lanes, in whole registers.
    """

    def __init__(self, operator: Linear, fields: int, batch: int) -> None:
        self.operator = operator
        self.fields = list(range(fields))
        self.configurations = list(range(batch))

    def keep(self, working: Any) -> tuple[list[int], list[int]] | None:
        """Rows and columns to keep of ``(R, batch)`` values, given which systems still work; None if all stay."""
        lattice = self.operator.lattice
        rows = [i for i, row in enumerate(working) if any(row)]
        busy = [j for j in range(len(working[0])) if any(row[j] for row in working)]
        lanes = lattice.n_folds
        fill = -(-(len(busy) * lanes) // REGISTER) * REGISTER // lanes if lanes <= REGISTER else len(busy)
        columns = list(range(len(working[0])))
        if busy and 2 * fill <= len(columns):
            idle = [j for j in columns if j not in busy]
            columns = sorted(busy + idle[: fill - len(busy)])
        if len(rows) == len(working) and len(columns) == len(working[0]):
            return None
        return rows, columns

    def narrow(self, rows: list[int], columns: list[int]) -> None:
        """Go on with these only."""
        if len(columns) < len(self.configurations):
            self.operator = self.operator.select(columns)
        self.fields = [self.fields[i] for i in rows]
        self.configurations = [self.configurations[j] for j in columns]

    def cut(self, psi: Array, rows: list[int], columns: list[int]) -> Array:
        """These systems of a stack."""
        xp = array_namespace(psi)
        if len(rows) < psi.shape[0]:
            psi = xp.take(psi, xp.asarray(rows, dtype=xp.int64), axis=0)
        lattice = self.operator.lattice
        if len(columns) < lattice.batch(psi.shape[-1]):
            psi = select(lattice, psi, columns)
        return psi


REGISTER = 16
"""Lanes that fill the widest registers in single precision."""


def put(lattice: Lattice, target: Array, part: Array, fields: list[int], configurations: list[int]) -> Array:
    """The stack with some of its systems replaced."""
    batch = lattice.batch(target.shape[-1])
    if len(fields) == target.shape[0] and len(configurations) == batch:
        return part
    xp = array_namespace(target)
    lanes = xp.asarray([f * batch + c for f in range(lattice.n_folds) for c in configurations], dtype=xp.int64)
    rows = []
    for r in range(target.shape[0]):
        if r not in fields:
            rows.append(target[r, ...])
            continue
        new = part[fields.index(r), ...]
        if len(configurations) < batch:
            both = xp.concat([target[r, ...], new], axis=-1)
            order = list(range(target.shape[-1]))
            for k, lane in enumerate(int(i) for i in lanes):
                order[lane] = target.shape[-1] + k
            new = xp.take(both, xp.asarray(order, dtype=xp.int64), axis=-1)
        rows.append(new)
    return xp.stack(rows)


def put_numbers(target: Array, part: Array, fields: list[int], configurations: list[int]) -> Array:
    """The same for numbers ``(R, batch)``."""
    xp = array_namespace(target)
    rows = [[target[i, j] for j in range(target.shape[1])] for i in range(target.shape[0])]
    for i, field in enumerate(fields):
        for j, configuration in enumerate(configurations):
            rows[field][configuration] = part[i, j]
    return xp.stack([xp.stack(row) for row in rows])


def take_numbers(values: Array, rows: list[int], columns: list[int]) -> Array:
    """Some rows and columns of numbers ``(R, batch)``."""
    xp = array_namespace(values)
    values = xp.take(values, xp.asarray(rows, dtype=xp.int64), axis=0)
    return xp.take(values, xp.asarray(columns, dtype=xp.int64), axis=1)
