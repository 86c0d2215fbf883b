"""Pure gauge actions in any dimension, for SU(N) and (N = 1) U(1).

S = -(beta / N) sum over loops of c Re tr U(loop), without a constant: the cold configuration does not have S = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gaugeflow import kernels
from gaugeflow.errors import require_finite
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace

SYMANZIK = -1.0 / 12.0
"""c_1 of the tree-level Symanzik action; Weisz, Nucl. Phys. B212 (1983) 1."""
IWASAKI = -0.331
"""c_1 of the Iwasaki action; Iwasaki, arXiv:1111.7054."""
DBW2 = -1.4088
"""c_1 of the DBW2 action; QCD-TARO collaboration, hep-lat/9911033."""


class Couplings(NamedTuple):
    """Factors of -(1/N) Re tr U(loop) for every class of loops, in the order of the kernels that measure them."""

    plaquette: tuple[float, ...]
    rectangle: tuple[float, ...] = ()

    def minus(self, other: Couplings) -> Couplings:
        """Difference, class by class."""
        rectangles = max(self.rectangle, other.rectangle, key=len)
        mine, theirs = (c.rectangle or (0.0,) * len(rectangles) for c in (self, other))
        return Couplings(
            tuple(a - b for a, b in zip(self.plaquette, other.plaquette, strict=True)),
            tuple(a - b for a, b in zip(mine, theirs, strict=True)),
        )


def _value(lattice: Lattice, couplings: Couplings, links: Array) -> Array:
    total = _weighted_sum(couplings.plaquette, kernels.plaquette(lattice, links))
    if couplings.rectangle:
        total = total + _weighted_sum(couplings.rectangle, kernels.rectangle(lattice, links))
    return -lattice.volume * total


def _weighted_sum(weights: tuple[float, ...], means: Array) -> Array:
    xp = array_namespace(means)
    return xp.sum(xp.asarray(weights, dtype=means.dtype)[:, None] * means, axis=0)


@dataclass(frozen=True)
class WilsonAction:
    """S = -sum_p (beta_p / N) Re tr P_p.

    Parameters
    ----------
    lattice
        The lattice; it needs two dimensions or more.
    beta
        Coupling: 2 N / g^2 for SU(N), 1 / g^2 for U(1).
    anisotropy
        lambda: planes that hold direction 0 (time) have beta_p = beta (1 + lambda), the others beta (1 - lambda).
    """

    lattice: Lattice
    beta: float
    anisotropy: float = 0.0

    def __post_init__(self) -> None:
        require_finite(self, "beta", "anisotropy", single=True)
        _check_dimension(self.lattice)

    @property
    def _signs(self) -> tuple[float, ...]:
        return tuple(1.0 if mu == 0 else -1.0 for mu, _ in self.lattice.planes)

    @property
    def couplings(self) -> Couplings:
        """beta_p of every plane."""
        return Couplings(tuple(self.beta * (1.0 + sign * self.anisotropy) for sign in self._signs))

    def value(self, x: Array) -> Array:
        """S of every configuration, ``(batch,)`` float64."""
        return _value(self.lattice, self.couplings, x)

    def grad(self, x: Array) -> Array:
        """Gradient in left coordinates, an algebra field."""
        return kernels.wilson_force(self.lattice, x, self.couplings.plaquette)

    def d_beta(self, x: Array) -> Array:
        """Derivative dS/dbeta of every configuration, ``(batch,)``."""
        unit = tuple(1.0 + sign * self.anisotropy for sign in self._signs)
        return _value(self.lattice, Couplings(unit), x)

    def d_anisotropy(self, x: Array) -> Array:
        """Derivative dS/dlambda, ``(batch,)``: -(beta/N) (sum of temporal minus sum of spatial Re tr P).

        At lambda = 0 this is the gluonic operator of the momentum fraction <x>_g (arXiv:1205.6410).
        """
        return _value(self.lattice, Couplings(tuple(self.beta * sign for sign in self._signs)), x)


@dataclass(frozen=True)
class ImprovedAction:
    """S = -(beta / N) [c_0 sum_p Re tr P_p + c_1 sum_r Re tr R_r] with c_0 = 1 - 8 c_1.

    The second sum runs over all planar six-link loops of 1 x 2 plaquettes, each once.

    Parameters
    ----------
    lattice
        The lattice; it needs two dimensions or more.
    beta
        Coupling, 2 N / g^2.
    c1
        Rectangle coefficient: :data:`SYMANZIK`, :data:`IWASAKI`, :data:`DBW2` or any other number.
    """

    lattice: Lattice
    beta: float
    c1: float = SYMANZIK

    def __post_init__(self) -> None:
        require_finite(self, "beta", "c1", single=True)
        _check_dimension(self.lattice)

    @property
    def couplings(self) -> Couplings:
        """beta c_0 of every plane, beta c_1 of every ordered pair of directions."""
        d = self.lattice.ndim
        plaquette = (self.beta * (1.0 - 8.0 * self.c1),) * len(self.lattice.planes)
        return Couplings(plaquette, (self.beta * self.c1,) * (d * (d - 1)))

    def value(self, x: Array) -> Array:
        """S of every configuration, ``(batch,)`` float64."""
        return _value(self.lattice, self.couplings, x)

    def grad(self, x: Array) -> Array:
        """Gradient in left coordinates, an algebra field."""
        c0 = 1.0 - 8.0 * self.c1
        return kernels.wilson_force(self.lattice, x, self.beta * c0) + kernels.rectangle_force(
            self.lattice, x, self.beta * self.c1
        )

    def d_beta(self, x: Array) -> Array:
        """Derivative dS/dbeta of every configuration, ``(batch,)``."""
        return ImprovedAction(self.lattice, 1.0, self.c1).value(x)


def difference(target: WilsonAction | ImprovedAction, source: WilsonAction | ImprovedAction, x: Array) -> Array:
    """``S_target(x) - S_source(x)`` from one measurement of the loops, ``(batch,)`` float64.

    The couplings are subtracted before they meet the loops: two large actions never cancel, and the result is as
    precise as the differences of the couplings are.

    Raises
    ------
    ValueError
        If the actions live on different lattices.
    """
    if target.lattice != source.lattice:
        raise ValueError(f"difference: expected one lattice, got {target.lattice} and {source.lattice}")
    return _value(target.lattice, target.couplings.minus(source.couplings), x)


def _check_dimension(lattice: Lattice) -> None:
    if lattice.ndim < 2:
        raise ValueError(f"a gauge action needs two dimensions or more, got a lattice of shape {lattice.shape}")
