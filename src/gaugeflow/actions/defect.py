"""The Wilson action with weakened links in a small region: parallel tempering in boundary conditions.

Links of one direction in a box are multiplied by a strength c between 0 and 1 wherever they enter a plaquette, so that a
plaquette with k such links has the weight c^k: c = 1 is the periodic lattice, c = 0 cuts it open there (Hasenbusch,
arXiv:1706.04443; Bonanno, Bonati and D'Elia, arXiv:2012.14000).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gaugeflow.actions.gauge import WilsonAction
from gaugeflow.errors import require_finite
from gaugeflow.lattice import Array, Box, Lattice
from gaugeflow.namespaces import array_namespace


@dataclass(frozen=True)
class Defect:
    """The links of one direction at the sites of a box.

    Parameters
    ----------
    direction
        mu.
    box
        Sites; a defect of size L_d in the sense of the papers is a box of extent 1 along mu and L_d along the others.
    """

    direction: int
    box: Box

    def scale(self, lattice: Lattice, strength: float, like: Array) -> Array:
        """Factor of every link, ``(ndim, n_blocks, 1, 1, lanes)`` real, of the type and device of a link field."""
        lattice.check_links(like)
        lattice.check_direction(self.direction)
        xp = array_namespace(like)
        real = xp.real(like[:1, :1, :1, :1, :1]).dtype
        inside = xp.asarray(lattice.inside(self.box))[..., None]
        batch = lattice.batch(like.shape[-1])
        lanes = (lattice.n_blocks, lattice.n_folds * batch)
        inside = xp.reshape(xp.broadcast_to(inside, (*inside.shape[:2], batch)), lanes)
        one = xp.ones(lanes, dtype=real)
        weak = xp.where(inside, strength * one, one)
        factors = [weak if mu == self.direction else one for mu in range(lattice.ndim)]
        return xp.stack(factors)[:, :, None, None, :]


@dataclass(frozen=True)
class DefectAction:
    """S = -(beta / N) sum_p c_p Re tr P_p with c_p the product of the strengths of the links of p.

    Parameters
    ----------
    lattice, beta
        As of :class:`WilsonAction`.
    defect
        Which links are weak.
    strength
        Their strength c; 1 is the Wilson action.
    """

    lattice: Lattice
    beta: float
    defect: Defect
    strength: float

    def __post_init__(self) -> None:
        require_finite(self, "beta", "strength")
        if not 0.0 <= self.strength <= 1.0:
            raise ValueError(f"DefectAction: strength must lie between 0 and 1, got {self.strength}")
        self.lattice.check_direction(self.defect.direction)
        self.lattice.inside(self.defect.box)

    def _value(self, x: Array, strength: float) -> Any:
        return WilsonAction(self.lattice, self.beta).value(x * self.defect.scale(self.lattice, strength, x))

    def value(self, x: Array) -> Array:
        """S of every configuration, ``(batch,)`` float64."""
        return self._value(x, self.strength)

    def grad(self, x: Array) -> Array:
        """Gradient in left coordinates: P(U A) is linear in every link, so that it may be taken of the scaled ones."""
        return WilsonAction(self.lattice, self.beta).grad(x * self.defect.scale(self.lattice, self.strength, x))

    def d_strength(self, x: Array) -> Array:
        """Derivative dS/dc, ``(batch,)``: S is a polynomial of second degree in c, so that a difference is exact."""
        return 0.5 * (self._value(x, self.strength + 1.0) - self._value(x, self.strength - 1.0))
