"""D x = b on all sites, by any of the methods, with even-odd preconditioning where the lattice has parities."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

from gaugeflow.domains import deal
from gaugeflow.kernels import fermion_combine
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.even_odd import EvenOdd, reduced
from gaugeflow.operators.hopping import HoppingOperator
from gaugeflow.solvers.active import like, stacked
from gaugeflow.solvers.bicgstab import stabilised
from gaugeflow.solvers.cg import single
from gaugeflow.solvers.conjugate import conjugate_gradients, residual_field
from gaugeflow.solvers.solution import Solution, finish, norm2, relative
from gaugeflow.solvers.starts import LowModes

METHODS = ("cg", "refined", "bicgstab")


def solve(
    operator: HoppingOperator,
    b: Array,
    *,
    method: str = "cg",
    tolerance: float = 1e-10,
    max_iterations: int = 10000,
    deflation: LowModes | None = None,
    strict: bool = True,
    comm: Any = None,
) -> Solution:
    """Solve ``D x = b`` for fields, or a stack, on all sites.

    Parameters
    ----------
    operator
        D, bound to links.
    b
        Right-hand sides.
    method
        ``"cg"``: conjugate gradients on the normal equations.  ``"refined"``: the same with single-precision iterations.
        ``"bicgstab"``.
    tolerance, max_iterations, strict
        As for :func:`gaugeflow.solvers.cg`; the residual is that of D x = b on all sites, which is the one of the Schur
        complement on odd ones: it is what all methods watch.
    deflation
        Low modes of the Schur complement, ``low_modes(even_odd(operator), count)``, or of D where there is none.
    comm
        An mpi4py communicator whose processes share the fields of a stack: each solves some of them, and all get all
        solutions.  See :func:`gaugeflow.domains.deal`.

    Returns
    -------
    Solution
        With the true residual.

    Raises
    ------
    ConvergenceError
        Naming operator, residual and configuration.
    """
    if method not in METHODS:
        raise ValueError(f"method: expected one of {METHODS}, got {method!r}")
    operator.check(b, name="b")
    xp = array_namespace(b)
    if comm is not None and comm.size > 1 and len(b.shape) == 5:
        alone = partial(
            solve,
            operator,
            method=method,
            tolerance=tolerance,
            max_iterations=max_iterations,
            deflation=deflation,
            strict=strict,
        )
        ends = [b.shape[0] * k // comm.size for k in range(comm.size + 1)]
        shares = [slice(*pair) for pair in pairwise(ends) if pair[0] < pair[1]]
        solved = deal(comm, len(shares), lambda k: alone(b[shares[k], ...]))
        return Solution(*(xp.concat(found) for found in zip(*solved, strict=True)))
    small: Any = reduced(operator)
    split = isinstance(small, EvenOdd)
    low = single(small, b) if method == "refined" else None
    right = stacked(b)
    size = norm2(operator.lattice, right)
    goal = size * tolerance**2
    x, r = xp.zeros_like(right), right
    used = xp.zeros(size.shape, dtype=xp.int64)
    rr = size
    for _ in range(3):  # once, unless rounding on the way back to all sites costs the last digit
        here = small.prepare(r) if split else r
        start = None if deflation is None else deflation.guess(small, small.adjoint(here))
        left = max_iterations - int(xp.max(used))
        if method == "bicgstab":
            part, more, _ = stabilised(small, here, start, 0.9 * goal, left)
        else:
            part, more, _ = conjugate_gradients(small, low, here, start, 0.9 * goal, left, squares=True)
        x = fermion_combine(operator.lattice, x, 1.0, small.complete(part, r) if split else part, 1.0)
        used = used + more
        r = residual_field(operator, right, x, squares=True)
        before, rr = rr, norm2(operator.lattice, r)
        if not bool(xp.any((rr > goal) & (rr < 0.25 * before))):
            break
    x, used, residual = like(b, x, used, relative(rr, size))
    return finish(operator, "D x = b", x, used, residual, tolerance, strict)
