"""Functions of links that are sums of classes of loops: gradient, Laplacian in closed form, and their derivatives.

Derivation in ``docs/derivations/trivialising.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from gaugeflow import kernels
from gaugeflow.flows.loops import algebra
from gaugeflow.flows.loops.algebra import Loop, Term
from gaugeflow.kernels.loops import Factor, Terms, Words
from gaugeflow.kernels.sums import largest_entry
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace

# Weights of f(k h) - f(-k h), k = 1, 2, ..., in h f'(0): exact for polynomials of degree 2, 4 and 6
_STENCILS = {2: (1.0 / 2.0,), 4: (8.0 / 12.0, -1.0 / 12.0), 6: (45.0 / 60.0, -9.0 / 60.0, 1.0 / 60.0)}


def slope(lattice: Lattice, function: Callable[[Array], Array], at: Array, along: Array, degree: int) -> Array:
    """Derivative at 0 of ``function(at + e along)``, a polynomial in e of at most this degree (2, 4 or 6)."""
    size = 2.0 * largest_entry(lattice, along)
    if size == 0.0:
        return 0.0 * function(at)
    unit = along / size
    total = None
    for k, weight in enumerate(_STENCILS[degree], start=1):
        part = (function(at + k * unit) - function(at - k * unit)) * (weight * size)
        total = part if total is None else total + part
    return total


@dataclass(frozen=True)
class LoopPotential:
    """S~ = sum_k c_k W_k with W_k the sum over the lattice of the real parts of all images of a term.

    Parameters
    ----------
    lattice
        The lattice; along every direction it must be longer than the links of any one term and of its Laplacian reach.
    n_colours
        N of SU(N); 1 is U(1).
    classes
        Names of the classes, see :mod:`gaugeflow.flows.loops.algebra`.
    """

    lattice: Lattice
    n_colours: int
    classes: tuple[Term, ...]

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError("classes: expected at least one, got ()")
        for term in self.classes:
            if any(len(site) != self.lattice.ndim for site, _ in term):
                raise ValueError(f"classes: expected loops in {self.lattice.ndim} dimensions, got {term}")
            if not all(algebra.is_closed(loop) for loop in term):
                raise ValueError(f"classes: expected closed loops, got {term}")
        for image in (image for term in self.classes for image in algebra.images(term)):
            for mu, extent in enumerate(self.lattice.shape):
                sites = [s[mu] for loop in image for _, s, _ in algebra.links_of(loop)]
                if max(sites) - min(sites) >= extent:
                    raise ValueError(
                        f"lattice: direction {mu} of extent {extent} is too short for the class {term}, whose links lie "
                        f"on {max(sites) - min(sites) + 1} sites"
                    )

    # ---- tables ----------------------------------------------------------------------------------------------------
    @cached_property
    def _closed(self) -> tuple[Term, ...]:
        return algebra.closure(self.classes, self.n_colours)

    @cached_property
    def _laplacians(self) -> tuple[list[list[float]], list[float]]:
        """Laplacian of every class as a sum of the closed set of classes, and of 1 per site."""
        sums = [algebra.laplacian(term, self.n_colours) for term in self.classes]
        return [[float(s.get(name, 0)) for name in self._closed] for s in sums], [float(s.get((), 0)) for s in sums]

    @cached_property
    def _words(self) -> tuple[Words, Words, Terms]:
        """Words of the classes, words of the closed set (the same ones first), and its terms."""
        words: dict[tuple[int, ...], int] = {}

        def factor(loop: Loop) -> Factor:
            there, back = (algebra.normal(way) for way in (loop, algebra.reverse(loop)))
            conjugate = there[1] not in words and (back[1] in words or back[1] < there[1])
            site, steps = back if conjugate else there
            return words.setdefault(steps, len(words)), site, conjugate

        terms = []
        own = 0
        for k, term in enumerate(self._closed):
            terms.append(tuple(tuple(factor(loop) for loop in image) for image in algebra.images(term)))
            own = len(words) if k + 1 == len(self.classes) else own
        return tuple(words)[:own], tuple(words), tuple(terms)

    @property
    def degree(self) -> int:
        """Largest number of traces in a term."""
        return max(len(term) for term in self._closed)

    def _closed_coefficients(self, coefficients: Array) -> Array:
        xp = array_namespace(coefficients)
        matrix = xp.asarray(self._laplacians[0], dtype=coefficients.dtype)
        return xp.matrix_transpose(matrix) @ coefficients

    # ---- values ----------------------------------------------------------------------------------------------------
    def values(self, x: Array) -> Array:
        """W_k of every class, ``(n_classes, batch)``."""
        own, _, terms = self._words
        return kernels.trace_terms(self.lattice, kernels.loop_traces(self.lattice, x, own), terms[: len(self.classes)])

    def gradient(self, coefficients: Array, x: Array) -> Array:
        """Gradient of S~, an algebra field; coefficients are ``(n_classes,)``."""
        own, _, terms = self._words
        traces = kernels.loop_traces(self.lattice, x, own)
        weights = kernels.trace_weights(self.lattice, traces, terms[: len(self.classes)], coefficients)
        return kernels.loop_gradient(self.lattice, x, own, weights)

    def laplacians(self, x: Array) -> Array:
        """Laplacian of every class, ``(n_classes, batch)``."""
        _, words, terms = self._words
        return self._laplacians_of(
            kernels.trace_terms(self.lattice, kernels.loop_traces(self.lattice, x, words), terms)
        )

    def _laplacians_of(self, values: Array) -> Array:
        xp = array_namespace(values)
        matrix, constants = (xp.asarray(rows, dtype=xp.float64) for rows in self._laplacians)
        return matrix @ values + self.lattice.volume * constants[:, None]

    def both(self, coefficients: Array, x: Array) -> tuple[Array, Array]:
        """Gradient of S~ and its Laplacian ``(batch,)``."""
        self.lattice.check_links(x)
        xp = array_namespace(x)
        own, words, terms = self._words
        traces = kernels.loop_traces(self.lattice, x, words)
        laplacians = self._laplacians_of(kernels.trace_terms(self.lattice, traces, terms))
        weights = kernels.trace_weights(self.lattice, traces[: len(own), ...], terms[: len(self.classes)], coefficients)
        laplacian = xp.sum(coefficients[:, None] * laplacians, axis=0)
        return kernels.loop_gradient(self.lattice, x, own, weights), laplacian

    # ---- derivatives -----------------------------------------------------------------------------------------------
    def along(self, x: Array, direction: Array) -> Array:
        """Derivatives of the W_k along an algebra field, ``(n_classes, batch)``."""
        own, _, _ = self._words
        traces = kernels.loop_traces(self.lattice, x, own)
        return self._values_along(traces, kernels.loop_traces_along(self.lattice, x, direction, own))

    def _values_along(self, traces: Array, moved: Array) -> Array:
        own_terms = self._words[2][: len(self.classes)]
        lattice = self.lattice
        return slope(lattice, lambda z: kernels.trace_terms(lattice, z, own_terms), traces, moved, self._stencil)

    @property
    def _stencil(self) -> int:
        """Degree of a stencil that is exact for polynomials in as many traces."""
        return 2 * ((self.degree + 1) // 2)

    def vjp(
        self, coefficients: Array, x: Array, gradient_bar: Array, laplacian_bar: Array | None
    ) -> tuple[Array, Array]:
        """Cotangents of :meth:`both`, or of :meth:`gradient` where there is no cotangent of the Laplacian.

        Returns
        -------
        coefficients_bar, x_bar
            ``(n_classes, batch)`` for each configuration, and an algebra field.
        """
        lattice, count = self.lattice, len(self.classes)
        xp = array_namespace(x)
        own, words, terms = self._words
        traces = kernels.loop_traces(lattice, x, own if laplacian_bar is None else words)
        mine = traces[: len(own), ...]
        moved = kernels.loop_traces_along(lattice, x, gradient_bar, own)

        def weights(z: Array) -> Array:
            return kernels.trace_weights(lattice, z, terms[:count], coefficients)

        bar = self._values_along(mine, moved)
        x_bar = kernels.loop_gradient_vjp(lattice, x, own, weights(mine), gradient_bar)
        change = slope(lattice, weights, mine, moved, self._stencil)
        if laplacian_bar is None:
            return bar, x_bar + kernels.loop_gradient(lattice, x, own, change)
        bar = bar + laplacian_bar * self._laplacians_of(kernels.trace_terms(lattice, traces, terms))
        scaled = self._closed_coefficients(coefficients)[:, None] * laplacian_bar
        total = kernels.trace_weights(lattice, traces, terms, scaled)
        total = xp.concat([total[: len(own), ...] + change, total[len(own) :, ...]])
        return bar, x_bar + kernels.loop_gradient(lattice, x, words, total)
