"""Integrators of Hamilton's equations dx/dt = p x (left displacement; dx/dt = p for plain numbers), dp/dt = -grad S.

A scheme is data: the fractions of a step by which momenta are kicked and fields drift, in turn, kicks first and last.
All schemes here are palindromes, so that trajectories are reversible, and keep volumes, so that HMC is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from gaugeflow.errors import require_finite
from gaugeflow.groups import Manifold
from gaugeflow.typing import Action, Array


@dataclass(frozen=True)
class Integrator:
    """Coefficients of one step.

    Parameters
    ----------
    name
        What messages and tables call it.
    order
        The error of the energy over a trajectory of fixed length is of this order in the step.
    kicks, drifts
        Fractions of a step, ``len(kicks) == len(drifts) + 1``; each sums to 1.
    gradients
        For each kick xi: the force is taken at the field displaced by -xi step^2 grad S, which to the order needed is
        the force-gradient term (Yin and Mawhinney, arXiv:1111.5059).  Default: none.

    Raises
    ------
    ValueError
        If coefficients do not fit, do not sum to 1 or are not symmetric.
    """

    name: str
    order: int
    kicks: tuple[float, ...]
    drifts: tuple[float, ...]
    gradients: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require_finite(self, "kicks", "drifts", "gradients")
        if not self.gradients:
            object.__setattr__(self, "gradients", (0.0,) * len(self.kicks))
        if len(self.kicks) != len(self.drifts) + 1 or len(self.gradients) != len(self.kicks):
            raise ValueError(
                f"Integrator {self.name}: expected one kick more than drifts and a gradient for each kick, got "
                f"{len(self.kicks)} kicks, {len(self.drifts)} drifts, {len(self.gradients)} gradients"
            )
        for name, values in (("kicks", self.kicks), ("drifts", self.drifts), ("gradients", self.gradients)):
            if any(abs(a - b) > 1e-14 for a, b in zip(values, values[::-1], strict=True)):
                raise ValueError(f"Integrator {self.name}: {name} {values} are not symmetric")
            if name != "gradients" and abs(sum(values) - 1.0) > 1e-13:
                raise ValueError(f"Integrator {self.name}: {name} {values} sum to {sum(values)}, expected 1")


def _omelyan4() -> Integrator:
    """Scheme with five forces a step: Omelyan, Mryglod and Folk, Comput. Phys. Commun. 151 (2003) 272, table 2, as
    quoted by Takaishi and de Forcrand, hep-lat/0505020, equation (22)."""
    rho, theta = 0.2539785108410595, 0.08398315262876693
    mu, lam = -0.03230286765269967, 0.6822365335719091
    middle = 0.5 * (1.0 - 2.0 * (lam + theta))
    kicks = (theta, lam, middle, middle, lam, theta)
    return Integrator("omelyan4", 4, kicks, (rho, mu, 1.0 - 2.0 * (mu + rho), mu, rho))


_LAMBDA = 0.1931833275037836

LEAPFROG = Integrator("leapfrog", 2, (0.5, 0.5), (1.0,))
"""One force a step."""
OMELYAN2 = Integrator("omelyan2", 2, (_LAMBDA, 1.0 - 2.0 * _LAMBDA, _LAMBDA), (0.5, 0.5))
"""Two forces a step, a tenth of leapfrog's energy error: Omelyan et al., hep-lat/0505020, equation (14)."""
OMELYAN4 = _omelyan4()
"""Five forces a step."""
FORCE_GRADIENT = Integrator("force-gradient", 4, (1 / 6, 2 / 3, 1 / 6), (0.5, 0.5), (0.0, 1 / 24, 0.0))
"""Three forces a step: Chin, Phys. Lett. A226 (1997) 344, scheme A, in the form of arXiv:1111.5059."""

INTEGRATORS = {scheme.name: scheme for scheme in (LEAPFROG, OMELYAN2, OMELYAN4, FORCE_GRADIENT)}
"""Every scheme by name."""


@dataclass(frozen=True)
class Level:
    """One time scale: an action, the scheme for it, and its steps in each drift of the level outside (or trajectory)."""

    action: Action
    steps: int
    integrator: Integrator = OMELYAN2

    def __post_init__(self) -> None:
        if not callable(getattr(self.action, "grad", None)):  # an integrator needs no value
            raise TypeError(f"Level: expected an action first, got a {type(self.action).__name__}")
        if not isinstance(self.steps, Integral):
            raise TypeError(f"Level: steps must be an integer, got {self.steps!r}")
        if self.steps < 1:
            raise ValueError(f"Level: steps must be at least 1, got {self.steps}")


Guard = Callable[[Array, Array], tuple[Array, Array]]
"""Takes field and momentum before every force and gives those to go on with."""


def integrate(
    manifold: Manifold, levels: tuple[Level, ...], x: Array, p: Array, time: float, guard: Guard | None = None
) -> tuple[Array, Array]:
    """Field and momentum after a time.

    Parameters
    ----------
    manifold
        Of the field.
    levels
        Time scales, the one with the largest step first (Sexton and Weingarten, Nucl. Phys. B380 (1992) 665).
    x, p
        Field and momentum, a tangent vector.
    time
        Length of the trajectory.
    guard
        What looks at field and momentum before every force, None for nothing.
    """
    level, inner = levels[0], levels[1:]
    scheme = level.integrator
    step = time / level.steps
    waiting = 0.0  # the last kick of a step and the first of the next need one force

    def kicked(x: Array, p: Array, fraction: float, gradient: float) -> tuple[Array, Array]:
        if fraction == 0.0:
            return x, p
        if guard is not None:
            x, p = guard(x, p)
        place: Any = x
        if gradient != 0.0:
            place = manifold.retract(x, level.action.grad(x), -gradient * step * step)
        return x, p - (fraction * step) * level.action.grad(place)

    for _ in range(level.steps):
        for i, drift in enumerate(scheme.drifts):
            if i == 0 and scheme.gradients[0] == 0.0:
                x, p = kicked(x, p, waiting + scheme.kicks[0], 0.0)
            else:
                x, p = kicked(x, p, scheme.kicks[i], scheme.gradients[i])
            if inner:
                x, p = integrate(manifold, inner, x, p, drift * step, guard)
            else:
                x = manifold.retract(x, p, drift * step)
        waiting = scheme.kicks[-1]
        if scheme.gradients[-1] != 0.0:
            x, p = kicked(x, p, waiting, scheme.gradients[-1])
            waiting = 0.0
    return kicked(x, p, waiting, 0.0)
