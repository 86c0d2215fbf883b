"""Determinants by elimination of one time slice after the other.

D couples slice t to t + 1 and t - 1 only, and Wilson fermions by half of their spin components each: (1 - gamma_0) U takes
what comes from t + 1, (1 + gamma_0) U^dagger what comes from t - 1.  A slice, or a chain of them, is therefore known by its
response: what leaves it at both ends if something enters at both ends.  Chains are joined, and closed to a ring, with
matrices of half the size of a slice.  See ``docs/derivations/determinants.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gaugeflow.determinants.lu import LU
from gaugeflow.determinants.result import LogDet
from gaugeflow.determinants.space import Slices
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.hopping import HoppingOperator


class Response(NamedTuple):
    """What leaves a chain of slices, backwards or forwards, for what enters it from ahead or from behind.

    Matrices are held as columns: row r of ``(h, h)`` answers unit vector r.
    """

    back_from_ahead: Array
    back_from_behind: Array
    front_from_ahead: Array
    front_from_behind: Array


def log_det_by_slices(operator: HoppingOperator) -> LogDet:
    """log |det D| and the phase of det D by elimination of time slices.

    Parameters
    ----------
    operator
        D, bound to links; direction 0 is time.

    Returns
    -------
    LogDet
        With h = spatial sites x spin x colours / 2, costs some 100 h^3 operations for every slice and 300 h^2 bytes; for
        staggered fermions, whose slices are coupled by all components, h is the number of components.

    Raises
    ------
    TypeError
        If the operator is neither of Wilson's kind nor staggered.
    ValueError
        If D, or D on some of the slices only, is singular or not finite; names operator and configuration.
    """
    xp = array_namespace(operator.bound)
    found = []
    for k in range(operator.lattice.batch(int(operator.bound.shape[-1]))):
        found.append(_of_one(operator.select([k]), f"{operator.label}, configuration {k}"))
    log_abs = xp.asarray([f.log_abs for f in found], dtype=xp.float64)
    return LogDet(log_abs, xp.asarray([f.phase for f in found], dtype=xp.complex128))


class _Product:
    """A product of determinants."""

    def __init__(self) -> None:
        self.log_abs, self.phase = 0.0, 1.0 + 0.0j

    def times(self, log_abs: float, phase: complex) -> None:
        self.log_abs += log_abs
        self.phase *= phase


def _of_one(operator: HoppingOperator, name: str) -> _Product:
    """log |det D| and phase of one configuration."""
    slices = Slices(operator)
    result = _Product()
    chain: Response | None = None
    for t, one in enumerate(_responses(slices, result, name)):
        chain = one if chain is None else _joined(chain, slices, t - 1, one, result, name)
    assert chain is not None
    _close(chain, slices, result, name)
    return result


def _responses(slices: Slices, result: _Product, name: str) -> Iterator[Response]:
    """Response of every slice on its own, in the order of time; their determinants go into the result.

    On one slice D = A is eliminated to the sites that are odd in space: A x = b has x_o = S^-1 (b_o - K_oe T_ee^-1 b_e) and
    x_e = T_ee^-1 (b_e - K_eo x_o).
    """
    result.times(*slices.rest_log_det())
    for group in slices.groups():
        xp = group.xp
        schur = group.schur_columns()
        lus = []
        for k in range(schur.shape[0]):
            lus.append(LU(schur[k, ...], f"{name}, slice {group.times[k]}"))
            result.times(lus[-1].log_abs, lus[-1].phase)
        h = slices.half
        answers = xp.empty((len(lus), 4, h, h), dtype=schur.dtype)
        for side in (0, 1):
            for first in range(0, h, group.step):
                last = min(first + group.step, h)
                source = group.sources(side, first, last)
                odd = group.right_hand_side(source)
                for k, lu in enumerate(lus):
                    odd[k, ...] = lu.solve(odd[k, ...])
                back, front = group.leaving(odd, source)
                answers[:, side, first:last, :] = back
                answers[:, 2 + side, first:last, :] = front
        del lus, schur
        for k in range(answers.shape[0]):
            yield Response(*(answers[k, i, ...] for i in range(4)))


def _joined(one: Response, slices: Slices, t: int, two: Response, result: _Product, name: str) -> Response:
    """Response of a chain whose first part ends at slice t.

    Between the parts, b = one(front) and a = two(back) obey b = Sbb y + Sba F a and a = Saa x + Sab B b, where x and y enter
    at the ends and F and B are the links between.
    """
    xp = array_namespace(two.back_from_ahead)
    inner = slices.forwards(t, one.front_from_ahead)
    bounce = slices.backwards(t, two.back_from_behind)
    h = inner.shape[0]
    lu = LU(xp.eye(h, dtype=inner.dtype) - bounce @ inner, f"{name}, slices up to {t + 1}")
    result.times(lu.log_abs, lu.phase)
    from_behind = lu.solve(xp.asarray(one.front_from_behind, copy=True))
    from_ahead = lu.solve(two.back_from_ahead @ inner)
    del lu, inner
    out = slices.forwards(t, one.back_from_ahead)
    through = slices.backwards(t, two.front_from_behind)
    return Response(
        (two.back_from_ahead + from_ahead @ bounce) @ out,
        one.back_from_behind + (from_behind @ bounce) @ out,
        two.front_from_ahead + from_ahead @ through,
        from_behind @ through,
    )


def _close(chain: Response, slices: Slices, result: _Product, name: str) -> None:
    """Join both ends of the chain of all slices."""
    xp = array_namespace(chain.back_from_ahead)
    t, h = slices.extents - 1, slices.half
    ring = xp.empty((2 * h, 2 * h), dtype=chain.back_from_ahead.dtype)
    ring[:h, :h] = -slices.forwards(t, chain.back_from_ahead)
    ring[:h, h:] = -slices.forwards(t, chain.front_from_ahead)
    ring[h:, :h] = -slices.backwards(t, chain.back_from_behind)
    ring[h:, h:] = -slices.backwards(t, chain.front_from_behind)
    ring += xp.eye(2 * h, dtype=ring.dtype)
    lu = LU(ring, f"{name}, the ring of all slices")
    result.times(lu.log_abs, lu.phase)
