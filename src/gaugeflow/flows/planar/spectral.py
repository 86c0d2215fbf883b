"""Maps of matrices by their eigenvalues that commute with conjugation, and their derivatives by hand.

A matrix is a row-major tuple of arrays, one entry each, of any common shape; cotangents are those of left displacements,
matrices of the algebra.  Formulas: ``docs/derivations/spectral.md``; source: arXiv:2008.05456.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from gaugeflow.errors import require_finite
from gaugeflow.flows.planar.cell import CellSpline
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites import cell
from gaugeflow.sites.matrix import add, dag, dag_mul, mul, mul_dag, size, sub, trace
from gaugeflow.sites.numbers import Matrix, atan2, conj, cos, cplx, imag, real, sin, where
from gaugeflow.typing import Params

# ---- eigenvalues -------------------------------------------------------------------------------------------------


class Spectrum(NamedTuple):
    """Eigen-angles in the cell, and eigenvectors: ``vectors[k]`` holds the entries of the k-th."""

    angles: Matrix
    vectors: tuple[Matrix, ...]

    @property
    def basis(self) -> Matrix:
        """The unitary matrix V of ``x = V exp(i angles) V^dagger``."""
        n = len(self.vectors)
        return tuple(self.vectors[k][i] for i in range(n) for k in range(n))


def spectrum(x: Matrix) -> Spectrum:
    """Spectrum of SU(2) or SU(3) matrices, as exact for close eigenvalues as for others.

    Eigenvectors are those of the Hermitian matrix ``(e^{-ic} x + e^{ic} x^dagger) / 2``, whose eigenvalues cos(theta - c)
    are as far apart as those of x if no mean of two angles is near c.  For SU(3) ``e^{-2ic}`` is the cube root of -1 where
    the characteristic polynomial of x is largest: the three values add up to -6, so that it is at least 2 there.
    """
    n = size(x)
    phase: Any = -1j
    if n == 3:
        z = trace(x)
        best = None
        for turn in (0.0, 1.0, -1.0):
            zeta = -complex(math.cos(turn * 2.0 * math.pi / 3.0), math.sin(turn * 2.0 * math.pi / 3.0))
            value = zeta * (conj(z) - zeta * z) + (zeta**3 - 1.0)
            found = real(value) * real(value) + imag(value) * imag(value)
            root = -1j * complex(math.cos(turn * math.pi / 3.0), math.sin(turn * math.pi / 3.0))
            if best is None:
                best, phase = found, z * 0.0 + root
            else:
                phase, best = where(found > best, z * 0.0 + root, phase), where(found > best, found, best)
    xp = array_namespace(x[0])
    turned = tuple(phase * entry for entry in x)
    hermitian = tuple(0.5 * (a + b) for a, b in zip(turned, dag(turned), strict=True))
    shape = tuple(x[0].shape)
    _, found = xp.linalg.eigh(xp.reshape(xp.stack(hermitian, axis=-1), (*shape, n, n)))
    vectors = tuple(tuple(found[..., i, k] for i in range(n)) for k in range(n))
    angles = []
    for vector in vectors:
        rows = [sum((x[n * i + j] * vector[j] for j in range(1, n)), start=x[n * i] * vector[0]) for i in range(n)]
        value = sum((conj(vector[i]) * rows[i] for i in range(1, n)), start=conj(vector[0]) * rows[0])
        angles.append(atan2(imag(value), real(value)))
    return Spectrum(*cell.ordered(tuple(angles), vectors))


def rebuilt(basis: Matrix, angles: Matrix) -> Matrix:
    """V exp(i angles) V^dagger."""
    n = len(angles)
    phases = tuple(cplx(cos(angle), sin(angle)) for angle in angles)
    return mul_dag(tuple(basis[n * i + k] * phases[k] for i in range(n) for k in range(n)), basis)


def _turned(basis: Matrix, x: Matrix) -> Matrix:
    """V^dagger x V."""
    return dag_mul(basis, mul(x, basis))


def _back(basis: Matrix, x: Matrix) -> Matrix:
    """V x V^dagger."""
    return mul(basis, mul_dag(x, basis))


def _with_diagonal(bar: Matrix, factors: dict[tuple[int, int], Any], diagonal: Matrix) -> Matrix:
    """Entries off the diagonal times ``factors[j, k]``, j < k, or its conjugate, and a diagonal i d / 2."""
    n = len(diagonal)

    def entry(j: int, k: int) -> Any:
        if j == k:
            return cplx(0.0 * diagonal[j], 0.5 * diagonal[j])
        return (factors[j, k] if j < k else conj(factors[k, j])) * bar[n * j + k]

    return tuple(entry(j, k) for j in range(n) for k in range(n))


def _by_angles(bar: Matrix, n: int) -> Matrix:
    """Cotangents of angles on the diagonal of a cotangent in the basis of eigenvectors."""
    return tuple(2.0 * imag(bar[n * j + j]) for j in range(n))


def _without_mean(values: Matrix) -> Matrix:
    mean = sum(values[1:], start=values[0]) * (1.0 / len(values))
    return tuple(v - mean for v in values)


# ---- powers of a frozen matrix -----------------------------------------------------------------------------------


def power(at: Spectrum, exponent: float) -> Matrix:
    """``V exp(i exponent angles) V^dagger``."""
    return rebuilt(at.basis, tuple(exponent * angle for angle in at.angles))


def power_vjp(at: Spectrum, exponent: float, bar: Matrix) -> Matrix:
    """Cotangent of the matrix from that of its power.

    Off the diagonal, displacements grow by ``e^{i (s - 1) D / 2} sin(s D / 2) / sin(D / 2)``, D the difference of two angles:
    s where they are equal; for broken s infinite where they are 2 pi apart, where the power jumps.
    """
    n = len(at.angles)
    turned = _turned(at.basis, bar)
    factors: dict[tuple[int, int], Any] = {}
    for j, k in cell.PAIRS[n]:
        half = 0.5 * (at.angles[j] - at.angles[k])
        near = half < 1e-8
        safe = where(near, half * 0.0 + 1.0, half)
        ratio = half * 0.0 + exponent  # exact for 0 and 1
        if exponent not in (0.0, 1.0):
            ratio = where(near, ratio, sin(exponent * safe) / sin(safe))
        angle = (exponent - 1.0) * half
        factors[j, k] = ratio * cplx(cos(angle), -sin(angle))
    diagonal = _without_mean(tuple(exponent * b for b in _by_angles(turned, n)))
    return _back(at.basis, _with_diagonal(turned, factors, diagonal))


# ---- the map -----------------------------------------------------------------------------------------------------


class Mapped(NamedTuple):
    """``x' = h(x)``, log det site by site, the pull-back, and what takes the score of x to that of x'.

    The pull-back takes cotangents of x' and log det to those of parameters, context and x.
    """

    x: Matrix
    log_det: Array
    pull_back: Callable[[Matrix, Array], tuple[Params, Array, Matrix]]
    push_score: Callable[[Matrix], Matrix]


def mapped(spline: CellSpline, params: Params, context: Array, x: Matrix) -> Mapped:
    """``V exp(i theta') V^dagger`` with angles theta' that the map of the cell makes of those of x.

    Displacements that mix eigenvectors j and k grow by ``e^{i (D' - D) / 2} sin(D' / 2) / sin(D / 2)``, D the difference of
    their angles: a number that is finite where they meet, because D' vanishes with D.
    """
    n = size(x)
    at = spectrum(x)
    place = cell.coordinates(at.angles)
    moved = spline.evaluate(params, context, place)
    angles = cell.angles_at(moved.place)
    basis = at.basis

    def factors(sign: float) -> dict[tuple[int, int], Any]:
        """Conjugate growth of displacements off the diagonal (1), or its inverse (-1)."""
        xp = array_namespace(place[0])
        found: dict[tuple[int, int], Any] = {}
        for (j, k), log_ratio in zip(cell.PAIRS[n], moved.log_ratios, strict=True):
            angle = 0.5 * ((angles[j] - angles[k]) - (at.angles[j] - at.angles[k]))
            found[j, k] = xp.exp(sign * log_ratio) * cplx(cos(angle), -sign * sin(angle))
        return found

    def pull_back(bar: Matrix, log_bar: Array) -> tuple[Params, Array, Matrix]:
        turned = _turned(basis, bar)
        after_bar = cell.angles_at_vjp(moved.place, _by_angles(turned, n))
        params_bar, context_bar, place_bar = moved.pull_back(after_bar, log_bar)
        diagonal = cell.coordinates_vjp(place, place_bar)
        return params_bar, context_bar, _back(basis, _with_diagonal(turned, factors(1.0), diagonal))

    def push_score(score: Matrix) -> Matrix:
        turned = _turned(basis, score)
        zero = place[0] * 0.0
        units = [tuple(zero + float(i == j) for j in range(n - 1)) for i in range(n - 1)]
        rows = [moved.pull_back(unit, zero)[2] for unit in units]  # of the Jacobian of coordinates
        slope = moved.pull_back((zero,) * (n - 1), zero + 1.0)[2]
        wanted = tuple(a - b for a, b in zip(cell.angles_at_vjp(place, _by_angles(turned, n)), slope, strict=True))
        if n == 2:
            pushed: Matrix = (wanted[0] / rows[0][0],)
        else:
            (a, b), (c, d) = rows
            area = a * d - b * c
            pushed = ((d * wanted[0] - c * wanted[1]) / area, (a * wanted[1] - b * wanted[0]) / area)
        diagonal = cell.coordinates_vjp(moved.place, pushed)
        return _back(basis, _with_diagonal(turned, factors(-1.0), diagonal))

    return Mapped(rebuilt(basis, angles), moved.log_det, pull_back, push_score)


def mapped_inverse(spline: CellSpline, params: Params, context: Array, x: Matrix) -> tuple[Matrix, Array]:
    """The matrix that :func:`mapped` takes to x, and log det there."""
    at = spectrum(x)
    before = spline.inverse(params, context, cell.coordinates(at.angles))
    log_det = spline.evaluate(params, context, before).log_det
    return rebuilt(at.basis, cell.angles_at(before)), log_det


# ---- half of a loop, given the loop ------------------------------------------------------------------------------


class Halved(NamedTuple):
    """The first half of a loop after its moves, log det, the pull-back to parameters, half and loop, and that of scores.

    ``push_score`` takes the score of the half at fixed loop to that of the half after its moves.
    """

    half: Matrix
    log_det: Array
    pull_back: Callable[[Matrix, Array], tuple[Params, Matrix, Matrix]]
    push_score: Callable[[Matrix], Matrix]


@dataclass(frozen=True)
class HalfLoop:
    """Moves of one half a of a loop P, the other half being ``b = P a^dagger``, by functions of eigenvalues.

    Move k takes ``x = a P^{-s}`` to h(x), s its frame: a itself (0), ``b^dagger`` (1), or a measured from a root of P (1/2),
    around which its distribution is centred.  Networks see means of cosines and sines of the angles of P and of their halves.
    All of it commutes with a common conjugation of a and P.

    Parameters
    ----------
    n_colours
        2 or 3.
    frames
        The powers s.
    bins, hidden, by_site
        As for :class:`gaugeflow.flows.CellSpline`.
    order
        Coordinates of the cell in the order of their splines in each move (default: t for SU(2), t, r, t for SU(3)).
    """

    n_colours: int
    frames: tuple[float, ...] = (0.5,)
    bins: int = 6
    hidden: tuple[int, ...] = (8,)
    order: tuple[int, ...] | None = None
    by_site: bool = False

    def __post_init__(self) -> None:
        require_finite(self, "frames")
        if not self.frames:
            raise ValueError("HalfLoop: expected at least one frame, got ()")
        _ = self._spline  # raises what does not fit

    @cached_property
    def _spline(self) -> CellSpline:
        order = self.order or ((0,) if self.n_colours == 2 else (0, 1, 0))
        return CellSpline(
            self.n_colours, 2 if self.n_colours == 2 else 4, self.bins, order, self.hidden, by_site=self.by_site
        )

    def init(self, rng: Any) -> Params:
        """Parameters of all moves."""
        return {str(k): self._spline.init(rng.stream(k)) for k in range(len(self.frames))}

    def _context(self, angles: Matrix) -> Array:
        """Means over eigenvalues; those of sines vanish for SU(2)."""
        xp = array_namespace(angles[0])
        n = len(angles)
        rows = []
        for function in (cos, sin)[: n - 1]:
            for factor in (1.0, 0.5):
                values = [function(factor * angle) for angle in angles]
                rows.append(sum(values[1:], start=values[0]) * (1.0 / n))
        return xp.stack(rows)

    def _context_vjp(self, angles: Matrix, bar: Array) -> Matrix:
        n = len(angles)
        total = []
        for angle in angles:
            part = -sin(angle) * bar[0, ...] - 0.5 * sin(0.5 * angle) * bar[1, ...]
            if n == 3:
                part = part + cos(angle) * bar[2, ...] + 0.5 * cos(0.5 * angle) * bar[3, ...]
            total.append(part * (1.0 / n))
        return tuple(total)

    def evaluate(self, params: Params, half: Matrix, loop: Matrix, known: Spectrum | None = None) -> Halved:
        """All moves; the spectrum of the loop need not be computed again where it is ``known``."""
        at = spectrum(loop) if known is None else known
        context = self._context(at.angles)
        log_det = real(half[0]) * 0.0
        stages = []
        for k, exponent in enumerate(self.frames):
            frame = power(at, exponent) if exponent != 0.0 else None
            before = half if frame is None else mul_dag(half, frame)
            stage = mapped(self._spline, params[str(k)], context, before)
            half = stage.x if frame is None else mul(stage.x, frame)
            log_det = log_det + stage.log_det
            stages.append((exponent, before, stage))

        def pull_back(bar: Matrix, log_bar: Array) -> tuple[Params, Matrix, Matrix]:
            params_bar: dict[str, Any] = {}
            context_bar = context * 0.0
            loop_bar = tuple(entry * 0.0 for entry in bar)
            for k in range(len(stages) - 1, -1, -1):
                exponent, before, stage = stages[k]
                after_bar = bar
                params_bar[str(k)], more, bar = stage.pull_back(bar, log_bar)
                context_bar = context_bar + more
                if exponent != 0.0:
                    frame_bar = sub(dag_mul(stage.x, mul(after_bar, stage.x)), dag_mul(before, mul(bar, before)))
                    loop_bar = add(loop_bar, power_vjp(at, exponent, frame_bar))
            diagonal = _without_mean(self._context_vjp(at.angles, context_bar))
            nothing = dict.fromkeys(cell.PAIRS[self.n_colours], 0.0)
            return params_bar, bar, add(loop_bar, _back(at.basis, _with_diagonal(bar, nothing, diagonal)))

        def push_score(score: Matrix) -> Matrix:
            for _, _, stage in stages:
                score = stage.push_score(score)
            return score

        return Halved(half, log_det, pull_back, push_score)

    def inverse(self, params: Params, half: Matrix, loop: Matrix) -> tuple[Matrix, Array]:
        """The half that the moves take to ``half``, and log det there."""
        at = spectrum(loop)
        context = self._context(at.angles)
        log_det = real(half[0]) * 0.0
        for k in range(len(self.frames) - 1, -1, -1):
            frame = power(at, self.frames[k])
            before, part = mapped_inverse(self._spline, params[str(k)], context, mul_dag(half, frame))
            half, log_det = mul(before, frame), log_det + part
        return half, log_det
