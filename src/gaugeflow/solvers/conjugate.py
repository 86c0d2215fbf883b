"""The iteration behind all conjugate gradients of this package, in one precision or two.

On normal equations it has two forms (Hestenes and Stiefel, J. Res. NBS 49 (1952) 409, sections 3 and 10), equal but for
rounding and for the residual that they know: that of (D^dagger D + shift) x = b, or that of D x = b itself.

With an operator of lower precision all iterations are done there, and the residual is replaced by the true one whenever it
has fallen a little, while the search direction goes on: reliable updates (Sleijpen and van der Vorst, Computing 56 (1996)
141; Clark et al., arXiv:0911.3191, section 4).  Starting again instead takes up to twice as many iterations where the
condition number is high.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from gaugeflow.kernels import fermion_combine, fermion_dot
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.solvers.active import Active, ratio
from gaugeflow.solvers.solution import Linear, norm2

FALL = 0.1**2
"""A true residual is due when those of all systems have fallen by this factor, squared,"""
FAR = 1e-3**2
"""or that of one system by this one."""


def normal(operator: Linear, psi: Array, shift: float = 0.0) -> Array:
    """(D^dagger D + shift) psi."""
    result = operator.adjoint(operator.apply(psi))
    return fermion_combine(operator.lattice, result, 1.0, psi, shift) if shift else result


def residual_field(operator: Linear, b: Array, x: Array, shift: float = 0.0, squares: bool = False) -> Array:
    """b - (D^dagger D + shift) x; with ``squares`` b - D x."""
    image = operator.apply(x) if squares else normal(operator, x, shift)
    return fermion_combine(operator.lattice, b, 1.0, image, -1.0)


def conjugate_gradients(
    operator: Linear,
    low: Linear | None,
    b: Array,
    start: Array | None,
    goal: Array,
    limit: int,
    *,
    shift: float = 0.0,
    squares: bool = False,
) -> tuple[Array, Array, Array]:
    """Iterate until the true residual of every system is small enough, or does not fall any more.

    Parameters
    ----------
    operator, low
        D, and the same in single precision or None.
    b, start
        Stacks; None starts from zero.
    goal
        Squared norms of the residuals to reach, ``(R, batch)``.
    limit
        Iterations after which to give up.
    shift, squares
        Solve (D^dagger D + shift) x = b, or, with ``squares``, D x = b.

    Returns
    -------
    x, iterations, squared residuals
        Stack, and numbers ``(R, batch)``.
    """
    xp = array_namespace(b)
    lattice = operator.lattice
    used = xp.zeros(goal.shape, dtype=xp.int64)
    if start is None:
        x, r = xp.zeros_like(b), b
    else:  # zero for a right-hand side of zero, of which no residual is a small fraction
        nonzero = xp.astype(norm2(lattice, b) != 0.0, xp.float64)
        x = fermion_combine(lattice, start, nonzero, start, 0.0)
        r = residual_field(operator, b, x, shift, squares)
    rr, attempt = norm2(lattice, r), 0
    working = (rr > goal) & xp.isfinite(rr)
    while limit > 0 and bool(xp.any(working)):
        # Rounding may cost a little of what the recursion gains.  What one precision could not do twice the other must.
        once = low if attempt < 2 else None
        x, more = _descend(operator, once, b, x, r, 0.8 * goal, working, limit, shift, squares)
        used, limit = used + more, limit - int(xp.max(more))
        r = residual_field(operator, b, x, shift, squares)
        before, rr = rr, norm2(lattice, r)
        working = (rr > goal) & xp.isfinite(rr)
        if attempt > 1:
            working = working & (rr < 0.25 * before)
        attempt += 1
    return x, used, rr


@dataclass
class _State:
    """Fields and numbers of the systems that are left."""

    x: Array
    s: Array
    """Residual of the recursion, in the precision of the iterations."""
    p: Array
    """Search direction."""
    rr: Array
    """Squared norm of the residual of the normal equations."""
    size: Array
    """Squared norm of s."""
    goal: Array
    working: Array
    used: Array
    """Iterations."""


@dataclass
class _LowState(_State):
    """What iterations in single precision need, too; s, p and the step are those of x times a scale."""

    b: Array
    r: Array
    """Residual of the normal equations."""
    step: Array
    """What x lacks."""
    scale: Array
    checked: Array
    """Squared norm of the last true residual."""
    lost: Array
    """Whether a system has got as far as single precision goes."""

    def due(self) -> bool:
        """Whether true residuals should be computed again."""
        xp = array_namespace(self.size)
        fallen = ~self.working | (self.size < FALL * self.checked)
        return bool(xp.all(fallen) | xp.any(self.working & (self.size < FAR * self.checked)))

    def fold(self, lattice: Lattice) -> None:
        """Add the step to x."""
        back = ratio(array_namespace(self.scale).ones_like(self.scale), self.scale, self.scale > 0.0)
        self.x = fermion_combine(lattice, self.x, 1.0, array_namespace(self.x).astype(self.step, self.x.dtype), back)
        self.step = 0.0 * self.step

    def update(self, operator: Linear, low: Linear, shift: float, squares: bool) -> None:
        """True residuals; the search direction keeps its part that is orthogonal to them."""
        xp = array_namespace(self.b)
        lattice = operator.lattice
        self.fold(lattice)
        true = residual_field(operator, self.b, self.x, shift, squares)
        s = xp.astype(fermion_combine(lattice, true, self.scale, true, 0.0), self.s.dtype)
        r = low.adjoint(s) if squares else s
        before = fermion_combine(lattice, self.p, 1.0, self.r, -1.0)
        self.rr, claimed = norm2(lattice, r), self.size
        self.size = self.rr if s is r else norm2(lattice, s)
        along = ratio(fermion_dot(lattice, r, before), self.rr + 0j, self.working)
        self.p, self.r, self.s = fermion_combine(lattice, before, 1.0, r, 1.0 - along), r, s
        self.lost = self.lost | ((self.size > 4.0 * claimed) & (self.size > 0.25 * self.checked))
        self.checked = self.size
        self.working = (self.size > self.goal) & xp.isfinite(self.size) & ~self.lost


def _descend(
    operator: Linear,
    low: Linear | None,
    b: Array,
    x: Array,
    s: Array,
    goal: Array,
    working: Array,
    limit: int,
    shift: float,
    squares: bool,
) -> tuple[Array, Array]:
    """Iterate from x, with residual s, until that of the recursion is below the goal: x, and iterations of every system."""
    xp = array_namespace(b)
    lattice = operator.lattice
    used = xp.zeros(goal.shape, dtype=xp.int64)
    active = Active([operator] if low is None else [operator, low], [x], used)
    size = norm2(lattice, s)
    if low is None:
        r = operator.adjoint(s) if squares else s
        q = _State(x, s, r, norm2(lattice, r), size, goal, working, used)
    else:
        # Of norm 1, so that right-hand sides of any size keep all bits.
        scale = ratio(xp.ones_like(size), xp.sqrt(size), working)
        s = xp.astype(fermion_combine(lattice, s, scale, s, 0.0), xp.complex64)
        r = low.adjoint(s) if squares else s
        size, goal = size * scale**2, goal * scale**2
        q = _LowState(
            x, s, r, norm2(lattice, r), size, goal, working, used, b, r, 0.0 * s, scale, size, ~xp.isfinite(size)
        )
    for _ in range(limit):
        kept = active.due(q.working)
        if isinstance(q, _LowState) and (kept is not None or q.due()):
            q.update(active.operators[0], active.operators[1], shift, squares)
            kept = active.due(q.working, again=True)
        if kept is not None:
            active.keep(kept, [q.x], q.used)
            if not kept[0]:
                return active.results[0], active.used
            for part in fields(q):
                setattr(q, part.name, active.cut(kept, getattr(q, part.name)))
        _iterate(active.operators[-1], q, shift, squares)
    if isinstance(q, _LowState):
        q.fold(lattice)
    active.keep(([], []), [q.x], q.used)
    return active.results[0], active.used


def _iterate(operator: Linear, q: _State, shift: float, squares: bool) -> None:
    """One step of all systems; those that do not work stay where they are."""
    xp = array_namespace(q.s)
    lattice = operator.lattice
    image = operator.apply(q.p)
    curvature = norm2(lattice, image)
    if shift:
        curvature = curvature + shift * norm2(lattice, q.p)
    good = q.working & (curvature > 0.0)
    alpha = ratio(q.rr, curvature, good)
    if isinstance(q, _LowState):
        q.step = fermion_combine(lattice, q.step, 1.0, q.p, alpha)
    else:
        q.x = fermion_combine(lattice, q.x, 1.0, q.p, alpha)
    if squares:
        q.s = fermion_combine(lattice, q.s, 1.0, image, -alpha)
        r = operator.adjoint(q.s)
    else:
        back = operator.adjoint(image)
        if shift:
            back = fermion_combine(lattice, back, 1.0, q.p, shift)
        r = q.s = fermion_combine(lattice, q.s, 1.0, back, -alpha)
    new = norm2(lattice, r)
    q.size = norm2(lattice, q.s) if squares else new
    q.p = fermion_combine(lattice, r, 1.0, q.p, ratio(new, q.rr, good))
    if isinstance(q, _LowState):
        q.r = r
    q.rr = new
    q.used = q.used + xp.astype(q.working, xp.int64)
    q.working = good & (q.size > q.goal)
